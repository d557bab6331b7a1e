//! How owners are told. One file for each channel. A notifier is mechanism: no retry, no clock, no decision.
use crate::core::names::NoticeId;
use crate::core::plan::Notice;
use crate::core::time::Timestamp;
use async_trait::async_trait;
use std::fmt;

/// A notice on its way to one owner, with what the core does not know.
#[derive(Clone, Debug)]
pub struct Message {
    /// The id of the notice, the same in every try: receivers tell repeats by it.
    pub id: NoticeId,
    /// To whom.
    pub owner: String,
    /// The provider section of the key, if it has one.
    pub provider: Option<String>,
    /// What is said.
    pub notice: Notice,
}

/// What came of one try to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Sent {
    /// The channel took it.
    Taken,
    /// Not now; perhaps later, or after this moment.
    Later {
        /// What went wrong, for people; never a secret.
        why: String,
        /// Not before, if the channel says so.
        retry_after: Option<Timestamp>,
    },
    /// Never: the channel refuses it for good.
    Refused(String),
}

/// One channel of one owner.
#[async_trait]
pub trait Notifier: fmt::Debug + Send + Sync {
    /// Its identity: kind and address, without a secret (a secret URL is named by its host).
    fn id(&self) -> String;

    /// `email`, `webhook` or `exec`.
    fn kind(&self) -> &'static str;

    /// Whether it wants this message.
    fn wants(&self, _message: &Message) -> bool {
        true
    }

    /// Tries once to send. `now` is the moment of this try.
    async fn send(&self, message: &Message, now: Timestamp) -> Sent;
}

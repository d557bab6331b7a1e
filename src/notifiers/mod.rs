//! How owners are told. One file for each kind of channel; to add one, write its file, then add its `mod` line and its
//! row in [`KINDS`]. A notifier is mechanism: no retry, no clock, no decision.
//!
//! `email` writes a `letter`, as `text` and as `html`, and sends it over `smtp`; `webhook` posts the notice as a JSON
//! `document`, or the letter as `slack` or `teams` want it; `exec` gives the document to a command.
use crate::command::Veil;
use crate::core::names::{Fingerprint, NoticeId};
use crate::core::plan::{Notice, Severity};
use crate::core::time::Timestamp;
use crate::http::webhooks::Clients;
pub use crate::http::webhooks::Fault;
use async_trait::async_trait;
use chrono_tz::Tz;
use std::fmt;
use std::sync::Arc;
use toml::de::ValueDeserializer;

mod dkim;
mod document;
pub mod email;
mod exec;
mod html;
pub mod letter;
pub mod measured;
mod slack;
pub mod smtp;
mod table;
mod teams;
mod templates;
mod text;
pub mod webhook;

/// A notice on its way to one owner, with what the core does not know.
#[derive(Clone, Debug)]
pub struct Message {
    /// The id of the notice, the same in every try: receivers tell repeats by it.
    pub id: NoticeId,
    /// To whom.
    pub owner: String,
    /// The provider section of the key, if it has one.
    pub provider: Option<String>,
    /// What is said; of several notices, the most urgent.
    pub notice: Notice,
    /// The other notices that go in this message: none but where the channel [groups](Notifier::groups).
    pub more: Vec<Also>,
    /// What is masked in the words of a command that brings it.
    pub veil: Veil,
}

/// A notice that goes with another in one message.
#[derive(Clone, Debug)]
pub struct Also {
    /// The provider section of its key, if it has one.
    pub provider: Option<String>,
    /// What is said.
    pub notice: Notice,
}

impl Message {
    /// Every notice in it, the most urgent first.
    pub fn notices(&self) -> impl Iterator<Item = &Notice> {
        std::iter::once(&self.notice).chain(self.more.iter().map(|it| &it.notice))
    }

    /// What is sent of a text that somebody else may have had a hand in: control characters and marks that turn the
    /// direction of writing become spaces, so that it stays one line and reads as it is.
    pub(crate) fn one_line(text: &str) -> String {
        let turns =
            |it: char| matches!(it, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
        text.chars().map(|it| if it.is_control() || turns(it) { ' ' } else { it }).collect::<String>().trim().to_owned()
    }
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
    /// Perhaps: it was on its way when the answer was lost. Whoever sends it again must send the same.
    Unsure(String),
    /// Never: the channel refuses it for good.
    Refused(String),
    /// Never as it is: the channel refuses what it says, or that it is so long. Of several notices, others may be taken.
    Unfit(String),
    /// Never, and nothing else either: the receiver wants no more of this channel.
    Gone(String),
}

impl Sent {
    /// What went wrong; none where the channel took it.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Taken => None,
            Self::Later { why, .. } | Self::Unsure(why) | Self::Refused(why) | Self::Unfit(why) | Self::Gone(why) => {
                Some(why)
            }
        }
    }
}

/// One channel of one owner.
#[async_trait]
pub trait Notifier: fmt::Debug + Send + Sync {
    /// Its identity: kind and address, without a secret (a secret URL is named by where it is read from).
    fn id(&self) -> String;

    /// `email`, `webhook` or `exec`.
    fn kind(&self) -> &'static str;

    /// Looks at what can only be seen on this machine, such as its secrets. For `rekeyd check`; sends nothing.
    ///
    /// # Errors
    /// What would keep it from sending.
    fn check(&self) -> Result<(), Fault> {
        Ok(())
    }

    /// Whether several notices may go in one message. Where they may not, [`Message::more`] is empty.
    fn groups(&self) -> bool {
        false
    }

    /// Tells its address from others, where that is a secret and can change behind the same [`Notifier::id`]. It may have to
    /// wait for the disk.
    fn stamp(&self) -> Option<Fingerprint> {
        None
    }

    /// What it goes without though the config wants it: a sentence, or nothing where nothing is wrong. Known without waiting.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Tries once to send. `now` is the moment of this try.
    async fn send(&self, message: &Message, now: Timestamp) -> Sent;
}

/// What the channels of an owner have in common.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The connections of `[smtp]`, if there is such a section.
    pub smtp: Option<Arc<smtp::SmtpClient>>,
    /// What posts webhooks.
    pub http: Clients,
    /// The owner's time zone.
    pub timezone: Option<Tz>,
}

/// A channel as an owner wants it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// How to reach it.
    pub notifier: Arc<dyn Notifier>,
    /// Nothing below this is sent there.
    pub min_severity: Severity,
}

/// The `min_severity` of a channel that names none.
fn everything() -> Severity {
    Severity::Info
}

/// One kind of channel.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its field in `[owners.NAME]`, which holds a list.
    pub name: &'static str,
    /// Reads that list. Errors carry the place in the file, and never what stands where a secret should be referred to;
    /// show their `message()`, since their `Display` quotes the line.
    pub read: fn(ValueDeserializer<'_>, &Shared) -> Result<Vec<Wanted>, toml::de::Error>,
}

/// Every kind of channel.
pub const KINDS: &[Kind] = &[
    Kind { name: "email", read: email::read },
    Kind { name: "webhook", read: webhook::read },
    Kind { name: "exec", read: exec::read },
];

//! Everything that can make the engine move. Whatever happens arrives as one of these, in one queue, at one task.
use super::backup::News;
use super::handle::Request;
use super::observe::Observed;
use super::outbox::Answered;
use super::trial::Tried;
use crate::core::facts::{Action, Blocked, Outcome};
use crate::core::names::{AccountId, Fingerprint, KeyName};
use crate::secret::Secret;
use std::collections::BTreeMap;

/// Secrets that were found or issued, until they are sealed or dropped.
pub type FoundSecrets = BTreeMap<Fingerprint, Secret>;

/// What makes the engine move.
#[derive(Debug)]
pub enum Event {
    /// Somebody asks.
    Request(Request),
    /// It is time to look at every key: the sweep, USR1, a reload.
    Sweep,
    /// A stored time has come, or something changed that the due index must be asked about.
    Due,
    /// The room beside the state was looked at: why it is not there, if so.
    Reserve(Option<String>),
    /// The login of an account that was refused was looked at: what tells it from others, where it can be read.
    Login(AccountId, Option<Fingerprint>),
    /// A look at the world has come back.
    Observed(Box<Observed>),
    /// A look at the world broke down: a fault of ours, which must not wedge the key.
    LookBroke(KeyName),
    /// An effect has come back.
    Acted(Box<Acted>),
    /// A notifier has answered.
    Sent(Box<Answered>),
    /// Every channel of an owner has answered a test notice.
    Tried(Box<Tried>),
    /// A task for the backups has come back.
    Backup(News),
}

/// What came of one effect.
#[derive(Debug)]
pub struct Acted {
    /// For which key.
    pub name: KeyName,
    /// At which account.
    pub account: AccountId,
    /// What was done.
    pub action: Action,
    /// What came of it.
    pub outcome: Outcome,
    /// Secrets that came with it.
    pub secrets: FoundSecrets,
    /// The key that authorised a create, where keys do: it is among the account's keys, and certainly not a new one.
    pub login: Option<Fingerprint>,
    /// What the provider's answer says of the provider itself.
    pub trouble: Trouble,
    /// With which login of the provider's settings it was asked.
    pub used: Option<Fingerprint>,
}

/// What a call showed of the provider's own state.
#[derive(Clone, Debug, Default)]
pub enum Trouble {
    /// It was not asked.
    #[default]
    Unasked,
    /// It answers.
    Well,
    /// It does not, or refuses us.
    Held(Blocked),
}

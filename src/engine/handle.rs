//! What the rest of the program sees of the engine: a channel of requests, each answered once.
use super::adopt::{AdoptRefused, Adoption, Offer};
use super::meters::Meters;
use super::trial::Heard;
use crate::config::Loaded;
use crate::config::settings::Settings;
use crate::core::account::Account;
use crate::core::facts::Blocked;
use crate::core::names::{AccountId, KeyName};
use crate::core::plan::{Command, CommandRefused, Notice};
use crate::core::reader::Reader;
use crate::core::record::{Actor, Record, Rotation, VersionNo};
use crate::core::schedule::{Slots, Spans, slots};
use crate::core::time::Timestamp;
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// How many requests may wait for the engine.
pub const REQUESTS_WAITING: usize = 256;

/// Asks the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Where the engine listens.
    pub requests: mpsc::Sender<Request>,
}

/// The engine has stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the daemon is stopping")]
pub struct Stopped;

/// What the engine can be asked.
#[derive(Debug)]
pub enum Request {
    /// Whether the engine answers, and what readiness depends on; cheap, however many keys there are.
    Pulse(oneshot::Sender<Pulse>),
    /// What is true now of every key.
    Snapshot(oneshot::Sender<Snapshot>),
    /// An operator's verb for one key; `secret` comes with `adopt`, and with a new key that was got by hand.
    Command {
        /// Which key.
        name: KeyName,
        /// What to do.
        command: Box<Command>,
        /// The secret that the verb brings.
        secret: Option<Secret>,
        /// Who asks, and why.
        by: By,
        /// The answer.
        reply: oneshot::Sender<Result<Done, Refused>>,
    },
    /// An operator's verb for several keys, made durable at once.
    Commands {
        /// Which keys.
        which: Which,
        /// What to do.
        command: Box<Command>,
        /// Who asks, and why.
        by: By,
        /// The answer for each key; an error where none is meant, or one of those named is not there.
        reply: oneshot::Sender<Result<Vec<PerKey>, Refused>>,
    },
    /// The config in use.
    Settings(oneshot::Sender<Arc<Settings>>),
    /// Take over a key that is in use, once what is said of it was checked.
    Adopt {
        /// Which key.
        name: KeyName,
        /// What is said of it.
        offer: Box<Offer>,
        /// The answer.
        reply: oneshot::Sender<Result<Adoption, Refused>>,
    },
    /// The current secret of a key; audited.
    Reveal {
        /// Which key.
        name: KeyName,
        /// Who asks.
        actor: Actor,
        /// The answer.
        reply: oneshot::Sender<Result<(VersionNo, Secret), Refused>>,
    },
    /// A unit fetches its key.
    Credential {
        /// The unit.
        unit: String,
        /// What it calls the credential.
        credential: String,
        /// The answer.
        reply: oneshot::Sender<Fetched>,
    },
    /// A unit has its key: the last byte has gone out.
    CredentialRead(Receipt),
    /// What happened: of one key, or of all.
    History {
        /// Which key.
        name: Option<KeyName>,
        /// Not before.
        since: Option<Timestamp>,
        /// Not after.
        until: Option<Timestamp>,
        /// The answer.
        reply: oneshot::Sender<Result<History, Refused>>,
    },
    /// The whole state as one sealed file; audited.
    Backup {
        /// Who asks.
        actor: Actor,
        /// The answer.
        reply: oneshot::Sender<Result<Vec<u8>, Refused>>,
    },
    /// Look at every key now.
    Sweep,
    /// Use this config from now on; already checked.
    Reload {
        /// The new config.
        loaded: Box<Loaded>,
        /// Whether it may drop more keys than `max_removals`.
        allow_removals: bool,
        /// Who asks, and why; none where it was a signal.
        by: Option<By>,
        /// Answered when it is in use.
        reply: oneshot::Sender<Result<Done, Refused>>,
    },
    /// The config on disk is broken; the one in use stays.
    ConfigRejected {
        /// How.
        why: String,
        /// Who asked for a reload, and why; none where it was a signal.
        by: Option<By>,
        /// Answered when status says so, and its notice is durable.
        reply: oneshot::Sender<()>,
    },
    /// A test notice goes through every channel of an owner; one that takes it and was switched off is used again.
    TryChannels {
        /// Whose: one of the config in use.
        owner: String,
        /// Who asks.
        actor: Actor,
        /// What each answered, in the order of the config.
        reply: oneshot::Sender<Vec<Heard>>,
    },
    /// A human knows of the notices that were given up.
    AckLetters {
        /// Who asks, and why.
        by: By,
        /// The answer.
        reply: oneshot::Sender<Result<Done, Refused>>,
    },
}

impl Request {
    /// Whether it asks for nothing but what is known: then it waits for nobody, not even for the disk.
    pub(super) fn only_looks(&self) -> bool {
        matches!(self, Self::Snapshot(_) | Self::Pulse(_) | Self::Settings(_))
    }
}

/// Who asks for a verb, and why: what the history keeps of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// The reason given.
    pub reason: Option<String>,
}

/// What a unit gets that fetches its key.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// The key. Once it has all of it, that is to be told.
    Here(Receipt, Secret),
    /// Nothing yet, and why.
    Hold(String),
    /// Nothing, and why.
    Refused(String),
}

/// What a unit has read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// Of which key.
    pub name: KeyName,
    /// Which version.
    pub version: VersionNo,
    /// As what the config lists the unit.
    pub reader: Reader,
    /// The unit.
    pub unit: String,
}

/// Which keys a verb is for.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// Those with these names.
    Keys(Vec<KeyName>),
    /// Those of one provider section.
    Provider(String),
    /// Those of one owner.
    Owner(String),
    /// All that the config names.
    All,
}

/// What a verb for several keys came to for one of them.
pub type PerKey = (KeyName, Result<Done, Refused>);

/// A verb was carried out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Done {
    /// One sentence on what comes next.
    pub message: String,
    /// The number of the rotation that is under way or was asked for.
    pub attempt: Option<u32>,
}

/// Why a request was refused. Nothing was changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// No key is so, or has that name.
    #[error("{what}; {known}")]
    NoMatch {
        /// What was looked for.
        what: String,
        /// What there is instead.
        known: String,
    },
    /// The core refused the verb.
    #[error("{0}")]
    Command(#[from] CommandRefused),
    /// The key is not adopted.
    #[error("{0}")]
    Adopt(#[from] AdoptRefused),
    /// The state can't be written.
    #[error("the state can't be written: {0}")]
    Store(String),
    /// What was asked for is in memory alone.
    #[error(
        "the state can't be written: {0}; what was asked for is done once the disk takes writes again, and a restart \
         before that forgets it"
    )]
    Unsaved(String),
    /// There is no secret to show yet.
    #[error("key {0} has no version yet")]
    NoVersion(KeyName),
    /// Nothing is done but looking.
    #[error("{0}, and the daemon only observes")]
    Observing(Observing),
    /// No notice was given up.
    #[error("no notice was given up")]
    NoDeadLetters,
    /// The config drops more keys than `max_removals` allows, or the like.
    #[error("{0}")]
    Config(String),
}

/// Why the daemon does nothing but look, until somebody says that it is the one to run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Observing {
    /// The state came from another machine.
    #[error("the state came from another machine")]
    NewMachine,
    /// The process with this id was here first.
    #[error("another rekeyd on this machine (pid {0}) runs on a copy of this state")]
    Twin(i32),
}

/// Whether the engine does its work.
#[derive(Clone, Debug)]
pub struct Pulse {
    /// When this is true.
    pub now: Timestamp,
    /// Whether the newest config is not in use.
    pub config_rejected: bool,
    /// When every key was last looked at.
    pub swept_at: Timestamp,
    /// The config in use.
    pub settings: Arc<Settings>,
}

/// What is true at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When.
    pub now: Timestamp,
    /// When the daemon started.
    pub started_at: Timestamp,
    /// When the config in use was loaded.
    pub config_loaded_at: Timestamp,
    /// Why the newest config is not in use, if so.
    pub config_rejected: Option<String>,
    /// Names the installation, see [`crate::core::names::Incarnation`]; none where nothing was ever issued.
    pub install: Option<String>,
    /// The config in use.
    pub settings: Arc<Settings>,
    /// Every key on the books, in the config or not.
    pub records: BTreeMap<KeyName, Record>,
    /// Every account.
    pub accounts: BTreeMap<AccountId, Account>,
    /// What holds a key back now.
    pub blocked: BTreeMap<KeyName, Blocked>,
    /// Keys that are not adopted yet, and of which no target was seen to hold anything that could be.
    pub nothing_to_adopt: BTreeSet<KeyName>,
    /// When the engine looks at a key again.
    pub wake_at: BTreeMap<KeyName, Timestamp>,
    /// The moment that each key is given among all others, as reckoned last.
    pub slots: Slots,
    /// What each provider section said last: `None` is well, else why not and since when.
    pub provider_trouble: BTreeMap<AccountId, (Blocked, Timestamp)>,
    /// Why nothing is done but looking, if so.
    pub observing: Option<Observing>,
    /// The backups that are made by themselves; `None` where the config asks for none.
    pub backup: Option<BackupState>,
    /// What is wrong with the daemon itself: a sentence by its cause.
    pub troubles: BTreeMap<String, String>,
    /// Notices on their way.
    pub outbox_pending: u64,
    /// Notices that were given up.
    pub outbox_dead: u64,
    /// When every key was last looked at.
    pub swept_at: Timestamp,
    /// Whether the wall clock can't be believed.
    pub clock_suspect: bool,
    /// What was counted since the start.
    pub meters: Meters,
}

/// Where the backups stand that are made by themselves.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BackupState {
    /// When the newest one was made.
    pub last_at: Option<Timestamp>,
    /// When the next one is made, or tried again; `None` until the folder was looked at.
    pub next_at: Option<Timestamp>,
    /// Why the last try failed, if it did.
    pub failed: Option<String>,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Rotations that ended, oldest first.
    pub rotations: Vec<(KeyName, Rotation)>,
    /// Notices, with what came of each channel.
    pub notices: Vec<NoticeRow>,
    /// Who read a secret.
    pub reads: Vec<ReadRow>,
    /// What operators did.
    pub commands: Vec<CommandRow>,
}

/// A notice, and what came of it.
#[derive(Clone, Debug)]
pub struct NoticeRow {
    /// What was said.
    pub notice: Notice,
    /// To whom.
    pub owner: String,
    /// What came of it in each channel.
    pub channels: Vec<ChannelRow>,
}

/// What came of a notice in one channel.
#[derive(Clone, Debug)]
pub struct ChannelRow {
    /// Which.
    pub channel: String,
    /// `sent`, `pending`, `dead`, `superseded` or `off`.
    pub state: &'static str,
    /// Since when.
    pub at: Timestamp,
    /// Why the channel did not take it at the last try.
    pub why: Option<String>,
}

/// Somebody read a secret.
#[derive(Clone, Debug)]
pub struct ReadRow {
    /// Of which key.
    pub name: KeyName,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// Which version.
    pub version: VersionNo,
    /// `reveal` or `credential`.
    pub via: String,
    /// How often.
    pub times: u32,
    /// The last time, where it was several.
    pub last: Option<Timestamp>,
}

/// An operator did something.
#[derive(Clone, Debug)]
pub struct CommandRow {
    /// To which key; none where it was to the daemon.
    pub name: Option<KeyName>,
    /// When.
    pub at: Timestamp,
    /// What, as the command line calls it.
    pub verb: String,
    /// How, as the command line spells it.
    pub options: Vec<String>,
    /// Who; none where it was a signal.
    pub actor: Option<Actor>,
    /// The reason given.
    pub reason: Option<String>,
    /// What came of it, where that is more than that it was done.
    pub result: Option<String>,
}

impl Snapshot {
    /// What is known at a moment without a daemon: a config, and what the state holds. Nothing is under way.
    pub fn at_rest(now: Timestamp, settings: Arc<Settings>) -> Self {
        Self {
            now,
            started_at: now,
            config_loaded_at: now,
            config_rejected: None,
            install: None,
            settings,
            records: BTreeMap::new(),
            accounts: BTreeMap::new(),
            blocked: BTreeMap::new(),
            nothing_to_adopt: BTreeSet::new(),
            wake_at: BTreeMap::new(),
            slots: Slots::new(),
            provider_trouble: BTreeMap::new(),
            observing: None,
            troubles: BTreeMap::new(),
            backup: None,
            outbox_pending: 0,
            outbox_dead: 0,
            swept_at: now,
            clock_suspect: false,
            meters: Meters::default(),
        }
    }
}

impl Snapshot {
    /// With the moment of each key reckoned among all others, as an engine would have done it.
    pub fn reckoned(self) -> Self {
        let keys = self.settings.keys.values();
        let keys = keys.filter_map(|it| Some((self.records.get(&it.name)?, &it.policy)));
        let slots = slots(keys, &self.accounts, &mut Spans::default(), self.now);
        Self { slots, ..self }
    }
}

impl Handle {
    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// Where the engine has stopped.
    pub async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

//! What can be made durable in one commit, and the rows that are not the core's own types.
use crate::core::account::Account;
use crate::core::names::{Incarnation, KeyName, NoticeId};
use crate::core::plan::Notice;
use crate::core::record::{Actor, Record, Rotation, VersionNo};
use crate::core::time::Timestamp;
use crate::secret::Secret;
use serde::{Deserialize, Serialize};

/// Everything in it becomes durable, or nothing does.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Records of keys, new or changed.
    pub records: Vec<Record>,
    /// Records to forget. Their due times go with them, their secrets do not.
    pub drop_records: Vec<KeyName>,
    /// Records of accounts, new or changed.
    pub accounts: Vec<Account>,
    /// Secrets to seal.
    pub secrets: Vec<(KeyName, VersionNo, Secret)>,
    /// Secrets to forget.
    pub drop_secrets: Vec<(KeyName, VersionNo)>,
    /// When a key is to be looked at again; `None`: at no set time.
    pub due: Vec<(KeyName, Option<Timestamp>)>,
    /// Notices on their way, new or changed.
    pub outbox_put: Vec<OutboxRow>,
    /// Notices to forget.
    pub outbox_drop: Vec<OutboxId>,
    /// What happened.
    pub history: Vec<HistoryRow>,
    /// The config to keep as the last good one.
    pub config: Option<String>,
    /// Small things by name; `None` forgets.
    pub meta: Vec<(String, Option<Vec<u8>>)>,
    /// Whether something leaves the machine on the strength of this commit that must never be done twice (a token).
    /// A store that is rolled back to before such a commit is noticed at the next open.
    pub sealing_point: bool,
    /// Who issues tokens from now on.
    pub new_incarnation: Option<Incarnation>,
    /// The consequences of a roll-back are in this batch: don't report it again.
    pub answers_roll_back: bool,
    /// The consequences of damage are in this batch: don't report it again.
    pub answers_damage: bool,
    /// The consequences of the move to another machine are in this batch: don't report it again.
    pub answers_new_machine: bool,
}

/// One notice on its way to one channel of one owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboxRow {
    /// What is said.
    pub notice: Notice,
    /// To whom.
    pub owner: String,
    /// By which of the owner's channels; never an address with a secret in it.
    pub channel: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, while it is pending.
    pub retry_at: Timestamp,
    /// Where it stands.
    pub state: OutboxState,
    /// Since when it stands there.
    pub at: Timestamp,
    /// What the last failure said; never a secret.
    pub why: Option<String>,
    /// The message that it goes in, from before that is sent until the channel has said whether it took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<NoticeId>,
    /// Whether it may have arrived: an answer was lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
}

/// Where a notice stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxState {
    /// It is to be sent, or sent again.
    Pending,
    /// The channel took it.
    Sent,
    /// It was given up.
    Dead,
    /// It was given up, and somebody knows what it would have said.
    Acked,
    /// It was not sent: a later notice of the same incident says what holds now.
    Superseded,
    /// It was not sent: the receiver wants nothing more of this channel.
    Off,
}

/// The identity of an outbox row.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct OutboxId {
    /// Which notice.
    pub notice: NoticeId,
    /// To whom.
    pub owner: String,
    /// By which channel.
    pub channel: String,
}

impl OutboxRow {
    /// Its identity: the same notice to the same channel of the same owner is the same row.
    pub fn id(&self) -> OutboxId {
        OutboxId { notice: self.notice.id.clone(), owner: self.owner.clone(), channel: self.channel.clone() }
    }
}

/// How many notices are on their way, and how many were given up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OutboxCounts {
    /// To be sent, or sent again.
    pub pending: u64,
    /// Given up.
    pub dead: u64,
}

/// How a unit reads a key.
pub const READ_BY_UNIT: &str = "credential";

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HistoryRow {
    /// A rotation ended.
    Rotation {
        /// Of which key.
        name: KeyName,
        /// All of it.
        rotation: Rotation,
    },
    /// An owner was to be told.
    Notice {
        /// What.
        notice: Notice,
        /// Whom.
        owner: String,
    },
    /// Somebody read a secret. One that is written again, of the same key and version and by the same one, with the same moment,
    /// takes the place of the first.
    Read {
        /// Of which key.
        name: KeyName,
        /// When: the first time, where it was several.
        at: Timestamp,
        /// Who.
        by: String,
        /// Which version.
        version: VersionNo,
        /// `reveal` or `credential`.
        via: String,
        /// How often.
        #[serde(default = "once", skip_serializing_if = "is_once")]
        times: u32,
        /// The last time, where it was several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<Timestamp>,
    },
    /// An operator asked for something.
    Command {
        /// Of which key; none where it is for the daemon.
        name: Option<KeyName>,
        /// When.
        at: Timestamp,
        /// What, as the command line calls it.
        verb: String,
        /// How, as the command line spells it.
        options: Vec<String>,
        /// Who; none where it was a signal.
        actor: Option<Actor>,
        /// The reason given.
        reason: Option<String>,
        /// What came of it, where that is more than that it was done.
        #[serde(default)]
        result: Option<String>,
    },
}

fn once() -> u32 {
    1
}

fn is_once(times: &u32) -> bool {
    *times == 1
}

impl HistoryRow {
    /// Which key it is about, if one.
    pub fn name(&self) -> Option<&KeyName> {
        match self {
            Self::Rotation { name, .. } | Self::Read { name, .. } => Some(name),
            Self::Command { name, .. } => name.as_ref(),
            Self::Notice { notice, .. } => notice.key.as_ref(),
        }
    }

    /// When it happened: a rotation, when it ended.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Rotation { rotation, .. } => rotation.finished_at.unwrap_or(rotation.started_at),
            Self::Notice { notice, .. } => notice.at,
            Self::Read { at, .. } | Self::Command { at, .. } => *at,
        }
    }
}

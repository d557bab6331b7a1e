//! What happened: the JSON of `history`.
use super::Time;
use crate::core::names::{KeyName, NoticeId, TargetId};
use crate::core::plan::{NoticeKind, Severity};
use crate::core::record::{Actor, RotationResult, Trigger, VersionNo};
use serde::{Deserialize, Serialize};

/// `GET /v1/history` and `GET /v1/keys/{key}/history`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HistoryReport {
    /// Rotations that ended, oldest first.
    pub rotations: Vec<RotationRow>,
    /// Notices.
    pub notices: Vec<NoticeRow>,
    /// Who read a secret.
    pub reads: Vec<ReadRow>,
    /// What operators did.
    #[serde(default)]
    pub commands: Vec<CommandRow>,
}

/// A rotation that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RotationRow {
    /// Of which key.
    pub key: KeyName,
    /// Its number.
    pub attempt: u32,
    /// The version that it made current.
    pub version: Option<VersionNo>,
    /// What set it off.
    pub trigger: Trigger,
    /// Who, if somebody did.
    pub actor: Option<Actor>,
    /// The reason that was given.
    pub reason_given: Option<String>,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// How it ended.
    pub result: Option<RotationResult>,
    /// How long a consumer may have held a dead key.
    pub cutover_gap_ms: Option<u64>,
    /// Its phases, in order.
    pub phases: Vec<PhaseRow>,
    /// What came of each delivery.
    pub deliveries: Vec<DeliveryRow>,
}

/// One phase of a rotation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseRow {
    /// Which.
    pub phase: String,
    /// When it was entered.
    pub at: Time,
    /// How long it took; null while it lasts.
    pub ms: Option<u64>,
}

/// What came of one delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// Where to.
    pub target: TargetId,
    /// When it was last tried.
    pub at: Time,
    /// How long that took.
    pub ms: u64,
    /// `delivered`, or what went wrong.
    pub result: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// A notice, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoticeRow {
    /// The same in every try.
    pub id: NoticeId,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: NoticeKind,
    /// To which key; null where it is about a provider or the daemon itself.
    pub key: Option<KeyName>,
    /// How much it matters.
    pub severity: Severity,
    /// When it was decided.
    pub at: Time,
    /// Who was told.
    pub owner: String,
    /// One sentence.
    pub summary: String,
    /// What came of each channel.
    pub channels: Vec<ChannelRow>,
}

/// What came of a notice in one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelRow {
    /// Which.
    pub channel: String,
    /// `sent`, `pending` or `dead`; `superseded` where a later notice of the same incident says it, `off` where the receiver
    /// wants nothing more.
    pub state: String,
    /// Since when.
    pub at: Time,
    /// Why the channel did not take it at the last try; null where it did, or was not asked.
    #[serde(default)]
    pub why: Option<String>,
}

/// Somebody read a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadRow {
    /// Of which key.
    pub key: KeyName,
    /// When.
    pub at: Time,
    /// Who.
    pub by: String,
    /// Which version.
    pub version: VersionNo,
    /// `reveal` or `credential`.
    pub via: String,
    /// How often: a unit that starts again and again has one row for what it reads within an hour.
    pub times: u32,
    /// The last time, where it was several.
    pub last_at: Option<Time>,
}

/// An operator did something: a verb that was carried out, or a reload, whatever came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandRow {
    /// To which key; null where it was to the daemon.
    pub key: Option<KeyName>,
    /// When.
    pub at: Time,
    /// What, as the command line calls it.
    pub verb: String,
    /// How, as the command line spells it.
    pub options: Vec<String>,
    /// Who; null where it was a signal.
    pub actor: Option<Actor>,
    /// The reason that was given.
    pub reason_given: Option<String>,
    /// What came of it, where that is more than that it was done.
    pub result: Option<String>,
}

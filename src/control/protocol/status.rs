//! How everything is now: the JSON of `status`.
use super::Time;
use crate::core::names::{Fingerprint, KeyName};
use crate::core::record::{Actor, Expiry, RotationResult, VersionNo};
use crate::standing::{Health, PhaseName};
use serde::{Deserialize, Serialize};

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// When this was true.
    pub now: Time,
    /// The daemon itself.
    pub daemon: DaemonStatus,
    /// Every provider section.
    pub providers: Vec<ProviderStatus>,
    /// Every key, by name.
    pub keys: Vec<KeyStatus>,
}

/// How the daemon itself is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its version.
    pub version: String,
    /// Since when it runs.
    pub started_at: Time,
    /// When the config in use was loaded.
    pub config_loaded_at: Time,
    /// Whether the config in use is the newest.
    pub config_ok: bool,
    /// Why the newest config is not in use.
    pub config_error: Option<String>,
    /// Whether it does its work.
    pub state: DaemonState,
    /// The backups that are made by themselves; null where the config asks for none.
    #[serde(default)]
    pub backup: Option<BackupStatus>,
    /// What is wrong with it, and what it does not do meanwhile; a sentence each.
    #[serde(default)]
    pub troubles: Vec<String>,
    /// Notices on their way.
    pub outbox_pending: u64,
    /// Notices that were given up.
    pub outbox_dead: u64,
}

/// Where the backups stand that are made by themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackupStatus {
    /// When the newest one was made.
    pub last_at: Option<Time>,
    /// When the next one is made, or tried again.
    pub next_at: Option<Time>,
    /// Why the last try failed, if it did.
    pub last_error: Option<String>,
}

/// Whether the daemon does its work.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DaemonState {
    /// It does.
    Ok,
    /// It only reads: its state was restored, or rolled back.
    Observing,
    /// Something of its own is broken: config, clock, store or notices.
    Degraded,
}

/// How a provider section is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProviderStatus {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// What it says to us.
    pub state: ProviderState,
    /// Creates left in its account's daily budget; null where no key uses it.
    pub creates_left: Option<u32>,
    /// Since when its keys are held.
    pub held_since: Option<Time>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// What a provider says to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderState {
    /// It answers.
    Ok,
    /// It asked us to wait.
    Throttled,
    /// It refuses our login.
    Refused,
    /// It does not answer.
    Unreachable,
}

/// How a key is; also `GET /v1/keys/{key}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyStatus {
    /// Its name.
    pub name: KeyName,
    /// The section of its provider; null for an unmanaged key whose provider left the config too.
    pub provider: Option<String>,
    /// The kind of that provider.
    pub kind: Option<String>,
    /// Whose it is.
    pub owners: Vec<String>,
    /// Where it stands.
    pub phase: PhaseName,
    /// How worried to be.
    pub health: Health,
    /// Everything that is wrong with it, the worst first; empty where all is well.
    pub attention: Vec<AttentionStatus>,
    /// The commands that help now, the likeliest first.
    pub actions: Vec<String>,
    /// The version that consumers use.
    pub current: Option<VersionStatus>,
    /// The version that is to replace it.
    pub pending: Option<VersionStatus>,
    /// The newest old version that is being retired.
    pub previous: Option<VersionStatus>,
    /// Every old version that the provider may still accept, the newest first; `previous` is among them.
    #[serde(default)]
    pub old: Vec<OldVersion>,
    /// What comes next.
    pub next: Option<NextStep>,
    /// Failures in a row.
    pub failures: u32,
    /// What holds it back, and heals by itself.
    pub blocked: Option<BlockedStatus>,
    /// What went wrong last.
    pub last_error: Option<ErrorStatus>,
    /// Who holds it back, and until when.
    pub paused: Option<PausedStatus>,
    /// Why it waits for a human.
    pub halted: Option<HaltedStatus>,
    /// The last rotation that ended.
    pub last_rotation: Option<LastRotation>,
}

/// One thing that is wrong with a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttentionStatus {
    /// A closed code: `expired`, `refused`, `halted`, `overdue`, `too_late`, `stuck`, `failing`, `blocked`, `undelivered`,
    /// `unverified`, `unrevoked`, `revoke_needed`, `unadopted`, `unmanaged` or `paused`.
    pub reason: String,
    /// Since when, where that is known.
    pub since: Option<Time>,
    /// A sentence.
    pub message: String,
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionStatus {
    /// Its number.
    pub version: VersionNo,
    /// The provider's handle for it.
    pub id: Option<String>,
    /// Tells its secret from others.
    pub fingerprint: Fingerprint,
    /// Since when it is valid.
    pub valid_from: Option<Time>,
    /// Until when it is valid.
    pub valid_to: Option<Time>,
    /// Where `valid_to` comes from.
    pub expiry: Expiry,
}

/// An old version that the provider may still accept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OldVersion {
    /// The version itself.
    #[serde(flatten)]
    pub version: VersionStatus,
    /// Consumers may use it until then: it is not revoked before.
    pub not_before: Time,
    /// Whether it is left to a human, who was told: it can't be revoked from here.
    pub reported: bool,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextStep {
    /// `rotate`, `announce`, `deliver`, `verify`, `revoke`, `retry`, `notify` or `probe`.
    pub action: String,
    /// When.
    pub at: Time,
    /// A closed code.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// What holds a key back, and heals by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockedStatus {
    /// A closed code.
    pub reason: String,
    /// Until when, where that is known.
    pub until: Option<Time>,
    /// A sentence.
    pub message: String,
}

/// What went wrong last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorStatus {
    /// When.
    pub at: Time,
    /// In which phase.
    pub phase: String,
    /// A closed code.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// An operator holds a key back: nothing is begun or revoked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PausedStatus {
    /// Since when.
    pub since: Time,
    /// Until when; null where only `resume` ends it.
    pub until: Option<Time>,
    /// The reason that was given.
    pub reason_given: Option<String>,
    /// Who.
    pub actor: Option<Actor>,
}

/// Why a key waits for a human.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HaltedStatus {
    /// In which phase.
    pub phase: PhaseName,
    /// A closed code.
    pub reason: String,
    /// Since when.
    pub at: Time,
    /// A sentence.
    pub message: String,
    /// The verbs that end it.
    pub choices: Vec<String>,
}

/// The last rotation that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastRotation {
    /// Its number.
    pub attempt: u32,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// How it ended.
    pub result: Option<RotationResult>,
    /// How long a consumer may have held a dead key.
    pub cutover_gap_ms: Option<u64>,
}

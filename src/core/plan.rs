//! What a decision comes to: what to make durable, what to do then, and when to look again.
use super::account::Account;
use super::facts::{Action, Blocked, Content, Probe};
use super::names::{Fingerprint, KeyName, NoticeId, TargetId};
use super::record::{Actor, Expiry, Pause, Record, Rotation, VersionNo, Wish};
use super::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The outcome of a decision. Commit `change` first, then perform `actions`.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What becomes durable.
    pub change: Change,
    /// What is done then, in any order.
    pub actions: Vec<Action>,
    /// When to look again, if nothing happens before.
    pub wake_at: Timestamp,
    /// Why nothing is begun, if so.
    pub blocked: Option<Blocked>,
}

/// What becomes durable in one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The key's record.
    pub record: Record,
    /// Its account.
    pub account: Account,
    /// Secrets that were found in the facts or in the outcome and are now versions of ours: seal each beside the record.
    pub keep: Vec<(VersionNo, Fingerprint)>,
    /// Notices that it causes.
    pub notices: Vec<Notice>,
    /// A rotation that ended: a row of the history.
    pub finished: Option<Rotation>,
    /// The provider holds a token of ours that this state never issued: the store was rolled back, and a new epoch
    /// must begin.
    pub rolled_back: bool,
    /// The record is to be dropped, with its secrets. What happened stays in the history.
    pub forgotten: bool,
}

/// A message to the owners of a key, of a provider, or of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// Derived from the cause: the same cause gives the same id.
    pub id: NoticeId,
    /// What happened.
    pub kind: NoticeKind,
    /// To which key; none where it is about a provider or the daemon itself.
    pub key: Option<KeyName>,
    /// The provider section that it is about, where it is about no key.
    pub provider: Option<String>,
    /// How much it matters.
    pub severity: Severity,
    /// The stable id of the cause, the same while it lasts and when it is resolved.
    pub incident: String,
    /// Whether it begins or ends.
    pub status: NoticeStatus,
    /// When it was decided.
    pub at: Timestamp,
    /// One sentence.
    pub summary: String,
    /// What it means, where that is not what its kind says by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub means: Option<String>,
    /// Commands that answer it.
    pub actions: Vec<String>,
    /// The version concerned.
    pub version: Option<VersionNo>,
    /// Its fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// Its expiry.
    pub valid_to: Option<Timestamp>,
    /// What comes next.
    pub next: Option<Next>,
    /// Whether those are told too whom its owners name in `escalate_to`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escalates: bool,
    /// Of an incident that ended: how bad it was called at its worst. Whoever heard of that hears of the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_worst: Option<Severity>,
    /// Of a copy for others: the owners whom it was meant for. Their channels fail, or they have heard it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meant_for: Vec<String>,
    /// What a digest tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digest: Vec<DigestLine>,
    /// Where the clock was set back since its incident was told of before: a moment later than that, by which it ranks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks_at: Option<Timestamp>,
}

impl Notice {
    /// It says no more than what happened and when, and is an incident of its own.
    pub fn bare(id: NoticeId, kind: NoticeKind, at: Timestamp) -> Self {
        Self {
            incident: id.to_string(),
            id,
            kind,
            key: None,
            provider: None,
            severity: Severity::Info,
            status: NoticeStatus::Firing,
            at,
            summary: String::new(),
            means: None,
            actions: Vec::new(),
            version: None,
            fingerprint: None,
            valid_to: None,
            next: None,
            escalates: false,
            at_worst: None,
            meant_for: Vec::new(),
            digest: Vec::new(),
            ranks_at: None,
        }
    }
}

/// One line of a digest.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestLine {
    /// Under which heading.
    pub section: DigestSection,
    /// Which key; none where the line stands for those that are left out.
    pub key: Option<KeyName>,
    /// When that was, or will be.
    pub at: Option<Timestamp>,
    /// A sentence.
    pub message: String,
    /// The command that answers it, if one does.
    pub action: Option<String>,
}

impl Notice {
    /// What it is about, in a word: the key, else the provider section, else rekeyd itself.
    pub fn subject(&self) -> &str {
        let provider = self.provider.as_deref().unwrap_or("rekeyd");
        self.key.as_ref().map_or(provider, KeyName::as_str)
    }

    /// Whether it belongs to something that lasts, and whose end is told.
    pub fn lasts(&self) -> bool {
        self.incident != self.id.as_str()
    }

    /// What a channel's `min_severity` is compared with: who was told of an incident is told of its end.
    pub fn reach(&self) -> Severity {
        self.at_worst.map_or(self.severity, |it| it.max(self.severity))
    }
}

/// What comes next for a key, and why.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Next {
    /// `rotate`, `announce`, `deliver`, `verify`, `revoke`, `retry`, `notify` or `probe`.
    pub action: String,
    /// When.
    pub at: Timestamp,
    /// A closed code.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $code)] $variant),+ }
        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The code that scripts compare.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }
        }
    };
}

codes! {
    /// The types of notices.
    NoticeKind {
        /// A key will expire that will not be, or was not, replaced on time.
        KeyExpiring = "key.expiring",
        /// It expired.
        KeyExpired = "key.expired",
        /// The provider refuses a key that should be valid.
        KeyRefused = "key.refused",
        /// Somebody else changed the key at the provider or at a target.
        KeyDrifted = "key.drifted",
        /// A key was taken over.
        KeyAdopted = "key.adopted",
        /// A cutover is coming.
        RotationScheduled = "rotation.scheduled",
        /// The new key is in use.
        RotationSucceeded = "rotation.succeeded",
        /// An attempt failed; it is tried again.
        RotationFailed = "rotation.failed",
        /// A human must say how to go on.
        RotationHalted = "rotation.halted",
        /// A target could not be reached; it is tried again.
        DeliveryFailed = "delivery.failed",
        /// An old or lost key must be revoked by hand.
        RevokeNeeded = "revoke.needed",
        /// The provider refuses our login.
        ProviderRefused = "provider.refused",
        /// The provider asks us to slow down.
        ProviderThrottled = "provider.throttled",
        /// The daemon itself is in trouble.
        DaemonDegraded = "daemon.degraded",
        /// A backup failed.
        BackupFailed = "backup.failed",
        /// A new config was refused.
        ConfigRejected = "config.rejected",
        /// The summary of a week.
        Digest = "digest",
        /// Somebody tries whether a channel works.
        Test = "test",
    }
}

codes! {
    /// The headings of a digest, in their order.
    DigestSection {
        /// Nothing goes on without a human.
        Hand = "needs_a_hand",
        /// What fails, and is tried again.
        Failing = "failing",
        /// What will be replaced before the next digest.
        Ahead = "coming_up",
        /// What was replaced since the last digest.
        Rotated = "rotated",
    }
}

codes! {
    /// Severity by consequence.
    Severity {
        /// The rest.
        Info = "info",
        /// A human must act, nothing is broken yet.
        Warning = "warning",
        /// A consumer is, or within a day will be, without a working key.
        Critical = "critical",
    }
}

codes! {
    /// Whether a cause begins or ends.
    NoticeStatus {
        /// It begins, or lasts.
        Firing = "firing",
        /// It ended.
        Resolved = "resolved",
    }
}

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Rotate.
    Rotate(Wish),
    /// Go on now: ends a pause; where there is none, a halt or a retry's wait.
    Resume,
    /// Give up the pending version.
    Abandon,
    /// Take over a key in use.
    Adopt(Adopt),
    /// Replace a key that nobody can be asked for by this new one.
    Supply(Supply),
    /// Begin and revoke nothing.
    Pause(Pause),
    /// Go back to the previous version, and retire the new one.
    Rollback,
    /// A human has it: what is firing repeats no more until its cause changes.
    Ack {
        /// The old versions that could not be revoked from here were revoked by hand.
        revoked: bool,
    },
    /// Take the key out of service: revoke or report every version, empty the targets. Only for a key that the config
    /// does not name.
    Retire,
    /// Drop the record. Only for a key that the config does not name, and of which nothing may be live.
    Forget,
}

/// A new key that a human got, for a provider that can't be asked for one.
#[derive(Clone, Debug, PartialEq)]
pub struct Supply {
    /// Tells its secret from others.
    pub fingerprint: Fingerprint,
    /// The provider's handle, where known.
    pub id: Option<String>,
    /// Since when it is valid, where known.
    pub valid_from: Option<Timestamp>,
    /// Until when it is valid, where known.
    pub valid_to: Option<Timestamp>,
    /// Where `valid_to` comes from.
    pub expiry: Expiry,
    /// Who brings it and why, and whether it may wait for a window.
    pub wish: Wish,
}

/// A key to take over, already checked against the provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Adopt {
    /// Tells its secret from others.
    pub fingerprint: Fingerprint,
    /// The provider's handle, where known.
    pub id: Option<String>,
    /// Since when it is valid, where known.
    pub valid_from: Option<Timestamp>,
    /// Until when it is valid, where known.
    pub valid_to: Option<Timestamp>,
    /// Where `valid_to` comes from.
    pub expiry: Expiry,
    /// What the provider said to it.
    pub probe: Probe,
    /// Whether the operator insists although it could not be verified.
    pub unverified: bool,
    /// What the targets hold now.
    pub targets: BTreeMap<TargetId, Content>,
    /// Whether the operator wants other content at the targets to be overwritten.
    pub deliver: bool,
    /// Who.
    pub actor: Option<Actor>,
}

/// Why a command was refused. Nothing was changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CommandRefused {
    /// It has no sense in this phase.
    #[error("not possible in this phase")]
    Phase,
    /// The provider calls the key dead.
    #[error("the provider refuses this key")]
    Dead,
    /// It was not verified, and nobody insisted.
    #[error("the key could not be verified")]
    Unverified,
    /// Giving up the new key would leave consumers without any soon.
    #[error("the old key is near its end, and consumers would be left without any")]
    OldKeyEnding,
    /// Giving up the new key would leave consumers without any.
    #[error("the provider refuses the old key, and consumers would be left without any")]
    OldKeyDead,
    /// The account has one key at a time, and the new one is there.
    #[error("the new key ended the old one at this provider")]
    OldKeyReplaced,
    /// Nobody knows whether the old key still works.
    #[error("a create was sent that may have ended the old key, which has not been seen to be accepted since")]
    OldKeyInDoubt,
    /// It is past the point of giving it up.
    #[error("the new key is in use already, and the old one is not kept beside it")]
    NewKeyInUse,
    /// There never was a version before this one.
    #[error("it is its first key: there is no old one to go back to")]
    FirstKey,
    /// A revocation of it was sent.
    #[error("this key is being revoked already")]
    BeingRevoked,
    /// A target holds another value.
    #[error("{0} holds another value; add --deliver to overwrite it")]
    TargetHolds(TargetId),
    /// The key is not adopted yet.
    #[error("the key is not adopted yet")]
    Unadopted,
    /// Nobody can be asked for a new key, and none was brought.
    #[error("it is replaced by hand, and no new key was given")]
    NoKeyGiven,
    /// A new key was brought, but the provider issues its keys itself.
    #[error("its provider is asked for new keys; none can be given by hand")]
    IssuedByProvider,
    /// The key that was brought is, or was, this version.
    #[error("this is no new key: it is version {0}")]
    NotNew(VersionNo),
    /// It waits for a human's decision first.
    #[error("it is halted, and waits for a decision first")]
    Halted,
    /// An operator holds the key back.
    #[error("it is paused")]
    Paused,
    /// A rotation has begun, and must end first.
    #[error("a rotation is under way")]
    RotationUnderWay,
    /// Likewise, and nothing but its end can end it.
    #[error("a rotation is under way, and can't be given up any more")]
    RotationToItsEnd,
    /// There is this reason, and what would help elsewhere is refused too: the key waits for a human's decision first.
    #[error("{0}; it is halted, and waits for a decision first")]
    Undecided(Box<CommandRefused>),
    /// There is no previous version that may still be valid.
    #[error("there is no previous version to go back to")]
    NoPrevious,
    /// A create ends the old key at this provider.
    #[error("a new key ends the old one at this provider, so that there is none to go back to")]
    OldKeysEnd,
    /// The previous version is refused by the provider, near its end, or being revoked already.
    #[error("the previous version is refused by the provider, near its end, or being revoked already")]
    PreviousEnding,
    /// Nobody can say whether the previous version still works.
    #[error("the provider can't be asked whether the previous version is still accepted")]
    PreviousUnknown,
    /// There is no new version.
    #[error("there is no new version to give up")]
    NothingPending,
    /// Nothing is firing.
    #[error("nothing is firing that could be acknowledged")]
    NothingFiring,
    /// No old version waits for a human to revoke it.
    #[error("no old version waits to be revoked by hand")]
    NothingToRevoke,
    /// The config still names the key.
    #[error("the config still names it")]
    Managed,
    /// The config does not name the key.
    #[error("the config does not name it")]
    Unmanaged,
    /// A version may still be accepted by the provider.
    #[error("version {0} may still be valid")]
    MayLive(VersionNo),
    /// A create has not ended.
    #[error("what came of a create of it is not known yet")]
    OpenCreate,
}

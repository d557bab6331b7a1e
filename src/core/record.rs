//! The durable state of one managed key. The secrets themselves live in the store, never here.
pub use super::held::Held;
pub use super::wish::{Actor, Pause, Trigger, Wish};

use super::names::{AccountId, Fingerprint, KeyName, NoticeId, TargetId, Token};
use super::plan::{NoticeKind, Severity};
use super::policy::OnCreate;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The number of a version of a key, from 1. Never used twice.
pub type VersionNo = u32;

/// Where the date of an expiry comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// The provider said it.
    Reported,
    /// The operator said it.
    Stated,
    /// Reckoned from `valid_for`.
    Assumed,
    /// Nobody knows it.
    Unknown,
    /// It never expires.
    Never,
}

/// One issued key.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// Its number in our books.
    pub number: VersionNo,
    /// The account that issued it, and where alone it is verified and revoked.
    pub account: AccountId,
    /// The provider's handle for it, needed to revoke it.
    pub id: Option<String>,
    /// Tells its secret from others.
    pub fingerprint: Fingerprint,
    /// The attempt that created it; none for an adopted key.
    pub token: Option<Token>,
    /// When it came to us.
    pub obtained_at: Timestamp,
    /// Since when the provider accepts it, if stated.
    pub valid_from: Option<Timestamp>,
    /// Until when the provider accepts it, if known.
    pub valid_to: Option<Timestamp>,
    /// Where `valid_to` comes from.
    pub expiry: Expiry,
    /// When we first saw it accepted. Until then a refusal proves nothing (it is the probe's control).
    pub first_alive: Option<Timestamp>,
    /// When we last saw it accepted.
    pub last_alive: Option<Timestamp>,
    /// Since when it is refused, uninterrupted, in spite of the control.
    pub dead_since: Option<Timestamp>,
    /// The restriction that it was created under; none for an adopted key.
    pub restriction: Option<String>,
    /// Whether it was ever, or may ever have been, brought to a target.
    pub delivered: bool,
    /// Whether it was current before it was retired. One that was given up on its way to the targets never was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_current: bool,
}

/// Where the issuing of a key stands. Retiring old keys runs beside it, see [`Retired`].
///
/// ```text
///  issue:   Steady ─due─► Announce ─window, preflight─► Create ─created─► Verify ─alive, or deadline─► Deliver ─settled─► Steady
///           (cutover)                    retry or recover └─┘               │ refused: retire, back off      └ promote, old → retired
///           (cutover: Create ─► promote, Cutover: deliver ─► verify ─► Steady;  Unknown: Create ─► Judge ─► Verify | Cutover)
///  Unadopted ── adopt | initial = "create" ──► Steady       Reobserve ──► Steady | Halted
///  Halted { reason, resume } needs a verb;  Blocked(condition) is derived each pass and heals
/// ```
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Phase {
    /// The key is not ours yet.
    Unadopted,
    /// The state was restored or rolled back: read before doing anything.
    Reobserve {
        /// Since when.
        since: Timestamp,
    },
    /// Nothing to do until the current version nears expiry.
    Steady,
    /// The owners were told that a cutover comes; not before `until`.
    Announce {
        /// The announced moment.
        until: Timestamp,
    },
    /// A create is owed, or its outcome is in doubt.
    Create(Creating),
    /// The pending version exists at an account that says not what a create does; is the old one still accepted?
    Judge {
        /// The new version.
        pending: Version,
        /// Since when.
        since: Timestamp,
    },
    /// The pending version exists beside the current one; is it accepted?
    Verify {
        /// The new version.
        pending: Version,
        /// Since when.
        since: Timestamp,
    },
    /// The pending version is on its way to the targets.
    Deliver {
        /// The new version.
        pending: Version,
        /// Since when.
        since: Timestamp,
    },
    /// The old version is dead: the current one is on its way to the targets, then verified.
    Cutover {
        /// Since when.
        since: Timestamp,
        /// When every push target held it.
        delivered_at: Option<Timestamp>,
        /// How many further creates were made because the provider refused the new key.
        again: u32,
    },
    /// A human must say how to go on.
    Halted {
        /// Why.
        reason: Reason,
        /// Since when.
        at: Timestamp,
        /// Where `resume` goes on.
        resume: Box<Phase>,
    },
}

/// A create that is owed, or whose outcome is in doubt.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Creating {
    /// The last attempt, while its outcome is in doubt.
    pub token: Option<Token>,
    /// How many answers of this rotation were lost.
    pub lost: u32,
    /// How many keys of this rotation were refused after they had been created.
    pub refused: u32,
    /// How many creates were made because the provider refused the new key after a cutover.
    pub again: u32,
}

/// Why a key needs a human. Closed: scripts compare these codes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A create's answer was lost and the provider can't be asked what came of it.
    AmbiguousCreate,
    /// More new keys than creates of ours.
    UnexpectedKeys,
    /// The first answer of an account with keys that we don't know.
    NoBaseline,
    /// Another installation issues tokens for this key.
    AnotherDaemon,
    /// Somebody else rotates the key again and again.
    SomebodyElseRotates,
    /// Somebody else changed the key, and `on_drift` says to wait.
    Drifted,
    /// The provider refuses the key before its time, nobody here revoked it, and `on_drift` says to wait.
    KeyRefused,
    /// The provider refuses every key that it issues to us.
    NewKeyRefused,
    /// The old key is dead and no new one could be had.
    OldKeyDead,
    /// The restored state can't be matched with what the provider and the targets hold.
    Restored,
    /// Both the key that authorises the calls and its successor are refused.
    LoginLost,
    /// The state lost what it knew of the key.
    Damaged,
}

impl Reason {
    /// The code that scripts compare.
    pub fn code(self) -> &'static str {
        match self {
            Self::AmbiguousCreate => "ambiguous_create",
            Self::UnexpectedKeys => "unexpected_keys",
            Self::NoBaseline => "no_baseline",
            Self::AnotherDaemon => "another_daemon",
            Self::SomebodyElseRotates => "somebody_else_rotates",
            Self::Drifted => "drifted",
            Self::KeyRefused => "key_refused",
            Self::NewKeyRefused => "new_key_refused",
            Self::OldKeyDead => "old_key_dead",
            Self::Restored => "restored",
            Self::LoginLost => "login_lost",
            Self::Damaged => "damaged",
        }
    }
}

/// An old key on its way out, beside whatever is being issued.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retired {
    /// Which.
    pub version: Version,
    /// Not revoked before this moment: the end of the overlap.
    pub after: Timestamp,
    /// When its overlap began; a stored deadline is never believed beyond this plus the overlap.
    pub since: Timestamp,
    /// Failed revoke calls.
    pub failures: u32,
    /// When the next revoke call may be made.
    pub retry_at: Option<Timestamp>,
    /// Whether a revoke call was sent for it: it never comes back.
    pub ending: bool,
    /// How it ended.
    pub ended: Option<Ended>,
}

/// How a key ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The provider refuses it: we revoked it, or the next create did.
    Revoked,
    /// It can't be revoked from here: an owner was told its id or fingerprint.
    Reported,
    /// Its time was up.
    Expired,
}

/// One rotation, from its intent to its end; then a row of the history.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Its number, from 1.
    pub attempt: u32,
    /// What set it off.
    pub wish: Wish,
    /// Whether it goes back to the previous version, instead of creating one.
    pub rollback: bool,
    /// The account that it creates at, whatever the config says meanwhile.
    pub account: AccountId,
    /// What a create was taken to do when it began.
    pub on_create: OnCreate,
    /// The overlap that was promised when it began, in milliseconds.
    pub overlap_ms: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How it ended.
    pub result: Option<RotationResult>,
    /// The version that it made current.
    pub version: Option<VersionNo>,
    /// When the old key died, where it died before the new one was delivered.
    pub cut_at: Option<Timestamp>,
    /// How long a consumer may have held a dead key, in milliseconds.
    pub cutover_gap_ms: Option<u64>,
    /// When each phase was entered (the newest [`PHASES_KEPT`]).
    pub phases: Vec<(String, Timestamp)>,
    /// What came of each delivery.
    pub deliveries: BTreeMap<TargetId, Delivery>,
}

/// What came of delivering to one target in one rotation.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// When it was last tried.
    pub at: Timestamp,
    /// How long that took, in milliseconds.
    pub ms: u64,
    /// `delivered`, or what went wrong.
    pub result: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// How a rotation ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationResult {
    /// The new key is in use.
    Succeeded,
    /// It was given up.
    Failed,
    /// It needed a human.
    Halted,
}

/// Something that lasts, and that the owners were told of.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// When it began.
    pub since: Timestamp,
    /// What was told last.
    pub kind: NoticeKind,
    /// How bad it was called at its worst.
    pub severity: Severity,
    /// Whether a human said that it is in hand: it is not told again until it becomes something else, or worse.
    pub acked: bool,
    /// Whether those were told too whom its owners name in `escalate_to`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escalated: bool,
}

/// What went wrong last.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastError {
    /// When.
    pub at: Timestamp,
    /// In which phase, as `status` spells it.
    pub phase: String,
    /// A closed code.
    pub reason: String,
    /// A sentence for people; never a secret.
    pub message: String,
}

/// Everything durable of one managed key.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Which key.
    pub name: KeyName,
    /// Grows with every change: an outcome of an older plan is told from one of this.
    pub revision: u64,
    /// Where the issuing stands.
    pub phase: Phase,
    /// The version that consumers use.
    pub current: Option<Version>,
    /// Old versions on their way out, and those that ended (the newest [`ENDED_KEPT`]).
    pub retired: Vec<Retired>,
    /// What each target holds.
    pub held: BTreeMap<TargetId, Held>,
    /// The fingerprints of every version that ever was ours (the newest [`SEEN_KEPT`]).
    pub seen: BTreeMap<Fingerprint, VersionNo>,
    /// The number of the last version.
    pub last_version: VersionNo,
    /// The number of the last token.
    pub last_token: u32,
    /// The number of the last rotation.
    pub last_attempt: u32,
    /// A rotation that was asked for and has not begun.
    pub wish: Option<Wish>,
    /// The rotation that is under way.
    pub rotation: Option<Rotation>,
    /// The last one that ended.
    pub last_rotation: Option<Rotation>,
    /// Failures in a row.
    pub failures: u32,
    /// Nothing is tried again before this moment.
    pub retry_at: Option<Timestamp>,
    /// When the current version was last probed.
    pub probed_at: Option<Timestamp>,
    /// How often somebody else's change made us rotate since the key was last seen lastingly alive.
    pub drifts: u32,
    /// Tokens at the provider that others issued for this key, and that a human was told of.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub strangers: BTreeSet<Token>,
    /// The restrictions under which a key of ours was seen accepted from here (`""` is none): the probe's control.
    pub controls: BTreeSet<String>,
    /// A key that was read once and must be read again before it is believed: its fingerprint, and since when.
    pub sighting: Option<(Fingerprint, Timestamp)>,
    /// What went wrong last.
    pub last_error: Option<LastError>,
    /// Notices that were committed, with when: none is sent twice for one cause.
    pub told: BTreeMap<NoticeId, Timestamp>,
    /// Incidents that have not ended, by cause.
    pub incidents: BTreeMap<String, Incident>,
    /// An operator holds the key back.
    pub paused: Option<Pause>,
    /// Since when the key is taken out of service: its versions are revoked or reported, and its targets emptied.
    pub decommissioned: Option<Timestamp>,
    /// Its owners as the config last named them.
    pub owners: Vec<String>,
    /// Since when the config no longer names it.
    pub unmanaged_since: Option<Timestamp>,
    /// When the record was last changed.
    pub changed_at: Timestamp,
}

/// How many ended versions a record keeps.
pub const ENDED_KEPT: usize = 16;
/// How many fingerprints a record remembers: a key that is replaced every ten minutes has as many in a month.
pub const SEEN_KEPT: usize = 4096;
/// How many changes of phase a rotation remembers.
pub const PHASES_KEPT: usize = 32;
/// How many notices a record remembers.
pub const TOLD_KEPT: usize = 512;

impl Record {
    /// A key that was never ours.
    pub fn new(name: KeyName, now: Timestamp) -> Self {
        Self {
            name,
            revision: 0,
            phase: Phase::Unadopted,
            current: None,
            retired: Vec::new(),
            held: BTreeMap::new(),
            seen: BTreeMap::new(),
            last_version: 0,
            last_token: 0,
            last_attempt: 0,
            wish: None,
            rotation: None,
            last_rotation: None,
            failures: 0,
            retry_at: None,
            probed_at: None,
            drifts: 0,
            strangers: BTreeSet::new(),
            controls: BTreeSet::new(),
            sighting: None,
            last_error: None,
            told: BTreeMap::new(),
            incidents: BTreeMap::new(),
            owners: Vec::new(),
            unmanaged_since: None,
            paused: None,
            decommissioned: None,
            changed_at: now,
        }
    }

    /// Whether an operator holds the key back at this moment.
    pub fn is_paused(&self, now: Timestamp) -> bool {
        self.paused.as_ref().is_some_and(|it| it.until.is_none_or(|until| now < until))
    }

    /// The version that is to replace the current one, if it exists already.
    pub fn pending(&self) -> Option<&Version> {
        pending_of(&self.phase)
    }

    /// Every version that may still be live: current, pending, and the retired ones that have not ended.
    pub fn live_versions(&self) -> impl Iterator<Item = &Version> {
        let retired = self.retired.iter().filter(|it| it.ended.is_none()).map(|it| &it.version);
        self.current.iter().chain(self.pending()).chain(retired)
    }

    /// The newest old version that has not ended.
    pub fn retiring(&self) -> Option<&Retired> {
        self.retired.iter().filter(|it| it.ended.is_none()).max_by_key(|it| it.version.number)
    }

    /// Whether consumers of this key use this secret, or are about to.
    pub fn uses(&self, secret: &Fingerprint, now: Timestamp) -> bool {
        let held = |number| self.held.values().any(|it| it.may_hold(number));
        let old = self.retired.iter().filter(|it| it.ended.is_none());
        let old = old.filter(|it| it.after > now || held(it.version.number)).map(|it| &it.version);
        self.current.iter().chain(self.pending()).chain(old).any(|it| it.fingerprint == *secret)
    }

    /// The version with this number, as long as it is on the books.
    pub fn version(&self, number: VersionNo) -> Option<&Version> {
        let retired = self.retired.iter().map(|it| &it.version);
        self.current.iter().chain(self.pending()).chain(retired).find(|it| it.number == number)
    }
}

fn pending_of(phase: &Phase) -> Option<&Version> {
    match phase {
        Phase::Judge { pending, .. } | Phase::Verify { pending, .. } | Phase::Deliver { pending, .. } => Some(pending),
        Phase::Halted { resume, .. } => pending_of(resume),
        _ => None,
    }
}

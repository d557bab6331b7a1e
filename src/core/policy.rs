//! What is true of a provider, and what the operator asks for: the two things that a decision is bound by.
use super::calendar::Calendar;
use super::freeze::Freeze;
use super::names::{AccountId, TargetId};
use super::reader::Reader;
use super::record::Record;
use super::rules::{self, Rule};
use super::schedule::Slot;
use super::window::Window;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a create does to the keys that were there before.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCreate {
    /// They stay valid.
    Keeps,
    /// They are dead at once.
    Revokes,
    /// Nobody says; what is learned is kept in the account.
    Unknown,
}

/// How a key is found again whose create took effect but whose answer was lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Recover {
    /// By the token in the name of a listed key.
    ListByName,
    /// By reading the account's one current key.
    ReadCurrent,
    /// By comparing a list call's answer with what was known.
    DiffList,
    /// Only by comparing the next create's answer, which lists all keys.
    DiffAnswer,
    /// Not at all.
    None,
}

impl Recover {
    /// Whether a new key is told from the others only by difference.
    pub fn is_difference(self) -> bool {
        matches!(self, Self::DiffList | Self::DiffAnswer)
    }
}

/// What a provider can do, as data: the core decides on nothing else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Capabilities {
    /// Whether it can be asked for a new key. Where it can't, a human gets one and brings it.
    pub creates: bool,
    /// What a create does to the keys that were there before.
    pub on_create: OnCreate,
    /// How a lost create is found again.
    pub recover: Recover,
    /// Whether a key can be revoked, by its id. Where it can't, an old key ends as reported.
    pub revokes_by_id: bool,
    /// Whether the answer states the key's expiry.
    pub reports_expiry: bool,
    /// Whether it can be asked if a key is accepted.
    pub probes: bool,
}

/// How long before its expiry a key is replaced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RotateBefore {
    /// This long before.
    Lead(Duration),
    /// This share of its lifetime before, in percent.
    Share(f64),
}

/// What to do where a lost answer can't be recovered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnAmbiguous {
    /// Wait for a human.
    Halt,
    /// Create once more, after `settle`.
    CreateAgain,
}

/// What to do when somebody else changed the key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnDrift {
    /// Take their key, where it may be believed; else rotate.
    Adopt,
    /// Rotate.
    Rotate,
    /// Wait for a human.
    Halt,
}

/// How a key enters our care.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Initial {
    /// By the operator's `adopt`.
    Adopt,
    /// By a first create, while every readable target is absent or empty.
    Create,
}

/// Whether a window may be left to beat expiry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OutsideWindow {
    /// In the last safe moment.
    IfExpiring,
    /// Never: tell the owners instead.
    Never,
}

/// Who brings the key to a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// We bring it; whether the target's content can be read back.
    Push {
        /// Whether `observe` can tell what the target holds.
        readable: bool,
    },
    /// It fetches the key itself: a provider whose calls this key authorises.
    Pull,
    /// Its units fetch the key themselves, each when it starts.
    Read {
        /// Whether there is a `then` that makes them start anew.
        nudges: bool,
    },
}

/// One place that the key must reach.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TargetPolicy {
    /// Which.
    pub id: TargetId,
    /// Who brings it.
    pub reach: Reach,
    /// Whether it has a `confirm` that shows that the consumer works with the key.
    pub confirms: bool,
    /// The units that read it, where it is read.
    pub readers: Vec<Reader>,
}

/// Everything that the config says of one managed key, complete and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// At which account the next key is created.
    pub account: AccountId,
    /// What its provider can do.
    pub provider: Capabilities,
    /// What the providers of former accounts can do, where old versions of this key may still live.
    pub former: BTreeMap<AccountId, Capabilities>,
    /// Which fingerprintless group of keys a create belongs to (Single-Invoice's package), so that lost creates of
    /// another package are never taken for this key's.
    pub package: Option<String>,
    /// Under which restriction keys are created (an allow list, as text). A refusal of such a key proves nothing to a
    /// daemon that never saw a key accepted under the same restriction.
    pub restriction: Option<String>,
    /// Where a human gets a new key, where only a human can: told with each reminder.
    pub instructions: Option<String>,
    /// How long before expiry the key is replaced.
    pub rotate_before: RotateBefore,
    /// The lifetime asked of the provider; assumed where it reports none.
    pub valid_for: Option<Duration>,
    /// Replaced at this age even if it lives longer.
    pub max_age: Option<Duration>,
    /// At least this long both keys stay valid after delivery.
    pub overlap: Duration,
    /// When a rotation may begin and an old key may be revoked; empty: at any time.
    pub windows: Vec<Window>,
    /// When nothing may begin, whatever the windows say.
    pub freezes: Vec<Freeze>,
    /// A cutover is announced this long before.
    pub announce: Duration,
    /// Whether a window or a freeze may be left to beat expiry.
    pub outside_window: OutsideWindow,
    /// Keys with the same word are replaced in one window.
    pub together: Option<String>,
    /// The moment that [`schedule`](mod@super::schedule) gives the key among all others; without one its own rules decide.
    pub slot: Option<Slot>,
    /// What to do where a lost answer can't be recovered.
    pub on_ambiguous: OnAmbiguous,
    /// What to do when somebody else changed the key.
    pub on_drift: OnDrift,
    /// How the key enters our care.
    pub initial: Initial,
    /// Where the key must go.
    pub targets: Vec<TargetPolicy>,
    /// A new key may be refused this long before it counts as dead.
    pub accept_within: Duration,
    /// How long an absence must last before it is believed.
    pub settle: Duration,
    /// How long a lost create is looked for before it is reported.
    pub watch: Duration,
    /// How many creates the account allows in any 24 hours.
    pub creates_per_day: u32,
    /// When expiry is announced to the owners: this long before.
    pub notify_before: Vec<Duration>,
    /// With less than this left, a key is near its end.
    pub escalate_before: Duration,
    /// How long the end of an old key waits for units to read the new one before the owners are told.
    pub ack_timeout: Duration,
    /// A rotation that takes longer is told as stuck.
    pub stuck_after: Duration,
    /// How often a steady key is probed.
    pub probe_every: Duration,
}

impl Policy {
    /// Of a key that the config no longer names: nothing can be done for it, and nothing is asked.
    pub fn unmanaged(account: AccountId) -> Self {
        Self {
            account,
            provider: Capabilities {
                creates: false,
                on_create: OnCreate::Unknown,
                recover: Recover::None,
                revokes_by_id: false,
                reports_expiry: false,
                probes: false,
            },
            former: BTreeMap::new(),
            package: None,
            restriction: None,
            instructions: None,
            rotate_before: RotateBefore::Lead(Duration::ZERO),
            valid_for: None,
            max_age: None,
            overlap: Duration::ZERO,
            windows: Vec::new(),
            freezes: Vec::new(),
            announce: Duration::ZERO,
            outside_window: OutsideWindow::Never,
            together: None,
            slot: None,
            on_ambiguous: OnAmbiguous::Halt,
            on_drift: OnDrift::Halt,
            initial: Initial::Adopt,
            targets: Vec::new(),
            accept_within: Duration::ZERO,
            settle: Duration::ZERO,
            watch: Duration::ZERO,
            creates_per_day: 0,
            notify_before: Vec::new(),
            escalate_before: Duration::ZERO,
            ack_timeout: Duration::ZERO,
            stuck_after: Duration::ZERO,
            probe_every: Duration::MAX,
        }
    }

    /// Whether no new key can ever be had by it, so that an expiry is always to be told.
    pub fn issues_nothing(&self) -> bool {
        self.creates_per_day == 0
    }

    /// The policy by which a key is worked on: a rotation stays at the account that it began at, whatever the config
    /// says meanwhile.
    pub fn working(&self, record: &Record) -> Cow<'_, Self> {
        let account = record.rotation.as_ref().map(|it| &it.account).filter(|it| **it != self.account);
        let Some((account, provider)) = account.and_then(|it| self.former.get_key_value(it)) else {
            return Cow::Borrowed(self);
        };
        let mut working = self.clone();
        working.former.insert(self.account.clone(), self.provider);
        working.account = account.clone();
        working.provider = *provider;
        Cow::Owned(working)
    }

    /// When something may begin.
    pub fn calendar(&self) -> Calendar<'_> {
        Calendar {
            windows: if rules::holds(Rule::Window) { &self.windows } else { &[] },
            freezes: if rules::holds(Rule::Freeze) { &self.freezes } else { &[] },
        }
    }

    /// The policy of one target, if the config still names it.
    pub fn target(&self, id: &TargetId) -> Option<&TargetPolicy> {
        self.targets.iter().find(|it| it.id == *id)
    }
}

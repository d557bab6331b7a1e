//! What will happen: the JSON of `plan`.
use super::Time;
use crate::core::account::Account;
use crate::core::names::{AccountId, KeyName};
use crate::core::record::{Record, VersionNo};
use serde::{Deserialize, Serialize};

/// `GET /v1/plan`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanReport {
    /// From when.
    pub now: Time,
    /// Up to when.
    pub until: Time,
    /// Names the installation; null where nothing was ever issued.
    pub install: Option<String>,
    /// What will happen, by time.
    pub entries: Vec<PlanEntry>,
    /// What can't be foreseen, or needs a human first.
    pub warnings: Vec<PlanWarning>,
    /// The fullest 24 hours of each account, held against its daily budget.
    pub peaks: Vec<PlanPeak>,
    /// The windows of the keys in this plan.
    pub windows: Vec<PlanWindow>,
    /// The freezes of the keys in this plan.
    pub freezes: Vec<PlanFreeze>,
}

/// One thing that will happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanEntry {
    /// When.
    pub at: Time,
    /// To which key; null where it is an owner's digest.
    pub key: Option<KeyName>,
    /// `rotate`, `announce`, `notify`, `revoke`, `probe` or `digest`.
    pub action: String,
    /// In which window, if in one.
    pub window: Option<WindowStatus>,
    /// A closed code.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// Until when the version concerned is valid.
    pub valid_to: Option<Time>,
    /// The number of the version concerned: the one that is replaced, revoked or told of.
    pub version: Option<VersionNo>,
    /// The section of its provider; null where the config has none any more.
    pub provider: Option<String>,
    /// Whose it is.
    pub owners: Vec<String>,
}

impl PlanEntry {
    /// The key's name, where it is about one.
    pub fn key_name(&self) -> &str {
        self.key.as_ref().map_or("-", |it| it.as_str())
    }
}

/// One opening of a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowStatus {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// From.
    pub opens: Time,
    /// Up to, not including.
    pub closes: Time,
}

/// A key whose future needs a word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanWarning {
    /// Which key.
    pub key: KeyName,
    /// A closed code.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// The fullest 24 hours of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanPeak {
    /// Which account.
    pub account: AccountId,
    /// The provider sections that speak for it.
    pub providers: Vec<String>,
    /// When they begin: with the first of these creates.
    pub from: Time,
    /// How many creates fall into them.
    pub creates: u32,
    /// How many it allows in any 24 hours.
    pub creates_per_day: u32,
}

/// A window in words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanWindow {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The zone of its times.
    pub timezone: String,
    /// When it opens, and for how long.
    pub message: String,
    /// Its next openings, that of now included; freezes are not heeded.
    pub openings: Vec<WindowStatus>,
}

/// A freeze in words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanFreeze {
    /// Its name.
    pub name: String,
    /// When it holds.
    pub message: String,
    /// Its next times, that of now included.
    pub spans: Vec<FreezeSpan>,
}

/// One time of a freeze.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FreezeSpan {
    /// From.
    pub from: Time,
    /// Up to, not including.
    pub to: Time,
}

/// `GET /v1/plan/facts`: all that a plan is reckoned from but the config, and the plan for the config in use. It is there for
/// `plan --what-if` of the same version; records and accounts are as that version keeps them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanFacts {
    /// The daemon's version.
    pub version: String,
    /// What will happen by the config in use.
    pub plan: PlanReport,
    /// The keys that the config in use names.
    pub named: Vec<KeyName>,
    /// Every key on the books.
    pub records: Vec<Record>,
    /// Every account.
    pub accounts: Vec<Account>,
}

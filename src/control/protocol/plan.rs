//! What will happen: the JSON of `plan`.
use super::Time;
use crate::core::names::KeyName;
use serde::{Deserialize, Serialize};

/// `GET /v1/plan`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanReport {
    /// From when.
    pub now: Time,
    /// What will happen, by time.
    pub entries: Vec<PlanEntry>,
    /// What can't be foreseen, or needs a human first.
    pub warnings: Vec<PlanWarning>,
}

/// One thing that will happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanEntry {
    /// When.
    pub at: Time,
    /// To which key.
    pub key: KeyName,
    /// `rotate`, `announce`, `notify`, `revoke` or `probe`.
    pub action: String,
    /// In which window, if in one.
    pub window: Option<WindowStatus>,
    /// A closed code.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// Until when the version concerned is valid.
    pub valid_to: Option<Time>,
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
    /// A sentence.
    pub message: String,
}

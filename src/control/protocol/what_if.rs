//! What another config would change: the JSON of `plan --what-if`.
use super::{PlanPeak, PlanWarning, Time};
use crate::core::names::{AccountId, KeyName};
use crate::core::record::VersionNo;
use serde::{Deserialize, Serialize};

/// `plan --what-if FILE --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhatIf {
    /// From when both were looked at.
    pub now: Time,
    /// Up to when.
    pub until: Time,
    /// Whether no key would be worse off than with the config of today.
    pub ok: bool,
    /// Keys that only the other config names.
    pub appear: Vec<KeyName>,
    /// Keys that only the config of today names.
    pub disappear: Vec<KeyName>,
    /// Rotations of keys of both that are in one plan only, or at another time, by that time.
    pub moves: Vec<Move>,
    /// Keys that would be rotated outside their windows, or expire; and were not before.
    pub late: Vec<Late>,
    /// Accounts that would come to another fullest day, or another budget.
    pub budgets: Vec<BudgetChange>,
    /// What else would need a word, and did not before.
    pub warnings: Vec<PlanWarning>,
    /// Why a reload would refuse the other config, where it drops too many keys.
    #[serde(default)]
    pub refused: Option<String>,
}

/// One rotation that moves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Move {
    /// Of which key.
    pub key: KeyName,
    /// Which version it replaces.
    pub version: VersionNo,
    /// When by the config of today; null where not at all within this time.
    pub from: Option<Time>,
    /// When by the other; null where not at all within this time.
    pub to: Option<Time>,
    /// The closed code of the one that stays, or else of the one that goes.
    pub reason: String,
    /// Why then: a sentence.
    pub message: String,
}

/// A key that the other config leaves no window in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Late {
    /// Which key.
    pub key: KeyName,
    /// When it would be rotated outside its windows; null where it would expire.
    pub at: Option<Time>,
    /// A closed code.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// What becomes of the fullest day of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetChange {
    /// Which account.
    pub account: AccountId,
    /// Today; null where it has none.
    pub before: Option<PlanPeak>,
    /// With the other config; null where it has none.
    pub after: Option<PlanPeak>,
}

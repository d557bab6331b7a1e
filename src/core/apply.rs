//! Folds the outcome of one action into the record.
use super::account::Account;
use super::facts::{Action, Outcome};
use super::names::Incarnation;
use super::plan::Change;
use super::policy::Policy;
use super::record::Record;
use super::time::Timestamp;

/// Folds the outcome of one action into the record. Whatever happened meanwhile, a created secret is kept.
pub fn apply(
    record: &Record,
    account: &Account,
    action: &Action,
    outcome: &Outcome,
    policy: &Policy,
    by: &Incarnation,
    now: Timestamp,
) -> Change {
    todo!("{record:?} {account:?} {policy:?} {action:?} {outcome:?} {by:?} {now:?}")
}

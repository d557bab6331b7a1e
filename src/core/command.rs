//! An operator's verbs.
use super::account::Account;
use super::plan::{Change, Command, CommandRefused};
use super::policy::Policy;
use super::record::Record;
use super::time::Timestamp;

/// Folds an operator's verb into the record.
///
/// # Errors
/// Where the verb would lose a key, or has no sense in this phase. Nothing is changed then.
pub fn command(
    record: &Record,
    account: &Account,
    command: &Command,
    policy: &Policy,
    now: Timestamp,
) -> Result<Change, CommandRefused> {
    todo!("{record:?} {account:?} {policy:?} {command:?} {now:?}")
}

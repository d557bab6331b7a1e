//! Keys that nobody looks after any more: the config no longer names them.
//! They are kept, and never created, delivered or revoked; their owners still hear of what they must do themselves.
use super::account::Account;
use super::command::nobody;
use super::facts::{Blocked, Facts};
use super::pass::Pass;
use super::plan::Plan;
use super::policy::Policy;
use super::record::Record;
use super::time::Timestamp;
use std::time::Duration;

/// One look at a key that the config no longer names: all that comes of it are the notices of its expiry, and when to look
/// again. `account` is that of its current version.
pub fn watch_expiry(
    record: &Record,
    account: &Account,
    notify_before: &[Duration],
    clock_suspect: bool,
    now: Timestamp,
) -> Plan {
    let policy = Policy { notify_before: notify_before.to_vec(), ..Policy::unmanaged(account.id.clone()) };
    let facts = Facts { clock_suspect, ..Facts::default() };
    let nobody = nobody();
    let mut pass = Pass::new(record, account, &policy, &nobody, now);
    pass.end_expired(clock_suspect);
    pass.tell_expiry(&facts);
    let mut plan = Plan { blocked: Some(Blocked::Unmanaged), ..pass.plan(record, &facts) };
    // Nobody does anything for it any more.
    plan.change.notices.iter_mut().for_each(|it| it.next = None);
    plan
}

//! Keys that nobody looks after any more: the config names them no longer, or no provider for the account that they are at.
//! They are kept, and never created, delivered or revoked; their owners still hear of what they must do themselves.
use super::account::Account;
use super::facts::{Blocked, Facts};
use super::names::{Incarnation, Token};
use super::pass::Pass;
use super::plan::{Change, Plan};
use super::policy::Policy;
use super::record::{Phase, Record, RotationResult};
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
    pass.tell_expiry(&facts);
    Plan { blocked: Some(Blocked::Unmanaged), ..pass.plan(record, &facts) }
}

/// A rotation whose account the config names no provider for any more: it can't go on, and nobody can be asked what came of
/// it. What it left behind is reported to the owners, and the key rests on the version that it has. `policy` is that of
/// the config, at its new account; `account` is the one that the rotation worked at.
pub fn strand(record: &Record, account: &Account, policy: &Policy, now: Timestamp) -> Change {
    let nobody = nobody();
    let mut pass = Pass::new(record, account, policy, &nobody, now);
    let why = "the config no longer names a provider for that account";
    let mine: Vec<Token> = account.open.keys().filter(|it| it.name == record.name).cloned().collect();
    for token in &mine {
        pass.report_lost(token, why);
    }
    if let Some(pending) = pass.record.pending().cloned() {
        let after = if pending.delivered { now.plus(pass.overlap()) } else { now };
        pass.retire_version(pending, after);
    }
    pass.note_error("unmanaged", &format!("a rotation at account {} ended: {why}", account.id));
    pass.resolve("halted");
    let rest = if pass.record.current.is_some() { Phase::Steady } else { Phase::Unadopted };
    pass.enter(rest);
    pass.record.retry_at = None;
    pass.record.wish = None;
    pass.finish_rotation(RotationResult::Failed);
    pass.change(record)
}

/// Nothing here issues a token, so that it does not matter who would.
fn nobody() -> Incarnation {
    Incarnation { install: String::new(), epoch: String::new() }
}

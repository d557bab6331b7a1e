//! A key that leaves an account, or the config: what it leaves behind is reported, so that nothing is lost in silence. And
//! one that comes back.
use super::nobody;
use crate::core::account::Account;
use crate::core::names::{AccountId, Fingerprint, Token};
use crate::core::pass::Pass;
use crate::core::plan::Change;
use crate::core::policy::Policy;
use crate::core::record::{Ended, Phase, Record, Retired, RotationResult};
use crate::core::time::Timestamp;
use std::collections::BTreeSet;

/// The key has left this account, and no rotation works there any more: what was lost there is reported. `None` where
/// nothing was.
pub fn leave_account(record: &Record, account: &Account, policy: &Policy, now: Timestamp) -> Option<Change> {
    let lost = account.open.iter().filter(|(token, open)| token.name == record.name && open.lost_at.is_some());
    let lost: Vec<Token> = lost.map(|(token, _)| token.clone()).collect();
    if lost.is_empty() {
        return None;
    }
    let nobody = nobody();
    let mut pass = Pass::new(record, account, policy, &nobody, now);
    for token in &lost {
        pass.report_lost(token, "the key has moved to another account");
    }
    Some(pass.change(record))
}

/// The config no longer names the key, and no rotation of it is under way: nothing is created, looked for or revoked for
/// it any more. Its lost creates and old versions at this account are reported, but for those that other keys of the config
/// use (`in_use`): their last user ends them. `None` where there are none.
pub fn unmanaged(record: &Record, account: &Account, in_use: &BTreeSet<Fingerprint>, now: Timestamp) -> Option<Change> {
    let policy = Policy::unmanaged(account.id.clone());
    let nobody = nobody();
    let mut pass = Pass::new(record, account, &policy, &nobody, now);
    let why = "the config no longer names the key";
    for token in account.open.keys().filter(|it| it.name == record.name) {
        pass.report_lost(token, why);
    }
    for n in 0..pass.record.retired.len() {
        let it = &mut pass.record.retired[n];
        if it.ended.is_none() && it.version.account == account.id {
            it.ended = Some(Ended::Reported);
            let version = it.version.clone();
            if in_use.contains(&version.fingerprint) {
                continue;
            }
            // Whoever revokes it by hand must not be quicker than rekeyd itself would have been.
            let early = version.delivered && it.after > now;
            let wait = format!("{why}; not before {}, for consumers may use it until then", it.after.whole_second());
            pass.tell_revoke_needed(&version, if early { &wait } else { why });
        }
    }
    (pass.record != *record || pass.account != *account).then(|| pass.change(record))
}

/// A config is taken into use that names the key: old versions that were left to a human, because the config did not name
/// the key or their account for a while, are ended from here after all where that is possible. One that a human has
/// booked as revoked stays so, and one that can't be ended after all is not told of again. `None` where there is nothing
/// of the kind.
pub fn taken_up(record: &Record, revokes: impl Fn(&AccountId) -> bool, now: Timestamp) -> Option<Record> {
    let mut record = record.clone();
    let mut any = false;
    for it in &mut record.retired {
        if it.ended == Some(Ended::Reported) && revokes(&it.version.account) {
            *it = Retired { ended: None, failures: 0, retry_at: None, ..it.clone() };
            any = true;
        }
    }
    record.revision += 1;
    record.changed_at = now;
    any.then_some(record)
}

/// A rotation works at this account, and the config names no provider for it any more: it can't go on, and is begun anew
/// at the account that the key has now. What it left behind is reported. `policy` is that of the new account. `None`
/// where no rotation of the key works at this account.
pub fn account_gone(record: &Record, account: &Account, policy: &Policy, now: Timestamp) -> Option<Change> {
    let rotation = record.rotation.as_ref().filter(|it| it.account == account.id && account.id != policy.account)?;
    let nobody = nobody();
    let mut pass = Pass::new(record, account, policy, &nobody, now);
    for token in account.open.keys().filter(|it| it.name == record.name) {
        pass.report_lost(token, "the config names no provider for its account any more");
    }
    if let Some(pending) = record.pending().cloned() {
        // A target may hold it. It ends, as reported, once a new key is in use.
        pass.retire_version(pending, now.plus(policy.overlap));
    }
    pass.resolve("halted");
    pass.tell_account_gone(&account.id);
    if !rotation.rollback {
        pass.record.wish = Some(rotation.wish.clone());
    }
    pass.record.failures = 0;
    pass.record.retry_at = None;
    pass.finish_rotation(RotationResult::Failed);
    pass.enter(if record.current.is_some() { Phase::Steady } else { Phase::Unadopted });
    Some(pass.change(record))
}

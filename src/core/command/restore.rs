//! A state that is older than the world: what its records become, and what is told of an answer that it does not know.
use super::nobody;
use crate::core::account::Account;
use crate::core::names::Token;
use crate::core::pass::Pass;
use crate::core::plan::Change;
use crate::core::policy::{Policy, Reach};
use crate::core::reader;
use crate::core::record::{Held, Phase, Reason, Record, Retired};
use crate::core::time::Timestamp;
use std::collections::BTreeSet;

/// What a record becomes when its state was restored or rolled back: it may be older than the world. Whatever it knew to be
/// live may be in use anywhere, so that nothing is revoked before the targets surely hold something else.
pub fn restored(record: &Record, policy: &Policy, now: Timestamp) -> Record {
    let mut record = record.clone();
    if matches!(record.phase, Phase::Unadopted) {
        return record;
    }
    if let Some(pending) = record.pending().cloned() {
        let after = now.plus(policy.overlap);
        record.retired.push(Retired {
            version: pending,
            after,
            since: now,
            failures: 0,
            retry_at: None,
            ending: false,
            ended: None,
        });
    }
    record.phase = Phase::Reobserve { since: now };
    record.rotation = None;
    record.wish = None;
    record.retry_at = None;
    let live: BTreeSet<u32> = record.live_versions().map(|it| it.number).collect();
    let retired = record.retired.iter_mut().map(|it| &mut it.version);
    for version in record.current.iter_mut().chain(retired) {
        version.delivered = true;
        version.last_alive = None;
    }
    for target in policy.targets.iter().filter(|it| matches!(it.reach, Reach::Push { .. })) {
        record.held.insert(target.id.clone(), Held { maybe: live.clone(), ..Held::default() });
    }
    for (_, held) in record.held.iter_mut().filter(|(target, _)| reader::is_reader(policy, target)) {
        *held = Held { maybe: live.clone(), ..Held::default() };
    }
    record.revision += 1;
    record.changed_at = now;
    record
}

/// The state lost something of this key: its record, a secret, or its account. It halts; `resume` compares it with the
/// provider and the targets first, as after a restore.
pub fn damaged(record: &Record, account: &Account, policy: &Policy, now: Timestamp) -> Change {
    let known = restored(record, policy, now);
    let nobody = nobody();
    let mut pass = Pass::new(&known, account, policy, &nobody, now);
    let why = "the state lost what it knew of this key; restore a backup, or adopt the key in use";
    pass.halt(Reason::Damaged, why);
    pass.change(record)
}

/// The answer to a create was found that these books don't know, because they were restored: it is reported.
pub fn answer_without_books(record: &Record, account: &Account, token: &Token, now: Timestamp) -> Change {
    let policy = Policy::unmanaged(account.id.clone());
    let nobody = nobody();
    let mut pass = Pass::new(record, account, &policy, &nobody, now);
    pass.tell_lost(token, now, "its answer is newer than the restored state");
    pass.change(record)
}

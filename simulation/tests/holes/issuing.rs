//! The overlap order, and plans that are outlived by events.
use crate::bench::*;
use rekeyd_simulation::core::facts::{Action, Content, Outcome, Probe};
use rekeyd_simulation::core::names::TargetId;
use rekeyd_simulation::core::plan::{Command, NoticeKind};
use rekeyd_simulation::core::policy::Reach;
use rekeyd_simulation::core::record::{Ended, RotationResult};

/// The overlap order: create, verify, deliver, promote, and only then the old key retires for its overlap.
#[test]
pub fn the_overlap_order_ends_the_old_key_last() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    assert_eq!((it.phase(), it.current(), it.kept.as_slice()), ("verify", 1, &[2][..]));
    it.probes(2, Probe::Alive).delivers(2, "k2");
    assert_eq!(it.current(), 1, "promoted only in a pass of its own, after the receipt is durable");
    it.rests();
    assert_eq!((it.phase(), it.current(), it.ended(1)), ("steady", 2, None));
    assert_eq!(it.told(NoticeKind::RotationSucceeded), 1);
    let phases: Vec<_> = it.record.last_rotation.as_ref().unwrap().phases.iter().map(|it| it.0.clone()).collect();
    assert_eq!(phases, ["create", "verify", "deliver", "steady"]);
    it.wait(days(2)).lists(vec![]);
    let actions = it.pass();
    assert!(actions.len() == 1 && is_revoke_of(&actions[0], 1), "{actions:?}");
    it.answer(&actions[0], Outcome::Revoked);
    assert_eq!(it.ended(1), Some(Ended::Revoked));
    it.rests();
    it.is_at_rest();
}

/// A crash anywhere means to begin the pass again: a pass that is repeated before its outcome asks for the same, and creates
/// nothing.
#[test]
pub fn a_repeated_pass_creates_nothing_more() {
    let mut it = Bench::keeps().due();
    it.creates();
    it.rests();
    it.wait(hours(1)).rests();
    assert_eq!((it.account.creates.len(), it.record.last_token), (1, 1));
    it.is_at_rest();
}

/// Hole 7. One phase for issuing and for ending old keys: a revoke that is refused, or a unit that never restarts, keeps the
/// key in it until the *current* key expires.
#[test]
pub fn a_revoke_that_is_refused_for_ever_does_not_hold_up_the_next_rotation() {
    let mut it = Bench::keeps().rotated();
    it.wait(days(2)).lists(vec![]);
    for n in 1..=4 {
        let actions = it.pass();
        let revoke = actions.iter().find(|it| is_revoke_of(it, 1)).expect("it is tried again");
        it.answer(revoke, Outcome::Failed("403".into()));
        assert_eq!(it.told(NoticeKind::RevokeNeeded), usize::from(n >= 3), "told at the third failure");
        it.rests();
        it.wait(hours(2));
    }
    it.say(Command::Rotate(wish())).unwrap();
    it.facts.probes.insert(3, Probe::Alive);
    it.created("k3");
    let actions = it.pass();
    assert!(actions.contains(&Action::Deliver { target: file(), version: 3 }), "{actions:?}");
}

/// Hole 7. A second rotation within the overlap of the first: the version before the last must not be forgotten.
#[test]
pub fn rotating_within_an_overlap_keeps_both_old_keys_on_the_books() {
    let mut it = Bench::keeps().rotated();
    it.say(Command::Rotate(wish())).unwrap();
    it.created("k3");
    it.probes(3, Probe::Alive).delivers(3, "k3");
    it.rests();
    let retired: Vec<_> = it.record.retired.iter().map(|it| (it.version.number, it.ended)).collect();
    assert_eq!((it.current(), retired), (3, vec![(1, None), (2, None)]));
    it.is_at_rest();
}

/// Hole 9. The rotation was given up while its create was on the wire. Its answer comes late: the key exists, and whoever
/// throws it away loses it.
#[test]
pub fn a_key_that_nobody_waits_for_any_more_is_kept_and_retired() {
    let mut it = Bench::keeps().due();
    let create = it.creates();
    it.say(Command::Abandon).unwrap();
    it.answer(&create, Outcome::Created(found("k2", Probe::Inconclusive)));
    assert_eq!((it.current(), it.kept.as_slice(), it.account.open.len()), (1, &[2][..], 0));
    let actions = it.pass();
    assert!(actions.len() == 1 && is_revoke_of(&actions[0], 2), "never delivered, so it ends at once: {actions:?}");
    it.answer(&actions[0], Outcome::Revoked);
    it.rests();
    it.is_at_rest();
}

/// Hole 9. A plan delivers v1; then the phase moves on to v2, and only then the old delivery's receipt comes. It must not
/// pass for a delivery of v2, and the target is written again.
#[test]
pub fn a_receipt_of_an_older_plan_is_no_receipt_for_the_newer_one() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    let old = Action::Deliver { target: file(), version: 1 };
    assert_eq!(it.holds(None).pass(), std::slice::from_ref(&old));
    it.probes(2, Probe::Alive).pass();
    it.answer(&old, Outcome::Delivered { ms: 1 });
    it.holds(Some("k1"));
    assert_eq!(it.pass(), [Action::Deliver { target: file(), version: 2 }]);
    assert_eq!((it.phase(), it.current()), ("deliver", 1));
    it.is_at_rest();
}

/// Hole 20. One of two targets is dead for two weeks. Waiting for it, `current`, reveal and the warnings speak of the old
/// key long after all others have the new one; so the last `overlap` of the old key promotes, and the dead target stays
/// visible.
#[test]
pub fn a_dead_target_holds_the_promote_only_until_the_old_keys_last_overlap() {
    let mut it = Bench::keeps();
    let dead = TargetId::new("file", "/mnt/gone/key");
    it.policy.targets.push(target(dead.clone(), Reach::Push { readable: true }));
    it.facts.targets.insert(dead.clone(), Content::Unreadable("not mounted".into()));
    it = it.due();
    it.created("k2");
    it.probes(2, Probe::Alive);
    let fail = |it: &mut Bench| {
        for action in it.pass() {
            let is_dead = matches!(&action, Action::Deliver { target, .. } if *target == dead);
            let outcome = if is_dead { Outcome::Failed("not mounted".into()) } else { Outcome::Delivered { ms: 1 } };
            it.answer(&action, outcome);
        }
    };
    fail(&mut it);
    it.holds(Some("k2"));
    for _ in 0..27 {
        it.wait(days(1));
        fail(&mut it);
    }
    assert_eq!((it.phase(), it.current()), ("deliver", 1), "28 days and an hour before its end");
    it.wait(days(1));
    fail(&mut it);
    assert_eq!((it.phase(), it.current()), ("steady", 2), "the old key's last two days have begun");
    assert!(it.told(NoticeKind::DeliveryFailed) > 0 && it.record.held[&dead].last_error.is_some());
    fail(&mut it);
    assert!(it.record.held[&dead].failures > 0, "and its delivery goes on");
}

/// Hole 14 and 20. The old key dies while the new one is on its way: nothing is left to wait for, the new one is current.
#[test]
pub fn a_dead_old_key_turns_the_overlap_order_into_a_cutover() {
    let mut verifying = Bench::keeps().due();
    verifying.created("k2");
    verifying.probes(1, Probe::Dead).probes(2, Probe::Inconclusive).delivers(2, "k2");
    assert_eq!((verifying.current(), verifying.ended(1)), (2, Some(Ended::Revoked)));
    verifying.is_at_rest();

    let mut delivering = Bench::keeps().due();
    delivering.created("k2");
    delivering.probes(2, Probe::Alive).pass();
    delivering.probes(1, Probe::Dead).pass();
    assert_eq!((delivering.current(), delivering.ended(1)), (2, Some(Ended::Revoked)));
    assert!(delivering.record.rotation.as_ref().unwrap().cut_at.is_some(), "the gap is measured");
}

/// An old key of an earlier rotation is live in its overlap: the death of another one must not book it as gone.
#[test]
pub fn a_dead_old_key_takes_no_living_one_with_it() {
    let mut it = Bench::keeps().rotated();
    it.say(Command::Rotate(wish())).unwrap();
    it.created("k3");
    it.probes(2, Probe::Dead).probes(3, Probe::Alive);
    it.wait(minutes(11)).pass();
    assert_eq!((it.current(), it.ended(2), it.ended(1)), (3, Some(Ended::Revoked), None));
    it.is_at_rest();
}

/// A rotation that is given up is a row of the history, and so is one that succeeds.
#[test]
pub fn every_rotation_ends_as_a_row_of_the_history() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    it.say(Command::Abandon).unwrap();
    assert_eq!(it.record.last_rotation.as_ref().unwrap().result, Some(RotationResult::Failed));
    let it = Bench::keeps().rotated();
    let row = it.record.last_rotation.as_ref().unwrap();
    assert_eq!((row.result, row.version, row.attempt), (Some(RotationResult::Succeeded), Some(2), 1));
    assert!(it.record.rotation.is_none());
}

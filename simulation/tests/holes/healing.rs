//! Targets: what is written over, and what is known of what they hold.
use crate::bench::*;
use rekeyd_simulation::core::facts::{Action, Content, Outcome, Probe};
use rekeyd_simulation::core::names::TargetId;
use rekeyd_simulation::core::plan::{Command, NoticeKind};
use rekeyd_simulation::core::policy::Reach;
use rekeyd_simulation::core::record::Ended;
use std::collections::BTreeSet;

/// Hole 4. The state is restored at v3 while v5 is live in the file: "the file drifted" writes the revoked v3 over it. An
/// operator's emergency key fares the same.
#[test]
pub fn healing_leaves_content_that_is_none_of_ours_and_tells_it_once() {
    let mut it = Bench::keeps();
    it.holds(Some("stranger")).rests();
    it.wait(hours(1)).rests();
    assert_eq!(it.told(NoticeKind::KeyDrifted), 1);
    assert_eq!(it.record.held[&file()].foreign, Some("stranger".into()));
    it.is_at_rest();
}

/// Hole 4. What was foreign stays foreign while the target can't be looked at: not looking is no permission.
#[test]
pub fn foreign_content_is_left_also_while_it_can_not_be_read() {
    let mut it = Bench::keeps();
    it.holds(Some("stranger")).rests();
    it.facts.targets.insert(file(), Content::Unreadable("permission denied".into()));
    it.rests();
    it.facts.targets.clear();
    it.rests();
    it.is_at_rest();
}

/// Hole 4. Absent, damaged, older of ours, or in the wrong form: these are healed.
#[test]
pub fn healing_replaces_what_is_absent_damaged_older_or_askew() {
    for content in [Content::Absent, Content::Damaged, Content::Holds("k1".into()), Content::Askew("k2".into())] {
        let mut it = Bench::keeps().rotated();
        it.facts.targets.insert(file(), content.clone());
        it.delivers(2, "k2");
        it.rests();
        it.is_at_rest();
    }
}

/// Hole 4. Only a key that was newly created may overwrite what is not ours.
#[test]
pub fn a_newly_created_key_overwrites_foreign_content() {
    let mut it = Bench::keeps();
    it.holds(Some("stranger")).rests();
    it = it.due();
    it.created("k2");
    it.probes(2, Probe::Alive).delivers(2, "k2");
    it.rests();
    assert_eq!((it.current(), it.record.held[&file()].foreign.as_ref()), (2, None));
    it.is_at_rest();
}

/// Hole 8. The second file got v2, then the daemon crashed before it noted that. The books say that it holds v1, so that v2
/// is revoked when it is given up: in use. What a target may hold is noted before the write.
#[test]
pub fn what_a_target_may_hold_is_committed_with_the_intent_to_write_it() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    it.probes(2, Probe::Alive);
    let actions = it.pass();
    assert_eq!(actions, [Action::Deliver { target: file(), version: 2 }]);
    let held = &it.record.held[&file()];
    assert_eq!((held.settled, numbers(&held.maybe)), (Some(1), vec![2]));
    assert!(it.record.pending().unwrap().delivered, "it may be anywhere from now on");
    it.is_at_rest();
}

/// Hole 8. v2 is given up while its delivery may or may not have happened: it is revoked only after the target surely holds
/// v1 again, whatever time passes until then.
#[test]
pub fn a_version_that_a_target_may_hold_is_not_revoked() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    it.probes(2, Probe::Alive).pass();
    it.say(Command::Abandon).unwrap();
    it.facts.preflight = None;
    let back = Action::Deliver { target: file(), version: 1 };
    it.facts.targets.insert(file(), Content::Unreadable("not mounted".into()));
    it.wait(days(3));
    assert_eq!(it.pass(), std::slice::from_ref(&back), "the current key is brought back, nothing is revoked");
    it.answer(&back, Outcome::Failed("not mounted".into()));
    it.wait(days(3));
    assert!(!it.pass().iter().any(|it| is_revoke_of(it, 2)));
    it.answer(&back, Outcome::Delivered { ms: 1 });
    it.holds(Some("k1"));
    let actions = it.pass();
    assert!(actions.iter().any(|it| is_revoke_of(it, 2)), "{actions:?}");
    it.answer(&actions[0], Outcome::Revoked);
    assert_eq!((it.ended(2), it.current()), (Some(Ended::Revoked), 1));
}

/// Hole 8. Deliveries follow what is held, not what was done: a target that lost its receipt gets the key once more, in
/// every phase.
#[test]
pub fn a_target_that_does_not_surely_hold_its_version_gets_a_delivery_in_every_phase() {
    let mut steady = Bench::keeps();
    steady.holds(None).delivers(1, "k1");

    let mut announced = Bench::answers().due();
    announced.pass();
    assert_eq!(announced.phase(), "announce");
    announced.holds(None).delivers(1, "k1");

    let mut creating = Bench::keeps().due();
    creating.creates();
    creating.holds(None).delivers(1, "k1");

    let mut verifying = Bench::keeps().due();
    verifying.created("k2");
    verifying.holds(None).delivers(1, "k1");

    let mut halted = Bench::silent().due();
    halted.policy.announce = minutes(0);
    let create = halted.creates();
    halted.answer(&create, lost());
    halted.pass();
    assert_eq!(halted.phase(), "halted");
    halted.holds(None).delivers(1, "k1");
    halted.is_at_rest();
}

/// A target that left the config keeps what it holds, and its owners are told, once, that this will stop working.
#[test]
pub fn a_removed_target_is_told_and_dropped() {
    let mut it = Bench::keeps();
    let other = TargetId::new("file", "/etc/other");
    it.policy.targets.push(target(other.clone(), Reach::Push { readable: true }));
    it.facts.targets.insert(other.clone(), Content::Absent);
    let deliver = Action::Deliver { target: other.clone(), version: 1 };
    assert_eq!(it.pass(), std::slice::from_ref(&deliver));
    it.answer(&deliver, Outcome::Delivered { ms: 1 });
    it.policy.targets.pop();
    it.rests();
    assert!(!it.record.held.contains_key(&other));
    assert_eq!(it.told(NoticeKind::DeliveryFailed), 1);
    assert!(it.last_told().summary.contains("/etc/other"));
    // A receipt that comes after that is nobody's business any more.
    it.answer(&deliver, Outcome::Delivered { ms: 1 });
    assert!(!it.record.held.contains_key(&other));
    it.rests();
    it.is_at_rest();
}

/// A delivery that failed waits; its third failure is told, and that it is over is told too.
#[test]
pub fn a_failing_delivery_waits_is_told_and_is_told_to_be_over() {
    let mut it = Bench::keeps();
    it.holds(None);
    let deliver = Action::Deliver { target: file(), version: 1 };
    for n in 1..=3 {
        assert_eq!(it.pass(), std::slice::from_ref(&deliver));
        it.answer(&deliver, Outcome::Failed("read-only file system".into()));
        it.rests();
        assert_eq!(it.told(NoticeKind::DeliveryFailed), usize::from(n == 3));
        it.wait(minutes(1));
    }
    it.delivers(1, "k1");
    assert_eq!(it.told(NoticeKind::DeliveryFailed), 2);
    it.is_at_rest();
}

/// v2's `then` was done for one of two units; then somebody overwrote the file, and both restarts failed on the file that was
/// written anew. The first unit counted as done, and went on with what it had read of the junk. What is done is forgotten in the
/// commit before the write, so that a kill after it does no harm either, and after each try that says nothing of it.
#[test]
pub fn what_is_done_of_a_then_counts_for_the_content_that_it_was_done_for_and_for_no_other() {
    let done = || BTreeSet::from(["restart shop.service".to_owned()]);
    let partly = || Outcome::PartlyDelivered { why: "bad.service is masked".into(), done: done() };
    let deliver = Action::Deliver { target: file(), version: 2 };
    let tried = |it: &mut Bench| {
        assert_eq!(it.wait(hours(1)).pass(), std::slice::from_ref(&deliver));
        it.record.held[&file()].done_for(2)
    };
    for junk in [Some("junk"), Some("k1"), None] {
        let mut it = Bench::keeps().due();
        it.created("k2");
        it.probes(2, Probe::Alive);
        assert_eq!(tried(&mut it), BTreeSet::new());
        it.answer(&deliver, partly());
        it.holds(Some("k2"));
        assert_eq!(tried(&mut it), done(), "who has taken it up is left in peace");
        it.answer(&deliver, partly());
        it.facts.targets.insert(file(), Content::Unreadable("not mounted".into()));
        assert_eq!(tried(&mut it), done(), "nobody knows that it changed");
        it.answer(&deliver, partly());
        it.holds(junk);
        assert_eq!(tried(&mut it), BTreeSet::new(), "forgotten before the write");
        it.answer(&deliver, partly());
        it.holds(Some("k2"));
        assert_eq!(tried(&mut it), done());
        it.answer(&deliver, Outcome::Failed("it was changed, written anew, and both units are masked".into()));
        assert_eq!(tried(&mut it), BTreeSet::new(), "the last try did nothing that lasts");
        it.is_at_rest();
    }
}

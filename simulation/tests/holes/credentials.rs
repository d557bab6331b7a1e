//! Keys that units read when they start: what a unit gets, and what its reading holds back.
use crate::bench::*;
use rekeyd_simulation::core::credential::{Answer, INSTANCES, answer, read_begins, read_ended};
use rekeyd_simulation::core::facts::{Action, Outcome, Probe};
use rekeyd_simulation::core::names::TargetId;
use rekeyd_simulation::core::plan::{Command, NoticeKind, NoticeStatus};
use rekeyd_simulation::core::policy::{Reach, TargetPolicy};
use rekeyd_simulation::core::reader::{self, Reader};
use rekeyd_simulation::core::record::{Ended, Phase, Reason, VersionNo, Wish};

const SHOP: &str = "shop.service";
const BILLS: &str = "bills.service";

fn credential() -> TargetId {
    TargetId::new("credential", "sms")
}

/// A key that only these units read, already at version 1.
fn read_by(units: &[&str], nudges: bool) -> Bench {
    let mut it = Bench::keeps();
    let readers = units.iter().map(|it| Reader { unit: (*it).to_owned(), credential: "sms".to_owned() });
    let readers = readers.collect();
    it.policy.targets =
        vec![TargetPolicy { id: credential(), reach: Reach::Read { nudges }, confirms: false, readers }];
    it.record.held.clear();
    it.facts.targets.clear();
    it.rests();
    it
}

fn reader(it: &Bench, unit: &str) -> Reader {
    let mut readers = it.policy.targets.iter().flat_map(|it| &it.readers);
    readers.find(|it| it.stands_for(unit)).unwrap().clone()
}

fn asks(it: &Bench) -> Answer {
    answer(&it.record, &it.account, &it.policy, it.now)
}

/// A unit is started: it gets what the answer is.
fn starts(it: &mut Bench, unit: &str) -> VersionNo {
    let version = begins(it, unit);
    let who = reader(it, unit);
    it.commit(read_ended(&it.record, &it.account, &it.policy, (&who, unit), version, it.now));
    version
}

fn begins(it: &mut Bench, unit: &str) -> VersionNo {
    let Answer::Give(version) = asks(it) else { panic!("{:?} in {:?}", asks(it), it.record.phase) };
    let who = reader(it, unit);
    it.commit(read_begins(&it.record, &it.account, &it.policy, (&who, unit), version, it.now));
    version
}

/// From version 1 to version 2, in overlap order. Nothing is brought anywhere.
fn replaced(mut it: Bench) -> Bench {
    it = it.due();
    it.created("k2");
    it.probes(2, Probe::Alive).lists(vec![]);
    it.rests();
    assert_eq!((it.phase(), it.current()), ("steady", 2));
    it
}

fn revokes(it: &mut Bench, version: VersionNo) -> bool {
    it.pass().iter().any(|action| is_revoke_of(action, version))
}

/// Each of them may be using the old key until it was started with the new one, whatever time has passed.
#[test]
pub fn the_overlap_ends_only_when_every_unit_has_read_the_new_key() {
    let mut it = read_by(&[SHOP, BILLS], false);
    assert_eq!((starts(&mut it, SHOP), starts(&mut it, BILLS)), (1, 1));
    let mut it = replaced(it);
    assert_eq!(starts(&mut it, SHOP), 2);
    it.wait(days(3));
    assert!(!revokes(&mut it, 1), "bills may be using it");
    assert_eq!(starts(&mut it, BILLS), 2);
    assert!(revokes(&mut it, 1));
}

/// A unit that was never seen may have the key from elsewhere: it is waited for like the others.
#[test]
pub fn a_unit_that_never_read_a_key_is_waited_for_too() {
    let mut it = replaced(read_by(&[SHOP], false));
    it.wait(days(3));
    assert!(!revokes(&mut it, 1));
    starts(&mut it, SHOP);
    assert!(revokes(&mut it, 1));
}

/// Told once, named, and never revoked by that timer; when the last unit has read, it ends as usual.
#[test]
pub fn at_ack_timeout_the_owners_are_told_and_the_old_key_is_kept() {
    let mut it = read_by(&[SHOP, BILLS], false);
    starts(&mut it, SHOP);
    starts(&mut it, BILLS);
    let mut it = replaced(it);
    starts(&mut it, SHOP);
    it.wait(days(6));
    it.rests();
    assert_eq!(it.told(NoticeKind::RevokeNeeded), 0);
    assert!(it.wake_at <= it.now.plus(days(1)), "it looks again at ack_timeout");
    it.wait(days(1));
    assert!(!revokes(&mut it, 1));
    assert_eq!(it.told(NoticeKind::RevokeNeeded), 1);
    let told = it.last_told();
    assert!(told.summary.contains(BILLS) && !told.summary.contains(SHOP), "{}", told.summary);
    it.wait(days(8));
    assert!(!revokes(&mut it, 1));
    assert_eq!(it.told(NoticeKind::RevokeNeeded), 1, "told once");
    starts(&mut it, BILLS);
    assert!(revokes(&mut it, 1));
    assert_eq!(it.last_told().status, NoticeStatus::Resolved);
}

/// A unit that is never started again holds the old key no longer than it lives.
#[test]
pub fn an_old_key_that_is_never_replaced_in_a_unit_ends_with_its_expiry() {
    let mut it = read_by(&[SHOP], false);
    starts(&mut it, SHOP);
    let mut it = replaced(it);
    it.wait(days(30));
    it.pass();
    assert_eq!(it.ended(1), Some(Ended::Expired));
}

/// A unit that the config lists no longer is nobody's business any more, and the owners hear of it.
#[test]
pub fn a_unit_that_is_taken_out_of_the_list_holds_nothing_back() {
    let mut it = read_by(&[SHOP, BILLS], false);
    starts(&mut it, BILLS);
    let mut it = replaced(it);
    starts(&mut it, SHOP);
    it.wait(days(3));
    assert!(!revokes(&mut it, 1));
    it.policy.targets[0].readers.retain(|it| it.unit == SHOP);
    assert!(revokes(&mut it, 1));
    assert!(it.last_told().summary.contains(BILLS), "{}", it.last_told().summary);
}

/// Who said to the owners that the old key waits for a unit may be told that it was revoked by hand.
#[test]
pub fn what_was_told_as_unread_may_be_revoked_by_hand() {
    let mut it = read_by(&[SHOP], false);
    starts(&mut it, SHOP);
    let mut it = replaced(it);
    it.wait(days(3));
    it.rests();
    it.say(Command::Ack { revoked: true }).unwrap_err();
    it.wait(days(5));
    it.rests();
    it.say(Command::Ack { revoked: true }).unwrap();
    assert_eq!(it.ended(1), Some(Ended::Revoked));
}

/// A key in wrong hands: who holds up its end is told at once.
#[test]
pub fn of_a_compromised_key_the_owners_are_told_at_once_who_holds_it_up() {
    let mut it = read_by(&[SHOP], false);
    starts(&mut it, SHOP);
    it.say(Command::Rotate(Wish { now: true, compromised: true, ..wish() })).unwrap();
    it.created("k2");
    it.probes(2, Probe::Alive).lists(vec![]);
    it.rests();
    assert_eq!((it.current(), it.told(NoticeKind::RevokeNeeded)), (2, 1));
    starts(&mut it, SHOP);
    assert!(revokes(&mut it, 1));
}

/// The new key goes out before it is promoted; once it is given up, a unit may be using it, even one whose receipt was lost.
#[test]
pub fn a_pending_key_that_a_unit_read_is_not_revoked_when_it_is_given_up() {
    for receipt in [true, false] {
        let mut it = read_by(&[SHOP], true);
        starts(&mut it, SHOP);
        let mut it = it.due();
        it.created("k2");
        it.probes(2, Probe::Alive).lists(vec![]);
        let nudge = it.pass();
        assert!(matches!(it.record.phase, Phase::Deliver { .. }));
        it.answer(&nudge[0], Outcome::Failed("the unit does not start".into()));
        let got = if receipt { starts(&mut it, SHOP) } else { begins(&mut it, SHOP) };
        assert_eq!(got, 2);
        it.say(Command::Abandon).unwrap();
        it.wait(days(3));
        assert!(!revokes(&mut it, 2), "the unit may hold it");
        assert_eq!(starts(&mut it, SHOP), 1);
        assert!(revokes(&mut it, 2));
    }
}

/// Its `then` makes the units start: once for each version, and the promote waits for it as for any delivery.
#[test]
pub fn a_then_runs_once_for_each_version_and_not_for_the_first() {
    let mut it = read_by(&[SHOP], true);
    starts(&mut it, SHOP);
    it.rests();
    let mut it = it.due();
    it.created("k2");
    it.probes(2, Probe::Alive).lists(vec![]);
    let nudge = Action::Deliver { target: credential(), version: 2 };
    assert_eq!(it.pass(), std::slice::from_ref(&nudge));
    assert_eq!(it.current(), 1);
    it.answer(&nudge, Outcome::Failed("Job for shop.service failed".into()));
    it.rests();
    assert_eq!(it.current(), 1, "a failed restart is a failed delivery");
    it.wait(hours(1));
    assert_eq!(it.pass(), std::slice::from_ref(&nudge), "and is tried again");
    it.answer(&nudge, Outcome::Delivered { ms: 1 });
    it.rests();
    assert_eq!((it.phase(), it.current()), ("steady", 2));
    it.wait(days(3));
    assert!(!revokes(&mut it, 1), "it was restarted, but it did not read the key");
    starts(&mut it, SHOP);
    assert!(revokes(&mut it, 1));
}

/// What the config says no longer holds nothing up.
#[test]
pub fn a_then_that_is_taken_away_is_not_waited_for() {
    let mut it = read_by(&[SHOP], true).due();
    it.created("k2");
    it.probes(2, Probe::Alive).lists(vec![]);
    let nudge = it.pass();
    it.answer(&nudge[0], Outcome::Failed("access denied".into()));
    it.policy.targets[0].reach = Reach::Read { nudges: false };
    it.rests();
    it.rests();
    assert_eq!(it.current(), 2);
    starts(&mut it, SHOP);
    it.wait(days(3));
    assert!(revokes(&mut it, 1));
}

/// Somebody else restarted it meanwhile.
#[test]
pub fn a_unit_that_has_read_the_new_key_already_is_not_restarted() {
    let mut it = read_by(&[SHOP], true);
    starts(&mut it, SHOP);
    let mut it = it.due();
    it.created("k2");
    it.probes(2, Probe::Alive).lists(vec![]);
    let nudge = it.pass();
    it.answer(&nudge[0], Outcome::Failed("access denied".into()));
    starts(&mut it, SHOP);
    it.wait(hours(1)).rests();
    it.wait(seconds(1)).rests();
    assert_eq!((it.phase(), it.current()), ("steady", 2));
}

/// Each instance is a consumer of its own; one that has read no good key for so long does not run any more.
#[test]
pub fn every_instance_of_a_template_is_waited_for_until_its_key_has_ended() {
    let mut it = read_by(&["shop@.service"], false);
    starts(&mut it, "shop@1.service");
    starts(&mut it, "shop@2.service");
    let mut it = replaced(it);
    starts(&mut it, "shop@1.service");
    it.wait(days(3));
    assert!(!revokes(&mut it, 1), "the second one may be using it");
    starts(&mut it, "shop@3.service");
    assert!(!revokes(&mut it, 1));
    it.wait(days(30));
    it.rests();
    assert_eq!(it.ended(1), Some(Ended::Expired));
    it.rests();
    let kept: Vec<_> = it.record.held.keys().filter_map(reader::unit_of).collect();
    assert_eq!(kept, ["shop@.service", "shop@1.service", "shop@3.service"]);
}

/// More instances than can be told apart are still held to have what they read.
#[test]
pub fn instances_without_number_are_bounded_and_none_is_forgotten() {
    let mut it = read_by(&["shop@.service"], false);
    for n in 0..INSTANCES + 9 {
        starts(&mut it, &format!("shop@{n}.service"));
    }
    assert_eq!(it.record.held.len(), INSTANCES + 1);
    let mut it = replaced(it);
    for n in 0..INSTANCES {
        starts(&mut it, &format!("shop@{n}.service"));
    }
    it.wait(days(3));
    assert!(!revokes(&mut it, 1), "nobody knows of the last ones");
}

/// A restored state knows not what was read since: every unit is waited for anew.
#[test]
pub fn after_a_restore_every_unit_reads_again_before_anything_ends() {
    let mut it = read_by(&[SHOP], false);
    starts(&mut it, SHOP);
    let mut it = replaced(it);
    starts(&mut it, SHOP);
    it.record = rekeyd_simulation::core::command::restored(&it.record, &it.policy, it.now);
    it.wait(days(3));
    it.pass();
    assert!(!revokes(&mut it, 1), "it may have read version 1 last");
    starts(&mut it, SHOP);
    assert!(revokes(&mut it, 1));
}

/// Where the create ends the old key, nobody is started with what dies in that moment.
#[test]
pub fn a_unit_that_asks_in_the_cutover_gap_is_held_and_gets_the_new_key() {
    let mut it = Bench::revokes();
    it.policy.targets.clear();
    it.say(Command::Rotate(Wish { now: true, ..wish() })).unwrap();
    assert_eq!(asks(&it), Answer::Give(1));
    let create = it.creates();
    assert!(matches!(asks(&it), Answer::Hold(_)), "{:?}", asks(&it));
    it.answer(&create, Outcome::Created(found("k2", Probe::Inconclusive)));
    assert_eq!(asks(&it), Answer::Give(2));
}

/// What is refused, what is held, and what is given.
#[test]
pub fn no_unit_gets_a_key_that_is_dead_or_not_ours() {
    let refused = |it: &Bench| matches!(asks(it), Answer::Refuse(_));
    let held = |it: &Bench| matches!(asks(it), Answer::Hold(_));
    let it = Bench::keeps().unadopted();
    assert!(refused(&it), "unadopted");
    let mut it = Bench::keeps().unadopted();
    it.policy.initial = rekeyd_simulation::core::policy::Initial::Create;
    assert!(held(&it), "about to be created");
    let mut it = Bench::keeps();
    assert_eq!(asks(&it), Answer::Give(1));
    it.record.current.as_mut().unwrap().dead_since = Some(it.now);
    assert!(refused(&it), "dead, and nothing is done about it");
    it.say(Command::Rotate(Wish { now: true, ..wish() })).unwrap();
    it.probes(1, Probe::Dead);
    it.creates();
    assert!(held(&it), "dead, and being replaced");
    let mut it = Bench::keeps();
    it.record.current.as_mut().unwrap().valid_to = Some(it.now);
    assert!(refused(&it), "expired");
    it.record.current.as_mut().unwrap().expiry = rekeyd_simulation::core::record::Expiry::Assumed;
    assert_eq!(asks(&it), Answer::Give(1), "nobody knows that it expired");
    let mut it = Bench::keeps();
    let since = it.now;
    it.record.phase = Phase::Reobserve { since };
    assert!(held(&it), "restored");
    let resume = Box::new(it.record.phase.clone());
    it.record.phase = Phase::Halted { reason: Reason::Restored, at: it.now, resume };
    assert!(refused(&it), "restored, and it does not match");
    it.record.phase = Phase::Halted { reason: Reason::AmbiguousCreate, at: it.now, resume: Box::new(Phase::Steady) };
    assert_eq!(asks(&it), Answer::Give(1), "what it holds is served while a human is awaited");
    it.record.decommissioned = Some(it.now);
    assert!(refused(&it), "out of service");
}

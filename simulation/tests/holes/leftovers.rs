//! What a rotation, an account or a config leaves behind: each thing is told once, to the right key, and nothing of another
//! key is touched.
use super::retiring::adoption;
use crate::bench::*;
use rekeyd_simulation::core::account::Open;
use rekeyd_simulation::core::command::{leave_account, restored, taken_up, unmanaged};
use rekeyd_simulation::core::facts::{Action, Outcome, Probe, Revokee};
use rekeyd_simulation::core::names::Token;
use rekeyd_simulation::core::plan::{Change, Command, CommandRefused, NoticeKind};
use rekeyd_simulation::core::policy::{Initial, OnAmbiguous, OnCreate, Recover};
use rekeyd_simulation::core::record::{Ended, Phase, Reason, Retired, RotationResult, Trigger, Version};
use std::collections::BTreeSet;

fn token_of(name: &str, n: u32) -> Token {
    format!("0a1b2c3d-000001-{name}-{n}").parse().unwrap()
}

/// A create of some key at the account, lost or on its way.
fn open(it: &mut Bench, name: &str, n: u32, lost: bool) -> Token {
    let token = token_of(name, n);
    let open = Open {
        sent_at: it.now,
        lost_at: lost.then_some(it.now),
        before: None,
        package: None,
        locks: true,
        reported_at: None,
        ending: false,
        failures: 0,
        retry_at: None,
    };
    it.account.open.insert(token.clone(), open);
    token
}

fn revoke_needed(change: &Change) -> usize {
    change.notices.iter().filter(|it| it.kind == NoticeKind::RevokeNeeded).count()
}

/// An old version, refused by the provider or not, that no target ever had.
fn undelivered(version: Version, since: rekeyd_simulation::core::time::Timestamp) -> Retired {
    let version = Version { delivered: false, ..version };
    Retired { version, after: since, since, failures: 0, retry_at: None, ending: false, ended: None }
}

/// A key that moves to another account leaves its own lost creates there, and nobody else's.
#[test]
pub fn a_key_that_leaves_an_account_reports_its_own_lost_creates() {
    let mut it = Bench::keeps();
    open(&mut it, "billing", 1, false);
    open(&mut it, "shipping", 1, true);
    assert_eq!(leave_account(&it.record, &it.account, &it.policy, it.now), None, "nothing of it is lost");
    let lost = open(&mut it, "billing", 2, true);
    let change = leave_account(&it.record, &it.account, &it.policy, it.now).expect("something is lost");
    assert_eq!((revoke_needed(&change), change.account.open.len()), (1, 2));
    assert!(!change.account.open.contains_key(&lost));
}

/// A key that leaves the config leaves its creates and its old versions at this account, whether lost or not: each is told
/// once. What has ended, what is at another account, and what is another key's stays as it is.
#[test]
pub fn a_key_that_leaves_the_config_is_reported_as_a_whole_and_once() {
    let told = |it: &Bench| unmanaged(&it.record, &it.account, &BTreeSet::new(), it.now);
    let mut it = Bench::keeps();
    let theirs = open(&mut it, "shipping", 1, true);
    assert_eq!(told(&it), None, "there is nothing of it");

    let mut created = Bench::keeps();
    created.account = it.account.clone();
    open(&mut created, "billing", 1, false);
    let change = told(&created).expect("its create is reported");
    assert_eq!((revoke_needed(&change), change.account.open.keys().collect::<Vec<_>>()), (1, vec![&theirs]));

    it.record.retired.push(undelivered(version(7, "k7"), NOON));
    let change = told(&it).expect("its old version is reported");
    assert_eq!((revoke_needed(&change), change.record.retired[0].ended), (1, Some(Ended::Reported)));
    assert_eq!(change.account, it.account);
    assert_eq!(unmanaged(&change.record, &change.account, &BTreeSet::new(), it.now), None, "once");

    it.record.retired[0].version.account = "elsewhere".into();
    assert_eq!(told(&it), None, "it is told with that account");
    it.record.retired[0].version.account = "account".into();
    it.record.retired[0].ended = Some(Ended::Revoked);
    assert_eq!(told(&it), None, "it has ended");
}

/// Another key of the config was adopted with the same secret: whoever revoked it by hand would end what is in use.
#[test]
pub fn what_another_key_uses_is_not_told_to_be_revoked_when_this_one_leaves_the_config() {
    let mut it = Bench::keeps().rotated();
    it.record.retired.push(undelivered(version(7, "k7"), NOON));
    let in_use = BTreeSet::from(["k1".into()]);
    let change = unmanaged(&it.record, &it.account, &in_use, it.now).expect("the other old version is reported");
    assert_eq!(change.notices.iter().map(|it| it.version).collect::<Vec<_>>(), [Some(7)]);
    assert!(change.record.retired.iter().all(|it| it.ended == Some(Ended::Reported)), "nothing is done for it here");
}

/// The section comes back: what was left to a human meanwhile is revoked from here after all, at its time, and not told of
/// once more; but for what he has booked as revoked, and what has no call to revoke it.
#[test]
pub fn a_key_that_comes_back_takes_its_old_versions_up_again() {
    let left = || {
        let mut it = Bench::keeps().rotated();
        let change = unmanaged(&it.record, &it.account, &BTreeSet::new(), it.now).expect("its old version is reported");
        (it.record, it.account) = (change.record, change.account);
        it.notices.extend(change.notices);
        assert_eq!((it.ended(1), it.told(NoticeKind::RevokeNeeded)), (Some(Ended::Reported), 1));
        it
    };
    let mut it = left();
    it.record = taken_up(&it.record, |_| true, it.now).expect("it can be revoked from here");
    it.rests();
    it.wait(days(2) - seconds(1)).rests();
    assert_eq!(it.ended(1), None, "its overlap lasts");
    let revoke = it.wait(seconds(1)).pass().remove(0);
    assert!(is_revoke_of(&revoke, 1), "{revoke:?}");
    it.answer(&revoke, Outcome::Revoked);
    let told = it.told(NoticeKind::RevokeNeeded);
    assert_eq!((it.ended(1), told), (Some(Ended::Revoked), 2), "and told to be over");
    assert_eq!(taken_up(&it.record, |_| true, it.now), None, "once");

    assert_eq!(taken_up(&left().record, |_| false, NOON), None, "its provider has no call to revoke it");
    let mut it = left();
    it.say(Command::Ack { revoked: true }).unwrap();
    assert_eq!(taken_up(&it.record, |_| true, it.now), None, "a human has done it");

    let mut it = left();
    it.record.retired[0].version.id = None;
    it.record = taken_up(&it.record, |_| true, it.now).expect("the list may show its id");
    it.wait(days(2)).rests();
    assert_eq!((it.ended(1), it.told(NoticeKind::RevokeNeeded)), (Some(Ended::Reported), 1), "told already");
}

/// A restored record is another one than was stored: what was planned on that is void.
#[test]
pub fn a_restored_record_has_a_revision_of_its_own() {
    let mut it = Bench::keeps();
    it.record.revision = 5;
    assert_eq!(restored(&it.record, &it.policy, it.now).revision, 6);
}

/// `rotate` before the first create: refused where a human must adopt, a wish where the daemon creates.
#[test]
pub fn a_key_that_is_created_by_the_daemon_can_be_rotated_before_it_exists() {
    let mut it = Bench::keeps().unadopted();
    assert_eq!(it.say(Command::Rotate(wish())), Err(CommandRefused::Unadopted));
    it.policy.initial = Initial::Create;
    it.say(Command::Rotate(wish())).unwrap();
    it.creates();
    assert_eq!(it.record.rotation.as_ref().unwrap().wish.trigger, Trigger::Operator);
}

/// A first adoption replaces nothing and is no rotation; a later one is, and the operator's.
#[test]
pub fn an_adoption_is_a_rotation_where_it_replaces_a_key() {
    let mut first = Bench::keeps().unadopted();
    first.say(Command::Adopt(adoption("k1", Probe::Alive))).unwrap();
    assert_eq!(first.record.rotation, None);
    let mut again = Bench::keeps();
    again.say(Command::Adopt(adoption("k9", Probe::Alive))).unwrap();
    assert_eq!(again.record.rotation.as_ref().map(|it| it.wish.trigger), Some(Trigger::Operator));
}

/// The operator's key ends what was tried before: the rotation, its failures, and the lock that its lost create held. The lock
/// of another key's create stays.
#[test]
pub fn an_adoption_ends_what_was_tried_before_and_releases_its_own_lock_only() {
    let mut it = Bench::new(OnCreate::Keeps, Recover::DiffList, false).due();
    let create = it.creates();
    it.answer(&create, lost());
    it.say(Command::Abandon).unwrap();
    it.record.failures = 3;
    it.record.drifts = 1;
    let theirs = open(&mut it, "shipping", 1, true);
    it.say(Command::Adopt(adoption("k9", Probe::Alive))).unwrap();
    assert!(!it.account.open[&token(&create)].locks && it.account.open[&theirs].locks);
    assert_eq!((it.record.failures, it.record.drifts), (0, 0));

    let mut halted = Bench::keeps().due();
    halted.created("k2");
    let resume = Box::new(halted.record.phase.clone());
    halted.record.phase = Phase::Halted { reason: Reason::NewKeyRefused, at: halted.now, resume };
    halted.say(Command::Adopt(adoption("k9", Probe::Alive))).unwrap();
    assert_eq!(halted.record.last_rotation.as_ref().unwrap().result, Some(RotationResult::Failed));
    assert_eq!(halted.record.retired.iter().filter(|it| it.version.number == 2).count(), 1, "the pending key is kept");
}

/// The key in use is adopted once more: that it is refused is forgotten only where it was seen accepted.
#[test]
pub fn adopting_a_refused_key_again_does_not_make_it_alive() {
    for (probe, dead) in [(Probe::Dead, true), (Probe::Inconclusive, true), (Probe::Alive, false)] {
        let mut it = Bench::keeps();
        it.record.current.as_mut().unwrap().dead_since = Some(NOON);
        let mut adopt = adoption("k1", probe);
        adopt.unverified = true;
        it.say(Command::Adopt(adopt)).unwrap();
        assert_eq!(it.record.current.as_ref().unwrap().dead_since.is_some(), dead, "{probe:?}");
    }
}

/// The late answer to an attempt that was given up says nothing of the one that is on the wire.
#[test]
pub fn an_attempt_that_ends_late_leaves_the_next_one_on_the_wire() {
    let mut it = Bench::keeps().due();
    let first = it.creates();
    it.say(Command::Abandon).unwrap();
    it.say(Command::Resume).unwrap();
    let second = it.creates();
    it.answer(&first, Outcome::NotSent("connection refused".into()));
    assert!(matches!(&it.record.phase, Phase::Create(it) if it.token == Some(token(&second))), "{:?}", it.record.phase);
    it.rests();
}

/// A lost answer is told at once only where nobody can be asked what came of it; elsewhere it is looked for first.
#[test]
pub fn a_lost_answer_that_can_be_looked_for_is_not_told_at_once() {
    for (recover, told) in [
        (Recover::ListByName, 0),
        (Recover::ReadCurrent, 0),
        (Recover::DiffList, 0),
        (Recover::DiffAnswer, 0),
        (Recover::None, 1),
    ] {
        let mut it = Bench::new(OnCreate::Keeps, recover, false).due();
        let create = it.creates();
        it.answer(&create, lost());
        assert_eq!(it.told(NoticeKind::RevokeNeeded), told, "{recover:?}");
        // Its answer is given up once more at the next start.
        it.answer(&create, lost());
        assert_eq!(it.told(NoticeKind::RevokeNeeded), told, "{recover:?}");
    }
}

/// The history counts how often each delivery was tried.
#[test]
pub fn the_history_counts_the_tries_of_a_delivery() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    let deliver = Action::Deliver { target: file(), version: 2 };
    assert_eq!(it.probes(2, Probe::Alive).pass(), std::slice::from_ref(&deliver));
    it.answer(&deliver, Outcome::Failed("permission denied".into()));
    it.wait(minutes(1)).delivers(2, "k2");
    let row = &it.record.rotation.as_ref().unwrap().deliveries[&file()];
    assert_eq!((row.attempts, row.result.as_str(), row.at), (2, "delivered", it.now));
}

/// A lost key that can't be revoked now is tried again, and `status` says why.
#[test]
pub fn a_failed_revoke_of_a_lost_key_is_noted() {
    let mut it = Bench::keeps();
    let lost = open(&mut it, "billing", 1, true);
    let mut seen = found("k7", Probe::Alive);
    seen.token = Some(lost.clone());
    let actions = it.lists(vec![seen]).pass();
    let [revoke @ Action::Revoke(what)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(what.what, Revokee::Orphan(lost));
    it.answer(revoke, Outcome::Failed("HTTP 503".into()));
    let error = it.record.last_error.as_ref().unwrap();
    assert_eq!((error.reason.as_str(), error.message.as_str()), ("revoke_failed", "HTTP 503"));
    assert_eq!(it.pass(), [], "not at once");
    assert_eq!(it.wait(seconds(2)).pass().len(), 1, "it is tried again");
}

/// An answer ends the wait for what was lost before it. What another key lost still holds the account.
#[test]
pub fn an_answer_releases_the_locks_of_its_own_key_only() {
    let mut it = Bench::answers().due();
    it.policy.announce = minutes(0);
    let create = it.creates();
    let theirs = open(&mut it, "shipping", 1, true);
    let ours = open(&mut it, "billing", 90, true);
    let on_its_way = open(&mut it, "billing", 91, false);
    it.answer(&create, Outcome::Created(found("k2", Probe::Alive)));
    let locks = |token: &Token| it.account.open[token].locks;
    assert!(locks(&theirs) && !locks(&ours) && locks(&on_its_way));
}

/// Where nobody can be asked, a lost create ends with the decision how to go on; another key's does not, nor one that was not
/// told yet.
#[test]
pub fn a_reported_create_ends_with_the_decision_to_go_on() {
    let mut it = Bench::silent().due();
    it.policy.announce = minutes(0);
    it.policy.on_ambiguous = OnAmbiguous::CreateAgain;
    let create = it.creates();
    it.answer(&create, lost());
    let theirs = open(&mut it, "shipping", 1, true);
    it.account.open.get_mut(&theirs).unwrap().reported_at = Some(it.now);
    let untold = open(&mut it, "billing", 91, false);
    it.account.open.get_mut(&untold).unwrap().locks = false;
    it.account.open.get_mut(&theirs).unwrap().locks = false;
    it.wait(minutes(1)).pass();
    let open = &it.account.open;
    assert!(!open.contains_key(&token(&create)), "it has ended");
    assert!(open.contains_key(&theirs) && open.contains_key(&untold));
}

/// The first key of an account is verified before it is delivered, whatever a create does there: it replaces nothing.
#[test]
pub fn the_first_key_is_verified_before_it_is_delivered() {
    for mut it in [Bench::keeps(), Bench::revokes(), Bench::silent()].map(Bench::unadopted) {
        it.policy.initial = Initial::Create;
        it.created("k1");
        assert!(matches!(it.record.phase, Phase::Verify { .. }), "{:?}: {:?}", it.policy.provider, it.record.phase);
        it.rests();
        it.probes(1, Probe::Alive).delivers(1, "k1");
    }
}

/// Three refused keys of one rotation need a human. Those of earlier rotations don't count, nor does one that was given up.
#[test]
pub fn refused_keys_of_earlier_rotations_do_not_count() {
    let mut it = Bench::keeps().due();
    let dead = |number, fingerprint| Version { dead_since: Some(NOON), ..version(number, fingerprint) };
    let earlier = it.now.minus(days(1));
    it.record.last_version = 9;
    it.record.retired = vec![undelivered(dead(7, "k7"), earlier), undelivered(dead(8, "k8"), earlier)];
    it.record.retired.push(undelivered(version(9, "k9"), it.now.plus(minutes(1))));
    it.record.retired.iter_mut().for_each(|it| it.ended = Some(Ended::Reported));
    it.created("k10");
    it.wait(minutes(10)).probes(10, Probe::Dead).pass();
    assert_eq!((it.halted(), it.phase()), (None, "create"));
}

/// That an account keeps old keys is learned from a version that consumers had, of this account, that is accepted after the
/// whole of an overlap: everything less proves less.
#[test]
pub fn that_old_keys_are_kept_is_learned_from_nothing_less() {
    let rotated = || {
        let mut it = Bench::silent().due();
        it.policy.announce = minutes(0);
        it.created("k2");
        it.probes(2, Probe::Alive).delivers(2, "k2");
        it.rests();
        it.wait(days(2));
        it
    };
    let learned = |mut it: Bench| {
        it.pass();
        it.account.learned
    };
    assert_eq!(learned(rotated()), Some(OnCreate::Keeps));
    let mut elsewhere = rotated();
    elsewhere.record.retired[0].version.account = "elsewhere".into();
    assert_eq!(learned(elsewhere), None);
    let mut unseen = rotated();
    unseen.record.retired[0].version.delivered = false;
    assert_eq!(learned(unseen), None);
    let mut compromised = rotated();
    compromised.record.retired[0].since = compromised.record.retired[0].after;
    assert_eq!(learned(compromised), None);
    let mut refused = rotated();
    refused.probes(1, Probe::Inconclusive);
    assert_eq!(learned(refused), None);
    let mut known = rotated();
    known.policy.provider.on_create = OnCreate::Revokes;
    assert_eq!(learned(known), None);
}

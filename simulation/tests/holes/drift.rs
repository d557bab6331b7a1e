//! Somebody else changes the key, the state is older than the world, or the config changes under a rotation.
use super::retiring::adoption;
use crate::bench::*;
use rekeyd_simulation::core::command::{leave_account, restored};
use rekeyd_simulation::core::facts::{Action, Blocked, Content, Found, Listed, Outcome, Preflight, Probe};
use rekeyd_simulation::core::names::{Incarnation, TargetId, Token};
use rekeyd_simulation::core::plan::{Command, NoticeKind};
use rekeyd_simulation::core::policy::{OnCreate, OnDrift, Reach, Recover};
use rekeyd_simulation::core::record::{Ended, Phase, Reason, Trigger};

/// A key that the provider has refused for longer than `settle`.
fn refused() -> Bench {
    let mut it = Bench::keeps();
    it.wait(days(1)).probes(1, Probe::Dead).rests();
    it.wait(seconds(31));
    it
}

/// Rotates because of a drift, up to the moment in which the new key is current.
fn rotate(it: &mut Bench, number: u32) {
    let fingerprint = format!("k{number}");
    it.created(&fingerprint);
    it.probes(number, Probe::Alive).delivers(number, &fingerprint);
    it.rests();
    it.rests();
    assert_eq!((it.phase(), it.current()), ("steady", number));
}

/// Hole 14. Two daemons, or a daemon and a script, rotate against each other: each sees its key die and creates another. It
/// is done once; a second time, without a lasting Alive between, a human is asked.
#[test]
pub fn somebody_elses_change_is_answered_once_and_then_halts() {
    let mut it = refused();
    rotate(&mut it, 2);
    assert_eq!(it.record.last_rotation.as_ref().unwrap().wish.trigger, Trigger::Drift);
    it.wait(minutes(10)).probes(2, Probe::Dead).rests();
    it.wait(seconds(31)).rests();
    assert_eq!(it.halted(), Some(Reason::SomebodyElseRotates));
    it.is_at_rest();
}

/// Hole 14. Alive for longer than a second daemon would need to find out, the key is ours again, and the next change is a
/// new one.
#[test]
pub fn a_lasting_alive_ends_the_count_of_drifts() {
    let mut it = refused();
    rotate(&mut it, 2);
    it.wait(hours(7) - seconds(1)).rests();
    assert_eq!(it.record.drifts, 1);
    it.wait(seconds(1)).rests();
    assert_eq!(it.record.drifts, 0);
    it = refused();
    it.policy.accept_within = hours(8);
    rotate(&mut it, 2);
    it.wait(hours(8) - seconds(1)).rests();
    assert_eq!(it.record.drifts, 1, "a new key may be refused for so long");
    it.wait(seconds(1)).rests();
    assert_eq!(it.record.drifts, 0);
    it.wait(days(1)).probes(2, Probe::Dead).rests();
    it.wait(seconds(31)).probes(3, Probe::Inconclusive).creates();
}

/// A refusal that comes and goes is no change: it must last.
#[test]
pub fn a_refusal_must_last_before_it_sets_off_a_rotation() {
    let mut it = Bench::keeps();
    it.wait(days(1)).probes(1, Probe::Dead).rests();
    assert_eq!((it.phase(), it.told(NoticeKind::KeyRefused)), ("steady", 1));
    it.wait(seconds(10)).probes(1, Probe::Alive).rests();
    it.wait(minutes(5)).rests();
    assert_eq!((it.account.creates.len(), it.told(NoticeKind::KeyRefused)), (0, 2), "told, and told to be over");
    it.is_at_rest();
}

/// `on_drift`: what to do is the operator's choice.
#[test]
pub fn on_drift_says_what_a_change_by_somebody_else_leads_to() {
    let drifted = |on_drift| {
        let mut it = Bench::new(OnCreate::Keeps, Recover::ReadCurrent, true);
        it.policy.on_drift = on_drift;
        it.wait(days(1)).reads("k2", Probe::Alive);
        let actions = it.pass();
        assert_eq!(it.told(NoticeKind::KeyDrifted), 1);
        (it, actions)
    };
    let (mut it, actions) = drifted(OnDrift::Adopt);
    assert_eq!((it.current(), actions), (2, vec![Action::Deliver { target: file(), version: 2 }]));
    it.is_at_rest();
    let (mut it, _) = drifted(OnDrift::Halt);
    assert_eq!((it.halted(), it.current()), (Some(Reason::Drifted), 1));
    it.is_at_rest();
    let (it, _) = drifted(OnDrift::Rotate);
    assert_eq!((it.phase(), it.current()), ("create", 1));
}

/// `on_drift = "halt"`, and the key is refused before its time: nobody is known to have put another in its place.
#[test]
pub fn a_key_that_died_halts_as_refused_and_resume_replaces_it() {
    let mut it = Bench::keeps();
    it.policy.on_drift = OnDrift::Halt;
    it.wait(days(1)).probes(1, Probe::Dead).rests();
    it.wait(minutes(1)).rests();
    assert_eq!(it.halted(), Some(Reason::KeyRefused));
    it.say(Command::Resume).unwrap();
    it.created("k2");
    assert_eq!(it.halted(), None);
}

/// `on_drift = "halt"`: the human adopts the other's key. At an account with one key the old one is dead then, and nobody is
/// told to revoke it after an overlap that never was.
#[test]
pub fn adopting_the_other_key_ends_ours_where_an_account_has_one() {
    let mut it = Bench::new(OnCreate::Revokes, Recover::ReadCurrent, false);
    it.policy.on_drift = OnDrift::Halt;
    it.wait(days(1)).reads("k2", Probe::Alive).rests();
    it.say(Command::Adopt(adoption("k2", Probe::Alive))).unwrap();
    assert_eq!(it.ended(1), Some(Ended::Revoked));
    it.probes(2, Probe::Alive).delivers(2, "k2");
    it.rests();
    it.rests();
    assert_eq!((it.phase(), it.told(NoticeKind::RevokeNeeded)), ("steady", 0));
    it.is_at_rest();
}

/// `on_drift = "halt"`: the human says to replace the other's key. Whoever sees the drift anew then halts for ever.
#[test]
pub fn resume_after_a_drift_replaces_the_other_key() {
    let mut it = Bench::new(OnCreate::Revokes, Recover::ReadCurrent, false);
    it.policy.on_drift = OnDrift::Halt;
    it.wait(days(1)).reads("k2", Probe::Alive).rests();
    assert_eq!(it.halted(), Some(Reason::Drifted));
    it.say(Command::Resume).unwrap();
    it.created("k3");
    assert_eq!((it.halted(), it.current()), (None, 2));
}

/// A create of ours whose answer was lost takes effect late, at an account with one key: that is nobody else's change.
#[test]
pub fn our_own_late_create_is_no_drift() {
    let mut it = Bench::new(OnCreate::Revokes, Recover::ReadCurrent, false).due();
    it.policy.announce = minutes(0);
    it.policy.on_drift = OnDrift::Halt;
    let first = it.creates();
    it.answer(&first, lost());
    it.wait(seconds(31)).created("k3");
    it.reads("k3", Probe::Alive).probes(1, Probe::Dead).probes(2, Probe::Alive).delivers(2, "k3");
    it.rests();
    it.rests();
    assert_eq!((it.phase(), it.current()), ("steady", 2));
    it.wait(minutes(20)).probes(2, Probe::Dead).reads("k2", Probe::Alive);
    it.delivers(3, "k2");
    assert_eq!((it.current(), it.told(NoticeKind::KeyDrifted)), (3, 0));
}

/// Hole 2 and 4. After a restore, everything is read before anything is delivered, created or revoked.
#[test]
pub fn a_restored_state_reads_before_it_acts() {
    let mut it = Bench::keeps().rotated();
    it.wait(days(3));
    it.record = restored(&it.record, &it.policy, it.now);
    let look = it.look();
    assert!(look.list && look.targets && look.probe == [2]);
    it.facts.listed = None;
    it.facts.targets.clear();
    it.rests();
    it.lists(vec![]).rests();
    assert_eq!(it.phase(), "reobserve", "the target was not read yet");
    it.is_at_rest();
    it.holds(Some("k2"));
    it.pass();
    assert_eq!(it.phase(), "steady");
}

/// Hole 2 and 4. What the target holds is newer than the restored state: it stays, and a fresh key replaces it.
#[test]
pub fn after_a_restore_a_newer_key_in_a_target_stays_until_a_fresh_one_replaces_it() {
    let mut it = Bench::keeps();
    it.record = restored(&it.record, &it.policy, it.now);
    it.holds(Some("k5"));
    let create = it.creates();
    it.is_at_rest();
    it.rests();
    it.facts.targets.insert(file(), Content::Unreadable("busy".into()));
    it.rests();
    it.holds(Some("k5"));
    it.answer(&create, Outcome::Created(found("k6", Probe::Inconclusive)));
    it.probes(2, Probe::Alive).delivers(2, "k6");
    it.rests();
    assert_eq!((it.current(), it.told(NoticeKind::KeyDrifted)), (2, 2), "told, and told to be over");
}

/// Where a create may kill, a restored state that doesn't match the world waits for a human.
#[test]
pub fn after_a_restore_a_mismatch_halts_where_a_create_may_kill() {
    let mut it = Bench::revokes();
    it.record = restored(&it.record, &it.policy, it.now);
    it.record.seen.insert("k0".into(), 0);
    it.reads("k0", Probe::Dead).rests();
    it.wait(minutes(10)).rests();
    assert_eq!(it.halted(), Some(Reason::Restored));
    it.is_at_rest();
}

/// Restoring must not lose a pending key: it may be anywhere by now.
#[test]
pub fn a_restore_keeps_a_pending_key_on_the_books() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    it.record = restored(&it.record, &it.policy, it.now);
    let retired: Vec<_> = it.record.retired.iter().map(|it| (it.version.number, it.version.delivered)).collect();
    assert_eq!(retired, [(2, true)]);
    assert_eq!(numbers(&it.record.held[&file()].maybe), [1, 2], "and may be in the file");
}

/// Hole 15. The config moves the key to another account in mid-rotation: asking there for the lost create answers "absent",
/// and another is made. A rotation stays at the account of its intent.
#[test]
pub fn a_rotation_stays_at_the_account_of_its_intent() {
    let mut it = Bench::keeps().due();
    let create = it.creates();
    it.answer(&create, lost());
    let mut moved = it.policy.clone();
    moved.former.insert(moved.account.clone(), moved.provider);
    moved.account = "elsewhere".into();
    moved.provider.recover = Recover::None;
    let working = moved.working(&it.record).into_owned();
    assert_eq!((&working.account, working.provider.recover), (&it.account.id, Recover::ListByName));
    it.policy = working;
    it.wait(seconds(2)).lists(vec![listed(&create, Some("k2"), Probe::Alive)]);
    it.probes(2, Probe::Alive).delivers(2, "k2");
    it.rests();
    assert_eq!((it.current(), &it.record.current.as_ref().unwrap().account), (2, &"account".into()));
    assert_eq!(moved.working(&it.record).account.as_str(), "elsewhere", "the next one is made there");
}

/// Hole 15. What was lost at an account that the key has left is told, for nobody looks for it there any more.
#[test]
pub fn a_lost_create_at_an_account_that_was_left_is_reported() {
    let mut it = Bench::keeps().due();
    let create = it.creates();
    it.answer(&create, lost());
    let left = leave_account(&it.record, &it.account, &it.policy, it.now).expect("something was lost there");
    assert_eq!((left.notices.len(), left.account.open.len()), (1, 0));
    assert_eq!(leave_account(&left.record, &left.account, &it.policy, it.now), None, "once");
}

/// Hole 15. The overlap that was promised when the rotation began holds, whatever the config says meanwhile.
#[test]
pub fn the_overlap_is_the_one_that_was_promised() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    it.policy.overlap = minutes(1);
    it.probes(2, Probe::Alive).delivers(2, "k2");
    it.rests();
    assert_eq!(it.record.retired[0].after, it.now.plus(days(2)));
}

/// Hole 19. The key that authorises the calls is dead, and so is every other: no call will ever succeed again, and a human
/// must bring a key.
#[test]
pub fn a_lost_login_halts_instead_of_asking_for_ever() {
    let mut it = Bench::revokes();
    it.policy.announce = minutes(0);
    it.policy.targets.push(target(TargetId::new("login", "mobivate"), Reach::Pull));
    it = it.due();
    let create = it.creates();
    it.answer(&create, lost());
    it.facts.read = None;
    it.facts.preflight = Some(Preflight::Blocked(Blocked::Login));
    it.wait(minutes(1)).probes(1, Probe::Dead).rests();
    assert_eq!(it.halted(), Some(Reason::LoginLost));
    it.is_at_rest();
}

/// A list that is answered but cut short is an answer to nothing, also after a restore.
#[test]
pub fn reobserving_ends_in_steady_where_all_agrees() {
    let mut it = Bench::revokes();
    it.record = restored(&it.record, &it.policy, it.now);
    it.facts.read = None;
    it.rests();
    assert!(matches!(it.record.phase, Phase::Reobserve { .. }));
    it.facts.listed = Some(Listed::default());
    it.reads("k1", Probe::Alive).pass();
    assert_eq!(it.phase(), "steady");
}

/// A listed key with a token that somebody else issued for this name.
fn made_by(it: &Bench, install: &str, epoch: &str, n: u32) -> Found {
    let by = Incarnation { install: install.into(), epoch: epoch.into() };
    Found {
        token: Some(Token { by, name: it.record.name.clone(), n }),
        ..found(&format!("{install}-{epoch}-{n}"), Probe::Alive)
    }
}

/// Two daemons: the other one was stopped, and the key that it made is still there. Whoever halts for it at every create
/// never rotates again; whoever never halts again does not see the other come back.
#[test]
pub fn a_stranger_halts_once_and_the_next_one_again() {
    let mut it = Bench::keeps().due();
    let theirs = made_by(&it, "ffffffff", "000001", 7);
    it.lists(vec![theirs.clone()]).rests();
    assert_eq!(it.halted(), Some(Reason::AnotherDaemon));
    it.say(Command::Resume).unwrap();
    it.created("k2");
    it.probes(2, Probe::Alive).delivers(2, "k2");
    it.rests();
    it.wait(days(80));
    let next = made_by(&it, "ffffffff", "000001", 8);
    it.probes(2, Probe::Alive).lists(vec![theirs, next]);
    it.pass();
    it.rests();
    assert_eq!(it.halted(), Some(Reason::AnotherDaemon));
    it.is_at_rest();
}

/// A copy of the state, started elsewhere, issues tokens of the same installation in a life of its own. That is a second
/// daemon like any other.
#[test]
pub fn a_copy_of_this_installation_is_a_second_daemon() {
    let mut it = Bench::keeps().due();
    let install = it.by.install.clone();
    let copy = made_by(&it, &install, "777777", 2);
    it.lists(vec![copy]).rests();
    assert_eq!(it.halted(), Some(Reason::AnotherDaemon));
    it.is_at_rest();
}

/// What an earlier life of this very state made, before it was restored, is no second daemon: a restored key goes on.
#[test]
pub fn an_earlier_life_is_no_second_daemon() {
    let mut it = Bench::keeps();
    let install = it.by.install.clone();
    let earlier = made_by(&it, &install, "777777", 2);
    it.record = restored(&it.record, &it.policy, it.now);
    it.lists(vec![earlier]);
    it.creates();
    assert_eq!((it.halted(), it.record.strangers.len()), (None, 1));
}

/// The state was lost, and the key in use adopted anew: the token of the lost installation is in its name.
#[test]
pub fn an_adopted_key_that_another_installation_made_is_no_stranger() {
    let mut it = Bench::keeps().due();
    let mut adopted = made_by(&it, "ffffffff", "000001", 7);
    adopted.fingerprint = Some("k1".into());
    it.lists(vec![adopted]);
    it.creates();
    assert_eq!(it.halted(), None);
}

/// Somebody rotates a key that an operator holds back: nothing is done, but that consumers hold a dead key is told at once.
#[test]
pub fn a_paused_key_that_somebody_else_replaced_is_told_to_be_dead() {
    let mut it = Bench::revokes();
    let pause = super::incidents::pause(&it, None);
    it.say(Command::Pause(pause)).unwrap();
    it.reads("k9", Probe::Alive).probes(1, Probe::Dead);
    it.wait(days(1)).rests();
    assert_eq!((it.told(NoticeKind::KeyDrifted), it.told(NoticeKind::KeyRefused)), (1, 1));
    assert_eq!((it.phase(), it.current()), ("steady", 1));
    it.is_at_rest();
}

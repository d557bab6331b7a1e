//! An operator in the middle of an incident: holds a key back, goes back to the old one, takes it out of service.
use super::retiring::adoption;
use super::verbs::{check, phases, unchanged};
use crate::bench::*;
use rekeyd_simulation::core::command::{account_gone, restored, retire};
use rekeyd_simulation::core::decide::decide;
use rekeyd_simulation::core::facts::{Action, Blocked, Outcome, Probe};
use rekeyd_simulation::core::names::{Fingerprint, TargetId};
use rekeyd_simulation::core::plan::{Command, CommandRefused, NoticeKind};
use rekeyd_simulation::core::policy::{Policy, Reach};
use rekeyd_simulation::core::record::{Ended, Pause, Phase, Reason, Trigger, Wish};
use rekeyd_simulation::core::time::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

pub fn pause(it: &Bench, until: Option<Timestamp>) -> Pause {
    Pause { since: it.now, until, reason: None, actor: None }
}

fn paused_for(it: &mut Bench, how_long: Option<Duration>) {
    let pause = pause(it, how_long.map(|long| it.now.plus(long)));
    it.say(Command::Pause(pause)).unwrap();
}

/// The config does not name the key any more; its provider is still there.
fn leave_config(it: &mut Bench) {
    it.policy = Policy { provider: it.policy.provider, ..Policy::unmanaged(it.policy.account.clone()) };
}

#[test]
pub fn pause_in_every_phase() {
    let pause = pause(&Bench::keeps(), None);
    check(&Command::Pause(pause), |name| Ok(unchanged(name)));
}

#[test]
pub fn rollback_in_every_phase() {
    check(&Command::Rollback, |name| match name {
        "overlap" => Ok("verify"),
        "steady" | "paused" => Err(CommandRefused::NoPrevious),
        "announce" => Err(CommandRefused::OldKeysEnd),
        "unadopted" => Err(CommandRefused::Unadopted),
        "reobserve" => Err(CommandRefused::Phase),
        "judge" | "cutover" => Err(CommandRefused::RotationToItsEnd),
        "halted" => Err(CommandRefused::Undecided(Box::new(CommandRefused::RotationUnderWay))),
        _ => Err(CommandRefused::RotationUnderWay),
    });
}

#[test]
pub fn ack_in_every_phase() {
    check(&Command::Ack { revoked: false }, |name| match name {
        "halted" => Ok("halted"),
        _ => Err(CommandRefused::NothingFiring),
    });
    check(&Command::Ack { revoked: true }, |_| Err(CommandRefused::NothingToRevoke));
}

/// Whatever is under way ends with the key; the config does not name it, so that nobody waits for it.
#[test]
pub fn retire_in_every_phase() {
    check(&Command::Retire, |_| Ok("unadopted"));
}

#[test]
pub fn forget_in_every_phase() {
    check(&Command::Forget, |name| match name {
        "unadopted" => Ok("unadopted"),
        "create, in flight" => Err(CommandRefused::OpenCreate),
        "cutover" | "overlap" | "going back" => Err(CommandRefused::MayLive(2)),
        _ => Err(CommandRefused::MayLive(1)),
    });
}

/// A pause holds creates and revocations; what targets lost is healed; and it ends by itself.
#[test]
pub fn a_paused_key_begins_and_revokes_nothing_until_its_time() {
    let mut it = Bench::keeps().due();
    paused_for(&mut it, Some(days(1)));
    it.rests();
    assert_eq!(it.wake_at, it.now.plus(hours(1)), "the next probe comes before the end of the pause");
    it.wait(days(1) - seconds(1)).rests();
    it.holds(None).delivers(1, "k1");
    it.wait(seconds(1)).creates();
    assert_eq!(it.record.paused, None);

    let mut it = Bench::keeps().rotated();
    paused_for(&mut it, None);
    it.wait(days(3)).rests();
    assert_eq!(it.ended(1), None);
    it.say(Command::Resume).unwrap();
    assert!(it.pass().iter().any(|action| is_revoke_of(action, 1)));
}

/// A pause without an end, or beyond the due moment, means that the key may not be replaced on time: its owners hear of it.
#[test]
pub fn owners_hear_of_the_expiry_of_a_paused_key() {
    for (until, told) in [(None, 1), (Some(days(80)), 1), (Some(days(1)), 0)] {
        let mut it = Bench::keeps();
        it.policy.notify_before = vec![days(29)];
        paused_for(&mut it, until);
        it.wait(days(62));
        it.pass();
        assert_eq!(it.told(NoticeKind::KeyExpiring), told, "until {until:?}");
    }
}

/// A new key that exists already waits: it reaches no consumer while the key is paused. Once it began to, it goes on.
#[test]
pub fn a_new_key_is_not_delivered_in_a_pause_unless_that_has_begun() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    paused_for(&mut it, None);
    it.probes(2, Probe::Alive).rests();
    it.wait(hours(1)).rests();
    assert_eq!(it.phase(), "verify");

    let mut it = Bench::keeps().due();
    it.created("k2");
    it.probes(2, Probe::Alive).pass();
    paused_for(&mut it, None);
    it.delivers(2, "k2");
    it.rests();
    assert_eq!((it.phase(), it.current()), ("steady", 2));
}

/// The old key is dead, or may be: no consumer is left with it because somebody said `pause` in that moment.
#[test]
pub fn a_cutover_that_has_begun_is_brought_to_its_end_in_a_pause() {
    let mut it = Bench::revokes().due();
    it.policy.announce = minutes(0);
    it.created("k2");
    paused_for(&mut it, None);
    it.delivers(2, "k2");
    it.probes(2, Probe::Alive).reads("k2", Probe::Alive).rests();
    assert_eq!((it.phase(), it.current()), ("steady", 2));

    let mut it = Bench::revokes().due();
    it.policy.announce = minutes(0);
    let create = it.creates();
    it.answer(&create, lost());
    paused_for(&mut it, None);
    it.reads("k2", Probe::Alive).wait(minutes(1)).delivers(2, "k2");
}

/// Somebody else's change is told at once, and answered after the pause.
#[test]
pub fn drift_is_told_in_a_pause_and_answered_after_it() {
    let mut it = Bench::revokes();
    paused_for(&mut it, None);
    it.reads("k9", Probe::Alive).probes(1, Probe::Dead).rests();
    it.wait(minutes(1)).rests();
    assert_eq!((it.told(NoticeKind::KeyDrifted), it.current()), (1, 1));
    it.say(Command::Resume).unwrap();
    it.delivers(2, "k9");
}

/// A halt had a reason of its own: the end of a pause is not the answer to it.
#[test]
pub fn resume_ends_the_pause_first_and_the_halt_when_said_again() {
    let (_, mut it) = phases().into_iter().find(|(name, _)| *name == "halted").unwrap();
    paused_for(&mut it, None);
    it.say(Command::Resume).unwrap();
    assert_eq!((it.halted(), it.record.paused.clone()), (Some(Reason::AnotherDaemon), None));
    it.say(Command::Resume).unwrap();
    assert_eq!(it.halted(), None);
}

/// The previous version is delivered, made current, and the new one goes its way as an old one. The old one is due, but is
/// replaced in the next window only.
#[test]
pub fn rollback_delivers_the_previous_version_and_retires_the_new_one() {
    let mut it = Bench::keeps().rotated();
    it.policy.windows = nights();
    it.say(Command::Rollback).unwrap();
    it.probes(1, Probe::Alive).delivers(1, "k1");
    it.rests();
    assert_eq!((it.phase(), it.current(), it.ended(2)), ("steady", 1, None));
    assert!(it.last_told().summary.contains("went back to version 1"), "{}", it.last_told().summary);
    it.wait(hours(9)).rests();
    it.wait(hours(1)).creates();

    it = Bench::keeps().rotated();
    it.say(Command::Rollback).unwrap();
    it.probes(1, Probe::Alive).delivers(1, "k1");
    it.rests();
    paused_for(&mut it, None);
    it.wait(days(3)).rests();
    it.say(Command::Resume).unwrap();
    let actions = it.pass();
    assert!(actions.iter().any(|action| is_revoke_of(action, 2)), "{actions:?}");
}

/// A version that the provider refuses, or does not confirm, never comes back: the current one stays, and that is told.
#[test]
pub fn only_a_previous_version_that_is_accepted_comes_back() {
    for probe in [Probe::Dead, Probe::Inconclusive] {
        let mut it = Bench::keeps().rotated();
        it.say(Command::Rollback).unwrap();
        it.probes(1, probe).pass();
        it.wait(minutes(10)).pass();
        assert_eq!((it.phase(), it.current()), ("steady", 2), "{probe:?}");
        assert_eq!(it.told(NoticeKind::RotationFailed), 1);
        it.say(Command::Pause(pause(&it, None))).unwrap();
        it.is_at_rest();
    }
}

/// A version that was given up on its way to the targets never was the one in use: nobody goes back to it, but to the one
/// before the current, if there is one.
#[test]
pub fn rollback_never_takes_a_version_that_was_given_up() {
    let given_up = |mut it: Bench, number: u32| {
        let fingerprint = format!("k{number}");
        it.say(Command::Rotate(wish())).unwrap();
        it.created(&fingerprint);
        it.probes(number, Probe::Alive).delivers(number, &fingerprint);
        it.say(Command::Abandon).unwrap();
        let current = it.current();
        it.delivers(current, &format!("k{current}"));
        assert!(it.record.retired.iter().any(|it| it.version.number == number && it.version.delivered));
        it
    };
    let mut it = given_up(Bench::keeps().due(), 2);
    assert_eq!(it.say(Command::Rollback), Err(CommandRefused::NoPrevious));

    let mut it = given_up(Bench::keeps().rotated(), 3);
    it.say(Command::Rollback).unwrap();
    assert_eq!(it.record.pending().map(|it| it.number), Some(1));
    // And whoever gives that up may go back once more.
    it.say(Command::Abandon).unwrap();
    it.say(Command::Rollback).unwrap();
    assert_eq!(it.record.pending().map(|it| it.number), Some(1));
}

/// What is known to speak against it is said at once: there would be no way forward and no way back.
#[test]
pub fn rollback_is_refused_where_the_previous_version_is_ending() {
    let refused = |change: fn(&mut Bench)| {
        let mut it = Bench::keeps().rotated();
        change(&mut it);
        it.say(Command::Rollback).unwrap_err()
    };
    assert_eq!(refused(|it| it.record.retired[0].version.dead_since = Some(NOON)), CommandRefused::PreviousEnding);
    assert_eq!(refused(|it| it.now = it.now.plus(days(25))), CommandRefused::PreviousEnding, "near its end");
    assert_eq!(refused(|it| it.record.retired[0].ended = Some(Ended::Revoked)), CommandRefused::NoPrevious);
    assert_eq!(refused(|it| it.record.retired[0].version.account = "other".into()), CommandRefused::NoPrevious);
    assert_eq!(refused(|it| it.policy.provider.probes = false), CommandRefused::PreviousUnknown);
    let on_the_wire = |it: &mut Bench| {
        it.wait(days(3));
        assert!(it.pass().iter().any(|action| is_revoke_of(action, 1)));
    };
    assert_eq!(refused(on_the_wire), CommandRefused::PreviousEnding, "the revoke call may be on its way");
}

/// Pressed for time, the new key is refused by the provider: the previous one is checked first all the same.
#[test]
pub fn rollback_waits_for_the_previous_version_even_where_the_current_one_is_dead() {
    let mut it = Bench::keeps().rotated();
    it.say(Command::Rollback).unwrap();
    it.wait(minutes(11)).probes(2, Probe::Dead).probes(1, Probe::Alive).delivers(1, "k1");
    assert_eq!(it.current(), 1);
}

/// `--compromised` in flight: the old key goes as soon as the new one is in use, and so does every older one.
#[test]
pub fn a_compromised_key_has_no_overlap_even_if_that_is_said_in_flight() {
    let mut it = Bench::keeps().rotated();
    it.say(Command::Rotate(wish())).unwrap();
    it.created("k3");
    it.say(Command::Rotate(Wish { compromised: true, ..wish() })).unwrap();
    it.probes(3, Probe::Alive).delivers(3, "k3");
    let revoked: Vec<Action> = it.pass();
    assert!(is_revoke_of(&revoked[0], 1) && is_revoke_of(&revoked[1], 2), "{revoked:?}");
}

/// Repeats of what somebody has in hand are left out; what is worse, or something else, is told.
#[test]
pub fn an_acknowledged_incident_is_silent_until_it_gets_worse() {
    let (_, mut it) = phases().into_iter().find(|(name, _)| *name == "halted").unwrap();
    it.policy.notify_before = vec![days(20), days(10), hours(12)];
    it.wait(days(11)).pass();
    assert_eq!(it.told(NoticeKind::KeyExpiring), 1);
    it.say(Command::Ack { revoked: false }).unwrap();
    it.wait(days(9)).pass();
    assert_eq!(it.told(NoticeKind::KeyExpiring), 1, "a repeat");
    it.wait(days(9) + hours(13)).pass();
    assert_eq!(it.told(NoticeKind::KeyExpiring), 2, "critical by now");
    it.say(Command::Ack { revoked: false }).unwrap();
    it.wait(days(1)).pass();
    assert_eq!(it.told(NoticeKind::KeyExpired), 1, "something else");
}

/// `ack --revoked`: what was reported, or could not be revoked, has ended. A version in its overlap is not meant.
#[test]
pub fn versions_that_were_revoked_by_hand_end_as_revoked() {
    let mut it = Bench::keeps();
    it.policy.provider.revokes_by_id = false;
    let mut it = it.rotated();
    assert_eq!(it.say(Command::Ack { revoked: true }), Err(CommandRefused::NothingToRevoke));
    it.wait(days(3)).rests();
    assert_eq!(it.ended(1), Some(Ended::Reported));
    it.say(Command::Ack { revoked: true }).unwrap();
    assert_eq!(it.ended(1), Some(Ended::Revoked));

    let mut it = Bench::keeps().rotated();
    it.wait(days(3));
    let revoke = it.pass().into_iter().find(|it| is_revoke_of(it, 1)).unwrap();
    it.answer(&revoke, Outcome::Failed("403".into()));
    it.say(Command::Ack { revoked: true }).unwrap();
    assert_eq!(it.ended(1), Some(Ended::Revoked));
    it.is_at_rest();

    let mut it = Bench::keeps().rotated();
    it.wait(days(3));
    it.record.held.values_mut().for_each(|it| it.maybe.extend([1]));
    assert_eq!(it.say(Command::Ack { revoked: true }), Err(CommandRefused::NothingToRevoke), "a target may hold it");
}

/// First the targets are emptied, then every version is revoked; then nothing is left to do, and the record may go.
#[test]
pub fn a_retired_key_is_taken_from_its_targets_and_revoked() {
    let mut it = Bench::keeps().rotated();
    leave_config(&mut it);
    it.say(Command::Retire).unwrap();
    let empty = Action::Empty { target: file() };
    let actions = it.pass();
    assert!(actions.contains(&empty) && actions.len() == 2 && is_revoke_of(&actions[1], 1), "{actions:?}");
    it.answer(&actions[1], Outcome::Revoked);
    it.answer(&empty, Outcome::Emptied);
    let revoke = it.pass();
    assert!(revoke.len() == 1 && is_revoke_of(&revoke[0], 2), "{revoke:?}");
    assert_eq!(it.say(Command::Forget), Err(CommandRefused::MayLive(2)));
    it.answer(&revoke[0], Outcome::Revoked);
    it.rests();
    assert_eq!(it.wake_at, Timestamp::NEVER);
    it.say(Command::Forget).unwrap();
}

/// On another machine nothing is done, and so no file is removed, before somebody says that this is the one to run on.
#[test]
pub fn a_retired_key_is_taken_from_no_target_while_the_daemon_only_observes() {
    let mut it = Bench::keeps();
    leave_config(&mut it);
    it.say(Command::Retire).unwrap();
    it.facts.hold = Some(Blocked::Observing);
    it.rests();
    it.facts.hold = None;
    assert_eq!(it.pass(), [Action::Empty { target: file() }]);
}

/// A target that can't be emptied is told, and then holds up no revocation; a version that can't be revoked is told.
#[test]
pub fn what_a_retired_key_leaves_behind_is_told() {
    let mut it = Bench::answers();
    leave_config(&mut it);
    it.say(Command::Retire).unwrap();
    for n in 1..=3 {
        let empty = it.pass();
        assert_eq!(empty, [Action::Empty { target: file() }], "try {n}");
        it.answer(&empty[0], Outcome::Failed("read-only file system".into()));
        assert_eq!(it.told(NoticeKind::RevokeNeeded), 0);
        it.wait(minutes(1));
    }
    assert!(it.last_told().summary.contains("empty it by hand"), "{}", it.last_told().summary);
    it.rests();
    assert_eq!((it.told(NoticeKind::RevokeNeeded), it.ended(1)), (1, Some(Ended::Reported)));
    it.say(Command::Forget).unwrap();
}

/// A key that got another name: what was adopted under it is not revoked under the old one.
#[test]
pub fn retiring_a_key_spares_what_another_key_uses() {
    let mut it = Bench::keeps().rotated();
    leave_config(&mut it);
    let in_use = BTreeSet::from([Fingerprint::from("k2")]);
    let change = retire(&it.record, &it.account, &in_use, &it.policy, it.now);
    it.record = change.record;
    let empty = Action::Empty { target: file() };
    it.answer(&empty, Outcome::Left("key sms2 is delivered there now".into()));
    let actions = it.pass();
    assert!(actions.len() == 1 && is_revoke_of(&actions[0], 1), "{actions:?}");
    assert_eq!(it.ended(2), Some(Ended::Reported));
}

/// A create that is on the wire when its key is retired: what it brings is booked, and revoked.
#[test]
pub fn a_key_that_arrives_after_its_retirement_is_revoked() {
    let mut it = Bench::keeps().due();
    let create = it.creates();
    leave_config(&mut it);
    it.say(Command::Retire).unwrap();
    assert_eq!(it.say(Command::Forget), Err(CommandRefused::OpenCreate));
    it.answer(&create, Outcome::Created(found("k2", Probe::Inconclusive)));
    assert!(it.pass().iter().any(|action| is_revoke_of(action, 2)));
}

/// Its record is all that is known of a key that lives.
#[test]
pub fn no_record_is_forgotten_while_a_version_may_be_live() {
    let mut it = Bench::keeps();
    leave_config(&mut it);
    assert_eq!(it.say(Command::Forget), Err(CommandRefused::MayLive(1)));
    it.wait(days(91));
    it.say(Command::Forget).unwrap();

    let mut it = Bench::keeps();
    leave_config(&mut it);
    it.record.current.as_mut().unwrap().expiry = rekeyd_simulation::core::record::Expiry::Assumed;
    it.wait(days(91));
    assert_eq!(it.say(Command::Forget), Err(CommandRefused::MayLive(1)), "an assumed expiry proves nothing");
}

/// A key that is taken into service again, by the same name: its targets are its own again.
#[test]
pub fn a_retired_key_can_be_adopted_anew() {
    let mut it = Bench::keeps();
    let policy = it.policy.clone();
    leave_config(&mut it);
    it.say(Command::Retire).unwrap();
    it.policy = policy;
    it.say(Command::Adopt(adoption("k9", Probe::Alive))).unwrap();
    it.delivers(2, "k9");
}

/// A section's account was renamed while a create was in flight: nobody speaks for the old one. It is told, what may be
/// there is reported, and the rotation is begun anew at the account that the key has now.
#[test]
pub fn a_rotation_at_an_account_that_is_gone_is_told_and_begun_anew() {
    let mut it = Bench::keeps();
    it.say(Command::Rotate(Wish { reason: Some("leak".into()), ..wish() })).unwrap();
    let create = it.creates();
    let mut policy = it.policy.clone();
    policy.account = "renamed".into();
    let change = account_gone(&it.record, &it.account, &policy, it.now).unwrap();
    let lost = token(&create).to_string();
    assert!(change.notices.iter().any(|it| it.kind == NoticeKind::RevokeNeeded && it.summary.contains(&lost)));
    assert!(change.notices.iter().any(|it| it.kind == NoticeKind::RotationFailed && it.summary.contains("renamed")));
    assert!(change.account.open.is_empty() && change.record.phase == Phase::Steady);
    assert_eq!(
        change.record.wish.as_ref().map(|it| (it.trigger, it.reason.as_deref())),
        Some((Trigger::Operator, Some("leak")))
    );
    assert_eq!(account_gone(&change.record, &change.account, &policy, it.now), None, "told once");

    let mut it = Bench::keeps().due();
    it.created("k2");
    let change = account_gone(&it.record, &it.account, &policy, it.now).unwrap();
    assert_eq!(change.record.retired.len(), 1, "the new key is on its way out");
}

/// A key that another installation issued once was adopted here: that it is listed means no second daemon.
#[test]
pub fn a_key_of_another_installation_that_was_adopted_halts_nothing() {
    let mut it = Bench::keeps().due();
    let mut theirs = found("k1", Probe::Alive);
    theirs.token = Some("ffffffff-000001-billing-1".parse().unwrap());
    theirs.fingerprint = None;
    it.lists(vec![theirs]).creates();
}

/// A restored state reads before it acts: nothing is revoked, and a second daemon is found.
#[test]
pub fn a_restored_state_revokes_nothing_and_halts_for_a_second_daemon() {
    let mut it = Bench::keeps();
    it.policy.targets = vec![target(TargetId::new("login", "x"), Reach::Pull)];
    it.record.held.clear();
    let mut it = it.due();
    it.created("k2");
    it.probes(2, Probe::Alive).pass();
    it.wait(days(3));
    it.record = restored(&it.record, &it.policy, it.now);
    it.facts.listed = None;
    it.wait(days(3)).rests();
    let mut theirs = found("x", Probe::Alive);
    theirs.token = Some("ffffffff-000001-billing-1".parse().unwrap());
    it.lists(vec![theirs]).rests();
    assert_eq!(it.halted(), Some(Reason::AnotherDaemon));
    let again = decide(&it.record, &it.account, &it.facts, &it.policy, &it.by, it.now.plus(days(9)));
    assert_eq!(again.actions, []);
}

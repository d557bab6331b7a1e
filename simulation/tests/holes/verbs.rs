//! Hole 16. What an operator says, in every phase: allowed with its effect, or refused with a reason and without any.
use super::incidents::pause;
use super::retiring::adoption;
use crate::bench::*;
use rekeyd_simulation::core::command::restored;
use rekeyd_simulation::core::facts::{Action, Blocked, Content, Outcome, Preflight, Probe};
use rekeyd_simulation::core::plan::{Command, CommandRefused, NoticeKind};
use rekeyd_simulation::core::policy::Initial;
use rekeyd_simulation::core::record::{Expiry, Phase, Reason, Wish};

/// One key in each phase.
pub fn phases() -> Vec<(&'static str, Bench)> {
    let mut reobserving = Bench::keeps();
    reobserving.record = restored(&reobserving.record, &reobserving.policy, reobserving.now);

    let mut announced = Bench::revokes().due();
    announced.rests();

    let mut owed = Bench::keeps().due();
    owed.facts.preflight = Some(Preflight::Blocked(Blocked::Login));
    owed.rests();

    let mut in_flight = Bench::keeps().due();
    in_flight.creates();

    let mut judging = Bench::silent().due();
    judging.policy.announce = minutes(0);
    judging.created("k2");

    let mut verifying = Bench::keeps().due();
    verifying.created("k2");

    let mut delivering = Bench::keeps().due();
    delivering.created("k2");
    delivering.probes(2, Probe::Alive).pass();

    let mut cut = Bench::revokes().due();
    cut.policy.announce = minutes(0);
    cut.created("k2");

    let mut halted = Bench::keeps().due();
    let mut theirs = found("x", Probe::Alive);
    theirs.token = Some("ffffffff-000001-billing-1".parse().unwrap());
    halted.lists(vec![theirs]).rests();

    let mut paused = Bench::keeps();
    paused.say(Command::Pause(pause(&paused, None))).unwrap();

    let mut going_back = Bench::keeps().rotated();
    going_back.say(Command::Rollback).unwrap();

    vec![
        ("unadopted", Bench::keeps().unadopted()),
        ("reobserve", reobserving),
        ("steady", Bench::keeps()),
        ("announce", announced),
        ("create, owed", owed),
        ("create, in flight", in_flight),
        ("judge", judging),
        ("verify", verifying),
        ("deliver", delivering),
        ("cutover", cut),
        ("halted", halted),
        ("overlap", Bench::keeps().rotated()),
        ("paused", paused),
        ("going back", going_back),
    ]
}

/// Says a verb in every phase, and compares what is answered and which phase follows with what `rule` says.
pub fn check(verb: &Command, rule: impl Fn(&str) -> Result<&'static str, CommandRefused>) {
    for (name, mut it) in phases() {
        let said = it.say(verb.clone()).map(|()| it.phase());
        assert_eq!(said, rule(name), "{verb:?} in {name}");
    }
}

/// The phase as `status` spells it.
pub fn unchanged(name: &str) -> &'static str {
    match name {
        "unadopted" => "unadopted",
        "reobserve" => "reobserve",
        "steady" | "overlap" | "paused" => "steady",
        "announce" => "announce",
        "create, owed" | "create, in flight" => "create",
        "judge" | "verify" | "going back" => "verify",
        "deliver" | "cutover" => "deliver",
        _ => "halted",
    }
}

/// `rotate` is a wish; in flight it is answered by the rotation that is under way; a halted key needs `resume` or `adopt`.
#[test]
pub fn rotate_in_every_phase() {
    check(&Command::Rotate(wish()), |name| match name {
        "unadopted" => Err(CommandRefused::Unadopted),
        "halted" => Err(CommandRefused::Halted),
        "paused" => Err(CommandRefused::Paused),
        "going back" => Err(CommandRefused::RotationUnderWay),
        _ => Ok(unchanged(name)),
    });
    check(&Command::Rotate(Wish { now: true, ..wish() }), |name| match name {
        "unadopted" => Err(CommandRefused::Unadopted),
        "halted" => Err(CommandRefused::Halted),
        "paused" => Err(CommandRefused::Paused),
        "going back" => Err(CommandRefused::RotationUnderWay),
        "announce" => Ok("steady"),
        _ => Ok(unchanged(name)),
    });
}

/// A second `rotate` in flight makes no second key, and none after the first one.
#[test]
pub fn rotate_in_flight_is_answered_by_the_rotation_under_way() {
    for (name, mut it) in phases().into_iter().skip(4).take(6) {
        let before = it.record.clone();
        it.say(Command::Rotate(wish())).unwrap();
        assert_eq!((&it.record, &it.record.wish), (&before, &None), "in {name}");
    }
}

/// `resume` is welcome everywhere; where nothing waits it changes nothing.
#[test]
pub fn resume_in_every_phase() {
    check(&Command::Resume, |name| match name {
        "halted" => Ok("create"),
        _ => Ok(unchanged(name)),
    });
}

/// `resume` ends the wait of a retry.
#[test]
pub fn resume_ends_the_wait_for_a_retry() {
    let mut it = Bench::keeps().due();
    let create = it.creates();
    it.answer(&create, Outcome::NotSent("connection refused".into()));
    it.rests();
    it.say(Command::Resume).unwrap();
    it.creates();
}

/// `abandon` gives up a new key while the old one lives: where there is none, or where the old one was promoted away, it has
/// no sense; where nobody knows whether the old one lives, it is refused.
#[test]
pub fn abandon_in_every_phase() {
    check(&Command::Abandon, |name| match name {
        "create, owed" | "create, in flight" | "verify" | "deliver" | "halted" => Ok("steady"),
        "judge" => Err(CommandRefused::OldKeyInDoubt),
        "cutover" => Err(CommandRefused::NewKeyInUse),
        "going back" => Ok("steady"),
        _ => Err(CommandRefused::NothingPending),
    });
}

/// `abandon` brings the current key back first, then retires the pending one, and does not begin anew at once.
#[test]
pub fn abandon_brings_the_old_key_back_and_retires_the_new_one() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    it.probes(2, Probe::Alive).delivers(2, "k2");
    it.say(Command::Abandon).unwrap();
    let retired = &it.record.retired[0];
    assert_eq!((retired.version.number, retired.after), (2, it.now.plus(days(2))), "consumers may have it");
    it.delivers(1, "k1");
    it.rests();
    assert!(it.record.retry_at.is_some_and(|at| at > it.now), "not again at once");
    it.is_at_rest();
}

/// The next attempt after `abandon` is in the next window, not in this one.
#[test]
pub fn after_abandon_the_next_attempt_is_in_the_next_window() {
    let mut it = Bench::keeps().due();
    it.policy.windows = nights();
    it.wait(hours(10)).created("k2");
    it.wait(minutes(1));
    it.say(Command::Abandon).unwrap();
    it.pass();
    it.wait(hours(1)).pass();
    assert_eq!(it.phase(), "steady");
    it.wait(hours(23)).creates();
}

/// Who gives up the new key goes on with the old one: refused where that is dead, near its end, or may be dead.
#[test]
pub fn abandon_is_refused_where_the_old_key_does_not_live_on() {
    let mut near = Bench::keeps().due();
    near.created("k2");
    near.wait(days(24));
    assert_eq!(near.say(Command::Abandon), Err(CommandRefused::OldKeyEnding));

    let mut dead = Bench::keeps().due();
    dead.probes(1, Probe::Dead).creates();
    assert_eq!(dead.say(Command::Abandon), Err(CommandRefused::OldKeyDead));

    let mut doubtful = Bench::revokes().due();
    doubtful.policy.announce = minutes(0);
    let create = doubtful.creates();
    doubtful.answer(&create, lost());
    assert_eq!(
        doubtful.say(Command::Abandon),
        Err(CommandRefused::OldKeyInDoubt),
        "the lost create may have killed it"
    );
}

/// A first key that halted: there is none to go back to, and `resume` is what is left.
#[test]
pub fn a_first_key_has_no_way_back_and_the_refusal_says_so() {
    for mut it in [Bench::silent().unadopted(), Bench::revokes().unadopted(), Bench::keeps().unadopted()] {
        it.policy.initial = Initial::Create;
        let create = it.creates();
        it.answer(&create, lost());
        let resume = Box::new(it.record.phase.clone());
        it.record.phase = Phase::Halted { reason: Reason::AmbiguousCreate, at: it.now, resume };
        assert_eq!(it.say(Command::Abandon), Err(CommandRefused::FirstKey));
        assert_eq!(it.say(Command::Rollback), Err(CommandRefused::FirstKey));
        it.say(Command::Resume).unwrap();
    }
}

/// A halted key at an account with one key: why neither way back is open, and that a decision is what it waits for.
#[test]
pub fn a_halted_cutover_names_the_decision_that_it_waits_for() {
    let mut it = Bench::revokes().due();
    it.policy.announce = minutes(0);
    let create = it.creates();
    it.answer(&create, lost());
    let resume = Box::new(it.record.phase.clone());
    it.record.phase = Phase::Halted { reason: Reason::AmbiguousCreate, at: it.now, resume };
    assert_eq!(it.say(Command::Abandon), Err(CommandRefused::OldKeyInDoubt));
    let to_its_end = CommandRefused::Undecided(Box::new(CommandRefused::RotationToItsEnd));
    assert_eq!(it.say(Command::Rollback), Err(to_its_end));
    let mut at_rest = Bench::revokes();
    at_rest.record.phase = Phase::Halted { reason: Reason::Drifted, at: NOON, resume: Box::new(Phase::Steady) };
    let ends = CommandRefused::Undecided(Box::new(CommandRefused::OldKeysEnd));
    assert_eq!(at_rest.say(Command::Rollback), Err(ends));
}

/// Where a create may have killed the old key, giving up the new one is allowed only after the old one was seen alive.
#[test]
pub fn abandon_while_judging_is_allowed_once_the_old_key_was_seen_alive() {
    let mut it = Bench::silent().due();
    it.policy.announce = minutes(0);
    it.created("k2");
    it.wait(seconds(1)).probes(1, Probe::Alive).probes(2, Probe::Inconclusive).rests();
    it.say(Command::Abandon).unwrap();
    assert_eq!((it.phase(), it.current()), ("steady", 1));
}

/// `adopt` in Create would forget the token; it is for keys that are not ours yet, rest, or need a human.
#[test]
pub fn adopt_in_every_phase() {
    check(&Command::Adopt(adoption("k9", Probe::Alive)), |name| match name {
        "unadopted" | "steady" | "halted" | "overlap" | "paused" => Ok("deliver"),
        "reobserve" | "announce" => Err(CommandRefused::Phase),
        "judge" | "cutover" => Err(CommandRefused::RotationToItsEnd),
        _ => Err(CommandRefused::RotationUnderWay),
    });
}

/// A halted key is adopted: its pending key retires, and its lost creates stay watched.
#[test]
pub fn adopting_a_halted_key_loses_neither_its_pending_key_nor_its_tokens() {
    let mut it = Bench::keeps().due();
    let create = it.creates();
    it.answer(&create, lost());
    let mut theirs = found("x", Probe::Alive);
    theirs.token = Some("ffffffff-000001-billing-1".parse().unwrap());
    it.wait(minutes(1)).lists(vec![theirs]).rests();
    assert_eq!(it.phase(), "halted");
    it.say(Command::Adopt(adoption("k9", Probe::Alive))).unwrap();
    assert!(it.account.open.contains_key(&token(&create)));
    it.probes(2, Probe::Alive).lists(vec![listed(&create, None, Probe::Inconclusive)]);
    let actions = it.pass();
    assert!(actions.iter().any(|it| matches!(it, Action::Revoke(_))), "the lost one is still ended: {actions:?}");
    assert_eq!(it.current(), 2);
}

/// A lost create's key is found in the portal and adopted by hand, without its id. It is current then, and no orphan.
#[test]
pub fn a_lost_create_that_was_adopted_by_hand_is_no_orphan() {
    let mut it = Bench::keeps().due();
    let create = it.creates();
    it.answer(&create, lost());
    it.say(Command::Abandon).unwrap();
    let mut by_hand = adoption("k2", Probe::Alive);
    by_hand.id = None;
    it.say(Command::Adopt(by_hand)).unwrap();
    it.probes(2, Probe::Alive).lists(vec![listed(&create, Some("k2"), Probe::Alive)]);
    let actions = it.pass();
    assert!(!actions.iter().any(|it| matches!(it, Action::Revoke(_))), "{actions:?}");
    assert_eq!(it.record.current.as_ref().unwrap().id.as_deref(), Some("id-k2"), "and its id is learned");
    assert_eq!(it.account.open.len(), 0);
}

/// A key that the provider refuses, that could not be checked, or that would overwrite another, is taken only on insistence.
#[test]
pub fn a_doubtful_key_is_adopted_only_on_insistence() {
    for (probe, refused) in [(Probe::Dead, CommandRefused::Dead), (Probe::Inconclusive, CommandRefused::Unverified)] {
        let mut it = Bench::keeps();
        let mut adopt = adoption("k9", probe);
        assert_eq!(it.say(Command::Adopt(adopt.clone())), Err(refused));
        adopt.unverified = true;
        assert_eq!(it.say(Command::Adopt(adopt)), Ok(()));
    }
    let mut it = Bench::keeps();
    let mut adopt = adoption("k9", Probe::Alive);
    adopt.targets.insert(file(), Content::Holds("stranger".into()));
    assert_eq!(it.say(Command::Adopt(adopt.clone())), Err(CommandRefused::TargetHolds(file())));
    adopt.targets.insert(file(), Content::Holds("k1".into()));
    assert_eq!(it.say(Command::Adopt(adopt)), Ok(()), "an older key of ours may be overwritten");
}

/// The key in use is adopted once more: nothing retires, nothing is delivered; what is said of it counts, and a halt ends.
#[test]
pub fn adopting_the_key_in_use_again_only_updates_what_is_known_of_it() {
    let mut it = Bench::keeps();
    let mut adopt = adoption("k1", Probe::Alive);
    adopt.valid_to = Some(NOON.plus(days(200)));
    it.say(Command::Adopt(adopt)).unwrap();
    assert_eq!((it.phase(), it.current(), it.record.retired.len()), ("steady", 1, 0));
    assert_eq!(it.record.current.as_ref().unwrap().valid_to, Some(NOON.plus(days(200))));
    it.rests();
    it.is_at_rest();
}

/// A first adoption brings the key to where it is missing, and is told.
#[test]
pub fn a_first_adoption_delivers_where_the_key_is_missing() {
    let mut it = Bench::keeps().unadopted();
    it.say(Command::Adopt(adoption("k1", Probe::Alive))).unwrap();
    it.probes(1, Probe::Alive).delivers(1, "k1");
    it.rests();
    it.rests();
    assert_eq!((it.phase(), it.told(NoticeKind::KeyAdopted), it.record.retired.len()), ("steady", 1, 0));
    it.is_at_rest();
}

/// A key that is live in production is adopted: its target holds it, and nothing is written, so that no consumer restarts.
#[test]
pub fn a_target_that_holds_the_adopted_key_is_left_alone() {
    let mut it = Bench::keeps().unadopted();
    let mut adopt = adoption("k1", Probe::Alive);
    adopt.targets.insert(file(), Content::Holds("k1".into()));
    it.holds(Some("k1")).probes(1, Probe::Alive);
    it.say(Command::Adopt(adopt)).unwrap();
    it.rests();
    it.rests();
    assert_eq!((it.phase(), it.record.held[&file()].settled), ("steady", Some(1)));
    it.is_at_rest();
}

/// Nobody knows how old an adopted key is: it may end at any moment, and is replaced in the next window.
#[test]
pub fn a_key_of_unknown_age_is_due_in_the_next_window() {
    let mut it = Bench::keeps().unadopted();
    it.policy.windows = nights();
    let mut adopt = adoption("k1", Probe::Alive);
    (adopt.valid_to, adopt.expiry) = (None, Expiry::Unknown);
    it.say(Command::Adopt(adopt)).unwrap();
    it.probes(1, Probe::Alive).delivers(1, "k1");
    it.rests();
    it.rests();
    assert_eq!(it.phase(), "steady", "no window is open");
    it.wait(days(1));
    let opens = it.policy.windows[0].clone();
    let at = rekeyd_simulation::core::window::opens_from(&[opens], it.now).unwrap();
    it.now = at;
    it.created("k2");
}

/// Hole 16. The new key makes trouble, and the operator goes back to the old one by adopting it. It is on the books twice
/// then: current, and on its way out; revoking the latter kills the former.
#[test]
pub fn adopting_an_old_key_again_ends_its_way_out() {
    let mut it = Bench::keeps().rotated();
    it.say(Command::Adopt(adoption("k1", Probe::Alive))).unwrap();
    let back = it.current();
    it.probes(back, Probe::Alive).delivers(back, "k1");
    it.rests();
    it.wait(days(3)).lists(vec![]);
    for _ in 0..3 {
        let actions = it.pass();
        assert!(!actions.iter().any(|it| matches!(it, Action::Revoke(it) if it.id == "id-k1")), "{actions:?}");
    }
    assert_eq!(it.record.current.as_ref().unwrap().fingerprint.as_str(), "k1");
}

/// Hole 16. The same with the pending key of a halted rotation, which the operator found to work.
#[test]
pub fn adopting_the_pending_key_does_not_send_it_on_its_way_out() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    let resume = Box::new(it.record.phase.clone());
    it.record.phase = Phase::Halted { reason: Reason::NewKeyRefused, at: it.now, resume };
    it.say(Command::Adopt(adoption("k2", Probe::Alive))).unwrap();
    let taken = it.current();
    it.probes(taken, Probe::Alive).lists(vec![]);
    for _ in 0..3 {
        let actions = it.pass();
        assert!(!actions.iter().any(|it| matches!(it, Action::Revoke(it) if it.id == "id-k2")), "{actions:?}");
    }
}

/// The wait after `abandon` is for the comfort of the owners. When the key dies in it, they have none.
#[test]
pub fn a_key_that_dies_after_abandon_does_not_wait_for_the_next_attempt() {
    let mut it = Bench::keeps().due();
    it.policy.stuck_after = days(1);
    it.created("k2");
    it.say(Command::Abandon).unwrap();
    assert!(it.pass().iter().all(|it| is_revoke_of(it, 2)), "the owners have their comfort");
    it.probes(1, Probe::Dead).creates();
}

/// An old key whose end has begun may die at any moment: its revoke may be on the wire.
#[test]
pub fn an_old_key_whose_end_has_begun_is_not_adopted_again() {
    let mut it = Bench::keeps().rotated();
    it.lists(vec![]).wait(days(2));
    assert!(it.pass().iter().any(|it| is_revoke_of(it, 1)));
    assert_eq!(it.say(Command::Adopt(adoption("k1", Probe::Alive))), Err(CommandRefused::BeingRevoked));
}

/// An accepted key shows that this machine can see keys accepted: from here on a refusal proves something. A key that was
/// not seen accepted shows nothing.
#[test]
pub fn only_an_adopted_key_that_is_accepted_is_a_control() {
    for (probe, controls) in [(Probe::Alive, 1), (Probe::Inconclusive, 0)] {
        let mut it = Bench::keeps().unadopted();
        it.record.controls.clear();
        let mut key = adoption("k1", probe);
        key.unverified = true;
        it.say(Command::Adopt(key)).unwrap();
        assert_eq!(it.record.controls.len(), controls, "{probe:?}");
    }
}

//! What is said of a key that needs somebody, and the commands that are named for it: true in each case, and not refused.
use crate::fixture::*;
use rekeyd::cli;
use rekeyd::cli::output::Paint;
use rekeyd::control::problem::Problem;
use rekeyd::control::protocol::KeyStatus;
use rekeyd::control::view;
use rekeyd::core::names::Fingerprint;
use rekeyd::core::plan::CommandRefused;
use rekeyd::core::policy::{Capabilities, Initial, OnCreate, Policy, RotateBefore};
use rekeyd::core::record::{Creating, Ended, Held, Pause, Phase, Reason, Record, Retired};
use rekeyd::engine::handle::{Refused, Snapshot};

fn it(world: &Snapshot) -> KeyStatus {
    view::key_status(world, &name("it")).unwrap()
}

fn year() -> Record {
    record("it", version(5, "2026-06-01T00:00:00Z", Some("2027-06-01T00:00:00Z")))
}

fn halted(reason: Reason, resume: Phase) -> Phase {
    Phase::Halted { reason, at: now(), resume: Box::new(resume) }
}

/// As at Mobivate: a create ends the old key, and nobody tells how old a key is.
fn cutover() -> Policy {
    let provider =
        Capabilities { on_create: OnCreate::Revokes, revokes_by_id: false, reports_expiry: false, ..capabilities() };
    Policy { provider, ..policy() }
}

fn create() -> Policy {
    Policy { initial: Initial::Create, ..policy() }
}

#[test]
fn a_key_that_halted_before_it_had_a_version_is_not_planned_to_be_created() {
    let phase = halted(Reason::AmbiguousCreate, Phase::Create(Creating::default()));
    let plan = view::plan(&one(create(), Record { phase, ..Record::new(name("it"), now()) }), 90 * DAY);
    assert_eq!(plan.entries, [], "nothing happens by itself");
    let [warning] = plan.warnings.as_slice() else { panic!("{:?}", plan.warnings) };
    assert_eq!(warning.reason, "halted");
    assert_eq!(warning.message, "halted (ambiguous_create): nothing happens before somebody decides: rekeyd status it");
}

#[test]
fn a_first_create_that_is_paused_or_under_way_is_planned_as_such() {
    let new = Record::new(name("it"), now());
    let pause = |until| Some(Pause { since: now(), until, reason: None, actor: None });
    let plan = |record: Record| view::plan(&one(create(), record), 90 * DAY);
    let held = plan(Record { paused: pause(None), ..new.clone() });
    assert_eq!((held.entries.len(), held.warnings[0].reason.as_str()), (0, "paused"));
    let later = plan(Record { paused: pause(Some(now().plus(DAY))), ..new.clone() });
    assert_eq!(later.entries[0].at.0, now().plus(DAY));
    let begun = plan(Record { phase: Phase::Create(Creating::default()), ..new });
    assert_eq!(begun.entries[0].reason, "in_progress");
}

#[test]
fn every_old_version_that_may_be_accepted_still_is_shown() {
    let ended = |number, ended| Retired { ended: Some(ended), ..retired(number, "2026-11-20T10:00:00Z") };
    let old = vec![
        ended(1, Ended::Revoked),
        ended(2, Ended::Reported),
        retired(3, "2026-11-23T10:00:00Z"),
        retired(4, "2026-11-24T10:00:00Z"),
    ];
    let world = one(policy(), Record { retired: old, ..year() });
    let key = it(&world);
    let shown: Vec<_> = key.old.iter().map(|it| (it.version.version, it.reported)).collect();
    assert_eq!(shown, [(4, false), (3, false), (2, true)]);
    assert_eq!(key.previous.as_ref().map(|it| it.version), Some(4), "what scripts read keeps its meaning");
    let text = cli::status::text(&view::status(&world), true, usize::MAX, Paint(false));
    let lines: Vec<_> = text.lines().filter(|it| it.contains("previous:")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].contains("version 4") && lines[0].contains("revoked not before 2026-11-24 10:00 UTC"), "{text}");
    assert!(lines[2].contains("version 2") && lines[2].contains("left to its owners, who were told"), "{text}");
}

#[test]
fn a_key_that_died_is_told_from_one_that_somebody_changed() {
    let message = |reason| {
        let phase = halted(reason, Phase::Steady);
        it(&one(policy(), Record { phase, ..year() })).halted.unwrap().message
    };
    assert!(message(Reason::Drifted).contains("somebody else changed this key; adopt theirs"));
    let died = message(Reason::KeyRefused);
    assert!(died.contains("the provider refuses this key before its time") && !died.contains("theirs"), "{died}");
}

#[test]
fn an_adoption_is_named_with_what_it_can_not_do_without() {
    let phase = halted(Reason::AmbiguousCreate, Phase::Steady);
    let halted = |policy| it(&one(policy, Record { phase: phase.clone(), ..year() })).actions;
    assert_eq!(halted(policy()), ["rekeyd resume it", "rekeyd adopt it"]);
    assert_eq!(halted(cutover()), ["rekeyd resume it", "rekeyd adopt it --age-unknown"]);
    let foreign = Held { foreign: Some(Fingerprint::of(b"x")), ..Held::default() };
    let mut changed = year();
    changed.held.values_mut().for_each(|it| *it = foreign.clone());
    assert_eq!(it(&one(cutover(), changed)).actions, ["rekeyd adopt it --from-target --age-unknown"]);
}

#[test]
fn an_unadopted_key_is_to_be_taken_from_its_targets_only_where_they_may_hold_it() {
    let mut world = one(policy(), Record::new(name("it"), now()));
    assert_eq!(it(&world).actions, ["rekeyd adopt it --from-target"]);
    world.nothing_to_adopt.insert(name("it"));
    let key = it(&world);
    assert_eq!(key.actions, ["rekeyd adopt it"]);
    assert!(key.attention[0].message.contains("its targets hold none"), "{:?}", key.attention);
    let plan = view::plan(&world, DAY);
    assert!(plan.warnings[0].message.ends_with(": rekeyd adopt it"), "{:?}", plan.warnings);
}

#[test]
fn an_old_version_of_a_key_that_left_the_config_is_ended_by_retire_where_that_can() {
    let old = |id: Option<&str>| {
        let mut old = Retired { ended: Some(Ended::Reported), ..retired(4, "2026-11-20T10:00:00Z") };
        old.version.id = id.map(str::to_owned);
        let mut world = empty().0;
        world.records.insert(name("it"), Record { retired: vec![old], ..year() });
        let key = it(&world);
        let attention = key.attention.into_iter().find(|it| it.reason == "revoke_needed").unwrap();
        (attention.message, key.actions, view::plan(&world, DAY).warnings[0].message.clone())
    };
    let (message, actions, plan) = old(Some("id-4"));
    assert!(message.contains("stays valid, for the config no longer names the key"), "{message}");
    assert!(!message.contains("by hand") && !plan.contains("by hand"), "retire does it: {message}, {plan}");
    assert_eq!(actions[0], "rekeyd retire it");
    assert!(plan.ends_with("rekeyd retire it"), "{plan}");
    let (message, ..) = old(None);
    assert!(message.contains("is not revoked by rekeyd; revoke it by hand"), "{message}");
}

#[test]
fn a_target_that_was_to_get_the_very_version_is_not_said_to_hold_it_instead_of_itself() {
    let told = |maybe: &[u32]| {
        let mut record = year();
        let held = Held { maybe: maybe.iter().copied().collect(), failures: 3, ..Held::default() };
        record.held.values_mut().for_each(|it| *it = held.clone());
        it(&one(policy(), record)).attention[0].message.clone()
    };
    assert!(told(&[5]).contains("was to get version 5, and that has not succeeded yet"), "{}", told(&[5]));
    assert!(told(&[3, 5]).contains("may still hold version 3 instead of 5"), "{}", told(&[3, 5]));
}

#[test]
fn how_long_before_its_end_a_key_is_replaced_is_told_in_round_figures() {
    let share = Policy { rotate_before: RotateBefore::Share(33.333), ..policy() };
    let plan = view::plan(
        &one(share, record("it", version(2, "2026-11-01T00:00:00Z", Some("2027-03-16T00:00:00Z")))),
        90 * DAY,
    );
    let rotate = plan.entries.iter().find(|it| it.action == "rotate").unwrap();
    assert!(rotate.message.ends_with("is replaced 45d before"), "{}", rotate.message);
}

#[test]
fn what_helps_elsewhere_is_not_named_where_it_would_be_refused() {
    let remedy = |why: CommandRefused| Problem::refused("it", &Refused::Command(why)).remedy.unwrap();
    assert_eq!(remedy(CommandRefused::FirstKey), "rekeyd resume it");
    assert_eq!(remedy(CommandRefused::RotationToItsEnd), "wait for its end: rekeyd status it");
    let undecided = CommandRefused::Undecided(Box::new(CommandRefused::OldKeysEnd));
    assert_eq!(remedy(undecided), "rekeyd resume it, or what else rekeyd status it names");
}

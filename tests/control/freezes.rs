//! What `status` and `plan` say of freezes.
use crate::fixture::*;
use rekeyd::control::protocol::{Health, KeyStatus, PlanEntry, PlanReport};
use rekeyd::control::view;
use rekeyd::core::facts::Blocked;
use rekeyd::core::freeze::{Freeze, Span, When};
use rekeyd::core::policy::{Capabilities, OnCreate, OutsideWindow, Policy, RotateBefore};
use rekeyd::core::record::{Phase, Record, Version, Wish};

/// A key that is due 14 days before its end, and a freeze.
fn policy(from: &str, to: &str) -> Policy {
    let when = When::Once(Span { from: at(from), to: at(to) });
    let freezes = vec![Freeze { name: "year-end".to_owned(), when }];
    Policy { rotate_before: RotateBefore::Lead(14 * DAY), freezes, ..crate::fixture::policy() }
}

fn until(valid_to: &str) -> Version {
    version(1, "2026-06-15T00:00:00Z", Some(valid_to))
}

fn plan_of(policy: Policy, current: Version) -> PlanReport {
    view::plan(&one(policy, record("it", current)), 60 * DAY)
}

fn first(plan: &PlanReport, action: &str) -> PlanEntry {
    plan.entries.iter().find(|it| it.action == action).unwrap_or_else(|| panic!("{plan:?}")).clone()
}

fn status_of(policy: Policy, record: Record) -> KeyStatus {
    view::key_status(&one(policy, record), &name("it")).unwrap()
}

#[test]
fn a_rotation_that_a_freeze_moves_says_so_and_shows_its_window() {
    let frozen = policy("2026-12-18T00:00:00Z", "2027-01-04T23:00:00Z");
    let plan = plan_of(Policy { windows: vec![weeknights()], ..frozen }, until("2027-01-10T00:00:00Z"));
    let entry = first(&plan, "rotate");
    assert_eq!((entry.at.to_string().as_str(), entry.reason.as_str()), ("2027-01-04T23:00:00Z", "after_freeze"));
    assert!(entry.message.ends_with(", after freeze year-end, in window weeknights"), "{}", entry.message);
    let window = entry.window.unwrap();
    let shown = (window.name.as_deref(), window.opens.to_string(), window.closes.to_string());
    assert_eq!(shown, (Some("weeknights"), "2027-01-04T23:00:00Z".into(), "2027-01-05T02:00:00Z".into()));
    assert_eq!(plan.warnings, []);
}

#[test]
fn a_revocation_waits_for_the_end_of_a_freeze() {
    let plan = plan_of(policy("2026-12-03T00:00:00Z", "2026-12-20T00:00:00Z"), until("2026-12-15T00:00:00Z"));
    let (rotate, revoke) = (first(&plan, "rotate"), first(&plan, "revoke"));
    assert_eq!((rotate.at.to_string().as_str(), rotate.reason.as_str()), ("2026-12-01T00:00:00Z", "due_before_expiry"));
    assert_eq!(revoke.at.to_string(), "2026-12-20T00:00:00Z");
}

#[test]
fn a_cutover_that_must_beat_a_freeze_says_so() {
    let provider = Capabilities { on_create: OnCreate::Revokes, ..capabilities() };
    let frozen = policy("2026-12-02T00:00:00Z", "2026-12-20T00:00:00Z");
    let plan = plan_of(Policy { provider, announce: 2 * DAY, ..frozen }, until("2026-12-15T00:00:00Z"));
    let entry = first(&plan, "rotate");
    assert_eq!((entry.at.to_string().as_str(), entry.reason.as_str()), ("2026-12-01T23:50:00Z", "before_freeze"));
    assert!(entry.message.ends_with(", before freeze year-end"), "{}", entry.message);
}

#[test]
fn a_key_that_leaves_its_freeze_says_so() {
    let plan = plan_of(policy("2026-11-30T00:00:00Z", "2027-01-04T00:00:00Z"), until("2026-12-15T00:00:00Z"));
    let entry = first(&plan, "rotate");
    assert_eq!((entry.at.to_string().as_str(), entry.reason.as_str()), ("2026-12-14T00:00:00Z", "leaves_freeze"));
    assert!(entry.message.contains("in freeze year-end: nothing is left outside it"), "{}", entry.message);
}

#[test]
fn a_key_that_will_expire_in_its_freeze_is_a_warning_in_plan_and_status() {
    let never = |windows| {
        let frozen = policy("2026-11-30T00:00:00Z", "2027-01-04T00:00:00Z");
        Policy { outside_window: OutsideWindow::Never, windows, ..frozen }
    };
    for windows in [Vec::new(), vec![weeknights()]] {
        let plan = plan_of(never(windows.clone()), until("2026-12-15T00:00:00Z"));
        let warning = &plan.warnings[0].message;
        assert!(warning.contains("before it is replaced at 2027-01-04T"), "{warning}");
        assert!(warning.ends_with("outside_window is \"never\", and nothing opens before"), "{warning}");
        let status = status_of(never(windows.clone()), record("it", until("2026-12-15T00:00:00Z")));
        assert_eq!(status.health, Health::Attention);
        assert!(status.next.unwrap().message.ends_with("; it expires before that"));
        let well = status_of(never(windows), record("it", until("2027-06-15T00:00:00Z")));
        assert_eq!((well.health, well.next.unwrap().reason.as_str()), (Health::Ok, "due_before_expiry"));
    }
}

#[test]
fn a_key_that_waits_for_the_end_of_a_freeze_is_well_and_says_until_when() {
    let mut world = one(crate::fixture::policy(), record("it", until("2027-06-15T00:00:00Z")));
    world.blocked.insert(name("it"), Blocked::Freeze("year-end".to_owned(), at("2027-01-04T00:00:00Z")));
    let status = view::key_status(&world, &name("it")).unwrap();
    let blocked = status.blocked.unwrap();
    assert_eq!((status.health, blocked.reason.as_str()), (Health::Ok, "freeze"));
    assert_eq!(blocked.until.unwrap().to_string(), "2027-01-04T00:00:00Z");
    assert_eq!(blocked.message, "freeze year-end lasts; it goes on at 2027-01-04T00:00:00Z");
}

#[test]
fn a_cutover_that_somebody_asked_for_stays_where_it_was_announced() {
    let provider = Capabilities { on_create: OnCreate::Revokes, ..capabilities() };
    let wish = Some(Wish { now: false, compromised: false, ..rotation().wish });
    let announced = Phase::Announce { until: at("2026-11-24T00:00:00Z") };
    let record = Record { phase: announced, wish, ..record("it", until("2027-06-15T00:00:00Z")) };
    let next = status_of(Policy { provider, ..crate::fixture::policy() }, record).next.unwrap();
    assert_eq!((next.at.to_string().as_str(), next.reason.as_str()), ("2026-11-24T00:00:00Z", "announced"));
}

//! What `status`, `plan` and `history` say of a snapshot.
use crate::fixture::*;
use rekeyd::cli;
use rekeyd::cli::output::Paint;
use rekeyd::control::protocol::{Health, KeyStatus, PhaseName, PlanReport};
use rekeyd::control::view;
use rekeyd::core::facts::Blocked;
use rekeyd::core::names::{Fingerprint, NoticeId};
use rekeyd::core::plan::{Notice, NoticeKind};
use rekeyd::core::policy::{Capabilities, OnCreate, OutsideWindow, Policy, RotateBefore};
use rekeyd::core::record::{Actor, Creating, Phase, Reason, Record, Wish};
use rekeyd::engine::handle::{ChannelRow, CommandRow, History, NoticeRow, ReadRow, Snapshot};
use serde::Serialize;
use std::path::Path;

/// Compares with a committed file; REKEYD_BLESS=1 writes it anew.
pub(crate) fn golden(file: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("REKEYD_BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(actual == expected, "{file} differs; look at it with REKEYD_BLESS=1 and git diff. Now:\n{actual}");
}

fn json<T: Serialize>(it: &T) -> String {
    serde_json::to_string_pretty(it).unwrap() + "\n"
}

fn status_of(snapshot: &Snapshot, key: &str) -> KeyStatus {
    view::key_status(snapshot, &name(key)).unwrap()
}

fn it(phase: Phase) -> KeyStatus {
    let current = version(2, "2026-06-01T00:00:00Z", Some("2027-06-01T00:00:00Z"));
    status_of(&one(policy(), Record { phase, ..record("it", current) }), "it")
}

#[test]
fn status_is_as_the_committed_json_and_text() {
    let status = view::status(&world());
    golden("status.json", &json(&status));
    golden("status.txt", &cli::status::text(&status, false, usize::MAX, Paint(false)));
    golden("status-120.txt", &cli::status::text(&status, false, 120, Paint(false)));
    golden("status-80.txt", &cli::status::text(&status, false, 80, Paint(false)));
    golden("status-full.txt", &cli::status::text(&status, true, usize::MAX, Paint(false)));
    assert_eq!(serde_json::from_str::<rekeyd::control::protocol::Status>(&json(&status)).unwrap(), status);
}

#[test]
fn plan_is_as_the_committed_json_and_text() {
    let plan = view::plan(&world(), view::PLAN_FOR);
    golden("plan.json", &json(&plan));
    let text =
        |width, verbose| cli::plan::text(&plan, cli::plan::View { full: false, verbose, width, paint: Paint(false) });
    golden("plan.txt", &text(usize::MAX, true));
    golden("plan-200.txt", &text(200, false));
    golden("plan-80.txt", &text(80, false));
}

#[test]
fn history_is_as_the_committed_json_and_text() {
    let notice = Notice {
        key: Some(name("billing-sms")),
        incident: "rotation-7".to_owned(),
        summary: "billing-sms has a new version".to_owned(),
        version: Some(3),
        fingerprint: Some(Fingerprint::of(b"3")),
        ..Notice::bare(NoticeId::from("1f"), NoticeKind::RotationSucceeded, at("2026-06-15T21:00:01Z"))
    };
    let channel = |channel: &str, state, why: Option<&str>| ChannelRow {
        channel: channel.to_owned(),
        state,
        at: at("2026-06-15T21:00:02Z"),
        why: why.map(str::to_owned),
    };
    let channels =
        vec![channel("email:a@b.example", "sent", None), channel("exec:/usr/local/bin/tell", "dead", Some("status 1"))];
    let read = ReadRow {
        name: name("billing-sms"),
        at: at("2026-06-16T09:00:00Z"),
        by: "anna".to_owned(),
        version: 3,
        via: "reveal".to_owned(),
        times: 1,
        last: None,
    };
    let command = CommandRow {
        name: Some(name("billing-sms")),
        at: at("2026-06-15T20:59:00Z"),
        verb: "rotate".to_owned(),
        options: vec!["--now".to_owned()],
        actor: Some(Actor { uid: 0, login_uid: Some(1000), user: Some("anna".to_owned()) }),
        reason: Some("a leaver".to_owned()),
        result: None,
    };
    let history = view::history(History {
        rotations: vec![(name("billing-sms"), rotation())],
        notices: vec![NoticeRow { notice, owner: "payments".to_owned(), channels }],
        reads: vec![read],
        commands: vec![command],
    });
    golden("history.json", &json(&history));
    golden("history.txt", &cli::history::text(&history, Paint(false)));
}

#[test]
fn the_phases_of_a_cutover_and_of_a_judgement_are_told_in_the_users_words() {
    let cutover = |delivered_at| Phase::Cutover { since: now(), delivered_at, again: 0 };
    let pending = version(3, "2026-11-21T21:00:00Z", Some("2027-11-21T21:00:00Z"));
    assert_eq!(it(cutover(None)).phase, PhaseName::Deliver);
    assert_eq!(it(cutover(Some(now()))).phase, PhaseName::Verify);
    assert_eq!(it(Phase::Judge { pending: pending.clone(), since: now() }).phase, PhaseName::Verify);
    assert_eq!(it(Phase::Verify { pending, since: now() }).pending.unwrap().version, 3);
    assert_eq!(it(Phase::Create(Creating::default())).next.unwrap().reason, "in_progress");
}

#[test]
fn an_old_version_is_in_its_overlap_first_and_then_to_be_revoked() {
    for (after, phase) in [("2026-11-22T00:00:00Z", PhaseName::Overlap), ("2026-11-21T22:00:00Z", PhaseName::Revoke)] {
        let current = version(2, "2026-11-20T00:00:00Z", Some("2027-11-20T00:00:00Z"));
        let key = status_of(&one(policy(), Record { retired: vec![retired(1, after)], ..record("it", current) }), "it");
        assert_eq!((key.phase, key.previous.unwrap().version), (phase, 1));
        assert_eq!(key.next.unwrap().action, "revoke");
    }
}

#[test]
fn a_closed_window_is_no_trouble_but_a_refused_login_is() {
    let current = version(2, "2026-06-01T00:00:00Z", Some("2027-06-01T00:00:00Z"));
    for (blocked, health) in [(Blocked::Window(now().plus(DAY)), Health::Ok), (Blocked::Login, Health::Attention)] {
        let mut world = one(policy(), record("it", current.clone()));
        world.blocked.insert(name("it"), blocked);
        assert_eq!(status_of(&world, "it").health, health);
    }
}

fn actions(plan: &PlanReport) -> Vec<(String, &str, &str)> {
    let it = plan.entries.iter().filter(|it| it.action != "probe");
    it.map(|it| (it.at.to_string(), it.action.as_str(), it.reason.as_str())).collect()
}

fn check_plan(policy: Policy, record: Record, days: u32, expected: &[(&str, &str, &str)]) {
    let plan = view::plan(&one(policy, record), days * DAY);
    let expected: Vec<_> = expected.iter().map(|it| (it.0.to_owned(), it.1, it.2)).collect();
    assert_eq!(actions(&plan), expected, "{:?}", plan.warnings);
}

#[test]
fn later_rotations_follow_from_the_first() {
    let policy = Policy { rotate_before: RotateBefore::Lead(10 * DAY), ..policy() };
    let current = version(1, "2026-11-11T22:00:00Z", Some("2026-12-11T22:00:00Z"));
    check_plan(
        policy,
        record("it", current),
        32,
        &[
            ("2026-12-01T22:00:00Z", "rotate", "due_before_expiry"),
            ("2026-12-04T22:00:00Z", "revoke", "overlap_ends"),
            ("2026-12-21T22:00:00Z", "rotate", "due_before_expiry"),
        ],
    );
}

#[test]
fn a_rotation_waits_for_its_window_and_so_does_the_revocation() {
    let policy = Policy { rotate_before: RotateBefore::Lead(14 * DAY), windows: vec![weeknights()], ..policy() };
    // Due on a Friday evening: the next weeknight is Monday's; three days later is a Thursday, within its window.
    let current = version(1, "2026-06-15T21:00:00Z", Some("2026-12-11T21:00:00Z"));
    check_plan(
        policy,
        record("it", current),
        20,
        &[("2026-11-30T22:00:00Z", "rotate", "due_before_expiry"), ("2026-12-03T22:00:00Z", "revoke", "overlap_ends")],
    );
}

#[test]
fn a_window_that_opens_too_late_is_left_only_where_the_config_allows() {
    let monthly =
        rekeyd::core::window::Window { open: std::sync::Arc::new("0 22 20 * *".parse().unwrap()), ..weeknights() };
    let policy = |outside_window| Policy {
        rotate_before: RotateBefore::Lead(10 * DAY),
        windows: vec![monthly.clone()],
        outside_window,
        ..policy()
    };
    let current = version(1, "2026-06-14T22:00:00Z", Some("2026-12-11T22:00:00Z"));
    check_plan(
        policy(OutsideWindow::IfExpiring),
        record("it", current.clone()),
        25,
        &[("2026-12-10T22:00:00Z", "rotate", "no_window_before_expiry")],
    );
    let never = view::plan(&one(policy(OutsideWindow::Never), record("it", current)), 32 * DAY);
    assert_eq!(actions(&never)[0].0, "2026-12-20T22:00:00Z");
    assert!(never.warnings[0].message.contains("before it is replaced"), "{:?}", never.warnings);
}

#[test]
fn a_cutover_is_announced_first_and_leaves_nothing_to_revoke() {
    let provider = Capabilities { on_create: OnCreate::Revokes, ..capabilities() };
    let policy = Policy { provider, announce: 2 * DAY, rotate_before: RotateBefore::Lead(10 * DAY), ..policy() };
    let current = version(1, "2026-06-11T22:00:00Z", Some("2026-12-11T22:00:00Z"));
    check_plan(
        policy,
        record("it", current),
        20,
        &[
            ("2026-12-01T22:00:00Z", "announce", "due_before_expiry"),
            ("2026-12-03T22:00:00Z", "rotate", "due_before_expiry"),
        ],
    );
}

#[test]
fn a_compromised_key_waits_for_no_window() {
    let policy = Policy { windows: vec![weeknights()], overlap: DAY, ..policy() };
    let wish = Wish { compromised: true, now: true, ..rotation().wish };
    let current = version(1, "2026-06-11T22:00:00Z", Some("2027-06-11T22:00:00Z"));
    let record = Record { wish: Some(wish), ..record("it", current) };
    let status = status_of(&one(policy, record), "it").next.unwrap();
    assert_eq!((status.at.0, status.reason.as_str()), (now(), "compromised"));
    assert_eq!(status.message, "asked for by anna: audit");
}

#[test]
fn a_key_that_nothing_replaces_shows_the_warnings_that_will_be_sent() {
    let phase = Phase::Halted { reason: Reason::Drifted, at: now(), resume: Box::new(Phase::Steady) };
    let current = version(1, "2026-06-11T22:00:00Z", Some("2026-11-25T22:00:00Z"));
    check_plan(
        policy(),
        Record { phase, ..record("it", current) },
        30,
        &[
            ("2026-11-22T22:00:00Z", "notify", "key_expiring"),
            ("2026-11-24T22:00:00Z", "notify", "key_expiring"),
            ("2026-11-25T22:00:00Z", "notify", "key_expired"),
        ],
    );
}

#[test]
fn no_answer_is_well_only_while_nobody_is_needed() {
    assert!(!cli::status::is_well(&view::status(&world())));
    let current = version(2, "2026-06-01T00:00:00Z", Some("2027-06-01T00:00:00Z"));
    let mut well = one(policy(), record("it", current));
    assert!(cli::status::is_well(&view::status(&well)));
    well.config_rejected = Some("a.toml:1:1: no".to_owned());
    assert!(!cli::status::is_well(&view::status(&well)));
}

/// A key of a service without an API: its reminders are what is to come, and once it is due a human is needed.
#[test]
fn a_key_that_is_replaced_by_hand_shows_its_reminders_and_then_waits() {
    let provider = Capabilities { creates: false, probes: false, revokes_by_id: false, ..capabilities() };
    let policy = Policy { provider, rotate_before: RotateBefore::Lead(40 * DAY), ..policy() };
    let of = |end: &str| one(policy.clone(), record("it", version(2, "2026-06-01T00:00:00Z", Some(end))));
    let early = of("2027-06-01T00:00:00Z");
    let status = status_of(&early, "it");
    let next = status.next.unwrap();
    assert_eq!((status.health, next.reason.as_str(), next.action.as_str()), (Health::Ok, "replaced_by_hand", "notify"));
    assert_eq!(next.at.to_string(), "2027-04-22T00:00:00Z");
    let plan = view::plan(&early, 365 * DAY);
    let days: Vec<String> = plan.entries.iter().map(|it| it.at.to_string()[..10].to_owned()).collect();
    assert_eq!(
        days,
        ["2027-04-22", "2027-05-18", "2027-05-22", "2027-05-25", "2027-05-29", "2027-05-31", "2027-06-01"]
    );
    assert!(plan.entries.iter().all(|it| it.action == "notify") && plan.warnings.is_empty());
    for (end, health) in [("2026-12-20T00:00:00Z", Health::Attention), ("2026-11-22T12:00:00Z", Health::Critical)] {
        let due = of(end);
        let status = status_of(&due, "it");
        let next = status.next.unwrap();
        assert_eq!((status.health, next.reason.as_str()), (health, "waits_for_new_key"), "{end}");
        assert!(next.message.contains("by hand since 2026-1"), "{}", next.message);
        assert!(view::plan(&due, DAY).warnings[0].message.contains("rekeyd rotate it"));
    }
}

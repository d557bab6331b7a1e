//! What `status` says of a key in every phase under every condition: its health, what is wrong, what helps, and the exit
//! code. A wrong state is never shown as fine.
use crate::fixture::*;
use crate::views::golden;
use rekeyd::cli;
use rekeyd::cli::output::Paint;
use rekeyd::control::protocol::{Health, KeyStatus};
use rekeyd::control::view;
use rekeyd::core::account::Account;
use rekeyd::core::command::command;
use rekeyd::core::facts::Blocked;
use rekeyd::core::names::{AccountId, Fingerprint};
use rekeyd::core::plan::Command;
use rekeyd::core::policy::{Capabilities, OnCreate, OutsideWindow, Policy, RotateBefore};
use rekeyd::core::record::{
    Actor, Creating, Ended, Held, LastError, Pause, Phase, Reason, Record, Retired, Trigger, Version, Wish,
};
use rekeyd::engine::handle::Snapshot;
use rekeyd::standing::Concern;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

/// The conditions, in the order of the columns below.
const CONDITIONS: [&str; 10] =
    ["fine", "failing", "blocked", "stuck", "overdue", "undelivered", "refused", "last day", "expired", "paused"];

/// A dot is ok, then attention, critical, expired; in the order of the conditions. A key that is rotated in time is fine
/// with little left, and one that is under way is not overdue.
const TABLE: [(&str, &str); 14] = [
    ("unadopted", "aaaaaaaaaa"),
    ("reobserve", ".aaaa.ccxa"),
    ("steady", ".aa.aaccxa"),
    ("announce", ".aa.aac.xa"),
    ("create", ".aaa.ac.xa"),
    ("judge", ".aaa.ac.xa"),
    ("verify", ".aaa.ac.xa"),
    ("deliver", ".aaa.ac.xa"),
    ("cutover", ".aac.c..xa"),
    ("cut over", ".aaa.a..xa"),
    ("overlap", ".aa.aaccxa"),
    ("revoke", ".aaaaaccxa"),
    ("halted", "aaaaaaccxa"),
    ("unmanaged", "aaaaaaccxa"),
];

#[test]
fn every_phase_under_every_condition_is_as_the_table_says() {
    let mut wrong = Vec::new();
    for (phase, row) in TABLE {
        for (condition, letter) in CONDITIONS.iter().zip(row.chars()) {
            let world = cell(phase, condition);
            let key = it(&world);
            let health = match letter {
                '.' => Health::Ok,
                'a' => Health::Attention,
                'c' => Health::Critical,
                _ => Health::Expired,
            };
            if key.health != health {
                wrong.push(format!("{phase}, {condition}: {} instead of {health}: {:?}", key.health, key.attention));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_is_wrong_is_said_with_what_helps_and_in_the_exit_code() {
    for_each_cell(|phase, condition, world| {
        let status = view::status(world);
        let key = &status.keys[0];
        let told = format!("{phase}, {condition}: {key:#?}");
        assert_eq!(key.health == Health::Ok, key.attention.is_empty(), "{told}");
        let observing = phase == "reobserve";
        assert_eq!(cli::status::is_well(&status), key.health == Health::Ok && !observing, "{told}");
        // Either there is something to do, or it goes on by itself and says when.
        let waits = key.next.is_some() || key.blocked.is_some();
        assert!(key.health == Health::Ok || !key.actions.is_empty() || waits, "{told}");
        let text = cli::status::text(&status, false, usize::MAX, Paint(false));
        for it in &key.attention {
            assert!(text.contains(&cli::times::spelled(&it.message, None)), "{told}\n{text}");
        }
        assert!(key.actions.iter().all(|it| text.contains(it)), "{told}\n{text}");
    });
}

#[test]
fn no_command_is_named_that_would_be_refused() {
    for_each_cell(|phase, condition, world| {
        let key = it(world);
        let record = world.records.get(&name("it")).unwrap();
        let account = Account::new(AccountId::from("sms"));
        for action in &key.actions {
            let wish = Wish { trigger: Trigger::Operator, actor: None, reason: None, now: true, compromised: false };
            let verb = match action.trim_start_matches("rekeyd ").trim_end_matches(" it") {
                "resume" => Command::Resume,
                "abandon" => Command::Abandon,
                "rotate --now" => Command::Rotate(wish),
                "ack --revoked" => Command::Ack { revoked: true },
                "rollback" => Command::Rollback,
                // Both are asked of the daemon with more than a record.
                "adopt" | "retire" | "adopt it --from-target" => continue,
                other => panic!("{phase}, {condition}: {other}"),
            };
            let answer = command(record, &account, &verb, &policy(), now());
            assert!(answer.is_ok(), "{phase}, {condition}: {action}: {answer:?}");
        }
    });
}

#[test]
fn every_phase_under_every_condition_reads_as_committed() {
    let mut text = String::new();
    for_each_cell(|phase, condition, world| {
        let status = view::status(world);
        let key = &status.keys[0];
        let exit = u8::from(!cli::status::is_well(&status));
        let _ = writeln!(text, "## {phase}, {condition}: {} {}, exit code {exit}", key.health, key.phase);
        let said = cli::status::text(&status, false, 120, Paint(false));
        said.lines().skip(1).filter(|it| !it.is_empty() && *it != "it").for_each(|it| {
            let _ = writeln!(text, "{it}");
        });
        text.push('\n');
    });
    golden("truth.txt", &text);
}

#[test]
fn every_concern_is_shown_by_some_key() {
    let mut shown: BTreeSet<String> = BTreeSet::new();
    for_each_cell(|_, _, world| shown.extend(it(world).attention.into_iter().map(|it| it.reason)));
    for world in [too_late(), unverified(), reported(), by_hand()] {
        shown.extend(it(&world).attention.into_iter().map(|it| it.reason));
    }
    assert_eq!(shown, Concern::CODES.map(str::to_owned).into());
}

fn too_late() -> Snapshot {
    let monthly =
        rekeyd::core::window::Window { open: std::sync::Arc::new("0 22 20 * *".parse().unwrap()), ..weeknights() };
    let policy = Policy {
        windows: vec![monthly],
        rotate_before: RotateBefore::Lead(10 * DAY),
        outside_window: OutsideWindow::Never,
        ..policy()
    };
    one(policy, record("it", version(2, "2026-06-14T22:00:00Z", Some("2026-12-11T22:00:00Z"))))
}

/// A key of a service without an API, due since yesterday.
fn by_hand() -> Snapshot {
    let provider = Capabilities { creates: false, probes: false, revokes_by_id: false, ..capabilities() };
    let instructions = Some("https://portal.example/keys".to_owned());
    let policy = Policy { provider, instructions, rotate_before: RotateBefore::Lead(21 * DAY), ..policy() };
    one(policy, record("it", version(2, "2026-06-14T22:00:00Z", Some("2026-12-11T22:00:00Z"))))
}

#[test]
fn a_key_that_only_a_human_can_replace_says_where_to_get_one() {
    let key = it(&by_hand());
    assert_eq!(
        (key.health, codes(&key)),
        (Health::Attention, vec!["awaits_key"]),
        "it is neither overdue nor too late"
    );
    assert!(key.attention[0].message.contains("https://portal.example/keys"), "{:?}", key.attention);
    assert_eq!(key.actions, ["rekeyd rotate it"]);
}

fn unverified() -> Snapshot {
    let never_seen = Version { first_alive: None, last_alive: None, ..year() };
    one(policy(), record("it", never_seen))
}

fn reported() -> Snapshot {
    let old = Retired { ended: Some(Ended::Reported), ..retired(1, "2026-11-20T22:00:00Z") };
    one(policy(), Record { retired: vec![old], ..record("it", year()) })
}

#[test]
fn a_rotation_that_would_come_after_the_end_is_told_long_before() {
    let key = it(&too_late());
    assert_eq!((key.health, codes(&key)), (Health::Attention, vec!["too_late"]));
    assert_eq!(key.actions, ["rekeyd rotate --now it"]);
}

#[test]
fn a_key_that_was_never_seen_to_be_accepted_is_not_well_unless_its_allow_list_keeps_us_out() {
    assert_eq!(codes(&it(&unverified())), ["unverified"]);
    let mut kept_out = unverified();
    let record = kept_out.records.get_mut(&name("it")).unwrap();
    record.current.as_mut().unwrap().restriction = Some("192.0.2.10".to_owned());
    assert_eq!(it(&kept_out).health, Health::Ok);
}

#[test]
fn an_old_key_that_a_human_must_revoke_is_told_until_he_has() {
    let key = it(&reported());
    assert_eq!(codes(&key), ["revoke_needed"]);
    assert_eq!(key.actions, ["rekeyd ack --revoked it"]);
    let mut done = reported();
    done.records.get_mut(&name("it")).unwrap().retired[0].ended = Some(Ended::Revoked);
    assert_eq!(it(&done).health, Health::Ok);
}

#[test]
fn a_target_with_a_dead_key_is_worse_than_one_with_an_old_key() {
    for (ended, health) in [(None, Health::Attention), (Some(Ended::Revoked), Health::Critical)] {
        let old = Retired { ended, ..retired(1, "2026-11-23T22:00:00Z") };
        let mut record = Record { retired: vec![old], ..record("it", year()) };
        record.held.values_mut().for_each(|it| it.settled = Some(1));
        let key = it(&one(policy(), record));
        assert_eq!((key.health, codes(&key)), (health, vec!["undelivered"]));
        assert_eq!(key.attention[0].message, "file:/etc/billing/sms.key holds version 1 where it should hold 2");
    }
}

#[test]
fn a_target_that_somebody_else_wrote_to_is_answered_by_adopting() {
    let mut record = record("it", year());
    record.held.values_mut().for_each(|it| it.foreign = Some(Fingerprint::of(b"theirs")));
    let key = it(&one(policy(), record));
    assert_eq!(codes(&key), ["undelivered"]);
    assert_eq!(key.actions, ["rekeyd adopt it --from-target"]);
}

#[test]
fn a_pause_that_ends_in_time_is_shown_and_is_no_trouble() {
    let until = |until: &str| {
        let mut record = record("it", year());
        record.paused = Some(Pause { until: Some(at(until)), ..a_pause() });
        it(&one(policy(), record))
    };
    let weekend = until("2026-11-23T08:00:00Z");
    assert_eq!((weekend.health, codes(&weekend)), (Health::Ok, vec!["paused"]));
    assert_eq!(until("2027-05-30T00:00:00Z").health, Health::Attention, "it makes the key late");
    assert_eq!(until("2026-11-21T21:00:00Z").paused, None, "it is over");
    assert_eq!(until("2027-05-30T00:00:00Z").next.unwrap().at.to_string(), "2027-05-30T00:00:00Z");
}

#[test]
fn a_window_that_passed_unused_makes_a_key_overdue_and_one_to_come_does_not() {
    // Due on a Friday evening: the next weeknight is Monday's, from 22:00 to 02:00.
    let policy = Policy { rotate_before: RotateBefore::Lead(14 * DAY), windows: vec![weeknights()], ..policy() };
    let record = record("it", version(1, "2026-06-15T21:00:00Z", Some("2026-12-04T21:00:00Z")));
    for (moment, is_overdue) in [("2026-11-23T21:00:00Z", false), ("2026-11-24T02:00:00Z", true)] {
        let world = Snapshot { now: at(moment), ..one(policy.clone(), record.clone()) };
        assert_eq!(codes(&it(&world)).contains(&"overdue"), is_overdue, "{moment}");
    }
}

#[test]
fn what_was_given_up_begins_again_when_its_wait_is_over() {
    let mut record = record("it", overdue());
    record.retry_at = Some(now().plus(HOUR));
    assert_eq!(it(&one(policy(), record)).next.unwrap().at.0, now().plus(HOUR));
}

#[test]
fn a_refused_login_needs_a_human_although_no_key_is_due() {
    let mut world = one(policy(), record("it", year()));
    for (why, well) in
        [(Blocked::Throttled(now().plus(HOUR)), true), (Blocked::Provider("no".into()), true), (Blocked::Login, false)]
    {
        world.provider_trouble.insert(AccountId::from("sms"), (why, now()));
        assert_eq!(cli::status::is_well(&view::status(&world)), well);
    }
    world.provider_trouble.insert(AccountId::from("sms"), (Blocked::Provider("no".into()), now().minus(2 * HOUR)));
    assert!(!cli::status::is_well(&view::status(&world)), "it has not answered for long");
}

#[test]
fn a_halt_names_only_what_can_be_done() {
    let halt = |resume: Phase| Phase::Halted { reason: Reason::NewKeyRefused, at: now(), resume: Box::new(resume) };
    let choices = |policy: Policy, record: Record| it(&one(policy, record)).halted.unwrap().choices;
    let with = |phase: Phase| Record { phase: halt(phase), ..record("it", year()) };
    assert_eq!(choices(policy(), with(Phase::Create(Creating::default()))), ["resume", "abandon", "adopt"]);
    assert_eq!(choices(policy(), with(Phase::Steady)), ["resume", "adopt"], "there is no new key to give up");
    let dying = version(2, "2026-01-01T00:00:00Z", Some("2026-11-22T12:00:00Z"));
    let dying = Record { phase: halt(Phase::Create(Creating::default())), ..record("it", dying) };
    assert_eq!(choices(policy(), dying), ["resume", "adopt"], "the old key is near its end");
    let revokes = Capabilities { on_create: OnCreate::Revokes, ..capabilities() };
    let cut = with(Phase::Verify { pending: version(3, "2026-11-21T21:00:00Z", None), since: now() });
    assert_eq!(choices(Policy { provider: revokes, ..policy() }, cut), ["resume", "adopt"], "the old key is dead");
}

#[test]
fn a_key_that_was_taken_out_of_service_is_no_concern_any_more() {
    let mut world = cell("unmanaged", "fine");
    assert_eq!(it(&world).actions, ["rekeyd retire it"]);
    world.records.get_mut(&name("it")).unwrap().decommissioned = Some(now());
    assert_eq!(it(&world).health, Health::Ok);
    let record = world.records.get_mut(&name("it")).unwrap();
    let current = record.current.take().unwrap();
    record.decommissioned = Some(now().minus(2 * HOUR));
    record.retired.push(Retired { version: current, ..retired(1, "2026-11-21T20:00:00Z") });
    assert_eq!(codes(&it(&world)), ["unrevoked"], "its last version should have ended by now");
    let record = world.records.get_mut(&name("it")).unwrap();
    record.retired[0].ended = Some(Ended::Revoked);
    assert_eq!(it(&world).actions, Vec::<String>::new(), "a target may still hold it");
    world.records.get_mut(&name("it")).unwrap().held.clear();
    assert_eq!(it(&world).actions, ["rekeyd forget it"], "only its record is left");
}

#[test]
fn a_rotation_that_waits_for_its_create_says_for_what_since_when_and_what_helps() {
    let waiting = |why: Blocked| {
        let mut world = cell("create", "fine");
        world.blocked.insert(name("it"), why);
        it(&world)
    };
    let budget = waiting(Blocked::Budget(now().plus(HOUR)));
    let next = budget.next.unwrap();
    assert_eq!((next.reason.as_str(), next.at.0), ("waiting", now().plus(HOUR)));
    for part in ["it has waited since 2026-11-21T21:", "the daily create budget is used up", "creates_per_day"] {
        assert!(next.message.contains(part), "{}", next.message);
    }
    assert_eq!(budget.attention[0].message, next.message);
    let window = waiting(Blocked::Window(now().plus(HOUR)));
    assert!(window.next.unwrap().message.ends_with("sooner: rekeyd rotate --now it"));
    assert_eq!(waiting(Blocked::Login).actions, ["rekeyd resume it"]);
    assert_eq!(waiting(Blocked::Clock).actions, ["rekeyd resume --all"]);
    assert_eq!(waiting(Blocked::Config).actions, ["rekeyd check"]);
}

#[test]
fn what_was_asked_for_begins_when_a_pause_has_ended() {
    let wish = Wish { trigger: Trigger::Operator, actor: None, reason: None, now: true, compromised: false };
    let pause = Pause { until: Some(now().plus(HOUR)), ..a_pause() };
    let record = Record { wish: Some(wish), paused: Some(pause), ..record("it", year()) };
    assert_eq!(it(&one(policy(), record)).next.unwrap().at.0, now().plus(HOUR));
}

#[test]
fn a_halted_key_can_go_back_while_its_previous_version_lives() {
    let phase = Phase::Halted { reason: Reason::Drifted, at: now(), resume: Box::new(Phase::Steady) };
    let record = Record { phase, retired: vec![retired(1, "2026-11-23T22:00:00Z")], ..record("it", year()) };
    let key = it(&one(policy(), record));
    assert_eq!(key.halted.unwrap().choices, ["resume", "adopt", "rollback"]);
    assert_eq!(key.actions, ["rekeyd resume it", "rekeyd adopt it", "rekeyd rollback it"]);
}

fn codes(key: &KeyStatus) -> Vec<&str> {
    key.attention.iter().map(|it| it.reason.as_str()).collect()
}

fn it(world: &Snapshot) -> KeyStatus {
    view::key_status(world, &name("it")).unwrap()
}

fn for_each_cell(mut check: impl FnMut(&str, &str, &Snapshot)) {
    for (phase, _) in TABLE {
        CONDITIONS.iter().for_each(|it| check(phase, it, &cell(phase, it)));
    }
}

/// A year's key with half of it left: nothing is due.
fn year() -> Version {
    version(2, "2026-06-01T00:00:00Z", Some("2027-06-01T00:00:00Z"))
}

/// Due for weeks, and valid for another month.
fn overdue() -> Version {
    version(2, "2026-01-01T00:00:00Z", Some("2026-12-21T00:00:00Z"))
}

fn a_pause() -> Pause {
    let actor = Actor { uid: 0, login_uid: Some(1000), user: Some("anna".to_owned()) };
    Pause { since: now().minus(HOUR), until: None, reason: Some("audit".to_owned()), actor: Some(actor) }
}

/// A world with one key in this phase, under this condition.
fn cell(phase: &str, condition: &str) -> Snapshot {
    let long = condition == "stuck" || (phase, condition) == ("announce", "overdue");
    let mut record = in_phase(phase, if long { 2 * HOUR } else { Duration::from_secs(5) });
    let end = |it: &mut Record, to: &str| {
        let new = version(2, "2026-01-01T00:00:00Z", Some(to));
        it.current.iter_mut().for_each(|it| *it = new.clone());
    };
    let mut blocked = None;
    match condition {
        "failing" => {
            record.failures = 2;
            record.retry_at = Some(now().plus(HOUR));
            record.last_error = Some(LastError {
                at: now().minus(HOUR),
                phase: "create".to_owned(),
                reason: "provider_unreachable".to_owned(),
                message: "connection refused".to_owned(),
            });
        }
        "blocked" => blocked = Some(Blocked::Login),
        "overdue" => record.current.iter_mut().for_each(|it| *it = overdue()),
        "undelivered" => record.held.values_mut().for_each(|it| {
            *it = Held { failures: 3, last_error: Some("permission denied".to_owned()), ..Held::default() };
        }),
        "refused" => record.current.iter_mut().for_each(|it| it.dead_since = Some(now().minus(HOUR))),
        "last day" => end(&mut record, "2026-11-22T10:00:00Z"),
        "expired" => end(&mut record, "2026-11-21T10:00:00Z"),
        "paused" => record.paused = Some(a_pause()),
        _ => {}
    }
    let mut world = match phase {
        "unmanaged" => {
            let mut world = empty().0;
            world.records.insert(name("it"), record);
            world
        }
        _ => one(policy(), record),
    };
    world.blocked.extend(blocked.map(|it| (name("it"), it)));
    world
}

fn in_phase(phase: &str, under_way: Duration) -> Record {
    let since = now().minus(under_way);
    let pending = Version { obtained_at: since, ..version(3, "2026-11-21T20:00:00Z", Some("2027-11-21T20:00:00Z")) };
    let steady = record("it", year());
    let rotation = rekeyd::core::record::Rotation {
        started_at: since,
        finished_at: None,
        result: None,
        version: None,
        cutover_gap_ms: None,
        ..rotation()
    };
    let rotating = |phase: Phase| Record { phase, rotation: Some(rotation.clone()), ..steady.clone() };
    match phase {
        "unadopted" => Record::new(name("it"), since),
        "reobserve" => Record { phase: Phase::Reobserve { since }, ..steady },
        "announce" => {
            let wish = Some(Wish { now: false, compromised: false, ..rotation.wish });
            Record { phase: Phase::Announce { until: now().minus(under_way) }, wish, ..steady }
        }
        "create" => rotating(Phase::Create(Creating::default())),
        "judge" => rotating(Phase::Judge { pending, since }),
        "verify" => rotating(Phase::Verify { pending, since }),
        "deliver" => rotating(Phase::Deliver { pending, since }),
        "cutover" => {
            let held = steady.held.keys().map(|it| (it.clone(), Held { maybe: [2].into(), ..Held::default() }));
            Record { held: held.collect(), ..rotating(Phase::Cutover { since, delivered_at: None, again: 0 }) }
        }
        "cut over" => rotating(Phase::Cutover { since, delivered_at: Some(since), again: 0 }),
        "overlap" => Record { retired: vec![retired(1, "2026-11-23T22:00:00Z")], ..steady },
        "revoke" => {
            let old = Retired { after: since, since: since.minus(3 * DAY), ..retired(1, "2026-11-21T22:00:00Z") };
            Record { retired: vec![old], ..steady }
        }
        "halted" => {
            let resume = Box::new(Phase::Create(Creating::default()));
            rotating(Phase::Halted { reason: Reason::AmbiguousCreate, at: since, resume })
        }
        _ => steady,
    }
}

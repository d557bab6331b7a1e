//! What `plan` says where there is much of it, of some keys, and of another config.
use crate::fixture::*;
use crate::views::golden;
use rekeyd::cli::output::Paint;
use rekeyd::cli::plan::{View, text};
use rekeyd::config::settings::{Key, Settings};
use rekeyd::control::protocol::WhatIf;
use rekeyd::control::view::{self, PlanAsk};
use rekeyd::core::policy::{OutsideWindow, Policy, RotateBefore};
use rekeyd::engine::handle::{Refused, Snapshot};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const SHORT: View = View { full: false, verbose: false, width: 80, paint: Paint(false) };

/// So many keys, of which some are due each day from the next month on.
fn many(keys: u32) -> Snapshot {
    let policy = Policy { rotate_before: RotateBefore::Lead(14 * DAY), windows: vec![weeknights()], ..policy() };
    let mut world = one(policy, record("it", version(1, "2026-06-15T00:00:00Z", None)));
    let mut settings = (*world.settings).clone();
    let it = settings.keys.remove(&name("it")).unwrap();
    world.records.clear();
    for n in 0..keys {
        let key = name(&format!("key-{n:04}"));
        let end = at("2026-12-15T12:00:00Z").plus(n % 60 * DAY);
        let current = version(1, "2026-06-15T00:00:00Z", Some(&end.to_string()));
        world.records.insert(key.clone(), record(key.as_str(), current));
        settings.keys.insert(key.clone(), Key { name: key, ..it.clone() });
    }
    Snapshot { settings: Arc::new(settings), ..world }.reckoned()
}

fn with(settings: &Settings, change: impl Fn(&mut Policy)) -> Arc<Settings> {
    let mut other = settings.clone();
    other.keys.values_mut().for_each(|it| change(&mut it.policy));
    Arc::new(other)
}

fn compared(today: &Snapshot, other: Arc<Settings>) -> WhatIf {
    let named = today.settings.keys.keys().cloned().collect();
    let after = view::plan(&Snapshot { settings: Arc::clone(&other), ..today.clone() }.reckoned(), 90 * DAY);
    view::compare(&view::plan(today, 90 * DAY), &named, &after, &other)
}

#[test]
fn a_plan_of_thousands_of_entries_is_short_and_says_how_to_see_them_all() {
    let plan = view::plan(&many(1500), 90 * DAY);
    assert!(plan.entries.len() > 3000, "{}", plan.entries.len());
    let short = text(&plan, SHORT);
    golden("plan-many.txt", &short);
    assert!(short.lines().count() < 220, "{}", short.lines().count());
    let full = text(&plan, View { full: true, verbose: true, ..SHORT });
    assert!(full.lines().count() > 3000);
}

#[test]
fn some_keys_are_planned_beside_all_that_share_their_budget() {
    let world = many(80);
    let ask = PlanAsk { keys: vec![name("key-0007")], ..PlanAsk::default() };
    let plan = view::plan_of(&world, &ask).unwrap();
    assert!(plan.entries.iter().all(|it| it.key == Some(name("key-0007"))) && !plan.entries.is_empty());
    let all = view::plan(&world, view::PLAN_FOR);
    assert_eq!(plan.peaks, all.peaks);
    assert!(plan.peaks[0].creates > 2 && plan.peaks[0].creates_per_day == 20, "{:?}", plan.peaks);
    assert_eq!(plan.windows[0].message, "opens Monday to Thursday at 22:00 Europe/London for 4h");
    assert_eq!(plan.windows[0].openings.len(), 3);
}

#[test]
fn a_key_or_an_owner_that_is_not_there_is_refused_with_those_that_are() {
    let world = many(3);
    let refused = |ask: PlanAsk| view::plan_of(&world, &ask).unwrap_err();
    let Refused::NoMatch { what, known } = refused(PlanAsk { keys: vec![name("none")], ..PlanAsk::default() }) else {
        panic!("another refusal")
    };
    assert_eq!((what.as_str(), known.as_str()), ("there is no key none", "the keys are: key-0000, key-0001, key-0002"));
    assert!(matches!(refused(PlanAsk { owner: Some("none".into()), ..PlanAsk::default() }), Refused::NoMatch { .. }));
}

#[test]
fn the_same_config_moves_nothing() {
    let today = many(5);
    let same = compared(&today, Arc::clone(&today.settings));
    assert!(same.ok && same.moves.is_empty() && same.budgets.is_empty() && same.warnings.is_empty(), "{same:?}");
}

#[test]
fn another_config_is_told_by_what_moves_and_who_is_worse_off() {
    let today = many(2);
    let never = |it: &mut Policy| {
        it.outside_window = OutsideWindow::Never;
        it.windows[0].open = "0 22 24 12 *".parse::<croner::Cron>().unwrap().into();
        it.windows[0].duration = Duration::from_secs(3600);
    };
    let other = with(&today.settings, never);
    let mut other = (*other).clone();
    other.keys.remove(&name("key-0001"));
    let report = compared(&today, Arc::new(other));
    assert!(!report.ok);
    assert_eq!((report.late.len(), report.disappear.as_slice()), (1, [name("key-0001")].as_slice()));
    golden("what-if.txt", &rekeyd::cli::plan::what_if::text(&report, Path::new("new.toml"), SHORT));
    golden("what-if.json", &(serde_json::to_string_pretty(&report).unwrap() + "\n"));
}

#[test]
fn a_config_that_a_reload_would_refuse_for_the_keys_it_drops_is_told_as_one() {
    let today = many(8);
    let mut other = (*today.settings).clone();
    for n in 0..6 {
        other.keys.remove(&name(&format!("key-000{n}")));
    }
    let report = compared(&today, Arc::new(other.clone()));
    let text = rekeyd::cli::plan::what_if::text(&report, Path::new("new.toml"), SHORT);
    assert!(text.contains("`rekeyd reload` would refuse it") && text.contains("drops 6 of 8 keys"), "{text}");
    let refused = report.refused.as_deref().unwrap();
    assert!(refused.contains("key-0004, …)") && refused.ends_with("rekeyd reload --allow-removals"), "{refused}");
    other.daemon.max_removals = rekeyd::config::settings::Removals::Keys(6);
    assert_eq!(compared(&today, Arc::new(other)).refused, None);
}

#[test]
fn a_key_that_was_late_and_now_expires_is_worse_off_and_the_other_way_round_it_is_not() {
    let outside = |then: OutsideWindow| {
        move |it: &mut Policy| {
            it.outside_window = then;
            it.windows[0].open = "0 22 24 12 *".parse::<croner::Cron>().unwrap().into();
            it.windows[0].duration = Duration::from_secs(3600);
        }
    };
    let world = many(1);
    let of = |then| Snapshot { settings: with(&world.settings, outside(then)), ..world.clone() }.reckoned();
    let (late, expires) = (of(OutsideWindow::IfExpiring), of(OutsideWindow::Never));
    let worse = compared(&late, Arc::clone(&expires.settings));
    assert_eq!((worse.ok, worse.late.len(), worse.late[0].reason.as_str()), (false, 1, "expires_first"));
    let better = compared(&expires, Arc::clone(&late.settings));
    assert!(better.ok && better.late.is_empty(), "{:?}", better.late);
}

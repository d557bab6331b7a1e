//! Why a rotation is where it is: whatever put it there, and nothing else, is what `plan` says.
use crate::fixture::*;
use rekeyd::config::settings::Key;
use rekeyd::control::protocol::PlanEntry;
use rekeyd::control::view;
use rekeyd::core::freeze::{Freeze, Span, When};
use rekeyd::core::policy::{Policy, RotateBefore};
use rekeyd::core::window::Window;
use rekeyd::engine::handle::Snapshot;
use std::sync::Arc;

/// The next rotation of each of so many keys, all issued on the 15th of June, and due 14 days before their common end.
fn planned(keys: usize, end: &str, change: impl Fn(usize, &mut Policy)) -> Vec<PlanEntry> {
    let base = Policy { rotate_before: RotateBefore::Lead(14 * DAY), ..policy() };
    let world = one(base, record("it", version(1, "2026-06-15T00:00:00Z", Some(end))));
    let mut settings = (*world.settings).clone();
    let (it, record) = (settings.keys.remove(&name("it")).unwrap(), world.records[&name("it")].clone());
    let mut world = Snapshot { records: Default::default(), ..world };
    for n in 0..keys {
        let key = name(&format!("key-{n:04}"));
        let mut config = Key { name: key.clone(), ..it.clone() };
        change(n, &mut config.policy);
        settings.keys.insert(key.clone(), config);
        world.records.insert(key.clone(), rekeyd::core::record::Record { name: key, ..record.clone() });
    }
    let plan = view::plan(&Snapshot { settings: Arc::new(settings), ..world }.reckoned(), 60 * DAY);
    let mut first: Vec<PlanEntry> = plan.entries;
    first.retain(|it| it.action == "rotate" && it.version == Some(1));
    assert_eq!(first.len(), keys);
    first
}

fn freeze(from: &str, to: &str) -> Vec<Freeze> {
    vec![Freeze { name: "year-end".to_owned(), when: When::Once(Span { from: at(from), to: at(to) }) }]
}

fn window(open: &str) -> Vec<Window> {
    vec![Window { open: Arc::new(open.parse().unwrap()), ..weeknights() }]
}

#[track_caller]
fn check(entry: &PlanEntry, reason: &str, ends: &str) {
    assert_eq!(entry.reason, reason, "{entry:?}");
    assert!(entry.message.ends_with(ends), "{:?} instead of {ends:?}", entry.message);
}

#[test]
fn a_key_that_a_freeze_leaves_no_other_moment_is_replaced_before_it_for_that_reason() {
    let frozen = |_: usize, it: &mut Policy| it.freezes = freeze("2026-12-10T00:00:00Z", "2027-01-04T00:00:00Z");
    let ends = "replaced 14d before, sooner: freeze year-end leaves no opening from then until it is late";
    for n in [1, 5] {
        for it in planned(n, "2026-12-28T00:00:00Z", frozen) {
            check(&it, "before_freeze", ends);
            assert!(it.at.0 < at("2026-12-10T00:00:00Z"), "{it:?}");
        }
    }
    let windowed = |n: usize, it: &mut Policy| {
        frozen(n, it);
        it.windows = vec![weeknights()];
    };
    let it = planned(1, "2026-12-28T00:00:00Z", windowed).remove(0);
    let ends = "freeze year-end leaves no opening from then until it is late, in window weeknights";
    check(&it, "before_freeze", ends);
}

#[test]
fn a_key_whose_windows_open_too_seldom_is_replaced_in_the_one_before_for_that_reason() {
    let monthly = |_: usize, it: &mut Policy| it.windows = window("0 22 10 * *");
    let it = planned(1, "2026-12-28T00:00:00Z", monthly).remove(0);
    assert_eq!(it.at.to_string(), "2026-12-10T22:00:00Z");
    check(&it, "no_window_later", "sooner: no window opens from then until it is late, in window weeknights");
}

#[test]
fn who_is_moved_for_want_of_creates_is_told_so_whatever_freeze_has_a_part_in_it() {
    let few = |_: usize, it: &mut Policy| it.creates_per_day = 1;
    let entries = planned(20, "2026-12-28T00:00:00Z", few);
    let sooner = "sooner: 1 create a day is too few for all keys of its account that are due then";
    entries.iter().filter(|it| it.reason == "budget_earlier").for_each(|it| check(it, "budget_earlier", sooner));
    assert!(entries.iter().filter(|it| it.reason == "budget_earlier").count() > 5, "{entries:?}");
    check(entries.last().unwrap(), "budget_later", "later: the 1 create a day of its account is taken before");

    // Due in the freeze, which leaves some days after it: it is not the freeze alone.
    let frozen = |n: usize, it: &mut Policy| {
        few(n, it);
        it.freezes = freeze("2026-12-10T00:00:00Z", "2026-12-24T00:00:00Z");
    };
    let entries = planned(20, "2026-12-28T00:00:00Z", frozen);
    check(&entries[0], "budget_earlier", &format!("{sooner}, with freeze year-end"));
    let after: Vec<_> = entries.iter().filter(|it| it.at.0 >= at("2026-12-24T00:00:00Z")).collect();
    assert!(!after.is_empty());
    after.iter().for_each(|it| check(it, "after_freeze", "after freeze year-end"));
}

#[test]
fn who_leaves_its_windows_for_want_of_creates_is_not_told_that_none_opens() {
    let weekly = |_: usize, it: &mut Policy| {
        it.windows = window("0 22 * * Mon");
        it.creates_per_day = 2;
    };
    let entries = planned(30, "2026-12-28T00:00:00Z", weekly);
    let outside: Vec<_> = entries.iter().filter(|it| it.window.is_none()).collect();
    assert!(outside.len() > 5, "{entries:?}");
    let ends = "outside its windows: 2 creates a day are too few for all keys of its account before that";
    outside.iter().for_each(|it| check(it, "budget_outside", ends));

    // Without any window in time, it is the window.
    let yearly = |_: usize, it: &mut Policy| it.windows = window("0 22 1 1 *");
    let it = planned(1, "2026-12-28T00:00:00Z", yearly).remove(0);
    check(&it, "no_window_before_expiry", "and no window opens before it is late");
}

#[test]
fn who_may_not_leave_its_windows_and_finds_none_open_is_not_told_that_creates_are_taken() {
    let never = |_: usize, it: &mut Policy| {
        it.windows = window("0 22 1 1 *");
        it.outside_window = rekeyd::core::policy::OutsideWindow::Never;
    };
    let it = planned(1, "2026-12-28T00:00:00Z", never).remove(0);
    assert_eq!(it.at.to_string(), "2027-01-01T22:00:00Z");
    check(&it, "due_before_expiry", "is replaced 14d before, too late: nothing opens before, in window weeknights");
}

#[test]
fn who_goes_with_another_is_told_sooner_only_where_it_is() {
    let both = |n: usize, it: &mut Policy| {
        it.windows = vec![weeknights()];
        it.together = Some("billing".to_owned());
        it.rotate_before = RotateBefore::Lead((14 + 7 * n as u32) * DAY);
    };
    let entries = planned(2, "2026-12-28T00:00:00Z", both);
    let by_key = |n: &str| entries.iter().find(|it| it.key == Some(name(n))).unwrap();
    check(by_key("key-0000"), "together", "sooner: it goes together with \"billing\", in window weeknights");
    check(by_key("key-0001"), "due_before_expiry", "is replaced 21d before, in window weeknights");
}

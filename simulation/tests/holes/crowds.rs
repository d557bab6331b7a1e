//! Where there is no room: keys that are moved, keys whose windows come too late, keys that wait for each other; and what a record
//! and an account remember over the years.
use crate::bench::*;
use crate::schedule::{Fleet, due, holds_budget, windowed};
use rekeyd_simulation::core::facts::Blocked;
use rekeyd_simulation::core::gate;
use rekeyd_simulation::core::policy::{OutsideWindow, RotateBefore};
use rekeyd_simulation::core::record::{Pause, Phase, Rotation, SEEN_KEPT, VersionNo};
use rekeyd_simulation::core::schedule::{Slot, Why};
use rekeyd_simulation::core::time::Timestamp;

/// One of a word was told its moment, and is paused beyond it. The others went in it without it: they have joined it, and are not
/// led there again and again while it waits.
#[test]
pub fn who_joined_a_paused_key_in_its_announced_window_does_not_join_it_again() {
    let mut cutover = Bench::revokes();
    cutover.policy.windows = nights();
    cutover.policy.together = Some("billing".into());
    let mut fleet = Fleet::of(3, &cutover);
    let opens = due().plus(hours(10));
    for n in 1..3 {
        let mut policy = windowed().policy;
        policy.together = Some("billing".into());
        policy.account = "elsewhere".into();
        *fleet.policy(n) = policy;
    }
    let record = fleet.record(0);
    record.phase = Phase::Announce { until: opens };
    record.paused = Some(Pause { since: NOON, until: Some(opens.plus(days(5))), reason: None, actor: None });
    fleet.now = opens.minus(hours(1));
    let before: Vec<Slot> = fleet.slots().into_values().collect();
    assert!(before.iter().all(|it| it.at >= opens && it.at < opens.plus(hours(2))), "{before:?}");

    let mut went = windowed().due();
    went.now = opens.plus(minutes(1));
    went.creates();
    let rotation: Rotation = went.record.rotation.clone().unwrap();
    for n in 1..3 {
        let record = fleet.record(n);
        record.last_rotation = Some(rotation.clone());
        let current = record.current.as_mut().unwrap();
        (current.obtained_at, current.valid_to) = (opens.plus(minutes(1)), Some(opens.plus(days(90))));
    }
    for later in [hours(1), hours(30)] {
        fleet.now = opens.plus(later);
        let slots: Vec<Slot> = fleet.slots().into_values().collect();
        assert!(slots[1..].iter().all(|it| it.at > opens.plus(days(50))), "after {later:?}: {slots:?}");
    }
}

/// 500 keys that are all due in one night, of which 20 a day can be replaced: 19 nights hold those that are in time for a second
/// try, the last ten are kept free for that as long as a week before the due moment is enough.
#[test]
pub fn a_key_is_moved_forward_by_a_little_before_the_last_openings_are_taken() {
    let check = |keys: usize, days_before: u64, latest: u64| {
        let fleet = Fleet::of(keys, &windowed());
        let moments = fleet.at();
        holds_budget(&moments, 20);
        let (first, last) = (*moments.iter().min().unwrap(), *moments.iter().max().unwrap());
        assert!(first >= due().minus(days(days_before)), "{keys} keys: {first}");
        assert!(last <= due().plus(days(latest)), "{keys} keys: {last}");
    };
    check(350, 0, 20);
    check(500, 8, 20);
    check(650, 8, 29);
    check(800, 15, 29);
    let fleet = Fleet::of(650, &windowed());
    let late = fleet.slots().into_values().filter(|it| it.at > due().plus(days(20)));
    assert!(late.count() > 100, "no key is replaced weeks before it is due while later openings have room");
}

/// A key of eight days that is short of room by hours is moved by hours, not by days.
#[test]
pub fn a_short_lived_key_is_moved_forward_no_further_than_it_must() {
    let mut bench = Bench::keeps();
    bench.policy.rotate_before = RotateBefore::Lead(days(1));
    bench.policy.creates_per_day = 2;
    let short = |bench: &mut Bench| {
        let current = bench.record.current.as_mut().unwrap();
        current.valid_to = Some(NOON.plus(days(8)));
    };
    short(&mut bench);
    let mut fleet = Fleet::of(3, &bench);
    fleet.ends(2, hours(5));
    let at = NOON.plus(days(7));
    let slots: Vec<Slot> = fleet.slots().into_values().collect();
    assert_eq!(slots.iter().map(|it| it.at).collect::<Vec<_>>(), [at.minus(hours(19)), at, at.plus(hours(5))]);
    assert_eq!(slots.iter().map(|it| it.why).collect::<Vec<_>>(), [Why::Earlier, Why::Due, Why::Due]);

    // The same in windows that open every two hours.
    bench.policy.windows = nights();
    bench.policy.windows[0].open = cron("0 0 */2 * * *");
    bench.policy.windows[0].duration = minutes(30);
    let mut fleet = Fleet::of(3, &bench);
    fleet.ends(2, hours(5));
    let slots: Vec<Slot> = fleet.slots().into_values().collect();
    assert_eq!(slots[2].why, Why::Earlier, "{slots:?}");
    assert!(slots[2].at > at.minus(days(1) + hours(3)), "{slots:?}");
    assert!(bench.policy.calendar().is_open(slots[2].at));
    holds_budget(&fleet.at(), 2);
}

/// A window that opens once in two weeks and a key that is due in its midst, three days after it opened: the next one comes too
/// late, and what is left of this one is better than none at all.
#[test]
pub fn what_is_left_of_an_opening_is_better_than_none() {
    let mut it = windowed();
    it.policy.windows[0].open = cron("0 0 12 18 1 *");
    it.policy.windows[0].duration = days(5);
    let (opens, closes) = (due().minus(days(3)), due().plus(days(2)));
    assert_eq!(it.policy.calendar().opens_from(NOON), Some(opens));
    for outside in [OutsideWindow::IfExpiring, OutsideWindow::Never] {
        it.policy.outside_window = outside;
        let slots: Vec<Slot> = Fleet::of(1, &it).slots().into_values().collect();
        assert_eq!(slots, [Slot { at: due(), version: 1, why: Why::Due }]);
        assert_eq!(gate::opening(&it.record, &it.policy, due()), due());
        assert_eq!(gate::opening(&it.record, &it.policy, closes.minus(minutes(1))), closes.minus(minutes(1)));
    }
    // It is over: the last safe moment is what is left, or nothing.
    assert!(gate::opening(&it.record, &it.policy, closes).0 > NOON.plus(days(90)).0, "never means never");
    it.policy.outside_window = OutsideWindow::IfExpiring;
    assert_eq!(gate::opening(&it.record, &it.policy, closes), NOON.plus(days(89)));
    // Where a later opening is left, that one is taken.
    it.policy.windows[0].open = cron("0 0 12 18 1,2 *");
    it.policy.windows[0].duration = days(5);
    assert_eq!(gate::opening(&it.record, &it.policy, due()), NOON.plus(days(88)));

    let mut it = windowed().due();
    it.policy.windows[0].open = cron("0 0 12 18 1 *");
    it.policy.windows[0].duration = days(5);
    it.creates();
    assert_eq!(it.notices, [], "nobody is told of a rotation outside its windows");
}

/// The same for a cutover: it is announced for what is left of the opening, as long before as there is time.
#[test]
pub fn a_cutover_is_announced_for_what_is_left_of_an_opening() {
    let mut it = Bench::revokes().due();
    it.policy.windows = nights();
    it.policy.windows[0].open = cron("0 0 12 18 1 *");
    it.policy.windows[0].duration = days(7);
    it.rests();
    assert_eq!(it.record.phase, Phase::Announce { until: due().plus(days(3)) });
    it.wait(days(3)).creates();

    let mut it = Bench::revokes().due();
    it.policy.windows = nights();
    it.policy.windows[0].open = cron("0 0 12 18 1 *");
    it.policy.windows[0].duration = days(5);
    it.policy.outside_window = OutsideWindow::Never;
    it.rests();
    let closes = due().plus(days(2));
    assert_eq!(it.record.phase, Phase::Announce { until: closes.minus(minutes(10)) }, "the window closes sooner");
}

/// Keys without windows go when they are due, all at once if need be, in so far as the budget has room.
#[test]
pub fn keys_without_windows_go_when_they_are_due() {
    let fleet = Fleet::of(45, &Bench::keeps());
    let mut moments = fleet.at();
    moments.sort_unstable();
    let days_later = |n: u64| moments.iter().filter(|it| **it == due().plus(days(n))).count();
    assert_eq!([days_later(0), days_later(1), days_later(2)], [20, 20, 5]);
}

/// A key of ten minutes has a thousand versions in a week: only so many are remembered, the newest, and those that are in use.
#[test]
pub fn a_record_remembers_its_newest_fingerprints_and_those_in_use() {
    let mut it = Bench::keeps();
    let many = u32::try_from(SEEN_KEPT).unwrap() + 100;
    for n in 2..many {
        it.record.seen.insert(format!("old-{n}").as_str().into(), n);
    }
    it.record.last_version = many;
    it.pass();
    let kept = |n: VersionNo| it.record.seen.values().any(|it| *it == n);
    assert_eq!(it.record.seen.len(), SEEN_KEPT);
    assert!(kept(1), "it is in use");
    assert!(!kept(2) && !kept(100) && kept(many - 1));
}

/// Where keys carry names, an account keeps no list of all that it ever issued.
#[test]
pub fn an_account_remembers_fingerprints_only_where_keys_are_told_by_difference() {
    let it = Bench::keeps().rotated();
    assert!(!it.account.known.contains(&"k2".into()), "{:?}", it.account.known);
    let mut it = Bench::answers();
    it.policy.announce = minutes(0);
    let mut it = it.due();
    let create = it.creates();
    it.answer(
        &create,
        rekeyd_simulation::core::facts::Outcome::AnsweredAll(vec![
            found("k1", rekeyd_simulation::core::facts::Probe::Alive),
            found("k2", rekeyd_simulation::core::facts::Probe::Alive),
        ]),
    );
    assert!(it.account.known.contains(&"k2".into()), "{:?}", it.account.known);
}

/// What is told is what is done: a place that was given in the rest of an opening and was missed is none.
#[test]
pub fn a_missed_place_in_the_rest_of_an_opening_is_no_licence_to_leave_it() {
    let mut it = windowed().due();
    it.policy.windows[0].open = cron("0 0 12 18 1,2 *");
    it.policy.windows[0].duration = days(5);
    it.policy.slot = Some(Slot { at: due().plus(days(1)), version: 1, why: Why::Due });
    it.now = due().plus(days(2));
    it.rests();
    let next: Timestamp = NOON.plus(days(88));
    assert_eq!(it.blocked, Some(Blocked::Window(next)));
}

/// 300 keys of which ten are due each day, at an account of five a day: whoever is due sooner goes sooner, and no key is moved past
/// others that are due before it.
#[test]
pub fn keys_that_are_moved_forward_keep_the_order_in_which_they_are_due() {
    let mut bench = windowed();
    bench.policy.creates_per_day = 5;
    let mut fleet = Fleet::of(300, &bench);
    for n in 0..300 {
        fleet.ends(n, days(n as u64 % 30));
    }
    let slots = fleet.slots();
    holds_budget(&fleet.at(), 5);
    let mut order: Vec<(usize, Slot)> = slots.values().enumerate().map(|(n, it)| (n % 30, *it)).collect();
    order.sort_by_key(|it| it.1.at);
    let night = |it: &Slot| it.at.since(NOON).as_secs() / 86_400;
    let crossed = order.windows(2).filter(|it| it[1].0 < it[0].0 && night(&it[0].1) != night(&it[1].1));
    assert_eq!(crossed.count(), 0, "{order:?}");
    let due = |n: usize| due().plus(days(n as u64));
    let moved = order.iter().map(|(n, it)| due(*n).since(it.at)).max().unwrap();
    assert!(moved < days(30), "{moved:?}");
    for (n, it) in &order {
        assert_eq!(it.why == Why::Earlier, it.at < due(*n), "{it:?}");
        assert!(bench.policy.calendar().is_open(it.at) && it.at <= due(*n).plus(days(29)), "{it:?}");
    }
}

/// A crowd is worked off, one key after the other, and all moments are reckoned anew after each: none is left without an opening before
/// its last safe moment, and whoever is due sooner has gone sooner, but for those of one night.
#[test]
pub fn a_crowd_is_worked_off_in_the_order_in_which_it_is_due() {
    let check = |keys: usize, spread: u64, per_day: u32, hours_early: u64| {
        let mut bench = windowed();
        bench.policy.creates_per_day = per_day;
        let mut fleet = Fleet::of(keys, &bench);
        for n in 0..keys {
            fleet.ends(n, days(n as u64 % spread));
        }
        let due = |n: usize| due().plus(days(n as u64 % spread));
        let mut sent: Vec<(Timestamp, usize)> = Vec::new();
        while sent.len() < keys {
            let slots = fleet.slots();
            let next = slots.values().enumerate().filter(|it| it.1.version == 1).min_by_key(|it| it.1.at);
            let (n, slot) = next.map(|(n, it)| (n, *it)).unwrap();
            assert!(!matches!(slot.why, Why::Outside | Why::Crowded), "{} were replaced before", sent.len());
            fleet.now = slot.at;
            sent.push((slot.at, n));
            let current = fleet.record(n).current.as_mut().unwrap();
            (current.number, current.valid_to) = (2, Some(slot.at.plus(days(900))));
            (current.valid_from, current.obtained_at) = (Some(slot.at), slot.at);
            fleet.accounts.values_mut().next().unwrap().creates.push(slot.at);
        }
        holds_budget(&sent.iter().map(|it| it.0).collect::<Vec<_>>(), per_day as usize);
        let night = |it: &Timestamp| it.since(NOON).as_secs() / 86_400;
        let crossed = sent.windows(2).filter(|it| due(it[1].1) < due(it[0].1) && night(&it[0].0) != night(&it[1].0));
        assert_eq!(crossed.count(), 0, "{keys} keys: {sent:?}");
        let early = sent.iter().map(|(at, n)| due(*n).since(*at)).max().unwrap();
        assert!(early <= hours(hours_early), "{keys} keys: {early:?}");
    };
    check(140, 7, 5, 14);
    check(120, 1, 5, 110);
    check(240, 5, 10, 14);
}

/// 350 keys of which ten are due each day, at five a day: the last of them find room only because those before them make it.
#[test]
pub fn no_key_leaves_its_windows_while_others_could_go_sooner() {
    let mut bench = windowed();
    bench.policy.creates_per_day = 5;
    let mut fleet = Fleet::of(350, &bench);
    for n in 0..350 {
        fleet.ends(n, days(n as u64 % 35));
    }
    assert!(fleet.whys().iter().all(|it| !matches!(it, Why::Outside | Why::Crowded)));
    holds_budget(&fleet.at(), 5);
    // A few days fewer, and it can't be done: as many as must leave them do, and the others don't.
    let mut all_at_once = Fleet::of(350, &bench);
    let outside = all_at_once.whys().iter().filter(|it| **it == Why::Crowded).count();
    assert!(outside > 50 && outside < 150, "{outside}");
    all_at_once.policy(0).outside_window = OutsideWindow::Never;
    holds_budget(&all_at_once.at(), 5);
}

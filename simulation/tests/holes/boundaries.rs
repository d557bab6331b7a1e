//! Keys whose moments meet the very boundary of what is allowed: the last safe moment, the end of the time in which a second try is
//! left, half of a life.
use crate::bench::*;
use crate::schedule::{Fleet, due, holds_budget, windowed};
use rekeyd_simulation::core::facts::Probe;
use rekeyd_simulation::core::gate;
use rekeyd_simulation::core::names::Token;
use rekeyd_simulation::core::policy::{OutsideWindow, RotateBefore};
use rekeyd_simulation::core::record::{Phase, Rotation};
use rekeyd_simulation::core::schedule::{Slot, Why};
use rekeyd_simulation::core::time::Timestamp;
use std::time::Duration;

/// So many keys with this window, at an account of so many creates a day.
fn fleet(keys: usize, per_day: u32, open: &str, duration: Duration) -> Vec<Slot> {
    let mut bench = windowed();
    bench.policy.windows[0].open = cron(open);
    bench.policy.windows[0].duration = duration;
    bench.policy.creates_per_day = per_day;
    Fleet::of(keys, &bench).slots().into_values().collect()
}

/// The last safe moment: half of the time that there is.
fn last() -> Timestamp {
    NOON.plus(days(89))
}

#[test]
pub fn an_opening_that_begins_in_the_last_safe_moment_is_in_time() {
    let slots = fleet(1, 20, "0 0 12 19 2 *", hours(4));
    assert_eq!(slots, [Slot { at: last(), version: 1, why: Why::Due }]);
    let slots = fleet(1, 20, "1 0 12 19 2 *", hours(4));
    assert_eq!(slots, [Slot { at: last(), version: 1, why: Why::Outside }], "a second later is too late");
}

/// A first opening that is late is taken all the same, where there is room in it: nobody goes before it is due for that alone.
#[test]
pub fn the_only_opening_is_taken_however_little_time_for_a_second_try_it_leaves() {
    let late = due().plus(days(25));
    let slots = fleet(1, 20, "0 0 12 15 1,2 *", hours(4));
    assert_eq!(slots, [Slot { at: late, version: 1, why: Why::Due }], "and not the one six days before");
}

/// 66 percent of the time after the due moment: an opening that begins just then is one of those that leave time for a second try.
#[test]
pub fn an_opening_that_begins_as_the_time_for_a_second_try_ends_is_taken_before_a_sooner_one() {
    let soft = due().plus(days(19)).plus(hours(3) + minutes(21) + seconds(36));
    let slots = fleet(2, 1, "36 21 15 9,18,21 1,2 *", minutes(1));
    let later = slots.iter().find(|it| it.why == Why::Later).unwrap();
    assert!(later.at >= soft && later.at < soft.plus(minutes(1)), "{slots:?}");
    let slots = fleet(2, 1, "37 21 15 9,18,21 1,2 *", minutes(1));
    assert!(slots.iter().any(|it| it.at < due()), "a second later is too late: {slots:?}");
}

#[test]
pub fn two_keys_with_windows_are_spread_already() {
    let opens = due().plus(hours(10));
    let slots = fleet(2, 20, "0 0 22 * * *", hours(4));
    assert!(slots.iter().all(|it| it.at > opens), "{slots:?}");
}

/// The window has been open for a day when half of the life is over.
#[test]
pub fn an_opening_in_which_half_of_a_life_ends_is_the_last_resort() {
    let half = NOON.plus(days(45));
    let slots = fleet(1, 20, "0 0 12 5 1 *", days(2));
    assert_eq!(slots[0].why, Why::Before);
    assert!(slots[0].at >= half && slots[0].at < half.plus(days(1)), "{slots:?}");
    // Where the openings after it are full, too.
    let slots = fleet(3, 1, "0 0 12 5,10 1 *", days(2));
    assert!(slots.iter().all(|it| it.why == Why::Before), "{slots:?}");
    assert_eq!(slots.iter().filter(|it| it.at < half.plus(days(1))).count(), 1, "{slots:?}");
}

/// Without windows, a day apart: one of each day comes to stand in its last safe moment, and they are put in order all the same.
#[test]
pub fn a_crowd_with_a_key_in_its_last_safe_moment_keeps_its_order() {
    let mut bench = Bench::keeps();
    bench.policy.creates_per_day = 1;
    let mut fleet = Fleet::of(45, &bench);
    for n in 0..45 {
        fleet.ends(n, days(n as u64 % 5));
    }
    let mut order: Vec<(Timestamp, usize)> = fleet.at().into_iter().enumerate().map(|(n, at)| (at, n % 5)).collect();
    order.sort_unstable();
    holds_budget(&fleet.at(), 1);
    assert!(order.iter().any(|(at, n)| *at == last().plus(days(*n as u64))), "one is in its last safe moment");
    assert!(order.windows(2).all(|it| it[0].1 <= it[1].1), "{order:?}");
}

/// What the owners were told holds, up to the last safe moment; a key that goes together with it joins it there.
#[test]
pub fn a_moment_that_was_told_holds_up_to_the_last_safe_one_and_is_joined_there() {
    let mut cutover = Bench::revokes();
    cutover.policy.together = Some("billing".into());
    cutover.record.phase = Phase::Announce { until: last() };
    cutover.now = due();
    let mut fleet = Fleet::of(2, &cutover);
    let mut other = Bench::keeps();
    other.policy.together = Some("billing".into());
    other.policy.account = "elsewhere".into();
    *fleet.policy(1) = other.policy;
    fleet.record(1).phase = Phase::Steady;
    let slots: Vec<Slot> = fleet.slots().into_values().collect();
    assert_eq!(slots.iter().map(|it| it.at).collect::<Vec<_>>(), [last(), last()]);
    fleet.record(0).phase = Phase::Announce { until: last().plus(STEP) };
    let slots: Vec<Slot> = fleet.slots().into_values().collect();
    assert!(slots.iter().all(|it| it.at < last()), "a moment that is too late was told by a wrong clock: {slots:?}");
}

const STEP: Duration = Duration::from_millis(1);

/// Three keys that go together, one of which was told the beginning of an opening and waits beyond it; the others began there.
fn joined(started_at: Timestamp) -> Fleet {
    let mut cutover = Bench::revokes();
    cutover.policy.windows = nights();
    cutover.policy.together = Some("billing".into());
    let mut fleet = Fleet::of(2, &cutover);
    let opens = due().plus(hours(10));
    let mut policy = windowed().policy;
    policy.together = Some("billing".into());
    policy.account = "elsewhere".into();
    *fleet.policy(1) = policy;
    fleet.record(0).phase = Phase::Announce { until: opens };
    let mut went = windowed().due();
    went.now = opens.plus(minutes(1));
    went.creates();
    let rotation: Rotation = Rotation { started_at, ..went.record.rotation.clone().unwrap() };
    fleet.record(1).last_rotation = Some(rotation);
    fleet.ends(1, days(30));
    fleet.now = opens.plus(minutes(1));
    fleet
}

#[test]
pub fn who_began_as_an_opening_began_has_been_there() {
    let opens = due().plus(hours(10));
    let own = due().plus(days(30));
    assert!(joined(opens).at()[1] >= own, "it was told a moment, and its fellow began in just that one");
    assert!(joined(opens.minus(STEP)).at()[1] < own, "before that is another opening");

    // The same where nobody was told: the leader has begun, and one began with it, in vain.
    let follower = |rotated: Option<Timestamp>, obtained: Timestamp| {
        let mut fleet = joined(opens);
        let leader = fleet.record(1).last_rotation.clone().unwrap();
        let same = fleet.keys.values().nth(1).unwrap().1.clone();
        *fleet.policy(0) = same;
        fleet.record(0).phase = Phase::Steady;
        fleet.ends(0, days(30));
        fleet.record(0).current.as_mut().unwrap().obtained_at = obtained;
        fleet.record(0).last_rotation = rotated.map(|started_at| Rotation { started_at, ..leader });
        fleet.at()[0]
    };
    assert!(follower(None, NOON) < own, "it follows");
    assert!(follower(Some(opens.minus(days(9))), NOON) < own);
    assert!(follower(Some(opens), NOON) >= own, "it has been there");
    assert!(follower(None, opens.minus(STEP)) < own);
    assert!(follower(None, opens) >= own, "what began with the opening is not replaced in it");
}

/// A key that is due in its last safe moment is replaced in it, and not sooner, whatever was to be told before.
#[test]
pub fn a_key_that_is_due_in_its_last_safe_moment_goes_then() {
    let mut bench = Bench::keeps();
    bench.policy.rotate_before = RotateBefore::Lead(days(1));
    let slots: Vec<Slot> = Fleet::of(1, &bench).slots().into_values().collect();
    assert_eq!(slots, [Slot { at: last(), version: 1, why: Why::Due }]);
}

/// A cutover with windows of this kind, looked at in a moment: what its owners are told.
fn announced_at(open: &str, duration: Duration, now: Timestamp, change: impl Fn(&mut Bench)) -> Phase {
    let mut it = Bench::revokes();
    it.policy.windows = nights();
    it.policy.windows[0].open = cron(open);
    it.policy.windows[0].duration = duration;
    it.now = now;
    change(&mut it);
    it.rests();
    it.record.phase
}

#[test]
pub fn a_cutover_is_announced_for_the_last_safe_moment_where_that_is_the_best() {
    let told = Phase::Announce { until: last() };
    // All of the warning that was promised ends just then, whatever freeze begins a minute later.
    let frozen_later = |it: &mut Bench| {
        it.policy.windows.clear();
        it.policy.freezes = frozen(last().plus(minutes(1)), last().plus(days(9)));
    };
    assert_eq!(announced_at("0 0 12 * * *", hours(4), last().minus(days(3)), frozen_later), told);
    // Of the openings that are left, the last one begins just then.
    let long = |it: &mut Bench| it.policy.announce = days(40);
    assert_eq!(announced_at("0 0 12 * * *", hours(4), due(), long), told);
    // An opening that begins just then is better than what is left of the one that is open.
    let late = last().minus(hours(25));
    assert_eq!(announced_at("0 0 12 19 1,2 *", days(30), late, |_| {}), told);
}

/// The opening in which the key fell due is still open in its last safe moment, and no other one comes.
#[test]
pub fn what_is_left_of_an_opening_is_taken_up_to_the_last_safe_moment() {
    let mut it = windowed();
    it.policy.windows[0].open = cron("0 0 12 19 1 *");
    it.policy.windows[0].duration = days(60);
    it.policy.outside_window = OutsideWindow::Never;
    assert_eq!(gate::opening(&it.record, &it.policy, last()), last());
    assert!(gate::opening(&it.record, &it.policy, last().plus(STEP)) > last().plus(days(300)), "too late is too late");
}

/// The last token that was issued is one of ours, whatever has become of its key: the store was not rolled back.
#[test]
pub fn the_last_token_that_was_issued_is_no_sign_of_a_rolled_back_store() {
    let lists = |n: u32| {
        let mut it = Bench::keeps().due();
        it.record.last_token = 4;
        let mut key = found("k4", Probe::Alive);
        key.token = Some(Token { by: it.by.clone(), name: it.record.name.clone(), n });
        it.lists(vec![key]).pass();
        it.rolled_back
    };
    assert_eq!((lists(4), lists(5)), (false, true));
}

//! Which moment each key is given among all others: places in a window, daily budgets planned ahead, keys that go together.
use crate::bench::*;
use rekeyd_simulation::core::account::Account;
use rekeyd_simulation::core::facts::{Action, Blocked};
use rekeyd_simulation::core::names::{AccountId, KeyName};
use rekeyd_simulation::core::plan::NoticeKind;
use rekeyd_simulation::core::policy::{Initial, OutsideWindow, Policy};
use rekeyd_simulation::core::record::{Pause, Phase, Reason, Record};
use rekeyd_simulation::core::schedule::{Slot, Slots, Spans, Why, slots};
use rekeyd_simulation::core::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Many keys like that of the bench, at one account.
pub struct Fleet {
    pub keys: BTreeMap<KeyName, (Record, Policy)>,
    pub accounts: BTreeMap<AccountId, Account>,
    pub now: Timestamp,
}

impl Fleet {
    pub fn of(keys: usize, bench: &Bench) -> Self {
        let names = (0..keys).map(|n| format!("k{n:04}").parse::<KeyName>().unwrap());
        let one = |name: KeyName| (name.clone(), (Record { name, ..bench.record.clone() }, bench.policy.clone()));
        let accounts = BTreeMap::from([(bench.account.id.clone(), bench.account.clone())]);
        Self { keys: names.map(one).collect(), accounts, now: bench.now }
    }

    pub fn slots(&self) -> Slots {
        let keys = self.keys.values().map(|(record, policy)| (record, policy));
        slots(keys, &self.accounts, &mut Spans::default(), self.now)
    }

    pub fn record(&mut self, n: usize) -> &mut Record {
        &mut self.keys.values_mut().nth(n).unwrap().0
    }

    pub fn policy(&mut self, n: usize) -> &mut Policy {
        &mut self.keys.values_mut().nth(n).unwrap().1
    }

    /// The end of a key's life is moved, and with it the moment in which it is due.
    pub fn ends(&mut self, n: usize, later: Duration) -> &mut Self {
        let current = self.record(n).current.as_mut().unwrap();
        current.valid_to = current.valid_to.map(|it| it.plus(later));
        self
    }

    pub fn at(&self) -> Vec<Timestamp> {
        self.slots().values().map(|it| it.at).collect()
    }

    pub fn whys(&self) -> Vec<Why> {
        self.slots().values().map(|it| it.why).collect()
    }
}

/// The day on which the keys of the bench are due; their windows open ten hours later.
pub fn due() -> Timestamp {
    NOON.plus(days(60))
}

pub fn windowed() -> Bench {
    let mut it = Bench::keeps();
    it.policy.windows = nights();
    it
}

/// In any 24 hours no more creates than are allowed.
pub fn holds_budget(moments: &[Timestamp], per_day: usize) {
    let mut moments = moments.to_vec();
    moments.sort_unstable();
    for crowd in moments.windows(per_day + 1) {
        assert!(
            crowd[per_day].since(crowd[0]) >= days(1),
            "{} and {} more until {}",
            crowd[0],
            per_day,
            crowd[per_day]
        );
    }
}

/// One key alone takes the beginning of its window; several are spread over its first half, each at a place of its own.
#[test]
pub fn the_keys_of_an_account_are_spread_over_the_first_half_of_a_window() {
    let opens = due().plus(hours(10));
    assert_eq!(Fleet::of(1, &windowed()).at(), [opens]);
    let mut moments = Fleet::of(20, &windowed()).at();
    moments.sort_unstable();
    assert!(moments.iter().all(|it| *it >= opens && *it <= opens.plus(hours(2))), "{moments:?}");
    moments.dedup();
    assert_eq!(moments.len(), 20, "no two at once");
    assert!(moments[0].since(opens) < minutes(30) && moments[19].since(opens) > minutes(90), "{moments:?}");
}

/// What is reckoned at any later moment gives the same slots: nothing is drawn anew, and no slot recedes for ever.
#[test]
pub fn a_slot_stays_where_it_is_whenever_it_is_reckoned() {
    let mut fleet = Fleet::of(100, &windowed());
    let first = fleet.slots();
    for hour in 0..60 * 24 {
        fleet.now = NOON.plus(hours(hour));
        if hour % 97 == 0 {
            assert_eq!(fleet.slots(), first, "after {hour} hours");
        }
    }
    let opens = due().plus(hours(10));
    fleet.now = opens.plus(minutes(60));
    let later = fleet.slots();
    for (name, slot) in &first {
        let expected = slot.at.max(fleet.now);
        if slot.at < opens.plus(hours(4)) {
            assert!(
                later[name].at >= expected && later[name].at < opens.plus(hours(4)),
                "{name}: {slot:?}, then {:?}",
                later[name]
            );
        }
    }
}

/// A key whose place has passed within the open window begins at once, and not in the next one.
#[test]
pub fn a_place_that_has_passed_is_taken_at_once_while_the_window_is_open() {
    let mut fleet = Fleet::of(20, &windowed());
    fleet.now = due().plus(hours(13));
    assert_eq!(fleet.at(), [fleet.now; 20]);
    fleet.now = due().plus(hours(14));
    let next = due().plus(hours(34));
    assert!(fleet.at().iter().all(|it| *it >= next && *it <= next.plus(hours(2))), "the window has closed");
}

/// Of keys that all are due in one night, only so many as the budget allows take it; the others go to the nights after.
#[test]
pub fn what_the_budget_does_not_hold_goes_to_later_windows() {
    let fleet = Fleet::of(100, &windowed());
    let (slots, opens) = (fleet.slots(), due().plus(hours(10)));
    let moments: Vec<_> = slots.values().map(|it| it.at).collect();
    holds_budget(&moments, 20);
    let night = |n: u64| {
        moments.iter().filter(|it| **it >= opens.plus(days(n)) && **it < opens.plus(days(n) + hours(4))).count()
    };
    assert_eq!((0..5).map(night).collect::<Vec<_>>(), [20; 5]);
    assert_eq!(slots.values().filter(|it| it.why == Why::Due).count(), 20);
    assert_eq!(slots.values().filter(|it| it.why == Why::Later).count(), 80);
}

/// Where even the time from the due moment to the last safe one is too short for all, some are replaced before they are due, the
/// nearer the better: 800 keys need 40 nights at 20 a night, and only 29 are left.
#[test]
pub fn what_does_not_fit_before_expiry_is_replaced_before_it_is_due() {
    let fleet = Fleet::of(800, &windowed());
    let slots = fleet.slots();
    let moments: Vec<_> = slots.values().map(|it| it.at).collect();
    assert_eq!(moments.len(), 800);
    holds_budget(&moments, 20);
    let last = NOON.plus(days(89));
    assert!(moments.iter().all(|it| *it <= last), "nobody comes too late");
    let early: Vec<_> = slots.values().filter(|it| it.why == Why::Earlier).map(|it| it.at).collect();
    assert!(early.iter().all(|it| *it < due()) && !early.is_empty());
    let earliest = early.iter().min().unwrap();
    assert!(due().since(*earliest) < days(15), "half of the life is left to every key: {earliest}");
    assert_eq!(slots.values().filter(|it| matches!(it.why, Why::Outside | Why::Crowded)).count(), 0);
    let policy = fleet.keys.values().next().unwrap().1.clone();
    assert!(moments.iter().all(|it| policy.calendar().is_open(*it)));
}

/// Who must be replaced sooner chooses first, wherever its name stands.
#[test]
pub fn the_most_urgent_keys_come_first_after_weeks_off() {
    let mut fleet = Fleet::of(60, &Bench::keeps());
    for n in 0..60 {
        fleet.ends(n, hours(60 - n as u64));
    }
    fleet.now = NOON.plus(days(91));
    let slots = fleet.slots();
    let mut order: Vec<_> = slots.iter().map(|(name, slot)| (slot.at, name.clone())).collect();
    order.sort();
    let first: Vec<_> = order.iter().take(20).map(|it| it.1.to_string()).collect();
    assert_eq!(first, (40..60).map(|n| format!("k{n:04}")).collect::<Vec<_>>());
    assert!(order.iter().take(20).all(|it| it.0 == fleet.now), "at once");
    assert!(order.iter().skip(20).take(20).all(|it| it.0 == fleet.now.plus(days(1))));
}

/// First creates wait for those whose keys are about to expire.
#[test]
pub fn first_creates_take_what_is_left_of_the_budget() {
    let mut fleet = Fleet::of(30, &Bench::keeps());
    for n in 0..25 {
        let name = fleet.record(n).name.clone();
        *fleet.record(n) = Record::new(name, NOON);
        fleet.policy(n).initial = Initial::Create;
    }
    fleet.now = NOON.plus(days(85));
    let slots = fleet.slots();
    let urgent = slots.values().skip(25).all(|it| it.at == fleet.now);
    assert!(urgent, "{slots:?}");
    assert_eq!(slots.values().take(25).filter(|it| it.at == fleet.now).count(), 15);
    holds_budget(&fleet.at(), 20);
}

/// What was sent in the last 24 hours counts.
#[test]
pub fn what_was_sent_takes_room() {
    let mut fleet = Fleet::of(3, &Bench::keeps());
    fleet.now = due();
    let account = fleet.accounts.values_mut().next().unwrap();
    account.creates = vec![due().minus(hours(1)); 18];
    assert_eq!(fleet.at(), [due(), due(), due().plus(hours(23))]);
    assert_eq!(fleet.whys(), [Why::Due, Why::Due, Why::Later]);
}

/// Keys with the same word go in one window: the earliest leads.
#[test]
pub fn keys_that_go_together_rotate_when_the_first_of_them_is_due() {
    let mut fleet = Fleet::of(4, &windowed());
    for n in 0..3 {
        fleet.policy(n).together = Some("billing".into());
    }
    fleet.ends(0, days(20)).ends(2, days(40));
    let (slots, opens) = (fleet.slots(), due().plus(hours(10)));
    let slots: Vec<Slot> = slots.into_values().collect();
    assert!(slots[..3].iter().all(|it| it.at >= opens && it.at < opens.plus(hours(2))), "{slots:?}");
    assert_eq!(slots.iter().map(|it| it.why).collect::<Vec<_>>(), [Why::Together, Why::Due, Why::Together, Why::Due]);
    fleet.ends(3, days(3));
    assert!(fleet.slots().values().nth(3).unwrap().at >= opens.plus(days(3)), "whoever has no word is not led");
}

/// When the leader has begun, the others follow in the same opening; once it is over they are left to their own time.
#[test]
pub fn the_others_follow_a_leader_that_has_begun_and_only_in_that_opening() {
    let mut fleet = Fleet::of(3, &windowed());
    for n in 0..3 {
        fleet.policy(n).together = Some("billing".into());
    }
    fleet.ends(1, days(20)).ends(2, days(40));
    let opens = due().plus(hours(10));
    let mut leader = windowed().due();
    leader.now = opens.plus(minutes(1));
    leader.creates();
    let rotation = leader.record.rotation.clone();
    fleet.record(0).rotation = rotation.clone();
    fleet.record(0).phase = leader.record.phase.clone();
    fleet.now = opens.plus(minutes(2));
    let slots = fleet.slots();
    assert!(slots.values().all(|it| it.at < opens.plus(hours(2)) && it.why == Why::Together), "{slots:?}");
    assert_eq!(slots.len(), 2);

    // One of them has followed: it does not lead again, and is not led again.
    let mut followed = rotation.clone().unwrap();
    followed.started_at = opens.plus(minutes(2));
    let record = fleet.record(1);
    record.last_rotation = Some(followed);
    record.current.as_mut().unwrap().obtained_at = opens.plus(minutes(2));
    record.current.as_mut().unwrap().valid_to = Some(opens.plus(days(90)));
    fleet.now = opens.plus(minutes(5));
    let slots: Vec<Slot> = fleet.slots().into_values().collect();
    assert!(slots[0].at > opens.plus(days(50)), "{slots:?}");
    assert!(slots[1].at < opens.plus(hours(2)), "{slots:?}");

    // The window has closed: whoever missed it leads the next time.
    fleet.now = opens.plus(hours(4));
    let slots: Vec<Slot> = fleet.slots().into_values().collect();
    assert!(slots.iter().all(|it| it.at > opens.plus(days(30))), "{slots:?}");
}

/// A key that is halted, or paused without an end, holds nobody who goes together with it, and leads nobody.
#[test]
pub fn who_can_not_go_holds_nobody() {
    let mut fleet = Fleet::of(3, &windowed());
    for n in 0..3 {
        fleet.policy(n).together = Some("billing".into());
    }
    fleet.ends(1, days(20)).ends(2, days(10));
    let expected = due().plus(days(10) + hours(10));
    let resume = Box::new(Phase::Steady);
    fleet.record(0).phase = Phase::Halted { reason: Reason::Drifted, at: NOON, resume };
    assert!(fleet.at().iter().all(|it| *it >= expected && *it < expected.plus(hours(2))), "{:?}", fleet.slots());
    fleet.record(0).phase = Phase::Steady;
    fleet.record(0).paused = Some(Pause { since: NOON, until: None, reason: None, actor: None });
    assert_eq!(fleet.at().len(), 2);
    assert!(fleet.at().iter().all(|it| *it >= expected && *it < expected.plus(hours(2))), "{:?}", fleet.slots());
    // One whose pause ends in time goes alone.
    fleet.record(0).paused = Some(Pause { since: NOON, until: Some(due().plus(days(5))), reason: None, actor: None });
    let alone = fleet.at()[0].since(due().plus(days(5) + hours(10)));
    assert!(alone > Duration::ZERO && alone <= hours(2), "{alone:?}");
}

/// Keys whose windows differ meet where both are open; where they never do, each goes by itself.
#[test]
pub fn keys_that_go_together_meet_where_all_their_windows_are_open() {
    let mut fleet = Fleet::of(2, &windowed());
    for n in 0..2 {
        fleet.policy(n).together = Some("billing".into());
    }
    let mut late = nights();
    late[0].open = cron("0 0 0 * * *");
    late[0].name = Some("midnight".into());
    fleet.policy(1).windows.clone_from(&late);
    let midnight = due().plus(hours(12));
    assert!(fleet.at().iter().all(|it| *it >= midnight && *it <= midnight.plus(hours(2))), "{:?}", fleet.slots());
    late[0].open = cron("0 0 12 * * *");
    fleet.policy(1).windows = late;
    let slots: Vec<Slot> = fleet.slots().into_values().collect();
    assert!(slots[0].at >= due().plus(hours(10)) && slots[0].at < due().plus(hours(12)), "{slots:?}");
    assert!(slots[1].at <= due().plus(hours(2)), "{slots:?}");
}

/// A key that ends its old one when it is created is announced for the window in which the others go.
#[test]
pub fn a_cutover_is_announced_for_the_window_of_those_that_go_together() {
    let mut it = Bench::revokes();
    it.policy.windows = nights();
    it.policy.together = Some("billing".into());
    let mut fleet = Fleet::of(1, &it);
    let other: KeyName = "other".parse().unwrap();
    let mut policy = windowed().policy;
    policy.account = "elsewhere".into();
    policy.together = Some("billing".into());
    let mut record = Record { name: other.clone(), ..windowed().record };
    record.current.as_mut().unwrap().valid_to = Some(NOON.plus(days(80)));
    fleet.keys.insert(other, (record, policy));
    let opens = due().minus(days(10)).plus(days(3) + hours(10));
    assert_eq!(fleet.at(), [opens, opens], "three days after the first is due");
    it.policy.slot = fleet.slots().values().next().copied();
    it.now = opens.minus(days(3) + minutes(1));
    it.rests();
    assert_eq!((it.phase(), it.wake_at), ("steady", opens.minus(days(3))));
    it.wait(minutes(1)).rests();
    assert_eq!((it.phase(), it.record.phase.clone()), ("announce", Phase::Announce { until: opens }));
    assert_eq!(it.told(NoticeKind::RotationScheduled), 1);
    let name = fleet.keys.keys().next().unwrap().clone();
    fleet.keys.get_mut(&name).unwrap().0.phase = it.record.phase.clone();
    fleet.now = it.now;
    assert_eq!(fleet.at(), [opens, opens], "the other waits for what was told");
    fleet.now = opens.minus(hours(1));
    assert_eq!(fleet.at(), [opens, opens]);
    it.now = opens;
    it.creates();
}

/// The core begins in its slot: not before, and also where that is before the key is due.
#[test]
pub fn a_key_begins_in_its_slot() {
    let slot = |at, why| Some(Slot { at, version: 1, why });
    let mut it = windowed().due();
    it.policy.slot = slot(due().plus(hours(11)), Why::Due);
    it.now = due().plus(hours(10));
    it.rests();
    assert_eq!(
        (&it.blocked, it.wake_at <= due().plus(hours(11))),
        (&None, true),
        "its place in the window comes later"
    );
    it.policy.slot = slot(due().plus(days(2)), Why::Later);
    it.rests();
    assert_eq!(it.blocked, Some(Blocked::Budget(due().plus(days(2)))));
    it.now = due().plus(hours(9));
    it.rests();
    assert_eq!(it.blocked, Some(Blocked::Window(due().plus(days(2)))));

    let mut early = windowed();
    let at = due().minus(days(5)).plus(hours(11));
    early.policy.slot = slot(at, Why::Earlier);
    early.now = at.minus(minutes(1));
    early.rests();
    assert_eq!(early.wake_at, at);
    early.wait(minutes(1));
    assert!(early.look().preflight);
    early.creates();

    let mut replaced = windowed();
    replaced.policy.slot = Some(Slot { at: NOON, version: 7, why: Why::Earlier });
    replaced.wait(hours(11)).rests();
    assert_eq!(replaced.phase(), "steady", "the slot of another version is none");
}

/// A slot that was missed while nobody could act is no licence to leave the window.
#[test]
pub fn a_slot_that_was_missed_waits_for_the_next_window() {
    let mut it = windowed().due();
    it.policy.slot = Some(Slot { at: due().plus(hours(11)), version: 1, why: Why::Due });
    it.now = due().plus(hours(15));
    it.rests();
    assert_eq!(it.blocked, Some(Blocked::Window(due().plus(hours(34)))));
    it.now = due().plus(hours(34));
    it.creates();
}

/// Where no window is left, the last safe moments are shared out too, and a try that failed there is repeated there.
#[test]
pub fn without_a_window_left_the_keys_go_before_their_last_safe_moments_as_the_budget_allows() {
    let mut bench = windowed();
    bench.policy.windows[0].open = cron("0 0 22 1 1 *");
    bench.now = due();
    let fleet = Fleet::of(50, &bench);
    let slots = fleet.slots();
    let moments: Vec<_> = slots.values().map(|it| it.at).collect();
    holds_budget(&moments, 20);
    assert!(moments.iter().all(|it| *it <= NOON.plus(days(89)) && *it >= NOON.plus(days(86))), "{moments:?}");
    assert!(slots.values().all(|it| it.why == Why::Outside));
    let first = slots.values().min_by_key(|it| it.at).unwrap();
    bench.policy.slot = Some(*first);
    bench.now = first.at;
    let create = bench.creates();
    assert_eq!(bench.told(NoticeKind::RotationScheduled), 1, "its owners are told why");
    bench.answer(&create, rekeyd_simulation::core::facts::Outcome::NotSent("connection refused".into()));
    bench.wait(minutes(1));
    assert!(matches!(bench.pass()[..], [Action::Create { .. }]));
    for (_, policy) in fleet.keys.into_values().take(1) {
        let mut never = windowed();
        never.policy = Policy { outside_window: OutsideWindow::Never, ..policy };
        never.now = due();
        let opens = Fleet::of(1, &never).at();
        assert!(opens[0] > NOON.plus(days(89)) || opens.is_empty());
    }
}

/// No key is moved before half of its life has passed, whatever the budget says.
#[test]
pub fn no_key_is_replaced_before_half_of_its_life() {
    let mut bench = windowed();
    bench.policy.creates_per_day = 1;
    let fleet = Fleet::of(100, &bench);
    let slots = fleet.slots();
    assert!(slots.values().all(|it| it.at >= NOON.plus(days(45))), "{:?}", slots.values().min_by_key(|it| it.at));
    holds_budget(&fleet.at(), 1);
}

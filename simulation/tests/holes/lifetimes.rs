//! How long a key lives: what a provider grants, reports or leaves out, and what the config asks for instead.
use crate::bench::*;
use rekeyd_simulation::core::due;
use rekeyd_simulation::core::facts::{Found, Outcome, Probe};
use rekeyd_simulation::core::freeze::{Day, Freeze, When};
use rekeyd_simulation::core::plan::NoticeKind;
use rekeyd_simulation::core::policy::RotateBefore;
use rekeyd_simulation::core::record::{Expiry, Phase, Version};
use rekeyd_simulation::core::time::Timestamp;
use std::time::Duration;

/// A rotation whose create is answered with this end: the new version, in use.
fn granted(it: &mut Bench, valid_to: Option<Timestamp>) -> Version {
    let create = it.creates();
    let number = it.record.current.as_ref().unwrap().number + 1;
    let fingerprint = format!("k{number}");
    it.answer(&create, Outcome::Created(Found { valid_to, ..found(&fingerprint, Probe::Inconclusive) }));
    it.probes(number, Probe::Alive);
    it.delivers(number, &fingerprint);
    it.rests();
    let current = it.record.current.clone().unwrap();
    assert_eq!((it.phase(), current.number), ("steady", number));
    current
}

#[track_caller]
fn is_due(it: &Bench, after: Duration) {
    let current = it.record.current.as_ref().unwrap();
    assert_eq!(due::due_at(current, &it.policy), Some(it.now.plus(after)));
}

/// 90 days are asked for, and the key is to be replaced 30 days before its end.
#[test]
pub fn what_the_provider_reports_counts_and_not_what_was_asked_for() {
    for (reported, expected, lead) in [
        // Later than asked for.
        (Some(days(365)), Some((days(365), Expiry::Reported)), days(30)),
        // Earlier: no key is due before half of its life has passed, or it would be asked for again at once, for ever.
        (Some(days(40)), Some((days(40), Expiry::Reported)), days(20)),
        (Some(minutes(30)), Some((minutes(30), Expiry::Reported)), minutes(15)),
        // Absent: the lifetime that the config knows.
        (None, Some((days(90), Expiry::Assumed)), days(30)),
    ] {
        let mut it = Bench::keeps().due();
        let at = it.now;
        let current = granted(&mut it, reported.map(|it| at.plus(it)));
        let (life, expiry) = expected.unwrap();
        assert_eq!((current.valid_to, current.expiry), (Some(at.plus(life)), expiry));
        is_due(&it, life.saturating_sub(lead));
    }
}

/// A documented trap: an end that has passed already. It is not believed, the key is not replaced at once, and nobody is told that it
/// has expired.
#[test]
pub fn an_end_that_has_passed_is_not_believed() {
    for ago in [Duration::ZERO, seconds(1), days(400)] {
        let mut it = Bench::keeps().due();
        let passed = it.now.minus(ago);
        let current = granted(&mut it, Some(passed));
        assert_eq!((current.valid_to, current.expiry), (Some(it.now.plus(days(90))), Expiry::Assumed));
        assert_eq!(it.told(NoticeKind::KeyExpired), 0);
        it.wait(days(59)).rests();
        assert_eq!(it.phase(), "steady");
    }
    let mut it = Bench::keeps().due();
    it.policy.valid_for = None;
    let passed = it.now.minus(days(1));
    let current = granted(&mut it, Some(passed));
    assert_eq!((current.valid_to, current.expiry), (None, Expiry::Unknown), "nobody knows its end");
    assert_eq!(due::due_at(&current, &it.policy), None, "it is not of unknown age: we know when it was made");
}

/// A key of which nobody says how long it lives: `max_age` replaces it, counted from its create.
#[test]
pub fn max_age_replaces_a_key_that_never_expires() {
    let mut it = Bench::keeps().due();
    it.policy.valid_for = None;
    it.policy.max_age = Some(days(20));
    let current = granted(&mut it, None);
    assert_eq!((current.valid_to, current.expiry), (None, Expiry::Unknown));
    is_due(&it, days(20));
    assert!(due::last_safe_moment(&current, &it.policy).is_none(), "it has no end that could be missed");
    it.wait(days(20)).creates();
}

/// `"33%"` is a share of the lifetime that each key has, not of the one that was asked for.
#[test]
pub fn a_share_is_a_share_of_the_life_that_was_granted() {
    for (life, due) in
        [(days(90), days(90) * 67 / 100), (days(10), days(10) * 67 / 100), (hours(1), hours(1) * 67 / 100)]
    {
        let mut it = Bench::keeps().due();
        it.wait(days(1));
        it.policy.rotate_before = RotateBefore::Share(33.0);
        let end = it.now.plus(life);
        granted(&mut it, Some(end));
        is_due(&it, due);
        it.wait(due.saturating_sub(seconds(1))).pass();
        assert_eq!(it.phase(), "steady");
        it.wait(seconds(1)).creates();
    }
    // Half is the most, whatever is written.
    let mut it = Bench::keeps().due();
    it.policy.rotate_before = RotateBefore::Share(80.0);
    let end = it.now.plus(days(10));
    granted(&mut it, Some(end));
    is_due(&it, days(5));
}

/// A key of ten minutes goes from one to the next for a day: one create each, none expires, nobody is reminded of anything.
#[test]
pub fn keys_of_minutes_follow_each_other_without_a_word() {
    let mut it = Bench::keeps().due();
    it.wait(days(1));
    it.policy.valid_for = Some(minutes(10));
    it.policy.rotate_before = RotateBefore::Share(33.0);
    it.policy.overlap = minutes(2);
    it.policy.accept_within = minutes(1);
    it.policy.creates_per_day = 1000;
    it.lists(vec![]);
    let end = it.now.plus(minutes(10));
    granted(&mut it, Some(end));
    let told = it.notices.len();
    let begun = it.now;
    let mut rotations = 0;
    while it.now < begun.plus(days(1)) {
        it.now = due::due_at(it.record.current.as_ref().unwrap(), &it.policy).unwrap();
        let end = it.now.plus(minutes(10));
        // What is due to be revoked meanwhile is answered as well.
        for _ in 0..3 {
            for action in it.pass() {
                let outcome = match &action {
                    action if token_of(action).is_some() => {
                        rotations += 1;
                        let name = format!("m{rotations}");
                        let number = it.record.last_version + 1;
                        it.probes(number, Probe::Alive);
                        Outcome::Created(Found { valid_to: Some(end), ..found(&name, Probe::Alive) })
                    }
                    rekeyd_simulation::core::facts::Action::Deliver { version, .. } => {
                        let held = it.record.version(*version).map(|it| it.fingerprint.to_string());
                        it.holds(held.as_deref());
                        Outcome::Delivered { ms: 1 }
                    }
                    rekeyd_simulation::core::facts::Action::Revoke(_) => Outcome::Revoked,
                    other => panic!("{other:?}"),
                };
                it.answer(&action, outcome);
            }
        }
        let current = it.record.current.as_ref().unwrap();
        assert!(current.valid_to.unwrap() > it.now, "it lives at {}", it.now);
        assert_eq!(it.phase(), "steady", "at {}", it.now);
    }
    assert!((214..=216).contains(&rotations), "every 6.7 minutes: {rotations}");
    let said: Vec<_> =
        it.notices[told..].iter().map(|it| it.kind).filter(|it| *it != NoticeKind::RotationSucceeded).collect();
    assert_eq!(said, []);
    let live = it.record.live_versions().count();
    assert!(live <= 2, "old ones end: {live}");
}

fn token_of(action: &rekeyd_simulation::core::facts::Action) -> Option<()> {
    matches!(action, rekeyd_simulation::core::facts::Action::Create { .. }).then_some(())
}

/// Near its end: less is left than `escalate_before`, or than a third of a short life; at that very moment not yet.
#[test]
pub fn a_key_is_near_its_end_when_less_than_that_is_left() {
    let check = |life: Duration, left: Duration, near: bool| {
        let it = Bench::keeps();
        let version = Version { valid_to: Some(NOON.plus(life)), ..version(1, "k1") };
        let now = NOON.plus(life).minus(left);
        assert_eq!(due::is_near_end(&version, &it.policy, now), near, "{left:?} of {life:?}");
    };
    let moment = Duration::from_millis(1);
    for (life, third) in [(days(90), days(7)), (days(9), days(3)), (minutes(30), minutes(10))] {
        check(life, third, false);
        check(life, third.saturating_sub(moment), true);
        check(life, Duration::ZERO, true);
    }
    let it = Bench::keeps();
    let endless = Version { valid_to: None, ..version(1, "k1") };
    assert!(!due::is_near_end(&endless, &it.policy, NOON.plus(days(4000))));
}

/// Where a lifetime is long its last safe moment lies a day before the end, in a short one a tenth of it, but never before half.
#[test]
pub fn the_last_safe_moment_of_every_life() {
    let check = |life: Duration, before: Duration| {
        let it = Bench::keeps();
        let version = Version { valid_to: Some(NOON.plus(life)), ..version(1, "k1") };
        assert_eq!(due::last_safe_moment(&version, &it.policy), Some(NOON.plus(life).minus(before)), "{life:?}");
    };
    check(days(365), days(1));
    check(days(10), days(1));
    check(days(5), hours(12));
    check(hours(1), minutes(10));
    check(minutes(12), minutes(6));
    check(minutes(1), seconds(30));
}

/// A freeze from the 29th of February to the 1st of March is there in leap years alone; one from a day to the same day is always.
#[test]
pub fn a_freeze_that_is_empty_in_a_year_is_not_in_it() {
    let yearly = |from: (u32, u32), to: (u32, u32)| Freeze {
        name: "leap".into(),
        when: When::Yearly {
            from: Day { month: from.0, day: from.1 },
            to: Day { month: to.0, day: to.1 },
            timezone: chrono_tz::UTC,
        },
    };
    let leap = yearly((2, 29), (3, 1));
    let begin = Timestamp(1_835_395_200_000);
    assert_eq!(begin.to_string(), "2028-02-29T00:00:00Z");
    assert_eq!(leap.begins_after(NOON), Some(begin));
    assert_eq!(leap.begins_after(begin).map(|it| it.to_string()), Some("2032-02-29T00:00:00Z".into()), "after, not at");
    let always = yearly((5, 1), (5, 1));
    assert!((0..800).all(|day| always.covering(NOON.plus(days(day))).is_some()));
}

/// A first key that the provider does not give an end is announced for no replacement, and the phase says so.
#[test]
pub fn a_key_without_an_end_rests() {
    let mut it = Bench::keeps().due();
    it.policy.valid_for = None;
    granted(&mut it, None);
    it.wait(days(4000)).rests();
    assert!(matches!(it.record.phase, Phase::Steady));
    assert_eq!(it.told(NoticeKind::KeyExpiring), 0);
}

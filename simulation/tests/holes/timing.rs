//! When something may begin: windows, expiry, the clock; and when the owners are warned.
use crate::bench::*;
use rekeyd_simulation::core::facts::{Blocked, Content, Outcome, Preflight, Probe};
use rekeyd_simulation::core::plan::{Command, NoticeKind, Severity};
use rekeyd_simulation::core::policy::{Initial, OutsideWindow, RotateBefore};
use rekeyd_simulation::core::record::{Ended, Expiry, Trigger, Wish};
use rekeyd_simulation::core::time::Timestamp;

/// A rotation begins in a window, and only in one that opens when the key is due or later.
#[test]
pub fn a_rotation_begins_in_a_window() {
    let mut it = Bench::keeps().due();
    it.policy.windows = nights();
    let opens = it.now.plus(hours(10));
    it.rests();
    assert_eq!((it.phase(), it.blocked.clone(), it.wake_at <= opens), ("steady", Some(Blocked::Window(opens)), true));
    it.is_at_rest();
    it.wait(hours(10)).creates();
}

/// A create that failed in its window is not tried again after it; the next window is.
#[test]
pub fn a_try_that_failed_waits_for_the_next_window() {
    let mut it = Bench::keeps().due();
    it.policy.windows = nights();
    let create = it.wait(hours(10)).creates();
    it.answer(&create, Outcome::NotSent("connection refused".into()));
    it.wait(hours(5)).rests();
    assert_eq!(it.blocked, Some(Blocked::Window(NOON.plus(days(61)).plus(hours(10)))));
    it.wait(hours(19)).creates();
}

/// No key dies of politeness: with no window left before the last safe moment, that moment is the window, unless the
/// config forbids it.
#[test]
pub fn the_last_safe_moment_is_a_window_unless_the_config_forbids_it() {
    let mut it = Bench::keeps();
    it.policy.windows = nights();
    it.wait(days(89)).creates();
    assert_eq!(it.record.rotation.as_ref().unwrap().wish.trigger, Trigger::Expiry);
    let mut it = Bench::keeps();
    it.policy.windows = nights();
    it.policy.outside_window = OutsideWindow::Never;
    it.wait(days(89)).rests();
    assert_eq!(it.blocked.as_ref().map(Blocked::code), Some("window"));
    it.is_at_rest();
}

/// An operator's wish takes the window that is open; `--now` takes none.
#[test]
pub fn a_wish_takes_the_open_window_and_now_takes_none() {
    let mut it = Bench::keeps();
    it.policy.windows = nights();
    it.say(Command::Rotate(wish())).unwrap();
    it.rests();
    it.wait(hours(11)).creates();
    let mut it = Bench::keeps();
    it.policy.windows = nights();
    it.say(Command::Rotate(Wish { now: true, ..wish() })).unwrap();
    it.creates();
}

/// Hole 18. The clock jumps forward: every key is due, every overlap has passed. A suspect clock creates nothing, revokes
/// nothing, ends nothing and warns of nothing.
#[test]
pub fn a_suspect_clock_creates_revokes_and_ends_nothing() {
    let mut it = Bench::keeps().rotated();
    it.lists(vec![]).wait(days(365));
    it.facts.clock_suspect = true;
    let told = it.notices.len();
    it.rests();
    it.rests();
    assert_eq!((it.blocked.clone(), it.ended(1)), (Some(Blocked::Clock), None));
    assert_eq!(it.notices.len(), told, "{:?}", it.notices.last());
    it.facts.clock_suspect = false;
    it.now = it.now.minus(days(363));
    let actions = it.pass();
    assert!(actions.iter().any(|it| is_revoke_of(it, 1)), "the clock was put right: {actions:?}");
}

/// Hole 18. By a clock that is years ahead each key of a fleet is due: nothing is begun, neither then nor once it is right again; and
/// a file that was lost is brought back, although the key has expired by that clock.
#[test]
pub fn a_clock_that_was_years_ahead_begins_nothing_and_keeps_no_consumer_without_its_key() {
    for mut it in [Bench::keeps(), Bench::revokes()] {
        it.facts.clock_suspect = true;
        it.wait(days(3650)).holds(None).delivers(1, "k1");
        it.rests();
        assert_eq!((it.phase(), it.blocked.clone(), it.notices.len()), ("steady", Some(Blocked::Clock), 0));
        it.facts.clock_suspect = false;
        it.now = NOON.plus(days(1));
        it.rests();
        assert_eq!((it.phase(), it.notices.len()), ("steady", 0));
    }
    let mut it = Bench::revokes().due();
    it.rests();
    let announced = it.record.phase.clone();
    it.facts.clock_suspect = true;
    it.wait(days(3650)).rests();
    assert_eq!(it.record.phase, announced, "an announced moment has not come by a clock that nobody believes");
}

/// Hole 18. The same within an overlap that has passed: the revoke waits for a clock that can be believed.
#[test]
pub fn a_suspect_clock_holds_the_create_of_a_rotation_under_way_and_a_revoke() {
    let mut it = Bench::keeps().due();
    it.facts.preflight = Some(Preflight::Blocked(Blocked::Login));
    it.rests();
    assert_eq!(it.phase(), "create");
    it.facts.preflight = Some(Preflight::Ready);
    it.facts.clock_suspect = true;
    it.rests();
    assert_eq!(it.blocked, Some(Blocked::Clock));
    it.facts.clock_suspect = false;
    it.creates();

    let mut it = Bench::keeps().rotated();
    it.lists(vec![]).wait(days(2));
    it.facts.clock_suspect = true;
    it.rests();
    it.facts.clock_suspect = false;
    assert!(it.pass().iter().any(|it| is_revoke_of(it, 1)));
}

/// Hole 18. A clock that was in 2036 stored deadlines from there: none is believed beyond now plus its length.
#[test]
pub fn stored_deadlines_are_believed_only_within_their_length() {
    let ahead = NOON.plus(days(3650));
    let mut it = Bench::keeps().rotated();
    it.lists(vec![]);
    it.record.retired[0].after = ahead;
    it.record.held.get_mut(&file()).unwrap().retry_at = Some(ahead);
    it.account.held_until = Some(ahead);
    it.account.creates = vec![ahead; 20];
    it.holds(None).rests();
    it.wait(hours(3)).delivers(2, "k2");
    it.wait(days(2));
    assert!(it.pass().iter().any(|it| is_revoke_of(it, 1)), "the overlap ends");
    it.say(Command::Rotate(wish())).unwrap();
    it.creates();
}

/// Hole 18. A create failed while the clock was in 2036: the next try is not in 2036.
#[test]
pub fn the_wait_after_a_failure_is_believed_only_within_its_length() {
    let mut it = Bench::keeps().due();
    let create = it.creates();
    it.answer(&create, lost());
    it.lists(vec![]).wait(minutes(1));
    it.record.retry_at = Some(it.now.plus(days(3650)));
    it.rests();
    it.wait(days(1)).creates();
}

/// Hole 18. An announced moment that lies in 2036 comes down to what the policy says.
#[test]
pub fn an_announced_moment_is_believed_only_within_its_length() {
    let mut it = Bench::revokes().due();
    it.rests();
    it.record.phase = rekeyd_simulation::core::record::Phase::Announce { until: NOON.plus(days(3650)) };
    it.rests();
    assert!(it.wake_at <= it.now.plus(days(3)), "{}", it.wake_at);
    it.wait(days(3)).creates();
}

/// Hole 17. What heals by itself is no halt: it is derived in each pass, never stored, and the create follows when it is over.
#[test]
pub fn what_heals_by_itself_holds_up_and_is_not_stored() {
    for blocked in [
        Blocked::Login,
        Blocked::Store("below its reserve".into()),
        Blocked::Target(file(), "read-only".into()),
        Blocked::Config,
        Blocked::Unmanaged,
    ] {
        let mut it = Bench::keeps().due();
        it.facts.preflight = Some(Preflight::Blocked(blocked.clone()));
        it.rests();
        assert_eq!(it.blocked.as_ref(), Some(&blocked));
        it.is_at_rest();
        it.wait(hours(1));
        it.holds(None).delivers(1, "k1");
        it.facts.preflight = Some(Preflight::Ready);
        it.creates();
    }
}

/// Hole 17. A halt stops the issuing alone: healing, retiring and the warnings of expiry go on.
#[test]
pub fn a_halted_key_is_still_healed_retired_and_warned_of() {
    let mut it = Bench::keeps().rotated();
    it.say(Command::Rotate(wish())).unwrap();
    it.policy.provider.recover = rekeyd_simulation::core::policy::Recover::None;
    let create = it.creates();
    it.answer(&create, lost());
    it.wait(minutes(1)).rests();
    assert_eq!(it.phase(), "halted");
    it.holds(None).delivers(2, "k2");
    let actions = it.wait(days(2)).pass();
    assert!(actions.iter().any(|it| is_revoke_of(it, 1)), "{actions:?}");
    it.wait(days(75)).pass();
    assert_eq!(it.told(NoticeKind::KeyExpiring), 1);
}

/// Hole 17. `resume` goes on where it stood, and passes the window, the preflight and the budget again.
#[test]
pub fn resume_passes_window_preflight_and_budget_again() {
    let halted = || {
        let mut it = Bench::silent().due();
        it.policy.announce = minutes(0);
        it.policy.creates_per_day = 2;
        let create = it.creates();
        it.answer(&create, lost());
        it.wait(minutes(1)).rests();
        it.say(Command::Resume).unwrap();
        assert_eq!(it.phase(), "create");
        it
    };
    halted().creates();
    let mut it = halted();
    it.policy.windows = nights();
    it.rests();
    assert_eq!(it.blocked.as_ref().map(Blocked::code), Some("window"));
    let mut it = halted();
    it.facts.preflight = Some(Preflight::Blocked(Blocked::Login));
    it.rests();
    assert_eq!(it.blocked, Some(Blocked::Login));
    let mut it = halted();
    it.policy.creates_per_day = 1;
    it.rests();
    assert_eq!(it.blocked.as_ref().map(Blocked::code), Some("budget"));
}

/// A key that is replaced in time is nobody's worry: no warning, however near its end.
#[test]
pub fn a_key_that_is_not_late_warns_nobody() {
    let mut it = Bench::keeps();
    it.policy.windows = nights();
    it.policy.outside_window = OutsideWindow::IfExpiring;
    it.wait(days(88)).rests();
    assert_eq!(it.notices, []);
    let mut it = Bench::keeps().rotated();
    it.wait(days(1)).rests();
    assert_eq!((it.told(NoticeKind::KeyExpiring), it.told(NoticeKind::KeyExpired)), (0, 0));
}

/// A late key warns once for each threshold, and after a silence only for the tightest; then once that it is over.
#[test]
pub fn only_the_tightest_threshold_that_has_passed_is_told() {
    let mut it = Bench::silent();
    it.policy.announce = minutes(0);
    it = it.due();
    let create = it.creates();
    it.answer(&create, lost());
    it.wait(minutes(1)).rests();
    assert_eq!((it.phase(), it.told(NoticeKind::KeyExpiring)), ("halted", 0));
    let left = |it: &mut Bench, left: std::time::Duration| {
        it.now = NOON.plus(days(90)).minus(left);
        it.facts.probes.clear();
        it.pass();
        it.pass();
        (it.told(NoticeKind::KeyExpiring), it.told(NoticeKind::KeyExpired))
    };
    assert_eq!(left(&mut it, days(15)), (0, 0));
    assert_eq!(left(&mut it, days(14)), (1, 0));
    assert_eq!(left(&mut it, days(8)), (1, 0));
    assert_eq!(left(&mut it, hours(23)), (2, 0), "the seven days' warning is not sent beside the last day's");
    assert_eq!(it.last_told().severity, Severity::Critical);
    assert_eq!(left(&mut it, seconds(0)), (2, 1));
    it.is_at_rest();
}

/// `initial = "create"`: a first key is created only where no target can hold one already.
#[test]
pub fn a_first_key_is_created_only_while_every_readable_target_is_absent() {
    for content in [
        Content::Holds("stranger".into()),
        Content::Damaged,
        Content::Askew("stranger".into()),
        Content::Unreadable("not mounted".into()),
    ] {
        let mut it = Bench::keeps().unadopted();
        it.policy.initial = Initial::Create;
        it.facts.targets.insert(file(), content);
        it.rests();
        assert_eq!((it.phase(), it.blocked.as_ref().map(Blocked::code)), ("unadopted", Some("target")));
        it.facts.targets.clear();
        it.rests();
        it.is_at_rest();
    }
    let mut it = Bench::keeps().unadopted();
    it.policy.initial = Initial::Create;
    it.created("k1");
    it.probes(1, Probe::Alive).delivers(1, "k1");
    it.rests();
    assert_eq!((it.phase(), it.current(), it.record.retired.len()), ("steady", 1, 0));
    it.is_at_rest();
}

/// Hole 22, as far as the core knows: a key that is not adopted is left alone.
#[test]
pub fn an_unadopted_key_is_left_alone() {
    let mut it = Bench::keeps().unadopted();
    it.wait(days(365)).rests();
    assert_eq!((it.phase(), it.wake_at, it.notices.len()), ("unadopted", Timestamp::NEVER, 0));
    it.is_at_rest();
}

/// An old key that expired while nobody looked has ended, once the clock is believed.
#[test]
pub fn an_expiry_counts_only_by_a_clock_that_is_believed() {
    let mut it = Bench::keeps().rotated();
    it.wait(days(31)).facts.clock_suspect = true;
    it.rests();
    assert_eq!(it.ended(1), None);
    it.facts.clock_suspect = false;
    it.pass();
    assert_eq!(it.ended(1), Some(Ended::Expired));
}

/// Hole 17. The login is refused for weeks: nothing fails, for nothing is tried. The owners are warned of expiry all the same.
#[test]
pub fn a_key_that_is_held_up_for_long_is_warned_of() {
    let mut it = Bench::keeps().due();
    it.facts.preflight = Some(Preflight::Blocked(Blocked::Login));
    it.rests();
    it.wait(days(17)).rests();
    assert_eq!((it.phase(), it.told(NoticeKind::KeyExpiring)), ("create", 1));
    it.is_at_rest();
}

/// A key whose next window opens after its end, and that may not leave its windows, will expire: that is told.
#[test]
pub fn a_key_whose_window_comes_too_late_is_warned_of() {
    let mut it = Bench::keeps();
    it.policy.windows = nights();
    it.policy.windows[0].open = cron("0 0 22 1 APR *");
    it.policy.outside_window = OutsideWindow::Never;
    it.wait(days(77)).rests();
    assert_eq!((it.blocked.as_ref().map(Blocked::code), it.told(NoticeKind::KeyExpiring)), (Some("window"), 1));
    it.is_at_rest();
}

/// Hole 15. A moment that was told to the owners moves to a later one in silence, but to an earlier one only with a word.
#[test]
pub fn an_announced_moment_never_moves_forward_in_silence() {
    let mut it = Bench::revokes().due();
    it.rests();
    it.policy.announce = hours(1);
    it.wait(minutes(1)).rests();
    it.wait(hours(1)).pass();
    assert!(it.phase() == "announce" || it.told(NoticeKind::RotationScheduled) == 2, "{:?}", it.record.phase);
}

/// An expiry that was only assumed proves nothing: the old key may live on, and must be revoked or reported.
#[test]
pub fn an_assumed_expiry_ends_no_key() {
    let mut it = Bench::keeps();
    it.record.current.as_mut().unwrap().expiry = Expiry::Assumed;
    let mut it = it.rotated();
    it.lists(vec![]).wait(days(40));
    let actions = it.pass();
    assert!(actions.iter().any(|it| is_revoke_of(it, 1)), "{actions:?} {:?}", it.ended(1));
}

/// A steady key costs nothing but its probe: it wakes for that, and for the moment in which it is due.
#[test]
pub fn a_steady_key_wakes_for_its_probe_and_when_it_is_due() {
    let mut it = Bench::keeps();
    it.rests();
    assert_eq!(it.wake_at, it.now.plus(hours(1)));
    assert_eq!((it.look().list, it.look().probe, it.look().preflight), (false, vec![], false), "it asks for little");
    it.policy.provider.probes = false;
    it.rests();
    assert_eq!(it.wake_at, NOON.plus(days(60)));
    it.is_at_rest();
}

/// The last safe moment leaves time to be accepted and delivered: `accept_within`, or a tenth of a longer life, at most a day.
#[test]
pub fn the_last_safe_moment_fits_the_life_of_the_key() {
    for (life, safety) in [(hours(1), minutes(10)), (days(5), hours(12)), (days(10), days(1)), (days(90), days(1))] {
        let mut it = Bench::keeps();
        let current = it.record.current.as_mut().unwrap();
        current.valid_to = Some(NOON.plus(life));
        it.policy.windows = nights();
        it.policy.windows[0].open = cron("0 0 22 1 APR *");
        it.wait(life.saturating_sub(safety).saturating_sub(seconds(1))).rests();
        assert_eq!(it.blocked, Some(Blocked::Window(NOON.plus(life).minus(safety))), "{life:?}");
        it.wait(seconds(1)).creates();
    }
}

/// A documented trap: a `validFrom` that does not lie before `validTo` says nothing. The life began when the key came to us.
#[test]
pub fn a_valid_from_after_valid_to_is_not_believed() {
    for from in [NOON.plus(days(90)), NOON.plus(days(91))] {
        let mut it = Bench::keeps();
        it.record.current.as_mut().unwrap().valid_from = Some(from);
        it.policy.rotate_before = RotateBefore::Share(50.0);
        it.policy.probe_every = days(400);
        it.wait(days(44)).rests();
        assert_eq!(it.wake_at, NOON.plus(days(45)));
        it.wait(days(1)).creates();
    }
    let mut it = Bench::keeps();
    it.record.current.as_mut().unwrap().valid_from = Some(NOON.plus(days(80)));
    it.policy.rotate_before = RotateBefore::Share(50.0);
    it.wait(days(84)).rests();
    assert_eq!(it.phase(), "steady", "it lives for ten days, of which half have not passed");
    it.wait(days(1)).creates();
}

/// `max_age` replaces a key before its expiry says so, and one whose expiry nobody knows.
#[test]
pub fn the_earlier_of_age_and_expiry_counts() {
    for (valid_to, max_age, due) in
        [(Some(90), Some(20), 20), (Some(90), Some(70), 60), (Some(90), None, 60), (None, Some(20), 20)]
    {
        let mut it = Bench::keeps();
        it.record.current.as_mut().unwrap().valid_to = valid_to.map(|it| NOON.plus(days(it)));
        it.policy.max_age = max_age.map(days);
        it.wait(days(due).saturating_sub(seconds(1))).rests();
        assert_eq!(it.phase(), "steady");
        it.wait(seconds(1)).creates();
    }
}

/// What a create needs is looked at only in a pass that may come to one.
#[test]
pub fn a_preflight_is_made_only_where_a_create_may_follow() {
    let mut it = Bench::keeps();
    assert!(!it.look().preflight, "not due");
    it.wait(days(60));
    assert!(it.look().preflight, "due");
    it.policy.windows = nights();
    assert!(!it.look().preflight, "no window is open");
    it.wait(hours(10));
    assert!(it.look().preflight, "one is");
    it.record.retry_at = Some(it.now.plus(seconds(1)));
    assert!(!it.look().preflight, "it waits for a retry");
    it.wait(seconds(1));
    assert!(it.look().preflight, "the retry may be made");

    let mut it = Bench::revokes().due();
    it.rests();
    assert_eq!((it.phase(), it.look().preflight), ("announce", false));
    it.wait(days(3));
    assert!(it.look().preflight, "the announced moment has come");
    let mut it = Bench::revokes().due();
    it.rests();
    it.record.wish = Some(Wish { now: true, ..wish() });
    assert!(it.look().preflight, "an operator does not wait for it");

    let mut it = Bench::keeps().unadopted();
    assert!(!it.look().preflight);
    it.policy.initial = Initial::Create;
    assert!(it.look().preflight);
}

/// A wait whose end is known is slept through; what may end at any moment is looked at again and again.
#[test]
pub fn a_known_moment_is_slept_until() {
    let mut it = Bench::keeps().due();
    it.policy.provider.probes = false;
    it.policy.creates_per_day = 1;
    it.account.creates = vec![it.now.minus(hours(2))];
    it.rests();
    assert_eq!(
        (it.blocked.clone(), it.wake_at),
        (Some(Blocked::Budget(it.now.plus(hours(22)))), it.now.plus(hours(22)))
    );
    it.facts.preflight = Some(Preflight::Blocked(Blocked::Login));
    it.rests();
    assert!(it.wake_at <= it.now.plus(seconds(30)), "{}", it.wake_at);
}

//! Freezes: what may not begin in one, and what goes on all the same.
use crate::bench::*;
use rekeyd_simulation::core::facts::{Action, Blocked, Content, Outcome, Probe, Revokee};
use rekeyd_simulation::core::plan::{Command, NoticeKind, Severity};
use rekeyd_simulation::core::policy::OutsideWindow;
use rekeyd_simulation::core::record::{Phase, Trigger, Wish};
use rekeyd_simulation::core::time::Timestamp;

/// A freeze of this many days from now on.
fn frozen_for(it: &Bench, length: u64) -> Vec<rekeyd_simulation::core::freeze::Freeze> {
    frozen(it.now, it.now.plus(days(length)))
}

fn now_wish() -> Command {
    Command::Rotate(Wish { now: true, ..wish() })
}

/// Nothing begins in a freeze: no create, no revocation; what was held back follows when it ends.
#[test]
pub fn nothing_begins_in_a_freeze() {
    let mut it = Bench::keeps().due();
    it.policy.freezes = frozen_for(&it, 3);
    it.rests();
    let thaws = it.now.plus(days(3));
    assert_eq!((it.phase(), it.blocked.clone()), ("steady", Some(Blocked::Freeze("year-end".into(), thaws))));
    assert!(it.wake_at <= thaws);
    assert!(!it.look().preflight, "it asks for little");
    it.is_at_rest();
    it.wait(days(3)).creates();

    let mut it = Bench::keeps().rotated();
    it.lists(vec![]).wait(days(2));
    it.policy.freezes = frozen(it.now.minus(hours(1)), it.now.plus(days(1)));
    it.rests();
    it.is_at_rest();
    it.wait(days(1)).probes(2, Probe::Alive);
    assert!(it.pass().iter().any(|it| is_revoke_of(it, 1)));
}

/// After a freeze the window counts again: the key waits for the first one that opens, or is still open, by then.
#[test]
pub fn a_freeze_cuts_windows_short() {
    let mut it = Bench::keeps().due();
    it.policy.windows = nights();
    it.policy.freezes = frozen(it.now, it.now.plus(hours(11)));
    it.rests();
    let thaws = it.now.plus(hours(11));
    assert_eq!(it.blocked, Some(Blocked::Freeze("year-end".into(), thaws)), "an hour after its window has opened");
    it.policy.freezes = frozen(it.now, it.now.plus(days(1)));
    it.rests();
    assert_eq!(it.blocked, Some(Blocked::Freeze("year-end".into(), it.now.plus(days(1)).plus(hours(10)))));
    it.wait(days(1)).rests();
    assert_eq!(it.blocked.as_ref().map(Blocked::code), Some("window"));
    it.wait(hours(10)).creates();
}

/// A key that was created before the freeze is verified in it, but not delivered before it ends.
#[test]
pub fn a_planned_delivery_waits_for_the_end_of_the_freeze() {
    for answer in [Probe::Alive, Probe::Inconclusive] {
        let mut it = Bench::keeps().due();
        it.created("k2");
        it.policy.freezes = frozen_for(&it, 3);
        it.wait(minutes(11)).probes(2, answer).rests();
        let thaws = NOON.plus(days(63));
        assert_eq!((it.phase(), it.blocked.clone()), ("verify", Some(Blocked::Freeze("year-end".into(), thaws))));
        assert_eq!(it.notices, [], "nobody is told of a delivery that was not made");
        it.wait(days(3)).probes(2, answer);
        it.delivers(2, "k2");
    }
}

/// A delivery that has begun is not broken off: consumers with one key each would be worse than a change.
#[test]
pub fn a_delivery_that_has_begun_goes_on() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    it.probes(2, Probe::Alive);
    let deliver = it.pass().remove(0);
    it.answer(&deliver, Outcome::Failed("no space".into()));
    it.policy.freezes = frozen_for(&it, 3);
    it.wait(hours(1)).delivers(2, "k2");
    it.rests();
    assert_eq!((it.phase(), it.current()), ("steady", 2));
}

/// A cutover that has begun finishes: the old key is dead.
#[test]
pub fn a_cutover_that_has_begun_goes_on() {
    let mut it = Bench::revokes().due();
    it.policy.announce = minutes(0);
    let create = it.creates();
    it.policy.freezes = frozen_for(&it, 3);
    it.answer(&create, Outcome::Created(found("k2", Probe::Inconclusive)));
    it.delivers(2, "k2");
    it.probes(2, Probe::Alive).rests();
    assert_eq!((it.phase(), it.current()), ("steady", 2));

    // The new key is refused: one more is created, freeze or not.
    let mut it = Bench::revokes().due();
    it.policy.announce = minutes(0);
    it.created("k2");
    it.delivers(2, "k2");
    it.policy.freezes = frozen_for(&it, 3);
    it.reads("k2", Probe::Dead).wait(minutes(11)).probes(2, Probe::Dead);
    it.creates();
}

/// The old key dies while the new one waits for the end of the freeze: it waits no longer.
#[test]
pub fn a_key_that_dies_in_a_freeze_is_replaced_in_it() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    it.policy.freezes = frozen_for(&it, 3);
    it.wait(minutes(11)).probes(2, Probe::Alive).rests();
    it.probes(1, Probe::Dead);
    it.delivers(2, "k2");

    let mut it = Bench::keeps();
    it.policy.freezes = frozen_for(&it, 30);
    it.wait(days(1)).probes(1, Probe::Dead).rests();
    it.wait(minutes(1)).creates();
}

/// A target that lost its key, or holds a damaged one, is healed in a freeze.
#[test]
pub fn targets_are_healed_in_a_freeze() {
    for content in [Content::Absent, Content::Damaged] {
        let mut it = Bench::keeps();
        it.policy.freezes = frozen_for(&it, 3);
        it.facts.targets.insert(file(), content);
        it.delivers(1, "k1");
        it.rests();
    }
}

/// `rotate --now` waits for no freeze: neither its create nor its delivery. The old key's end does; but a key in wrong hands
/// is revoked at once.
#[test]
pub fn rotate_now_waits_for_no_freeze() {
    for compromised in [false, true] {
        let mut it = Bench::keeps();
        it.policy.freezes = frozen_for(&it, 30);
        it.say(Command::Rotate(Wish { now: true, compromised, ..wish() })).unwrap();
        it.created("k2");
        assert_eq!(it.record.rotation.as_ref().unwrap().wish.trigger, Trigger::Operator);
        it.probes(2, Probe::Alive).delivers(2, "k2");
        it.lists(vec![]).pass();
        it.wait(days(3)).probes(2, Probe::Alive);
        let actions = it.pass();
        assert_eq!(actions.iter().any(|it| is_revoke_of(it, 1)), compromised, "{actions:?}");
        assert_eq!(it.told(NoticeKind::RotationScheduled), 0);
    }
    // A wish without `--now` waits as a schedule does.
    let mut it = Bench::keeps();
    it.policy.freezes = frozen_for(&it, 3);
    it.say(Command::Rotate(wish())).unwrap();
    it.rests();
    assert_eq!(it.blocked.as_ref().map(Blocked::code), Some("freeze"));
    it.say(now_wish()).unwrap();
    it.creates();
}

/// A key that no consumer ever had is cleared up in a freeze: that belongs to the rotation that has begun.
#[test]
pub fn a_key_that_nobody_had_is_revoked_in_a_freeze() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    it.policy.freezes = frozen_for(&it, 3);
    it.wait(minutes(11)).probes(1, Probe::Alive).probes(2, Probe::Dead).lists(vec![]);
    let actions = it.pass();
    let ours = |it: &Action| matches!(it, Action::Revoke(it) if it.what == Revokee::Version(2));
    assert!(actions.iter().any(ours), "{actions:?}");
    assert!(!actions.iter().any(|it| matches!(it, Action::Create { .. })), "the next create waits");
    it.wait(minutes(5)).pass();
    assert_eq!(it.blocked.as_ref().map(Blocked::code), Some("freeze"));
}

/// No key dies of a freeze: in the last safe moment it is left, and the owners are told why, once. That moment counts for a
/// planned delivery too.
#[test]
pub fn the_last_safe_moment_leaves_a_freeze_and_says_why() {
    let mut it = Bench::keeps().due();
    it.policy.freezes = frozen_for(&it, 60);
    it.rests();
    let last = NOON.plus(days(89));
    assert_eq!(it.blocked, Some(Blocked::Freeze("year-end".into(), last)));
    it.wait(days(29)).creates();
    assert_eq!(it.record.rotation.as_ref().unwrap().wish.trigger, Trigger::Expiry);
    let told = it.last_told();
    assert_eq!((told.kind, told.severity), (NoticeKind::RotationScheduled, Severity::Warning));
    assert!(
        told.summary.contains("in freeze year-end, because it expires at 2027-02-20T12:00:00Z"),
        "{}",
        told.summary
    );
    assert_eq!(it.notices.len(), 1);
    it.is_at_rest();

    let mut it = Bench::keeps().due();
    it.created("k2");
    it.policy.freezes = frozen_for(&it, 60);
    it.wait(days(28)).probes(2, Probe::Alive).rests();
    assert_eq!(it.blocked, Some(Blocked::Freeze("year-end".into(), last)));
    it.wait(days(1)).probes(2, Probe::Alive).delivers(2, "k2");
}

/// Outside its windows it is said as well; and of a cutover already as it is announced, not twice.
#[test]
pub fn a_rotation_outside_its_windows_says_why() {
    let seldom = |it: &mut Bench| {
        it.policy.windows = nights();
        it.policy.windows[0].open = cron("0 0 22 1 APR *").into();
    };
    let mut it = Bench::keeps();
    seldom(&mut it);
    it.wait(days(89)).creates();
    assert!(it.last_told().summary.contains("outside its windows, because it expires"), "{}", it.last_told().summary);

    let mut it = Bench::revokes();
    seldom(&mut it);
    it.wait(days(80)).rests();
    assert_eq!(it.record.phase, Phase::Announce { until: NOON.plus(days(89)) });
    assert!(it.last_told().summary.contains("outside its windows, because it expires"), "{}", it.last_told().summary);
    it.wait(days(9)).creates();
    assert_eq!(it.told(NoticeKind::RotationScheduled), 1);
}

/// `never`: the key expires in the freeze. Its owners hear of it at each threshold, the last time as critical.
#[test]
pub fn never_means_never_and_is_told_louder_and_louder() {
    for verifying in [false, true] {
        let mut it = Bench::keeps().due();
        it.policy.outside_window = OutsideWindow::Never;
        if verifying {
            it.created("k2");
        }
        it.policy.freezes = frozen_for(&it, 60);
        let thaws = it.now.plus(days(60));
        it.wait(minutes(11)).probes(2, Probe::Alive).rests();
        assert_eq!(it.blocked, Some(Blocked::Freeze("year-end".into(), thaws)));
        let mut told = Vec::new();
        for left in [15, 14, 7, 1] {
            it.now = NOON.plus(days(90 - left));
            it.rests();
            it.rests();
            told.push((it.told(NoticeKind::KeyExpiring), it.notices.last().map(|it| it.severity)));
        }
        it.now = NOON.plus(days(89)).plus(hours(1));
        it.rests();
        let said = &it.last_told().summary;
        assert!(said.ends_with(&format!("is not replaced yet: freeze year-end lasts until {thaws}")), "{said}");
        let (warning, critical) = (Some(Severity::Warning), Some(Severity::Critical));
        assert_eq!(told, [(0, None), (1, warning), (2, warning), (3, warning)], "{verifying}");
        assert_eq!(it.blocked.as_ref().map(Blocked::code), Some("freeze"));
        it.now = NOON.plus(days(90));
        it.rests();
        assert_eq!((it.told(NoticeKind::KeyExpired), it.last_told().severity.into()), (1, critical));
    }
}

/// Whoever was promised a warning gets all of it: a window that is open already as the time is up is passed over.
#[test]
pub fn an_announcement_passes_over_a_window_that_opens_nearer() {
    let mut it = Bench::revokes().due();
    it.policy.windows = nights();
    it.wait(hours(11)).rests();
    let until = NOON.plus(days(63)).plus(hours(34));
    assert_eq!(it.record.phase, Phase::Announce { until }, "not three days later, an hour after the window has opened");
}

/// Unless expiry forbids that: then it is the last window that is in time, so that they have what warning there can be.
#[test]
pub fn expiry_forbids_to_pass_over_the_last_windows() {
    for outside_window in [OutsideWindow::IfExpiring, OutsideWindow::Never] {
        let mut it = Bench::revokes();
        it.policy.windows = nights();
        it.policy.outside_window = outside_window;
        it.wait(days(87)).rests();
        let until = NOON.plus(days(88)).plus(hours(10));
        assert_eq!(it.record.phase, Phase::Announce { until });
        it.wait(hours(10)).rests();
        assert_eq!(it.record.phase, Phase::Announce { until }, "it stays where it was told to be");
        it.wait(days(1)).creates();
    }
    // Without windows the freeze is what must be beaten, with time for the new key to be accepted.
    let mut it = Bench::revokes();
    it.wait(days(87));
    it.policy.freezes = frozen(it.now.plus(days(1)), it.now.plus(days(10)));
    it.rests();
    let until = NOON.plus(days(88)).minus(minutes(10));
    assert_eq!(it.record.phase, Phase::Announce { until });
    it.wait(days(1).saturating_sub(minutes(10))).creates();
}

/// A freeze that comes with a new config holds what was announced already.
#[test]
pub fn a_new_freeze_holds_an_announced_cutover() {
    let mut it = Bench::revokes().due();
    it.rests();
    it.policy.freezes = frozen(it.now.plus(days(2)), it.now.plus(days(5)));
    it.wait(days(3)).rests();
    assert_eq!(it.blocked, Some(Blocked::Freeze("year-end".into(), NOON.plus(days(65)))));
    it.wait(days(2)).creates();
}

/// The next attempt after `abandon` is in a window outside all freezes, and so it is without windows.
#[test]
pub fn after_abandon_the_next_attempt_is_in_no_freeze() {
    for windows in [nights(), Vec::new()] {
        let mut it = Bench::keeps().due();
        let windowed = !windows.is_empty();
        it.policy.windows = windows;
        it.wait(hours(10)).created("k2");
        it.wait(minutes(1));
        it.policy.freezes = frozen_for(&it, 3);
        let thaws = it.now.plus(days(3));
        it.say(Command::Abandon).unwrap();
        let next = it.record.retry_at.unwrap();
        assert_eq!(next, thaws, "an opening that the freeze leaves, {windowed}");
        it.pass();
        assert_eq!(it.record.retry_at, Some(next), "and it is believed");
        it.wait(days(3)).creates();
    }
}

/// A freeze without an end holds a key for ever, and says so.
#[test]
pub fn a_freeze_without_an_end_is_waited_out_for_ever() {
    let mut it = Bench::keeps().due();
    it.policy.outside_window = OutsideWindow::Never;
    it.policy.freezes = frozen(Timestamp(0), Timestamp::NEVER);
    it.rests();
    assert_eq!(it.blocked, Some(Blocked::Freeze("year-end".into(), Timestamp::NEVER)));
    it.is_at_rest();
}

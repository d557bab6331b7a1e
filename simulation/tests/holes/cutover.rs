//! The cutover order: at a provider that kills the old key with the create, or may do so.
use crate::bench::*;
use rekeyd_simulation::core::facts::{Action, Outcome, Probe};
use rekeyd_simulation::core::names::TargetId;
use rekeyd_simulation::core::plan::{Command, NoticeKind, Severity};
use rekeyd_simulation::core::policy::{OnCreate, OutsideWindow, Reach};
use rekeyd_simulation::core::record::{Ended, Phase, Reason};

/// A cutover that may begin now: due, and with nothing to announce.
fn unannounced(mut it: Bench) -> Bench {
    it.policy.announce = minutes(0);
    it.due()
}

/// The key was created at a provider that revokes, and is on its way.
fn cut() -> Bench {
    let mut it = unannounced(Bench::revokes());
    it.created("k2");
    it.reads("k2", Probe::Alive).probes(1, Probe::Dead).probes(2, Probe::Alive);
    it
}

/// The order: announce, then the moment, then preflight, create, promote, deliver, verify.
#[test]
pub fn a_cutover_is_announced_then_promoted_before_it_is_delivered_and_verified_last() {
    let mut it = Bench::revokes().due();
    let until = it.now.plus(days(3));
    it.rests();
    assert_eq!(it.record.phase, Phase::Announce { until });
    assert_eq!(it.told(NoticeKind::RotationScheduled), 1);
    it.is_at_rest();
    it.wait(days(2)).rests();
    it.wait(days(1)).created("k2");
    assert_eq!((it.current(), it.ended(1)), (2, Some(Ended::Revoked)), "the create was the old key's end");
    assert!(matches!(it.record.phase, Phase::Cutover { delivered_at: None, .. }));
    it.wait(seconds(2)).reads("k2", Probe::Inconclusive);
    it.probes(1, Probe::Dead).probes(2, Probe::Inconclusive).delivers(2, "k2");
    it.wait(seconds(1)).rests();
    assert_eq!(it.phase(), "verify");
    it.probes(2, Probe::Alive).rests();
    let row = it.record.last_rotation.as_ref().unwrap();
    assert_eq!((it.phase(), row.cutover_gap_ms), ("steady", Some(3000)), "the gap is measured");
    it.is_at_rest();
}

/// Its consumer's host was away for longer than a new key is waited for: then nobody has been asked yet.
#[test]
pub fn a_key_that_was_delivered_late_is_asked_about_before_it_is_called_unverified() {
    let mut it = cut();
    it.probes(2, Probe::Inconclusive).wait(minutes(30)).delivers(2, "k2");
    it.rests();
    assert_eq!(it.phase(), "verify");
    it.wait(seconds(1)).probes(2, Probe::Alive).rests();
    assert_eq!((it.phase(), it.told(NoticeKind::KeyRefused)), ("steady", 0));
    it.is_at_rest();
}

/// The announcement passes over a window that is nearer than `announce`, so that nobody is surprised.
#[test]
pub fn an_announcement_passes_over_a_window_that_is_too_near() {
    let mut it = Bench::revokes().due();
    it.policy.windows = nights();
    it.rests();
    let until = it.now.plus(days(3)).plus(hours(10));
    assert_eq!(it.record.phase, Phase::Announce { until }, "the first opening after three days");
    it.is_at_rest();
}

/// Unless expiry forbids that: then the last safe moment is announced.
#[test]
pub fn expiry_shortens_an_announcement() {
    let mut it = Bench::revokes();
    it.wait(days(88)).rests();
    let last_safe = NOON.plus(days(89));
    assert_eq!(it.record.phase, Phase::Announce { until: last_safe });
    it.policy.outside_window = OutsideWindow::Never;
    it.is_at_rest();
}

/// A key that is dead in use waits for no announcement.
#[test]
pub fn a_dead_key_is_not_announced() {
    let mut it = Bench::revokes().due();
    it.rests();
    assert_eq!(it.phase(), "announce");
    it.probes(1, Probe::Dead).creates();
}

/// At an account that says not what a create does, the old key is asked: accepted means that both live.
#[test]
pub fn an_old_key_that_is_still_accepted_means_the_overlap_order() {
    let mut it = unannounced(Bench::silent());
    it.created("k2");
    assert!(matches!(it.record.phase, Phase::Judge { .. }));
    it.probes(1, Probe::Inconclusive).probes(2, Probe::Inconclusive).rests();
    assert_eq!(it.wake_at, it.now.plus(seconds(1)), "it is asked every second");
    it.wait(seconds(1)).probes(1, Probe::Alive).rests();
    assert!(matches!(it.record.phase, Phase::Verify { .. }));
    assert_eq!(it.current(), 1);
    it.is_at_rest();
}

/// Hole 14. Judging has an end: after 5 s without a word, or at once with the old key dead, it is a cutover.
#[test]
pub fn an_old_key_that_is_silent_for_five_seconds_means_a_cutover() {
    let mut it = unannounced(Bench::silent());
    it.created("k2");
    it.probes(1, Probe::Inconclusive).probes(2, Probe::Alive);
    it.wait(seconds(4)).rests();
    it.wait(seconds(1)).delivers(2, "k2");
    assert_eq!((it.current(), it.ended(1)), (2, None), "nobody saw it die: it retires and is reported");
    it.is_at_rest();

    let mut it = unannounced(Bench::silent());
    it.created("k2");
    it.probes(1, Probe::Dead).probes(2, Probe::Alive).delivers(2, "k2");
    assert_eq!((it.current(), it.ended(1)), (2, Some(Ended::Revoked)));
    it.is_at_rest();
}

/// `Keeps` is learned where the old key is still accepted after a whole overlap; then nothing is announced any more.
#[test]
pub fn that_a_create_keeps_old_keys_is_learned_after_a_whole_overlap() {
    let mut it = unannounced(Bench::silent());
    it.created("k2");
    it.probes(2, Probe::Alive).delivers(2, "k2");
    it.rests();
    assert_eq!((it.current(), it.phase(), it.account.learned), (2, "steady", None));
    it.wait(days(2).saturating_sub(minutes(1))).rests();
    assert_eq!(it.account.learned, None);
    it.wait(minutes(1));
    assert_eq!(it.look().probe, [2, 1], "the old key is asked once more");
    it.rests();
    assert_eq!(it.account.learned, Some(OnCreate::Keeps));
    it.is_at_rest();
    it.policy.announce = days(3);
    it.wait(days(88)).creates();
}

/// Hole 14. The new key is refused, and the old one is dead. One more create may help; after that only a human can.
#[test]
pub fn a_refused_key_in_a_cutover_costs_one_more_create_and_then_halts() {
    let mut it = cut();
    it.delivers(2, "k2");
    it.wait(minutes(10)).probes(2, Probe::Dead);
    let create = it.creates();
    it.answer(&create, Outcome::Created(found("k3", Probe::Inconclusive)));
    it.reads("k3", Probe::Dead).probes(3, Probe::Inconclusive).delivers(3, "k3");
    it.wait(minutes(10)).probes(3, Probe::Dead).rests();
    assert_eq!((it.halted(), it.account.creates.len()), (Some(Reason::NewKeyRefused), 2));
    it.is_at_rest();
}

/// Hole 14. The refused key was read from a replica or overtaken: the one that the provider shows, and accepts, is taken.
#[test]
pub fn a_newer_key_that_is_read_after_a_cutover_is_taken_over() {
    let mut it = cut();
    it.delivers(2, "k2");
    it.probes(2, Probe::Inconclusive).reads("k3", Probe::Alive).delivers(3, "k3");
    assert_eq!((it.current(), it.account.creates.len()), (3, 1));
    it.is_at_rest();
}

/// A cutover that can't be verified ends in Steady, and says so: waiting for ever would hide the next expiry.
#[test]
pub fn a_cutover_that_can_not_be_verified_rests_and_says_so() {
    let mut it = cut();
    it.probes(2, Probe::Inconclusive).delivers(2, "k2");
    it.rests();
    it.wait(minutes(9)).rests();
    assert_eq!(it.phase(), "verify");
    it.wait(minutes(1)).rests();
    assert_eq!((it.phase(), it.told(NoticeKind::KeyRefused)), ("steady", 1));
    it.is_at_rest();
}

/// Hole 14. In the gap a consumer holds a dead key: a failed delivery is critical at once, and is tried every second.
#[test]
pub fn deliveries_in_the_gap_are_tried_at_the_shortest_delay() {
    let mut it = cut();
    let deliver = Action::Deliver { target: file(), version: 2 };
    for _ in 0..5 {
        assert_eq!(it.pass(), std::slice::from_ref(&deliver));
        it.answer(&deliver, Outcome::Failed("read-only file system".into()));
        assert_eq!(it.record.held[&file()].retry_at, Some(it.now.plus(seconds(1))));
        it.wait(seconds(1));
    }
    let told: Vec<_> = it.notices.iter().filter(|it| it.kind == NoticeKind::DeliveryFailed).collect();
    assert_eq!((told.len(), told[0].severity), (1, Severity::Critical));
}

/// A cutover whose key dies before every target has it goes on: waiting for a delivery of a dead key would never end.
#[test]
pub fn a_cutover_whose_key_dies_while_a_target_is_missing_does_not_wait_for_it() {
    let mut it = Bench::revokes();
    let other = TargetId::new("file", "/mnt/gone/key");
    it.policy.targets.push(target(other.clone(), Reach::Push { readable: false }));
    it = unannounced(it);
    it.created("k2");
    it.reads("k2", Probe::Dead).probes(1, Probe::Dead).probes(2, Probe::Inconclusive);
    for action in it.pass() {
        let ok = matches!(&action, Action::Deliver { target, .. } if *target == file());
        it.answer(&action, if ok { Outcome::Delivered { ms: 1 } } else { Outcome::Failed("not mounted".into()) });
    }
    it.holds(Some("k2")).wait(minutes(11)).probes(2, Probe::Dead);
    let actions = it.pass();
    assert!(actions.iter().any(|it| matches!(it, Action::Create { .. })), "{actions:?} {:?}", it.record.phase);
}

/// An operator who says `--now` does not wait for the announced moment.
#[test]
pub fn a_rotation_now_ends_the_announcement() {
    let mut it = Bench::revokes().due();
    it.rests();
    it.say(Command::Rotate(rekeyd_simulation::core::record::Wish { now: true, ..wish() })).unwrap();
    it.creates();
}

//! Who is told when that a key will not be replaced on time, in which words, and what is remembered of it.
use crate::bench::*;
use rekeyd_simulation::core::facts::{Blocked, Outcome, Preflight, Probe, Refusal, RefusalKind};
use rekeyd_simulation::core::names::NoticeId;
use rekeyd_simulation::core::plan::{Command, NoticeKind, NoticeStatus, Severity};
use rekeyd_simulation::core::policy::{OutsideWindow, RotateBefore};
use rekeyd_simulation::core::record::{Creating, Ended, Phase, Reason, Retired, Version};
use rekeyd_simulation::core::time::Timestamp;

/// Thirteen days before its end: the threshold of 14 days has passed. Nothing can be created.
fn near() -> Bench {
    let mut it = Bench::keeps();
    it.wait(days(77));
    it.facts.preflight = Some(Preflight::Blocked(Blocked::Login));
    it
}

fn told(mut it: Bench) -> usize {
    it.pass();
    it.told(NoticeKind::KeyExpiring)
}

fn next_of(it: &Bench) -> Option<(&str, Timestamp)> {
    it.last_told().next.as_ref().map(|it| (it.action.as_str(), it.at))
}

/// Each notice says what comes next, and when: the end of the old key, the next try, the cutover. Where a human must act, nothing does.
#[test]
pub fn a_notice_says_what_comes_next_and_when() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    it.probes(2, Probe::Alive).delivers(2, "k2");
    it.rests();
    assert_eq!(it.last_told().kind, NoticeKind::RotationSucceeded);
    assert_eq!(next_of(&it), Some(("revoke", it.record.retired[0].after)));

    let mut it = Bench::revokes().due();
    it.rests();
    assert_eq!(it.last_told().kind, NoticeKind::RotationScheduled);
    assert_eq!(next_of(&it), Some(("rotate", it.now.plus(days(3)))));

    let mut it = near();
    let resume = Box::new(Phase::Create(Creating::default()));
    it.record.phase = Phase::Halted { reason: Reason::NewKeyRefused, at: it.now, resume };
    it.pass();
    assert_eq!((it.told(NoticeKind::KeyExpiring), next_of(&it)), (1, None));
}

/// What a notice means is true in its own state: a key that replaces its predecessor before a target has it is not said to be
/// in use there.
#[test]
pub fn what_a_notice_means_is_true_where_its_kind_says_something_else() {
    // The old key ends within the overlap, so that nothing waits for a target.
    let mut hurried = Bench::keeps();
    hurried.wait(days(88));
    hurried.created("k2");
    hurried.probes(2, Probe::Alive).pass();
    let (hurried, done) = (hurried.last_told().clone(), Bench::keeps().rotated().last_told().clone());
    assert_eq!((hurried.kind, done.kind), (NoticeKind::RotationSucceeded, NoticeKind::RotationSucceeded));
    assert!(hurried.summary.contains("on its way to 1 target"), "{}", hurried.summary);
    assert!(hurried.means.unwrap().starts_with("Not every target has the new key yet"));
    assert_eq!((done.means, done.summary.contains("is delivered")), (None, true));

    let mut unverified = Bench::keeps().due();
    unverified.created("k2");
    unverified.probes(2, Probe::Inconclusive).wait(minutes(11)).pass();
    let told = unverified.notices.iter().find(|it| it.kind == NoticeKind::KeyRefused).unwrap();
    assert!(!told.means.as_ref().unwrap().contains("refuses"), "{told:?}");
}

/// A rotation that just began, or failed just after the key was due, is no news; one that is held up or fails for longer than
/// `stuck_after` is, and so is a halt.
#[test]
pub fn only_a_key_that_is_late_is_told_to_expire() {
    let begun = near();
    assert_eq!(told(begun), 0, "it began in this pass");

    let mut held_up = near();
    held_up.pass();
    held_up.wait(minutes(59));
    held_up.pass();
    assert_eq!(held_up.told(NoticeKind::KeyExpiring), 0);
    held_up.wait(minutes(1)).pass();
    assert_eq!(held_up.told(NoticeKind::KeyExpiring), 1, "an hour is `stuck_after`");

    let failing = |due_since: std::time::Duration, failures: u32| {
        let mut it = near();
        it.policy.rotate_before = RotateBefore::Lead(days(13) + due_since);
        it.record.failures = failures;
        it.pass();
        it.told(NoticeKind::KeyExpiring)
    };
    assert_eq!(failing(minutes(59), 1), 0, "not yet for long");
    assert_eq!(failing(minutes(60), 1), 1);
    assert_eq!(failing(minutes(60), 0), 0, "nothing failed");

    let mut halted = near();
    let resume = Box::new(Phase::Create(Creating::default()));
    halted.record.phase = Phase::Halted { reason: Reason::NewKeyRefused, at: halted.now, resume };
    assert_eq!(told(halted), 1);
}

/// A window that opens after the last safe moment comes too late, one that opens before it does not.
#[test]
pub fn a_window_that_opens_too_late_is_told() {
    for (opens, late) in [("0 0 22 18 2 *", 0), ("0 0 22 20 2 *", 1)] {
        let mut it = near();
        it.policy.windows = nights();
        it.policy.windows[0].open = cron(opens);
        it.policy.outside_window = OutsideWindow::Never;
        // Its end is at noon on the 20th of February; a day before that is the last safe moment.
        assert_eq!(told(it), late, "{opens}");
    }
}

/// The hours that are left are hours, and a threshold counts only where it is not longer than a third of the lifetime.
#[test]
pub fn the_words_say_how_long_it_still_lasts() {
    let mut it = near();
    it.pass();
    it.wait(hours(3)).pass();
    let expiring = it.notices.iter().find(|it| it.kind == NoticeKind::KeyExpiring).unwrap();
    assert!(expiring.summary.contains(&format!("in {} hours", 13 * 24 - 3)), "{}", expiring.summary);
    assert_eq!(expiring.severity, Severity::Warning);
    for (lives, applies) in [(days(42), 1), (days(41), 0)] {
        let mut it = near();
        let current = it.record.current.as_mut().unwrap();
        current.valid_to = Some(it.now.plus(days(13)));
        current.valid_from = Some(it.now.plus(days(13)).minus(lives));
        current.obtained_at = it.now.plus(days(13)).minus(lives);
        it.policy.notify_before = vec![days(14)];
        it.record.failures = 1;
        assert_eq!(told(it), applies, "{lives:?}");
    }
}

/// It is critical where less than a day is left.
#[test]
pub fn less_than_a_day_is_critical() {
    for (left, severity) in [(hours(24), Severity::Warning), (hours(24) - seconds(1), Severity::Critical)] {
        let mut it = Bench::keeps();
        it.record.current.as_mut().unwrap().valid_to = Some(it.now.plus(days(90)));
        it.wait(days(90) - left);
        it.facts.preflight = Some(Preflight::Blocked(Blocked::Login));
        it.record.failures = 1;
        it.pass();
        let expiring = it.notices.iter().find(|it| it.kind == NoticeKind::KeyExpiring).unwrap();
        assert_eq!(expiring.severity, severity, "{left:?}");
    }
}

/// Whoever heard that something began hears that it is over, in words of its own.
#[test]
pub fn each_incident_ends_in_its_own_words() {
    let over = |it: &Bench| {
        let resolved = it.notices.iter().filter(|it| it.status == NoticeStatus::Resolved);
        resolved.map(|it| (it.kind, it.summary.clone())).collect::<Vec<_>>()
    };
    let mut halted = Bench::keeps().due();
    let mut theirs = found("x", Probe::Alive);
    theirs.token = Some("ffffffff-000001-billing-1".parse().unwrap());
    halted.lists(vec![theirs]).rests();
    halted.say(Command::Resume).unwrap();
    assert_eq!(over(&halted), [(NoticeKind::RotationHalted, "billing: over, it goes on".to_owned())]);

    let mut refused = Bench::keeps();
    refused.wait(minutes(11)).probes(1, Probe::Dead).pass();
    refused.probes(1, Probe::Alive).pass();
    assert_eq!(over(&refused), [(NoticeKind::KeyRefused, "billing: over, the provider accepts the key".to_owned())]);

    let mut failed = Bench::keeps().due();
    let lost_one = failed.creates();
    failed.record.failures = 3;
    let refusal = Refusal { why: RefusalKind::Request, retry_after: None, message: "HTTP 400".into() };
    failed.answer(&lost_one, Outcome::Refused(refusal));
    failed.wait(hours(1)).created("k2");
    failed.probes(2, Probe::Alive).delivers(2, "k2");
    failed.rests();
    assert_eq!(over(&failed), [(NoticeKind::RotationFailed, "billing: over, the key was replaced".to_owned())]);
}

/// Sixteen ended versions are remembered, the oldest go first; those that have not ended all stay. So are 512 notices.
#[test]
pub fn what_has_ended_is_forgotten_in_time() {
    let mut it = Bench::keeps();
    let retired = |number: u32, ended| Retired {
        version: Version { delivered: true, ..version(number, &format!("k{number}")) },
        after: Timestamp::NEVER,
        since: NOON,
        failures: 0,
        retry_at: None,
        ending: false,
        ended,
    };
    it.record.retired = (2..22).map(|n| retired(n, Some(Ended::Revoked))).collect();
    it.record.retired.insert(0, retired(99, None));
    for n in 0..600 {
        it.record.told.insert(NoticeId::of(&[&n.to_string()]), NOON.minus(hours(1)).plus(seconds(n)));
    }
    it.rests();
    let numbers: Vec<u32> = it.record.retired.iter().map(|it| it.version.number).collect();
    assert_eq!(numbers, [99].into_iter().chain(6..22).collect::<Vec<_>>());
    assert_eq!(it.record.told.len(), 512);
    assert!(it.record.told.values().all(|at| *at >= NOON.minus(hours(1)).plus(seconds(88))), "the oldest go first");
}

//! How bad it is called, who is told besides the owners, and that whoever heard of the beginning hears of the end.
use super::incidents::pause;
use crate::bench::*;
use rekeyd_simulation::core::facts::{Action, Outcome, Probe};
use rekeyd_simulation::core::plan::{Command, Notice, NoticeKind, NoticeStatus, Severity};

type Said = (NoticeKind, Severity, NoticeStatus, bool);

fn said(it: &Notice) -> Said {
    (it.kind, it.severity, it.status, it.escalates)
}

/// What is told in a pass; nothing is told twice.
fn news(it: &mut Bench) -> Vec<Said> {
    let before = it.notices.len();
    it.pass();
    it.pass();
    it.notices[before..].iter().map(said).collect()
}

/// A key that is held back is told at its thresholds: to others from `escalate_before` on, as critical on its last day.
#[test]
pub fn the_nearer_the_end_the_worse_it_is_called_and_the_more_are_told() {
    use NoticeKind::{KeyExpired, KeyExpiring};
    use NoticeStatus::Firing;
    use Severity::{Critical, Warning};
    let mut it = Bench::keeps();
    it.policy.escalate_before = days(2);
    let pause = pause(&it, None);
    it.say(Command::Pause(pause)).unwrap();
    it.wait(days(76));
    assert_eq!(news(&mut it), [(KeyExpiring, Warning, Firing, false)]);
    it.wait(days(7));
    assert_eq!(news(&mut it), [(KeyExpiring, Warning, Firing, false)]);
    it.wait(days(5) + seconds(1));
    assert_eq!(
        news(&mut it),
        [(KeyExpiring, Warning, Firing, true)],
        "no threshold of the owners, but that of the others"
    );
    it.wait(days(1));
    assert_eq!(news(&mut it), [(KeyExpiring, Critical, Firing, true)]);
    it.wait(days(1));
    assert_eq!(news(&mut it), [(KeyExpired, Critical, Firing, true)]);
    let incidents: std::collections::BTreeSet<&str> = it.notices.iter().map(|it| it.incident.as_str()).collect();
    assert_eq!(incidents.len(), 1, "all of it is one incident");

    it.say(Command::Resume).unwrap();
    it.created("k2");
    it.probes(2, Probe::Alive).delivers(2, "k2");
    it.pass();
    let over = it.notices.iter().find(|it| it.status == NoticeStatus::Resolved).unwrap();
    assert!(incidents_match(over, &it.notices[0]));
    assert_eq!((over.escalates, over.at_worst, over.reach()), (true, Some(Critical), Critical));
}

fn incidents_match(a: &Notice, b: &Notice) -> bool {
    a.incident == b.incident && a.id != b.id
}

/// Where the old key lives on, a delivery that fails is nobody's bad night, however often it fails.
#[test]
pub fn a_delivery_that_fails_in_overlap_order_is_no_more_than_a_warning() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    it.probes(2, Probe::Alive);
    for _ in 0..20 {
        let actions = it.pass();
        let deliver = actions.iter().find(|it| matches!(it, Action::Deliver { .. })).cloned();
        if let Some(deliver) = deliver {
            it.answer(&deliver, Outcome::Failed("no room on the disk".into()));
        }
        it.wait(hours(2));
    }
    let failed: Vec<Said> = it.notices.iter().filter(|it| it.kind == NoticeKind::DeliveryFailed).map(said).collect();
    assert_eq!(failed, [(NoticeKind::DeliveryFailed, Severity::Warning, NoticeStatus::Firing, false)]);
    assert!(it.notices.iter().all(|it| it.severity < Severity::Critical && !it.escalates), "{:?}", it.notices);
    it.pass();
    it.answer(&Action::Deliver { target: file(), version: 2 }, Outcome::Delivered { ms: 1 });
    it.holds(Some("k2")).pass();
    let over = it.notices.iter().find(|it| it.status == NoticeStatus::Resolved).unwrap();
    assert_eq!((over.kind, over.at_worst), (NoticeKind::DeliveryFailed, Some(Severity::Warning)));
}

/// A key that is replaced when it is due is told once it is replaced, and never to expire.
#[test]
pub fn nobody_hears_of_the_expiry_of_a_key_that_is_replaced_on_time() {
    let it = Bench::keeps().rotated();
    assert_eq!(
        it.notices.iter().map(said).collect::<Vec<_>>(),
        [(NoticeKind::RotationSucceeded, Severity::Info, NoticeStatus::Firing, false)]
    );
}

/// A halt is told to others at once, however much time is left, and so is that it goes on.
#[test]
pub fn a_halt_is_told_to_others_at_once_and_so_is_its_end() {
    let mut it = Bench::silent().due();
    it.policy.announce = minutes(0);
    let create = it.creates();
    it.answer(&create, lost());
    it.pass();
    let halted = it.notices.iter().find(|it| it.kind == NoticeKind::RotationHalted).cloned().unwrap();
    assert_eq!((halted.severity, halted.escalates), (Severity::Warning, true));
    it.say(Command::Resume).unwrap();
    it.pass();
    let over = it.notices.iter().find(|it| it.status == NoticeStatus::Resolved).unwrap();
    assert!(incidents_match(over, &halted) && over.escalates, "{over:?}");
}

/// What does not last is no incident that a later one could make superfluous.
#[test]
pub fn what_happens_again_is_another_incident() {
    let mut it = Bench::keeps().rotated();
    it.wait(days(60));
    it.created("k3");
    it.probes(3, Probe::Alive).delivers(3, "k3");
    it.pass();
    let succeeded: Vec<_> = it.notices.iter().filter(|it| it.kind == NoticeKind::RotationSucceeded).collect();
    assert_eq!(succeeded.len(), 2);
    assert_ne!(succeeded[0].incident, succeeded[1].incident);
}

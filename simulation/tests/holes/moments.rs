//! Single moments and numbers: what counts up to when, what a wrong clock may have stored, and what is looked at how often.
use crate::bench::*;
use rekeyd_simulation::core::account::Open;
use rekeyd_simulation::core::decide::candidates;
use rekeyd_simulation::core::facts::{Action, Blocked, Outcome, Preflight, Probe};
use rekeyd_simulation::core::record::{Creating, Expiry, Phase, Reason};
use rekeyd_simulation::core::time::Timestamp;

/// A create counts for exactly a day: at the moment that the budget names, there is room again.
#[test]
pub fn the_budget_has_room_again_after_exactly_a_day() {
    let mut it = Bench::keeps().due();
    it.policy.creates_per_day = 1;
    it.account.creates = vec![it.now.plus(seconds(1)).minus(days(1))];
    it.rests();
    let free = it.now.plus(seconds(1));
    assert_eq!((&it.blocked, it.wake_at), (&Some(Blocked::Budget(free)), free));
    it.now = free;
    it.creates();
}

/// What no longer counts is forgotten: the list does not grow for ever.
#[test]
pub fn creates_that_no_longer_count_are_forgotten() {
    let mut it = Bench::keeps().due();
    it.account.creates = [25, 24, 1].map(|n| it.now.minus(hours(n))).to_vec();
    it.creates();
    assert_eq!(it.account.creates, [it.now.minus(hours(1)), it.now]);
}

/// The longest wait that is ever stored may last for its length, and none that a wrong clock stored lasts longer than two hours.
#[test]
pub fn a_stored_wait_is_cut_to_what_it_can_be() {
    for (stored, lasts) in [(minutes(75), minutes(75)), (hours(5), hours(2))] {
        let mut it = Bench::keeps().rotated();
        it.record.held.get_mut(&file()).unwrap().retry_at = Some(it.now.plus(stored));
        it.record.retired[0].retry_at = Some(it.now.plus(stored));
        it.pass();
        let lasts = Some(it.now.plus(lasts));
        assert_eq!((it.record.held[&file()].retry_at, it.record.retired[0].retry_at), (lasts, lasts), "{stored:?}");
    }
}

/// After `abandon` the next try waits for a window, however far off; a create that failed waits for no longer than a day.
#[test]
pub fn only_a_create_that_failed_is_tried_again_within_a_day() {
    let wednesdays = |it: &mut Bench| {
        it.policy.windows = nights();
        it.policy.windows[0].open = cron("0 0 22 * * Wed");
        NOON.plus(hours(10)).plus(days(3))
    };
    let mut resting = Bench::keeps();
    let opens = wednesdays(&mut resting);
    resting.record.retry_at = Some(opens);
    resting.rests();
    assert_eq!(resting.record.retry_at, Some(opens));
    let mut creating = Bench::keeps();
    creating.record.retry_at = Some(wednesdays(&mut creating));
    creating.record.phase = Phase::Create(Creating::default());
    creating.rests();
    assert_eq!(creating.record.retry_at, Some(NOON.plus(days(1))));
}

/// A phase that began in the future never ends its waits: it began now.
#[test]
pub fn no_phase_began_in_the_future() {
    let ahead = NOON.plus(days(30));
    let pending = || version(2, "k2");
    let phases = [
        Phase::Judge { pending: pending(), since: ahead },
        Phase::Verify { pending: pending(), since: ahead },
        Phase::Deliver { pending: pending(), since: ahead },
        Phase::Cutover { since: ahead, delivered_at: None, again: 0 },
        Phase::Reobserve { since: ahead },
    ];
    let halted =
        |phase: &Phase| Phase::Halted { reason: Reason::NewKeyRefused, at: NOON, resume: Box::new(phase.clone()) };
    for phase in phases.iter().flat_map(|it| [it.clone(), halted(it)]) {
        let mut it = Bench::keeps();
        it.facts = rekeyd_simulation::core::facts::Facts::default();
        it.record.phase = phase.clone();
        it.pass();
        let since = began(&it.record.phase);
        assert!(since.is_some_and(|it| it <= NOON), "{phase:?} became {:?}", it.record.phase);
    }
}

fn began(phase: &Phase) -> Option<Timestamp> {
    match phase {
        Phase::Judge { since, .. }
        | Phase::Verify { since, .. }
        | Phase::Deliver { since, .. }
        | Phase::Cutover { since, .. }
        | Phase::Reobserve { since } => Some(*since),
        Phase::Halted { resume, .. } => began(resume),
        _ => None,
    }
}

/// A key that was obtained in the future was obtained now. An end that was only reckoned from that moment moves along; one
/// that the provider said stays.
#[test]
pub fn a_version_from_the_future_came_now() {
    for (expiry, ends) in [(Expiry::Assumed, days(80)), (Expiry::Reported, days(90)), (Expiry::Stated, days(90))] {
        let mut it = Bench::keeps();
        let current = it.record.current.as_mut().unwrap();
        current.expiry = expiry;
        current.obtained_at = NOON.plus(days(10));
        current.first_alive = Some(NOON.plus(days(10)));
        it.facts.probes.clear();
        it.rests();
        let current = it.record.current.as_ref().unwrap();
        assert_eq!((current.obtained_at, current.first_alive), (NOON, Some(NOON)), "{expiry:?}");
        assert_eq!(current.valid_to, Some(NOON.plus(ends)), "{expiry:?}");
    }
}

/// A steady key is probed every hour here: not sooner, unless it is doubtful or due, and at once where the last probe lies in
/// the future.
#[test]
pub fn a_steady_key_is_probed_when_it_is_time_due_or_doubtful() {
    let probed = |it: &mut Bench, at: Timestamp| {
        it.record.probed_at = Some(at);
        it.look().probe
    };
    let mut it = Bench::keeps();
    assert_eq!(probed(&mut it, NOON), [], "just now");
    assert_eq!(probed(&mut it, NOON.minus(minutes(59))), []);
    assert_eq!(probed(&mut it, NOON.minus(minutes(60))), [1]);
    assert_eq!(probed(&mut it, NOON.plus(minutes(5))), [1], "the clock was wrong");
    let mut due = Bench::keeps().due();
    let now = due.now;
    assert_eq!(probed(&mut due, now), [1], "it is the control of the create that is coming");
    it.record.sighting = Some(("x".into(), NOON));
    assert_eq!(probed(&mut it, NOON), [1], "something was seen");
    it.record.sighting = None;
    it.record.current.as_mut().unwrap().dead_since = Some(NOON);
    assert_eq!(probed(&mut it, NOON), [1], "it was refused");
}

/// The list is asked for while a create of this key is lost, and not because of another key's, or of one that is on the wire.
#[test]
pub fn only_a_lost_create_of_this_key_is_looked_for() {
    let open = |lost: bool| Open {
        sent_at: NOON,
        lost_at: lost.then_some(NOON),
        before: None,
        package: None,
        locks: false,
        reported_at: None,
        ending: false,
        failures: 0,
        retry_at: None,
    };
    for (name, lost, looks) in [("billing", true, true), ("billing", false, false), ("shipping", true, false)] {
        let mut it = Bench::keeps();
        let token = format!("0a1b2c3d-000001-{name}-1").parse().unwrap();
        it.account.open.insert(token, open(lost));
        assert_eq!(it.look().list, looks, "{name}, lost: {lost}");
    }
}

/// Of the keys that are listed by name, those of open creates are probed before they are believed.
#[test]
pub fn a_listed_key_of_an_open_create_is_a_candidate() {
    let mut it = Bench::keeps().due();
    let create = it.creates();
    let mut theirs = found("x", Probe::Inconclusive);
    theirs.token = Some("0a1b2c3d-000001-billing-99".parse().unwrap());
    it.lists(vec![listed(&create, Some("k2"), Probe::Inconclusive), theirs]);
    let asked = candidates(&it.record, &it.account, &it.facts, &it.policy);
    assert_eq!(asked, ["k2".into()]);
}

/// The restrictions under which a key was seen accepted are remembered, but not without end.
#[test]
pub fn a_few_controls_are_remembered() {
    let mut it = Bench::keeps();
    it.record.controls.clear();
    it.rests();
    assert_eq!(it.record.controls.iter().collect::<Vec<_>>(), [""]);
    it.record.controls = (0..8).map(|n| n.to_string()).collect();
    it.rests();
    assert_eq!(it.record.controls.len(), 8);
}

/// The waits between the tries of a delivery grow, and shrink as the end of the key in use nears.
#[test]
pub fn the_waits_of_a_delivery_grow_and_shrink_as_the_end_nears() {
    let waits = |left: std::time::Duration| {
        let mut it = Bench::keeps().due();
        it.created("k2");
        it.probes(2, Probe::Alive).pass();
        it.record.current.as_mut().unwrap().valid_to = Some(it.now.plus(left));
        it.record.held.get_mut(&file()).unwrap().failures = 9;
        let deliver = Action::Deliver { target: file(), version: 2 };
        it.answer(&deliver, Outcome::Failed("permission denied".into()));
        it.record.held[&file()].retry_at.unwrap().since(it.now)
    };
    assert!(waits(days(30)) >= seconds(512), "the tenth wait");
    assert_eq!(waits(seconds(200)), seconds(10), "twenty tries still fit");
}

/// A login that is refused halts a key only where that key is the login, it is dead or blindly lost, and for long enough.
#[test]
pub fn a_login_is_lost_only_for_the_key_that_is_the_login() {
    let refused = |mut it: Bench| {
        it.policy.announce = minutes(0);
        let create = it.creates();
        it.answer(&create, lost());
        it.facts.preflight = Some(Preflight::Blocked(Blocked::Login));
        (it.facts.read, it.facts.listed) = (None, None);
        it
    };
    let login = |mut it: Bench| {
        let id = rekeyd_simulation::core::names::TargetId::new("login", "sms");
        it.policy.targets.push(target(id, rekeyd_simulation::core::policy::Reach::Pull));
        it
    };
    let mut other = refused(Bench::revokes().due());
    other.wait(minutes(1)).probes(1, Probe::Dead).rests();
    assert_eq!(other.halted(), None, "another key's login is refused");

    let mut alive = refused(login(Bench::revokes().due()));
    alive.wait(minutes(30)).probes(1, Probe::Alive).rests();
    assert_eq!(alive.halted(), None, "the key is seen to work");

    let mut blind = Bench::answers().due();
    blind.policy.provider.probes = false;
    let mut blind = refused(login(blind));
    blind.facts.probes.clear();
    blind.wait(minutes(9)).rests();
    assert_eq!(blind.halted(), None, "it may come back");
    blind.wait(minutes(1)).rests();
    assert_eq!(blind.halted(), Some(Reason::LoginLost), "without a probe a lost create and a long refusal say as much");

    let mut never_lost = login(Bench::answers().due());
    never_lost.policy.provider.probes = false;
    never_lost.policy.announce = minutes(0);
    never_lost.facts.probes.clear();
    never_lost.facts.preflight = Some(Preflight::Blocked(Blocked::Login));
    never_lost.rests();
    never_lost.wait(hours(1)).rests();
    assert_eq!(never_lost.halted(), None, "the old key was never put at risk");
}

/// A replica that still shows the key which the last create ended would not show a lost one either: no create is sent on
/// its word, but not for ever.
#[test]
pub fn no_create_is_sent_on_a_read_that_is_out_of_date() {
    let mut it = Bench::revokes();
    it.policy.announce = minutes(0);
    it = it.due();
    it.created("k2");
    it.reads("k2", Probe::Alive).probes(1, Probe::Dead).probes(2, Probe::Alive).delivers(2, "k2");
    it.rests();
    assert_eq!(it.phase(), "steady");
    it.now = it.record.current.as_ref().unwrap().valid_to.unwrap().minus(days(10));
    it.reads("k1", Probe::Dead).rests();
    assert_eq!(it.blocked, Some(Blocked::Provider("the provider's answer is out of date".into())));
    it.wait(it.policy.accept_within.mul_f64(0.9)).rests();
    it.wait(it.policy.accept_within).creates();
}

/// A cutover whose announced moment has passed while nobody could act waits for the next window.
#[test]
pub fn an_announced_moment_that_was_missed_waits_for_the_next_window() {
    let mut it = Bench::revokes().due();
    it.policy.windows = nights();
    it.rests();
    let Phase::Announce { until } = it.record.phase else { panic!("{}", it.phase()) };
    it.now = until.plus(hours(12));
    it.rests();
    assert_eq!((it.phase(), &it.blocked), ("announce", &Some(Blocked::Window(until.plus(days(1))))));
    it.now = until.plus(days(1));
    it.creates();
}

//! Keys that nobody can be asked for: the owners are reminded until a human brings a new one, which then goes its way.
use crate::bench::*;
use rekeyd_simulation::core::command::restored;
use rekeyd_simulation::core::facts::{Action, Blocked, Outcome, Probe};
use rekeyd_simulation::core::plan::{Command, CommandRefused, Notice, NoticeKind, NoticeStatus, Severity, Supply};
use rekeyd_simulation::core::policy::{Initial, OnCreate, OutsideWindow, Recover};
use rekeyd_simulation::core::record::{
    Actor, Creating, Ended, Expiry, Pause, Phase, Reason, RotationResult, Trigger, Wish,
};
use rekeyd_simulation::core::time::Timestamp;

/// A key of a service without an API.
fn by_hand() -> Bench {
    let mut it = Bench::new(OnCreate::Keeps, Recover::None, false);
    it.policy.provider.creates = false;
    it.policy.provider.probes = false;
    it.policy.provider.reports_expiry = false;
    it.policy.instructions = Some("https://portal.example/keys".into());
    it.facts.probes.clear();
    (it.facts.listed, it.facts.read) = (None, None);
    it
}

/// What an operator got from the portal; valid for another 90 days.
fn new_key(it: &Bench, fingerprint: &str) -> Supply {
    Supply {
        fingerprint: fingerprint.into(),
        id: Some(format!("id-{fingerprint}")),
        valid_from: Some(it.now),
        valid_to: Some(it.now.plus(days(90))),
        expiry: Expiry::Stated,
        wish: Wish {
            actor: Some(Actor { uid: 1000, login_uid: None, user: Some("anna".into()) }),
            reason: Some("it was due".into()),
            ..wish()
        },
    }
}

fn supply(it: &mut Bench, fingerprint: &str) -> Result<(), CommandRefused> {
    let key = new_key(it, fingerprint);
    it.say(Command::Supply(key))
}

fn reminders(it: &Bench) -> Vec<&Notice> {
    it.notices.iter().filter(|it| it.kind == NoticeKind::KeyExpiring && it.status == NoticeStatus::Firing).collect()
}

/// However it comes to it: due, wished for, before the first key, or after its provider was one that could be asked.
#[test]
pub fn nobody_is_asked_for_a_key_who_cannot_be() {
    let due = by_hand().due();
    let mut wished = by_hand();
    wished.record.wish = Some(Wish { now: true, ..wish() });
    let mut first = by_hand().unadopted();
    first.policy.initial = Initial::Create;
    let mut announced = by_hand().due();
    announced.record.phase = Phase::Announce { until: announced.now };
    let mut owed = by_hand().due();
    owed.record.phase = Phase::Create(Creating::default());
    for (name, mut it) in [("due", due), ("wished", wished), ("first", first), ("announced", announced), ("owed", owed)]
    {
        assert!(!it.look().preflight, "{name}: nothing is prepared");
        assert_eq!(it.pass(), [], "{name}");
        assert!(matches!(it.record.phase, Phase::Steady | Phase::Unadopted), "{name}: {:?}", it.record.phase);
        it.is_at_rest();
    }
}

/// The key is due 30 days before its end; thresholds of 14, 7 and 1 days follow, and the end itself. Each is told once, says
/// where to get a key and what to do with it, and the next one has its wake-up.
#[test]
pub fn a_key_that_waits_for_a_human_is_told_when_due_at_each_threshold_and_at_its_end() {
    let mut it = by_hand();
    it.rests();
    assert_eq!((it.told(NoticeKind::KeyExpiring), it.wake_at), (0, NOON.plus(days(60))), "not before it is due");
    for (n, day) in [60, 76, 83, 89].into_iter().enumerate() {
        assert_eq!(it.wake_at, NOON.plus(days(day)), "nothing else wakes it");
        it.now = it.wake_at;
        it.rests();
        it.is_at_rest();
        let told = reminders(&it);
        assert_eq!(told.len(), n + 1, "on day {day}");
        let last = told[n];
        assert_eq!(last.actions, ["rekeyd rotate billing"]);
        assert!(
            last.summary.contains("https://portal.example/keys") && last.summary.contains("expires at"),
            "{last:?}"
        );
        // Less than a day is left only after the last of them.
        assert_eq!(last.severity, Severity::Warning, "on day {day}");
    }
    it.now = it.wake_at;
    it.rests();
    let last = it.last_told();
    assert_eq!((last.kind, last.severity), (NoticeKind::KeyExpired, Severity::Critical));
    assert_eq!(
        (last.at, last.actions.as_slice()),
        (NOON.plus(days(90)), ["rekeyd rotate billing".to_owned()].as_slice())
    );
    it.is_at_rest();
    assert_eq!(it.wake_at, Timestamp::NEVER, "there is nothing more to say");
}

/// A daemon that was away tells the newest moment that it missed, and not each of them.
#[test]
pub fn of_reminders_that_were_missed_only_the_newest_is_told() {
    let mut it = by_hand();
    it.wait(days(84)).rests();
    assert_eq!(reminders(&it).len(), 1);
    it.wait(days(5)).wait(hours(1)).rests();
    assert_eq!((reminders(&it).len(), reminders(&it)[1].severity), (2, Severity::Critical), "less than a day is left");
}

/// Where nobody knows the end, the age says when it is due, and it is told anew every 30 days.
#[test]
pub fn a_key_without_an_end_is_told_every_thirty_days() {
    let mut it = by_hand();
    it.policy.max_age = Some(days(90));
    it.policy.valid_for = None;
    let current = it.record.current.as_mut().unwrap();
    (current.valid_from, current.valid_to, current.expiry) = (Some(NOON), None, Expiry::Unknown);
    for (n, day) in [90, 120, 150].into_iter().enumerate() {
        it.rests();
        assert_eq!((reminders(&it).len(), it.wake_at), (n, NOON.plus(days(day))));
        it.now = it.wake_at;
    }
    it.rests();
    assert!(it.last_told().summary.contains("is due since"), "{}", it.last_told().summary);
    // Years later it is still told, and still but once.
    it.wait(days(3650)).rests();
    assert_eq!(reminders(&it).len(), 4);
    it.is_at_rest();
}

/// A key of which nobody knows how old it is may end at any moment: it is told at once.
#[test]
pub fn a_key_of_unknown_age_is_told_at_once() {
    let mut it = by_hand();
    let current = it.record.current.as_mut().unwrap();
    (current.valid_to, current.expiry) = (None, Expiry::Unknown);
    it.rests();
    assert_eq!((reminders(&it).len(), it.wake_at), (1, NOON.plus(days(30))));
    it.is_at_rest();
}

/// The reminders go on at the wide distance too, where the key is due long before its first threshold.
#[test]
pub fn a_key_that_is_due_long_before_its_end_is_told_every_thirty_days_until_the_thresholds() {
    let mut it = by_hand();
    let current = it.record.current.as_mut().unwrap();
    current.valid_to = Some(NOON.plus(days(365)));
    it.policy.rotate_before = rekeyd_simulation::core::policy::RotateBefore::Lead(days(70));
    let mut told = Vec::new();
    for _ in 0..7 {
        it.rests();
        it.now = it.wake_at;
        told.push(it.now.since(NOON).as_secs() / 86_400);
    }
    assert_eq!(told, [295, 325, 351, 355, 358, 364, 365]);
}

/// The new key goes the way of the overlap order: delivered, promoted, the old one on the books until its overlap has passed;
/// then a human is told to end it, as nobody else can. The history knows who, and why.
#[test]
pub fn a_key_that_was_brought_is_delivered_and_the_old_one_told_after_its_overlap() {
    let mut it = by_hand().due();
    it.rests();
    supply(&mut it, "k2").unwrap();
    assert_eq!((it.phase(), it.current(), it.kept.as_slice()), ("verify", 1, [2].as_slice()), "the secret is kept");
    it.delivers(2, "k2");
    it.rests();
    assert_eq!((it.phase(), it.current()), ("steady", 2));
    let ended = it.record.last_rotation.clone().unwrap();
    assert_eq!((ended.result, ended.version, ended.attempt), (Some(RotationResult::Succeeded), Some(2), 1));
    assert_eq!((ended.wish.trigger, ended.wish.reason.as_deref()), (Trigger::Operator, Some("it was due")));
    assert_eq!(ended.wish.actor.unwrap().user.as_deref(), Some("anna"));
    assert_eq!(it.told(NoticeKind::RotationSucceeded), 1);
    let over = it.notices.iter().any(|it| it.kind == NoticeKind::KeyExpiring && it.status == NoticeStatus::Resolved);
    assert!(over, "whoever was reminded hears that it is over");
    let current = it.record.current.as_ref().unwrap();
    assert_eq!((current.valid_to, current.expiry), (Some(it.now.plus(days(90))), Expiry::Stated));
    it.wait(days(2).saturating_sub(seconds(1))).rests();
    assert_eq!(it.told(NoticeKind::RevokeNeeded), 0, "the overlap is kept");
    it.wait(seconds(1)).rests();
    assert_eq!((it.ended(1), it.told(NoticeKind::RevokeNeeded)), (Some(Ended::Reported), 1));
    assert!(it.last_told().summary.contains("no call to revoke it"), "{}", it.last_told().summary);
    it.is_at_rest();
}

/// A key in wrong hands has no overlap, and waits for no window.
#[test]
pub fn a_compromised_key_that_is_replaced_by_hand_has_no_overlap() {
    let mut it = by_hand();
    it.policy.windows = nights();
    let mut key = new_key(&it, "k2");
    (key.wish.now, key.wish.compromised) = (true, true);
    it.say(Command::Supply(key)).unwrap();
    it.delivers(2, "k2");
    it.rests();
    it.rests();
    assert_eq!(it.ended(1), Some(Ended::Reported));
}

/// A key may be brought before it is due. It is delivered in the next window, and so long the old one stays in use.
#[test]
pub fn a_key_that_was_brought_waits_for_its_window() {
    let mut it = by_hand();
    it.policy.windows = nights();
    supply(&mut it, "k2").unwrap();
    let opens = NOON.plus(hours(10));
    it.rests();
    assert_eq!((&it.blocked, it.wake_at, it.phase()), (&Some(Blocked::Window(opens)), opens, "verify"));
    it.is_at_rest();
    it.now = opens;
    it.delivers(2, "k2");
    it.rests();
    assert_eq!(it.current(), 2);
}

/// While the new key waits for a window that opens too late, the owners hear that the old one expires before.
#[test]
pub fn a_window_that_opens_too_late_for_a_key_that_was_brought_is_told() {
    let mut it = by_hand();
    it.wait(days(89)).wait(hours(12));
    it.policy.windows = nights();
    it.policy.windows[0].open = cron("0 0 22 1 1 *");
    it.policy.outside_window = OutsideWindow::Never;
    supply(&mut it, "k2").unwrap();
    it.rests();
    assert_eq!((reminders(&it).len(), reminders(&it)[0].severity), (1, Severity::Critical));
    it.policy.outside_window = OutsideWindow::IfExpiring;
    it.delivers(2, "k2");
}

/// The wrong key was brought: another one takes its place. What came to a target keeps its overlap; what never did is told at
/// once, as somebody must end it in the portal.
#[test]
pub fn a_second_key_takes_the_place_of_the_first() {
    let mut it = by_hand().due();
    supply(&mut it, "wrong").unwrap();
    supply(&mut it, "k3").unwrap();
    assert_eq!(it.record.last_rotation.as_ref().unwrap().result, Some(RotationResult::Failed));
    it.delivers(3, "k3");
    assert_eq!(it.ended(2), Some(Ended::Reported), "no consumer ever had it");
    it.rests();
    supply(&mut it, "wrong again").unwrap();
    it.delivers(4, "wrong again");
    supply(&mut it, "k5").unwrap();
    it.delivers(5, "k5");
    it.rests();
    assert_eq!((it.current(), it.ended(4)), (5, None), "a consumer may have it");
    it.wait(days(2)).rests();
    assert_eq!(it.ended(4), Some(Ended::Reported));
}

/// Bringing the same key twice is one answer; a key that was there before is no new one.
#[test]
pub fn only_a_new_key_is_taken() {
    let mut it = by_hand();
    assert_eq!(supply(&mut it, "k1"), Err(CommandRefused::NotNew(1)), "the current one");
    supply(&mut it, "k2").unwrap();
    let before = it.record.clone();
    supply(&mut it, "k2").unwrap();
    assert_eq!(it.record, before);
    it.delivers(2, "k2");
    it.rests();
    assert_eq!(
        supply(&mut it, "k1"),
        Err(CommandRefused::NotNew(1)),
        "the old one is what `rollback` and `adopt` are for"
    );
}

/// In every phase: taken, or refused with a reason and without any effect.
#[test]
pub fn a_new_key_in_every_phase() {
    let mut steady = by_hand();
    let mut verifying = by_hand();
    verifying.policy.windows = nights();
    supply(&mut verifying, "k2").unwrap();
    let mut delivering = by_hand();
    supply(&mut delivering, "k2").unwrap();
    delivering.pass();
    let mut adopting = by_hand();
    adopting.say(Command::Adopt(super::retiring::adoption("k8", Probe::Inconclusive))).unwrap();
    let mut reobserving = by_hand();
    reobserving.record = restored(&reobserving.record, &reobserving.policy, reobserving.now);
    let mut halted = by_hand();
    halted.record.phase = Phase::Halted { reason: Reason::Restored, at: halted.now, resume: Box::new(Phase::Steady) };
    let mut paused = by_hand();
    let pause = Pause { since: NOON, until: None, reason: None, actor: None };
    paused.say(Command::Pause(pause)).unwrap();
    let mut unadopted = by_hand().unadopted();
    assert_eq!(supply(&mut steady, "k9"), Ok(()));
    for it in [&mut verifying, &mut delivering] {
        assert_eq!(supply(it, "k9"), Ok(()));
        assert_eq!(it.record.pending().unwrap().fingerprint.as_str(), "k9");
    }
    let refusals = [
        (&mut adopting, CommandRefused::RotationToItsEnd),
        (&mut reobserving, CommandRefused::Phase),
        (&mut halted, CommandRefused::Halted),
        (&mut paused, CommandRefused::Paused),
    ];
    for (it, why) in refusals {
        assert_eq!(supply(it, "k9"), Err(why));
    }
    let mut going_back = by_hand();
    supply(&mut going_back, "k2").unwrap();
    going_back.record.rotation.as_mut().unwrap().rollback = true;
    assert_eq!(supply(&mut going_back, "k9"), Err(CommandRefused::RotationUnderWay));
    assert_eq!(supply(&mut unadopted, "k9"), Err(CommandRefused::Unadopted));
    assert_eq!(supply(&mut Bench::keeps(), "k9"), Err(CommandRefused::IssuedByProvider));
    assert_eq!(by_hand().say(Command::Rotate(wish())), Err(CommandRefused::NoKeyGiven));
    // In flight it needs no second key to hurry the first.
    verifying.say(Command::Rotate(Wish { now: true, ..wish() })).unwrap();
    verifying.pass();
    assert_eq!(verifying.phase(), "deliver");
}

/// The provider's kind was changed while a create was on the wire. Its answer is kept and told, and nothing is created anew.
#[test]
pub fn a_create_on_the_wire_is_not_lost_where_the_provider_can_not_be_asked_any_more() {
    let mut it = Bench::keeps().due();
    let create = it.creates();
    it.policy.provider = by_hand().policy.provider;
    it.rests();
    assert_eq!((it.phase(), it.account.open.len()), ("steady", 1));
    it.answer(&create, Outcome::Created(found("k2", Probe::Inconclusive)));
    assert_eq!(it.kept, [2]);
    it.rests();
    assert_eq!((it.ended(2), it.told(NoticeKind::RevokeNeeded)), (Some(Ended::Reported), 1));
}

/// After a restore nobody can create the key that would settle what the targets hold: a human says which one is in use.
#[test]
pub fn a_restored_state_that_is_too_old_halts_where_only_a_human_gets_keys() {
    let mut it = by_hand();
    it.record = restored(&it.record, &it.policy, it.now);
    it.holds(Some("newer"));
    it.rests();
    assert_eq!(it.halted(), Some(Reason::Restored));
    let mut same = by_hand();
    same.record = restored(&same.record, &same.policy, same.now);
    assert!(same.pass().iter().all(|it| matches!(it, Action::Deliver { .. })));
    assert_eq!(same.phase(), "steady");
}

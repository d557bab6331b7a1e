//! Whatever lasts has an end that is told: every incident of a key that fires is resolved under the same id, and asks for no
//! human any more. One row for each way in which a key can be in trouble.
use super::incidents::pause;
use crate::bench::*;
use rekeyd_simulation::core::command::account_gone;
use rekeyd_simulation::core::facts::{Action, Outcome, Probe, Refusal, RefusalKind};
use rekeyd_simulation::core::plan::NoticeKind::{self, *};
use rekeyd_simulation::core::plan::Severity::{self, *};
use rekeyd_simulation::core::plan::{Command, Notice, NoticeStatus};
use rekeyd_simulation::core::policy::{OnCreate, Policy, Recover};
use rekeyd_simulation::core::record::Ended;

struct Row {
    what: &'static str,
    kind: NoticeKind,
    severity: Severity,
    begins: fn() -> Bench,
    ends: fn(&mut Bench),
}

fn row(what: &'static str, kind: NoticeKind, severity: Severity, begins: fn() -> Bench, ends: fn(&mut Bench)) -> Row {
    Row { what, kind, severity, begins, ends }
}

fn rows() -> Vec<Row> {
    vec![
        row("held back for too long", KeyExpiring, Warning, || paused_for(76), resumes),
        row("held back for much too long", KeyExpired, Critical, || paused_for(91), resumes),
        row("refused, and accepted again", KeyRefused, Critical, dead, |it| it.probes(1, Probe::Alive).rests()),
        row("refused, and replaced", KeyRefused, Critical, dead, |it| {
            it.wait(minutes(1)).created("k2");
            it.probes(2, Probe::Alive).delivers(2, "k2");
            it.pass();
        }),
        row("delivered unverified, and seen later", KeyRefused, Warning, unverified, |it| {
            it.wait(hours(1)).probes(2, Probe::Alive).pass();
        }),
        row("delivered unverified, and replaced", KeyRefused, Warning, unverified, |it| rotates(it.wait(days(60)), 3)),
        row("changed at the provider", KeyDrifted, Warning, changed, |it| {
            it.delivers(2, "k2");
            it.probes(2, Probe::Alive).pass();
        }),
        row("overwritten at a target", KeyDrifted, Warning, overwritten, |it| it.holds(None).delivers(1, "k1")),
        row("not replaced", RotationFailed, Warning, failing, |it| {
            it.created("k2");
            it.probes(2, Probe::Alive).delivers(2, "k2");
            it.pass();
        }),
        row("its account has left the config", RotationFailed, Warning, homeless, |it| rotates(it, 2)),
        row("did not go back", RotationFailed, Warning, stays, |it| {
            it.say(Command::Rotate(wish())).unwrap();
            rotates(it, 3);
        }),
        row("halted", RotationHalted, Warning, halted, |it| it.say(Command::Resume).unwrap()),
        row("replaced outside its windows", RotationScheduled, Warning, outside, |it| {
            it.probes(2, Probe::Alive).delivers(2, "k2");
            it.pass();
        }),
        row("not delivered", DeliveryFailed, Warning, undelivered, |it| it.delivers(1, "k1")),
        row("not delivered, and its target left the config", DeliveryFailed, Warning, undelivered, |it| {
            it.policy.targets.clear();
            it.pass();
        }),
        row("not emptied", DeliveryFailed, Warning, not_emptied, seen_to),
        row("to be revoked by hand, and revoked", RevokeNeeded, Warning, to_revoke, seen_to),
        row("to be revoked by hand, and expired", RevokeNeeded, Warning, to_revoke, |it| {
            it.wait(days(30)).pass();
        }),
        row("not revoked for a while", RevokeNeeded, Warning, unrevoked, |it| {
            it.wait(hours(3));
            let revoke = it.pass().remove(0);
            it.answer(&revoke, Outcome::Revoked);
        }),
        row("lost by a create", RevokeNeeded, Warning, lost_by_a_create, seen_to),
        row("left by nobody knows whom", RevokeNeeded, Warning, strangers, seen_to),
        row("left behind, and forgotten", RevokeNeeded, Warning, left_behind, |it| it.say(Command::Forget).unwrap()),
    ]
}

/// What happens and does not last: nothing is wrong then.
const EVENTS: [NoticeKind; 5] = [KeyAdopted, RotationScheduled, RotationSucceeded, Digest, Test];
/// These belong to no key: `core::incidents` begins and ends them, and its tests say so.
const OWN: [NoticeKind; 5] = [ProviderRefused, ProviderThrottled, DaemonDegraded, BackupFailed, ConfigRejected];

#[test]
pub fn every_incident_is_told_to_be_over_under_its_id() {
    for row in rows() {
        let mut it = (row.begins)();
        let firing = it.notices.iter().rfind(|it| it.kind == row.kind && it.status == NoticeStatus::Firing);
        let firing = firing.unwrap_or_else(|| panic!("{}: {:?}", row.what, it.notices)).clone();
        assert_eq!(firing.severity, row.severity, "{}", row.what);
        assert!(firing.lasts(), "{}", row.what);
        (row.ends)(&mut it);
        let over: Vec<_> = it.notices.iter().filter(|it| it.status == NoticeStatus::Resolved).collect();
        let same: Vec<_> = over.iter().filter(|it| it.incident == firing.incident).collect();
        assert_eq!(same.len(), 1, "{}: {over:?}", row.what);
        assert_eq!((same[0].at_worst, same[0].severity), (Some(row.severity), Info), "{}", row.what);
        let expiring = [KeyExpiring, KeyExpired].contains(&row.kind);
        assert_eq!(same[0].kind, if expiring { KeyExpiring } else { row.kind }, "{}", row.what);
        let before = it.notices.len();
        it.pass();
        it.pass();
        let again: Vec<_> = it.notices[before..].iter().filter(|it| it.kind == row.kind).collect();
        assert!(again.is_empty(), "{}: told again {again:?}", row.what);
    }
}

#[test]
pub fn every_kind_of_notice_ends_or_is_known_not_to_last() {
    let lasting: Vec<NoticeKind> = rows().iter().map(|it| it.kind).collect();
    for kind in NoticeKind::ALL {
        assert!([lasting.as_slice(), &EVENTS, &OWN].concat().contains(kind), "{kind:?} has no row here");
    }
}

/// Whoever took a lost key away has done so for good: he is not asked again by what is found out later.
#[test]
pub fn what_was_seen_to_by_hand_is_not_told_again() {
    let mut it = lost_by_a_create();
    it.say(Command::Ack { revoked: true }).unwrap();
    it.say(Command::Resume).unwrap();
    it.wait(days(30)).pass();
    assert_eq!(it.notices.iter().filter(|it| it.kind == RevokeNeeded).count(), 2, "told once, and over once");
}

/// Taking a key out of service revokes nothing that a human was to revoke.
#[test]
pub fn what_is_left_behind_outlasts_the_key() {
    let mut it = to_revoke();
    it.policy = Policy { provider: it.policy.provider, ..Policy::unmanaged(it.policy.account.clone()) };
    it.say(Command::Retire).unwrap();
    assert!(it.notices.iter().all(|it| it.status == NoticeStatus::Firing), "{:?}", it.notices);
}

/// A failure that repeats is told once, and again only when it has become worse: not by its number, but since little time is left.
#[test]
pub fn a_failure_that_repeats_is_worse_only_when_little_time_is_left() {
    let mut it = Bench::keeps().due();
    while it.now < NOON.plus(days(90)) {
        let actions = it.pass();
        if let Some(create) = actions.iter().find(|it| matches!(it, Action::Create { .. })).cloned() {
            it.answer(&create, refused());
        }
        it.wait(hours(1));
    }
    let told: Vec<_> = it.notices.iter().filter(|it| it.kind == RotationFailed).collect();
    let near = |it: &&&Notice| it.valid_to.unwrap().since(it.at) < days(1);
    let said: Vec<Severity> = told.iter().map(|it| it.severity).collect();
    assert_eq!(said, [Warning, Warning, Critical], "that it takes long, that it fails, and that little is left");
    assert_eq!(told.iter().filter(near).count(), 1);
    let critical = it.notices.iter().filter(|it| it.severity == Critical && it.status == NoticeStatus::Firing);
    assert!(critical.into_iter().all(|it| it.escalates), "others are told by then");
}

/// Replaces the key, whatever else is done meanwhile.
fn rotates(it: &mut Bench, version: u32) {
    let fingerprint = format!("k{version}");
    it.created(&fingerprint);
    it.probes(version, Probe::Alive).pass();
    it.answer(&Action::Deliver { target: file(), version }, Outcome::Delivered { ms: 1 });
    it.holds(Some(&fingerprint)).pass();
}

fn seen_to(it: &mut Bench) {
    it.say(Command::Ack { revoked: true }).unwrap();
}

fn refused() -> Outcome {
    Outcome::Refused(Refusal { why: RefusalKind::Request, message: "no such package".into(), retry_after: None })
}

fn paused_for(how_long: u64) -> Bench {
    let mut it = Bench::keeps();
    let pause = pause(&it, None);
    it.say(Command::Pause(pause)).unwrap();
    it.wait(days(how_long)).pass();
    it
}

fn resumes(it: &mut Bench) {
    it.say(Command::Resume).unwrap();
    rotates(it, 2);
}

fn dead() -> Bench {
    let mut it = Bench::keeps();
    it.wait(days(1)).probes(1, Probe::Dead).rests();
    it
}

fn unverified() -> Bench {
    let mut it = Bench::keeps().due();
    it.created("k2");
    it.probes(2, Probe::Inconclusive).rests();
    it.wait(minutes(10)).delivers(2, "k2");
    it.pass();
    it
}

fn changed() -> Bench {
    let mut it = Bench::new(OnCreate::Keeps, Recover::ReadCurrent, true);
    it.wait(days(1)).reads("k2", Probe::Alive).pass();
    it
}

fn overwritten() -> Bench {
    let mut it = Bench::keeps();
    it.holds(Some("somebody else's")).rests();
    it
}

fn failing() -> Bench {
    let mut it = Bench::keeps().due();
    for _ in 0..3 {
        let create = it.creates();
        it.answer(&create, refused());
        it.wait(minutes(1));
    }
    it
}

fn homeless() -> Bench {
    let mut it = Bench::keeps();
    it.say(Command::Rotate(wish())).unwrap();
    it.creates();
    let mut policy = it.policy.clone();
    policy.account = "renamed".into();
    let change = account_gone(&it.record, &it.account, &policy, it.now).unwrap();
    it.commit(change);
    it.policy = policy;
    it.account = rekeyd_simulation::core::account::Account::new("renamed".into());
    it
}

fn stays() -> Bench {
    let mut it = Bench::keeps().rotated();
    it.say(Command::Rollback).unwrap();
    it.probes(1, Probe::Dead).pass();
    it.wait(minutes(10)).pass();
    it
}

fn halted() -> Bench {
    let mut it = Bench::silent().due();
    it.policy.announce = minutes(0);
    let create = it.creates();
    it.answer(&create, lost());
    it.pass();
    it
}

fn outside() -> Bench {
    let mut it = Bench::keeps();
    it.policy.windows = nights();
    it.policy.windows[0].open = cron("0 0 22 1 APR *");
    it.wait(days(89)).created("k2");
    it
}

fn undelivered() -> Bench {
    let mut it = Bench::keeps();
    it.holds(None);
    for _ in 0..3 {
        let deliver = it.pass().remove(0);
        it.answer(&deliver, Outcome::Failed("read-only file system".into()));
        it.wait(minutes(1));
    }
    it
}

fn not_emptied() -> Bench {
    let mut it = left_behind();
    assert_eq!(it.last_told().kind, RevokeNeeded);
    let emptied = it.notices.iter().find(|it| it.kind == DeliveryFailed);
    assert!(emptied.is_some(), "{:?}", it.notices);
    it.pass();
    it
}

fn left_behind() -> Bench {
    let mut it = Bench::answers();
    it.policy = Policy { provider: it.policy.provider, ..Policy::unmanaged(it.policy.account.clone()) };
    it.say(Command::Retire).unwrap();
    for _ in 0..3 {
        let empty = it.pass().remove(0);
        it.answer(&empty, Outcome::Failed("read-only file system".into()));
        it.wait(minutes(1));
    }
    it.rests();
    assert_eq!(it.ended(1), Some(Ended::Reported));
    it
}

fn to_revoke() -> Bench {
    let mut it = Bench::new(OnCreate::Keeps, Recover::ListByName, false).rotated();
    it.wait(days(2)).rests();
    assert_eq!(it.ended(1), Some(Ended::Reported));
    it
}

fn unrevoked() -> Bench {
    let mut it = Bench::keeps().rotated();
    it.wait(days(2));
    for _ in 0..3 {
        let revoke = it.pass().into_iter().find(|it| is_revoke_of(it, 1)).unwrap();
        it.answer(&revoke, Outcome::Failed("internal error".into()));
        it.wait(hours(3));
    }
    it
}

fn lost_by_a_create() -> Bench {
    halted()
}

fn strangers() -> Bench {
    let mut it = Bench::keeps().due();
    let change = rekeyd_simulation::core::command::restored(&it.record, &it.policy, it.now);
    it.record = change;
    let mut ours = found("x", Probe::Alive);
    ours.token = Some("0a1b2c3d-000000-billing-7".parse().unwrap());
    it.lists(vec![ours]).pass();
    it
}

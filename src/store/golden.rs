//! The format on the disk must not drift unnoticed: rows that were written once, in `tests/fixtures/store`, are read and
//! written again, and every value that a field can take is among them. Where one of these tests fails, an installed
//! rekeyd could not read its own state after the update: raise [`rows::FORMAT`] and convert, or take the change back.
use super::batch::{HistoryRow, OutboxRow, OutboxState};
use super::rows;
use crate::core::account::{Account, Open};
use crate::core::names::{AccountId, Fingerprint, KeyName, NoticeId, TargetId, Token};
use crate::core::plan::{DigestLine, DigestSection, Next, Notice, NoticeKind, NoticeStatus, Severity};
use crate::core::policy::OnCreate;
use crate::core::record::{
    Actor, Creating, Delivery, Ended, Expiry, Held, Incident, LastError, Pause, Phase, Reason, Record, Retired,
    Rotation, RotationResult, Trigger, Version, Wish,
};
use crate::core::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::{Path, PathBuf};

const NOW: Timestamp = Timestamp(1_790_000_000_000);

#[test]
fn records_look_as_they_always_did() {
    check("record_v1.json", &records());
}

#[test]
fn accounts_look_as_they_always_did() {
    check("account_v1.json", &accounts());
}

#[test]
fn the_outbox_looks_as_it_always_did() {
    check("outbox_v1.json", &outbox());
}

#[test]
fn the_history_looks_as_it_always_did() {
    check("history_v1.json", &history());
}

#[test]
#[ignore = "writes the fixtures anew: only for a format that no release ever wrote"]
fn write_the_fixtures() {
    write("record_v1.json", &records());
    write("account_v1.json", &accounts());
    write("outbox_v1.json", &outbox());
    write("history_v1.json", &history());
}

/// Compares what was written once with what would be written now, and with what it means.
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(file: &str, samples: &[T]) {
    let text = std::fs::read_to_string(fixture(file)).unwrap_or_else(|it| panic!("{file}: {it}"));
    let written: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(written.len(), samples.len(), "{file}");
    for (row, sample) in written.iter().zip(samples) {
        let read: T = rows::decode(Path::new(file), b"fixture", row.to_string().as_bytes()).unwrap();
        assert_eq!(read, *sample);
        assert_eq!(encoded(&read), *row);
    }
}

fn write<T: Serialize>(file: &str, samples: &[T]) {
    let rows: Vec<_> = samples.iter().map(encoded).collect();
    std::fs::write(fixture(file), serde_json::to_string_pretty(&rows).unwrap() + "\n").unwrap();
}

fn fixture(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store").join(file)
}

fn encoded<T: Serialize>(value: &T) -> serde_json::Value {
    serde_json::from_slice(&rows::encode(b"fixture", value).unwrap()).unwrap()
}

/// One record for each phase and, among the halted ones, for each reason.
fn records() -> Vec<Record> {
    let phases = [
        Phase::Unadopted,
        Phase::Reobserve { since: NOW },
        Phase::Steady,
        Phase::Announce { until: NOW },
        Phase::Create(Creating::default()),
        Phase::Create(Creating { token: Some(token(2)), lost: 1, refused: 2, again: 1 }),
        Phase::Judge { pending: version(2, Expiry::Unknown), since: NOW },
        Phase::Verify { pending: version(2, Expiry::Assumed), since: NOW },
        Phase::Deliver { pending: version(2, Expiry::Never), since: NOW },
        Phase::Cutover { since: NOW, delivered_at: Some(NOW), again: 1 },
    ];
    let reasons = [
        Reason::AmbiguousCreate,
        Reason::UnexpectedKeys,
        Reason::NoBaseline,
        Reason::AnotherDaemon,
        Reason::SomebodyElseRotates,
        Reason::Drifted,
        Reason::NewKeyRefused,
        Reason::OldKeyDead,
        Reason::Restored,
        Reason::LoginLost,
        Reason::Damaged,
        Reason::KeyRefused,
    ];
    let halted = reasons.map(|reason| Phase::Halted { reason, at: NOW, resume: Box::new(Phase::Steady) });
    let mut records: Vec<_> = phases.into_iter().chain(halted).map(record).collect();
    let numbers: BTreeSet<_> = records.iter().map(|it| number_of_phase(&it.phase)).collect();
    assert_eq!(numbers, (0..10).collect(), "a phase is missing here");
    records.push(full_record());
    records
}

/// Fails to compile where a phase is new: give it a number and a sample.
fn number_of_phase(phase: &Phase) -> u32 {
    match phase {
        Phase::Unadopted => 0,
        Phase::Reobserve { .. } => 1,
        Phase::Steady => 2,
        Phase::Announce { .. } => 3,
        Phase::Create(_) => 4,
        Phase::Judge { .. } => 5,
        Phase::Verify { .. } => 6,
        Phase::Deliver { .. } => 7,
        Phase::Cutover { .. } => 8,
        Phase::Halted { reason, .. } => match reason {
            Reason::AmbiguousCreate
            | Reason::UnexpectedKeys
            | Reason::NoBaseline
            | Reason::AnotherDaemon
            | Reason::SomebodyElseRotates
            | Reason::Drifted
            | Reason::NewKeyRefused
            | Reason::OldKeyDead
            | Reason::Restored
            | Reason::LoginLost
            | Reason::Damaged
            | Reason::KeyRefused => 9,
        },
    }
}

fn record(phase: Phase) -> Record {
    Record { phase, ..Record::new(name(), NOW) }
}

/// A record with something in every field.
fn full_record() -> Record {
    let retired = |number, ended| Retired {
        version: version(number, Expiry::Stated),
        after: NOW,
        since: NOW,
        failures: 2,
        retry_at: Some(NOW),
        ending: true,
        ended,
    };
    let held = Held {
        settled: Some(5),
        maybe: BTreeSet::from([5, 6]),
        confirmed: Some(5),
        foreign: Some(fingerprint("f9")),
        failures: 1,
        retry_at: Some(NOW),
        last_error: Some("connection refused".to_owned()),
        then_done: None,
    };
    let incident = Incident {
        since: NOW,
        kind: NoticeKind::KeyExpiring,
        severity: Severity::Warning,
        acked: true,
        escalated: true,
    };
    let actor = wish(Trigger::Operator).actor;
    let paused = Pause { since: NOW, until: Some(NOW), reason: Some("an incident".to_owned()), actor };
    Record {
        revision: 42,
        current: Some(version(5, Expiry::Reported)),
        retired: vec![
            retired(1, Some(Ended::Revoked)),
            retired(2, Some(Ended::Reported)),
            retired(3, Some(Ended::Expired)),
            retired(4, None),
        ],
        held: BTreeMap::from([(target(), held)]),
        seen: BTreeMap::from([(fingerprint("f5"), 5)]),
        last_version: 5,
        last_token: 7,
        last_attempt: 6,
        wish: Some(wish(Trigger::Operator)),
        rotation: Some(rotation(Trigger::Schedule, OnCreate::Keeps, None)),
        last_rotation: Some(rotation(Trigger::Drift, OnCreate::Revokes, Some(RotationResult::Failed))),
        failures: 3,
        retry_at: Some(NOW),
        probed_at: Some(NOW),
        drifts: 1,
        strangers: BTreeSet::from([token(8)]),
        last_error: Some(LastError {
            at: NOW,
            phase: "create".to_owned(),
            reason: "provider_unreachable".to_owned(),
            message: "the provider can't be reached".to_owned(),
        }),
        owners: vec!["payments".to_owned()],
        unmanaged_since: Some(NOW),
        told: BTreeMap::from([(NoticeId::from("n1"), NOW)]),
        incidents: BTreeMap::from([("expiring".to_owned(), incident)]),
        paused: Some(paused),
        decommissioned: Some(NOW),
        ..record(Phase::Steady)
    }
}

fn accounts() -> Vec<Account> {
    let open = Open {
        sent_at: NOW,
        lost_at: Some(NOW),
        before: Some(fingerprint("f1")),
        package: Some("Account".to_owned()),
        locks: true,
        ending: true,
        failures: 2,
        retry_at: Some(NOW),
        reported_at: Some(NOW),
    };
    let full = |learned| Account {
        known: BTreeSet::from([fingerprint("f1"), fingerprint("f2")]),
        baseline: true,
        open: BTreeMap::from([(token(7), open.clone())]),
        creates: vec![NOW],
        learned: Some(learned),
        held_until: Some(NOW),
        ..Account::new(account())
    };
    let learned = [OnCreate::Keeps, OnCreate::Revokes, OnCreate::Unknown].map(full);
    [Account::new(account())].into_iter().chain(learned).collect()
}

/// One row for each kind of notice, with every severity, status and state among them.
fn outbox() -> Vec<OutboxRow> {
    let states = [
        OutboxState::Pending,
        OutboxState::Sent,
        OutboxState::Dead,
        OutboxState::Acked,
        OutboxState::Superseded,
        OutboxState::Off,
    ];
    let row = |(number, kind): (usize, &NoticeKind)| OutboxRow {
        notice: notice(*kind, number),
        owner: "payments".to_owned(),
        channel: "email".to_owned(),
        attempts: 2,
        retry_at: NOW,
        state: states[number % states.len()],
        at: NOW,
        why: number.is_multiple_of(2).then(|| "timed out".to_owned()),
        message: number.is_multiple_of(6).then(|| NoticeId::of(&["message"])),
        unsure: number.is_multiple_of(6),
    };
    NoticeKind::ALL.iter().enumerate().map(row).collect()
}

fn history() -> Vec<HistoryRow> {
    let ends = [
        (Trigger::Schedule, RotationResult::Succeeded),
        (Trigger::Operator, RotationResult::Failed),
        (Trigger::Drift, RotationResult::Halted),
        (Trigger::Expiry, RotationResult::Succeeded),
    ];
    let rotation = |(trigger, result)| HistoryRow::Rotation {
        name: name(),
        rotation: rotation(trigger, OnCreate::Unknown, Some(result)),
    };
    let mut rows: Vec<_> = ends.map(rotation).into();
    rows.push(HistoryRow::Notice { notice: notice(NoticeKind::KeyExpiring, 0), owner: "payments".to_owned() });
    let own = Notice { key: None, provider: Some("sms".to_owned()), ..notice(NoticeKind::ProviderRefused, 1) };
    rows.push(HistoryRow::Notice { notice: own, owner: "platform".to_owned() });
    rows.push(HistoryRow::Read {
        name: name(),
        at: NOW,
        by: "unit:billing.service".to_owned(),
        version: 5,
        via: "credential".to_owned(),
        times: 1,
        last: None,
    });
    let command = |name, verb: &str, actor, result| HistoryRow::Command {
        name,
        at: NOW,
        verb: verb.to_owned(),
        options: vec!["--now".to_owned()],
        actor,
        reason: Some("a leaver".to_owned()),
        result,
    };
    let anna = Actor { uid: 0, login_uid: Some(1000), user: Some("anna".to_owned()) };
    rows.push(command(Some(name()), "rotate", Some(anna), None));
    rows.push(command(None, "reload", None, Some("in use: 2 keys".to_owned())));
    rows
}

fn name() -> KeyName {
    "billing-sms".parse().unwrap()
}

fn account() -> AccountId {
    "sms".into()
}

fn target() -> TargetId {
    TargetId::new("file", "/etc/billing/sms.key")
}

fn fingerprint(text: &str) -> Fingerprint {
    Fingerprint::of(text.as_bytes())
}

fn token(n: u32) -> Token {
    format!("0a1b2c3d-4e5f60-billing-sms-{n}").parse().unwrap()
}

fn version(number: u32, expiry: Expiry) -> Version {
    let known = (expiry != Expiry::Unknown).then_some(NOW);
    Version {
        number,
        account: account(),
        id: known.map(|_| format!("id-{number}")),
        fingerprint: fingerprint(&format!("f{number}")),
        token: known.map(|_| token(number)),
        obtained_at: NOW,
        valid_from: known,
        valid_to: known,
        expiry,
        first_alive: known,
        last_alive: known,
        dead_since: known,
        restriction: known.map(|_| "192.0.2.10".to_owned()),
        delivered: known.is_some(),
        was_current: known.is_some(),
    }
}

fn wish(trigger: Trigger) -> Wish {
    let actor = Actor { uid: 0, login_uid: Some(1000), user: Some("anna".to_owned()) };
    Wish { trigger, actor: Some(actor), reason: Some("leaked".to_owned()), now: true, compromised: true }
}

fn rotation(trigger: Trigger, on_create: OnCreate, result: Option<RotationResult>) -> Rotation {
    let delivery = Delivery { at: NOW, ms: 3, result: "delivered".to_owned(), attempts: 1 };
    Rotation {
        attempt: 6,
        wish: wish(trigger),
        rollback: true,
        account: account(),
        on_create,
        overlap_ms: 259_200_000,
        started_at: NOW,
        finished_at: result.map(|_| NOW),
        result,
        version: result.map(|_| 5),
        cut_at: result.map(|_| NOW),
        cutover_gap_ms: result.map(|_| 12),
        phases: vec![("create".to_owned(), NOW), ("verify".to_owned(), NOW)],
        deliveries: BTreeMap::from([(target(), delivery)]),
    }
}

fn notice(kind: NoticeKind, number: usize) -> Notice {
    let next = Next {
        action: "rotate".to_owned(),
        at: NOW,
        reason: "due_before_expiry".to_owned(),
        message: "in the next window".to_owned(),
    };
    Notice {
        id: NoticeId::of(&["billing-sms", kind.code()]),
        kind,
        key: Some(name()),
        provider: None,
        severity: Severity::ALL[number % Severity::ALL.len()],
        incident: "billing-sms/expiring".to_owned(),
        status: NoticeStatus::ALL[number % NoticeStatus::ALL.len()],
        at: NOW,
        summary: "billing-sms expires in a day".to_owned(),
        means: (kind == NoticeKind::KeyRefused).then(|| "nobody can say whether it works".to_owned()),
        actions: vec!["rekeyd rotate billing-sms".to_owned()],
        version: Some(5),
        fingerprint: Some(fingerprint("f5")),
        valid_to: Some(NOW),
        next: number.is_multiple_of(2).then_some(next),
        escalates: number.is_multiple_of(3),
        at_worst: number.is_multiple_of(3).then_some(Severity::Critical),
        ranks_at: None,
        meant_for: if number.is_multiple_of(5) { vec!["shop".to_owned()] } else { Vec::new() },
        digest: if kind == NoticeKind::Digest {
            DigestSection::ALL.iter().map(|it| digest_line(*it)).collect()
        } else {
            Vec::new()
        },
    }
}

fn digest_line(section: DigestSection) -> DigestLine {
    DigestLine {
        section,
        key: Some(name()),
        at: Some(NOW),
        message: "version 5".to_owned(),
        action: Some("rekeyd status billing-sms".to_owned()),
    }
}

//! One key's row of `status`.
use super::concerns::{actions, attention, choices};
use super::next::next;
use crate::control::protocol::{
    BlockedStatus, ErrorStatus, HaltedStatus, KeyStatus, LastRotation, OldVersion, PausedStatus, VersionStatus,
};
use crate::core::facts::Blocked;
use crate::core::names::KeyName;
use crate::core::record::{Ended, LastError, Phase, Reason, Record, Retired, Rotation, Version};
use crate::core::time::Timestamp;
use crate::standing::{Subject, bare_phase, concerns, health, phase_name};

pub(super) fn status(subject: &Subject<'_>) -> KeyStatus {
    let record = subject.record;
    let concerns = concerns(subject);
    KeyStatus {
        name: subject.name.clone(),
        provider: subject.section.map(|it| it.name.clone()),
        kind: subject.section.map(|it| it.kind.to_owned()),
        owners: owners(subject),
        phase: phase_name(subject),
        health: health(subject, &concerns),
        attention: concerns.iter().map(|it| attention(subject, it)).collect(),
        actions: actions(subject, &concerns),
        current: record.and_then(|it| it.current.as_ref()).map(version),
        pending: record.and_then(Record::pending).map(version),
        previous: record.and_then(Record::retiring).map(|it| version(&it.version)),
        old: record.map(|it| old(it, subject.now)).unwrap_or_default(),
        next: next(subject),
        failures: record.map_or(0, |it| it.failures),
        blocked: subject.blocked.map(blocked),
        last_error: record.and_then(|it| it.last_error.as_ref()).map(last_error),
        paused: paused(subject),
        halted: halted(subject),
        last_rotation: record.and_then(|it| it.last_rotation.as_ref()).map(last_rotation),
    }
}

/// Those whom the config names, or named last.
fn owners(subject: &Subject<'_>) -> Vec<String> {
    let last = subject.record.map(|it| &it.owners);
    subject.config.map(|it| &it.owners).or(last).cloned().unwrap_or_default()
}

/// Those that the provider may still accept, the newest first.
fn old(record: &Record, now: Timestamp) -> Vec<OldVersion> {
    let live = |it: &&Retired| match it.ended {
        None => true,
        Some(ended) => ended == Ended::Reported && it.version.valid_to.is_none_or(|end| end > now),
    };
    let mut old: Vec<&Retired> = record.retired.iter().filter(live).collect();
    old.sort_by_key(|it| std::cmp::Reverse(it.version.number));
    let row = |it: &&Retired| OldVersion {
        version: version(&it.version),
        not_before: it.after.into(),
        reported: it.ended == Some(Ended::Reported),
    };
    old.iter().map(row).collect()
}

fn version(it: &Version) -> VersionStatus {
    VersionStatus {
        version: it.number,
        id: it.id.clone(),
        fingerprint: it.fingerprint.clone(),
        valid_from: it.valid_from.map(Into::into),
        valid_to: it.valid_to.map(Into::into),
        expiry: it.expiry,
    }
}

fn blocked(why: &Blocked) -> BlockedStatus {
    BlockedStatus { reason: why.code().to_owned(), until: why.until().map(Into::into), message: why.to_string() }
}

/// A rotation has begun, and its create waits: for what, since when, and what would help where nothing is wrong.
pub(super) fn waits(subject: &Subject<'_>, why: &Blocked) -> String {
    let name = subject.name;
    let since = subject.record.and_then(|it| it.rotation.as_ref()).map(|it| it.started_at.whole_second());
    let waits = since.map_or("it waits".to_owned(), |it| format!("it has waited since {it}"));
    let sooner = match why {
        Blocked::Window(_) | Blocked::Freeze(..) => format!("; sooner: rekeyd rotate --now {name}"),
        Blocked::Account => subject.account.and_then(|it| it.locked_by()).map(other).unwrap_or_default(),
        _ => String::new(),
    };
    format!("{waits} to create a new key: {why}{sooner}")
}

fn other(name: &KeyName) -> String {
    format!(": rekeyd status {name}")
}

fn last_error(it: &LastError) -> ErrorStatus {
    ErrorStatus { at: it.at.into(), phase: it.phase.clone(), reason: it.reason.clone(), message: it.message.clone() }
}

fn paused(subject: &Subject<'_>) -> Option<PausedStatus> {
    let record = subject.record.filter(|it| it.is_paused(subject.now))?;
    let it = record.paused.as_ref()?;
    Some(PausedStatus {
        since: it.since.into(),
        until: it.until.map(Into::into),
        reason_given: it.reason.clone(),
        actor: it.actor.clone(),
    })
}

fn halted(subject: &Subject<'_>) -> Option<HaltedStatus> {
    let Phase::Halted { reason, at, resume } = subject.phase() else { return None };
    Some(HaltedStatus {
        phase: bare_phase(resume),
        reason: reason.code().to_owned(),
        at: (*at).into(),
        message: halt_message(*reason).to_owned(),
        choices: choices(subject).into_iter().map(str::to_owned).collect(),
    })
}

pub(super) fn halt_message(reason: Reason) -> &'static str {
    match reason {
        Reason::AmbiguousCreate => {
            "the answer of a create was lost, and the provider can't be asked whether it issued a key; \
             look in its portal, then adopt that key, or resume to create another"
        }
        Reason::UnexpectedKeys => "the provider shows more new keys than we created; adopt the right one, or resume",
        Reason::NoBaseline => {
            "the account holds keys that we don't know, so the new one can't be told from them; adopt the right one"
        }
        Reason::AnotherDaemon => "another rekeyd issues keys under this name; stop one of the two, then resume",
        Reason::SomebodyElseRotates => {
            "somebody else changes this key at the provider, or ends it, again and again; find out who, then resume"
        }
        Reason::Drifted => "somebody else changed this key; adopt theirs, or resume to replace it",
        Reason::KeyRefused => {
            "the provider refuses this key before its time, and nobody here revoked it; find out why, then resume to \
             replace it, or adopt another"
        }
        Reason::NewKeyRefused => "the provider refuses every key that it issues to us; ask it why, then resume",
        Reason::OldKeyDead => "the old key is dead and no new one could be had; adopt one from the portal, or resume",
        Reason::Restored => "the restored state does not match the provider and the targets; adopt the key in use",
        Reason::Damaged => {
            "the state lost what it knew of this key, and nothing is done for it; restore a backup (rekeyd restore FILE), or \
             adopt the key in use"
        }
        Reason::LoginLost => "the key that authorises our calls is refused, and so is its successor; adopt a valid one",
    }
}

fn last_rotation(it: &Rotation) -> LastRotation {
    LastRotation {
        attempt: it.attempt,
        started_at: it.started_at.into(),
        finished_at: it.finished_at.map(Into::into),
        result: it.result,
        cutover_gap_ms: it.cutover_gap_ms,
    }
}

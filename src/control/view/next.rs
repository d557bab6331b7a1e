//! What comes next for a key: one action, when, and why.
use super::key::waits;
use crate::control::protocol::NextStep;
use crate::core::by_hand::{is_awaited, next_reminder};
use crate::core::due::due_at;
use crate::core::policy::{Initial, Policy};
use crate::core::record::{Creating, Phase, Record, Version};
use crate::core::time::Timestamp;
use crate::standing::Subject;
use crate::standing::forecast::{expires_first, first, revoked_at};

/// `None` where nothing happens before a human acts, or where nothing is foreseen.
pub(super) fn next(subject: &Subject<'_>) -> Option<NextStep> {
    let config = subject.config?;
    let Some(record) = subject.record else {
        return (config.policy.initial == Initial::Create).then(|| first_create(subject));
    };
    match &record.phase {
        Phase::Halted { .. } => None,
        Phase::Unadopted => (config.policy.initial == Initial::Create).then(|| first_create(subject)),
        Phase::Reobserve { .. } => {
            Some(soon(subject, "verify", "restored", "provider and targets are read before anything is done"))
        }
        Phase::Steady | Phase::Announce { .. } => at_rest(subject, record),
        Phase::Create(creating) => create(subject, record, creating),
        Phase::Verify { .. } if !config.policy.provider.creates => {
            Some(soon(subject, "deliver", "not_delivered", "the new key goes to its targets, in its window"))
        }
        Phase::Judge { .. } | Phase::Verify { .. } | Phase::Cutover { delivered_at: Some(_), .. } => {
            Some(soon(subject, "verify", "not_verified", "the provider is asked whether it accepts the new key"))
        }
        Phase::Deliver { .. } | Phase::Cutover { .. } => {
            Some(soon(subject, "deliver", "not_delivered", "the new key is on its way to its targets"))
        }
    }
}

fn first_create(subject: &Subject<'_>) -> NextStep {
    soon(subject, "rotate", "initial_create", "the first key is created as soon as every target is seen to be empty")
}

fn create(subject: &Subject<'_>, record: &Record, creating: &Creating) -> Option<NextStep> {
    if record.is_paused(subject.now) && creating.token.is_none() {
        let until = record.paused.as_ref().and_then(|it| it.until)?;
        return Some(step("rotate", until, "paused", "a new key is created when the pause has ended"));
    }
    if creating.token.is_none()
        && let Some(why) = subject.blocked
    {
        let at = why.until().unwrap_or_else(|| wake(subject)).max(subject.now);
        return Some(step("rotate", at, "waiting", &waits(subject, why)));
    }
    if record.failures > 0 || creating.lost > 0 {
        let at = record.retry_at.unwrap_or_else(|| wake(subject));
        return Some(step(
            "retry",
            at.max(subject.now),
            "create_failed",
            "the new key is created again, or looked for",
        ));
    }
    Some(soon(subject, "rotate", "in_progress", "a new key is being created"))
}

/// The earliest of a retry, the announcement or the beginning of a rotation, and the end of an old version.
fn at_rest(subject: &Subject<'_>, record: &Record) -> Option<NextStep> {
    let current = record.current.as_ref()?;
    let retry = record.retry_at.filter(|it| *it > subject.now && record.failures > 0);
    let retry = retry.map(|at| step("retry", at, "failed", "what failed last is tried again"));
    let steps = [retry, rotation(subject, record, current), revocation(subject, record)];
    steps.into_iter().flatten().min_by_key(|it| it.at)
}

fn rotation(subject: &Subject<'_>, record: &Record, current: &Version) -> Option<NextStep> {
    let policy = &subject.config?.policy;
    if !policy.provider.creates {
        return by_hand(subject, record, current, policy);
    }
    let start = first(subject, record, current)?;
    let late = if expires_first(subject, record, current) { "; it expires before that" } else { "" };
    if let Some(at) = start.announced_at {
        let message = format!("the owners are told of the cutover planned for {}{late}", start.at);
        return Some(step("announce", at, start.reason, &message));
    }
    Some(step("rotate", start.at, start.reason, &format!("{}{late}", start.message)))
}

/// A human is reminded, and nothing else happens.
fn by_hand(subject: &Subject<'_>, record: &Record, current: &Version, policy: &Policy) -> Option<NextStep> {
    let due = due_at(current, policy)?;
    let at = next_reminder(current, policy, subject.now);
    if !is_awaited(current, &record.phase, policy, subject.now) {
        let message = "it is replaced by hand; the owners are reminded when it is due";
        return Some(step("notify", at?, "replaced_by_hand", message));
    }
    let (name, due) = (subject.name, due.whole_second());
    let message = format!("waiting for a new key by hand since {due}: rekeyd rotate {name}");
    Some(step("notify", at.unwrap_or(subject.now), "waits_for_new_key", &message))
}

fn revocation(subject: &Subject<'_>, record: &Record) -> Option<NextStep> {
    let old = record.retiring()?;
    let policy = &subject.config?.policy;
    if record.is_paused(subject.now) && record.paused.as_ref().is_some_and(|it| it.until.is_none()) {
        return None;
    }
    let paused = record.paused.as_ref().and_then(|it| it.until).unwrap_or(old.after);
    let not_before = old.after.max(old.retry_at.unwrap_or(old.after)).max(paused).max(subject.now);
    let (at, _) = revoked_at(policy, not_before, old.after <= old.since)?;
    let message = format!("the overlap of version {} ends at {}", old.version.number, old.after);
    Some(step("revoke", at, "overlap_ends", &message))
}

fn soon(subject: &Subject<'_>, action: &str, reason: &str, message: &str) -> NextStep {
    step(action, wake(subject), reason, message)
}

fn wake(subject: &Subject<'_>) -> Timestamp {
    subject.wake_at.map_or(subject.now, |it| it.max(subject.now))
}

fn step(action: &str, at: Timestamp, reason: &str, message: &str) -> NextStep {
    NextStep { action: action.to_owned(), at: at.into(), reason: reason.to_owned(), message: message.to_owned() }
}

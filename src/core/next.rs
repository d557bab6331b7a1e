//! What comes next for a key, as its notices tell it: from its record and its policy alone. What the other keys of its provider
//! leave to it is in its slot; `rekeyd plan` reckons with all of them.
use super::account::Account;
use super::by_hand::next_reminder;
use super::gate::{announces, beginning, starts_at};
use super::plan::Next;
use super::policy::Policy;
use super::record::{Held, Phase, Record, Version};
use super::time::Timestamp;

/// `None` where nothing happens before a human acts, where it happens now, and where nothing is foreseen.
pub(super) fn next(record: &Record, account: &Account, policy: &Policy, now: Timestamp) -> Option<Next> {
    let steps = match &record.phase {
        Phase::Halted { .. } | Phase::Unadopted | Phase::Reobserve { .. } => return None,
        Phase::Announce { until } => vec![cutover(record, *until)],
        Phase::Create(_) => vec![retry(record, "create_failed", "the new key is created again, or looked for")],
        Phase::Judge { .. } | Phase::Verify { .. } | Phase::Deliver { .. } | Phase::Cutover { .. } => {
            vec![delivery(record)]
        }
        Phase::Steady => vec![
            retry(record, "failed", "what failed last is tried again"),
            delivery(record),
            revocation(record, policy),
            rotation(record, account, policy, now),
        ],
    };
    steps.into_iter().flatten().filter(|it| it.at > now).min_by_key(|it| it.at)
}

fn cutover(record: &Record, until: Timestamp) -> Option<Next> {
    let at = not_paused(record, until)?;
    Some(step("rotate", at, "announced", "the key is replaced, and the old one ends with it"))
}

fn retry(record: &Record, reason: &str, message: &str) -> Option<Next> {
    Some(step("retry", record.retry_at?, reason, message))
}

fn delivery(record: &Record) -> Option<Next> {
    let at = record.held.values().filter_map(|it: &Held| it.retry_at).min()?;
    Some(step("deliver", at, "not_delivered", "the delivery that failed is tried again"))
}

fn revocation(record: &Record, policy: &Policy) -> Option<Next> {
    let old = record.retiring()?;
    let not_before = not_paused(record, old.after.max(old.retry_at.unwrap_or(old.after)))?;
    let at = policy.calendar().open_from(not_before)?;
    let message = format!("version {} is revoked, if nothing speaks against it", old.version.number);
    Some(step("revoke", at, "overlap_ends", &message))
}

fn rotation(record: &Record, account: &Account, policy: &Policy, now: Timestamp) -> Option<Next> {
    let current = record.current.as_ref()?;
    if !policy.provider.creates {
        return by_hand(current, policy, now);
    }
    let from = not_paused(record, starts_at(record, policy)?.max(now))?;
    if announces(account, policy) {
        return Some(step("announce", from, "due_before_expiry", "you are told when the key will be replaced"));
    }
    let at = beginning(record, policy, from, None).at;
    (at != Timestamp::NEVER).then(|| step("rotate", at, "due_before_expiry", "the key is replaced before it ends"))
}

fn by_hand(current: &Version, policy: &Policy, now: Timestamp) -> Option<Next> {
    let at = next_reminder(current, policy, now)?;
    Some(step("notify", at, "replaced_by_hand", "you are reminded, if there is no new key by then"))
}

/// Where a pause has no end, nothing comes next.
fn not_paused(record: &Record, at: Timestamp) -> Option<Timestamp> {
    match &record.paused {
        None => Some(at),
        Some(pause) => pause.until.map(|it| it.max(at)),
    }
}

fn step(action: &str, at: Timestamp, reason: &str, message: &str) -> Next {
    Next { action: action.to_owned(), at, reason: reason.to_owned(), message: message.to_owned() }
}

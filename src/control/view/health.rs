//! How worried to be about a key, by consequence: is a consumer, or will it soon be, without a working key?
use super::Subject;
use super::forecast::expires_first;
use crate::control::protocol::Health;
use crate::core::due;
use crate::core::facts::Blocked;
use crate::core::policy::Reach;
use crate::core::record::{Phase, Record, Version};
use std::time::Duration;

/// A key that nothing will replace is critical when less than this is left.
const LAST_DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn health(subject: &Subject<'_>) -> Health {
    let current = subject.record.and_then(|it| it.current.as_ref());
    if current.is_some_and(|it| it.valid_to.is_some_and(|end| end <= subject.now)) {
        Health::Expired
    } else if current.is_some_and(|it| is_critical(subject, it)) {
        Health::Critical
    } else if needs_attention(subject) {
        Health::Attention
    } else {
        Health::Ok
    }
}

/// The verbs that end a halt. Giving up the new key is none of them while the old one may not last.
pub(super) fn choices(subject: &Subject<'_>) -> Vec<&'static str> {
    let current = subject.record.and_then(|it| it.current.as_ref());
    let lasts = current.is_some_and(|it| it.dead_since.is_none() && !is_near_end(subject, it));
    if lasts { vec!["resume", "abandon", "adopt"] } else { vec!["resume", "adopt"] }
}

fn is_critical(subject: &Subject<'_>, current: &Version) -> bool {
    let waits = subject.config.is_none() || matches!(subject.phase(), Phase::Halted { .. } | Phase::Reobserve { .. });
    let fails = subject.record.is_some_and(|it| it.failures > 0);
    // In a cutover the current version is the new one: that it is refused at first is no trouble yet.
    let dead = current.dead_since.is_some() && !matches!(subject.phase(), Phase::Cutover { .. });
    dead || (waits && is_left(subject, current, LAST_DAY)) || (fails && is_near_end(subject, current))
}

fn is_near_end(subject: &Subject<'_>, version: &Version) -> bool {
    match subject.config {
        Some(key) => due::is_near_end(version, &key.policy, subject.now),
        None => is_left(subject, version, LAST_DAY),
    }
}

fn is_left(subject: &Subject<'_>, version: &Version, less_than: Duration) -> bool {
    version.valid_to.is_some_and(|end| end.since(subject.now) < less_than)
}

fn needs_attention(subject: &Subject<'_>) -> bool {
    // A closed window, a freeze and another key's turn are waits by design.
    let blocked =
        subject.blocked.is_some_and(|it| !matches!(it, Blocked::Window(_) | Blocked::Freeze(..) | Blocked::Account));
    let waits = matches!(subject.phase(), Phase::Halted { .. } | Phase::Unadopted);
    waits
        || blocked
        || expires_unreplaced(subject)
        || subject.record.is_some_and(|it| it.failures > 0 || is_undelivered(subject, it))
}

/// Whether its windows and freezes leave no moment to replace the current version before it expires.
fn expires_unreplaced(subject: &Subject<'_>) -> bool {
    let Some((record, current)) = subject.record.and_then(|it| Some((it, it.current.as_ref()?))) else { return false };
    expires_first(subject, record, current)
}

/// Whether a target that we bring the key to failed, or lacks the current version although nothing is under way.
fn is_undelivered(subject: &Subject<'_>, record: &Record) -> bool {
    let (Some(config), Some(current)) = (subject.config, &record.current) else { return false };
    config.policy.targets.iter().filter(|it| matches!(it.reach, Reach::Push { .. })).any(|target| {
        let held = record.held.get(&target.id);
        let lacks = record.phase == Phase::Steady && held.is_none_or(|it| !it.is_settled_at(current.number));
        lacks || held.is_some_and(|it| it.failures > 0)
    })
}

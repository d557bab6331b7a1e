//! When a version must be replaced, and how much time is left.
use super::policy::{Policy, RotateBefore};
use super::record::{Expiry, Version};
use super::time::Timestamp;
use std::time::Duration;

/// Whatever the config asks for, a key is not due before half of its lifetime has passed: a provider that grants less
/// than was asked for would otherwise be asked again at once, for ever.
const MOST_LEAD: u32 = 2;
/// The most that the last safe moment lies before expiry on account of a long lifetime.
pub const MOST_SAFETY: Duration = Duration::from_secs(24 * 60 * 60);

/// When this version is due to be replaced; `None` where neither its expiry nor `max_age` says so. One that was adopted and
/// of which nobody knows how old it is may end at any moment: it is due at once.
pub fn due_at(version: &Version, policy: &Policy) -> Option<Timestamp> {
    if is_of_unknown_age(version) {
        return Some(version.obtained_at);
    }
    let by_expiry = version.valid_to.map(|end| end.minus(lead(lifetime(version).unwrap_or_default(), policy)));
    let by_age = policy.max_age.map(|age| begin(version).plus(age));
    by_expiry.into_iter().chain(by_age).min()
}

/// Whether nobody knows when it was issued, nor when it ends.
pub fn is_of_unknown_age(version: &Version) -> bool {
    version.expiry == Expiry::Unknown && version.valid_from.is_none() && version.token.is_none()
}

/// The last moment in which a replacement can still be created, accepted and delivered before expiry.
pub fn last_safe_moment(version: &Version, policy: &Policy) -> Option<Timestamp> {
    let life = lifetime(version)?;
    let safety = policy.accept_within.max((life / 10).min(MOST_SAFETY)).min(life / MOST_LEAD);
    version.valid_to.map(|end| end.minus(safety))
}

/// Whether less is left than `escalate_before`, or than a third of the lifetime.
pub fn is_near_end(version: &Version, policy: &Policy, now: Timestamp) -> bool {
    let (Some(end), Some(life)) = (version.valid_to, lifetime(version)) else { return false };
    end.since(now) < policy.escalate_before.min(life / 3)
}

/// How much of its life is left; `None` where nobody knows its end.
pub fn left(version: &Version, now: Timestamp) -> Option<Duration> {
    version.valid_to.map(|end| end.since(now))
}

/// From its begin to its end; `None` where nobody knows its end.
pub fn lifetime(version: &Version) -> Option<Duration> {
    version.valid_to.map(|end| end.since(begin(version)))
}

fn begin(version: &Version) -> Timestamp {
    // A documented trap: `validFrom` may lie after `validTo`.
    let from = version.valid_from.filter(|from| version.valid_to.is_none_or(|to| *from < to));
    from.unwrap_or(version.obtained_at)
}

/// How long before its expiry a key of this lifetime is due.
pub fn lead(life: Duration, policy: &Policy) -> Duration {
    asked(life, policy).min(life / MOST_LEAD)
}

/// The same as the config asks for it, be that more than counts.
pub fn asked(life: Duration, policy: &Policy) -> Duration {
    match policy.rotate_before {
        RotateBefore::Lead(it) => it,
        RotateBefore::Share(percent) => life.mul_f64((percent / 100.0).clamp(0.0, 1.0)),
    }
}

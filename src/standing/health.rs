//! How worried to be about a key, by consequence: is a consumer, or will it soon be, without a working key?
use super::concern::ends_in_time;
use super::phase::words;
use super::{Concern, Subject};
use crate::core::due;
use crate::core::record::{Phase, Version};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A key that nothing will replace is critical when less than this is left.
pub(super) const LAST_DAY: Duration = Duration::from_secs(24 * 60 * 60);

words! {
    /// How worried to be.
    Health {
        /// Not at all.
        Ok = "ok",
        /// A human should look.
        Attention = "attention",
        /// A consumer is, or within a day will be, without a working key.
        Critical = "critical",
        /// The current key has expired.
        Expired = "expired",
    }
}

/// How worried to be about a key with these concerns.
pub fn health(subject: &Subject<'_>, concerns: &[Concern<'_>]) -> Health {
    concerns.iter().map(|it| weight(subject, it)).max().unwrap_or(Health::Ok)
}

fn weight(subject: &Subject<'_>, concern: &Concern<'_>) -> Health {
    let current = subject.record.and_then(|it| it.current.as_ref());
    let reobserves = matches!(subject.phase(), Phase::Reobserve { .. });
    let is_critical = match concern {
        Concern::Expired { .. } => return Health::Expired,
        // As somebody wanted it, and it ends by itself.
        Concern::Paused(pause) if ends_in_time(subject, pause) => return Health::Ok,
        Concern::Refused { .. } => true,
        Concern::Undelivered { dire, .. } => *dire || in_gap(subject),
        // These wait for a human.
        Concern::Halted { .. }
        | Concern::Overdue { .. }
        | Concern::TooLate { .. }
        | Concern::Unmanaged
        | Concern::Paused(_) => current.is_some_and(|it| subject.is_left(it, LAST_DAY)),
        // These may heal in time.
        Concern::Stuck { .. } | Concern::Failing { .. } | Concern::Blocked(_) => {
            current.is_some_and(|it| subject.is_near_end(it) || (reobserves && subject.is_left(it, LAST_DAY)))
        }
        Concern::Unverified { .. } | Concern::Unrevoked { .. } | Concern::RevokeNeeded(_) | Concern::Unadopted(_) => {
            false
        }
    };
    if is_critical { Health::Critical } else { Health::Attention }
}

/// In a cutover every target that lacks the new key has a dead one.
fn in_gap(subject: &Subject<'_>) -> bool {
    matches!(subject.phase(), Phase::Cutover { delivered_at: None, .. })
}

impl Subject<'_> {
    /// Whether so little is left of a version that what fails now may not heal in time.
    pub fn is_near_end(&self, version: &Version) -> bool {
        match self.config {
            Some(key) => due::is_near_end(version, &key.policy, self.now),
            None => self.is_left(version, LAST_DAY),
        }
    }

    /// Whether less than this is left of a version.
    pub fn is_left(&self, version: &Version, less_than: Duration) -> bool {
        version.valid_to.is_some_and(|end| end.since(self.now) < less_than)
    }
}

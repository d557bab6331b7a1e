//! The durable state of one account at a provider: what belongs neither to a single key nor to a section of the config.
use super::names::{AccountId, Fingerprint, KeyName, Token};
use super::policy::OnCreate;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A daily create budget counts the creates of the last this long.
pub const BUDGET_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

/// So many creates of an account are in flight at most; further keys wait. Each may need the escrow until its outcome is durable,
/// which has room for those of sixteen accounts.
pub const IN_FLIGHT: usize = 16;

/// What is durable of an account.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Which account.
    pub id: AccountId,
    /// The fingerprints of all keys that were ever seen there, where keys are told apart by difference.
    pub known: BTreeSet<Fingerprint>,
    /// Whether `known` was once complete, so that a difference means something.
    pub baseline: bool,
    /// Create attempts that have not ended: in flight, or lost and looked for.
    pub open: BTreeMap<Token, Open>,
    /// When each create of the last 24 hours was sent.
    pub creates: Vec<Timestamp>,
    /// What was learned of `on_create` where nobody says.
    pub learned: Option<OnCreate>,
    /// The provider asked us to send nothing before this moment.
    pub held_until: Option<Timestamp>,
}

/// A create attempt that has not ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// When its intent was made durable, directly before the call.
    pub sent_at: Timestamp,
    /// When its answer was given up; until then it is in flight.
    pub lost_at: Option<Timestamp>,
    /// What the account's current key was before, where it can be read.
    pub before: Option<Fingerprint>,
    /// The group of keys that it belongs to.
    pub package: Option<String>,
    /// Whether it still holds the account's lock. A halted key releases the account; its tokens stay counted.
    pub locks: bool,
    /// When it was reported to the owners as not found.
    pub reported_at: Option<Timestamp>,
    /// Whether the key that it left behind is being revoked: it is never adopted any more.
    pub ending: bool,
    /// How often revoking that key failed.
    pub failures: u32,
    /// When that is tried next.
    pub retry_at: Option<Timestamp>,
}

impl Account {
    /// An account that nothing is known of.
    pub fn new(id: AccountId) -> Self {
        Self {
            id,
            known: BTreeSet::new(),
            baseline: false,
            open: BTreeMap::new(),
            creates: Vec::new(),
            learned: None,
            held_until: None,
        }
    }

    /// The key that holds the account's lock: one of its creates has not ended.
    pub fn locked_by(&self) -> Option<&KeyName> {
        self.open.iter().find(|(_, open)| open.locks).map(|(token, _)| &token.name)
    }

    /// How many more creates may be in flight.
    pub fn turns(&self) -> usize {
        IN_FLIGHT.saturating_sub(self.open.values().filter(|it| it.lost_at.is_none()).count())
    }

    /// How many creates are left within the budget at `now`.
    pub fn creates_left(&self, per_day: u32, now: Timestamp) -> u32 {
        let since = now.minus(BUDGET_PERIOD);
        let used = self.creates.iter().filter(|it| **it > since).count();
        per_day.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }

    /// When the budget allows a create again; `now` where it does already.
    pub fn budget_at(&self, per_day: u32, now: Timestamp) -> Timestamp {
        if self.creates_left(per_day, now) > 0 {
            return now;
        }
        let mut times = self.creates.clone();
        times.sort_unstable();
        let nth = times.len().checked_sub(per_day as usize).and_then(|it| times.get(it));
        nth.map_or(Timestamp::NEVER, |it| it.plus(BUDGET_PERIOD))
    }

    /// Takes one create out of the budget, and forgets those that no longer count.
    pub fn reserve(&mut self, now: Timestamp) {
        let since = now.minus(BUDGET_PERIOD);
        self.creates.retain(|it| *it > since && *it <= now);
        self.creates.push(now);
    }

    /// Returns a create that was certainly not sent.
    pub fn refund(&mut self, sent_at: Timestamp) {
        if let Some(at) = self.creates.iter().position(|it| *it == sent_at) {
            self.creates.remove(at);
        }
    }
}

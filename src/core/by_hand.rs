//! Keys that nobody can be asked for: a human gets a new one and brings it. Until then the owners are reminded; from then
//! on it goes the way of every other new key.
use super::due;
use super::notices::{Tell, thresholds};
use super::pass::Pass;
use super::plan::{NoticeKind, Severity};
use super::policy::Policy;
use super::record::{Phase, RotationResult, Version};
use super::rules::Rule;
use super::time::Timestamp;
use std::time::Duration;

/// A key that is due and is not replaced is told again after this long, beside the thresholds before its expiry.
pub const REMIND_EVERY: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The first reminder after a moment: when the key is due, every [`REMIND_EVERY`] from then on, at each threshold before its
/// expiry, and at the expiry. `None` where it is never due, or has expired.
pub fn next_reminder(version: &Version, policy: &Policy, after: Timestamp) -> Option<Timestamp> {
    let due = due::due_at(version, policy)?;
    if after < due {
        return Some(due);
    }
    let again = due.plus(REMIND_EVERY.saturating_mul(repeats(due, after).saturating_add(1)));
    let Some(end) = version.valid_to else { return Some(again) };
    let before = thresholds_from(version, policy, due).into_iter().chain([end]);
    before.chain([again.min(end)]).filter(|at| *at > after).min()
}

/// The newest reminder that has come; `None` before the key is due.
fn last_reminder(version: &Version, policy: &Policy, now: Timestamp) -> Option<Timestamp> {
    let due = due::due_at(version, policy).filter(|it| *it <= now)?;
    let again = due.plus(REMIND_EVERY.saturating_mul(repeats(due, now)));
    thresholds_from(version, policy, due).into_iter().chain([again]).filter(|at| *at <= now).max()
}

fn repeats(due: Timestamp, now: Timestamp) -> u32 {
    u32::try_from(now.since(due).as_millis() / REMIND_EVERY.as_millis()).unwrap_or(u32::MAX)
}

/// The thresholds that come after the key is due.
fn thresholds_from(version: &Version, policy: &Policy, due: Timestamp) -> Vec<Timestamp> {
    let (Some(end), Some(life)) = (version.valid_to, due::lifetime(version)) else { return Vec::new() };
    thresholds(policy, life).into_iter().map(|it| end.minus(it)).filter(|at| *at > due).collect()
}

/// Whether a key that only a human can replace is to be replaced now.
pub fn is_awaited(version: &Version, phase: &Phase, policy: &Policy, now: Timestamp) -> bool {
    let due = due::due_at(version, policy).is_some_and(|at| at <= now);
    !policy.provider.creates && *phase == Phase::Steady && due
}

impl Pass<'_> {
    /// Whether nobody can be asked for a new key.
    pub(super) fn is_by_hand(&self) -> bool {
        !self.policy.provider.creates && self.holds(Rule::ByHand)
    }

    /// The provider became one that nobody can ask, while a create was owed. One that is on the wire is not lost: its
    /// answer is kept whenever it comes, and its token stays watched.
    pub(super) fn give_up_creating(&mut self) {
        self.unlock();
        self.enter(Phase::Steady);
        self.finish_rotation(RotationResult::Failed);
    }

    /// A key that was brought by hand is delivered in a window, as one that is created would be.
    pub(super) fn supplied_key_waits(&mut self) -> bool {
        let at = self.begins(None);
        let waits = self.is_by_hand() && at > self.now && self.holds(Rule::Window);
        if waits {
            self.wait_until(at);
        }
        waits
    }

    pub(super) fn waits_for_hand(&self, current: &Version) -> bool {
        is_awaited(current, &self.record.phase, self.policy, self.now)
    }

    /// Reminds the owners of a key that waits for them: the newest moment that has come is told, those before it count as
    /// told.
    pub(super) fn remind(&mut self, current: &Version) {
        if let Some(at) = next_reminder(current, self.policy, self.now) {
            self.wake(at);
        }
        let Some(come) = last_reminder(current, self.policy, self.now) else { return };
        let end = current.valid_to;
        let expired = end.filter(|it| *it <= self.now);
        let name = self.record.name.clone();
        let (kind, severity, when) = match (expired, end) {
            (Some(end), _) => {
                (NoticeKind::KeyExpired, Severity::Critical, format!("expired at {}", end.whole_second()))
            }
            (None, Some(end)) => {
                let hours = end.since(self.now).as_secs() / 3600;
                let when = format!("expires at {}, in {hours} hours", end.whole_second());
                (NoticeKind::KeyExpiring, self.severity_of_delay(), when)
            }
            (None, None) => {
                let due = due::due_at(current, self.policy).unwrap_or(self.now);
                (NoticeKind::KeyExpiring, self.severity_of_delay(), format!("is due since {}", due.whole_second()))
            }
        };
        let place = self.policy.instructions.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
        let cause = if expired.is_some() { "expired".to_owned() } else { format!("by hand {come}") };
        self.tell(Tell {
            kind,
            severity,
            incident: Some("expiring".into()),
            cause: &cause,
            summary: format!(
                "{name} {when}, and is replaced by hand: get a new key{place}, then give it to `rekeyd rotate {name}`"
            ),
            actions: vec![format!("rekeyd rotate {name}")],
            about: Some(current),
        });
    }
}

//! Work that takes too long: since when it is under way, and the one notice of it.
use super::account::Account;
use super::facts::{Blocked, Facts};
use super::names::Incarnation;
use super::notices::Tell;
use super::pass::{Pass, phase_name};
use super::plan::{Change, NoticeKind, Severity};
use super::policy::Policy;
use super::record::{Phase, Record};
use super::time::Timestamp;
use std::time::Duration;

/// Since when a rotation, or the look around after a restore, is under way; `None` where the key rests, or waits for a human.
pub fn under_way_since(record: &Record) -> Option<Timestamp> {
    let entered = match &record.phase {
        Phase::Unadopted | Phase::Steady | Phase::Announce { .. } | Phase::Halted { .. } => return None,
        Phase::Create(_) => None,
        Phase::Reobserve { since }
        | Phase::Judge { since, .. }
        | Phase::Verify { since, .. }
        | Phase::Deliver { since, .. }
        | Phase::Cutover { since, .. } => Some(*since),
    };
    record.rotation.as_ref().map(|it| it.started_at).or(entered)
}

/// What is told while an action of a rotation does not end, so that no pass is made: once, when it takes too long.
pub fn while_acting(
    record: &Record,
    account: &Account,
    policy: &Policy,
    by: &Incarnation,
    now: Timestamp,
) -> Option<Change> {
    let mut pass = Pass::new(record, account, policy, by, now);
    pass.tell_stuck(&Facts::default());
    (!pass.notices.is_empty()).then(|| pass.change(record))
}

impl Pass<'_> {
    /// The owners hear once of a rotation that takes longer than `stuck_after`, whatever holds it up.
    pub(super) fn tell_stuck(&mut self, facts: &Facts) {
        let (Some(rotation), after) = (self.record.rotation.as_ref(), self.policy.stuck_after) else { return };
        if under_way_since(&self.record).is_none() || after == Duration::ZERO || facts.clock_suspect {
            return;
        }
        let since = rotation.started_at;
        // A human holds it back, or it waits for its time. It is told with the next sweep, so that nobody is woken for it.
        let awaited = matches!(self.blocked, Some(Blocked::Window(_) | Blocked::Freeze(..)));
        if since.plus(after) > self.now || awaited || self.record.is_paused(self.now) {
            return;
        }
        let name = self.record.name.clone();
        let (phase, why) = (phase_name(&self.record.phase), self.why_stuck());
        let cause = format!("stuck {}", rotation.attempt);
        let tell = Tell {
            kind: NoticeKind::RotationFailed,
            severity: self.severity_of_delay().max(Severity::Warning),
            incident: Some("rotation".into()),
            cause: &cause,
            summary: format!(
                "{name}: its replacement has been under way since {}, longer than stuck_after, and is in {phase}{why}",
                since.whole_second()
            ),
            actions: vec![format!("rekeyd status {name}"), format!("rekeyd resume {name}")],
            about: None,
        };
        self.tell_that(tell, Some("The key is being replaced, and something holds that up."));
    }

    fn why_stuck(&self) -> String {
        let held = self.record.held.iter().filter(|it| it.1.failures > 0);
        let mut held = held.filter_map(|(target, it)| Some(format!(": {target}: {}", it.last_error.as_ref()?)));
        match (&self.blocked, held.next(), &self.record.last_error) {
            (Some(Blocked::Provider(why) | Blocked::Store(why) | Blocked::Target(_, why)), _, _) => format!(": {why}"),
            (Some(blocked), _, _) => format!(": {blocked}"),
            (None, Some(held), _) => held,
            (None, None, Some(error)) => format!(": {}", error.message),
            (None, None, None) => ": what was begun last has not ended".to_owned(),
        }
    }
}

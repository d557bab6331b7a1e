//! Somebody else's changes at the provider: a key that is none of ours, or the end of ours.
use super::backoff;
use super::facts::{Facts, Found, Probe};
use super::pass::Pass;
use super::policy::{OnDrift, Policy, Recover};
use super::record::{Reason, Trigger, Wish};
use super::rules::Rule;
use std::time::Duration;

/// So many probes of a key at rest must find it alive, before somebody else's change counts as over.
const QUIET_PROBES: u32 = 7;

/// How long a key must have lived before another change by somebody else is answered once more. A second daemon at the
/// account finds out only when it probes that its own key is dead, and then ends ours: whoever forgets sooner than that
/// rotates against it for ever, once for each probe.
pub(super) fn quiet(policy: &Policy) -> Duration {
    policy.accept_within.max(policy.probe_every.saturating_mul(QUIET_PROBES))
}

impl Pass<'_> {
    /// Steady: has somebody else changed the key?
    pub(super) fn note_drift(&mut self, facts: &Facts) {
        // A key that has moved to another account is told nothing by what that account holds.
        if self.record.current.as_ref().is_none_or(|it| it.account != self.policy.account) {
            return;
        }
        let reads = self.policy.provider.recover == Recover::ReadCurrent;
        match self.believable(facts.read.as_ref()).filter(|_| reads) {
            Some(found) => self.note_other_key(facts, &found),
            None => {
                self.note_own_key(facts);
                self.note_dead_key(facts);
            }
        }
    }

    /// The account's one key is ours again: whoever changed it has put it back.
    fn note_own_key(&mut self, facts: &Facts) {
        let read = facts.read.as_ref().and_then(|it| it.fingerprint.as_ref());
        let current = self.record.current.as_ref().filter(|it| it.dead_since.is_none());
        if read.is_some() && read == current.map(|it| &it.fingerprint) && self.record.rotation.is_none() {
            self.resolve("drifted");
        }
    }

    /// The account's one key is none that we know.
    fn note_other_key(&mut self, facts: &Facts, found: &Found) {
        // A create of ours whose answer was lost has its effect late: that is no drift.
        if let Some((token, _)) = self.my_lost_tokens().into_iter().min_by_key(|(_, open)| open.sent_at) {
            self.take_over(found);
            return self.close_read(&token);
        }
        let what = "somebody else changed the key at the provider";
        self.tell_drifted("drifted".into(), found.fingerprint.as_ref(), what);
        if self.is_held() {
            // That consumers hold a dead key is told all the same.
            return self.note_dead_key(facts);
        }
        match self.policy.on_drift {
            OnDrift::Adopt => self.take_over(found),
            OnDrift::Rotate => self.rotate_after_drift(),
            // A human has seen it, and wants it replaced.
            OnDrift::Halt if self.record.wish.as_ref().is_some_and(|it| it.trigger == Trigger::Drift) => {}
            OnDrift::Halt => self.halt(Reason::Drifted, what),
        }
    }

    /// The provider refuses the current key before its time: once that lasts, it is as if somebody had revoked it.
    fn note_dead_key(&mut self, facts: &Facts) {
        let Some(current) = &self.record.current else { return };
        let expired = current.valid_to.is_some_and(|it| it <= self.now);
        let refused_now = facts.probes.get(&current.number) == Some(&Probe::Dead);
        let Some(since) = current.dead_since.filter(|_| !expired) else { return };
        self.tell_refused();
        if self.is_held() {
            // Nothing is done about it for now: a look from time to time shows whether it still lasts.
            return self.wake(self.now.plus(backoff::look(self.now.since(since))));
        }
        self.poll(since);
        let lasts_from = since.plus(self.policy.settle);
        if lasts_from > self.now {
            return self.wake(lasts_from);
        }
        if !refused_now || self.record.wish.is_some() {
            return;
        }
        match self.policy.on_drift {
            OnDrift::Halt => self.halt(Reason::KeyRefused, "the provider refuses the key, and nobody here revoked it"),
            OnDrift::Adopt | OnDrift::Rotate => self.rotate_after_drift(),
        }
    }

    /// Creates once because of somebody else's change; again without a lasting success between means that somebody else
    /// rotates, and two that rotate against each other never end.
    fn rotate_after_drift(&mut self) {
        if self.record.drifts > 0 && self.holds(Rule::DriftLimit) {
            return self.halt(Reason::SomebodyElseRotates, "somebody else changes or ends the key again and again");
        }
        self.record.drifts += 1;
        self.wish_after_drift();
    }

    /// A consumer may be without a key already: no window is waited for, and no wait of an earlier attempt holds it up.
    pub(super) fn wish_after_drift(&mut self) {
        let trigger = Trigger::Drift;
        self.record.wish = Some(Wish { trigger, actor: None, reason: None, now: true, compromised: false });
        self.record.retry_at = None;
    }

    /// Takes a found key over as current, and brings it to the targets.
    pub(super) fn take_over(&mut self, found: &Found) {
        let made_at = self.earliest_maker(None);
        let Some(version) = self.new_version(found, None, made_at) else { return };
        if self.record.rotation.is_none() {
            self.begin_rotation(Trigger::Drift);
        }
        let cut_at = self.record.current.as_ref().and_then(|it| it.dead_since);
        self.cut_over_to(version, cut_at.unwrap_or(self.now), 0);
    }
}

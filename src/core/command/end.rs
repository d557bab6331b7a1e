//! The verbs at the end of a thing: `ack` of an incident, `retire` and `forget` of a key.
use crate::core::names::{Fingerprint, Token};
use crate::core::pass::Pass;
use crate::core::plan::CommandRefused;
use crate::core::reader;
use crate::core::record::{Ended, Expiry, Phase, RotationResult, Version};
use crate::core::rules::Rule;
use std::collections::BTreeSet;

impl Pass<'_> {
    /// A human has it. With `revoked`, he has also ended the old versions that could not be revoked from here.
    pub(super) fn acknowledge(&mut self, revoked: bool) -> Result<(), CommandRefused> {
        if revoked {
            return self.note_revoked_by_hand();
        }
        if self.record.incidents.is_empty() {
            return Err(CommandRefused::NothingFiring);
        }
        for incident in self.record.incidents.values_mut() {
            incident.acked = true;
        }
        Ok(())
    }

    /// A version in its overlap is not meant, nor one that a target may still hold: consumers may use it, and it is revoked
    /// when that is over.
    fn note_revoked_by_hand(&mut self) -> Result<(), CommandRefused> {
        let now = self.now;
        let holders = self.record.held.iter().filter(|(target, _)| !reader::is_reader(self.policy, target));
        let mut held: BTreeSet<u32> = holders.flat_map(|(_, it)| it.settled.iter().chain(&it.maybe)).copied().collect();
        if !reader::unread(&self.record, self.policy).is_empty() {
            // That its readers don't come is what a human was told of.
            let old = self.record.retired.iter().map(|it| &it.version).filter(|it| it.delivered);
            held.extend(old.map(|it| it.number).filter(|it| !self.is_told_unread(*it)));
        }
        let waits = self.record.retired.iter_mut().filter(|it| match it.ended {
            Some(ended) => ended == Ended::Reported,
            None => !held.contains(&it.version.number) && (it.after <= now || !it.version.delivered),
        });
        let mut any = false;
        for it in waits {
            it.ended = Some(Ended::Revoked);
            any = true;
        }
        any |= self.resolve_by_hand();
        if any { Ok(()) } else { Err(CommandRefused::NothingToRevoke) }
    }

    /// The key is out of service: whatever was ever issued for it ends, but for what other keys of the config use.
    pub(super) fn decommission(&mut self, in_use: &BTreeSet<Fingerprint>) {
        self.resolve_all();
        if let Some(current) = self.record.current.take() {
            self.retire_current(current, self.now);
        }
        if let Some(pending) = self.record.pending().cloned() {
            self.retire_version(pending, self.now);
        }
        for n in 0..self.record.retired.len() {
            self.end_with_the_key(n, in_use);
        }
        for (token, open) in &mut self.account.open {
            open.locks &= token.name != self.record.name;
        }
        for held in self.record.held.values_mut() {
            held.failures = 0;
            held.retry_at = None;
        }
        self.finish_rotation(RotationResult::Failed);
        self.enter(Phase::Unadopted);
        self.record.wish = None;
        self.record.paused = None;
        self.record.retry_at = None;
        self.record.failures = 0;
        self.record.decommissioned = self.record.decommissioned.or(Some(self.now));
    }

    /// An old version that was reported when the key left the config is revoked here after all, where that is possible.
    fn end_with_the_key(&mut self, n: usize, in_use: &BTreeSet<Fingerprint>) {
        let now = self.now;
        let it = &self.record.retired[n];
        let revokes = self.capabilities(&it.version.account).is_some_and(|it| it.revokes_by_id);
        let again = it.ended == Some(Ended::Reported) && revokes && it.version.id.is_some();
        let elsewhere = in_use.contains(&it.version.fingerprint);
        let it = &mut self.record.retired[n];
        if elsewhere {
            it.ended = it.ended.or(Some(Ended::Reported));
        } else if again {
            it.ended = None;
        }
        if it.ended.is_none() {
            it.after = it.after.min(now);
            it.retry_at = None;
        }
    }

    /// Nothing of it may be live, and nothing may turn up later.
    pub(super) fn forget(&mut self) -> Result<(), CommandRefused> {
        let own = |token: &Token| token.name == self.record.name;
        if self.account.open.iter().any(|(token, open)| own(token) && open.reported_at.is_none()) {
            return Err(CommandRefused::OpenCreate);
        }
        let live = self.record.live_versions().find(|it| !self.has_expired(it));
        if let Some(version) = live.filter(|_| self.holds(Rule::ForgetEnded)) {
            return Err(CommandRefused::MayLive(version.number));
        }
        self.resolve_forgotten();
        self.forgotten = true;
        Ok(())
    }

    /// An expiry that was only assumed proves nothing.
    fn has_expired(&self, version: &Version) -> bool {
        let stated = matches!(version.expiry, Expiry::Reported | Expiry::Stated);
        stated && version.valid_to.is_some_and(|at| at <= self.now)
    }
}

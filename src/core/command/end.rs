//! The verbs at the end of a thing: `ack` of an incident, `retire` and `forget` of a key.
use crate::core::names::Token;
use crate::core::pass::Pass;
use crate::core::plan::CommandRefused;
use crate::core::record::{Ended, Expiry, Version};

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

    /// A version in its overlap is not meant: consumers may use it, and it is revoked when that is over.
    fn note_revoked_by_hand(&mut self) -> Result<(), CommandRefused> {
        let now = self.now;
        let waits = self.record.retired.iter_mut().filter(|it| match it.ended {
            Some(ended) => ended == Ended::Reported,
            None => it.after <= now || !it.version.delivered,
        });
        let mut any = false;
        for it in waits {
            it.ended = Some(Ended::Revoked);
            any = true;
        }
        if any { Ok(()) } else { Err(CommandRefused::NothingToRevoke) }
    }

    pub(super) fn decommission(&mut self) -> Result<(), CommandRefused> {
        Err(CommandRefused::Managed)
    }

    /// Nothing of it may be live, and nothing may turn up later.
    pub(super) fn forget(&mut self) -> Result<(), CommandRefused> {
        let own = |token: &Token| token.name == self.record.name;
        if self.account.open.iter().any(|(token, open)| own(token) && open.reported_at.is_none()) {
            return Err(CommandRefused::OpenCreate);
        }
        if let Some(version) = self.record.live_versions().find(|it| !self.has_expired(it)) {
            return Err(CommandRefused::MayLive(version.number));
        }
        self.forgotten = true;
        Ok(())
    }

    /// An expiry that was only assumed proves nothing.
    fn has_expired(&self, version: &Version) -> bool {
        let stated = matches!(version.expiry, Expiry::Reported | Expiry::Stated);
        stated && version.valid_to.is_some_and(|at| at <= self.now)
    }
}

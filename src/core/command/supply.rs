//! `rotate` where nobody can be asked for a key: a human has got one, and brings it.
use crate::core::facts::Found;
use crate::core::pass::Pass;
use crate::core::plan::{CommandRefused, Supply};
use crate::core::record::{Phase, Trigger, Version, Wish};

impl Pass<'_> {
    /// A new key in a human's hand begins its rotation. One that is still on its way is given up for it.
    ///
    /// # Errors
    /// Where it is no new key, or none can be taken now.
    pub(super) fn supply(&mut self, it: &Supply) -> Result<(), CommandRefused> {
        match &self.record.phase {
            _ if self.policy.provider.creates => return Err(CommandRefused::IssuedByProvider),
            Phase::Unadopted => return Err(CommandRefused::Unadopted),
            Phase::Halted { .. } => return Err(CommandRefused::Halted),
            // What the key in use is must be known first.
            Phase::Reobserve { .. } => return Err(CommandRefused::Phase),
            Phase::Cutover { .. } => return Err(self.under_way()),
            _ if self.record.is_paused(self.now) => return Err(CommandRefused::Paused),
            _ => {}
        }
        if self.is_rollback() {
            return Err(self.under_way());
        }
        if self.record.pending().is_some_and(|own| own.fingerprint == it.fingerprint) {
            return Ok(());
        }
        if let Some(number) = self.record.seen.get(&it.fingerprint) {
            return Err(CommandRefused::NotNew(*number));
        }
        self.give_up_what_is_under_way();
        let found = Found {
            id: it.id.clone(),
            fingerprint: Some(it.fingerprint.clone()),
            enabled: true,
            valid_from: it.valid_from,
            ..Found::default()
        };
        let Some(version) = self.new_version(&found, None, self.now) else { return Err(CommandRefused::NoKeyGiven) };
        let pending = Version { valid_to: it.valid_to, expiry: it.expiry, restriction: None, ..version };
        self.record.wish = Some(Wish { now: it.wish.now || it.wish.compromised, ..it.wish.clone() });
        self.begin_rotation(Trigger::Operator);
        self.enter(Phase::Verify { pending, since: self.now });
        Ok(())
    }
}

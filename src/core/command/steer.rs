//! The verbs that hold a key back and let it go on: `rotate`, `pause`, `resume`.
use crate::core::pass::Pass;
use crate::core::plan::CommandRefused;
use crate::core::policy::Initial;
use crate::core::record::{Creating, Pause, Phase, Reason, Wish};

impl Pass<'_> {
    pub(super) fn rotate(&mut self, mut wish: Wish) -> Result<(), CommandRefused> {
        wish.now |= wish.compromised;
        match &self.record.phase {
            Phase::Unadopted if self.policy.initial == Initial::Adopt => return Err(CommandRefused::Unadopted),
            Phase::Halted { .. } => return Err(CommandRefused::Halted),
            _ if self.record.is_paused(self.now) => return Err(CommandRefused::Paused),
            Phase::Unadopted | Phase::Steady | Phase::Announce { .. } | Phase::Reobserve { .. }
                if !self.policy.provider.creates =>
            {
                return Err(CommandRefused::NoKeyGiven);
            }
            Phase::Announce { .. } if wish.now => self.enter(Phase::Steady),
            Phase::Unadopted | Phase::Steady | Phase::Announce { .. } | Phase::Reobserve { .. } => {}
            _ => return self.hurry(&wish),
        }
        self.record.wish = Some(wish);
        self.record.retry_at = None;
        Ok(())
    }

    /// In flight: the answer is the rotation that is under way, but it may wait for less from here on.
    fn hurry(&mut self, wish: &Wish) -> Result<(), CommandRefused> {
        if self.is_rollback() {
            return Err(self.under_way());
        }
        let Some(rotation) = &mut self.record.rotation else { return Ok(()) };
        rotation.wish.compromised |= wish.compromised;
        if wish.now {
            rotation.wish.now = true;
            self.record.retry_at = None;
        }
        Ok(())
    }

    /// Nothing is begun or revoked from here on; what has begun goes on to its end. Where it is paused already, the pause
    /// stays that lasts longer: nobody's is cut short by another's.
    pub(super) fn pause(&mut self, pause: Pause) -> Result<(), CommandRefused> {
        let outlasts = |it: &Pause| it.ends() >= pause.ends();
        if !self.record.is_paused(self.now) || !self.record.paused.as_ref().is_some_and(outlasts) {
            self.record.paused = Some(pause);
        }
        Ok(())
    }

    /// Ends the pause. A halt was there for a reason of its own: where the key was both, it stays halted, and a second
    /// `resume` ends that.
    pub(super) fn resume(&mut self) -> Result<(), CommandRefused> {
        let paused = self.record.is_paused(self.now);
        self.record.paused = None;
        self.record.retry_at = None;
        self.record.failures = 0;
        self.record.drifts = 0;
        for held in self.record.held.values_mut() {
            held.retry_at = None;
        }
        for it in &mut self.record.retired {
            it.retry_at = None;
        }
        if let Phase::Halted { reason, resume, .. } = self.record.phase.clone()
            && !paused
        {
            self.resolve("halted");
            if matches!(reason, Reason::Drifted | Reason::KeyRefused) {
                // Whoever takes another key adopts it; whoever goes on replaces what is there.
                self.wish_after_drift();
            }
            self.enter(match *resume {
                // What was lost was reported or is watched; the human has decided to go on.
                Phase::Create(_) => Phase::Create(Creating::default()),
                phase => phase,
            });
        }
        Ok(())
    }
}

//! The verbs that go back to the old key: `abandon`, while the new one is not in use yet, and `rollback`, once it is.
use crate::core::due;
use crate::core::gate;
use crate::core::pass::Pass;
use crate::core::plan::CommandRefused;
use crate::core::policy::OnCreate;
use crate::core::record::{Phase, RotationResult};
use crate::core::rules::Rule;

impl Pass<'_> {
    pub(super) fn abandon(&mut self) -> Result<(), CommandRefused> {
        let phase = match &self.record.phase {
            Phase::Halted { resume, .. } => (**resume).clone(),
            phase => phase.clone(),
        };
        let pending = self.record.pending().cloned();
        if pending.is_none() && !matches!(phase, Phase::Create(_)) {
            return Err(CommandRefused::Phase);
        }
        if self.holds(Rule::AbandonSafe) {
            self.check_old_key_lives_on()?;
        }
        if let Some(pending) = pending {
            let after = if pending.delivered { self.now.plus(self.overlap()) } else { self.now };
            self.retire_version(pending, after);
        }
        self.resolve("halted");
        self.enter(Phase::Steady);
        self.record.wish = None;
        self.finish_rotation(RotationResult::Failed);
        self.record.retry_at = Some(gate::next_attempt(self.policy, self.now));
        Ok(())
    }

    pub(super) fn roll_back(&mut self) -> Result<(), CommandRefused> {
        Err(CommandRefused::NoPrevious)
    }

    /// Whoever gives up the new key goes on with the old one: it must be alive, and have some life left.
    fn check_old_key_lives_on(&self) -> Result<(), CommandRefused> {
        let Some(current) = &self.record.current else { return Err(CommandRefused::OldKeyEnding) };
        let ending = due::is_near_end(current, self.policy, self.now);
        let sent = self.account.open.iter().filter(|(token, _)| token.name == self.record.name);
        let doubtful = self.on_create() != OnCreate::Keeps
            && sent.map(|(_, it)| it.sent_at).max().is_some_and(|at| current.last_alive.is_none_or(|seen| seen <= at));
        let revoked = self.on_create() == OnCreate::Revokes && self.record.pending().is_some();
        // A create that may have killed the old key was answered: only an Alive since then clears the old key.
        let obtained = self.record.pending().map(|it| it.obtained_at).filter(|_| self.on_create() != OnCreate::Keeps);
        let unseen = obtained.is_some_and(|at| current.last_alive.is_none_or(|seen| seen <= at));
        if current.dead_since.is_some() || ending || doubtful || revoked || unseen {
            return Err(CommandRefused::OldKeyEnding);
        }
        Ok(())
    }
}

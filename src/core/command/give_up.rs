//! The verbs that go back to the old key: `abandon`, while the new one is not in use yet, and `rollback`, once it is.
use crate::core::due;
use crate::core::pass::Pass;
use crate::core::plan::CommandRefused;
use crate::core::policy::OnCreate;
use crate::core::record::{Phase, Retired, RotationResult, Trigger};
use crate::core::rules::Rule;

impl Pass<'_> {
    pub(super) fn abandon(&mut self) -> Result<(), CommandRefused> {
        self.check_can_be_given_up()?;
        if let Some(pending) = self.record.pending().cloned() {
            let after = if pending.delivered { self.now.plus(self.overlap()) } else { self.now };
            self.retire_version(pending, after);
        }
        self.resolve("halted");
        self.enter(Phase::Steady);
        self.record.wish = None;
        self.finish_rotation(RotationResult::Failed);
        self.wait_for_the_next_window();
        Ok(())
    }

    /// Why a verb has to wait for the end of what is under way, or for that to be given up.
    pub(super) fn under_way(&self) -> CommandRefused {
        match self.check_can_be_given_up() {
            Ok(()) => CommandRefused::RotationUnderWay,
            Err(_) => CommandRefused::RotationToItsEnd,
        }
    }

    fn check_can_be_given_up(&self) -> Result<(), CommandRefused> {
        match self.phase_beneath() {
            // The new key is in use already, for the old one is dead.
            Phase::Cutover { .. } => return Err(CommandRefused::NewKeyInUse),
            Phase::Create(_) => {}
            _ if self.record.pending().is_none() => return Err(CommandRefused::NothingPending),
            _ => {}
        }
        if self.holds(Rule::AbandonSafe) { self.check_old_key_lives_on() } else { Ok(()) }
    }

    /// Where the key stands, or stood when it was halted.
    fn phase_beneath(&self) -> &Phase {
        match &self.record.phase {
            Phase::Halted { resume, .. } => resume,
            phase => phase,
        }
    }

    /// In the overlap: the previous version is checked, delivered and made current as if it were a new one.
    pub(super) fn roll_back(&mut self) -> Result<(), CommandRefused> {
        let halted = matches!(self.record.phase, Phase::Halted { .. });
        let previous = self.way_back().map_err(|why| match why {
            CommandRefused::FirstKey | CommandRefused::Unadopted => why,
            _ if halted => CommandRefused::Undecided(Box::new(why)),
            _ => why,
        })?;
        self.record.retired.retain(|it| it.version.number != previous.version.number);
        self.resolve("halted");
        self.record.wish = None;
        self.record.failures = 0;
        self.record.retry_at = None;
        self.begin_rotation(Trigger::Operator);
        if let Some(rotation) = &mut self.record.rotation {
            rotation.rollback = true;
        }
        self.enter(Phase::Verify { pending: previous.version, since: self.now });
        Ok(())
    }

    /// The version to go back to.
    fn way_back(&self) -> Result<Retired, CommandRefused> {
        match self.phase_beneath() {
            Phase::Steady | Phase::Announce { .. } => {}
            Phase::Unadopted => return Err(CommandRefused::Unadopted),
            Phase::Reobserve { .. } => return Err(CommandRefused::Phase),
            _ if self.record.current.is_none() => return Err(CommandRefused::FirstKey),
            _ => return Err(self.under_way()),
        }
        if self.on_create() == OnCreate::Revokes {
            return Err(CommandRefused::OldKeysEnd);
        }
        let previous = self.previous().ok_or(CommandRefused::NoPrevious)?;
        if self.holds(Rule::RollbackAlive) {
            self.check_previous_lives(&previous)?;
        }
        Ok(previous)
    }

    /// The version that was current last, as long as it may still be valid: never one that was given up before it was.
    /// At an account that the key has left, nobody could check it.
    fn previous(&self) -> Option<Retired> {
        let here = |it: &&Retired| it.version.account == self.policy.account;
        let usable = self.record.retired.iter().filter(|it| it.ended.is_none() && it.version.was_current);
        usable.filter(here).max_by_key(|it| (it.since, it.version.number)).cloned()
    }

    /// That the provider accepts it is seen before it is delivered; what speaks against that already is said at once.
    fn check_previous_lives(&self, previous: &Retired) -> Result<(), CommandRefused> {
        let version = &previous.version;
        let expired = version.valid_to.is_some_and(|at| at <= self.now);
        let near = due::is_near_end(version, self.policy, self.now);
        if previous.ending || version.dead_since.is_some() || expired || near {
            return Err(CommandRefused::PreviousEnding);
        }
        if !self.policy.provider.probes {
            return Err(CommandRefused::PreviousUnknown);
        }
        Ok(())
    }

    /// Whoever gives up the new key goes on with the old one: it must be alive, and have some life left.
    fn check_old_key_lives_on(&self) -> Result<(), CommandRefused> {
        let Some(current) = &self.record.current else { return Err(CommandRefused::FirstKey) };
        if current.dead_since.is_some() {
            return Err(CommandRefused::OldKeyDead);
        }
        if self.on_create() == OnCreate::Revokes && self.record.pending().is_some() {
            return Err(CommandRefused::OldKeyReplaced);
        }
        if due::is_near_end(current, self.policy, self.now) {
            return Err(CommandRefused::OldKeyEnding);
        }
        let sent = self.account.open.iter().filter(|(token, _)| token.name == self.record.name);
        let doubtful = self.on_create() != OnCreate::Keeps
            && sent.map(|(_, it)| it.sent_at).max().is_some_and(|at| current.last_alive.is_none_or(|seen| seen <= at));
        // A create that may have killed the old key was answered: only an Alive since then clears the old key.
        let obtained = self.record.pending().map(|it| it.obtained_at).filter(|_| self.on_create() != OnCreate::Keeps);
        let unseen = obtained.is_some_and(|at| current.last_alive.is_none_or(|seen| seen <= at));
        if doubtful || unseen { Err(CommandRefused::OldKeyInDoubt) } else { Ok(()) }
    }
}

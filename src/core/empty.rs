//! The targets of a key that is out of service: each is emptied, or an owner is told that it could not be.
use super::backoff;
use super::facts::{Action, Outcome};
use super::names::TargetId;
use super::notices::TELL_AFTER;
use super::pass::Pass;

impl Pass<'_> {
    /// Asks for every target that the key was ever brought to, and that was not emptied yet.
    pub(super) fn empty_targets(&mut self) {
        let targets = self.record.held.iter().map(|(target, held)| (target.clone(), held.retry_at));
        for (target, retry_at) in targets.collect::<Vec<_>>() {
            match retry_at.filter(|at| *at > self.now) {
                Some(at) => self.wake(at),
                None => self.actions.push(Action::Empty { target }),
            }
        }
    }

    pub(super) fn emptied(&mut self, target: &TargetId, outcome: &Outcome) {
        // The key may have come back into service meanwhile.
        if self.record.decommissioned.is_none() {
            return;
        }
        match outcome {
            Outcome::Emptied => drop(self.record.held.remove(target)),
            Outcome::Left(why) => self.let_go_of(target, why),
            Outcome::Failed(why) => self.not_emptied(target, why),
            _ => {}
        }
    }

    fn not_emptied(&mut self, target: &TargetId, why: &str) {
        let (now, name) = (self.now, self.record.name.clone());
        let Some(held) = self.record.held.get_mut(target) else { return };
        held.failures = held.failures.saturating_add(1);
        if held.failures >= TELL_AFTER {
            return self.let_go_of(target, why);
        }
        held.retry_at = Some(now.plus(backoff::after(held.failures, &name, None)));
        held.last_error = Some(why.to_owned());
    }

    /// From here on the owners know of it, and it holds up nothing.
    fn let_go_of(&mut self, target: &TargetId, why: &str) {
        if self.record.held.remove(target).is_some() {
            self.tell_not_emptied(target, why);
        }
    }
}

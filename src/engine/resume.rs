//! `resume --all`: an operator says that the clock is right, and that this is the machine to run on.
use super::Engine;
use super::handle::Refused;
use crate::clock;
use crate::core::plan::Command;
use crate::core::record::Actor;

impl Engine {
    /// Ends what only a human can end for the whole daemon: a clock that is not believed, and the mere observing on another
    /// machine. Every key is looked at then.
    pub(super) fn resume_all(&mut self, actor: &Actor) {
        let (now, suspect) = (clock::now(), self.clock.is_suspect());
        if suspect {
            self.clock.trust(now);
        }
        if self.observing {
            self.observing = false;
            self.books.edit(|it| it.answers_new_machine = true);
        }
        // The moment of this commit is the one that the next start compares its clock with.
        self.books.edit(|_| ());
        tracing::info!(uid = actor.uid, user = actor.user, clock = suspect, "everything goes on");
        self.doors.knock(now);
        self.sweep();
    }

    /// On another machine nothing is done that could be done twice, before somebody says that this is the one to run on.
    pub(super) fn check_observing(&self, asked: &Command) -> Result<(), Refused> {
        let harmless = matches!(asked, Command::Pause(_) | Command::Resume | Command::Ack { revoked: false });
        if self.observing && !harmless { Err(Refused::Observing) } else { Ok(()) }
    }
}

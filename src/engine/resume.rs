//! `resume --all`: an operator says that the clock is right, and that this is the daemon to run.
use super::handle::{By, Done, Observing, PerKey, Refused, Which};
use super::{Engine, selection, twin};
use crate::core::names::KeyName;
use crate::core::plan::Command;
use crate::core::record::{Phase, Record};
use crate::core::time::Timestamp;

impl Engine {
    /// Ends what only a human can end for the whole daemon: a clock that is not believed, and mere observing. Where the
    /// daemon was held by neither, and only then, it ends the pauses and halts of its keys: whoever lets a daemon go on
    /// has not decided anew on what somebody holds back.
    pub(super) fn resume_all(&mut self, by: &By) -> Result<Vec<PerKey>, Refused> {
        let Some(released) = self.release(by)? else { return self.fold_commands(&Which::All, &Command::Resume, by) };
        let names = selection::names(&Which::All, &self.books.settings, &self.books.records)?;
        Ok(names.into_iter().map(|name| self.resume_unless_kept(name, released, by)).collect())
    }

    /// Lets the daemon go on, and says what held it; every key is looked at then. `None` where nothing did.
    fn release(&mut self, by: &By) -> Result<Option<&'static str>, Refused> {
        let (now, suspect, observing) = (self.clock.now(), self.clock.is_suspect(), self.observing);
        let released = match (observing, suspect) {
            (None, false) => return Ok(None),
            (None, true) => "the clock is believed",
            (Some(_), false) => "this is the one to run",
            (Some(_), true) => "this is the one to run, and its clock is believed",
        };
        if let Some(it @ Observing::Twin(_)) = observing {
            let install = &self.books.by.install;
            self.name = Some(twin::bear(install).map_err(|_| Refused::Observing(it))?);
        }
        if suspect {
            self.clock.trust(now);
        }
        self.observing = None;
        // The moment of this commit is the one that the next start compares its clock with.
        self.books.edit(|it| it.answers_new_machine |= observing.is_some());
        if matches!(observing, Some(Observing::Twin(_))) {
            // The other has issued tokens in the life that both had.
            self.begin_new_epoch(now);
        }
        let actor = &by.actor;
        tracing::info!(uid = actor.uid, user = actor.user, clock = suspect, ?observing, "everything goes on");
        self.doors.try_now(|_| true, now);
        self.sweep();
        Ok(Some(released))
    }

    fn resume_unless_kept(&mut self, name: KeyName, released: &str, by: &By) -> PerKey {
        let kept = self.books.records.get(&name).and_then(|it| kept(it, self.clock.now()));
        let done = match kept {
            Some(how) => {
                let message = format!("{released}; it stays {how}, and resume once more ends that");
                Ok(Done { message, attempt: None })
            }
            None => {
                let done = self.fold_command(&name, &Command::Resume, None, by);
                done.map(|it| Done { message: format!("{released}; {}", it.message), ..it })
            }
        };
        (name, done)
    }

    /// Where nothing is done but looking, nothing is done that could be done twice.
    pub(super) fn check_observing(&self, asked: &Command) -> Result<(), Refused> {
        let harmless = matches!(asked, Command::Pause(_) | Command::Resume | Command::Ack { revoked: false });
        self.observing.filter(|_| !harmless).map_or(Ok(()), |why| Err(Refused::Observing(why)))
    }
}

/// How a human, or a question to one, holds the key back.
fn kept(record: &Record, now: Timestamp) -> Option<&'static str> {
    let halted = matches!(record.phase, Phase::Halted { .. });
    if record.is_paused(now) { Some("paused") } else { halted.then_some("halted") }
}

//! Backups: those that are made by themselves, as `[backup]` asks for them, and those that somebody fetches. Making one is a
//! matter of the disk; it goes on beside the engine and comes back as an event.
use super::Engine;
use super::damage::DAMAGE;
use super::event::Event;
use super::handle::{BackupState, Refused};
use crate::clock;
use crate::core::plan::{NoticeKind, Severity};
use crate::core::record::Actor;
use crate::core::time::Timestamp;
use crate::store::{HistoryRow, Shelf, Store, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A backup that failed is tried again after this long, or with the next sweep.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// The cause of `backup.failed`.
const CAUSE: &str = "backup";

/// What came of a task for the backups.
#[derive(Debug)]
pub enum News {
    /// When the newest one was made that is in the folder.
    Found(Result<Option<Timestamp>, String>),
    /// One was made at this moment, and why old ones could not be removed, if so.
    Made(Result<(Timestamp, Option<String>), String>),
}

/// Where the backups stand that are made by themselves.
#[derive(Debug, Default)]
pub(super) struct Backups {
    /// What the rest is about: the folder, and the schedule.
    of: Option<(Shelf, String)>,
    last_at: Option<Timestamp>,
    /// When the next one is made; not known before the folder was looked at.
    due_at: Option<Timestamp>,
    /// What went wrong last.
    failed: Option<String>,
    /// The one that was due is still to be made.
    owed: bool,
    under_way: bool,
}

impl Backups {
    /// When something is to be done for them.
    pub(super) fn due_at(&self) -> Timestamp {
        self.due_at.filter(|_| !self.under_way).unwrap_or(Timestamp::NEVER)
    }

    /// The clock was set: when the next one is due is reckoned anew.
    pub(super) fn look_again(&mut self) {
        self.due_at = None;
    }

    /// A sweep tries again what failed.
    pub(super) fn knock(&mut self, now: Timestamp) {
        if self.owed {
            self.due_at = Some(now);
        }
    }
}

impl Engine {
    /// Makes a backup where one is due, and looks first when the last one was made: what was missed while the daemon was down
    /// is made good.
    pub(super) fn begin_backup(&mut self, now: Timestamp) {
        // A copy of a state must not mix its backups with those of the original.
        if self.backups.under_way || self.observing.is_some() || self.stopping {
            return;
        }
        let Some(backup) = self.books.settings.backup.clone() else {
            if self.backups.of.is_some() || self.books.incidents.is_open(CAUSE) {
                self.backups = Backups::default();
                self.books.end_incident(CAUSE, "the config asks for no backups any more", now);
            }
            return;
        };
        let shelf = Shelf { dir: backup.dir.clone(), install: self.books.by.install.clone() };
        let of = Some((shelf.clone(), backup.schedule.pattern.to_string()));
        if self.backups.of != of {
            let Backups { failed, owed, .. } = std::mem::take(&mut self.backups);
            self.backups = Backups { of, failed, owed, ..Backups::default() };
        }
        match self.backups.due_at {
            None => self.beside(move || News::Found(shelf.newest(now).map_err(|it| it.to_string()))),
            Some(due) if due <= now => {
                let (store, spare) = (Arc::clone(&self.books.store), self.books.settings.daemon.reserve);
                // With a wrong clock nobody knows which are the oldest; after damage the older ones are those that are whole.
                let sound = !self.clock.is_suspect() && !self.books.incidents.is_open(DAMAGE);
                let keep = sound.then_some(backup.keep);
                let made = move || make(&store, &shelf, keep, spare, now).map_err(|it| it.to_string());
                self.beside(move || News::Made(made()));
            }
            Some(_) => {}
        }
    }

    /// A task for the backups has come back.
    pub(super) fn note_backup(&mut self, news: News, now: Timestamp) {
        self.backups.under_way = false;
        let Some(backup) = self.books.settings.backup.clone() else { return };
        match news {
            News::Found(Ok(newest)) => {
                self.backups.last_at = newest;
                // One from the future was made by a clock that was wrong.
                let behind = newest.filter(|it| !self.backups.owed && *it <= now);
                self.backups.due_at = Some(behind.map_or(now, |it| backup.next_after(it)));
            }
            News::Made(Ok((at, surplus))) => {
                tracing::info!(dir = %backup.dir.display(), "a backup was made");
                self.backups.last_at = Some(at);
                self.backups.owed = false;
                self.backups.failed.clone_from(&surplus);
                self.backups.due_at = Some(backup.next_after(at.max(now)));
                match surplus {
                    None => self.books.end_incident(CAUSE, "a backup was made", now),
                    Some(why) => self.tell_of_backup(format!("old backups can't be removed: {why}"), now),
                }
            }
            News::Found(Err(why)) | News::Made(Err(why)) => {
                // With what was seen in the folder, if anything: the next try may be to look again.
                self.backups.due_at = Some(now.plus(RETRY_AFTER));
                self.backups.owed = true;
                self.tell_of_backup(format!("no backup could be made in {}: {why}", backup.dir.display()), now);
                self.backups.failed = Some(why);
            }
        }
    }

    fn tell_of_backup(&mut self, summary: String, now: Timestamp) {
        let actions = vec!["rekeyd status".to_owned(), "rekeyd backup FILE".to_owned()];
        self.begin_own(CAUSE, NoticeKind::BackupFailed, Severity::Warning, summary, actions, now);
    }

    /// Somebody fetches the state: a row of the history says so, and is in it.
    pub(super) fn fetch_backup(&mut self, actor: Actor, reply: oneshot::Sender<Result<Vec<u8>, Refused>>) {
        let now = clock::now();
        tracing::info!(uid = actor.uid, user = actor.user, "the state was fetched as a backup");
        let row = HistoryRow::Command {
            name: None,
            at: now,
            verb: "backup".to_owned(),
            options: Vec::new(),
            actor: Some(actor),
            reason: None,
            result: None,
        };
        self.books.edit(|it| it.history.push(row));
        let store = Arc::clone(&self.books.store);
        self.after_commit.push(Box::new(move || {
            tokio::task::spawn_blocking(move || {
                let made = store.snapshot(now).map_err(|it| Refused::Store(it.to_string()));
                // Whoever asked may have gone away.
                let _ = reply.send(made);
            });
        }));
    }

    /// What `status` and the metrics show; `None` where no backups are made.
    pub(super) fn backup_state(&self) -> Option<BackupState> {
        let Backups { last_at, due_at, failed, .. } = &self.backups;
        self.books.settings.backup.as_ref().map(|_| BackupState {
            last_at: *last_at,
            next_at: *due_at,
            failed: failed.clone(),
        })
    }

    fn beside(&mut self, task: impl FnOnce() -> News + Send + 'static) {
        self.backups.under_way = true;
        let events = self.events.clone();
        tokio::task::spawn_blocking(move || {
            // Where the engine has stopped, nobody waits for it.
            let _ = events.blocking_send(Event::Backup(task()));
        });
    }
}

/// Old ones go only once the new one is there; under a clock that is not believed, none does.
fn make(
    store: &Store,
    shelf: &Shelf,
    keep: Option<usize>,
    spare: u64,
    now: Timestamp,
) -> Result<(Timestamp, Option<String>), StoreError> {
    shelf.add(&store.snapshot(now)?, now, spare)?;
    let pruned = keep.map_or(Ok(0), |keep| shelf.prune(keep, now));
    Ok((now, pruned.err().map(|it| it.to_string())))
}

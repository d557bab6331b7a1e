//! A disk that takes nothing: what is to be committed waits in memory, and everything that waits for the commit waits with
//! it. Nothing begins, questions are answered, and it goes on by itself once the disk takes writes again.
//!
//! The one thing that goes out before it is stored is the notice of it: it could not be stored.
use super::Engine;
use super::channels::Known;
use super::handle::{Refused, Request};
use super::outbox::send;
use super::veil::veil;
use crate::core::plan::NoticeKind;
use crate::core::time::Timestamp;
use crate::store::{Batch, OutboxRow};
use std::sync::Arc;
use std::time::Duration;

/// How often a disk that takes nothing is tried again.
pub(super) const RETRY_DISK: Duration = Duration::from_secs(1);
/// A commit that takes longer is told.
const SLOW_COMMIT: Duration = Duration::from_secs(5);
/// A disk that was slow is well again with a commit that takes less than this.
const QUICK_COMMIT: Duration = Duration::from_secs(1);

/// The cause of "the disk takes nothing".
const DISK: &str = "disk";
/// The cause of "the disk is slow".
const SLOW: &str = "slow disk";

impl Engine {
    /// Puts a batch back that the disk did not take. Nothing of it was written.
    pub(super) fn wait_for_disk(&mut self, batch: Batch, why: String, now: Timestamp) {
        self.books.put_back(batch);
        std::mem::take(&mut self.replies).into_iter().for_each(|it| it(Some(&why)));
        let what = format!("nothing is begun or recorded, and no key is created: {why}");
        self.own(DISK, true, &what, vec!["rekeyd status".to_owned()], "", now);
        if self.unwritable.replace(why).is_none() {
            tracing::error!(why = self.unwritable, "the state can't be written; what is to be recorded waits");
        }
        self.tell_at_once(now);
    }

    /// The disk took a commit.
    pub(super) fn disk_took(&mut self, took: Duration, now: Timestamp) {
        if self.unwritable.take().is_some() {
            tracing::info!("the state can be written again; everything goes on");
        }
        self.own(DISK, false, "", Vec::new(), "the disk takes writes again", now);
        if took >= SLOW_COMMIT {
            let what =
                format!("the disk is slow: a write to the state took {} s; every key waits for it", took.as_secs());
            self.own(SLOW, true, &what, vec!["rekeyd status".to_owned()], "", now);
        } else if took < QUICK_COMMIT {
            self.own(SLOW, false, "", Vec::new(), "the disk is quick again", now);
        }
    }

    /// Answers what needs no commit, and refuses the rest: what is changed now could be lost.
    pub(super) fn answer_unwritable(&mut self, request: Request, why: &str) {
        let refused = || Refused::Store(why.to_owned());
        // Whoever asked may have gone away.
        match request {
            Request::Command { reply, .. } => drop(reply.send(Err(refused()))),
            Request::Commands { reply, .. } => drop(reply.send(Err(refused()))),
            Request::Adopt { reply, .. } => drop(reply.send(Err(refused()))),
            Request::AckLetters { reply, .. } => drop(reply.send(Err(refused()))),
            Request::Reveal { reply, .. } => drop(reply.send(Err(refused()))),
            Request::Reload { reply, .. } => drop(reply.send(Err(refused()))),
            // The history could not tell of it.
            Request::Backup { reply, .. } => drop(reply.send(Err(refused()))),
            Request::Snapshot(_)
            | Request::Pulse(_)
            | Request::Settings(_)
            // What a unit may have anyway is served: that it does not start is worse than a line that the history lacks.
            | Request::Credential { .. }
            | Request::CredentialRead(_)
            | Request::History { .. }
            | Request::TryChannels { .. }
            | Request::Sweep
            | Request::ConfigRejected { .. } => self.answer(request),
        }
    }

    /// Sends the notices of the daemon's own trouble from memory, and again where a channel did not take one.
    fn tell_at_once(&mut self, now: Timestamp) {
        let own = |it: &&OutboxRow| it.notice.kind == NoticeKind::DaemonDegraded;
        let due = |it: &&OutboxRow| it.attempts == 0 || it.retry_at <= now;
        let rows: Vec<OutboxRow> = self.books.lines.idle().filter(own).filter(due).cloned().collect();
        for row in rows.into_iter().filter(|_| !self.stopping) {
            let (line, id) = (row.line(), row.notice.id.clone());
            self.books.lines.begin(&line, [&id]);
            self.sending.insert((line, id.clone()));
            let settings = Arc::clone(&self.books.settings);
            let (veil, events) = (veil(&self.books.store, &settings), self.events.clone());
            tokio::spawn(send(id, vec![row], settings, veil, Known::nothing(), now, events));
        }
    }
}

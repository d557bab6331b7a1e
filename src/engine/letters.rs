//! Notices that were given up: they stay visible, and the daemon is degraded, until somebody says that he knows of them.
use super::handle::{By, Done, Refused};
use super::{Engine, audit};
use crate::clock;
use crate::store::OutboxState;

/// How many are acknowledged in one commit.
const ACKED_MOST: usize = 1000;

impl Engine {
    /// Somebody has read in the history what was not told. The channel's own incident stays open until it takes a notice
    /// again: until then nothing is told twice of it.
    pub(super) fn ack_letters(&mut self, by: &By) -> Result<Done, Refused> {
        let now = clock::now();
        let dead = self.books.store.outbox_dead(ACKED_MOST).map_err(|it| Refused::Store(it.to_string()))?;
        if dead.is_empty() {
            return Err(Refused::NoDeadLetters);
        }
        let count = dead.len();
        let more = if count == ACKED_MOST { "; there may be more: say it again" } else { "" };
        let message = format!("{count} notice(s) that could not be delivered are acknowledged{more}");
        let row =
            audit::own("ack", vec!["--dead-letters".to_owned()], Some(by), Some(format!("{count} notice(s)")), now);
        self.books.edit(|it| {
            it.outbox_put.extend(dead.into_iter().map(|mut row| {
                row.state = OutboxState::Acked;
                row
            }));
            it.history.push(row);
        });
        Ok(Done { message, attempt: None })
    }
}

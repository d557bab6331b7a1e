//! Notices that a channel did not take: those that were given up stay visible, and the daemon is degraded, until somebody
//! says that he knows of them.
use super::books::Books;
use super::handle::{By, Done, Refused};
use super::lines::LineId;
use super::{Engine, audit};
use crate::core::incidents::Incident;
use crate::core::plan::{NoticeKind, Severity};
use crate::core::time::Timestamp;
use crate::store::{OutboxRow, OutboxState};

/// How many are acknowledged in one commit.
const ACKED_MOST: usize = 1000;
impl Engine {
    /// Somebody has read in the history what was not told. The channel's own incident stays open until it takes a notice
    /// again: until then nothing is told twice of it.
    pub(super) fn ack_letters(&mut self, by: &By) -> Result<Done, Refused> {
        let now = self.clock.now();
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

    /// A channel took a message, put it off, or gave it up.
    pub(super) fn note_letters(&mut self, line: &LineId, rows: &[OutboxRow], now: Timestamp) {
        let cause = format!("{}{}", letters(&line.owner), line.channel);
        if rows.iter().any(|it| it.state == OutboxState::Sent) {
            // What was given up a moment ago is told before its end.
            if self.books.incidents.since(&cause) != Some(now) {
                let how = "a notice was taken again; what was given up stays in `rekeyd history`";
                self.books.end_incident_but_for(&cause, how, Some(line), now);
            }
            return;
        }
        let dead = rows.iter().find(|it| it.state == OutboxState::Dead);
        // Of a channel that is switched off is told elsewhere, and once.
        if let Some(row) = dead.filter(|_| !self.books.channels.is_off(line)) {
            let why = row.why.as_deref().unwrap_or("the channel did not take it");
            let (owner, channel, kind) = (&line.owner, &line.channel, row.notice.kind.code());
            let about = row.notice.subject();
            let summary = format!("{owner} was not told of {kind} ({about}) by {channel}: {why}");
            let actions = vec!["rekeyd history".to_owned(), "rekeyd ack --dead-letters".to_owned()];
            self.books.begin_channel_incident(&cause, line, summary, actions, now);
        }
    }
}

impl Books {
    /// Something is wrong with a channel: its owner is told by the others, and so are those who look after the daemon, and
    /// whom he names in `escalate_to`.
    pub(super) fn begin_channel_incident(
        &mut self,
        cause: &str,
        line: &LineId,
        summary: String,
        actions: Vec<String>,
        now: Timestamp,
    ) {
        let mut owners = self.settings.daemon.owners.clone();
        owners.push(line.owner.clone());
        owners.extend(self.escalates_to(&line.owner));
        let (kind, severity) = (NoticeKind::DaemonDegraded, Severity::Warning);
        let incident = Incident { kind, provider: None, severity, summary, actions, owners };
        self.begin_incident_but_for(cause, incident, Some(line), now);
    }
}

/// All causes at the channels of one owner begin so.
pub(super) fn letters(owner: &str) -> String {
    format!("channel:{owner}:")
}

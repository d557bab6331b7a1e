//! Notices that a channel did not take: those that were given up stay visible, and the daemon is degraded, until somebody
//! says that he knows of them. Where no channel of an owner takes a notice, those whom he names in `escalate_to` are told it.
use super::books::Books;
use super::handle::{By, Done, Refused};
use super::lines::LineId;
use super::{Engine, audit};
use crate::clock;
use crate::core::incidents::Incident;
use crate::core::names::NoticeId;
use crate::core::plan::{NoticeKind, Severity};
use crate::core::queue::{Fate, is_untold};
use crate::core::time::Timestamp;
use crate::store::{OutboxId, OutboxRow, OutboxState, StoreError};
use std::collections::BTreeMap;

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

    /// A channel took a message, put it off, or gave it up.
    pub(super) fn note_letters(&mut self, line: &LineId, rows: &[OutboxRow], now: Timestamp) {
        let cause = format!("{}{}", letters(&line.owner), line.channel);
        if rows.iter().any(|it| it.state == OutboxState::Sent) {
            return self.books.end_incident(&cause, "a notice was taken again", now);
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
        for row in rows {
            self.books.escalate_untold(row, now);
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

    /// Where no channel of an owner took a notice, those whom he names in `escalate_to` are told it, once.
    fn escalate_untold(&mut self, row: &OutboxRow, now: Timestamp) {
        let notice = &row.notice;
        let escalates_to = self.escalates_to(&row.owner);
        // Most are on their way, or have come.
        if escalates_to.is_empty() || !is_untold(notice, &[fate(row)], now) {
            return;
        }
        let rows = match self.fates(&notice.id) {
            Ok(rows) => rows,
            Err(error) => return tracing::error!(%error, "what became of a notice can't be read"),
        };
        let fates: Vec<Fate> = rows.iter().filter(|it| it.owner == row.owner).map(fate).collect();
        let untold = |it: &String| !rows.iter().any(|row| row.owner == *it);
        let others: Vec<String> = escalates_to.into_iter().filter(untold).collect();
        if is_untold(notice, &fates, now) && !others.is_empty() {
            let (about, kind, owner) = (notice.subject(), notice.kind.code(), &row.owner);
            tracing::warn!(about, kind, owner, ?others, "no channel takes it; others are told");
            self.post(notice.clone(), &others);
        }
    }

    /// What became of a notice so far, over all owners and channels.
    fn fates(&self, notice: &NoticeId) -> Result<Vec<OutboxRow>, StoreError> {
        let written = self.store.outbox(notice)?;
        let fresh = self.batch.outbox_put.iter().filter(|it| it.notice.id == *notice).cloned();
        let rows: BTreeMap<OutboxId, OutboxRow> = written.into_iter().chain(fresh).map(|it| (it.id(), it)).collect();
        Ok(rows.into_values().collect())
    }
}

fn fate(row: &OutboxRow) -> Fate {
    match row.state {
        OutboxState::Sent => Fate::Told,
        OutboxState::Pending if row.attempts == 0 => Fate::Waits,
        OutboxState::Pending => Fate::Fails,
        OutboxState::Dead | OutboxState::Acked | OutboxState::Superseded | OutboxState::Off => Fate::Lost,
    }
}

/// All causes at the channels of one owner begin so.
pub(super) fn letters(owner: &str) -> String {
    format!("channel:{owner}:")
}

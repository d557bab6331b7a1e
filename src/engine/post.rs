//! What is told, and to whom: notices go into the outbox in the batch that holds their cause.
use super::books::Books;
use super::lines::LineId;
use super::outbox::channel;
use crate::config::settings::{Channel, Owner};
use crate::core::incidents::{Incident, Incidents};
use crate::core::names::{KeyName, NoticeId};
use crate::core::plan::{Notice, Severity};
use crate::core::queue;
use crate::core::time::Timestamp;
use crate::store::{HistoryRow, OutboxRow, OutboxState, Store, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The name of the small row that holds the open incidents.
const INCIDENTS: &str = "incidents";

/// The incidents that were open when the daemon ended.
pub(super) fn incidents(store: &Store) -> Result<Incidents, StoreError> {
    let Some(json) = store.meta(INCIDENTS)? else { return Ok(Incidents::default()) };
    Ok(serde_json::from_slice(&json).unwrap_or_else(|error| {
        tracing::error!(%error, "the open incidents can't be read; they are told anew");
        Incidents::default()
    }))
}

impl Books {
    /// An incident that belongs to no key begins; one that was told is not told again, unless it is worse.
    pub(super) fn begin_incident(&mut self, cause: &str, incident: Incident, now: Timestamp) {
        self.begin_incident_but_for(cause, incident, None, now);
    }

    /// The same, told by every channel but one: that which it is about.
    pub(super) fn begin_incident_but_for(
        &mut self,
        cause: &str,
        incident: Incident,
        channel: Option<&LineId>,
        now: Timestamp,
    ) {
        if let Some(told) = self.incidents.begin(cause, incident, now) {
            let (about, summary) = (told.notice.subject(), &told.notice.summary);
            // What is less may pass by itself.
            if told.notice.severity >= Severity::Warning {
                tracing::error!(about, summary, "trouble that belongs to no key");
            } else {
                tracing::warn!(about, summary, "trouble that belongs to no key");
            }
            self.keep_incidents();
            self.post_but_for(told.notice, &told.owners, channel);
        }
    }

    /// It is over.
    pub(super) fn end_incident(&mut self, cause: &str, how: &str, now: Timestamp) {
        self.end_incident_but_for(cause, how, None, now);
    }

    /// The same, of an incident that one channel was not told of: nor is it told the end.
    pub(super) fn end_incident_but_for(&mut self, cause: &str, how: &str, channel: Option<&LineId>, now: Timestamp) {
        if let Some(told) = self.incidents.end(cause, how, now) {
            self.keep_incidents();
            self.post_but_for(told.notice, &told.owners, channel);
        }
    }

    fn keep_incidents(&mut self) {
        match serde_json::to_vec(&self.incidents) {
            Ok(json) => self.edit(|it| it.meta.push((INCIDENTS.to_owned(), Some(json)))),
            Err(error) => tracing::error!(%error, "the open incidents can't be written"),
        }
    }

    /// Who is told of a key: those whom the config names. Where it names the key no longer, those whom it named last, as far
    /// as there are such owners still; else those who look after the daemon.
    pub(super) fn owners_of(&self, name: &KeyName) -> Vec<String> {
        if let Some(key) = self.settings.keys.get(name) {
            return key.owners.clone();
        }
        let last = self.records.get(name).map(|it| it.owners.as_slice()).unwrap_or_default();
        let known: Vec<_> = last.iter().filter(|it| self.settings.owners.contains_key(*it)).cloned().collect();
        if known.is_empty() { self.settings.daemon.owners.clone() } else { known }
    }

    /// Puts a notice into the outbox: a row for each channel of each owner that wants it.
    pub(super) fn post(&mut self, notice: Notice, owners: &[String]) {
        self.post_but_for(notice, owners, None);
    }

    fn post_but_for(&mut self, mut notice: Notice, owners: &[String], but_for: Option<&LineId>) {
        self.dirty = true;
        let settings = Arc::clone(&self.settings);
        let besides = self.take_heard(&notice);
        let escalated = owners.iter().filter(|_| notice.escalates).flat_map(|it| self.escalates_to(it));
        let told: BTreeSet<String> = owners.iter().cloned().chain(escalated).chain(besides).collect();
        let waits = self.lines.of_incident(&notice.incident).filter(|it| told.contains(&it.owner));
        let newest = queue::newest(waits.map(|it| &it.notice));
        queue::rank_above(&mut notice, newest);
        for owner in &told {
            self.batch.history.push(HistoryRow::Notice { notice: notice.clone(), owner: owner.clone() });
            let Some(section) = settings.owners.get(owner) else { continue };
            for channel in section.channels.iter().filter(|it| notice.reach() >= it.min_severity) {
                let row = OutboxRow {
                    notice: notice.clone(),
                    owner: owner.clone(),
                    channel: channel.notifier.id(),
                    attempts: 0,
                    retry_at: due(&notice, channel, section),
                    state: OutboxState::Pending,
                    at: notice.at,
                    why: None,
                    message: None,
                    unsure: false,
                };
                if but_for != Some(&row.line()) {
                    self.put_row(row);
                }
            }
        }
    }

    /// A row of the outbox is new, or has changed.
    pub(super) fn put_row(&mut self, row: OutboxRow) {
        self.dirty = true;
        self.lines.note(row.clone());
        self.batch.outbox_put.push(row);
    }

    /// What a later notice says better is not sent any more.
    pub(super) fn drop_superseded(&mut self, now: Timestamp) {
        for mut row in self.lines.superseded() {
            tracing::debug!(about = row.notice.subject(), owner = row.owner, channel = row.channel, "superseded");
            (row.state, row.at) = (OutboxState::Superseded, now);
            self.put_row(row);
        }
    }

    /// Settles which notices go in one message, and under which id: durable before it is sent, where the channel takes
    /// several.
    pub(super) fn seal_message(
        &mut self,
        line: &LineId,
        notices: &[NoticeId],
        together: bool,
    ) -> (NoticeId, Vec<OutboxRow>) {
        let mut rows = self.lines.rows(line, notices);
        let sealed = rows.first().and_then(|it| it.message.clone());
        let id = sealed.clone().unwrap_or_else(|| message_id(line, notices));
        if together && sealed.is_none() {
            for row in &mut rows {
                row.message = Some(id.clone());
                self.put_row(row.clone());
            }
        }
        self.lines.begin(line, notices);
        (id, rows)
    }

    /// A message of several notices is refused for what it says, or for its length: each half of it goes by itself, at once, so
    /// that one notice that nobody takes keeps no other back.
    pub(super) fn send_in_two(&mut self, line: &LineId, rows: &[OutboxRow], why: &str, now: Timestamp) {
        let (owner, channel, notices) = (&line.owner, &line.channel, rows.len());
        tracing::warn!(owner, channel, notices, why, "a message is refused for what it says; it goes in two");
        let (first, second) = rows.split_at(rows.len() / 2);
        for half in [first, second] {
            let ids: Vec<NoticeId> = half.iter().map(|it| it.notice.id.clone()).collect();
            let message = Some(message_id(line, &ids));
            for row in half {
                let (attempts, why) = (row.attempts.saturating_add(1), Some(why.to_owned()));
                let message = message.clone();
                self.put_row(OutboxRow {
                    attempts,
                    at: now,
                    retry_at: now,
                    why,
                    message,
                    unsure: false,
                    ..row.clone()
                });
            }
        }
    }

    /// Whether a channel takes several notices in one message, and its owner wants that.
    pub(super) fn goes_together(&self, line: &LineId) -> bool {
        let wanted = self.settings.owners.get(&line.owner).is_some_and(|it| !it.group_within.is_zero());
        wanted && channel(&self.settings, line).is_some_and(|it| it.notifier.groups())
    }

    /// Whom an owner wants to be told besides.
    pub(super) fn escalates_to(&self, owner: &str) -> Vec<String> {
        self.settings.owners.get(owner).map(|it| it.escalate_to.clone()).unwrap_or_default()
    }

    /// When the expiry of a key that the config does not name is told: as its owners want it.
    pub(super) fn notify_before(&self, name: &KeyName) -> Vec<Duration> {
        let owners = self.owners_of(name);
        let owners = owners.iter().filter_map(|it| self.settings.owners.get(it));
        owners.flat_map(|it| it.notify_before.iter().copied()).collect()
    }
}

/// When a notice goes, where nothing is in the way.
fn due(notice: &Notice, channel: &Channel, owner: &Owner) -> Timestamp {
    if channel.notifier.groups() { queue::due(notice, owner.group_within) } else { notice.at }
}

/// One notice alone goes under its own id; several under one that comes from theirs.
fn message_id(line: &LineId, notices: &[NoticeId]) -> NoticeId {
    match notices {
        [one] => one.clone(),
        many => {
            let ids = many.iter().map(NoticeId::as_str);
            NoticeId::of(&["message", &line.owner, &line.channel].into_iter().chain(ids).collect::<Vec<_>>())
        }
    }
}

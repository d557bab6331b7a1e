//! What is told, and to whom: notices go into the outbox in the batch that holds their cause.
use super::books::Books;
use crate::core::incidents::{Incident, Incidents};
use crate::core::names::KeyName;
use crate::core::plan::{Notice, Severity};
use crate::core::time::Timestamp;
use crate::store::{HistoryRow, OutboxRow, OutboxState, Store, StoreError};
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
    /// An incident that belongs to no key begins; one that was told is not told again.
    pub(super) fn begin_incident(&mut self, cause: &str, incident: Incident, now: Timestamp) {
        if let Some(told) = self.incidents.begin(cause, incident, now) {
            let (about, summary) = (told.notice.subject(), &told.notice.summary);
            // What is less may pass by itself.
            if told.notice.severity >= Severity::Warning {
                tracing::error!(about, summary, "trouble that belongs to no key");
            } else {
                tracing::warn!(about, summary, "trouble that belongs to no key");
            }
            self.keep_incidents();
            self.post(told.notice, &told.owners);
        }
    }

    /// It is over.
    pub(super) fn end_incident(&mut self, cause: &str, how: &str, now: Timestamp) {
        if let Some(told) = self.incidents.end(cause, how, now) {
            self.keep_incidents();
            self.post(told.notice, &told.owners);
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
        self.dirty = true;
        let settings = Arc::clone(&self.settings);
        for owner in owners {
            self.batch.history.push(HistoryRow::Notice { notice: notice.clone(), owner: owner.clone() });
            let channels = settings.owners.get(owner).map(|it| &it.channels).into_iter().flatten();
            for channel in channels.filter(|it| notice.severity >= it.min_severity) {
                self.batch.outbox_put.push(OutboxRow {
                    notice: notice.clone(),
                    owner: owner.clone(),
                    channel: channel.notifier.id(),
                    attempts: 0,
                    retry_at: notice.at,
                    state: OutboxState::Pending,
                    at: notice.at,
                    why: None,
                });
            }
        }
    }

    /// When the expiry of a key that the config does not name is told: as its owners want it.
    pub(super) fn notify_before(&self, name: &KeyName) -> Vec<Duration> {
        let owners = self.owners_of(name);
        let owners = owners.iter().filter_map(|it| self.settings.owners.get(it));
        owners.flat_map(|it| it.notify_before.iter().copied()).collect()
    }
}

//! Digests: when the next one is due, and that none is sent twice. What is in one is decided by `core::digest`.
use super::Engine;
use super::books::Books;
use crate::core::digest::{Schedule, Span, Subject, digest};
use crate::core::names::KeyName;
use crate::core::plan::Notice;
use crate::core::time::Timestamp;
use crate::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of the small row that holds the moment of each owner's last digest.
const DIGESTS: &str = "digests";

/// The moment of the last digest of each owner who gets any: durable, so that a restart sends none twice and loses none.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Digests {
    last: BTreeMap<String, Timestamp>,
    /// When the next one is due; none where that is to be reckoned anew.
    #[serde(skip)]
    next: Option<Timestamp>,
}

impl Digests {
    /// As they stood when the daemon ended.
    pub(super) fn read(store: &Store) -> Result<Self, StoreError> {
        let Some(json) = store.meta(DIGESTS)? else { return Ok(Self::default()) };
        Ok(serde_json::from_slice(&json).unwrap_or_else(|error| {
            tracing::error!(%error, "when digests were sent can't be read; the next ones come when they are due");
            Self::default()
        }))
    }

    /// Since when an owner's next digest tells. The first one is about the time from here on, and so is the first after a clock
    /// that was ahead was set back.
    fn since(&mut self, owner: &str, now: Timestamp) -> Timestamp {
        let since = self.last.entry(owner.to_owned()).or_insert(now);
        *since = (*since).min(now);
        *since
    }
}

impl Engine {
    /// When the next ones are to be written: never while the clock is not believed, nor at the end.
    pub(super) fn digests_due_at(&self) -> Timestamp {
        if self.clock.is_suspect() || self.stopping {
            return Timestamp::NEVER;
        }
        self.books.digests.next.unwrap_or(Timestamp::NEVER)
    }

    /// Puts the digests into the outbox that have fallen due.
    pub(super) fn write_digests(&mut self, now: Timestamp) {
        let waits = self.books.digests.next.is_some_and(|it| now < it);
        if waits || self.clock.is_suspect() || self.stopping {
            return;
        }
        let settings = Arc::clone(&self.books.settings);
        let before = self.books.digests.last.clone();
        self.books.digests.last.retain(|name, _| settings.owners.get(name).is_some_and(|it| it.digest.is_some()));
        let mut next = Timestamp::NEVER;
        for (name, owner) in &settings.owners {
            let Some(schedule) = &owner.digest else { continue };
            let since = self.books.digests.since(name, now);
            if let Some(at) = schedule.last(now).filter(|it| *it > since) {
                self.books.digests.last.insert(name.clone(), at);
                // While a copy only observes, the digests are those of the daemon that it is a copy of.
                let told =
                    self.observing.is_none().then(|| self.books.digest(name, schedule, since, at, now)).flatten();
                if let Some(notice) = told {
                    self.books.post(notice, std::slice::from_ref(name));
                }
            }
            next = schedule.next(now).map_or(next, |it| it.min(next));
        }
        self.books.digests.next = Some(next);
        if self.books.digests.last != before {
            self.books.keep_digests();
        }
    }

    /// A new config is in use, or the clock was set.
    pub(super) fn reckon_digests(&mut self) {
        self.books.digests.next = None;
    }
}

impl Books {
    fn digest(
        &mut self,
        owner: &str,
        schedule: &Schedule,
        since: Timestamp,
        at: Timestamp,
        now: Timestamp,
    ) -> Option<Notice> {
        self.reckon(now);
        let slots = self.slots();
        let names: Vec<&KeyName> =
            self.records.keys().filter(|it| self.owners_of(it).iter().any(|it| it == owner)).collect();
        let keys = names.into_iter().filter_map(|name| {
            let policy = self.settings.keys.get(name).map(|it| &it.policy);
            let record = self.records.get(name).filter(|it| it.decommissioned.is_none())?;
            Some(Subject { record, policy, replaced_at: slots.get(name).map(|it| it.at) })
        });
        let until = schedule.next(now).unwrap_or(Timestamp::NEVER);
        digest(owner, keys, Span { since, at, until }, now)
    }

    fn keep_digests(&mut self) {
        match serde_json::to_vec(&self.digests) {
            Ok(json) => self.edit(|it| it.meta.push((DIGESTS.to_owned(), Some(json)))),
            Err(error) => tracing::error!(%error, "when digests were sent can't be written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_clock_that_was_a_year_ahead_silences_no_digest_once_it_was_set_back() {
        let (now, day) = (Timestamp(1_790_000_000_000), Duration::from_secs(86_400));
        let mut digests = Digests::default();
        assert_eq!(digests.since("payments", now.plus(365 * day)), now.plus(365 * day));
        assert_eq!(digests.since("payments", now), now);
        assert_eq!(digests.since("payments", now.plus(7 * day)), now, "so that the one of the week is due");
    }
}

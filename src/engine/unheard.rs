//! Notices that no channel of an owner takes: those whom he names in `escalate_to` are told them, by a timer of their own. A
//! server that hangs, a channel that asked for time, a long wait between two tries, a daemon that was down: none of them
//! keeps a notice from being heard of.
//!
//! Who was told so is kept for as long as the incident lasts: whoever heard of the beginning hears of the end.
use super::Engine;
use super::books::Books;
use crate::core::names::NoticeId;
use crate::core::plan::{Notice, NoticeStatus};
use crate::core::queue::{Fate, TRIED_WITHIN, for_others, patience, untold_at};
use crate::core::time::Timestamp;
use crate::store::{OutboxId, OutboxRow, OutboxState, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The name of the small row that holds who was told besides.
const HEARD: &str = "heard-besides";
/// Of so many incidents that last it is known who was told besides; then the oldest is forgotten.
const HEARD_MOST: usize = 1024;
/// So many notices are looked at in one go.
const LOOKED_AT_MOST: usize = 256;

/// A notice to one owner.
type Telling = (NoticeId, String);

/// When it is to be looked whether a notice was taken, for every owner who may not have been told.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    due: BTreeSet<(Timestamp, Telling)>,
    looks: BTreeMap<Telling, Look>,
    /// Since when the daemon runs, by a clock that was not set meanwhile.
    awake: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    at: Timestamp,
    /// Since when it waits: its moment, unless a clock that was ahead dated it.
    since: Timestamp,
}

impl Unheard {
    /// The daemon has begun to run, or its clock was set: every channel gets the time for a try. Whatever is looked after later
    /// than that is looked after then, and its time reckoned anew: a clock that was ahead, by minutes or years, may have dated it.
    pub(super) fn awake(&mut self, now: Timestamp) {
        self.awake = now;
        let at = now.plus(TRIED_WITHIN);
        for (_, telling) in self.due.split_off(&(at, (NoticeId::from(""), String::new()))) {
            let since = self.looks.get(&telling).map_or(now, |it| it.since.min(now));
            self.look(telling, Look { at, since });
        }
    }

    /// A row of the outbox is new, or has changed.
    pub(super) fn note(&mut self, row: &OutboxRow) {
        let telling = (row.notice.id.clone(), row.owner.clone());
        let known = self.looks.get(&telling).copied();
        let since = known.map_or(row.notice.at, |it| it.since.min(row.notice.at));
        match row.state {
            _ if row.notice.status == NoticeStatus::Resolved => {}
            OutboxState::Pending => {
                if let Some(patience) = patience(&row.notice) {
                    // A further try puts nothing off.
                    let at = since.plus(patience);
                    self.look(telling, Look { at: known.map_or(at, |it| it.at.min(at)), since });
                }
            }
            OutboxState::Dead | OutboxState::Off => self.look(telling, Look { at: Timestamp(0), since }),
            OutboxState::Sent | OutboxState::Superseded | OutboxState::Acked => self.forget(&telling),
        }
    }

    /// When to look next.
    pub(super) fn next(&self) -> Timestamp {
        self.due.first().map_or(Timestamp::NEVER, |it| it.0)
    }

    fn look(&mut self, telling: Telling, look: Look) {
        self.forget(&telling);
        self.due.insert((look.at, telling.clone()));
        self.looks.insert(telling, look);
    }

    fn forget(&mut self, telling: &Telling) {
        if let Some(Look { at, .. }) = self.looks.remove(telling) {
            self.due.remove(&(at, telling.clone()));
        }
    }

    /// The notices to look at now, each with the owners in question, and since when it waits for them.
    fn take_due(&mut self, now: Timestamp) -> BTreeMap<NoticeId, Vec<(String, Timestamp)>> {
        let mut due: BTreeMap<NoticeId, Vec<(String, Timestamp)>> = BTreeMap::new();
        while due.len() < LOOKED_AT_MOST && self.next() <= now {
            let Some((_, telling)) = self.due.pop_first() else { break };
            let since = self.looks.remove(&telling).map_or(now, |it| it.since);
            due.entry(telling.0).or_default().push((telling.1, since));
        }
        due
    }
}

/// Who was told of an incident besides its owners.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Heard(BTreeMap<String, Besides>);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Besides {
    since: Timestamp,
    owners: BTreeSet<String>,
}

impl Heard {
    /// Those who were told when the daemon ended.
    pub(super) fn read(store: &Store) -> Result<Self, StoreError> {
        let Some(json) = store.meta(HEARD)? else { return Ok(Self::default()) };
        Ok(serde_json::from_slice(&json).unwrap_or_else(|error| {
            tracing::error!(%error, "who was told besides the owners can't be read; they may not hear of the end");
            Self::default()
        }))
    }

    fn note(&mut self, incident: &str, owners: &[String], now: Timestamp) {
        let of = self.0.entry(incident.to_owned()).or_insert(Besides { since: now, owners: BTreeSet::new() });
        of.owners.extend(owners.iter().cloned());
        while self.0.len() > HEARD_MOST {
            let oldest = self.0.iter().min_by_key(|it| it.1.since).map(|it| it.0.clone());
            oldest.and_then(|it| self.0.remove(&it));
        }
    }
}

impl Engine {
    /// Tells others what no channel of an owner took in time. A copy that only observes leaves that to the original.
    pub(super) fn tell_others(&mut self, now: Timestamp) {
        if !self.tells_others() {
            // Nothing is sent meanwhile, so that no channel had its time.
            return self.books.lines.unheard.awake(now);
        }
        for (notice, owners) in self.books.lines.unheard.take_due(now) {
            match self.books.fates(&notice) {
                Ok(rows) => self.books.tell_others(&rows, owners, now),
                Err(error) => tracing::error!(%error, "what became of a notice can't be read"),
            }
        }
    }

    /// When it is to be looked next whether something was told.
    pub(super) fn tells_others_at(&self) -> Timestamp {
        if self.tells_others() { self.books.lines.unheard.next() } else { Timestamp::NEVER }
    }

    fn tells_others(&self) -> bool {
        !self.stopping && self.unwritable.is_none() && self.observing.is_none()
    }
}

impl Books {
    /// `rows`: what became of one notice by every channel.
    fn tell_others(&mut self, rows: &[OutboxRow], mut owners: Vec<(String, Timestamp)>, now: Timestamp) {
        let Some(notice) = rows.first().map(|it| it.notice.clone()) else { return };
        owners.retain(|(owner, since)| {
            let (since, awake) = (*since, self.lines.unheard.awake);
            let fates: Vec<Fate> = rows.iter().filter(|it| it.owner == *owner).map(|it| fate(it, since, now)).collect();
            let at = untold_at(&Notice { at: since, ..notice.clone() }, &fates, awake, now);
            if at > now && at < Timestamp::NEVER {
                self.lines.unheard.look((notice.id.clone(), owner.clone()), Look { at, since });
            }
            at <= now && !self.lines.says_more(owner, &notice)
        });
        let owners: Vec<String> = owners.into_iter().map(|it| it.0).collect();
        let all: BTreeSet<String> = rows.iter().map(|it| it.owner.clone()).collect();
        let copy = for_others(&notice, &owners, &all, now);
        let others = self.others(&copy, rows, &owners);
        if others.is_empty() {
            return;
        }
        let (about, kind) = (notice.subject(), notice.kind.code());
        tracing::warn!(about, kind, ?owners, ?others, "no channel takes it; others are told");
        if notice.lasts() {
            self.heard.note(&notice.incident, &others, now);
            self.keep_heard();
        }
        self.post(copy, &others);
    }

    /// Whom these owners want to be told, but for those who are told of it anyway, or were; and whom somebody can tell.
    fn others(&self, copy: &Notice, rows: &[OutboxRow], owners: &[String]) -> Vec<String> {
        let told = match self.fates(&copy.id) {
            Ok(told) => told,
            Err(error) => {
                tracing::error!(%error, "what became of a notice can't be read");
                return Vec::new();
            }
        };
        let knows = |it: &String| rows.iter().chain(&told).any(|row| row.owner == *it) || copy.meant_for.contains(it);
        let hears = |it: &String| {
            let section = self.settings.owners.get(it);
            section.is_some_and(|it| it.channels.iter().any(|it| copy.reach() >= it.min_severity))
        };
        let named: BTreeSet<String> = owners.iter().flat_map(|it| self.escalates_to(it)).collect();
        named.into_iter().filter(|it| !knows(it) && hears(it)).collect()
    }

    /// Those who were told of an incident that ends, besides its owners.
    pub(super) fn take_heard(&mut self, notice: &Notice) -> BTreeSet<String> {
        if notice.status != NoticeStatus::Resolved {
            return BTreeSet::new();
        }
        let Some(besides) = self.heard.0.remove(&notice.incident) else { return BTreeSet::new() };
        self.keep_heard();
        besides.owners
    }

    fn keep_heard(&mut self) {
        match serde_json::to_vec(&self.heard) {
            Ok(json) => self.edit(|it| {
                it.meta.retain(|(name, _)| name != HEARD);
                it.meta.push((HEARD.to_owned(), Some(json)));
            }),
            Err(error) => tracing::error!(%error, "who was told besides the owners can't be written"),
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

/// `since`: from when on it waits; where a clock that was ahead dated it, it was to go then at the latest.
fn fate(row: &OutboxRow, since: Timestamp, now: Timestamp) -> Fate {
    let was_ahead = since < row.notice.at;
    match row.state {
        // What a later notice says better is judged there.
        OutboxState::Sent | OutboxState::Superseded => Fate::Told,
        OutboxState::Pending if row.attempts == 0 && was_ahead => Fate::Waits(since.min(row.retry_at)),
        OutboxState::Pending if row.attempts == 0 => Fate::Waits(super::lines::due_at(row.retry_at, now)),
        OutboxState::Pending => Fate::Fails,
        OutboxState::Dead | OutboxState::Acked | OutboxState::Off => Fate::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::tests::{NOW, at, row};
    use super::*;

    fn looks(unheard: &mut Unheard, seconds: u64) -> usize {
        unheard.take_due(at(seconds)).len()
    }

    #[test]
    fn a_warning_is_looked_after_when_an_hour_has_passed_and_once() {
        let mut unheard = Unheard::default();
        unheard.note(&row("a", 0, 0));
        unheard.note(&row("a", 3, 900));
        assert_eq!(unheard.next(), at(3600));
        assert_eq!((looks(&mut unheard, 3599), looks(&mut unheard, 3600), looks(&mut unheard, 9999)), (0, 1, 0));
        unheard.note(&row("a", 4, 9999));
        assert_eq!(looks(&mut unheard, 9999), 1, "and again after each try");
    }

    #[test]
    fn what_was_taken_is_not_looked_after_and_what_was_given_up_is_at_once() {
        let mut unheard = Unheard::default();
        unheard.note(&row("a", 0, 0));
        unheard.note(&OutboxRow { state: OutboxState::Sent, ..row("a", 1, 0) });
        assert_eq!(unheard.next(), Timestamp::NEVER);
        unheard.note(&OutboxRow { state: OutboxState::Dead, ..row("a", 1, 0) });
        assert_eq!(looks(&mut unheard, 0), 1);
    }

    #[test]
    fn what_a_clock_that_was_ahead_dated_is_looked_after_once_that_is_right() {
        let mut unheard = Unheard::default();
        let mut ahead = row("a", 0, 0);
        ahead.notice.at = at(365 * 86_400);
        unheard.note(&ahead);
        unheard.note(&row("b", 0, 0));
        unheard.awake(NOW);
        assert_eq!((unheard.next(), looks(&mut unheard, 60), looks(&mut unheard, 3600)), (at(60), 2, 0));
    }

    #[test]
    fn what_a_clock_that_was_ahead_by_minutes_or_hours_dated_is_looked_after_whatever_is_tried_meanwhile() {
        for ahead in [1800, 3 * 3600, 26 * 3600] {
            let mut unheard = Unheard::default();
            let mut dated = row("a", 0, 0);
            dated.notice.at = at(ahead);
            unheard.note(&dated);
            unheard.awake(NOW);
            for tries in 1..5 {
                unheard.note(&OutboxRow { attempts: tries, ..dated.clone() });
                assert_eq!(unheard.next(), at(60), "{ahead} s, {tries} tries");
            }
            let due = unheard.take_due(at(60)).remove(&"a".into()).unwrap();
            assert_eq!(due, [("payments".to_owned(), NOW)], "it waits since the clock was set");
            unheard.look(("a".into(), "payments".to_owned()), Look { at: at(3600), since: NOW });
            unheard.note(&OutboxRow { attempts: 5, ..dated });
            assert_eq!((unheard.next(), looks(&mut unheard, 3600)), (at(3600), 1), "{ahead} s");
        }
    }

    #[test]
    fn what_was_to_go_by_a_clock_that_was_ahead_was_to_go_when_that_was_set() {
        let mut dated = row("a", 0, 3 * 3600);
        assert_eq!(fate(&dated, NOW, at(60)), Fate::Waits(at(3 * 3600)), "it is to go with others, later");
        dated.notice.at = at(3 * 3600);
        assert_eq!(fate(&dated, NOW, at(60)), Fate::Waits(NOW));
    }

    #[test]
    fn of_no_more_incidents_than_its_limit_it_is_known_who_was_told() {
        let mut heard = Heard::default();
        for n in 0..=HEARD_MOST as u64 {
            heard.note(&format!("{n}"), &["platform".to_owned()], NOW.plus(std::time::Duration::from_secs(n)));
        }
        assert_eq!((heard.0.len(), heard.0.contains_key("0")), (HEARD_MOST, false));
    }
}

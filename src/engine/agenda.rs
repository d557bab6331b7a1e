//! When each key is replaced, reckoned among all others by [`core::schedule`](mod@crate::core::schedule) and kept until something
//! changes that it depends on.
use super::books::Books;
use crate::clock::Boot;
use crate::core::account::Account;
use crate::core::names::AccountId;
use crate::core::pass::phase_name;
use crate::core::policy::Policy;
use crate::core::record::Record;
use crate::core::schedule::{Slots, Spans, slots};
use crate::core::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// With more keys than this, one reckoning serves
const MANY: usize = 200;
/// for so long. What was reckoned a moment ago is no worse: budget and windows are asked again before a create.
const SERVES: Duration = Duration::from_secs(1);

/// The moments of all keys.
#[derive(Default)]
pub(super) struct Agenda {
    slots: Slots,
    spans: Spans,
    /// When it was reckoned, and under which config; none where something changed since.
    reckoned: Option<(Boot, u64)>,
    changed: bool,
}

impl Books {
    /// Reckons the moment of every key anew, where something has changed.
    pub(super) fn reckon(&mut self, now: Timestamp) {
        let keys = self.settings.keys.values();
        let keys = keys.filter_map(|it| Some((self.records.get(&it.name)?, &it.policy)));
        self.agenda.reckon(keys, &self.accounts, self.generation, now);
    }

    /// The moments of all keys.
    pub(super) fn slots(&self) -> Slots {
        self.agenda.slots().clone()
    }
}

impl Agenda {
    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Reckons anew, if something has changed.
    pub(super) fn reckon<'a>(
        &mut self,
        keys: impl Iterator<Item = (&'a Record, &'a Policy)>,
        accounts: &BTreeMap<AccountId, Account>,
        generation: u64,
        now: Timestamp,
    ) {
        if let Some((at, under)) = self.reckoned
            && under == generation
            && (!self.changed || (self.slots.len() > MANY && at.elapsed() < SERVES))
        {
            return;
        }
        self.slots = slots(keys, accounts, &mut self.spans, now);
        self.reckoned = Some((Boot::now(), generation));
        self.changed = false;
    }

    /// The next reckoning is a new one.
    pub(super) fn is_stale(&mut self) {
        self.changed = true;
    }

    /// A record has changed: whether that can move anybody's moment.
    pub(super) fn note(&mut self, before: Option<&Record>, after: &Record) {
        let Some(before) = before else { return self.is_stale() };
        let ends = |it: &Record| it.current.as_ref().map(|it| (it.number, it.valid_from, it.valid_to, it.dead_since));
        let same = phase_name(&before.phase) == phase_name(&after.phase)
            && ends(before) == ends(after)
            && before.wish == after.wish
            && before.paused == after.paused
            && before.retry_at == after.retry_at
            && before.last_token == after.last_token;
        self.changed |= !same;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::names::KeyName;

    #[test]
    fn only_what_can_move_a_moment_makes_it_reckon_anew() {
        let name: KeyName = "a".parse().unwrap();
        let before = Record::new(name, Timestamp(0));
        let note = |after: Record| {
            let mut agenda = Agenda::default();
            agenda.note(Some(&before), &after);
            agenda.changed
        };
        assert!(!note(Record { probed_at: Some(Timestamp(1)), ..before.clone() }));
        assert!(note(Record { retry_at: Some(Timestamp(1)), ..before.clone() }));
        assert!(note(Record { last_token: 1, ..before.clone() }));
    }
}

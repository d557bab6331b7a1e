//! Whose create is next, where so many of an account are in flight that further keys wait: each that ends calls the next one,
//! so that nobody has to ask again and again.
use super::Engine;
use crate::core::account::Account;
use crate::core::names::{AccountId, KeyName};
use crate::core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The keys that wait for their turn, and those that were called and have not answered.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The most urgent first: by when they end.
    waiting: BTreeMap<AccountId, BTreeSet<(Timestamp, KeyName)>>,
    /// Where each of them stands.
    places: BTreeMap<KeyName, (AccountId, Timestamp)>,
    called: BTreeMap<KeyName, AccountId>,
}

impl Turns {
    /// A key that ends then has no turn at this account.
    fn wait(&mut self, account: &AccountId, name: &KeyName, ends: Timestamp) {
        self.answer(name);
        self.waiting.entry(account.clone()).or_default().insert((ends, name.clone()));
        self.places.insert(name.clone(), (account.clone(), ends));
    }

    /// A key has been looked at: it waits for nothing, until it says so again.
    fn answer(&mut self, name: &KeyName) {
        self.called.remove(name);
        if let Some((account, ends)) = self.places.remove(name)
            && let Some(waiting) = self.waiting.get_mut(&account)
        {
            waiting.remove(&(ends, name.clone()));
        }
    }

    /// The next keys, where so many have a turn at an account.
    fn call(&mut self, account: &AccountId, turns: usize) -> Vec<KeyName> {
        let Some(waiting) = self.waiting.get_mut(account).filter(|it| !it.is_empty()) else { return Vec::new() };
        let on_their_way = self.called.values().filter(|it| *it == account).count();
        let free = turns.saturating_sub(on_their_way);
        let next: Vec<_> = std::iter::from_fn(|| waiting.pop_first()).take(free).map(|it| it.1).collect();
        next.iter().for_each(|it| drop(self.places.remove(it)));
        self.called.extend(next.iter().map(|it| (it.clone(), account.clone())));
        next
    }

    /// Forgets keys that are no more.
    pub(super) fn retain_keys(&mut self, keep: impl Fn(&KeyName) -> bool) {
        let gone = self.places.keys().chain(self.called.keys()).filter(|it| !keep(it));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.answer(&name);
        }
    }
}

impl Engine {
    /// A key was decided on: whether it waits for its turn.
    pub(super) fn note_turn(&mut self, account: &AccountId, name: &KeyName, waits: bool) {
        if !waits {
            return self.turns.answer(name);
        }
        let current = self.books.records.get(name).and_then(|it| it.current.as_ref());
        let ends = current.and_then(|it| it.valid_to).unwrap_or(Timestamp::NEVER);
        self.turns.wait(account, name, ends);
    }

    /// Calls whoever is next at an account, if a create there has ended.
    pub(super) fn call_next(&mut self, account: &AccountId, now: Timestamp) {
        let account_now = self.books.accounts.get(account).filter(|it| it.locked_by().is_none());
        let turns = account_now.map_or(0, Account::turns);
        for name in self.turns.call(account, turns) {
            self.due_at(&name, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> KeyName {
        name.parse().unwrap()
    }

    #[test]
    fn as_many_are_called_as_have_a_turn_the_most_urgent_first() {
        let (sms, mut turns) = (AccountId::from("sms"), Turns::default());
        for (ends, name) in [(30, "late"), (10, "first"), (20, "second")] {
            turns.wait(&sms, &key(name), Timestamp(ends));
        }
        assert_eq!(turns.call(&sms, 0), vec![]);
        assert_eq!(turns.call(&sms, 1), vec![key("first")]);
        assert_eq!(turns.call(&sms, 1), vec![], "it has been called, and not answered yet");
        turns.answer(&key("first"));
        turns.answer(&key("late"));
        assert_eq!(turns.call(&sms, 2), vec![key("second")], "the other does not wait any more");
        assert_eq!(turns.call(&AccountId::from("elsewhere"), 2), vec![]);
        turns.wait(&sms, &key("gone"), Timestamp(10));
        turns.retain_keys(|it| *it == key("late"));
        assert_eq!((turns.call(&sms, 2), turns.called.len()), (vec![], 0));
    }
}

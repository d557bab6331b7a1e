//! What is shown while a batch is on its way to the disk: the books as the disk holds them.
use super::books::Books;
use crate::core::account::Account;
use crate::core::names::{AccountId, KeyName};
use crate::core::record::Record;
use std::collections::BTreeMap;

/// What stands in the state for the records and accounts that the batch changes; `None` where there is nothing yet.
#[derive(Default)]
pub(super) struct Before {
    records: BTreeMap<KeyName, Option<Record>>,
    accounts: BTreeMap<AccountId, Option<Account>>,
}

impl Books {
    /// Remembers a record that is about to be changed, as it is durable.
    pub(super) fn keep_before(&mut self, name: &KeyName) {
        if !self.before.records.contains_key(name) {
            self.before.records.insert(name.clone(), self.records.get(name).cloned());
        }
    }

    /// The same of an account.
    pub(super) fn keep_account_before(&mut self, id: &AccountId) {
        if !self.before.accounts.contains_key(id) {
            self.before.accounts.insert(id.clone(), self.accounts.get(id).cloned());
        }
    }

    /// The disk holds what is in the books.
    pub(super) fn is_durable(&mut self) {
        self.before = Before::default();
    }

    /// A record as the disk holds it.
    pub(super) fn durable_record(&self, name: &KeyName) -> Option<&Record> {
        match self.before.records.get(name) {
            Some(before) => before.as_ref(),
            None => self.records.get(name),
        }
    }

    /// The records and accounts as the disk holds them.
    pub(super) fn durable(&self) -> (BTreeMap<KeyName, Record>, BTreeMap<AccountId, Account>) {
        (before(&self.records, &self.before.records), before(&self.accounts, &self.before.accounts))
    }
}

/// What a map held before some of it was changed: that is given, with `None` where there was nothing.
pub(super) fn before<K: Clone + Ord, V: Clone>(
    now: &BTreeMap<K, V>,
    changed: &BTreeMap<K, Option<V>>,
) -> BTreeMap<K, V> {
    let mut all = now.clone();
    for (key, before) in changed {
        match before {
            Some(it) => drop(all.insert(key.clone(), it.clone())),
            None => drop(all.remove(key)),
        }
    }
    all
}

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
        let (mut records, mut accounts) = (self.records.clone(), self.accounts.clone());
        for (name, before) in &self.before.records {
            match before {
                Some(record) => drop(records.insert(name.clone(), record.clone())),
                None => drop(records.remove(name)),
            }
        }
        for (id, before) in &self.before.accounts {
            match before {
                Some(account) => drop(accounts.insert(id.clone(), account.clone())),
                None => drop(accounts.remove(id)),
            }
        }
        (records, accounts)
    }
}

//! What the engine remembers of its looks beside the records, and what it is to look at more closely than it would by itself.
use super::Engine;
use crate::core::facts::{Content, Facts};
use crate::core::names::KeyName;
use crate::core::record::Record;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sights {
    /// Keys whose provider is to be asked, however lately it was; and whether a look that does so is under way.
    closely: BTreeMap<KeyName, bool>,
    nothing_to_adopt: BTreeSet<KeyName>,
}

impl Sights {
    /// Keys without a version, of which no target was seen to hold anything that could be adopted.
    pub(super) fn nothing_to_adopt(&self) -> &BTreeSet<KeyName> {
        &self.nothing_to_adopt
    }

    /// The record by which it is said what to look at: that of a key that was never probed, where it is to be looked at
    /// closely.
    pub(super) fn asked_for<'r>(&mut self, record: &'r Record) -> Cow<'r, Record> {
        match self.closely.get_mut(&record.name) {
            None => Cow::Borrowed(record),
            Some(under_way) => {
                *under_way = true;
                Cow::Owned(Record { probed_at: None, ..record.clone() })
            }
        }
    }

    /// A look came back that is decided on.
    pub(super) fn seen(&mut self, record: &Record, facts: &Facts) {
        let name = &record.name;
        if self.closely.get(name) == Some(&true) {
            self.closely.remove(name);
        }
        let holds = |it: &Content| !matches!(it, Content::Absent | Content::Damaged);
        if record.current.is_none() && !facts.targets.values().any(holds) {
            self.nothing_to_adopt.insert(name.clone());
        } else {
            self.nothing_to_adopt.remove(name);
        }
    }

    /// Keys that are gone are forgotten.
    fn retain(&mut self, keep: impl Fn(&KeyName) -> bool) {
        self.closely.retain(|it, _| keep(it));
        self.nothing_to_adopt.retain(keep);
    }
}

impl Engine {
    /// One key of each account is looked at closely.
    pub(super) fn ask_the_time(&mut self) {
        let keys = self.books.settings.keys.values();
        let keys = keys.filter(|it| self.books.records.get(&it.name).is_some_and(|it| it.current.is_some()));
        let of_each: BTreeMap<_, _> = keys.map(|it| (it.policy.account.clone(), it.name.clone())).collect();
        self.sights.closely.extend(of_each.into_values().map(|it| (it, false)));
    }

    /// Looks at every key now, and asks its provider, as if that had not been done for long: somebody wants to know. A provider that
    /// refuses our login is not asked for that.
    pub(super) fn look_closely(&mut self) {
        let records = &self.books.records;
        self.sights.retain(|it| records.contains_key(it));
        self.sights.closely.extend(self.books.settings.keys.keys().map(|it| (it.clone(), false)));
        self.sweep();
    }
}

//! Listed keys that carry a token of this key and are none of ours: a second daemon made them, or a clone of this one.
use super::facts::{Facts, Found};
use super::names::Token;
use super::pass::Pass;
use super::record::{Reason, Version};
use std::collections::BTreeSet;

impl Pass<'_> {
    /// Whoever goes on beside another daemon begins a war: a human must stop one of the two. Each stranger halts once, so
    /// that `resume` goes on beside a key that the other has left behind.
    pub(super) fn halts_for_strangers(&mut self, facts: &Facts) -> bool {
        let strangers = self.strangers(facts);
        if strangers.is_subset(&self.record.strangers) {
            return false;
        }
        self.record.strangers = strangers;
        self.halt(
            Reason::AnotherDaemon,
            "another installation of rekeyd, or a copy of this one, issues keys under this name",
        );
        true
    }

    /// After a restore, what an earlier life of this installation made is no sign of a second daemon.
    pub(super) fn know_earlier_lives(&mut self, facts: &Facts) {
        let install = &self.by.install;
        let earlier: Vec<Token> = self.strangers(facts).into_iter().filter(|it| it.by.install == *install).collect();
        self.record.strangers.extend(earlier);
    }

    fn strangers(&self, facts: &Facts) -> BTreeSet<Token> {
        let listed = facts.listed.iter().flat_map(|it| &it.keys).filter(|it| !self.is_on_the_books(it));
        let tokens = listed.filter_map(|it| it.token.clone()).filter(|it| it.name == self.record.name);
        tokens.filter(|it| it.by != *self.by && !self.account.open.contains_key(it)).collect()
    }

    fn is_on_the_books(&self, found: &Found) -> bool {
        let same = |own: &Version| {
            let same_id = own.id.is_some() && own.id == found.id;
            same_id || (own.token.is_some() && own.token == found.token)
        };
        let record = &self.record;
        let retired = record.retired.iter().map(|it| &it.version);
        let seen = found.fingerprint.as_ref().is_some_and(|it| record.seen.contains_key(it));
        seen || record.current.iter().chain(record.pending()).chain(retired).any(same)
    }
}

//! Listed keys that carry a token of this key and are none of ours: a second daemon made them, or a copy of this one.
use super::facts::{Facts, Found};
use super::names::Token;
use super::pass::Pass;
use super::record::{Reason, Version};
use super::rules::Rule;
use std::collections::BTreeSet;

impl Pass<'_> {
    /// Two daemons that issue one key end each other's, and neither knows: a human must stop one of the two. Each stranger
    /// halts once, so that `resume` goes on beside a key that the other has left behind.
    pub(super) fn halts_for_another_daemon(&mut self, facts: &Facts) -> bool {
        let strangers = self.strangers(facts);
        if strangers.is_subset(&self.record.strangers) || !self.holds(Rule::AnotherDaemon) {
            return false;
        }
        self.record.strangers = strangers;
        let why = "another installation of rekeyd, or a copy of this one, issues keys under this name";
        self.halt(Reason::AnotherDaemon, why);
        true
    }

    /// After a restore, what an earlier life of this installation made is no sign of a second daemon. But a key among it may
    /// be live, and nobody else would ever speak of it: its owners are told.
    pub(super) fn know_earlier_lives(&mut self, facts: &Facts) {
        let install = &self.by.install;
        let earlier: Vec<Token> = self.strangers(facts).into_iter().filter(|it| it.by.install == *install).collect();
        for token in earlier {
            let live = |it: &&Found| it.enabled && it.token.as_ref() == Some(&token);
            let found = facts.listed.iter().flat_map(|it| &it.keys).find(live);
            let id = found.map(|it| it.id.as_deref().unwrap_or("unknown").to_owned());
            if let (true, Some(id)) = (self.record.strangers.insert(token.clone()), id) {
                self.tell_of_earlier_life(&token, &id);
            }
        }
    }

    /// The tokens of this key that the provider shows, but for those of keys that are on the books: a key that another
    /// installation issued once may have been adopted here.
    pub(super) fn unbooked_tokens<'f>(&self, facts: &'f Facts) -> impl Iterator<Item = &'f Token> {
        let keys = facts.listed.iter().flat_map(|it| &it.keys);
        let unbooked = keys.filter(|it| !self.is_booked_as_ours(it)).filter_map(|it| it.token.as_ref());
        unbooked.filter(|it| it.name == self.record.name)
    }

    fn strangers(&self, facts: &Facts) -> BTreeSet<Token> {
        let others = self.unbooked_tokens(facts).filter(|it| it.by != *self.by);
        others.filter(|it| !self.account.open.contains_key(it)).cloned().collect()
    }

    fn is_booked_as_ours(&self, found: &Found) -> bool {
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

//! Lost answers: what came of a create whose outcome nobody told us?
//!
//! An open token is looked for in every pass until it ended, or was reported. What may be believed of an answer is the
//! same wherever it comes from: see [`Pass::believable`].
use super::account::Open;
use super::backoff;
use super::due;
use super::facts::{Action, Blocked, Facts, Found, Probe, Revoke, Revokee};
use super::names::{Fingerprint, Token};
use super::notices::{TELL_AFTER, lost_incident, orphan_incident};
use super::pass::Pass;
use super::policy::{OnAmbiguous, OnCreate, Recover};
use super::record::{Creating, Expiry, Phase, Reason, Version};
use super::rules::Rule;
use super::time::Timestamp;

/// How many answers of one rotation may be lost at a provider that can't be asked, before a human is.
const MOST_LOST: u32 = 2;

impl Pass<'_> {
    /// Looks for lost creates: adopts or revokes what is found, and reports what is not found for too long.
    pub(super) fn watch_open_tokens(&mut self, facts: &Facts) {
        if facts.hold == Some(Blocked::Observing) {
            return;
        }
        for (token, open) in self.my_lost_tokens() {
            let Some(lost_at) = open.lost_at else { continue };
            let ends = lost_at.plus(self.policy.watch);
            if token.by != *self.by && self.holds(Rule::Epoch) {
                self.report_lost(&token, "it was sent before the state was restored");
            } else if open.reported_at.is_some() && self.policy.provider.recover != Recover::ListByName {
                continue;
            } else if let Some(found) = listed_under(facts, &token).filter(|_| self.holds(Rule::Watch)) {
                self.end_found(facts, token, &open, found);
            } else if open.reported_at.is_some() {
                self.watch_on(facts, &token, lost_at);
            } else if self.watch_is_over(facts, ends) {
                self.end_watch(facts, &token, &open, lost_at);
            } else {
                self.look_again(lost_at, ends);
            }
        }
    }

    /// It was looked for long enough, and is not there now. Where the daemon was down meanwhile, or the provider did not
    /// answer, as much time again may pass until a look shows that; then it is told, and looked for on.
    fn watch_is_over(&self, facts: &Facts, ends: Timestamp) -> bool {
        let looked = facts.listed.is_some() || self.policy.provider.recover != Recover::ListByName;
        let over = if looked { ends } else { ends.plus(self.policy.watch) };
        over <= self.now && !facts.clock_suspect
    }

    /// It was told because nobody could look for it. Its key may live: whenever the provider shows its keys again, it is
    /// found and revoked, or it is not there.
    fn watch_on(&mut self, facts: &Facts, token: &Token, lost_at: Timestamp) {
        if facts.listed.is_some() {
            self.account.open.remove(token);
            self.resolve(&lost_incident(token));
        } else {
            self.wake(self.now.plus(backoff::look(self.now.since(lost_at))));
        }
    }

    /// It was looked for long enough.
    fn end_watch(&mut self, facts: &Facts, token: &Token, open: &Open, lost_at: Timestamp) {
        let read = self.policy.provider.recover == Recover::ReadCurrent;
        let superseded = self.record.current.as_ref().is_some_and(|it| it.obtained_at > lost_at);
        if self.policy.provider.recover.is_difference() {
            // It still counts in the next difference, but holds up nobody.
            self.tell_lost(token, open.sent_at, "it was looked for and not found");
            if let Some(open) = self.account.open.get_mut(token) {
                open.reported_at = Some(self.now);
                open.locks = false;
            }
        } else if read && superseded && self.on_create() == OnCreate::Revokes {
            // Whatever it made was ended by the create that followed, or was read and taken over.
            self.account.open.remove(token);
        } else if self.policy.provider.recover == Recover::ListByName && facts.listed.is_none() {
            self.tell_lost(
                token,
                open.sent_at,
                "its provider has shown no list of its keys since, and it is looked for on",
            );
            if let Some(open) = self.account.open.get_mut(token) {
                open.reported_at = Some(self.now);
            }
            self.watch_on(facts, token, lost_at);
        } else {
            self.report_lost(token, "it was looked for and not found");
        }
    }

    fn look_again(&mut self, lost_at: Timestamp, ends: Timestamp) {
        self.wake(if ends > self.now { ends } else { ends.plus(self.policy.watch) });
        if matches!(self.policy.provider.recover, Recover::ListByName | Recover::ReadCurrent) {
            self.wake(self.now.plus(backoff::look(self.now.since(lost_at))));
        }
    }

    /// A lost create took effect: its key is ours, by its name.
    fn end_found(&mut self, facts: &Facts, token: Token, open: &Open, found: &Found) {
        // A revoke call may be under way already: such a key is never adopted.
        let wanted = matches!(&self.record.phase, Phase::Create(_)) && !open.ending;
        if wanted && let Some(found) = self.believable(Some(found)) {
            return self.adopt_lost(&found, &token, open);
        }
        // Without a probe it takes two looks to believe in it.
        if wanted && !self.policy.provider.probes && self.record.sighting.is_some() {
            return;
        }
        let id = found.id.clone().filter(|it| !it.is_empty() && self.policy.provider.revokes_by_id);
        if self.is_booked(&token, found, id.as_ref()) || facts.clock_suspect || self.is_held() {
            return;
        }
        if facts.revokes_withheld.contains(&self.policy.account) {
            return self.wake(self.now.plus(backoff::look(self.now.since(open.sent_at))));
        }
        if matches!(&self.record.phase, Phase::Create(it) if it.token.as_ref() == Some(&token)) {
            self.clear_doubt();
        }
        let Some(id) = id else {
            return self.report_lost(&token, "it was found, and can't be revoked from here");
        };
        if let Some(at) = open.retry_at.filter(|at| *at > self.now) {
            return self.wake(at);
        }
        if let Some(open) = self.account.open.get_mut(&token) {
            open.ending = true;
        }
        let account = self.policy.account.clone();
        self.actions.push(Action::Revoke(Revoke { account, id, what: Revokee::Orphan(token) }));
    }

    /// Counts a call to revoke what a lost create had made that failed: as with old keys, it is tried again, for ever, with
    /// growing waits.
    pub(super) fn orphan_revoke_failed(&mut self, token: &Token, why: &str) {
        let (now, name) = (self.now, self.record.name.clone());
        self.note_error("revoke_failed", why);
        let Some(open) = self.account.open.get_mut(token) else { return };
        open.failures = open.failures.saturating_add(1);
        open.retry_at = Some(now.plus(backoff::after(open.failures, &name, None)));
        if open.failures == TELL_AFTER {
            self.tell_orphan_refused(token, why);
        }
    }

    /// The key of a lost create came to us by another way (adopted from the portal): its handle is welcome.
    fn is_booked(&mut self, token: &Token, found: &Found, id: Option<&String>) -> bool {
        let own = |it: &&Version| {
            let same_id = id.is_some() && it.id.as_ref() == id;
            same_id || it.token.as_ref() == Some(token) || Some(&it.fingerprint) == found.fingerprint.as_ref()
        };
        let Some(number) = self.record.live_versions().find(own).map(|it| it.number) else { return false };
        if let Some(version) = self.version_mut(number) {
            version.id = version.id.take().or(id.cloned());
        }
        self.account.open.remove(token);
        self.resolve(&lost_incident(token));
        self.resolve(&orphan_incident(token));
        true
    }

    /// What was found is the key of this lost create: it goes its way as if the answer had come.
    fn adopt_lost(&mut self, found: &Found, token: &Token, open: &Open) {
        let sent_at = self.earliest_maker(Some(token));
        let Some(version) = self.new_version(found, Some(token), sent_at) else { return };
        match self.policy.provider.recover {
            Recover::ReadCurrent => self.close_read(token),
            _ => drop(self.account.open.remove(token)),
        }
        self.unlock();
        self.resolve(&lost_incident(token));
        self.created(version, open.sent_at);
    }

    /// A read shows one key, without a name. Where several creates were lost, nobody knows which of them made it, and
    /// whether its key hides another's: then all of them stay watched, and are reported in the end.
    pub(super) fn close_read(&mut self, token: &Token) {
        if self.my_lost_tokens().len() == 1 {
            self.account.open.remove(token);
        }
    }

    /// Create, in doubt: what came of the last attempt?
    pub(super) fn recover(&mut self, facts: &Facts, creating: Creating) {
        let Some(token) = creating.token.clone() else { return };
        let Some(open) = self.account.open.get(&token).cloned() else { return self.clear_doubt() };
        let Some(lost_at) = open.lost_at else { return };
        let settled = lost_at.plus(self.policy.settle) <= self.now || !self.holds(Rule::Settle);
        match self.policy.provider.recover {
            Recover::ListByName => self.recover_by_list(facts, lost_at, settled),
            Recover::ReadCurrent => self.recover_by_read(facts, &token, &open, lost_at, settled),
            Recover::DiffList => self.recover_by_difference(facts, &token, &open, settled),
            // Only the next create shows what came of this one.
            Recover::DiffAnswer => self.clear_doubt(),
            Recover::None => self.create_again_or_halt(lost_at, settled, &creating),
        }
    }

    /// The attempt's fate no longer holds up the next attempt; its token stays open and watched.
    fn clear_doubt(&mut self) {
        if let Phase::Create(creating) = &mut self.record.phase {
            creating.token = None;
        }
    }

    fn recover_by_list(&mut self, facts: &Facts, lost_at: Timestamp, settled: bool) {
        let complete = facts.listed.as_ref().filter(|it| !it.truncated || !self.holds(Rule::Truncated)).is_some();
        let late = self.last_safe_moment_passed() && facts.listed.is_some();
        if (complete || late) && (settled || self.on_create() == OnCreate::Keeps) {
            return self.clear_doubt();
        }
        self.poll(lost_at);
    }

    fn recover_by_read(&mut self, facts: &Facts, token: &Token, open: &Open, lost_at: Timestamp, settled: bool) {
        self.poll(lost_at);
        let Some(read) = facts.read.clone() else { return };
        if read.fingerprint == open.before {
            if settled {
                self.clear_doubt();
            }
            return;
        }
        if let Some(found) = self.believable(Some(&read)) {
            return self.adopt_lost(&found, token, open);
        }
        let patience_ends = lost_at.plus(self.policy.accept_within).plus(self.policy.settle);
        if patience_ends <= self.now {
            self.create_again_or_halt(lost_at, settled, &Creating::default());
        }
    }

    fn recover_by_difference(&mut self, facts: &Facts, token: &Token, open: &Open, settled: bool) {
        let Some(lost_at) = open.lost_at else { return };
        self.poll(lost_at);
        let Some(listed) = facts.listed.as_ref().filter(|it| !it.truncated || !self.holds(Rule::Truncated)) else {
            return;
        };
        let fresh = self.unknown_of(&listed.keys);
        if fresh.is_empty() {
            if settled {
                self.clear_doubt();
            }
            return;
        }
        let lost = self.lost_tokens();
        self.adopt_difference(fresh, lost.len(), Some(token), open.sent_at);
    }

    /// Where nobody can be asked: once more, or a human.
    fn create_again_or_halt(&mut self, lost_at: Timestamp, settled: bool, creating: &Creating) {
        let dead = self.current_is_dead() && self.on_create() == OnCreate::Unknown;
        let again = self.policy.on_ambiguous == OnAmbiguous::CreateAgain && !dead && creating.lost < MOST_LOST;
        if !again {
            self.forget_reported();
            let why = "the answer to a create was lost, and the provider can't be asked what came of it";
            return self.halt(Reason::AmbiguousCreate, why);
        }
        if settled {
            self.forget_reported();
            self.clear_doubt();
        } else {
            self.wake(lost_at.plus(self.policy.settle));
        }
    }

    /// A lost create that was reported at once has ended with the decision how to go on.
    fn forget_reported(&mut self) {
        let name = self.record.name.clone();
        self.account.open.retain(|token, open| token.name != name || open.reported_at.is_none());
    }

    /// The create was answered with all keys of the account, or a list shows more than we knew: which one is ours?
    /// `lost` creates may have taken effect beside the answered one.
    pub(super) fn adopt_difference(
        &mut self,
        fresh: Vec<Found>,
        lost: usize,
        token: Option<&Token>,
        sent_at: Timestamp,
    ) {
        let fingerprints = |it: &[Found]| it.iter().filter_map(|it| it.fingerprint.clone()).collect::<Vec<_>>();
        let answered = token.is_some_and(|it| self.account.open.get(it).is_none_or(|it| it.lost_at.is_none()));
        let most = lost + usize::from(answered);
        if fresh.is_empty() || (fresh.len() > most && self.holds(Rule::Difference)) {
            self.account.known.extend(fingerprints(&fresh));
            self.report_keys(&fingerprints(&fresh), "more keys are new than we created");
            return self.halt(Reason::UnexpectedKeys, "more keys are new at the account than were created from here");
        }
        let Some(chosen) = self.choose(&fresh) else {
            self.account.known.extend(fingerprints(&fresh));
            self.report_keys(&fingerprints(&fresh), "which of them belongs to this key can't be told");
            return self.halt(Reason::UnexpectedKeys, "which of the new keys belongs to this key can't be told");
        };
        let mut others = fresh.clone();
        others.retain(|it| it.fingerprint != chosen.fingerprint);
        self.account.known.extend(fingerprints(&fresh));
        self.report_keys(&fingerprints(&others), "a create whose answer was lost made it");
        // A single new key beside an answer is the answered one: an answer is never late.
        let certain = answered && fresh.len() == 1;
        let made_at = if certain { sent_at } else { self.earliest_maker(token) };
        self.close_explained(fresh.len().saturating_sub(usize::from(answered)));
        if let Some(version) = self.new_version(&chosen, token, made_at) {
            self.created(version, sent_at);
        }
    }

    /// Of several new keys that may all be ours: the last that is accepted; where that can't be asked, the last, if all
    /// lost creates are of this key and its package.
    fn choose(&self, fresh: &[Found]) -> Option<Found> {
        if let [only] = fresh {
            return Some(only.clone());
        }
        if let Some(alive) = fresh.iter().rfind(|it| it.probe == Some(Probe::Alive)) {
            return Some(alive.clone());
        }
        let mine = |token: &Token, open: &Open| token.name == self.record.name && open.package == self.policy.package;
        let all_mine = self.account.open.iter().all(|(token, open)| mine(token, open));
        fresh.last().filter(|_| all_mine).cloned()
    }

    /// The elements that the account did not know.
    pub(super) fn unknown_of(&self, keys: &[Found]) -> Vec<Found> {
        let unknown = |it: &&Found| it.fingerprint.as_ref().is_some_and(|it| !self.account.known.contains(it));
        keys.iter().filter(unknown).cloned().collect()
    }

    /// This key's creates whose answers were lost.
    pub(super) fn my_lost_tokens(&self) -> Vec<(Token, Open)> {
        let mine = |token: &Token, open: &Open| token.name == self.record.name && open.lost_at.is_some();
        let lost = self.account.open.iter().filter(|(token, open)| mine(token, open));
        lost.map(|(token, open)| (token.clone(), open.clone())).collect()
    }

    /// The creates at this account whose answers were lost.
    pub(super) fn lost_tokens(&self) -> Vec<Token> {
        let lost = self.account.open.iter().filter(|(_, open)| open.lost_at.is_some());
        lost.map(|(token, _)| token.clone()).collect()
    }

    /// So many of the lost creates are explained: the oldest end. Younger ones may still take effect and stay counted,
    /// but hold up nobody.
    fn close_explained(&mut self, count: usize) {
        let mut lost = self.lost_tokens();
        lost.sort_by_key(|it| self.account.open.get(it).map(|it| it.sent_at));
        for (n, token) in lost.iter().enumerate() {
            let reported = self.account.open.get(token).is_some_and(|it| it.reported_at.is_some());
            if n < count || reported {
                self.account.open.remove(token);
            } else if let Some(open) = self.account.open.get_mut(token) {
                open.locks = false;
            }
        }
    }

    /// The key has its answer: what was lost before may still take effect and stays watched, but holds up nobody.
    pub(super) fn unlock(&mut self) {
        for (token, open) in &mut self.account.open {
            open.locks &= token.name != self.record.name || open.lost_at.is_none();
        }
    }

    /// After a restore, attempts of an earlier life are nobody's: they may be in use by now. They are reported.
    pub(super) fn disown_old_tokens(&mut self) {
        let old: Vec<Token> = self.account.open.keys().filter(|it| it.name == self.record.name).cloned().collect();
        for token in old.iter().filter(|it| it.by != *self.by) {
            self.report_lost(token, "it was sent before the state was restored");
        }
    }

    /// Closes a lost create by telling the owners of it.
    pub(super) fn report_lost(&mut self, token: &Token, why: &str) {
        let Some(open) = self.account.open.remove(token) else { return };
        self.resolve_as(&orphan_incident(token), "it is told as one that may have left a key");
        if self.holds(Rule::ReportLost) {
            self.tell_lost(token, open.sent_at, why);
        }
    }

    fn last_safe_moment_passed(&self) -> bool {
        let last = self.record.current.as_ref().and_then(|it| due::last_safe_moment(it, self.policy));
        last.is_some_and(|it| it <= self.now)
    }

    /// What may be believed: a secret that was never ours, and that the provider accepts; where it can't be asked, or
    /// the old key is dead, two equal looks `settle` apart.
    pub(super) fn believable(&mut self, found: Option<&Found>) -> Option<Found> {
        let found = found?.clone();
        let fingerprint = found.fingerprint.clone()?;
        let current = self.record.current.as_ref().map(|it| &it.fingerprint);
        if current == Some(&fingerprint) || (self.record.seen.contains_key(&fingerprint) && self.holds(Rule::Unseen)) {
            if self.record.sighting.as_ref().is_some_and(|(seen, _)| *seen != fingerprint) {
                self.record.sighting = None;
            }
            return None;
        }
        if found.probe == Some(Probe::Alive) || !self.holds(Rule::AliveBeforeAdopt) {
            return Some(found);
        }
        let by_sight = !self.policy.provider.probes
            || (self.policy.provider.recover == Recover::ReadCurrent && self.current_is_dead());
        if !by_sight {
            return None;
        }
        match &self.record.sighting {
            Some((seen, since)) if *seen == fingerprint => {
                let since = *since;
                self.wake(since.plus(self.policy.settle));
                (since.plus(self.policy.settle) <= self.now).then_some(found)
            }
            _ => {
                self.record.sighting = Some((fingerprint, self.now));
                self.wake(self.now.plus(self.policy.settle));
                None
            }
        }
    }

    /// When the first create was sent that may have made a key which was found after its answer was lost. Where keys bear
    /// no names it may be any lost one, but for those whose key would have expired by now.
    pub(super) fn earliest_maker(&self, token: Option<&Token>) -> Timestamp {
        let named = self.policy.provider.recover == Recover::ListByName;
        let may = |it: &Token, open: &Open| Some(it) == token || (!named && open.lost_at.is_some());
        let expired = |at: &Timestamp| self.policy.valid_for.is_some_and(|life| at.plus(life) <= self.now);
        let sent = self.account.open.iter().filter(|(token, open)| may(token, open)).map(|(_, open)| open.sent_at);
        sent.filter(|it| !expired(it)).min().unwrap_or(self.now)
    }

    /// Enters a found key into the books: its create was not sent before `made_at`. `None` where its secret is not shown.
    pub(super) fn new_version(&mut self, found: &Found, token: Option<&Token>, made_at: Timestamp) -> Option<Version> {
        let fingerprint: Fingerprint = found.fingerprint.clone()?;
        self.record.last_version += 1;
        let number = self.record.last_version;
        let (valid_to, expiry) = self.expiry_of(found, made_at);
        self.record.seen.insert(fingerprint.clone(), number);
        if self.policy.provider.recover.is_difference() {
            self.account.known.insert(fingerprint.clone());
        }
        self.keep.push((number, fingerprint.clone()));
        let alive = found.probe == Some(Probe::Alive);
        if alive {
            self.record.controls.insert(self.policy.restriction.clone().unwrap_or_default());
        }
        Some(Version {
            number,
            account: self.policy.account.clone(),
            id: found.id.clone().filter(|it| !it.is_empty()),
            fingerprint,
            token: token.cloned(),
            obtained_at: self.now,
            // What was found was made after we last looked: its age is known well enough.
            valid_from: found.valid_from.or_else(|| token.is_none().then(|| made_at.min(self.now))),
            valid_to,
            expiry,
            first_alive: alive.then_some(self.now),
            last_alive: alive.then_some(self.now),
            dead_since: None,
            restriction: self.policy.restriction.clone().filter(|_| token.is_some()),
            delivered: false,
            was_current: false,
        })
    }

    /// A reported expiry that has passed already is a documented trap: it is not believed. An assumed one is reckoned from the
    /// moment when the key may have been made: one that was lost for days has lived for days.
    fn expiry_of(&self, found: &Found, made_at: Timestamp) -> (Option<Timestamp>, Expiry) {
        match (found.valid_to.filter(|it| *it > self.now), self.policy.valid_for) {
            (Some(at), _) => (Some(at), Expiry::Reported),
            (None, Some(life)) => (Some(made_at.min(self.now).plus(life)), Expiry::Assumed),
            (None, None) => (None, Expiry::Unknown),
        }
    }
}

fn listed_under<'a>(facts: &'a Facts, token: &Token) -> Option<&'a Found> {
    let keys = facts.listed.iter().flat_map(|it| &it.keys);
    keys.filter(|it| it.enabled).find(|it| it.token.as_ref() == Some(token))
}

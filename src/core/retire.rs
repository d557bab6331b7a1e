//! Retiring old keys, beside whatever is being issued: a consumer that never reloads, or a revoke that is refused, never
//! stops the next rotation.
use super::backoff;
use super::facts::{Action, Blocked, Facts, Probe, Revoke, Revokee};
use super::notices::TELL_AFTER;
use super::pass::Pass;
use super::policy::{OnCreate, Recover};
use super::record::{Ended, Expiry, Phase, Record, Retired};
use super::rules::Rule;
use super::time::Timestamp;

/// Old keys whose overlap has passed, or that nobody ever held.
pub fn due(record: &Record, now: Timestamp) -> impl Iterator<Item = &Retired> {
    record.retired.iter().filter(move |it| {
        let waits = it.retry_at.is_some_and(|at| at > now);
        it.ended.is_none() && !waits && (it.after <= now || !it.version.delivered)
    })
}

/// Why a human must end a key that has no call to end it.
const NO_CALL: &str = "its provider has no call to revoke it";
/// Why a human must end a key that could be ended from here.
const UNSEEN: &str = "the current key can't be seen to work, so the old one is not revoked by rekeyd";

/// What becomes of an old key now.
enum Fate {
    Wait,
    Revoke(String),
    Report(&'static str),
    End(Ended),
}

impl Pass<'_> {
    /// Ends old keys that nothing holds any more.
    pub(super) fn retire(&mut self, facts: &Facts) {
        self.end_expired(facts.clock_suspect);
        for n in 0..self.record.retired.len() {
            let it = self.record.retired[n].clone();
            if it.ended.is_some() {
                continue;
            }
            self.learn_from(&it, facts);
            match self.fate(&it, facts) {
                Fate::Wait => {}
                Fate::Revoke(_) | Fate::Report(_) if self.may_not_revoke() => {}
                Fate::End(ended) => {
                    self.record.retired[n].ended = Some(ended);
                }
                Fate::Report(why) => {
                    self.record.retired[n].ended = Some(Ended::Reported);
                    self.tell_revoke_needed(&it.version, why);
                }
                Fate::Revoke(id) => {
                    self.record.retired[n].ending = true;
                    let (account, what) = (it.version.account.clone(), Revokee::Version(it.version.number));
                    self.actions.push(Action::Revoke(Revoke { account, id, what }));
                }
            }
        }
    }

    /// Nothing is revoked while an operator holds the key back, nor before a restored state was compared with the world.
    fn may_not_revoke(&self) -> bool {
        let phase = match &self.record.phase {
            Phase::Halted { resume, .. } => &**resume,
            phase => phase,
        };
        self.is_held() || matches!(phase, Phase::Reobserve { .. })
    }

    fn fate(&mut self, it: &Retired, facts: &Facts) -> Fate {
        let now = self.now;
        let observing = facts.hold == Some(Blocked::Observing);
        if observing || (facts.clock_suspect && self.holds(Rule::Clock)) {
            return Fate::Wait;
        }
        // An expiry that was only assumed proves nothing.
        let stated = matches!(it.version.expiry, Expiry::Reported | Expiry::Stated);
        if stated && it.version.valid_to.is_some_and(|at| at <= now) {
            return Fate::End(Ended::Expired);
        }
        let number = it.version.number;
        if it.version.delivered && self.record.decommissioned.is_none() && self.waits_for_readers(it) {
            return Fate::Wait;
        }
        if self.record.held.values().any(|held| held.may_hold(number)) && self.holds(Rule::HeldNowhere) {
            return Fate::Wait;
        }
        // Its last user ends it.
        if facts.in_use.contains(&it.version.fingerprint) {
            self.poll(it.since);
            return Fate::Wait;
        }
        if it.version.delivered && self.record.decommissioned.is_none() {
            // The clock may have been wrong when the end of the overlap was stored.
            if it.after > now && self.holds(Rule::Overlap) {
                self.wake(it.after);
                return Fate::Wait;
            }
            if let Some(fate) = self.hold_delivered(it, facts) {
                return fate;
            }
        }
        if it.retry_at.is_some_and(|at| at > now) {
            self.wake(it.retry_at.unwrap_or(now));
            return Fate::Wait;
        }
        match self.capabilities(&it.version.account) {
            Some(it) if it.revokes_by_id => {}
            Some(_) => return Fate::Report(NO_CALL),
            None => return Fate::Report("the config no longer names a provider for its account"),
        }
        if let Some(why) = facts.withheld.get(&it.version.account) {
            self.blocked.get_or_insert_with(|| why.clone());
            self.poll(it.after);
            return Fate::Wait;
        }
        if facts.revokes_withheld.contains(&it.version.account) {
            self.wake(self.now.plus(backoff::look(self.now.since(it.after))));
            return Fate::Wait;
        }
        match self.id_of(it, facts) {
            Some(id) => Fate::Revoke(id),
            None if facts.listed.is_some() || !self.can_list() => Fate::Report("its id at the provider is not known"),
            None => {
                self.poll(it.since);
                Fate::Wait
            }
        }
    }

    /// What holds back the end of a key that consumers had: the window, a freeze, and the proof that the current one works.
    fn hold_delivered(&mut self, it: &Retired, facts: &Facts) -> Option<Fate> {
        let compromised = it.after <= it.since;
        let opens = self.policy.calendar().open_from(self.now).unwrap_or(Timestamp::NEVER);
        if !compromised && opens > self.now {
            self.wake(opens);
            return Some(Fate::Wait);
        }
        if !self.holds(Rule::CurrentAlive) {
            return None;
        }
        let Some(current) = self.record.current.clone() else { return Some(Fate::Wait) };
        if facts.probes.get(&current.number) == Some(&Probe::Alive) {
            return None;
        }
        let push: Vec<_> = self.push_targets().cloned().collect();
        let confirmed = !push.is_empty()
            && push.iter().all(|it| {
                let confirms = self.policy.target(it).is_some_and(|it| it.confirms);
                confirms && self.record.held.get(it).is_some_and(|it| it.confirmed == Some(current.number))
            });
        // Without a probe that ever said yes, a passing `confirm` of every target is the proof.
        // Since the config moved the key to another account, nobody is asked about the version that it has.
        let elsewhere = current.account != self.policy.account;
        let blind = !self.policy.provider.probes || current.first_alive.is_none() || elsewhere;
        if blind && confirmed {
            return None;
        }
        let patience_ends = it.after.plus(self.policy.accept_within);
        if !self.policy.provider.probes || (blind && patience_ends <= self.now) {
            return Some(Fate::Report(if self.can_revoke(it) { UNSEEN } else { NO_CALL }));
        }
        self.wake(self.now.plus(backoff::look(self.now.since(it.after))));
        Some(Fate::Wait)
    }

    /// An old key that is accepted at the end of its overlap shows that a create keeps old keys here.
    fn learn_from(&mut self, it: &Retired, facts: &Facts) {
        let at_home = it.version.account == self.policy.account;
        if !at_home || self.policy.provider.on_create != OnCreate::Unknown || it.after > self.now {
            return;
        }
        if it.version.delivered && it.after > it.since && facts.probes.get(&it.version.number) == Some(&Probe::Alive) {
            self.account.learned = Some(OnCreate::Keeps);
        }
    }

    fn can_revoke(&self, it: &Retired) -> bool {
        self.capabilities(&it.version.account).is_some_and(|it| it.revokes_by_id)
    }

    fn can_list(&self) -> bool {
        matches!(self.policy.provider.recover, Recover::ListByName | Recover::DiffList)
    }

    fn id_of(&self, it: &Retired, facts: &Facts) -> Option<String> {
        let listed = || {
            let mut keys = facts.listed.iter().flat_map(|it| &it.keys);
            let found = keys.find(|found| found.fingerprint.as_ref() == Some(&it.version.fingerprint));
            found.and_then(|it| it.id.clone())
        };
        it.version.id.clone().or_else(listed).filter(|it| !it.is_empty())
    }

    /// Counts a revoke call that failed; it is tried again, for ever, with growing waits.
    pub(super) fn revoke_failed(&mut self, number: u32, why: &str) {
        let (now, name) = (self.now, self.record.name.clone());
        let Some(it) = self.record.retired.iter_mut().find(|it| it.version.number == number) else { return };
        it.failures = it.failures.saturating_add(1);
        it.retry_at = Some(now.plus(backoff::after(it.failures, &name, None)));
        let (failures, version) = (it.failures, it.version.clone());
        self.note_error("revoke_failed", why);
        if failures == TELL_AFTER {
            self.tell_revoke_refused(&version, why);
        }
    }
}

//! The decision: record + facts + policy + now → what to make durable, then what to do.
//!
//! A pass goes through the same steps each time, whatever happened before: a crash needs no path of its own.
use super::account::Account;
use super::backoff;
use super::facts::{Facts, Probe};
use super::names::{Fingerprint, Incarnation};
use super::pass::Pass;
use super::plan::Plan;
use super::policy::{OnCreate, Policy, Recover};
use super::record::{Phase, Record, Retired, Version, VersionNo};
use super::rules::Rule;
use super::time::Timestamp;
use super::{drift, gate, retire};

/// What `observe` must look at before a decision. Reading costs calls, so that a steady key asks for little.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Look {
    /// Ask the provider for its list.
    pub list: bool,
    /// Ask the provider for its one current key.
    pub read: bool,
    /// Ask the provider whether it accepts these versions.
    pub probe: Vec<VersionNo>,
    /// Look at the targets.
    pub targets: bool,
    /// See whether a create could be carried through.
    pub preflight: bool,
}

/// Says what to look at.
pub fn look(record: &Record, account: &Account, policy: &Policy, now: Timestamp) -> Look {
    let phase = &record.phase;
    let halted = matches!(phase, Phase::Halted { .. });
    let creating = gate::may_create_soon(record, policy, now);
    let reobserving = matches!(phase, Phase::Reobserve { .. });
    let watching = account.open.iter().any(|(token, open)| token.name == record.name && open.lost_at.is_some());
    let retiring: Vec<&Retired> = retire::due(record, now).collect();
    let anonymous = retiring.iter().any(|it| it.version.id.is_none());
    let resting = matches!(phase, Phase::Steady | Phase::Announce { .. } | Phase::Unadopted) || halted;
    let probe_due = record.probed_at.is_none_or(|at| at.plus(policy.probe_every) <= now || now < at);
    let doubtful = record.current.as_ref().is_some_and(|it| it.dead_since.is_some()) || record.sighting.is_some();
    // In the cutover gap every moment counts: the new key is brought to its targets before anything is asked.
    let in_gap =
        matches!(phase, Phase::Cutover { since, delivered_at: None, .. } if now < since.plus(backoff::SHORTEST));
    let curious = creating || reobserving || !resting || doubtful || (probe_due && record.current.is_some());
    let curious = curious && !in_gap;
    // A version is shown to nobody but the account that issued it.
    let here = |it: &&Version| it.account == policy.account;
    let mut probe = Vec::new();
    if policy.provider.probes {
        if curious || (!retiring.is_empty() && !in_gap) {
            probe.extend(record.current.iter().chain(record.pending()).filter(here).map(|it| it.number));
        }
        if account.learned.is_none() && policy.provider.on_create == OnCreate::Unknown {
            probe.extend(retiring.iter().map(|it| &it.version).filter(here).map(|it| it.number));
        }
    }
    Look {
        list: match policy.provider.recover {
            Recover::ListByName => creating || reobserving || watching || anonymous,
            Recover::DiffList => creating || anonymous,
            _ => false,
        },
        read: policy.provider.recover == Recover::ReadCurrent && (curious || watching),
        probe,
        targets: true,
        preflight: creating,
    }
}

/// Of the keys found in `facts`, says which must be probed before `decide` may believe them.
pub fn candidates(record: &Record, account: &Account, facts: &Facts, policy: &Policy) -> Vec<Fingerprint> {
    if !policy.provider.probes {
        return Vec::new();
    }
    let listed = facts.listed.iter().flat_map(|it| &it.keys).filter(|it| match policy.provider.recover {
        Recover::ListByName => it.token.as_ref().is_some_and(|it| account.open.contains_key(it)),
        Recover::DiffList => it.fingerprint.as_ref().is_some_and(|it| !account.known.contains(it)),
        _ => false,
    });
    let found = listed.chain(&facts.read).filter_map(|it| it.fingerprint.clone());
    found.filter(|it| !record.seen.contains_key(it)).take(CANDIDATES).collect()
}

/// How many found keys are probed in one pass.
pub const CANDIDATES: usize = 16;

/// Decides what to do next for one key.
pub fn decide(
    record: &Record,
    account: &Account,
    facts: &Facts,
    policy: &Policy,
    by: &Incarnation,
    now: Timestamp,
) -> Plan {
    let mut pass = Pass::new(record, account, policy, by, now);
    if !facts.clock_suspect {
        pass.clamp_moments();
    }
    pass.end_pause(facts);
    pass.note_probes(facts);
    pass.watch_open_tokens(facts);
    pass.advance(facts);
    pass.deliver(facts);
    pass.retire(facts);
    pass.tell_expiry(facts);
    pass.tell_stuck(facts);
    pass.plan(record, facts)
}

impl Pass<'_> {
    /// A pause ends by itself at its moment, if the clock can be believed that it has come.
    fn end_pause(&mut self, facts: &Facts) {
        let Some(until) = self.record.paused.as_ref().and_then(|it| it.until) else { return };
        if until <= self.now && !facts.clock_suspect {
            self.record.paused = None;
        } else {
            self.wake(until);
        }
    }

    /// Notes what the provider said to our versions. An answer only counts where it proves something.
    fn note_probes(&mut self, facts: &Facts) {
        for (number, probe) in &facts.probes {
            if self.record.current.as_ref().is_some_and(|it| it.number == *number) {
                self.record.probed_at = Some(self.now);
            }
            match probe {
                Probe::Alive => self.note_alive(*number),
                Probe::Dead => self.note_dead(*number),
                Probe::Inconclusive => {}
            }
        }
    }

    fn note_alive(&mut self, number: VersionNo) {
        let now = self.now;
        let Some(version) = self.version_mut(number) else { return };
        version.first_alive = version.first_alive.or(Some(now));
        version.last_alive = Some(now);
        version.dead_since = None;
        let control = version.restriction.clone().unwrap_or_default();
        let lasting = version.obtained_at.plus(drift::quiet(self.policy)) <= now;
        if self.record.controls.len() < CONTROLS_KEPT {
            self.record.controls.insert(control);
        }
        if lasting && self.is_current(number) {
            self.record.drifts = 0;
        }
        if self.is_current(number) {
            self.resolve("refused");
        }
    }

    fn note_dead(&mut self, number: VersionNo) {
        let (now, patience) = (self.now, self.policy.accept_within);
        let controls = self.record.controls.clone();
        let Some(version) = self.version_mut(number) else { return };
        let control = controls.contains(version.restriction.as_deref().unwrap_or_default());
        let patient = version.obtained_at.plus(patience) <= now;
        if self.holds(Rule::Control) && !control {
            return;
        }
        if self.holds(Rule::AcceptWithin) && !patient {
            return;
        }
        if let Some(version) = self.version_mut(number) {
            version.dead_since = version.dead_since.or(Some(now));
        }
    }
}

/// How many restrictions a record remembers to have seen a key accepted under.
const CONTROLS_KEPT: usize = 8;

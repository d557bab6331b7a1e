//! An operator who says any verb at any moment, and what each of them may not lead to.
use super::invariants::Rule;
use super::run::Sim;
use super::world::{DAY, HOUR, Killer, MINUTE, Maker};
use rekeyd_simulation::core::command::{taken_up, unmanaged};
use rekeyd_simulation::core::facts::{Action, Outcome, Probe};
use rekeyd_simulation::core::names::{AccountId, TargetId};
use rekeyd_simulation::core::plan::{Change, Command, NoticeKind, Plan};
use rekeyd_simulation::core::policy::{Initial, OnCreate, Policy};
use rekeyd_simulation::core::record::{Ended, Pause, Phase, Record, RotationResult, Trigger, VersionNo, Wish};
use rekeyd_simulation::core::time::Timestamp;
use std::collections::BTreeSet;
use std::rc::Rc;

impl Sim {
    pub fn operate(&mut self, agent: usize, key: usize) {
        if self.weather.left.contains_key(&(agent, key)) {
            return self.end_or_return(agent, key);
        }
        match self.rng.below(20) {
            0..=5 => self.ask_to_rotate(agent, key),
            6 | 7 => self.say(agent, key, Command::Resume),
            8 | 9 => self.say(agent, key, Command::Abandon),
            10 => self.lose_content(agent, key),
            11 | 12 => self.adopt_from_portal(agent, key),
            13 | 14 => self.pause(agent, key),
            15 | 16 => self.roll_back(agent, key),
            17 => self.say(agent, key, Command::Ack { revoked: false }),
            18 => self.revoke_by_hand(agent, key),
            _ => self.leave_config(agent, key),
        }
    }

    fn say(&mut self, agent: usize, key: usize, verb: Command) {
        self.command(agent, key, &verb, &BTreeSet::new());
    }

    fn ask_to_rotate(&mut self, agent: usize, key: usize) {
        let now = self.rng.chance(300);
        let compromised = now && self.rng.chance(300);
        let wish = Wish { trigger: Trigger::Operator, actor: None, reason: None, now, compromised };
        self.say(agent, key, Command::Rotate(wish));
        // Half of the time something else follows while that is under way.
        if self.rng.chance(500) {
            self.weather.next = Some(self.now + self.rng.span(3 * MINUTE));
        }
    }

    fn adopt_from_portal(&mut self, agent: usize, key: usize) {
        let service = self.world.service(&self.agents[agent].account_id(key));
        let fingerprint = self.portal(service, agent, key);
        let probes = self.world.services[service].stated.probes;
        let probe = if probes { Probe::Alive } else { Probe::Inconclusive };
        self.adopt(agent, key, fingerprint, probe);
    }

    fn pause(&mut self, agent: usize, key: usize) {
        let since = self.agents[agent].clock(self.now);
        let until = self.rng.chance(700).then(|| Timestamp(since.0 + self.rng.span(3 * DAY)));
        self.say(agent, key, Command::Pause(Pause { since, until, reason: None, actor: None }));
        if self.rng.chance(300) {
            self.weather.next = Some(self.now + self.rng.span(3 * MINUTE));
        }
    }

    /// Sometimes somebody was in the portal before, and ended the version that is to come back.
    fn roll_back(&mut self, agent: usize, key: usize) {
        if self.rng.chance(300) {
            let record = self.agents[agent].record(key).clone();
            let held = |number: VersionNo| record.held.values().any(|it| it.may_hold(number));
            let old = record.retired.iter().filter(|it| it.ended.is_none() && !held(it.version.number));
            for version in old.map(|it| &it.version) {
                let at = self.now;
                let key = self.world.keys.iter_mut().find(|it| it.fingerprint == version.fingerprint);
                if let Some(key) = key.filter(|it| it.dead.is_none()) {
                    key.dead = Some((at, Killer::Create(Maker::Person)));
                }
            }
        }
        self.say(agent, key, Command::Rollback);
    }

    /// The owners do as they were told.
    fn revoke_by_hand(&mut self, agent: usize, key: usize) {
        let record = self.agents[agent].record(key).clone();
        let now = self.agents[agent].clock(self.now);
        if self.agents[agent].down_until.is_some() {
            return;
        }
        let waits = record.retired.iter().filter(|it| match it.ended {
            Some(ended) => ended == Ended::Reported,
            None => it.after <= now || !it.version.delivered,
        });
        let waits: Vec<_> = waits.map(|it| it.version.clone()).collect();
        let held = |number: VersionNo| record.held.values().any(|it| it.may_hold(number));
        if waits.iter().any(|it| held(it.number)) {
            return;
        }
        for version in &waits {
            let at = self.now;
            let key = self.world.keys.iter_mut().find(|it| it.fingerprint == version.fingerprint);
            if let Some(key) = key.filter(|it| it.dead.is_none()) {
                key.dead = Some((at, Killer::Revoke(agent)));
            }
        }
        self.say(agent, key, Command::Ack { revoked: true });
    }

    /// The config stops to name the key, and it is taken out of service.
    fn leave_config(&mut self, agent: usize, key: usize) {
        let it = &self.agents[agent];
        if it.down_until.is_some() {
            return;
        }
        let policy = it.policies[key].clone();
        let (provider, creates_per_day, package) = (policy.provider, policy.creates_per_day, policy.package.clone());
        let without = Policy { provider, creates_per_day, package, ..Policy::unmanaged(policy.account.clone()) };
        let rests = it.record(key).rotation.is_none();
        let (account, now) = (it.account(&policy.account), it.clock(self.now));
        let reported = unmanaged(it.record(key), &account, &BTreeSet::new(), now).filter(|_| rests);
        self.trace(|| format!("config: key {key} is gone"));
        self.weather.left.insert((agent, key), policy);
        self.agents[agent].policies[key] = Rc::new(without);
        self.agents[agent].observed[key] = None;
        let written = reported.is_none_or(|it| self.commit(agent, key, it, &BTreeSet::new()));
        if written {
            self.say(agent, key, Command::Retire);
        }
        self.weather.next = Some(self.now + self.rng.span(HOUR));
    }

    /// Nothing is done for a key that the config does not name, unless it is on its way out of service.
    pub fn is_unmanaged(&self, agent: usize, key: usize) -> bool {
        self.weather.left.contains_key(&(agent, key)) && self.agents[agent].record(key).decommissioned.is_none()
    }

    /// The record is dropped, if that may be, or the config names the key again.
    fn end_or_return(&mut self, agent: usize, key: usize) {
        if self.agents[agent].record(key).decommissioned.is_none() {
            self.say(agent, key, Command::Retire);
        } else if self.rng.chance(500) {
            self.say(agent, key, Command::Forget);
        } else {
            self.come_back(agent, key);
        }
    }

    fn come_back(&mut self, agent: usize, key: usize) {
        if self.agents[agent].down_until.is_some() {
            return;
        }
        let Some(policy) = self.weather.left.remove(&(agent, key)) else { return };
        self.trace(|| format!("config: key {key} is back"));
        let first = policy.initial == Initial::Create;
        self.agents[agent].policies[key] = policy;
        self.agents[agent].observed[key] = None;
        let (it, now) = (&self.agents[agent], self.agents[agent].clock(self.now));
        let policy = it.policies[key].clone();
        let mut capabilities = policy.former.clone();
        capabilities.insert(policy.account.clone(), policy.provider);
        let revokes = |it: &AccountId| capabilities.get(it).is_some_and(|it| it.revokes_by_id);
        if let Some(record) = taken_up(it.record(key), revokes, now) {
            self.agents[agent].durable.records[key] = Rc::new(record);
        }
        let record = Rc::make_mut(&mut self.agents[agent].durable.records[key]);
        if record.decommissioned.take().is_some() {
            record.revision += 1;
        }
        if !first && record.current.is_none() {
            self.adopt_from_portal(agent, key);
        }
        self.agents[agent].wakes[key] = self.now;
    }

    /// After the storm every key is in service, and none is held back.
    pub fn settle(&mut self) {
        if self.calm_since.is_none() {
            return;
        }
        for agent in 0..self.agents.len() {
            for key in 0..self.agents[agent].policies.len() {
                if self.weather.left.contains_key(&(agent, key)) {
                    self.come_back(agent, key);
                }
                let record = self.agents[agent].record(key);
                let adopts = self.agents[agent].policies[key].initial == Initial::Adopt;
                if record.paused.as_ref().is_some_and(|it| it.until.is_none()) {
                    self.say(agent, key, Command::Resume);
                } else if record.phase == Phase::Unadopted && adopts && self.agents[agent].down_until.is_none() {
                    self.adopt_from_portal(agent, key);
                }
            }
        }
    }

    /// The target of a key that is out of service.
    pub fn empty(&mut self, agent: usize, key: usize, target: &TargetId) -> Outcome {
        let failed = self.fails();
        if failed && self.rng.chance(500) {
            return Outcome::Failed("read-only file system".into());
        }
        let secrets = &self.agents[agent].durable.secrets;
        let ours: BTreeSet<_> = secrets.iter().filter(|((it, _), _)| *it == key).map(|(_, it)| it.clone()).collect();
        let Some(place) = self.world.places[agent].get_mut(target) else { return Outcome::Emptied };
        if place.holds.as_ref().is_some_and(|it| !ours.contains(it)) {
            return Outcome::Left("what it holds is not recognised as this key".into());
        }
        *place = super::world::Place::default();
        if failed { Outcome::Failed("input/output error".into()) } else { Outcome::Emptied }
    }

    /// In a pause nothing begins: no rotation, no revocation. A create that follows one which may have ended the old key is
    /// the end of a cutover.
    pub fn check_pause(&mut self, key: usize, old: &Record, plan: &Plan, now: Timestamp) {
        if !old.is_paused(now) {
            return;
        }
        let keeps = self.row.kind.on_create == OnCreate::Keeps;
        for action in &plan.actions {
            let under_way = !matches!(old.phase, Phase::Unadopted | Phase::Steady | Phase::Announce { .. });
            let fine = match action {
                Action::Create { .. } => !keeps && under_way,
                Action::Revoke(_) => false,
                _ => true,
            };
            if !fine {
                self.broken(Rule::Paused, || format!("key {key} is paused, and {action:?} begins"));
            }
        }
        let began = old.rotation.is_none() && plan.change.record.rotation.is_some();
        if began && matches!(plan.change.record.phase, Phase::Create(_)) {
            self.broken(Rule::Paused, || format!("key {key} is paused, and a rotation begins"));
        }
    }

    /// Whoever goes back, goes back to something that works. It may die meanwhile, but not by us.
    pub fn check_rollback(&mut self, agent: usize, change: &Change) {
        let Some(rotation) = &change.finished else { return };
        if !rotation.rollback || rotation.result != Some(RotationResult::Succeeded) {
            return;
        }
        let Some(current) = &change.record.current else { return };
        let key = self.world.key(&current.fingerprint).cloned();
        let killed = key.and_then(|it| it.dead);
        if let Some((at, Killer::Revoke(who))) = killed.filter(|(_, by)| matches!(by, Killer::Revoke(_))) {
            self.broken(Rule::DeadRollback, || {
                format!("agent {agent} goes back to version {}, which {who} revoked at {at}", current.number)
            });
        } else if let Some((at, _)) = killed.filter(|(at, _)| *at <= rotation.started_at.0) {
            self.broken(Rule::DeadRollback, || format!("version {} was dead at {at} already", current.number));
        }
    }

    /// What the books forget is dead, or its owners know of it.
    pub fn check_forgotten(&mut self, agent: usize, record: &Record) {
        let live: Vec<_> = record.seen.keys().filter(|it| self.world.live(it, self.now)).cloned().collect();
        for fingerprint in live {
            let mut told = self.agents[agent].notices.iter().filter(|it| it.kind == NoticeKind::RevokeNeeded);
            if !told
                .any(|it| it.fingerprint.as_ref() == Some(&fingerprint) || it.summary.contains(fingerprint.as_str()))
            {
                self.broken(Rule::Lost, || format!("{fingerprint} lives, and its record is dropped"));
            }
        }
    }
}

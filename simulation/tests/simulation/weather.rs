//! What disturbs a run from outside, beside failing calls and crashes.
use super::agent::Durable;
use super::rng::Rng;
use super::run::Sim;
use super::scenario::{World as Disturbance, night, target};
use super::world::{DAY, MINUTE, Maker, Ms, Order};
use rekeyd_simulation::core::names::{Fingerprint, TargetId};
use rekeyd_simulation::core::policy::{Policy, Reach};
use std::collections::BTreeMap;
use std::rc::Rc;

/// When the next disturbance comes, and what it may need.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    pub next: Option<Ms>,
    /// What the config said of keys that it does not name now: by daemon and key.
    pub left: BTreeMap<(usize, usize), Rc<Policy>>,
    backup: Option<Durable>,
    restored: bool,
}

impl Weather {
    pub fn new(now: Ms, world: Disturbance, rng: &mut Rng) -> Self {
        Self { next: Some(now + rng.span(every(world))), ..Self::default() }
    }
}

/// How often something happens: on average twice as often as this.
fn every(world: Disturbance) -> Ms {
    match world {
        Disturbance::Operator => 2 * DAY,
        Disturbance::Colleague => 5 * DAY,
        Disturbance::Restore => 8 * DAY,
        Disturbance::Clock => DAY,
        Disturbance::Config => 2 * DAY,
        _ => 5 * DAY,
    }
}

impl Sim {
    /// Disturbs, if it is time.
    pub fn storm(&mut self) {
        if self.weather.next.is_none_or(|it| it > self.now) {
            return;
        }
        self.weather.next = Some(self.now + 1 + self.rng.span(every(self.row.world)));
        let agent = usize::try_from(self.rng.below(self.agents.len() as u64)).unwrap_or(0);
        let key = usize::try_from(self.rng.below(self.agents[agent].policies.len() as u64)).unwrap_or(0);
        match self.row.world {
            Disturbance::Operator => self.operate(agent, key),
            Disturbance::Colleague => self.meddle(agent, key),
            Disturbance::Restore => self.back_up_or_restore(agent),
            Disturbance::Clock => self.jump(agent),
            Disturbance::Config => self.reconfigure(agent, key),
            _ => self.lose_content(agent, key),
        }
    }

    /// A target loses what it held.
    pub fn lose_content(&mut self, agent: usize, key: usize) {
        let targets = &self.agents[agent].policies[key].targets;
        let readable = |reach| reach == Reach::Push { readable: true };
        let Some(id) = targets.iter().find(|it| readable(it.reach)).map(|it| it.id.clone()) else { return };
        let damaged = self.rng.chance(500);
        self.trace(|| format!("world: agent {agent} {id} loses its content"));
        let place = self.world.places[agent].entry(id).or_default();
        place.holds = None;
        place.damaged = damaged;
    }

    /// A key made by hand, in the group of this managed key.
    pub fn portal(&mut self, service: usize, agent: usize, key: usize) -> Fingerprint {
        let package = self.agents[agent].policies[key].package.clone();
        let order = Order { maker: Maker::Person, token: None, package, valid_to: None };
        let fingerprint = self.world.issue(service, order, self.now).fingerprint.clone();
        self.trace(|| format!("world: somebody makes key {fingerprint}"));
        fingerprint
    }

    fn meddle(&mut self, agent: usize, key: usize) {
        match self.rng.below(4) {
            0 => {
                let fingerprint = self.portal(0, agent, key);
                self.edit(agent, key, fingerprint);
            }
            1 => self.edit(agent, key, Fingerprint::from("ffffffffffff")),
            _ => drop(self.portal(0, agent, key)),
        }
    }

    /// Somebody writes to a target by hand.
    fn edit(&mut self, agent: usize, key: usize, fingerprint: Fingerprint) {
        let id = TargetId::new("file", &format!("/k{key}/a"));
        self.trace(|| format!("world: somebody writes {fingerprint} to agent {agent} {id}"));
        let now = self.now;
        let place = self.world.places[agent].entry(id).or_default();
        place.holds = Some(fingerprint);
        place.damaged = false;
        place.edited_at = Some(now);
    }

    fn back_up_or_restore(&mut self, agent: usize) {
        match self.weather.backup.take() {
            None => {
                self.trace(|| "a backup is made".into());
                self.weather.backup = Some(self.agents[agent].durable.clone());
            }
            Some(backup) if !self.weather.restored => {
                self.weather.restored = true;
                self.restore(agent, backup);
            }
            Some(_) => {}
        }
    }

    fn jump(&mut self, agent: usize) {
        let it = &mut self.agents[agent];
        it.skew = match (it.skew, self.rng.below(4)) {
            (0, 0) => self.rng.span(MINUTE) - MINUTE / 2,
            (0, 1) => self.rng.span(DAY),
            (0, 2) => -self.rng.span(30 * DAY),
            (0, _) => self.rng.span(30 * DAY),
            _ => 0,
        };
        let skew = it.skew;
        self.trace(|| format!("agent {agent}: the clock is wrong by {} min", skew / MINUTE));
        self.wake_all(agent);
        if skew != 0 {
            self.weather.next = Some(self.now + self.rng.span(10 * MINUTE));
        }
    }

    /// A new config is loaded: what was observed under the old one is void.
    fn reconfigure(&mut self, agent: usize, key: usize) {
        let letter = if self.rng.chance(500) { 'b' } else { 'c' };
        let changed = target(key, letter, Reach::Push { readable: self.rng.chance(800) }, false);
        let other = self.world.services[usize::from(self.rng.chance(500))].account.clone();
        let it = &mut self.agents[agent];
        let policy = Rc::make_mut(&mut it.policies[key]);
        match self.rng.below(8) {
            0..=3 => match policy.targets.iter().position(|it| it.id == changed.id) {
                Some(position) => drop(policy.targets.remove(position)),
                None => policy.targets.push(changed),
            },
            4 | 5 => policy.windows = if policy.windows.is_empty() { vec![night()] } else { Vec::new() },
            _ if other != policy.account => {
                let former = std::mem::replace(&mut policy.account, other);
                policy.former.insert(former, policy.provider);
                let account = policy.account.clone();
                policy.former.remove(&account);
            }
            _ => {}
        }
        it.observed.iter_mut().for_each(|it| *it = None);
        let policy = self.agents[agent].policies[key].clone();
        self.trace(|| {
            let targets: Vec<_> = policy.targets.iter().map(|it| it.id.as_str()).collect();
            format!("config: {} targets {targets:?}, {} windows", policy.account, policy.windows.len())
        });
        self.wake_all(agent);
    }
}

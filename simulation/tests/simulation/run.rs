//! One run: a world, one or two daemons in it, and everything that can go wrong, until it has to be well again.
use super::agent::{Agent, Durable};
use super::invariants::Rule;
use super::rng::Rng;
use super::scenario::{Row, World as Disturbance, key_name, policy};
use super::weather::Weather;
use super::world::{DAY, HOUR, LIFE, Maker, Ms, Order, Place, World, service};
use rekeyd_simulation::core::command::{command, restored};
use rekeyd_simulation::core::facts::Probe;
use rekeyd_simulation::core::names::{Incarnation, Token};
use rekeyd_simulation::core::plan::{Adopt, Command};
use rekeyd_simulation::core::policy::Initial;
use rekeyd_simulation::core::record::{Expiry, Phase, Record};
use rekeyd_simulation::core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// When every run begins: a Tuesday.
pub const START: Ms = 1_799_971_200_000;
/// How long things go wrong, and how long all is quiet after that.
const STORMY: Ms = 14 * DAY;
const QUIET: Ms = 6 * DAY;
/// How long after that a key may still be on its way.
const GRACE: Ms = 4 * DAY;
/// More events than this in one run mean that it never rests.
const MOST_EVENTS: u32 = 8_000;

/// What one run came to.
#[derive(Clone, Debug, Default)]
pub struct Result {
    pub broken: Option<(Rule, String)>,
    pub halted: bool,
    pub creates: u64,
    pub events: u64,
    pub longest_gap: Ms,
    pub expired: bool,
    pub succeeded: u64,
}

pub struct Sim {
    pub row: Row,
    pub world: World,
    pub agents: Vec<Agent>,
    pub rng: Rng,
    pub now: Ms,
    /// How likely each call fails, in a thousand.
    pub fault: u64,
    pub weather: Weather,
    pub tokens: BTreeSet<Token>,
    /// How many creates of each key were left in doubt.
    pub doubts: BTreeMap<(usize, usize), u32>,
    pub started: Ms,
    /// Since when nothing goes wrong any more.
    pub calm_since: Option<Ms>,
    pub result: Result,
    pub tracing: bool,
}

/// Runs one seed of one row.
pub fn run(row: &Row, seed: u64, tracing: bool) -> Result {
    let mut sim = Sim::new(row, seed, tracing);
    // Nothing goes wrong before the daemons are installed: an operator repeats `adopt` until it succeeds.
    let fault = std::mem::take(&mut sim.fault);
    sim.adopt_all();
    sim.fault = fault;
    while sim.result.broken.is_none() {
        let Some(next) = sim.next_event() else { break };
        sim.now = next.max(sim.now);
        sim.calm();
        sim.settle();
        if sim.now >= START + STORMY + QUIET && (sim.is_well() || sim.now >= START + STORMY + QUIET + GRACE) {
            break;
        }
        sim.late_effects();
        sim.storm();
        sim.step();
        sim.check_always();
        sim.result.events += 1;
        if sim.result.events > u64::from(MOST_EVENTS) {
            sim.broken(Rule::Endless, || "it never rests".into());
        }
    }
    if sim.result.broken.is_none() {
        sim.check_end();
    }
    sim.result
}

impl Sim {
    fn new(row: &Row, seed: u64, tracing: bool) -> Self {
        let mut rng = Rng::new(seed, row.number);
        let fault = 10 + rng.below(240);
        let mut world = World::default();
        let accounts = if row.world == Disturbance::Config { 2 } else { 1 };
        let keys = if row.world == Disturbance::Shared { 3 } else { 1 };
        world.services.push(service(&row.kind, row.world, "account-0", &mut rng));
        for n in 1..accounts {
            let stated = world.services[0].clone();
            world.services.push(super::world::Service { account: format!("account-{n}").into(), ..stated });
        }
        if row.world == Disturbance::Login {
            world.services[0].login = Some(0);
        }
        let policies: Vec<_> = (0..keys).map(|key| Rc::new(policy(row, &world.services[0], key, &mut rng))).collect();
        let daemons = if row.world == Disturbance::Clone { 2 } else { 1 };
        let agents = (0..daemons).map(|number| Agent {
            number,
            by: Incarnation { install: format!("{number:08x}"), epoch: "000000".into() },
            policies: policies.clone(),
            durable: Durable {
                records: (0..keys).map(|key| Rc::new(Record::new(key_name(key), Timestamp(START)))).collect(),
                ..Durable::default()
            },
            escrow: BTreeMap::new(),
            wakes: vec![START; keys],
            observed: vec![None; keys],
            flights: Vec::new(),
            down_until: None,
            skew: 0,
            restored: false,
            notices: Vec::new(),
            told: BTreeSet::new(),
            idle: 0,
        });
        let agents: Vec<Agent> = agents.collect();
        world.places = vec![BTreeMap::new(); agents.len()];
        let weather = Weather::new(START, row.world, &mut rng);
        Self {
            row: row.clone(),
            world,
            agents,
            rng,
            now: START,
            fault,
            weather,
            tokens: BTreeSet::new(),
            doubts: BTreeMap::new(),
            started: START,
            calm_since: None,
            result: Result::default(),
            tracing,
        }
    }

    pub fn trace(&self, line: impl FnOnce() -> String) {
        if self.tracing {
            let at = self.now - self.started;
            println!(
                "{:3}d {:02}:{:02}:{:02}.{:03} {}",
                at / DAY,
                at / HOUR % 24,
                at / 60_000 % 60,
                at / 1000 % 60,
                at % 1000,
                line()
            );
        }
    }

    /// A rule was broken: the first one counts.
    pub fn broken(&mut self, rule: Rule, what: impl FnOnce() -> String) {
        if self.result.broken.is_none() {
            let what = what();
            self.trace(|| format!("!!! {rule:?}: {what}"));
            self.result.broken = Some((rule, what));
        }
    }

    /// A create's answer was lost.
    pub fn doubt(&mut self, agent: usize, token: &Token) {
        let key = self.key_of(agent, token);
        *self.doubts.entry((agent, key)).or_default() += 1;
    }

    /// A create certainly never left: it doesn't count against the budget.
    pub fn unsend(&mut self, agent: usize, token: &Token) {
        let service = self.service_of(agent, token);
        self.world.services[service].creates.pop();
    }

    /// The keys that are in use when the daemons are installed.
    fn adopt_all(&mut self) {
        if self.row.world == Disturbance::Strangers {
            for _ in 0..=self.rng.below(3) {
                let order = Order { maker: Maker::Person, token: None, package: Some("others".into()), valid_to: None };
                self.world.issue(0, order, self.now - DAY);
            }
        }
        for key in 0..self.agents[0].policies.len() {
            if self.agents[0].policies[key].initial == Initial::Create {
                continue;
            }
            let package = self.agents[0].policies[key].package.clone();
            let valid_to = Some(self.now + DAY / 2 + self.rng.span(LIFE - DAY));
            let order = Order { maker: Maker::Person, token: None, package, valid_to };
            let issued = self.world.issue(0, order, self.now - LIFE).clone();
            self.world.keys.last_mut().expect("it was just issued").accepted_from = self.now - LIFE;
            for agent in 0..self.agents.len() {
                for target in self.agents[0].policies[key].targets.clone() {
                    let place = Place { holds: Some(issued.fingerprint.clone()), ..Place::default() };
                    self.world.places[agent].insert(target.id, place);
                }
                let blind = self.world.services[0].blind || !self.world.services[0].stated.probes;
                let probe = if blind { Probe::Inconclusive } else { Probe::Alive };
                self.adopt(agent, key, issued.fingerprint.clone(), probe);
            }
        }
    }

    /// The operator hands a key over.
    pub fn adopt(
        &mut self,
        agent: usize,
        key: usize,
        fingerprint: rekeyd_simulation::core::names::Fingerprint,
        probe: Probe,
    ) {
        let issued = self.world.key(&fingerprint).cloned().expect("a key to adopt");
        let knows_id = self.world.services[issued.service].stated.revokes_by_id && self.rng.chance(800);
        let adopt = Adopt {
            fingerprint: fingerprint.clone(),
            id: knows_id.then_some(issued.id),
            valid_from: None,
            valid_to: Some(Timestamp(issued.expires)),
            expiry: Expiry::Stated,
            probe,
            unverified: true,
            targets: BTreeMap::new(),
            deliver: true,
            actor: None,
        };
        self.command(agent, key, &Command::Adopt(adopt), &BTreeSet::from([fingerprint]));
    }

    /// An operator's verb.
    pub fn command(
        &mut self,
        agent: usize,
        key: usize,
        verb: &Command,
        known: &BTreeSet<rekeyd_simulation::core::names::Fingerprint>,
    ) {
        let it = &self.agents[agent];
        if it.down_until.is_some() {
            return;
        }
        let id = it.account_id(key);
        let account = it.account(&id);
        let now = it.clock(self.now);
        let answer = command(it.record(key), &account, verb, &it.working(key), now);
        self.trace(|| {
            format!("operator: {verb:?} → {:?}", answer.as_ref().map(|it| super::agent::phase_words(&it.record.phase)))
        });
        if let Ok(change) = answer
            && self.commit(agent, key, change, known)
        {
            self.agents[agent].wakes[key] = self.now;
        }
    }

    /// When the next thing happens.
    fn next_event(&self) -> Option<Ms> {
        let agents = self.agents.iter().flat_map(|it| {
            // A key that is being looked at is not woken before that look was decided on.
            let keys = it.wakes.iter().zip(&it.observed);
            let keys = keys.map(|(wake, observed)| observed.as_ref().map_or(*wake, |it| it.ready));
            let keys = it.down_until.is_none().then_some(keys).into_iter().flatten();
            it.down_until.into_iter().chain(keys).chain(it.flights.iter().map(|it| it.at))
        });
        let others = self.world.late.iter().map(|it| it.at).chain(self.weather.next);
        agents.chain(others).filter(|it| *it != Ms::MAX).min()
    }

    /// After the storm nothing goes wrong any more.
    fn calm(&mut self) {
        if self.now < START + STORMY || self.calm_since.is_some() {
            return;
        }
        self.calm_since = Some(self.now);
        self.trace(|| "the storm is over".into());
        self.fault = 0;
        self.weather.next = None;
        for service in &mut self.world.services {
            service.truncates = false;
        }
        for agent in 0..self.agents.len() {
            if self.agents[agent].skew != 0 {
                self.agents[agent].skew = 0;
                self.wake_all(agent);
            }
        }
    }

    pub fn wake_all(&mut self, agent: usize) {
        let now = self.now;
        if self.agents[agent].down_until.is_none() {
            self.agents[agent].wakes.iter_mut().for_each(|it| *it = now);
        }
    }

    /// Everything that is due in the daemons, in any order.
    fn step(&mut self) {
        for agent in 0..self.agents.len() {
            if self.agents[agent].down_until.is_some_and(|it| it <= self.now) {
                self.start(agent);
            }
            let due: Vec<usize> = (0..self.agents[agent].flights.len()).collect();
            for position in due.into_iter().rev() {
                let flights = &self.agents[agent].flights;
                if flights.get(position).is_some_and(|it| it.at <= self.now) && self.rng.chance(800) {
                    self.advance(agent, position);
                }
            }
            for key in 0..self.agents[agent].policies.len() {
                self.step_key(agent, key);
            }
        }
    }

    fn step_key(&mut self, agent: usize, key: usize) {
        if self.agents[agent].down_until.is_some() {
            return;
        }
        if self.agents[agent].observed[key].as_ref().is_some_and(|it| it.ready <= self.now) {
            self.decide(agent, key);
        } else if self.agents[agent].observed[key].is_none() && self.agents[agent].wakes[key] <= self.now {
            self.observe(agent, key);
        }
    }

    /// The state comes back from a backup: what the engine does then, before its first pass.
    pub fn restore(&mut self, agent: usize, backup: Durable) {
        self.die(agent, "restored from a backup");
        let now = self.now;
        let it = &mut self.agents[agent];
        it.durable = backup;
        it.escrow.clear();
        it.restored = true;
        it.by.epoch = format!("{:06x}", now % 0xff_ffff);
        let at = Timestamp(now + it.skew);
        for (record, policy) in it.durable.records.iter_mut().zip(&it.policies) {
            *record = Rc::new(restored(record, policy, at));
        }
    }

    /// Whether every key of every daemon rests, or waits for a human.
    fn is_well(&self) -> bool {
        self.agents.iter().all(|it| {
            it.down_until.is_none() && it.flights.is_empty() && (0..it.policies.len()).all(|key| self.rests(it, key))
        })
    }

    fn rests(&self, agent: &Agent, key: usize) -> bool {
        match agent.record(key).phase {
            Phase::Halted { .. } => true,
            Phase::Steady => self.dead_end(agent, key).is_none(),
            _ => false,
        }
    }
}

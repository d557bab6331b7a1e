//! The actions' effects on the world, and what the agent learns of them.
use super::agent::Flight;
use super::invariants::Rule;
use super::run::Sim;
use super::world::{HOUR, Killer, Late, Maker, Ms, Order, Place};
use rekeyd_simulation::core::facts::{Action, Found, Outcome, Probe, Refusal, RefusalKind, Revoke};
use rekeyd_simulation::core::names::{Fingerprint, TargetId, Token};
use rekeyd_simulation::core::record::VersionNo;

impl Sim {
    /// Whether a call fails now.
    pub fn fails(&mut self) -> bool {
        self.rng.chance(self.fault)
    }

    /// Has the effect of an action, and says what came of it.
    pub fn perform(&mut self, agent: usize, flight: &Flight) -> Outcome {
        match &flight.action {
            Action::Create { token, valid_to } => self.create(agent, flight, token, valid_to.map(|it| it.0)),
            Action::Deliver { target, version } => self.deliver(agent, flight, target, *version),
            Action::Confirm { target, version } => self.confirm(agent, flight.key, target, *version),
            Action::Revoke(revoke) => self.revoke(agent, flight, revoke),
            Action::Empty { target } => self.empty(agent, flight.key, target),
        }
    }

    /// The process ended with this action under way: it may have its effect all the same, and nobody hears of it.
    pub fn abandon(&mut self, agent: usize, flight: &Flight) {
        if !self.rng.chance(300) {
            return;
        }
        match &flight.action {
            Action::Create { token, valid_to } => {
                self.check_create(agent, flight, token);
                self.lose_later(agent, token, valid_to.map(|it| it.0));
            }
            _ => drop(self.perform(agent, flight)),
        }
    }

    fn create(&mut self, agent: usize, flight: &Flight, token: &Token, valid_to: Option<Ms>) -> Outcome {
        let service = self.service_of(agent, token);
        self.check_create(agent, flight, token);
        if !self.authorised(agent, service) {
            return self.refused(agent, token, RefusalKind::Login);
        }
        if self.fails() {
            return match self.rng.below(8) {
                0 => {
                    self.unsend(agent, token);
                    Outcome::NotSent("connection refused".into())
                }
                1 => self.refused(agent, token, RefusalKind::Throttled),
                2 => self.refused(agent, token, RefusalKind::Request),
                3 => {
                    self.doubt(agent, token);
                    Outcome::Unknown("500".into())
                }
                4 => {
                    self.doubt(agent, token);
                    self.issue(agent, token, valid_to);
                    Outcome::Unreadable("not JSON".into())
                }
                5 => {
                    self.doubt(agent, token);
                    self.issue(agent, token, valid_to);
                    Outcome::Unknown("reset".into())
                }
                _ => {
                    self.lose_later(agent, token, valid_to);
                    Outcome::Unknown("timeout".into())
                }
            };
        }
        let key = self.issue(agent, token, valid_to);
        if !self.world.services[service].answers_all {
            let found = self.world.found(&self.world.keys[key]);
            // A create always shows its secret; only lists mask it.
            let fingerprint = Some(self.world.keys[key].fingerprint.clone());
            return Outcome::Created(Found { fingerprint, ..found });
        }
        let all = self.world.all(service, self.now);
        Outcome::AnsweredAll(self.probed(agent, service, all))
    }

    /// The whole answer, with each element probed that the account does not know.
    fn probed(&mut self, agent: usize, service: usize, mut all: Vec<Found>) -> Vec<Found> {
        let stated = self.world.services[service].stated;
        let account = self.world.services[service].account.clone();
        let known = self.agents[agent].account(&account).known.clone();
        for found in all.iter_mut().filter(|_| stated.probes) {
            let Some(fingerprint) = found.fingerprint.clone().filter(|it| !known.contains(it)) else { continue };
            found.probe = Some(match self.fails() {
                true => Probe::Inconclusive,
                false => self.world.probe(&fingerprint, self.now, &mut self.rng, 0),
            });
        }
        all
    }

    fn refused(&mut self, agent: usize, token: &Token, why: RefusalKind) -> Outcome {
        self.trace(|| format!("agent {agent} {token} is refused: {why:?}"));
        let clock = self.agents[agent].clock(self.now);
        let throttled = why == RefusalKind::Throttled && self.rng.chance(500);
        let retry_after = throttled.then(|| clock.plus(super::scenario::span(self.rng.span(HOUR))));
        Outcome::Refused(Refusal { why, retry_after, message: "refused".into() })
    }

    fn issue(&mut self, agent: usize, token: &Token, valid_to: Option<Ms>) -> usize {
        let order = self.order(agent, token, valid_to);
        let service = self.service_of(agent, token);
        self.world.issue(service, order, self.now);
        self.trace(|| format!("world: {token} makes key {}", self.world.keys.len()));
        self.world.keys.len() - 1
    }

    /// The answer is lost: the create has its effect later, or never.
    fn lose_later(&mut self, agent: usize, token: &Token, valid_to: Option<Ms>) {
        self.doubt(agent, token);
        let service = self.service_of(agent, token);
        let order = self.order(agent, token, valid_to);
        let at = self.now + self.rng.span(self.world.services[service].late);
        self.world.late.push(Late { at, service, order });
    }

    fn order(&self, agent: usize, token: &Token, valid_to: Option<Ms>) -> Order {
        let key = self.key_of(agent, token);
        let package = self.agents[agent].policies[key].package.clone();
        Order { maker: Maker::Agent(agent), token: Some(token.clone()), package, valid_to }
    }

    pub fn key_of(&self, agent: usize, token: &Token) -> usize {
        let mut records = self.agents[agent].durable.records.iter();
        records.position(|it| it.name == token.name).expect("a token of a key that nobody has")
    }

    /// The service that a token belongs to: where its intent is durable.
    pub fn service_of(&self, agent: usize, token: &Token) -> usize {
        let it = &self.agents[agent];
        let mut accounts = it.durable.accounts.values();
        let account = accounts.find(|account| account.open.contains_key(token)).map(|account| account.id.clone());
        self.world.service(&account.unwrap_or_else(|| it.account_id(self.key_of(agent, token))))
    }

    fn deliver(&mut self, agent: usize, flight: &Flight, target: &TargetId, version: VersionNo) -> Outcome {
        if target.as_str().starts_with("login:") {
            return Outcome::Delivered { ms: 1 };
        }
        let secret = self.agents[agent].durable.secrets.get(&(flight.key, version)).cloned();
        let Some(fingerprint) = secret else {
            self.broken(Rule::Keep, || format!("version {version} is delivered, but its secret was never kept"));
            return Outcome::Failed("no secret".into());
        };
        // The config may have dropped the target meanwhile; the write then goes to a place that nobody reads.
        let failed = self.fails();
        if failed && self.rng.chance(500) {
            return Outcome::Failed("no space left on device".into());
        }
        self.check_delivery(agent, flight, target, version, &fingerprint);
        self.trace(|| format!("world: agent {agent} {target} holds {fingerprint} (version {version})"));
        let place = Place { holds: Some(fingerprint), damaged: false, edited_at: None, unfinished: Some(version) };
        self.world.places[agent].insert(target.clone(), place);
        if failed { Outcome::Failed("then: exit code 1".into()) } else { Outcome::Delivered { ms: 3 } }
    }

    fn confirm(&mut self, agent: usize, key: usize, target: &TargetId, version: VersionNo) -> Outcome {
        let secret = self.agents[agent].durable.secrets.get(&(key, version)).cloned();
        let holds = self.world.places[agent].get(target).and_then(|it| it.holds.clone());
        let works = |it: &Fingerprint| {
            self.world.key(it).is_some_and(|key| key.live(self.now) && key.accepted_from <= self.now)
        };
        let passes = holds.is_some() && holds == secret && holds.as_ref().is_some_and(works);
        if passes && !self.fails() { Outcome::Confirmed } else { Outcome::Failed("exit code 1".into()) }
    }

    fn revoke(&mut self, agent: usize, flight: &Flight, revoke: &Revoke) -> Outcome {
        let service = self.world.service(&revoke.account);
        if !self.authorised(agent, service) {
            return Outcome::Failed("401".into());
        }
        let failed = self.fails();
        if failed && self.rng.chance(500) {
            return Outcome::Failed("503".into());
        }
        let found = self.world.keys.iter().position(|it| it.service == service && it.id == revoke.id);
        if let Some(key) = found.filter(|it| self.world.keys[*it].dead.is_none()) {
            self.trace(|| format!("world: agent {agent} revokes key {}", key + 1));
            self.check_revoke(agent, flight, revoke, key);
            self.world.keys[key].dead = Some((self.now, Killer::Revoke(agent)));
        }
        if failed { Outcome::Failed("timeout".into()) } else { Outcome::Revoked }
    }

    /// Somebody changes something at the service, beside the agents.
    pub fn late_effects(&mut self) {
        let due = |it: &Late, now: Ms| it.at <= now;
        while let Some(position) = self.world.late.iter().position(|it| due(it, self.now)) {
            let late = self.world.late.swap_remove(position);
            self.trace(|| {
                format!("world: {:?} has its late effect: key {}", late.order.token, self.world.keys.len() + 1)
            });
            self.world.issue(late.service, late.order, self.now);
        }
    }
}

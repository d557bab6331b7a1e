//! The fake services and targets: what is really true, and how it shows.
use super::rng::Rng;
use super::scenario::{Kind, World as Disturbance};
use rekeyd_simulation::core::facts::{Content, Found, Listed, Probe};
use rekeyd_simulation::core::names::{AccountId, Fingerprint, TargetId, Token};
use rekeyd_simulation::core::policy::{Capabilities, Recover};
use rekeyd_simulation::core::record::VersionNo;
use rekeyd_simulation::core::time::Timestamp;
use std::collections::BTreeMap;

/// Milliseconds, as [`Timestamp`] counts them.
pub type Ms = i64;

pub const SECOND: Ms = 1000;
pub const MINUTE: Ms = 60 * SECOND;
pub const HOUR: Ms = 60 * MINUTE;
pub const DAY: Ms = 24 * HOUR;
/// How long an issued key lives.
pub const LIFE: Ms = 10 * DAY;

/// Who made a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Maker {
    Agent(usize),
    Person,
}

/// Why a key is dead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Killer {
    Revoke(usize),
    Create(Maker),
}

/// A key that really exists, or existed.
#[derive(Clone, Debug)]
pub struct Key {
    pub fingerprint: Fingerprint,
    pub id: String,
    pub service: usize,
    pub token: Option<Token>,
    pub maker: Maker,
    pub package: Option<String>,
    pub born: Ms,
    pub accepted_from: Ms,
    pub expires: Ms,
    pub dead: Option<(Ms, Killer)>,
}

impl Key {
    pub fn live(&self, now: Ms) -> bool {
        self.dead.is_none() && now < self.expires
    }
}

/// A create that takes effect only later.
#[derive(Clone, Debug)]
pub struct Late {
    pub at: Ms,
    pub service: usize,
    pub order: Order,
}

/// What a create asks for.
#[derive(Clone, Debug)]
pub struct Order {
    pub maker: Maker,
    pub token: Option<Token>,
    pub package: Option<String>,
    pub valid_to: Option<Ms>,
}

/// One account at one key-issuing service.
#[derive(Clone, Debug)]
pub struct Service {
    pub account: AccountId,
    pub stated: Capabilities,
    /// What a create really does.
    pub revokes: bool,
    pub masks: bool,
    /// A create answers with all keys, the new one unmarked.
    pub answers_all: bool,
    /// How old a list or a read may be.
    pub lag: Ms,
    /// How long after its create a key is accepted.
    pub accept: Ms,
    /// The longest that a create whose answer was lost takes to have its effect.
    pub late: Ms,
    pub blind: bool,
    pub truncates: bool,
    /// The managed key (by its position) that authorises the calls.
    pub login: Option<usize>,
    pub creates: Vec<(usize, Ms)>,
}

/// What one target holds.
#[derive(Clone, Debug, Default)]
pub struct Place {
    pub holds: Option<Fingerprint>,
    pub damaged: bool,
    /// When somebody else wrote to it.
    pub edited_at: Option<Ms>,
    /// The version that an agent wrote there without having heard yet that it was done.
    pub unfinished: Option<VersionNo>,
}

#[derive(Clone, Debug, Default)]
pub struct World {
    pub keys: Vec<Key>,
    pub services: Vec<Service>,
    pub late: Vec<Late>,
    /// By agent, then by target.
    pub places: Vec<BTreeMap<TargetId, Place>>,
}

impl World {
    pub fn service(&self, account: &AccountId) -> usize {
        self.services.iter().position(|it| it.account == *account).expect("an account that nobody has")
    }

    pub fn key(&self, fingerprint: &Fingerprint) -> Option<&Key> {
        self.keys.iter().find(|it| it.fingerprint == *fingerprint)
    }

    pub fn live(&self, fingerprint: &Fingerprint, now: Ms) -> bool {
        self.key(fingerprint).is_some_and(|it| it.live(now))
    }

    /// Issues a key; what it does to the others is up to the service.
    pub fn issue(&mut self, service: usize, order: Order, now: Ms) -> &Key {
        let n = self.keys.len() + 1;
        if self.services[service].revokes {
            let others = self.keys.iter_mut().filter(|it| it.service == service && it.package == order.package);
            for other in others.filter(|it| it.dead.is_none()) {
                other.dead = Some((now, Killer::Create(order.maker)));
            }
        }
        self.keys.push(Key {
            fingerprint: Fingerprint::from(format!("{n:012x}")),
            id: format!("id-{n}"),
            service,
            token: order.token,
            maker: order.maker,
            package: order.package,
            born: now,
            accepted_from: now + self.services[service].accept,
            expires: order.valid_to.unwrap_or(now + LIFE),
            dead: None,
        });
        &self.keys[n - 1]
    }

    /// What the service says to a key.
    pub fn probe(&self, fingerprint: &Fingerprint, now: Ms, rng: &mut Rng, fault: u64) -> Probe {
        let Some(key) = self.key(fingerprint) else { return Probe::Dead };
        if rng.chance(fault) {
            return Probe::Inconclusive;
        }
        let accepted = key.live(now) && now >= key.accepted_from && !self.services[key.service].blind;
        if accepted { Probe::Alive } else { Probe::Dead }
    }

    /// The list call: late by up to the service's lag, and perhaps cut short.
    pub fn list(&self, service: usize, now: Ms, rng: &mut Rng) -> Listed {
        let it = &self.services[service];
        let seen_at = now - rng.pause(it.lag);
        let mut keys: Vec<Found> = self.listed(service, seen_at).map(|key| self.found(key)).collect();
        let truncated = it.truncates && rng.chance(300);
        if truncated {
            keys.truncate(usize::try_from(rng.below(keys.len() as u64 + 1)).unwrap_or(0));
        }
        Listed { keys, truncated }
    }

    /// The answer of a create that shows all keys: never late.
    pub fn all(&self, service: usize, now: Ms) -> Vec<Found> {
        self.listed(service, now).map(|key| self.found(key)).collect()
    }

    /// The read call: the newest key, late by up to the service's lag.
    pub fn read(&self, service: usize, now: Ms, rng: &mut Rng) -> Found {
        let seen_at = now - rng.pause(self.services[service].lag);
        let newest = self.keys.iter().rfind(|it| it.service == service && it.born <= seen_at);
        newest.map_or_else(Found::default, |it| Found { token: None, id: None, ..self.found(it) })
    }

    fn listed(&self, service: usize, at: Ms) -> impl Iterator<Item = &Key> {
        let shown = move |it: &&Key| it.born <= at && at < it.expires && it.dead.is_none_or(|(dead, _)| dead > at);
        self.keys.iter().filter(move |it| it.service == service).filter(shown)
    }

    pub fn found(&self, key: &Key) -> Found {
        let service = &self.services[key.service];
        let named = service.stated.recover == Recover::ListByName;
        let dated = service.stated.reports_expiry;
        Found {
            token: key.token.clone().filter(|_| named),
            id: (service.stated.revokes_by_id).then(|| key.id.clone()),
            fingerprint: (!service.masks).then(|| key.fingerprint.clone()),
            enabled: true,
            valid_from: None,
            valid_to: dated.then_some(Timestamp(key.expires)),
            probe: None,
        }
    }

    pub fn content(&self, agent: usize, target: &TargetId) -> Content {
        match self.places[agent].get(target) {
            Some(Place { damaged: true, .. }) => Content::Damaged,
            Some(Place { holds: Some(fingerprint), .. }) => Content::Holds(fingerprint.clone()),
            _ => Content::Absent,
        }
    }
}

/// One account as a provider of this kind, in a world with this disturbance, has it.
pub fn service(kind: &Kind, disturbance: Disturbance, account: &str, rng: &mut Rng) -> Service {
    let probes = disturbance == Disturbance::Blind || rng.chance(800);
    let reports_expiry = rng.chance(600);
    let by_id = !kind.revokes() && rng.chance(if kind.recover == Recover::ListByName { 950 } else { 400 });
    Service {
        account: AccountId::from(account),
        stated: Capabilities {
            on_create: kind.on_create,
            recover: kind.recover,
            revokes_by_id: by_id,
            reports_expiry,
            probes,
        },
        revokes: kind.revokes(),
        masks: kind.masks,
        answers_all: kind.recover == Recover::DiffAnswer || (kind.recover == Recover::DiffList && rng.chance(500)),
        lag: if disturbance == Disturbance::Late { 40 * SECOND } else { 0 },
        accept: if disturbance == Disturbance::Slow { rng.span(8 * MINUTE) } else { 0 },
        late: if disturbance == Disturbance::Late { 10 * MINUTE } else { 5 * SECOND },
        blind: disturbance == Disturbance::Blind,
        truncates: disturbance == Disturbance::Late && rng.chance(500),
        login: None,
        creates: Vec::new(),
    }
}

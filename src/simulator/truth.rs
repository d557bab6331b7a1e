//! What is true at the services: every key that was ever issued, and every request that came. Tests and the demo compare
//! what the daemon believes with this.
use super::behaviour::Behaviour;
use super::fault::{Call, Chance, FaultPlan};
use crate::clock;
use crate::core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The most keys that one service ever issues; beyond it a create is answered with 500.
pub const KEYS: usize = 100_000;
/// How many requests the log keeps; older ones are dropped, but stay counted.
pub const REQUESTS_KEPT: usize = 20_000;

/// The simulated services, each spelled as the kind of its provider.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Service {
    /// Infobip account settings v1.
    #[serde(rename = "infobip")]
    Infobip,
    /// Infobip 2FA.
    #[serde(rename = "infobip-2fa")]
    Infobip2fa,
    /// Mobivate.
    #[serde(rename = "mobivate")]
    Mobivate,
    /// Single-Invoice.co.
    #[serde(rename = "single-invoice")]
    SingleInvoice,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Infobip, Self::Infobip2fa, Self::Mobivate, Self::SingleInvoice];

    /// The provider kind that speaks with it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Infobip => "infobip",
            Self::Infobip2fa => "infobip-2fa",
            Self::Mobivate => "mobivate",
            Self::SingleInvoice => "single-invoice",
        }
    }
}

/// Who had a key issued.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Maker {
    /// A create call.
    Call,
    /// A person, in the service's portal.
    Stranger,
}

/// A key as its service knows it. The secret is plain text: it opens nothing but this simulation.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Key {
    /// The service that issued it.
    pub service: Service,
    /// The handle that it is revoked by; made up where the service has none.
    pub id: String,
    /// What its users send.
    pub secret: String,
    /// Its name, where the service knows names.
    pub name: Option<String>,
    /// Its group (`Account`, `Coverage`), where the service has groups.
    pub package: Option<String>,
    /// What it may do, where the service knows that.
    pub permissions: Vec<String>,
    /// Where it may be used from; kept and shown, not enforced.
    pub allowed_ips: Vec<String>,
    /// When it was issued.
    pub created_at: Timestamp,
    /// Who had it issued.
    pub made_by: Maker,
    /// Since when it is valid.
    pub valid_from: Option<Timestamp>,
    /// Until when it is valid.
    pub valid_to: Option<Timestamp>,
    /// Not accepted before this moment, although it is valid.
    pub accepted_from: Timestamp,
    /// Whether it is enabled.
    pub enabled: bool,
    /// When it was disabled, if it is.
    pub revoked_at: Option<Timestamp>,
}

impl Key {
    /// Whether it is enabled, and inside its validity.
    pub fn is_live(&self, now: Timestamp) -> bool {
        let begun = self.valid_from.is_none_or(|it| it <= now);
        self.enabled && begun && self.valid_to.is_none_or(|it| now < it)
    }

    pub(crate) fn disable(&mut self, now: Timestamp) {
        if self.enabled {
            self.enabled = false;
            self.revoked_at = Some(now);
        }
    }
}

/// A request that came, and what became of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RequestRow {
    /// To which service.
    pub service: Service,
    /// Which kind of call.
    pub call: Call,
    /// The HTTP method.
    pub method: String,
    /// The path, with the query if there is one.
    pub path: String,
    /// When it had been read.
    pub at: Timestamp,
    /// The status that was, or would have been, answered.
    pub status: Option<u16>,
    /// The fault that struck, as JSON spells it; none where all went well.
    pub fault: Option<super::fault::Fault>,
}

/// One service: its books, its settings and its mishaps.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) service: Service,
    pub(crate) behaviour: Behaviour,
    pub(crate) faults: FaultPlan,
    pub(crate) chance: Chance,
    pub(crate) keys: Vec<Key>,
    pub(crate) account_enabled: bool,
}

impl Desk {
    /// Whether the service accepts this secret now.
    pub(crate) fn accepts(&self, secret: &str, now: Timestamp) -> Option<&Key> {
        if self.behaviour.blind_probe || !self.account_enabled {
            return None;
        }
        self.keys.iter().find(|it| it.secret == secret && it.is_live(now) && it.accepted_from <= now)
    }

    /// The account's keys as they were at a moment.
    pub(crate) fn keys_at(&self, at: Timestamp) -> Vec<Key> {
        let then = self.keys.iter().filter(|it| it.created_at <= at).cloned();
        let undo = |mut key: Key| {
            if key.revoked_at.is_some_and(|it| it > at) {
                key.enabled = true;
                key.revoked_at = None;
            }
            key
        };
        then.map(undo).collect()
    }

    /// Issues a key: what all services have in common.
    pub(crate) fn issue(&mut self, secret: String, package: Option<&str>, made_by: Maker, now: Timestamp) -> &mut Key {
        if self.behaviour.create_revokes {
            self.keys.iter_mut().filter(|it| it.package.as_deref() == package).for_each(|it| it.disable(now));
        }
        let id = self.chance.text(b"0123456789ABCDEF", 32);
        let key = Key {
            service: self.service,
            id,
            secret,
            name: None,
            package: package.map(str::to_owned),
            permissions: Vec::new(),
            allowed_ips: Vec::new(),
            created_at: now,
            made_by,
            valid_from: None,
            valid_to: self.behaviour.lifetime().map(|it| now.plus(it)),
            accepted_from: now.plus(Duration::from_millis(self.behaviour.accept_after_ms)),
            enabled: true,
            revoked_at: None,
        };
        let at = self.keys.len();
        self.keys.push(key);
        &mut self.keys[at]
    }
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) desks: BTreeMap<Service, Desk>,
    requests: VecDeque<RequestRow>,
    served: BTreeMap<(Service, Call), u64>,
}

/// A view of what is true at the services. Cheap to clone; all clones see the same.
#[derive(Clone, Debug)]
pub struct Truth {
    state: Arc<Mutex<State>>,
    changes: Arc<watch::Sender<u64>>,
}

impl Truth {
    pub(crate) fn new(seed: u64, behaviours: impl IntoIterator<Item = (Service, Behaviour)>) -> Self {
        let desk = |(service, behaviour)| {
            let faults = FaultPlan::new(seed, service);
            let chance = Chance::new(!seed ^ ((service as u64 + 1) << 40));
            (service, Desk { service, behaviour, faults, chance, keys: Vec::new(), account_enabled: true })
        };
        let desks = behaviours.into_iter().map(desk).collect();
        let state = State { desks, requests: VecDeque::new(), served: BTreeMap::new() };
        Self { state: Arc::new(Mutex::new(state)), changes: Arc::new(watch::channel(0).0) }
    }

    /// Every key that a service ever issued, oldest first.
    pub fn keys(&self, service: Service) -> Vec<Key> {
        self.with(service, |desk| desk.keys.clone()).unwrap_or_default()
    }

    /// Every key of every service.
    pub fn all_keys(&self) -> Vec<Key> {
        self.lock().desks.values().flat_map(|it| it.keys.clone()).collect()
    }

    /// The keys of a service that are enabled and inside their validity.
    pub fn live(&self, service: Service) -> Vec<Key> {
        let now = clock::now();
        self.keys(service).into_iter().filter(|it| it.is_live(now)).collect()
    }

    /// The key with this secret, wherever it was issued.
    pub fn find(&self, secret: &str) -> Option<Key> {
        self.lock().desks.values().flat_map(|it| &it.keys).find(|it| it.secret == secret).cloned()
    }

    /// Whether this secret is enabled and inside its validity now.
    pub fn is_live(&self, secret: &str) -> bool {
        self.find(secret).is_some_and(|it| it.is_live(clock::now()))
    }

    /// Whether a secret that this service issued is enabled and inside its validity now. Of the newest keys it costs little.
    pub fn is_live_at(&self, service: Service, secret: &str) -> bool {
        let now = clock::now();
        let state = self.lock();
        let mut keys = state.desks.get(&service).into_iter().flat_map(|it| it.keys.iter().rev());
        keys.find(|it| it.secret == secret).is_some_and(|it| it.is_live(now))
    }

    /// The requests that came, oldest first, at most [`REQUESTS_KEPT`].
    pub fn requests(&self) -> Vec<RequestRow> {
        self.lock().requests.iter().cloned().collect()
    }

    /// How many calls of one kind came to a service, whatever became of them.
    pub fn calls(&self, service: Service, call: Call) -> u64 {
        self.lock().served.get(&(service, call)).copied().unwrap_or(0)
    }

    /// Waits until `holds` says yes, looking again after each change of anything; `false` when `limit` has passed first.
    /// What only time changes (an expiry) is not a change.
    pub async fn until(&self, limit: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let mut changes = self.changes.subscribe();
        let wait = async {
            loop {
                changes.mark_unchanged();
                if holds(self) || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, wait).await.is_ok()
    }

    pub(crate) fn with<T>(&self, service: Service, act: impl FnOnce(&mut Desk) -> T) -> Option<T> {
        let done = self.lock().desks.get_mut(&service).map(act);
        self.changes.send_modify(|it| *it = it.wrapping_add(1));
        done
    }

    pub(crate) fn note(&self, row: RequestRow) {
        let mut state = self.lock();
        *state.served.entry((row.service, row.call)).or_default() += 1;
        if state.requests.len() == REQUESTS_KEPT {
            state.requests.pop_front();
        }
        state.requests.push_back(row);
        drop(state);
        self.changes.send_modify(|it| *it = it.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of one test's closure must not hide the books from the others.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

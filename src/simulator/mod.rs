//! The four key-issuing services, a mail server and a webhook receiver, simulated on loopback: for `rekeyd demo` and for
//! the tests. It is built from the services' documents and knows nothing of `providers`, so that what one of the two
//! gets wrong shows. Everything is real HTTP and real SMTP; what goes wrong is planned (see [`Fault`]).
//!
//! In reading order: `behaviour` and `fault` say how a service acts, `truth` holds its books, `server` brings the two
//! together over `door` and `wire`, and the services themselves have one file each.
mod admin;
mod behaviour;
mod door;
mod fault;
mod hook;
mod infobip;
mod infobip_2fa;
mod infobip_form;
mod mail;
mod mobivate;
mod server;
mod single_invoice;
mod truth;
mod wire;
mod world;

pub use behaviour::Behaviour;
pub use fault::{Call, Fault, FaultPlan};
pub use hook::{HookMode, HookReceiver, Hooked};
pub use mail::{FILTERED, Mail, MailMode, MailSink};
pub use truth::{KEYS, Key, Maker, REQUESTS_KEPT, RequestRow, Service, Truth};
pub use world::{HOOK_SECRET, World, WorldError, write_config};

use crate::clock;
use door::Door;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// How a simulation is to be.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Decides all chance: secrets, jitter, faults by rate.
    pub seed: u64,
    /// How services behave, where not as documented.
    pub behaviours: BTreeMap<Service, Behaviour>,
    /// Whether to listen for orders over HTTP as well.
    pub admin: bool,
}

/// A simulation that runs. Dropping it ends everything that it started.
#[derive(Debug)]
pub struct Simulator {
    parts: Arc<Parts>,
    admin: Option<Door>,
}

/// What the program and the admin port steer alike.
#[derive(Debug)]
struct Parts {
    truth: Truth,
    doors: BTreeMap<Service, Door>,
    mail: MailSink,
    hook: HookReceiver,
}

impl Simulator {
    /// Starts all services on free ports of 127.0.0.1.
    ///
    /// # Errors
    /// Where no port can be had.
    pub async fn start(options: Options) -> io::Result<Self> {
        let behaviour = |it| options.behaviours.get(&it).cloned().unwrap_or_else(|| Behaviour::documented(it));
        let truth = Truth::new(options.seed, Service::ALL.map(|it| (it, behaviour(it))));
        // Whoever signs up at Single-Invoice has one key for managing the account from the first day.
        truth.with(Service::SingleInvoice, |desk| {
            single_invoice::issue(desk, "Account", Maker::Stranger, clock::now());
        });
        let mut doors = BTreeMap::new();
        for service in Service::ALL {
            doors.insert(service, server::open(service, truth.clone()).await?);
        }
        let (mail, hook) = (MailSink::start().await?, HookReceiver::start().await?);
        let parts = Arc::new(Parts { truth, doors, mail, hook });
        let admin = if options.admin { Some(admin::open(&parts).await?) } else { None };
        Ok(Self { parts, admin })
    }

    /// The base URL of a service, as `base_url` in the config wants it.
    pub fn url(&self, service: Service) -> String {
        self.parts.url(service)
    }

    /// Where orders are taken, if they are.
    pub fn admin_url(&self) -> Option<String> {
        self.admin.as_ref().map(|it| format!("http://{}", it.address()))
    }

    /// What is true at the services.
    pub fn truth(&self) -> &Truth {
        &self.parts.truth
    }

    /// The mail server.
    pub fn mail(&self) -> &MailSink {
        &self.parts.mail
    }

    /// The webhook receiver.
    pub fn hook(&self) -> &HookReceiver {
        &self.parts.hook
    }

    /// The next call of this kind suffers this fault.
    pub fn fault(&self, service: Service, call: Call, fault: Fault) {
        self.faults(service, |plan| plan.once(call, fault));
    }

    /// Changes what goes wrong at a service.
    pub fn faults(&self, service: Service, change: impl FnOnce(&mut FaultPlan)) {
        self.parts.truth.with(service, |desk| change(&mut desk.faults));
    }

    /// Changes how a service behaves.
    pub fn behave(&self, service: Service, change: impl FnOnce(&mut Behaviour)) {
        self.parts.truth.with(service, |desk| change(&mut desk.behaviour));
    }

    /// Every key that was refused because it is new is accepted from now on.
    pub fn accept_new_keys(&self, service: Service) {
        let accept = |it: &mut Key| it.accepted_from = it.created_at;
        self.parts.truth.with(service, |desk| desk.keys.iter_mut().for_each(accept));
    }

    /// Shuts or opens a service's port: while it is shut, connections are refused.
    pub async fn set_open(&self, service: Service, open: bool) {
        if let Some(door) = self.parts.doors.get(&service) {
            door.set_open(open).await;
        }
    }

    /// Somebody issues a key in the service's portal: a colleague, or the person who set everything up. `None` where the
    /// service has issued as many as it can. At Mobivate this kills the key before it, as any create does.
    pub fn stranger_creates_key(&self, service: Service) -> Option<Key> {
        self.parts.stranger_creates_key(service)
    }

    /// Somebody disables a key in the service's portal. `false` where there is none with this secret.
    pub fn stranger_revokes_key(&self, service: Service, secret: &str) -> bool {
        let revoke = |desk: &mut truth::Desk| {
            let key = desk.keys.iter_mut().find(|it| it.secret == secret);
            key.map(|it| it.disable(clock::now())).is_some()
        };
        self.parts.truth.with(service, revoke).unwrap_or(false)
    }

    /// The user name and the password that the service knows; none at Single-Invoice, where a key authorises.
    pub fn login(service: Service) -> Option<(&'static str, &'static str)> {
        match service {
            Service::Infobip | Service::Infobip2fa => Some((infobip::USERNAME, infobip::PASSWORD)),
            Service::Mobivate => Some((mobivate::USERNAME, mobivate::PASSWORD)),
            Service::SingleInvoice => None,
        }
    }

    /// The key that manages the Single-Invoice account from the start.
    pub fn first_account_key(&self) -> Option<Key> {
        self.parts.truth.keys(Service::SingleInvoice).into_iter().next()
    }
}

impl Parts {
    fn url(&self, service: Service) -> String {
        let prefix = if service == Service::SingleInvoice { single_invoice::PREFIX } else { "" };
        self.doors.get(&service).map_or_else(String::new, |it| format!("http://{}{prefix}", it.address()))
    }

    fn stranger_creates_key(&self, service: Service) -> Option<Key> {
        let create = |desk: &mut truth::Desk| {
            if desk.keys.len() >= KEYS {
                return None;
            }
            let (now, who) = (clock::now(), Maker::Stranger);
            let key = match service {
                Service::Infobip => infobip::issue(desk, "made in the portal", who, now),
                Service::SingleInvoice => single_invoice::issue(desk, "Coverage", who, now),
                Service::Infobip2fa | Service::Mobivate => {
                    let uuid = service == Service::Mobivate;
                    let chance = &mut desk.chance;
                    let secret = if uuid { mobivate::secret(chance) } else { infobip::secret(chance) };
                    desk.issue(secret, None, who, now)
                }
            };
            Some(key.clone())
        };
        self.truth.with(service, create).flatten()
    }
}

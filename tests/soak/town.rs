//! Fifty keys at four services, and what goes wrong there.
use crate::REST_WITHIN;
use crate::rig::{Rig, calm, fingerprint};
use rekeyd::clock;
use rekeyd::control::protocol::PhaseName;
use rekeyd::core::account::Open;
use rekeyd::core::names::Token;
use rekeyd::secret::Secret;
use rekeyd::simulator::{Call, Fault, Maker, Options, Service, Simulator, World};
use rekeyd::store::{Site, Store};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How many keys there are.
pub(crate) const KEYS: usize = 50;
/// How many of them each service has. At Mobivate each create ends the key before it, so that there can be but one.
const AT: [(Service, usize); 4] =
    [(Service::Infobip, 40), (Service::Infobip2fa, 4), (Service::Mobivate, 1), (Service::SingleInvoice, 5)];

/// How long a key lives: longer than any kill delays its replacement.
const LIFETIME: Duration = Duration::from_secs(3600);
/// How long a key is used before it is replaced.
const USED_FOR: Duration = Duration::from_secs(20);
/// The same of the one key whose every cutover is to be seen.
const CUT_OVER_AFTER: Duration = Duration::from_secs(3);

/// How long a create that was lost is looked for.
pub(crate) const WATCHED_FOR: Duration = Duration::from_secs(10);

/// Of a thousand calls of each kind, how many suffer what.
const FAULTS: [(Fault, u32); 10] = [
    (Fault::LostAnswer, 30),
    (Fault::ResetBefore, 30),
    (Fault::ErrorBefore { status: 500 }, 20),
    (Fault::ErrorAfter { status: 503 }, 20),
    (Fault::Throttled { retry_after: Some(1) }, 10),
    (Fault::Garbage, 15),
    (Fault::CutShort, 15),
    (Fault::Delay { ms: 700 }, 30),
    (Fault::Drip { ms: 5 }, 15),
    (Fault::LateEffect { ms: 1500 }, 10),
];
const CALLS: [Call; 5] = [Call::Create, Call::List, Call::Read, Call::Probe, Call::Revoke];

/// Chance with a seed (splitmix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (it ^ (it >> 31)) % bound
    }
}

/// The services, the daemon, and its fifty keys.
pub(crate) struct Town {
    pub(crate) rig: Rig,
    /// How often somebody had to say that a key goes on.
    pub(crate) resumed: u32,
}

impl Town {
    /// Each key has its first version, and its consumer too.
    pub(crate) async fn found(seed: u64) -> Self {
        let sim = Simulator::start(Options { seed, ..Options::default() }).await.unwrap();
        let world = World {
            lifetime: LIFETIME,
            overlap: Duration::from_secs(2),
            announce: Duration::from_secs(1),
            accept_within: Duration::from_secs(5),
            creates_per_day: 1_000_000,
            ..calm(&Service::ALL)
        };
        let mut town = Self { rig: Rig::beside(&Arc::new(sim), world), resumed: 0 };
        town.rig.patience = REST_WITHIN;
        town.write_config(true);
        town.rig.run().await;
        for (_, key) in town.keys() {
            town.rig.until(&key, "created", |it| it.current.is_some()).await;
            town.rig.until_true("it is delivered", || town.rig.held(&key).is_some()).await;
        }
        town.rig.until_told().await;
        town.rig.kill().await;
        town
    }

    /// All keys, each with its service.
    pub(crate) fn keys(&self) -> Vec<(Service, String)> {
        let more = |service| move |nth| (service, name(service, nth));
        AT.iter().flat_map(|(service, count)| (0..*count).map(more(*service))).collect()
    }

    pub(crate) fn keys_at(&self, service: Service) -> usize {
        AT.iter().find(|it| it.0 == service).unwrap().1
    }

    pub(crate) fn file(&self, key: &str) -> PathBuf {
        self.rig.key_file(key)
    }

    /// From now on the services fail in all their ways, or in none.
    pub(crate) fn go_wrong(&self, wrong: bool) {
        for service in Service::ALL {
            self.rig.sim.faults(service, |plan| {
                plan.clear();
                let all = CALLS.iter().flat_map(|call| FAULTS.iter().map(|it| (*call, *it)));
                for (call, (fault, per_mille)) in all.filter(|_| wrong) {
                    plan.often(call, fault, per_mille);
                }
            });
        }
    }

    /// From the next start on nothing is due by itself any more.
    pub(crate) fn calm_down(&mut self) {
        self.write_config(false);
    }

    /// Says `resume` for each key that waits for a human, until this moment.
    pub(crate) async fn help_whoever_waits(&mut self, until: Instant) {
        while Instant::now() < until {
            if let Ok(status) = self.rig.client().status().await {
                let halted = status.keys.iter().filter(|it| it.phase == PhaseName::Halted);
                let Some(key) = halted.map(|it| it.name.to_string()).next() else { return };
                let told = tokio::time::timeout_at(until, self.rig.cli(&["resume", &key])).await;
                self.resumed += u32::from(told.is_ok_and(|it| it.code == Some(0)));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The keys of a service that work and that nobody knows by their fingerprint.
    pub(crate) fn unknown(&self, service: Service) -> Vec<String> {
        let mut known: String = self.rig.sim.hook().requests().into_iter().map(|it| it.body).collect();
        for (_, key) in self.keys() {
            known += &fingerprint(&self.rig.held(&key).unwrap());
        }
        let made = self.rig.sim.truth().live(service).into_iter().filter(|it| it.made_by == Maker::Call);
        made.map(|it| fingerprint(&it.secret)).filter(|it| !known.contains(it)).collect()
    }

    /// The keys at Infobip that work and are in no file, each with what was told of its create.
    pub(crate) fn strangers_at_infobip(&self) -> Vec<(String, Vec<String>)> {
        let held: BTreeSet<_> = self.keys().iter().filter_map(|it| self.rig.held(&it.1)).collect();
        let strangers = self.rig.sim.truth().live(Service::Infobip).into_iter().filter(|it| !held.contains(&it.secret));
        let notices = self.rig.notices();
        let told = |name: &str| {
            let token = name.split_once('~').map_or(name, |it| it.1);
            let about = notices.values().map(|it| it.1["data"]["summary"].to_string());
            about.filter(|it| it.contains(token)).collect()
        };
        let named = strangers.map(|it| (it.name.unwrap_or_default(), it.created_at));
        named.map(|(name, at)| (format!("{name} made at {at}"), told(&name))).collect()
    }

    /// How many creates at a service were told as lost.
    pub(crate) fn lost_creates_told(&self, service: Service) -> usize {
        let at = format!("may have left a key at account {};", service.kind());
        self.rig.notices().values().filter(|it| it.1.to_string().contains(&at)).count()
    }

    /// The creates whose end nobody knows yet, and nobody was told of. The daemon must be down.
    pub(crate) fn in_doubt(&self) -> Vec<(Token, Open)> {
        let master = Secret::from(fs::read_to_string(self.rig.path("secrets/master-key")).unwrap());
        let dir = self.rig.path("state");
        let store = Store::open(Site { dir: &dir, machine: None, reserve: 0 }, &master, clock::now()).unwrap().store;
        let open = store.accounts().unwrap().into_iter().flat_map(|it| it.open);
        open.filter(|it| it.1.reported_at.is_none()).collect()
    }

    /// The notices that came by webhook, and those that came by mail: each by its number in the books of the daemon.
    pub(crate) fn notices(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let hooks: BTreeSet<String> = self.rig.notices().into_keys().collect();
        let mails = self.rig.sim.mail().mails().into_iter().map(|it| it.message_id);
        let known = |id: String| hooks.iter().find(|it| id.contains(it.as_str())).cloned().unwrap_or(id);
        let mails = mails.map(known).collect();
        (hooks, mails)
    }

    pub(crate) fn came_again(&self) -> usize {
        self.rig.notices().values().filter(|it| it.0 > 1).count()
    }

    pub(crate) fn issued(&self) -> usize {
        self.rig.sim.truth().all_keys().len()
    }

    pub(crate) fn spoilt(&self) -> usize {
        self.rig.sim.truth().requests().iter().filter(|it| it.fault.is_some()).count()
    }

    fn write_config(&mut self, rotates: bool) {
        let age = |it: Service| {
            let age = if it == Service::Mobivate { CUT_OVER_AFTER } else { USED_FOR };
            if rotates { format!("max_age = \"{}s\"\n", age.as_secs()) } else { String::new() }
        };
        self.rig.world.more = Service::ALL.map(|it| (World::key_name(it).to_owned(), age(it))).to_vec();
        self.rig.world.sections = String::new();
        for (service, count) in AT {
            for nth in 1..count {
                let section = self.section(service, &name(service, nth), &age(service));
                self.rig.world.sections += &section;
            }
        }
        self.rig.write_config();
        // A create that was lost is looked for until every late effect has come.
        self.rig.edit_config(|it| {
            it.replace("creates_per_day = ", &format!("watch = \"{}s\"\ncreates_per_day = ", WATCHED_FOR.as_secs()))
        });
    }

    fn section(&self, service: Service, name: &str, age: &str) -> String {
        let create = match service {
            Service::Infobip => "create = { name = \"soak\" }\n",
            Service::SingleInvoice => "create = { package = \"Coverage\" }\n",
            Service::Infobip2fa | Service::Mobivate => "",
        };
        let mut text = String::new();
        let _ = write!(
            text,
            "\n[keys.{name}]\nprovider = \"{}\"\nowners = [\"payments\"]\ninitial = \"create\"\nvalid_for = \"{}s\"\n\
             rotate_before = \"5m\"\noverlap = \"2s\"\nannounce = \"1s\"\n{create}{age}\n\
             [[keys.{name}.deliver]]\nkind = \"file\"\npath = {:?}\nmode = \"0600\"\n",
            service.kind(),
            LIFETIME.as_secs(),
            self.file(name),
        );
        text
    }
}

fn name(service: Service, nth: usize) -> String {
    match nth {
        0 => World::key_name(service).to_owned(),
        _ => format!("{}-{nth}", service.kind()),
    }
}

//! A small world at one moment: one key in each state that users care about.
use async_trait::async_trait;
use rekeyd::config::settings::{Daemon, Key, ProviderSection, Removals, Settings};
use rekeyd::core::account::Account;
use rekeyd::core::facts::Blocked;
use rekeyd::core::names::{AccountId, Fingerprint, KeyName, TargetId};
use rekeyd::core::policy::{
    Capabilities, Initial, OnAmbiguous, OnCreate, OnDrift, OutsideWindow, Policy, Reach, Recover, RotateBefore,
    TargetPolicy,
};
use rekeyd::core::record::{
    Actor, Delivery, Expiry, Held, LastError, Phase, Reason, Record, Retired, Rotation, RotationResult, Trigger,
    Version, Wish,
};
use rekeyd::core::time::Timestamp;
use rekeyd::core::window::Window;
use rekeyd::engine::handle::Snapshot;
use rekeyd::providers::{Auth, CreateError, CreateOptions, CreateRequest, Created, Provider, Raw, Unreadable};
use rekeyd::secret::SecretRef;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse::<rekeyd::control::protocol::Time>().unwrap().0
}

pub(crate) fn now() -> Timestamp {
    at("2026-11-21T22:00:00Z")
}

pub(crate) fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

/// Everything at once, in the order of the names.
pub(crate) fn world() -> Snapshot {
    let mut world = empty();
    let billing = Policy { windows: vec![weeknights()], rotate_before: RotateBefore::Lead(14 * DAY), ..policy() };
    world.add("billing-sms", "sms", billing, Some(billing_record()));
    let expired = record("expired", version(1, "2025-11-20T00:00:00Z", Some("2026-11-20T00:00:00Z")));
    world.add("expired", "sms", policy(), Some(expired));
    let halt = Phase::Halted {
        reason: Reason::AmbiguousCreate,
        at: at("2026-11-21T20:00:00Z"),
        resume: Box::new(Phase::Create(Default::default())),
    };
    let halted = record("login-2fa", version(2, "2026-01-10T00:00:00Z", Some("2027-01-10T00:00:00Z")));
    world.add("login-2fa", "sms", policy(), Some(Record { phase: halt, ..halted }));
    world.add("new-one", "sms", policy(), None);
    world.add("overlapping", "sms", policy(), Some(overlapping()));
    let cutover = Capabilities { on_create: OnCreate::Revokes, revokes_by_id: false, ..capabilities() };
    let voice = Policy { provider: cutover, announce: 2 * DAY, max_age: Some(90 * DAY), ..policy() };
    let never = Version { expiry: Expiry::Never, ..version(1, "2026-09-01T00:00:00Z", None) };
    world.add("voice", "voice", voice, Some(record("voice", never)));
    // The config no longer names this one, and it has less than a day left.
    let gone = record("gone", version(5, "2025-11-22T12:00:00Z", Some("2026-11-22T12:00:00Z")));
    world.0.records.insert(name("gone"), gone);
    let login = (Blocked::Login, at("2026-11-21T21:00:00Z"));
    world.0.provider_trouble.insert(AccountId::from("voice"), login);
    world.0.blocked.insert(name("voice"), Blocked::Login);
    world.0
}

/// A daemon without keys.
pub(crate) struct World(pub(crate) Snapshot);

pub(crate) fn empty() -> World {
    let sections = [("sms", "infobip"), ("voice", "mobivate")];
    let providers = sections.into_iter().map(|(name, kind)| (name.to_owned(), section(name, kind))).collect();
    let settings = Settings {
        daemon: daemon(),
        backup: None,
        owners: BTreeMap::new(),
        providers,
        windows: BTreeMap::new(),
        freezes: BTreeMap::new(),
        keys: BTreeMap::new(),
        secrets: BTreeSet::new(),
    };
    let account = Account { creates: vec![at("2026-11-21T12:00:00Z")], ..Account::new(AccountId::from("sms")) };
    World(Snapshot {
        now: now(),
        started_at: at("2026-11-01T06:00:00Z"),
        config_loaded_at: at("2026-11-20T08:30:00Z"),
        config_rejected: None,
        install: Some("0a1b2c3d".to_owned()),
        settings: Arc::new(settings),
        records: BTreeMap::new(),
        accounts: BTreeMap::from([(account.id.clone(), account)]),
        blocked: BTreeMap::new(),
        nothing_to_adopt: BTreeSet::new(),
        wake_at: BTreeMap::new(),
        slots: BTreeMap::new(),
        provider_trouble: BTreeMap::new(),
        observing: None,
        backup: None,
        troubles: BTreeMap::new(),
        outbox_pending: 0,
        outbox_dead: 0,
        swept_at: now(),
        clock_suspect: false,
        meters: rekeyd::engine::meters::Meters::default(),
    })
}

impl World {
    pub(crate) fn add(&mut self, key: &str, provider: &str, policy: Policy, record: Option<Record>) {
        let key = name(key);
        let mut settings = (*self.0.settings).clone();
        let entry = Key {
            name: key.clone(),
            provider: provider.to_owned(),
            owners: vec!["payments".to_owned()],
            policy,
            create: Arc::new(Nothing),
            targets: Vec::new(),
        };
        settings.keys.insert(key.clone(), entry);
        self.0.settings = Arc::new(settings);
        self.0.records.extend(record.map(|it| (key, it)));
    }
}

/// One key called `it`.
pub(crate) fn one(policy: Policy, record: Record) -> Snapshot {
    let mut world = empty();
    world.add("it", "sms", policy, Some(record));
    world.0
}

pub(crate) fn capabilities() -> Capabilities {
    Capabilities {
        creates: true,
        on_create: OnCreate::Keeps,
        recover: Recover::ListByName,
        revokes_by_id: true,
        reports_expiry: true,
        probes: true,
    }
}

pub(crate) fn policy() -> Policy {
    Policy {
        account: AccountId::from("sms"),
        provider: capabilities(),
        former: BTreeMap::new(),
        package: None,
        restriction: None,
        instructions: None,
        rotate_before: RotateBefore::Share(33.0),
        valid_for: None,
        max_age: None,
        overlap: 3 * DAY,
        windows: Vec::new(),
        freezes: Vec::new(),
        announce: Duration::ZERO,
        outside_window: OutsideWindow::IfExpiring,
        together: None,
        slot: None,
        on_ambiguous: OnAmbiguous::Halt,
        on_drift: OnDrift::Adopt,
        initial: Initial::Adopt,
        targets: vec![TargetPolicy {
            id: target(),
            reach: Reach::Push { readable: true },
            confirms: false,
            readers: Vec::new(),
        }],
        accept_within: Duration::from_secs(600),
        settle: Duration::from_secs(30),
        watch: 7 * DAY,
        creates_per_day: 20,
        notify_before: vec![14 * DAY, 7 * DAY, 3 * DAY, DAY],
        escalate_before: DAY,
        ack_timeout: std::time::Duration::from_secs(7 * 86_400),
        stuck_after: HOUR,
        probe_every: DAY,
    }
}

pub(crate) fn weeknights() -> Window {
    Window {
        name: Some("weeknights".to_owned()),
        open: Arc::new("0 22 * * Mon-Thu".parse().unwrap()),
        duration: 4 * HOUR,
        timezone: chrono_tz::Europe::London,
    }
}

pub(crate) fn version(number: u32, from: &str, to: Option<&str>) -> Version {
    Version {
        number,
        account: AccountId::from("sms"),
        id: Some(format!("id-{number}")),
        fingerprint: Fingerprint::of(&[u8::try_from(number).unwrap()]),
        token: None,
        obtained_at: at(from),
        valid_from: Some(at(from)),
        valid_to: to.map(at),
        expiry: if to.is_some() { Expiry::Reported } else { Expiry::Unknown },
        first_alive: Some(at(from)),
        last_alive: Some(now()),
        dead_since: None,
        restriction: None,
        delivered: true,
        was_current: true,
    }
}

/// A steady key whose target holds its current version.
pub(crate) fn record(key: &str, current: Version) -> Record {
    let held = Held { settled: Some(current.number), ..Held::default() };
    Record {
        phase: Phase::Steady,
        last_version: current.number,
        probed_at: Some(now().minus(HOUR)),
        held: BTreeMap::from([(target(), held)]),
        current: Some(current),
        ..Record::new(name(key), now())
    }
}

pub(crate) fn rotation() -> Rotation {
    let began = at("2026-06-15T21:00:00Z");
    let end = began.plus(Duration::from_millis(86));
    Rotation {
        attempt: 7,
        wish: Wish {
            trigger: Trigger::Operator,
            actor: Some(Actor { uid: 0, login_uid: Some(1000), user: Some("anna".to_owned()) }),
            reason: Some("audit".to_owned()),
            now: false,
            compromised: false,
        },
        rollback: false,
        account: AccountId::from("sms"),
        on_create: OnCreate::Keeps,
        overlap_ms: 0,
        started_at: began,
        finished_at: Some(end),
        result: Some(RotationResult::Succeeded),
        version: Some(3),
        cut_at: None,
        cutover_gap_ms: Some(12),
        phases: vec![("create".to_owned(), began), ("deliver".to_owned(), began.plus(Duration::from_millis(83)))],
        deliveries: BTreeMap::from([(
            target(),
            Delivery { at: end, ms: 3, result: "delivered".to_owned(), attempts: 1 },
        )]),
    }
}

pub(crate) fn retired(number: u32, after: &str) -> Retired {
    Retired {
        version: version(number, "2026-01-01T00:00:00Z", Some("2027-01-01T00:00:00Z")),
        after: at(after),
        since: at(after).minus(3 * DAY),
        failures: 0,
        retry_at: None,
        ending: false,
        ended: None,
    }
}

fn billing_record() -> Record {
    let error = LastError {
        at: at("2026-06-15T20:59:00Z"),
        phase: "create".to_owned(),
        reason: "provider_unreachable".to_owned(),
        message: "connection refused".to_owned(),
    };
    Record {
        last_rotation: Some(rotation()),
        last_error: Some(error),
        ..record("billing-sms", version(3, "2026-06-15T21:00:00Z", Some("2026-12-18T22:00:00Z")))
    }
}

fn overlapping() -> Record {
    Record {
        retired: vec![retired(1, "2026-11-23T10:00:00Z")],
        ..record("overlapping", version(2, "2026-11-20T10:00:00Z", Some("2027-11-20T10:00:00Z")))
    }
}

fn target() -> TargetId {
    TargetId::new("file", "/etc/billing/sms.key")
}

fn section(name: &str, kind: &'static str) -> ProviderSection {
    ProviderSection {
        name: name.to_owned(),
        kind,
        account: AccountId::from(name),
        provider: Arc::new(Nothing),
        owners: Vec::new(),
    }
}

fn daemon() -> Daemon {
    Daemon {
        state_dir: "/nowhere".into(),
        control_socket: "/nowhere/control.sock".into(),
        credential_socket: None,
        listen: None,
        master_key: SecretRef::Env("NONE".to_owned()),
        owners: Vec::new(),
        operators: Vec::new(),
        timezone: chrono_tz::UTC,
        max_removals: Removals::Share(10.0),
        history_for: 400 * DAY,
        reserve: 0,
        sweep: "*/5 * * * *".parse().unwrap(),
        max_concurrent_rotations: 64,
    }
}

/// Nobody calls a provider here: views and socket only read what the engine knows.
#[derive(Debug)]
struct Nothing;

impl CreateOptions for Nothing {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[async_trait]
impl Provider for Nothing {
    fn capabilities(&self) -> Capabilities {
        capabilities()
    }
    fn identity(&self) -> Option<String> {
        None
    }
    async fn create(&self, _auth: &Auth, _ask: &CreateRequest<'_>) -> Result<Raw, CreateError> {
        Err(CreateError::NotSent("nothing".to_owned()))
    }
    fn parse(&self, _raw: &Raw) -> Result<Created, Unreadable> {
        Err(Unreadable("nothing".to_owned()))
    }
}

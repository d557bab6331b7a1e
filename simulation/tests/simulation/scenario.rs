//! What is simulated: every combination of what a provider can do, in every kind of bad weather.
use super::rng::Rng;
use super::run::START;
use super::world::{DAY, HOUR, LIFE, MINUTE, Ms, SECOND, Service};
use rekeyd_simulation::core::freeze::{Freeze, Span, When};
use rekeyd_simulation::core::names::{KeyName, TargetId};
use rekeyd_simulation::core::policy::{
    Initial, OnAmbiguous, OnCreate, OnDrift, OutsideWindow, Policy, Reach, Recover, RotateBefore, TargetPolicy,
};
use rekeyd_simulation::core::record::{Phase, Record};
use rekeyd_simulation::core::time::Timestamp;
use rekeyd_simulation::core::window::Window as Opening;
use std::collections::BTreeMap;
use std::time::Duration;

/// A provider: what it says of itself, and what is true.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub on_create: OnCreate,
    /// What a create really does, where nobody says.
    pub truth: OnCreate,
    pub recover: Recover,
    pub masks: bool,
    /// Whether it can be asked for a key; else a person brings one, some time after the daemon reminds of it.
    pub creates: bool,
}

impl Kind {
    pub fn revokes(&self) -> bool {
        self.truth == OnCreate::Revokes
    }
}

/// What goes wrong beside crashes, lost answers and failed calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum World {
    Plain,
    /// Late effects, stale and truncated lists.
    Late,
    /// A new key is accepted only after minutes.
    Slow,
    /// The probe is refused from this address, always.
    Blind,
    /// Somebody makes keys in the portal, and writes to targets by hand.
    Colleague,
    /// Keys that we don't know were there from the start.
    Strangers,
    /// An operator's verbs at random.
    Operator,
    /// Targets, windows and accounts change.
    Config,
    /// The state is restored from a backup.
    Restore,
    /// A second daemon runs on a copy of the state.
    Clone,
    /// The wall clock jumps.
    Clock,
    /// Rotations only at night, and in no freeze.
    Windows,
    /// Three keys share one account.
    Shared,
    /// The key authorises the calls that rotate it.
    Login,
}

pub const WORLDS: [(World, &str); 14] = [
    (World::Plain, "plain"),
    (World::Late, "late"),
    (World::Slow, "slow"),
    (World::Blind, "blind"),
    (World::Colleague, "colleague"),
    (World::Strangers, "strangers"),
    (World::Operator, "operator"),
    (World::Config, "config"),
    (World::Restore, "restore"),
    (World::Clone, "clone"),
    (World::Clock, "clock"),
    (World::Windows, "windows"),
    (World::Shared, "shared"),
    (World::Login, "login"),
];

/// One row of the table: a provider in a world.
#[derive(Clone, Debug)]
pub struct Row {
    pub number: u64,
    pub name: String,
    pub kind: Kind,
    pub world: World,
}

/// All rows that make sense.
pub fn rows() -> Vec<Row> {
    let truths = [
        ("keeps", OnCreate::Keeps, OnCreate::Keeps),
        ("revokes", OnCreate::Revokes, OnCreate::Revokes),
        ("unknown-keeps", OnCreate::Unknown, OnCreate::Keeps),
        ("unknown-revokes", OnCreate::Unknown, OnCreate::Revokes),
    ];
    let recovers = [
        ("list", Recover::ListByName, false),
        ("masked", Recover::ListByName, true),
        ("read", Recover::ReadCurrent, false),
        ("difflist", Recover::DiffList, false),
        ("diffanswer", Recover::DiffAnswer, false),
        ("none", Recover::None, false),
    ];
    let mut rows = Vec::new();
    for (first, on_create, truth) in truths {
        for (second, recover, masks) in recovers {
            for (world, third) in WORLDS {
                // One managed key at most at an account whose creates revoke, or that has but one current key. Where
                // nobody says, keys may share an account only where a create revokes no more than its own group.
                let alone = on_create == OnCreate::Revokes || recover == Recover::ReadCurrent;
                let ungrouped = truth == OnCreate::Revokes && !recover.is_difference();
                if world == World::Shared && (alone || ungrouped) {
                    continue;
                }
                let kind = Kind { on_create, truth, recover, masks, creates: true };
                let number = rows.len() as u64;
                rows.push(Row { number, name: format!("{first}/{second}/{third}"), kind, world });
            }
        }
    }
    for (world, third) in WORLDS {
        let (on_create, truth) = (OnCreate::Keeps, OnCreate::Keeps);
        let kind = Kind { on_create, truth, recover: Recover::None, masks: false, creates: false };
        rows.push(Row { number: rows.len() as u64, name: format!("keeps/hand/{third}"), kind, world });
    }
    rows
}

pub fn span(ms: Ms) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// The name of the nth managed key.
pub fn key_name(n: usize) -> KeyName {
    format!("key-{n}").parse().expect("a name")
}

pub fn target(key: usize, letter: char, reach: Reach, confirms: bool) -> TargetPolicy {
    TargetPolicy { id: TargetId::new("file", &format!("/k{key}/{letter}")), reach, confirms, readers: Vec::new() }
}

/// The target that stands for the calls which this key authorises.
pub fn login_target(service: &Service) -> TargetPolicy {
    let id = TargetId::new("login", service.account.as_str());
    TargetPolicy { id, reach: Reach::Pull, confirms: false, readers: Vec::new() }
}

/// The nightly window of the `windows` world: from 02:00 to 06:00 UTC.
pub fn night() -> Opening {
    Opening {
        name: Some("night".into()),
        open: std::sync::Arc::new("0 2 * * *".parse().expect("a cron expression")),
        duration: span(4 * HOUR),
        timezone: chrono_tz::UTC,
    }
}

/// A freeze of up to five days while the weather is bad, in every other run of the `windows` world.
fn freezes(row: &Row, rng: &mut Rng) -> Vec<Freeze> {
    if row.world != World::Windows || rng.chance(500) {
        return Vec::new();
    }
    let from = START + rng.span(8 * DAY);
    let when = When::Once(Span { from: Timestamp(from), to: Timestamp(from + HOUR + rng.span(5 * DAY - HOUR)) });
    vec![Freeze { name: "freeze".into(), when }]
}

/// Whether a freeze lasts.
fn is_frozen(policy: &Policy, now: Ms) -> bool {
    policy.freezes.iter().any(|it| matches!(&it.when, When::Once(span) if (span.from.0..span.to.0).contains(&now)))
}

/// Whether a new key begins to be delivered in a freeze, although the old one is alive and has more than a day left, and
/// nobody wants it now.
pub fn delivers_in_freeze(policy: &Policy, old: &Record, new: &Record, now: Timestamp) -> bool {
    let begins = matches!((&old.phase, &new.phase), (Phase::Verify { .. }, Phase::Deliver { .. }));
    let left = old.current.as_ref().filter(|it| it.dead_since.is_none()).and_then(|it| it.valid_to);
    let wanted_now = new.rotation.as_ref().is_some_and(|it| it.wish.now || it.wish.compromised);
    begins && !wanted_now && is_frozen(policy, now.0) && left.is_some_and(|it| it.0 - now.0 > DAY + HOUR)
}

/// Whether something may begin: the nightly window is open, and no freeze lasts.
pub fn may_begin(policy: &Policy, now: Ms) -> bool {
    let night = (2 * HOUR..6 * HOUR).contains(&(now % DAY));
    (policy.windows.is_empty() || night) && !is_frozen(policy, now)
}

/// What the config says of the nth key.
pub fn policy(row: &Row, service: &Service, key: usize, rng: &mut Rng) -> Policy {
    let readable = rng.chance(800);
    let mut targets = vec![target(key, 'a', Reach::Push { readable: true }, rng.chance(200))];
    targets.push(target(key, 'b', Reach::Push { readable }, false));
    if service.login == Some(key) {
        targets.push(login_target(service));
    }
    let grouped = service.stated.recover.is_difference() && (row.kind.revokes() || rng.chance(500));
    Policy {
        account: service.account.clone(),
        provider: service.stated,
        former: BTreeMap::new(),
        restriction: None,
        instructions: None,
        package: grouped.then(|| format!("package-{key}")),
        rotate_before: if rng.chance(500) { RotateBefore::Lead(span(3 * DAY)) } else { RotateBefore::Share(30.0) },
        valid_for: Some(span(LIFE)),
        max_age: None,
        overlap: span(DAY),
        windows: if row.world == World::Windows { vec![night()] } else { Vec::new() },
        freezes: freezes(row, rng),
        announce: span(HOUR),
        outside_window: OutsideWindow::IfExpiring,
        together: None,
        slot: None,
        on_ambiguous: if rng.chance(500) { OnAmbiguous::Halt } else { OnAmbiguous::CreateAgain },
        on_drift: match rng.below(6) {
            0 => OnDrift::Halt,
            1 => OnDrift::Rotate,
            _ => OnDrift::Adopt,
        },
        initial: if row.world == World::Plain && row.kind.creates && rng.chance(150) {
            Initial::Create
        } else {
            Initial::Adopt
        },
        targets,
        accept_within: span(10 * MINUTE),
        settle: span(30 * SECOND),
        watch: span(2 * DAY),
        creates_per_day: u32::try_from(6 + rng.below(20)).unwrap_or(6),
        notify_before: vec![span(2 * DAY), span(DAY)],
        escalate_before: span(DAY),
        ack_timeout: std::time::Duration::from_secs(7 * 86_400),
        stuck_after: span(DAY),
        probe_every: span(DAY),
    }
}

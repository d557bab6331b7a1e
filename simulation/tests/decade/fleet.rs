//! The thousand keys: their windows, freezes, lifetimes and accounts.
use chrono_tz::Tz;
use rekeyd_simulation::core::account::Account;
use rekeyd_simulation::core::freeze::{Day, Freeze, When};
use rekeyd_simulation::core::names::{AccountId, TargetId};
use rekeyd_simulation::core::policy::{
    Capabilities, Initial, OnAmbiguous, OnCreate, OnDrift, OutsideWindow, Policy, Reach, Recover, RotateBefore,
    TargetPolicy,
};
use rekeyd_simulation::core::record::{Expiry, Held, Phase, Record, Version};
use rekeyd_simulation::core::time::Timestamp;
use rekeyd_simulation::core::window::Window;
use std::collections::BTreeMap;
use std::time::Duration;

/// 2026-11-22 12:00 UTC.
pub const START: Timestamp = Timestamp(1_795_348_800_000);

pub const KEYS: usize = 1000;
/// The last of them end their old keys when they are created, and have an account each.
const CUTOVERS: usize = 30;
/// So many of them live for too short to sit out the freeze at the end of the year, and long enough for the two weeks in which nobody
/// runs the daemon.
const SHORT: usize = 5;

pub fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

pub fn days(n: u64) -> Duration {
    minutes(24 * 60 * n)
}

pub fn file() -> TargetId {
    TargetId::new("file", "/k")
}

pub fn keys() -> Vec<(Record, Policy)> {
    (0..KEYS).map(key).collect()
}

pub fn accounts(keys: &[(Record, Policy)]) -> BTreeMap<AccountId, Account> {
    let known = keys.iter().map(|(_, policy)| &policy.account);
    known.map(|it| (it.clone(), Account { baseline: true, ..Account::new(it.clone()) })).collect()
}

fn key(n: usize) -> (Record, Policy) {
    let cuts = n >= KEYS - CUTOVERS;
    let short = n < SHORT;
    let (account, per_day) = match n {
        _ if cuts => (format!("mobivate-{n}"), 20),
        _ if n < 620 => ("infobip".to_owned(), 40),
        _ if n < 920 => ("vault".to_owned(), 100),
        _ => ("grafana".to_owned(), 3),
    };
    let life = match n % 8 {
        _ if short => days(32),
        // More keys than their account can replace between their due moment and the last third of the time that is left.
        _ if n >= 920 && !cuts => days(90),
        0 => days(90),
        1..=3 => days(180),
        _ => days(365),
    };
    // Two thirds of the fleet were all issued in one week, and those of one account in one day.
    let old = match n {
        _ if n >= 920 && !cuts => Duration::ZERO,
        _ if n.is_multiple_of(3) => life.mul_f64((n % 61) as f64 / 122.0),
        _ => days(n as u64 % 7).min(life / 4),
    };
    let alone = together(n).is_none();
    let windows = if n.is_multiple_of(11) && !short && alone {
        Vec::new()
    } else {
        windows(if alone && account != "grafana" { n % 5 } else { 1 })
    };
    let name = format!("key-{n:04}");
    let policy = Policy {
        account: account.as_str().into(),
        rotate_before: RotateBefore::Share(if short { 50.0 } else { 40.0 }),
        valid_for: Some(life),
        overlap: if short { days(1) } else { days(7) },
        windows,
        freezes: freezes(if alone { n } else { 0 }),
        together: together(n),
        creates_per_day: per_day,
        ..policy(cuts)
    };
    let version = Version {
        number: 1,
        account: policy.account.clone(),
        id: Some(format!("id-{n}-1")),
        fingerprint: format!("{name}-1").as_str().into(),
        token: None,
        obtained_at: START,
        valid_from: Some(START.minus(old)),
        valid_to: Some(START.minus(old).plus(life)),
        expiry: Expiry::Reported,
        first_alive: Some(START),
        last_alive: Some(START),
        dead_since: None,
        restriction: None,
        delivered: true,
        was_current: true,
    };
    let mut record = Record::new(name.parse().unwrap(), START);
    record.seen.insert(version.fingerprint.clone(), 1);
    record.current = Some(version);
    record.last_version = 1;
    record.phase = Phase::Steady;
    record.controls.insert(String::new());
    record.held.insert(file(), Held { settled: Some(1), ..Held::default() });
    (record, policy)
}

/// Twenty groups of three keys each, at accounts with room for them; and groups of one cutover and two that keep their old keys.
fn together(n: usize) -> Option<String> {
    match n {
        700..760 => Some(format!("group-{}", (n - 700) / 3)),
        880..900 => Some(format!("service-{}", (n - 880) / 2)),
        990..1000 => Some(format!("service-{}", n - 990)),
        _ => None,
    }
}

fn windows(kind: usize) -> Vec<Window> {
    let window = |name: &str, open: &str, hours: u64, zone| Window {
        name: Some(name.into()),
        open: std::sync::Arc::new(open.parse().unwrap()),
        duration: minutes(60 * hours),
        timezone: zone,
    };
    match kind {
        0 | 1 => vec![window("weeknights", "0 22 * * Mon-Thu", 4, Tz::Europe__London)],
        2 => vec![window("early", "30 2 * * *", 2, Tz::America__New_York)],
        3 => vec![
            window("sunday", "0 1 * * Sun", 6, Tz::Australia__Lord_Howe),
            window("wednesday", "0 23 * * Wed", 3, Tz::Africa__Casablanca),
        ],
        _ => vec![window("weekend", "0 20 * * Fri", 36, Tz::Asia__Kathmandu)],
    }
}

fn freezes(n: usize) -> Vec<Freeze> {
    let day = |month, day| Day { month, day };
    let yearly =
        |name: &str, from, to, timezone| Freeze { name: name.into(), when: When::Yearly { from, to, timezone } };
    let mut freezes = vec![yearly("year-end", day(12, 18), day(1, 4), Tz::Europe__London)];
    if n.is_multiple_of(2) {
        freezes.push(yearly("sale", day(7, 1), day(7, 15), Tz::America__New_York));
    }
    freezes
}

fn policy(cuts: bool) -> Policy {
    Policy {
        account: "".into(),
        provider: Capabilities {
            creates: true,
            on_create: if cuts { OnCreate::Revokes } else { OnCreate::Keeps },
            recover: if cuts { Recover::ReadCurrent } else { Recover::ListByName },
            revokes_by_id: !cuts,
            reports_expiry: true,
            probes: true,
        },
        former: BTreeMap::new(),
        package: None,
        restriction: None,
        instructions: None,
        rotate_before: RotateBefore::Share(40.0),
        valid_for: None,
        max_age: None,
        overlap: days(7),
        windows: Vec::new(),
        freezes: Vec::new(),
        announce: days(2),
        outside_window: OutsideWindow::IfExpiring,
        together: None,
        slot: None,
        on_ambiguous: OnAmbiguous::Halt,
        on_drift: OnDrift::Adopt,
        initial: Initial::Adopt,
        targets: vec![TargetPolicy {
            id: file(),
            reach: Reach::Push { readable: true },
            confirms: false,
            readers: Vec::new(),
        }],
        accept_within: minutes(10),
        settle: Duration::from_secs(30),
        watch: days(7),
        creates_per_day: 0,
        notify_before: vec![days(14), days(7), days(1)],
        escalate_before: days(1),
        ack_timeout: std::time::Duration::from_secs(7 * 86_400),
        stuck_after: minutes(60),
        // Nobody else touches these keys; a look a day would be most of what is simulated.
        probe_every: days(400),
    }
}

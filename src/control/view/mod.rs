//! What the engine knows, as `status`, `plan` and `history` show it. Pure: the snapshot carries its own moment.
mod forecast;
mod health;
mod history;
mod key;
mod next;
mod plan;

pub use history::history;
pub use plan::{PLAN_FOR, PLAN_FOR_MAX, plan};

use super::protocol::{DaemonState, DaemonStatus, KeyStatus, ProviderState, ProviderStatus, Status};
use crate::config::settings::{Key, ProviderSection};
use crate::core::account::Account;
use crate::core::facts::Blocked;
use crate::core::names::KeyName;
use crate::core::record::{Phase, Record};
use crate::core::time::Timestamp;
use crate::engine::handle::Snapshot;
use std::collections::BTreeSet;

/// Everything, for `GET /v1/status`.
pub fn status(snapshot: &Snapshot) -> Status {
    Status {
        now: snapshot.now.into(),
        daemon: daemon(snapshot),
        providers: snapshot.settings.providers.values().map(|it| provider(snapshot, it)).collect(),
        keys: names(snapshot).filter_map(|it| key_status(snapshot, it)).collect(),
    }
}

/// One key, for `GET /v1/keys/{key}`; `None` where neither config nor state knows it.
pub fn key_status(snapshot: &Snapshot, name: &KeyName) -> Option<KeyStatus> {
    Subject::of(snapshot, name).map(|it| key::status(&it))
}

/// One key with all that its view depends on.
struct Subject<'a> {
    now: Timestamp,
    name: &'a KeyName,
    /// What the config says of it; none for an unmanaged key.
    config: Option<&'a Key>,
    section: Option<&'a ProviderSection>,
    /// Its state; none where the engine has not looked at it yet.
    record: Option<&'a Record>,
    account: Option<&'a Account>,
    blocked: Option<&'a Blocked>,
    wake_at: Option<Timestamp>,
}

impl<'a> Subject<'a> {
    fn of(snapshot: &'a Snapshot, name: &KeyName) -> Option<Self> {
        let settings = &snapshot.settings;
        let config = settings.keys.get_key_value(name);
        let record = snapshot.records.get_key_value(name);
        let name = config.map(|it| it.0).or(record.map(|it| it.0))?;
        let (config, record) = (config.map(|it| it.1), record.map(|it| it.1));
        let issuer = record.and_then(|it| it.current.as_ref()).map(|it| &it.account);
        let section = match config {
            Some(key) => settings.providers.get(&key.provider),
            None => issuer.and_then(|it| settings.account(it)),
        };
        Some(Self {
            now: snapshot.now,
            name,
            config,
            section,
            record,
            account: section.and_then(|it| snapshot.accounts.get(&it.account)),
            blocked: snapshot.blocked.get(name),
            wake_at: snapshot.wake_at.get(name).copied(),
        })
    }

    fn phase(&self) -> &'a Phase {
        self.record.map_or(&Phase::Unadopted, |it| &it.phase)
    }
}

/// The names of all keys, in the config or on the books.
fn names(snapshot: &Snapshot) -> impl Iterator<Item = &KeyName> {
    let all: BTreeSet<_> = snapshot.settings.keys.keys().chain(snapshot.records.keys()).collect();
    all.into_iter()
}

fn daemon(snapshot: &Snapshot) -> DaemonStatus {
    DaemonStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: snapshot.started_at.into(),
        config_loaded_at: snapshot.config_loaded_at.into(),
        config_ok: snapshot.config_rejected.is_none(),
        config_error: snapshot.config_rejected.clone(),
        state: daemon_state(snapshot),
        outbox_pending: snapshot.outbox_pending,
        outbox_dead: snapshot.outbox_dead,
    }
}

fn daemon_state(snapshot: &Snapshot) -> DaemonState {
    let own = |it: &Blocked| matches!(it, Blocked::Clock | Blocked::Store(_) | Blocked::Config);
    if snapshot.observing {
        DaemonState::Observing
    } else if snapshot.config_rejected.is_some() || snapshot.outbox_dead > 0 || snapshot.blocked.values().any(own) {
        DaemonState::Degraded
    } else if snapshot.records.values().any(|it| matches!(it.phase, Phase::Reobserve { .. })) {
        DaemonState::Observing
    } else {
        DaemonState::Ok
    }
}

fn provider(snapshot: &Snapshot, section: &ProviderSection) -> ProviderStatus {
    let trouble = snapshot.provider_trouble.get(&section.account);
    let per_day = snapshot.settings.keys.values().find(|it| it.provider == section.name);
    let account = snapshot.accounts.get(&section.account);
    let creates_left = per_day.map(|key| {
        let per_day = key.policy.creates_per_day;
        account.map_or(per_day, |it| it.creates_left(per_day, snapshot.now))
    });
    ProviderStatus {
        name: section.name.clone(),
        kind: section.kind.to_owned(),
        state: trouble.map_or(ProviderState::Ok, |(why, _)| match why {
            Blocked::Login => ProviderState::Refused,
            Blocked::Throttled(_) => ProviderState::Throttled,
            _ => ProviderState::Unreachable,
        }),
        creates_left,
        held_since: trouble.map(|(_, since)| (*since).into()),
        last_error: trouble.map(|(why, _)| key::blocked_message(why)),
    }
}

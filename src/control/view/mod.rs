//! What the engine knows, as `status`, `plan` and `history` show it. Pure: the snapshot carries its own moment.
mod concerns;
mod history;
mod key;
mod next;
mod plan;

pub use history::history;
pub use plan::{PLAN_FOR, PLAN_FOR_MAX, PlanAsk, compare, freeze, plan, plan_facts, plan_of, window};

use super::protocol::{BackupStatus, DaemonState, DaemonStatus, KeyStatus, ProviderState, ProviderStatus, Status};
use crate::config::settings::ProviderSection;
use crate::core::facts::Blocked;
use crate::core::names::KeyName;
use crate::core::record::Phase;
use crate::engine::handle::{BackupState, Snapshot};
use crate::standing::{Subject, creates_left};

/// Everything, for `GET /v1/status`.
pub fn status(snapshot: &Snapshot) -> Status {
    Status {
        now: snapshot.now.into(),
        daemon: daemon(snapshot),
        providers: snapshot.settings.providers.values().map(|it| provider(snapshot, it)).collect(),
        keys: Subject::all(snapshot).map(|it| key::status(&it)).collect(),
    }
}

/// One key, for `GET /v1/keys/{key}`; `None` where neither config nor state knows it.
pub fn key_status(snapshot: &Snapshot, name: &KeyName) -> Option<KeyStatus> {
    Subject::of(snapshot, name).map(|it| key::status(&it))
}

fn daemon(snapshot: &Snapshot) -> DaemonStatus {
    DaemonStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: snapshot.started_at.into(),
        config_loaded_at: snapshot.config_loaded_at.into(),
        config_ok: snapshot.config_rejected.is_none(),
        config_error: snapshot.config_rejected.clone(),
        state: daemon_state(snapshot),
        backup: snapshot.backup.as_ref().map(backup),
        troubles: snapshot.troubles.values().cloned().collect(),
        outbox_pending: snapshot.outbox_pending,
        outbox_dead: snapshot.outbox_dead,
    }
}

fn backup(it: &BackupState) -> BackupStatus {
    let BackupState { last_at, next_at, failed } = it;
    BackupStatus { last_at: last_at.map(Into::into), next_at: next_at.map(Into::into), last_error: failed.clone() }
}

fn daemon_state(snapshot: &Snapshot) -> DaemonState {
    let no_backup = snapshot.backup.as_ref().is_some_and(|it| it.failed.is_some());
    let own = |it: &Blocked| matches!(it, Blocked::Clock | Blocked::Store(_) | Blocked::Config);
    if snapshot.observing.is_some() {
        DaemonState::Observing
    } else if snapshot.config_rejected.is_some()
        || snapshot.outbox_dead > 0
        || no_backup
        || !snapshot.troubles.is_empty()
        || snapshot.blocked.values().any(own)
    {
        DaemonState::Degraded
    } else if snapshot.records.values().any(|it| matches!(it.phase, Phase::Reobserve { .. })) {
        DaemonState::Observing
    } else {
        DaemonState::Ok
    }
}

fn provider(snapshot: &Snapshot, section: &ProviderSection) -> ProviderStatus {
    let trouble = snapshot.provider_trouble.get(&section.account);
    ProviderStatus {
        name: section.name.clone(),
        kind: section.kind.to_owned(),
        state: trouble.map_or(ProviderState::Ok, |(why, _)| match why {
            Blocked::Login => ProviderState::Refused,
            Blocked::Throttled(_) => ProviderState::Throttled,
            _ => ProviderState::Unreachable,
        }),
        creates_left: creates_left(snapshot, section),
        held_since: trouble.map(|(_, since)| (*since).into()),
        last_error: trouble.map(|(why, _)| why.to_string()),
    }
}

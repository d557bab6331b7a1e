//! What a plan is made from where no daemon runs: the config, and the state or none.
use crate::cli::exit::{Exit, Failure};
use crate::cli::hints;
use crate::clock;
use crate::config::{self, Loaded};
use crate::core::due;
use crate::core::names::Fingerprint;
use crate::core::policy::Policy;
use crate::core::record::{Expiry, Phase, Record, Version};
use crate::core::time::Timestamp;
use crate::engine::handle::Snapshot;
use crate::store::{self, StoreError};
use std::path::Path;
use std::sync::Arc;

/// The config at a path and what its state holds, with a line that says so.
pub(super) fn of_state(config: &Path, socket: &Path) -> Result<(Snapshot, String), Failure> {
    let loaded = load(config)?;
    let dir = loaded.settings.daemon.state_dir.clone();
    let look = store::look(&dir).map_err(|error| {
        let failure = |exit| Failure::new(exit, error.to_string());
        let unanswered = socket.display();
        match &error {
            StoreError::InUse { pid, .. } => {
                let pid = pid.map(|it| format!(" (pid {it})")).unwrap_or_default();
                let message = format!("a daemon{pid} has {} open, but does not answer on {unanswered}", dir.display());
                Failure::new(Exit::TryLater, message).remedy("ask it on its own socket: rekeyd plan --socket PATH")
            }
            StoreError::NoState { .. } => Failure::new(
                Exit::Unavailable,
                format!("the daemon does not run (nobody answers on {unanswered}), and {error}"),
            )
            .remedy("rekeyd plan --assume-new"),
            StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                let message = format!(
                    "the daemon does not run (nobody answers on {unanswered}), and this user may not read its state in {}",
                    dir.display()
                );
                Failure::new(Exit::NotPermitted, message).remedy("run it again with sudo, or rekeyd plan --assume-new")
            }
            StoreError::NewerFormat { .. } => failure(Exit::Config),
            _ => failure(Exit::Io),
        }
    })?;
    let now = clock::now();
    let snapshot = Snapshot {
        install: Some(look.install),
        records: look.records.into_iter().map(|it| (it.name.clone(), it)).collect(),
        accounts: look.accounts.into_iter().map(|it| (it.id.clone(), it)).collect(),
        ..Snapshot::at_rest(now, Arc::new(loaded.settings))
    }
    .reckoned();
    let note = format!("the daemon does not run: this is from {} and the state in {}", config.display(), dir.display());
    Ok((snapshot, note))
}

/// The config at a path, as if each key of it were issued now.
pub(super) fn assumed(config: &Path) -> Result<Snapshot, Failure> {
    let now = clock::now();
    Ok(all_new(load(config)?, now))
}

/// Each key as if it were issued then.
pub(in crate::cli) fn all_new(loaded: Loaded, now: Timestamp) -> Snapshot {
    let mut snapshot = Snapshot::at_rest(now, Arc::new(loaded.settings));
    for (name, key) in &Arc::clone(&snapshot.settings).keys {
        let record = Record {
            phase: Phase::Steady,
            current: Some(issued(&key.policy, now)),
            last_version: 1,
            probed_at: Some(now),
            owners: key.owners.clone(),
            ..Record::new(name.clone(), now)
        };
        snapshot.records.insert(name.clone(), record);
    }
    snapshot.reckoned()
}

/// Reads a config, or says all its faults.
pub(super) fn load(path: &Path) -> Result<Loaded, Failure> {
    // Whichever config it is, not the one that this command line names.
    config::load(path).map_err(|it| Failure::new(Exit::Config, it.to_string()).remedy(hints::check(path)))
}

/// A version that was issued now, as far as the config says how long it lives.
fn issued(policy: &Policy, now: Timestamp) -> Version {
    let version = Version {
        number: 1,
        account: policy.account.clone(),
        id: None,
        fingerprint: Fingerprint::from(""),
        token: None,
        obtained_at: now,
        valid_from: Some(now),
        valid_to: policy.valid_for.map(|it| now.plus(it)),
        expiry: Expiry::Assumed,
        first_alive: None,
        last_alive: None,
        dead_since: None,
        restriction: policy.restriction.clone(),
        delivered: true,
        was_current: true,
    };
    match due::lifetime(&version) {
        Some(_) => version,
        None => Version { expiry: Expiry::Unknown, ..version },
    }
}

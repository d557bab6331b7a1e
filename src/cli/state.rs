//! What the commands share that work on the state itself, or on a backup of it, beside the daemon.
use super::Cli;
use super::exit::{Exit, Failure};
use crate::config::settings::Settings;
use crate::config::{self, Faults};
use crate::secret::{Secret, SecretError, SecretRef};
use crate::store::{RestoreError, SnapshotError, SnapshotFault};
use std::io;

/// The config. These commands need all of it to be good: what it says of the state could be a slip too.
pub(super) fn settings(cli: &Cli) -> Result<Settings, Failure> {
    let loaded = config::load(&cli.config);
    loaded.map(|it| it.settings).map_err(|Faults { faults, .. }| {
        let first = faults.first().map(|it| format!(", the first: {it}")).unwrap_or_default();
        Failure::new(Exit::Config, format!("the config has {} fault(s){first}", faults.len())).remedy("rekeyd check")
    })
}

/// A master key, from where the config or the command line says.
pub(super) fn master(from: &SecretRef, what: &str) -> Result<Secret, Failure> {
    from.resolve().map_err(|error| {
        let failure = Failure::new(Exit::Config, format!("{what}: {error}"));
        match (error, from) {
            (SecretError::NoCredentials(_), SecretRef::Credential(name)) => failure.remedy(format!(
                "systemd-run --pipe --wait -p LoadCredential={name}:PATH rekeyd …, where PATH is that of the unit"
            )),
            _ => failure,
        }
    })
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        let exit = match &error.fault {
            SnapshotFault::Io(why) if why.kind() == io::ErrorKind::NotFound => Exit::NoInput,
            SnapshotFault::Io(_) => Exit::Io,
            SnapshotFault::Master(_) => Exit::Config,
            _ => Exit::Data,
        };
        Self::new(exit, error.to_string())
    }
}

/// What was wrong with a restore from this file.
pub(super) fn restore_failed(error: RestoreError, file: &std::path::Path) -> Failure {
    match error {
        RestoreError::Snapshot(fault) => SnapshotError { path: file.to_owned(), fault }.into(),
        RestoreError::NotEmpty { .. } => Failure::new(Exit::CannotCreate, error.to_string()),
        RestoreError::Store(error) => error.into(),
    }
}

//! `rekeyd backup`: the whole state, as one sealed file.
use super::connect::ask;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::{Cli, state};
use crate::clock;
use crate::control::client::ClientError;
use crate::control::protocol::Time;
use crate::store::{Snapshot, SnapshotError, SnapshotFault, StoreError, keep_snapshot, snapshot_of};
use serde::Serialize;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// `rekeyd backup FILE`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to write it; an older backup there is replaced, anything else is not
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What was written, for scripts.
#[derive(Serialize)]
struct Report<'a> {
    file: &'a Path,
    bytes: usize,
    made_at: Time,
    /// The fingerprint of the master key that opens it.
    master: &'a str,
    /// Whether the daemon gave it; else it was read from a state that no daemon had open.
    by_daemon: bool,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    check_place(&args.file)?;
    let fetched = ask(cli, async |daemon| match daemon.backup().await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ClientError::NotRunning(_)) => Ok(None),
        Err(error) => Err(error.into()),
    })?;
    let by_daemon = fetched.is_some();
    let bytes = match fetched {
        Some(bytes) => bytes,
        None => read_state(cli)?,
    };
    let snapshot = Snapshot::parse(bytes.clone());
    let snapshot = snapshot.map_err(|fault| SnapshotError { path: args.file.clone(), fault })?;
    keep_snapshot(&args.file, &bytes).map_err(not_written)?;
    let header = snapshot.header();
    let report = Report {
        file: &args.file,
        bytes: bytes.len(),
        made_at: header.made_at.into(),
        master: header.master.as_str(),
        by_daemon,
    };
    out.print(&report, |_| {
        format!(
            "wrote {} ({} bytes); the master key that opens it has fingerprint {}\n",
            report.file.display(),
            report.bytes,
            report.master
        )
    })?;
    Ok(Exit::Ok)
}

/// A full disk is one thing; a place where nothing can be made is another.
fn not_written(error: StoreError) -> Failure {
    match &error {
        StoreError::Io { source, .. }
            if !matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
        {
            Failure::new(Exit::CannotCreate, error.to_string()).remedy("name another place: rekeyd backup FILE")
        }
        StoreError::Io { .. } => {
            Failure::new(Exit::Io, error.to_string()).remedy("name another place: rekeyd backup FILE")
        }
        _ => error.into(),
    }
}

/// A slip of the finger must not cost a file that is no backup, and what can't be written anyway is not asked for.
fn check_place(file: &Path) -> Result<(), Failure> {
    let folder = file.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(why) = folder.read_dir() {
        let message = format!("{}: {why}", folder.display());
        return Err(Failure::new(Exit::CannotCreate, message).remedy("name another place: rekeyd backup FILE"));
    }
    match Snapshot::load(file) {
        Err(SnapshotError { fault: SnapshotFault::Io(why), .. }) if why.kind() == ErrorKind::NotFound => Ok(()),
        Err(SnapshotError {
            fault: SnapshotFault::Foreign | SnapshotFault::Io(_) | SnapshotFault::TooLarge, ..
        }) => {
            let message = format!("{} is there and is no backup of rekeyd; it is left alone", file.display());
            Err(Failure::new(Exit::CannotCreate, message).remedy("name another file: rekeyd backup FILE"))
        }
        _ => Ok(()),
    }
}

/// Without a daemon. The history can't tell of it, for the state is not written to.
fn read_state(cli: &Cli) -> Result<Vec<u8>, Failure> {
    let settings = state::settings(cli)?;
    let master = state::master(&settings.daemon.master_key, "daemon.master_key")?;
    Ok(snapshot_of(&settings.daemon.state_dir, &master, clock::now())?)
}

//! `rekeyd restore`, and `rekeyd check --state`: what a backup is worth.
use super::exit::{Exit, Failure};
use super::output::Output;
use super::{Cli, state};
use crate::clock;
use crate::config::settings::Settings;
use crate::control::protocol::Time;
use crate::store::{Counts, Header, Snapshot, SnapshotError, restore};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// `rekeyd restore FILE`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The backup; the folder of the state must be empty, and the daemon stopped
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What is in a backup, for scripts.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    file: &'a Path,
    made_at: Time,
    /// The fingerprint of the master key that opens it.
    master: &'a str,
    install: &'a str,
    rekeyd: &'a str,
    #[serde(flatten)]
    counts: Counts,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let settings = state::settings(cli)?;
    let master = state::master(&settings.daemon.master_key, "daemon.master_key")?;
    let snapshot = Snapshot::load(&args.file)?;
    let dir = &settings.daemon.state_dir;
    let done = restore(dir, &backups(&settings), &snapshot, &master, clock::now());
    let done = done.map_err(|it| state::restore_failed(it, &args.file))?;
    out.print(&report(&args.file, &done.header, done.counts), |_| {
        format!(
            "restored {} into {}\n\
             next: start the daemon. It looks at every key before it does anything: the backup is older than the world.\n\
             On another machine it only observes, until: rekeyd resume --all\n",
            what(&done.header, &done.counts),
            dir.display()
        )
    })?;
    Ok(Exit::Ok)
}

/// `rekeyd check --state FILE`: opens everything that is in it, and changes nothing.
pub(super) fn check(cli: &Cli, file: &Path, out: &mut Output) -> Result<Exit, Failure> {
    let settings = state::settings(cli)?;
    let master = state::master(&settings.daemon.master_key, "daemon.master_key")?;
    let snapshot = Snapshot::load(file)?;
    let counts = snapshot.verify(&master).map_err(|fault| SnapshotError { path: file.to_owned(), fault })?;
    let header = snapshot.header();
    out.print(&report(file, header, counts), |_| format!("ok: {}\n", what(header, &counts)))?;
    Ok(Exit::Ok)
}

fn backups(settings: &Settings) -> PathBuf {
    settings.backup.as_ref().map_or_else(|| settings.daemon.backups(), |it| it.dir.clone())
}

fn report<'a>(file: &'a Path, header: &'a Header, counts: Counts) -> Report<'a> {
    Report {
        ok: true,
        file,
        made_at: header.made_at.into(),
        master: header.master.as_str(),
        install: &header.install,
        rekeyd: &header.rekeyd,
        counts,
    }
}

fn what(header: &Header, counts: &Counts) -> String {
    format!(
        "{} key(s) with {} secret(s), {} account(s), {} notice(s) and {} row(s) of history, as of {}; master key {}",
        counts.keys,
        counts.secrets,
        counts.accounts,
        counts.notices,
        counts.history,
        header.made_at.whole_second(),
        header.master
    )
}

//! `[daemon]` and `[windows.NAME]`.
use super::document::{Document, unknown_name};
use super::fault::{At, Findings};
use super::secrets::{self, Managed};
use super::section::Section;
use super::settings::Daemon;
use super::source::Source;
use super::words::{Address, Schedule};
use super::written::{self, defaults};
use crate::core::window::Window;
use crate::humane::opening;
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeTable;

/// Reads `[daemon]`. `None` where it can't be read.
pub(super) fn daemon(document: &Document<'_>, findings: &mut Findings) -> Option<Daemon> {
    let Some(section) = &document.daemon else {
        let hint = "write [daemon] with master_key = { credential = \"master-key\" }; rekeyd init writes one";
        findings.fault(At(0), "`[daemon]` is missing", hint);
        return None;
    };
    let written: written::Daemon = section.read_as(&[], findings).value?;
    secrets::check(section, Managed::Refused, findings);
    owners(section, &written.owners, document, findings);
    if written.owners.is_empty() && !document.keys.is_empty() {
        let message = "nobody is told of the daemon's own trouble";
        findings.warning(section.at(), message, "name them: owners = [\"…\"]");
    }
    let state_dir = path(section, written.state_dir, findings, usual_state_dir);
    let control_socket = path(section, written.control_socket, findings, || {
        systemd("RUNTIME_DIRECTORY", defaults::RUNTIME_DIR).join("control.sock")
    });
    let credential_socket = written.credential_socket.map(|it| credential_socket(section, it, findings));
    let sweep = match written.sweep {
        None => CronParser::builder().seconds(Seconds::Required).build().parse(defaults::SWEEP).ok()?,
        Some(sweep) => cron(section, sweep, findings),
    };
    Some(Daemon {
        state_dir,
        control_socket,
        credential_socket,
        listen: written.listen.map(|it| listen(section, it, findings)),
        master_key: written.master_key,
        owners: names(written.owners),
        operators: written.operators.into_iter().map(|it| it.0).collect(),
        timezone: written.timezone.map_or(Tz::UTC, |it| it.0),
        max_removals: written.max_removals.map_or(defaults::MAX_REMOVALS, |it| it.0),
        history_for: written.history_for.map_or(defaults::HISTORY_FOR, |it| it.0),
        reserve: written.reserve.map_or(defaults::RESERVE, |it| it.0),
        sweep,
        max_concurrent_rotations: written
            .max_concurrent_rotations
            .map_or(defaults::MAX_CONCURRENT_ROTATIONS, Into::into),
    })
}

/// A socket in the folder that systemd takes away with the service is not there for units that start meanwhile.
fn credential_socket(section: &Section<'_>, written: Spanned<PathBuf>, findings: &mut Findings) -> PathBuf {
    let at = section.place(&written.span());
    let path = path(section, Some(written), findings, PathBuf::new);
    let folder = systemd("RUNTIME_DIRECTORY", defaults::RUNTIME_DIR);
    if path.starts_with(&folder) {
        let message = format!("{} goes away whenever rekeyd stops, and units could not start then", folder.display());
        findings.fault(at, message, "write credential_socket = \"/run/rekeyd-credential.sock\"");
    }
    path
}

/// The `state_dir` of the first `[daemon]` in these files, however broken they are otherwise.
pub(super) fn written_state_dir(sources: &[Source]) -> Option<PathBuf> {
    sources.iter().find_map(|source| {
        let (root, _) = DeTable::parse_recoverable(&source.text);
        let daemon = root.get_ref().get("daemon")?.get_ref().as_table()?;
        let path = daemon.get("state_dir")?.get_ref().as_str()?;
        Some(PathBuf::from(path)).filter(|it| it.is_absolute())
    })
}

/// Where the state lies where nobody says.
pub(super) fn usual_state_dir() -> PathBuf {
    systemd("STATE_DIRECTORY", defaults::STATE_DIR)
}

/// Reads `[windows.NAME]`. A window that can't be read is missing here, though its name is known.
pub(super) fn windows(document: &Document<'_>, timezone: Tz, findings: &mut Findings) -> BTreeMap<String, Window> {
    let mut windows = BTreeMap::new();
    for (name, section) in &document.windows {
        let reading = section.read_as::<written::Window>(&[], findings);
        let Some(written) = reading.value else { continue };
        let open = cron(section, written.open, findings);
        let duration: Duration = written.duration.0;
        let timezone = written.timezone.map_or(timezone, |it| it.0);
        windows.insert(name.clone(), Window { name: Some(name.clone()), open: Arc::new(open), duration, timezone });
    }
    windows
}

/// Looks up the owners that a section names.
pub(super) fn owners(
    section: &Section<'_>,
    owners: &[Spanned<String>],
    document: &Document<'_>,
    findings: &mut Findings,
) {
    for owner in owners {
        if !document.owners.contains_key(owner.get_ref()) {
            let at = section.place(&owner.span());
            unknown_name(findings, at, "owner", owner.get_ref(), &document.owners);
        }
    }
}

/// The names without their places.
pub(super) fn names(names: Vec<Spanned<String>>) -> Vec<String> {
    names.into_iter().map(Spanned::into_inner).collect()
}

pub(super) fn cron(section: &Section<'_>, schedule: Spanned<Schedule>, findings: &mut Findings) -> Cron {
    if schedule.get_ref().numeric_weekdays {
        let means = opening::cron(&schedule.get_ref().cron);
        let message = format!("weekdays by number are counted from Sunday = 0: this is {means}");
        findings.warning(section.place(&schedule.span()), message, "write names, such as Mon-Fri");
    }
    schedule.into_inner().cron
}

/// Whoever reaches the listener may read it.
fn listen(section: &Section<'_>, written: Spanned<Address>, findings: &mut Findings) -> SocketAddr {
    let address = written.get_ref().0;
    if !address.ip().is_loopback() {
        let message = format!("whoever reaches {address} can read the names and states of all keys");
        let hint = "it asks for no login: listen on 127.0.0.1 or [::1], or see that only your monitoring gets there";
        findings.warning(section.place(&written.span()), message, hint);
    }
    address
}

/// A whole path, or its default.
pub(super) fn path(
    section: &Section<'_>,
    written: Option<Spanned<PathBuf>>,
    findings: &mut Findings,
    default: impl Fn() -> PathBuf,
) -> PathBuf {
    let Some(path) = written else { return default() };
    if path.get_ref().is_relative() {
        let message = format!("{} is a relative path", path.get_ref().display());
        findings.fault(section.place(&path.span()), message, "write the whole path");
    }
    path.into_inner()
}

/// The folder that systemd made for us (the first, where it made several), or the usual one.
fn systemd(variable: &str, usual: &str) -> PathBuf {
    let folders = std::env::var(variable).unwrap_or_default();
    let first = folders.split(':').next().filter(|it| !it.is_empty());
    Path::new(first.unwrap_or(usual)).to_owned()
}

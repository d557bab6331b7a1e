//! `rekeyd check`: every fault of the config at once, each with its place and what to do about it.
mod fits;
mod unit;

use super::{Cli, Exit, calendar};
use crate::clock;
use crate::config::{self, Fault, Faults, Loaded};
use crate::control::protocol::{PlanFreeze, PlanWindow};
use crate::control::view;
use crate::core::time::Timestamp;
use crate::standing::crowds::Crowd;
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use unit::Unit;

/// Find every fault in the config, without touching a provider; of a running daemon, the dates of its keys are asked
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Print the config after defaults and profiles, with the place that each value is from
    #[arg(long)]
    pub effective: bool,
    /// Print what the config needs beyond the unit that is shipped: a drop-in for systemd, with the rule for polkit in it
    #[arg(long, conflicts_with = "effective")]
    pub unit: bool,
    /// Verify a backup instead: that it is whole, and that the configured master key opens all of it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["effective", "unit"])]
    pub state: Option<PathBuf>,
    /// Say each window and freeze in words, in lines of this many columns: `-v`.
    #[arg(skip)]
    pub explain: Option<usize>,
}

/// The shape of `check --json`.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    faults: &'a [Fault],
    warnings: &'a [Fault],
    #[serde(skip_serializing_if = "Option::is_none")]
    effective: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<Unit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    windows: Option<Vec<PlanWindow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    freezes: Option<Vec<PlanFreeze>>,
}

/// Checks the config at a path, and says how the process ends: 0, or 78 where there are faults.
///
/// # Errors
/// Where nothing can be printed.
pub fn run(args: &Args, config: &Path, json: bool, out: &mut dyn Write) -> io::Result<Exit> {
    say(args, config::load(config), config, json, out)
}

/// As [`run`], with what shows only beside the dates of the keys.
pub(super) fn run_with_dates(cli: &Cli, args: &Args, out: &mut dyn Write) -> io::Result<Exit> {
    let mut result = config::load(&cli.config);
    if let Some(loaded) = result.as_mut().ok().filter(|_| !args.effective && !args.unit) {
        fits::warn(cli, loaded);
    }
    say(args, result, &cli.config, cli.json, out)
}

fn say(
    args: &Args,
    result: Result<Loaded, Faults>,
    config: &Path,
    json: bool,
    out: &mut dyn Write,
) -> io::Result<Exit> {
    let (faults, warnings) = match &result {
        Ok(Loaded { warnings, .. }) => (&[][..], warnings),
        Err(Faults { faults, warnings }) => (&faults[..], warnings),
    };
    let ok = result.is_ok();
    let effective = result.as_ref().ok().filter(|_| args.effective).map(Loaded::effective);
    let unit = result.as_ref().ok().filter(|_| args.unit).map(|it| Unit::of(it, config));
    let now = clock::now();
    let times = result.as_ref().ok().filter(|_| args.explain.is_some()).map(|it| times(it, now));
    if json {
        let (windows, freezes) = times.unzip();
        let report = Report { ok, faults, warnings, effective, unit, windows, freezes };
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else if let Some(unit) = unit {
        write!(out, "{}", unit.text())?;
    } else if let Some(effective) = effective {
        // All of it can be read as a config again.
        warnings.iter().try_for_each(|it| writeln!(out, "# {}", as_warning(it).replace('\n', "\n# ")))?;
        write!(out, "{effective}")?;
    } else {
        warnings.iter().try_for_each(|it| writeln!(out, "{}", as_warning(it)))?;
        faults.iter().try_for_each(|it| writeln!(out, "{it}"))?;
        writeln!(out, "{}", last_line(&result))?;
        let width = args.explain.unwrap_or(usize::MAX);
        times.iter().try_for_each(|it| write!(out, "{}", calendar::text(&it.0, &it.1, now.into(), width)))?;
    }
    Ok(if ok { Exit::Ok } else { Exit::Config })
}

/// Every window and freeze in words, whether a key names it or not, with its next times.
fn times(loaded: &Loaded, now: Timestamp) -> (Vec<PlanWindow>, Vec<PlanFreeze>) {
    let settings = &loaded.settings;
    let windows = settings.windows.values().map(|it| view::window(it, now)).collect();
    (windows, settings.freezes.values().map(|it| view::freeze(&it.freeze, now)).collect())
}

/// A warning, told from a fault by its word.
fn as_warning(warning: &Fault) -> String {
    Fault { message: format!("warning: {}", warning.message), ..warning.clone() }.to_string()
}

fn last_line(result: &Result<Loaded, Faults>) -> String {
    match result {
        Ok(Loaded { settings, .. }) => {
            let parts = [
                count(settings.keys.len(), "key"),
                count(settings.providers.len(), "provider"),
                count(settings.owners.len(), "owner"),
            ];
            format!("ok: {}", parts.join(", "))
        }
        Err(faults) => format!("{}; the daemon would not take this config", count(faults.faults.len(), "fault")),
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// What is told of keys that find no room, with its hint.
pub fn crowd(it: &Crowd, assumed: bool) -> String {
    format!("{}\n  hint: {}", fits::message(it, assumed), fits::hint(it))
}

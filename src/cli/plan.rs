//! `rekeyd plan`: what will happen to which key when, and why.
pub mod ics;
pub(super) mod offline;
mod table;
pub mod what_if;

pub use table::{View, text};

use super::Cli;
use super::connect::ask;
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::control::client::ClientError;
use crate::control::problem::Problem;
use crate::control::protocol::PlanReport;
use crate::control::view::{self, PLAN_FOR_MAX, PlanAsk};
use crate::core::names::KeyName;
use crate::humane::HumanDuration;
use std::io::Write;
use std::path::PathBuf;

/// `rekeyd plan [--for 90d]`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How far to look ahead
    #[arg(long = "for", value_name = "DURATION", default_value = "90d")]
    ahead: HumanDuration,
    /// Only this key; may be said again
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<KeyName>,
    /// Only the keys of this owner
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// As if every key of the config were issued now: without daemon and state, such as in CI
    #[arg(long)]
    assume_new: bool,
    /// What another config would change; ends with 1 where a key would be worse off
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keys", "owner"])]
    what_if: Option<PathBuf>,
    /// Print an iCalendar, for calendar programs; probes are left out
    #[arg(long, conflicts_with = "what_if")]
    ics: bool,
    /// Show every entry, however many there are
    #[arg(long)]
    full: bool,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    if args.ics && out.json {
        return Err(Failure::new(Exit::Usage, "--ics and --json are two answers; choose one"));
    }
    if args.ahead.0 > PLAN_FOR_MAX {
        let days = PLAN_FOR_MAX.as_secs() / 86_400;
        return Err(Failure::new(Exit::Data, format!("--for {}: a plan looks at most {days} days ahead", args.ahead)));
    }
    let view = View { full: args.full, verbose: cli.verbose > 0, width: out.width, paint: out.paint };
    if let Some(file) = &args.what_if {
        return what_if::run(cli, args, file, view, out);
    }
    let (report, note) = plan(cli, args)?;
    if args.ics {
        out.bytes(ics::calendar(&report).as_bytes())?;
        if !report.warnings.is_empty() {
            let count = report.warnings.len();
            // Nobody is left to tell where the terminal is gone.
            let _ = writeln!(std::io::stderr().lock(), "{count} warning(s) have no place in a calendar: rekeyd plan");
        }
        return Ok(Exit::Ok);
    }
    out.print(&report, |_| note.unwrap_or_default() + &text(&report, view))?;
    Ok(Exit::Ok)
}

/// The plan, and where it is from if that needs a word.
fn plan(cli: &Cli, args: &Args) -> Result<(PlanReport, Option<String>), Failure> {
    let asked = args.ask();
    if args.assume_new {
        let report = view::plan_of(&offline::assumed(&cli.config)?, &asked).map_err(|it| Problem::refused("", &it))?;
        return Ok((report, Some("as if every key were issued now\n\n".to_owned())));
    }
    match ask(cli, async |daemon| Ok(daemon.plan(&asked).await))? {
        Err(ClientError::NotRunning(socket)) => {
            let (snapshot, note) = offline::of_state(&cli.config, &socket)?;
            let report = view::plan_of(&snapshot, &asked).map_err(|it| Problem::refused("", &it))?;
            Ok((report, Some(format!("{note}\n\n"))))
        }
        answer => Ok((answer?, None)),
    }
}

impl Args {
    fn ask(&self) -> PlanAsk {
        PlanAsk { ahead: Some(self.ahead.0), keys: self.keys.clone(), owner: self.owner.clone() }
    }
}

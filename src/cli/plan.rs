//! `rekeyd plan`: what will happen to which key when, and why.
use super::Cli;
use super::connect::ask;
use super::exit::{Exit, Failure};
use super::output::{Output, Paint, Row, Tone, one_line, table};
use super::times::both;
use crate::control::protocol::{PlanEntry, PlanReport, Time};
use crate::humane::HumanDuration;
use std::fmt::Write;

/// `rekeyd plan [--for 90d]`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How far to look ahead
    #[arg(long = "for", value_name = "DURATION", default_value = "90d")]
    ahead: HumanDuration,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let report = ask(cli, async |daemon| Ok(daemon.plan(args.ahead.0).await?))?;
    out.print(&report, |paint| text(&report, paint))?;
    Ok(Exit::Ok)
}

/// As people read it.
pub fn text(report: &PlanReport, paint: Paint) -> String {
    let mut text = if report.entries.is_empty() {
        "nothing is planned in this time\n".to_owned()
    } else {
        let rows = report.entries.iter().map(|it| row(it, report.now)).collect();
        table(&["WHEN", "WHAT", "KEY", "WINDOW", "WHY"], rows, paint)
    };
    for (n, it) in report.warnings.iter().enumerate() {
        let gap = if n == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{gap}{} {}: {}", paint.tone(Tone::Warn, "!"), it.key, one_line(&it.message));
    }
    text
}

fn row(it: &PlanEntry, now: Time) -> Row {
    let tone = (it.action == "notify").then_some(Tone::Warn);
    let window = it.window.as_ref().map_or("-", |it| it.name.as_deref().unwrap_or("its own"));
    let cells = [it.action.as_str(), it.key.as_str(), window, &it.message];
    (tone, std::iter::once(both(it.at, now)).chain(cells.map(str::to_owned)).collect())
}

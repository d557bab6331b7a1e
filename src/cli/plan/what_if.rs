//! `rekeyd plan --what-if FILE`: what another config would change.
use super::{Args, View, offline};
use crate::cli::Cli;
use crate::cli::connect::ask;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{Output, Tone, folded, one_line};
use crate::cli::times::absolute;
use crate::clock;
use crate::control::client::ClientError;
use crate::control::protocol::{BudgetChange, Late, Move, PlanFacts, PlanPeak, Time, WhatIf};
use crate::control::view;
use crate::core::names::KeyName;
use crate::engine::handle::Snapshot;
use crate::humane::Roughly;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// As many lines of each part are shown; more only on demand.
const SHOWN: usize = 20;

pub(super) fn run(cli: &Cli, args: &Args, file: &Path, view: View, out: &mut Output) -> Result<Exit, Failure> {
    let report = compared(cli, args, file)?;
    out.print(&report, |_| text(&report, file, view))?;
    Ok(if report.ok { Exit::Ok } else { Exit::Attention })
}

fn compared(cli: &Cli, args: &Args, file: &Path) -> Result<WhatIf, Failure> {
    let other = offline::load(file)?;
    let plan = |snapshot: &Snapshot| view::plan(snapshot, args.ahead.0);
    if args.assume_new {
        let now = clock::now();
        let today = offline::all_new(offline::load(&cli.config)?, now);
        let other = offline::all_new(other, now);
        return Ok(view::compare(&plan(&today), &named(&today), &plan(&other), &other.settings));
    }
    match ask(cli, async |daemon| Ok(daemon.plan_facts(&args.ask()).await))? {
        Err(ClientError::NotRunning(socket)) => {
            let (today, _) = offline::of_state(&cli.config, &socket)?;
            let other = Snapshot { settings: Arc::new(other.settings), ..today.clone() }.reckoned();
            Ok(view::compare(&plan(&today), &named(&today), &plan(&other), &other.settings))
        }
        answer => {
            let facts = answer?;
            same_version(&facts)?;
            let (before, named) = (facts.plan, facts.named.into_iter().collect());
            let other = Snapshot {
                install: before.install.clone(),
                records: facts.records.into_iter().map(|it| (it.name.clone(), it)).collect(),
                accounts: facts.accounts.into_iter().map(|it| (it.id.clone(), it)).collect(),
                ..Snapshot::at_rest(before.now.0, Arc::new(other.settings))
            }
            .reckoned();
            Ok(view::compare(&before, &named, &plan(&other), &other.settings))
        }
    }
}

fn named(snapshot: &Snapshot) -> BTreeSet<KeyName> {
    snapshot.settings.keys.keys().cloned().collect()
}

/// Two versions need not reckon alike, nor keep their records alike.
fn same_version(facts: &PlanFacts) -> Result<(), Failure> {
    let own = env!("CARGO_PKG_VERSION");
    if facts.version == own {
        return Ok(());
    }
    let message = format!(
        "the daemon is version {}, and this command is version {own}: what they reckon may differ",
        facts.version
    );
    Err(Failure::new(Exit::TryLater, message).remedy("systemctl restart rekeyd"))
}

/// As people read it.
pub fn text(report: &WhatIf, file: &Path, view: View) -> String {
    let most = if view.full { usize::MAX } else { SHOWN };
    let mut text = format!("with {} instead of the config in use, until {}:\n", file.display(), absolute(report.until));
    let mut part = |heading: String, lines: Vec<String>, tone: Option<Tone>| {
        if lines.is_empty() {
            return;
        }
        let heading = tone.map_or(heading.clone(), |it| view.paint.tone(it, &heading));
        let _ = writeln!(text, "\n{heading}");
        for it in lines.iter().take(most) {
            let _ = writeln!(text, "  {}", folded(&one_line(it), 4, view.width));
        }
        if lines.len() > most {
            let _ = writeln!(text, "  and {} more; --full shows all", lines.len() - most);
        }
    };
    let refused = report.refused.iter().cloned().collect();
    part("`rekeyd reload` would refuse it".to_owned(), refused, Some(Tone::Warn));
    let late: Vec<String> = report.late.iter().map(late).collect();
    let worse = count(late.len(), "key would be worse off", "keys would be worse off");
    part(worse, late, Some(Tone::Bad));
    let moves: Vec<String> = report.moves.iter().map(moved).collect();
    part(count(moves.len(), "rotation moves", "rotations move"), moves, None);
    let names = |keys: &[KeyName]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    let appear = names(&report.appear);
    part(count(appear.len(), "key is new", "keys are new"), appear, None);
    let disappear = names(&report.disappear);
    let gone = count(disappear.len(), "key is no longer replaced", "keys are no longer replaced");
    part(gone, disappear, Some(Tone::Warn));
    let budgets: Vec<String> = report.budgets.iter().map(budget).collect();
    part("most creates within 24 hours".to_owned(), budgets, None);
    let warnings: Vec<String> = report.warnings.iter().map(|it| format!("{}: {}", it.key, it.message)).collect();
    part(count(warnings.len(), "new warning", "new warnings"), warnings, Some(Tone::Warn));
    if text.lines().count() == 1 {
        text += "nothing changes: no rotation moves, and no key comes or goes\n";
    }
    text
}

fn late(it: &Late) -> String {
    match it.at {
        Some(at) => format!("{}: rotated outside its windows at {}: {}", it.key, absolute(at), it.message),
        None => format!("{}: {}", it.key, it.message),
    }
}

fn moved(it: &Move) -> String {
    let version = format!("{}, version {}", it.key, it.version);
    match (it.from, it.to) {
        (Some(from), Some(to)) => {
            format!("{version}: {} -> {}, {}: {}", absolute(from), absolute(to), shift(from, to), it.message)
        }
        (Some(from), None) => format!("{version}: {} -> not in this time: {}", absolute(from), it.message),
        (None, Some(to)) => format!("{version}: not in this time -> {}: {}", absolute(to), it.message),
        (None, None) => version,
    }
}

/// `7d later`.
fn shift(from: Time, to: Time) -> String {
    let (span, word) = if to > from { (to.0.since(from.0), "later") } else { (from.0.since(to.0), "sooner") };
    format!("{} {word}", Roughly(span))
}

fn budget(it: &BudgetChange) -> String {
    let figures = |it: &Option<PlanPeak>| {
        it.as_ref().map_or("none".to_owned(), |it| format!("{} of {}", it.creates, it.creates_per_day))
    };
    let from = it.after.as_ref().map(|it| format!(", from {}", absolute(it.from))).unwrap_or_default();
    format!("account {}: {} -> {}{from}", it.account, figures(&it.before), figures(&it.after))
}

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}:", if n == 1 { one } else { many })
}

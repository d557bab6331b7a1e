//! `rekeyd adopt --all --from-target`: every key that is not adopted yet. First a table of what would happen, then a
//! question, then one key after the other; one that fails stops none.
use super::super::connect::ask;
use super::super::exit::{Exit, Failure};
use super::super::output::{Output, Paint, Tone, one_line, table};
use super::{Args, Cli, expires, fate, request};
use crate::control::client::{Client, ClientError};
use crate::control::protocol::PhaseName;
use crate::control::requests::{AdoptReport, AdoptRequest, ProviderWord};
use crate::core::names::KeyName;
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// One key: what was found out about it, and whether it was adopted.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    report: AdoptReport,
    adopted: bool,
    /// Why it was not, although nothing spoke against it before.
    failure: Option<String>,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let wanted = request(args);
    let mut rows = ask(cli, async |daemon| look(&daemon, &wanted).await)?;
    if !out.json {
        let table = shown(&rows, out.paint);
        out.text(&table)?;
    }
    let adoptable = rows.iter().filter(|it| it.report.adoptable).count();
    let agreed = adoptable > 0 && (args.yes || asked(adoptable)?);
    if agreed {
        ask(cli, async |daemon| adopt(&daemon, &wanted, &mut rows).await)?;
    }
    out.print(&rows, |_| outcome(&rows, agreed))?;
    Ok(match () {
        () if rows.iter().any(|it| it.report.refused.is_some() || it.failure.is_some()) => Exit::Data,
        () if adoptable > 0 && !agreed => Exit::Attention,
        () => Exit::Ok,
    })
}

async fn look(daemon: &Client, wanted: &AdoptRequest) -> Result<Vec<Row>, Failure> {
    let keys = daemon.status().await?.keys.into_iter().filter(|it| it.phase == PhaseName::Unadopted);
    let mut rows = Vec::new();
    for name in keys.map(|it| it.name).collect::<Vec<KeyName>>() {
        let report = daemon.adopt(name.as_str(), &AdoptRequest { dry_run: true, ..wanted.clone() }).await?;
        rows.push(Row { report, adopted: false, failure: None });
    }
    Ok(rows)
}

/// Takes what the table has shown, and nothing else.
async fn adopt(daemon: &Client, wanted: &AdoptRequest, rows: &mut [Row]) -> Result<(), Failure> {
    for row in rows.iter_mut().filter(|it| it.report.adoptable) {
        let request = AdoptRequest { fingerprint: row.report.fingerprint.clone(), ..wanted.clone() };
        match daemon.adopt(row.report.key.as_str(), &request).await {
            Ok(report) => (row.report, row.adopted) = (report, true),
            Err(ClientError::Problem(problem)) => row.failure = Some(problem.detail),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Asks a person; where there is none, nothing is changed.
fn asked(count: usize) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    let mut stderr = std::io::stderr().lock();
    if !stdin.is_terminal() {
        writeln!(stderr, "nothing was changed: there is no terminal to ask at; add --yes to adopt {}", keys(count))?;
        return Ok(false);
    }
    write!(stderr, "adopt {}? [y/N] ", keys(count))?;
    stderr.flush()?;
    let mut line = String::new();
    stdin.read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

fn keys(count: usize) -> String {
    format!("{count} key{}", if count == 1 { "" } else { "s" })
}

fn shown(rows: &[Row], paint: Paint) -> String {
    if rows.is_empty() {
        return "every key is adopted\n".to_owned();
    }
    table_of(&rows.iter().map(|it| &it.report).collect::<Vec<_>>(), paint)
}

/// What would happen to each of these keys.
pub(super) fn table_of(reports: &[&AdoptReport], paint: Paint) -> String {
    let lines = reports.iter().flat_map(|it| lines(it)).collect();
    table(&["KEY", "PROVIDER", "FINGERPRINT", "EXPIRES", "TARGET", "WHAT WILL HAPPEN"], lines, paint)
}

/// A line for each target, the first with what is true of the key.
fn lines(report: &AdoptReport) -> Vec<(Option<Tone>, Vec<String>)> {
    let (tone, word) = match report.provider {
        ProviderWord::Accepts => (Some(Tone::Good), "accepts it"),
        ProviderWord::Refuses => (Some(Tone::Bad), "refuses it"),
        ProviderWord::Unclear => (Some(Tone::Warn), "gives no answer"),
        ProviderWord::NotAsked => (None, "not asked"),
    };
    let fingerprint = report.fingerprint.as_ref().map_or("-".to_owned(), ToString::to_string);
    let about = [report.key.to_string(), word.to_owned(), fingerprint, expires(report)];
    let mut lines: Vec<Vec<String>> = report.targets.iter().map(|it| vec![it.target.to_string()]).collect();
    if lines.is_empty() {
        lines.push(vec!["-".to_owned()]);
    }
    for (n, line) in lines.iter_mut().enumerate() {
        let fate = report.targets.get(n).map_or("", |it| fate(it));
        let fate = match &report.refused {
            Some(problem) if n == 0 => format!("not adopted: {}", without_name(report, &problem.detail)),
            None if !report.adoptable && n == 0 => report.message.clone(),
            _ if !report.adoptable => String::new(),
            _ => format!("adopted: the target {fate}"),
        };
        line.push(fate);
        line.splice(0..0, if n == 0 { about.to_vec() } else { vec![String::new(); about.len()] });
    }
    lines.into_iter().enumerate().map(|(n, line)| (tone.filter(|_| n == 0), line)).collect()
}

fn without_name<'a>(report: &AdoptReport, detail: &'a str) -> &'a str {
    detail.strip_prefix(&format!("key {}: ", report.key)).unwrap_or(detail)
}

fn outcome(rows: &[Row], agreed: bool) -> String {
    let mut text = String::new();
    for row in rows {
        let key = &row.report.key;
        if row.adopted {
            text += &super::text(&row.report);
        } else if let Some(why) = &row.failure {
            text += &format!("{key}: not adopted: {}\n", one_line(without_name(&row.report, why)));
        } else if let Some(problem) = row.report.refused.as_ref() {
            let remedy = problem.remedy.as_ref().map(|it| format!("; try: {it}")).unwrap_or_default();
            text += &one_line(format!("{key}: not adopted{remedy}"));
            text.push('\n');
        }
    }
    if !agreed && rows.iter().any(|it| it.report.adoptable) {
        text += "nothing was changed\n";
    }
    text
}

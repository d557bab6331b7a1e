//! `rekeyd history`: rotations, who asked for what, notices, and who read a secret.
use super::Cli;
use super::connect::ask;
use super::exit::{Exit, Failure};
use super::output::{Output, Paint, Row, Tone, table};
use super::times::{absolute, took};
use crate::control::protocol::{ChannelRow, CommandRow, HistoryReport, NoticeRow, ReadRow, RotationRow, Time};
use crate::core::names::KeyName;
use crate::core::plan::Severity;
use crate::core::record::{Actor, RotationResult, Trigger};

/// `rekeyd history [KEY]`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only this key
    #[arg(value_name = "KEY")]
    key: Option<KeyName>,
    /// Nothing before this time, such as 2026-12-04 or 2026-12-04T22:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Time>,
    /// Nothing after this time; a date alone is its first moment, in UTC
    #[arg(long, value_name = "TIME")]
    until: Option<Time>,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    if let Some((since, until)) = args.since.zip(args.until).filter(|(since, until)| since > until) {
        let wrong = format!("--since {since} is after --until {until}: nothing lies between them");
        return Err(Failure::new(Exit::Usage, wrong).remedy("swap the two"));
    }
    let key = args.key.as_ref().map(KeyName::as_str);
    let report = ask(cli, async |daemon| Ok(daemon.history(key, args.since, args.until).await?))?;
    out.print(&report, |paint| text(&report, paint))?;
    Ok(Exit::Ok)
}

/// As people read it.
pub fn text(report: &HistoryReport, paint: Paint) -> String {
    let rotations = report.rotations.iter().map(rotation).collect();
    let commands = report.commands.iter().map(command).collect();
    let notices = report.notices.iter().map(notice).collect();
    let reads = report.reads.iter().map(read).collect();
    let parts = [
        part("no rotation has ended", &["WHEN", "RESULT", "KEY", "VERSION", "TOOK", "GAP", "WHY"], rotations, paint),
        part("nobody asked for anything", &["WHEN", "ASKED FOR", "KEY", "BY", "REASON"], commands, paint),
        part("no notice was sent", &["WHEN", "NOTICE", "KEY", "OWNER", "CHANNELS", "SUMMARY"], notices, paint),
        part("nobody read a secret", &["WHEN", "READ", "KEY", "VERSION", "BY"], reads, paint),
    ];
    parts.join("\n")
}

/// How a rotation ended, in a word.
pub fn result_word(result: RotationResult) -> &'static str {
    match result {
        RotationResult::Succeeded => "succeeded",
        RotationResult::Failed => "failed",
        RotationResult::Halted => "halted",
    }
}

fn part(none: &str, header: &[&str], rows: Vec<Row>, paint: Paint) -> String {
    if rows.is_empty() { format!("{none}\n") } else { table(header, rows, paint) }
}

fn rotation(it: &RotationRow) -> Row {
    let tone = match it.result {
        Some(RotationResult::Succeeded) => Tone::Good,
        Some(RotationResult::Failed) | None => Tone::Warn,
        Some(RotationResult::Halted) => Tone::Bad,
    };
    let span = it.finished_at.map_or("-".to_owned(), |end| took(millis(it.started_at, end)));
    let gap = it.cutover_gap_ms.map_or("-".to_owned(), took);
    let version = it.version.map_or("-".to_owned(), |it| it.to_string());
    let result = it.result.map_or("under way", result_word).to_owned();
    (Some(tone), vec![absolute(it.started_at), result, it.key.to_string(), version, span, gap, why(it)])
}

fn why(it: &RotationRow) -> String {
    let trigger = match it.trigger {
        Trigger::Schedule => "due",
        Trigger::Operator => "asked for",
        Trigger::Drift => "changed or ended by somebody else",
        Trigger::Expiry => "about to expire",
    };
    let by = it.actor.as_ref().map(|it| format!(" by {}", who(it))).unwrap_or_default();
    let reason = it.reason_given.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
    format!("{trigger}{by}{reason}")
}

/// Whoever logged in, and as whom they asked where that is another.
fn who(actor: &Actor) -> String {
    let login = actor.login_uid.unwrap_or(actor.uid);
    let user = actor.user.clone().unwrap_or_else(|| format!("uid {login}"));
    if login == actor.uid { user } else { format!("{user} as uid {}", actor.uid) }
}

fn command(it: &CommandRow) -> Row {
    let options = it.options.iter().map(|it| format!(" {it}")).collect::<String>();
    let key = it.key.as_ref().map_or("-".to_owned(), ToString::to_string);
    let by = it.actor.as_ref().map_or("a signal".to_owned(), who);
    let notes: Vec<&str> = it.reason_given.iter().chain(&it.result).map(String::as_str).collect();
    (None, vec![absolute(it.at), format!("{}{options}", it.verb), key, by, notes.join("; ")])
}

fn notice(it: &NoticeRow) -> Row {
    let tone = match it.severity {
        Severity::Info => None,
        Severity::Warning => Some(Tone::Warn),
        Severity::Critical => Some(Tone::Bad),
    };
    let why = |it: &ChannelRow| it.why.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
    let channels: Vec<_> = it.channels.iter().map(|it| format!("{} {}{}", it.channel, it.state, why(it))).collect();
    let cells =
        [it.kind.code(), it.key.as_ref().map_or("-", KeyName::as_str), &it.owner, &channels.join(", "), &it.summary];
    (tone, std::iter::once(absolute(it.at)).chain(cells.map(str::to_owned)).collect())
}

fn read(it: &ReadRow) -> Row {
    let again = it.last_at.map(|at| format!(" ({} times, last {})", it.times, absolute(at))).unwrap_or_default();
    (
        None,
        vec![absolute(it.at), it.via.clone(), it.key.to_string(), it.version.to_string(), format!("{}{again}", it.by)],
    )
}

fn millis(from: Time, to: Time) -> u64 {
    u64::try_from(to.0.since(from.0).as_millis()).unwrap_or(u64::MAX)
}

//! `rekeyd status`: every key, its health, its expiry, and what comes next.
use super::Cli;
use super::connect::ask;
use super::exit::{Exit, Failure};
use super::output::{Output, Paint, Tone, folded, one_line, table};
use super::times::{absolute, both, relative, took};
use crate::config::meant;
use crate::control::protocol::{
    AttentionStatus, DaemonState, Health, KeyStatus, OldVersion, ProviderState, Status, Time, VersionStatus,
};
use crate::core::names::KeyName;
use crate::core::record::Expiry;
use std::fmt::Write;
use std::time::Duration;

/// How many keys an error names at most.
const KEYS_NAMED: usize = 20;

/// `rekeyd status [KEY…]`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only these keys, in full
    #[arg(value_name = "KEY")]
    keys: Vec<KeyName>,
    /// Say it in the exit code: 0 well, 1 a human is needed, 69 no daemon
    #[arg(long)]
    exit_code: bool,
}

/// From this width on, in columns, times are shown as dates too.
const WIDE: usize = 112;
/// A provider that has not answered for so long needs a human to look: by then it was tried more than once.
const UNREACHABLE_MOST: Duration = Duration::from_secs(90 * 60);
/// Where the text of a line begins, below a key.
const INDENT: usize = 17;

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let status = of(ask(cli, async |daemon| Ok(daemon.status().await?))?, &args.keys)?;
    let width = out.width;
    out.print(&status, |paint| text(&status, !args.keys.is_empty(), width, paint))?;
    Ok(if args.exit_code && !is_well(&status) { Exit::Attention } else { Exit::Ok })
}

/// Only these keys, or all where none is named. One that is not there is an error that names those that are.
pub(super) fn of(mut status: Status, keys: &[KeyName]) -> Result<Status, Failure> {
    if let Some(missing) = keys.iter().find(|name| status.keys.iter().all(|it| it.name != **name)) {
        let names = || status.keys.iter().map(|it| it.name.as_str());
        let known: Vec<&str> = names().take(KEYS_NAMED).collect();
        let more = if status.keys.len() > KEYS_NAMED { ", …" } else { "" };
        let known = match meant(missing.as_str(), names()) {
            Some(near) => format!("did you mean {near}?"),
            None if known.is_empty() => "the config names none".to_owned(),
            None => format!("the keys are: {}{more}", known.join(", ")),
        };
        let message = format!("there is no key {missing}; {known}");
        return Err(Failure::new(Exit::NoInput, message).remedy("rekeyd status"));
    }
    status.keys.retain(|it| keys.is_empty() || keys.contains(&it.name));
    Ok(status)
}

/// Whether nobody needs to look: at the daemon, at a provider, at a key.
pub fn is_well(status: &Status) -> bool {
    let providers = status.providers.iter().all(|it| match it.state {
        ProviderState::Ok | ProviderState::Throttled => true,
        ProviderState::Refused => false,
        ProviderState::Unreachable => it.held_since.is_none_or(|since| status.now.0.since(since.0) < UNREACHABLE_MOST),
    });
    status.daemon.state == DaemonState::Ok && providers && status.keys.iter().all(|it| it.health == Health::Ok)
}

/// As people read it, in lines of this many columns; `in_full` tells all of each key, not only what is wrong.
pub fn text(status: &Status, in_full: bool, width: usize, paint: Paint) -> String {
    let wide = width >= WIDE;
    let mut text = if status.keys.is_empty() {
        "there are no keys; add one to the config, then: rekeyd reload\n".to_owned()
    } else {
        let rows = status.keys.iter().map(|it| (Some(it.health.into()), row(it, status.now, wide)));
        table(&["KEY", "HEALTH", "PHASE", "EXPIRES", "NEXT"], rows.collect(), paint)
    };
    for key in &status.keys {
        let about = if in_full { details(key, status.now) } else { trouble(key, status.now) };
        if !about.is_empty() {
            let _ = writeln!(text, "\n{}", paint.tone(key.health.into(), key.name.as_str()));
            about.iter().for_each(|(what, it)| line(&mut text, what, it, width));
        }
    }
    text += &own_trouble(status, width, paint);
    text
}

fn row(key: &KeyStatus, now: Time, wide: bool) -> Vec<String> {
    let when = |at: Time| if wide { both(at, now) } else { relative(at, now) };
    let expires = key.current.as_ref().map_or("-".to_owned(), |it| expires(it, when));
    let next = key.next.as_ref().map_or("-".to_owned(), |it| format!("{} {}", it.action, when(it.at)));
    vec![key.name.to_string(), key.health.to_string(), key.phase.to_string(), expires, next]
}

fn expires(version: &VersionStatus, when: impl Fn(Time) -> String) -> String {
    match (version.valid_to, version.expiry) {
        (_, Expiry::Never) => "never".to_owned(),
        (None, _) => "unknown".to_owned(),
        (Some(at), Expiry::Assumed) => format!("{} (assumed)", when(at)),
        (Some(at), _) => when(at),
    }
}

type Lines = Vec<(String, String)>;

/// What is wrong with a key, and the commands that help.
fn trouble(key: &KeyStatus, now: Time) -> Lines {
    let mut lines: Lines =
        key.attention.iter().map(|it| (it.reason.replace('_', " "), concern(key, it, now))).collect();
    if key.health != Health::Ok && !tells_last_error(key) {
        let last = key.last_error.as_ref();
        let last = last.map(|it| format!("{}, in {}: {}", both(it.at, now), it.phase, it.message));
        lines.extend(last.map(|it| ("last error".to_owned(), it)));
    }
    if !key.actions.is_empty() {
        lines.push(("try".to_owned(), key.actions.join("  or  ")));
    }
    lines
}

fn concern(key: &KeyStatus, it: &AttentionStatus, now: Time) -> String {
    let halted = key.halted.as_ref().filter(|_| it.reason == "halted");
    let phase = halted.map(|it| format!("in {} ", it.phase)).unwrap_or_default();
    let since = it.since.map(|at| format!("since {}: ", both(at, now))).unwrap_or_default();
    format!("{phase}{since}{}", it.message)
}

/// Whether what went wrong last is told already: with the failures, or with the halt that it led to.
fn tells_last_error(key: &KeyStatus) -> bool {
    let halt = key.halted.as_ref().map(|it| &it.reason);
    let is_halt = key.last_error.as_ref().is_some_and(|it| Some(&it.reason) == halt);
    is_halt || key.attention.iter().any(|it| it.reason == "failing")
}

fn details(key: &KeyStatus, now: Time) -> Lines {
    let provider = key.provider.as_ref().zip(key.kind.as_ref()).map(|(name, kind)| format!("{name} ({kind})"));
    let mut lines = Lines::new();
    lines.extend(provider.map(|it| ("provider".to_owned(), it)));
    if !key.owners.is_empty() {
        lines.push(("owners".to_owned(), key.owners.join(", ")));
    }
    for (what, it) in [("current", &key.current), ("pending", &key.pending)] {
        lines.extend(it.as_ref().map(|it| (what.to_owned(), version(it, now))));
    }
    lines.extend(key.old.iter().map(|it| ("previous".to_owned(), old(it, now))));
    let next = key.next.as_ref().map(|it| format!("{} {}: {}", it.action, both(it.at, now), it.message));
    lines.extend(next.map(|it| ("next".to_owned(), it)));
    if let Some(it) = &key.last_rotation {
        let result = it.result.map_or("under way", super::history::result_word);
        let gap = it.cutover_gap_ms.map(|it| format!(", with a gap of {}", took(it))).unwrap_or_default();
        let at = absolute(it.finished_at.unwrap_or(it.started_at));
        lines.push(("last rotation".to_owned(), format!("number {}, {result} {at}{gap}", it.attempt)));
    }
    lines.extend(trouble(key, now));
    lines
}

fn version(it: &VersionStatus, now: Time) -> String {
    let id = it.id.as_ref().map(|it| format!(", id {it}")).unwrap_or_default();
    format!("version {}, fingerprint {}{id}, expires {}", it.version, it.fingerprint, expires(it, |at| both(at, now)))
}

/// An old version, and how it ends.
fn old(it: &OldVersion, now: Time) -> String {
    let ends = match it.reported {
        true => "left to its owners, who were told".to_owned(),
        false => format!("revoked not before {}", both(it.not_before, now)),
    };
    format!("{}; {ends}", version(&it.version, now))
}

/// What is wrong with the daemon and with its providers.
fn own_trouble(status: &Status, width: usize, paint: Paint) -> String {
    let mut lines = Vec::new();
    let daemon = &status.daemon;
    if !daemon.config_ok {
        let why = daemon.config_error.as_deref().unwrap_or("it has faults");
        lines.push(format!("the newest config is not in use: {why}; try: rekeyd check"));
    }
    if daemon.state == DaemonState::Observing {
        lines.push("the state was restored: the daemon only reads until it knows what the providers hold".to_owned());
    }
    if let Some(backup) = &daemon.backup
        && let Some(why) = &backup.last_error
    {
        let last = backup.last_at.map_or("there is none".to_owned(), |at| both(at, status.now));
        lines.push(format!("backups fail: {why}; the newest one: {last}"));
    }
    lines.extend(daemon.troubles.iter().cloned());
    if daemon.outbox_dead > 0 {
        lines.push(format!(
            "{} notice(s) could not be delivered; try: rekeyd history, then: rekeyd ack --dead-letters",
            daemon.outbox_dead
        ));
    }
    for it in status.providers.iter().filter(|it| it.state != ProviderState::Ok) {
        let since = it.held_since.map(|at| format!(" since {}", both(at, status.now))).unwrap_or_default();
        let why = it.last_error.as_deref().unwrap_or("it does not answer");
        lines.push(format!("provider {}{since}: {why}", it.name));
    }
    let mark = paint.tone(Tone::Warn, "!");
    let text: String = lines.iter().map(|it| format!("{mark} {}\n", folded(&one_line(it), 2, width))).collect();
    if text.is_empty() { text } else { format!("\n{text}") }
}

fn line(text: &mut String, what: &str, it: &str, width: usize) {
    let what = format!("{what}:");
    let _ = writeln!(text, "  {what:<15}{}", folded(&one_line(it), INDENT, width));
}

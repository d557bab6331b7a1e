//! `rekeyd status`: every key, its health, its expiry, and what comes next.
use super::Cli;
use super::connect::ask;
use super::exit::{Exit, Failure};
use super::output::{Output, Paint, Tone, one_line, table};
use super::times::{absolute, both, took};
use crate::control::protocol::{DaemonState, Health, KeyStatus, PhaseName, ProviderState, Status, Time, VersionStatus};
use crate::core::names::KeyName;
use crate::core::record::Expiry;
use std::fmt::Write;

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

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let status = of(ask(cli, async |daemon| Ok(daemon.status().await?))?, &args.keys)?;
    out.print(&status, |paint| text(&status, !args.keys.is_empty(), paint))?;
    Ok(if args.exit_code && !is_well(&status) { Exit::Attention } else { Exit::Ok })
}

/// Only these keys, or all where none is named. One that is not there is an error that names those that are.
pub(super) fn of(mut status: Status, keys: &[KeyName]) -> Result<Status, Failure> {
    if let Some(missing) = keys.iter().find(|name| status.keys.iter().all(|it| it.name != **name)) {
        let known: Vec<&str> = status.keys.iter().take(KEYS_NAMED).map(|it| it.name.as_str()).collect();
        let more = if status.keys.len() > KEYS_NAMED { ", …" } else { "" };
        let known = if known.is_empty() {
            "the config names none".to_owned()
        } else {
            format!("the keys are: {}{more}", known.join(", "))
        };
        let message = format!("there is no key {missing}; {known}");
        return Err(Failure::new(Exit::NoInput, message).remedy("rekeyd status"));
    }
    status.keys.retain(|it| keys.is_empty() || keys.contains(&it.name));
    Ok(status)
}

/// Whether nobody needs to look.
pub fn is_well(status: &Status) -> bool {
    status.daemon.state == DaemonState::Ok && status.keys.iter().all(|it| it.health == Health::Ok)
}

/// As people read it; `in_full` tells all of each key, not only what is wrong.
pub fn text(status: &Status, in_full: bool, paint: Paint) -> String {
    let mut text = if status.keys.is_empty() {
        "there are no keys; add one to the config, then: rekeyd reload\n".to_owned()
    } else {
        let rows = status.keys.iter().map(|it| (Some(it.health.into()), row(it, status.now)));
        table(&["KEY", "HEALTH", "PHASE", "EXPIRES", "NEXT"], rows.collect(), paint)
    };
    for key in &status.keys {
        let about = if in_full { details(key, status.now) } else { trouble(key, status.now) };
        if !about.is_empty() {
            let _ = writeln!(text, "\n{}", paint.tone(key.health.into(), key.name.as_str()));
            about.iter().for_each(|(what, it)| line(&mut text, what, it));
        }
    }
    text += &own_trouble(status, paint);
    text
}

fn row(key: &KeyStatus, now: Time) -> Vec<String> {
    let expires = key.current.as_ref().map_or("-".to_owned(), |it| expires(it, now));
    let next = key.next.as_ref().map_or("-".to_owned(), |it| format!("{} {}", it.action, both(it.at, now)));
    vec![key.name.to_string(), key.health.to_string(), key.phase.to_string(), expires, next]
}

fn expires(version: &VersionStatus, now: Time) -> String {
    match (version.valid_to, version.expiry) {
        (_, Expiry::Never) => "never".to_owned(),
        (None, _) => "unknown".to_owned(),
        (Some(at), Expiry::Assumed) => format!("{} (assumed)", both(at, now)),
        (Some(at), _) => both(at, now),
    }
}

type Lines = Vec<(&'static str, String)>;

/// What is wrong with a key, and the commands that help.
fn trouble(key: &KeyStatus, now: Time) -> Lines {
    if key.health == Health::Ok {
        return Lines::new();
    }
    let mut lines = Lines::new();
    if let Some(it) = &key.halted {
        lines.push(("halted", format!("in {} since {}: {}", it.phase, both(it.at, now), it.message)));
    }
    if let Some(it) = &key.blocked {
        lines.push(("blocked", it.message.clone()));
    }
    if let Some(it) = key.last_error.as_ref() {
        let failures = if key.failures > 1 { format!(" ({} times in a row)", key.failures) } else { String::new() };
        lines.push(("last error", format!("{}, in {}: {}{failures}", both(it.at, now), it.phase, it.message)));
    }
    if let Some(it) = remedy(key) {
        lines.push(("try", it));
    }
    lines
}

fn remedy(key: &KeyStatus) -> Option<String> {
    let verb = |verb: &String| format!("rekeyd {verb} {}", key.name);
    match &key.halted {
        Some(it) => Some(it.choices.iter().map(verb).collect::<Vec<_>>().join("  or  ")),
        None if key.phase == PhaseName::Unadopted => Some(format!("rekeyd adopt {}", key.name)),
        None if key.failures > 0 => Some(format!("rekeyd resume {}", key.name)),
        None => None,
    }
}

fn details(key: &KeyStatus, now: Time) -> Lines {
    let provider = key.provider.as_ref().zip(key.kind.as_ref()).map(|(name, kind)| format!("{name} ({kind})"));
    let mut lines = Lines::new();
    lines.extend(provider.map(|it| ("provider", it)));
    if !key.owners.is_empty() {
        lines.push(("owners", key.owners.join(", ")));
    }
    for (what, it) in [("current", &key.current), ("pending", &key.pending), ("previous", &key.previous)] {
        lines.extend(it.as_ref().map(|it| (what, version(it, now))));
    }
    lines.extend(key.next.as_ref().map(|it| ("next", format!("{} {}: {}", it.action, both(it.at, now), it.message))));
    if let Some(it) = &key.last_rotation {
        let result = it.result.map_or("under way", super::history::result_word);
        let gap = it.cutover_gap_ms.map(|it| format!(", with a gap of {}", took(it))).unwrap_or_default();
        let at = absolute(it.finished_at.unwrap_or(it.started_at));
        lines.push(("last rotation", format!("number {}, {result} {at}{gap}", it.attempt)));
    }
    lines.extend(trouble(key, now));
    lines
}

fn version(it: &VersionStatus, now: Time) -> String {
    let id = it.id.as_ref().map(|it| format!(", id {it}")).unwrap_or_default();
    format!("version {}, fingerprint {}{id}, expires {}", it.version, it.fingerprint, expires(it, now))
}

/// What is wrong with the daemon and with its providers.
fn own_trouble(status: &Status, paint: Paint) -> String {
    let mut lines = Vec::new();
    let daemon = &status.daemon;
    if !daemon.config_ok {
        let why = daemon.config_error.as_deref().unwrap_or("it has faults");
        lines.push(format!("the newest config is not in use: {why}; try: rekeyd check"));
    }
    if daemon.state == DaemonState::Observing {
        lines.push("the state was restored: the daemon only reads until it knows what the providers hold".to_owned());
    }
    if daemon.outbox_dead > 0 {
        lines.push(format!("{} notice(s) could not be delivered; try: rekeyd history", daemon.outbox_dead));
    }
    for it in status.providers.iter().filter(|it| it.state != ProviderState::Ok) {
        let since = it.held_since.map(|at| format!(" since {}", both(at, status.now))).unwrap_or_default();
        let why = it.last_error.as_deref().unwrap_or("it does not answer");
        lines.push(format!("provider {}{since}: {why}", it.name));
    }
    let lines = lines.iter().map(|it| format!("{} {}\n", paint.tone(Tone::Warn, "!"), one_line(it)));
    let text: String = lines.collect();
    if text.is_empty() { text } else { format!("\n{text}") }
}

fn line(text: &mut String, what: &str, it: &str) {
    let what = format!("{what}:");
    let _ = writeln!(text, "  {what:<15}{}", one_line(it));
}

//! What the history keeps of an operator's verb: who did what to which key, how, and why.
use super::handle::By;
use crate::core::names::KeyName;
use crate::core::plan::{Change, Command};
use crate::core::record::Record;
use crate::core::time::Timestamp;
use crate::store::HistoryRow;

/// The row for a verb that was carried out. It is committed with what the verb changed.
pub(super) fn row(name: &KeyName, command: &Command, by: &By, at: Timestamp) -> HistoryRow {
    let name = Some(name.clone());
    HistoryRow::Command {
        name,
        at,
        verb: verb(command).to_owned(),
        options: options(command),
        actor: Some(by.actor.clone()),
        reason: by.reason.clone(),
        result: None,
    }
}

/// A rotation that the verb itself began bears the name of who asked for it, and why.
pub(super) fn signed(mut change: Change, before: &Record, by: &By) -> Change {
    if let Some(it) = change.record.rotation.as_mut().filter(|it| it.attempt > before.last_attempt) {
        it.wish.actor.get_or_insert_with(|| by.actor.clone());
        it.wish.reason = it.wish.reason.take().or_else(|| by.reason.clone());
    }
    change
}

/// The row for what was asked of the daemon itself; by nobody where it was a signal.
pub(super) fn own(
    verb: &str,
    options: Vec<String>,
    by: Option<&By>,
    result: Option<String>,
    at: Timestamp,
) -> HistoryRow {
    let (actor, reason) = (by.map(|it| it.actor.clone()), by.and_then(|it| it.reason.clone()));
    HistoryRow::Command { name: None, at, verb: verb.to_owned(), options, actor, reason, result }
}

/// As the command line calls it.
pub(super) fn verb(command: &Command) -> &'static str {
    match command {
        Command::Rotate(_) | Command::Supply(_) => "rotate",
        Command::Resume => "resume",
        Command::Abandon => "abandon",
        Command::Adopt(_) => "adopt",
        Command::Pause(_) => "pause",
        Command::Rollback => "rollback",
        Command::Ack { .. } => "ack",
        Command::Retire => "retire",
        Command::Forget => "forget",
    }
}

/// As the command line spells them.
fn options(command: &Command) -> Vec<String> {
    let given = |options: &[(&str, bool)]| options.iter().filter(|it| it.1).map(|it| it.0.to_owned()).collect();
    match command {
        Command::Rotate(it) => given(&[("--now", it.now), ("--compromised", it.compromised)]),
        Command::Supply(it) => given(&[("--now", it.wish.now), ("--compromised", it.wish.compromised)]),
        Command::Adopt(it) => given(&[("--unverified", it.unverified), ("--deliver", it.deliver)]),
        Command::Pause(it) => it.until.map(|until| format!("--until {until}")).into_iter().collect(),
        Command::Ack { revoked } => given(&[("--revoked", *revoked)]),
        _ => Vec::new(),
    }
}

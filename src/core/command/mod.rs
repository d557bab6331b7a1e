//! An operator's verbs, each by its rule: refused with a reason where it would lose a key, and then nothing changes.
mod adopt;
mod end;
mod give_up;
mod leave;
mod restore;
mod steer;
mod supply;

pub use leave::{account_gone, leave_account, taken_up, unmanaged};
pub use restore::{answer_without_books, damaged, restored};

use super::account::Account;
use super::names::{Fingerprint, Incarnation, KeyName};
use super::pass::Pass;
use super::plan::{Change, Command, CommandRefused};
use super::policy::Policy;
use super::record::Record;
use super::time::Timestamp;
use std::collections::BTreeSet;

/// Folds an operator's verb into the record.
///
/// # Errors
/// Where the verb would lose a key, or has no sense in this phase. Nothing is changed then.
pub fn command(
    record: &Record,
    account: &Account,
    command: &Command,
    policy: &Policy,
    now: Timestamp,
) -> Result<Change, CommandRefused> {
    let nobody = nobody();
    let mut pass = Pass::new(record, account, policy, &nobody, now);
    match command {
        Command::Rotate(wish) => pass.rotate(wish.clone()),
        Command::Resume => pass.resume(),
        Command::Abandon => pass.abandon(),
        Command::Adopt(it) => pass.adopt(it),
        Command::Supply(it) => pass.supply(it),
        Command::Pause(it) => pass.pause(it.clone()),
        Command::Rollback => pass.roll_back(),
        Command::Ack { revoked } => pass.acknowledge(*revoked),
        Command::Retire => {
            pass.decommission(&BTreeSet::new());
            Ok(())
        }
        Command::Forget => pass.forget(),
    }?;
    Ok(pass.change(record))
}

/// The verbs that a halted key takes now: each ends its halt, the likeliest first.
pub fn choices(record: &Record, account: &Account, policy: &Policy, now: Timestamp) -> Vec<&'static str> {
    let would = |verb: &Command| command(record, account, verb, policy, now).is_ok();
    let mut choices = vec!["resume"];
    choices.extend(would(&Command::Abandon).then_some("abandon"));
    choices.push("adopt");
    choices.extend(would(&Command::Rollback).then_some("rollback"));
    choices
}

/// As it is said to a key: with the option that it can't do without, so that it can be run as it stands.
pub fn spelled(verb: &str, name: &KeyName, policy: &Policy) -> String {
    match verb {
        "adopt" => adopt_words(name, policy, false),
        verb => format!("rekeyd {verb} {name}"),
    }
}

/// How the key in use is handed over: as its targets hold it, or (asked for, or from a pipe) by whoever has it. Where the
/// provider does not tell how old a key is, somebody must.
pub fn adopt_words(name: &KeyName, policy: &Policy, from_target: bool) -> String {
    let from = if from_target { " --from-target" } else { "" };
    let age = if policy.provider.reports_expiry { "" } else { " --age-unknown" };
    format!("rekeyd adopt {name}{from}{age}")
}

/// `retire`, where other keys of the config may use a version of this one: a key that got another name, and was adopted
/// under it. Such a version is neither revoked nor reported.
pub fn retire(
    record: &Record,
    account: &Account,
    in_use: &BTreeSet<Fingerprint>,
    policy: &Policy,
    now: Timestamp,
) -> Change {
    let nobody = nobody();
    let mut pass = Pass::new(record, account, policy, &nobody, now);
    pass.decommission(in_use);
    pass.change(record)
}

/// No verb issues a token, so that it does not matter who would.
pub(in crate::core) fn nobody() -> Incarnation {
    Incarnation { install: String::new(), epoch: String::new() }
}

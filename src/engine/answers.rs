//! What an operator is told once a verb was carried out: one sentence on what comes next, which must be true.
use crate::core::pass::phase_name;
use crate::core::plan::Command;
use crate::core::policy::{OnCreate, Policy};
use crate::core::record::{Phase, Record, Version, Wish};

/// For a verb that turned one record into the other.
pub(super) fn message(asked: &Command, before: &Record, after: &Record, policy: &Policy) -> String {
    match asked {
        Command::Rotate(wish) => rotate(wish, before, after, policy),
        Command::Resume => resume(before, after),
        Command::Abandon => abandon(before, after, policy),
        Command::Adopt(_) => "adopted".to_owned(),
        Command::Pause(it) => {
            let finishes =
                if matches!(after.phase, Phase::Cutover { .. }) { "; the cutover under way finishes" } else { "" };
            match it.until {
                Some(until) => format!("nothing is begun or revoked until {}{finishes}", until.whole_second()),
                None => format!("nothing is begun or revoked until it is resumed{finishes}"),
            }
        }
        Command::Rollback => rollback(before, after),
        Command::Ack { revoked: true } => "the old versions are booked as revoked".to_owned(),
        Command::Ack { revoked: false } => {
            "what is firing is told again only when it becomes something else, or worse".to_owned()
        }
        Command::Retire => retire(after, policy),
        Command::Forget => "forgotten; what happened stays in the history".to_owned(),
    }
}

fn rotate(wish: &Wish, before: &Record, after: &Record, policy: &Policy) -> String {
    if let Some(rotation) = &after.rotation {
        return format!("rotation {} is under way already, in {}", rotation.attempt, phase_name(&after.phase));
    }
    let attempt = before.last_attempt + 1;
    let at_once =
        wish.now || wish.compromised || (policy.windows.is_empty() && policy.provider.on_create == OnCreate::Keeps);
    if at_once {
        format!("rotation {attempt} begins now")
    } else {
        format!("rotation {attempt} begins in the next window")
    }
}

fn resume(before: &Record, after: &Record) -> String {
    let halted = |it: &Record| matches!(it.phase, Phase::Halted { .. });
    match (before.paused.is_some() && after.paused.is_none(), halted(before), halted(after)) {
        (true, _, true) => "the pause is over; it is still halted, and resume ends that too".to_owned(),
        (true, ..) => "the pause is over; it goes on".to_owned(),
        (false, true, false) => format!("it goes on in {}", phase_name(&after.phase)),
        _ if before.failures > 0 => "what failed is tried again now".to_owned(),
        _ => "nothing held it back; it is looked at now".to_owned(),
    }
}

/// The new key is delivered nowhere any more; how it ends is for its provider's abilities to say.
fn abandon(before: &Record, after: &Record, policy: &Policy) -> String {
    let stays = after.current.as_ref().map(|it| format!("; version {} stays in use", it.number)).unwrap_or_default();
    let next = after.retry_at.map(|at| format!("; the next attempt comes no sooner than {}", at.whole_second()));
    let given_up = match before.pending() {
        Some(it) if policy.provider.revokes_by_id && it.id.is_some() => {
            format!("version {} is given up, and revoked once nothing holds it", it.number)
        }
        Some(it) => {
            format!("version {} is given up; it can't be revoked from here, and its owners are told", it.number)
        }
        None => "the attempt is given up; what it may have created is looked for, then revoked or reported".to_owned(),
    };
    format!("{given_up}{stays}{}", next.unwrap_or_default())
}

fn rollback(before: &Record, after: &Record) -> String {
    let number = |it: Option<&Version>| it.map_or("none".to_owned(), |it| it.number.to_string());
    let (old, new) = (number(after.pending()), number(before.current.as_ref()));
    format!("version {old} is checked, then delivered again and made current; version {new} is retired then")
}

fn retire(after: &Record, policy: &Policy) -> String {
    let live: Vec<&Version> = after.live_versions().collect();
    let name = &after.name;
    let ends = match live.len() {
        0 => "no version of it is live".to_owned(),
        n if policy.provider.revokes_by_id => format!("{n} version(s) are revoked once no target holds them"),
        n => format!("{n} version(s) can't be revoked from here, and its owners are told to"),
    };
    format!("its targets are emptied, and {ends}; when that is done: rekeyd forget {name}")
}

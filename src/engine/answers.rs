//! What an operator is told once a verb was carried out: one sentence on what comes next, which must be true.
use crate::core::facts::Blocked;
use crate::core::pass::phase_name;
use crate::core::plan::Command;
use crate::core::policy::{OnCreate, Policy, Recover};
use crate::core::record::{Pause, Phase, Record, Version, VersionNo, Wish};

/// For a verb that turned one record into the other, while this holds the key back.
pub(super) fn message(
    asked: &Command,
    before: &Record,
    after: &Record,
    policy: &Policy,
    blocked: Option<&Blocked>,
) -> String {
    let next = next(asked, before, after, policy);
    let begins = matches!(asked, Command::Rotate(_) | Command::Resume);
    match blocked.filter(|it| begins && !matches!(it, Blocked::Window(_))) {
        Some(why) => format!("{next}; so far it is held back: {why}"),
        None => next,
    }
}

fn next(asked: &Command, before: &Record, after: &Record, policy: &Policy) -> String {
    match asked {
        Command::Rotate(wish) => rotate(wish, before, after, policy),
        Command::Resume => resume(before, after),
        Command::Abandon => abandon(before, after, policy),
        Command::Adopt(_) => adopt(before, after),
        Command::Supply(_) => supply(after),
        Command::Pause(it) => pause(it, before, after),
        Command::Rollback => rollback(before, after),
        Command::Ack { revoked: true } => "what was to be revoked by hand is booked as revoked".to_owned(),
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
        wish.waits_for_nothing() || (policy.windows.is_empty() && policy.provider.on_create == OnCreate::Keeps);
    if at_once {
        format!("rotation {attempt} begins now")
    } else {
        format!("rotation {attempt} begins in the next window; when that is: rekeyd status {}", after.name)
    }
}

fn adopt(before: &Record, after: &Record) -> String {
    let number = |it: &Record| it.current.as_ref().map(|it| it.number);
    let halted = matches!(before.phase, Phase::Halted { .. });
    match number(after).filter(|it| number(before) == Some(*it)) {
        None => "adopted".to_owned(),
        Some(number) if halted => format!("the halt is over; version {number} stays in use"),
        Some(number) if before.current == after.current => already(number),
        Some(number) => format!("it was adopted already, as version {number}; what is said of it is noted"),
    }
}

/// For a key that is in use, and of which nothing new is said.
pub(super) fn already(number: VersionNo) -> String {
    format!("it is adopted already, as version {number}; nothing changes")
}

/// It is durable already; where it has to wait, `status` says for what.
fn supply(after: &Record) -> String {
    let number = after.pending().map_or(after.last_version, |it| it.number);
    format!("version {number} is kept, and goes to its targets")
}

/// What holds from now on; where it was paused before, what became of that.
fn pause(asked: &Pause, before: &Record, after: &Record) -> String {
    let finishes = if matches!(after.phase, Phase::Cutover { .. }) { "; the cutover under way finishes" } else { "" };
    let earlier = before.paused.as_ref().filter(|it| it.ends() > asked.since);
    let holds = match earlier {
        Some(kept) if after.paused.as_ref() == earlier => {
            format!("it keeps the pause {}, which lasts at least as long", told(kept))
        }
        _ => {
            let until = asked.until.map_or("it is resumed".to_owned(), |it| it.whole_second().to_string());
            let instead = earlier.map(|it| format!(", instead of the pause {}", told(it))).unwrap_or_default();
            format!("nothing is begun or revoked until {until}{instead}")
        }
    };
    format!("{holds}{finishes}; end it: rekeyd resume {}", after.name)
}

/// Until when, by whom and why.
fn told(pause: &Pause) -> String {
    let end = pause.until.map_or("without end".to_owned(), |it| format!("until {}", it.whole_second()));
    let by = pause.actor.as_ref().map(|it| format!(" by {}", it.name())).unwrap_or_default();
    let why = pause.reason.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
    format!("{end}{by}{why}")
}

fn resume(before: &Record, after: &Record) -> String {
    let halted = |it: &Record| matches!(it.phase, Phase::Halted { .. });
    match (before.paused.is_some() && after.paused.is_none(), halted(before), halted(after)) {
        (true, _, true) => "the pause is over; it is still halted, and resume ends that too".to_owned(),
        (true, ..) => "the pause is over; it goes on".to_owned(),
        (false, true, false) => format!("it goes on in {}", phase_name(&after.phase)),
        _ if before.failures > 0 => "what failed is tried again now".to_owned(),
        _ => "it was neither paused nor halted; what waits is tried now".to_owned(),
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
        None if policy.provider.recover == Recover::None => {
            "the attempt is given up; what it may have created can't be found from here, and its owners are told"
                .to_owned()
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
    if after.held.is_empty() && after.live_versions().next().is_none() {
        return format!("it is out of service; drop its record: rekeyd forget {}", after.name);
    }
    let ends = match (after.live_versions().count(), policy.provider.revokes_by_id) {
        (0, _) => "none of its versions is live".to_owned(),
        (1, true) => "its live version is revoked once no target holds it".to_owned(),
        (n, true) => format!("its {n} live versions are revoked once no target holds them"),
        (_, false) => "its owners are told which versions to revoke by hand".to_owned(),
    };
    format!("its targets are emptied, and {ends}; when that is done: rekeyd forget {}", after.name)
}

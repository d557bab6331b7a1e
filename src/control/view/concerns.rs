//! What is wrong with a key, in sentences, and the commands that help.
use super::key::{halt_message, waits};
use crate::control::protocol::AttentionStatus;
use crate::core::account::Account;
use crate::core::command::{self, adopt_words, spelled};
use crate::core::facts::Blocked;
use crate::core::gate::TAKEN;
use crate::core::names::KeyName;
use crate::core::policy::Initial;
use crate::core::reader;
use crate::core::record::{Held, Pause, Phase, Record, Retired, VersionNo};
use crate::humane::HumanDuration;
use crate::standing::{Concern, Subject};

pub(super) fn attention(subject: &Subject<'_>, concern: &Concern<'_>) -> AttentionStatus {
    AttentionStatus {
        reason: concern.code().to_owned(),
        since: concern.since().map(Into::into),
        message: message(subject, concern),
    }
}

fn message(subject: &Subject<'_>, concern: &Concern<'_>) -> String {
    match concern {
        Concern::Expired { assumed: false, .. } => "whoever uses it is refused".into(),
        Concern::Expired { .. } => "by its assumed lifetime; nobody knows whether the provider still accepts it".into(),
        Concern::Refused { .. } => "the provider refuses the key in use before its time".into(),
        Concern::Halted { reason, .. } => halt_message(*reason).into(),
        Concern::Overdue { .. } => "it was due then, and no rotation has begun".into(),
        Concern::AwaitsKey { .. } => {
            let place = subject.config.and_then(|it| it.policy.instructions.as_ref());
            let place = place.map(|it| format!(" ({it})")).unwrap_or_default();
            format!("it waits for a new key by hand; get one{place}, and give it to rotate")
        }
        Concern::TooLate { begins: Some(at) } => {
            format!("its next rotation would begin at {}, after it expires", at.whole_second())
        }
        Concern::TooLate { begins: None } => "no window opens for it again before it expires".into(),
        Concern::Stuck { phase, after, .. } => {
            format!("under way for longer than {}, now in {phase}", HumanDuration(*after))
        }
        Concern::Failing { times } => failing(subject, *times),
        Concern::Blocked(why) if waits_to_create(subject) => waits(subject, why),
        Concern::Blocked(why) => why.to_string(),
        Concern::Undelivered { target, wanted, held, .. } => {
            format!("{target} {}{}", holds(*held, *wanted), error(*held))
        }
        Concern::Unverified { .. } => "the key in use was never seen to be accepted from here".into(),
        Concern::Unrevoked { old, .. } => unrevoked(subject, old),
        Concern::RevokeNeeded(old) => revoke_needed(subject, old),
        Concern::Unadopted(Initial::Adopt) => unadopted(subject),
        Concern::Unadopted(Initial::Create) => "its first key is not created yet".into(),
        Concern::Unmanaged => {
            "the config no longer names it, and nothing replaces it; put it back, or take it out of service".into()
        }
        Concern::Paused(pause) => paused(pause),
    }
}

/// Why an old version is left to a human, and what he does.
fn revoke_needed(subject: &Subject<'_>, old: &Retired) -> String {
    let id = old.version.id.as_ref().map(|it| format!("id {it}, ")).unwrap_or_default();
    let what = format!("the old version {} ({id}fingerprint {})", old.version.number, old.version.fingerprint);
    let early = old.version.delivered && old.after > subject.now;
    let when = if early { format!(", not before {}", old.after.whole_second()) } else { String::new() };
    let (left, retires) = (can_retire(subject), retire_revokes(subject, old));
    match (left, retires) {
        (true, true) => format!(
            "{what} stays valid, for the config no longer names the key; it is revoked with the rest when the key is taken out \
             of service{when}"
        ),
        (true, false) => {
            format!("{what} is not revoked by rekeyd; revoke it by hand{when}, then take the key out of service")
        }
        (false, _) => format!("{what} is not revoked by rekeyd; revoke it by hand{when}, then book that"),
    }
}

/// Whether the key is one that the config has left behind, and nobody has taken out of service yet.
fn can_retire(subject: &Subject<'_>) -> bool {
    subject.config.is_none() && subject.record.is_some_and(|it| it.decommissioned.is_none())
}

fn retire_revokes(subject: &Subject<'_>, old: &Retired) -> bool {
    let section = subject.snapshot.settings.account(&old.version.account);
    old.version.id.is_some() && section.is_some_and(|it| it.provider.capabilities().revokes_by_id)
}

fn unadopted(subject: &Subject<'_>) -> String {
    let empty = if holds_nothing(subject) { "; its targets hold none" } else { "" };
    let tells = subject.config.is_none_or(|it| it.policy.provider.reports_expiry);
    let age =
        if tells { "" } else { "; where its age is known, with --issued-at or --valid-to instead of --age-unknown" };
    format!("it is not in our care yet: hand over the key in use{empty}{age}")
}

/// Whether every target was seen to hold no key, or none can be looked into.
fn holds_nothing(subject: &Subject<'_>) -> bool {
    subject.snapshot.nothing_to_adopt.contains(subject.name)
}

/// The command that takes over what is in use; from the targets, where they may hold it.
pub(super) fn adopt_in_use(subject: &Subject<'_>) -> String {
    let (name, from_target) = (subject.name, !holds_nothing(subject));
    match subject.config {
        Some(key) => adopt_words(name, &key.policy, from_target),
        None => format!("rekeyd adopt {name}"),
    }
}

/// Whether a rotation has begun that has not come to its create.
fn waits_to_create(subject: &Subject<'_>) -> bool {
    matches!(subject.phase(), Phase::Create(creating) if creating.token.is_none())
}

fn paused(pause: &Pause) -> String {
    let until = match pause.until {
        Some(until) => format!("until {}", until.whole_second()),
        None => "until it is resumed".to_owned(),
    };
    let by = pause.actor.as_ref().map(|it| format!(", by {}", it.name())).unwrap_or_default();
    let why = pause.reason.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
    format!("nothing is begun or revoked {until}{by}{why}")
}

fn failing(subject: &Subject<'_>, times: u32) -> String {
    let again = if times > 1 { format!(" ({times} times in a row)") } else { String::new() };
    match subject.record.and_then(|it| it.last_error.as_ref()) {
        Some(it) => format!("in {}: {}{again}", it.phase, it.message),
        None => format!("the last try failed{again}"),
    }
}

fn holds(held: Option<&Held>, wanted: VersionNo) -> String {
    let Some(held) = held else { return format!("has not got version {wanted}") };
    let others: Vec<_> = held.maybe.iter().filter(|it| **it != wanted).map(ToString::to_string).collect();
    match held.settled {
        _ if held.foreign.is_some() => format!("holds a key that is none of ours instead of version {wanted}"),
        _ if !others.is_empty() => format!("may still hold version {} instead of {wanted}", others.join(" or ")),
        _ if !held.maybe.is_empty() => format!("was to get version {wanted}, and that has not succeeded yet"),
        Some(it) if it == wanted => format!("holds version {wanted}, which is not confirmed"),
        Some(it) => format!("holds version {it} where it should hold {wanted}"),
        None => format!("has not got version {wanted}"),
    }
}

fn error(held: Option<&Held>) -> String {
    held.and_then(|it| it.last_error.as_ref()).map(|it| format!(": {it}")).unwrap_or_default()
}

fn unrevoked(subject: &Subject<'_>, old: &Retired) -> String {
    let number = old.version.number;
    let unread = subject.config.zip(subject.record).map(|(key, it)| reader::unread(it, &key.policy));
    if let Some(unit) = unread.iter().flatten().find_map(reader::unit_of) {
        let current = subject.record.and_then(|it| it.current.as_ref()).map_or(0, |it| it.number);
        return format!(
            "the old version {number} should be revoked by now, and is not: {unit} did not read version {current} yet"
        );
    }
    let held = subject.record.map(|it| &it.held).into_iter().flatten();
    let holder = held.filter(|(_, it)| it.may_hold(number)).map(|it| it.0).next();
    let why = match holder {
        Some(target) => format!("{target} may still hold it"),
        None if old.failures > 0 => format!("the provider refused to {} times", old.failures),
        None if subject.config.is_none() => "it waits for its provider".to_owned(),
        None => "the key in use is not seen to be accepted".to_owned(),
    };
    format!("the old version {number} should be revoked by now, and is not: {why}")
}

/// The commands that help now, the likeliest first. None where nothing is wrong, or where waiting is all there is to do.
pub(super) fn actions(subject: &Subject<'_>, concerns: &[Concern<'_>]) -> Vec<String> {
    let name = subject.name;
    let paused = concerns.iter().any(|it| matches!(it, Concern::Paused(_)));
    if matches!(subject.phase(), Phase::Halted { .. }) && !paused {
        let Some(policy) = subject.working_policy() else { return Vec::new() };
        return choices(subject).iter().map(|it| spelled(it, name, &policy)).collect();
    }
    if is_over(subject) && concerns.is_empty() {
        return vec![format!("rekeyd forget {name}")];
    }
    let mut actions: Vec<String> = Vec::new();
    for action in concerns.iter().filter_map(|it| action(subject, name, it)) {
        if !actions.contains(&action) {
            actions.push(action);
        }
    }
    actions
}

fn action(subject: &Subject<'_>, name: &KeyName, concern: &Concern<'_>) -> Option<String> {
    let under_way = subject.record.is_some_and(|it| it.rotation.is_some());
    let by_hand = subject.config.is_some_and(|it| !it.policy.provider.creates);
    match concern {
        Concern::Unrevoked { .. } if subject.config.is_none() => Some(format!("rekeyd ack --revoked {name}")),
        // Whoever acknowledges here what `retire` can still revoke would leave it live.
        Concern::RevokeNeeded(_) if can_retire(subject) => Some(format!("rekeyd retire {name}")),
        Concern::RevokeNeeded(_) => Some(format!("rekeyd ack --revoked {name}")),
        Concern::Unmanaged => Some(format!("rekeyd retire {name}")),
        _ if subject.config.is_none() => None,
        Concern::Paused(_) => Some(format!("rekeyd resume {name}")),
        Concern::Unadopted(initial) if *initial == Initial::Adopt || a_target_is_taken(subject) => {
            Some(adopt_in_use(subject))
        }
        _ if is_paused(subject) => None,
        _ if matches!(subject.phase(), Phase::Reobserve { .. }) => Some(format!("rekeyd resume {name}")),
        Concern::AwaitsKey { .. } => Some(format!("rekeyd rotate {name}")),
        Concern::Expired { .. } if by_hand => Some(format!("rekeyd rotate {name}")),
        Concern::Expired { .. } | Concern::Refused { .. } | Concern::Overdue { .. } | Concern::TooLate { .. }
            if !under_way =>
        {
            Some(format!("rekeyd rotate --now {name}"))
        }
        Concern::Expired { .. } | Concern::Refused { .. } | Concern::Stuck { .. } | Concern::Failing { .. } => {
            Some(format!("rekeyd resume {name}"))
        }
        Concern::Undelivered { held, .. } => {
            let foreign = held.is_some_and(|it| it.foreign.is_some());
            Some(if foreign { adopt_in_use(subject) } else { format!("rekeyd resume {name}") })
        }
        Concern::Unrevoked { .. } => Some(format!("rekeyd resume {name}")),
        Concern::Blocked(why) => unblock(name, why),
        _ => None,
    }
}

/// What a human can do about a condition that heals by itself, where that is more than to wait.
fn unblock(name: &KeyName, why: &Blocked) -> Option<String> {
    match why {
        Blocked::Clock | Blocked::Observing => Some("rekeyd resume --all".to_owned()),
        Blocked::Config => Some("rekeyd check".to_owned()),
        Blocked::Target(..) | Blocked::Provider(_) | Blocked::Login => Some(format!("rekeyd resume {name}")),
        _ => None,
    }
}

/// Whether a key was taken out of service, nothing of it is live any more, and only its record is left.
fn is_over(subject: &Subject<'_>) -> bool {
    let gone = |it: &&Record| it.decommissioned.is_some() && it.held.is_empty() && it.live_versions().next().is_none();
    let mut open = subject.snapshot.accounts.values().flat_map(|it| &it.open);
    let watched = open.any(|(token, open)| token.name == *subject.name && open.reported_at.is_none());
    subject.config.is_none() && subject.record.filter(gone).is_some() && !watched
}

/// Whether a first create waits because a target holds something.
fn a_target_is_taken(subject: &Subject<'_>) -> bool {
    matches!(subject.blocked, Some(Blocked::Target(_, why)) if why == TAKEN)
}

fn is_paused(subject: &Subject<'_>) -> bool {
    subject.record.is_some_and(|it| it.is_paused(subject.now))
}

/// The verbs that end a halt, those alone that would not be refused now.
pub(super) fn choices(subject: &Subject<'_>) -> Vec<&'static str> {
    let (Some(policy), Some(record)) = (subject.working_policy(), subject.record) else { return Vec::new() };
    let account = subject.snapshot.accounts.get(&policy.account).cloned();
    let account = account.unwrap_or_else(|| Account::new(policy.account.clone()));
    command::choices(record, &account, &policy, subject.now)
}

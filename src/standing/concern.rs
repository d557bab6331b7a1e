//! What is wrong with a key, each thing told apart from the others. A key without concerns is well.
use super::{PhaseName, Subject, bare_phase, forecast, phase_name};
use crate::core::facts::Blocked;
use crate::core::names::TargetId;
use crate::core::policy::{Initial, OutsideWindow, Policy, Reach};
use crate::core::reader;
use crate::core::record::{Ended, Expiry, Held, Pause, Phase, Reason, Record, Retired, Version, VersionNo};
use crate::core::stuck::under_way_since;
use crate::core::time::Timestamp;
use crate::core::{by_hand, due};
use std::time::Duration;

/// A cutover is meant to take moments. Targets that are without the new key for longer than this are told.
pub const GAP_MOST: Duration = Duration::from_secs(60);

/// A key that is taken out of service should have no live version any more after this long.
pub const RETIRED_WITHIN: Duration = Duration::from_secs(60 * 60);

/// One thing that is wrong with a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Concern<'a> {
    /// The current version is past its end.
    Expired {
        /// Since when.
        since: Timestamp,
        /// Whether that end is only assumed.
        assumed: bool,
    },
    /// The provider refuses the current version before its end.
    Refused {
        /// Since when.
        since: Timestamp,
    },
    /// It waits for a human.
    Halted {
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: Reason,
    },
    /// It is due, its window has passed, and no rotation has begun.
    Overdue {
        /// When it was due.
        since: Timestamp,
    },
    /// It is due, and only a human can get a new key.
    AwaitsKey {
        /// When it was due.
        since: Timestamp,
    },
    /// Its next rotation would begin after its end.
    TooLate {
        /// When that rotation would begin; none where no window opens again.
        begins: Option<Timestamp>,
    },
    /// It has been under way for longer than `stuck_after`.
    Stuck {
        /// Since when it is under way.
        since: Timestamp,
        /// In which phase it is.
        phase: PhaseName,
        /// Its `stuck_after`.
        after: Duration,
    },
    /// What was tried last failed, and is tried again.
    Failing {
        /// How often in a row.
        times: u32,
    },
    /// A condition that heals by itself holds it back.
    Blocked(&'a Blocked),
    /// A target does not surely hold what it should.
    Undelivered {
        /// Which target.
        target: &'a TargetId,
        /// The version that it should hold.
        wanted: VersionNo,
        /// What is known of it; none where it was never delivered to.
        held: Option<&'a Held>,
        /// Whether its consumer is without a working key, or will be within a day.
        dire: bool,
    },
    /// The current version was never seen to be accepted.
    Unverified {
        /// Since when it is ours.
        since: Timestamp,
    },
    /// An old version should have been revoked, and is not.
    Unrevoked {
        /// Since when.
        since: Timestamp,
        /// Which.
        old: &'a Retired,
    },
    /// An old version can't be revoked from here: a human must.
    RevokeNeeded(&'a Retired),
    /// It is not ours yet.
    Unadopted(Initial),
    /// The config no longer names it, and it may be in use.
    Unmanaged,
    /// An operator holds it back.
    Paused(&'a Pause),
}

impl Concern<'_> {
    /// All the codes.
    pub const CODES: [&'static str; 16] = [
        "expired",
        "refused",
        "halted",
        "overdue",
        "awaits_key",
        "too_late",
        "stuck",
        "failing",
        "blocked",
        "undelivered",
        "unverified",
        "unrevoked",
        "revoke_needed",
        "unadopted",
        "unmanaged",
        "paused",
    ];

    /// The code that scripts and alerts compare.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "expired",
            Self::Refused { .. } => "refused",
            Self::Halted { .. } => "halted",
            Self::Overdue { .. } => "overdue",
            Self::AwaitsKey { .. } => "awaits_key",
            Self::TooLate { .. } => "too_late",
            Self::Stuck { .. } => "stuck",
            Self::Failing { .. } => "failing",
            Self::Blocked(_) => "blocked",
            Self::Undelivered { .. } => "undelivered",
            Self::Unverified { .. } => "unverified",
            Self::Unrevoked { .. } => "unrevoked",
            Self::RevokeNeeded(_) => "revoke_needed",
            Self::Unadopted(_) => "unadopted",
            Self::Unmanaged => "unmanaged",
            Self::Paused(_) => "paused",
        }
    }

    /// Since when, where that is known.
    pub fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Expired { since, .. }
            | Self::Refused { since }
            | Self::Halted { since, .. }
            | Self::Overdue { since }
            | Self::AwaitsKey { since }
            | Self::Stuck { since, .. }
            | Self::Unverified { since }
            | Self::Unrevoked { since, .. } => Some(*since),
            Self::Paused(pause) => Some(pause.since),
            _ => None,
        }
    }
}

/// Everything that is wrong with a key, the worst first.
pub fn concerns<'a>(subject: &Subject<'a>) -> Vec<Concern<'a>> {
    let mut found = Vec::new();
    if let Some(record) = subject.record {
        let current = record.current.as_ref();
        found.extend(current.and_then(|it| expired(subject, it)));
        found.extend(current.and_then(|it| refused(record, it)));
        found.extend(halted(record));
        found.extend(current.and_then(|it| overdue(subject, record, it)));
        found.extend(current.and_then(|it| awaits_key(subject, record, it)));
        found.extend(current.and_then(|it| too_late(subject, record, it)));
        found.extend(stuck(subject, record));
        found.extend(failing(record));
        found.extend(subject.blocked.filter(|it| is_trouble(it)).map(Concern::Blocked));
        found.extend(undelivered(subject, record));
        found.extend(current.and_then(|it| unverified(subject, record, it)));
        found.extend(record.retired.iter().filter_map(|it| unrevoked(subject, it)));
        found.extend(record.retired.iter().filter_map(|it| revoke_needed(subject, it)));
    }
    found.extend(unadopted(subject));
    found.extend(unmanaged(subject));
    found.extend(pause(subject).map(Concern::Paused));
    found
}

fn expired<'a>(subject: &Subject<'_>, current: &Version) -> Option<Concern<'a>> {
    let since = current.valid_to.filter(|end| *end <= subject.now)?;
    Some(Concern::Expired { since, assumed: current.expiry == Expiry::Assumed })
}

fn refused<'a>(record: &Record, current: &Version) -> Option<Concern<'a>> {
    // In a cutover the current version is the new one: that it is refused at first is no trouble yet.
    let since = current.dead_since.filter(|_| !matches!(record.phase, Phase::Cutover { .. }))?;
    Some(Concern::Refused { since })
}

fn halted<'a>(record: &Record) -> Option<Concern<'a>> {
    let Phase::Halted { reason, at, .. } = &record.phase else { return None };
    Some(Concern::Halted { since: *at, reason: *reason })
}

/// A halt that the last failure led to tells of that failure already.
fn failing<'a>(record: &Record) -> Option<Concern<'a>> {
    let told = |reason: &Reason| record.last_error.as_ref().is_some_and(|it| it.reason == reason.code());
    let told = matches!(&record.phase, Phase::Halted { reason, .. } if told(reason));
    (record.failures > 0 && !told).then_some(Concern::Failing { times: record.failures })
}

fn overdue<'a>(subject: &Subject<'_>, record: &Record, current: &Version) -> Option<Concern<'a>> {
    let policy = &subject.config?.policy;
    if record.rotation.is_some() || !policy.provider.creates {
        return None;
    }
    let due = due::due_at(current, policy)?;
    (begun_by(record, current, policy, due) <= subject.now).then_some(Concern::Overdue { since: due })
}

/// A key that nobody can be asked for waits for no window and no retry, but for a human.
fn awaits_key<'a>(subject: &Subject<'_>, record: &Record, current: &Version) -> Option<Concern<'a>> {
    let policy = &subject.config?.policy;
    let awaited = by_hand::is_awaited(current, &record.phase, policy, subject.now);
    due::due_at(current, policy).filter(|_| awaited).map(|since| Concern::AwaitsKey { since })
}

/// When a rotation that is due then has begun at the latest, if all goes well: at the end of its window, or `stuck_after`
/// past that moment where it has none.
fn begun_by(record: &Record, current: &Version, policy: &Policy, due: Timestamp) -> Timestamp {
    let from = match &record.phase {
        Phase::Announce { until } => due.max(*until),
        _ => due,
    };
    let closes = first_opening_closes(policy, from).unwrap_or(Timestamp::NEVER);
    match due::last_safe_moment(current, policy) {
        Some(last) if policy.outside_window == OutsideWindow::IfExpiring => {
            closes.min(last.max(from).plus(policy.stuck_after))
        }
        _ => closes,
    }
}

/// When the first time ends, from a moment on, in which something may begin; `stuck_after` past its begin where no window
/// ends it.
fn first_opening_closes(policy: &Policy, from: Timestamp) -> Option<Timestamp> {
    let calendar = policy.calendar();
    let opens = calendar.opens_from(from)?;
    Some(calendar.covering(opens).map_or(opens.plus(policy.stuck_after), |it| it.closes))
}

fn too_late<'a>(subject: &Subject<'_>, record: &Record, current: &Version) -> Option<Concern<'a>> {
    // Without an end of a pause there is no next rotation; that it is paused is told as such.
    let held = pause(subject).is_some_and(|it| it.until.is_none());
    if held || !forecast::expires_first(subject, record, current) {
        return None;
    }
    Some(Concern::TooLate { begins: forecast::first(subject, record, current).map(|it| it.at) })
}

fn stuck<'a>(subject: &Subject<'_>, record: &Record) -> Option<Concern<'a>> {
    let after = subject.config?.policy.stuck_after;
    let since = under_way_since(record)?;
    let phase = bare_phase(&record.phase);
    (since.plus(after) <= subject.now).then_some(Concern::Stuck { since, phase, after })
}

/// A closed window, a freeze and another key's turn are waits by design; that a key is unmanaged is told as such.
fn is_trouble(blocked: &Blocked) -> bool {
    !matches!(blocked, Blocked::Window(_) | Blocked::Freeze(..) | Blocked::Account | Blocked::Unmanaged)
}

fn undelivered<'a>(subject: &Subject<'a>, record: &'a Record) -> Vec<Concern<'a>> {
    let (Some(config), Some((wanted, patience_ends))) = (subject.config, wanted(record)) else { return Vec::new() };
    let acts = |it: Reach| matches!(it, Reach::Push { .. } | Reach::Read { nudges: true });
    let push = config.policy.targets.iter().filter(|it| acts(it.reach));
    let tell = |target: &'a TargetId| {
        let held = record.held.get(target);
        let lacks = held.is_none_or(|it| !it.is_settled_at(wanted)) && patience_ends <= subject.now;
        let fails = held.is_some_and(|it| it.failures > 0 || it.foreign.is_some());
        let dire = is_dire(subject, record, held, wanted);
        (lacks || fails).then_some(Concern::Undelivered { target, wanted, held, dire })
    };
    push.filter_map(|it| tell(&it.id)).collect()
}

/// The version that the targets should hold, and from when on its absence is told: while it is on its way, a target that
/// has not got it yet is no news. None where nothing is brought anywhere.
fn wanted(record: &Record) -> Option<(VersionNo, Timestamp)> {
    let at_once = Timestamp(i64::MIN);
    match &record.phase {
        Phase::Reobserve { .. } => None,
        Phase::Halted { resume, .. } if matches!(**resume, Phase::Reobserve { .. }) => None,
        // A key that is stuck there is told as such.
        Phase::Deliver { pending, .. } => Some((pending.number, Timestamp::NEVER)),
        Phase::Cutover { since, .. } => Some((record.current.as_ref()?.number, since.plus(GAP_MOST))),
        _ => Some((record.current.as_ref()?.number, at_once)),
    }
}

/// Whether what a target may hold instead is dead, or ends within a day.
fn is_dire(subject: &Subject<'_>, record: &Record, held: Option<&Held>, wanted: VersionNo) -> bool {
    let Some(held) = held else { return false };
    let others = held.settled.iter().chain(&held.maybe).filter(|it| **it != wanted);
    others.copied().any(|number| {
        let retired = record.retired.iter().find(|it| it.version.number == number);
        let revoked = retired.is_some_and(|it| matches!(it.ended, Some(Ended::Revoked | Ended::Expired)));
        let ends = |it: &Version| it.dead_since.is_some() || subject.is_left(it, super::health::LAST_DAY);
        revoked || record.version(number).is_none_or(ends)
    })
}

fn unverified<'a>(subject: &Subject<'_>, record: &Record, current: &Version) -> Option<Concern<'a>> {
    let policy = &subject.config?.policy;
    let rests = matches!(record.phase, Phase::Steady | Phase::Announce { .. });
    let asked = policy.provider.probes && current.account == policy.account && rests;
    // Where this machine is not on the key's allow list, a probe from here never says anything.
    let tells = current.restriction.as_ref().is_none_or(|it| record.controls.contains(it));
    let since = current.obtained_at;
    let late = since.plus(policy.accept_within) <= subject.now;
    (asked && tells && late && current.first_alive.is_none()).then_some(Concern::Unverified { since })
}

fn unrevoked<'a>(subject: &Subject<'_>, old: &'a Retired) -> Option<Concern<'a>> {
    if old.ended.is_some() {
        return None;
    }
    let Some(policy) = subject.config.map(|it| &it.policy) else {
        // Of a key that is taken out of service every version ends at once.
        let began = subject.record?.decommissioned?.max(old.since);
        let since = began.plus(if old.failures > 0 { Duration::ZERO } else { RETIRED_WITHIN });
        return (since <= subject.now).then_some(Concern::Unrevoked { since: began, old });
    };
    if !matches!(phase_name(subject), PhaseName::Revoke | PhaseName::Overlap) {
        return None;
    }
    let at_once = old.after <= old.since;
    let since = if at_once { old.after.plus(policy.stuck_after) } else { first_opening_closes(policy, old.after)? };
    let since = if old.failures > 0 { old.after } else { since };
    let unread = subject.record.is_some_and(|it| !reader::unread(it, policy).is_empty());
    let since = if unread && !at_once { since.max(old.since.plus(policy.ack_timeout)) } else { since };
    (since <= subject.now).then_some(Concern::Unrevoked { since, old })
}

fn revoke_needed<'a>(subject: &Subject<'_>, old: &'a Retired) -> Option<Concern<'a>> {
    let live = old.version.valid_to.is_none_or(|end| end > subject.now);
    (old.ended == Some(Ended::Reported) && live).then_some(Concern::RevokeNeeded(old))
}

fn unmanaged<'a>(subject: &Subject<'_>) -> Option<Concern<'a>> {
    let live = |it: &Record| it.decommissioned.is_none() && it.live_versions().next().is_some();
    let live = subject.record.is_some_and(live);
    (subject.config.is_none() && live).then_some(Concern::Unmanaged)
}

/// The pause of a key that is paused now.
pub(super) fn pause<'a>(subject: &Subject<'a>) -> Option<&'a Pause> {
    let record = subject.record.filter(|it| it.is_paused(subject.now))?;
    record.paused.as_ref()
}

/// Whether a pause ends by itself before it makes the key late.
pub(super) fn ends_in_time(subject: &Subject<'_>, pause: &Pause) -> bool {
    let Some(until) = pause.until else { return false };
    let (Some(config), Some(record)) = (subject.config, subject.record) else { return true };
    let Some(current) = &record.current else { return true };
    let due = due::due_at(current, &config.policy);
    due.is_none_or(|due| until <= begun_by(record, current, &config.policy, due))
}

fn unadopted<'a>(subject: &Subject<'_>) -> Option<Concern<'a>> {
    let initial = subject.config?.policy.initial;
    matches!(subject.phase(), Phase::Unadopted).then_some(Concern::Unadopted(initial))
}

//! When the rotations of a key will begin, as far as its config and its present version tell.
use super::Subject;
use crate::core::calendar::Calendar;
use crate::core::pass::on_create;
use crate::core::policy::{OnCreate, Policy};
use crate::core::record::{Expiry, Phase, Record, Trigger, Version, Wish};
use crate::core::schedule::{Slot, Why};
use crate::core::time::Timestamp;
use crate::core::window::Opening;
use crate::core::{due, gate};
use crate::humane::{HumanDuration, Roughly};
use std::time::Duration;

/// The moment of a rotation does not depend on the key's name.
const NOBODY: &str = "nobody";

/// One rotation to come.
pub struct Start {
    /// When its owners are told of it, where they are told before.
    pub announced_at: Option<Timestamp>,
    /// When it begins.
    pub at: Timestamp,
    /// In which window.
    pub opening: Option<Opening>,
    /// A closed code.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
    /// Whether the old key is in wrong hands: it has no overlap.
    pub compromised: bool,
    /// Whether no window is open then, or a freeze lasts.
    outside: bool,
    /// The freeze that moved it, or in which it is.
    freeze: Option<String>,
}

/// When the next rotation of a key in our care begins; `None` where nothing says that there will be one, or where no
/// window ever opens for it.
pub fn first(subject: &Subject<'_>, record: &Record, current: &Version) -> Option<Start> {
    let slot = subject.snapshot.slots.get(subject.name).copied();
    let policy = &Policy { slot, ..subject.config?.policy.clone() };
    // Until somebody resumes it, or the pause ends, nothing begins.
    let from = match super::concern::pause(subject) {
        Some(pause) => pause.until?.max(subject.now),
        None => subject.now,
    };
    if let Phase::Announce { until } = record.phase {
        let begin = placed(current, policy, until.max(from), record.wish.as_ref(), None)?;
        let message = format!("the cutover was announced for {until}");
        return Some(Start { announced_at: None, message, ..begin.or_reason("announced") });
    }
    match &record.wish {
        Some(wish) => asked(subject, current, policy, wish, from),
        None => {
            // What was given up is not begun again before its time, unless nothing works meanwhile.
            let waits = record.retry_at.filter(|_| current.dead_since.is_none());
            let from = waits.map_or(from, |it| it.max(from));
            scheduled(current, policy, cuts(subject, policy), from)
        }
    }
}

/// When a version is replaced because it is due, not before `now`.
pub fn scheduled(version: &Version, policy: &Policy, cuts: bool, now: Timestamp) -> Option<Start> {
    let due = due::due_at(version, policy)?;
    let slot = policy.slot.filter(|it| it.version == version.number);
    let announce = (cuts && !policy.announce.is_zero()).then_some(policy.announce);
    // What has its moment before it is due is told, and begun, so much sooner.
    let sooner = |told: Duration| slot.map_or(due, |it| due.min(it.at.minus(told))).max(now);
    let announced_at = announce.map(sooner);
    let begin = placed(version, policy, sooner(Duration::ZERO), None, announce)?;
    let (reason, message) = why_due(version, policy, due);
    let (begin, why) = begin.among_others(slot, policy, version, due);
    let begin = begin.or_reason(reason);
    let message = begin.say(format!("{message}{why}"));
    Some(Start { announced_at: announced_at.filter(|it| *it < begin.at), message, ..begin })
}

/// Whether consumers hold a dead key from a create on until the new one is delivered.
pub fn cuts(subject: &Subject<'_>, policy: &Policy) -> bool {
    match subject.account {
        Some(account) => on_create(account, policy) != OnCreate::Keeps,
        None => policy.provider.on_create != OnCreate::Keeps,
    }
}

/// The version that a rotation at `at` is expected to yield.
pub fn successor(version: &Version, policy: &Policy, at: Timestamp) -> Version {
    let life = policy.valid_for.or_else(|| due::lifetime(version));
    let never = version.expiry == Expiry::Never;
    Version {
        number: version.number.saturating_add(1),
        obtained_at: at,
        valid_from: Some(at),
        valid_to: life.filter(|_| !never).map(|it| at.plus(it)),
        ..version.clone()
    }
}

/// Whether a version that nothing else stops will expire before it is replaced: its windows and freezes, or a pause, leave no
/// moment. One that only a human can replace has none to begin with.
pub fn expires_first(subject: &Subject<'_>, record: &Record, current: &Version) -> bool {
    let policy = subject.config.map(|it| &it.policy).filter(|it| it.provider.creates);
    let due = policy.and_then(|it| due::due_at(current, it));
    let end = current.valid_to.filter(|it| *it > subject.now);
    let (Some(end), Some(_)) = (end, due) else { return false };
    let resting = matches!(record.phase, Phase::Steady | Phase::Announce { .. });
    resting && first(subject, record, current).is_none_or(|it| it.at > end)
}

/// When an old version is revoked: in the first window after its overlap and outside all freezes, or at once where it had
/// no overlap to begin with.
pub fn revoked_at(policy: &Policy, after: Timestamp, at_once: bool) -> Option<(Timestamp, Option<Opening>)> {
    if at_once {
        return Some((after, None));
    }
    let calendar = policy.calendar();
    let at = calendar.open_from(after)?;
    Some((at, calendar.covering(at)))
}

fn asked(subject: &Subject<'_>, current: &Version, policy: &Policy, wish: &Wish, from: Timestamp) -> Option<Start> {
    let told_before = !wish.is_unannounced() && current.dead_since.is_none() && !policy.announce.is_zero();
    let announced_at = (cuts(subject, policy) && told_before).then_some(from);
    let announce = announced_at.map(|_| policy.announce);
    let begin = placed(current, policy, from, Some(wish), announce)?;
    let (reason, what) = match wish.trigger {
        _ if wish.compromised => ("compromised", "asked for"),
        Trigger::Drift => ("drifted", "somebody else changed or ended it"),
        _ => ("asked", "asked for"),
    };
    let by = wish.actor.as_ref().map(|it| format!(" by {}", it.name())).unwrap_or_default();
    let why = wish.reason.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
    let begin = begin.or_reason(reason);
    Some(Start { announced_at, message: begin.say(format!("{what}{by}{why}")), ..begin })
}

/// Moves a moment to where the core would begin: into a window and out of freezes, or to the last safe moment where nothing
/// is left before it.
fn placed(
    version: &Version,
    policy: &Policy,
    now: Timestamp,
    wish: Option<&Wish>,
    announce: Option<Duration>,
) -> Option<Start> {
    let record =
        Record { current: Some(version.clone()), wish: wish.cloned(), ..Record::new(NOBODY.parse().ok()?, now) };
    let begin = gate::beginning(&record, policy, now, announce);
    let at = begin.at;
    let outside = begin.outside;
    let freeze = begin.freeze.filter(|(_, freely)| outside || at != *freely);
    let reason = match &freeze {
        Some(_) if outside => "leaves_freeze",
        Some((_, freely)) if at < *freely => "before_freeze",
        Some(_) => "after_freeze",
        None if outside => "no_window_before_expiry",
        None => "",
    };
    let compromised = wish.is_some_and(|it| it.compromised);
    let freeze = freeze.map(|it| it.0);
    let opening = policy.calendar().covering(at);
    let (announced_at, message) = (None, String::new());
    let start = Start { announced_at, at, opening, reason, message, compromised, outside, freeze };
    (at != Timestamp::NEVER).then_some(start)
}

impl Start {
    fn or_reason(mut self, reason: &'static str) -> Self {
        if self.reason.is_empty() {
            self.reason = reason;
        }
        self
    }

    /// What put it elsewhere than where the key alone would have it, in words that go on a sentence. Where a budget is the
    /// cause, its reason says so, whatever freeze or window has a part in it.
    fn among_others(self, slot: Option<Slot>, policy: &Policy, version: &Version, due: Timestamp) -> (Self, String) {
        let Some(why) = slot.map(|it| it.why) else { return (self, String::new()) };
        let (a_day, are) = match policy.creates_per_day {
            1 => ("1 create a day".to_owned(), "is"),
            n => (format!("{n} creates a day"), "are"),
        };
        let too_few = format!("{a_day} {are} too few for all keys of its account");
        let sooner = self.at < due;
        match why {
            Why::Due if version.valid_to.is_some_and(|end| self.at > end) => {
                (self, ", too late: nothing opens before".to_owned())
            }
            Why::Due | Why::Outside => (self, String::new()),
            Why::Together => {
                let word = policy.together.as_deref().unwrap_or_default();
                let when = if sooner { "sooner: it goes" } else { "as it goes" };
                (self.or_reason(why.code()), format!(", {when} together with {word:?}"))
            }
            Why::Before => match freeze_from(policy, due) {
                Some(name) => {
                    let why = format!(", sooner: freeze {name} leaves no opening from then until it is late");
                    (Self { reason: "before_freeze", freeze: None, ..self }, why)
                }
                None => (self.or_reason(why.code()), ", sooner: no window opens from then until it is late".to_owned()),
            },
            Why::Crowded if self.outside => {
                let place = if self.freeze.is_some() { "late" } else { "outside its windows" };
                (Self { reason: why.code(), ..self }, format!(", {place}: {too_few} before that"))
            }
            Why::Earlier | Why::Crowded if sooner => {
                let freeze = freeze_from(policy, due);
                (Self { reason: Why::Earlier.code(), freeze, ..self }, format!(", sooner: {too_few} that are due then"))
            }
            Why::Earlier | Why::Crowded | Why::Later => {
                let fellows = if policy.together.is_some() { ", or of one that it goes together with," } else { "" };
                let why = format!(", later: the {a_day} of its account{fellows} {are} taken before");
                (self.or_reason(Why::Later.code()), why)
            }
        }
    }

    fn say(&self, why: String) -> String {
        let why = match (&self.freeze, self.reason) {
            (None, _) => why,
            (Some(name), "leaves_freeze") => {
                format!("{why}, in freeze {name}: nothing is left outside it before it is late")
            }
            (Some(name), "before_freeze") => format!("{why}, before freeze {name}"),
            (Some(name), "after_freeze") => format!("{why}, after freeze {name}"),
            (Some(name), _) if self.outside => format!("{why}, in freeze {name}"),
            (Some(name), _) => format!("{why}, with freeze {name}"),
        };
        match &self.opening {
            Some(Opening { name: Some(name), .. }) => format!("{why}, in window {name}"),
            Some(_) => format!("{why}, in its window"),
            None if self.reason == "no_window_before_expiry" => format!("{why}, and no window opens before it is late"),
            None => why,
        }
    }
}

/// The freeze that a key would begin in if it were not for freezes.
fn freeze_from(policy: &Policy, due: Timestamp) -> Option<String> {
    let calendar = policy.calendar();
    let freely = Calendar { freezes: &[], ..calendar }.opens_from(due)?;
    calendar.frozen(freely).map(|it| it.name)
}

/// When the life of a version began.
pub fn began(version: &Version) -> Timestamp {
    let known = version.valid_to.zip(due::lifetime(version)).map(|(end, life)| end.minus(life));
    known.or(version.valid_from).unwrap_or(version.obtained_at)
}

fn why_due(version: &Version, policy: &Policy, due: Timestamp) -> (&'static str, String) {
    let aged = policy.max_age.filter(|age| began(version).plus(*age) == due);
    match (aged, version.valid_to) {
        (Some(age), _) => ("max_age", format!("it reaches its max_age of {}", HumanDuration(age))),
        (None, Some(end)) => (
            "due_before_expiry",
            format!("it expires at {} and is replaced {} before", end.whole_second(), Roughly(end.since(due))),
        ),
        (None, None) => ("age_unknown", "nobody knows how old it is, so that it is replaced soon".to_owned()),
    }
}

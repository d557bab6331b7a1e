//! When the rotations of a key will begin, as far as its config and its present version tell.
use super::Subject;
use super::due::{due_at, last_safe_moment, next_opening, origin};
use crate::core::policy::{OnCreate, OutsideWindow, Policy};
use crate::core::record::{Expiry, Phase, Record, Version, Wish};
use crate::core::time::Timestamp;
use crate::core::window::Opening;
use std::time::Duration;

/// One rotation to come.
pub(super) struct Start {
    /// When its owners are told of it, where they are told before.
    pub(super) announced_at: Option<Timestamp>,
    /// When it begins.
    pub(super) at: Timestamp,
    /// In which window.
    pub(super) opening: Option<Opening>,
    /// A closed code.
    pub(super) reason: &'static str,
    /// A sentence.
    pub(super) message: String,
}

/// When the next rotation of a key in our care begins; `None` where nothing says that there will be one, or where no
/// window ever opens for it.
pub(super) fn first(subject: &Subject<'_>, record: &Record, current: &Version) -> Option<Start> {
    let policy = &subject.config?.policy;
    if let Phase::Announce { until } = record.phase {
        let begin = placed(current, policy, until.max(subject.now), false)?;
        let message = format!("the cutover was announced for {until}");
        return Some(Start { announced_at: None, message, ..begin.or_reason("announced") });
    }
    match &record.wish {
        Some(wish) => asked(subject, current, policy, wish),
        None => due(current, policy, cuts(subject, policy), subject.now),
    }
}

/// When a version is replaced because it is due, not before `now`.
pub(super) fn due(version: &Version, policy: &Policy, cuts: bool, now: Timestamp) -> Option<Start> {
    let due = due_at(version, policy)?;
    let (reason, message) = why_due(version, policy, due);
    let announced_at = (cuts && !policy.announce.is_zero()).then_some(due.max(now));
    let ready = announced_at.map_or(due.max(now), |it| it.plus(policy.announce));
    let begin = placed(version, policy, ready, false)?.or_reason(reason);
    Some(Start { announced_at: announced_at.filter(|it| *it < begin.at), message: begin.say(message), ..begin })
}

/// Whether consumers hold a dead key from a create on until the new one is delivered.
pub(super) fn cuts(subject: &Subject<'_>, policy: &Policy) -> bool {
    let learned = subject.account.and_then(|it| it.learned);
    let on_create = match policy.provider.on_create {
        OnCreate::Unknown => learned.unwrap_or(OnCreate::Unknown),
        stated => stated,
    };
    on_create != OnCreate::Keeps
}

/// The version that a rotation at `at` is expected to yield.
pub(super) fn successor(version: &Version, policy: &Policy, at: Timestamp) -> Version {
    let life = policy.valid_for.or_else(|| version.valid_to.map(|end| end.since(origin(version))));
    let never = version.expiry == Expiry::Never;
    Version {
        number: version.number.saturating_add(1),
        obtained_at: at,
        valid_from: Some(at),
        valid_to: life.filter(|_| !never).map(|it| at.plus(it)),
        ..version.clone()
    }
}

/// When an old version is revoked: in the first window after its overlap.
pub(super) fn revoked_at(policy: &Policy, after: Timestamp) -> Option<(Timestamp, Option<Opening>)> {
    if policy.windows.is_empty() {
        return Some((after, None));
    }
    let opening = next_opening(&policy.windows, after)?;
    Some((opening.opens.max(after), Some(opening)))
}

fn asked(subject: &Subject<'_>, current: &Version, policy: &Policy, wish: &Wish) -> Option<Start> {
    let at_once = wish.now || wish.compromised;
    let announced = cuts(subject, policy) && !policy.announce.is_zero() && !at_once;
    let announced_at = announced.then_some(subject.now);
    let ready = announced_at.map_or(subject.now, |it| it.plus(policy.announce));
    let begin = placed(current, policy, ready, at_once)?;
    let reason = if wish.compromised { "compromised" } else { "asked" };
    let who = wish.actor.as_ref().map(|it| it.user.clone().unwrap_or_else(|| format!("uid {}", it.uid)));
    let by = who.map(|it| format!(" by {it}")).unwrap_or_default();
    let why = wish.reason.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
    let begin = begin.or_reason(reason);
    Some(Start { announced_at, message: begin.say(format!("asked for{by}{why}")), ..begin })
}

/// Moves a moment into the next window, or to the last safe moment where no window opens before it.
fn placed(version: &Version, policy: &Policy, ready: Timestamp, at_once: bool) -> Option<Start> {
    let begin = |at, opening, reason| Start { announced_at: None, at, opening, reason, message: String::new() };
    if at_once || policy.windows.is_empty() {
        return Some(begin(ready, None, ""));
    }
    let opening = next_opening(&policy.windows, ready);
    let at = opening.as_ref().map_or(Timestamp::NEVER, |it| it.opens.max(ready));
    let last_safe = match policy.outside_window {
        OutsideWindow::IfExpiring => last_safe_moment(version, policy).unwrap_or(Timestamp::NEVER),
        OutsideWindow::Never => Timestamp::NEVER,
    };
    if last_safe < at {
        return Some(begin(last_safe.max(ready), None, "no_window_before_expiry"));
    }
    opening.map(|it| begin(at, Some(it), ""))
}

impl Start {
    fn or_reason(mut self, reason: &'static str) -> Self {
        if self.reason.is_empty() {
            self.reason = reason;
        }
        self
    }

    fn say(&self, why: String) -> String {
        match &self.opening {
            Some(Opening { name: Some(name), .. }) => format!("{why}, in window {name}"),
            Some(_) => format!("{why}, in its window"),
            None if self.reason == "no_window_before_expiry" => format!("{why}, and no window opens before it is late"),
            None => why,
        }
    }
}

fn why_due(version: &Version, policy: &Policy, due: Timestamp) -> (&'static str, String) {
    let aged = policy.max_age.filter(|age| origin(version).plus(*age) == due);
    match (aged, version.valid_to) {
        (Some(age), _) => ("max_age", format!("it reaches its max_age of {}", span(age))),
        (None, Some(end)) => {
            ("due_before_expiry", format!("it expires at {end} and is replaced {} before", span(end.since(due))))
        }
        (None, None) => ("due", "it is due".to_owned()),
    }
}

/// A span in days and hours, or finer below a day. (humantime's own months are of a fixed length: nobody's.)
pub(super) fn span(it: Duration) -> String {
    const HOUR: u64 = 60 * 60;
    let (days, hours) = (it.as_secs() / (24 * HOUR), it.as_secs() / HOUR % 24);
    match (days, hours) {
        (0, _) => humantime::format_duration(Duration::from_secs(it.as_secs())).to_string(),
        (days, 0) => format!("{days}d"),
        (days, hours) => format!("{days}d {hours}h"),
    }
}

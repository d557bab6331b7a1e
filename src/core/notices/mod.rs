//! What the owners are told, and when. A notice is decided in the same pass as its cause, and its id is derived from the
//! cause: none is told twice.
mod announce;
mod left;
mod operator;
mod over;
mod unread;

pub(in crate::core) use left::{lost_incident, orphan_incident};

use crate::core::command;
use crate::core::due;
use crate::core::facts::Facts;
use crate::core::gate;
use crate::core::names::{Fingerprint, NoticeId, TargetId};
use crate::core::pass::Pass;
use crate::core::plan::{Notice, NoticeKind, Severity};
use crate::core::policy::Policy;
use crate::core::record::{Incident, Phase, Reason, Rotation, Version};
use crate::core::time::Timestamp;
use std::time::Duration;

/// A try that failed so often in a row is told.
pub const TELL_AFTER: u32 = 3;
/// With less than this left, a key that will not be replaced on time is critical.
pub const CRITICAL_BEFORE: Duration = Duration::from_secs(24 * 60 * 60);
/// So many incidents of one key are open at once; one more is told, and its end is not.
const INCIDENTS_OPEN: usize = 128;
/// A threshold longer than this part of the lifetime does not apply.
const THRESHOLD_SHARE: u32 = 3;

/// What varies from notice to notice.
pub(in crate::core) struct Tell<'a> {
    pub(in crate::core) kind: NoticeKind,
    pub(in crate::core) severity: Severity,
    /// What the incident is called within the key: `rotation`, `delivery:…`. Events that don't last have none.
    pub(in crate::core) incident: Option<String>,
    /// Tells this notice from others of its kind and version.
    pub(in crate::core) cause: &'a str,
    pub(in crate::core) summary: String,
    pub(in crate::core) actions: Vec<String>,
    pub(in crate::core) about: Option<&'a Version>,
}

impl Pass<'_> {
    pub(in crate::core) fn tell(&mut self, it: Tell<'_>) {
        self.tell_that(it, None);
    }

    /// The same where its kind does not say by itself what it means.
    pub(in crate::core) fn tell_that(&mut self, mut it: Tell<'_>, means: Option<&str>) {
        let open = &self.record.incidents;
        it.incident = it.incident.filter(|it| open.len() < INCIDENTS_OPEN || open.contains_key(it));
        let about = it.about.cloned().or_else(|| self.record.current.clone());
        let version = about.as_ref().map(|it| it.number);
        let number = version.unwrap_or_default().to_string();
        let name = self.record.name.as_str().to_owned();
        let escalates = it.incident.is_some() && (it.kind == NoticeKind::RotationHalted || self.is_near_end());
        // Told once and for all, under whatever id: the incident may have ended since.
        let once =
            it.incident.as_deref().filter(|it| over::is_told_once(it)).map(|incident| NoticeId::of(&[&name, incident]));
        if once.as_ref().is_some_and(|it| self.record.told.contains_key(it)) {
            return;
        }
        let begun = match &it.incident {
            Some(incident) => self.begun(incident, it.kind, it.severity).map(|at| at.0.to_string()),
            None => Some(String::new()),
        };
        let Some(begun) = begun else { return };
        let id = NoticeId::of(&[&name, &number, it.kind.code(), it.cause, &begun]);
        if self.record.told.insert(id.clone(), self.now).is_some() {
            return;
        }
        self.record.told.extend(once.map(|it| (it, self.now)));
        if let Some(incident) = it.incident.as_ref().and_then(|it| self.record.incidents.get_mut(it)) {
            incident.escalated |= escalates;
        }
        // What does not last is an incident of its own each time: no later one makes it superfluous.
        let incident = it.incident.map_or_else(|| id.clone(), |it| NoticeId::of(&[&name, &it, &begun]));
        let notice = Notice {
            key: Some(self.record.name.clone()),
            severity: it.severity,
            incident: incident.to_string(),
            summary: it.summary,
            means: means.map(str::to_owned),
            actions: it.actions,
            version,
            fingerprint: about.as_ref().map(|it| it.fingerprint.clone()),
            valid_to: about.as_ref().and_then(|it| it.valid_to),
            escalates,
            ..Notice::bare(id, it.kind, self.now)
        };
        self.notices.push(notice);
    }

    /// When an incident began; `None` where a human has it, and it is neither something else by now nor worse.
    fn begun(&mut self, incident: &str, kind: NoticeKind, severity: Severity) -> Option<Timestamp> {
        let new = Incident { since: self.now, kind, severity, acked: false, escalated: false };
        let known = self.record.incidents.entry(incident.to_owned()).or_insert(new);
        if known.acked && known.kind == kind && severity <= known.severity {
            return None;
        }
        if known.kind != kind || severity > known.severity {
            let severity = severity.max(known.severity);
            *known = Incident { kind, severity, acked: false, ..known.clone() };
        }
        Some(known.since)
    }

    pub(in crate::core) fn tell_succeeded(&mut self, rotation: &Rotation) {
        for incident in ["halted", "expiring", "drifted", "rollback"] {
            self.resolve(incident);
        }
        if rotation.rollback {
            return self.tell_rolled_back(rotation);
        }
        let name = self.record.name.clone();
        let replaced = self.record.retired.iter().any(|it| it.version.delivered);
        let done = if replaced { "replaced" } else { "created" };
        let number = self.record.current.as_ref().map_or(0, |it| it.number);
        let missing = self.push_targets().filter(|it| !self.is_settled(it, number)).count();
        let delivered = match missing {
            0 => "the new key is delivered".to_owned(),
            1 => "the new key is on its way to 1 target, for the old one is about to expire".to_owned(),
            n => format!("the new key is on its way to {n} targets, for the old one is about to expire"),
        };
        let gap = rotation.cutover_gap_ms.map(|it| format!("; for {it} ms consumers may have held a dead key"));
        let tell = Tell {
            kind: NoticeKind::RotationSucceeded,
            severity: Severity::Info,
            incident: None,
            cause: "succeeded",
            summary: format!("{name} was {done}, {delivered}{}", gap.unwrap_or_default()),
            actions: Vec::new(),
            about: None,
        };
        let means = "Not every target has the new key yet; the delivery is tried again until each has it.";
        self.tell_that(tell, (missing > 0).then_some(means));
    }

    pub(in crate::core) fn tell_failures(&mut self, message: &str) {
        if self.record.failures < TELL_AFTER {
            return;
        }
        let name = self.record.name.clone();
        let severity = self.severity_of_delay();
        self.tell(Tell {
            kind: NoticeKind::RotationFailed,
            severity,
            incident: Some("rotation".into()),
            cause: severity.code(),
            summary: format!("{name} could not be replaced yet: {message}; it is tried again"),
            actions: vec![format!("rekeyd status {name}"), format!("rekeyd resume {name}")],
            about: None,
        });
    }

    pub(in crate::core) fn tell_halted(&mut self, reason: Reason, message: &str) {
        let name = self.record.name.clone();
        let severity = self.severity_of_delay();
        let choices = command::choices(&self.record, &self.account, self.policy, self.now);
        let choices = choices.into_iter().map(|it| command::spelled(it, &name, self.policy));
        self.tell(Tell {
            kind: NoticeKind::RotationHalted,
            severity,
            incident: Some("halted".into()),
            cause: reason.code(),
            summary: format!("{name} needs a human: {message}"),
            actions: std::iter::once(format!("rekeyd status {name}")).chain(choices).collect(),
            about: None,
        });
    }

    pub(in crate::core) fn tell_adopted(&mut self, version: &Version) {
        let name = self.record.name.clone();
        self.tell(Tell {
            kind: NoticeKind::KeyAdopted,
            severity: Severity::Info,
            incident: None,
            cause: "adopted",
            summary: format!("{name} was taken over as version {}", version.number),
            actions: Vec::new(),
            about: Some(version),
        });
    }

    pub(in crate::core) fn tell_drifted(&mut self, incident: String, seen: Option<&Fingerprint>, what: &str) {
        let name = self.record.name.clone();
        let cause = seen.map_or("drifted", Fingerprint::as_str).to_owned();
        let which = seen.map(|it| format!(" (fingerprint {it})")).unwrap_or_default();
        self.tell(Tell {
            kind: NoticeKind::KeyDrifted,
            severity: Severity::Warning,
            incident: Some(incident),
            cause: &cause,
            summary: format!("{name}: {what}{which}"),
            actions: vec![format!("rekeyd status {name}")],
            about: None,
        });
    }

    pub(in crate::core) fn tell_refused(&mut self) {
        let name = self.record.name.clone();
        self.tell(Tell {
            kind: NoticeKind::KeyRefused,
            severity: Severity::Critical,
            incident: Some("refused".into()),
            cause: "refused",
            summary: format!("{name}: the provider refuses the current key before its time"),
            actions: vec![format!("rekeyd rotate --now {name}")],
            about: None,
        });
    }

    pub(in crate::core) fn tell_unverified(&mut self, version: &Version) {
        let name = self.record.name.clone();
        let what = "the new key could not be seen to be accepted from here; it is delivered unverified";
        self.note_error("unverified", what);
        let tell = Tell {
            kind: NoticeKind::KeyRefused,
            severity: Severity::Warning,
            incident: Some(format!("unverified:{}", version.number)),
            cause: "unverified",
            summary: format!("{name}: {what}"),
            actions: vec![format!("rekeyd status {name}")],
            about: Some(version),
        };
        self.tell_that(tell, Some("Nobody here can say whether the new key works."));
    }

    pub(in crate::core) fn tell_detached(&mut self, target: &TargetId) {
        let name = self.record.name.clone();
        let cause = format!("detached {target}");
        let tell = Tell {
            kind: NoticeKind::DeliveryFailed,
            severity: Severity::Info,
            incident: None,
            cause: &cause,
            summary: format!("{name} is no longer delivered to {target}; what it holds will stop working"),
            actions: Vec::new(),
            about: None,
        };
        self.tell_that(tell, Some("The config does not name this place any more: it gets no new key."));
    }

    pub(in crate::core) fn tell_delivery_failed(&mut self, target: &TargetId, why: &str, failures: u32, in_gap: bool) {
        if failures < TELL_AFTER && !in_gap {
            return;
        }
        let name = self.record.name.clone();
        let severity = if in_gap { Severity::Critical } else { self.severity_of_delay() };
        self.tell(Tell {
            kind: NoticeKind::DeliveryFailed,
            severity,
            incident: Some(format!("delivery:{target}")),
            cause: severity.code(),
            summary: format!("{name} could not be delivered to {target}: {why}"),
            actions: vec![format!("rekeyd status {name}"), format!("rekeyd resume {name}")],
            about: None,
        });
    }

    /// A key that will not be replaced on time, or was not: the tightest threshold that has passed is told, the wider
    /// ones count as told.
    pub(in crate::core) fn tell_expiry(&mut self, facts: &Facts) {
        if facts.clock_suspect {
            return;
        }
        let Some(current) = self.record.current.clone() else { return };
        if self.waits_for_hand(&current) {
            return self.remind(&current);
        }
        let (Some(end), Some(life)) = (current.valid_to, due::lifetime(&current)) else { return };
        let name = self.record.name.clone();
        if end <= self.now {
            let summary = format!("{name} expired at {} and was not replaced", end.whole_second());
            return self.tell(Tell {
                kind: NoticeKind::KeyExpired,
                severity: Severity::Critical,
                incident: Some("expiring".into()),
                cause: "expired",
                summary,
                actions: self.answers_to_expiry(),
                about: Some(&current),
            });
        }
        let thresholds = thresholds(self.policy, life);
        let next = thresholds.iter().rev().map(|it| end.minus(*it)).find(|at| *at > self.now);
        self.wake(next.unwrap_or(end));
        let Some(passed) = thresholds.into_iter().find(|it| end.minus(*it) <= self.now) else {
            if self.record.rotation.is_none() {
                self.resolve_as("expiring", "it does not expire soon any more");
            }
            return;
        };
        if !self.is_late(&current) {
            return;
        }
        let severity = self.severity_of_delay();
        let cause = format!("before {}", passed.as_secs());
        let hours = end.since(self.now).as_secs() / 3600;
        let why = self.why_not_yet().map(|it| format!(": {it}")).unwrap_or_default();
        self.tell(Tell {
            kind: NoticeKind::KeyExpiring,
            severity,
            incident: Some("expiring".into()),
            cause: &cause,
            summary: format!(
                "{name} expires at {}, in {hours} hours, and is not replaced yet{why}",
                end.whole_second()
            ),
            actions: vec![format!("rekeyd status {name}")],
            about: Some(&current),
        });
    }

    fn answers_to_expiry(&self) -> Vec<String> {
        let name = &self.record.name;
        let look = format!("rekeyd status {name}");
        if self.policy.issues_nothing() { vec![look] } else { vec![look, format!("rekeyd rotate --now {name}")] }
    }

    /// Whether the key will not be replaced without a human, or is past its time.
    fn is_late(&self, current: &Version) -> bool {
        if self.policy.issues_nothing() {
            return true;
        }
        let halted = matches!(self.record.phase, Phase::Halted { .. });
        let due = due::due_at(current, self.policy);
        let held = self.record.paused.as_ref().map(|it| it.until.unwrap_or(Timestamp::NEVER));
        let paused = held.is_some_and(|until| due.is_none_or(|due| due < until));
        let stuck = |since: Timestamp| since.plus(self.policy.stuck_after) <= self.now;
        let failing = due.is_some_and(stuck) && self.record.failures > 0;
        // What is held up fails nothing: a login that is refused, a disk that is full, a lock that is never released.
        let creating = matches!(self.record.phase, Phase::Create(_));
        let held_up = creating && self.record.rotation.as_ref().is_some_and(|it| stuck(it.started_at));
        let last = due::last_safe_moment(current, self.policy);
        let waiting = match self.record.phase {
            Phase::Steady => due.is_some_and(|it| it <= self.now),
            // A key that a human brought waits for its window here.
            Phase::Verify { .. } => !self.policy.provider.creates,
            _ => false,
        };
        let too_late = waiting && last.is_some_and(|it| gate::opening(&self.record, self.policy, self.now) > it);
        let waits_for = match self.record.phase {
            Phase::Announce { until } => until,
            Phase::Verify { .. } => self.planned_delivery_at(),
            _ => self.now,
        };
        let waits_too_long = waits_for > self.now && last.is_some_and(|it| waits_for > it);
        halted || paused || failing || held_up || too_late || waits_too_long
    }

    /// Whether others than the owners are to know that the current key is not replaced yet.
    fn is_near_end(&self) -> bool {
        self.record.current.as_ref().is_some_and(|it| due::is_near_end(it, self.policy, self.now))
    }

    /// Critical where a consumer is, or within a day will be, without a working key.
    pub(in crate::core) fn severity_of_delay(&self) -> Severity {
        let dead = self.record.current.as_ref().is_some_and(|it| it.dead_since.is_some());
        let ending = self.left().is_some_and(|it| it < CRITICAL_BEFORE);
        if dead || ending { Severity::Critical } else { Severity::Warning }
    }
}

/// The thresholds that apply to a key of this lifetime, the tightest first: those of its owners, and the moment from which
/// others are told too.
pub fn thresholds(policy: &Policy, life: Duration) -> Vec<Duration> {
    let third = life / THRESHOLD_SHARE;
    let fits = policy.notify_before.iter().filter(|it| **it <= third).copied();
    let mut thresholds: Vec<Duration> = fits.chain([policy.escalate_before.min(third)]).collect();
    thresholds.retain(|it| !it.is_zero());
    thresholds.sort_unstable();
    thresholds.dedup();
    thresholds
}

//! What will happen to one key. Later rotations follow from the first, as if each succeeded at once.
use crate::control::protocol::{PlanEntry, PlanWarning, WindowStatus};
use crate::control::view::concerns::adopt_in_use;
use crate::core::by_hand::{is_awaited, next_reminder};
use crate::core::notices::thresholds;
use crate::core::policy::{Initial, OutsideWindow, Policy};
use crate::core::record::{Phase, Record, Version};
use crate::core::time::Timestamp;
use crate::core::window::Opening;
use crate::humane::HumanDuration;
use crate::standing::Subject;
use crate::standing::ahead::Line;
use crate::standing::forecast::{Start, began, cuts, revoked_at};
use std::time::Duration;

/// How many reminders of one key a plan shows at most.
const REMINDERS_PER_KEY: usize = 200;

/// What was found for all keys so far.
#[derive(Default)]
pub(super) struct Found {
    pub(super) entries: Vec<PlanEntry>,
    pub(super) warnings: Vec<PlanWarning>,
}

/// Plans one key.
pub(super) struct Planner<'a> {
    pub(super) subject: &'a Subject<'a>,
    pub(super) until: Timestamp,
    /// Its rotations, as foreseen among those of all keys.
    pub(super) line: Option<&'a Line>,
    pub(super) found: &'a mut Found,
}

impl Planner<'_> {
    pub(super) fn plan(mut self) {
        let current = self.subject.record.and_then(|it| it.current.as_ref());
        let Some(config) = self.subject.config else {
            self.unmanaged();
            return self.notices(current, None);
        };
        let policy = &config.policy;
        let name = self.subject.name;
        let Some(record) = self.subject.record else { return self.unadopted(policy) };
        match (&record.phase, current) {
            (Phase::Halted { reason, .. }, _) => {
                let what = "nothing happens before somebody decides";
                self.warn("halted", &format!("halted ({}): {what}: rekeyd status {name}", reason.code()));
                self.notices(current, Some(policy));
                self.retirements(record, policy);
            }
            _ if record.is_paused(self.subject.now) && self.is_held(record) => {
                self.warn("paused", &format!("paused: nothing is planned before: rekeyd resume {name}"));
                self.notices(current, Some(policy));
            }
            (_, Some(current)) => self.managed(record, current, policy),
            (Phase::Unadopted, None) => self.unadopted(policy),
            (_, None) => {
                self.push(self.subject.now, "rotate", None, "in_progress", "its first key is under way", None);
            }
        }
    }

    fn unmanaged(&mut self) {
        let name = self.subject.name;
        match self.subject.record.and_then(|it| it.decommissioned) {
            Some(_) => {
                self.warn("retired", "it is out of service: what is left of it is revoked, or its owners are told to")
            }
            None => {
                let what =
                    "the config no longer names it: nothing replaces it; put it back, or, when nobody uses it any more";
                self.warn("unmanaged", &format!("{what}: rekeyd retire {name}"));
            }
        }
    }

    fn unadopted(&mut self, policy: &Policy) {
        let name = self.subject.name;
        if policy.initial == Initial::Create {
            // Where many are new, the budget of their account holds some of them up.
            let slot = self.subject.snapshot.slots.get(name).filter(|it| it.version == 0);
            let at = slot.map_or(self.subject.now, |it| it.at.max(self.subject.now)).max(self.resumes_at());
            let message = "the first key is created as soon as every target is seen to be empty";
            self.push(at, "rotate", None, "initial_create", message, None);
        } else {
            let adopt = adopt_in_use(self.subject);
            self.warn("unadopted", &format!("not adopted: nothing is planned before: {adopt}"));
        }
    }

    /// When a pause ends that ends by itself.
    fn resumes_at(&self) -> Timestamp {
        let paused = self.subject.record.filter(|it| it.is_paused(self.subject.now));
        paused.and_then(|it| it.paused.as_ref()?.until).unwrap_or(self.subject.now)
    }

    /// Whether only `resume` lets it go on; what has begun goes on to its end.
    fn is_held(&self, record: &Record) -> bool {
        let rests = matches!(record.phase, Phase::Steady | Phase::Announce { .. } | Phase::Unadopted);
        rests && record.paused.as_ref().is_some_and(|it| it.until.is_none())
    }

    fn managed(&mut self, record: &Record, current: &Version, policy: &Policy) {
        self.probe(record, policy);
        self.retirements(record, policy);
        let now = self.subject.now;
        if !policy.provider.creates {
            return self.by_hand(record, current, policy);
        }
        if !matches!(record.phase, Phase::Steady | Phase::Announce { .. }) {
            self.push(now, "rotate", None, "in_progress", "a rotation is under way", Some(current));
            self.retire(current, policy, now, policy.overlap);
        }
        self.rotations(policy);
    }

    /// A key that only a human can replace: its reminders, as if nobody answered them.
    fn by_hand(&mut self, record: &Record, current: &Version, policy: &Policy) {
        let (name, now) = (self.subject.name, self.subject.now);
        if record.pending().is_some() {
            self.push(now, "rotate", None, "in_progress", "a rotation is under way", Some(current));
            self.retire(current, policy, now, policy.overlap);
        }
        let newest = record.pending().unwrap_or(current);
        if is_awaited(newest, &record.phase, policy, now) {
            self.warn("waits_for_new_key", &format!("it waits for a new key by hand: rekeyd rotate {name}"));
        }
        let mut next = next_reminder(newest, policy, now);
        for _ in 0..REMINDERS_PER_KEY {
            let Some(at) = next.filter(|it| *it <= self.until) else { return };
            let expires = newest.valid_to == Some(at);
            let reason = if expires { "key_expired" } else { "replaced_by_hand" };
            let message = format!("unless a new key was brought before: rekeyd rotate {name}");
            self.push(at, "notify", None, reason, &message, Some(newest));
            next = next_reminder(newest, policy, at);
        }
    }

    fn rotations(&mut self, policy: &Policy) {
        let Some(line) = self.line.filter(|it| !it.rotations.is_empty()) else {
            let message =
                "no rotation is foreseen: its expiry is unknown, or no window of it opens again outside its freezes";
            return self.warn("nothing_foreseen", message);
        };
        let until = self.until;
        // Of one that begins later, the announcement may come within this time.
        for (version, start) in line.rotations.iter().filter(|it| it.1.at <= until || it.1.announced_at.is_some()) {
            self.rotation(version, start);
            if start.at <= until {
                let overlap = if start.compromised { Duration::ZERO } else { policy.overlap };
                self.retire(version, policy, start.at, overlap);
            }
        }
        if line.at_once {
            let message = "a new version would be due again at once: valid_for is not longer than rotate_before";
            self.warn("due_at_once", message);
        }
    }

    fn rotation(&mut self, version: &Version, start: &Start) {
        if let Some(at) = start.announced_at {
            let message = format!("the owners are told of the cutover planned for {}", start.at);
            self.push(at, "announce", None, start.reason, &message, Some(version));
        }
        if let Some(end) = version.valid_to.filter(|end| *end < start.at && *end <= self.until) {
            let never = self.subject.config.is_some_and(|it| it.policy.outside_window == OutsideWindow::Never);
            let why = if never { ": outside_window is \"never\", and nothing opens before" } else { "" };
            let verb = if end <= self.subject.now { "expired" } else { "expires" };
            self.warn("expires_first", &format!("it {verb} at {end}, before it is replaced at {}{why}", start.at));
        }
        self.push(start.at, "rotate", start.opening.clone(), start.reason, &start.message, Some(version));
    }

    /// The end of a version that a rotation at `at` replaces. Where a create revokes it, there is none to plan.
    fn retire(&mut self, old: &Version, policy: &Policy, at: Timestamp, overlap: Duration) {
        if !cuts(self.subject, policy) {
            let after = at.plus(overlap);
            self.revocation(old, policy, after, overlap.is_zero());
        }
    }

    fn retirements(&mut self, record: &Record, policy: &Policy) {
        for old in record.retired.iter().filter(|it| it.ended.is_none()) {
            self.revocation(&old.version, policy, old.after, old.after <= old.since);
        }
    }

    fn revocation(&mut self, old: &Version, policy: &Policy, after: Timestamp, at_once: bool) {
        let number = old.number;
        let not_before = after.max(self.subject.now);
        if !policy.provider.revokes_by_id {
            let message = format!("version {number} can't be revoked from here: the owners are asked to");
            return self.push(not_before, "notify", None, "revoke_needed", &message, Some(old));
        }
        if let Some((at, opening)) = revoked_at(policy, not_before, at_once) {
            let window = opening.as_ref().and_then(|it| it.name.as_ref());
            let window = window.map(|it| format!(", in window {it}")).unwrap_or_default();
            let message = format!("the overlap of version {number} ends at {after}{window}");
            self.push(at, "revoke", opening, "overlap_ends", &message, Some(old));
        }
    }

    fn probe(&mut self, record: &Record, policy: &Policy) {
        let at = record.probed_at.map_or(self.subject.now, |it| it.plus(policy.probe_every).max(self.subject.now));
        if policy.provider.probes && record.phase == Phase::Steady {
            let message =
                format!("the provider is asked every {} whether it accepts the key", HumanDuration(policy.probe_every));
            self.push(at, "probe", None, "probe_every", &message, None);
        }
    }

    /// The warnings of a key that nothing will replace. Thresholds longer than a third of its life don't apply.
    fn notices(&mut self, current: Option<&Version>, policy: Option<&Policy>) {
        let Some((version, end)) = current.and_then(|it| it.valid_to.map(|end| (it, end))) else { return };
        let life = end.since(began(version));
        let before = policy.map(|it| thresholds(it, life)).unwrap_or_default();
        for lead in before.into_iter().rev().filter(|it| end.minus(*it) >= self.subject.now) {
            let message = format!("it expires in {}, and nothing replaces it", HumanDuration(lead));
            self.push(end.minus(lead), "notify", None, "key_expiring", &message, Some(version));
        }
        self.push(end, "notify", None, "key_expired", "it expires, and nothing replaces it", Some(version));
    }

    fn push(
        &mut self,
        at: Timestamp,
        action: &str,
        window: Option<Opening>,
        reason: &str,
        message: &str,
        version: Option<&Version>,
    ) {
        if at < self.subject.now || at > self.until {
            return;
        }
        let subject = self.subject;
        let owners = subject.config.map(|it| &it.owners).or(subject.record.map(|it| &it.owners));
        self.found.entries.push(PlanEntry {
            at: at.into(),
            key: Some(self.subject.name.clone()),
            action: action.to_owned(),
            window: window.map(|it| WindowStatus { name: it.name, opens: it.opens.into(), closes: it.closes.into() }),
            reason: reason.to_owned(),
            message: message.to_owned(),
            valid_to: version.and_then(|it| it.valid_to).map(Into::into),
            version: version.map(|it| it.number),
            provider: subject.section.map(|it| it.name.clone()),
            owners: owners.cloned().unwrap_or_default(),
        });
    }

    fn warn(&mut self, reason: &str, message: &str) {
        let (key, reason, message) = (self.subject.name.clone(), reason.to_owned(), message.to_owned());
        self.found.warnings.push(PlanWarning { key, reason, message });
    }
}

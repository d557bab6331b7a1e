//! Deliveries: level-triggered. Whatever the phase, a target that does not surely hold what it should gets a delivery,
//! unless it holds what is none of ours.
use super::backoff;
use super::facts::{Action, Blocked, Content, Facts};
use super::names::{Fingerprint, TargetId};
use super::pass::Pass;
use super::policy::Reach;
use super::reader;
use super::record::{Held, Phase, Version, VersionNo};
use super::rules::Rule;

/// What to do about a target.
enum Need {
    Nothing,
    Delivery,
    Foreign(Fingerprint),
}

/// Whether a target visibly holds this version, and as it should.
fn holds(content: Option<&Content>, wanted: &Version) -> bool {
    matches!(content, Some(Content::Holds(it)) if *it == wanted.fingerprint)
}

impl Pass<'_> {
    /// Asks for a delivery to every target that needs one, and for the confirmations that are due then.
    pub(super) fn deliver(&mut self, facts: &Facts) {
        if self.record.decommissioned.is_some() {
            if facts.hold != Some(Blocked::Observing) {
                self.empty_targets();
            }
            return;
        }
        self.let_go_of_removed_targets();
        self.forget_old_readers();
        let Some(wanted) = self.wanted_at_targets(facts) else { return };
        let targets: Vec<TargetId> = self.push_targets().cloned().collect();
        for target in targets {
            if self.policy.target(&target).is_some_and(|it| matches!(it.reach, Reach::Read { .. })) {
                self.nudge(&wanted, &target);
                continue;
            }
            let mut held = self.record.held.get(&target).cloned().unwrap_or_default();
            match self.need(&wanted, &held, facts.targets.get(&target)) {
                Need::Nothing => self.confirm(&wanted, &target, &held),
                Need::Foreign(seen) => self.leave_foreign(&target, seen),
                Need::Delivery => {
                    let content = facts.targets.get(&target);
                    // It is written anew: whoever took up what stood there before must take up this. What is done is forgotten
                    // before the write, which may be the last thing that this daemon does.
                    if !matches!(content, Some(Content::Unreadable(_)) | None) && !holds(content, &wanted) {
                        held.then_done = None;
                    }
                    let there = self.may_be_there(&target, content);
                    held.maybe.extend(there.into_iter().filter(|it| held.settled != Some(*it)));
                    self.deliver_to(&wanted, &target, held);
                }
            }
        }
    }

    /// The version that the targets should hold now. None that is known to be dead is ever brought anywhere, nor one that has
    /// expired by a clock that is believed.
    fn wanted_at_targets(&self, facts: &Facts) -> Option<Version> {
        let wanted = match &self.record.phase {
            Phase::Deliver { pending, .. } => pending,
            Phase::Reobserve { .. } => return None,
            Phase::Halted { resume, .. } if matches!(**resume, Phase::Reobserve { .. }) => return None,
            _ => self.record.current.as_ref()?,
        };
        let lives = |it: &Version| facts.clock_suspect || it.valid_to.is_none_or(|at| at > self.now);
        Some(wanted.clone()).filter(|it| it.dead_since.is_none() && lives(it))
    }

    fn need(&self, wanted: &Version, held: &Held, content: Option<&Content>) -> Need {
        let issuing = matches!(self.record.phase, Phase::Deliver { .. } | Phase::Cutover { .. });
        let settled = held.is_settled_at(wanted.number);
        match content {
            Some(Content::Holds(it)) if *it == wanted.fingerprint && settled => Need::Nothing,
            Some(Content::Holds(it) | Content::Askew(it)) => {
                let ours = self.record.seen.contains_key(it);
                let begun = held.maybe.contains(&wanted.number);
                if ours || issuing || begun || !self.holds(Rule::HealKnown) {
                    Need::Delivery
                } else {
                    Need::Foreign(it.clone())
                }
            }
            Some(Content::Absent | Content::Damaged) => Need::Delivery,
            Some(Content::Unreadable(_)) | None if settled || (held.foreign.is_some() && !issuing) => Need::Nothing,
            Some(Content::Unreadable(_)) | None => Need::Delivery,
        }
    }

    /// Which versions a target holds until it is delivered to: none of them is revoked before that. One that has come back
    /// into the config, and can't be read, may hold any that was ever delivered.
    fn may_be_there(&self, target: &TargetId, content: Option<&Content>) -> Vec<VersionNo> {
        match content {
            Some(Content::Holds(it) | Content::Askew(it)) => self.record.seen.get(it).copied().into_iter().collect(),
            Some(Content::Absent | Content::Damaged) => Vec::new(),
            Some(Content::Unreadable(_)) | None if self.record.held.contains_key(target) => Vec::new(),
            Some(Content::Unreadable(_)) | None => {
                self.record.live_versions().filter(|it| it.delivered).map(|it| it.number).collect()
            }
        }
    }

    fn deliver_to(&mut self, wanted: &Version, target: &TargetId, mut held: Held) {
        held.foreign = None;
        if let Some(at) = held.retry_at.filter(|at| *at > self.now) {
            self.wake(at);
            self.record.held.insert(target.clone(), held);
            return;
        }
        if self.holds(Rule::HeldIntent) {
            held.maybe.insert(wanted.number);
        }
        self.record.held.insert(target.clone(), held);
        if let Phase::Cutover { delivered_at, .. } = &mut self.record.phase {
            *delivered_at = None;
        }
        if let Some(version) = self.version_mut(wanted.number) {
            version.delivered = true;
        }
        self.actions.push(Action::Deliver { target: target.clone(), version: wanted.number });
    }

    /// Somebody else's content stays, and is told; only a newly created or adopted key may overwrite it.
    fn leave_foreign(&mut self, target: &TargetId, seen: Fingerprint) {
        let held = self.record.held.entry(target.clone()).or_default();
        if held.foreign.as_ref() == Some(&seen) {
            return;
        }
        held.foreign = Some(seen.clone());
        held.settled = None;
        held.maybe.clear();
        self.tell_drifted(
            format!("foreign:{target}"),
            Some(&seen),
            &format!("{target} holds a key that is none of ours"),
        );
    }

    fn confirm(&mut self, wanted: &Version, target: &TargetId, held: &Held) {
        let confirms = self.policy.target(target).is_some_and(|it| it.confirms);
        if !confirms || held.confirmed == Some(wanted.number) {
            return;
        }
        match held.retry_at.filter(|at| *at > self.now) {
            Some(at) => self.wake(at),
            None => self.actions.push(Action::Confirm { target: target.clone(), version: wanted.number }),
        }
    }

    /// A target that left the config keeps what it holds; the owners are told that this will go stale.
    fn let_go_of_removed_targets(&mut self) {
        let named = |it: &TargetId| self.policy.target(it).is_some() || reader::is_reader(self.policy, it);
        let gone = self.record.held.keys().filter(|it| !named(it));
        let gone: Vec<TargetId> = gone.cloned().collect();
        for target in gone {
            self.tell_detached(&target);
            self.record.held.remove(&target);
        }
    }

    /// Counts a failed delivery. In the cutover gap the wait stays at the shortest.
    pub(super) fn delivery_failed(&mut self, target: &TargetId, why: &str) {
        let in_gap = matches!(self.record.phase, Phase::Cutover { .. });
        let (left, now, name) = (self.left(), self.now, self.record.name.clone());
        let held = self.record.held.entry(target.clone()).or_default();
        held.failures = held.failures.saturating_add(1);
        let wait = if in_gap { backoff::SHORTEST } else { backoff::after(held.failures, &name, left) };
        held.retry_at = Some(now.plus(wait));
        held.last_error = Some(why.to_owned());
        let failures = held.failures;
        self.tell_delivery_failed(target, why, failures, in_gap);
    }
}

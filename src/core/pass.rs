//! One pass over one key: the state as it changes while a decision is made, and the small moves that all steps share.
use super::account::Account;
use super::backoff;
use super::due;
use super::facts::{Action, Blocked, Facts};
use super::gate;
use super::names::{AccountId, Fingerprint, Incarnation};
use super::next::next;
use super::plan::{Change, Notice, Plan};
use super::policy::{Capabilities, OnCreate, Policy};
use super::record::{
    ENDED_KEPT, Ended, LastError, PHASES_KEPT, Phase, Reason, Record, Retired, Rotation, RotationResult, SEEN_KEPT,
    TOLD_KEPT, Trigger, Version, VersionNo, Wish,
};
use super::rules::{self, Rule};
use super::time::Timestamp;
use std::time::Duration;

/// A decision in the making.
pub(super) struct Pass<'a> {
    pub(super) record: Record,
    pub(super) account: Account,
    pub(super) policy: &'a Policy,
    pub(super) by: &'a Incarnation,
    pub(super) now: Timestamp,
    pub(super) actions: Vec<Action>,
    pub(super) keep: Vec<(VersionNo, Fingerprint)>,
    pub(super) notices: Vec<Notice>,
    pub(super) finished: Option<Rotation>,
    pub(super) blocked: Option<Blocked>,
    pub(super) rolled_back: bool,
    pub(super) forgotten: bool,
    wakes: Vec<Timestamp>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        record: &Record,
        account: &Account,
        policy: &'a Policy,
        by: &'a Incarnation,
        now: Timestamp,
    ) -> Self {
        Self {
            record: record.clone(),
            account: account.clone(),
            policy,
            by,
            now,
            actions: Vec::new(),
            keep: Vec::new(),
            notices: Vec::new(),
            finished: None,
            blocked: None,
            rolled_back: false,
            forgotten: false,
            wakes: Vec::new(),
        }
    }

    pub(super) fn holds(&self, rule: Rule) -> bool {
        rules::holds(rule)
    }

    /// Asks to be woken then.
    pub(super) fn wake(&mut self, at: Timestamp) {
        self.wakes.push(at);
    }

    /// Asks to be woken to look again at what has been awaited since then.
    pub(super) fn poll(&mut self, since: Timestamp) {
        self.wake(self.now.plus(backoff::poll(self.now.since(since))));
    }

    /// What a create does to the old key, as far as is known.
    pub(super) fn on_create(&self) -> OnCreate {
        on_create(&self.account, self.policy)
    }

    pub(super) fn overlap(&self) -> Duration {
        self.record.rotation.as_ref().map_or(self.policy.overlap, |it| Duration::from_millis(it.overlap_ms))
    }

    pub(super) fn capabilities(&self, account: &AccountId) -> Option<Capabilities> {
        if *account == self.policy.account {
            return Some(self.policy.provider);
        }
        self.policy.former.get(account).copied()
    }

    pub(super) fn is_current(&self, number: VersionNo) -> bool {
        self.record.current.as_ref().is_some_and(|it| it.number == number)
    }

    pub(super) fn current_is_dead(&self) -> bool {
        self.record.current.as_ref().is_some_and(|it| it.dead_since.is_some())
    }

    pub(super) fn version_mut(&mut self, number: VersionNo) -> Option<&mut Version> {
        let retired = self.record.retired.iter_mut().map(|it| &mut it.version);
        let pending = pending_mut(&mut self.record.phase);
        self.record.current.iter_mut().chain(pending).chain(retired).find(|it| it.number == number)
    }

    /// Counts a failure, and says when the next try may be made.
    pub(super) fn fail(&mut self, reason: &str, message: &str) {
        self.record.failures = self.record.failures.saturating_add(1);
        let left = self.record.current.as_ref().and_then(|it| due::left(it, self.now));
        let wait = backoff::after(self.record.failures, &self.record.name, left);
        self.record.retry_at = Some(self.now.plus(wait));
        self.note_error(reason, message);
        self.tell_failures(message);
    }

    pub(super) fn note_error(&mut self, reason: &str, message: &str) {
        let phase = phase_name(&self.record.phase).to_owned();
        self.record.last_error =
            Some(LastError { at: self.now, phase, reason: reason.to_owned(), message: message.to_owned() });
    }

    /// Enters a phase, and notes when.
    pub(super) fn enter(&mut self, phase: Phase) {
        let (before, after) = (phase_name(&self.record.phase), phase_name(&phase));
        self.record.phase = phase;
        if let Some(rotation) = self.record.rotation.as_mut().filter(|_| before != after) {
            rotation.phases.push((after.to_owned(), self.now));
            let surplus = rotation.phases.len().saturating_sub(PHASES_KEPT);
            rotation.phases.drain(..surplus);
        }
    }

    /// Begins a rotation: from here on its policy is the one of this moment.
    pub(super) fn begin_rotation(&mut self, trigger: Trigger) {
        let wish = self.record.wish.take();
        let wish = wish.unwrap_or(Wish { trigger, actor: None, reason: None, now: false, compromised: false });
        self.record.last_attempt += 1;
        self.record.rotation = Some(Rotation {
            attempt: self.record.last_attempt,
            wish,
            rollback: false,
            account: self.policy.account.clone(),
            on_create: self.on_create(),
            overlap_ms: u64::try_from(self.policy.overlap.as_millis()).unwrap_or(u64::MAX),
            started_at: self.now,
            finished_at: None,
            result: None,
            version: None,
            cut_at: None,
            cutover_gap_ms: None,
            phases: Vec::new(),
            deliveries: std::collections::BTreeMap::new(),
        });
    }

    /// Ends the rotation under way: a row of the history.
    pub(super) fn finish_rotation(&mut self, result: RotationResult) {
        let Some(mut rotation) = self.record.rotation.take() else { return };
        rotation.finished_at = Some(self.now);
        rotation.result = Some(result);
        if result == RotationResult::Succeeded {
            rotation.version = self.record.current.as_ref().map(|it| it.number);
            self.record.failures = 0;
            self.record.retry_at = None;
            self.record.last_error = None;
            if rotation.rollback {
                // The old key may be due already.
                self.wait_for_the_next_window();
            }
            self.resolve("rotation");
            self.tell_succeeded(&rotation);
        }
        self.record.last_rotation = Some(rotation.clone());
        self.finished = Some(rotation);
    }

    /// What was given up is tried again in the next window, not at once.
    pub(super) fn wait_for_the_next_window(&mut self) {
        self.record.retry_at = Some(gate::next_attempt(self.policy, self.now));
    }

    /// Whether an operator holds the key back. A pause whose end has passed was ended at the beginning of the pass.
    pub(super) fn is_held(&self) -> bool {
        self.record.paused.is_some() && self.holds(Rule::Pause)
    }

    pub(super) fn is_rollback(&self) -> bool {
        self.record.rotation.as_ref().is_some_and(|it| it.rollback)
    }

    /// Stops and waits for a human.
    pub(super) fn halt(&mut self, reason: Reason, message: &str) {
        self.note_error(reason.code(), message);
        let resume = match std::mem::replace(&mut self.record.phase, Phase::Steady) {
            Phase::Halted { resume, .. } => resume,
            phase => Box::new(phase),
        };
        // A halted key releases its account; its open tokens stay counted.
        for (token, open) in &mut self.account.open {
            if token.name == self.record.name {
                open.locks = false;
            }
        }
        self.enter(Phase::Halted { reason, at: self.now, resume });
        self.tell_halted(reason, message);
    }

    /// Makes the new version current and puts the old one among the retired.
    pub(super) fn promote(&mut self, version: Version) {
        let now = self.now;
        let compromised = self.record.rotation.as_ref().is_some_and(|it| it.wish.compromised);
        let overlap = if compromised || !self.holds(Rule::Overlap) { Duration::ZERO } else { self.overlap() };
        if compromised {
            // Nobody says which version is in wrong hands: none of them outlives the new one.
            for it in self.record.retired.iter_mut().filter(|it| it.ended.is_none()) {
                it.after = it.since;
            }
        }
        let old = self.record.current.replace(version);
        self.record.sighting = None;
        if let Some(old) = old.filter(|_| self.holds(Rule::RetireOld)) {
            self.retire_current(old, now.plus(overlap));
        }
    }

    /// Retires what consumers were to use so far: it is what `rollback` may go back to.
    pub(super) fn retire_current(&mut self, version: Version, after: Timestamp) {
        self.retire_version(Version { was_current: true, ..version }, after);
    }

    pub(super) fn retire_version(&mut self, version: Version, after: Timestamp) {
        let since = self.now;
        self.record.retired.push(Retired {
            version,
            after,
            since,
            failures: 0,
            retry_at: None,
            ending: false,
            ended: None,
        });
    }

    /// Takes the promoted version's predecessor for dead: the create that made the new one ended it.
    pub(super) fn end_old_as_revoked(&mut self) {
        let current = self.record.current.as_ref().map(|it| it.account.clone());
        let all_died = self.on_create() == OnCreate::Revokes;
        for it in &mut self.record.retired {
            let died = all_died && Some(&it.version.account) == current.as_ref();
            let dead = it.version.dead_since.is_some() || died;
            if it.ended.is_none() && dead {
                it.ended = Some(Ended::Revoked);
            }
        }
    }

    /// What came of the pass. Where nothing changed, the record is the very same.
    pub(super) fn plan(mut self, before: &Record, facts: &Facts) -> Plan {
        if facts.clock_suspect {
            self.blocked = Some(Blocked::Clock);
        }
        let wake_at = self.wake_at();
        let blocked = self.blocked.take();
        let actions = std::mem::take(&mut self.actions);
        Plan { change: self.change(before), actions, wake_at, blocked }
    }

    /// What becomes durable.
    pub(super) fn change(mut self, before: &Record) -> Change {
        self.prune();
        self.end_what_is_over();
        if self.record != *before {
            self.record.revision = before.revision + 1;
            self.record.changed_at = self.now;
        }
        if !self.notices.is_empty() {
            let next = next(&self.record, &self.account, self.policy, self.now);
            self.notices.iter_mut().for_each(|it| it.next.clone_from(&next));
        }
        Change {
            record: self.record,
            account: self.account,
            keep: self.keep,
            notices: self.notices,
            finished: self.finished,
            rolled_back: self.rolled_back,
            forgotten: self.forgotten,
        }
    }

    fn wake_at(&mut self) -> Timestamp {
        let record = &self.record;
        let probed = record.probed_at.map(|at| at.plus(self.policy.probe_every));
        let held = record.held.values().filter_map(|it| it.retry_at);
        let probed = probed.filter(|_| self.policy.provider.probes && record.current.is_some());
        let stored = record.retry_at.into_iter().chain(held).chain(probed).filter(|at| *at > self.now);
        // A moment that was asked for and has passed must not lose the only wake-up there is.
        let soonest = self.now.plus(backoff::SHORTEST);
        let asked = self.wakes.iter().map(|at| (*at).max(soonest));
        stored.chain(asked).min().unwrap_or(Timestamp::NEVER)
    }

    fn prune(&mut self) {
        let ended = self.record.retired.iter().filter(|it| it.ended.is_some()).count();
        let mut surplus = ended.saturating_sub(ENDED_KEPT);
        self.record.retired.retain(|it| {
            let drop = it.ended.is_some() && surplus > 0;
            surplus -= usize::from(drop);
            !drop
        });
        while self.record.seen.len() > SEEN_KEPT {
            let lives = |number| self.record.live_versions().any(|it| it.number == number);
            let held = |number| self.record.held.values().any(|it| it.may_hold(number));
            let gone = self.record.seen.iter().filter(|it| !lives(*it.1) && !held(*it.1));
            let Some(oldest) = gone.min_by_key(|it| it.1).map(|it| it.0.clone()) else { break };
            self.record.seen.remove(&oldest);
        }
        while self.record.told.len() > TOLD_KEPT {
            let oldest = self.record.told.iter().min_by_key(|it| it.1).map(|it| it.0.clone());
            oldest.and_then(|it| self.record.told.remove(&it));
        }
    }
}

/// What a create does to the old key, as far as is known.
pub fn on_create(account: &Account, policy: &Policy) -> OnCreate {
    match policy.provider.on_create {
        OnCreate::Unknown => account.learned.unwrap_or(OnCreate::Unknown),
        known => known,
    }
}

/// The name of a phase, as `status` spells it.
pub fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Unadopted => "unadopted",
        Phase::Reobserve { .. } => "reobserve",
        Phase::Steady => "steady",
        Phase::Announce { .. } => "announce",
        Phase::Create(_) => "create",
        Phase::Judge { .. } | Phase::Verify { .. } | Phase::Cutover { delivered_at: Some(_), .. } => "verify",
        Phase::Deliver { .. } | Phase::Cutover { .. } => "deliver",
        Phase::Halted { .. } => "halted",
    }
}

pub(super) fn pending_mut(phase: &mut Phase) -> Option<&mut Version> {
    match phase {
        Phase::Judge { pending, .. } | Phase::Verify { pending, .. } | Phase::Deliver { pending, .. } => Some(pending),
        Phase::Halted { resume, .. } => pending_mut(resume),
        _ => None,
    }
}

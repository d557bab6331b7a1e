//! The transitions that time and facts alone cause: the drawing in [`Phase`], as code.
use super::backoff;
use super::due;
use super::facts::{Blocked, Facts, Preflight, Probe};
use super::names::TargetId;
use super::pass::Pass;
use super::policy::{OnCreate, Reach};
use super::record::{Creating, Phase, Reason, RotationResult, Version, VersionNo};
use super::rules::Rule;
use super::time::Timestamp;
use std::time::Duration;

/// How long the old key is asked for after a create at an account that says not what a create does.
pub const JUDGE_WAIT: Duration = Duration::from_secs(5);
/// How many new keys of one rotation may be refused before a human is asked.
pub const MOST_REFUSED: u32 = 3;
/// More transitions than these in one pass are a fault of ours.
const MOST_STEPS: usize = 8;

impl Pass<'_> {
    /// Takes transitions until none is left to take.
    pub(super) fn advance(&mut self, facts: &Facts) {
        for _ in 0..MOST_STEPS {
            let before = self.record.phase.clone();
            let in_doubt = matches!(&before, Phase::Create(it) if it.token.is_some());
            self.step(facts);
            let sent = matches!(&self.record.phase, Phase::Create(it) if it.token.is_some()) && !in_doubt;
            if self.record.phase == before || sent {
                return;
            }
        }
    }

    fn step(&mut self, facts: &Facts) {
        match self.record.phase.clone() {
            Phase::Unadopted | Phase::Announce { .. } if self.begins_nothing(facts) => {}
            Phase::Unadopted => self.begin_initial(facts),
            Phase::Reobserve { since } => self.reobserve(facts, since),
            Phase::Steady => {
                self.note_drift(facts);
                if self.record.phase == Phase::Steady && !self.begins_nothing(facts) {
                    self.begin_when_due();
                }
            }
            Phase::Announce { .. } | Phase::Create(_) if self.is_by_hand() => self.give_up_creating(),
            Phase::Announce { until } => self.begin_when_announced(until),
            Phase::Create(creating) if self.is_held() && !self.has_cut(&creating) => {}
            Phase::Create(_) if self.login_is_lost(facts) => {
                self.halt(Reason::LoginLost, "the key that authorises the calls is refused, and so is every other");
            }
            Phase::Create(creating) if creating.token.is_some() => self.recover(facts, creating),
            Phase::Create(creating) => self.create_when_ready(facts, creating),
            Phase::Judge { pending, since } => self.judge(facts, pending, since),
            Phase::Verify { pending, since } => self.verify(facts, pending, since),
            Phase::Deliver { pending, .. } => self.promote_when_delivered(pending),
            Phase::Cutover { since, delivered_at, again } => self.cut_over(facts, since, delivered_at, again),
            Phase::Halted { .. } => {}
        }
    }

    /// Whether an operator holds the key back, or the daemon itself has a reason to begin nothing: by a clock that is years ahead
    /// every key would be due.
    fn begins_nothing(&mut self, facts: &Facts) -> bool {
        self.blocked.clone_from(&facts.hold);
        self.is_held() || facts.hold.is_some() || (facts.clock_suspect && self.holds(Rule::Clock))
    }

    /// Whether a create of this rotation has, or may have, ended the old key already, or its outcome is still looked for:
    /// that is brought to its end even while the key is paused.
    fn has_cut(&self, creating: &Creating) -> bool {
        let lost = creating.lost > 0 && self.on_create() != OnCreate::Keeps;
        creating.token.is_some() || creating.again > 0 || lost
    }

    /// The new version exists: how to go on depends on what its create did to the old one.
    pub(super) fn created(&mut self, version: Version, sent_at: Timestamp) {
        let since = self.now;
        let again = match &self.record.phase {
            Phase::Create(creating) => creating.again,
            _ => 0,
        };
        let first = self.record.current.is_none();
        match self.on_create() {
            _ if first => self.enter(Phase::Verify { pending: version, since }),
            OnCreate::Keeps => self.enter(Phase::Verify { pending: version, since }),
            OnCreate::Unknown if self.policy.provider.probes && again == 0 => {
                self.enter(Phase::Judge { pending: version, since });
            }
            OnCreate::Revokes | OnCreate::Unknown => self.cut_over_to(version, sent_at, again),
        }
    }

    /// The old key is dead, or may be: the new one is promoted before it is delivered.
    pub(super) fn cut_over_to(&mut self, version: Version, cut_at: Timestamp, again: u32) {
        let since = self.now;
        self.promote(version);
        if self.on_create() == OnCreate::Revokes || self.record.retired.iter().any(|it| it.version.dead_since.is_some())
        {
            self.end_old_as_revoked();
        }
        if let Some(rotation) = &mut self.record.rotation {
            rotation.cut_at = rotation.cut_at.or(Some(cut_at));
        }
        self.enter(Phase::Cutover { since, delivered_at: None, again });
    }

    fn judge(&mut self, facts: &Facts, pending: Version, since: Timestamp) {
        let current = self.record.current.as_ref().map(|it| it.number);
        let old = current.and_then(|it| facts.probes.get(&it).copied());
        if old == Some(Probe::Alive) {
            self.enter(Phase::Verify { pending, since });
        } else if self.current_is_dead() || since.plus(JUDGE_WAIT) <= self.now {
            let cut_at = pending.obtained_at;
            self.cut_over_to(pending, cut_at, 0);
        } else {
            self.wake(self.now.plus(backoff::SHORTEST).min(since.plus(JUDGE_WAIT)));
        }
    }

    fn verify(&mut self, facts: &Facts, pending: Version, since: Timestamp) {
        if self.is_rollback() {
            return self.verify_previous(facts, pending, since);
        }
        if self.cut_over_if_old_is_dead(&pending) {
            return;
        }
        if self.is_held() && pending.dead_since.is_none() {
            // A new key reaches no consumer while an operator holds it back.
            return;
        }
        if self.supplied_key_waits() {
            return;
        }
        let answer = facts.probes.get(&pending.number).copied();
        let patience_ends = since.plus(self.policy.accept_within);
        let accepted = !self.policy.provider.probes || answer == Some(Probe::Alive);
        let unsure = patience_ends <= self.now && !facts.clock_suspect && self.holds(Rule::VerifyEnds);
        let deliver_at = self.planned_delivery_at();
        if (accepted || (unsure && pending.dead_since.is_none())) && deliver_at > self.now {
            self.wait_until(deliver_at);
        } else if accepted {
            self.enter(Phase::Deliver { pending, since: self.now });
        } else if pending.dead_since.is_some() {
            self.refuse(pending);
        } else if unsure {
            self.tell_unverified(&pending);
            self.enter(Phase::Deliver { pending, since: self.now });
        } else {
            self.wake(self.now.plus(backoff::poll(self.now.since(since))).min(patience_ends.max(self.now)));
            self.poll(since);
        }
    }

    /// A version that was current before becomes so again only where the provider is seen to accept it.
    fn verify_previous(&mut self, facts: &Facts, pending: Version, since: Timestamp) {
        let accepted = facts.probes.get(&pending.number) == Some(&Probe::Alive);
        let patience_ends = since.plus(self.policy.accept_within);
        if accepted || !self.holds(Rule::RollbackAlive) {
            self.enter(Phase::Deliver { pending, since: self.now });
        } else if pending.dead_since.is_some() || patience_ends <= self.now {
            self.give_up_rollback(pending);
        } else {
            self.wake(patience_ends);
            self.poll(since);
        }
    }

    /// The current version stays, and the previous one goes on to its end.
    fn give_up_rollback(&mut self, pending: Version) {
        let why = "the provider was not seen to accept the previous version, so that the current one stays";
        let after = if pending.dead_since.is_some() { self.now } else { self.now.plus(self.overlap()) };
        self.note_error("rollback_failed", why);
        self.tell_rollback_failed(&pending, why);
        self.retire_version(pending, after);
        self.enter(Phase::Steady);
        self.finish_rotation(RotationResult::Failed);
        self.wait_for_the_next_window();
    }

    /// The provider refuses the key that it issued: it goes, and another is created after a while.
    fn refuse(&mut self, pending: Version) {
        let creating = Creating { refused: self.refusals() + 1, ..Creating::default() };
        let refused = creating.refused;
        self.retire_version(pending, self.now);
        self.enter(Phase::Create(creating));
        if refused >= MOST_REFUSED {
            return self.halt(Reason::NewKeyRefused, "the provider refuses every key that it issues");
        }
        self.fail("new_key_refused", "the provider refuses the key that it issued");
    }

    fn refusals(&self) -> u32 {
        let retired = self.record.retired.iter().filter(|it| !it.version.delivered);
        let since = self.record.rotation.as_ref().map_or(self.now, |it| it.started_at);
        u32::try_from(retired.filter(|it| it.version.dead_since.is_some() && it.since >= since).count()).unwrap_or(0)
    }

    fn cut_over_if_old_is_dead(&mut self, pending: &Version) -> bool {
        if !self.current_is_dead() || !self.holds(Rule::DeadOldKey) {
            return false;
        }
        let cut_at = self.record.current.as_ref().and_then(|it| it.dead_since).unwrap_or(self.now);
        self.cut_over_to(pending.clone(), cut_at, 0);
        true
    }

    fn promote_when_delivered(&mut self, pending: Version) {
        if self.is_rollback() && pending.dead_since.is_some() && self.holds(Rule::RollbackAlive) {
            return self.give_up_rollback(pending);
        }
        if self.cut_over_if_old_is_dead(&pending) {
            return;
        }
        let missing = self.push_targets().any(|it| !self.is_settled(it, pending.number));
        let ending = self.record.current.as_ref().and_then(|it| it.valid_to);
        let ending = ending.map(|it| it.minus(self.overlap()));
        if missing && ending.is_none_or(|at| at > self.now) {
            if let Some(at) = ending {
                self.wake(at);
            }
            return;
        }
        self.promote(pending);
        self.enter(Phase::Steady);
        self.finish_rotation(RotationResult::Succeeded);
    }

    fn cut_over(&mut self, facts: &Facts, since: Timestamp, delivered_at: Option<Timestamp>, again: u32) {
        let Some(current) = self.record.current.clone() else { return self.enter(Phase::Steady) };
        let missing = self.push_targets().any(|it| !self.is_settled(it, current.number));
        if missing && current.dead_since.is_none() {
            if delivered_at.is_some() {
                self.enter(Phase::Cutover { since, delivered_at: None, again });
            }
            return;
        }
        if delivered_at.is_none() && !missing {
            self.note_gap();
            return self.enter(Phase::Cutover { since, delivered_at: Some(self.now), again });
        }
        // The delivery may have taken longer than that: then it has not been asked yet.
        let since = delivered_at.unwrap_or(since);
        let patience_ends = since.plus(self.policy.accept_within);
        let alive = facts.probes.get(&current.number) == Some(&Probe::Alive);
        let newer = self.believable(facts.read.as_ref());
        if alive || !self.policy.provider.probes {
            self.enter(Phase::Steady);
            self.finish_rotation(RotationResult::Succeeded);
        } else if let Some(found) = newer {
            self.take_over(&found);
        } else if current.dead_since.is_some() && again == 0 {
            self.enter(Phase::Create(Creating { again: again + 1, ..Creating::default() }));
        } else if current.dead_since.is_some() {
            self.halt(Reason::NewKeyRefused, "the provider refuses the new key, and the old one is dead");
        } else if patience_ends <= self.now && self.holds(Rule::VerifyEnds) {
            self.tell_unverified(&current);
            self.enter(Phase::Steady);
            self.finish_rotation(RotationResult::Succeeded);
        } else {
            self.poll(since);
        }
    }

    fn note_gap(&mut self) {
        let now = self.now;
        if let Some(rotation) = &mut self.record.rotation {
            let gap = rotation.cut_at.map(|at| now.since(at));
            rotation.cutover_gap_ms = gap.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
        }
    }

    /// Whether nobody can be asked for a new key any more: the calls are refused, and the key that authorised them is dead.
    fn login_is_lost(&self, facts: &Facts) -> bool {
        let refused = facts.preflight == Some(Preflight::Blocked(Blocked::Login));
        let authorises = self.policy.targets.iter().any(|it| it.reach == Reach::Pull);
        // Without a probe no key is ever known to be dead: a lost create and a long refusal say as much.
        let blind = !self.policy.provider.probes;
        refused && authorises && (self.current_is_dead() || (blind && self.lost_one_long_ago()))
    }

    fn lost_one_long_ago(&self) -> bool {
        let lost = self.my_lost_tokens().into_iter().filter_map(|(_, open)| open.lost_at).min();
        let before = matches!(&self.record.phase, Phase::Create(it) if it.lost > 0);
        let begun = self.record.rotation.as_ref().map(|it| it.started_at).filter(|_| before);
        let patience = self.policy.accept_within;
        lost.into_iter().chain(begun).any(|at| at.plus(patience) <= self.now)
    }

    pub(super) fn is_settled(&self, target: &TargetId, version: VersionNo) -> bool {
        self.record.held.get(target).is_some_and(|it| it.is_settled_at(version))
    }

    /// How much of the current version's life is left.
    pub(super) fn left(&self) -> Option<Duration> {
        self.record.current.as_ref().and_then(|it| due::left(it, self.now))
    }
}

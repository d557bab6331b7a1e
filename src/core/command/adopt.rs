//! `adopt`: a key that is in use already comes into our care, or answers a halted create.
use crate::core::facts::{Content, Probe};
use crate::core::pass::Pass;
use crate::core::plan::{Adopt, CommandRefused};
use crate::core::policy::OnCreate;
use crate::core::record::{Ended, Expiry, Held, Phase, RotationResult, Trigger, Version, VersionNo, Wish};

impl Pass<'_> {
    pub(super) fn adopt(&mut self, it: &Adopt) -> Result<(), CommandRefused> {
        self.check_adoptable(it)?;
        if self.adopt_again(it) {
            return Ok(());
        }
        self.check_not_ending(it)?;
        let first = self.record.current.is_none();
        let mut version = self.adopted_version(it);
        self.give_up_what_is_under_way();
        self.bring_back(&mut version);
        self.tell_adopted(&version);
        self.leave_where_it_is(it, version.number);
        self.promote(version);
        if it.probe == Probe::Alive && self.on_create() == OnCreate::Revokes {
            // The account has one key that works, and this is it.
            self.end_old_as_revoked();
        }
        if !first {
            let (trigger, actor) = (Trigger::Operator, it.actor.clone());
            self.record.wish = Some(Wish { trigger, actor, reason: None, now: true, compromised: false });
            self.begin_rotation(trigger);
        }
        self.enter(Phase::Cutover { since: self.now, delivered_at: None, again: 1 });
        Ok(())
    }

    fn check_adoptable(&self, it: &Adopt) -> Result<(), CommandRefused> {
        match self.record.phase {
            Phase::Unadopted | Phase::Steady | Phase::Halted { .. } => {}
            // What the world holds is not known yet; or the owners were told that the key is replaced from here.
            Phase::Reobserve { .. } | Phase::Announce { .. } => return Err(CommandRefused::Phase),
            _ => return Err(self.under_way()),
        }
        match it.probe {
            Probe::Dead if !it.unverified => return Err(CommandRefused::Dead),
            Probe::Inconclusive if self.policy.provider.probes && !it.unverified => {
                return Err(CommandRefused::Unverified);
            }
            _ => {}
        }
        let holds_other = it.targets.iter().find(|(_, content)| match content {
            Content::Holds(held) | Content::Askew(held) => {
                *held != it.fingerprint && !self.record.seen.contains_key(held)
            }
            _ => false,
        });
        match holds_other.filter(|_| !it.deliver) {
            Some((target, _)) => Err(CommandRefused::TargetHolds(target.clone())),
            None => Ok(()),
        }
    }

    /// An old key may come back, but not while its revoke may be on the wire already.
    fn check_not_ending(&self, it: &Adopt) -> Result<(), CommandRefused> {
        let own = self.record.retired.iter().filter(|own| own.ended.is_none());
        let mut same = own.filter(|own| own.version.fingerprint == it.fingerprint);
        if same.any(|own| own.ending) { Err(CommandRefused::BeingRevoked) } else { Ok(()) }
    }

    /// The operator's key ends whatever was tried before.
    pub(super) fn give_up_what_is_under_way(&mut self) {
        for incident in ["halted", "refused", "rotation", "rollback", "drifted"] {
            self.resolve_as(incident, "another key was taken over");
        }
        if let Some(pending) = self.record.pending().cloned() {
            let after = if pending.delivered { self.now.plus(self.overlap()) } else { self.now };
            self.retire_version(pending, after);
        }
        for (token, open) in &mut self.account.open {
            open.locks &= token.name != self.record.name;
        }
        self.record.decommissioned = None;
        self.record.wish = None;
        self.record.failures = 0;
        self.record.retry_at = None;
        self.record.drifts = 0;
        if self.record.rotation.is_some() {
            self.finish_rotation(RotationResult::Failed);
        }
    }

    /// A key that was pending, or on its way out, is current again: what would have ended it is forgotten.
    fn bring_back(&mut self, version: &mut Version) {
        self.record.retired.retain(|it| {
            let gone = it.ended.is_some_and(|it| it != Ended::Reported);
            let same = it.version.fingerprint == version.fingerprint && !gone;
            if same {
                version.id = version.id.take().or(it.version.id.clone());
                version.token = version.token.take().or(it.version.token.clone());
            }
            !same
        });
    }

    /// A target that holds the key already, exactly as we would write it, is left alone: nobody restarts a consumer that
    /// works.
    fn leave_where_it_is(&mut self, it: &Adopt, number: VersionNo) {
        let holds = Content::Holds(it.fingerprint.clone());
        for (target, _) in it.targets.iter().filter(|(_, content)| **content == holds) {
            let held = self.record.held.entry(target.clone()).or_default();
            // A write that is under way may yet bring another version.
            if held.maybe.is_empty() {
                *held = Held { settled: Some(number), ..Held::default() };
            }
        }
    }

    /// The key in use is adopted once more: only what is said of it changes.
    fn adopt_again(&mut self, it: &Adopt) -> bool {
        let halted = matches!(self.record.phase, Phase::Halted { .. });
        let Some(current) = self.record.current.as_mut().filter(|own| own.fingerprint == it.fingerprint) else {
            return false;
        };
        // Its secret may be what the state has lost.
        self.keep.push((current.number, it.fingerprint.clone()));
        current.id = it.id.clone().or(current.id.take());
        current.valid_from = it.valid_from.or(current.valid_from);
        if it.expiry != Expiry::Unknown {
            current.valid_to = it.valid_to;
            current.expiry = it.expiry;
        }
        if it.probe == Probe::Alive {
            current.dead_since = None;
        }
        if halted {
            self.resolve("halted");
            self.enter(Phase::Steady);
            self.finish_rotation(RotationResult::Failed);
        }
        true
    }

    fn adopted_version(&mut self, it: &Adopt) -> Version {
        // A key that was ours before, in an operator's hand again, keeps its fingerprint and gets a number of its own.
        self.record.last_version += 1;
        let number = self.record.last_version;
        self.record.seen.insert(it.fingerprint.clone(), number);
        self.account.known.insert(it.fingerprint.clone());
        self.keep.push((number, it.fingerprint.clone()));
        let alive = (it.probe == Probe::Alive).then_some(self.now);
        if alive.is_some() {
            self.record.controls.insert(String::new());
        }
        Version {
            number,
            account: self.policy.account.clone(),
            id: it.id.clone(),
            fingerprint: it.fingerprint.clone(),
            token: None,
            obtained_at: self.now,
            valid_from: it.valid_from,
            valid_to: it.valid_to,
            expiry: it.expiry,
            first_alive: alive,
            last_alive: alive,
            dead_since: None,
            restriction: None,
            delivered: true,
            was_current: false,
        }
    }
}

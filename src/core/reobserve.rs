//! After a restore the state may be older than the world: what the provider and the targets hold is read before anything is
//! delivered, created or revoked.
use super::facts::{Blocked, Content, Facts};
use super::names::TargetId;
use super::pass::Pass;
use super::policy::{OnCreate, Reach, Recover};
use super::record::{Phase, Reason, Version};
use super::time::Timestamp;

impl Pass<'_> {
    /// Reads the world, and goes on where it matches the record.
    pub(super) fn reobserve(&mut self, facts: &Facts, since: Timestamp) {
        if facts.hold == Some(Blocked::Observing) {
            self.blocked.clone_from(&facts.hold);
            return;
        }
        self.disown_old_tokens();
        let Some(current) = self.record.current.clone() else { return self.enter(Phase::Unadopted) };
        if facts.clock_suspect {
            return;
        }
        self.know_earlier_lives(facts);
        if self.halts_for_another_daemon(facts) {
            return;
        }
        self.poll(since);
        match self.policy.provider.recover {
            Recover::ReadCurrent => self.match_read(facts, &current, since),
            Recover::ListByName if facts.listed.is_none() => {}
            _ if self.targets_answer(facts) => self.match_targets(facts, &current),
            _ => {}
        }
    }

    fn match_read(&mut self, facts: &Facts, current: &Version, since: Timestamp) {
        let Some(read) = facts.read.as_ref().and_then(|it| it.fingerprint.clone()) else { return };
        if read == current.fingerprint {
            self.resolve("drifted");
            return self.enter(Phase::Steady);
        }
        if let Some(found) = self.believable(facts.read.as_ref()) {
            if !self.is_held() {
                self.take_over(&found);
            }
            return;
        }
        if since.plus(self.policy.accept_within) <= self.now {
            self.halt(Reason::Restored, "the provider's key is not the one in the restored state");
        }
    }

    fn targets_answer(&self, facts: &Facts) -> bool {
        self.policy
            .targets
            .iter()
            .filter(|it| it.reach == Reach::Push { readable: true })
            .all(|it| facts.targets.get(&it.id).is_some_and(|content| !matches!(content, Content::Unreadable(_))))
    }

    fn match_targets(&mut self, facts: &Facts, current: &Version) {
        self.book_what_targets_hold(facts);
        if !is_newer(facts, current) && !self.was_issued_since(facts) && !self.current_is_dead() {
            self.resolve("drifted");
            return self.enter(Phase::Steady);
        }
        self.leave_what_is_not_seen();
        self.tell_drifted(
            "drifted".into(),
            None,
            "the restored state is older than what the provider or the targets hold",
        );
        if self.on_create() != OnCreate::Keeps || self.is_by_hand() {
            return self.halt(Reason::Restored, "the restored state is older than what the targets hold");
        }
        // What the targets hold is newer than we know: it stays until a fresh key replaces it.
        self.enter(Phase::Steady);
        self.wish_after_drift();
    }

    fn book_what_targets_hold(&mut self, facts: &Facts) {
        for (id, content) in &facts.targets {
            let (Content::Holds(fingerprint) | Content::Askew(fingerprint)) = content else { continue };
            let held = self.record.held.entry(id.clone()).or_default();
            held.maybe.clear();
            match self.record.seen.get(fingerprint) {
                Some(number) => held.settled = Some(*number),
                None => held.foreign = Some(fingerprint.clone()),
            }
        }
    }

    /// A create of this installation that the record does not know: it was made after the backup.
    fn was_issued_since(&self, facts: &Facts) -> bool {
        let listed = facts.listed.iter().flat_map(|it| &it.keys).filter_map(|it| it.token.as_ref());
        let mut ours = listed.filter(|it| it.name == self.record.name && it.by.install == self.by.install);
        ours.any(|token| !self.record.live_versions().any(|own| own.token.as_ref() == Some(token)))
    }

    /// A target that can't be read may hold a newer key too: it is left until a fresh key replaces it.
    fn leave_what_is_not_seen(&mut self) {
        let blind = self.policy.targets.iter().filter(|it| it.reach == Reach::Push { readable: false });
        let blind: Vec<TargetId> = blind.map(|it| it.id.clone()).collect();
        for id in blind {
            let held = self.record.held.entry(id).or_default();
            held.maybe.clear();
            held.foreign = Some("unknown".into());
        }
    }
}

fn is_newer(facts: &Facts, current: &Version) -> bool {
    facts.targets.values().any(|it| match it {
        Content::Holds(it) | Content::Askew(it) => *it != current.fingerprint,
        Content::Absent | Content::Damaged | Content::Unreadable(_) => false,
    })
}

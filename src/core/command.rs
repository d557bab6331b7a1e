//! An operator's verbs, each by its rule: refused with a reason where it would lose a key, and then nothing changes.
use super::account::Account;
use super::due;
use super::facts::{Content, Probe};
use super::names::{Incarnation, Token};
use super::pass::Pass;
use super::plan::{Adopt, Change, Command, CommandRefused};
use super::policy::{Initial, OnCreate, Policy, Reach};
use super::record::{Creating, Ended, Expiry, Held, Phase, Record, Retired, RotationResult, Trigger, Version, Wish};
use super::rules::Rule;
use super::time::Timestamp;
use super::window;
use std::collections::BTreeSet;

/// Folds an operator's verb into the record.
///
/// # Errors
/// Where the verb would lose a key, or has no sense in this phase. Nothing is changed then.
pub fn command(
    record: &Record,
    account: &Account,
    command: &Command,
    policy: &Policy,
    now: Timestamp,
) -> Result<Change, CommandRefused> {
    // No verb issues a token, so that it does not matter who would.
    let nobody = Incarnation { install: String::new(), epoch: String::new() };
    let mut pass = Pass::new(record, account, policy, &nobody, now);
    match command {
        Command::Rotate(wish) => pass.rotate(wish.clone()),
        Command::Resume => pass.resume(),
        Command::Abandon => pass.abandon(),
        Command::Adopt(it) => pass.adopt(it),
        Command::Supply(it) => pass.supply(it),
    }?;
    Ok(pass.change(record))
}

/// What a record becomes when its state was restored or rolled back: it may be older than the world. Whatever it knew to be
/// live may be in use anywhere, so that nothing is revoked before the targets surely hold something else.
pub fn restored(record: &Record, policy: &Policy, now: Timestamp) -> Record {
    let mut record = record.clone();
    if matches!(record.phase, Phase::Unadopted) {
        return record;
    }
    if let Some(pending) = record.pending().cloned() {
        let after = now.plus(policy.overlap);
        record.retired.push(Retired { version: pending, after, since: now, failures: 0, retry_at: None, ended: None });
    }
    record.phase = Phase::Reobserve { since: now };
    record.rotation = None;
    record.wish = None;
    record.retry_at = None;
    let live: BTreeSet<u32> = record.live_versions().map(|it| it.number).collect();
    let retired = record.retired.iter_mut().map(|it| &mut it.version);
    for version in record.current.iter_mut().chain(retired) {
        version.delivered = true;
        version.last_alive = None;
    }
    for target in policy.targets.iter().filter(|it| matches!(it.reach, Reach::Push { .. })) {
        record.held.insert(target.id.clone(), Held { maybe: live.clone(), ..Held::default() });
    }
    record.revision += 1;
    record.changed_at = now;
    record
}

/// The key has left this account, and no rotation works there any more: what was lost there is reported. `None` where
/// nothing was.
pub fn leave_account(record: &Record, account: &Account, policy: &Policy, now: Timestamp) -> Option<Change> {
    let lost = account.open.iter().filter(|(token, open)| token.name == record.name && open.lost_at.is_some());
    let lost: Vec<Token> = lost.map(|(token, _)| token.clone()).collect();
    if lost.is_empty() {
        return None;
    }
    let nobody = Incarnation { install: String::new(), epoch: String::new() };
    let mut pass = Pass::new(record, account, policy, &nobody, now);
    for token in &lost {
        pass.report_lost(token, "the key has moved to another account");
    }
    Some(pass.change(record))
}

/// The answer to a create was found that these books don't know, because they were restored: it is reported.
pub fn answer_without_books(record: &Record, account: &Account, token: &Token, now: Timestamp) -> Change {
    let policy = Policy::unmanaged(account.id.clone());
    let nobody = Incarnation { install: String::new(), epoch: String::new() };
    let mut pass = Pass::new(record, account, &policy, &nobody, now);
    pass.tell_lost(token, now, "its answer is newer than the restored state");
    pass.change(record)
}

/// The config no longer names the key, and no rotation of it is under way: nothing is created, looked for or revoked for
/// it any more. Its lost creates and old versions at this account are reported. `None` where there are none.
pub fn unmanaged(record: &Record, account: &Account, now: Timestamp) -> Option<Change> {
    let policy = Policy::unmanaged(account.id.clone());
    let nobody = Incarnation { install: String::new(), epoch: String::new() };
    let mut pass = Pass::new(record, account, &policy, &nobody, now);
    let why = "the config no longer names the key";
    for token in account.open.keys().filter(|it| it.name == record.name) {
        pass.report_lost(token, why);
    }
    for n in 0..pass.record.retired.len() {
        let it = &mut pass.record.retired[n];
        if it.ended.is_none() && it.version.account == account.id {
            it.ended = Some(Ended::Reported);
            let version = it.version.clone();
            pass.tell_revoke_needed(&version, why);
        }
    }
    (pass.record != *record || pass.account != *account).then(|| pass.change(record))
}

impl Pass<'_> {
    fn rotate(&mut self, wish: Wish) -> Result<(), CommandRefused> {
        match &self.record.phase {
            Phase::Unadopted if self.policy.initial == Initial::Adopt => return Err(CommandRefused::Unadopted),
            Phase::Halted { .. } => return Err(CommandRefused::Phase),
            _ if !self.policy.provider.creates => return Err(CommandRefused::NoKeyGiven),
            Phase::Announce { .. } if wish.now || wish.compromised => self.enter(Phase::Steady),
            Phase::Unadopted | Phase::Steady | Phase::Announce { .. } | Phase::Reobserve { .. } => {}
            // In flight: the answer is the rotation that is under way.
            _ => return Ok(()),
        }
        self.record.wish = Some(wish);
        self.record.retry_at = None;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), CommandRefused> {
        self.record.retry_at = None;
        self.record.failures = 0;
        self.record.drifts = 0;
        for held in self.record.held.values_mut() {
            held.retry_at = None;
        }
        for it in &mut self.record.retired {
            it.retry_at = None;
        }
        if let Phase::Halted { resume, .. } = self.record.phase.clone() {
            self.resolve("halted");
            self.enter(match *resume {
                // What was lost was reported or is watched; the human has decided to go on.
                Phase::Create(_) => Phase::Create(Creating::default()),
                phase => phase,
            });
        }
        Ok(())
    }

    fn abandon(&mut self) -> Result<(), CommandRefused> {
        let phase = match &self.record.phase {
            Phase::Halted { resume, .. } => (**resume).clone(),
            phase => phase.clone(),
        };
        let pending = self.record.pending().cloned();
        if pending.is_none() && !matches!(phase, Phase::Create(_)) {
            return Err(CommandRefused::Phase);
        }
        if self.holds(Rule::AbandonSafe) {
            self.check_old_key_lives_on()?;
        }
        if let Some(pending) = pending {
            let after = if pending.delivered { self.now.plus(self.overlap()) } else { self.now };
            self.retire_version(pending, after);
        }
        self.resolve("halted");
        self.enter(Phase::Steady);
        self.record.wish = None;
        self.finish_rotation(RotationResult::Failed);
        // The next attempt is in the next window.
        let next = window::opening_from(&self.policy.windows, self.now).map(|it| it.opens);
        self.record.retry_at = Some(next.unwrap_or(self.now.plus(self.policy.stuck_after)));
        Ok(())
    }

    /// Whoever gives up the new key goes on with the old one: it must be alive, and have some life left.
    fn check_old_key_lives_on(&self) -> Result<(), CommandRefused> {
        let Some(current) = &self.record.current else { return Err(CommandRefused::OldKeyEnding) };
        let ending = due::is_near_end(current, self.policy, self.now);
        let sent = self.account.open.iter().filter(|(token, _)| token.name == self.record.name);
        let doubtful = self.on_create() != OnCreate::Keeps
            && sent.map(|(_, it)| it.sent_at).max().is_some_and(|at| current.last_alive.is_none_or(|seen| seen <= at));
        let revoked = self.on_create() == OnCreate::Revokes && self.record.pending().is_some();
        // A create that may have killed the old key was answered: only an Alive since then clears the old key.
        let obtained = self.record.pending().map(|it| it.obtained_at).filter(|_| self.on_create() != OnCreate::Keeps);
        let unseen = obtained.is_some_and(|at| current.last_alive.is_none_or(|seen| seen <= at));
        if current.dead_since.is_some() || ending || doubtful || revoked || unseen {
            return Err(CommandRefused::OldKeyEnding);
        }
        Ok(())
    }

    fn adopt(&mut self, it: &Adopt) -> Result<(), CommandRefused> {
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
        self.promote(version);
        if !first {
            let (trigger, actor) = (Trigger::Operator, it.actor.clone());
            self.record.wish = Some(Wish { trigger, actor, reason: None, now: true, compromised: false });
            self.begin_rotation(trigger);
        }
        self.enter(Phase::Cutover { since: self.now, delivered_at: None, again: 1 });
        Ok(())
    }

    fn check_adoptable(&self, it: &Adopt) -> Result<(), CommandRefused> {
        if !matches!(self.record.phase, Phase::Unadopted | Phase::Steady | Phase::Halted { .. }) {
            return Err(CommandRefused::Phase);
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
        let ending = same.any(|own| own.after <= self.now || !own.version.delivered);
        if ending { Err(CommandRefused::OldKeyEnding) } else { Ok(()) }
    }

    /// The operator's key ends whatever was tried before.
    pub(super) fn give_up_what_is_under_way(&mut self) {
        self.resolve("halted");
        self.resolve("refused");
        if let Some(pending) = self.record.pending().cloned() {
            let after = if pending.delivered { self.now.plus(self.overlap()) } else { self.now };
            self.retire_version(pending, after);
        }
        for (token, open) in &mut self.account.open {
            open.locks &= token.name != self.record.name;
        }
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
            let same = it.version.fingerprint == version.fingerprint && it.ended.is_none();
            if same {
                version.id = version.id.take().or(it.version.id.clone());
                version.token = version.token.take().or(it.version.token.clone());
            }
            !same
        });
    }

    /// The key in use is adopted once more: only what is said of it changes.
    fn adopt_again(&mut self, it: &Adopt) -> bool {
        let halted = matches!(self.record.phase, Phase::Halted { .. });
        let Some(current) = self.record.current.as_mut().filter(|own| own.fingerprint == it.fingerprint) else {
            return false;
        };
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
        }
    }
}

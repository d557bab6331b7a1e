//! What stands between a key that is due and its create call: the clock, the window, the announcement, the preflight, the
//! account's lock and its budget. The token is committed last, directly before the bytes.
use super::account::{Account, Open};
use super::backoff;
use super::calendar::Calendar;
use super::due;
use super::facts::{Action, Blocked, Content, Facts, Found, Preflight};
use super::names::Token;
use super::pass::{Pass, on_create};
use super::policy::{Initial, OnCreate, OutsideWindow, Policy, Reach, Recover};
use super::record::{Creating, Ended, Pause, Phase, Record, RotationResult, Trigger, Wish};
use super::rules::{self, Rule};
use super::schedule::{Slot, Why};
use super::time::Timestamp;
use std::time::Duration;

/// Whether this pass may come to a create, so that it must look at what a create needs.
pub(super) fn may_create_soon(record: &Record, policy: &Policy, now: Timestamp) -> bool {
    if record.retry_at.is_some_and(|at| at > now) || !policy.provider.creates {
        return false;
    }
    match &record.phase {
        Phase::Create(_) => true,
        _ if record.is_paused(now) => false,
        Phase::Unadopted => policy.initial == Initial::Create,
        Phase::Announce { until } => *until <= now || record.wish.as_ref().is_some_and(|it| it.now),
        Phase::Steady => record.wish.is_some() || is_due(record, policy, now) && opening(record, policy, now) <= now,
        _ => false,
    }
}

/// Whether the key is to be rotated.
pub(super) fn is_due(record: &Record, policy: &Policy, now: Timestamp) -> bool {
    record.wish.is_some() || starts_at(record, policy).is_some_and(|at| at <= now)
}

/// When a rotation that nobody asked for is set off: when the key is due, or sooner, where its slot lies before that.
pub(super) fn starts_at(record: &Record, policy: &Policy) -> Option<Timestamp> {
    let due = record.current.as_ref().and_then(|it| due::due_at(it, policy));
    let told = if policy.provider.on_create == OnCreate::Keeps { Duration::ZERO } else { policy.announce };
    let slot = slot(record, policy).map(|it| it.at.minus(told));
    due.map(|due| slot.map_or(due, |it| it.min(due)))
}

/// The slot of a key that has one, and is free to take it.
fn slot(record: &Record, policy: &Policy) -> Option<Slot> {
    let free = matches!(record.phase, Phase::Steady | Phase::Announce { .. } | Phase::Unadopted);
    let number = record.current.as_ref().map_or(0, |it| it.number);
    policy.slot.filter(|it| free && it.version == number && record.wish.is_none())
}

/// Why a first create waits for a target that is not empty.
pub const TAKEN: &str = "it holds something already; run `rekeyd adopt` to take that over, or remove it";

/// At most this many openings are compared in search of the last one that an announcement leaves.
const NEARER: usize = 64;

/// When a rotation may begin, and what put it there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Beginning {
    /// The moment; [`Timestamp::NEVER`] where none will do.
    pub at: Timestamp,
    /// The freeze that moved it, or in which it is; and when it would be without any freeze.
    pub freeze: Option<(String, Timestamp)>,
    /// Whether no window is open then, or a freeze lasts: expiry leaves no other moment.
    pub outside: bool,
}

/// When a rotation that is due may begin: a moment that is not after `now` means that it may.
pub fn opening(record: &Record, policy: &Policy, now: Timestamp) -> Timestamp {
    match record.paused {
        Some(Pause { until: None, .. }) => Timestamp::NEVER,
        Some(Pause { until: Some(until), .. }) => begins(record, policy, policy.calendar(), now.max(until), None),
        None => begins(record, policy, policy.calendar(), now, None),
    }
}

/// When a rotation that is due at `now` or later will begin, if it is announced this long before.
pub fn beginning(record: &Record, policy: &Policy, now: Timestamp, announce: Option<Duration>) -> Beginning {
    let calendar = policy.calendar();
    let at = begins(record, policy, calendar, now, announce);
    let alone = alone(record, policy, calendar, now, announce);
    let freely = self::alone(record, policy, Calendar { freezes: &[], ..calendar }, now, announce);
    let frozen = calendar.frozen(at).or_else(|| calendar.frozen(freely).filter(|_| alone != freely));
    let outside = at != Timestamp::NEVER && !waits_for_nothing(record) && !calendar.is_open(at);
    Beginning { at, freeze: frozen.map(|it| (it.name, freely)), outside }
}

/// When the next try after `abandon` may be made: in the next window, and in no freeze.
pub(super) fn next_attempt(policy: &Policy, now: Timestamp) -> Timestamp {
    let later = now.plus(policy.stuck_after);
    let next = match policy.windows.is_empty() {
        true => policy.calendar().open_from(later),
        false => policy.calendar().opens_from(now.plus(Duration::from_millis(1))),
    };
    next.unwrap_or(later)
}

/// An operator wants it now: no window and no freeze is waited for.
fn waits_for_nothing(record: &Record) -> bool {
    wish(record).is_some_and(Wish::waits_for_nothing)
}

fn wish(record: &Record) -> Option<&Wish> {
    record.wish.as_ref().or(record.rotation.as_ref().map(|it| &it.wish))
}

fn begins(
    record: &Record,
    policy: &Policy,
    calendar: Calendar<'_>,
    now: Timestamp,
    announce: Option<Duration>,
) -> Timestamp {
    match slot(record, policy) {
        Some(slot) if slot.at > now => slot.at,
        Some(slot) if slot.why.is_outside() => now,
        _ => alone(record, policy, calendar, now, announce),
    }
}

/// When a key begins that needs to regard no other.
fn alone(
    record: &Record,
    policy: &Policy,
    calendar: Calendar<'_>,
    now: Timestamp,
    announce: Option<Duration>,
) -> Timestamp {
    let ready = announce.map_or(now, |it| now.plus(it));
    if waits_for_nothing(record) {
        return ready;
    }
    // A schedule counts only openings from the due moment on; a wish, and a slot that has come, take the window that is open.
    let chosen = wish(record).is_some() || slot(record, policy).is_some_and(|it| it.at <= now);
    let scheduled = record.current.as_ref().filter(|_| !chosen);
    let due = scheduled.and_then(|it| due::due_at(it, policy));
    let first = due.map_or(Some(now), |due| calendar.opens_from(due)).map(|it| it.max(now));
    let soonest = first.and_then(|it| calendar.open_from(it)).unwrap_or(Timestamp::NEVER);
    // Whoever was promised a warning gets all of it: a window that opens nearer than that is passed over.
    let told = |it: Timestamp| calendar.opens_from(it.max(ready)).unwrap_or(Timestamp::NEVER);
    let polite = if announce.is_some() { first.map_or(Timestamp::NEVER, told) } else { soonest };
    let last = record.current.as_ref().and_then(|it| due::last_safe_moment(it, policy));
    match (last, policy.outside_window) {
        (None, _) => polite,
        (Some(last), _) if polite <= last => polite,
        (Some(last), _) if soonest <= last => last_opening(calendar, policy, soonest, last),
        (Some(last), outside) => {
            let rest = due.and_then(|due| rest_of_opening(calendar, policy, due.max(now), ready, last));
            rest.unwrap_or(match outside {
                // A key never dies of politeness: where no opening is left before the last safe moment, that moment is one.
                OutsideWindow::IfExpiring => last.max(now),
                OutsideWindow::Never => soonest,
            })
        }
    }
}

/// What is left of the opening in which a key falls due is better than none at all; an announced one goes as late in it as leaves
/// its owners the time that they were promised.
fn rest_of_opening(
    calendar: Calendar<'_>,
    policy: &Policy,
    begin: Timestamp,
    ready: Timestamp,
    last: Timestamp,
) -> Option<Timestamp> {
    let closes = calendar.covering(begin).filter(|_| begin <= last)?.closes;
    Some(ready.min(closes.minus(policy.accept_within)).min(last).max(begin))
}

/// Expiry forbids to pass over the openings before `last`: the one that leaves the owners the most time.
fn last_opening(calendar: Calendar<'_>, policy: &Policy, soonest: Timestamp, last: Timestamp) -> Timestamp {
    if calendar.windows.is_empty() {
        let freezes = calendar.freezes_after(soonest).map(|it| it.minus(policy.accept_within));
        return freezes.map_or(last, |it| it.min(last)).max(soonest);
    }
    let next = |it: &Timestamp| calendar.opens_from(it.plus(Duration::from_millis(1))).filter(|it| *it <= last);
    std::iter::successors(Some(soonest), next).take(NEARER).last().unwrap_or(soonest)
}

/// Whether the rotations of a key are announced: consumers will hold a dead key for a while.
pub(super) fn announces(account: &Account, policy: &Policy) -> bool {
    rules::holds(Rule::Announce) && on_create(account, policy) != OnCreate::Keeps && !policy.announce.is_zero()
}

impl Pass<'_> {
    /// Steady: is it time?
    pub(super) fn begin_when_due(&mut self) {
        if !is_due(&self.record, self.policy, self.now) {
            if let Some(at) = starts_at(&self.record, self.policy) {
                self.wake(at);
            }
            return;
        }
        if self.is_by_hand() {
            return;
        }
        if self.current_is_dead() {
            // The wait after `abandon` is for the owners' comfort, and they have none.
            self.record.retry_at = None;
        }
        if self.must_wait_to_retry() {
            return;
        }
        let announce = self.must_announce().then_some(self.policy.announce);
        let at = self.begins(announce);
        if announce.is_some() {
            self.enter(Phase::Announce { until: at });
            self.tell_scheduled(at);
            return;
        }
        if at > self.now {
            return self.wait_until(at);
        }
        self.begin_create();
    }

    /// Announced: has the moment come, and is it still a good one?
    pub(super) fn begin_when_announced(&mut self, until: Timestamp) {
        let hurry = self.record.wish.as_ref().is_some_and(|it| it.now) || self.current_is_dead();
        // The clock may have been wrong when the moment was stored.
        let latest = self.begins(Some(self.policy.announce));
        let told = until;
        let until = told.min(latest);
        if !hurry && until > self.now {
            self.record.phase = Phase::Announce { until };
            if until < told {
                self.tell_scheduled(until);
            }
            self.wake(until);
            return;
        }
        let at = self.begins(None);
        if at > self.now && !hurry {
            return self.wait_until(at);
        }
        self.begin_create();
    }

    pub(super) fn begins(&self, announce: Option<Duration>) -> Timestamp {
        begins(&self.record, self.policy, self.policy.calendar(), self.now, announce)
    }

    /// Says what is waited for: the freeze that lasts, or else the next window.
    fn waiting_for(&self, at: Timestamp) -> Blocked {
        match self.policy.calendar().frozen(self.now) {
            Some(freeze) => Blocked::Freeze(freeze.name, at),
            None => Blocked::Window(at),
        }
    }

    pub(super) fn wait_until(&mut self, at: Timestamp) {
        self.wake(at);
        let open = self.policy.calendar().is_open(self.now);
        self.blocked = match slot(&self.record, self.policy).filter(|_| open).map(|it| it.why) {
            Some(Why::Later | Why::Earlier) => Some(Blocked::Budget(at)),
            // It has its place within the window, and nothing holds it up.
            Some(Why::Due | Why::Together | Why::Before | Why::Outside | Why::Crowded) => None,
            None => Some(self.waiting_for(at)),
        };
    }

    /// When the new key may be brought to its targets: not in a freeze that began after the create, unless nobody would
    /// have a working key then.
    pub(super) fn planned_delivery_at(&self) -> Timestamp {
        if waits_for_nothing(&self.record) {
            return self.now;
        }
        let frozen = self.policy.calendar().frozen(self.now);
        let thaws = frozen.map_or(self.now, |it| it.until);
        let last = self.record.current.as_ref().and_then(|it| due::last_safe_moment(it, self.policy));
        match (self.policy.outside_window, last) {
            (OutsideWindow::IfExpiring, Some(last)) => thaws.min(last.max(self.now)),
            _ => thaws,
        }
    }

    /// Unadopted, `initial = "create"`: only while every readable target is absent or empty.
    pub(super) fn begin_initial(&mut self, facts: &Facts) {
        if self.policy.initial != Initial::Create || self.is_by_hand() || self.must_wait_to_retry() {
            return;
        }
        for target in self.policy.targets.iter().filter(|it| it.reach == (Reach::Push { readable: true })) {
            match facts.targets.get(&target.id) {
                Some(Content::Absent) => {}
                Some(Content::Unreadable(why)) => {
                    self.blocked = Some(Blocked::Target(target.id.clone(), why.clone()));
                    return self.poll(self.record.changed_at);
                }
                Some(_) => {
                    self.blocked = Some(Blocked::Target(target.id.clone(), TAKEN.to_owned()));
                    return;
                }
                None => return,
            }
        }
        let at = self.begins(None);
        if at > self.now {
            return self.wait_until(at);
        }
        self.begin_create();
    }

    fn begin_create(&mut self) {
        let calendar = self.policy.calendar();
        let outside = !waits_for_nothing(&self.record) && !calendar.is_open(self.now);
        // Whoever was told a moment outside was told why.
        let told = matches!(self.record.phase, Phase::Announce { until } if !calendar.is_open(until));
        if outside && !told && !self.current_is_dead() {
            self.tell_outside(self.now);
        }
        let expiry = outside && self.record.wish.is_none();
        self.begin_rotation(if expiry { Trigger::Expiry } else { Trigger::Schedule });
        self.enter(Phase::Create(Creating::default()));
    }

    fn must_announce(&self) -> bool {
        let hurry = self.record.wish.as_ref().is_some_and(Wish::is_unannounced);
        self.holds(Rule::Announce) && announces(&self.account, self.policy) && !hurry && !self.current_is_dead()
    }

    pub(super) fn must_wait_to_retry(&mut self) -> bool {
        let waits = self.record.retry_at.is_some_and(|at| at > self.now);
        if let Some(at) = self.record.retry_at.filter(|_| waits) {
            self.wake(at);
        }
        waits
    }

    /// Create, with nothing in doubt: send one, if everything that a create needs is there.
    pub(super) fn create_when_ready(&mut self, facts: &Facts, creating: Creating) {
        if self.must_wait_to_retry() {
            return;
        }
        if let Err(blocked) = self.ready(facts, &creating) {
            let since = self.record.rotation.as_ref().map_or(self.now, |it| it.started_at);
            match &blocked {
                Blocked::Budget(at) | Blocked::Throttled(at) | Blocked::Window(at) | Blocked::Freeze(_, at) => {
                    self.wake(*at);
                }
                Blocked::Account if self.account.locked_by().is_none() => self.wake(self.now.plus(backoff::TURN)),
                _ => self.poll(since),
            }
            self.blocked = Some(blocked);
            return;
        }
        if self.halts_before_create(facts) {
            return;
        }
        self.learn_baseline(facts);
        self.send_create(facts, creating);
    }

    fn ready(&self, facts: &Facts, creating: &Creating) -> Result<(), Blocked> {
        if facts.clock_suspect && self.holds(Rule::Clock) {
            return Err(Blocked::Clock);
        }
        // A try that failed in its window waits for the next one, unless a consumer is without a key already.
        let urgent = self.current_is_dead() || creating.again > 0 || self.leaves_windows();
        let at = self.begins(None);
        if at > self.now && !urgent {
            return Err(self.waiting_for(at));
        }
        match &facts.preflight {
            Some(Preflight::Ready) => {}
            Some(Preflight::Blocked(why)) => return Err(why.clone()),
            None => return Err(Blocked::Provider("not looked at yet".into())),
        }
        self.could_recover(facts)?;
        if let Some(at) = self.account.held_until.filter(|at| *at > self.now) {
            return Err(Blocked::Throttled(at));
        }
        if self.holds(Rule::Lock) && self.account.locked_by().is_some_and(|it| *it != self.record.name) {
            return Err(Blocked::Account);
        }
        if self.account.turns() == 0 {
            return Err(Blocked::Account);
        }
        let at = self.account.budget_at(self.policy.creates_per_day, self.now);
        if at > self.now && self.holds(Rule::Budget) {
            return Err(Blocked::Budget(at));
        }
        Ok(())
    }

    /// Whether the rotation was begun outside all windows because none is left.
    fn leaves_windows(&self) -> bool {
        let expiry = self.record.rotation.as_ref().is_some_and(|it| it.wish.trigger == Trigger::Expiry);
        expiry && self.policy.outside_window == OutsideWindow::IfExpiring
    }

    /// A key is created only in a pass that could recover a lost one.
    fn could_recover(&self, facts: &Facts) -> Result<(), Blocked> {
        let unanswered = || Blocked::Provider("the recovery read was not answered".to_owned());
        match self.policy.provider.recover {
            Recover::ListByName => facts.listed.as_ref().map(|_| ()).ok_or_else(unanswered),
            Recover::DiffList => facts.listed.as_ref().filter(|it| !it.truncated).map(|_| ()).ok_or_else(unanswered),
            Recover::ReadCurrent => match &facts.read {
                None => Err(unanswered()),
                Some(read) if self.is_stale(read) => {
                    Err(Blocked::Provider("the provider's answer is out of date".into()))
                }
                Some(_) => Ok(()),
            },
            Recover::DiffAnswer | Recover::None => Ok(()),
        }
    }

    /// Whether a read shows what can't be true any more: an old key of ours, while it is known to be replaced. A
    /// stranger's key is drift, which is dealt with in Steady. And no wait is for ever: what is read for long is true.
    fn is_stale(&self, read: &Found) -> bool {
        let Some(fingerprint) = &read.fingerprint else { return false };
        let current = self.record.current.as_ref().filter(|it| it.account == self.policy.account);
        let other = current.is_some_and(|it| it.fingerprint != *fingerprint);
        let mut retired = self.record.retired.iter().filter(|it| it.version.fingerprint == *fingerprint);
        let may_live = retired.any(|it| it.ended != Some(Ended::Revoked));
        let since = self.record.rotation.as_ref().map_or(self.now, |it| it.started_at);
        let patient = since.plus(self.policy.accept_within) > self.now;
        other && self.record.seen.contains_key(fingerprint) && !may_live && patient
    }

    fn halts_before_create(&mut self, facts: &Facts) -> bool {
        if self.halts_for_another_daemon(facts) {
            return true;
        }
        let ahead = |token: &Token| token.by == *self.by && token.n > self.record.last_token;
        let unissued = self.unbooked_tokens(facts).any(ahead);
        if unissued && self.holds(Rule::Reobserve) {
            self.rolled_back = true;
            self.finish_rotation(RotationResult::Failed);
            self.enter(Phase::Reobserve { since: self.now });
            return true;
        }
        false
    }

    fn learn_baseline(&mut self, facts: &Facts) {
        if self.policy.provider.recover != Recover::DiffList {
            return;
        }
        if let Some(listed) = &facts.listed {
            let lost = self.account.open.values().any(|it| it.lost_at.is_some());
            if !self.account.baseline || !lost {
                self.account.known.extend(listed.keys.iter().filter_map(|it| it.fingerprint.clone()));
                self.account.baseline = true;
            }
        }
    }

    fn send_create(&mut self, facts: &Facts, mut creating: Creating) {
        if self.holds(Rule::FreshToken) || self.record.last_token == 0 {
            self.record.last_token += 1;
        }
        let token = Token { by: self.by.clone(), name: self.record.name.clone(), n: self.record.last_token };
        let serial = self.on_create() != OnCreate::Keeps || self.policy.provider.recover.is_difference();
        let open = Open {
            sent_at: self.now,
            lost_at: None,
            before: facts.read.as_ref().and_then(|it| it.fingerprint.clone()),
            package: self.policy.package.clone(),
            locks: serial && self.holds(Rule::Lock),
            reported_at: None,
            ending: false,
            failures: 0,
            retry_at: None,
        };
        self.account.open.insert(token.clone(), open);
        self.account.reserve(self.now);
        creating.token = Some(token.clone());
        self.enter(Phase::Create(creating));
        let valid_to = self.policy.valid_for.map(|it| self.now.plus(it));
        self.actions.push(Action::Create { token, valid_to });
    }
}

//! When each key is replaced, reckoned for all keys at once: what a key alone can't know is how many others want the same
//! window and the same daily creates, and which keys go together.
//!
//! Each key gets the first opening from its due moment on that has room for it. Who must be replaced sooner chooses first.
//! Where there is no room for too long, keys are replaced before they are due, as late as possible and in the order in which they are
//! due; where there is none in any window, outside of them. A place within an opening depends on the key and its version alone, and what is reckoned later on
//! gives the same slots, as long as nothing else happens: a slot that is moved with every look would never come.
mod order;
mod room;
mod spans;
mod task;

pub use spans::Spans;
pub use task::{Standing, Task, task};

use super::account::Account;
use super::backoff;
use super::names::{AccountId, KeyName};
use super::policy::{OutsideWindow, Policy};
use super::record::{Record, VersionNo};
use super::time::Timestamp;
use order::Placed;
use room::Room;
use spans::Span;
use std::collections::BTreeMap;
use std::time::Duration;
use task::{Batch, Member, batches};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Keys are spread over the first part of an opening, so that what fails can be tried again in it: over a half,
const SPREAD_SHARE: u32 = 2;
/// and over no more than this.
const MOST_SPREAD: Duration = Duration::from_secs(4 * 60 * 60);
/// At most this many openings are tried for one key.
const OPENINGS_TRIED: usize = 1000;
/// A key is moved before its due moment by this part of the time from there to its last safe moment, while later openings still
/// have room; by more only where none has.
const EARLY_SHARE: u32 = 4;
/// The time before the due moment is looked through in this many steps,
const LOOKS_EARLIER: u32 = 32;
/// or in more, where a step would be longer than a day; but never in more than this.
const STEPS_EARLIER: u32 = 400;
/// The smallest step of a timestamp.
const STEP: Duration = Duration::from_millis(1);

/// The moment that a key is given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slot {
    /// When its rotation begins.
    pub at: Timestamp,
    /// Which version it replaces; 0 where there is none yet.
    pub version: VersionNo,
    /// Why then.
    pub why: Why,
}

/// What put a slot where it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// The key is due, and this is its place in the first opening from then on.
    Due,
    /// A key that goes together with it is due.
    Together,
    /// The openings before have no room left in the account's daily budget.
    Later,
    /// From the due moment on there is no room in the account's daily budget for too long.
    Earlier,
    /// From the due moment to the last safe one its windows and freezes leave no opening at all.
    Before,
    /// No opening is left before its last safe moment, whoever else there is.
    Outside,
    /// There are openings before its last safe moment, but none with room in the account's daily budget.
    Crowded,
}

impl Why {
    /// The code that scripts compare.
    pub fn code(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Together => "together",
            Self::Later => "budget_later",
            Self::Earlier => "budget_earlier",
            Self::Before => "no_window_later",
            Self::Outside => "no_window_before_expiry",
            Self::Crowded => "budget_outside",
        }
    }

    /// Whether expiry left no other moment: neither windows nor freezes are waited for.
    pub(super) fn is_outside(self) -> bool {
        matches!(self, Self::Outside | Self::Crowded)
    }

    /// Whether it is before the key is due, for its own sake.
    fn is_before_due(self) -> bool {
        matches!(self, Self::Earlier | Self::Before)
    }
}

/// The slots of all keys in our care, by their names.
pub type Slots = BTreeMap<KeyName, Slot>;

/// Reckons the next slot of every key that the config names. A key that can't be begun at all (halted, paused without an end)
/// gets none and holds nobody else.
pub fn slots<'a>(
    keys: impl Iterator<Item = (&'a Record, &'a Policy)>,
    accounts: &BTreeMap<AccountId, Account>,
    spans: &mut Spans,
    now: Timestamp,
) -> Slots {
    let tasks: Vec<Task<'_>> = keys.filter_map(|(record, policy)| task(record, policy, accounts, now)).collect();
    Schedule::new(accounts).place(&tasks, spans)
}

/// What is taken so far. To look further ahead than one rotation of each key, place their successors in the same one.
#[derive(Clone, Debug)]
pub struct Schedule<'a> {
    accounts: &'a BTreeMap<AccountId, Account>,
    rooms: BTreeMap<AccountId, Room>,
    /// How many keys with windows each account has.
    windowed: BTreeMap<AccountId, usize>,
    /// The first moment in which any of the keys of an account and a calendar may be replaced.
    reach: BTreeMap<(AccountId, usize), Timestamp>,
}

impl<'a> Schedule<'a> {
    /// Nothing is planned yet; what was sent in the last 24 hours counts.
    pub fn new(accounts: &'a BTreeMap<AccountId, Account>) -> Self {
        Self { accounts, rooms: BTreeMap::new(), windowed: BTreeMap::new(), reach: BTreeMap::new() }
    }

    /// Gives every task a slot, as far as there is one.
    pub fn place(&mut self, tasks: &[Task<'_>], spans: &mut Spans) -> Slots {
        spans.tidy();
        self.open_rooms(tasks);
        let mut slots = Slots::new();
        for task in tasks {
            let Some(at) = task.standing.at() else { continue };
            self.room(&task.policy.account).take(at);
            if let Some(slot) = task.promised() {
                slots.insert(task.name.clone(), slot);
            }
        }
        let batches = batches(tasks, spans);
        self.reach.clear();
        for it in batches.iter().flat_map(|it| &it.members) {
            let reach = self.reach.entry((it.task.policy.account.clone(), it.calendar)).or_insert(Timestamp::NEVER);
            *reach = it.floor().min(*reach);
        }
        let mut placed = Vec::new();
        for batch in batches {
            self.place_batch(&batch, spans, &mut slots, &mut placed);
        }
        self.put_in_order(placed, spans, &mut slots);
        slots
    }

    fn open_rooms(&mut self, tasks: &[Task<'_>]) {
        let mut windowed: BTreeMap<AccountId, usize> = BTreeMap::new();
        for task in tasks {
            let (id, per_day) = (&task.policy.account, task.policy.creates_per_day);
            if !self.rooms.contains_key(id) {
                let sent = self.accounts.get(id).map_or(&[][..], |it| &it.creates);
                self.rooms.insert(id.clone(), Room::new(per_day, sent));
            }
            *windowed.entry(id.clone()).or_default() += usize::from(!task.policy.windows.is_empty());
        }
        for (id, keys) in windowed {
            let known = self.windowed.entry(id).or_default();
            *known = keys.max(*known);
        }
    }

    fn room(&mut self, account: &AccountId) -> &mut Room {
        self.rooms.entry(account.clone()).or_insert_with(|| Room::new(0, &[]))
    }

    fn place_batch<'t, 'k>(
        &mut self,
        batch: &Batch<'t, 'k>,
        spans: &mut Spans,
        slots: &mut Slots,
        alone: &mut Vec<Placed<'t, 'k>>,
    ) {
        let placed = self.in_openings(batch, batch.soft, spans);
        let several = batch.members.len() > 1;
        let placed = placed.or_else(|| several.then(|| self.in_openings(batch, batch.last, spans))?);
        if let Some(placed) = placed {
            for (member, (at, moved)) in batch.members.iter().zip(placed) {
                let ordinary = if member.is_led(batch.due) { Why::Together } else { Why::Due };
                let slot = member.slot(at, if moved { Why::Later } else { ordinary });
                slots.insert(member.task.name.clone(), slot);
                alone.extend(Placed::of(member, slot).filter(|_| !several));
            }
            return;
        }
        for member in &batch.members {
            if let Some(slot) = self.place_alone(member, spans) {
                slots.insert(member.task.name.clone(), slot);
                alone.extend(Placed::of(member, slot));
            }
        }
    }

    /// A key for which its fellows, or the first openings from its due moment on, have no room.
    fn place_alone(&mut self, member: &Member<'_, '_>, spans: &mut Spans) -> Option<Slot> {
        let alone = Batch::of(member.clone());
        let earliest = member.earliest();
        let a_little = member.last.map_or(Duration::ZERO, |it| it.since(member.due)) / EARLY_SHARE;
        for (limit, earliest) in [(alone.soft, earliest.max(member.due.minus(a_little))), (alone.last, earliest)] {
            if let Some(placed) = self.in_openings(&alone, limit, spans) {
                return placed.first().map(|(at, moved)| member.slot(*at, if *moved { Why::Later } else { Why::Due }));
            }
            if let Some(at) = self.rest_of_opening(&alone, spans) {
                return Some(member.slot(at, Why::Due));
            }
            if let Some(at) = self.earlier(member, earliest, spans) {
                return Some(member.slot(at, member.why_before_due(spans)));
            }
        }
        // Whoever was to be told before is not moved further: the key's own rules find the moment that tells them most.
        if member.task.announce.is_some() {
            return None;
        }
        // Others may go sooner than this one may, and leave it their places.
        let reach = self.reach.get(&(member.task.policy.account.clone(), member.calendar)).copied();
        if let Some(reach) = reach.filter(|_| !member.is_led(member.due) && member.last.is_some())
            && let Some(at) = self.earlier(member, reach, spans)
        {
            return Some(member.slot(at, member.why_before_due(spans)));
        }
        self.given_up(member, spans)
    }

    /// No opening has room for it: it goes outside of them or, where it may not, late.
    fn given_up(&mut self, member: &Member<'_, '_>, spans: &mut Spans) -> Option<Slot> {
        let last = member.last?;
        let at = match member.task.policy.outside_window {
            OutsideWindow::IfExpiring => self.outside(member, last),
            OutsideWindow::Never => return self.too_late(Batch::of(member.clone()), spans),
        };
        let why = if member.opens_in_time(spans) { Why::Crowded } else { Why::Outside };
        Some(member.slot(at?, why))
    }

    /// The first opening up to a moment that has room for all of a batch, and whether it is a later one than they wanted.
    fn in_openings(
        &mut self,
        batch: &Batch<'_, '_>,
        limit: Timestamp,
        spans: &mut Spans,
    ) -> Option<Vec<(Timestamp, bool)>> {
        let mut span = batch.first(spans)?;
        for n in 0..OPENINGS_TRIED {
            if span.opens > batch.last || (n > 0 && span.opens > limit) {
                return None;
            }
            if let Some(placed) = self.within(batch, span, limit) {
                return Some(placed.into_iter().map(|(at, wanted)| (at, n > 0 || at != wanted)).collect());
            }
            span = batch.next(span.closes, spans)?;
        }
        None
    }

    /// The moments of a batch within one opening, and what each would be if there were nobody else.
    fn within(&mut self, batch: &Batch<'_, '_>, span: Span, limit: Timestamp) -> Option<Vec<(Timestamp, Timestamp)>> {
        let mut placed: Vec<(Timestamp, Timestamp)> = Vec::new();
        for member in &batch.members {
            let wanted = self.position(member, span).min(batch.last.max(span.opens)).max(batch.ready);
            let end = span.closes.min(limit.max(wanted).min(batch.last).plus(STEP));
            let Some(at) = self.room(&member.task.policy.account).first(wanted, end) else {
                for (member, (at, _)) in batch.members.iter().zip(placed) {
                    self.room(&member.task.policy.account).give_back(at);
                }
                return None;
            };
            self.room(&member.task.policy.account).take(at);
            placed.push((at, wanted));
        }
        Some(placed)
    }

    /// The place of a key in an opening: at its beginning, where no other key of the account waits for a window.
    fn position(&self, member: &Member<'_, '_>, span: Span) -> Timestamp {
        let policy = member.task.policy;
        let keys = self.windowed.get(&policy.account).copied().unwrap_or_default();
        if policy.windows.is_empty() || keys < 2 {
            return span.opens;
        }
        let width = (span.closes.since(span.opens) / SPREAD_SHARE).min(MOST_SPREAD);
        span.opens.plus(width.mul_f64(backoff::spread(member.task.name, member.number())))
    }

    /// The place of a key that is moved before its due moment. An opening is filled from its last place on, and a place is for
    /// whoever comes: once the keys have been put in order, it is another's.
    fn next_before(&mut self, member: &Member<'_, '_>, span: Span) -> Timestamp {
        let first = self.position(member, span);
        if first == span.opens {
            return first;
        }
        let width = (span.closes.since(span.opens) / SPREAD_SHARE).min(MOST_SPREAD);
        let step = width / member.task.policy.creates_per_day.max(1);
        let room = self.room(&member.task.policy.account);
        let after = room.count(span.opens.max(member.task.from), span.closes);
        span.opens.plus(width.saturating_sub(step.saturating_mul(after)))
    }

    /// What is left of the opening in which a key falls due, where no later one will do.
    fn rest_of_opening(&mut self, alone: &Batch<'_, '_>, spans: &mut Spans) -> Option<Timestamp> {
        let member = alone.members.first().filter(|it| !it.task.policy.windows.is_empty())?;
        let end = spans.around(member.calendar, member.due)?.closes.min(alone.last.plus(STEP));
        let room = self.room(&member.task.policy.account);
        let at = room.first(alone.ready, end)?;
        room.take(at);
        Some(at)
    }

    /// The last opening before the due moment that has room.
    fn earlier(&mut self, member: &Member<'_, '_>, earliest: Timestamp, spans: &mut Spans) -> Option<Timestamp> {
        let step = (member.due.since(earliest) / LOOKS_EARLIER).clamp(STEP, DAY);
        let (mut from, mut before) = (member.due, member.due);
        for _ in 0..STEPS_EARLIER {
            if from <= earliest {
                return None;
            }
            from = from.minus(step);
            // What has begun before the first moment that is left may still be open.
            let begun = if from <= earliest { spans.around(member.calendar, earliest) } else { None };
            let span = spans.from(member.calendar, from).filter(|it| it.opens < before).or(begun);
            let Some(span) = span.filter(|it| it.opens < before) else { continue };
            before = span.opens;
            let (begin, end) = (span.opens.max(earliest), span.closes.min(member.due));
            let wanted = self.next_before(member, span).clamp(begin, end.minus(STEP).max(begin));
            let windowless = member.task.policy.windows.is_empty();
            let room = self.room(&member.task.policy.account);
            let placed = if windowless { None } else { room.last(begin, wanted) };
            if let Some(at) = placed.or_else(|| room.last(begin, end.minus(STEP))) {
                room.take(at);
                return Some(at);
            }
        }
        None
    }

    /// The last safe moment, or the one before that has room.
    fn outside(&mut self, member: &Member<'_, '_>, last: Timestamp) -> Option<Timestamp> {
        let room = self.room(&member.task.policy.account);
        let late = member.task.from.max(last);
        let at = room.last(member.earliest(), last).or_else(|| room.first(late, Timestamp::NEVER))?;
        room.take(at);
        Some(at)
    }

    /// It may leave no window, whatever comes of it.
    fn too_late(&mut self, alone: Batch<'_, '_>, spans: &mut Spans) -> Option<Slot> {
        let alone = Batch { last: Timestamp::NEVER, ..alone };
        let (at, moved) = self.in_openings(&alone, alone.last, spans)?.into_iter().next()?;
        alone.members.first().map(|it| it.slot(at, if moved { Why::Later } else { Why::Due }))
    }
}

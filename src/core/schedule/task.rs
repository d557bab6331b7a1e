//! What is to be placed: the rotation that each key waits for, and the keys that go together.
use super::spans::{Span, Spans};
use super::{DAY, Slot, Why};
use crate::core::account::Account;
use crate::core::due;
use crate::core::gate;
use crate::core::names::{AccountId, KeyName};
use crate::core::policy::{Initial, Policy};
use crate::core::record::{Phase, Record, Rotation, Trigger, Version, VersionNo};
use crate::core::rules::{self, Rule};
use crate::core::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// A key of which nobody knows when it ends is to be replaced within this long after it is due, before others that are due
/// later.
const PATIENCE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// As long as anything else can be done, a key is replaced within this part of the time from its due moment to its last safe
/// one, in percent: what fails then can still be tried again.
const SOFT_PERCENT: f64 = 66.0;
/// Without windows, a key follows one that it goes together with for at most this part of its life.
const FOLLOW_SHARE: u32 = 4;
/// At most this many steps are made in search of a moment in which all keys of a batch may be begun.
const STEPS: usize = 32;

/// The next rotation of one key.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// Of which key.
    pub name: &'a KeyName,
    /// By which it is worked on.
    pub policy: &'a Policy,
    /// What is replaced; none for a first create.
    pub version: Option<&'a Version>,
    /// No sooner than this: now, or the end of a pause or of a retry's wait.
    pub from: Timestamp,
    /// How long before it must be announced, where it must be.
    pub announce: Option<Duration>,
    /// Whether there is anything left to choose.
    pub standing: Standing,
    /// When the last rotation of the key began.
    pub rotated_at: Option<Timestamp>,
    /// When its last rotation began that nobody asked for: the keys that go together with it follow.
    pub led_at: Option<Timestamp>,
}

/// Whether there is anything left to choose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// All of it.
    Free,
    /// The owners were told this moment.
    Promised(Timestamp),
    /// It is under way or asked for, and takes its create then.
    Begun(Timestamp),
    /// It takes no create.
    Out,
}

impl Standing {
    /// When it takes a create, if that is known.
    pub(super) fn at(self) -> Option<Timestamp> {
        match self {
            Self::Promised(at) | Self::Begun(at) => Some(at),
            Self::Free | Self::Out => None,
        }
    }
}

/// The next rotation of a key; `None` where nobody can be asked for one.
pub fn task<'a>(
    record: &'a Record,
    policy: &'a Policy,
    accounts: &BTreeMap<AccountId, Account>,
    now: Timestamp,
) -> Option<Task<'a>> {
    if !policy.provider.creates || policy.issues_nothing() {
        return None;
    }
    let version = record.current.as_ref();
    let dead = version.is_some_and(|it| it.dead_since.is_some());
    let paused = record.paused.as_ref().map(|it| it.until.unwrap_or(Timestamp::NEVER));
    let retry = record.retry_at.filter(|_| !dead);
    let from = paused.into_iter().chain(retry).chain([now]).max().unwrap_or(now);
    let last = version.and_then(|it| due::last_safe_moment(it, policy));
    let standing = match &record.phase {
        _ if from == Timestamp::NEVER => Standing::Out,
        Phase::Steady if record.wish.is_some() => match gate::opening(record, policy, now) {
            Timestamp::NEVER => Standing::Out,
            at => Standing::Begun(at.max(from)),
        },
        Phase::Steady => Standing::Free,
        Phase::Unadopted if policy.initial == Initial::Create => Standing::Free,
        // A moment that a wrong clock promised is none.
        Phase::Announce { until } if last.is_none_or(|it| *until <= it.max(now)) => Standing::Promised(*until),
        Phase::Announce { .. } => Standing::Free,
        Phase::Create(creating) if creating.token.is_none() => Standing::Begun(from),
        _ => Standing::Out,
    };
    let announce = accounts.get(&policy.account).map_or_else(
        || gate::announces(&Account::new(policy.account.clone()), policy),
        |it| gate::announces(it, policy),
    );
    let rotations = || record.rotation.iter().chain(&record.last_rotation);
    let scheduled = |it: &&Rotation| matches!(it.wish.trigger, Trigger::Schedule | Trigger::Expiry);
    Some(Task {
        name: &record.name,
        policy,
        version,
        from,
        announce: Some(policy.announce).filter(|_| announce && !dead && version.is_some()),
        standing,
        rotated_at: rotations().map(|it| it.started_at).max(),
        led_at: rotations().filter(scheduled).map(|it| it.started_at).max(),
    })
}

impl Task<'_> {
    /// What was promised is kept, and shown.
    pub(super) fn promised(&self) -> Option<Slot> {
        let Standing::Promised(at) = self.standing else { return None };
        Some(Slot { at, version: self.number(), why: Why::Due })
    }

    fn number(&self) -> VersionNo {
        self.version.map_or(0, |it| it.number)
    }
}

/// A task with what is reckoned from it.
#[derive(Clone, Debug)]
pub(super) struct Member<'t, 'a> {
    pub(super) task: &'t Task<'a>,
    /// When it is due by itself.
    pub(super) due: Timestamp,
    pub(super) last: Option<Timestamp>,
    pub(super) soft: Timestamp,
    /// The number of its calendar.
    pub(super) calendar: usize,
    /// When the opening begins in which it joins a key whose moment was told.
    joins: Option<Timestamp>,
}

/// Keys that are replaced in one opening: most often it is one key.
#[derive(Clone, Debug)]
pub(super) struct Batch<'t, 'a> {
    pub(super) members: Vec<Member<'t, 'a>>,
    /// When the first of them is due.
    pub(super) due: Timestamp,
    /// No sooner than this.
    pub(super) ready: Timestamp,
    /// Up to when they are to be replaced, if it can be.
    pub(super) soft: Timestamp,
    /// Up to when they must be.
    pub(super) last: Timestamp,
}

/// All batches, in the order in which they choose.
pub(super) fn batches<'t, 'a>(tasks: &'t [Task<'a>], spans: &mut Spans) -> Vec<Batch<'t, 'a>> {
    let mut leads: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for task in tasks {
        if let (Some(word), Some(at)) = (&task.policy.together, task.led_at) {
            let known = leads.entry(word).or_insert(at);
            *known = at.max(*known);
        }
    }
    let promises = tasks.iter().filter_map(|it| match (&it.policy.together, it.standing) {
        (Some(word), Standing::Promised(at)) => Some((word.as_str(), at)),
        _ => None,
    });
    let mut promised: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for (word, at) in promises {
        promised.entry(word).and_modify(|it| *it = at.min(*it)).or_insert(at);
    }
    let mut groups: BTreeMap<&str, Vec<Member<'t, 'a>>> = BTreeMap::new();
    let mut batches = Vec::new();
    for task in tasks.iter().filter(|it| it.standing == Standing::Free) {
        let Some(member) = Member::of(task, spans) else { continue };
        match &task.policy.together {
            // A first key is awaited by its consumers, and whoever waits for a retry holds nobody.
            Some(word) if task.version.is_some() && rules::holds(Rule::Together) => {
                groups.entry(word).or_default().push(member)
            }
            _ => batches.push(Batch::of(member)),
        }
    }
    for (word, members) in groups {
        let members = match promised.get(word) {
            Some(at) => with_promised(members, *at, spans, &mut batches),
            None => members,
        };
        grouped(members, leads.get(word).copied(), spans, &mut batches);
    }
    let name = |it: &Batch<'_, '_>| it.members.first().map(|it| it.task.name.clone());
    batches.sort_by_cached_key(|it| (it.soft, it.due, name(it)));
    batches
}

/// The owners of one key were told a moment: those that go together with it wait for it, and join it there. Gives back those
/// that can't.
fn with_promised<'t, 'a>(
    members: Vec<Member<'t, 'a>>,
    at: Timestamp,
    spans: &mut Spans,
    batches: &mut Vec<Batch<'t, 'a>>,
) -> Vec<Member<'t, 'a>> {
    let (mut joining, mut rest) = (Vec::new(), Vec::new());
    for member in members {
        let opens = match member.task.policy.windows.is_empty() {
            true => Some(at),
            false => spans.around(member.calendar, at).map(|it| it.opens),
        };
        let in_time = member.task.announce.is_none() && member.last.is_none_or(|it| at <= it);
        // Whoever rotated there already has joined it; the one that was told may still wait, paused or for its next window.
        let joined = |opens: &Timestamp| member.task.rotated_at.is_some_and(|it| it >= *opens);
        match opens.filter(|it| in_time && !joined(it)) {
            Some(opens) => joining.push(Member { soft: member.soft.max(at), joins: Some(opens), ..member }),
            None => rest.push(member),
        }
    }
    let opens = joining.iter().filter_map(|it| it.joins).max();
    if let (Some(batch), Some(opens)) = (Batch::together(joining, None), opens) {
        let from = batch.members.iter().map(|it| it.task.from).max().unwrap_or(opens);
        batches.push(Batch { due: opens, ready: opens.max(from), ..batch });
    }
    rest
}

/// Makes one batch of the keys of a word. Those that have to wait longer than the others go alone.
fn grouped<'t, 'a>(
    members: Vec<Member<'t, 'a>>,
    led_at: Option<Timestamp>,
    spans: &mut Spans,
    batches: &mut Vec<Batch<'t, 'a>>,
) {
    let from = members.iter().map(|it| it.task.from).min().unwrap_or(Timestamp::NEVER);
    let (ready, waiting): (Vec<_>, Vec<_>) = members.into_iter().partition(|it| it.task.from == from);
    batches.extend(waiting.into_iter().map(Batch::of));
    let follows = led_at.and_then(|led| ready.iter().filter_map(|it| it.follows(led, spans)).min());
    let (followers, rest): (Vec<_>, Vec<_>) =
        ready.into_iter().partition(|it| led_at.is_some_and(|led| it.follows(led, spans).is_some()));
    for (members, due) in [(followers, follows), (rest, None)] {
        if let Some(batch) = Batch::together(members, due) {
            batches.push(batch);
        }
    }
}

impl<'t, 'a> Member<'t, 'a> {
    fn of(task: &'t Task<'a>, spans: &mut Spans) -> Option<Self> {
        let calendar = spans.number(task.policy);
        let Some(version) = task.version else {
            let (due, soft) = (task.from, Timestamp::NEVER);
            return Some(Self { task, due, last: None, soft, calendar, joins: None });
        };
        let due = due::due_at(version, task.policy)?;
        // Whoever wants a key replaced later than is safe gets it so: at its due moment, told as long before as there is time.
        let told = |end: Timestamp| task.announce.unwrap_or_default().min(end.since(due) / 2);
        let late = version.valid_to.map_or(due, |end| due.plus(told(end)));
        let last = due::last_safe_moment(version, task.policy).map(|it| if it < due { late } else { it });
        let soft = last.map_or(due.plus(PATIENCE), |it| due.plus(it.since(due).mul_f64(SOFT_PERCENT / 100.0)));
        Some(Self { task, due, last, soft: last.map_or(soft, |it| soft.min(it)), calendar, joins: None })
    }

    pub(super) fn number(&self) -> VersionNo {
        self.task.number()
    }

    pub(super) fn slot(&self, at: Timestamp, why: Why) -> Slot {
        Slot { at, version: self.number(), why }
    }

    /// Whether it is not due by itself in that moment.
    pub(super) fn is_led(&self, due: Timestamp) -> bool {
        due < self.due || self.joins.is_some()
    }

    /// No key is replaced before half of its life has passed.
    pub(super) fn earliest(&self) -> Timestamp {
        let ready = self.task.from.plus(self.task.announce.unwrap_or_default());
        let ends = self.task.version.and_then(|it| it.valid_to.zip(due::lifetime(it)));
        ends.map_or(Timestamp::NEVER, |(end, life)| end.minus(life / 2).max(ready))
    }

    /// Whether its own windows and freezes leave it an opening from its due moment to its last safe one.
    pub(super) fn opens_in_time(&self, spans: &mut Spans) -> bool {
        let alone = Batch::of(self.clone());
        // What is left of the opening in which it falls due is one, too.
        let rest = !self.task.policy.windows.is_empty();
        let rest = rest.then(|| spans.around(self.calendar, self.due)).flatten();
        rest.is_some_and(|it| alone.ready < it.closes && alone.ready <= alone.last)
            || alone.first(spans).is_some_and(|it| it.opens.max(alone.ready) <= alone.last)
    }

    /// Why it is replaced before it is due.
    pub(super) fn why_before_due(&self, spans: &mut Spans) -> Why {
        if self.opens_in_time(spans) { Why::Earlier } else { Why::Before }
    }

    /// No place before this one is for it, whoever needs the room.
    pub(super) fn floor(&self) -> Timestamp {
        self.earliest().min(self.due).max(self.task.from)
    }

    /// Since when it is to follow a key that it goes together with, which was begun at `led`; `None` where it has been
    /// replaced in that opening itself, or where that is over.
    fn follows(&self, led: Timestamp, spans: &mut Spans) -> Option<Timestamp> {
        let version = self.task.version?;
        let span = match self.task.policy.windows.is_empty() {
            false => spans.around(self.calendar, led)?,
            true => {
                let most = due::lifetime(version).map_or(DAY, |it| (it / FOLLOW_SHARE).min(DAY));
                Span { opens: led.minus(most), closes: led.plus(most) }
            }
        };
        let rotated = self.task.rotated_at.is_some_and(|it| it >= span.opens);
        let follows = !rotated && version.obtained_at < span.opens && self.task.from < span.closes;
        follows.then_some(span.opens.min(self.due))
    }
}

impl<'t, 'a> Batch<'t, 'a> {
    pub(super) fn of(member: Member<'t, 'a>) -> Self {
        let ready = member.due.max(member.task.from).plus(member.task.announce.unwrap_or_default());
        let (due, soft, last) = (member.due, member.soft, member.last.unwrap_or(Timestamp::NEVER));
        Self { members: vec![member], due, ready, soft, last }
    }

    fn together(members: Vec<Member<'t, 'a>>, due: Option<Timestamp>) -> Option<Self> {
        let mut members = members;
        members.sort_by_key(|it| it.due);
        let first = members.iter().map(|it| it.due).chain(due).min()?;
        let from = members.iter().map(|it| it.task.from).max()?;
        let announce = members.iter().filter_map(|it| it.task.announce).max().unwrap_or_default();
        let soft = members.iter().map(|it| it.soft).min()?;
        let last = members.iter().filter_map(|it| it.last).min().unwrap_or(Timestamp::NEVER);
        Some(Self { ready: first.max(from).plus(announce), due: first, soft, last, members })
    }

    /// The opening in which they would be replaced if there were nobody else.
    pub(super) fn first(&self, spans: &mut Spans) -> Option<Span> {
        let first_create = self.members.iter().all(|it| it.task.version.is_none());
        let announced = self.members.iter().any(|it| it.task.announce.is_some());
        let since = match first_create {
            true => Timestamp(i64::MIN),
            false => {
                let span = self.next(self.due, spans)?;
                if span.opens >= self.ready {
                    return Some(span);
                }
                span.opens
            }
        };
        // Whoever was promised a warning gets all of it: an opening that has begun before is passed over.
        if !announced && let Some(around) = self.around(self.ready, spans) {
            return Some(Span { opens: around.opens.max(since), ..around });
        }
        self.next(self.ready, spans)
    }

    /// The first opening from a moment on that all of them have.
    pub(super) fn next(&self, at: Timestamp, spans: &mut Spans) -> Option<Span> {
        let leader = self.members.first()?.calendar;
        if self.members.iter().all(|it| it.calendar == leader) {
            return spans.from(leader, at);
        }
        let mut at = spans.from(leader, at)?.opens;
        for _ in 0..STEPS {
            if let Some(span) = self.around(at, spans) {
                return Some(Span { opens: at, ..span });
            }
            let closed = self.members.iter().find(|it| spans.around(it.calendar, at).is_none())?;
            at = spans.from(closed.calendar, at)?.opens;
        }
        None
    }

    /// What all of them have in common of the openings that cover a moment.
    fn around(&self, at: Timestamp, spans: &mut Spans) -> Option<Span> {
        let mut common = Span { opens: Timestamp(i64::MIN), closes: Timestamp::NEVER };
        for member in &self.members {
            let span = spans.around(member.calendar, at)?;
            common = Span { opens: common.opens.max(span.opens), closes: common.closes.min(span.closes) };
        }
        Some(common)
    }
}

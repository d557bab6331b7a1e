//! Whether the creates that an account allows are enough on the days on which its keys may be rotated at all: their windows
//! and freezes leave only some. The rotations of some years are played through, as if the keys fell due evenly spread.
use super::budget::due_at;
use super::fault::Findings;
use super::providers::Provider;
use super::section::Section;
use crate::core::calendar::Calendar;
use crate::core::due;
use crate::core::names::AccountId;
use crate::core::policy::Policy;
use crate::core::time::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

/// From when on it is played: what a config is told must not depend on the day on which it is read.
const START: Timestamp = Timestamp(1_767_225_600_000);
/// For so many days: three years, so that what comes every year comes more than once.
const DAYS: usize = 3 * 365;
/// At most so many rotations are played; a larger fleet is followed for a shorter time.
const ROTATIONS: usize = 200_000;

const DAY: Duration = Duration::from_secs(86_400);

/// Warns of the account if some of its keys would be replaced too late for want of creates.
pub(super) fn check<'a>(
    account: &AccountId,
    provider: &Provider,
    section: &Section<'_>,
    policies: impl Iterator<Item = &'a Policy>,
    findings: &mut Findings,
) {
    let allowed = provider.creates_per_day;
    let fleet = Fleet::of(policies);
    // On one day that is open to all of them, all of them fit.
    if usize::try_from(allowed).is_ok_and(|it| fleet.keys() <= it) || !fleet.waits() {
        return;
    }
    let (real, free) = (fleet.late(allowed), fleet.late(u32::MAX));
    if real.count <= free.count {
        return;
    }
    let enough = fleet.enough(allowed, free.count);
    let unfrozen = fleet.without_freezes();
    let frozen = unfrozen.late(allowed).count <= unfrozen.late(u32::MAX).count;
    let message = format!(
        "the {} keys of account `{account}` can't all be replaced in time: their {} leave {} days of a year, and \
         creates_per_day is {allowed}; {:.1} % of their rotations would come too late",
        fleet.keys(),
        if frozen { "windows and freezes" } else { "windows" },
        if frozen { fleet.open_days() } else { unfrozen.open_days() },
        real.count as f64 * 100.0 / real.of.max(1) as f64,
    );
    let others = if frozen { "shorten their freezes" } else { "open their windows on more days" };
    let hint = format!(
        "creates_per_day = {enough} is enough, if the provider allows it; else {others}, raise rotate_before, or rotate \
         less often"
    );
    findings.warning(section.at_field("creates_per_day"), message, hint);
}

/// The keys of one account.
struct Fleet<'a>(Vec<Group<'a>>);

/// Keys that are alike.
struct Group<'a> {
    keys: usize,
    /// At which age they are due.
    age: Duration,
    /// From then to the last moment that is not too late.
    left: Duration,
    calendar: Calendar<'a>,
}

/// How many rotations came too late.
struct Late {
    count: usize,
    of: usize,
}

impl<'a> Fleet<'a> {
    fn of(policies: impl Iterator<Item = &'a Policy>) -> Self {
        let mut groups: BTreeMap<_, Group<'a>> = BTreeMap::new();
        for policy in policies {
            let Some(age) = due_at(policy) else { continue };
            let windows: Vec<_> = policy.windows.iter().map(|it| &it.name).collect();
            let freezes: Vec<_> = policy.freezes.iter().map(|it| &it.name).collect();
            let left = left(policy, age);
            let calendar = Calendar { windows: &policy.windows, freezes: &policy.freezes };
            let group = groups.entry((age, left, windows, freezes));
            group.or_insert(Group { keys: 0, age, left, calendar }).keys += 1;
        }
        Self(groups.into_values().collect())
    }

    fn keys(&self) -> usize {
        self.0.iter().map(|it| it.keys).sum()
    }

    /// Whether any of them waits for a window, or for the end of a freeze.
    fn waits(&self) -> bool {
        self.0.iter().any(|it| !it.calendar.windows.is_empty() || !it.calendar.freezes.is_empty())
    }

    fn without_freezes(&self) -> Self {
        let thawed = |it: &Group<'a>| Group { calendar: Calendar { freezes: &[], ..it.calendar }, ..*it };
        Self(self.0.iter().map(thawed).collect())
    }

    /// On how many days of a year some of them may be rotated.
    fn open_days(&self) -> usize {
        let openings: Vec<_> = self.0.iter().map(|it| it.openings(365)).collect();
        (0..365).filter(|day| openings.iter().any(|it| it.get(*day).is_some_and(Option::is_some))).count()
    }

    /// The least budget by which no more of them are late than with none at all.
    fn enough(&self, allowed: u32, at_best: usize) -> u32 {
        let (mut low, mut high) = (allowed, u32::try_from(self.keys()).unwrap_or(u32::MAX));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.late(middle).count <= at_best { high = middle } else { low = middle }
        }
        high
    }

    fn late(&self, allowed: u32) -> Late {
        let a_day: f64 = self.0.iter().map(|it| it.keys as f64 * DAY.as_secs_f64() / it.age.as_secs_f64()).sum();
        let days = DAYS.min((ROTATIONS as f64 / a_day.max(1.0)) as usize).max(1);
        let openings: Vec<_> = self.0.iter().map(|it| it.openings(days)).collect();
        let mut coming: BinaryHeap<_> =
            self.0.iter().enumerate().flat_map(|(n, it)| it.first_due().map(move |at| Reverse((at, n)))).collect();
        let mut waiting: Vec<VecDeque<Timestamp>> = self.0.iter().map(|_| VecDeque::new()).collect();
        let mut late = Late { count: 0, of: 0 };
        for day in 0..days {
            let ends = begin_of(day + 1);
            while let Some(Reverse((due, n))) = coming.peek().copied().filter(|it| it.0.0 < ends) {
                coming.pop();
                waiting[n].push_back(due);
            }
            let open = |n: usize| openings[n].get(day).copied().flatten();
            // The most urgent go first; within a group those are the ones that wait longest.
            let head = |waiting: &[VecDeque<Timestamp>], n: usize| {
                let due = *waiting[n].front()?;
                open(n).filter(|it| due <= it.1).map(|_| Reverse((self.0[n].last(due), n)))
            };
            let mut next: BinaryHeap<_> = (0..self.0.len()).filter_map(|n| head(&waiting, n)).collect();
            for _ in 0..allowed {
                let Some(Reverse((last, n))) = next.pop() else { break };
                let (Some(due), Some((from, _))) = (waiting[n].pop_front(), open(n)) else { break };
                let at = due.max(from);
                late.of += 1;
                late.count += usize::from(at > last);
                coming.push(Reverse((at.plus(self.0[n].age.max(DAY)), n)));
                next.extend(head(&waiting, n));
            }
        }
        // What is still waiting when the play ends, and was late by then.
        let end = begin_of(days);
        let left = waiting.iter().enumerate().flat_map(|(n, it)| it.iter().map(move |due| self.0[n].last(*due)));
        let left = left.filter(|it| *it < end).count();
        Late { count: late.count + left, of: late.of + left }
    }
}

impl Group<'_> {
    /// When each of them is due first: evenly spread over the time in which each is due once.
    fn first_due(&self) -> impl Iterator<Item = Timestamp> {
        let (age, keys) = (self.age, self.keys);
        (0..keys).map(move |n| START.plus(age.mul_f64(n as f64 / keys as f64)))
    }

    /// The last moment that is not too late for one that was due then.
    fn last(&self, due: Timestamp) -> Timestamp {
        due.plus(self.left)
    }

    /// For each day the opening in it, if there is one: a budget holds for 24 hours, so that one opening a day counts.
    fn openings(&self, days: usize) -> Vec<Option<(Timestamp, Timestamp)>> {
        let mut openings = vec![None; days];
        let end = begin_of(days);
        let windows = !self.calendar.windows.is_empty();
        let mut at = if windows { self.calendar.opens_from(START) } else { self.calendar.open_from(START) };
        while let Some(opens) = at.filter(|it| *it < end) {
            let day = usize::try_from(opens.since(START).as_secs() / DAY.as_secs()).unwrap_or(usize::MAX);
            let closes = self.calendar.covering(opens).map_or(begin_of(day + 1), |it| it.closes);
            if let Some(it) = openings.get_mut(day) {
                *it = Some((opens, closes));
            }
            at = self.calendar.open_from(opens.plus(DAY));
        }
        openings
    }
}

/// From the moment in which a key is due to the last in which it is safe to replace it. One that never expires is too late
/// when it is twice as old as it should be.
fn left(policy: &Policy, age: Duration) -> Duration {
    let Some(life) = policy.valid_for else { return age };
    let safety = policy.accept_within.max((life / 10).min(due::MOST_SAFETY)).min(life / 2);
    life.saturating_sub(age).saturating_sub(safety)
}

fn begin_of(day: usize) -> Timestamp {
    START.plus(DAY.saturating_mul(u32::try_from(day).unwrap_or(u32::MAX)))
}

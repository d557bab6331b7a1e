//! Keys that can't all be replaced in their windows, told months ahead: those that fall due together want more creates than
//! the openings before their expiry have room for. Whether the average is enough, `config::capacity` says; this looks at the
//! very dates of the keys.
use crate::core::calendar::Calendar;
use crate::core::due;
use crate::core::names::{AccountId, KeyName};
use crate::core::policy::Policy;
use crate::core::record::Record;
use crate::core::schedule::{Slot, Slots, Spans, Why, slots};
use crate::core::time::Timestamp;
use crate::engine::handle::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// At most so many days are looked at for openings.
const DAYS: usize = 3660;

/// Keys of one account that are to be replaced in a time that has too little room for them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Crowd {
    /// The account.
    pub account: AccountId,
    /// A section of the config that speaks of it.
    pub provider: String,
    /// How many creates it allows in 24 hours.
    pub creates_per_day: u32,
    /// How many keys are to be replaced in that time.
    pub keys: usize,
    /// From when on: no key is replaced before half of its life.
    pub from: Timestamp,
    /// Up to the last safe moment of the last of them.
    pub until: Timestamp,
    /// On how many days of it they may be replaced.
    pub open_days: usize,
    /// How many would be replaced outside their windows, or in a freeze.
    pub outside: usize,
    /// How many would be replaced after their last safe moment.
    pub late: usize,
    /// The least budget by which none would.
    pub enough: Option<u32>,
}

/// One key: what is known of it, and what the config says.
type Key<'a> = (&'a Record, &'a Policy);

/// Every account whose keys don't find room in time. Each key is looked at up to its next rotation: those that follow have
/// the dates that it gives them.
pub fn crowds(snapshot: &Snapshot) -> Vec<Crowd> {
    let mut accounts: BTreeMap<&AccountId, Vec<Key<'_>>> = BTreeMap::new();
    for key in snapshot.settings.keys.values() {
        if let Some(record) = snapshot.records.get(&key.name) {
            accounts.entry(&key.policy.account).or_default().push((record, &key.policy));
        }
    }
    let all = accounts.values().flatten().copied();
    let slots = slots(all, &snapshot.accounts, &mut Spans::default(), snapshot.now);
    accounts.iter().filter_map(|(account, keys)| crowd(snapshot, account, keys, &slots)).collect()
}

fn crowd(snapshot: &Snapshot, account: &AccountId, keys: &[Key<'_>], slots: &Slots) -> Option<Crowd> {
    let misplaced: Vec<(Key<'_>, Slot)> = misplaced(keys, slots).collect();
    let from = misplaced.iter().filter_map(|it| may_go_from(it.0, snapshot.now)).min()?;
    let until = misplaced.iter().filter_map(|it| last(it.0)).max()?.max(from);
    let late = misplaced.iter().filter(|(key, slot)| last(*key).is_some_and(|it| slot.at > it)).count();
    let meant = |key: &&Key<'_>| {
        let slot = slots.get(&key.0.name).filter(|it| it.version > 0);
        slot.is_some_and(|it| it.at >= from && it.at <= until) || misplaced.iter().any(|it| it.0.0.name == key.0.name)
    };
    let meant: Vec<Key<'_>> = keys.iter().filter(meant).copied().collect();
    let sections = snapshot.settings.providers.values().filter(|it| it.account == *account);
    let creates_per_day = meant.first()?.1.creates_per_day;
    Some(Crowd {
        account: account.clone(),
        provider: sections.map(|it| it.name.clone()).min()?,
        creates_per_day,
        keys: meant.len(),
        from,
        until,
        open_days: open_days(&meant, from, until),
        outside: misplaced.len() - late,
        late,
        enough: enough(snapshot, keys, creates_per_day),
    })
}

/// Those for whom openings are left in time, and none with room.
fn misplaced<'k, 'a>(keys: &'k [Key<'a>], slots: &'k Slots) -> impl Iterator<Item = (Key<'a>, Slot)> + 'k {
    let placed = keys.iter().filter_map(|key| Some((*key, *slots.get(&key.0.name)?)));
    placed.filter(|(key, slot)| {
        let late = last(*key).is_some_and(|it| slot.at > it);
        match slot.why {
            Why::Crowded => late || !key.1.calendar().is_open(slot.at),
            Why::Later => late,
            Why::Due | Why::Together | Why::Earlier | Why::Before | Why::Outside => false,
        }
    })
}

fn last((record, policy): Key<'_>) -> Option<Timestamp> {
    due::last_safe_moment(record.current.as_ref()?, policy)
}

fn may_go_from((record, _): Key<'_>, now: Timestamp) -> Option<Timestamp> {
    let version = record.current.as_ref()?;
    let (end, life) = version.valid_to.zip(due::lifetime(version))?;
    Some(end.minus(life / 2).max(now))
}

/// On how many days some of them may be replaced: a budget holds for 24 hours, so that one opening a day counts.
fn open_days(keys: &[Key<'_>], from: Timestamp, until: Timestamp) -> usize {
    let named = |policy: &Policy| -> (Vec<_>, Vec<_>) {
        let windows = policy.windows.iter().map(|it| it.name.clone()).collect();
        (windows, policy.freezes.iter().map(|it| it.name.clone()).collect())
    };
    let calendars: BTreeMap<_, Calendar<'_>> = keys.iter().map(|it| (named(it.1), it.1.calendar())).collect();
    let mut days = BTreeSet::new();
    for calendar in calendars.values() {
        let mut at = from;
        for _ in 0..DAYS {
            let Some(opens) = calendar.open_from(at).filter(|it| *it <= until) else { break };
            days.insert(opens.since(from).as_secs() / DAY.as_secs());
            at = opens.plus(DAY);
        }
    }
    days.len()
}

/// The least budget by which each finds room; `None` where none does.
fn enough(snapshot: &Snapshot, keys: &[Key<'_>], allowed: u32) -> Option<u32> {
    let mut spans = Spans::default();
    let mut fits = |creates_per_day: u32| {
        let policies: BTreeMap<&KeyName, Policy> =
            keys.iter().map(|it| (&it.0.name, Policy { creates_per_day, ..it.1.clone() })).collect();
        let with = keys.iter().filter_map(|it| Some((it.0, policies.get(&it.0.name)?)));
        let slots = slots(with.clone(), &snapshot.accounts, &mut spans, snapshot.now);
        let with: Vec<Key<'_>> = with.collect();
        misplaced(&with, &slots).next().is_none()
    };
    let (mut low, mut high) = (allowed, u32::try_from(keys.len()).ok()?);
    if high <= low || !fits(high) {
        return None;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

//! The fullest 24 hours of each account: its budget holds in any 24 hours, whatever the calendar says.
use crate::control::protocol::{PlanEntry, PlanPeak};
use crate::core::names::{AccountId, KeyName};
use crate::core::time::Timestamp;
use crate::engine::handle::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a daily budget is for.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Of each account at which a wanted key will be created; `entries` are those of all keys, by time.
pub(super) fn peaks(snapshot: &Snapshot, entries: &[PlanEntry], wanted: impl Fn(&KeyName) -> bool) -> Vec<PlanPeak> {
    let mut creates: BTreeMap<&AccountId, Vec<Timestamp>> = BTreeMap::new();
    let mut asked: BTreeMap<&AccountId, u32> = BTreeMap::new();
    for entry in entries.iter().filter(|it| it.action == "rotate") {
        let Some(name) = &entry.key else { continue };
        let Some(key) = snapshot.settings.keys.get(name).filter(|it| it.policy.provider.creates) else {
            continue;
        };
        let account = &key.policy.account;
        // The create of a rotation that is under way is in the books, or comes now.
        creates.entry(account).or_default().push(entry.at.0);
        if wanted(name) {
            asked.insert(account, key.policy.creates_per_day);
        }
    }
    let peak = |(account, creates_per_day): (&AccountId, u32)| {
        let past = snapshot.accounts.get(account).into_iter().flat_map(|it| &it.creates).copied();
        let past = past.filter(|it| it.plus(DAY) > snapshot.now && *it < snapshot.now);
        let planned = creates.get(account).into_iter().flatten().copied();
        let mut times: Vec<Timestamp> = past.chain(planned).collect();
        times.sort_unstable();
        let (from, count) = fullest(&times)?;
        let sections = snapshot.settings.providers.values().filter(|it| it.account == *account);
        let providers: BTreeSet<String> = sections.map(|it| it.name.clone()).collect();
        Some(PlanPeak {
            account: account.clone(),
            providers: providers.into_iter().collect(),
            from: from.into(),
            creates: u32::try_from(count).unwrap_or(u32::MAX),
            creates_per_day,
        })
    };
    asked.into_iter().filter_map(peak).collect()
}

/// The first of the 24 hours with the most of these moments, which are in order.
fn fullest(times: &[Timestamp]) -> Option<(Timestamp, usize)> {
    let mut end = 0;
    let mut most: Option<(Timestamp, usize)> = None;
    for (begin, from) in times.iter().enumerate() {
        while times.get(end).is_some_and(|it| *it < from.plus(DAY)) {
            end += 1;
        }
        let count = end - begin;
        if most.is_none_or(|it| count > it.1) {
            most = Some((*from, count));
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_day_is_any_24_hours_and_its_end_is_not_in_it() {
        let hours = |hours: &[u64]| {
            let times: Vec<_> = hours.iter().map(|it| Timestamp(0).plus(Duration::from_secs(it * 3600))).collect();
            fullest(&times).map(|(from, count)| (from.since(Timestamp(0)).as_secs() / 3600, count))
        };
        assert_eq!(hours(&[]), None);
        assert_eq!(hours(&[5]), Some((5, 1)));
        assert_eq!(hours(&[0, 24, 47]), Some((24, 2)));
        assert_eq!(hours(&[0, 20, 40, 43, 60]), Some((20, 3)));
        assert_eq!(hours(&[0, 0, 30, 30]), Some((0, 2)));
    }
}

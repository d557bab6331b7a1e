//! Whether the creates that an account allows are enough for the schedule of its keys.
use super::capacity;
use super::fault::Findings;
use super::keys::{Parts, Read};
use super::providers::Provider;
use crate::core::calendar::Calendar;
use crate::core::due;
use crate::core::names::{AccountId, KeyName};
use crate::core::policy::Policy;
use crate::core::time::Timestamp;
use crate::humane::Roughly;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many rotations are followed through the windows of a key, to learn how far they lie apart.
const FOLLOWED: u32 = 64;

/// How many groups of keys a reckoning names.
const GROUPS_NAMED: usize = 3;

/// From when on rotations are followed: any moment does as well, but a config must say the same whenever it is read.
const START: Timestamp = Timestamp(1_767_225_600_000);

const DAY: Duration = Duration::from_secs(86_400);

/// Finds the accounts whose keys need more creates than they are allowed, even if none ever fails.
pub(super) fn fits(parts: &Parts<'_, '_>, keys: &BTreeMap<KeyName, Read>, findings: &mut Findings) {
    for (account, (provider, plans)) in accounts(parts, keys) {
        let allowed = f64::from(provider.creates_per_day);
        let soonest: f64 = plans.iter().map(|it| a_day(it.age, 1)).sum();
        // Windows only make it less; there is no need to follow any where even that fits.
        let groups = if soonest <= allowed { Groups::new() } else { groups(&plans) };
        let needed: f64 = groups.iter().map(|(apart, keys)| a_day(*apart, *keys)).sum();
        let Some(section) = parts.document.providers.get(&provider.section.name) else { continue };
        let needed = rounded(needed);
        if needed <= allowed {
            // On the average it is enough; but not on every day may something begin.
            capacity::check(account, provider, section, plans.iter().map(|it| it.policy), findings);
        } else {
            let by_default = if section.table.contains_key("creates_per_day") { "" } else { ", by default" };
            let message = format!(
                "the keys of account `{account}` need {needed} creates a day, but creates_per_day is {allowed}{by_default}"
            );
            let reckoning = reckoning(groups);
            let hint = format!(
                "reckoned: {reckoning}; rotate them less often, or raise creates_per_day if the provider allows it"
            );
            findings.fault(section.at_field("creates_per_day"), message, hint);
        }
    }
}

/// When a key is rotated.
struct Plan<'p> {
    /// At which age it is due.
    age: Duration,
    /// All that the config says of it.
    policy: &'p Policy,
}

/// The plans of each account's keys, with the first of its sections.
fn accounts<'p>(
    parts: &Parts<'p, '_>,
    keys: &'p BTreeMap<KeyName, Read>,
) -> BTreeMap<&'p AccountId, (&'p Provider, Vec<Plan<'p>>)> {
    let mut accounts: BTreeMap<_, (&Provider, Vec<Plan<'_>>)> = BTreeMap::new();
    for key in keys.values().filter(|it| it.clean) {
        let (Some(provider), Some(policy)) = (parts.providers.get(&key.provider), &key.policy) else { continue };
        let Some(age) = due_at(policy) else { continue };
        let (_, plans) = accounts.entry(&provider.section.account).or_insert((provider, Vec::new()));
        plans.push(Plan { age, policy });
    }
    accounts
}

/// How many keys are rotated so far apart.
type Groups = BTreeMap<Duration, usize>;

fn groups(plans: &[Plan<'_>]) -> Groups {
    let mut known = BTreeMap::new();
    let mut groups = Groups::new();
    for plan in plans {
        let names: Vec<_> = plan.policy.windows.iter().map(|it| &it.name).collect();
        let apart = *known.entry((names, plan.age)).or_insert_with(|| apart(plan));
        *groups.entry(apart).or_default() += 1;
    }
    groups
}

/// At which age a key is due, where the config says it: the lifetime is what is asked of the provider.
pub(super) fn due_at(policy: &Policy) -> Option<Duration> {
    let by_expiry = policy.valid_for.map(|lifetime| lifetime.saturating_sub(due::asked(lifetime, policy)));
    by_expiry.into_iter().chain(policy.max_age).min().filter(|it| !it.is_zero())
}

/// How far rotations lie apart on the average, where each waits for its window.
fn apart(plan: &Plan<'_>) -> Duration {
    // Freezes are left out: over the years they change little.
    let calendar = Calendar { windows: &plan.policy.windows, freezes: &[] };
    let open_from = |at| calendar.open_from(at).unwrap_or(at);
    let start = open_from(START);
    let mut at = start;
    for _ in 0..FOLLOWED {
        at = open_from(at.plus(plan.age));
    }
    at.since(start) / FOLLOWED
}

fn a_day(apart: Duration, keys: usize) -> f64 {
    keys as f64 * DAY.as_secs_f64() / apart.as_secs_f64()
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// The groups that need most, in words.
fn reckoning(groups: Groups) -> String {
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|a, b| a_day(b.0, b.1).total_cmp(&a_day(a.0, a.1)));
    let rest: usize = groups.iter().skip(GROUPS_NAMED).map(|it| it.1).sum();
    let mut words: Vec<_> = groups.iter().take(GROUPS_NAMED).map(|it| group(it.0, it.1)).collect();
    if rest > 0 {
        words.push(format!("{rest} more"));
    }
    words.join(", ")
}

fn group(apart: Duration, keys: usize) -> String {
    let word = if keys == 1 { "key" } else { "keys" };
    format!("{keys} {word} every {} ({} a day)", Roughly(apart), rounded(a_day(apart, keys)))
}

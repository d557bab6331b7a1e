//! Whether the keys fit the budgets of their accounts, by their dates: those that the daemon knows, else those in the state,
//! else as if every key that is adopted were issued now, and every other as soon as its account allows.
use crate::cli::Cli;
use crate::cli::connect::ask;
use crate::cli::plan::offline;
use crate::clock;
use crate::config::Loaded;
use crate::control::protocol::PlanFacts;
use crate::control::view::PlanAsk;
use crate::core::policy::Initial;
use crate::core::time::Timestamp;
use crate::engine::handle::Snapshot;
use crate::standing::crowds::{Crowd, crowds};
use crate::store;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Adds a warning for each account whose keys don't fit.
pub(super) fn warn(cli: &Cli, loaded: &mut Loaded) {
    if !may_be_crowded(loaded) {
        return;
    }
    let now = clock::now();
    let known = known(cli, loaded, now);
    let assumed = known.is_none();
    let snapshot = known.unwrap_or_else(|| assumed_from(loaded, now));
    for it in crowds(&snapshot) {
        loaded.warn_of_provider(&it.provider, "creates_per_day", &message(&it, assumed), &hint(&it));
    }
}

/// As many keys as an account allows creates fit into any day that they have.
fn may_be_crowded(loaded: &Loaded) -> bool {
    let mut keys: BTreeMap<_, (u32, u32)> = BTreeMap::new();
    for policy in loaded.settings.keys.values().map(|it| &it.policy).filter(|it| it.provider.creates) {
        let (count, allowed) = keys.entry(&policy.account).or_default();
        (*count, *allowed) = (*count + 1, policy.creates_per_day);
    }
    keys.values().any(|(keys, allowed)| keys > allowed)
}

/// What the daemon holds, or the state of one that does not run; `None` where neither is to be had.
fn known(cli: &Cli, loaded: &Loaded, now: Timestamp) -> Option<Snapshot> {
    let nothing_ahead = PlanAsk { ahead: Some(Duration::ZERO), ..PlanAsk::default() };
    let facts = ask(cli, async |daemon| Ok(daemon.plan_facts(&nothing_ahead).await)).ok().and_then(Result::ok);
    let (records, accounts) = match facts {
        Some(PlanFacts { version, records, accounts, .. }) if version == env!("CARGO_PKG_VERSION") => {
            (records, accounts)
        }
        Some(_) => return None,
        None => {
            let look = store::look(&loaded.settings.daemon.state_dir).ok()?;
            (look.records, look.accounts)
        }
    };
    Some(Snapshot {
        records: records.into_iter().map(|it| (it.name.clone(), it)).collect(),
        accounts: accounts.into_iter().map(|it| (it.id.clone(), it)).collect(),
        ..Snapshot::at_rest(now, Arc::new(loaded.settings.clone()))
    })
}

fn assumed_from(loaded: &Loaded, now: Timestamp) -> Snapshot {
    let mut snapshot = offline::all_new(loaded.clone(), now);
    let mut created: BTreeMap<_, u32> = BTreeMap::new();
    for key in loaded.settings.keys.values().filter(|it| it.policy.initial == Initial::Create) {
        let before = created.entry(&key.policy.account).or_default();
        let days = DAY * (*before / key.policy.creates_per_day.max(1));
        *before += 1;
        if let Some(version) = snapshot.records.get_mut(&key.name).and_then(|it| it.current.as_mut()) {
            version.obtained_at = version.obtained_at.plus(days);
            version.valid_from = version.valid_from.map(|it| it.plus(days));
            version.valid_to = version.valid_to.map(|it| it.plus(days));
        }
    }
    snapshot
}

pub(super) fn message(it: &Crowd, assumed: bool) -> String {
    let date = |at: Timestamp| at.datetime().map_or_else(|| at.to_string(), |it| it.format("%Y-%m-%d").to_string());
    let (keys, account, a_day) = (it.keys, &it.account, it.creates_per_day);
    let needed = keys.div_ceil(usize::try_from(a_day.max(1)).unwrap_or(usize::MAX));
    let room = match needed > it.open_days {
        true => {
            format!("{a_day} creates a day need {needed} days, and their windows and freezes leave {}", it.open_days)
        }
        false => format!("{a_day} creates a day are too few for those that fall due together"),
    };
    let worse = [(it.outside, "outside their windows or in a freeze"), (it.late, "too late")];
    let worse = worse.into_iter().filter(|it| it.0 > 0).map(|(n, how)| format!("{n} would be replaced {how}"));
    let worse = worse.collect::<Vec<_>>().join(", and ");
    let assumed = if assumed { "if all keys were issued now, " } else { "" };
    format!(
        "{assumed}{keys} keys of account `{account}` are to be replaced between {} and {}: {room}; {worse}",
        date(it.from),
        date(it.until),
    )
}

pub(super) fn hint(it: &Crowd) -> String {
    let others = "let their windows open on more days, or replace some of them sooner by hand, a few each day: rekeyd rotate KEY";
    match it.enough {
        Some(enough) => format!("creates_per_day = {enough} is enough, if the provider allows it; else {others}"),
        None => others.to_owned(),
    }
}

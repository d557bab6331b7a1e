//! What another config would change of a plan.
use crate::config::settings::Settings;
use crate::control::protocol::{BudgetChange, Late, Move, PlanEntry, PlanPeak, PlanReport, PlanWarning, WhatIf};
use crate::core::names::{AccountId, KeyName};
use crate::core::record::VersionNo;
use std::collections::{BTreeMap, BTreeSet};

/// The codes of a rotation outside its windows and freezes.
const OUTSIDE: [&str; 3] = ["no_window_before_expiry", "leaves_freeze", "budget_outside"];
/// The code of a key that expires before it is replaced.
const EXPIRES: &str = "expires_first";
/// The code of a key that the config does not name.
const UNMANAGED: &str = "unmanaged";

/// Compares the plan of today with that of another config, made from the same facts at the same moment. `named` are the keys
/// that the config of today names.
pub fn compare(before: &PlanReport, named: &BTreeSet<KeyName>, after: &PlanReport, other: &Settings) -> WhatIf {
    let appear: Vec<KeyName> = other.keys.keys().filter(|it| !named.contains(*it)).cloned().collect();
    let disappear: Vec<KeyName> = named.iter().filter(|it| !other.keys.contains_key(*it)).cloned().collect();
    let both = |key: &KeyName| named.contains(key) && other.keys.contains_key(key);
    let late = late(before, after);
    let budgets = budgets(before, after);
    let overdrawn = budgets.iter().any(|it| is_over(it.after.as_ref()) && !is_over(it.before.as_ref()));
    WhatIf {
        now: before.now,
        until: before.until,
        ok: late.is_empty() && !overdrawn,
        appear,
        disappear,
        moves: moves(before, after, both),
        late,
        budgets,
        warnings: warnings(before, after),
        refused: other.refused_for_removals(named.iter()),
    }
}

/// Whether more keys are to be created than the account allows.
pub(super) fn is_over(peak: Option<&PlanPeak>) -> bool {
    peak.is_some_and(|it| it.creates > it.creates_per_day)
}

type Rotations<'a> = BTreeMap<(&'a KeyName, VersionNo), &'a PlanEntry>;

fn rotations(plan: &PlanReport) -> Rotations<'_> {
    let rotations = plan.entries.iter().filter(|it| it.action == "rotate");
    rotations.filter_map(|it| Some(((it.key.as_ref()?, it.version.unwrap_or_default()), it))).collect()
}

fn moves(before: &PlanReport, after: &PlanReport, both: impl Fn(&KeyName) -> bool) -> Vec<Move> {
    let (old, new) = (rotations(before), rotations(after));
    let which: BTreeSet<_> = old.keys().chain(new.keys()).filter(|it| both(it.0)).collect();
    let moved = |it: &&(&KeyName, VersionNo)| {
        let (from, to) = (old.get(*it), new.get(*it));
        let told = to.or(from).filter(|_| from.map(|it| it.at) != to.map(|it| it.at))?;
        let message = match to {
            Some(to) => to.message.clone(),
            None => "it comes after the end of this plan, or never".to_owned(),
        };
        Some(Move {
            key: it.0.clone(),
            version: it.1,
            from: from.map(|it| it.at),
            to: to.map(|it| it.at),
            reason: told.reason.clone(),
            message,
        })
    };
    let mut moves: Vec<Move> = which.iter().filter_map(moved).collect();
    moves.sort_by(|a, b| (a.to.or(a.from), &a.key).cmp(&(b.to.or(b.from), &b.key)));
    moves
}

fn late(before: &PlanReport, after: &PlanReport) -> Vec<Late> {
    // To expire is worse than to be replaced outside a window.
    let was: BTreeSet<(&KeyName, bool)> = lates(before).map(|(key, it)| (key, it.at.is_none())).collect();
    let known = |key: &KeyName, it: &Late| was.contains(&(key, true)) || it.at.is_some() && was.contains(&(key, false));
    let is = lates(after).filter(|(key, it)| !known(key, it));
    // Of several that are late, the first rotation of a key says enough; its expiry says more.
    let mut late: BTreeMap<&KeyName, Late> = BTreeMap::new();
    for (key, it) in is {
        late.entry(key).or_insert(it);
    }
    late.into_values().collect()
}

fn lates(plan: &PlanReport) -> impl Iterator<Item = (&KeyName, Late)> {
    let expire = plan.warnings.iter().filter(|it| it.reason == EXPIRES).map(|it| {
        let (key, reason, message) = (it.key.clone(), it.reason.clone(), it.message.clone());
        (&it.key, Late { key, at: None, reason, message })
    });
    let outside = plan.entries.iter().filter(|it| it.action == "rotate" && OUTSIDE.contains(&it.reason.as_str()));
    let outside = outside.filter_map(|it| {
        let (key, reason, message) = (it.key.clone()?, it.reason.clone(), it.message.clone());
        Some((it.key.as_ref()?, Late { key, at: Some(it.at), reason, message }))
    });
    expire.chain(outside)
}

fn budgets(before: &PlanReport, after: &PlanReport) -> Vec<BudgetChange> {
    let of = |plan: &PlanReport| -> BTreeMap<AccountId, PlanPeak> {
        plan.peaks.iter().map(|it| (it.account.clone(), it.clone())).collect()
    };
    let (old, new) = (of(before), of(after));
    let accounts: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let figures = |it: Option<&PlanPeak>| it.map(|it| (it.creates, it.creates_per_day));
    let changed = accounts.into_iter().filter(|it| figures(old.get(*it)) != figures(new.get(*it)));
    let change = changed.map(|it| BudgetChange {
        account: it.clone(),
        before: old.get(it).cloned(),
        after: new.get(it).cloned(),
    });
    change.collect()
}

fn warnings(before: &PlanReport, after: &PlanReport) -> Vec<PlanWarning> {
    let was: BTreeSet<_> = before.warnings.iter().map(|it| (&it.key, &it.reason)).collect();
    // Who expires is told as worse off, and who is no longer named is told as gone.
    let told = |it: &&PlanWarning| [EXPIRES, UNMANAGED].contains(&it.reason.as_str());
    let new = after.warnings.iter().filter(|it| !told(it) && !was.contains(&(&it.key, &it.reason)));
    new.cloned().collect()
}

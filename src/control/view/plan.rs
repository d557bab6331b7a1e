//! What will happen to which key when, and why.
mod calendar;
mod compare;
mod digests;
mod peaks;
mod planner;

pub use calendar::{freeze, window};
pub use compare::compare;

use crate::control::protocol::{PlanFacts, PlanReport};
use crate::core::names::KeyName;
use crate::core::time::Timestamp;
use crate::engine::handle::{Refused, Snapshot, Which};
use crate::engine::selection;
use crate::standing::Subject;
use crate::standing::ahead::ahead;
use planner::{Found, Planner};
use std::collections::BTreeSet;
use std::time::Duration;

/// How far `plan` looks where nobody says.
pub const PLAN_FOR: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// The furthest that `plan` looks.
pub const PLAN_FOR_MAX: Duration = Duration::from_secs(3660 * 24 * 60 * 60);

/// What a plan is to show.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PlanAsk {
    /// How far to look ahead; [`PLAN_FOR`] where nobody says.
    pub ahead: Option<Duration>,
    /// Only these keys; all where none is named.
    pub keys: Vec<KeyName>,
    /// Only the keys of this owner.
    pub owner: Option<String>,
}

/// What happens within `ahead`, to every key.
pub fn plan(snapshot: &Snapshot, ahead: Duration) -> PlanReport {
    let until = snapshot.now.plus(ahead.min(PLAN_FOR_MAX));
    let mut plan = of(snapshot, until, |_| true);
    digests::add(&mut plan, snapshot, |_| true);
    plan
}

/// What was asked for, for `GET /v1/plan`.
///
/// # Errors
/// Where no key is meant, or one of those named is not there: with the names of what there is.
pub fn plan_of(snapshot: &Snapshot, ask: &PlanAsk) -> Result<PlanReport, Refused> {
    let wanted = wanted(snapshot, ask)?;
    let until = snapshot.now.plus(ask.ahead.unwrap_or(PLAN_FOR).min(PLAN_FOR_MAX));
    let mut plan = of(snapshot, until, |name| wanted.as_ref().is_none_or(|it| it.contains(name)));
    if ask.keys.is_empty() {
        digests::add(&mut plan, snapshot, |owner| ask.owner.as_deref().is_none_or(|it| it == owner));
    }
    Ok(plan)
}

/// What another config can be compared by, for `GET /v1/plan/facts`.
///
/// # Errors
/// As [`plan_of`].
pub fn plan_facts(snapshot: &Snapshot, ask: &PlanAsk) -> Result<PlanFacts, Refused> {
    Ok(PlanFacts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        plan: plan_of(snapshot, ask)?,
        named: snapshot.settings.keys.keys().cloned().collect(),
        records: snapshot.records.values().cloned().collect(),
        accounts: snapshot.accounts.values().cloned().collect(),
    })
}

fn of(snapshot: &Snapshot, until: Timestamp, wanted: impl Fn(&KeyName) -> bool) -> PlanReport {
    let mut found = Found::default();
    let lines = ahead(snapshot, until);
    for subject in Subject::all(snapshot) {
        Planner { subject: &subject, until, line: lines.get(subject.name), found: &mut found }.plan();
    }
    let Found { mut entries, mut warnings } = found;
    entries.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
    // A budget is shared by all keys of an account, whoever asks for some of them.
    let peaks = peaks::peaks(snapshot, &entries, &wanted);
    entries.retain(|it| it.key.as_ref().is_some_and(&wanted));
    warnings.retain(|it| wanted(&it.key));
    PlanReport {
        now: snapshot.now.into(),
        until: until.into(),
        install: snapshot.install.clone(),
        entries,
        warnings,
        peaks,
        windows: calendar::windows(snapshot, &wanted),
        freezes: calendar::freezes(snapshot, &wanted),
    }
}

/// The names of the keys that are meant; none where all are.
fn wanted(snapshot: &Snapshot, ask: &PlanAsk) -> Result<Option<BTreeSet<KeyName>>, Refused> {
    let names = |which| selection::names(&which, &snapshot.settings, &snapshot.records);
    let mut wanted: Option<BTreeSet<KeyName>> = None;
    if !ask.keys.is_empty() {
        wanted = Some(names(Which::Keys(ask.keys.clone()))?.into_iter().collect());
    }
    if let Some(owner) = &ask.owner {
        let left = |it: &&KeyName| !snapshot.settings.keys.contains_key(*it);
        let of_owner = snapshot.records.values().filter(|it| it.owners.contains(owner)).map(|it| &it.name).filter(left);
        let mut theirs: BTreeSet<KeyName> = of_owner.cloned().collect();
        match names(Which::Owner(owner.clone())) {
            Ok(names) => theirs.extend(names),
            // An owner whose last key left the config is told of it still.
            Err(refused) if theirs.is_empty() => return Err(refused),
            Err(_) => {}
        }
        theirs.retain(|it| wanted.as_ref().is_none_or(|wanted| wanted.contains(it)));
        wanted = Some(theirs);
    }
    Ok(wanted)
}

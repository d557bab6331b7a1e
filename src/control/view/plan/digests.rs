//! When the owners get their digests.
use crate::control::protocol::{PlanEntry, PlanReport};
use crate::engine::handle::Snapshot;

/// How many digests of one owner a plan shows at most: those of a year, where they come weekly.
const DIGESTS_PER_OWNER: usize = 53;

/// Adds the digests of the owners that are meant.
pub(super) fn add(plan: &mut PlanReport, snapshot: &Snapshot, wanted: impl Fn(&str) -> bool) {
    for owner in snapshot.settings.owners.values().filter(|it| wanted(&it.name)) {
        let Some(schedule) = &owner.digest else { continue };
        let mut next = schedule.next(snapshot.now);
        for _ in 0..DIGESTS_PER_OWNER {
            let Some(at) = next.filter(|it| *it <= plan.until.0) else { break };
            plan.entries.push(PlanEntry {
                at: at.into(),
                key: None,
                action: "digest".to_owned(),
                window: None,
                reason: "digest".to_owned(),
                message: format!("{} gets the summary of its keys", owner.name),
                valid_to: None,
                version: None,
                provider: None,
                owners: vec![owner.name.clone()],
            });
            next = schedule.next(at);
        }
    }
    plan.entries.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
}

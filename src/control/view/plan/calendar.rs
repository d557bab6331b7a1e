//! The windows and freezes of the keys in a plan, in words.
use crate::control::protocol::{FreezeSpan, PlanFreeze, PlanWindow, WindowStatus};
use crate::core::freeze::Freeze;
use crate::core::names::KeyName;
use crate::core::policy::Policy;
use crate::core::time::Timestamp;
use crate::core::window::{Opening, Window};
use crate::engine::handle::Snapshot;
use crate::humane::opening;
use std::collections::BTreeMap;

/// How many openings to come, and how many times of a freeze, are told.
const TOLD: usize = 3;

/// The windows of the keys that are wanted, each once, by name.
pub(super) fn windows(snapshot: &Snapshot, wanted: impl Fn(&KeyName) -> bool) -> Vec<PlanWindow> {
    let windows: BTreeMap<_, _> =
        policies(snapshot, wanted).flat_map(|it| &it.windows).map(|it| (&it.name, it)).collect();
    windows.into_values().map(|it| window(it, snapshot.now)).collect()
}

/// The freezes of the keys that are wanted, each once, by name.
pub(super) fn freezes(snapshot: &Snapshot, wanted: impl Fn(&KeyName) -> bool) -> Vec<PlanFreeze> {
    let freezes: BTreeMap<_, _> =
        policies(snapshot, wanted).flat_map(|it| &it.freezes).map(|it| (&it.name, it)).collect();
    freezes.into_values().map(|it| freeze(it, snapshot.now)).collect()
}

/// A window in words, with its next openings.
pub fn window(it: &Window, now: Timestamp) -> PlanWindow {
    // One that is open already is not the next one.
    let open = opening::openings(it, now, 1).first().is_some_and(|it| it.opens <= now);
    let openings = opening::openings(it, now, TOLD + usize::from(open)).into_iter();
    let status = |it: Opening| WindowStatus { name: it.name, opens: it.opens.into(), closes: it.closes.into() };
    PlanWindow {
        name: it.name.clone(),
        timezone: it.timezone.name().to_owned(),
        message: opening::window(it),
        openings: openings.map(status).collect(),
    }
}

/// A freeze in words, with its next times.
pub fn freeze(it: &Freeze, now: Timestamp) -> PlanFreeze {
    let spans = opening::spans(it, now, TOLD).into_iter();
    let spans = spans.map(|it| FreezeSpan { from: it.from.into(), to: it.to.into() }).collect();
    PlanFreeze { name: it.name.clone(), message: opening::freeze(it), spans }
}

fn policies(snapshot: &Snapshot, wanted: impl Fn(&KeyName) -> bool) -> impl Iterator<Item = &Policy> {
    snapshot.settings.keys.values().filter(move |it| wanted(&it.name)).map(|it| &it.policy)
}

//! When a version is due, and when a window opens next.
// replaced by core::due and core::window
use crate::core::policy::{Policy, RotateBefore};
use crate::core::record::Version;
use crate::core::time::Timestamp;
use crate::core::window::{Opening, Window};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// When a version is to be replaced; `None` where neither its end nor an age says so.
pub(super) fn due_at(version: &Version, policy: &Policy) -> Option<Timestamp> {
    let by_expiry = version.valid_to.map(|end| {
        let lead = match policy.rotate_before {
            RotateBefore::Lead(lead) => lead,
            RotateBefore::Share(percent) => end.since(origin(version)).mul_f64((percent / 100.0).clamp(0.0, 1.0)),
        };
        end.minus(lead)
    });
    let by_age = policy.max_age.map(|age| origin(version).plus(age));
    by_expiry.into_iter().chain(by_age).min()
}

/// The moment after which a replacement may come too late.
pub(super) fn last_safe_moment(version: &Version, policy: &Policy) -> Option<Timestamp> {
    let end = version.valid_to?;
    let tenth = (end.since(origin(version)) / 10).min(DAY);
    Some(end.minus(policy.accept_within.max(tenth)))
}

/// When the life of a version began.
pub(super) fn origin(version: &Version) -> Timestamp {
    version.valid_from.unwrap_or(version.obtained_at)
}

/// The opening that `at` lies in, else the next one.
pub(super) fn next_opening(windows: &[Window], at: Timestamp) -> Option<Opening> {
    windows.iter().filter_map(|it| opening(it, at)).min_by_key(|it| it.opens.max(at))
}

fn opening(window: &Window, at: Timestamp) -> Option<Opening> {
    let from = at.minus(window.duration).datetime()?.with_timezone(&window.timezone);
    let opens: Timestamp = window.open.find_next_occurrence(&from, false).ok()?.to_utc().into();
    Some(Opening { name: window.name.clone(), opens, closes: opens.plus(window.duration) })
}

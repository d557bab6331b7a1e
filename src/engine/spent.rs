//! Which secrets the state need not keep any longer.
use crate::core::record::{Ended, Record, VersionNo};
use std::collections::BTreeSet;

/// Versions whose secret is of no use any more: the provider refuses them, or they left the books.
pub(super) fn newly_useless(before: Option<&Record>, after: &Record) -> Vec<VersionNo> {
    let Some(before) = before else { return Vec::new() };
    let useful = |it: &Record| -> BTreeSet<VersionNo> {
        let old = it.retired.iter().filter(|it| !matches!(it.ended, Some(Ended::Revoked | Ended::Expired)));
        let versions = it.current.iter().chain(it.pending()).chain(old.map(|it| &it.version));
        versions.map(|it| it.number).collect()
    };
    useful(before).difference(&useful(after)).copied().collect()
}

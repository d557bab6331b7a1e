//! That units go on with an old key, since they were not started anew.
use super::Tell;
use crate::core::names::TargetId;
use crate::core::pass::Pass;
use crate::core::plan::{NoticeKind, Severity};
use crate::core::reader;
use crate::core::record::Version;
use std::collections::BTreeSet;

/// How many units a sentence names.
const NAMED: usize = 5;

impl Pass<'_> {
    /// The old key is kept until every unit has read the new one, or it expires.
    pub(in crate::core) fn tell_unread(&mut self, version: &Version, unread: &BTreeSet<TargetId>, incident: String) {
        let name = self.record.name.clone();
        let current = self.record.current.as_ref().map_or(0, |it| it.number);
        let units: Vec<_> = unread.iter().filter_map(reader::unit_of).take(NAMED).collect();
        let more = if unread.len() > units.len() { " and others" } else { "" };
        let restart = units.iter().filter(|it| !it.contains("@.")).map(|it| format!("systemctl restart {it}"));
        let tell = Tell {
            kind: NoticeKind::RevokeNeeded,
            severity: Severity::Warning,
            incident: Some(incident),
            cause: "unread",
            summary: format!(
                "{name}: {}{more} did not read version {current} yet, and may be using version {}, which is kept until then, \
                 or until it expires; restart what runs, and take what does not out of `units`",
                units.join(", "),
                version.number
            ),
            actions: restart.chain([format!("rekeyd status {name}")]).collect(),
            about: Some(version),
        };
        self.tell_that(tell, Some("The old key is kept for units that may be using it still."));
    }
}

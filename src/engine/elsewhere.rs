//! What other keys have, where the answer decides what may be done for one: a secret that two share, a target, a create.
use super::books::Books;
use crate::core::names::{Fingerprint, KeyName, TargetId};
use crate::core::record::Record;
use crate::core::time::Timestamp;
use std::collections::BTreeSet;

impl Books {
    /// The secrets that keys of the config may have in use, but for this key.
    pub(super) fn in_use_elsewhere(&self, name: &KeyName) -> BTreeSet<Fingerprint> {
        let others = self.records.values().filter(|it| it.name != *name && self.is_named(&it.name));
        others.flat_map(Record::live_versions).map(|it| it.fingerprint.clone()).collect()
    }

    /// Of the old versions of a key, those that other keys of the config use as well: as the current or the next one, or
    /// in an overlap, or where a target holds it.
    pub(super) fn old_in_use_elsewhere(&self, record: &Record, now: Timestamp) -> BTreeSet<Fingerprint> {
        let old = record.retired.iter().filter(|it| it.ended.is_none()).map(|it| &it.version.fingerprint);
        let others = || self.records.values().filter(|it| it.name != record.name && self.is_named(&it.name));
        old.filter(|it| others().any(|other| other.uses(it, now))).cloned().collect()
    }

    /// Whether a revocation of this secret may be on the wire, on behalf of another key.
    pub(super) fn is_ending_elsewhere(&self, name: &KeyName, secret: &Fingerprint) -> bool {
        let mut retired = self.records.values().filter(|it| it.name != *name).flat_map(|it| &it.retired);
        retired.any(|it| it.ending && it.ended.is_none() && it.version.fingerprint == *secret)
    }

    /// Whether a create of the key may still bring one, at whatever account.
    pub(super) fn has_open_create(&self, name: &KeyName) -> bool {
        let mut open = self.accounts.values().flat_map(|it| &it.open);
        open.any(|(token, open)| token.name == *name && open.reported_at.is_none())
    }

    /// The key that is delivered to a target.
    pub(super) fn delivered_to(&self, target: &TargetId) -> Option<KeyName> {
        let mut keys = self.settings.keys.values();
        keys.find(|it| it.targets.iter().any(|it| it.readers().is_empty() && it.id() == *target))
            .map(|it| it.name.clone())
    }
}

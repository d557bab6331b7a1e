//! Who reads a key as a credential: the units that a target lists, each at every start, and what they have read so far.
use super::names::TargetId;
use super::policy::Policy;
use super::record::{Held, Record, VersionNo};
use std::collections::BTreeSet;

/// The kind of all targets that are read.
pub const KIND: &str = "credential";

/// A unit that reads a key as a credential of a certain name. A template, such as `billing@.service`, stands for each of its
/// instances.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reader {
    /// The unit, by its whole name.
    pub unit: String,
    /// What the unit calls the credential.
    pub credential: String,
}

impl Reader {
    /// Under which name the books keep what it holds.
    pub fn id(&self) -> TargetId {
        self.id_of(&self.unit)
    }

    /// The same for one of its instances.
    pub fn id_of(&self, unit: &str) -> TargetId {
        TargetId::new(KIND, &format!("{unit}/{}", self.credential))
    }

    /// Whether this unit is the one, or an instance of it.
    pub fn stands_for(&self, unit: &str) -> bool {
        unit == self.unit || template_of(unit).is_some_and(|it| it == self.unit)
    }

    /// Whether it is a template.
    pub fn is_template(&self) -> bool {
        self.unit.contains("@.")
    }

    /// Whether this is what the books keep for it, or for one of its instances.
    pub fn is_at(&self, id: &TargetId) -> bool {
        unit_of(id).is_some_and(|unit| self.stands_for(unit) && *id == self.id_of(unit))
    }
}

/// The template that a unit is an instance of, if it is one.
fn template_of(unit: &str) -> Option<String> {
    let (name, rest) = unit.split_once('@')?;
    let (instance, kind) = rest.rsplit_once('.')?;
    (!instance.is_empty()).then(|| format!("{name}@.{kind}"))
}

/// The unit of what the books keep for a reader.
pub fn unit_of(id: &TargetId) -> Option<&str> {
    let address = id.as_str().strip_prefix(KIND).and_then(|it| it.strip_prefix(':'))?;
    address.split_once('/').map(|it| it.0)
}

/// Whether this is what the books keep for a reader that the config names.
pub fn is_reader(policy: &Policy, id: &TargetId) -> bool {
    policy.targets.iter().flat_map(|it| &it.readers).any(|it| it.is_at(id))
}

/// Of these readers, and of the instances that were ever seen of them, those that have not read this version last.
pub fn behind<'r>(
    readers: impl IntoIterator<Item = &'r Reader>,
    record: &Record,
    version: VersionNo,
) -> BTreeSet<TargetId> {
    let has_read = |held: &Held| held.settled == Some(version) && held.maybe.iter().all(|it| *it == version);
    let mut behind = BTreeSet::new();
    for reader in readers {
        if !record.held.get(&reader.id()).is_some_and(has_read) {
            behind.insert(reader.id());
        }
        let instances = record.held.iter().filter(|(id, _)| reader.is_template() && reader.is_at(id));
        behind.extend(instances.filter(|(_, held)| !has_read(held)).map(|(id, _)| id.clone()));
    }
    behind
}

/// The readers that have not read the current version last; none where there is no current version.
pub fn unread(record: &Record, policy: &Policy) -> BTreeSet<TargetId> {
    let Some(current) = &record.current else { return BTreeSet::new() };
    behind(policy.targets.iter().flat_map(|it| &it.readers), record, current.number)
}

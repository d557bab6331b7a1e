//! Why each key does not go on. While a commit is on its way to the disk, the reasons of the last one are shown beside the records
//! of the last one: a reason of today beside a phase of yesterday would be neither.
use super::durable::before;
use crate::core::facts::Blocked;
use crate::core::names::KeyName;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Blocks {
    now: BTreeMap<KeyName, Blocked>,
    /// What stood there at the last commit, where that has changed.
    before: BTreeMap<KeyName, Option<Blocked>>,
}

impl Blocks {
    /// Notes why a key does not go on; `None` where nothing keeps it.
    pub(super) fn note(&mut self, name: &KeyName, why: Option<Blocked>) {
        let before = match why {
            Some(it) => self.now.insert(name.clone(), it),
            None => self.now.remove(name),
        };
        self.before.entry(name.clone()).or_insert(before);
    }

    /// Why a key does not go on.
    pub(super) fn of(&self, name: &KeyName) -> Option<&Blocked> {
        self.now.get(name)
    }

    /// Forgets keys.
    pub(super) fn retain(&mut self, keep: impl Fn(&KeyName) -> bool) {
        self.now.retain(|name, _| keep(name));
        self.before.retain(|name, _| keep(name));
    }

    /// A commit has ended: what is noted from now on belongs to the next one.
    pub(super) fn settle(&mut self) {
        self.before.clear();
    }

    /// All of them, as they are now.
    pub(super) fn all(&self) -> BTreeMap<KeyName, Blocked> {
        self.now.clone()
    }

    /// All of them, as they were at the last commit.
    pub(super) fn settled(&self) -> BTreeMap<KeyName, Blocked> {
        before(&self.now, &self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn during_a_commit_the_reasons_of_the_last_one_are_shown() {
        let (a, b): (KeyName, KeyName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let mut blocks = Blocks::default();
        blocks.note(&a, Some(Blocked::Login));
        assert!(blocks.settled().is_empty() && blocks.of(&a) == Some(&Blocked::Login));
        blocks.settle();
        blocks.note(&a, None);
        blocks.note(&a, Some(Blocked::Config));
        blocks.note(&b, Some(Blocked::Login));
        assert_eq!(blocks.settled(), BTreeMap::from([(a.clone(), Blocked::Login)]));
        assert_eq!(blocks.all(), BTreeMap::from([(a.clone(), Blocked::Config), (b.clone(), Blocked::Login)]));
        blocks.retain(|it| *it == b);
        assert!(blocks.settled().is_empty(), "nothing is shown of a key that nobody knows");
        blocks.settle();
        assert_eq!(blocks.settled(), blocks.all());
    }
}

//! How much is done at once, parted so that what hangs holds up nobody else: a service that does not answer only the keys of
//! its account, and a consumer whose hook does not end only the key that is brought to it.
use crate::core::names::{AccountId, KeyName};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Who waits for whom.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Lane {
    /// Keys of one account that are looked at, created or revoked.
    Account(AccountId),
    /// Keys of one account that are looked at on their way to consumers: they wait for no create.
    OnTheWay(AccountId),
    /// One key on its way to its targets.
    Key(KeyName),
}

/// The lanes that were ever used: so many as there are accounts and keys.
pub(super) struct Permits {
    most: usize,
    lanes: BTreeMap<Lane, Arc<Semaphore>>,
}

impl Permits {
    /// At most so many at once in each lane.
    pub(super) fn new(most: usize) -> Self {
        Self { most, lanes: BTreeMap::new() }
    }

    /// Where to wait for a turn.
    pub(super) fn of(&mut self, lane: Lane) -> Arc<Semaphore> {
        let most = self.most;
        Arc::clone(self.lanes.entry(lane).or_insert_with(|| Arc::new(Semaphore::new(most))))
    }

    /// Forgets the lanes of keys that are no more.
    pub(super) fn retain_keys(&mut self, keep: impl Fn(&KeyName) -> bool) {
        self.lanes.retain(|lane, _| !matches!(lane, Lane::Key(name) if !keep(name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hangs_holds_up_its_own_lane_alone() {
        let mut permits = Permits::new(2);
        let account = |name: &str| Lane::Account(name.into());
        let slow = permits.of(account("slow"));
        let _hanging = slow.try_acquire_many(2).unwrap();
        assert!(permits.of(account("slow")).try_acquire().is_err());
        assert!(permits.of(account("other")).try_acquire().is_ok());
        assert!(permits.of(Lane::OnTheWay("slow".into())).try_acquire().is_ok());
        assert!(permits.of(Lane::Key("billing".parse().unwrap())).try_acquire().is_ok());
    }
}

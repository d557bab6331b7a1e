//! How much goes on at once. One account can't take all of it: a provider that does not answer holds up its own keys.
use crate::core::names::AccountId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One account has this part of what may go on at once, and never less than one.
const SHARE: usize = 8;

/// What may go on at once, over all accounts and for each.
#[derive(Debug)]
pub(super) struct Permits {
    most: usize,
    asking: Arc<Semaphore>,
    delivering: Arc<Semaphore>,
    accounts: BTreeMap<AccountId, Arc<Semaphore>>,
}

/// A place in the queues that something has to pass before it begins.
#[derive(Debug)]
pub(super) struct Turn(Vec<Arc<Semaphore>>);

impl Permits {
    /// At most so many at once, and as many deliveries beside them: what is issued already is never held up by what asks.
    pub(super) fn new(most: usize) -> Self {
        let semaphore = || Arc::new(Semaphore::new(most));
        Self { most, asking: semaphore(), delivering: semaphore(), accounts: BTreeMap::new() }
    }

    /// For something that asks the provider of an account.
    pub(super) fn ask(&mut self, account: &AccountId) -> Turn {
        let share = || Arc::new(Semaphore::new((self.most / SHARE).max(1)));
        let share = self.accounts.entry(account.clone()).or_insert_with(share);
        // Its own queue first: who waits there takes nothing from others.
        Turn(vec![Arc::clone(share), Arc::clone(&self.asking)])
    }

    /// For something that brings a key to its targets.
    pub(super) fn deliver(&self) -> Turn {
        Turn(vec![Arc::clone(&self.delivering)])
    }
}

impl Turn {
    /// Waits until it may begin; it is over when the permits are dropped.
    pub(super) async fn come(self) -> Vec<OwnedSemaphorePermit> {
        let mut permits = Vec::with_capacity(self.0.len());
        for queue in self.0 {
            // None of them is ever closed.
            permits.extend(queue.acquire_owned().await);
        }
        permits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn comes(turn: Turn) -> Option<Vec<OwnedSemaphorePermit>> {
        tokio::time::timeout(Duration::from_millis(20), turn.come()).await.ok()
    }

    #[tokio::test]
    async fn an_account_that_hangs_keeps_no_other_from_its_turn() {
        let (mut permits, [hangs, works]) = (Permits::new(64), ["a", "b"].map(AccountId::from));
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(comes(permits.ask(&hangs)).await.unwrap());
        }
        assert!(comes(permits.ask(&hangs)).await.is_none(), "its share is taken");
        assert!(comes(permits.ask(&works)).await.is_some());
        held.pop();
        assert!(comes(permits.ask(&hangs)).await.is_some());
    }

    #[tokio::test]
    async fn a_delivery_waits_for_nobody_who_asks() {
        let (mut permits, account) = (Permits::new(1), AccountId::from("a"));
        let held = comes(permits.ask(&account)).await;
        assert!(held.is_some() && comes(permits.deliver()).await.is_some());
    }
}

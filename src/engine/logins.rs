//! Logins that are refused outlive the daemon: whoever starts or reloads it again and again must not have it ask again and again,
//! until the provider locks the account out. When one is tried again is decided by `core::login`.
use super::Engine;
use super::doors::Kept;
use super::event::Event;
use crate::core::names::{AccountId, Fingerprint};
use crate::core::record::Record;
use crate::core::time::Timestamp;
use crate::providers::Provider;
use crate::secret::aside::aside;
use crate::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of the small row that holds them.
const LOGINS_REFUSED: &str = "logins-refused";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// Under which master key a login is told from others: another one tells nothing.
    master: Fingerprint,
    refused: BTreeMap<AccountId, Kept>,
}

/// Those that were refused when the daemon ended.
pub(super) fn read(store: &Store) -> Result<BTreeMap<AccountId, Kept>, StoreError> {
    let Some(json) = store.meta(LOGINS_REFUSED)? else { return Ok(BTreeMap::new()) };
    Ok(understood(&json, store.master_fingerprint()).unwrap_or_else(|error| {
        tracing::error!(%error, "which logins are refused can't be read; each is tried again");
        BTreeMap::new()
    }))
}

fn understood(json: &[u8], master: &Fingerprint) -> serde_json::Result<BTreeMap<AccountId, Kept>> {
    let row: Row = serde_json::from_slice(json)?;
    let same = row.master == *master;
    Ok(row.refused.into_iter().map(|(id, it)| (id, if same { it } else { it.without_stamps() })).collect())
}

/// The same password is another login for another user, or at another address.
fn stamp(store: &Store, account: &AccountId, provider: &dyn Provider, login: &Fingerprint) -> Fingerprint {
    let whose = provider.identity().unwrap_or_default();
    store.stamp(&["login", account.as_str(), &whose, login.as_str()])
}

impl Engine {
    /// Holds the keys of those whose login was refused when the daemon ended.
    pub(super) fn hold_refused(&mut self, kept: BTreeMap<AccountId, Kept>, now: Timestamp) {
        self.refused = kept.clone();
        self.doors.restore(kept);
        self.forget_doors();
        self.doors.clock_was_set(now);
        for account in self.doors.refused() {
            tracing::warn!(%account, "its login was refused before the start, and is tried again when that is an hour ago");
        }
    }

    /// Forgets the doors of accounts that the config does not name.
    pub(super) fn forget_doors(&mut self) {
        let settings = &self.books.settings;
        self.doors.retain(|it| settings.account(it).is_some());
    }

    /// What changed becomes durable with the next commit, and so before anything is done that it allows.
    pub(super) fn keep_refused(&mut self) {
        let kept = self.doors.kept();
        if kept == self.refused {
            return;
        }
        let row = Row { master: self.books.store.master_fingerprint().clone(), refused: kept.clone() };
        match serde_json::to_vec(&row) {
            Ok(json) => self.books.edit(|it| it.meta.push((LOGINS_REFUSED.to_owned(), Some(json)))),
            Err(error) => tracing::error!(%error, "which logins are refused can't be written"),
        }
        self.refused = kept;
    }

    /// A login was just refused. Whether it was put right since that call shows when it is looked at.
    pub(super) fn note_refused_login(&mut self, account: &AccountId, used: Option<&Fingerprint>, now: Timestamp) {
        let Some(section) = self.books.settings.account(account) else { return };
        let refused = used.map(|it| stamp(&self.books.store, account, section.provider.as_ref(), it));
        self.note_login(account, refused.as_ref(), now);
        self.look_at_login(account);
    }

    /// Whether a login that is refused was put right meanwhile. That is read where it stands; nobody is asked.
    pub(super) fn look_at_logins(&self) {
        for account in self.doors.refused() {
            self.look_at_login(&account);
        }
    }

    fn look_at_login(&self, account: &AccountId) {
        let Some(section) = self.books.settings.account(account) else { return };
        let (provider, events, account) = (Arc::clone(&section.provider), self.events.clone(), account.clone());
        let managed = provider.authorised_by().and_then(|it| self.books.records.get(it)?.current.as_ref());
        let managed = managed.map(|it| it.fingerprint.clone());
        let store = Arc::clone(&self.books.store);
        tokio::spawn(async move {
            let (place, read) = (format!("the login of {account}"), Arc::clone(&provider));
            let login = match managed {
                Some(it) => Some(it),
                None => aside(&place, move || read.login_stamp()).await.ok().flatten(),
            };
            let stamp = login.map(|it| stamp(&store, &account, provider.as_ref(), &it));
            // Where the queue is full, the next sweep looks again.
            let _ = events.try_send(Event::Login(account, stamp));
        });
    }

    /// A login other than that which was refused is tried at once.
    pub(super) fn note_login(&mut self, account: &AccountId, login: Option<&Fingerprint>, now: Timestamp) {
        if self.doors.note_login(account, login, now) {
            tracing::info!(%account, "its login was changed; it is tried");
        }
    }

    /// Somebody wants what a key waits for to be tried now.
    pub(super) fn try_logins_of(&mut self, record: &Record, account: &AccountId, now: Timestamp) {
        let versions = record.live_versions().chain(record.retired.iter().map(|it| &it.version));
        let mut accounts: Vec<&AccountId> = versions.map(|it| &it.account).collect();
        accounts.push(account);
        self.doors.try_now(|it| accounts.contains(&it), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_another_master_key_a_login_is_held_on_and_not_taken_for_another_one() {
        let json = br#"{"master":"aa","refused":{"sms":{"refused":{"asked":"read","login":
            {"since":1,"last_at":2,"again_at":3,"tries":4,"login":"bb"}}}}}"#;
        let read = |master: &str| understood(json, &Fingerprint::from(master)).unwrap();
        let (same, other) = (read("aa"), read("cc"));
        assert_ne!(same, other);
        assert_eq!(same.into_iter().map(|(id, it)| (id, it.without_stamps())).collect::<BTreeMap<_, _>>(), other);
    }
}

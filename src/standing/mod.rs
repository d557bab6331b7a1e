//! How each key stands, told from what the engine knows: its phase in the users' words, what is wrong with it, how much that
//! matters, and when it is replaced next. Pure: a snapshot carries its own moment. `status` and the metrics both read here, so
//! that they can't disagree.
pub mod ahead;
pub mod concern;
pub mod crowds;
pub mod forecast;
mod health;
mod phase;
mod summary;

pub use concern::{Concern, concerns};
pub use health::{Health, health};
pub use phase::{PhaseName, bare_phase, phase_name};
pub use summary::summary;

use crate::config::settings::{Key, ProviderSection};
use crate::core::account::Account;
use crate::core::facts::Blocked;
use crate::core::names::KeyName;
use crate::core::policy::Policy;
use crate::core::record::{Phase, Record};
use crate::core::time::Timestamp;
use crate::engine::handle::Snapshot;
use std::collections::BTreeSet;

/// One key with all that its standing depends on.
#[derive(Debug)]
pub struct Subject<'a> {
    /// What the engine knows.
    pub snapshot: &'a Snapshot,
    /// When this is true.
    pub now: Timestamp,
    /// Its name.
    pub name: &'a KeyName,
    /// What the config says of it; none for an unmanaged key.
    pub config: Option<&'a Key>,
    /// The section of its provider, where the config has one.
    pub section: Option<&'a ProviderSection>,
    /// Its state; none where the engine has not looked at it yet.
    pub record: Option<&'a Record>,
    /// Its account, where that is on the books.
    pub account: Option<&'a Account>,
    /// What holds it back now.
    pub blocked: Option<&'a Blocked>,
    /// When the engine looks at it again.
    pub wake_at: Option<Timestamp>,
}

/// Creates left in the daily budget of a section's account; none where no key uses it.
pub fn creates_left(snapshot: &Snapshot, section: &ProviderSection) -> Option<u32> {
    let key = snapshot.settings.keys.values().find(|it| it.provider == section.name)?;
    let per_day = key.policy.creates_per_day;
    let account = snapshot.accounts.get(&section.account);
    Some(account.map_or(per_day, |it| it.creates_left(per_day, snapshot.now)))
}

impl<'a> Subject<'a> {
    /// The key of this name; `None` where neither config nor state knows it.
    pub fn of(snapshot: &'a Snapshot, name: &KeyName) -> Option<Self> {
        let settings = &snapshot.settings;
        let config = settings.keys.get_key_value(name);
        let record = snapshot.records.get_key_value(name);
        let name = config.map(|it| it.0).or(record.map(|it| it.0))?;
        let (config, record) = (config.map(|it| it.1), record.map(|it| it.1));
        let issuer = record.and_then(|it| it.current.as_ref()).map(|it| &it.account);
        let section = match config {
            Some(key) => settings.providers.get(&key.provider),
            None => issuer.and_then(|it| settings.account(it)),
        };
        Some(Self {
            snapshot,
            now: snapshot.now,
            name,
            config,
            section,
            record,
            account: section.and_then(|it| snapshot.accounts.get(&it.account)),
            blocked: snapshot.blocked.get(name),
            wake_at: snapshot.wake_at.get(name).copied(),
        })
    }

    /// Every key, in the config or on the books, by name.
    pub fn all(snapshot: &'a Snapshot) -> impl Iterator<Item = Self> {
        let names: BTreeSet<_> = snapshot.settings.keys.keys().chain(snapshot.records.keys()).collect();
        names.into_iter().filter_map(|it| Self::of(snapshot, it))
    }

    /// By which it is worked on: that of its rotation where one is under way, which may be at another account than the
    /// config says by now.
    pub fn working_policy(&self) -> Option<Policy> {
        let mut policy = self.config?.policy.clone();
        let sections = self.snapshot.settings.providers.values();
        policy.former = sections.map(|it| (it.account.clone(), it.provider.capabilities())).collect();
        policy.former.remove(&policy.account);
        Some(self.record.map_or_else(|| policy.clone(), |it| policy.working(it).into_owned()))
    }

    /// Where its issuing stands.
    pub fn phase(&self) -> &'a Phase {
        self.record.map_or(&Phase::Unadopted, |it| &it.phase)
    }
}

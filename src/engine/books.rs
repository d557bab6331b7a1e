//! The books: every record and account in memory, and the batch that becomes durable next. Nothing acts on what stands here
//! before the batch that changed it is committed.
use super::agenda::Agenda;
use super::channels::Channels;
use super::digests::Digests;
use super::durable::Before;
use super::event::FoundSecrets;
use super::lines::Lines;
use super::meters::{Calls, Meters};
use super::post;
use super::service::Service;
use super::spent::newly_useless;
use super::unheard::Heard;
use crate::config::settings::{Key, ProviderSection, Settings};
use crate::core::account::Account;
use crate::core::command::{taken_up, unmanaged};
use crate::core::incidents::Incidents;
use crate::core::names::{AccountId, Incarnation, KeyName, TargetId, Token};
use crate::core::plan::Change;
use crate::core::policy::{Capabilities, Policy};
use crate::core::record::{Phase, Record, Version, VersionNo};
use crate::core::time::Timestamp;
use crate::providers::{CreateOptions, UsedLogin};
use crate::secret::Secret;
use crate::store::{Batch, HistoryRow, Store, StoreError};
use crate::targets::{Parcel, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The name of the small row that holds the moment of the last commit.
pub(super) const LAST_COMMIT: &str = "last-commit";

/// Every record and account, and what is to be committed next.
pub(super) struct Books {
    pub(super) store: Arc<Store>,
    pub(super) settings: Arc<Settings>,
    pub(super) by: Incarnation,
    pub(super) records: BTreeMap<KeyName, Record>,
    pub(super) accounts: BTreeMap<AccountId, Account>,
    /// Keys that the config no longer names, and whose rotation is under way.
    leaving: BTreeSet<KeyName>,
    pub(super) batch: Batch,
    /// What the batch replaces.
    pub(super) before: Before,
    /// Creates that end with the batch: what they were answered need not be kept any longer.
    pub(super) ended: Vec<Token>,
    /// Grows with every reload: what was seen under another config is not decided on.
    pub(super) generation: u64,
    /// What is wrong beside the keys, and was told.
    pub(super) incidents: Incidents,
    /// What waits to be told.
    pub(super) lines: Lines,
    /// Who was told of an incident besides its owners.
    pub(super) heard: Heard,
    /// The channels that are switched off.
    pub(super) channels: Channels,
    /// The digests that were sent.
    pub(super) digests: Digests,
    /// What is counted for the metrics, but for the calls to providers.
    pub(super) meters: Meters,
    /// Counts the calls to providers.
    pub(super) calls: Calls,
    /// Whether anything was entered since the last commit.
    pub(super) dirty: bool,
    /// When each key is replaced, among all others.
    pub(super) agenda: Agenda,
}

impl Books {
    pub(super) fn read(store: Arc<Store>, settings: Arc<Settings>, by: Incarnation) -> Result<Self, StoreError> {
        let records = store.records()?.into_iter().map(|it| (it.name.clone(), it)).collect();
        let accounts = store.accounts()?.into_iter().map(|it| (it.id.clone(), it)).collect();
        let (leaving, batch) = (BTreeSet::new(), Batch::default());
        let (ended, generation) = (Vec::new(), 0);
        let (meters, calls) = (Meters::default(), Calls::default());
        let (incidents, heard) = (post::incidents(&store)?, Heard::read(&store)?);
        let (lines, channels, digests) = (Lines::read(&store)?, Channels::read(&store)?, Digests::read(&store)?);
        Ok(Self {
            store,
            settings,
            by,
            records,
            accounts,
            leaving,
            batch,
            before: Before::default(),
            ended,
            generation,
            incidents,
            lines,
            heard,
            channels,
            digests,
            meters,
            calls,
            dirty: false,
            agenda: Agenda::default(),
        })
    }

    /// Opens an account in the books for each key of the config that has none yet, and a record likewise. What was
    /// left to a human while the config did not name the key is taken up again.
    pub(super) fn enter_new_keys(&mut self, now: Timestamp) {
        let settings = Arc::clone(&self.settings);
        let revokes = |it: &ProviderSection| it.provider.capabilities().revokes_by_id;
        for (name, key) in &settings.keys {
            if let Some(record) = self.records.get(name) {
                // Its old versions go on to their ends, but its targets are no longer to be emptied.
                let back = record.decommissioned.is_some() || record.unmanaged_since.is_some();
                let up = taken_up(record, |it| settings.account(it).is_some_and(revokes), now);
                if back || up.is_some() || record.owners != key.owners {
                    let mut record = up.unwrap_or_else(|| record.clone());
                    record.revision += u64::from(record.decommissioned.take().is_some());
                    record.unmanaged_since = None;
                    record.owners.clone_from(&key.owners);
                    self.put(record);
                }
            } else {
                let Some(record) = self.new_record(name, now) else { continue };
                self.put(Record { owners: key.owners.clone(), ..record });
            }
            self.account(&key.policy.account);
        }
    }

    /// The keys that the config no longer names, and that nobody has taken out of service.
    pub(super) fn unmanaged(&self) -> Vec<KeyName> {
        let left = |it: &&Record| it.decommissioned.is_none() && !self.settings.keys.contains_key(&it.name);
        self.records.values().filter(left).map(|it| it.name.clone()).collect()
    }

    fn put(&mut self, record: Record) {
        self.dirty = true;
        self.keep_before(&record.name);
        self.batch.records.retain(|it| it.name != record.name);
        self.batch.records.push(record.clone());
        self.records.insert(record.name.clone(), record);
    }

    /// A key that is new, or was forgotten once; then it goes on counting where it had stopped.
    fn new_record(&self, name: &KeyName, now: Timestamp) -> Option<Record> {
        let spent = match self.store.meta(&spent_row(name)) {
            Ok(spent) => spent.unwrap_or_default(),
            Err(error) => {
                tracing::error!(key = %name, %error, "its last numbers can't be read; it is not begun");
                return None;
            }
        };
        let mut spent = spent.chunks_exact(4).map(|it| it.try_into().map_or(0, u32::from_be_bytes));
        let mut next = || spent.next().unwrap_or_default();
        let (last_version, last_token, last_attempt) = (next(), next(), next());
        Some(Record { last_version, last_token, last_attempt, ..Record::new(name.clone(), now) })
    }

    pub(super) fn key(&self, name: &KeyName) -> Option<Key> {
        self.settings.keys.get(name).cloned()
    }

    /// The policy that a key is worked on by: with what all other accounts can do, and at the account of its rotation.
    pub(super) fn policy(&self, name: &KeyName) -> Option<Policy> {
        let record = self.records.get(name)?;
        let Some(key) = self.settings.keys.get(name) else { return self.policy_at_the_end(record) };
        let mut policy = key.policy.clone();
        policy.slot = self.agenda.slots().get(name).copied();
        policy.former = self.capabilities();
        policy.former.remove(&policy.account);
        // A rotation whose account nobody speaks for any more can't go on, least of all at another account.
        let at = record.rotation.as_ref().map_or(&policy.account, |it| &it.account);
        if *at != policy.account && !policy.former.contains_key(at) {
            return None;
        }
        Some(policy.working(record).into_owned())
    }

    /// Of a key that is taken out of service: nothing is known but what its providers can do.
    fn policy_at_the_end(&self, record: &Record) -> Option<Policy> {
        record.decommissioned?;
        Some(self.policy_unmanaged(record))
    }

    /// Of a key that the config does not name: at the account of a version that has not ended, if there is one.
    pub(super) fn policy_unmanaged(&self, record: &Record) -> Policy {
        let versions = record.live_versions().chain(record.retired.iter().map(|it| &it.version));
        let account = versions.map(|it| it.account.clone()).next().unwrap_or_else(|| AccountId::from(""));
        let mut policy = Policy::unmanaged(account);
        policy.former = self.capabilities();
        if let Some(provider) = policy.former.remove(&policy.account) {
            policy.provider = provider;
        }
        policy
    }

    /// Keys that are on their way out of service.
    pub(super) fn ending(&self) -> impl Iterator<Item = &KeyName> {
        // What was reported may expire by itself.
        let lives =
            |it: &Record| !it.held.is_empty() || it.live_versions().next().is_some() || !it.incidents.is_empty();
        let under_way = move |it: &&Record| it.decommissioned.is_some() && lives(it);
        self.records.values().filter(under_way).map(|it| &it.name)
    }

    /// Whether the config names the key. One whose rotation is brought to its end after it left is not named any more.
    pub(super) fn is_named(&self, name: &KeyName) -> bool {
        self.settings.keys.contains_key(name) && !self.leaving.contains(name)
    }

    /// Drops the record of a key with its secrets. What numbers were given stays: a token, a version or a notice of a key
    /// that comes back under this name is never taken for an earlier one.
    fn forget(&mut self, record: &Record) {
        let name = &record.name;
        self.keep_before(name);
        self.records.remove(name);
        self.batch.records.retain(|it| it.name != *name);
        self.batch.secrets.retain(|(it, _, _)| it != name);
        self.batch.due.retain(|(it, _)| it != name);
        self.batch.drop_records.push(name.clone());
        self.batch.drop_secrets.extend((1..=record.last_version).map(|number| (name.clone(), number)));
        let spent = [record.last_version, record.last_token, record.last_attempt].map(u32::to_be_bytes).concat();
        self.batch.meta.push((spent_row(name), Some(spent)));
        tracing::info!(key = %name, "forgotten");
    }

    /// Takes a new config into use. A key that it no longer names, but whose rotation is under way, stays until that has
    /// ended; so does a provider whose account is still needed.
    pub(super) fn reload(&mut self, mut settings: Settings, now: Timestamp) {
        let old = Arc::clone(&self.settings);
        self.leaving.clear();
        let named = settings.providers.len();
        let mut gone = Vec::new();
        for (name, key) in old.keys.iter().filter(|(name, _)| !settings.keys.contains_key(*name)).collect::<Vec<_>>() {
            if self.is_rotating(name) {
                settings.keys.insert(name.clone(), key.clone());
                self.leaving.insert(name.clone());
            } else {
                gone.push(name.clone());
            }
        }
        for section in old.providers.values().filter(|it| self.needs_account(&it.account)) {
            if settings.account(&section.account).is_none() {
                // A name that no config can have: the new config may use the old one for another account.
                let name = format!("{} (leaving)", section.account);
                let section = ProviderSection { name: name.clone(), ..section.clone() };
                settings.providers.insert(name, section);
            }
        }
        if !self.leaving.is_empty() || settings.providers.len() > named {
            settings.secrets.extend(old.secrets.iter().cloned());
        }
        self.settings = Arc::new(settings);
        self.generation += 1;
        for name in gone {
            self.rest(&name, now);
        }
    }

    /// Whether the config no longer names a key, which stays until its rotation has ended.
    pub(super) fn is_leaving(&self, name: &KeyName) -> bool {
        self.leaving.contains(name)
    }

    /// Keeps a config as the last good one.
    pub(super) fn keep_config(&mut self, text: String) {
        self.edit(|it| it.config = Some(text));
    }

    fn is_rotating(&self, name: &KeyName) -> bool {
        self.records.get(name).is_some_and(|it| it.rotation.is_some())
    }

    /// Whether something is still to be done at an account, whatever the config says.
    fn needs_account(&self, account: &AccountId) -> bool {
        let open = self.accounts.get(account).is_some_and(|it| !it.open.is_empty());
        let live = |it: &Record| it.live_versions().any(|it| it.account == *account);
        open || self.records.values().any(live)
    }

    /// A key that was to leave with the end of its rotation leaves now, if that has ended.
    pub(super) fn let_go(&mut self, name: &KeyName, now: Timestamp) {
        if !self.is_rotating(name) && self.leaving.remove(name) {
            self.rest(name, now);
            let mut settings = (*self.settings).clone();
            settings.keys.remove(name);
            self.settings = Arc::new(settings);
            tracing::info!(key = %name, "no longer managed: the config does not name it");
        }
    }

    /// Keys that left the config while the daemon was down. Says how many.
    pub(super) fn rest_unmanaged(&mut self, now: Timestamp) -> usize {
        let names = self.unmanaged();
        let is_new = |it: &&KeyName| self.records.get(it).is_some_and(|it| it.unmanaged_since.is_none());
        let new = names.iter().filter(is_new).count();
        for name in names {
            self.rest(&name, now);
        }
        new
    }

    /// Nothing is done for the key any more: what is still out there is reported.
    fn rest(&mut self, name: &KeyName, now: Timestamp) {
        self.keep_before(name);
        if let Some(record) = self.records.get_mut(name).filter(|it| it.unmanaged_since.is_none()) {
            record.unmanaged_since = Some(now);
            self.batch.records.push(record.clone());
            self.dirty = true;
        }
        if self.records.get(name).is_some_and(|it| it.decommissioned.is_some()) {
            return;
        }
        let in_use = self.in_use_elsewhere(name);
        for account in self.accounts.keys().cloned().collect::<Vec<_>>() {
            let (Some(record), Some(account)) = (self.records.get(name), self.accounts.get(&account)) else { return };
            if let Some(change) = unmanaged(record, account, &in_use, now) {
                self.enter(change, &FoundSecrets::new());
            }
        }
    }

    fn capabilities(&self) -> BTreeMap<AccountId, Capabilities> {
        let sections = self.settings.providers.values();
        sections.map(|it| (it.account.clone(), it.provider.capabilities())).collect()
    }

    pub(super) fn account(&mut self, id: &AccountId) -> Account {
        self.accounts.entry(id.clone()).or_insert_with(|| Account::new(id.clone())).clone()
    }

    /// How to speak for a key with the provider of an account.
    pub(super) fn service(&self, name: &KeyName, account: &AccountId) -> Option<Service> {
        let key = self.settings.keys.get(name);
        let home = key.and_then(|it| self.settings.providers.get(&it.provider)).filter(|it| it.account == *account);
        let section: &ProviderSection = home.or_else(|| self.settings.account(account))?;
        let provider = Arc::clone(&section.provider);
        let logins = provider.authorised_by().map(|it| self.logins(it)).unwrap_or_default();
        let create = key.map_or_else(|| Arc::new(NoCreate) as Arc<dyn CreateOptions>, |it| Arc::clone(&it.create));
        let (account, section, calls) = (account.clone(), section.name.clone(), self.calls.clone());
        Some(Service { account, section, provider, create, logins, calls, used: UsedLogin::default() })
    }

    /// The secrets of a key that authorises calls: the current one, then those that may still or already be accepted.
    fn logins(&self, name: &KeyName) -> Vec<Secret> {
        let Some(record) = self.records.get(name) else { return Vec::new() };
        let usable = record.live_versions().filter(|it| it.dead_since.is_none());
        usable.filter_map(|it| self.secret(name, it.number)).collect()
    }

    pub(super) fn secret(&self, name: &KeyName, version: VersionNo) -> Option<Secret> {
        // A version of the batch that is not committed yet counts: what reads it here acts after the commit.
        let fresh = self.batch.secrets.iter().find(|(key, number, _)| key == name && *number == version);
        if let Some((_, _, secret)) = fresh {
            return Some(secret.clone());
        }
        match self.store.secret(name, version) {
            Ok(it) => it,
            Err(error) => {
                tracing::error!(key = %name, version, %error, "a secret of the state can't be read");
                None
            }
        }
    }

    /// Our live versions of a key, with their secrets.
    pub(super) fn parcels(&self, name: &KeyName) -> Vec<Parcel> {
        let Some(record) = self.records.get(name) else { return Vec::new() };
        record.live_versions().filter_map(|it| self.parcel(name, it)).collect()
    }

    pub(super) fn version(&self, name: &KeyName, number: VersionNo) -> Option<Version> {
        self.records.get(name)?.version(number).cloned()
    }

    fn parcel(&self, name: &KeyName, version: &Version) -> Option<Parcel> {
        let provider = self.settings.keys.get(name).map(|it| it.provider.clone()).unwrap_or_default();
        Some(Parcel::of(name, &provider, version, self.secret(name, version.number)?))
    }

    pub(super) fn target(&self, name: &KeyName, id: &TargetId) -> Option<Arc<dyn Target>> {
        let key = self.settings.keys.get(name)?;
        key.targets.iter().find(|it| it.id() == *id).cloned()
    }

    /// Enters a change: it becomes durable with the next commit.
    pub(super) fn enter(&mut self, change: Change, secrets: &FoundSecrets) {
        let name = change.record.name.clone();
        let before = self.records.get(&name);
        let same = before == Some(&change.record) && self.accounts.get(&change.account.id) == Some(&change.account);
        if same && change.notices.is_empty() && !change.forgotten {
            return;
        }
        self.dirty = true;
        if change.forgotten {
            let owners = self.owners_of(&name);
            change.notices.into_iter().for_each(|it| self.post(it, &owners));
            return self.forget(&change.record);
        }
        self.keep_before(&name);
        self.keep_account_before(&change.account.id);
        let before = self.records.get(&name);
        self.agenda.note(before, &change.record);
        for number in newly_useless(before, &change.record) {
            self.batch.drop_secrets.push((name.clone(), number));
        }
        for (number, fingerprint) in &change.keep {
            match secrets.get(fingerprint) {
                Some(secret) => self.batch.secrets.push((name.clone(), *number, secret.clone())),
                None => tracing::error!(key = %name, number, %fingerprint, "a version came without its secret"),
            }
        }
        log(&name, before, &change.record);
        let provider = self.settings.keys.get(&name).map_or("", |it| &it.provider);
        self.meters.changed(provider, before, &change.record);
        if let Some(rotation) = &change.finished {
            self.meters.finished(provider, rotation);
        }
        if let Some(account) = self.accounts.get(&change.account.id) {
            let ended = account.open.keys().filter(|it| !change.account.open.contains_key(*it));
            self.ended.extend(ended.cloned());
        }
        let owners = self.owners_of(&name);
        for notice in change.notices {
            self.post(notice, &owners);
        }
        if let Some(rotation) = change.finished {
            self.batch.history.push(HistoryRow::Rotation { name: name.clone(), rotation });
        }
        self.batch.sealing_point |= matches!(&change.record.phase, Phase::Create(it) if it.token.is_some());
        self.batch.records.retain(|it| it.name != name);
        self.batch.records.push(change.record.clone());
        self.batch.accounts.retain(|it| it.id != change.account.id);
        self.batch.accounts.push(change.account.clone());
        self.accounts.insert(change.account.id.clone(), change.account);
        self.records.insert(name, change.record);
    }

    pub(super) fn edit(&mut self, edit: impl FnOnce(&mut Batch)) {
        edit(&mut self.batch);
        self.dirty = true;
    }

    pub(super) fn due(&mut self, name: &KeyName, at: Timestamp) {
        self.batch.due.retain(|(it, _)| it != name);
        self.batch.due.push((name.clone(), Some(at).filter(|it| *it < Timestamp::NEVER)));
    }

    /// Takes a batch back that was not written. Nothing was entered meanwhile.
    pub(super) fn put_back(&mut self, mut batch: Batch) {
        batch.meta.retain(|(name, _)| name != LAST_COMMIT);
        self.batch = batch;
        self.dirty = true;
    }

    /// What is to be committed now; `None` where nothing changed. A moment that can't be believed is not noted as that of
    /// the last commit: a restart would believe it.
    pub(super) fn take_batch(&mut self, now: Timestamp, believed: bool) -> Option<Batch> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        let mut batch = std::mem::take(&mut self.batch);
        if believed {
            batch.meta.push((LAST_COMMIT.to_owned(), Some(now.0.to_be_bytes().to_vec())));
        }
        Some(batch)
    }
}

/// The name of the small row that holds the last numbers of a key that was forgotten: version, token, attempt.
fn spent_row(name: &KeyName) -> String {
    format!("spent/{name}")
}

/// Of a key that the config does not name: nothing is created for it.
#[derive(Debug)]
struct NoCreate;

impl CreateOptions for NoCreate {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn log(name: &KeyName, before: Option<&Record>, after: &Record) {
    let phase = crate::core::pass::phase_name;
    let (was, is) = (before.map_or("", |it| phase(&it.phase)), phase(&after.phase));
    if was != is {
        let version = after.current.as_ref().map(|it| it.number);
        if is == "halted" {
            let why = after.last_error.as_ref().map(|it| it.message.as_str()).unwrap_or_default();
            tracing::error!(key = %name, from = was, version, why, "halted: a human is needed");
        } else {
            tracing::info!(key = %name, from = was, to = is, version, "phase");
        }
    }
    let known = before.and_then(|it| it.last_error.as_ref());
    if let Some(error) = after.last_error.as_ref().filter(|it| Some(*it) != known) {
        tracing::warn!(key = %name, phase = error.phase, reason = error.reason, message = error.message, "trouble");
    }
}

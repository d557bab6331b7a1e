//! Trouble that belongs to no key: a provider that refuses all keys of its account, and what is wrong with the daemon itself.
//! Each is an incident, told once when it begins and once when it ends.
use super::Engine;
use super::doors::{Asked, News};
use super::event::{Event, Trouble};
use super::letters::letters;
use crate::config::settings::ProviderSection;
use crate::core::account::Account;
use crate::core::decide::Look;
use crate::core::facts::Blocked;
use crate::core::incidents::Incident;
use crate::core::names::{AccountId, Fingerprint, KeyName};
use crate::core::notices::{CRITICAL_BEFORE, TELL_AFTER};
use crate::core::plan::{NoticeKind, Severity};
use crate::core::record::Record;
use crate::core::retire;
use crate::core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often the daemon looks at itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The cause of `config.rejected`.
const CONFIG: &str = "config";
/// The clock can't be believed.
const CLOCK: &str = "clock";
/// There is no room beside the state.
const RESERVE: &str = "reserve";
/// A mail template is broken.
const TEMPLATES: &str = "templates";
/// The state came from another machine.
pub(super) const MACHINE: &str = "machine";

impl Engine {
    /// Which accounts this look must leave alone: all their keys are held, or another one asks for them.
    pub(super) fn withheld(
        &mut self,
        record: &Record,
        account: &AccountId,
        look: &Look,
        now: Timestamp,
    ) -> BTreeMap<AccountId, Blocked> {
        let surely = look.list || look.read;
        let perhaps = surely || look.preflight || retire::due(record, now).next().is_some();
        let mut withheld = self.doors.shut(now);
        if perhaps && let Err(why) = self.doors.admit(account, &record.name, surely, now) {
            withheld.insert(account.clone(), why);
        }
        withheld
    }

    /// At which accounts nothing is revoked for a key now, since its provider refuses that to our login.
    pub(super) fn revokes_withheld(
        &mut self,
        record: &Record,
        account: &Account,
        now: Timestamp,
    ) -> BTreeSet<AccountId> {
        let due = retire::due(record, now).map(|it| it.version.account.clone());
        let lost = account.open.keys().filter(|it| it.name == record.name).map(|_| account.id.clone());
        let mut accounts: BTreeSet<AccountId> = due.chain(lost).collect();
        accounts.retain(|it| !self.doors.may_revoke(it, &record.name, now));
        accounts
    }

    /// A pass is over: whoever waited for what it found out is next.
    pub(super) fn leave_door(&mut self, name: &KeyName, now: Timestamp) {
        for next in self.doors.leave(name, now) {
            self.begin_pass(&next);
        }
    }

    /// What a call showed of the provider itself, and with which login it went.
    pub(super) fn note_trouble(
        &mut self,
        account: &AccountId,
        asked: Asked,
        trouble: &Trouble,
        used: Option<&Fingerprint>,
        now: Timestamp,
    ) {
        match self.doors.note(account, asked, trouble, now) {
            News::Nothing => self.note_no_trouble(account, asked, trouble, now),
            News::Refused(tries, why) => {
                // Logged once, not at every try.
                if tries == 1 {
                    tracing::warn!(%account, reason = why.code(), ?why, "the provider does not answer, or refuses");
                }
                self.tell_of_provider(account, tries, &why, now);
                if why == Blocked::Login {
                    self.note_refused_login(account, used, now);
                }
            }
            News::Opened(since) => {
                tracing::info!(%account, %since, "the provider answers again");
                self.end_of_provider(account, now);
                for name in self.doors.waiting(account) {
                    self.begin_pass(&name);
                }
            }
            News::RevokeRefused => {
                self.tell_of_revokes(account, now);
                self.note_refused_login(account, used, now);
            }
            News::Revokes => {
                self.books.end_incident(&revokes(account), "it revokes keys again", now);
                // What waits at other keys need not wait until each looks again.
                let due = self.books.records.values().filter(|it| retire::due(it, now).next().is_some());
                for name in due.map(|it| it.name.clone()).collect::<Vec<_>>() {
                    self.begin_pass(&name);
                }
            }
        }
    }

    fn tell_of_revokes(&mut self, account: &AccountId, now: Timestamp) {
        let Some(section) = self.books.settings.account(account).cloned() else { return };
        let name = &section.name;
        let summary = format!(
            "{name} refuses to revoke keys with our login; old keys stay live until it is put right, and one of them is tried \
             every hour"
        );
        let (kind, owners) = (NoticeKind::ProviderRefused, self.owners_of_provider(&section));
        let (actions, severity) = (vec!["rekeyd status".to_owned()], Severity::Warning);
        let incident = Incident { kind, provider: Some(name.clone()), severity, summary, actions, owners };
        self.books.begin_incident(&revokes(account), incident, now);
    }

    /// An incident that was open when the daemon ended is over with the first good answer.
    fn note_no_trouble(&mut self, account: &AccountId, asked: Asked, trouble: &Trouble, now: Timestamp) {
        if matches!(trouble, Trouble::Well) && asked != Asked::Revoke && !self.doors.is_shut(account) {
            self.end_of_provider(account, now);
        }
    }

    fn tell_of_provider(&mut self, account: &AccountId, tries: u32, why: &Blocked, now: Timestamp) {
        let Some(section) = self.books.settings.account(account).cloned() else { return };
        let name = &section.name;
        let (kind, severity, summary) = match why {
            Blocked::Login => {
                let summary = format!(
                    "{name} refuses our login; all its keys wait, and go on by themselves once it is put right"
                );
                (NoticeKind::ProviderRefused, self.severity_at(account, now), summary)
            }
            Blocked::Throttled(until) if tries >= TELL_AFTER => {
                let summary =
                    format!("{name} keeps asking us to slow down, now until {}; its keys wait", until.whole_second());
                (NoticeKind::ProviderThrottled, Severity::Info, summary)
            }
            _ => return,
        };
        let actions = vec!["rekeyd status".to_owned()];
        let owners = self.owners_of_provider(&section);
        let incident = Incident { kind, provider: Some(name.clone()), severity, summary, actions, owners };
        self.books.begin_incident(&cause(account, kind), incident, now);
    }

    fn end_of_provider(&mut self, account: &AccountId, now: Timestamp) {
        self.books.end_incident(&cause(account, NoticeKind::ProviderRefused), "it accepts our login again", now);
        self.books.end_incident(&cause(account, NoticeKind::ProviderThrottled), "it answers again", now);
    }

    /// Those whom the provider's sections name, else the owners of its keys.
    fn owners_of_provider(&self, of: &ProviderSection) -> Vec<String> {
        let settings = &self.books.settings;
        let named = settings.providers.values().filter(|it| it.account == of.account).flat_map(|it| &it.owners);
        let mut owners: BTreeSet<&String> = named.collect();
        if owners.is_empty() {
            let keys = settings.keys.values().filter(|it| it.policy.account == of.account);
            owners.extend(keys.flat_map(|it| &it.owners));
        }
        owners.into_iter().cloned().collect()
    }

    fn severity_at(&self, account: &AccountId, now: Timestamp) -> Severity {
        let current = self.books.records.values().filter_map(|it| it.current.as_ref());
        let mut ends = current.filter(|it| it.account == *account).filter_map(|it| it.valid_to);
        let ending = ends.any(|it| it > now && it.since(now) < CRITICAL_BEFORE);
        if ending { Severity::Critical } else { Severity::Warning }
    }

    /// What a provider says of the time.
    pub(super) fn compare_clocks(&mut self, account: &AccountId) {
        let dated = self.books.settings.account(account).and_then(|it| it.provider.dated());
        let doubted = self.clock.is_suspect();
        if let Some(dated) = dated {
            self.clock.compare(account, dated);
        }
        if doubted && !self.clock.is_suspect() {
            self.sweep();
        }
    }

    /// A config on disk is not used: told until one is.
    pub(super) fn reject_config(&mut self, why: String, now: Timestamp) {
        let actions = vec!["rekeyd check".to_owned(), "rekeyd reload".to_owned()];
        let summary = format!("{why}; the last good one stays in use");
        self.begin_own(CONFIG, NoticeKind::ConfigRejected, Severity::Warning, summary, actions, now);
        self.config_rejected = Some(why);
    }

    /// The config on disk is in use.
    pub(super) fn accept_config(&mut self, now: Timestamp) {
        self.config_rejected = None;
        self.config_stale = false;
        self.config_loaded_at = now;
        self.books.end_incident(CONFIG, "the config on disk is in use", now);
        let settings = Arc::clone(&self.books.settings);
        let accounts = settings.providers.values().map(|it| family(&it.account));
        let channels = settings
            .owners
            .values()
            .flat_map(|owner| owner.channels.iter().map(|it| format!("{}{}", letters(&owner.name), it.notifier.id())));
        let families: Vec<String> = accounts.chain(channels).collect();
        for cause in [self.books.incidents.open("provider:"), self.books.incidents.open("channel:")].concat() {
            if !families.iter().any(|it| cause.starts_with(it)) {
                self.books.end_incident(&cause, "the config no longer names it", now);
            }
        }
        self.forget_channels(now);
        self.reckon_digests();
        self.look_at_channels();
    }

    /// Looks whether the daemon itself is well, and tells where it is not.
    pub(super) fn look_at_itself(&mut self, now: Timestamp) {
        if now < self.looked_at.plus(LOOK_EVERY) && now >= self.looked_at {
            return;
        }
        self.looked_at = now;
        self.tell_of_long_actions(now);
        let what = "the wall clock can't be believed; nothing is created or revoked until a provider's clock agrees with \
                    it, or somebody says so";
        self.own(CLOCK, self.clock.is_suspect(), what, resume(), "the clock is believed again", now);
        self.tell_of_observing(now);
        self.look_at_templates(now);
        self.look_at_damage(now);
        if self.troubles.contains_key(RESERVE) {
            // It is shown until it is over: so it is looked whether it is.
            self.look_at_reserve();
        }
    }

    /// That nothing is done but looking, and why.
    pub(super) fn tell_of_observing(&mut self, now: Timestamp) {
        let why = self.observing.map(|it| it.to_string()).unwrap_or_default();
        let what = format!("{why}; keys are only looked at until somebody says that this is the one to run");
        self.own(MACHINE, self.observing.is_some(), &what, resume(), "this is the one to run", now);
    }

    /// Looks whether a mail goes out in other words than the config wants.
    fn look_at_templates(&mut self, now: Timestamp) {
        let settings = &self.books.settings;
        let what = settings.owners.values().flat_map(|it| &it.channels).find_map(|it| it.notifier.trouble());
        let mend = vec!["rekeyd check".to_owned(), "rekeyd reload".to_owned()];
        let over = "the mail templates can be used again";
        self.own(TEMPLATES, what.is_some(), what.as_deref().unwrap_or_default(), mend, over, now);
    }

    /// Looks whether there is room beside the state. That may have to wait for the disk.
    pub(super) fn look_at_reserve(&self) {
        let (store, events) = (Arc::clone(&self.books.store), self.events.clone());
        tokio::task::spawn_blocking(move || {
            // Where the queue is full, the next sweep looks again.
            let _ = events.try_send(Event::Reserve(store.reserve_ready().err()));
        });
    }

    /// Without room beside the state nothing is created.
    pub(super) fn note_reserve(&mut self, scarce: Option<String>, now: Timestamp) {
        let what = format!("nothing is created: {}", scarce.as_deref().unwrap_or_default());
        self.own(RESERVE, scarce.is_some(), &what, vec!["rekeyd status".to_owned()], "there is room again", now);
    }

    pub(super) fn own(
        &mut self,
        cause: &str,
        holds: bool,
        what: &str,
        actions: Vec<String>,
        over: &str,
        now: Timestamp,
    ) {
        if holds {
            self.troubles.insert(cause.to_owned(), what.to_owned());
            self.begin_own(cause, NoticeKind::DaemonDegraded, Severity::Warning, what.to_owned(), actions, now);
        } else {
            self.troubles.remove(cause);
            self.books.end_incident(cause, over, now);
        }
    }

    pub(super) fn begin_own(
        &mut self,
        cause: &str,
        kind: NoticeKind,
        severity: Severity,
        summary: String,
        actions: Vec<String>,
        now: Timestamp,
    ) {
        let owners = self.books.settings.daemon.owners.clone();
        self.books.begin_incident(cause, Incident { kind, provider: None, severity, summary, actions, owners }, now);
    }
}

fn resume() -> Vec<String> {
    vec!["rekeyd status".to_owned(), "rekeyd resume --all".to_owned()]
}

/// All causes at one account begin so.
fn family(account: &AccountId) -> String {
    format!("provider:{account}:")
}

fn revokes(account: &AccountId) -> String {
    format!("{}revoke", family(account))
}

fn cause(account: &AccountId, kind: NoticeKind) -> String {
    format!("{}{}", family(account), kind.code())
}

//! A new config is taken into use, or refused as a whole: then nothing has changed.
use super::Engine;
use super::handle::Refused;
use crate::clock;
use crate::config::Loaded;
use crate::config::settings::Settings;
use crate::core::incidents::{Incident, Incidents};
use crate::core::names::KeyName;
use crate::core::plan::{NoticeKind, Severity};
use crate::core::time::Timestamp;
use std::collections::BTreeSet;

/// How many names a sentence shows.
const NAMED: usize = 5;

impl Engine {
    /// Takes a config into use that has no faults of its own.
    pub(super) fn reload(&mut self, loaded: Loaded, allow_removals: bool) -> Result<(), Refused> {
        let now = clock::now();
        if let Err(why) = self.check_reload(&loaded.settings, allow_removals) {
            self.reject_config(why.clone(), now);
            return Err(Refused::Config(why));
        }
        self.books.keep_config(loaded.text());
        self.books.reload(loaded.settings, now);
        self.books.enter_new_keys(now);
        let accounts: BTreeSet<_> = self.books.settings.providers.values().map(|it| it.account.clone()).collect();
        self.doors.retain(|it| accounts.contains(it));
        self.doors.knock(now);
        self.accept_config(now);
        let gone: Vec<KeyName> = self.wake_at.keys().filter(|it| self.books.key(it).is_none()).cloned().collect();
        for name in gone {
            self.due_never(&name);
        }
        self.blocked.retain(|name, _| self.books.settings.keys.contains_key(name));
        tracing::info!(keys = self.books.settings.keys.len(), "the new config is in use");
        self.sweep();
        Ok(())
    }

    fn check_reload(&self, new: &Settings, allow_removals: bool) -> Result<(), String> {
        let old = &self.books.settings;
        if let Some(field) = old.daemon.needs_restart(&new.daemon) {
            return Err(format!("daemon.{field} takes effect at a start only: systemctl restart rekeyd"));
        }
        let managed = old.keys.keys().filter(|it| !self.books.is_leaving(it));
        let (kept, dropped): (Vec<_>, Vec<_>) = managed.partition(|it| new.keys.contains_key(*it));
        let all = kept.len() + dropped.len();
        let most = new.daemon.max_removals;
        if allow_removals || dropped.len() <= most.of(all) {
            return Ok(());
        }
        let named: Vec<_> = dropped.iter().take(NAMED).map(|it| it.as_str()).collect();
        let more = if dropped.len() > NAMED { ", …" } else { "" };
        Err(format!(
            "the new config drops {} of {all} keys ({}{more}), and max_removals = {most} allows {}; if that is meant: \
             rekeyd reload --allow-removals",
            dropped.len(),
            named.join(", "),
            most.of(all)
        ))
    }

    /// At a start nothing can be refused, but it is told.
    pub(super) fn tell_of_removals(&mut self, dropped: usize, now: Timestamp) {
        let all = dropped + self.books.settings.keys.len();
        let most = self.books.settings.daemon.max_removals;
        if dropped <= most.of(all) {
            return;
        }
        let summary = format!(
            "the config that rekeyd was started with drops {dropped} of {all} keys, more than max_removals = {most}; \
             they are kept, and no longer looked after"
        );
        tracing::warn!("{summary}");
        let incident = Incident {
            kind: NoticeKind::DaemonDegraded,
            provider: None,
            severity: Severity::Warning,
            summary,
            actions: vec!["rekeyd status".to_owned(), "rekeyd reload".to_owned()],
            owners: self.books.settings.daemon.owners.clone(),
        };
        let told = Incidents::once("removals", incident, now);
        self.books.post(told.notice, &told.owners);
    }
}

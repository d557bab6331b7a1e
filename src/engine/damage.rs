//! A state that lost something: the keys concerned halt before anything is done for them, and their owners are told.
use super::Engine;
use super::event::FoundSecrets;
use crate::core::command::damaged;
use crate::core::names::KeyName;
use crate::core::plan::{NoticeKind, Severity};
use crate::core::record::{Phase, Reason, Record, VersionNo};
use crate::core::time::Timestamp;
use crate::store::Damage;
use std::collections::BTreeMap;

/// The cause of "something was lost".
pub(super) const DAMAGE: &str = "damage";
/// The cause of "the state is older than it was".
const OLDER: &str = "older state";
/// How many names a notice holds.
const NAMED: usize = 10;

impl Engine {
    /// Halts every key of which something is lost: its record, a secret, or what was known of its account.
    pub(super) fn halt_damaged(&mut self, damage: &Damage, now: Timestamp) {
        let keys = self.concerned(damage);
        let names: Vec<_> = keys.keys().map(ToString::to_string).collect();
        for (name, last) in keys {
            let policy = self.books.policy(&name).or_else(|| self.books.key(&name).map(|it| it.policy));
            let (Some(policy), Some(record)) = (policy, self.books.records.get(&name)) else { continue };
            // Its versions go on counting where they had stopped, as far as that is known.
            let record = Record { last_version: record.last_version.max(last), ..record.clone() };
            let account = self.books.account(&policy.account);
            let change = damaged(&record, &account, &policy, now);
            self.books.enter(change, &FoundSecrets::new());
        }
        self.books.edit(|it| it.answers_damage = true);
        let which = if names.is_empty() { "none that is needed".to_owned() } else { shortened(&names) };
        let what = format!(
            "the state was damaged ({}); what can be read was taken over, keys of which something is lost: {which}. They \
             are left alone: restore a backup (rekeyd restore FILE), or adopt the keys in use",
            damage.why
        );
        tracing::error!("{what}");
        // Of an earlier loss that nobody has answered yet the keys are known already; this one is another.
        self.books.end_incident(DAMAGE, "more was lost since; that is told on its own", now);
        self.begin_own(DAMAGE, NoticeKind::DaemonDegraded, Severity::Critical, what, status(), now);
    }

    /// Tells that the state is older than it was.
    pub(super) fn tell_of_roll_back(&mut self, now: Timestamp) {
        let what = "the state is older than it was: it was restored, or the disk lost the newest of it; every key is \
                    compared with its provider and its targets before anything is done";
        self.books.end_incident(OLDER, "it happened once more; that is told on its own", now);
        self.begin_own(OLDER, NoticeKind::DaemonDegraded, Severity::Warning, what.to_owned(), status(), now);
    }

    /// Whether what was lost is dealt with, and every key compared.
    pub(super) fn look_at_damage(&mut self, now: Timestamp) {
        if self.books.incidents.is_open(DAMAGE) && !self.books.records.values().any(is_damaged) {
            self.books.end_incident(DAMAGE, "every key that was concerned is looked after again", now);
        }
        let compares = |it: &Record| matches!(it.phase, Phase::Reobserve { .. });
        if self.books.incidents.is_open(OLDER) && !self.books.records.values().any(compares) {
            self.books.end_incident(OLDER, "every key was compared", now);
        }
    }

    /// The keys of the config of which something is lost, with the highest version that is known of.
    fn concerned(&self, damage: &Damage) -> BTreeMap<KeyName, VersionNo> {
        let mut keys = damage.keys.clone();
        for (name, key) in &self.books.settings.keys {
            let live = self.books.records.get(name).into_iter().flat_map(Record::live_versions);
            let mut accounts = live.map(|it| &it.account).chain([&key.policy.account]);
            if accounts.any(|it| damage.accounts.contains(it)) {
                keys.entry(name.clone()).or_default();
            }
        }
        keys
    }
}

/// Whether a key waits for a human because something of it is lost.
fn is_damaged(record: &Record) -> bool {
    matches!(record.phase, Phase::Halted { reason: Reason::Damaged, .. })
}

fn shortened(names: &[String]) -> String {
    let named = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMED);
    if more == 0 { named } else { format!("{named} and {more} more") }
}

fn status() -> Vec<String> {
    vec!["rekeyd status".to_owned()]
}

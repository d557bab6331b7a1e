//! The fourth verb begins here: an action is given all that it needs, and starts once the plan is durable.
use super::Engine;
use super::event::Event;
use super::execute::{Task, execute};
use super::permits::Lane;
use super::veil::veil;
use crate::clock::{self, Boot};
use crate::core::facts::{Action, Outcome};
use crate::core::names::{AccountId, KeyName};
use crate::core::stuck;
use crate::core::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Engine {
    /// While an action lasts its key is not decided on; that it lasts too long is told all the same.
    pub(super) fn tell_of_long_actions(&mut self, now: Timestamp) {
        if self.clock.is_suspect() {
            return;
        }
        let acting = self.working.iter().filter(|it| it.1.acting > 0).map(|it| it.0.clone());
        for name in acting.collect::<Vec<_>>() {
            let (Some(record), Some(policy)) = (self.books.records.get(&name).cloned(), self.books.policy(&name))
            else {
                continue;
            };
            let account = self.books.account(&policy.account);
            if let Some(change) = stuck::while_acting(&record, &account, &policy, &self.books.by, now) {
                self.books.enter(change, &BTreeMap::new());
            }
        }
    }

    /// Act: begins once the plan is durable. Says whether it will.
    pub(super) fn act(&mut self, name: &KeyName, account: &AccountId, action: Action) -> bool {
        let account = match &action {
            Action::Revoke(it) => it.account.clone(),
            _ => account.clone(),
        };
        let (target, version) = match &action {
            Action::Deliver { target, version } | Action::Confirm { target, version } => (Some(target), Some(*version)),
            _ => (None, None),
        };
        let service = self.books.service(name, &account);
        let held = target.and_then(|it| self.books.records.get(name)?.held.get(it));
        let done = held.zip(version).map(|(held, version)| held.done_for(version)).unwrap_or_default();
        let heir = match &action {
            Action::Empty { target } => self.books.delivered_to(target),
            _ => None,
        };
        let task = Task {
            name: name.clone(),
            account: self.books.account(&account),
            service,
            target: target.and_then(|it| self.books.target(name, it)),
            version: version.and_then(|it| self.books.version(name, it)),
            veil: veil(&self.books.store, &self.books.settings),
            done,
            heir,
            last_version: self.books.records.get(name).map_or(0, |it| it.last_version),
            provider: self.books.key(name).map(|it| it.provider).unwrap_or_default(),
            store: Arc::clone(&self.books.store),
            action,
        };
        let delivering = matches!(task.action, Action::Deliver { .. } | Action::Confirm { .. } | Action::Empty { .. });
        let lane = if delivering { Lane::Key(name.clone()) } else { Lane::Account(account) };
        let (events, turn) = (self.events.clone(), self.permits.of(lane));
        let (calls, stop, decided) = (self.calls.clone(), self.stop.clone(), Boot::now());
        self.after_commit.push(Box::new(move || {
            calls.spawn(async move {
                let _permit = turn.acquire_owned().await;
                let acted = execute(task, decided.elapsed(), &stop, clock::now).await;
                let _ = events.send(Event::Acted(Box::new(acted))).await;
            });
        }));
        true
    }
}

/// Whether an action failed.
pub(super) fn is_failure(outcome: &Outcome) -> bool {
    !message(outcome).is_empty()
}

/// What went wrong; empty where nothing did.
pub(super) fn message(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::NotSent(why) | Outcome::Unreadable(why) | Outcome::Unknown(why) | Outcome::Failed(why) => why,
        Outcome::PartlyDelivered { why, .. } => why,
        Outcome::Refused(it) => &it.message,
        _ => "",
    }
}

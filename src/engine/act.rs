//! The fourth verb begins here: an action is given all that it needs, and starts once the plan is durable.
use super::Engine;
use super::event::Event;
use super::execute::{Task, execute};
use crate::clock;
use crate::core::facts::Action;
use crate::core::names::{AccountId, KeyName};
use std::sync::Arc;

impl Engine {
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
            heir,
            last_version: self.books.records.get(name).map_or(0, |it| it.last_version),
            provider: self.books.key(name).map(|it| it.provider).unwrap_or_default(),
            store: Arc::clone(&self.books.store),
            action,
        };
        let delivering = matches!(task.action, Action::Deliver { .. } | Action::Confirm { .. } | Action::Empty { .. });
        let turn = if delivering { self.permits.deliver() } else { self.permits.ask(&account) };
        let (events, calls, stop) = (self.events.clone(), self.calls.clone(), self.stop.clone());
        self.after_commit.push(Box::new(move || {
            calls.spawn(async move {
                let _permits = turn.come().await;
                let acted = execute(task, &stop, clock::now).await;
                let _ = events.send(Event::Acted(Box::new(acted))).await;
            });
        }));
        true
    }
}

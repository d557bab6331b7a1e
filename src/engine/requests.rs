//! What the engine is asked: answered from the books, once what was changed is durable.
use super::Engine;
use super::event::{Event, FoundSecrets};
use super::handle::{By, CommandRow, Done, History, NoticeRow, ReadRow, Refused, Request, Snapshot, Which};
use super::observe::contents;
use super::{answers, audit, selection};
use crate::clock;
use crate::config::settings::Settings;
use crate::core::command::{command, retire};
use crate::core::facts::Probe;
use crate::core::names::KeyName;
use crate::core::plan::{Adopt, Command, CommandRefused};
use crate::core::record::{Actor, VersionNo};
use crate::core::time::Timestamp;
use crate::secret::Secret;
use crate::store::{HistoryRow, OutboxState, Store, StoreError};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What a verb for several keys came to for one of them.
type PerKey = (KeyName, Result<Done, Refused>);

impl Engine {
    pub(super) fn answer(&mut self, request: Request) {
        match request {
            Request::Snapshot(reply) => {
                let snapshot = self.snapshot();
                self.reply(reply, snapshot);
            }
            Request::Command { name, command, secret, by, reply } => self.carry_out(name, *command, secret, by, reply),
            Request::Commands { which, command, by, reply } => {
                let done = self.fold_commands(&which, &command, &by);
                self.reply(reply, done);
            }
            Request::Settings(reply) => {
                let settings = Arc::clone(&self.books.settings);
                self.reply(reply, settings);
            }
            Request::Probe { name, secret, reply } => self.probe(&name, secret, reply),
            Request::Reveal { name, actor, reply } => {
                let revealed = self.reveal(&name, &actor);
                self.reply(reply, revealed);
            }
            Request::History { name, since, until, reply } => {
                let store = Arc::clone(&self.books.store);
                tokio::task::spawn_blocking(move || {
                    let read = history(&store, name.as_ref(), since, until);
                    reply.send(read.map_err(|it| Refused::Store(it.to_string())))
                });
            }
            Request::Sweep => self.sweep(),
            Request::Reload { settings, reply } => {
                let taken = self.reload(*settings);
                self.reply(reply, taken);
            }
            Request::ConfigRejected(why) => self.config_rejected = Some(why),
        }
    }

    /// Answers once the batch is durable: nobody hears of what might yet be lost.
    fn reply<T: Send + 'static>(&mut self, reply: oneshot::Sender<T>, answer: T) {
        self.after_commit.push(Box::new(move || {
            // Whoever asked may have gone away.
            let _ = reply.send(answer);
        }));
    }

    fn snapshot(&self) -> Snapshot {
        let counts = self.books.store.outbox_counts().unwrap_or_default();
        Snapshot {
            now: clock::now(),
            started_at: self.started_at,
            config_loaded_at: self.config_loaded_at,
            config_rejected: self.config_rejected.clone(),
            settings: Arc::clone(&self.books.settings),
            records: self.books.records.clone(),
            accounts: self.books.accounts.clone(),
            blocked: self.blocked.clone(),
            wake_at: self.wake_at.clone(),
            provider_trouble: self.trouble.clone(),
            outbox_pending: counts.pending,
            outbox_dead: counts.dead,
        }
    }

    fn carry_out(
        &mut self,
        name: KeyName,
        command: Command,
        secret: Option<Secret>,
        by: By,
        reply: oneshot::Sender<Result<Done, Refused>>,
    ) {
        match command {
            // What the targets hold decides whether a key may be adopted: look first, then come back.
            Command::Adopt(adopt) if adopt.targets.is_empty() && self.has_targets(&name) => {
                self.look_then_adopt(name, adopt, secret, by, reply);
            }
            command => {
                let done = self.fold_command(&name, &command, secret, &by);
                self.reply(reply, done);
            }
        }
    }

    fn has_targets(&self, name: &KeyName) -> bool {
        self.books.settings.keys.get(name).is_some_and(|it| !it.targets.is_empty())
    }

    fn look_then_adopt(
        &mut self,
        name: KeyName,
        adopt: Adopt,
        secret: Option<Secret>,
        by: By,
        reply: oneshot::Sender<Result<Done, Refused>>,
    ) {
        let targets = self.books.key(&name).map(|it| it.targets).unwrap_or_default();
        let parcels = self.books.parcels(&name);
        let events = self.events.clone();
        tokio::spawn(async move {
            let mut targets = contents(&targets, &parcels).await;
            if targets.is_empty() {
                // None can be looked at; an entry for none of them says that it was tried.
                targets.insert(crate::core::names::TargetId::new("none", ""), crate::core::facts::Content::Absent);
            }
            let command = Box::new(Command::Adopt(Adopt { targets, ..adopt }));
            let _ = events.send(Event::Request(Request::Command { name, command, secret, by, reply })).await;
        });
    }

    /// For each of the keys: what is refused for one is done for the others all the same.
    fn fold_commands(&mut self, which: &Which, asked: &Command, by: &By) -> Result<Vec<PerKey>, Refused> {
        let names = selection::names(which, &self.books.settings, &self.books.records)?;
        let one = |name: KeyName| {
            let done = self.fold_command(&name, asked, None, by);
            (name, done)
        };
        Ok(names.into_iter().map(one).collect())
    }

    fn fold_command(
        &mut self,
        name: &KeyName,
        asked: &Command,
        secret: Option<Secret>,
        by: &By,
    ) -> Result<Done, Refused> {
        let record = self.books.records.get(name).cloned().ok_or_else(|| Refused::NoSuchKey(name.clone()))?;
        let named = self.books.is_named(name);
        let at_end = matches!(asked, Command::Retire | Command::Forget);
        if named && at_end {
            return Err(CommandRefused::Managed.into());
        }
        let policy = match self.books.policy(name) {
            Some(policy) => policy,
            None if !named && (at_end || matches!(asked, Command::Ack { .. })) => self.books.policy_unmanaged(&record),
            None => return Err(CommandRefused::Unmanaged.into()),
        };
        let (account, now) = (self.books.account(&policy.account), clock::now());
        let change = match asked {
            Command::Retire => retire(&record, &account, &self.books.in_use_elsewhere(name), &policy, now),
            Command::Forget if self.books.has_open_create(name) => return Err(CommandRefused::OpenCreate.into()),
            asked => command(&record, &account, asked, &policy, now)?,
        };
        let attempt = change.record.rotation.as_ref().map(|it| it.attempt);
        let message = answers::message(asked, &record, &change.record, &policy);
        let secrets: FoundSecrets = secret.into_iter().map(|it| (it.fingerprint(), it)).collect();
        self.books.enter(change, &secrets);
        let row = audit::row(name, asked, by, now);
        self.books.edit(|it| it.history.push(row));
        let actor = &by.actor;
        tracing::info!(key = %name, verb = audit::verb(asked), user = actor.user, uid = actor.uid, "an operator's verb");
        match asked {
            Command::Forget => self.due_never(name),
            Command::Retire => {
                self.books.let_go(name, now);
                self.begin_pass(name);
            }
            _ => self.begin_pass(name),
        }
        let attempt = attempt.or(matches!(asked, Command::Rotate(_)).then_some(record.last_attempt + 1));
        Ok(Done { message, attempt })
    }

    fn probe(&mut self, name: &KeyName, secret: Secret, reply: oneshot::Sender<Result<Probe, Refused>>) {
        let policy = self.books.policy(name);
        let service = policy.and_then(|policy| self.books.service(name, &policy.account));
        let Some(service) = service else {
            let refused = Err(Refused::NoSuchKey(name.clone()));
            return self.reply(reply, refused);
        };
        tokio::spawn(async move { reply.send(Ok(service.probe(&secret).await)) });
    }

    fn reveal(&mut self, name: &KeyName, actor: &Actor) -> Result<(VersionNo, Secret), Refused> {
        let record = self.books.records.get(name).ok_or_else(|| Refused::NoSuchKey(name.clone()))?;
        let version = record.current.as_ref().ok_or_else(|| Refused::NoVersion(name.clone()))?.number;
        let secret = self.books.secret(name, version).ok_or_else(|| Refused::NoVersion(name.clone()))?;
        let by = actor.user.clone().unwrap_or_else(|| format!("uid {}", actor.uid));
        tracing::info!(key = %name, version, by, "revealed");
        let (name, at, via) = (name.clone(), clock::now(), "reveal".to_owned());
        self.books.edit(|it| it.history.push(HistoryRow::Read { name, at, by, version, via }));
        Ok((version, secret))
    }

    fn reload(&mut self, settings: Settings) -> Result<(), Refused> {
        if let Some(field) = self.books.settings.daemon.needs_restart(&settings.daemon) {
            let why = format!("daemon.{field} takes effect at a start only: systemctl restart rekeyd");
            return Err(Refused::Config(why));
        }
        self.books.reload(settings, clock::now());
        self.config_loaded_at = clock::now();
        self.config_rejected = None;
        self.books.enter_new_keys(clock::now());
        let gone: Vec<KeyName> = self.wake_at.keys().filter(|it| self.books.key(it).is_none()).cloned().collect();
        for name in gone {
            self.due_never(&name);
        }
        self.blocked.retain(|name, _| self.books.settings.keys.contains_key(name));
        tracing::info!(keys = self.books.settings.keys.len(), "the new config is in use");
        self.sweep();
        Ok(())
    }
}

fn history(
    store: &Store,
    name: Option<&KeyName>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Result<History, StoreError> {
    let mut history = History::default();
    for row in store.history(name, since, until)? {
        match row {
            HistoryRow::Rotation { name, rotation } => history.rotations.push((name, rotation)),
            HistoryRow::Read { name, at, by, version, via } => {
                history.reads.push(ReadRow { name, at, by, version, via });
            }
            HistoryRow::Command { name, at, verb, options, actor, reason } => {
                history.commands.push(CommandRow { name, at, verb, options, actor, reason });
            }
            HistoryRow::Notice { notice, owner } => {
                let rows = store.outbox(&notice.id)?.into_iter().filter(|it| it.owner == owner);
                let channels = rows.map(|it| (it.channel, state(it.state), it.at)).collect();
                history.notices.push(NoticeRow { notice, owner, channels });
            }
        }
    }
    Ok(history)
}

fn state(state: OutboxState) -> &'static str {
    match state {
        OutboxState::Pending => "pending",
        OutboxState::Sent => "sent",
        OutboxState::Dead => "dead",
    }
}

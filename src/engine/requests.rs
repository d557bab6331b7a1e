//! What the engine is asked: answered from the books, once what was changed is durable.
use super::Engine;
use super::adopt::{AdoptRefused, has_seen_all};
use super::event::FoundSecrets;
use super::handle::{
    By, ChannelRow, CommandRow, Done, History, NoticeRow, PerKey, Pulse, ReadRow, Refused, Request, Snapshot, Which,
};
use super::meters::Meters;
use super::{answers, audit, selection};
use crate::clock;
use crate::core::command::{command, retire};
use crate::core::names::KeyName;
use crate::core::plan::{Command, CommandRefused};
use crate::core::record::{Actor, VersionNo};
use crate::core::time::Timestamp;
use crate::secret::Secret;
use crate::store::{HistoryRow, OutboxRow, OutboxState, Store, StoreError};
use std::sync::Arc;
use tokio::sync::oneshot;

/// An answer, which is told why the disk did not take what it is about, if so.
pub(super) type Reply = Box<dyn FnOnce(Option<&str>) + Send>;

impl Engine {
    pub(super) fn answer(&mut self, request: Request) {
        match request {
            // Whoever asked may have gone away.
            Request::Snapshot(reply) => drop(reply.send(self.snapshot())),
            Request::Pulse(reply) => drop(reply.send(self.pulse())),
            Request::Settings(reply) => drop(reply.send(Arc::clone(&self.books.settings))),
            Request::Command { name, command, secret, by, reply } => {
                let done = self.fold_command(&name, &command, secret, &by);
                self.reply(reply, done);
                // Whoever steps in may have put a login right.
                self.look_at_logins();
            }
            Request::Commands { which, command, by, reply } => {
                let done = match *command {
                    Command::Resume if which == Which::All => self.resume_all(&by),
                    _ => self.fold_commands(&which, &command, &by),
                };
                self.reply(reply, done);
                self.look_at_logins();
            }
            Request::Adopt { name, offer, reply } => self.adopt(name, *offer, reply),
            Request::Reveal { name, actor, reply } => {
                let revealed = self.reveal(&name, &actor);
                self.reply(reply, revealed);
            }
            Request::Credential { unit, credential, reply } => self.serve(&unit, &credential, reply),
            Request::CredentialRead(receipt) => self.note_read(&receipt),
            Request::History { name, since, until, reply } => {
                let (store, settings) = (Arc::clone(&self.books.store), Arc::clone(&self.books.settings));
                // A key that is gone may have a past; one without a past, a config or a record is a slip.
                let strange =
                    name.clone().filter(|it| !self.books.records.contains_key(it) && !self.books.is_named(it));
                tokio::task::spawn_blocking(move || {
                    let unknown = || match &strange {
                        Some(it) if store.history(Some(it), None, None)?.is_empty() => Ok(strange.as_ref()),
                        _ => Ok(None),
                    };
                    let read = unknown().and_then(|it| match it {
                        Some(name) => Ok(Err(Refused::no_such_key(name, &settings))),
                        None => history(&store, name.as_ref(), since, until).map(Ok),
                    });
                    reply.send(read.unwrap_or_else(|it| Err(Refused::Store(it.to_string()))))
                });
            }
            Request::Backup { actor, reply } => self.fetch_backup(actor, reply),
            Request::Sweep => self.look_closely(),
            Request::Reload { loaded, allow_removals, by, reply } => {
                let taken = self.reload(*loaded, allow_removals, by.as_ref());
                self.reply(reply, taken);
            }
            Request::ConfigRejected { why, by, reply } => {
                self.reject_reload(why, false, by.as_ref(), self.clock.now());
                self.replies.push(Box::new(move |_| {
                    let _ = reply.send(());
                }));
            }
            Request::TryChannels { owner, actor, reply } => self.try_channels(&owner, &actor, reply),
            Request::AckLetters { by, reply } => {
                let done = self.ack_letters(&by);
                self.reply(reply, done);
            }
        }
    }

    /// Answers once the batch is durable: nobody hears of what might yet be lost as if it were done.
    pub(super) fn reply<T: Send + 'static>(
        &mut self,
        reply: oneshot::Sender<Result<T, Refused>>,
        answer: Result<T, Refused>,
    ) {
        self.replies.push(Box::new(move |unsaved| {
            let unsaved = unsaved.map(|why| Refused::Unsaved(why.to_owned()));
            // Whoever asked may have gone away.
            drop(reply.send(answer.and_then(|it| unsaved.map_or(Ok(it), Err))));
        }));
    }

    fn pulse(&self) -> Pulse {
        Pulse {
            now: clock::now(),
            config_rejected: self.config_rejected.is_some(),
            swept_at: self.swept_at,
            settings: Arc::clone(&self.books.settings),
        }
    }

    /// How many notices wait, and were given up.
    pub(super) fn count_outbox(&mut self) {
        self.outbox = self.books.store.outbox_counts().unwrap_or_default();
    }

    /// What is durable: nobody is shown what might yet be lost, and nobody waits for the disk to see what is not.
    fn snapshot(&mut self) -> Snapshot {
        if !self.writing {
            self.count_outbox();
        }
        let (records, accounts) = self.books.durable();
        Snapshot {
            now: clock::now(),
            started_at: self.started_at,
            config_loaded_at: self.config_loaded_at,
            config_rejected: self.config_rejected.clone(),
            install: Some(self.books.by.install.clone()),
            settings: Arc::clone(&self.books.settings),
            records,
            accounts,
            blocked: if self.writing { self.blocked.settled() } else { self.blocked.all() },
            nothing_to_adopt: self.sights.nothing_to_adopt().clone(),
            wake_at: self.wake_at.clone(),
            slots: self.books.slots(),
            provider_trouble: self.doors.troubles(clock::now()),
            observing: self.observing,
            backup: self.backup_state(),
            troubles: self.troubles.clone(),
            outbox_pending: self.outbox.pending,
            outbox_dead: self.outbox.dead,
            swept_at: self.swept_at,
            clock_suspect: self.clock.is_suspect(),
            meters: Meters { requests: self.books.calls.counts(), ..self.books.meters.clone() },
        }
    }

    /// For each of the keys: what is refused for one is done for the others all the same.
    pub(super) fn fold_commands(&mut self, which: &Which, asked: &Command, by: &By) -> Result<Vec<PerKey>, Refused> {
        let names = selection::names(which, &self.books.settings, &self.books.records)?;
        let one = |name: KeyName| {
            let done = self.fold_command(&name, asked, None, by);
            (name, done)
        };
        Ok(names.into_iter().map(one).collect())
    }

    pub(super) fn fold_command(
        &mut self,
        name: &KeyName,
        asked: &Command,
        secret: Option<Secret>,
        by: &By,
    ) -> Result<Done, Refused> {
        self.check_observing(asked)?;
        let unknown = || Refused::no_such_key(name, &self.books.settings);
        let record = self.books.records.get(name).cloned().ok_or_else(unknown)?;
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
        if let Command::Adopt(it) = asked
            && !has_seen_all(it, &policy)
        {
            return Err(AdoptRefused::ConfigChanged.into());
        }
        if let Command::Adopt(it) = asked
            && self.books.is_ending_elsewhere(name, &it.fingerprint)
        {
            return Err(CommandRefused::BeingRevoked.into());
        }
        let (account, now) = (self.books.account(&policy.account), self.clock.now());
        let change = match asked {
            Command::Retire => retire(&record, &account, &self.books.in_use_elsewhere(name), &policy, now),
            Command::Forget if self.books.has_open_create(name) => return Err(CommandRefused::OpenCreate.into()),
            asked => audit::signed(command(&record, &account, asked, &policy, now)?, &record, by),
        };
        let attempt = change.record.rotation.as_ref().map(|it| it.attempt);
        let message = answers::message(asked, &record, &change.record, &policy, self.blocked.of(name));
        let secrets: FoundSecrets = secret.into_iter().map(|it| (it.fingerprint(), it)).collect();
        self.books.enter(change, &secrets);
        if matches!(asked, Command::Resume) {
            self.try_logins_of(&record, &policy.account, now);
        }
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

    fn reveal(&mut self, name: &KeyName, actor: &Actor) -> Result<(VersionNo, Secret), Refused> {
        let unknown = || Refused::no_such_key(name, &self.books.settings);
        let record = self.books.records.get(name).ok_or_else(unknown)?;
        let version = record.current.as_ref().ok_or_else(|| Refused::NoVersion(name.clone()))?.number;
        let secret = self.books.secret(name, version).ok_or_else(|| Refused::NoVersion(name.clone()))?;
        let by = actor.name();
        tracing::info!(key = %name, version, by, "revealed");
        let (name, at, via) = (name.clone(), self.clock.now(), "reveal".to_owned());
        self.books.edit(|it| it.history.push(HistoryRow::Read { name, at, by, version, via, times: 1, last: None }));
        Ok((version, secret))
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
            HistoryRow::Read { name, at, by, version, via, times, last } => {
                history.reads.push(ReadRow { name, at, by, version, via, times, last });
            }
            HistoryRow::Command { name, at, verb, options, actor, reason, result } => {
                history.commands.push(CommandRow { name, at, verb, options, actor, reason, result });
            }
            HistoryRow::Notice { notice, owner } => {
                let rows = store.outbox(&notice.id)?.into_iter().filter(|it| it.owner == owner);
                let channel =
                    |it: OutboxRow| ChannelRow { channel: it.channel, state: state(it.state), at: it.at, why: it.why };
                let channels = rows.map(channel).collect();
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
        OutboxState::Dead | OutboxState::Acked => "dead",
        OutboxState::Superseded => "superseded",
        OutboxState::Off => "off",
    }
}

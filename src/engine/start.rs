//! The start: what a crash or a restore left behind is folded in before the first pass. From there on it is the normal way.
use super::backup::Backups;
use super::blocks::Blocks;
use super::books::{Books, LAST_COMMIT};
use super::clockwatch::ClockWatch;
use super::doors::Doors;
use super::event::{Event, FoundSecrets};
use super::execute::read_answer;
use super::handle::{Handle, Observing, REQUESTS_WAITING, Request};
use super::permits::Permits;
use super::reads::Reads;
use super::sights::Sights;
use super::turns::Turns;
use super::twin::{self, Name};
use super::{EVENTS_WAITING, Engine, logins, wake};
use crate::clock;
use crate::config::Loaded;
use crate::core::apply::apply;
use crate::core::command::{account_gone, answer_without_books, restored};
use crate::core::facts::{Action, Outcome};
use crate::core::names::Token;
use crate::core::time::Timestamp;
use crate::providers::Raw;
use crate::store::{Opened, OutboxCounts, StoreError};
use crate::systemd::Watchdog;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why the engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The scheduler does not start.
    #[error("daemon.sweep: {0}")]
    Sweep(String),
}

/// What the engine starts with.
#[derive(Debug)]
pub struct Begin {
    /// The config.
    pub loaded: Loaded,
    /// Why the one on disk is not used, where this is the last good one instead.
    pub rejected: Option<String>,
}

/// The engine's task.
pub type EngineTask = JoinHandle<Result<(), StoreError>>;

/// Starts the engine on an open state. It runs until `stop` is cancelled, and then ends what is in flight.
///
/// # Errors
/// Where the state can't be read, or the sweep can't be scheduled.
pub async fn start(begin: Begin, opened: Opened, stop: CancellationToken) -> Result<(Handle, EngineTask), StartError> {
    let now = clock::now();
    let (text, settings) = (begin.loaded.text(), begin.loaded.settings);
    let sweep = settings.daemon.sweep.pattern.to_string();
    let most = settings.daemon.max_concurrent_rotations.max(1);
    let store = Arc::new(opened.store);
    let last_commit =
        store.meta(LAST_COMMIT)?.and_then(|it| it.try_into().ok()).map(|it| Timestamp(i64::from_be_bytes(it)));
    let (name, twin) = match twin::claim(&opened.incarnation.install).await {
        Name::Ours(name) => (Some(name), None),
        Name::Twin(pid) => (None, Some(Observing::Twin(pid))),
        Name::Nobodys => (None, None),
    };
    let refused = logins::read(&store)?;
    let books = Books::read(store, Arc::new(settings), opened.incarnation)?;
    let (events, inbox) = mpsc::channel(EVENTS_WAITING);
    let (looks, glances) = mpsc::channel(REQUESTS_WAITING);
    let mut engine = Engine {
        books,
        events: events.clone(),
        glances,
        permits: Permits::new(most),
        calls: TaskTracker::new(),
        clock: ClockWatch::new(now, last_commit),
        working: BTreeMap::new(),
        due: BTreeSet::new(),
        wake_at: BTreeMap::new(),
        blocked: Blocks::default(),
        sights: Sights::default(),
        doors: Doors::default(),
        turns: Turns::default(),
        refused: BTreeMap::new(),
        reads: Reads::default(),
        backups: Backups::default(),
        sending: BTreeSet::new(),
        noted: 0,
        after_commit: Vec::new(),
        writing: false,
        outbox: OutboxCounts::default(),
        replies: Vec::new(),
        unwritable: None,
        troubles: BTreeMap::new(),
        stop: stop.clone(),
        prune_at: now,
        swept_at: now,
        started_at: now,
        config_loaded_at: now,
        config_rejected: None,
        config_stale: begin.rejected.is_some(),
        observing: twin.or(opened.new_machine.then_some(Observing::NewMachine)),
        name,
        looked_at: Timestamp(0),
        stopping: false,
        watchdog: Watchdog::of_process(),
    };
    engine.hold_refused(refused, now);
    engine.books.enter_new_keys(now);
    // Before all else that it has to tell of itself: what is older was told by the one that it is a copy of.
    engine.tell_of_observing(now);
    let distrusted = opened.rolled_back || engine.observing.is_some();
    if distrusted {
        engine.distrust(opened.rolled_back, now);
    }
    if opened.rolled_back {
        engine.tell_of_roll_back(now);
    }
    if let Some(damage) = &opened.damage {
        engine.halt_damaged(damage, now);
    }
    engine.fold_in_escrow(distrusted, now).await?;
    engine.leave_gone_accounts(now);
    engine.give_up_in_flight(now);
    let dropped = engine.books.rest_unmanaged(now);
    engine.tell_of_removals(dropped, now);
    match begin.rejected {
        Some(why) => engine.reject_config(why, now),
        None => {
            engine.books.keep_config(text);
            engine.accept_config(now);
        }
    }
    engine.commit().await?;
    engine.count_outbox();
    let scheduler = wake::start(&sweep, events.clone()).await.map_err(|it| StartError::Sweep(it.to_string()))?;
    let (requests, mut asked) = mpsc::channel::<Request>(REQUESTS_WAITING);
    tokio::spawn(async move {
        while let Some(request) = asked.recv().await {
            let taken = match request.only_looks() {
                true => looks.send(request).await.is_ok(),
                false => events.send(Event::Request(request)).await.is_ok(),
            };
            if !taken {
                return;
            }
        }
    });
    let task = tokio::spawn(async move {
        let _scheduler = scheduler;
        engine.run(inbox, stop).await
    });
    Ok((Handle { requests }, task))
}

impl Engine {
    /// The state may be older than the world: every key reads before it acts.
    /// On another machine, or beside another daemon, it stays at that until an operator says so, see `resume_all`.
    fn distrust(&mut self, rolled_back: bool, now: Timestamp) {
        tracing::warn!(
            "the state was restored, rolled back, moved or copied; every key is looked at before anything is done"
        );
        self.reobserve_all(now);
        self.books.edit(|it| it.answers_roll_back = rolled_back);
    }

    fn reobserve_all(&mut self, now: Timestamp) {
        let names: Vec<_> = self.books.settings.keys.keys().cloned().collect();
        for name in names {
            // A rotation at an account that nobody speaks for any more ends here as well.
            let policy = self.books.policy(&name).or_else(|| self.books.key(&name).map(|it| it.policy));
            let (Some(policy), Some(record)) = (policy, self.books.records.get(&name)) else { continue };
            let record = restored(record, &policy, now);
            self.books.keep_before(&name);
            self.books.records.insert(name, record.clone());
            self.books.edit(|it| it.records.push(record));
        }
    }

    /// The provider holds a token of ours that this state never issued: from here on we issue under another name.
    pub(super) fn begin_new_epoch(&mut self, now: Timestamp) {
        let mut bytes = [0_u8; 3];
        if let Err(error) = getrandom::fill(&mut bytes) {
            tracing::error!(%error, "no random bytes for a new epoch");
            return;
        }
        self.books.by.epoch = bytes.iter().map(|it| format!("{it:02x}")).collect();
        tracing::warn!(epoch = self.books.by.epoch, "the state is older than the provider's; a new epoch begins");
        let by = self.books.by.clone();
        self.books.edit(|it| it.new_incarnation = Some(by));
        self.reobserve_all(now);
    }

    /// Answers that were kept but never folded in: the daemon died between the two.
    async fn fold_in_escrow(&mut self, distrusted: bool, now: Timestamp) -> Result<(), StoreError> {
        for (token, status, body) in self.books.store.escrow().drain()? {
            let holder = self.books.accounts.values().find(|it| it.open.contains_key(&token)).cloned();
            let Some(account) = holder else {
                self.end_unknown_answer(token, distrusted, now);
                continue;
            };
            let service = self.books.service(&token.name, &account.id);
            let Some(service) = service else { continue };
            let mut secrets = FoundSecrets::new();
            let outcome = read_answer(&service, &account, &Raw { status, body }, &mut secrets).await;
            tracing::info!(key = %token.name, %token, "the answer to a create was found in escrow");
            self.fold_create(&token, &outcome, &secrets, now);
        }
        Ok(())
    }

    /// An answer to a create that the books don't know: its outcome was committed before the daemon died, or the books are
    /// older than the answer. Then it may be the only trace of a key: its owner is told, and it is kept at later starts too,
    /// which know of no roll-back any more but that the token is of another epoch.
    fn end_unknown_answer(&mut self, token: Token, distrusted: bool, now: Timestamp) {
        let key = self.books.key(&token.name).map(|it| it.policy.account).filter(|_| distrusted);
        let (Some(account), Some(record)) = (key, self.books.records.get(&token.name).cloned()) else {
            let known = self.books.records.get(&token.name).is_none_or(|it| it.last_token >= token.n);
            if !distrusted && token.by == self.books.by && known {
                self.books.ended.push(token);
            }
            return;
        };
        tracing::error!(key = %token.name, %token, "the answer to a create is newer than the state; it is kept");
        let account = self.books.account(&account);
        self.books.enter(answer_without_books(&record, &account, &token, now), &FoundSecrets::new());
    }

    /// A section's account was renamed while the daemon was down: nobody speaks for the old one any more, and a rotation
    /// that works there can't go on.
    fn leave_gone_accounts(&mut self, now: Timestamp) {
        let settings = Arc::clone(&self.books.settings);
        for (name, key) in &settings.keys {
            let Some(record) = self.books.records.get(name).cloned() else { continue };
            let Some(rotation) = record.rotation.as_ref().filter(|it| settings.account(&it.account).is_none()) else {
                continue;
            };
            let account = self.books.account(&rotation.account);
            if let Some(change) = account_gone(&record, &account, &key.policy, now) {
                tracing::error!(key = %name, account = %account.id, "the config names no provider for its account any more");
                self.books.enter(change, &FoundSecrets::new());
            }
        }
    }

    /// A create without an answer: nobody knows what came of it.
    fn give_up_in_flight(&mut self, now: Timestamp) {
        let open = self.books.accounts.values().flat_map(|it| &it.open);
        let in_flight = open.filter(|(_, it)| it.lost_at.is_none()).map(|(token, _)| token.clone());
        for token in in_flight.collect::<Vec<Token>>() {
            let why = "the daemon stopped before the answer came".to_owned();
            self.fold_create(&token, &Outcome::Unknown(why), &FoundSecrets::new(), now);
        }
    }

    fn fold_create(&mut self, token: &Token, outcome: &Outcome, secrets: &FoundSecrets, now: Timestamp) {
        let Some(account) = self.books.accounts.values().find(|it| it.open.contains_key(token)).cloned() else {
            return;
        };
        let (Some(policy), Some(record)) = (self.books.policy(&token.name), self.books.records.get(&token.name)) else {
            return;
        };
        let action = Action::Create { token: token.clone(), valid_to: None };
        let change = apply(record, &account, &action, outcome, &policy, &self.books.by, now);
        self.books.enter(change, secrets);
    }
}

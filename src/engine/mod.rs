//! The engine: one task owns all records and accounts, and goes through five verbs for each key:
//! **observe** ([`observe`](mod@observe)) → **decide** (`core`) → **commit** (`books`, `store`) → **act**
//! ([`execute`](mod@execute)) → **record** (`core::apply`, commit). Effects run beside it and come back as events, and so
//! do commands and reloads. A crash anywhere means: begin again with observe.
mod act;
pub mod adopt;
mod agenda;
mod answers;
mod audit;
mod backup;
mod blocks;
mod books;
mod channels;
mod clockwatch;
mod commit;
mod damage;
mod digests;
mod doors;
mod durable;
mod elsewhere;
pub mod event;
pub mod execute;
mod full;
pub mod handle;
mod letters;
mod lines;
mod logins;
pub mod meters;
pub mod observe;
pub mod outbox;
mod permits;
mod post;
pub mod reads;
mod reload;
mod requests;
mod resume;
pub mod selection;
pub mod service;
mod sights;
mod spent;
mod start;
mod steps;
pub mod trial;
mod trouble;
mod turns;
mod twin;
mod unheard;
mod unmanaged;
mod veil;
mod wake;

pub use start::{Begin, EngineTask, StartError, start};

use crate::clock;
use crate::core::apply::apply;
use crate::core::command::leave_account;
use crate::core::decide::{decide, look};
use crate::core::facts::{Action, Blocked};
use crate::core::names::{AccountId, KeyName, NoticeId};
use crate::core::pass::phase_name;
use crate::core::plan::Plan;
use crate::core::record::Phase;
use crate::core::time::Timestamp;
use crate::store::{OutboxCounts, StoreError};
use act::{is_failure, message};
use backup::Backups;
use blocks::Blocks;
use books::Books;
use clockwatch::ClockWatch;
use doors::{Asked, Doors, Kept};
use event::{Acted, Event};
use futures_util::FutureExt;
use handle::{Observing, Request};
use lines::LineId;
use observe::{Observed, Question, observe};
use permits::{Lane, Permits};
use requests::Reply;
use sights::Sights;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turns::Turns;
use twin::Bearer;

/// How many events are folded into one commit.
const EVENTS_AT_ONCE: usize = 256;
/// How many events may wait.
const EVENTS_WAITING: usize = 4096;
/// The engine looks at the clocks at least so often.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How long calls in flight may take to end when the daemon stops.
pub const STOP_WITHIN: Duration = Duration::from_secs(30);
/// How often old history is forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// After a pass in which an action failed, the next begins no sooner than this.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What is being done for a key right now.
struct Work {
    /// Actions whose outcome has not come back.
    acting: usize,
    /// Something failed, so that the next pass waits a moment.
    failed: bool,
    /// There is something to be seen: the next pass comes at once.
    moved: bool,
    /// Something happened meanwhile that the pass under way did not see.
    again: bool,
}

/// The one task.
struct Engine {
    books: Books,
    events: mpsc::Sender<Event>,
    /// Those who only look. They are answered while a commit is on its way to the disk, too.
    glances: mpsc::Receiver<Request>,
    /// How much is done at once.
    permits: Permits,
    /// The actions in flight.
    calls: TaskTracker,
    clock: ClockWatch,
    working: BTreeMap<KeyName, Work>,
    due: BTreeSet<(Timestamp, KeyName)>,
    wake_at: BTreeMap<KeyName, Timestamp>,
    blocked: Blocks,
    sights: Sights,
    doors: Doors,
    turns: Turns,
    /// Of the doors, what is entered in the books.
    refused: BTreeMap<AccountId, Kept>,
    /// What units read of late.
    reads: reads::Reads,
    backups: Backups,
    /// The messages that are being sent: to whom, and under which id.
    sending: BTreeSet<(LineId, NoticeId)>,
    /// How many messages have an answer that becomes durable with the batch.
    noted: usize,
    /// What is done once the batch is durable.
    after_commit: Vec<Box<dyn FnOnce() + Send>>,
    /// A commit is on its way to the disk; the state can't be read until it is there.
    writing: bool,
    /// How many notices wait, and were given up, when that was counted last.
    outbox: OutboxCounts,
    /// Answers that wait for the batch: given when it is durable, or with why it is not.
    replies: Vec<Reply>,
    /// Why the disk takes nothing, while it does not.
    unwritable: Option<String>,
    /// What is wrong with the daemon itself, by its cause.
    troubles: BTreeMap<String, String>,
    /// Cancelled when the daemon stops: what has not begun then does not begin.
    stop: CancellationToken,
    /// When old history is to be forgotten next.
    prune_at: Timestamp,
    /// When every key was last looked at.
    swept_at: Timestamp,
    started_at: Timestamp,
    config_loaded_at: Timestamp,
    config_rejected: Option<String>,
    /// The config in use is the last good one, since that on disk was broken at the start: no rotation begins.
    config_stale: bool,
    /// Why nothing is done but looking, until somebody says that this is the daemon to run.
    observing: Option<Observing>,
    /// The name of the installation, as long as this daemon bears it.
    name: Option<Bearer>,
    /// When the daemon last looked at itself.
    looked_at: Timestamp,
    stopping: bool,
    watchdog: crate::systemd::Watchdog,
}

impl Engine {
    /// Runs until it is told to stop, and everything in flight has ended.
    async fn run(mut self, mut inbox: mpsc::Receiver<Event>, stop: CancellationToken) -> Result<(), StoreError> {
        let ended = self.work(&mut inbox, &stop).await;
        if ended.is_err() {
            // The state can't be written any more. What answers a create in flight still reaches the escrow, and the
            // next start folds it in.
            inbox.close();
            self.calls.close();
            let _ = tokio::time::timeout(STOP_WITHIN, self.calls.wait()).await;
        }
        ended
    }

    async fn work(&mut self, inbox: &mut mpsc::Receiver<Event>, stop: &CancellationToken) -> Result<(), StoreError> {
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        let now = clock::now();
        self.clock.look(now);
        self.clock_was_set(now);
        self.commit().await?;
        while !stop.is_cancelled() {
            let sleep = self.until_due();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = inbox.recv_many(&mut events, EVENTS_AT_ONCE) => {}
                Some(request) = self.glances.recv() => events.push(Event::Request(request)),
                () = tokio::time::sleep(sleep) => events.push(Event::Due),
            }
            self.fold(&mut events).await?;
            self.watchdog.turned();
        }
        self.stopping = true;
        let mut end = pin!(tokio::time::sleep(STOP_WITHIN));
        // A notice in flight is waited for too: else its receipt is lost, and the next start sends it again.
        while self.working.values().any(|it| it.acting > 0) || !self.sending.is_empty() {
            tokio::select! {
                _ = inbox.recv_many(&mut events, EVENTS_AT_ONCE) => {}
                Some(request) = self.glances.recv() => events.push(Event::Request(request)),
                () = &mut end => break,
            }
            self.fold(&mut events).await?;
        }
        self.commit().await
    }

    /// Folds events into the books, commits once, and only then lets effects begin.
    async fn fold(&mut self, events: &mut Vec<Event>) -> Result<(), StoreError> {
        self.look_at_clock(clock::now());
        while let Ok(request) = self.glances.try_recv() {
            self.answer(request);
        }
        for event in events.drain(..) {
            self.handle(event);
        }
        self.begin_due();
        self.look_at_itself(self.clock.now());
        self.begin_backup(self.clock.now());
        self.write_digests(self.clock.now());
        self.tell_others(self.clock.now());
        self.begin_sending();
        self.commit().await
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Request(request) => match self.unwritable.clone() {
                Some(why) => self.answer_unwritable(request, &why),
                None => self.answer(request),
            },
            Event::Sweep => self.sweep(),
            Event::Due => {}
            Event::Reserve(scarce) => self.note_reserve(scarce, self.clock.now()),
            Event::Login(account, login) => self.note_login(&account, login.as_ref(), self.clock.now()),
            Event::Observed(observed) => self.decide(*observed),
            Event::LookBroke(name) => self.look_broke(&name),
            Event::Acted(acted) => self.record(*acted),
            Event::Sent(answered) => self.note_answer(*answered),
            Event::Tried(tried) => self.note_tried(*tried),
            Event::Backup(news) => self.note_backup(news, self.clock.now()),
        }
    }

    /// Looks at every key: of the config, on its way out of service, or left alone.
    fn sweep(&mut self) {
        self.swept_at = self.clock.now();
        self.note_sweep();
        self.permits.retain_keys(|it| self.books.records.contains_key(it));
        self.turns.retain_keys(|it| self.books.settings.keys.contains_key(it));
        self.books.agenda.is_stale();
        self.prune();
        self.look_at_reserve();
        self.look_at_logins();
        self.backups.knock(self.swept_at);
        let mut names: Vec<KeyName> = self.books.settings.keys.keys().cloned().collect();
        names.extend(self.books.ending().cloned());
        names.extend(self.books.unmanaged());
        for name in names {
            self.begin_pass(&name);
        }
    }

    /// Forgets history that is older than it is to be kept, once a day.
    fn prune(&mut self) {
        let now = self.clock.now();
        // A clock that is years ahead must not make the history old.
        if now < self.prune_at || self.clock.is_suspect() {
            return;
        }
        self.prune_at = now.plus(PRUNE_EVERY);
        let (store, before) = (Arc::clone(&self.books.store), now.minus(self.books.settings.daemon.history_for));
        tokio::task::spawn_blocking(move || match store.prune(before) {
            Ok(rows) => tracing::debug!(rows, "forgot old history"),
            Err(error) => tracing::error!(%error, "old history can't be forgotten"),
        });
    }

    fn until_due(&self) -> Duration {
        let due = self.due.first().map_or(Timestamp::NEVER, |it| it.0);
        let due = due.min(self.doors.next_at());
        let next = due.min(self.backups.due_at()).min(self.digests_due_at()).min(self.tells_others_at());
        let next = if self.unwritable.is_none() { next.min(self.books.lines.next()) } else { next };
        let longest = if self.unwritable.is_some() { full::RETRY_DISK } else { LONGEST_SLEEP };
        next.since(clock::now()).min(self.watchdog.longest_sleep(longest)).min(self.clock.until_sweep())
    }

    fn begin_due(&mut self) {
        let now = self.clock.now();
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, name)) = self.due.pop_first() {
                self.wake_at.remove(&name);
                self.begin_pass(&name);
            }
        }
        for name in self.doors.due(now) {
            self.begin_pass(&name);
        }
    }

    /// Observe: in a task of its own, at most so many at once.
    fn begin_pass(&mut self, name: &KeyName) {
        if self.stopping {
            return;
        }
        if let Some(work) = self.working.get_mut(name) {
            work.again = true;
            return;
        }
        let Some(question) = self.question(name) else { return self.watch_unmanaged(name) };
        self.working.insert(name.clone(), Work { acting: 0, failed: false, moved: false, again: false });
        self.due_never(name);
        let delivering = matches!(question.record.phase, Phase::Deliver { .. } | Phase::Cutover { .. });
        let account = question.account.id.clone();
        let lane = if delivering { Lane::OnTheWay(account) } else { Lane::Account(account) };
        let (events, turn) = (self.events.clone(), self.permits.of(lane));
        let broken = name.clone();
        self.after_commit.push(Box::new(move || {
            tokio::spawn(async move {
                let _permit = turn.acquire_owned().await;
                let looked = AssertUnwindSafe(observe(question)).catch_unwind().await;
                let event = looked.map_or(Event::LookBroke(broken), |it| Event::Observed(Box::new(it)));
                let _ = events.send(event).await;
            });
        }));
    }

    /// The panic itself is in the log. The key is looked at again after a while.
    fn look_broke(&mut self, name: &KeyName) {
        tracing::error!(key = %name, "a look at the world broke down; please report this");
        self.working.remove(name);
        self.leave_door(name, self.clock.now());
        self.due_at(name, self.clock.now().plus(LONGEST_SLEEP));
    }

    fn question(&mut self, name: &KeyName) -> Option<Question> {
        self.books.reckon(self.clock.now());
        let policy = self.books.policy(name)?;
        let record = self.books.records.get(name)?.clone();
        let account = self.books.account(&policy.account);
        let now = self.clock.now();
        let look = look(&self.sights.asked_for(&record), &account, &policy, now);
        let withheld = self.withheld(&record, &account.id, &look, now);
        let revokes_withheld = self.revokes_withheld(&record, &account, now);
        Some(Question {
            asked_at: now,
            hold: self.hold(),
            withheld,
            revokes_withheld,
            service: self.books.service(name, &policy.account),
            parcels: self.books.parcels(name),
            targets: self.books.key(name).map(|it| it.targets).unwrap_or_default(),
            clock_suspect: self.clock.is_suspect(),
            generation: self.books.generation,
            store: Arc::clone(&self.books.store),
            record,
            account,
            policy,
            look,
        })
    }

    /// Decide: on the books as they are now, if they are still those that were asked about.
    fn decide(&mut self, mut observed: Observed) {
        let name = observed.name.clone();
        let now = self.clock.now();
        let same_config = self.books.generation == observed.generation;
        let fresh = same_config && self.books.records.get(&name).is_some_and(|it| it.revision == observed.revision);
        self.note_trouble(&observed.account, Asked::Read, &observed.trouble, observed.used.as_ref(), now);
        self.compare_clocks(&observed.account);
        let (Some(policy), true) = (self.books.policy(&name), fresh && !self.stopping) else {
            return self.end_pass(&name, true);
        };
        let Some(before) = self.books.records.get(&name).cloned() else { return };
        let account = self.books.account(&policy.account);
        // The clock may have jumped since the look began, and `now` is read from it.
        observed.facts.clock_suspect |= self.clock.is_suspect();
        self.sights.seen(&before, &observed.facts);
        observed.facts.in_use = self.books.old_in_use_elsewhere(&before, now);
        let plan = decide(&before, &account, &observed.facts, &policy, &self.books.by, now);
        let Plan { change, actions, wake_at, blocked } = plan;
        let rolled_back = change.rolled_back;
        let moved = phase_name(&before.phase) != phase_name(&change.record.phase);
        self.books.enter(change, &observed.secrets);
        if actions.is_empty() {
            self.books.let_go(&name, now);
        }
        self.leave_accounts(&name, &policy.account, now);
        self.note_turn(&policy.account, &name, blocked == Some(Blocked::Account));
        self.call_next(&policy.account, now);
        self.blocked.note(&name, blocked);
        self.due_at(&name, wake_at);
        if rolled_back {
            self.begin_new_epoch(now);
            return self.end_pass(&name, true);
        }
        let moved = moved || !actions.is_empty();
        let begun = actions.into_iter().filter(|it| self.act(&name, &policy.account, it.clone())).count();
        if let Some(work) = self.working.get_mut(&name) {
            work.acting = begun;
            work.moved = moved;
        }
        if self.working.get(&name).is_some_and(|it| it.acting == 0) {
            self.end_pass(&name, false);
        }
    }

    /// What was lost at an account that the key has left is reported, so that nobody looks for it in vain.
    fn leave_accounts(&mut self, name: &KeyName, working: &AccountId, now: Timestamp) {
        let left = self.books.accounts.values().filter(|it| it.id != *working);
        let left: Vec<_> = left.filter(|it| it.open.keys().any(|it| it.name == *name)).cloned().collect();
        for account in left {
            let (Some(record), Some(policy)) = (self.books.records.get(name), self.books.policy(name)) else { return };
            if let Some(change) = leave_account(record, &account, &policy, now) {
                self.books.enter(change, &BTreeMap::new());
            }
        }
    }

    /// Record: folds an outcome in. A created secret becomes durable in the same commit, whatever happened meanwhile.
    fn record(&mut self, acted: Acted) {
        let now = self.clock.now();
        let Acted { name, account: account_id, action, outcome, secrets, trouble, login, used } = acted;
        let asked = if matches!(action, Action::Create { .. }) { Asked::Create } else { Asked::Revoke };
        self.note_trouble(&account_id, asked, &trouble, used.as_ref(), now);
        self.compare_clocks(&account_id);
        let failed = is_failure(&outcome);
        if failed {
            tracing::warn!(key = %name, %action, why = message(&outcome), "an action failed");
        }
        if let (Some(policy), Some(record)) = (self.books.policy(&name), self.books.records.get(&name).cloned()) {
            let mut account = self.books.account(&account_id);
            account.known.extend(login);
            let change = apply(&record, &account, &action, &outcome, &policy, &self.books.by, now);
            self.books.enter(change, &secrets);
        }
        self.call_next(&account_id, now);
        let Some(work) = self.working.get_mut(&name) else { return };
        work.failed |= failed;
        work.acting -= 1;
        if work.acting == 0 {
            self.end_pass(&name, false);
        }
    }

    /// The pass is over. The next one comes at once where something moved, and no later than it was asked for.
    fn end_pass(&mut self, name: &KeyName, again: bool) {
        let Some(work) = self.working.remove(name) else { return };
        self.leave_door(name, self.clock.now());
        if work.again || again || (work.moved && !work.failed) {
            self.begin_pass(name);
        } else if work.moved {
            self.due_at(name, self.clock.now().plus(AFTER_FAILURE));
        }
    }

    /// Enters when a key is to be looked at again, unless that is sooner already.
    fn due_at(&mut self, name: &KeyName, at: Timestamp) {
        let at = self.wake_at.get(name).map_or(at, |it| at.min(*it));
        self.due_never(name);
        if at < Timestamp::NEVER {
            self.due.insert((at, name.clone()));
            self.wake_at.insert(name.clone(), at);
        }
        self.books.due(name, at);
    }

    fn due_never(&mut self, name: &KeyName) {
        if let Some(at) = self.wake_at.remove(name) {
            self.due.remove(&(at, name.clone()));
        }
    }

    /// Why nothing begins for any key now, if so.
    fn hold(&self) -> Option<Blocked> {
        let stale = self.config_stale.then_some(Blocked::Config);
        self.observing.map(|_| Blocked::Observing).or(stale)
    }
}

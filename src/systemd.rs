//! The word to systemd: that the daemon serves, how it stands, that it reads its config anew, that it ends, and that its
//! engine still turns. Where nobody listens (no `$NOTIFY_SOCKET`) nobody is told, and nothing fails.
use crate::clock::Boot;
use sd_notify::NotifyState;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// The watchdog hears of a turn this many times within its patience, so that one word that comes late does no harm.
const WORDS_IN_PATIENCE: u32 = 4;

/// Tells that the daemon serves.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells how the daemon stands: the line of `systemctl status`.
pub fn status(line: &str) {
    notify(&[NotifyState::Status(line)]);
}

/// Tells that the start waits for something, and goes on doing so for at least this long.
pub fn waiting(status: &str, at_least: Duration) {
    notify(&[NotifyState::Status(status), extend(at_least)]);
}

/// Tells that the daemon ends, and how long that may take: whatever `TimeoutStopSec=` says, a cutover is not cut short.
pub fn stopping(at_most: Duration) {
    notify(&[NotifyState::Stopping, NotifyState::Status("ending the calls in flight"), extend(at_most)]);
}

/// The config is being read anew, until this is dropped.
#[derive(Debug)]
pub struct Reloading(());

/// Tells that the config is being read anew; and once the answer is known, that the daemon serves again, with whichever
/// config.
pub fn reloading() -> Reloading {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd could not be told"),
    }
    Reloading(())
}

impl Drop for Reloading {
    fn drop(&mut self) {
        notify(&[NotifyState::Ready]);
    }
}

/// What systemd's watchdog hears of the engine. It is fed from within the engine's loop, by nothing but a turn of it: an engine
/// that hangs, in a write or in itself, is killed and started anew, however well the rest of the process is.
#[derive(Debug)]
pub struct Watchdog {
    every: Option<Duration>,
    fed_at: Boot,
    /// Brings the word to systemd: while systemd does not listen, it waits there, and no engine with it.
    bearer: SyncSender<()>,
}

impl Watchdog {
    /// As this process was started: without `WatchdogSec=` nobody waits for it.
    pub fn of_process() -> Self {
        let every = sd_notify::watchdog_enabled().map(|it| it / WORDS_IN_PATIENCE);
        let (bearer, words) = sync_channel(1);
        if every.is_some() {
            thread::spawn(move || words.iter().for_each(|()| notify(&[NotifyState::Watchdog])));
        }
        Self { every, fed_at: Boot::now(), bearer }
    }

    /// The engine has gone through its loop.
    pub fn turned(&mut self) {
        if self.every.is_some_and(|it| self.fed_at.elapsed() >= it) {
            self.fed_at = Boot::now();
            // Where a word waits already, this one says nothing more.
            let _ = self.bearer.try_send(());
        }
    }

    /// How long an engine that has nothing to do may sleep.
    pub fn longest_sleep(&self, otherwise: Duration) -> Duration {
        self.every.map_or(otherwise, |it| it.min(otherwise))
    }
}

fn extend(by: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(by.as_micros()).unwrap_or(u32::MAX))
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

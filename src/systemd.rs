//! The word to systemd: that the daemon serves, how it stands, that it reads its config anew, that it ends, and that its
//! engine still turns. Where nobody listens (no `$NOTIFY_SOCKET`) nobody is told, and nothing fails.
use crate::clock::Boot;
use sd_notify::NotifyState;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// The watchdog hears of a turn this many times within its patience, so that one word that comes late does no harm.
const WORDS_IN_PATIENCE: u32 = 4;
/// So many words wait for a systemd that does not listen.
const WORDS_WAITING: usize = 16;
/// For so long it is waited until a word is told.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

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
}

impl Watchdog {
    /// As this process was started: without `WatchdogSec=` nobody waits for it.
    pub fn of_process() -> Self {
        Self { every: sd_notify::watchdog_enabled().map(|it| it / WORDS_IN_PATIENCE), fed_at: Boot::now() }
    }

    /// The engine has gone through its loop.
    pub fn turned(&mut self) {
        if self.every.is_some_and(|it| self.fed_at.elapsed() >= it) {
            self.fed_at = Boot::now();
            // Nobody waits until it is told: an engine least of all.
            drop(hand_over(&[NotifyState::Watchdog]));
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

/// Tells systemd, and waits a moment until it is told: what comes after it, such as the answer to `rekeyd reload`, then comes
/// after it there too.
fn notify(states: &[NotifyState<'_>]) {
    if let Some(told) = hand_over(states) {
        let _ = told.recv_timeout(TOLD_WITHIN);
    }
}

/// A word on its way, and where it is said that it was told.
struct Word {
    text: String,
    told: SyncSender<()>,
}

/// Gives a word to the one thread that speaks with systemd: the socket of a systemd that does not listen is full after a few
/// words, and then that thread waits there and nobody else. What doesn't fit in the queue either is not told.
fn hand_over(states: &[NotifyState<'_>]) -> Option<Receiver<()>> {
    static BEARER: OnceLock<SyncSender<Word>> = OnceLock::new();
    std::env::var_os("NOTIFY_SOCKET")?;
    let bearer = BEARER.get_or_init(|| {
        let (bearer, words) = sync_channel(WORDS_WAITING);
        thread::spawn(move || words.iter().for_each(tell));
        bearer
    });
    let text = states.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let (told, hears) = sync_channel(1);
    bearer.try_send(Word { text, told }).ok()?;
    Some(hears)
}

fn tell(word: Word) {
    if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&word.text)]) {
        tracing::warn!(%error, "systemd could not be told");
    }
    // Whoever waits may have gone on.
    let _ = word.told.send(());
}

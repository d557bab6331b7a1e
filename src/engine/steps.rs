//! The wall clock is set, by a second or by years: what waits for a moment of the old time must not wait for it. Whether the new
//! time can be believed is another question, see [`super::clockwatch`].
use super::Engine;
use super::PRUNE_EVERY;
use crate::core::time::Timestamp;
use std::time::Duration;

/// A tick of the sweep is awaited by so much longer than it should take, before the engine sweeps by itself.
const TICK_LATE: Duration = Duration::from_secs(10);

impl Engine {
    /// Compares the clocks. Where the wall clock was set, the scheduler may wait for its next tick for as long as it was put back.
    pub(super) fn look_at_clock(&mut self, now: Timestamp) {
        if self.clock.look(now) {
            self.clock_was_set(now);
        } else if self.clock.until_sweep().is_zero() {
            self.sweep();
        }
    }

    /// Whatever was to be done at a moment is reckoned anew, at a start too: every key is looked at, and no login that was refused,
    /// no backup, digest or clearing waits for longer than it would have waited from now on. Nobody knows how much of the wait of a
    /// notice was over, so that it goes at once: to be told a moment too soon is better than hours too late.
    pub(super) fn clock_was_set(&mut self, now: Timestamp) {
        self.prune_at = self.prune_at.min(now.plus(PRUNE_EVERY));
        self.backups.look_again();
        self.doors.clock_was_set(now);
        self.reckon_digests();
        if self.clock.is_suspect() {
            self.books.lines.at_once(now);
        }
        self.books.lines.unheard.awake(now);
        self.sweep();
    }

    /// A sweep begins: within how long the next one is to come. As long as the clock is doubted, one key of each account is asked
    /// about, for whoever answers says what time it is.
    pub(super) fn note_sweep(&mut self) {
        if self.clock.is_suspect() {
            self.ask_the_time();
        }
        let schedule = &self.books.settings.daemon.sweep;
        let next = self.swept_at.datetime().and_then(|it| schedule.find_next_occurrence(&it, false).ok());
        // A schedule that fires no more is waited for without an end.
        let within =
            next.map_or(Duration::MAX, |it| Timestamp::from(it).since(self.swept_at).saturating_add(TICK_LATE));
        self.clock.note_sweep(within);
    }
}

//! Whether the wall clock can be believed: it is compared with the clock that never jumps, with the last commit, and with
//! the providers' own `Date`.
use crate::clock::{Boot, WRITTEN};
use crate::core::names::AccountId;
use crate::core::time::Timestamp;
use crate::http::Dated;
use std::collections::BTreeMap;
use std::time::Duration;

/// The wall clock may differ by so much from the clock that never jumps.
const DRIFT_MOST: Duration = Duration::from_secs(60);
/// The wall clock may differ by so much from a provider's.
const PROVIDER_MOST: Duration = Duration::from_secs(5 * 60);

/// Watches the wall clock.
pub(super) struct ClockWatch {
    wall: Timestamp,
    boot: Boot,
    suspect: bool,
    /// What each account's provider said last.
    heard: BTreeMap<AccountId, Dated>,
    /// When every key was last looked at, and within how long that is to happen again.
    swept: (Boot, Duration),
}

impl ClockWatch {
    /// Begins to watch. A wall clock that lies before the last commit, or before this program was written, is suspect from
    /// the start: a machine whose clock has no battery starts years back, until somebody tells it the time.
    pub(super) fn new(now: Timestamp, last_commit: Option<Timestamp>) -> Self {
        let since = last_commit.unwrap_or(WRITTEN).max(WRITTEN);
        let suspect = now.plus(DRIFT_MOST) < since;
        if suspect {
            tracing::error!(%now, %since, "the clock is behind the last commit; nothing is created or revoked");
        }
        Self { wall: now, boot: Boot::now(), suspect, heard: BTreeMap::new(), swept: (Boot::now(), Duration::MAX) }
    }

    /// Compares the wall clock with the other one: whether it was set.
    pub(super) fn look(&mut self, now: Timestamp) -> bool {
        let expected = self.wall.plus(self.boot.elapsed());
        let off = now.since(expected).max(expected.since(now));
        let jumped = off > DRIFT_MOST;
        if jumped {
            tracing::error!(%now, off = ?off, "the clock has jumped; nothing is created or revoked until it agrees");
            self.suspect = true;
        }
        self.wall = now;
        self.boot = Boot::now();
        jumped
    }

    /// Every key was looked at just now, and is to be again within so long.
    pub(super) fn note_sweep(&mut self, within: Duration) {
        self.swept = (Boot::now(), within);
    }

    /// How long until every key must have been looked at again.
    pub(super) fn until_sweep(&self) -> Duration {
        self.swept.1.saturating_sub(self.swept.0.elapsed())
    }

    /// A provider has said what time it is. What it said before the last time we asked proves nothing of now.
    pub(super) fn compare(&mut self, account: &AccountId, dated: Dated) {
        if self.heard.insert(account.clone(), dated) == Some(dated) {
            return;
        }
        let off = dated.theirs.since(dated.ours).max(dated.ours.since(dated.theirs));
        let agrees = off <= PROVIDER_MOST;
        if self.suspect && agrees {
            tracing::info!("the clock agrees with a provider's again");
        }
        if !self.suspect && !agrees {
            tracing::error!(?off, "the clock differs from a provider's; nothing is created or revoked");
        }
        self.suspect = !agrees;
    }

    /// Somebody says that the wall clock is right. What providers said before counts no more.
    pub(super) fn trust(&mut self, now: Timestamp) {
        (self.wall, self.boot, self.suspect) = (now, Boot::now(), false);
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.suspect
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn watch(last_commit: Option<Timestamp>, now: Timestamp) -> ClockWatch {
        ClockWatch::new(now, last_commit)
    }

    #[test]
    fn a_clock_before_the_last_commit_or_before_the_program_was_written_is_suspect() {
        let commit = WRITTEN.plus(100 * DAY);
        assert!(!watch(Some(commit), commit.plus(DAY)).is_suspect());
        assert!(!watch(Some(commit), commit.minus(DRIFT_MOST)).is_suspect());
        assert!(watch(Some(commit), commit.minus(DRIFT_MOST + Duration::from_millis(1))).is_suspect());
        assert!(watch(Some(commit), Timestamp(0)).is_suspect());
        assert!(!watch(None, WRITTEN).is_suspect());
        assert!(watch(None, WRITTEN.minus(DAY)).is_suspect());
        assert!(
            watch(Some(WRITTEN.minus(DAY)), WRITTEN.minus(DAY)).is_suspect(),
            "what such a clock committed is no proof"
        );
    }

    #[test]
    fn a_step_of_more_than_a_minute_is_suspect_and_one_of_seconds_is_not() {
        let now = WRITTEN.plus(DAY);
        for (step, suspect) in
            [(30_i64, false), (-30, false), (90, true), (-90, true), (3600, true), (-31_536_000, true)]
        {
            let mut watch = watch(None, now);
            let jumped = watch.look(Timestamp(now.0 + step * 1000));
            assert_eq!((jumped, watch.is_suspect()), (suspect, suspect), "a step of {step} s");
        }
    }

    #[test]
    fn a_provider_that_agrees_releases_it_and_so_does_an_operator() {
        let now = WRITTEN.plus(DAY);
        let account = AccountId::from("sms");
        let mut it = watch(None, now);
        it.look(now.plus(DAY));
        it.compare(&account, Dated { theirs: now.plus(DAY), ours: now.plus(DAY).plus(PROVIDER_MOST) });
        assert!(!it.is_suspect());
        it.compare(&account, Dated { theirs: now, ours: now.plus(2 * PROVIDER_MOST) });
        assert!(it.is_suspect());
        it.trust(now);
        assert!(!it.is_suspect());
        it.look(now);
        it.compare(&account, Dated { theirs: now, ours: now.plus(2 * PROVIDER_MOST) });
        assert!(!it.is_suspect(), "what a provider said before counts no more");
    }
}

//! Whether the wall clock can be believed: it is compared with the clock that never jumps, with the last commit, and with
//! the providers' own `Date`.
use crate::clock::Boot;
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
}

impl ClockWatch {
    /// Begins to watch. A wall clock that lies before the last commit is suspect from the start.
    pub(super) fn new(now: Timestamp, last_commit: Option<Timestamp>) -> Self {
        let suspect = last_commit.is_some_and(|it| now.plus(DRIFT_MOST) < it);
        if suspect {
            tracing::error!(%now, ?last_commit, "the clock is behind the last commit; nothing is created or revoked");
        }
        Self { wall: now, boot: Boot::now(), suspect, heard: BTreeMap::new() }
    }

    /// Compares the wall clock with the other one.
    pub(super) fn look(&mut self, now: Timestamp) {
        let expected = self.wall.plus(self.boot.elapsed());
        let off = now.since(expected).max(expected.since(now));
        if off > DRIFT_MOST {
            tracing::error!(%now, off = ?off, "the clock has jumped; nothing is created or revoked until it agrees");
            self.suspect = true;
        }
        self.wall = now;
        self.boot = Boot::now();
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
        *self = Self { wall: now, boot: Boot::now(), suspect: false, heard: std::mem::take(&mut self.heard) };
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.suspect
    }
}

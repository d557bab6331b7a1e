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
/// A provider that agreed speaks for the wall clock for so long, against others.
const VOUCHED: Duration = Duration::from_secs(24 * 60 * 60);

/// Watches the wall clock.
pub(super) struct ClockWatch {
    wall: Timestamp,
    boot: Boot,
    suspect: bool,
    /// When it was seen last that the wall clock was set.
    set_at: Boot,
    /// What each account's provider said last.
    heard: BTreeMap<AccountId, Dated>,
    /// When each account's provider agreed last, since the clock was set.
    agreed: BTreeMap<AccountId, Boot>,
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
        let boot = Boot::now();
        let (set_at, swept) = (boot, (boot, Duration::MAX));
        Self { wall: now, boot, suspect, set_at, heard: BTreeMap::new(), agreed: BTreeMap::new(), swept }
    }

    /// Compares the wall clock with the other one: whether it was set.
    pub(super) fn look(&mut self, now: Timestamp) -> bool {
        let expected = self.wall.plus(self.boot.elapsed());
        let off = now.since(expected).max(expected.since(now));
        let jumped = off > DRIFT_MOST;
        if jumped {
            tracing::error!(%now, off = ?off, "the clock has jumped; nothing is created or revoked until it agrees");
            self.suspect = true;
            self.agreed.clear();
            self.set_at = Boot::now();
        }
        self.wall = now;
        self.boot = Boot::now();
        jumped
    }

    /// What the wall clock showed when it was compared last. What is decided by another moment was not compared: the clock may
    /// have been set in between.
    pub(super) fn now(&self) -> Timestamp {
        self.wall
    }

    /// Every key was looked at just now, and is to be again within so long.
    pub(super) fn note_sweep(&mut self, within: Duration) {
        self.swept = (Boot::now(), within);
    }

    /// How long until every key must have been looked at again.
    pub(super) fn until_sweep(&self) -> Duration {
        self.swept.1.saturating_sub(self.swept.0.elapsed())
    }

    /// A provider has said what time it is. What it said before the last time we asked, or before the clock was set, proves
    /// nothing of now. Where providers are of two minds, the one is wrong that differs from us as well.
    pub(super) fn compare(&mut self, account: &AccountId, dated: Dated) {
        if dated.read_at < self.set_at {
            return;
        }
        let before = self.heard.insert(account.clone(), dated);
        if before == Some(dated) {
            return;
        }
        let off = difference(dated);
        if off <= PROVIDER_MOST {
            if self.suspect {
                tracing::info!("the clock agrees with a provider's again");
            }
            self.agreed.insert(account.clone(), Boot::now());
            self.suspect = false;
            return;
        }
        self.agreed.remove(account);
        if self.agreed.values().any(|it| it.elapsed() <= VOUCHED) {
            if before.is_none_or(|it| difference(it) <= PROVIDER_MOST) {
                tracing::warn!(%account, ?off, "a provider's clock differs from ours, with which another's agrees");
            }
        } else if !self.suspect {
            tracing::error!(?off, "the clock differs from a provider's; nothing is created or revoked");
            self.suspect = true;
        }
    }

    /// Somebody says that the wall clock is right. What providers said before counts no more.
    pub(super) fn trust(&mut self, now: Timestamp) {
        (self.wall, self.boot, self.suspect) = (now, Boot::now(), false);
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.suspect
    }
}

fn difference(it: Dated) -> Duration {
    it.theirs.since(it.ours).max(it.ours.since(it.theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn dated(theirs: Timestamp, ours: Timestamp) -> Dated {
        Dated { theirs, ours, read_at: Boot::now() }
    }

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
        it.compare(&account, dated(now.plus(DAY), now.plus(DAY).plus(PROVIDER_MOST)));
        assert!(!it.is_suspect());
        let said = dated(now, now.plus(2 * PROVIDER_MOST));
        it.compare(&account, said);
        assert!(it.is_suspect());
        it.trust(now);
        assert!(!it.is_suspect());
        it.look(now);
        it.compare(&account, said);
        assert!(!it.is_suspect(), "what a provider said before counts no more");
    }

    #[test]
    fn what_a_provider_said_before_the_clock_was_set_does_not_make_it_believed() {
        let now = WRITTEN.plus(DAY);
        let mut it = watch(None, now);
        let before = dated(now, now);
        std::thread::sleep(Duration::from_millis(1));
        it.look(now.plus(365 * DAY));
        it.compare(&"sms".into(), before);
        assert!(it.is_suspect(), "that answer was on its way when the clock was set");
        it.compare(&"sms".into(), dated(now.plus(365 * DAY), now.plus(365 * DAY)));
        assert!(!it.is_suspect());
    }

    #[test]
    fn of_two_providers_that_differ_the_one_is_wrong_that_differs_from_us_as_well() {
        let now = WRITTEN.plus(DAY);
        let (right, wrong) = (AccountId::from("sms"), AccountId::from("voice"));
        let hour_off = |ours: Timestamp| dated(ours.plus(DAY / 24), ours);
        let agrees = |ours: Timestamp| dated(ours, ours);
        let mut it = watch(None, now);
        it.compare(&wrong, hour_off(now));
        assert!(it.is_suspect(), "nobody else has said anything");
        it.compare(&right, agrees(now));
        for second in 1..9_u64 {
            it.compare(&wrong, hour_off(now.plus(Duration::from_secs(second))));
            assert!(!it.is_suspect(), "somebody has agreed");
        }
        it.look(now.plus(DAY));
        assert!(it.is_suspect());
        it.compare(&wrong, hour_off(now.plus(DAY)));
        assert!(it.is_suspect(), "what was said before the clock was set counts no more");
        it.compare(&right, hour_off(now.plus(DAY)));
        assert!(it.is_suspect(), "and now all differ");
    }
}

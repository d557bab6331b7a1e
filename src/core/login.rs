//! A login that its provider refuses. Some services lock out an account whose login is tried too often: so it is tried again once
//! an hour and no sooner, whatever is restarted or reloaded meanwhile, unless it is another login now, or a human wants it tried.
use super::names::Fingerprint;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The wait before a login that was refused is tried again.
pub const LOGIN_AGAIN: Duration = Duration::from_secs(60 * 60);

/// A login that was refused, and when it may be tried again. Durable.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedLogin {
    /// Since when it is refused.
    pub since: Timestamp,
    /// When it was refused last.
    pub last_at: Timestamp,
    /// When it may be tried again.
    pub again_at: Timestamp,
    /// Refusals in a row.
    pub tries: u32,
    /// What tells the login that was refused from others, once that is known. It is keyed: who reads the state can't guess at it.
    pub login: Option<Fingerprint>,
    /// It is being tried just now.
    #[serde(skip)]
    trying: bool,
}

impl RefusedLogin {
    /// Refused for the first time.
    pub fn first(now: Timestamp) -> Self {
        Self { since: now, last_at: now, again_at: now.plus(LOGIN_AGAIN), tries: 1, login: None, trying: false }
    }

    /// Whether it may be tried.
    pub fn may_be_tried(&self, now: Timestamp) -> bool {
        self.again_at <= now
    }

    /// A try begins. It counts from now on: a daemon that dies in the midst of it does not try again at its next start.
    pub fn begin_try(&mut self, now: Timestamp) {
        self.trying = true;
        self.again_at = now.plus(LOGIN_AGAIN);
    }

    /// A try is over. Where nobody was asked, or nobody said a word, there was none.
    pub fn end_try(&mut self, now: Timestamp) {
        if std::mem::take(&mut self.trying) {
            self.again_at = now;
        }
    }

    /// It was refused again. Calls that were under way together are refused together: that is one refusal.
    pub fn refused(&mut self, now: Timestamp) {
        if self.trying || self.may_be_tried(now) {
            let (since, tries) = (self.since, self.tries.saturating_add(1));
            *self = Self { since, tries, ..Self::first(now) };
        }
    }

    /// A human wants it to be tried.
    pub fn try_now(&mut self, now: Timestamp) {
        if !self.trying {
            self.again_at = self.again_at.min(now);
        }
    }

    /// The login that would be used now. Says whether it is another one than that which was refused, and is tried for that.
    pub fn note_login(&mut self, login: &Fingerprint, now: Timestamp) -> bool {
        let other = self.login.get_or_insert_with(|| login.clone()) != login;
        let waits = !self.trying && !self.may_be_tried(now);
        if other && waits {
            self.again_at = now;
        }
        other && waits
    }

    /// The clock was set, or is that of a daemon that has just started: nobody waits for longer than from now on.
    pub fn clock_was_set(&mut self, now: Timestamp) {
        self.again_at = self.again_at.min(now.plus(LOGIN_AGAIN));
        self.last_at = self.last_at.min(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    fn after(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    /// As the next start reads it.
    fn restarted(it: &RefusedLogin, now: Timestamp) -> RefusedLogin {
        let mut it: RefusedLogin = serde_json::from_str(&serde_json::to_string(it).unwrap()).unwrap();
        it.clock_was_set(now);
        it
    }

    fn stamp(text: &str) -> Fingerprint {
        Fingerprint::of(text.as_bytes())
    }

    #[test]
    fn however_often_the_daemon_is_started_a_refused_login_is_tried_once_an_hour() {
        let mut it = RefusedLogin::first(NOW);
        let mut tries = Vec::new();
        for second in (0..4 * 3600).step_by(7) {
            it = restarted(&it, after(second));
            assert!(!it.note_login(&stamp("wrong"), after(second)));
            if it.may_be_tried(after(second)) {
                tries.push(second);
                it.begin_try(after(second));
                // Every other try ends with the daemon.
                if tries.len() % 2 == 0 {
                    it.refused(after(second));
                }
            }
        }
        assert_eq!(tries.len(), 3, "{tries:?}");
        assert!(tries.windows(2).all(|it| it[1] - it[0] >= 3600), "{tries:?}");
    }

    #[test]
    fn another_login_is_tried_at_once_and_over_a_restart_too() {
        let mut it = RefusedLogin::first(NOW);
        assert!(!it.note_login(&stamp("wrong"), after(1)) && !it.note_login(&stamp("wrong"), after(2)));
        it = restarted(&it, after(3));
        assert!(it.note_login(&stamp("right"), after(3)) && it.may_be_tried(after(3)));
        assert!(!it.note_login(&stamp("right"), after(4)), "that is no news any more");
        it.begin_try(after(5));
        assert!(!it.note_login(&stamp("right"), after(6)), "it is being tried");
        it.refused(after(7));
        assert_eq!((it.tries, it.since, it.login.clone()), (2, NOW, None));
        assert!(!it.note_login(&stamp("right"), after(8)) && !it.may_be_tried(after(8)), "that one is refused too");
    }

    #[test]
    fn a_try_in_which_nobody_was_asked_is_none_and_one_that_a_human_wants_is_made_once() {
        let mut it = RefusedLogin::first(NOW);
        it.try_now(after(1));
        assert!(it.may_be_tried(after(1)));
        it.begin_try(after(1));
        it.try_now(after(2));
        assert!(!it.may_be_tried(after(2)), "one is under way");
        it.end_try(after(3));
        assert!(it.may_be_tried(after(3)) && it.tries == 1);
        it.begin_try(after(4));
        it.refused(after(5));
        it.end_try(after(6));
        assert!(!it.may_be_tried(after(3604)) && it.may_be_tried(after(3605)));
    }

    #[test]
    fn a_clock_that_was_years_ahead_makes_nobody_wait_for_years() {
        let mut it = RefusedLogin::first(after(100_000_000));
        it.clock_was_set(NOW);
        assert!(!it.may_be_tried(after(3599)) && it.may_be_tried(after(3600)));
    }
}

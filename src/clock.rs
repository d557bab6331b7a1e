//! The one place that reads time.
use crate::core::time::Timestamp;
use rustix::time::ClockId;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// No machine runs this program before it was written: a clock that shows an earlier moment has lost the time. A build that is to be
/// reproducible says when that was, in seconds (`SOURCE_DATE_EPOCH`), as packaging/build-deb does.
pub const WRITTEN: Timestamp = match option_env!("SOURCE_DATE_EPOCH") {
    Some(seconds) => written(seconds.as_bytes()),
    None => WRITTEN_AT_THE_LATEST_RELEASE,
};

/// 2026-11-22: to be brought up to date with each release, which a test holds against the changelog.
const WRITTEN_AT_THE_LATEST_RELEASE: Timestamp = Timestamp(1_795_305_600_000);

/// The later of the two; what is no number, or lies beyond the year 2100, says nothing.
const fn written(seconds: &[u8]) -> Timestamp {
    const LATEST: i64 = 4_102_444_800;
    let (mut sum, mut at) = (0_i64, 0);
    while at < seconds.len() {
        let digit = seconds[at].wrapping_sub(b'0') as i64;
        if digit > 9 || sum > LATEST {
            return WRITTEN_AT_THE_LATEST_RELEASE;
        }
        sum = 10 * sum + digit;
        at += 1;
    }
    let later = sum <= LATEST && 1000 * sum > WRITTEN_AT_THE_LATEST_RELEASE.0;
    if later { Timestamp(1000 * sum) } else { WRITTEN_AT_THE_LATEST_RELEASE }
}

/// Reads the wall clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A point on the clock that never jumps, and goes on while the machine sleeps (CLOCK_BOOTTIME).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Boot(Duration);

impl Boot {
    /// Reads the clock that never jumps.
    pub fn now() -> Self {
        Self(read(ClockId::Boottime))
    }

    /// How long ago this was.
    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

/// A point on the clock that never jumps, and stands while the machine sleeps (CLOCK_MONOTONIC): for how long work takes.
#[derive(Clone, Copy, Debug)]
pub struct Awake(Duration);

impl Awake {
    /// Reads the clock that stands while the machine sleeps.
    pub fn now() -> Self {
        Self(read(ClockId::Monotonic))
    }

    /// How long ago this was, without the sleep in between.
    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

fn read(clock: ClockId) -> Duration {
    let at = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(at.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_says_when_it_was_written_is_believed_within_reason() {
        let later = Timestamp(1_893_456_000_000);
        for (said, want) in [
            ("1893456000", later),
            ("0", WRITTEN_AT_THE_LATEST_RELEASE),
            ("", WRITTEN_AT_THE_LATEST_RELEASE),
            ("yesterday", WRITTEN_AT_THE_LATEST_RELEASE),
            ("-1893456000", WRITTEN_AT_THE_LATEST_RELEASE),
            ("1893456000000", WRITTEN_AT_THE_LATEST_RELEASE),
            ("99999999999999999999999999", WRITTEN_AT_THE_LATEST_RELEASE),
        ] {
            assert_eq!(written(said.as_bytes()), want, "{said:?}");
        }
    }
}

//! The one place that reads time.
use crate::core::time::Timestamp;
use rustix::time::ClockId;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 2026-11-22: no machine runs this program before it was written. A clock that shows an earlier moment has lost the time.
pub const WRITTEN: Timestamp = Timestamp(1_795_305_600_000);

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

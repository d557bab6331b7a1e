//! Moments, as the core reckons with them. The core never asks what time it is: `now` is always an argument.
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Milliseconds since the Unix epoch, in UTC.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Later than anything that happens.
    pub const NEVER: Self = Self(i64::MAX);
    /// The first moment that RFC 3339 can write: the year 0 begins.
    pub const FIRST_WRITTEN: Self = Self(-62_167_219_200_000);
    /// The last moment that RFC 3339 can write: the year 9999 ends.
    pub const LAST_WRITTEN: Self = Self(253_402_300_799_999);

    /// This long after; never overflows.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This long before; never overflows.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// How long after `earlier` this is; zero where it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The whole second that it lies in: enough for people.
    pub fn whole_second(self) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(1000)))
    }

    /// Whether RFC 3339 can write it.
    pub fn is_writable(self) -> bool {
        (Self::FIRST_WRITTEN..=Self::LAST_WRITTEN).contains(&self)
    }

    /// The calendar's view of it; `None` beyond the calendar's years.
    pub fn datetime(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_millis(self.0)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(at: DateTime<Utc>) -> Self {
        Self(at.timestamp_millis())
    }
}

/// RFC 3339 in UTC, with milliseconds only where there are any.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.datetime() {
            Some(at) => f.write_str(&at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => f.write_str("never"),
        }
    }
}

fn millis(it: Duration) -> i64 {
    i64::try_from(it.as_millis()).unwrap_or(i64::MAX)
}

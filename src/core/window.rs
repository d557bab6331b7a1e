//! Rotation windows: when a rotation may begin.
use super::time::Timestamp;
use chrono_tz::Tz;
use croner::Cron;
use std::time::Duration;

/// A span of time that opens again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Its name in the config, if it has one.
    pub name: Option<String>,
    /// When it opens.
    pub open: Cron,
    /// How long it stays open: elapsed time, whatever the clocks do meanwhile.
    pub duration: Duration,
    /// The zone of `open`.
    pub timezone: Tz,
}

/// One opening of a window.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opening {
    /// The window's name, if it has one.
    pub name: Option<String>,
    /// From.
    pub opens: Timestamp,
    /// Up to, not including.
    pub closes: Timestamp,
}

//! The JSON of the control socket and of every `--json`. Names and meanings are fixed: people script against them.
//! Fields that say "nothing" are there as null, so that a script never has to tell absent from empty.
mod history;
mod plan;
mod status;
mod what_if;

pub use history::{ChannelRow, CommandRow, DeliveryRow, HistoryReport, NoticeRow, PhaseRow, ReadRow, RotationRow};
pub use plan::{
    FreezeSpan, PlanEntry, PlanFacts, PlanFreeze, PlanPeak, PlanReport, PlanWarning, PlanWindow, WindowStatus,
};
pub use status::{
    AttentionStatus, BackupStatus, BlockedStatus, DaemonState, DaemonStatus, ErrorStatus, HaltedStatus, KeyStatus,
    LastRotation, NextStep, OldVersion, PausedStatus, ProviderState, ProviderStatus, Status, VersionStatus,
};

pub use what_if::{BudgetChange, Late, Move, WhatIf};

pub use crate::standing::{Health, PhaseName};

use crate::core::time::Timestamp;
use chrono::{DateTime, NaiveDate, NaiveTime};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// A moment on the wire: RFC 3339 in UTC. What that can't write is written as the first or the last moment that it can.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Time(pub Timestamp);

/// A text that is no moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a time: write 2026-12-04T22:00:00Z, or 2026-12-04 for midnight in UTC")]
pub struct NoTime;

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.clamp(Timestamp::FIRST_WRITTEN, Timestamp::LAST_WRITTEN).fmt(f)
    }
}

impl FromStr for Time {
    type Err = NoTime;
    fn from_str(text: &str) -> Result<Self, NoTime> {
        let at: Timestamp = match text.parse::<NaiveDate>() {
            Ok(day) => day.and_time(NaiveTime::MIN).and_utc().into(),
            Err(_) => DateTime::parse_from_rfc3339(text).map_err(|_| NoTime)?.to_utc().into(),
        };
        if at.is_writable() { Ok(Self(at)) } else { Err(NoTime) }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

//! Freezes: when nothing may begin.
use super::local::{first_shown, shown};
use super::time::Timestamp;
use chrono::{Datelike, NaiveDate, NaiveTime};
use chrono_tz::Tz;
use std::ops::RangeInclusive;

/// A time in which no create, no planned delivery and no revocation begins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Freeze {
    /// Its name in the config.
    pub name: String,
    /// When.
    pub when: When,
}

/// When a freeze is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum When {
    /// Once.
    Once(Span),
    /// In every year, by whole days.
    Yearly {
        /// The first day with it.
        from: Day,
        /// The first day without it: of the next year, where it is not after `from`.
        to: Day,
        /// The zone of the days.
        timezone: Tz,
    },
}

/// From a moment up to another, which it does not include.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span {
    /// From.
    pub from: Timestamp,
    /// Up to, not including.
    pub to: Timestamp,
}

/// A day of any year. The 29th of February is the 1st of March where there is none.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Day {
    /// The month, from 1.
    pub month: u32,
    /// The day of the month, from 1.
    pub day: u32,
}

/// A freeze of the 29th of February alone comes again after eight years at the latest (1896, 1904).
const LEAP_YEARS: i32 = 8;

impl Freeze {
    /// The span of it that covers a moment.
    pub fn covering(&self, at: Timestamp) -> Option<Span> {
        self.spans(at, -1..=0).find(|it| it.from <= at && at < it.to)
    }

    /// When it begins next, after a moment.
    pub fn begins_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.spans(at, -1..=LEAP_YEARS).map(|it| it.from).find(|it| *it > at)
    }

    /// When it ends next, not before a moment.
    pub(super) fn ends_from(&self, at: Timestamp) -> Option<Timestamp> {
        self.spans(at, -1..=LEAP_YEARS).map(|it| it.to).find(|it| *it >= at)
    }

    /// When it ended last, not after a moment.
    pub(super) fn ended_at(&self, at: Timestamp) -> Option<Timestamp> {
        self.spans(at, -1 - LEAP_YEARS..=0).map(|it| it.to).filter(|it| *it <= at).last()
    }

    /// Its spans that begin in the years around a moment, in their order; empty ones left out.
    fn spans(&self, around: Timestamp, years: RangeInclusive<i32>) -> impl Iterator<Item = Span> {
        let (once, yearly) = match &self.when {
            When::Once(span) => (Some(*span), None),
            When::Yearly { from, to, timezone } => (None, Some((*from, *to, *timezone))),
        };
        let yearly = yearly.and_then(|it| Some((it, shown(it.2, around)?.year())));
        let yearly = yearly.into_iter().flat_map(move |((from, to, zone), year)| {
            years.clone().filter_map(move |n| yearly_span(from, to, zone, year.checked_add(n)?))
        });
        once.into_iter().chain(yearly).filter(|it| it.from < it.to)
    }
}

fn yearly_span(from: Day, to: Day, zone: Tz, year: i32) -> Option<Span> {
    let ends = if to > from { year } else { year.checked_add(1)? };
    Some(Span { from: begin_of(from.of(year)?, zone)?, to: begin_of(to.of(ends)?, zone)? })
}

/// The moment in which a day begins: at midnight or, where the clocks skip that, at the end of the gap.
pub fn begin_of(day: NaiveDate, zone: Tz) -> Option<Timestamp> {
    first_shown(zone, day.and_time(NaiveTime::MIN))
}

impl Day {
    fn of(self, year: i32) -> Option<NaiveDate> {
        let leap = || NaiveDate::from_ymd_opt(year, 3, 1).filter(|_| (self.month, self.day) == (2, 29));
        NaiveDate::from_ymd_opt(year, self.month, self.day).or_else(leap)
    }
}

//! What the clocks of a time zone show, and the moments that they show it.
use super::time::Timestamp;
use chrono::{Duration, MappedLocalTime, NaiveDateTime, TimeZone, Timelike};
use chrono_tz::Tz;

/// No clock was ever put forward by more than this, in minutes: a whole day was left out where a country changed its side of the
/// date line.
const LONGEST_GAP: i64 = 26 * 60;

/// What the clocks show then; `None` beyond the years that can be written. In the calendar's very last hours a zone's time
/// would lie beyond the calendar, which panics.
pub(super) fn shown(zone: Tz, at: Timestamp) -> Option<NaiveDateTime> {
    Some(at.datetime().filter(|_| at.is_writable())?.with_timezone(&zone).naive_local())
}

/// The first moment in which the clocks show this time or, where they skip it, the end of the gap. A time that they show
/// twice counts once: the first time.
pub(super) fn first_shown(zone: Tz, local: NaiveDateTime) -> Option<Timestamp> {
    if let Some(at) = earliest(zone, local) {
        return Some(at);
    }
    let minute = local.with_second(0)?.with_nanosecond(0)?;
    (1..=LONGEST_GAP).find_map(|n| earliest(zone, minute.checked_add_signed(Duration::minutes(n))?))
}

/// By how much the clocks were put back, where they show a time for the second time then.
pub(super) fn put_back(zone: Tz, at: Timestamp) -> Duration {
    match shown(zone, at).map(|it| zone.from_local_datetime(&it)) {
        Some(MappedLocalTime::Ambiguous(a, b)) if Timestamp::from(a.min(b).to_utc()) < at => (b - a).abs(),
        _ => Duration::zero(),
    }
}

fn earliest(zone: Tz, local: NaiveDateTime) -> Option<Timestamp> {
    match zone.from_local_datetime(&local) {
        MappedLocalTime::Single(it) => Some(it.to_utc().into()),
        MappedLocalTime::Ambiguous(a, b) => Some(a.min(b).to_utc().into()),
        MappedLocalTime::None => None,
    }
}

//! Rotation windows: when a rotation may begin.
//!
//! Their times are reckoned by what the clocks of a zone show: an opening that falls into a gap is at the end of the gap, and
//! one that falls into a fold is there once, the first time.
use super::local::{first_shown, put_back, shown};
use super::time::Timestamp;
use chrono::{DateTime, NaiveDateTime, Timelike, Utc};
use chrono_tz::Tz;
use croner::Cron;
use std::sync::Arc;
use std::time::Duration;

/// At most this many openings in a row are seen as one, looking ahead and looking back each: windows without an end have none.
const MERGED: usize = 64;
/// At most this many minutes with openings are passed over where the clocks were put back: more than any day has.
const REPEATED: usize = 26 * 60;
/// The smallest step of a timestamp.
const STEP: Duration = Duration::from_millis(1);

/// A span of time that opens again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Its name in the config, if it has one.
    pub name: Option<String>,
    /// When it opens. Shared: it takes several KiB, and every key of the window has it.
    pub open: Arc<Cron>,
    /// How long it stays open: elapsed time, whatever the clocks do meanwhile.
    pub duration: Duration,
    /// The zone of `open`.
    pub timezone: Tz,
}

/// One opening of a window, or of several that overlap or follow each other without a gap.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opening {
    /// The window's name, if it has one: of several, the one that opened last.
    pub name: Option<String>,
    /// From.
    pub opens: Timestamp,
    /// Up to, not including.
    pub closes: Timestamp,
}

/// Whether one of them is open then.
pub fn is_open(windows: &[Window], at: Timestamp) -> bool {
    windows.iter().any(|it| it.is_open(at))
}

/// The opening that covers a moment.
pub fn covering(windows: &[Window], at: Timestamp) -> Option<Opening> {
    let last = |it: &Window| it.last(at).map(|opens| (opens, it.name.clone()));
    let (_, name) = windows.iter().filter(|it| it.is_open(at)).filter_map(last).max_by_key(|it| it.0)?;
    Some(Opening { name, opens: opened(windows, at), closes: closes(windows, at) })
}

/// When the first of them opens at or after a moment.
pub fn opens_from(windows: &[Window], at: Timestamp) -> Option<Timestamp> {
    windows.iter().filter_map(|it| it.next(at)).min()
}

/// When what is open at a moment closes, with all that adjoins it.
fn closes(windows: &[Window], at: Timestamp) -> Timestamp {
    let mut closes = at;
    for _ in 0..MERGED {
        // Of the openings of one window, all of one length, the last one closes last.
        let ends = windows.iter().filter_map(|it| Some(it.last(closes)?.plus(it.duration)));
        match ends.max().filter(|it| *it > closes) {
            Some(later) => closes = later,
            None => break,
        }
    }
    closes
}

/// When what is open at a moment opened, with all that adjoins it.
fn opened(windows: &[Window], at: Timestamp) -> Timestamp {
    let mut opened = at.plus(STEP);
    for _ in 0..MERGED {
        let before = windows.iter().filter_map(|it| {
            let opens = it.last(opened.minus(STEP))?;
            let adjoins = opens.plus(it.duration) >= opened;
            adjoins.then_some(opens)
        });
        match before.min() {
            Some(earlier) => opened = earlier,
            None => break,
        }
    }
    opened.min(at)
}

impl Window {
    fn is_open(&self, at: Timestamp) -> bool {
        self.last(at).is_some_and(|opens| at < opens.plus(self.duration))
    }

    /// When it opens, at or after a moment.
    pub(in crate::core) fn next(&self, at: Timestamp) -> Option<Timestamp> {
        // What the clocks skip is found from before the gap on.
        let shown = shown(self.timezone, at.minus(STEP))?.checked_add_signed(chrono::Duration::milliseconds(1))?;
        let mut from = whole_second(shown)?;
        if from < shown {
            from = from.checked_add_signed(chrono::Duration::seconds(1))?;
        }
        for _ in 0..REPEATED {
            let opens = self.open.find_next_occurrence(&as_utc(from), true).ok()?.naive_utc();
            if let Some(it) = first_shown(self.timezone, opens).filter(|it| *it >= at) {
                return Some(it);
            }
            // The clocks show this for the second time.
            from = opens.with_second(0)?.checked_add_signed(chrono::Duration::minutes(1))?;
        }
        None
    }

    /// When it opened, at or before a moment.
    pub(in crate::core) fn last(&self, at: Timestamp) -> Option<Timestamp> {
        let shown = shown(self.timezone, at)?;
        // Later times have been shown already, where the clocks were put back.
        let mut from = whole_second(shown.checked_add_signed(put_back(self.timezone, at))?)?;
        for _ in 0..REPEATED {
            let opens = self.open.find_previous_occurrence(&as_utc(from), true).ok()?.naive_utc();
            if let Some(it) = first_shown(self.timezone, opens).filter(|it| *it <= at) {
                return Some(it);
            }
            from = if opens.second() == 0 {
                opens.checked_sub_signed(chrono::Duration::seconds(1))?
            } else {
                opens.with_second(0)?
            };
        }
        None
    }
}

/// Cron has no part in what the clocks do: it reckons as if they were never changed.
fn as_utc(shown: NaiveDateTime) -> DateTime<Utc> {
    shown.and_utc()
}

fn whole_second(shown: NaiveDateTime) -> Option<NaiveDateTime> {
    shown.with_nanosecond(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::calendar::Calendar;
    use std::str::FromStr;

    fn window(open: &str, hours: u64, zone: Tz) -> Window {
        let open = croner::parser::CronParser::builder().seconds(croner::parser::Seconds::Optional).build().parse(open);
        Window {
            name: None,
            open: Arc::new(open.unwrap()),
            duration: Duration::from_secs(hours * 3600),
            timezone: zone,
        }
    }

    fn at(text: &str) -> Timestamp {
        DateTime::<Utc>::from_str(text).unwrap().into()
    }

    fn check(windows: &[Window], moment: &str, opens: &str, closes: &str) {
        let calendar = Calendar { windows, freezes: &[] };
        let opening = calendar.covering(calendar.open_from(at(moment)).unwrap()).unwrap();
        assert_eq!(
            (opening.opens.to_string(), opening.closes.to_string()),
            (opens.into(), closes.into()),
            "at {moment}"
        );
    }

    #[test]
    fn a_moment_in_a_window_is_covered_and_its_end_is_not() {
        let nights = [window("0 0 22 * * Mon-Thu", 4, Tz::Europe__London)];
        check(&nights, "2026-11-23T22:00:00Z", "2026-11-23T22:00:00Z", "2026-11-24T02:00:00Z");
        check(&nights, "2026-11-24T01:59:59Z", "2026-11-23T22:00:00Z", "2026-11-24T02:00:00Z");
        check(&nights, "2026-11-24T02:00:00Z", "2026-11-24T22:00:00Z", "2026-11-25T02:00:00Z");
        check(&nights, "2026-11-27T03:00:00Z", "2026-11-30T22:00:00Z", "2026-12-01T02:00:00Z");
    }

    #[test]
    fn a_moment_within_a_second_counts() {
        let nights = [window("0 0 22 * * *", 1, Tz::UTC)];
        check(&nights, "2026-11-23T22:00:00.500Z", "2026-11-23T22:00:00Z", "2026-11-23T23:00:00Z");
        check(&nights, "2026-11-23T22:59:59.999Z", "2026-11-23T22:00:00Z", "2026-11-23T23:00:00Z");
    }

    #[test]
    fn an_opening_in_a_spring_gap_opens_at_its_end_and_lasts_its_elapsed_time() {
        let early = [window("0 30 2 * * *", 3, Tz::Europe__Berlin)];
        check(&early, "2027-03-28T00:00:00Z", "2027-03-28T01:00:00Z", "2027-03-28T04:00:00Z");
    }

    #[test]
    fn each_of_several_openings_in_a_minute_counts_before_the_clocks_are_put_back() {
        let often = Window { duration: Duration::from_secs(16), ..window("0-25 7 * * * *", 0, Tz::Pacific__Apia) };
        check(&[often], "2020-04-04T13:07:19Z", "2020-04-04T13:07:00Z", "2020-04-04T13:07:41Z");
    }

    #[test]
    fn the_first_of_several_windows_counts_and_a_long_one_still_covers() {
        let two = [window("0 0 22 * * Mon", 2, Tz::UTC), window("0 0 12 * * Tue", 2, Tz::UTC)];
        check(&two, "2026-11-24T06:00:00Z", "2026-11-24T12:00:00Z", "2026-11-24T14:00:00Z");
        let long = [window("0 0 0 * * Mon,Wed", 60, Tz::UTC)];
        check(&long, "2026-11-25T06:00:00Z", "2026-11-23T00:00:00Z", "2026-11-27T12:00:00Z");
    }
}

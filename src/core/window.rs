//! Rotation windows: when a rotation may begin.
use super::time::Timestamp;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use std::time::Duration;

/// How many openings are looked back over for one that still covers a moment (a window longer than its period).
const LOOK_BACK: usize = 64;

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

/// The opening that covers a moment: of several, the one that opened last.
pub fn covering(windows: &[Window], at: Timestamp) -> Option<Opening> {
    windows.iter().filter_map(|it| it.covering(at)).max_by_key(|it| it.opens)
}

/// The first opening that opens at or after a moment.
pub fn opening_from(windows: &[Window], at: Timestamp) -> Option<Opening> {
    windows.iter().filter_map(|it| it.opening_from(at)).min_by_key(|it| it.opens)
}

/// The opening that covers a moment, else the next one.
pub fn next_opening(windows: &[Window], at: Timestamp) -> Option<Opening> {
    covering(windows, at).or_else(|| opening_from(windows, at))
}

impl Window {
    fn covering(&self, at: Timestamp) -> Option<Opening> {
        let mut local = self.local(at)?;
        let mut inclusive = true;
        for _ in 0..LOOK_BACK {
            let opens = self.open.find_previous_occurrence(&local, inclusive).ok()?;
            let opening = self.opening(opens);
            if opening.opens <= at && at < opening.closes {
                return Some(opening);
            }
            // Of openings of one length, an earlier one closes earlier: it can't cover the moment either.
            if opening.closes <= at {
                return None;
            }
            (local, inclusive) = (opens, false);
        }
        None
    }

    fn opening_from(&self, at: Timestamp) -> Option<Opening> {
        let opens = self.open.find_next_occurrence(&self.local(at)?, true).ok()?;
        Some(self.opening(opens))
    }

    fn opening(&self, opens: DateTime<Tz>) -> Opening {
        let opens = Timestamp::from(opens.with_timezone(&Utc));
        Opening { name: self.name.clone(), opens, closes: opens.plus(self.duration) }
    }

    fn local(&self, at: Timestamp) -> Option<DateTime<Tz>> {
        // Cron knows whole seconds: a moment within a second counts as its end when looking forward.
        Some(at.datetime()?.with_timezone(&self.timezone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    fn window(open: &str, hours: u64, zone: Tz) -> Window {
        let open = croner::parser::CronParser::builder().seconds(croner::parser::Seconds::Optional).build().parse(open);
        Window { name: None, open: open.unwrap(), duration: Duration::from_secs(hours * 3600), timezone: zone }
    }

    fn at(text: &str) -> Timestamp {
        DateTime::<Utc>::from_str(text).unwrap().into()
    }

    fn check(windows: &[Window], moment: &str, opens: &str, closes: &str) {
        let opening = next_opening(windows, at(moment)).unwrap();
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
    fn the_first_of_several_windows_counts_and_a_long_one_still_covers() {
        let two = [window("0 0 22 * * Mon", 2, Tz::UTC), window("0 0 12 * * Tue", 2, Tz::UTC)];
        check(&two, "2026-11-24T06:00:00Z", "2026-11-24T12:00:00Z", "2026-11-24T14:00:00Z");
        let long = [window("0 0 0 * * Mon,Wed", 60, Tz::UTC)];
        check(&long, "2026-11-25T06:00:00Z", "2026-11-25T00:00:00Z", "2026-11-27T12:00:00Z");
    }
}

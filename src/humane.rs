//! Durations as people write them: `14d`, `90s`, `1h 30m`.
pub mod opening;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration from a file or a command line. Units are those of humantime, but for months and years: those have no
/// fixed length, and humantime's `M` is easily taken for its `m`, a minute.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HumanDuration(pub Duration);

/// A text that is no duration. The message says what to write instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DurationError {
    /// It has months or years in it.
    #[error("{0:?}: months and years have no fixed length; write days instead, such as 30d")]
    Calendar(String),
    /// It is not a duration at all.
    #[error("{text:?}: {why}; write a number and a unit (s, m, h, d or w), such as 90s or 14d")]
    Malformed {
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
}

impl FromStr for HumanDuration {
    type Err = DurationError;
    fn from_str(text: &str) -> Result<Self, DurationError> {
        let malformed = |why: humantime::DurationError| {
            // Among the units that it lists behind that are the two that are refused here.
            let why = why.to_string().split(", supported units").next().unwrap_or_default().to_owned();
            DurationError::Malformed { text: text.into(), why }
        };
        let duration = humantime::parse_duration(text).map_err(malformed)?;
        if units(text).any(is_calendar) { Err(DurationError::Calendar(text.into())) } else { Ok(Self(duration)) }
    }
}

fn units(text: &str) -> impl Iterator<Item = &str> {
    text.split(|it: char| !it.is_alphabetic()).filter(|it| !it.is_empty())
}

fn is_calendar(unit: &str) -> bool {
    matches!(unit, "M" | "month" | "months" | "y" | "yr" | "yrs" | "year" | "years")
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Text)
    }
}

/// Takes a string and nothing else: a bare number would leave its unit to guesswork.
struct Text;

impl Visitor<'_> for Text {
    type Value = HumanDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration in quotes, such as \"90s\" or \"14d\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<HumanDuration, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<HumanDuration, E> {
        Err(E::invalid_type(Unexpected::Signed(number), &self))
    }
}

/// In days, hours, minutes, seconds and milliseconds, as it can be written in a file again.
impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let parts = [
            (seconds / 86_400, "d"),
            (seconds / 3_600 % 24, "h"),
            (seconds / 60 % 60, "m"),
            (seconds % 60, "s"),
            (u64::from(self.0.subsec_millis()), "ms"),
        ];
        let parts: Vec<_> = parts.iter().filter(|it| it.0 > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
        f.write_str(if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }.as_str())
    }
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const TWO_DAYS: u64 = 2 * DAY;

/// `13 days`: seconds in the largest unit that says enough; two days are days, one is still hours.
pub fn counted(seconds: u64) -> String {
    let (count, unit) = match seconds {
        ..MINUTE => (seconds, "second"),
        MINUTE..HOUR => (seconds / MINUTE, "minute"),
        HOUR..TWO_DAYS => (seconds / HOUR, "hour"),
        TWO_DAYS.. => (seconds / DAY, "day"),
    };
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{s}")
}

/// To the minute from an hour on, and to the hour from a day on: what was meant as two hours is two hours still a moment later.
pub fn rounded(seconds: u64) -> u64 {
    let grain = match seconds {
        ..3570 => 1,
        3570..DAY => MINUTE,
        _ => HOUR,
    };
    seconds.saturating_add(grain / 2) / grain * grain
}

/// A span as people tell it: rounded, and in two units at most (`45d`, `3h 20m`). Less than a minute is told as it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Roughly(pub Duration);

impl fmt::Display for Roughly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let grain = match seconds {
            ..MINUTE => return HumanDuration(self.0).fmt(f),
            MINUTE..HOUR => 1,
            HOUR..DAY => MINUTE,
            _ => HOUR,
        };
        let grain = if seconds >= 30 * DAY { DAY } else { grain };
        let halves = self.0 + Duration::from_secs(grain) / 2;
        HumanDuration(Duration::from_secs(halves.as_secs() / grain * grain)).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_rounded_to_what_people_read() {
        for (millis, written) in [
            (3_887_999_967, "45d"),
            (1_209_600_000, "14d"),
            (1_252_801_000, "14d 12h"),
            (12_010_000, "3h 20m"),
            (7_199_999, "2h"),
            (83_400, "1m 23s"),
            (59_999, "59s 999ms"),
            (1_200, "1s 200ms"),
            (0, "0s"),
        ] {
            assert_eq!(Roughly(Duration::from_millis(millis)).to_string(), written);
        }
    }

    #[test]
    fn durations_are_read_and_written_alike() {
        for (text, seconds, written) in [
            ("14d", 1_209_600, "14d"),
            ("90s", 90, "1m 30s"),
            ("1h 30m", 5_400, "1h 30m"),
            ("0s", 0, "0s"),
            ("400d", 34_560_000, "400d"),
        ] {
            let read: HumanDuration = text.parse().unwrap();
            assert_eq!(read.0, Duration::from_secs(seconds), "{text}");
            assert_eq!(read.to_string(), written);
            assert_eq!(written.parse(), Ok(read));
        }
    }

    #[test]
    fn months_and_years_are_refused_with_the_remedy() {
        for text in ["1M", "2months", "1y", "1year 2d", "3d 1month", "1yr", "1 M"] {
            let error = text.parse::<HumanDuration>().unwrap_err();
            assert_eq!(error, DurationError::Calendar(text.into()));
            assert!(error.to_string().contains("30d"), "{error}");
        }
        assert!("1m".parse::<HumanDuration>().is_ok());
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5", "d", "-1d", "1 fortnight", "99999999999999999999d"] {
            assert!(matches!(text.parse::<HumanDuration>(), Err(DurationError::Malformed { .. })), "{text}");
        }
    }

    #[test]
    fn a_bare_number_in_a_file_is_refused() {
        #[derive(Debug, serde::Deserialize)]
        struct File {
            wait: HumanDuration,
        }
        let read = |text: &str| toml::from_str::<File>(text);
        assert_eq!(read("wait = '2m'").unwrap().wait.0, Duration::from_secs(120));
        for (text, want) in [("wait = 5", "in quotes"), ("wait = '1M'", "30d"), ("wait = true", "in quotes")] {
            let error = read(text).unwrap_err();
            assert!(error.message().contains(want), "{error}");
            assert!(error.span().is_some());
        }
    }
}

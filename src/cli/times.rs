//! Times as people read them: absolute and relative.
use crate::control::protocol::Time;
use crate::core::time::Timestamp;
use crate::humane::{counted, rounded};

const MINUTE: i64 = 60;

/// `2026-12-04 22:00 UTC, in 13 days`.
pub fn both(at: Time, now: Time) -> String {
    format!("{}, {}", absolute(at), relative(at, now))
}

/// `2026-12-04 22:00 UTC`, with seconds only where there are any.
pub fn absolute(at: Time) -> String {
    let Some(date) = at.0.datetime().filter(|_| at.0 != Timestamp::NEVER) else { return "never".to_owned() };
    let format = if at.0.0 % (MINUTE * 1000) == 0 { "%Y-%m-%d %H:%M UTC" } else { "%Y-%m-%d %H:%M:%S UTC" };
    date.format(format).to_string()
}

/// `in 13 days`, `3 hours ago`, `now`.
pub fn relative(at: Time, now: Time) -> String {
    let seconds = at.0.0.saturating_sub(now.0.0) / 1000;
    let far = counted(rounded(seconds.unsigned_abs()));
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {far}"),
        _ => format!("{far} ago"),
    }
}

/// A text in which each moment that a machine wrote (`2026-12-04T22:00:00Z`) is told as people read it; with `now` also how
/// far away it is.
pub fn spelled(text: &str, now: Option<Time>) -> String {
    let (mut spelled, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, at, after)) = first_moment(rest) {
        spelled = spelled + before + &absolute(at);
        spelled += &now.map(|now| format!(" ({})", relative(at, now))).unwrap_or_default();
        rest = after;
    }
    spelled + rest
}

/// What stands before the first moment in a text, the moment, and what follows it. A part of a path is none.
fn first_moment(text: &str) -> Option<(&str, Time, &str)> {
    let of_moment = |it: char| it.is_ascii_digit() || "-:.TZ".contains(it);
    text.match_indices('Z').find_map(|(last, _)| {
        let (upto, after) = text.split_at(last + 1);
        let before = upto.trim_end_matches(of_moment);
        let joined = before.ends_with(|it: char| it.is_alphanumeric() || "/_".contains(it))
            || after.starts_with(|it: char| it.is_alphanumeric() || "/_".contains(it));
        let at = upto[before.len()..].parse().ok().filter(|_| !joined)?;
        Some((before, at, after))
    })
}

/// `83 ms`, `4.2 s`, `3 minutes`.
pub fn took(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => counted(ms / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(at: &str, expected: &str) {
        let now = "2026-11-21T22:00:00Z".parse().unwrap();
        assert_eq!(both(at.parse().unwrap(), now), expected);
    }

    #[test]
    fn times_are_absolute_and_relative() {
        check("2026-12-04T22:00:00Z", "2026-12-04 22:00 UTC, in 13 days");
        check("2026-11-22T22:00:00Z", "2026-11-22 22:00 UTC, in 24 hours");
        check("2026-11-21T21:00:00Z", "2026-11-21 21:00 UTC, 1 hour ago");
        check("2026-11-21T22:00:05Z", "2026-11-21 22:00:05 UTC, in 5 seconds");
        check("2026-11-21T22:00:00Z", "2026-11-21 22:00 UTC, now");
        check("2026-11-21T23:59:59Z", "2026-11-21 23:59:59 UTC, in 2 hours");
        check("2026-11-21T22:59:45Z", "2026-11-21 22:59:45 UTC, in 1 hour");
        check("2026-12-04T21:58:00Z", "2026-12-04 21:58 UTC, in 13 days");
        check("2026-12-04T12:00:00Z", "2026-12-04 12:00 UTC, in 12 days");
    }

    #[test]
    fn what_never_comes_has_no_date() {
        assert_eq!(absolute(Time(Timestamp::NEVER)), "never");
    }

    #[test]
    fn moments_in_a_text_are_told_as_people_read_them() {
        let check = |text: &str, now: Option<&str>, expected: &str| {
            assert_eq!(spelled(text, now.map(|it| it.parse().unwrap())), expected);
        };
        let told = "begun at 2026-12-04T22:00:00.123Z, until 2026-12-05T22:00:00Z";
        check(told, None, "begun at 2026-12-04 22:00:00 UTC, until 2026-12-05 22:00 UTC");
        let hours = "until 2026-12-05 22:00 UTC (in 2 hours): a reason";
        check("until 2026-12-05T22:00:00Z: a reason", Some("2026-12-05T20:00:00Z"), hours);
        for other in ["", "Zürich", "2026-12-04", "/var/2026-12-04T22:00:00Z/log", "2026-13-04T22:00:00Z", "é2Z"] {
            check(other, None, other);
        }
    }

    #[test]
    fn a_span_is_told_in_the_unit_that_says_enough() {
        assert_eq!([took(12), took(4250), took(61_000), took(600_000)], ["12 ms", "4.2 s", "1 minute", "10 minutes"]);
    }
}

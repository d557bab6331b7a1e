//! The two headers that tell time.
use crate::core::time::Timestamp;
use chrono::{DateTime, NaiveDateTime};
use std::time::Duration;

/// Reads an HTTP date in any of the three forms of RFC 9110, section 5.6.7.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(at) = DateTime::parse_from_rfc2822(text) {
        return Some(at.to_utc().into());
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .map(|at| at.and_utc().into())
}

/// Reads a `Retry-After`, which is a number of seconds or a date; at most `most` after now.
pub(super) fn retry_after(text: &str, now: Timestamp, most: Duration) -> Option<Timestamp> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let asked = if digits {
        // More digits than a number holds mean "very long".
        now.plus(Duration::from_secs(text.parse().unwrap_or(u64::MAX)))
    } else {
        http_date(text)?
    };
    Some(asked.min(now.plus(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(784_111_777_000);
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn all_three_forms_of_a_date_are_one_moment() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(http_date(text), Some(NOW), "{text}");
        }
        assert_eq!(http_date("tomorrow"), None);
    }

    #[test]
    fn a_wait_is_seconds_or_a_date_and_ends_within_a_day() {
        assert_eq!(retry_after("120", NOW, DAY), Some(Timestamp(NOW.0 + 120_000)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:37 GMT", NOW, DAY), Some(Timestamp(NOW.0 + 60_000)));
        for endless in ["999999999", "99999999999999999999999999", "Sat, 06 Nov 2094 08:49:37 GMT"] {
            assert_eq!(retry_after(endless, NOW, DAY), Some(NOW.plus(DAY)), "{endless}");
        }
        for bad in ["", "-1", "soon", "1.5"] {
            assert_eq!(retry_after(bad, NOW, DAY), None, "{bad}");
        }
    }
}

//! Windows and freezes in words: what a cron expression or a range of days comes to, and when that is next.
use super::HumanDuration;
use crate::core::freeze::{Day, Freeze, Span, When};
use crate::core::time::Timestamp;
use crate::core::window::{Opening, Window, covering, opens_from};
use croner::Cron;
use croner::parser::{CronParser, Seconds};
use std::time::Duration;

/// The mark of a plain number in a field of croner, which keeps the name of it to itself.
const ALL_BIT: u8 = 1;
/// The days of a week as cron counts them.
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
/// The months of a year.
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// At most this many times of a day are spelled out; more are left to the expression itself.
const TIMES_SPELLED: usize = 6;
/// An opening that still goes on after so many parts of it never closes: it has a few thousand openings of its window in it.
const PARTS: usize = 64;
/// The smallest step of a timestamp.
const STEP: Duration = Duration::from_millis(1);

/// What a window comes to: `opens every day at 22:00 Europe/London for 4h`.
pub fn window(it: &Window) -> String {
    format!("opens {} {} for {}", cron(&it.open), it.timezone.name(), HumanDuration(it.duration))
}

/// When a cron expression fires: `Monday to Thursday at 22:00`.
pub fn cron(it: &Cron) -> String {
    told(spelled(it).as_ref().unwrap_or(it))
}

/// Steps that don't divide an hour or a day evenly by the numbers that they come to: `*/45` is not every 45 minutes, for it begins
/// anew with each hour. None where there is no such step.
fn spelled(it: &Cron) -> Option<Cron> {
    let text = it.pattern.as_str();
    let fields: Vec<&str> = text.split_whitespace().collect();
    let lengths: &[u8] = if fields.len() == 6 { &[60, 60, 24] } else { &[60, 24] };
    let numbers = |(n, field): (usize, &&str)| {
        let length = *lengths.get(n)?;
        let step = field.strip_prefix("*/")?.parse::<u8>().ok().filter(|it| *it > 0 && length % it != 0)?;
        let numbers: Vec<String> = (0..length).step_by(step.into()).map(|it| it.to_string()).collect();
        Some(numbers.join(","))
    };
    let spelled: Vec<Option<String>> = fields.iter().enumerate().map(numbers).collect();
    if spelled.iter().all(Option::is_none) {
        return None;
    }
    let fields = spelled.into_iter().zip(fields).map(|(it, field)| it.unwrap_or_else(|| field.to_owned()));
    CronParser::builder().seconds(Seconds::Optional).build().parse(&fields.collect::<Vec<_>>().join(" ")).ok()
}

fn told(it: &Cron) -> String {
    let text = it.pattern.as_str();
    let fields: Vec<&str> = text.split_whitespace().collect();
    // Seconds may be left out; they are nothing then.
    let (seconds, rest) = match fields.as_slice() {
        [seconds, rest @ ..] if rest.len() == 5 => (*seconds, rest),
        rest => ("0", rest),
    };
    let &[minutes, hours, day, month, weekday] = rest else { return described(it) };
    let days = days(it, day, weekday);
    let times = times(seconds, minutes, hours);
    let (Some(days), Some(times), Some(months)) = (days, times, months(it, month)) else { return described(it) };
    if months.is_empty() { format!("{days} at {times}") } else { format!("{days} in {months} at {times}") }
}

/// What a freeze comes to: `every year from 18 December until 4 January, the first day without it (Europe/London)`.
pub fn freeze(it: &Freeze) -> String {
    match &it.when {
        When::Once(Span { from, to }) => format!("holds once, from {from} until {to}"),
        When::Yearly { from, to, timezone } => {
            let (from, to) = (date(*from), date(*to));
            format!("holds every year from {from} until {to}, the first day without it ({})", timezone.name())
        }
    }
}

/// The openings of a window that are not over at a moment, the next ones first. What adjoins is one. One that never closes, because
/// the next opening always begins before, is the last.
pub fn openings(it: &Window, from: Timestamp, most: usize) -> Vec<Opening> {
    let windows = std::slice::from_ref(it);
    let open = |at: Timestamp| {
        let mut it = covering(windows, at)?;
        for _ in 0..PARTS {
            match covering(windows, it.closes) {
                Some(part) => it.closes = part.closes,
                None => return Some(it),
            }
        }
        Some(Opening { closes: Timestamp::LAST_WRITTEN, ..it })
    };
    let next = |at: Timestamp| open(at).or_else(|| open(opens_from(windows, at)?));
    std::iter::successors(next(from), |it| next(it.closes.plus(STEP))).take(most).collect()
}

/// The times of a freeze that are not over at a moment, the next ones first.
pub fn spans(it: &Freeze, from: Timestamp, most: usize) -> Vec<Span> {
    let next = |at: Timestamp| it.covering(at).or_else(|| it.covering(it.begins_after(at)?));
    std::iter::successors(next(from), |it| next(it.to)).take(most).collect()
}

/// The parser's own words, for what has no shorter ones.
fn described(it: &Cron) -> String {
    let words = it.describe();
    let words = words.trim_end_matches('.');
    // It takes the last weekday for the last day.
    let words = if it.pattern.as_str().to_uppercase().contains("LW") {
        words.replace("the last day of the month", "the last day of the month that is a Monday to Friday")
    } else {
        words.to_owned()
    };
    let mut letters = words.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// `every day`, `Monday to Thursday`, `on day 1 of the month`; none where it takes more words.
fn days(it: &Cron, day: &str, weekday: &str) -> Option<String> {
    let any = |it: &str| matches!(it, "*" | "?");
    if !any(day) {
        let number = day.parse::<u32>().ok().filter(|_| any(weekday))?;
        return Some(format!("on day {number} of the month"));
    }
    if any(weekday) {
        return Some("every day".to_owned());
    }
    if weekday.contains(['#', 'L', 'l', '/']) {
        return None;
    }
    let on: Vec<bool> = (0..7).map(|n| it.pattern.days_of_week.is_bit_set(n, ALL_BIT).unwrap_or(false)).collect();
    weekdays(&on)
}

/// Days that follow each other as a range, and the week from Monday on.
fn weekdays(on: &[bool]) -> Option<String> {
    let week = [1, 2, 3, 4, 5, 6, 0];
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (place, _) in week.iter().enumerate().filter(|(_, day)| on.get(**day) == Some(&true)) {
        match runs.last_mut().filter(|it| it.1 + 1 == place) {
            Some(run) => run.1 = place,
            None => runs.push((place, place)),
        }
    }
    let name = |place: usize| DAYS[week[place]];
    let words = runs.iter().flat_map(|(first, last)| match last - first {
        0 => vec![name(*first).to_owned()],
        1 => vec![name(*first).to_owned(), name(*last).to_owned()],
        6 => vec!["every day".to_owned()],
        _ => vec![format!("{} to {}", name(*first), name(*last))],
    });
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| list(&words))
}

/// Empty for every month; none where it takes more words.
fn months(it: &Cron, month: &str) -> Option<String> {
    if month == "*" {
        return Some(String::new());
    }
    let on = (1..=12_u16).filter(|n| it.pattern.months.is_bit_set(*n, ALL_BIT).unwrap_or(false));
    let words: Vec<String> = on.filter_map(|n| MONTHS.get(usize::from(n) - 1).map(|it| (*it).to_owned())).collect();
    (!words.is_empty()).then(|| list(&words))
}

/// The times of a day, where each field names its numbers; none for ranges and steps.
fn times(seconds: &str, minutes: &str, hours: &str) -> Option<String> {
    let numbers = |field: &str| field.split(',').map(|it| it.parse::<u8>().ok()).collect::<Option<Vec<u8>>>();
    let (seconds, minutes, hours) = (numbers(seconds)?, numbers(minutes)?, numbers(hours)?);
    let mut times: Vec<(u8, u8, u8)> =
        hours.iter().flat_map(|h| minutes.iter().flat_map(|m| seconds.iter().map(|s| (*h, *m, *s)))).collect();
    times.sort_unstable();
    let one = |(h, m, s): &(u8, u8, u8)| match s {
        0 => format!("{h:02}:{m:02}"),
        s => format!("{h:02}:{m:02}:{s:02}"),
    };
    (times.len() <= TIMES_SPELLED).then(|| list(&times.iter().map(one).collect::<Vec<_>>()))
}

fn date(it: Day) -> String {
    let month = usize::try_from(it.month).ok().and_then(|it| MONTHS.get(it.checked_sub(1)?));
    format!("{} {}", it.day, month.unwrap_or(&"?"))
}

/// `a`, `a and b`, `a, b and c`.
fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Tz;

    fn parsed(open: &str) -> Cron {
        CronParser::builder().seconds(Seconds::Optional).build().parse(open).unwrap()
    }

    fn check(open: &str, words: &str) {
        assert_eq!(cron(&parsed(open)), words, "{open}");
    }

    #[test]
    fn a_cron_expression_is_told_in_days_and_times() {
        check("0 22 * * *", "every day at 22:00");
        check("0 0 22 * * Mon-Thu", "Monday to Thursday at 22:00");
        check("30 0 22 * * Sat,Sun", "Saturday and Sunday at 22:00:30");
        check("0 22 * * 1-5", "Monday to Friday at 22:00");
        check("0 22 * * Mon,Wed-Fri,Sun", "Monday, Wednesday to Friday and Sunday at 22:00");
        check("0,30 4,16 * * *", "every day at 04:00, 04:30, 16:00 and 16:30");
        check("30 2 1 * *", "on day 1 of the month at 02:30");
        check("0 0 1 1,7 *", "on day 1 of the month in January and July at 00:00");
        check("0 22 * Dec Mon-Sun", "every day in December at 22:00");
    }

    #[test]
    fn what_has_no_short_words_is_told_in_longer_ones() {
        check("*/5 * * * *", "at every 5 minutes");
        check("0 9-17 * * Mon", "at minute 0, of hour 9-17, on Monday");
        check("0 0 * * Mon#1", "at 00:00, on the 1st Monday of the month");
        check("0 0 LW * *", "at 00:00, on the last day of the month that is a Monday to Friday");
        check("0 0 13 * Fri", "at 00:00, on day 13 or Friday");
    }

    #[test]
    fn a_step_that_begins_anew_with_each_hour_or_day_is_told_by_its_numbers() {
        check("*/45 * * * *", "at minute 0 and 45 past every hour");
        check("*/70 22 * * *", "every day at 22:00");
        check("0 */5 * * Mon", "Monday at 00:00, 05:00, 10:00, 15:00 and 20:00");
        check("*/40 0 22 * * *", "every day at 22:00 and 22:00:40");
    }

    #[test]
    fn a_window_says_its_zone_and_how_long_it_lasts_and_when_it_opens_next() {
        let nights = Window {
            name: Some("nights".into()),
            open: parsed("0 22 * * Mon-Thu").into(),
            duration: Duration::from_secs(4 * 3600),
            timezone: Tz::Europe__London,
        };
        assert_eq!(window(&nights), "opens Monday to Thursday at 22:00 Europe/London for 4h");
        // A Thursday, within its opening.
        let from: chrono::DateTime<chrono::Utc> = "2026-03-26T23:00:00Z".parse().unwrap();
        let opens: Vec<_> = openings(&nights, from.into(), 3).iter().map(|it| it.opens.to_string()).collect();
        assert_eq!(opens, ["2026-03-26T22:00:00Z", "2026-03-30T21:00:00Z", "2026-03-31T21:00:00Z"]);
    }

    #[test]
    fn openings_that_adjoin_are_one() {
        let halves = Window {
            name: None,
            open: parsed("0 0,12 * * Mon").into(),
            duration: Duration::from_secs(12 * 3600),
            timezone: Tz::UTC,
        };
        let from: chrono::DateTime<chrono::Utc> = "2026-11-22T00:00:00Z".parse().unwrap();
        let found: Vec<_> = openings(&halves, from.into(), 2).iter().map(|it| it.closes.to_string()).collect();
        assert_eq!(found, ["2026-11-24T00:00:00Z", "2026-12-01T00:00:00Z"]);
    }

    #[test]
    fn hundreds_of_short_openings_that_adjoin_are_one_and_it_closes() {
        let minutes = Window {
            name: None,
            open: parsed("* 18-22 * * *").into(),
            duration: Duration::from_secs(60),
            timezone: Tz::UTC,
        };
        let from: chrono::DateTime<chrono::Utc> = "2026-11-22T18:10:00Z".parse().unwrap();
        let found: Vec<_> = openings(&minutes, from.into(), 2).iter().map(|it| it.closes.to_string()).collect();
        assert_eq!(found, ["2026-11-22T23:00:00Z", "2026-11-23T23:00:00Z"]);
    }

    #[test]
    fn a_window_that_is_longer_than_its_period_never_closes() {
        let always = Window {
            name: None,
            open: parsed("0 * * * *").into(),
            duration: Duration::from_secs(3 * 3600),
            timezone: Tz::UTC,
        };
        let from: chrono::DateTime<chrono::Utc> = "2026-11-22T00:30:00Z".parse().unwrap();
        let found: Vec<_> = openings(&always, from.into(), 3).iter().map(|it| it.closes).collect();
        assert_eq!(found, [Timestamp::LAST_WRITTEN]);
    }

    #[test]
    fn a_freeze_is_told_with_its_days_and_when_it_is_next() {
        let when = When::Yearly {
            from: Day { month: 12, day: 18 },
            to: Day { month: 1, day: 4 },
            timezone: Tz::Europe__London,
        };
        let yearly = Freeze { name: "year-end".into(), when };
        assert_eq!(
            freeze(&yearly),
            "holds every year from 18 December until 4 January, the first day without it (Europe/London)"
        );
        let from: chrono::DateTime<chrono::Utc> = "2026-12-20T00:00:00Z".parse().unwrap();
        let found: Vec<_> = spans(&yearly, from.into(), 2).iter().map(|it| it.from.to_string()).collect();
        assert_eq!(found, ["2026-12-18T00:00:00Z", "2027-12-18T00:00:00Z"]);
    }
}

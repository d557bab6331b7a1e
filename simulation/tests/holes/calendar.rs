//! Windows and freezes against a clock that is read minute by minute, over weeks (`seconds` reads one at every second): no cron, no
//! arithmetic of time zones, no search.
use crate::bench::cron;
use chrono::{
    DateTime, Datelike, Days, Duration, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Timelike, Utc,
};
use chrono_tz::Tz;
use rekeyd_simulation::core::calendar::Calendar;
use rekeyd_simulation::core::freeze::{Day, Freeze, Span, When};
use rekeyd_simulation::core::time::Timestamp;
use rekeyd_simulation::core::window::Window;

/// Zones whose clocks change at night, at midnight, by half an hour, by a whole day, against the season, or not at all.
const ZONES: [Tz; 17] = [
    Tz::UTC,
    Tz::Europe__London,
    Tz::Europe__Berlin,
    Tz::America__New_York,
    Tz::America__Santiago,
    Tz::America__Havana,
    Tz::America__Asuncion,
    Tz::Atlantic__Azores,
    Tz::Australia__Lord_Howe,
    Tz::Pacific__Apia,
    Tz::Pacific__Chatham,
    Tz::Africa__Cairo,
    Tz::Africa__Casablanca,
    Tz::Asia__Beirut,
    Tz::Asia__Tehran,
    Tz::Asia__Kolkata,
    Tz::Asia__Kathmandu,
];
/// How many calendars are made up.
const CASES: u64 = 150;
/// How many moments of each are asked for.
const MOMENTS: u64 = 60;
/// How long the clock is read, in days: the questions are asked in the middle.
const DAYS: i64 = 24;
const MINUTES: usize = 24 * 60 * 24;

/// What is open and what is frozen, minute by minute.
struct Read {
    start: DateTime<Utc>,
    windowed: bool,
    begins: Vec<bool>,
    open: Vec<bool>,
    frozen: Vec<bool>,
}

/// What is made up.
struct Made {
    windows: Vec<Window>,
    /// For each window: at which minutes of the day, on which days of the week (Monday is 0).
    times: Vec<(Vec<u32>, Vec<u32>)>,
    freezes: Vec<Freeze>,
    /// For each freeze: its first and last day and the zone, or the moments.
    days: Vec<Days2>,
}

enum Days2 {
    Once(NaiveDate, NaiveDate, Tz),
    Yearly(Day, Day, Tz),
    Moments(DateTime<Utc>, DateTime<Utc>),
}

/// A small source of chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn small(&mut self, n: u32) -> u32 {
        u32::try_from(self.below(n.into())).unwrap()
    }

    fn zone(&mut self) -> Tz {
        ZONES[usize::try_from(self.below(ZONES.len() as u64)).unwrap()]
    }
}

#[test]
fn windows_and_freezes_are_what_a_clock_that_is_read_minute_by_minute_shows() {
    for case in 0..CASES {
        let mut chance = Chance(case);
        let zone = chance.zone();
        let start = begin(&mut chance, zone);
        let made = make(&mut chance, zone, start);
        let read = read(&made, start);
        let calendar = Calendar { windows: &made.windows, freezes: &made.freezes };
        for _ in 0..MOMENTS {
            let minute = usize::try_from(chance.below(10 * 24 * 60)).unwrap() + 7 * 24 * 60;
            check(case, &made, calendar, &read, minute);
        }
        // Where something changes is where it goes wrong.
        let edges = (7 * 24 * 60..17 * 24 * 60).filter(|n| {
            let n = *n;
            read.begins[n] || read.open[n] != read.open[n - 1] || read.frozen[n] != read.frozen[n - 1]
        });
        for minute in edges.step_by(7).take(40).flat_map(|n| [n - 1, n, n + 1]) {
            check(case, &made, calendar, &read, minute);
        }
    }
}

/// Half of the cases lie around a change of the clocks.
fn begin(chance: &mut Chance, zone: Tz) -> DateTime<Utc> {
    let year = 2016 + i32::try_from(chance.below(20)).unwrap();
    let first = Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).unwrap();
    let offset = |day: u64| {
        let at = first + Duration::days(day as i64);
        at.with_timezone(&zone).offset().fix().local_minus_utc()
    };
    let changes: Vec<u64> = (1..365).filter(|day| offset(*day) != offset(day - 1)).collect();
    let day = match changes.len() as u64 {
        n if n > 0 && chance.below(4) > 0 => changes[usize::try_from(chance.below(n)).unwrap()],
        _ => chance.below(365),
    };
    first + Duration::days(day as i64 - DAYS / 2)
}

fn make(chance: &mut Chance, zone: Tz, start: DateTime<Utc>) -> Made {
    let mut made = Made { windows: Vec::new(), times: Vec::new(), freezes: Vec::new(), days: Vec::new() };
    for _ in 0..chance.below(4) {
        let zone = if chance.below(3) > 0 { zone } else { chance.zone() };
        let (text, minutes) = match chance.below(4) {
            0 => ("*/30".to_owned() + " * * *", (0..48).map(|it| it * 30).collect()),
            // Most changes of the clocks are between eleven at night and four in the morning.
            1 | 2 => at_minute((23 * 60 + chance.small(6 * 60)) % (24 * 60)),
            _ => at_minute(chance.small(24 * 60)),
        };
        let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let days: Vec<u32> = (0..7).filter(|_| chance.below(2) > 0).collect();
        let days = if days.is_empty() { (0..7).collect() } else { days };
        let words: Vec<_> = days.iter().map(|it| names[*it as usize]).collect();
        let minutes_open = match chance.below(4) {
            0 => 24 * 60,
            1 => 1 + chance.below(90),
            2 => 1 + chance.below(600),
            _ => 1 + chance.below(60 * 60),
        };
        made.windows.push(Window {
            name: Some(format!("w{}", made.windows.len())),
            open: cron(&format!("{text} {}", words.join(","))),
            duration: std::time::Duration::from_secs(minutes_open * 60),
            timezone: zone,
        });
        made.times.push((minutes, days));
    }
    for n in 0..chance.below(4) {
        let zone = if chance.below(3) > 0 { zone } else { chance.zone() };
        let first = start.date_naive() + Days::new(chance.below(DAYS as u64));
        let last = first + Days::new(1 + chance.below(5));
        let day = |it: NaiveDate| Day { month: it.month(), day: it.day() };
        let (when, days) = match chance.below(3) {
            0 => {
                let from = start + Duration::minutes(chance.below(MINUTES as u64) as i64);
                let to = from + Duration::minutes(1 + chance.below(3 * 24 * 60) as i64);
                (When::Once(Span { from: from.into(), to: to.into() }), Days2::Moments(from, to))
            }
            1 => {
                let span = Span { from: day_begins(first, zone), to: day_begins(last, zone) };
                (When::Once(span), Days2::Once(first, last, zone))
            }
            _ => {
                let (from, to) = (day(first), day(last));
                (When::Yearly { from, to, timezone: zone }, Days2::Yearly(from, to, zone))
            }
        };
        made.freezes.push(Freeze { name: format!("f{n}"), when });
        made.days.push(days);
    }
    made
}

fn at_minute(minute: u32) -> (String, Vec<u32>) {
    (format!("{} {} * *", minute % 60, minute / 60), vec![minute])
}

fn day_begins(day: NaiveDate, zone: Tz) -> Timestamp {
    rekeyd_simulation::core::freeze::begin_of(day, zone).unwrap()
}

/// The latest time that the clocks of a zone have shown up to each minute: a time is there once this has come to it.
fn shown(zone: Tz, start: DateTime<Utc>) -> Vec<NaiveDateTime> {
    let mut latest = (start - Duration::days(2)).with_timezone(&zone).naive_local();
    let minute = |n: usize| (start + Duration::minutes(n as i64)).with_timezone(&zone).naive_local();
    let mut show = |n| {
        latest = latest.max(minute(n));
        latest
    };
    (0..MINUTES).map(&mut show).collect()
}

fn read(made: &Made, start: DateTime<Utc>) -> Read {
    let mut it = Read {
        start,
        windowed: !made.windows.is_empty(),
        begins: vec![false; MINUTES],
        open: vec![made.windows.is_empty(); MINUTES],
        frozen: vec![false; MINUTES],
    };
    for (window, (minutes, weekdays)) in made.windows.iter().zip(&made.times) {
        let shown = shown(window.timezone, start);
        let long = usize::try_from(window.duration.as_secs() / 60).unwrap();
        let mut day = shown[0].date();
        while day <= shown[MINUTES - 1].date() {
            for minute in minutes.iter().filter(|_| weekdays.contains(&day.weekday().num_days_from_monday())) {
                let time = day.and_time(NaiveTime::from_num_seconds_from_midnight_opt(minute * 60, 0).unwrap());
                let opens = shown.partition_point(|it| *it < time);
                if opens > 0 && opens < MINUTES {
                    it.begins[opens] = true;
                    (opens..(opens + long).min(MINUTES)).for_each(|n| it.open[n] = true);
                }
            }
            day = day + Days::new(1);
        }
    }
    for days in &made.days {
        let shown = match days {
            Days2::Once(.., zone) | Days2::Yearly(.., zone) => shown(*zone, start),
            Days2::Moments(..) => Vec::new(),
        };
        for (n, frozen) in it.frozen.iter_mut().enumerate() {
            let now = start + Duration::minutes(n as i64);
            *frozen |= match days {
                Days2::Moments(from, to) => (*from..*to).contains(&now),
                Days2::Once(from, to, _) => (*from..*to).contains(&shown[n].date()),
                Days2::Yearly(from, to, _) => {
                    let today = Day { month: shown[n].month(), day: shown[n].day() };
                    if from < to { (*from..*to).contains(&today) } else { today >= *from || today < *to }
                }
            };
        }
    }
    assert_eq!(start.second(), 0);
    it
}

impl Read {
    fn may(&self, n: usize) -> bool {
        self.open[n] && !self.frozen[n]
    }

    /// Whether an opening begins: a window opens, or a freeze ends within one.
    fn begins(&self, n: usize) -> bool {
        !self.frozen[n] && (self.begins[n] || (self.frozen[n - 1] && self.open[n]) || !self.windowed)
    }

    fn at(&self, n: usize) -> Timestamp {
        (self.start + Duration::minutes(n as i64)).into()
    }

    fn first(&self, from: usize, is: impl Fn(usize) -> bool) -> Option<Timestamp> {
        (from..MINUTES).find(|n| is(*n)).map(|n| self.at(n))
    }
}

#[track_caller]
fn check(case: u64, made: &Made, calendar: Calendar<'_>, read: &Read, minute: usize) {
    let at = read.at(minute);
    let place = || {
        let windows: Vec<_> = made.windows.iter().map(|it| (it.open.to_string(), it.duration, it.timezone)).collect();
        format!("case {case} at {at}: {windows:?} {:?}", made.freezes)
    };
    let same = |said: Option<Timestamp>, shown: Option<Timestamp>| match shown {
        Some(_) => said == shown,
        None => said.is_none_or(|it| it >= read.at(MINUTES)),
    };
    assert_eq!(calendar.is_open(at), read.may(minute), "{}", place());
    assert_eq!(calendar.frozen(at).is_some(), read.frozen[minute], "{}", place());
    let (said, shown) = (calendar.open_from(at), read.first(minute, |n| read.may(n)));
    assert!(same(said, shown), "open from: {said:?}, not {shown:?}; {}", place());
    let (said, shown) = (calendar.opens_from(at), read.first(minute, |n| read.begins(n)));
    assert!(same(said, shown), "opens from: {said:?}, not {shown:?}; {}", place());
    if let Some(frozen) = calendar.frozen(at) {
        let shown = read.first(minute, |n| !read.frozen[n]);
        assert!(same(Some(frozen.until), shown), "frozen until {:?}, not {shown:?}; {}", frozen.until, place());
    }
    if read.windowed {
        let later = at.plus(std::time::Duration::from_millis(1));
        let (said, shown) = (calendar.opens_from(later), read.first(minute + 1, |n| read.begins(n)));
        assert!(same(said, shown), "opens after: {said:?}, not {shown:?}; {}", place());
    }
    let Some(opening) = calendar.covering(at) else {
        assert!(!read.windowed || !read.may(minute), "{}", place());
        return;
    };
    let from = (0..minute).rev().find(|n| !read.may(*n)).map(|n| n + 1);
    let to = (minute..MINUTES).find(|n| !read.may(*n));
    // What opened before the clock was read is not seen: three days are longer than any window stays open.
    let (Some(from), Some(to)) = (from.filter(|n| *n > 3 * 24 * 60), to) else { return };
    // Of windows that hardly ever close, only a part is said to be open.
    if (from..to).filter(|n| read.begins[*n]).count() < 60 {
        let said = (opening.opens.to_string(), opening.closes.to_string());
        assert_eq!(said, (read.at(from).to_string(), read.at(to).to_string()), "{}", place());
    }
}

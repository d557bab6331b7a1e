//! Windows and freezes against a clock that is read second by second, for 72 hours around a change of the clocks: no cron library, no
//! arithmetic of time zones, no search. What a cron means is a set for each of its fields; what is open is a list of seconds.
//!
//! Each run tries [`CASES`] calendars, the seed of each is its number; `CASES=5000 cargo test -p rekeyd-simulation --test holes seconds`
//! tries more.
use crate::bench::cron;
use chrono::{DateTime, Datelike, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use rekeyd_simulation::core::calendar::Calendar;
use rekeyd_simulation::core::freeze::{Day, Freeze, Span, When};
use rekeyd_simulation::core::time::Timestamp;
use rekeyd_simulation::core::window::Window;
use std::collections::BTreeMap;
use std::time::Duration;

/// Zones whose clocks change at night, by half an hour, for Ramadan, by a quarter of an hour (once, in 1986) and by a day (2011).
const ZONES: [Tz; 6] = [
    Tz::Europe__London,
    Tz::America__New_York,
    Tz::Australia__Lord_Howe,
    Tz::Africa__Casablanca,
    Tz::Asia__Kathmandu,
    Tz::Pacific__Apia,
];
/// How many calendars are made up, unless `CASES` says otherwise.
const CASES: u64 = 48;
/// The questions are asked within so many seconds of the change,
const ASKED: i64 = 36 * HOUR;
/// and the clock is read for so long before and after that.
const AROUND: i64 = 72 * HOUR;
/// No window stays open for longer.
const LONGEST: u64 = 60 * 3600;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Cases by number, with some chance in them.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<T: Clone>(&mut self, these: &[T]) -> T {
        these[usize::try_from(self.below(these.len() as u64)).unwrap()].clone()
    }
}

/// One field of a cron: how it is written, and which numbers it names.
#[derive(Clone)]
struct Field {
    text: String,
    names: u64,
}

impl Field {
    fn any() -> Self {
        Self { text: "*".into(), names: u64::MAX }
    }

    fn has(&self, n: i64) -> bool {
        self.names >> n & 1 == 1
    }

    fn these(numbers: &[u64]) -> Self {
        let text: Vec<_> = numbers.iter().map(u64::to_string).collect();
        Self { text: text.join(","), names: numbers.iter().fold(0, |names, n| names | 1 << n) }
    }

    /// One number, a few, a range, or every so many, from `least` to `most`; the first one near a wanted number.
    fn some(chance: &mut Chance, least: u64, most: u64, near: u64) -> Self {
        let all = most - least + 1;
        match chance.below(6) {
            0 | 1 => Self::these(&[near]),
            2 => {
                let mut numbers = vec![near, least + chance.below(all), least + chance.below(all)];
                numbers.sort_unstable();
                numbers.dedup();
                Self::these(&numbers)
            }
            3 => {
                let to = near + chance.below(most - near + 1);
                let names = (near..=to).fold(0, |names, n| names | 1 << n);
                Self { text: format!("{near}-{to}"), names }
            }
            4 => {
                let step = 2 + chance.below(all / 2);
                let names = (least..=most).step_by(step as usize).fold(0, |names, n| names | 1 << n);
                Self { text: format!("*/{step}"), names }
            }
            _ => Self::these(&[least + chance.below(all)]),
        }
    }
}

/// A cron as the sets that its fields name.
struct Times {
    second: Field,
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

impl Times {
    /// Most open in the hours in which the clocks change.
    fn make(chance: &mut Chance, near: i64) -> Self {
        let near = (near + chance.below(4) as i64 * HOUR - 2 * HOUR).rem_euclid(DAY) as u64;
        let mut second = Field::some(chance, 0, 59, near % 60);
        if chance.one_in(2) {
            second = Field::these(&[0]);
        }
        let minute = match chance.below(8) {
            0 => Field::any(),
            1 | 2 => Field::these(&[0]),
            _ => {
                let near = chance.below(60);
                Field::some(chance, 0, 59, near)
            }
        };
        let hour = if chance.one_in(6) { Field::any() } else { Field::some(chance, 0, 23, near / 3600) };
        let (mut day, mut weekday) = (Field::any(), Field::any());
        match chance.below(4) {
            0 => day = Field { text: "2-30/2".into(), names: (2..=30).step_by(2).fold(0, |names, n| names | 1 << n) },
            1 | 2 => {
                let words = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
                let which: Vec<u64> = (0..7).filter(|_| chance.below(3) > 0).collect();
                if !which.is_empty() {
                    let text: Vec<_> = which.iter().map(|it| words[*it as usize]).collect();
                    weekday = Field { text: text.join(","), ..Field::these(&which) };
                }
            }
            _ => {}
        }
        let odd = Field { text: "1-11/2".into(), names: (1..=11).step_by(2).fold(0, |names, n| names | 1 << n) };
        let month = if chance.one_in(8) { odd } else { Field::any() };
        Self { second, minute, hour, day, month, weekday }
    }

    /// Five fields where the second is 0, as often as six.
    fn text(&self, chance: &mut Chance) -> String {
        let fields = [&self.minute, &self.hour, &self.day, &self.month, &self.weekday];
        let fields: Vec<_> = fields.iter().map(|it| it.text.as_str()).collect();
        match self.second.names == 1 && chance.one_in(2) {
            true => fields.join(" "),
            false => format!("{} {}", self.second.text, fields.join(" ")),
        }
    }

    /// Whether a clock that shows this stands at one of its times.
    fn names(&self, shown: i64, days: &mut BTreeMap<i64, bool>) -> bool {
        let time = shown.rem_euclid(DAY);
        if !self.second.has(time % 60) || !self.minute.has(time / 60 % 60) || !self.hour.has(time / 3600) {
            return false;
        }
        *days.entry(shown.div_euclid(DAY)).or_insert_with_key(|day| {
            let date = date(day * DAY);
            self.day.has(date.day().into())
                && self.month.has(date.month().into())
                && self.weekday.has(date.weekday().num_days_from_sunday().into())
        })
    }
}

/// What a clock without a zone calls this.
fn date(shown: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(shown, 0).unwrap()
}

/// The clocks of the zones, read at every second from a moment on: the latest time that each has shown so far, so that a time is
/// there once this has come to it.
struct Clocks {
    start: i64,
    length: usize,
    shown: BTreeMap<String, Vec<i64>>,
}

impl Clocks {
    fn read(&mut self, zone: Tz) -> &[i64] {
        let (start, length) = (self.start, self.length);
        self.shown.entry(zone.to_string()).or_insert_with(|| {
            let mut latest = i64::MIN;
            let mut shown = Vec::with_capacity(length);
            while shown.len() < length {
                let at = start + shown.len() as i64;
                // Within a minute the clocks are changed once at most.
                let steady = offset(zone, at) == offset(zone, at + 60);
                let known = offset(zone, at);
                for at in at..at + 60 {
                    latest = latest.max(at + if steady { known } else { offset(zone, at) });
                    shown.push(latest);
                }
            }
            shown
        })
    }
}

fn offset(zone: Tz, at: i64) -> i64 {
    zone.offset_from_utc_datetime(&date(at).naive_utc()).fix().local_minus_utc().into()
}

/// The moments from 1970 to 2037 in which the clocks of a zone were changed, or will be.
fn changes(zone: Tz) -> Vec<i64> {
    let years = (0..68 * 366).map(|day| day * DAY);
    let days = years.filter(|at| offset(zone, *at) != offset(zone, at + DAY));
    let exact = |from: i64| {
        let (mut before, mut after) = (from, from + DAY);
        while after - before > 1 {
            let middle = before.midpoint(after);
            if offset(zone, middle) == offset(zone, before) {
                before = middle;
            } else {
                after = middle;
            }
        }
        after
    };
    days.map(exact).collect()
}

/// A calendar that was made up, and what is open and frozen at every second.
struct Made {
    start: i64,
    windows: Vec<Window>,
    texts: Vec<String>,
    freezes: Vec<Freeze>,
    begins: Vec<bool>,
    open: Vec<bool>,
    frozen: Vec<bool>,
    /// For every second: the next at which something may begin, and at which an opening begins; the length where there is none.
    next_open: Vec<usize>,
    next_opening: Vec<usize>,
    next_closed: Vec<usize>,
    /// For every second: since when it has been as it is, open or not; and how many openings began before it.
    since: Vec<usize>,
    begun: Vec<usize>,
}

impl Made {
    fn make(chance: &mut Chance, zone: Tz, change: i64) -> Self {
        let start = change - ASKED - AROUND;
        let start = start - start.rem_euclid(60);
        let length = usize::try_from(2 * (ASKED + AROUND)).unwrap();
        let mut clocks = Clocks { start, length, shown: BTreeMap::new() };
        let none = || vec![false; length];
        let (windows, texts, freezes) = (Vec::new(), Vec::new(), Vec::new());
        let (begins, open, frozen) = (none(), none(), none());
        let (next_open, next_opening, next_closed) = (Vec::new(), Vec::new(), Vec::new());
        let (since, begun) = (Vec::new(), Vec::new());
        let mut it = Self {
            start,
            windows,
            texts,
            freezes,
            begins,
            open,
            frozen,
            next_open,
            next_opening,
            next_closed,
            since,
            begun,
        };
        for _ in 0..=chance.below(3) {
            let zone = if chance.one_in(4) { chance.of(&ZONES) } else { zone };
            it.add_window(chance, zone, change, &mut clocks);
        }
        if chance.one_in(3) {
            it.add_freeze(chance, zone, change, &mut clocks);
        }
        it.next_open = nexts(length, |n| it.may(n));
        it.next_opening = nexts(length, |n| it.opens(n));
        it.next_closed = nexts(length, |n| !it.may(n));
        let (mut since, mut begun) = (0, 0);
        for n in 0..length {
            if n > 0 && it.may(n) != it.may(n - 1) {
                since = n;
            }
            it.since.push(since);
            it.begun.push(begun);
            begun += usize::from(it.begins[n]);
        }
        it
    }

    fn add_window(&mut self, chance: &mut Chance, zone: Tz, change: i64, clocks: &mut Clocks) {
        let seconds = match chance.below(5) {
            0 => 1 + chance.below(90),
            1 => 60 * (1 + chance.below(90)),
            2 => 3600 * (1 + chance.below(24)),
            3 => 1 + chance.below(DAY as u64),
            _ => 1 + chance.below(LONGEST),
        };
        let times = Times::make(chance, change + offset(zone, change - 1));
        let text = times.text(chance);
        let (mut open_until, mut before) = (0, None);
        let mut days = BTreeMap::new();
        for (n, latest) in clocks.read(zone).iter().enumerate() {
            // All that the clock has come to since the second before: more than one where time was skipped, none where it was
            // put back.
            let mut news = before.map_or(*latest, |it| it + 1)..=*latest;
            if news.any(|shown| times.names(shown, &mut days)) {
                self.begins[n] = true;
                open_until = n + seconds as usize;
            }
            self.open[n] |= n < open_until;
            before = Some(*latest);
        }
        self.windows.push(Window {
            name: None,
            open: cron(&text),
            duration: Duration::from_secs(seconds),
            timezone: zone,
        });
        self.texts.push(format!("{text:?} {zone} for {seconds}s"));
    }

    fn add_freeze(&mut self, chance: &mut Chance, zone: Tz, change: i64, clocks: &mut Clocks) {
        let begins = change - ASKED + chance.below(2 * ASKED as u64) as i64;
        let when = if chance.one_in(2) {
            let ends = begins + 1 + chance.below(20 * HOUR as u64) as i64;
            let n = |at: i64| usize::try_from(at - self.start).unwrap();
            self.frozen[n(begins)..n(ends)].fill(true);
            When::Once(Span { from: moment(begins), to: moment(ends) })
        } else {
            let (first, last) = (date(begins), date(begins + DAY));
            let day = |it: DateTime<Utc>| Day { month: it.month(), day: it.day() };
            for (n, latest) in clocks.read(zone).iter().enumerate() {
                let today = date(*latest);
                self.frozen[n] |= (today.month(), today.day()) == (first.month(), first.day());
            }
            When::Yearly { from: day(first), to: day(last), timezone: zone }
        };
        self.freezes.push(Freeze { name: "freeze".into(), when });
    }

    fn may(&self, n: usize) -> bool {
        self.open[n] && !self.frozen[n]
    }

    /// Whether an opening begins: a window opens, or a freeze ends within one.
    fn opens(&self, n: usize) -> bool {
        !self.frozen[n] && (self.begins[n] || (n > 0 && self.frozen[n - 1] && self.open[n]))
    }

    fn at(&self, n: usize) -> Timestamp {
        moment(self.start + n as i64)
    }

    /// Asks for one moment: the whole second `n`, and so many milliseconds.
    #[track_caller]
    fn check(&self, case: u64, n: usize, ms: u64) {
        let calendar = Calendar { windows: &self.windows, freezes: &self.freezes };
        let at = self.at(n).plus(Duration::from_millis(ms));
        let place = || format!("case {case} at {at}: {:?} {:?}", self.texts, self.freezes);
        let length = self.open.len();
        let same = |said: Option<Timestamp>, shown: usize| match shown < length {
            true => said == Some(self.at(shown)),
            false => said.is_none_or(|it| it >= self.at(length)),
        };
        assert_eq!(calendar.is_open(at), self.may(n), "is open: {}", place());
        assert_eq!(calendar.frozen(at).is_some(), self.frozen[n], "is frozen: {}", place());
        let from = if ms == 0 { n } else { n + 1 };
        let (said, shown) = (calendar.opens_from(at), self.next_opening[from]);
        assert!(same(said, shown), "opens from: {said:?}, not {}; {}", self.at(shown), place());
        let said = calendar.open_from(at);
        match self.may(n) {
            true => assert_eq!(said, Some(at), "open from: {}", place()),
            false => assert!(same(said, self.next_open[n]), "open from: {said:?}; {}", place()),
        }
        let covering = calendar.covering(at);
        assert_eq!(covering.is_some(), self.may(n), "covering: {}", place());
        let Some(opening) = covering else { return };
        let (from, to) = (self.since[n], self.next_closed[n]);
        // What opened before the clock was read is not seen, and of windows that hardly ever close only a part is said to be open.
        if from as u64 > LONGEST && to < length && self.begun[to] - self.begun[from] < 60 {
            assert_eq!((opening.opens, opening.closes), (self.at(from), self.at(to)), "covering: {}", place());
        }
    }
}

/// For every index, the first from it on that is so; the length where there is none, for the index behind the last too.
fn nexts(length: usize, is: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut next = vec![length; length + 1];
    for n in (0..length).rev() {
        next[n] = if is(n) { n } else { next[n + 1] };
    }
    next
}

fn moment(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1000)
}

/// Asks around everything that changes within the 72 hours, around the change of the clocks, and here and there.
fn ask(case: u64, chance: &mut Chance, made: &Made, change: i64) -> u64 {
    let n = |at: i64| usize::try_from(at - made.start).unwrap();
    let (from, to) = (n(change - ASKED), n(change + ASKED));
    let edges = (from..to)
        .filter(|n| made.begins[*n] || made.open[*n] != made.open[*n - 1] || made.frozen[*n] != made.frozen[*n - 1]);
    let edges: Vec<_> = edges.collect();
    let (mut asked, step) = (0, (edges.len() / 60).max(1));
    let near: Vec<_> = edges.iter().copied().skip(chance.below(step as u64) as usize).step_by(step).collect();
    let anywhere = (0..60).map(|_| from + chance.below((to - from) as u64) as usize);
    for n in near.into_iter().chain([n(change)]).chain(anywhere.collect::<Vec<_>>()) {
        for (n, ms) in [(n - 1, 0), (n - 1, 999), (n, 0), (n, 1), (n, 500), (n + 1, 0)] {
            made.check(case, n, ms);
            asked += 1;
        }
    }
    asked
}

#[test]
fn windows_and_freezes_are_what_a_clock_that_is_read_second_by_second_shows() {
    let cases = std::env::var("CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(CASES);
    let first = std::env::var("SEED").ok().and_then(|it| it.parse().ok()).unwrap_or(0);
    let changes: Vec<_> = ZONES.into_iter().map(|it| (it, changes(it))).collect();
    let skipped = date(1_325_239_200).naive_utc();
    assert_eq!(skipped.to_string(), "2011-12-30 10:00:00", "Samoa went on with the 31st");
    let mut asked = 0;
    for case in first..first + cases {
        let mut chance = Chance(case);
        chance.below(2);
        let (zone, changes) = &changes[usize::try_from(case % ZONES.len() as u64).unwrap()];
        let change = match *zone {
            Tz::Pacific__Apia if chance.one_in(2) => skipped.and_utc().timestamp(),
            // And now and then just any moment.
            _ if chance.one_in(8) => (chance.below(68 * 365) as i64) * DAY + chance.below(DAY as u64) as i64,
            _ => chance.of(changes),
        };
        let made = Made::make(&mut chance, *zone, change);
        asked += ask(case, &mut chance, &made, change);
    }
    println!(
        "{cases} calendars, {asked} moments asked for, {} changes of clocks",
        changes.iter().map(|it| it.1.len()).sum::<usize>()
    );
}

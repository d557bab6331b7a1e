//! The values of a config that are more than text and numbers, each read so that its error says what to write.
use super::settings::{self, Removals};
use crate::core::policy::RotateBefore;
use crate::humane::{HumanDuration, opening};
use chrono::{TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;

/// A time zone by its name in the IANA database.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Zone(pub(super) Tz);

impl TryFrom<String> for Zone {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| {
            let names = chrono_tz::TZ_VARIANTS.iter().map(|it| it.name());
            let is_offset = text.starts_with(['+', '-']) || text.starts_with(|it: char| it.is_ascii_digit());
            let is_short = text.len() <= 5 && text.bytes().all(|it| it.is_ascii_uppercase());
            let hint = match text.as_str() {
                _ if is_offset => {
                    "write a name such as Europe/London: an offset does not follow summer time".to_owned()
                }
                _ if is_short => "write a name such as Europe/London: abbreviations mean several zones".to_owned(),
                _ => super::suggest::hint(&text, names).0.unwrap_or("write a name such as Europe/London".into()),
            };
            format!("unknown time zone {text:?}; {hint}")
        })
    }
}

/// A cron expression that fires.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Schedule {
    /// The expression.
    pub(super) cron: Cron,
    /// Whether its weekdays are numbers, which two traditions count differently.
    pub(super) numeric_weekdays: bool,
}

impl TryFrom<String> for Schedule {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let fields = text.split_whitespace().count();
        if !(5..=6).contains(&fields) {
            let fields = if fields == 1 { "1 field".to_owned() } else { format!("{fields} fields") };
            return Err(format!(
                "cron expression {text:?} has {fields}; write 5 (minute hour day month weekday), or 6 with seconds first"
            ));
        }
        // The parser takes a list of nothing for one that never comes.
        if let Some(list) = text.split_whitespace().find(|it| it.split(',').any(str::is_empty)) {
            return Err(format!(
                "cron expression {text:?}: the list {list:?} has nothing between two commas, or at an end; write it without \
                 that comma"
            ));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(&text).map_err(|why| {
            if let Some(why) = backward_range(&text, &parser) {
                return format!("cron expression {text:?}: {why}");
            }
            let why = wrong_field(&text, &parser).unwrap_or_else(|| plain(&why.to_string()));
            format!(
                "cron expression {text:?}: {why}; write such as \"0 22 * * Mon-Thu\" (minute hour day month weekday)"
            )
        })?;
        // No year is in the expression, so that any start tells as well as now whether it ever fires.
        let start = Utc.timestamp_opt(1_767_225_600, 0).single();
        if start.is_none_or(|it| cron.find_next_occurrence(&it, false).is_err()) {
            let means = opening::cron(&cron);
            return Err(format!("cron expression {text:?} never fires: {means}; write a day that its months have"));
        }
        let weekday = text.split_whitespace().last().unwrap_or("*");
        let numeric_weekdays =
            weekday.split(['#', '/']).next().is_some_and(|it| it.bytes().any(|b| b.is_ascii_digit()));
        Ok(Self { cron, numeric_weekdays })
    }
}

/// A field of a cron expression: what it may be, and what it begins and ends with.
struct Field {
    name: &'static str,
    may_be: &'static str,
    first: &'static str,
    last: &'static str,
}

const FIELDS: [Field; 6] = [
    Field { name: "second", may_be: "0 to 59", first: "0", last: "59" },
    Field { name: "minute", may_be: "0 to 59", first: "0", last: "59" },
    Field { name: "hour", may_be: "0 to 23", first: "0", last: "23" },
    Field { name: "day of the month", may_be: "1 to 31, or L for the last", first: "1", last: "31" },
    Field { name: "month", may_be: "1 to 12, or Jan to Dec", first: "Jan", last: "Dec" },
    Field { name: "weekday", may_be: "Sun to Sat", first: "Sun", last: "Sat" },
];

/// One field as it is written, among how many, the how-manieth, and which it is.
struct Part<'a> {
    text: &'a str,
    place: (usize, usize),
    is: &'static Field,
}

impl Part<'_> {
    /// Whether this text is right in its place, with nothing said in all others.
    fn reads(&self, text: &str, parser: &CronParser) -> bool {
        let (place, all) = self.place;
        let alone: Vec<&str> = (0..all).map(|it| if it == place { text } else { "*" }).collect();
        parser.parse(&alone.join(" ")).is_ok()
    }
}

/// The fields of a cron expression; none where it has more than there are.
fn parts(text: &str) -> Option<Vec<Part<'_>>> {
    let texts: Vec<&str> = text.split_whitespace().collect();
    let all = texts.len();
    let fields = FIELDS.get(FIELDS.len().checked_sub(all)?..)?;
    let part = |(place, (text, is))| Part { text, place: (place, all), is };
    Some(texts.into_iter().zip(fields).enumerate().map(part).collect())
}

/// A range that goes on after the end of its field, such as `22-2` and `Fri-Mon`, with what to write for it.
fn backward_range(text: &str, parser: &CronParser) -> Option<String> {
    parts(text)?.iter().find_map(|part| {
        let Field { name, first, last, .. } = part.is;
        let reads = |it: &str| part.reads(it, parser);
        part.text.split(',').find_map(|range| {
            let (plain, step) = range.split_at(range.find('/').unwrap_or(range.len()));
            let (from, to) = plain.split_once('-')?;
            if reads(plain) || !reads(from) || !reads(to) {
                return None;
            }
            let piece = |from: &str, to: &str| if from == to { from.to_owned() } else { format!("{from}-{to}{step}") };
            let (before, after) = (piece(from, last), piece(first, to));
            Some(format!(
                "its {name} {range:?} ends before it begins; write {before},{after} for a range that goes past {last}"
            ))
        })
    })
}

/// Which field of a cron expression is wrong, in words; none where all of them are right by themselves.
fn wrong_field(text: &str, parser: &CronParser) -> Option<String> {
    let parts = parts(text)?;
    let wrong = parts.iter().find(|it| !it.reads(it.text, parser))?;
    let Field { name, may_be, .. } = wrong.is;
    Some(format!("its {name} is {:?}, but that is a number, a list, a range or a step of {may_be}", wrong.text))
}

/// The parser's words, as a part of a sentence.
fn plain(why: &str) -> String {
    let why = why.trim_start_matches("Component error: ").trim_start_matches("Invalid pattern: ").trim_end_matches('.');
    let mut letters = why.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// A duration that is not nothing.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "HumanDuration")]
pub(super) struct Span(pub(super) Duration);

impl TryFrom<HumanDuration> for Span {
    type Error = &'static str;
    fn try_from(it: HumanDuration) -> Result<Self, &'static str> {
        if it.0.is_zero() { Err("a duration of nothing; write more than 0s") } else { Ok(Self(it.0)) }
    }
}

/// A lead time, or a share of the lifetime in percent.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "LeadText")]
pub(super) struct Lead(pub(super) RotateBefore);

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a duration or a share of the lifetime in quotes, such as \"14d\" or \"33%\"")]
enum LeadText {
    Text(String),
}

impl TryFrom<LeadText> for Lead {
    type Error = String;
    fn try_from(LeadText::Text(text): LeadText) -> Result<Self, String> {
        Self::try_from(text)
    }
}

impl TryFrom<String> for Lead {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let Some(number) = text.trim().strip_suffix('%') else {
            let lead: HumanDuration = text.parse().map_err(|it: crate::humane::DurationError| it.to_string())?;
            return Span::try_from(lead).map(|it| Self(RotateBefore::Lead(it.0))).map_err(str::to_owned);
        };
        match number.trim().parse::<f64>() {
            Ok(share) if share > 0.0 && share < 100.0 => Ok(Self(RotateBefore::Share(share))),
            _ => Err(format!("{text:?} is no share of a lifetime; write more than 0% and less than 100%, such as 33%")),
        }
    }
}

/// How many keys a reload may drop: a number of them, or a share in percent.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub(super) struct Most(pub(super) Removals);

#[derive(Deserialize)]
#[serde(untagged, expecting = "neither a number of keys nor a share of them; write 20, or \"10%\"")]
pub(super) enum NumberOrText {
    Number(u32),
    Text(String),
}

impl TryFrom<NumberOrText> for Most {
    type Error = String;
    fn try_from(it: NumberOrText) -> Result<Self, String> {
        let text = match it {
            NumberOrText::Number(keys) => return Ok(Self(Removals::Keys(keys as usize))),
            NumberOrText::Text(text) => text,
        };
        let share = text.trim().strip_suffix('%').and_then(|it| it.trim().parse::<f64>().ok());
        let share = share.filter(|it| (0.0..=100.0).contains(it));
        share
            .map(|it| Self(Removals::Share(it)))
            .ok_or(format!("{text:?} is no share of the keys; write 0% to 100%, such as \"10%\", or a number of keys"))
    }
}

/// An address and a port to listen at.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Address(pub(super) SocketAddr);

impl TryFrom<String> for Address {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let hint = "write both as numbers, such as 127.0.0.1:8642 or [::1]:8642";
        text.parse().map(Self).map_err(|_| format!("{text:?} is no address with a port; {hint}"))
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Size(pub(super) u64);

impl TryFrom<String> for Size {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let text = text.trim();
        let split = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
        let unit = match text[split..].trim() {
            "B" => Some(1),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            _ => None,
        };
        let bytes = text[..split].parse::<u64>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
        bytes.map(Self).ok_or(format!("{text:?} is no size; write a number and B, KiB, MiB or GiB, such as 16MiB"))
    }
}

/// A user, or a group with an `@`, as `/etc/passwd` and `/etc/group` name them.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Operator(pub(super) settings::Operator);

/// The longest name of a user or a group, in bytes: that of Linux.
const ACCOUNT_BYTES: usize = 32;

impl TryFrom<String> for Operator {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let (name, is_group) = text.strip_prefix('@').map_or((text.as_str(), false), |it| (it, true));
        let usual = |it: char| it.is_alphanumeric() || matches!(it, '_' | '-' | '.' | '$');
        let numeric = name.bytes().all(|it| it.is_ascii_digit());
        if name.len() > ACCOUNT_BYTES || name.starts_with('-') || numeric || !name.chars().all(usual) {
            return Err(format!("{text:?} names no user or group; write a user's name, or @ and a group's name"));
        }
        let name = name.to_owned();
        Ok(Self(if is_group { settings::Operator::Group(name) } else { settings::Operator::User(name) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error<T: TryFrom<String, Error = String>>(text: &str) -> String {
        T::try_from(text.to_owned()).err().unwrap_or_default()
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(Size::try_from("16MiB".to_owned()).unwrap().0, 16 << 20);
        assert_eq!(Size::try_from("1 GiB".to_owned()).unwrap().0, 1 << 30);
        for bad in ["16", "16 M", "MiB", "-1B", "99999999999GiB", "1.5GiB", ""] {
            assert!(error::<Size>(bad).contains("such as 16MiB"), "{bad}");
        }
    }

    #[test]
    fn a_lead_is_a_duration_or_a_share() {
        let read = |text: &str| Lead::try_from(text.to_owned()).unwrap().0;
        assert_eq!(read("14d"), RotateBefore::Lead(Duration::from_secs(14 * 86_400)));
        assert_eq!(read("33%"), RotateBefore::Share(33.0));
        assert_eq!(read("12.5 %"), RotateBefore::Share(12.5));
        for bad in ["0%", "100%", "-3%", "NaN%", "x%", "%", "0s", "1M", "5"] {
            assert!(error::<Lead>(bad).contains("write"), "{bad}");
        }
    }

    #[test]
    fn as_many_keys_may_be_dropped_as_are_written_and_five_at_any_rate() {
        let read = |text: &str| Most::try_from(NumberOrText::Text(text.to_owned()));
        assert_eq!(read("10%").unwrap().0.of(100), 10);
        assert_eq!(read("10 %").unwrap().0.of(59), 5);
        assert_eq!(read("0%").unwrap().0.of(1000), 5);
        assert_eq!(Most::try_from(NumberOrText::Number(30)).unwrap().0.of(40), 30);
        for bad in ["", "10", "101%", "-1%", "x%", "NaN%"] {
            assert!(read(bad).err().unwrap().contains("such as \"10%\""), "{bad}");
        }
    }

    #[test]
    fn schedules_fire_and_have_five_or_six_fields() {
        for good in ["*/5 * * * *", "0 0 22 * * Mon-Thu", "0 0 29 2 *", "0 3 L * *", "0 0 * * Mon#1"] {
            let read = Schedule::try_from(good.to_owned()).unwrap();
            assert!(!read.numeric_weekdays, "{good}");
        }
        for numeric in ["0 0 * * 1-5", "0 0 * * 7", "0 0 0 * * 0"] {
            assert!(Schedule::try_from(numeric.to_owned()).unwrap().numeric_weekdays, "{numeric}");
        }
        for bad in ["@daily", "* * * *", "0 0 0 1 1 * 2030", "61 * * * *", "0 0 30 2 *", "0 0 * * Mno", ""] {
            assert!(!error::<Schedule>(bad).is_empty(), "{bad}");
        }
    }

    #[test]
    fn a_wrong_cron_expression_is_told_with_the_field_that_is_wrong_and_what_it_means() {
        for (bad, why) in [
            ("61 * * * *", "its minute is \"61\", but that is a number, a list, a range or a step of 0 to 59"),
            ("0 0 24 * * *", "its hour is \"24\""),
            ("0 22 * * Mno", "its weekday is \"Mno\""),
            ("0 0 31 2 *", "never fires: on day 31 of the month in February at 00:00"),
            ("@daily", "has 1 field; write 5"),
            ("0 22 * * ,", "the list \",\" has nothing between two commas, or at an end"),
            ("0 22 1, * *", "the list \"1,\" has nothing"),
            ("0 22-2 * * *", "its hour \"22-2\" ends before it begins; write 22-23,0-2 for a range that goes past 23"),
            ("0 22 * * Sat-Mon", "write Sat,Sun-Mon"),
            ("0 0 22 * Nov-Jan *", "write Nov-Dec,Jan for"),
            ("50-10 22 * * *", "write 50-59,0-10"),
            ("0 22-6/2 * * *", "its hour \"22-6/2\" ends before it begins; write 22-23/2,0-6/2 for"),
            ("0 23-6/2 * * *", "write 23,0-6/2 for"),
        ] {
            let said = error::<Schedule>(bad);
            assert!(said.contains(why), "{bad}: {said}");
        }
        for good in ["0 22-23,0-2 * * *", "0 22 * * Sat,Sun-Mon", "0 22 * * Fri-Sat,Sun-Mon", "0 0 22 * Nov-Dec,Jan *"]
        {
            assert!(Schedule::try_from(good.to_owned()).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_zone_that_is_misspelt_is_named_with_the_right_one() {
        assert_eq!(Zone::try_from("Europe/London".to_owned()).unwrap().0, Tz::Europe__London);
        assert_eq!(error::<Zone>("Europe/Lodon"), "unknown time zone \"Europe/Lodon\"; did you mean `Europe/London`?");
        assert!(error::<Zone>("GMT+25 (mine)").contains("such as Europe/London"));
        assert!(error::<Zone>("+01:00").contains("does not follow summer time"));
        assert!(error::<Zone>("CEST").contains("mean several zones"));
    }

    #[test]
    fn operators_are_users_and_groups_by_name() {
        let read = |text: &str| Operator::try_from(text.to_owned()).unwrap().0;
        assert_eq!(read("anna"), settings::Operator::User("anna".to_owned()));
        assert_eq!(read("@on.call-2"), settings::Operator::Group("on.call-2".to_owned()));
        for bad in ["", "@", "@@oncall", "anna bert", "1000", "-anna", "anna,bert", "a:b", &"a".repeat(33)] {
            assert!(error::<Operator>(bad).contains("a group's name"), "{bad}");
        }
    }
}

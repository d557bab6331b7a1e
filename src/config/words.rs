//! The values of a config that are more than text and numbers, each read so that its error says what to write.
use super::settings;
use crate::core::policy::RotateBefore;
use crate::humane::HumanDuration;
use chrono::{TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use serde::Deserialize;
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
            let hint = super::suggest::hint(&text, names).0.unwrap_or("write a name such as Europe/London".into());
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
            return Err(format!(
                "cron expression {text:?} has {fields} fields; write 5 (minute hour day month weekday), or 6 with \
                 seconds first"
            ));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(&text).map_err(|why| {
            let why = plain(&why.to_string());
            format!(
                "cron expression {text:?}: {why}; write such as \"0 22 * * Mon-Thu\" (minute hour day month weekday)"
            )
        })?;
        // No year is in the expression, so that any start tells as well as now whether it ever fires.
        let start = Utc.timestamp_opt(1_767_225_600, 0).single();
        if start.is_none_or(|it| cron.find_next_occurrence(&it, false).is_err()) {
            return Err(format!("cron expression {text:?} never fires; write a day that its months have"));
        }
        let weekday = text.split_whitespace().last().unwrap_or("*");
        let numeric_weekdays =
            weekday.split(['#', '/']).next().is_some_and(|it| it.bytes().any(|b| b.is_ascii_digit()));
        Ok(Self { cron, numeric_weekdays })
    }
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
#[serde(try_from = "String")]
pub(super) struct Lead(pub(super) RotateBefore);

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
    fn a_zone_that_is_misspelt_is_named_with_the_right_one() {
        assert_eq!(Zone::try_from("Europe/London".to_owned()).unwrap().0, Tz::Europe__London);
        assert_eq!(error::<Zone>("Europe/Lodon"), "unknown time zone \"Europe/Lodon\"; did you mean `Europe/London`?");
        assert!(error::<Zone>("GMT+25 (mine)").contains("such as Europe/London"));
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

//! `[freezes.NAME]`.
use super::document::Document;
use super::fault::Findings;
use super::keys::{Parts, Read};
use super::section::Section;
use super::settings::NamedFreeze;
use super::written::{self, FrozenKeys};
use crate::core::freeze::{Day, Freeze, Span, When, begin_of};
use crate::core::names::KeyName;
use crate::core::time::Timestamp;
use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::collections::BTreeMap;
use toml::Spanned;
use toml::value::Datetime;

/// Reads every `[freezes.NAME]`. One that can't be read is missing here, though its name is known.
pub(super) fn freezes(document: &Document<'_>, timezone: Tz, findings: &mut Findings) -> BTreeMap<String, NamedFreeze> {
    let mut freezes = BTreeMap::new();
    for (name, section) in &document.freezes {
        let reading = section.read_as::<written::Freeze>(&[], findings);
        let Some(written) = reading.value.filter(|_| reading.clean) else { continue };
        let timezone = written.timezone.map_or(timezone, |it| it.0);
        if let Some(when) = when(section, &written, timezone, findings) {
            let freeze = Freeze { name: name.clone(), when };
            freezes.insert(name.clone(), NamedFreeze { freeze, all: written.keys == FrozenKeys::All });
        }
    }
    freezes
}

/// The freezes that concern a key: those of all keys, and those that it names.
pub(super) fn of_key(freezes: &BTreeMap<String, NamedFreeze>, named: &[Spanned<String>]) -> Vec<Freeze> {
    let concern = |name: &String, it: &NamedFreeze| it.all || named.iter().any(|it| it.get_ref() == name);
    freezes.iter().filter(|(name, it)| concern(name, it)).map(|(_, it)| it.freeze.clone()).collect()
}

/// Warns of a freeze that concerns no key.
pub(super) fn warn_of_unused(parts: &Parts<'_, '_>, keys: &BTreeMap<KeyName, Read>, findings: &mut Findings) {
    let policies = || keys.values().filter_map(|it| it.policy.as_ref());
    for name in parts.freezes.iter().filter(|(_, it)| !it.all).map(|(name, _)| name) {
        let used = policies().any(|it| it.freezes.iter().any(|it| it.name == *name));
        if let Some(section) = parts.document.freezes.get(name).filter(|_| !used) {
            let hint = format!("write freezes = [\"{name}\"] at the keys that it is for, or keys = \"all\" here");
            findings.warning(section.at(), format!("no key names freeze `{name}`"), hint);
        }
    }
}

/// One end of a freeze, as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    /// `2026-12-18`: the day begins in the freeze's zone.
    Date(NaiveDate),
    /// `2026-12-18T18:00:00+01:00`.
    Moment(Timestamp),
    /// `"12-18"`: in every year.
    Day(Day),
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(from)? {
            toml::Value::Datetime(it) => bound(&it),
            toml::Value::String(it) => day(&it),
            other => Err(format!("expected a date, found {}; {WRITE}", super::document::a(other.type_str()))),
        }
        .map_err(D::Error::custom)
    }
}

/// What one may write.
const WRITE: &str = "write a day without quotes (2026-12-18), a moment with its offset (2026-12-18T18:00:00Z), or a day of \
                     every year in quotes (\"12-18\")";

fn bound(written: &Datetime) -> Result<Bound, String> {
    match (written.date, written.time, written.offset) {
        (Some(date), None, _) => {
            let day = NaiveDate::from_ymd_opt(date.year.into(), date.month.into(), date.day.into());
            day.map(Bound::Date).ok_or(format!("there is no day {date}; {WRITE}"))
        }
        (Some(_), Some(_), Some(_)) => match DateTime::parse_from_rfc3339(&written.to_string()) {
            Ok(moment) => Ok(Bound::Moment(moment.with_timezone(&Utc).into())),
            Err(_) => Err(format!("there is no moment {written}; {WRITE}")),
        },
        (Some(_), Some(_), None) => Err(format!("{written} has no offset from UTC; write it, such as {written}Z")),
        (None, ..) => Err(format!("{written} has no date; {WRITE}")),
    }
}

fn day(written: &str) -> Result<Bound, String> {
    let parts = written.split_once('-').filter(|(month, day)| [month.len(), day.len()] == [2, 2]);
    let day = parts.and_then(|(month, day)| Some(Day { month: month.parse().ok()?, day: day.parse().ok()? }));
    // A leap year has all the days that any year has.
    let exists = |it: &Day| NaiveDate::from_ymd_opt(2024, it.month, it.day).is_some();
    day.filter(exists).map(Bound::Day).ok_or(format!("{written:?} is no day of every year; {WRITE}"))
}

fn when(section: &Section<'_>, written: &written::Freeze, timezone: Tz, findings: &mut Findings) -> Option<When> {
    let (from, to) = (*written.from.get_ref(), *written.to.get_ref());
    let at = section.place(&written.to.span());
    let (when, ordered) = match (from, to) {
        (Bound::Date(first), Bound::Date(last)) => {
            let span = Span { from: begin_of(first, timezone)?, to: begin_of(last, timezone)? };
            (When::Once(span), first < last)
        }
        (Bound::Moment(from), Bound::Moment(to)) => (When::Once(Span { from, to }), from < to),
        (Bound::Day(from), Bound::Day(to)) => (When::Yearly { from, to, timezone }, from != to),
        _ => {
            let message = "`from` and `to` are written in two different ways";
            findings.fault(at, message, "write two days, two moments with their offset, or two days of every year");
            return None;
        }
    };
    if !ordered {
        let message = format!("a freeze from {} to {} is empty", shown(from), shown(to));
        findings.fault(at, message, "`to` is the first day, or moment, without it");
        return None;
    }
    Some(when)
}

fn shown(it: Bound) -> String {
    match it {
        Bound::Date(it) => it.to_string(),
        Bound::Moment(it) => it.to_string(),
        Bound::Day(it) => format!("{:02}-{:02}", it.month, it.day),
    }
}

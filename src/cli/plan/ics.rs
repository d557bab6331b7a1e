//! A plan as an iCalendar (RFC 5545), which calendar programs import.
use crate::cli::output::one_line;
use crate::control::protocol::{PlanEntry, PlanReport, Time};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The longest line, in octets, its end not counted (RFC 5545, section 3.1).
const LINE_OCTETS: usize = 75;

/// The calendar. What is only looked at, a probe, is no event.
pub fn calendar(report: &PlanReport) -> String {
    let mut text = String::new();
    for (name, value) in [
        ("BEGIN", "VCALENDAR"),
        ("VERSION", "2.0"),
        ("PRODID", concat!("-//rekeyd//rekeyd ", env!("CARGO_PKG_VERSION"), "//EN")),
        ("CALSCALE", "GREGORIAN"),
        ("METHOD", "PUBLISH"),
        ("X-WR-CALNAME", "rekeyd"),
    ] {
        line(&mut text, name, value);
    }
    let mut seen = BTreeMap::new();
    for entry in report.entries.iter().filter(|it| it.action != "probe") {
        event(&mut text, entry, report, &mut seen);
    }
    line(&mut text, "END", "VCALENDAR");
    text
}

/// How often something of one version was met.
type Seen<'a> = BTreeMap<(&'a str, &'a str, u32, &'a str), u32>;

fn event<'a>(text: &mut String, it: &'a PlanEntry, report: &PlanReport, seen: &mut Seen<'a>) {
    let what = (it.key_name(), it.action.as_str(), it.version.unwrap_or_default(), it.reason.as_str());
    // A reminder comes several times for one version; all else comes once, so that what moves it is no other event.
    let nth = seen
        .entry(if ["notify", "digest"].contains(&it.action.as_str()) { what } else { (what.0, what.1, what.2, "") })
        .or_default();
    *nth += 1;
    let uid = uid(report.install.as_deref(), it, *nth);
    line(text, "BEGIN", "VEVENT");
    line(text, "UID", &uid);
    line(text, "DTSTAMP", &moment(report.now));
    line(text, "DTSTART", &moment(it.at));
    line(
        text,
        "SUMMARY",
        &escaped(&format!("{} {}", it.action, it.key.as_ref().map_or(it.owners.join(", "), ToString::to_string))),
    );
    line(text, "DESCRIPTION", &escaped(&description(it)));
    let mut categories = vec!["rekeyd".to_owned(), it.action.clone()];
    categories.extend(it.provider.clone());
    categories.extend(it.owners.iter().cloned());
    let categories: Vec<String> = categories.iter().map(|it| escaped(it)).collect();
    line(text, "CATEGORIES", &categories.join(","));
    // Nobody is busy meanwhile.
    line(text, "TRANSP", "TRANSPARENT");
    line(text, "END", "VEVENT");
}

fn description(it: &PlanEntry) -> String {
    let mut lines = vec![it.message.clone()];
    if let Some(window) = &it.window {
        let name = window.name.as_ref().map(|it| format!(" {it}")).unwrap_or_default();
        lines.push(format!("window{name}: {} to {}", window.opens, window.closes));
    }
    lines.extend(it.valid_to.map(|at| format!("version {} is valid until {at}", it.version.unwrap_or_default())));
    lines.join("\n")
}

/// The same for the same event of a later plan, wherever that puts it; another one for each installation.
fn uid(install: Option<&str>, it: &PlanEntry, nth: u32) -> String {
    let mut hash = Sha256::new();
    let version = it.version.unwrap_or_default().to_string();
    let reason = if it.action == "notify" { it.reason.as_str() } else { "" };
    let about = it.key.as_ref().map_or_else(|| it.owners.join(","), ToString::to_string);
    for part in [install.unwrap_or_default(), &about, &it.action, &version, reason, &nth.to_string()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let hash: String = hash.finalize().iter().take(16).map(|it| format!("{it:02x}")).collect();
    format!("{hash}@rekeyd")
}

fn moment(at: Time) -> String {
    at.0.datetime().map_or_else(String::new, |it| it.format("%Y%m%dT%H%M%SZ").to_string())
}

/// A text as a property takes it (RFC 5545, section 3.3.11).
fn escaped(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(one_line).collect();
    let escape = |it: &String| it.replace('\\', "\\\\").replace(';', "\\;").replace(',', "\\,");
    lines.iter().map(escape).collect::<Vec<_>>().join("\\n")
}

/// One line of content, folded so that no part of it is too long, nor breaks a character.
fn line(text: &mut String, name: &str, value: &str) {
    let mut octets = 0;
    for letter in format!("{name}:{value}").chars() {
        if octets + letter.len_utf8() > LINE_OCTETS {
            text.push_str("\r\n ");
            octets = 1;
        }
        text.push(letter);
        octets += letter.len_utf8();
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_folded_between_characters_and_reads_back() {
        let value = "ä€😀, ".repeat(40);
        let mut text = String::new();
        line(&mut text, "DESCRIPTION", &value);
        assert!(text.split("\r\n").all(|it| it.len() <= LINE_OCTETS), "{text}");
        assert_eq!(text.replace("\r\n ", "").trim_end_matches("\r\n"), format!("DESCRIPTION:{value}"));
    }

    #[test]
    fn what_means_something_to_a_calendar_is_escaped() {
        assert_eq!(escaped("a,b;c\\d\ne\u{7}"), "a\\,b\\;c\\\\d\\ne ");
    }
}

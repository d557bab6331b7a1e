//! Windows and freezes in words, for `plan` and `check -v`.
use super::output::folded;
use super::times::absolute;
use crate::control::protocol::{PlanFreeze, PlanWindow, Time, WindowStatus};
use crate::core::time::Timestamp;
use chrono::{DateTime, Timelike};
use chrono_tz::Tz;
use std::fmt::Write;

/// Where what belongs to a window begins.
const INDENT: usize = 2;

/// Each of them with its next times, as seen from a moment. Empty where there is neither.
pub(super) fn text(windows: &[PlanWindow], freezes: &[PlanFreeze], now: Time, width: usize) -> String {
    let mut text = String::new();
    for it in windows {
        let name = it.name.as_deref().unwrap_or("without a name");
        let said = format!("window {name} {}{}", it.message, openings(it, freezes, now));
        let _ = writeln!(text, "{}", folded(&said, INDENT, width));
    }
    for it in freezes {
        let spans: Vec<String> =
            it.spans.iter().map(|it| format!("{} to {}", absolute(it.from), absolute(it.to))).collect();
        let next = if spans.is_empty() { "it is over".to_owned() } else { format!("next: {}", spans.join(", ")) };
        let said = format!("freeze {} {}; {next}", it.name, it.message);
        let _ = writeln!(text, "{}", folded(&said, INDENT, width));
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// `; open until Tue 02:00; next: …`: what is open now is not what comes next.
fn openings(window: &PlanWindow, freezes: &[PlanFreeze], now: Time) -> String {
    let zone: Option<Tz> = window.timezone.parse().ok();
    if window.openings.iter().any(|it| it.opens <= now && it.closes.0 == Timestamp::LAST_WRITTEN) {
        return "; it never closes, for it lasts until the next opening, or longer".to_owned();
    }
    let (open, coming): (Vec<_>, Vec<_>) = window.openings.iter().partition(|it| it.opens <= now);
    let until: Vec<String> = open.iter().map(|it| format!("; open until {}", shown(it.closes, zone))).collect();
    let opens = |it: &&WindowStatus| format!("{}{}", shown(it.opens, zone), frozen(it, freezes, zone));
    let coming: Vec<String> = coming.iter().map(opens).collect();
    let next = if coming.is_empty() { "never again".to_owned() } else { coming.join(", ") };
    let separator = if open.is_empty() { "," } else { ";" };
    format!("{}{separator} next: {next}", until.join(""))
}

/// Whether a freeze covers the beginning of an opening, and what it leaves of it.
fn frozen(opening: &WindowStatus, freezes: &[PlanFreeze], zone: Option<Tz>) -> String {
    let spans = freezes.iter().flat_map(|it| it.spans.iter().map(move |span| (&it.name, span)));
    let covering = spans.filter(|(_, it)| it.from <= opening.opens && opening.opens < it.to);
    match covering.max_by_key(|(_, it)| it.to) {
        Some((name, it)) if it.to < opening.closes => format!(" (freeze {name} until {})", shown(it.to, zone)),
        Some((name, _)) => format!(" (freeze {name})"),
        None => String::new(),
    }
}

/// `Mon 2026-11-23 22:00 +00:00`: what the clocks of the zone show, with seconds where there are any.
fn shown(at: Time, zone: Option<Tz>) -> String {
    let local = at.0.datetime().zip(zone).map(|(at, zone)| at.with_timezone(&zone));
    let format =
        |it: &DateTime<Tz>| if it.second() == 0 { "%a %Y-%m-%d %H:%M %:z" } else { "%a %Y-%m-%d %H:%M:%S %:z" };
    local.map_or_else(|| absolute(at), |it| it.format(format(&it)).to_string())
}

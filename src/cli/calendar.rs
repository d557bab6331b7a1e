//! Windows and freezes in words, for `plan -v` and `check -v`.
use super::output::folded;
use super::times::absolute;
use crate::control::protocol::{PlanFreeze, PlanWindow, Time};
use chrono_tz::Tz;
use std::fmt::Write;

/// Where what belongs to a window begins.
const INDENT: usize = 2;

/// Each of them with its next times. Empty where there is neither.
pub(super) fn text(windows: &[PlanWindow], freezes: &[PlanFreeze], width: usize) -> String {
    let mut text = String::new();
    for it in windows {
        let name = it.name.as_deref().unwrap_or("without a name");
        let zone: Option<Tz> = it.timezone.parse().ok();
        let opens: Vec<String> = it.openings.iter().map(|it| shown(it.opens, zone)).collect();
        let next = if opens.is_empty() { "never".to_owned() } else { opens.join(", ") };
        let said = format!("window {name} {}, next: {next}", it.message);
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

/// `Mon 2026-11-23 22:00 +00:00`: what the clocks of the zone show.
fn shown(at: Time, zone: Option<Tz>) -> String {
    let local = at.0.datetime().zip(zone).map(|(at, zone)| at.with_timezone(&zone));
    local.map_or_else(|| absolute(at), |it| it.format("%a %Y-%m-%d %H:%M %:z").to_string())
}

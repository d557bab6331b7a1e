//! A plan as people read it: by day, and short where it is long.
use crate::cli::calendar;
use crate::cli::output::{Paint, Row, Tone, folded, one_line, table};
use crate::cli::times::absolute;
use crate::control::protocol::{PlanEntry, PlanPeak, PlanReport, Time};
use chrono::NaiveDate;
use std::collections::BTreeMap;
use std::fmt::Write;

/// As many entries are shown one by one; more only on demand.
const WHOLE: usize = 60;
/// Of a longer plan, the first days are shown in entries,
const DAYS_OF_ENTRIES: usize = 5;
/// at most so many of each day;
const ENTRIES_A_DAY: usize = 4;
/// of the days after them it is told how much there is, for so many days.
const DAYS_OF_COUNTS: usize = 120;
/// As many warnings are shown; more only on demand.
const WARNINGS: usize = 20;
/// As many windows, and as many freezes, are explained; more only on demand.
const CALENDARS: usize = 8;
/// Why something happens stands beside it where it has this many columns, and else below it.
const ROOM: usize = 40;
/// Where the text below an entry begins.
const BELOW: usize = 9;

/// How a plan is shown.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Every entry, window, freeze and warning, however many there are.
    pub full: bool,
    /// Probes too.
    pub verbose: bool,
    /// In lines of this many columns.
    pub width: usize,
    /// Whether to paint.
    pub paint: Paint,
}

/// As people read it.
pub fn text(report: &PlanReport, view: View) -> String {
    let entries: Vec<&PlanEntry> = report.entries.iter().filter(|it| view.verbose || it.action != "probe").collect();
    let hidden = report.entries.len() - entries.len();
    let mut text = if entries.is_empty() {
        format!("nothing is planned until {}\n", absolute(report.until))
    } else {
        days(report, &entries, view)
    };
    if hidden > 0 {
        let keys = if hidden == 1 { "1 key is".to_owned() } else { format!("{hidden} keys are") };
        let _ = writeln!(text, "\n{keys} also probed, without any effect; with -v that is shown");
    }
    text += &peaks(&report.peaks, view);
    text += &calendars(report, view);
    text + &warnings(report, view)
}

fn days(report: &PlanReport, entries: &[&PlanEntry], view: View) -> String {
    let whole = view.full || entries.len() <= WHOLE;
    let days: Vec<&[&PlanEntry]> = entries.chunk_by(|a, b| date(a.at) == date(b.at)).collect();
    let (entries_of, counts_of) = if whole { (days.len(), 0) } else { (DAYS_OF_ENTRIES, DAYS_OF_COUNTS) };
    let first = days.iter().take(entries_of).copied();
    let shown = first.clone().flat_map(|day| day.iter().take(if whole { usize::MAX } else { ENTRIES_A_DAY }));
    let key = shown.map(|it| it.key_name().len()).max().unwrap_or_default();
    let mut text = format!("until {}, all times in UTC\n", absolute(report.until));
    for day in first {
        let heading = heading(day, report.now);
        let counts = if whole { String::new() } else { format!(": {}", counts(day)) };
        let _ = writeln!(text, "\n{heading}{counts}");
        let most = if whole { day.len() } else { ENTRIES_A_DAY };
        day.iter().take(most).for_each(|it| line(&mut text, it, key, view));
        if day.len() > most {
            let _ = writeln!(text, "  and {} more", day.len() - most);
        }
    }
    let counted = days.iter().skip(entries_of).take(counts_of);
    for (n, day) in counted.enumerate() {
        let gap = if n == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{gap}{}: {}", heading(day, report.now), counts(day));
    }
    let rest: Vec<_> = days.iter().skip(entries_of + counts_of).collect();
    if !rest.is_empty() {
        let entries: usize = rest.iter().map(|it| it.len()).sum();
        let _ = writeln!(text, "and {entries} more on {} later days", rest.len());
    }
    if !whole {
        let said = format!(
            "{} entries are more than {WHOLE}, so that not each of them is shown; for that: --full, or narrow it by --for, \
             --key or --owner",
            entries.len()
        );
        let _ = writeln!(text, "\n{}", folded(&said, 0, view.width));
    }
    text
}

/// `2026-12-07 Mon, in 16 days`.
fn heading(day: &[&PlanEntry], now: Time) -> String {
    let Some((date, today)) = day.first().and_then(|it| date(it.at)).zip(date(now)) else {
        return "some day".to_owned();
    };
    let relative = match (date - today).num_days() {
        0 => "today".to_owned(),
        1 => "tomorrow".to_owned(),
        n => format!("in {n} days"),
    };
    format!("{}, {relative}", date.format("%Y-%m-%d %a"))
}

/// `45 rotate, 12 revoke`.
fn counts(day: &[&PlanEntry]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    day.iter().for_each(|it| *counts.entry(&it.action).or_default() += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| (b.1, a.0).cmp(&(a.1, b.0)));
    counts.iter().map(|(action, count)| format!("{count} {action}")).collect::<Vec<_>>().join(", ")
}

fn line(text: &mut String, it: &PlanEntry, key: usize, view: View) {
    let time = it.at.0.datetime().map_or("--:--".to_owned(), |at| at.format("%H:%M").to_string());
    let tone = match (it.action.as_str(), it.reason.as_str()) {
        ("rotate", "no_window_before_expiry" | "leaves_freeze" | "budget_outside") | ("notify", _) => Some(Tone::Warn),
        _ => None,
    };
    let action = format!("{:<8}", it.action);
    let action = tone.map_or(action.clone(), |tone| view.paint.tone(tone, &action));
    let why = one_line(&it.message);
    let beside = 2 + 5 + 2 + 8 + 2 + key + 2;
    let _ = if view.width.saturating_sub(beside) >= ROOM {
        writeln!(text, "  {time}  {action}  {:<key$}  {}", it.key_name(), folded(&why, beside, view.width))
    } else {
        writeln!(text, "  {time}  {action}  {}\n{:BELOW$}{}", it.key_name(), "", folded(&why, BELOW, view.width))
    };
}

/// The fullest day of each account, with a word where it is too full.
fn peaks(peaks: &[PlanPeak], view: View) -> String {
    if peaks.is_empty() {
        return String::new();
    }
    let row = |it: &PlanPeak| -> Row {
        let tone = if it.creates > it.creates_per_day { Tone::Bad } else { Tone::Good };
        let creates = format!("{} of {}", it.creates, it.creates_per_day);
        (Some(tone), vec![it.account.to_string(), creates, absolute(it.from)])
    };
    let ascii = peaks.iter().all(|it| it.account.as_str().is_ascii());
    let paint = if ascii { view.paint } else { Paint(false) };
    let fullest = table(&["ACCOUNT", "FULLEST DAY", "FROM"], peaks.iter().map(row).collect(), paint);
    let mut text = format!("\n{fullest}");
    for it in peaks.iter().filter(|it| it.creates > it.creates_per_day) {
        let said = format!(
            "account {} would need {} creates within 24 hours, and creates_per_day is {}: some of them come later than shown",
            it.account, it.creates, it.creates_per_day
        );
        let _ = writeln!(text, "{} {}", view.paint.tone(Tone::Warn, "!"), folded(&said, 2, view.width));
    }
    text
}

/// What the windows and freezes of these keys come to, so that nobody has to read cron.
fn calendars(report: &PlanReport, view: View) -> String {
    let most = if view.full || view.verbose { usize::MAX } else { CALENDARS };
    let (windows, freezes) = (&report.windows, &report.freezes);
    let shown = |all: usize| all.min(most);
    let mut text =
        calendar::text(&windows[..shown(windows.len())], &freezes[..shown(freezes.len())], report.now, view.width);
    let rest = windows.len() + freezes.len() - shown(windows.len()) - shown(freezes.len());
    if rest > 0 {
        let _ = writeln!(text, "and {rest} more windows and freezes; -v shows them all");
    }
    text
}

fn warnings(report: &PlanReport, view: View) -> String {
    let most = if view.full { usize::MAX } else { WARNINGS };
    let mut text = String::new();
    for (n, it) in report.warnings.iter().take(most).enumerate() {
        let gap = if n == 0 { "\n" } else { "" };
        let said = folded(&format!("{}: {}", it.key, one_line(&it.message)), 2, view.width);
        let _ = writeln!(text, "{gap}{} {said}", view.paint.tone(Tone::Warn, "!"));
    }
    let rest = report.warnings.len().saturating_sub(most);
    if rest > 0 {
        let _ = writeln!(text, "and {rest} more warnings; --full shows all {}", report.warnings.len());
    }
    text
}

fn date(at: Time) -> Option<NaiveDate> {
    at.0.datetime().map(|it| it.date_naive())
}

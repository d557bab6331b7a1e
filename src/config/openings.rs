//! `attempts_in_window`: whether the windows of a key open often enough between the moment in which it is due and its
//! expiry. When in the year a key falls due is not known here, so that the worst moment counts.
use super::fault::{Findings, Subject};
use super::keys::{Parts, Read};
use super::section::Section;
use super::written::defaults;
use crate::clock;
use crate::core::calendar::Calendar;
use crate::core::due;
use crate::core::freeze::When;
use crate::core::names::KeyName;
use crate::core::policy::{OutsideWindow, Policy};
use crate::core::time::Timestamp;
use crate::humane::{HumanDuration, opening};
use std::collections::BTreeMap;
use std::time::Duration;

/// What comes again every year is looked at from the beginning of 2027 on, for a year or for all kinds of years: what `check` says does not depend on its day.
const REFERENCE: Timestamp = Timestamp(1_798_761_600_000);
/// For a year, and the longest month.
const YEAR: Duration = Duration::from_secs((366 + 31) * 24 * 60 * 60);
/// Where a yearly freeze meets the days of the week is another matter each year: in so many of them each way comes.
const YEARS: u32 = 8;
/// An opening moves by this when the clocks are changed; that is nobody's fault.
const CHANGE_OF_CLOCKS: Duration = Duration::from_secs(60 * 60);
/// Openings nearer to each other than this part of the time that there is for each attempt count as one,
const NEARNESS: u32 = 8;
/// but never openings that are further apart than this.
const NEAREST: Duration = Duration::from_secs(6 * 60 * 60);
/// At most this many windows are told in words.
const WINDOWS_TOLD: usize = 3;
/// At most this many openings are looked at in one search.
const LOOKS: usize = 2000;

/// Checks every key whose lifetime is known.
pub(super) fn check(parts: &Parts<'_, '_>, keys: &BTreeMap<KeyName, Read>, findings: &mut Findings) {
    let mut known = BTreeMap::new();
    let now = clock::now();
    for (name, key) in keys {
        let (Some(section), Some(policy)) = (parts.document.keys.get(name.as_str()), &key.policy) else { continue };
        let Some(time) = time_left(policy).filter(|_| !policy.windows.is_empty() || !policy.freezes.is_empty()) else {
            continue;
        };
        let attempts = key.attempts_in_window.unwrap_or(defaults::ATTEMPTS_IN_WINDOW);
        let windows: Vec<_> = policy.windows.iter().map(|it| it.name.clone()).collect();
        let freezes: Vec<_> = policy.freezes.iter().map(|it| it.name.clone()).collect();
        // Most keys share their windows, freezes and times: a search for each group is enough.
        let shortage = known.entry((windows, freezes, time, attempts));
        let shortage = shortage.or_insert_with(|| Search { policy, time, attempts, now }.shortage());
        if let Some(shortage) = shortage {
            findings.read_on(Subject::Key(name.to_string()));
            shortage.tell(name, key, section, policy, findings);
        }
    }
    findings.read_on(Subject::Section);
}

/// From the moment in which a key is due to its expiry.
fn time_left(policy: &Policy) -> Option<Duration> {
    let life = policy.valid_for?;
    let aged = policy.max_age.map(|it| life.saturating_sub(it));
    Some(due::lead(life, policy).max(aged.unwrap_or_default()))
}

/// Too few openings.
struct Shortage {
    openings: usize,
    /// The freeze without which they would be enough.
    freeze: Option<String>,
    time: Duration,
    attempts: u32,
}

impl Shortage {
    /// Both are faults: a freeze may never meet the key, but nobody can tell before. Without windows there are no openings to
    /// count, so that it is a fault only where attempts are asked for: a freeze that is put in in a hurry is not refused.
    fn tell(&self, name: &KeyName, key: &Read, section: &Section<'_>, policy: &Policy, findings: &mut Findings) {
        let opens = match self.openings {
            _ if policy.windows.is_empty() => "it lasts until the key has expired".to_owned(),
            0 => "none of its windows opens before it expires".to_owned(),
            1 => "its windows open only once before it expires".to_owned(),
            n => format!("its windows open only {n} times before it expires"),
        };
        let (time, attempts) = (HumanDuration(self.time), self.attempts);
        let wanted = match policy.windows.is_empty() {
            true => format!(", {time} later"),
            false => format!(", {time} later; attempts_in_window is {attempts}"),
        };
        let field = |other| if key.attempts_in_window.is_some() { "attempts_in_window" } else { other };
        let Some(freeze) = &self.freeze else {
            let message = format!("when key `{name}` is due at its worst moment, {opens}{wanted}");
            let windows = policy.windows.iter().take(WINDOWS_TOLD);
            let windows: Vec<_> = windows.map(|it| (it.name.as_deref().unwrap_or("its own"), it)).collect();
            let words = windows.iter().map(|(name, it)| format!("; `{name}` {}", opening::window(it)));
            let remedy = match self.openings {
                0 => "raise rotate_before, or let its windows open more often",
                _ => "raise rotate_before, let its windows open more often, or lower attempts_in_window",
            };
            let hint = format!("{remedy}{}", words.collect::<String>());
            return findings.fault(section.at_field(field("windows")), message, hint);
        };
        let message = format!("when key `{name}` is due as freeze `{freeze}` begins, {opens}{wanted}");
        let hint = match policy.outside_window {
            OutsideWindow::IfExpiring => "or the key may have to leave the freeze in its last safe moment",
            OutsideWindow::Never => "or the key may expire",
        };
        let held = policy.freezes.iter().find(|it| it.name == *freeze);
        let words = held.map(|it| format!("; the freeze {}", opening::freeze(it))).unwrap_or_default();
        let lower = if policy.windows.is_empty() || self.openings == 0 { "" } else { ", lower attempts_in_window" };
        let hint =
            format!("raise rotate_before{lower}, or leave the key out of the freeze (keys = \"named\"), {hint}{words}");
        let at = section.at_field(field("freezes"));
        match key.attempts_in_window {
            None if policy.windows.is_empty() => findings.warning(at, message, hint),
            _ => findings.fault(at, message, hint),
        }
    }
}

struct Search<'a> {
    policy: &'a Policy,
    time: Duration,
    attempts: u32,
    now: Timestamp,
}

impl Search<'_> {
    fn shortage(&self) -> Option<Shortage> {
        let calendar = Calendar { windows: &self.policy.windows, freezes: &self.policy.freezes };
        let freely = Calendar { freezes: &[], ..calendar };
        let short = |openings, freeze| Shortage { openings, freeze, time: self.time, attempts: self.attempts };
        if let Some((openings, _)) = self.fewest(freely, REFERENCE, REFERENCE.plus(YEAR)) {
            return Some(short(openings, None));
        }
        let yearly = self.policy.freezes.iter().any(|it| matches!(it.when, When::Yearly { .. }));
        let years = (0..if yearly { YEARS } else { 0 }).map(|n| REFERENCE.plus(YEAR * n));
        let years = years.map(|it| (it, it.plus(YEAR)));
        let around = self.policy.freezes.iter().filter_map(|it| match &it.when {
            // One that is over holds nobody any more.
            When::Once(it) if it.to <= self.now => None,
            When::Once(it) => Some((it.from.minus(self.time).minus(CHANGE_OF_CLOCKS), it.to.plus(self.time))),
            When::Yearly { .. } => None,
        });
        let fewest = years.chain(around).filter_map(|(from, to)| self.fewest(calendar, from, to));
        let (openings, after) = fewest.min()?;
        let freeze = calendar.freezes_after(after).and_then(|it| calendar.frozen(it));
        freeze.or(calendar.frozen(after)).map(|it| short(openings, Some(it.name)))
    }

    /// The moment with the fewest openings before a key that is due then expires, and their number; `None` where there are
    /// always enough.
    fn fewest(&self, calendar: Calendar<'_>, from: Timestamp, to: Timestamp) -> Option<(usize, Timestamp)> {
        if calendar.windows.is_empty() {
            return self.longest_freeze(calendar, from, to);
        }
        let apart = self.time / self.attempts.saturating_mul(NEARNESS);
        let apart = apart.clamp(Duration::from_secs(1), NEAREST);
        let next = |it: &Timestamp| calendar.opens_from(it.plus(apart));
        let seen_until = to.plus(self.time).plus(CHANGE_OF_CLOCKS);
        // One that opens on the 29th of February alone may not open at all.
        let first = calendar.opens_from(from).filter(|it| *it <= seen_until);
        let Some(first) = first else { return Some((0, from)) };
        let openings = std::iter::successors(Some(first), next).take_while(|it| *it <= seen_until);
        // Where the first opening is far away, the worst moment is before it.
        let openings: Vec<_> = std::iter::once(from).chain(openings.take(LOOKS)).collect();
        let wanted = usize::try_from(self.attempts).unwrap_or(usize::MAX);
        let whole = openings.len() <= LOOKS;
        let counted = openings.iter().enumerate().take_while(|(_, it)| **it < to).filter_map(|(n, opening)| {
            let ends = opening.plus(self.time).plus(CHANGE_OF_CLOCKS);
            let count = openings[n + 1..].iter().take(wanted).take_while(|it| **it <= ends).count();
            (count < wanted && (whole || n + wanted < openings.len())).then_some((count, *opening))
        });
        counted.min()
    }

    fn longest_freeze(&self, calendar: Calendar<'_>, from: Timestamp, to: Timestamp) -> Option<(usize, Timestamp)> {
        let begins = std::iter::successors(calendar.freezes_after(from), |it| calendar.freezes_after(*it));
        let mut begins = begins.take(LOOKS).take_while(|it| *it < to);
        let long = |it: &Timestamp| calendar.frozen(*it).is_some_and(|frozen| frozen.until >= it.plus(self.time));
        begins.find(long).map(|it| (0, it.minus(Duration::from_millis(1))))
    }
}

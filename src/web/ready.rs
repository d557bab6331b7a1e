//! Whether the daemon is ready: its state is open, the config in use is the newest, and it has looked at its keys lately.
use crate::core::time::Timestamp;
use crate::engine::handle::Pulse;
use croner::Cron;

/// How many sweeps may be missed.
const MISSED_MOST: usize = 3;

/// Why the daemon is not ready; nothing where it is. An engine that answers has its state open.
pub(super) fn unready(pulse: &Pulse) -> Vec<String> {
    let mut why = Vec::new();
    if pulse.config_rejected {
        // What is wrong with it is not for everybody's eyes.
        why.push("the newest config is not in use; see rekeyd check".to_owned());
    }
    if !is_swept(&pulse.settings.daemon.sweep, pulse.swept_at, pulse.now) {
        why.push(format!("the last sweep was at {}, more than {MISSED_MOST} intervals ago", pulse.swept_at));
    }
    why
}

/// Whether the last sweep is younger than three intervals of its schedule. A schedule that fires no more misses nothing.
fn is_swept(schedule: &Cron, swept_at: Timestamp, now: Timestamp) -> bool {
    let mut tick = swept_at.datetime();
    for _ in 0..MISSED_MOST {
        tick = tick.and_then(|it| schedule.find_next_occurrence(&it, false).ok());
    }
    tick.is_none_or(|third| now < third.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use croner::parser::{CronParser, Seconds};

    fn check(schedule: &str, swept: &str, now: &str, expected: bool) {
        let at = |text: &str| Timestamp::from(DateTime::parse_from_rfc3339(text).unwrap().to_utc());
        let schedule = CronParser::builder().seconds(Seconds::Optional).build().parse(schedule).unwrap();
        assert_eq!(is_swept(&schedule, at(swept), at(now)), expected, "{now}");
    }

    #[test]
    fn a_sweep_may_be_missed_twice_and_no_more() {
        check("*/5 * * * *", "2026-11-21T22:00:00.010Z", "2026-11-21T22:14:59Z", true);
        check("*/5 * * * *", "2026-11-21T22:00:00.010Z", "2026-11-21T22:15:00Z", false);
    }

    #[test]
    fn a_schedule_with_long_pauses_has_its_own_intervals() {
        check("0 9 * * Mon-Fri", "2026-11-20T09:00:00Z", "2026-11-24T23:00:00Z", true);
        check("0 9 * * Mon-Fri", "2026-11-20T09:00:00Z", "2026-11-25T09:00:01Z", false);
    }
}

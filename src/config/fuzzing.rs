//! Configs and their words, from texts that nobody vouches for. Only for fuzzing, see `src/fuzzing.rs`.
use super::words::{Address, Lead, Schedule, Span, Zone};
use super::{Source, parse};
use crate::core::window::Window;
use crate::humane::HumanDuration;

/// A whole config: it has faults, each with a place, or a meaning that can be written down and read again.
pub(crate) fn check(text: &str) {
    let one = |text: String| vec![Source { path: "rekeyd.toml".into(), text }];
    match parse(one(text.to_owned())) {
        Ok(loaded) => {
            let effective = loaded.effective();
            let again = parse(one(effective.clone())).map_err(|it| it.faults);
            assert!(again.is_ok(), "{:?} in what is in effect:\n{effective}", again.err());
        }
        Err(found) => {
            assert!(!found.faults.is_empty(), "it is refused, and nobody is told why");
            let lines = text.split('\n').count();
            for it in &found.faults {
                assert!((1..=lines).contains(&it.line) && it.column > 0, "{it:?} is nowhere in the file");
            }
        }
    }
}

/// The words whose reading is more than a look-up.
pub(crate) fn words(text: &str) {
    if let Ok(lead) = Lead::try_from(text.to_owned()) {
        assert!(!format!("{lead:?}").is_empty());
    }
    if let Ok(read) = text.parse::<HumanDuration>() {
        assert_eq!(Span::try_from(read).is_ok(), !read.0.is_zero());
    }
    let _ = Address::try_from(text.to_owned());
    let _ = Zone::try_from(text.to_owned());
}

/// A window of a config, written in one line: `cron|duration|zone`.
pub(crate) fn window(line: &str) -> Option<Window> {
    let [open, duration, zone] = line.split('|').collect::<Vec<_>>().try_into().ok()?;
    let open = Schedule::try_from(open.to_owned()).ok()?.cron;
    let duration = Span::try_from(duration.parse::<HumanDuration>().ok()?).ok()?.0;
    Some(Window { name: None, open: open.into(), duration, timezone: Zone::try_from(zone.to_owned()).ok()?.0 })
}

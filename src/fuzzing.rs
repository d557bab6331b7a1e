//! What a fuzzer feeds: one function for each kind of bytes that somebody else writes. Each takes any bytes at all, and
//! panics where a promise is broken. The same functions run over the committed corpora with every test run, so that what
//! was found once is not lost. Not part of the program.
use crate::core::calendar::Calendar;
use crate::core::time::Timestamp;
use crate::core::window::Window;
use crate::humane::HumanDuration;
use crate::{config, control, http, providers, store};

/// The name of a target, which is that of its corpus, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// Everything that can be fuzzed, sorted by name.
pub const TARGETS: &[Target] = &[
    ("config", config),
    ("control", control::fuzzing::request),
    ("dates", dates),
    ("durations", durations),
    ("infobip", |it| providers::fuzzing::answer("infobip", it)),
    ("infobip_2fa", |it| providers::fuzzing::answer("infobip-2fa", it)),
    ("mobivate", |it| providers::fuzzing::answer("mobivate", it)),
    ("rows", store::fuzzing::row),
    ("single_invoice", |it| providers::fuzzing::answer("single-invoice", it)),
    ("snapshot", store::fuzzing::snapshot),
    ("windows", windows),
];

/// Runs the target of this name.
///
/// # Panics
/// Where there is none, or a promise is broken: then something was found.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|it| it.0 == name);
    assert!(target.is_some(), "there is no target {name}");
    target.into_iter().for_each(|(_, run)| run(data));
}

/// A config file: the whole way from its text to its faults or its meaning.
fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    config::fuzzing::check(text);
}

/// Every form in which a date comes in: from services, from headers, from operators.
fn dates(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    providers::fuzzing::date(text);
    http::fuzzing::dates(text);
    control::fuzzing::time(text);
}

/// Durations and shares as people write them.
fn durations(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<HumanDuration>() {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(read) => {
            let whole = read.0 - std::time::Duration::from_nanos(u64::from(read.0.subsec_nanos() % 1_000_000));
            assert_eq!(read.to_string().parse(), Ok(HumanDuration(whole)), "{text:?} is written as {read}");
        }
    }
    config::fuzzing::words(text);
}

/// Openings: the first line is a moment, each further line a window `cron|duration|zone`. What comes next is found, in
/// bounded time, and is really an opening.
fn windows(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let Some(at) = lines.next().and_then(|it| it.parse().ok()).map(Timestamp) else { return };
    let windows: Option<Vec<Window>> = lines.take(3).map(config::fuzzing::window).collect();
    let Some(windows) = windows else { return };
    let calendar = Calendar { windows: &windows, freezes: &[] };
    if let Some(opens) = calendar.open_from(at) {
        assert!(opens >= at && calendar.is_open(opens), "{opens} is no opening at or after {at}");
        if let Some(opening) = calendar.covering(opens) {
            assert!(opening.opens <= opens && opens < opening.closes, "{opening:?} does not cover {opens}");
        }
    }
    if let Some(next) = calendar.opens_from(at) {
        assert!(next >= at, "{next} is before {at}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// What was found once, and a few of each kind that is known: see `fuzz/`.
    #[test]
    fn every_file_of_the_corpora_is_taken_without_a_panic() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let entries = |it: &Path| -> Vec<_> { std::fs::read_dir(it).unwrap().map(|it| it.unwrap().path()).collect() };
        for (name, run) in TARGETS {
            let files = entries(&corpora.join(name));
            assert!(files.len() >= 5, "the corpus of {name} has {} files", files.len());
            files.iter().for_each(|it| run(&std::fs::read(it).unwrap()));
        }
        let mut names: Vec<_> = entries(&corpora).iter().map(|it| it.file_name().unwrap().to_owned()).collect();
        names.sort();
        assert_eq!(
            names,
            TARGETS.iter().map(|it| it.0).collect::<Vec<_>>(),
            "a corpus without a target is run by nobody"
        );
    }

    #[test]
    fn every_target_has_a_program() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        for (name, _) in TARGETS {
            assert!(manifest.contains(&format!("name = \"{name}\"\n")), "fuzz/Cargo.toml does not name {name}");
        }
    }
}

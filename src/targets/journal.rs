//! What a unit said last, for whoever is told that it did not start.
use super::Parcel;
use super::unit::Unit;
use crate::command::Argv;
use std::path::PathBuf;
use std::time::Duration;

/// How long each question may take.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// How many of its last lines are told.
const LINES: u32 = 10;

/// The last lines of those units that do not run, as the end of a sentence. Empty where all of them run, or where nobody
/// lets us read the journal (the group `systemd-journal` does).
pub(super) async fn last_words(units: &[&Unit], parcel: &Parcel) -> String {
    let mut words = String::new();
    for unit in units {
        if runs(unit, parcel).await {
            continue;
        }
        let lines = said(unit, parcel).await;
        if !lines.is_empty() {
            words.push_str(&format!("; {} said last: {}", unit.0, lines.join(" | ")));
        }
    }
    words
}

async fn runs(unit: &Unit, parcel: &Parcel) -> bool {
    let Some(systemctl) = program("systemctl") else { return true };
    let argv = Argv::new(vec![systemctl, "is-active".into(), "--quiet".into(), "--".into(), unit.0.clone()]);
    let Ok(argv) = argv else { return true };
    parcel.tell_of(&argv, ASK_LIMIT).run().await.is_ok()
}

async fn said(unit: &Unit, parcel: &Parcel) -> Vec<String> {
    let Some(journalctl) = program("journalctl") else { return Vec::new() };
    let words = ["--no-pager", "--quiet", "--output=cat"].map(str::to_owned);
    let asked = [format!("--lines={LINES}"), format!("--unit={}", unit.0)];
    let Ok(argv) = Argv::new([vec![journalctl], words.to_vec(), asked.to_vec()].concat()) else { return Vec::new() };
    parcel.tell_of(&argv, ASK_LIMIT).read().await.unwrap_or_default()
}

/// The first program of this name in our own PATH.
pub(super) fn program(name: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let mut there = std::env::split_paths(&path).map(|it: PathBuf| it.join(name));
    let found = there.find(|it| it.is_absolute() && it.is_file());
    found.and_then(|it| it.into_os_string().into_string().ok())
}

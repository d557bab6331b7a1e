//! The config: `source` are the files, `document` their sections, `written` what serde reads from these, and `settings`
//! what it all means. Every fault is found before any is told.
mod backup;
mod budget;
mod capacity;
mod daemon;
mod document;
mod effective;
mod fault;
mod fields;
mod freezes;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keys;
mod layers;
mod openings;
mod owners;
mod providers;
mod relations;
mod secrets;
mod section;
pub mod settings;
mod source;
mod suggest;
mod template;
mod wording;
mod words;
mod written;

pub use fault::{Fault, Faults};
pub use source::{FILE_BYTES, FILES, Source};
pub use suggest::meant;

use document::Document;
use fault::Findings;
use keys::Parts;
use settings::Settings;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A config without faults.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// What should be looked at, sorted by place.
    pub warnings: Vec<Fault>,
    /// The files it was read from, to be kept as the last good config: see [`Loaded::text`].
    pub sources: Vec<Source>,
}

impl Loaded {
    /// All files as one text, which [`load_text`] reads again.
    pub fn text(&self) -> String {
        serde_json::to_string(&self.sources).unwrap_or_default()
    }

    /// The config after defaults and profiles, as one file that means the same; each line says where its value is from.
    pub fn effective(&self) -> String {
        effective::text(self)
    }

    /// Adds a warning at a field of a provider's section, of what only shows beside the state.
    pub fn warn_of_provider(&mut self, name: &str, field: &str, message: &str, hint: &str) {
        let mut findings = Findings::default();
        let document = Document::parse(&self.sources, &mut Findings::default());
        if let Some(section) = document.as_ref().and_then(|it| it.providers.get(name)) {
            findings.warning(section.at_field(field), message, hint);
        }
        self.warnings.extend(findings.finish(&self.sources).warnings);
        self.warnings.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    }

    /// The systemd credentials that it names as secrets.
    pub fn credentials(&self) -> BTreeSet<String> {
        secrets::credentials(&self.effective())
    }
}

/// Reads a config, and the `conf.d/*.toml` beside it in the order of their names.
///
/// # Errors
/// All its faults.
pub fn load(path: &Path) -> Result<Loaded, Faults> {
    parse(source::read(path)?)
}

/// Reads a config that was kept as text.
///
/// # Errors
/// All its faults; one, where this is no such text.
pub fn load_text(text: &str) -> Result<Loaded, Faults> {
    let sources = serde_json::from_str(text).map_err(|error| {
        let file = Path::new("the last good config").to_owned();
        let message = format!("can't be read: {error}");
        Faults { faults: vec![Fault { file, line: 1, column: 1, message, hint: None }], warnings: Vec::new() }
    })?;
    parse(sources)
}

/// Reads a config from files that are read already.
///
/// # Errors
/// All its faults.
pub fn parse(sources: Vec<Source>) -> Result<Loaded, Faults> {
    let mut findings = Findings::default();
    let settings = Document::parse(&sources, &mut findings).and_then(|mut document| {
        layers::apply(&mut document, &mut findings);
        settings(&document, &mut findings)
    });
    let found = findings.finish(&sources);
    match settings {
        Some(settings) if found.faults.is_empty() => Ok(Loaded { settings, warnings: found.warnings, sources }),
        _ => Err(found),
    }
}

/// Where the state lies by a config that may be broken: what of `[daemon]` can still be read, else where it usually does.
pub fn state_dir(path: &Path) -> PathBuf {
    source::read(path).ok().and_then(|it| daemon::written_state_dir(&it)).unwrap_or_else(daemon::usual_state_dir)
}

fn settings(document: &Document<'_>, findings: &mut Findings) -> Option<Settings> {
    let daemon = daemon::daemon(document, findings);
    let timezone = daemon.as_ref().map_or(chrono_tz::Tz::UTC, |it| it.timezone);
    let backup = daemon.as_ref().and_then(|it| backup::backup(document, it, findings));
    let windows = daemon::windows(document, timezone, findings);
    let freezes = freezes::freezes(document, timezone, findings);
    let owners = owners::owners(document, timezone, findings);
    let providers = providers::providers(document, findings);
    let parts = Parts { document, providers: &providers, windows: &windows, freezes: &freezes, owners: &owners };
    let mut keys = parts.keys(findings);
    relations::relate(&parts, &mut keys, findings);
    openings::check(&parts, &keys, findings);
    freezes::warn_of_unused(&parts, &keys, findings);
    let keys = keys.into_iter().filter_map(|(name, it)| it.complete(name.clone()).map(|it| (name, it))).collect();
    let providers = providers.into_iter().map(|(name, it)| (name, it.section)).collect();
    let secrets = secrets::named(document);
    Some(Settings { daemon: daemon?, backup, owners, providers, windows, freezes, keys, secrets })
}

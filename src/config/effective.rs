//! The config as it is in use: after defaults and profiles, each value with the place that it is from. It can be read as
//! a config again, and then means the same.
use super::document::{Document, Sections};
use super::fault::{At, Findings, line_starts, starts, within};
use super::fields::{self, Fields};
use super::section::Section;
use super::settings::Settings;
use super::{Loaded, layers, secrets};
use crate::core::policy::OnCreate;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where the comments begin, if there is room.
const COMMENT_COLUMN: usize = 48;

/// Writes a config out. There is no secret in it, for there is none in any config.
pub(super) fn text(loaded: &Loaded) -> String {
    // It was read without a fault before.
    let mut findings = Findings::default();
    let Some(mut document) = Document::parse(&loaded.sources, &mut findings) else { return String::new() };
    layers::apply(&mut document, &mut findings);
    let mut writer =
        Writer { settings: &loaded.settings, origins: Origins::of_config(loaded, &document), out: String::new() };
    writer.document(&document);
    writer.out.trim_start().to_owned()
}

struct Writer<'a> {
    settings: &'a Settings,
    origins: Origins<'a>,
    out: String,
}

impl Writer<'_> {
    fn document(&mut self, document: &Document<'_>) {
        let settings = self.settings;
        if let Some(section) = &document.daemon {
            self.section("daemon", section, fields(&[fields::DAEMON]).with(of_daemon(settings)));
        }
        if let Some(section) = &document.smtp {
            self.section("smtp", section, fields(&[fields::SMTP]));
        }
        if let Some(section) = &document.backup {
            let dir = ("dir", quoted(&settings.daemon.backups().to_string_lossy()), "backups in state_dir");
            self.section("backup", section, fields(&[fields::BACKUP]).with([dir]));
        }
        let zone = ("timezone", quoted(settings.daemon.timezone.name()), "that of [daemon]");
        self.family("owners", &document.owners, |_, _| fields(&[fields::OWNER]).with([zone.clone()]));
        self.family("windows", &document.windows, |_, _| fields(&[fields::WINDOW]).with([zone.clone()]));
        self.family("freezes", &document.freezes, |_, _| fields(&[fields::FREEZE]).with([zone.clone()]));
        self.family("providers", &document.providers, |name, section| {
            let kind = fields::of_provider(text_in(&section.table, "kind"));
            fields(&[fields::PROVIDER, kind]).with([("account", quoted(name), "the section's name")])
        });
        self.family("keys", &document.keys, |_, section| {
            let provider = settings.providers.get(text_in(&section.table, "provider"));
            let revokes = provider.is_some_and(|it| it.provider.capabilities().on_create == OnCreate::Revokes);
            // Where a create ends the old key, there is nothing to overlap.
            let none = revokes.then(|| ("overlap", String::new(), ""));
            fields(&[fields::KEY]).with(none)
        });
    }

    fn family(&mut self, family: &str, sections: &Sections<'_>, known: impl Fn(&str, &Section<'_>) -> Known) {
        for (name, section) in sections {
            self.section(&format!("{family}.{name}"), section, known(name, section));
        }
    }

    fn section(&mut self, header: &str, section: &Section<'_>, known: Known) {
        let origin = self.origins.of(section.at());
        self.line(&format!("\n[{header}]"), &origin);
        // Whatever stands behind a list of tables belongs to its last one, so that lists come last.
        let (lists, rest): (DeTable<'_>, _) =
            section.table.clone().into_iter().partition(|(_, it)| is_list_of_tables(it));
        self.table("", &rest, &known);
        for (name, value) in &lists {
            let (DeValue::Array(list), name) = (value.get_ref(), name.get_ref()) else { continue };
            for item in list {
                let DeValue::Table(table) = item.get_ref() else { continue };
                let origin = self.origins.of(At(item.span().start));
                self.line(&format!("\n[[{header}.{name}]]"), &origin);
                self.table("", table, &fields(&[fields::of_element(name, text_in(table, "kind"))]));
            }
        }
    }

    /// Writes the fields in the order in which they are known, then those that aren't.
    fn table(&mut self, prefix: &str, table: &DeTable<'_>, known: &Known) {
        for (name, usual, from) in &known.0 {
            match table.get(*name) {
                Some(value) => self.field(&format!("{prefix}{name}"), name, value),
                None if !usual.is_empty() => self.line(&format!("{prefix}{name} = {usual}"), from),
                None => {}
            }
        }
        for (name, value) in table {
            let name = name.get_ref().as_ref();
            if !known.0.iter().any(|it| it.0 == name) {
                self.field(&format!("{prefix}{}", bare(name)), name, value);
            }
        }
    }

    fn field(&mut self, path: &str, name: &str, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) if !table.is_empty() && secrets::reference(table).is_none() => {
                self.table(&format!("{path}."), table, &fields(&[fields::of_table(name)]));
            }
            plain => {
                let origin = self.origins.of(At(value.span().start));
                self.line(&format!("{path} = {}", toml(plain)), &origin);
            }
        }
    }

    fn line(&mut self, text: &str, origin: &str) {
        let width = COMMENT_COLUMN + usize::from(text.starts_with('\n'));
        let _ = writeln!(self.out, "{text:<width$} # {origin}");
    }
}

/// The fields that are known in a table, each with its default (empty where there is none) and where that comes from.
struct Known(Vec<(&'static str, String, &'static str)>);

fn fields(lists: &[Fields]) -> Known {
    Known(lists.iter().copied().flatten().map(|(name, usual)| (*name, (*usual).to_owned(), "default")).collect())
}

impl Known {
    /// With other defaults for some of them, which depend on more than the section.
    fn with(mut self, others: impl IntoIterator<Item = (&'static str, String, &'static str)>) -> Self {
        for other in others {
            self.0.iter_mut().filter(|it| it.0 == other.0).for_each(|it| it.clone_from(&other));
        }
        self
    }
}

fn of_daemon(settings: &Settings) -> [(&'static str, String, &'static str); 2] {
    let path = |name, path: &Path, variable: &'static str| {
        let from = if std::env::var_os(&variable[1..]).is_some() { variable } else { "default" };
        (name, quoted(&path.to_string_lossy()), from)
    };
    [
        path("state_dir", &settings.daemon.state_dir, "$STATE_DIRECTORY"),
        path("control_socket", &settings.daemon.control_socket, "$RUNTIME_DIRECTORY"),
    ]
}

/// Where the places of a config are, in words.
struct Origins<'a> {
    loaded: &'a Loaded,
    files: Vec<usize>,
    lines: BTreeMap<usize, Vec<usize>>,
    /// The places in the layers, with what each layer is called.
    layers: BTreeMap<usize, String>,
}

impl<'a> Origins<'a> {
    fn of_config(loaded: &'a Loaded, document: &Document<'_>) -> Self {
        let defaults = document.defaults.iter().map(|it| ("[defaults]".to_owned(), it));
        let profiles = document.profiles.iter().map(|(name, it)| (format!("profile {name}"), it));
        let layers = defaults.chain(profiles);
        let layers = layers.flat_map(|(name, it)| layers::places(it).into_iter().map(move |at| (at, name.clone())));
        Self { loaded, files: starts(&loaded.sources), lines: BTreeMap::new(), layers: layers.collect() }
    }

    /// The file and the line, and before these the layer, if it is one.
    fn of(&mut self, at: At) -> String {
        let (file, byte) = within(&self.files, at);
        let Some(source) = self.loaded.sources.get(file) else { return String::new() };
        let lines = self.lines.entry(file).or_insert_with(|| line_starts(&source.text));
        let line = lines.partition_point(|start| *start <= byte);
        let layer = self.layers.get(&at.0).map(|it| format!("{it}, ")).unwrap_or_default();
        format!("{layer}{}:{line}", source.path.display()).replace(char::is_control, "?")
    }
}

fn is_list_of_tables(value: &Spanned<DeValue<'_>>) -> bool {
    value.get_ref().as_array().is_some_and(|it| !it.is_empty() && it.iter().all(|it| it.get_ref().is_table()))
}

fn text_in<'t>(table: &'t DeTable<'_>, field: &str) -> &'t str {
    table.get(field).and_then(|it| it.get_ref().as_str()).unwrap_or_default()
}

/// A value as it is written.
fn toml(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(list) => {
            format!("[{}]", list.iter().map(|it| toml(it.get_ref())).collect::<Vec<_>>().join(", "))
        }
        DeValue::Table(table) if table.is_empty() => "{}".to_owned(),
        DeValue::Table(table) => {
            let fields = table.iter().map(|(name, it)| format!("{} = {}", bare(name.get_ref()), toml(it.get_ref())));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A name as it is written: without quotes where it can do without.
fn bare(name: &str) -> String {
    let plain = !name.is_empty() && name.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-".contains(&it));
    if plain { name.to_owned() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            it if it.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", it as u32);
            }
            it => quoted.push(it),
        }
    }
    quoted + "\""
}

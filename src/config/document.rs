//! The sections of all files together, each by its name, before anybody reads what is in them.
use super::fault::{At, Findings, Hint, starts, within};
use super::section::Section;
use super::source::Source;
use super::{suggest, wording};
use crate::core::names::{NAME_BYTES, is_name};
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

/// The sections of one family by their names.
pub(super) type Sections<'i> = BTreeMap<String, Section<'i>>;

/// A config as written. Its places are counted through all files, see [`At`].
#[derive(Debug, Default)]
pub(super) struct Document<'i> {
    /// `[daemon]`.
    pub(super) daemon: Option<Section<'i>>,
    /// `[smtp]`.
    pub(super) smtp: Option<Section<'i>>,
    /// `[backup]`.
    pub(super) backup: Option<Section<'i>>,
    /// `[owners.NAME]`.
    pub(super) owners: Sections<'i>,
    /// `[windows.NAME]`.
    pub(super) windows: Sections<'i>,
    /// `[freezes.NAME]`.
    pub(super) freezes: Sections<'i>,
    /// `[providers.NAME]`.
    pub(super) providers: Sections<'i>,
    /// `[defaults]`: what holds for every key.
    pub(super) defaults: Option<Section<'i>>,
    /// `[profiles.NAME]`: what holds for the keys that name it.
    pub(super) profiles: Sections<'i>,
    /// `[keys.NAME]`.
    pub(super) keys: Sections<'i>,
    /// Keys whose profile is not there: that they lack what it would give them is no second fault.
    pub(super) without_profile: BTreeSet<String>,
}

/// What a file may have at its top.
const TOP: [&str; 10] =
    ["daemon", "smtp", "backup", "owners", "windows", "freezes", "providers", "defaults", "profiles", "keys"];

impl<'i> Document<'i> {
    /// Reads the files. `None` where their syntax is broken: what would be found beyond that is mostly its consequence.
    pub(super) fn parse(sources: &'i [Source], findings: &mut Findings) -> Option<Self> {
        let starts = starts(sources);
        let mut document = Self::default();
        let mut broken = false;
        for (source, start) in sources.iter().zip(&starts) {
            let (root, errors) = DeTable::parse_recoverable(&source.text);
            let mut lines = Vec::new();
            for error in errors {
                let span = error.span().unwrap_or(0..0);
                let line = source.text.get(..span.start).unwrap_or("").matches('\n').count();
                // The rest of a broken line is not worth a word of its own.
                if !lines.contains(&line) {
                    lines.push(line);
                    let what = source.text.get(span.clone()).unwrap_or("");
                    let (message, hint) = syntax(error.message(), what);
                    findings.fault(At(start + span.start), message, hint);
                }
            }
            broken |= !lines.is_empty();
            if !broken {
                let root = moved_table(root.into_inner(), *start);
                Filing { sources, starts: &starts, findings }.file(&mut document, root);
            }
        }
        if broken { None } else { Some(document) }
    }
}

/// Counts the places in a table through all files, so that sections of several files can be read as one.
fn moved_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    let further = |span: Range<usize>| span.start + by..span.end + by;
    let entries = table.into_iter().map(|(name, value)| {
        let (name_at, value_at) = (further(name.span()), further(value.span()));
        (Spanned::new(name_at, name.into_inner()), Spanned::new(value_at, moved(value.into_inner(), by)))
    });
    entries.collect()
}

fn moved(value: DeValue<'_>, by: usize) -> DeValue<'_> {
    match value {
        DeValue::Table(table) => DeValue::Table(moved_table(table, by)),
        DeValue::Array(array) => {
            let mut items = DeArray::new();
            for item in array {
                let span = item.span().start + by..item.span().end + by;
                items.push(Spanned::new(span, moved(item.into_inner(), by)));
            }
            DeValue::Array(items)
        }
        plain => plain,
    }
}

/// Says what is wrong with the syntax. The text itself is shown only where it is a name: a value may be a secret.
fn syntax(message: &str, what: &str) -> (String, Hint) {
    match message {
        "duplicate key" => (format!("`{what}` is here a second time"), "keep one of the two".into()),
        other => (other.to_owned(), Hint::default()),
    }
}

/// Puts the sections of one file to those of the others.
struct Filing<'f> {
    sources: &'f [Source],
    /// Where each of them begins.
    starts: &'f [usize],
    findings: &'f mut Findings,
}

impl<'i> Filing<'_> {
    fn file(mut self, document: &mut Document<'i>, root: DeTable<'i>) {
        for (name, value) in root {
            match name.get_ref().as_ref() {
                "daemon" => self.single(&mut document.daemon, &name, value),
                "smtp" => self.single(&mut document.smtp, &name, value),
                "backup" => self.single(&mut document.backup, &name, value),
                "owners" => self.family(&mut document.owners, &name, value),
                "windows" => self.family(&mut document.windows, &name, value),
                "freezes" => self.family(&mut document.freezes, &name, value),
                "providers" => self.family(&mut document.providers, &name, value),
                "defaults" => self.single(&mut document.defaults, &name, value),
                "profiles" => self.family(&mut document.profiles, &name, value),
                "keys" => self.family(&mut document.keys, &name, value),
                other => {
                    let (message, hint) = wording::unknown("section", "", other, TOP);
                    self.findings.fault(at(&name), message, hint);
                }
            }
        }
    }

    fn single(&mut self, to: &mut Option<Section<'i>>, name: &Spanned<DeString<'i>>, value: Spanned<DeValue<'i>>) {
        if let Some(first) = to {
            return self.twice(&format!("`[{}]`", name.get_ref()), first.at(), name);
        }
        *to = self.section(name, value);
    }

    fn family(&mut self, to: &mut Sections<'i>, family: &Spanned<DeString<'i>>, value: Spanned<DeValue<'i>>) {
        let Some(section) = self.section(family, value) else { return };
        for (name, value) in section.table {
            if !is_name(name.get_ref()) {
                let message = format!("`{}` is no name", name.get_ref());
                let hint =
                    format!("a name is 1 to {NAME_BYTES} of a-z, 0-9, _ and -, and starts with a letter or a digit");
                self.findings.fault(at(&name), message, hint);
            }
            match to.entry(name.get_ref().clone().into_owned()) {
                Entry::Occupied(first) => {
                    let what = format!("`[{}.{}]`", family.get_ref(), name.get_ref());
                    self.twice(&what, first.get().at(), &name);
                }
                Entry::Vacant(place) => {
                    if let Some(section) = self.section(&name, value) {
                        place.insert(section);
                    }
                }
            }
        }
    }

    fn section(&mut self, name: &Spanned<DeString<'i>>, value: Spanned<DeValue<'i>>) -> Option<Section<'i>> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Some(Section { prefix: "", span, table }),
            other => {
                let message = format!("`{}` is {}, where a table is expected", name.get_ref(), a(other.type_str()));
                self.findings.fault(at(name), message, Hint::default());
                None
            }
        }
    }

    fn twice(&mut self, what: &str, first: At, name: &Spanned<DeString<'i>>) {
        let (first, _) = within(self.starts, first);
        let other = self.sources.get(first).map(|it| it.path.display().to_string()).unwrap_or_default();
        self.findings.fault(at(name), format!("{what} is in {other} already"), "keep one of the two");
    }
}

fn at(name: &Spanned<DeString<'_>>) -> At {
    At(name.span().start)
}

/// The name of a type of TOML's, with its article.
pub(super) fn a(what: &str) -> String {
    format!("{} {what}", if what.starts_with(['a', 'i']) { "an" } else { "a" })
}

/// A fault for a name that no section has.
pub(super) fn unknown_name(findings: &mut Findings, at: At, family: &str, name: &str, known: &Sections<'_>) {
    let hint = match known.len() {
        0 => Hint::from(format!("write a section [{family}s.{name}]")),
        words if findings.may_compare(words) => suggest::hint(name, known.keys().map(String::as_str)),
        _ => Hint::from(format!("look at the sections [{family}s.…]")),
    };
    findings.fault(at, format!("there is no {family} `{name}`"), hint);
}

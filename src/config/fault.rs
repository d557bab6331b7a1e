//! What is wrong with a config, and where. Everything is found before anything is said.
use super::source::Source;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// One thing that is wrong, or worth a warning.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Fault {
    /// In which file.
    pub file: PathBuf,
    /// In which line, from 1.
    pub line: usize,
    /// At which character of the line, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// All that is wrong with a config, sorted by place. It comes with the warnings, so that nothing is seen only later.
#[derive(Clone, Debug, Default, Eq, PartialEq, thiserror::Error)]
pub struct Faults {
    /// What must be put right.
    pub faults: Vec<Fault>,
    /// What should be looked at.
    pub warnings: Vec<Fault>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.faults.iter().enumerate() {
            write!(f, "{}{fault}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// A place in the files: at which byte, counted through all files in the order of reading. Each has one byte more than
/// its text, so that the end of one is not the start of the next.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct At(pub(super) usize);

impl At {
    /// Where the file begins that comes after these.
    pub(super) fn after(sources: &[Source]) -> Self {
        Self(sources.iter().map(|it| it.text.len() + 1).sum())
    }
}

/// The span of what was put in where a field is missing, so that the search for faults can go on behind it. Nothing is
/// ever said of what stands there.
pub(super) const NOWHERE: Range<usize> = usize::MAX..usize::MAX;

/// Collects what is found, in any order.
#[derive(Debug, Default)]
pub(super) struct Findings {
    faults: Vec<Found>,
    warnings: Vec<Found>,
    /// What is being read.
    subject: Subject,
    /// The places in what several keys share.
    shared: BTreeSet<usize>,
    /// How many names were compared in search of those that were meant.
    compared: usize,
}

/// The most names that are compared in search of those that were meant. Ten thousand keys may name ten thousand providers,
/// all of them wrong.
const COMPARED: usize = 200_000;

/// What is being read when something is found.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Subject {
    /// A section by itself.
    #[default]
    Section,
    /// `[defaults]` or a profile, as far as it can be read without a key.
    Layer,
    /// The key of this name, with what it takes over from its layers.
    Key(String),
}

#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Found {
    at: At,
    subject: Subject,
    message: String,
    hint: Option<String>,
}

impl Findings {
    /// Notes a fault.
    pub(super) fn fault(&mut self, at: At, message: impl Into<String>, hint: impl Into<Hint>) {
        let found = self.found(at, message.into(), hint.into());
        self.faults.extend(found);
    }

    /// Notes a warning.
    pub(super) fn warning(&mut self, at: At, message: impl Into<String>, hint: impl Into<Hint>) {
        let found = self.found(at, message.into(), hint.into());
        self.warnings.extend(found);
    }

    /// Notes a fault of the key of this name.
    pub(super) fn fault_of(&mut self, key: &str, at: At, message: impl Into<String>, hint: impl Into<Hint>) {
        let before = std::mem::replace(&mut self.subject, Subject::Key(key.to_owned()));
        self.fault(at, message, hint);
        self.subject = before;
    }

    /// From now on this is what is being read.
    pub(super) fn read_on(&mut self, subject: Subject) {
        self.subject = subject;
    }

    /// Lets these be places that several keys share: what is found there is told once, with the keys that it concerns.
    pub(super) fn share(&mut self, places: BTreeSet<usize>) {
        self.shared = places;
    }

    /// Whether several keys share a place.
    pub(super) fn is_shared(&self, at: At) -> bool {
        self.shared.contains(&at.0)
    }

    /// Whether so many names more may be compared with one that is not known.
    pub(super) fn may_compare(&mut self, names: usize) -> bool {
        self.compared = self.compared.saturating_add(names);
        self.compared <= COMPARED
    }

    /// Whether there is no fault yet.
    pub(super) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// Everything that was found, in the order of the files.
    pub(super) fn finish(self, sources: &[Source]) -> Faults {
        let mut lines = Lines::of(sources);
        let mut place = |mut found: Vec<Found>| -> Vec<Fault> {
            found.sort();
            found.dedup();
            found.chunk_by(|a, b| a.at == b.at).flat_map(at_one_place).map(|it| lines.fault(it)).collect()
        };
        Faults { faults: first_of(place(self.faults)), warnings: place(self.warnings) }
    }

    fn found(&self, at: At, message: String, hint: Hint) -> Option<Found> {
        let subject = match &self.subject {
            Subject::Key(_) if !self.is_shared(at) => Subject::Section,
            it => it.clone(),
        };
        let (message, hint) = (shortened(message), hint.0.map(shortened));
        (at.0 != NOWHERE.start).then_some(Found { at, subject, message, hint })
    }
}

/// The longest message that is told whole, in characters. What stands in a file may be repeated in it.
const MESSAGE_CHARS: usize = 1_000;

/// Leaves out the middle of a message that is too long: what it is about stands at its beginning, the remedy at its end.
fn shortened(message: String) -> String {
    if message.len() <= MESSAGE_CHARS {
        return message;
    }
    let count = message.chars().count();
    let (first, last) = (MESSAGE_CHARS / 2, MESSAGE_CHARS / 2);
    if count <= first + last {
        return message;
    }
    let kept = message.chars().take(first).chain(" … ".chars()).chain(message.chars().skip(count - last));
    kept.collect()
}

/// The most faults that are listed.
const FAULTS_TOLD: usize = 1_000;

/// Lists no more than anybody reads at once, and says how many more there are.
fn first_of(mut faults: Vec<Fault>) -> Vec<Fault> {
    let more = faults.len().saturating_sub(FAULTS_TOLD);
    faults.truncate(FAULTS_TOLD);
    if let Some(last) = faults.last().cloned().filter(|_| more > 0) {
        let message = format!("{more} further faults are not listed");
        faults.push(Fault { message, hint: Some("put these right first".to_owned()), ..last });
    }
    faults
}

/// How many keys are named where a fault concerns several.
const KEYS_NAMED: usize = 3;

/// What is told of one place. What keys found there stands for all that was found in the layer itself: the first key tells
/// it, and the others are only named.
fn at_one_place(found: &[Found]) -> Vec<Found> {
    let mut keys: Vec<&str> = Vec::new();
    for it in found {
        match &it.subject {
            Subject::Key(name) if keys.last() != Some(&name.as_str()) => keys.push(name),
            _ => {}
        }
    }
    let first = keys.first().copied();
    let told = found.iter().filter(|it| match &it.subject {
        Subject::Section => true,
        Subject::Layer => first.is_none(),
        Subject::Key(name) => first == Some(name),
    });
    let told = told.map(|it| {
        let of_keys = if matches!(it.subject, Subject::Key(_)) { for_keys(&keys) } else { String::new() };
        Found {
            at: it.at,
            subject: Subject::Section,
            message: format!("{}{of_keys}", it.message),
            hint: it.hint.clone(),
        }
    });
    told.collect()
}

fn for_keys(keys: &[&str]) -> String {
    let named: Vec<_> = keys.iter().take(KEYS_NAMED).map(|it| format!("`{it}`")).collect();
    let word = if keys.len() == 1 { "key" } else { "keys" };
    match keys.len().saturating_sub(KEYS_NAMED) {
        0 => format!(" (for {word} {})", named.join(", ")),
        more => format!(" (for {word} {} and {more} more)", named.join(", ")),
    }
}

/// A hint, or none.
#[derive(Clone, Debug, Default)]
pub(super) struct Hint(pub(super) Option<String>);

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self(Some(text))
    }
}

impl From<Option<String>> for Hint {
    fn from(text: Option<String>) -> Self {
        Self(text)
    }
}

/// Where the files begin, so that a place is found in them.
struct Lines<'s> {
    sources: &'s [Source],
    files: Vec<usize>,
    /// Where the lines of each file begin, once something is found in it: most files are right.
    lines: BTreeMap<usize, Vec<usize>>,
}

impl<'s> Lines<'s> {
    fn of(sources: &'s [Source]) -> Self {
        Self { sources, files: starts(sources), lines: BTreeMap::new() }
    }

    fn fault(&mut self, found: Found) -> Fault {
        let (file, byte) = within(&self.files, found.at);
        let Some(source) = self.sources.get(file) else {
            return Fault { file: PathBuf::new(), line: 1, column: 1, message: found.message, hint: found.hint };
        };
        let lines = self.lines.entry(file).or_insert_with(|| line_starts(&source.text));
        let line = lines.partition_point(|start| *start <= byte).max(1);
        let before = source.text.get(lines[line - 1]..byte).unwrap_or("");
        let column = before.chars().count() + 1;
        Fault { file: source.path.clone(), line, column, message: found.message, hint: found.hint }
    }
}

/// Where each file begins.
pub(super) fn starts(sources: &[Source]) -> Vec<usize> {
    let ends = sources.iter().scan(0, |end, it| {
        let start = *end;
        *end += it.text.len() + 1;
        Some(start)
    });
    ends.collect()
}

/// In which file a place is, and at which byte of it.
pub(super) fn within(starts: &[usize], at: At) -> (usize, usize) {
    let file = starts.partition_point(|start| *start <= at.0).saturating_sub(1);
    (file, at.0 - starts.get(file).copied().unwrap_or_default())
}

/// Where each line begins.
pub(super) fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, it)| *it == b'\n').map(|(at, _)| at + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_in_lines_and_characters_of_its_file() {
        let sources = [("a.toml", "ä = 1\nöö = 2\n"), ("b.toml", ""), ("c.toml", "x")];
        let sources = sources.map(|(path, text)| Source { path: path.into(), text: text.into() });
        let two = sources[0].text.find('2').unwrap();
        let end = sources[0].text.len();
        let mut findings = Findings::default();
        for (at, message) in [(two, "two"), (0, "a"), (NOWHERE.start, "never said"), (end, "end"), (end + 2, "c")] {
            findings.fault(At(at), message, Hint::default());
        }
        findings.fault(At::after(&sources[..1]), "b", "one");
        let said = findings.finish(&sources).to_string();
        assert_eq!(said, "a.toml:1:1: a\na.toml:2:6: two\na.toml:3:1: end\nb.toml:1:1: b\n  hint: one\nc.toml:1:1: c");
    }

    #[test]
    fn what_keys_share_is_told_once_with_the_keys_that_it_concerns() {
        let source = Source { path: "a.toml".into(), text: "shared own".into() };
        let mut findings = Findings::default();
        findings.share([0].into());
        findings.read_on(Subject::Layer);
        findings.fault(At(0), "said of the layer alone", Hint::default());
        for name in ["e", "a", "c", "d", "b"] {
            findings.read_on(Subject::Key(name.into()));
            findings.fault(At(0), format!("wrong at {name}"), "mend it");
            findings.fault(At(0), format!("also wrong at {name}"), Hint::default());
        }
        findings.fault(At(7), "its own", Hint::default());
        let want = "a.toml:1:1: also wrong at a (for keys `a`, `b`, `c` and 2 more)\n\
                    a.toml:1:1: wrong at a (for keys `a`, `b`, `c` and 2 more)\n  hint: mend it\n\
                    a.toml:1:8: its own";
        assert_eq!(findings.finish(&[source]).to_string(), want);
    }
}

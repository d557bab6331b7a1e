//! What is wrong with a config, and where. Everything is found before anything is said.
use serde::Serialize;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use super::source::Source;

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

/// A place in the files: which one, and at which byte.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct At {
    /// Which source, counted in the order of reading.
    pub(super) file: usize,
    /// The byte at which it starts.
    pub(super) start: usize,
}

/// The span of what was put in where a field is missing, so that the search for faults can go on behind it. Nothing is
/// ever said of what stands there.
pub(super) const NOWHERE: Range<usize> = usize::MAX..usize::MAX;

/// Collects what is found, in any order.
#[derive(Debug, Default)]
pub(super) struct Findings {
    faults: Vec<Found>,
    warnings: Vec<Found>,
}

#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Found {
    at: At,
    message: String,
    hint: Option<String>,
}

impl Findings {
    /// Notes a fault.
    pub(super) fn fault(&mut self, at: At, message: impl Into<String>, hint: impl Into<Hint>) {
        push(&mut self.faults, at, message.into(), hint.into());
    }

    /// Notes a warning.
    pub(super) fn warning(&mut self, at: At, message: impl Into<String>, hint: impl Into<Hint>) {
        push(&mut self.warnings, at, message.into(), hint.into());
    }

    /// Whether there is no fault yet.
    pub(super) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// Everything that was found, in the order of the files.
    pub(super) fn finish(self, sources: &[Source]) -> Faults {
        let lines: Vec<_> = sources.iter().map(Lines::of).collect();
        let place = |mut found: Vec<Found>| {
            found.sort();
            found.dedup();
            found.into_iter().filter_map(|it| lines.get(it.at.file).map(|lines| lines.fault(it))).collect()
        };
        Faults { faults: place(self.faults), warnings: place(self.warnings) }
    }
}

fn push(to: &mut Vec<Found>, at: At, message: String, hint: Hint) {
    if at.start != NOWHERE.start {
        to.push(Found { at, message, hint: hint.0 });
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

/// Where the lines of a file begin, so that a place is found without reading the file again.
struct Lines<'s> {
    source: &'s Source,
    starts: Vec<usize>,
}

impl<'s> Lines<'s> {
    fn of(source: &'s Source) -> Self {
        let ends = source.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { source, starts: std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect() }
    }

    fn fault(&self, found: Found) -> Fault {
        let line = self.starts.partition_point(|start| *start <= found.at.start).max(1);
        let start = self.starts[line - 1];
        let before = self.source.text.get(start..found.at.start).unwrap_or("");
        Fault {
            file: self.source.path.clone(),
            line,
            column: before.chars().count() + 1,
            message: found.message,
            hint: found.hint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_in_lines_and_characters() {
        let source = Source { path: "a.toml".into(), text: "ä = 1\nöö = 2\n".into() };
        let mut findings = Findings::default();
        findings.fault(At { file: 0, start: source.text.find('2').unwrap() }, "two", "one");
        findings.fault(At { file: 0, start: 0 }, "a", Hint::default());
        findings.fault(At { file: 0, start: NOWHERE.start }, "never said", Hint::default());
        findings.fault(At { file: 0, start: source.text.len() }, "end", Hint::default());
        let faults = findings.finish(&[source]);
        assert_eq!(faults.to_string(), "a.toml:1:1: a\na.toml:2:6: two\n  hint: one\na.toml:3:1: end");
    }
}

//! Reads the crate's own sources, with everything blanked out that is not code, so that a rule can't be broken by a comment.
use std::fs;
use std::path::{Path, PathBuf};

/// One file below `src`.
#[derive(Debug)]
pub struct Source {
    /// From the crate's root, such as `src/core/plan.rs`.
    pub path: String,
    /// As it is written.
    pub text: String,
    /// The same lines, without comments and without what stands in strings.
    code: String,
    /// The line on which the unit tests begin.
    tests_at: usize,
}

/// A line that a rule is about.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Counted from 1.
    pub number: usize,
    /// The code on it.
    pub code: &'a str,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = code_of(text);
        let tests_at = code.lines().position(|it| it.trim_start().starts_with("#[cfg(test)]")).unwrap_or(usize::MAX);
        Self { path: path.to_owned(), text: text.to_owned(), code, tests_at }
    }

    /// Every line of code, unit tests included.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.code.lines().enumerate().map(|(nth, code)| Line { number: nth + 1, code })
    }

    /// The lines of code that are part of the program.
    pub fn program(&self) -> impl Iterator<Item = Line<'_>> {
        self.lines().take_while(|it| it.number <= self.tests_at)
    }

    /// Where a line is, as compilers write it.
    pub fn place(&self, line: Line<'_>) -> String {
        format!("{}:{}", self.path, line.number)
    }

    /// The module's name at the top of the crate: `core`, `cli`; none for `lib.rs` and `main.rs`.
    pub fn top(&self) -> Option<&str> {
        let path = self.path.strip_prefix("src/")?;
        let top = path.split_once('/').map_or_else(|| path.trim_end_matches(".rs"), |it| it.0);
        (!["lib", "main"].contains(&top)).then_some(top)
    }

    /// How many modules the file is below the crate's root.
    pub fn depth(&self) -> usize {
        let modules = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        modules.split('/').count()
    }
}

/// The crate's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source of the crate, in the order of their names.
pub fn sources() -> Vec<Source> {
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        Source::new(&name, &fs::read_to_string(path).unwrap())
    };
    files(&root().join("src"), "rs").into_iter().map(read).collect()
}

/// Every file with this ending in a folder, however deep; none where the folder is missing.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = Vec::new();
    for path in entries.map(|it| it.unwrap().path()) {
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|it| it == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Blanks out comments and the insides of strings and characters; the lines stay where they are.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let hidden = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |it| it + 2),
            'r' if is_raw(rest) && !ends_in_word(&code) => raw_string(rest),
            '"' => quoted(rest, '"'),
            '\'' if is_character(rest) => quoted(rest, '\''),
            _ => 0,
        };
        if hidden == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..hidden].chars().map(|it| if it == '\n' { '\n' } else { ' ' }));
            rest = &rest[hidden..];
        }
    }
    code
}

fn ends_in_word(code: &str) -> bool {
    code.ends_with(|it: char| it.is_alphanumeric() || it == '_')
}

fn is_raw(rest: &str) -> bool {
    rest[1..].trim_start_matches('#').starts_with('"') && rest[1..].starts_with(['#', '"'])
}

fn raw_string(rest: &str) -> usize {
    let hashes = rest[1..].len() - rest[1..].trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    let inside = hashes + 2;
    rest[inside..].find(&end).map_or(rest.len(), |it| inside + it + end.len())
}

/// A lifetime has no quote at its end.
fn is_character(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    matches!((chars.next(), chars.next()), (Some('\\'), _) | (Some(_), Some('\'')))
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, it) in rest.char_indices().skip(1) {
        match it {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if it == quote => return at + quote.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn what_is_not_code_is_blanked_out_and_the_lines_stay() {
    let text = "a // b\n\"c \\\" d\ne\" f r#\"g\"h\"# 'i' '\\'' &'j str /* k\n*/ for\"l\"";
    let code = code_of(text);
    let words: Vec<Vec<&str>> = code.lines().map(|it| it.split_whitespace().collect()).collect();
    assert_eq!(words, [vec!["a"], vec![], vec!["f", "&'j", "str"], vec!["for"]]);
}

#[test]
fn the_unit_tests_are_no_part_of_the_program() {
    let source = Source::new("src/a/b.rs", "one\n#[cfg(test)]\nmod tests {}");
    assert_eq!((source.program().count(), source.lines().count()), (1, 3));
    assert_eq!((source.top(), source.depth()), (Some("a"), 2));
    assert_eq!(Source::new("src/a/mod.rs", "").depth(), 1);
}

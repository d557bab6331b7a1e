//! Says what the parsers say in the words of the config's readers.
use super::fault::Hint;
use super::suggest;
use crate::secret::LITERAL_SECRET;

/// What a config may say one day, but not yet: nothing is accepted that nobody acts on.
const NOT_YET: [(&str, &[&str]); 1] = [("kind", &["exec", "http"])];

/// The field that an error says is missing.
pub(super) fn missing(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

/// A parser's message as a sentence and a hint. `prefix` stands before names of fields, `also` are names known besides.
pub(super) fn plain(message: &str, prefix: &str, also: &[&str]) -> (String, Hint) {
    if let Some(field) = missing(message) {
        return (format!("`{prefix}{field}` is missing"), Hint::from(format!("write {field} = …")));
    }
    if message.starts_with(LITERAL_SECRET) || message.starts_with("a secret must not ") {
        return (
            LITERAL_SECRET.to_owned(),
            Hint::from("write { credential = \"…\" }, { file = \"…\" } or { env = \"…\" }"),
        );
    }
    if message.starts_with("unknown field `") {
        let (word, known) = named(message);
        return unknown("field", prefix, word, known.chain(also.iter().copied()));
    }
    if message.starts_with("unknown variant `") {
        let (word, known) = named(message);
        return unknown("value", "", word, known);
    }
    if let Some((found, expected)) = message.strip_prefix("invalid type: ").and_then(|it| it.split_once(", expected "))
    {
        return (format!("expected {}, found {}", noun(expected), kind(found)), Hint::default());
    }
    if let Some((found, expected)) = message.strip_prefix("invalid value: ").and_then(|it| it.split_once(", expected "))
    {
        return (format!("expected {}, found {}", noun(expected), super::document::a(found)), Hint::default());
    }
    match remedy(message) {
        Some((what, hint)) => (what.to_owned(), Hint::from(hint)),
        None => (message.to_owned(), Hint::default()),
    }
}

/// What is said of a word that is not known.
pub(super) fn unknown<'a>(
    what: &str,
    prefix: &str,
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> (String, Hint) {
    if NOT_YET.iter().any(|(it, words)| *it == what && words.contains(&word)) {
        return (format!("{what} `{prefix}{word}` is not supported yet"), suggest::list(known));
    }
    (format!("unknown {what} `{prefix}{word}`"), suggest::hint(word, known))
}

/// Serde's and Rust's names of types in everyday words.
fn noun(expected: &str) -> &str {
    match expected {
        "a sequence" => "a list",
        "a map" => "a table",
        "a nonzero u32" | "a nonzero usize" => "a whole number, 1 or more",
        "u16" => "a whole number from 0 to 65535",
        it if it.starts_with("struct ") => "a table",
        it => it,
    }
}

/// What type was found instead. The value is not repeated: it may be a secret in the wrong place.
fn kind(found: &str) -> String {
    match found.split([' ', '`']).next().unwrap_or(found) {
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        "floating" => "a number with a point".to_owned(),
        it => super::document::a(it),
    }
}

/// The word that an error is about, and those that it lists: all stand in backticks.
fn named(message: &str) -> (&str, impl Iterator<Item = &str>) {
    let mut words = message.split('`').skip(1).step_by(2);
    (words.next().unwrap_or(""), words)
}

/// Divides a message at the part that says what to do.
fn remedy(message: &str) -> Option<(&str, &str)> {
    let starts = ["; write ", "; did you mean ", "; known here", "; run: ", "; use ", "; name "];
    let at = starts.iter().filter_map(|it| message.rfind(it)).max()?;
    Some((&message[..at], &message[at + 2..]))
}

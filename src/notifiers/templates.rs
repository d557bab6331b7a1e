//! Mails in the words of the house: up to three templates in a folder, each instead of what is built in. They are minijinja's,
//! and know what a letter says.
//!
//! A template that is broken, from the start or for one mail alone, is as if it were not there: the built-in one goes out, and
//! what is wrong is remembered, for `rekeyd check`, the log and `rekeyd status`. They are read with the config.
use super::Message;
use super::letter::{Letter, colour};
use super::table::{self, Row};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, UndefinedBehavior, Value, context};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The largest template that is read, in bytes.
pub(super) const TEMPLATE_BYTES: u64 = 256 * 1024;
/// The largest part of a mail that a template may make, in bytes; beyond it most servers refuse the mail.
pub(super) const PART_BYTES: usize = 4 * 1024 * 1024;

/// The parts of a mail that a template may write. Escaped as HTML where the name says so.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Part {
    Subject,
    Text,
    Html,
}

impl Part {
    const ALL: [Self; 3] = [Self::Subject, Self::Text, Self::Html];

    /// The name of its file.
    fn file(self) -> &'static str {
        match self {
            Self::Subject => "subject.txt",
            Self::Text => "body.txt",
            Self::Html => "body.html",
        }
    }
}

/// The templates of one folder.
#[derive(Debug, Default)]
pub(super) struct Templates {
    folder: PathBuf,
    sources: BTreeMap<Part, String>,
    broken: Mutex<BTreeMap<Part, String>>,
}

impl Templates {
    /// Reads what is in a folder, and tries it with letters of every shape.
    pub(super) fn read(folder: &Path) -> Self {
        let mut templates = Self { folder: folder.to_owned(), ..Self::default() };
        for part in Part::ALL {
            match source(&folder.join(part.file())) {
                Ok(Some(text)) => drop(templates.sources.insert(part, text)),
                Ok(None) => {}
                Err(why) => templates.note(part, why),
            }
        }
        if templates.sources.is_empty() && templates.trouble().is_none() {
            templates.note(Part::Text, "it is not there, and neither are the others".to_owned());
        }
        for (letter, message) in super::letter::shapes() {
            Part::ALL.iter().for_each(|part| drop(templates.render(*part, &letter, &message)));
        }
        templates
    }

    /// What the template of a part makes of a letter; none where there is no template, or a broken one.
    pub(super) fn render(&self, part: Part, letter: &Letter, message: &Message) -> Option<String> {
        let source = self.sources.get(&part)?;
        let why = match rendered(part.file(), source, values(letter, message)) {
            Ok(text) if text.trim().is_empty() => "it makes nothing of a notice".to_owned(),
            Ok(text) if text.len() > PART_BYTES => format!("it makes more than {PART_BYTES} bytes of a notice"),
            Ok(text) => return Some(text),
            Err(error) => format!("line {}: {}", error.line().unwrap_or(1), said(&error)),
        };
        self.note(part, why);
        None
    }

    /// What is broken, as a sentence; none where nothing is.
    pub(super) fn trouble(&self) -> Option<String> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |(part, why): (&Part, &String)| format!("{}: {why}", self.folder.join(part.file()).display());
        let all: Vec<String> = broken.iter().map(one).collect();
        let all = (!all.is_empty()).then(|| all.join("; "))?;
        Some(format!("a mail template can't be used, and the built-in one is sent instead: {all}"))
    }

    fn note(&self, part: Part, why: String) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if broken.get(&part) != Some(&why) {
            let file = self.folder.join(part.file());
            tracing::warn!(file = %file.display(), why, "a mail template can't be used; the built-in one is sent instead");
            broken.insert(part, why);
        }
    }
}

fn source(path: &Path) -> Result<Option<String>, String> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = String::new();
    match file.take(TEMPLATE_BYTES + 1).read_to_string(&mut text) {
        Ok(read) if read as u64 > TEMPLATE_BYTES => Err(format!("it has more than {TEMPLATE_BYTES} bytes")),
        Ok(_) => Ok(Some(text)),
        Err(error) => Err(error.to_string()),
    }
}

fn rendered(name: &str, source: &str, values: Value) -> Result<String, Error> {
    let mut environment = Environment::new();
    // A word that is written wrongly shall not go unnoticed.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
        .set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true).build()?);
    environment.add_filter("wrap", super::text::wrapped);
    environment.render_named_str(name, source, values)
}

/// What stands in a template: the letter, and as `notice` what machines call it.
fn values(letter: &Letter, message: &Message) -> Value {
    let it = message.notice.clone();
    let notice = context! {
        id => message.id.to_string(),
        type => it.kind.code(),
        severity => it.severity.code(),
        status => it.status.code(),
        incident => it.incident,
        key => it.key.map(|it| it.to_string()),
        provider => message.provider.clone(),
        version => it.version,
        fingerprint => it.fingerprint.map(|it| it.to_string()),
        valid_to => it.valid_to.map(|it| it.to_string()),
    };
    let row = |it: Row| context! { subject => it.subject, at => it.at, text => it.text, command => it.command };
    let rows = |rows: Vec<Row>| rows.into_iter().map(row).collect::<Vec<_>>();
    let part = |it: table::Part| context! { title => it.title, urgency => it.urgency, rows => rows(it.rows) };
    let Letter { urgency, subject, title, happened, means, commands, next, facts, table } = letter.clone();
    let facts = facts.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect::<Vec<_>>();
    let table = table.into_iter().map(part).collect::<Vec<_>>();
    let (colour, owner) = (colour(urgency), message.owner.clone());
    context! { urgency, colour, subject, title, happened, means, commands, next, facts, table, owner, notice }
}

fn said(error: &Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), |it| format!("{}: {it}", error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notifiers::letter::shapes;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(dir.path().join(name), text).unwrap());
        dir
    }

    #[test]
    fn a_template_says_it_in_other_words_and_html_is_escaped() {
        let dir = folder(&[
            ("subject.txt", "{{ notice.type }} {{ title }}\n"),
            ("body.html", "{% for name, value in facts %}<b>{{ name }}</b>{{ value }}{% endfor %}{{ happened }}"),
        ]);
        let templates = Templates::read(dir.path());
        assert_eq!(templates.trouble(), None);
        let (mut letter, message) = shapes().remove(0);
        letter.happened = "<script>".into();
        let html = templates.render(Part::Html, &letter, &message).unwrap();
        assert!(html.contains("<b>Key</b>billing-sms") && html.contains("&lt;script&gt;"), "{html}");
        assert_eq!(templates.render(Part::Text, &letter, &message), None, "no template, no words");
        let subject = templates.render(Part::Subject, &letter, &message).unwrap();
        assert_eq!(subject, format!("{} {}\n", message.notice.kind.code(), letter.title));
    }

    #[test]
    fn what_is_broken_is_told_with_its_line_and_is_as_if_it_were_not_there() {
        for (text, wanted) in [
            ("a\n{% if %}", "line 2"),
            ("{{ hapened }}", "undefined"),
            ("{{ next.upper() }}", "line 1"),
            ("  \n", "makes nothing"),
            ("{{ title|wrap('x') }}", "line 1"),
        ] {
            let dir = folder(&[("body.txt", text)]);
            let templates = Templates::read(dir.path());
            let why = templates.trouble().unwrap();
            assert!(why.contains("body.txt") && why.contains(wanted), "{text}: {why}");
        }
        let (letter, message) = shapes().remove(0);
        let templates = Templates::read(folder(&[("body.txt", "{{ x }}")]).path());
        assert_eq!(templates.render(Part::Text, &letter, &message), None);
    }

    #[test]
    fn a_folder_without_a_template_and_one_that_is_too_large_are_told() {
        assert!(Templates::read(Path::new("/nowhere")).trouble().unwrap().contains("not there"));
        let large = "x".repeat(usize::try_from(TEMPLATE_BYTES).unwrap() + 1);
        let why = Templates::read(folder(&[("body.txt", &large)]).path()).trouble().unwrap();
        assert!(why.contains("more than"), "{why}");
    }
}

//! A letter as plain text.
use super::letter::Letter;
use super::table::{Part, Row};
use std::fmt::Write;

/// Sentences are broken at this many characters; commands never.
const WIDTH: usize = 76;

/// Renders a letter as plain text, with `\n` as line end.
pub(super) fn render(letter: &Letter) -> String {
    let mut out = String::new();
    paragraph(&mut out, "", &letter.subject);
    section(&mut out, "What happened", &letter.happened);
    section(&mut out, "What it means", &letter.means);
    letter.table.iter().for_each(|it| part(&mut out, it));
    heading(&mut out, "What to do");
    if letter.commands.is_empty() {
        out.push_str("  Nothing.\n");
    }
    for command in &letter.commands {
        let _ = writeln!(out, "  {command}");
    }
    if let Some(next) = &letter.next {
        section(&mut out, "What comes next", next);
    }
    out.push('\n');
    let width = letter.facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in &letter.facts {
        let mut text = String::new();
        paragraph(&mut text, &" ".repeat(width + 2), value);
        let _ = writeln!(out, "{name:width$}  {}", text.trim());
    }
    out
}

/// Rows in columns; a sentence goes on under itself, and a command has a line of its own.
fn part(out: &mut String, part: &Part) {
    heading(out, &part.title);
    let width = |of: fn(&Row) -> &str| part.rows.iter().map(|it| of(it).chars().count()).max().unwrap_or(0);
    let (subject, at) = (width(|it| &it.subject), width(|it| &it.at));
    let indent = " ".repeat(2 + subject + usize::from(subject > 0) * 2 + at + usize::from(at > 0) * 2);
    // Names may be so long that there is no room beside them.
    let beside = indent.len() + 24 <= WIDTH;
    for row in &part.rows {
        let mut first = format!("  {:subject$}", row.subject);
        if at > 0 {
            let _ = write!(first, "{}{:at$}", if subject > 0 { "  " } else { "" }, row.at);
        }
        let mut text = String::new();
        paragraph(&mut text, if beside { &indent } else { "    " }, &row.text);
        match text.strip_prefix(&indent) {
            Some(text) if beside => {
                let _ = write!(out, "{first}{}{text}", if first.len() > 2 { "  " } else { "" });
            }
            _ => {
                let _ = write!(out, "{}\n{text}", first.trim_end());
            }
        }
        if let Some(command) = &row.command {
            let _ = writeln!(out, "      {command}");
        }
    }
}

/// The filter `wrap` of templates: a text in lines, each after so many blanks.
pub(super) fn wrapped(text: &str, indent: Option<usize>) -> String {
    let mut out = String::new();
    paragraph(&mut out, &" ".repeat(indent.unwrap_or(0).min(WIDTH / 2)), text);
    out.truncate(out.trim_end_matches('\n').len());
    out
}

fn section(out: &mut String, title: &str, text: &str) {
    heading(out, title);
    paragraph(out, "  ", text);
}

fn heading(out: &mut String, title: &str) {
    let _ = writeln!(out, "\n{title}");
}

fn paragraph(out: &mut String, indent: &str, text: &str) {
    let mut width = 0;
    for word in text.split_whitespace() {
        let chars = word.chars().count();
        if width > 0 && width + 1 + chars > WIDTH {
            out.push('\n');
            width = 0;
        }
        if width == 0 {
            out.push_str(indent);
            width = indent.len();
        } else {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += chars;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Letter {
        Letter {
            urgency: "critical",
            subject: "[critical] billing-sms: rotation halted".into(),
            title: "billing-sms: rotation halted".into(),
            happened: "The answer to a create was lost, and the provider can't be asked what came of it.".into(),
            means: "Somebody must act.".into(),
            commands: vec!["rekeyd resume billing-sms".into(), format!("rekeyd adopt {}", "x".repeat(90))],
            next: Some("notify: Sun 22 Nov 2026 22:00 UTC (Sun 22 Nov 22:00 in Europe/London)".into()),
            facts: vec![("Key", "billing-sms".into()), ("Fingerprint", "3fa9c1d2e4b5".into())],
            table: vec![],
        }
    }

    #[test]
    fn sentences_are_broken_and_commands_are_not() {
        let wanted = format!(
            "[critical] billing-sms: rotation halted\n\n\
             What happened\n  The answer to a create was lost, and the provider can't be asked what came\n  of it.\n\n\
             What it means\n  Somebody must act.\n\n\
             What to do\n  rekeyd resume billing-sms\n  rekeyd adopt {}\n\n\
             What comes next\n  notify: Sun 22 Nov 2026 22:00 UTC (Sun 22 Nov 22:00 in Europe/London)\n\n\
             Key          billing-sms\nFingerprint  3fa9c1d2e4b5\n",
            "x".repeat(90)
        );
        assert_eq!(render(&letter()), wanted);
    }

    #[test]
    fn a_table_has_columns_and_its_sentences_go_on_under_themselves() {
        let row = |subject: &str, text: &str| Row {
            subject: subject.into(),
            at: "Sat 21 Nov 22:00".into(),
            text: text.into(),
            command: None,
        };
        let long = "could not be delivered to file:/etc/billing/sms.key: there is no room on the disk";
        let failed = Row { command: Some("rekeyd resume billing-sms".into()), ..row("billing-sms", long) };
        let rows = vec![failed, row("b", "was replaced")];
        let letter =
            Letter { table: vec![Part { title: "delivery failed".into(), urgency: "warning", rows }], ..letter() };
        let wanted = "\ndelivery failed\n  \
             billing-sms  Sat 21 Nov 22:00  could not be delivered to\n                                 \
             file:/etc/billing/sms.key: there is no room\n                                 \
             on the disk\n      \
             rekeyd resume billing-sms\n  \
             b            Sat 21 Nov 22:00  was replaced\n\nWhat to do\n";
        let text = render(&letter);
        assert!(text.contains(wanted), "{text}");
    }

    #[test]
    fn where_nothing_is_to_be_done_it_says_so() {
        let letter = Letter { commands: vec![], next: None, ..letter() };
        assert!(render(&letter).contains("What to do\n  Nothing.\n\nKey"));
    }
}

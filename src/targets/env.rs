//! `NAME=value` as systemd's `EnvironmentFile=` and a POSIX shell both read it, and alike.
use crate::secret::Secret;

/// Says whether a text can name an environment variable.
pub(super) fn is_variable(name: &str) -> bool {
    let first = |it: char| it.is_ascii_alphabetic() || it == '_';
    name.starts_with(first) && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
}

/// Writes one assignment. Plain where nothing in the value is special anywhere, so that simpler readers can do with it;
/// else in single quotes; in double quotes where it has a single quote in it, as systemd does not know `'\''`.
///
/// # Errors
/// Where the value has a character that one of the readers refuses: what is not UTF-8, or a control character but tab.
pub(super) fn write(variable: &str, value: &str) -> Result<Secret, &'static str> {
    if value.chars().any(|it| it.is_control() && it != '\t') {
        return Err("a line end or another control character can't stand in an environment file; use format = \"raw\"");
    }
    // Twice the value and some: the buffer never grows, so no copy of the secret is left behind.
    let mut text = String::with_capacity(variable.len() + 2 * value.len() + 4);
    text.push_str(variable);
    text.push('=');
    if value.chars().all(is_plain) {
        text.push_str(value);
    } else if !value.contains('\'') {
        text.extend(["'", value, "'"]);
    } else {
        text.push('"');
        for it in value.chars() {
            if is_special_in_double_quotes(it) {
                text.push('\\');
            }
            text.push(it);
        }
        text.push('"');
    }
    text.push('\n');
    Ok(Secret::from(text))
}

fn is_plain(it: char) -> bool {
    it.is_ascii_alphanumeric() || "_-.:/@%+=,".contains(it)
}

fn is_special_in_double_quotes(it: char) -> bool {
    matches!(it, '"' | '\\' | '$' | '`')
}

/// Reads an environment file: assignments, `export `, comments, both kinds of quotes, backslashes, continued lines.
/// Substitutions are not carried out. None where it is no environment file.
pub(super) fn read(text: &str) -> Option<Vec<(&str, Secret)>> {
    let mut rest = text.trim_start();
    let mut found = Vec::new();
    while !rest.is_empty() {
        if rest.starts_with(['#', ';']) {
            rest = rest.split_once('\n').map_or("", |it| it.1).trim_start();
            continue;
        }
        let (name, after) = rest.split_once('=')?;
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        let (value, after) = is_variable(name).then(|| read_value(after)).flatten()?;
        found.push((name, value));
        rest = after.trim_start();
    }
    Some(found)
}

/// Takes one value off the text, up to its line's end; none where a quote is left open.
fn read_value(text: &str) -> Option<(Secret, &str)> {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.char_indices();
    let mut quote = None;
    // Blanks at the end of the line count only where they are quoted.
    let mut firm = 0;
    let after = loop {
        let Some((at, it)) = chars.next() else { break "" };
        match (quote, it) {
            (None, '\n') => break &text[at..],
            (None, '\'' | '"') => quote = Some(it),
            (Some(open), _) if it == open => (quote, firm) = (None, value.len()),
            (Some('\''), _) => value.push(it),
            (_, '\\') => match chars.next()?.1 {
                '\n' => {}
                next if quote.is_none() || is_special_in_double_quotes(next) => value.push(next),
                next => value.extend([it, next]),
            },
            _ => value.push(it),
        }
    };
    value.truncate(value.trim_end().len().max(firm));
    quote.is_none().then(|| (Secret::from(value), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Option<&str>) {
        let read = read(text).unwrap_or_default();
        let value = read.iter().rfind(|it| it.0 == "KEY").map(|it| it.1.expose_str().unwrap());
        assert_eq!(value, want, "{text}");
    }

    #[test]
    fn a_plain_value_is_written_plainly_and_any_other_in_quotes() {
        let written = |value| write("KEY", value).unwrap().expose_str().unwrap().to_owned();
        assert_eq!(written("abc-1.2_3=="), "KEY=abc-1.2_3==\n");
        assert_eq!(written("a $b `c` \\ \"d\""), "KEY='a $b `c` \\ \"d\"'\n");
        assert_eq!(written("it's $5"), "KEY=\"it's \\$5\"\n");
        assert!(write("KEY", "a\nb").is_err());
    }

    #[test]
    fn the_usual_spellings_are_read() {
        check("KEY=abc\n", Some("abc"));
        check("KEY=abc", Some("abc"));
        check("KEY= \t\n", Some(""));
        check("KEY=abc \r\n", Some("abc"));
        check("KEY='abc '\r\n", Some("abc "));
        check("# a key\n\n; more\nexport KEY='a b'\r\n", Some("a b"));
        check("OTHER=\"x\ny\"\nKEY=\"it's \\$5 \\n\"\n", Some("it's $5 \\n"));
        check("KEY=one\nKEY=two\n", Some("two"));
        check("KEY='a'\"'\"'b'\n", Some("a'b"));
        check("KEY=a\\\nb\n", Some("ab"));
        check("OTHER=1\n", None);
        check("KEY='open\n", None);
        check("not an assignment\n", None);
    }
}

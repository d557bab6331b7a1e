//! What is printed: aligned for people, JSON for scripts, coloured only on a terminal.
use super::hints;
use super::times::spelled;
use crate::control::protocol::Health;
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whether to paint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Paint(pub bool);

/// What a colour means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tone {
    /// All is well.
    Good,
    /// Look at it.
    Warn,
    /// Something is broken.
    Bad,
}

impl From<Health> for Tone {
    fn from(health: Health) -> Self {
        match health {
            Health::Ok => Self::Good,
            Health::Attention => Self::Warn,
            Health::Critical | Health::Expired => Self::Bad,
        }
    }
}

impl Paint {
    /// The text in the colour of its tone, if there are colours.
    pub fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => 32,
            Tone::Warn => 33,
            Tone::Bad => 31,
        };
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Where a command prints to.
pub(super) struct Output {
    to: Box<dyn Write>,
    /// Whether scripts read it.
    pub(super) json: bool,
    /// Whether people see colours.
    pub(super) paint: Paint,
    /// How many columns a line may have: those of the terminal. Where there is none, lines stay whole.
    pub(super) width: usize,
    /// The config that commands to be tried next have to name.
    config: Option<PathBuf>,
}

impl Output {
    pub(super) fn new(color: Color, json: bool, config: Option<&Path>) -> Self {
        let stdout = io::stdout();
        let paint = Paint(!json && is_painted(color, stdout.is_terminal()));
        let size = rustix::termios::tcgetwinsize(&stdout).ok().map(|it| usize::from(it.ws_col));
        let width = size.filter(|it| *it > 0).unwrap_or(usize::MAX);
        Self { to: Box::new(stdout), json, paint, width, config: config.map(Path::to_owned) }
    }

    /// Whether errors are painted.
    pub(super) fn for_errors(color: Color) -> Paint {
        Paint(is_painted(color, io::stderr().is_terminal()))
    }

    /// Prints what a script reads, or else what people read.
    pub(super) fn print<T: Serialize>(&mut self, it: &T, text: impl FnOnce(Paint) -> String) -> io::Result<()> {
        if self.json {
            let json = serde_json::to_string_pretty(it)? + "\n";
            return self.bytes(json.as_bytes());
        }
        let text = text(self.paint);
        self.text(&text)
    }

    /// Prints what people read.
    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        let text = hints::at_config(text, self.config.as_deref());
        self.bytes(text.as_bytes())
    }

    /// For a command that prints line by line.
    pub(super) fn writer(&mut self) -> &mut dyn Write {
        &mut self.to
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.to.flush()
    }
}

fn is_painted(color: Color, on_terminal: bool) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => on_terminal && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty()),
    }
}

/// A row of a table, and the tone of its second column.
pub(super) type Row = (Option<Tone>, Vec<String>);

/// Aligns rows under a header. The second column is painted, so the first must be ASCII.
pub(super) fn table(header: &[&str], rows: Vec<Row>, paint: Paint) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    let tones: Vec<_> = rows.iter().map(|it| it.0).collect();
    let second: Vec<_> = rows.iter().map(|it| it.1.get(1).map_or(0, String::len)).collect();
    for (_, cells) in rows {
        table.add_row(cells.into_iter().map(one_line));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let start = table.column_max_content_widths().first().map_or(0, |it| usize::from(*it) + 2);
    let mut text = String::new();
    for (n, line) in table.to_string().lines().map(str::trim_end).enumerate() {
        let cell = n.checked_sub(1).and_then(|n| Some(((*tones.get(n)?)?, *second.get(n)?)));
        text += &cell.map_or(line.to_owned(), |(tone, width)| painted(line, start, width, tone, paint));
        text.push('\n');
    }
    text
}

fn painted(line: &str, start: usize, width: usize, tone: Tone, paint: Paint) -> String {
    match (line.get(..start), line.get(start..start + width), line.get(start + width..)) {
        (Some(before), Some(cell), Some(after)) => format!("{before}{}{after}", paint.tone(tone, cell)),
        _ => line.to_owned(),
    }
}

/// Rows stay rows, what a provider or a hook wrote can't steer the terminal, and times are told as people read them.
pub(super) fn one_line(text: impl AsRef<str>) -> String {
    spelled(text.as_ref(), None).chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

/// A text that begins at this column, broken at spaces so that no line is longer than the width. Where too little room is
/// left to read, it stays whole.
pub(super) fn folded(text: &str, indent: usize, width: usize) -> String {
    let room = width.saturating_sub(indent);
    if room < READABLE {
        return text.to_owned();
    }
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            // A command stays in one piece, so that it can be copied and is known for one.
            Some(line) if line.ends_with(hints::NAME.trim_end()) => {
                line.push(' ');
                line.push_str(word);
            }
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join(&format!("\n{:indent$}", ""))
}

/// Fewer columns than these make no text.
const READABLE: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |tone, cells: [&str; 3]| (tone, cells.iter().map(|it| (*it).to_owned()).collect());
        vec![row(Some(Tone::Bad), ["a-long-name", "expired", "x\ny"]), row(None, ["b", "ok", ""])]
    }

    #[test]
    fn columns_are_aligned_and_rows_stay_rows() {
        let text = table(&["KEY", "HEALTH", "WHY"], rows(), Paint(false));
        assert_eq!(text, "KEY          HEALTH   WHY\na-long-name  expired  x y\nb            ok\n");
    }

    #[test]
    fn colours_change_nothing_but_colour() {
        let text = table(&["KEY", "HEALTH", "WHY"], rows(), Paint(true));
        assert!(text.contains("a-long-name  \x1b[31mexpired\x1b[0m  x y"), "{text:?}");
    }

    #[test]
    fn a_text_is_folded_at_spaces_and_keeps_its_indent() {
        let text = "the answer of a create was lost  or  not";
        assert_eq!(folded(text, 4, 30), "the answer of a create was\n    lost  or  not");
        assert_eq!(folded(text, 4, usize::MAX), text);
        assert_eq!(folded(text, 17, 20), text);
        assert_eq!(folded("/a/path/that/has/no/space/in/it x", 2, 22), "/a/path/that/has/no/space/in/it\n  x");
    }

    #[test]
    fn colours_are_for_terminals() {
        assert!(is_painted(Color::Always, false));
        assert!(!is_painted(Color::Never, true));
        assert!(!is_painted(Color::Auto, false));
    }
}

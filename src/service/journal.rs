//! The log as systemd's journal keeps it: every field of an event by its name, so that `journalctl REKEYD_KEY_NAME=billing-sms`
//! tells one key's story. Only where stderr goes to the journal anyway; elsewhere it is lines of text.
use super::messages;
use super::sink::{Line, Sink};
use rustix::fs::{FileType, fstat};
use std::fmt::{self, Write as _};
use std::io;
use std::path::Path;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// The most bytes of one field; what is longer is cut off.
const FIELD_BYTES: usize = 16 * 1024;

/// Writes events to the journal, and waits for nobody.
#[derive(Debug)]
pub(super) struct Journal(Sink);

impl Journal {
    /// The journal, where it is what stderr is connected to: `stream` is `$JOURNAL_STREAM`.
    pub(super) fn of_stderr(stream: Option<&str>) -> Option<Self> {
        let found = fstat(io::stderr()).ok()?;
        let is_it = stream? == format!("{}:{}", found.st_dev, found.st_ino);
        // Whoever sends the log elsewhere afterwards has a reason.
        let listens = FileType::from_raw_mode(found.st_mode) == FileType::Socket || Path::new(SOCKET).exists();
        if is_it && listens { Self::at(Path::new(SOCKET)).ok() } else { None }
    }

    /// What listens at a path.
    ///
    /// # Errors
    /// Where no socket can be had.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Sink::at(path, |lines| Entry::dropped(lines).to_line()).map(Self)
    }

    /// Where the lines go.
    pub(super) fn sink(&self) -> &Sink {
        &self.0
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.put(Entry::of(event).to_line());
    }
}

/// One event, taken apart.
#[derive(Debug, Default)]
struct Entry {
    priority: u8,
    target: String,
    text: String,
    fields: Vec<(&'static str, String)>,
}

impl Entry {
    fn of(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let priority = match *metadata.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        let mut entry = Self { priority, target: metadata.target().to_owned(), ..Self::default() };
        event.record(&mut entry);
        entry
    }

    /// What is said when the journal takes lines again, of those that it did not take.
    fn dropped(lines: u64) -> Self {
        let text = if lines == 1 { "1 line was dropped".to_owned() } else { format!("{lines} lines were dropped") };
        let text = format!("{text}: {}", messages::DROPPED);
        let fields = vec![("lines", lines.to_string())];
        Self { priority: 4, target: module_path!().to_owned(), text, fields }
    }

    /// For the journal, and for stderr where there is none.
    fn to_line(&self) -> Line {
        Line { bytes: self.bytes(), text: self.line() }
    }

    /// The sentence that people read: the key first, then what happened, then the rest.
    fn line(&self) -> String {
        let mut line = self.key().map(|it| format!("{it}: ")).unwrap_or_default();
        line.push_str(&self.text);
        for (name, value) in self.fields.iter().filter(|it| it.0 != KEY) {
            let quote = if value.contains(' ') { "\"" } else { "" };
            let _ = write!(line, " {name}={quote}{value}{quote}");
        }
        line
    }

    fn key(&self) -> Option<&str> {
        self.fields.iter().find(|it| it.0 == KEY).map(|it| it.1.as_str())
    }

    /// As the journal's native protocol has it.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, "MESSAGE", &self.line());
        put(&mut bytes, "PRIORITY", &self.priority.to_string());
        put(&mut bytes, "SYSLOG_IDENTIFIER", "rekeyd");
        put(&mut bytes, "CODE_MODULE", &self.target);
        if let Some(id) = messages::id(&self.text) {
            put(&mut bytes, "MESSAGE_ID", id);
        }
        for (name, value) in &self.fields {
            put(&mut bytes, &journal_name(&self.text, name), value);
        }
        bytes
    }
}

/// The field of an event that names a key.
const KEY: &str = "key";

/// What the journal calls a field. A change of phase has where it leads to as the phase.
fn journal_name(text: &str, name: &str) -> String {
    match name {
        KEY => "REKEYD_KEY_NAME".to_owned(),
        "to" if text == messages::PHASE => "REKEYD_PHASE".to_owned(),
        _ => {
            let valid = |it: char| if it.is_ascii_alphanumeric() { it.to_ascii_uppercase() } else { '_' };
            format!("REKEYD_{}", name.chars().map(valid).collect::<String>())
        }
    }
}

fn put(bytes: &mut Vec<u8>, name: &str, value: &str) {
    let end = (0..=value.len().min(FIELD_BYTES)).rev().find(|it| value.is_char_boundary(*it)).unwrap_or(0);
    let value = &value[..end];
    bytes.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(b'\n');
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.text = value.to_owned(),
            name => self.fields.push((name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use tracing_subscriber::layer::SubscriberExt;

    /// What the journal gets of what is said.
    fn journaled(say: impl FnOnce()) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let subscriber = tracing_subscriber::registry().with(Journal::at(&path).unwrap());
        tracing::subscriber::with_default(subscriber, say);
        let mut bytes = vec![0; 64 * 1024];
        let n = journal.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    }

    #[track_caller]
    fn check(entry: &str, lines: &[&str]) {
        for line in lines {
            assert!(entry.lines().any(|it| it == *line), "{line} is not in\n{entry}");
        }
    }

    #[test]
    fn a_key_s_story_is_found_by_its_name_and_its_phase() {
        let entry = journaled(|| {
            tracing::info!(key = %"billing-sms", from = "steady", to = "create", version = Some(3), "phase");
        });
        let line = "MESSAGE=billing-sms: phase from=steady to=create version=3";
        check(
            &entry,
            &[line, "PRIORITY=6", "REKEYD_KEY_NAME=billing-sms", "REKEYD_PHASE=create", "REKEYD_FROM=steady"],
        );
        check(&entry, &[&format!("MESSAGE_ID={}", messages::id("phase").unwrap()), "SYSLOG_IDENTIFIER=rekeyd"]);
    }

    #[test]
    fn levels_are_the_journal_s_priorities() {
        check(&journaled(|| tracing::error!("halted: a human is needed")), &["PRIORITY=3"]);
        check(&journaled(|| tracing::warn!(phase = "create", "trouble")), &["PRIORITY=4", "REKEYD_PHASE=create"]);
        check(&journaled(|| tracing::debug!("it")), &["PRIORITY=7"]);
    }

    #[test]
    fn a_value_of_several_lines_is_one_field_and_no_other() {
        let entry = journaled(|| tracing::warn!(why = "a\nPRIORITY=0\nb", "an action failed"));
        let field = format!("REKEYD_WHY\n{}a\nPRIORITY=0\nb\n", String::from_utf8_lossy(&14_u64.to_le_bytes()));
        assert!(entry.contains(&field), "{entry:?}");
    }

    #[test]
    fn what_is_too_long_is_cut_and_arrives() {
        let long = "ä".repeat(FIELD_BYTES);
        let entry = journaled(|| tracing::warn!(why = long, "an action failed"));
        assert!(entry.contains("REKEYD_WHY=ää") && entry.len() < 3 * FIELD_BYTES, "{}", entry.len());
    }

    #[test]
    fn without_a_journal_at_stderr_there_is_none() {
        assert!(Journal::of_stderr(None).is_none());
        assert!(Journal::of_stderr(Some("1:1")).is_none());
    }
}

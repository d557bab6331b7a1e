//! A mail server that keeps what it gets: SMTP without TLS and login, on loopback.
use super::door::Door;
use crate::clock;
use crate::core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// The longest line, in bytes; the standard allows 1000.
const LINE_BYTES: u64 = 4096;
/// The largest message, in bytes.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// The most recipients of one message.
const RECIPIENTS: usize = 100;
/// The most messages that are kept; more are deferred.
const MESSAGES: usize = 10_000;

/// A message that was accepted.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Mail {
    /// When.
    pub at: Timestamp,
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// The `Subject`, unfolded.
    pub subject: String,
    /// The `Message-ID`, with its angle brackets.
    pub message_id: String,
    /// Everything, headers and body, dots unstuffed, lines ended by CR LF.
    pub raw: String,
}

/// The word that a filter does not let through: the name of a simulated key.
pub const FILTERED: &str = "two-factor";

/// How the mail server answers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailMode {
    /// It accepts every message.
    #[default]
    Accepts,
    /// It defers every message: 451 after the content.
    Defers,
    /// It refuses every recipient: 550.
    Rejects,
    /// It accepts the connection and never says a word.
    Mute,
    /// It closes every connection at once.
    Closes,
    /// It accepts the message, and closes before it says so.
    LosesAnswer,
    /// It refuses every message that holds [`FILTERED`]: 554 after the content.
    Filters,
}

/// The mail server.
#[derive(Debug)]
pub struct MailSink {
    door: Door,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    mode: Mutex<MailMode>,
    mails: Mutex<Vec<Mail>>,
    count: watch::Sender<usize>,
}

impl MailSink {
    pub(crate) async fn start() -> io::Result<Self> {
        let inner = Arc::new(Inner { mode: Mutex::default(), mails: Mutex::default(), count: watch::channel(0).0 });
        let served = inner.clone();
        let door = Door::open(move |stream| serve(stream, served.clone())).await?;
        Ok(Self { door, inner })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.door.address().port()
    }

    /// From now on, connections are answered so.
    pub fn set_mode(&self, mode: MailMode) {
        *lock(&self.inner.mode) = mode;
    }

    /// Shuts or opens its port: while it is shut, connections are refused.
    pub async fn set_open(&self, open: bool) {
        self.door.set_open(open).await;
    }

    /// The messages that it accepted, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        lock(&self.inner.mails).clone()
    }

    /// Waits for a message of which `is_it` says yes.
    pub async fn wait_for(&self, limit: Duration, is_it: impl Fn(&Mail) -> bool) -> Option<Mail> {
        let mut count = self.inner.count.subscribe();
        let wait = async {
            loop {
                count.mark_unchanged();
                if let Some(mail) = self.mails().into_iter().find(&is_it) {
                    return Some(mail);
                }
                count.changed().await.ok()?;
            }
        };
        tokio::time::timeout(limit, wait).await.ok().flatten()
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(stream: TcpStream, inner: Arc<Inner>) {
    let mut session = Session { stream: BufReader::new(stream), from: None, to: Vec::new(), inner };
    // A client that breaks off, or doesn't speak SMTP, ends its own session and nothing else.
    let _ = session.run().await;
}

struct Session {
    stream: BufReader<TcpStream>,
    from: Option<String>,
    to: Vec<String>,
    inner: Arc<Inner>,
}

impl Session {
    async fn run(&mut self) -> io::Result<()> {
        match self.mode() {
            MailMode::Closes => return Ok(()),
            MailMode::Mute => {
                while self.line().await?.is_some() {}
                return Ok(());
            }
            _ => self.say("220 localhost ESMTP simulation").await?,
        }
        while let Some(line) = self.line().await? {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let verb = line.get(..4).unwrap_or(&line).to_ascii_uppercase();
            let reply = match verb.as_str() {
                "EHLO" => &format!("250-localhost\r\n250-8BITMIME\r\n250 SIZE {MESSAGE_BYTES}"),
                "HELO" | "NOOP" => "250 OK",
                "MAIL" => self.mail(&line),
                "RCPT" => self.rcpt(&line),
                "RSET" => {
                    self.reset();
                    "250 OK"
                }
                "DATA" if self.from.is_none() || self.to.is_empty() => "503 first MAIL and RCPT",
                "DATA" => match self.data().await? {
                    Some(reply) => reply,
                    None => return Ok(()),
                },
                "QUIT" => return self.say("221 bye").await,
                _ => "502 not implemented",
            };
            let reply = reply.to_owned();
            self.say(&reply).await?;
        }
        Ok(())
    }

    fn mail(&mut self, line: &str) -> &'static str {
        self.reset();
        self.from = address(line);
        if self.from.is_some() { "250 OK" } else { "501 no address" }
    }

    fn rcpt(&mut self, line: &str) -> &'static str {
        match (self.mode(), &self.from, address(line)) {
            (MailMode::Rejects, ..) => "550 no such user",
            (_, None, _) => "503 first MAIL",
            (_, _, None) => "501 no address",
            _ if self.to.len() == RECIPIENTS => "452 too many recipients",
            (_, _, Some(address)) => {
                self.to.push(address);
                "250 OK"
            }
        }
    }

    /// Takes the content. `None`: the connection is to be closed without a word.
    async fn data(&mut self) -> io::Result<Option<&'static str>> {
        self.say("354 go on").await?;
        let mut raw = Vec::new();
        loop {
            let Some(line) = self.line().await? else { return Ok(None) };
            if line == b".\r\n" || line == b".\n" {
                break;
            }
            raw.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            if raw.len() > MESSAGE_BYTES {
                return Ok(None);
            }
        }
        let mode = self.mode();
        if mode == MailMode::Defers || lock(&self.inner.mails).len() >= MESSAGES {
            self.reset();
            return Ok(Some("451 try again later"));
        }
        let raw = String::from_utf8_lossy(&raw).into_owned();
        if mode == MailMode::Filters && raw.contains(FILTERED) {
            self.reset();
            return Ok(Some("554 5.6.0 we do not like this"));
        }
        let mail = Mail {
            at: clock::now(),
            from: self.from.take().unwrap_or_default(),
            to: std::mem::take(&mut self.to),
            subject: header(&raw, "Subject"),
            message_id: header(&raw, "Message-ID"),
            raw,
        };
        lock(&self.inner.mails).push(mail);
        self.inner.count.send_modify(|it| *it += 1);
        Ok((mode != MailMode::LosesAnswer).then_some("250 kept"))
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }

    fn mode(&self) -> MailMode {
        *lock(&self.inner.mode)
    }

    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        (&mut self.stream).take(LINE_BYTES).read_until(b'\n', &mut line).await?;
        match line.last() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(line)),
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "line cut short or too long")),
        }
    }

    async fn say(&mut self, line: &str) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        stream.flush().await
    }
}

/// What stands between the angle brackets.
fn address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('<')?;
    rest.split_once('>').map(|(address, _)| address.to_owned())
}

/// A header's value, its folded lines joined; empty where it is missing.
fn header(raw: &str, name: &str) -> String {
    let mut value = String::new();
    let mut inside = false;
    for line in raw.split("\r\n").take_while(|it| !it.is_empty()) {
        if line.starts_with([' ', '\t']) {
            if inside {
                value.push(' ');
                value.push_str(line.trim());
            }
            continue;
        }
        inside = line.split_once(':').is_some_and(|(it, _)| it.eq_ignore_ascii_case(name));
        if inside {
            value = line.split_once(':').map_or("", |(_, it)| it.trim()).to_owned();
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn talk(sink: &MailSink, lines: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", sink.port())).await.unwrap();
        stream.write_all(lines.as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        said
    }

    const MESSAGE: &str = "EHLO me\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nSubject: one\r\n \
                           two\r\nMessage-ID: <1@x>\r\n\r\n..dot\r\n.\r\nQUIT\r\n";

    #[tokio::test]
    async fn a_message_is_kept_with_its_dots_unstuffed_and_its_subject_unfolded() {
        let sink = MailSink::start().await.unwrap();
        let said = talk(&sink, MESSAGE).await;
        assert!(said.contains("250 kept"), "{said}");
        let mail = sink.mails().remove(0);
        assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("a@example.com", &["b@example.com".to_owned()][..]));
        assert_eq!((mail.subject.as_str(), mail.message_id.as_str()), ("one two", "<1@x>"));
        assert!(mail.raw.ends_with("\r\n\r\n.dot\r\n"), "{}", mail.raw);
    }

    #[tokio::test]
    async fn each_mode_answers_in_its_way_and_keeps_nothing_it_refused() {
        let sink = MailSink::start().await.unwrap();
        for (mode, want) in [(MailMode::Defers, "451"), (MailMode::Rejects, "550")] {
            sink.set_mode(mode);
            let said = talk(&sink, MESSAGE).await;
            assert!(said.contains(want), "{mode:?}: {said}");
        }
        assert_eq!(sink.mails(), []);
    }
}

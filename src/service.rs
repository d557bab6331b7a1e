//! What the daemon is to its system: signals, the log, and what the process gives up.
mod harden;
mod journal;
mod messages;
mod outlet;
mod sink;

pub use harden::harden;

use futures_util::StreamExt;
use journal::Journal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use sink::{Line, Sink};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// How long the calls in flight may take to end after a request to stop.
pub const STOP_WITHIN: Duration = Duration::from_secs(30);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    /// TERM, INT: end.
    Stop,
    /// HUP: read the config anew.
    Reload,
    /// USR1: look at every key now.
    Sweep,
}

/// The signals of this process. Signals of one kind that come at once may be told as one.
pub struct Signals(signal_hook_tokio::Signals);

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signals")
    }
}

impl Signals {
    /// Takes the signals over: from here on none of them ends the process by itself.
    ///
    /// # Errors
    /// Where the system refuses the handlers.
    pub fn new() -> io::Result<Self> {
        signal_hook_tokio::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).map(Self)
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Asked {
        match self.0.next().await {
            Some(SIGHUP) => Asked::Reload,
            Some(SIGUSR1) => Asked::Sweep,
            // Without handlers the process could not be stopped any more: a closed stream is a request to stop.
            _ => Asked::Stop,
        }
    }
}

/// Logs from now on: to the journal with every field by its name where stderr leads there (`stream` is `$JOURNAL_STREAM`), else
/// to stderr in lines. Nobody waits for either. `verbose` is the number of `-v`, `directives` is RUST_LOG, which goes first.
///
/// # Errors
/// Where the directives make no sense, a log is set up already, or stderr is closed.
pub fn log(verbose: u8, directives: Option<&str>, stream: Option<&str>) -> Result<Log, LogError> {
    // Not `init()`: that would also carry over what libraries say through the `log` crate.
    let (set, log) = match Journal::of_stderr(stream) {
        Some(journal) => {
            let log = Log(journal.sink().clone());
            let journal = filtered(journal, verbose, directives)?;
            (tracing::subscriber::set_global_default(tracing_subscriber::registry().with(journal)), log)
        }
        None => {
            let sink = Sink::to(io::stderr().as_fd().try_clone_to_owned()?, dropped);
            let log = Log(sink.clone());
            let lines = subscriber(verbose, directives, move || Lines(sink.clone()))?;
            (tracing::subscriber::set_global_default(lines), log)
        }
    };
    set.map_err(|_| LogError::Twice)?;
    Ok(log)
}

/// Carries each line of text to a sink. A line comes as a whole.
struct Lines(Sink);

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(Line { bytes: line.to_owned(), text: String::new() });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What stderr is told of lines that it did not take.
fn dropped(lines: u64) -> Line {
    let now = crate::clock::now();
    let text = format!("{now}  WARN {}: {lines} lines were dropped: nobody took them for a while\n", module_path!());
    Line { bytes: text.clone().into_bytes(), text }
}

/// The log, to be kept until the process ends: what still waits then goes out, if it can within 2 s.
#[derive(Debug)]
#[must_use = "the last lines are lost without it"]
pub struct Log(Sink);

impl Drop for Log {
    fn drop(&mut self) {
        self.0.flush(FLUSH_WITHIN);
    }
}

/// How long the end of the process waits for a journal, or a stderr, that takes nothing.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// RUST_LOG makes no sense.
    #[error("RUST_LOG: {0}; write a level such as debug, or rekeyd::engine=trace")]
    Directives(#[from] tracing_subscriber::filter::ParseError),
    /// It was set up before.
    #[error("the log is set up already")]
    Twice,
    /// There is no stderr.
    #[error("stderr can't be written to: {0}; lead it somewhere, such as 2> /dev/null")]
    Stderr(#[from] io::Error),
}

fn subscriber<W>(verbose: u8, directives: Option<&str>, to: W) -> Result<impl Subscriber + Send + Sync, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let format = tracing_subscriber::fmt::layer().with_writer(to).with_ansi(false);
    Ok(tracing_subscriber::registry().with(filtered(format, verbose, directives)?))
}

fn filtered<S, L>(layer: L, verbose: u8, directives: Option<&str>) -> Result<impl Layer<S>, LogError>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    L: Layer<S>,
{
    let level = match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let asked = EnvFilter::builder().with_default_directive(level.into()).parse(directives.unwrap_or(""))?;
    Ok(layer.with_filter(asked.and(filter_fn(may_speak))))
}

/// Whoever sends secrets over the wire says nothing, at no level and whatever RUST_LOG asks for: headers and bodies
/// would be in it. Other libraries are heard when something is wrong, and we ourselves as asked.
fn may_speak(what: &Metadata<'_>) -> bool {
    const SILENT: [&str; 7] = ["h2", "hyper", "hyper_util", "lettre", "reqwest", "rustls", "tower"];
    let root = what.target().split("::").next().unwrap_or_default();
    root == "rekeyd" || (!SILENT.contains(&root) && *what.level() <= tracing::Level::WARN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(verbose: u8, directives: Option<&str>, say: impl FnOnce()) -> String {
        let kept = Kept::default();
        let to = kept.clone();
        let subscriber = subscriber(verbose, directives, move || to.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, say);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_sends_secrets_stays_silent_at_every_level_and_whatever_is_asked_for() {
        let asked =
            "trace,hyper=trace,hyper::proto::h1=trace,reqwest=trace,h2=trace,rustls=trace,lettre=trace,sled=trace";
        let text = logged(2, Some(asked), || {
            tracing::trace!(target: "hyper::proto::h1::io", "authorization: hunter2");
            tracing::error!(target: "hyper_util::client", "authorization: hunter2");
            tracing::trace!(target: "h2::codec", "authorization: hunter2");
            tracing::debug!(target: "reqwest::connect", "https://user:hunter2@host");
            tracing::trace!(target: "rustls::msgs", "hunter2");
            tracing::error!(target: "lettre::transport", "AUTH PLAIN hunter2");
            tracing::info!(target: "sled::pagecache", "hunter2");
            tracing::trace!(target: "rekeyd::engine", "we are heard");
        });
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("we are heard"), "{text}");
    }

    #[test]
    fn other_libraries_are_heard_when_something_is_wrong() {
        let text = logged(2, None, || tracing::warn!(target: "sled", "the log is damaged"));
        assert!(text.contains("the log is damaged"), "{text}");
    }

    #[test]
    fn more_is_logged_with_every_v() {
        let say = || {
            tracing::info!(target: "rekeyd", "one");
            tracing::debug!(target: "rekeyd", "two");
            tracing::trace!(target: "rekeyd", "three");
        };
        let lines = [0, 1, 2].map(|verbose| logged(verbose, None, say).lines().count());
        assert_eq!(lines, [1, 2, 3]);
    }
}

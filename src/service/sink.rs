//! Carries lines to the journal, or to stderr, and lets nobody wait for either. A line goes out at once where it is taken; where
//! it is not, lines wait in a queue that has an end, and a thread of their own hands them over. What finds the queue full is
//! dropped and counted, and so is what neither the journal nor stderr takes; the count is told when lines are taken again.
use super::outlet::{Outlet, WRITE_WITHIN};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The most lines that wait.
const LINES_WAITING: usize = 4096;
/// The most bytes that they have together, in both forms.
const BYTES_WAITING: usize = 4 * 1024 * 1024;
/// One line of the log.
#[derive(Debug)]
pub(super) struct Line {
    /// As it goes out.
    pub(super) bytes: Vec<u8>,
    /// For stderr, where it was to go to the journal and there is none.
    pub(super) text: String,
}

impl Line {
    fn len(&self) -> usize {
        self.bytes.len() + self.text.len()
    }
}

/// The way out. Its clones share one queue.
#[derive(Clone)]
pub(super) struct Sink(Arc<Shared>);

struct Shared {
    outlet: Outlet,
    /// What is said of so many lines that were dropped.
    told: fn(u64) -> Line,
    queue: Mutex<Queue>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Line>,
    bytes: usize,
    /// Lines that were dropped and not told of.
    dropped: u64,
    /// Whether the thread has a line in hand, which goes before all others.
    in_hand: bool,
    /// Whether there is a thread: only once a line was not taken.
    served: bool,
}

impl Sink {
    /// The way to a journal that listens at a path. `told` says how many lines were dropped.
    ///
    /// # Errors
    /// Where no socket can be had.
    pub(super) fn at(path: &Path, told: fn(u64) -> Line) -> io::Result<Self> {
        Outlet::journal(path).map(|it| Self::new(it, told))
    }

    /// The way to a stream, such as stderr. `told` says how many lines were dropped.
    pub(super) fn to(stream: OwnedFd, told: fn(u64) -> Line) -> Self {
        Self::new(Outlet::Stream(stream), told)
    }

    fn new(outlet: Outlet, told: fn(u64) -> Line) -> Self {
        let (queue, filled, emptied) = Default::default();
        Self(Arc::new(Shared { outlet, told, queue, filled, emptied }))
    }

    /// Takes a line over. Never waits.
    pub(super) fn put(&self, line: Line) {
        let mut queue = self.0.queue();
        // Once one was dropped, so are all until those that wait were taken: the count is one, and in its place.
        let full = queue.waiting.len() >= LINES_WAITING || queue.bytes + line.len() > BYTES_WAITING;
        if queue.dropped > 0 || full {
            queue.dropped += 1;
            return self.serve(&mut queue);
        }
        let first = queue.waiting.is_empty() && !queue.in_hand;
        if first && self.0.outlet.takes_now(&line.bytes) {
            return;
        }
        queue.bytes += line.len();
        queue.waiting.push_back(line);
        self.serve(&mut queue);
    }

    /// Waits until nothing waits any more, for so long at most. Says whether that is so.
    pub(super) fn flush(&self, within: Duration) -> bool {
        let queue = self.0.queue();
        let waited = self.0.emptied.wait_timeout_while(queue, within, |it| !it.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }

    /// Wakes the thread, or starts it. Where none can be had the queue fills, and that is all.
    fn serve(&self, queue: &mut Queue) {
        if !queue.served {
            let shared = Arc::clone(&self.0);
            queue.served = thread::Builder::new().name("log".to_owned()).spawn(move || shared.carry()).is_ok();
        }
        self.0.filled.notify_one();
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("outlet", &self.0.outlet).finish_non_exhaustive()
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.dropped == 0 && !self.in_hand
    }

    /// The line that is next, and for how many it stands that were dropped.
    fn next(&mut self, told: fn(u64) -> Line) -> Option<(Line, u64)> {
        match self.waiting.pop_front() {
            Some(line) => {
                self.bytes -= line.len();
                Some((line, 0))
            }
            None if self.dropped > 0 => {
                let dropped = std::mem::take(&mut self.dropped);
                Some((told(dropped), dropped))
            }
            None => None,
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: one line after the other.
    fn carry(&self) {
        loop {
            let mut queue = self.queue();
            let (line, dropped) = loop {
                match queue.next(self.told) {
                    Some(next) => break next,
                    None => {
                        queue.in_hand = false;
                        self.emptied.notify_all();
                        queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            queue.in_hand = true;
            drop(queue);
            if !self.outlet.hand_over(&line) {
                let mut queue = self.queue();
                queue.dropped += dropped.max(1);
                // Nobody takes even the count: that is asked again with the next line, or after a while.
                if queue.waiting.is_empty() {
                    drop(self.filled.wait_timeout(queue, WRITE_WITHIN));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixDatagram;

    /// More lines than can wait, and than any kernel takes in before somebody reads.
    const MANY: usize = LINES_WAITING + 4096;

    fn line(text: String) -> Line {
        Line { bytes: text.clone().into_bytes(), text }
    }

    fn told(lines: u64) -> Line {
        line(format!("dropped {lines}"))
    }

    /// A journal, and the way to it.
    fn journal() -> (tempfile::TempDir, UnixDatagram, Sink) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let sink = Sink::at(&path, told).unwrap();
        (dir, journal, sink)
    }

    fn next(journal: &UnixDatagram) -> String {
        let mut bytes = vec![0; 64 * 1024];
        let n = journal.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    }

    #[test]
    fn a_journal_that_nobody_reads_keeps_nobody_waiting_and_is_told_once_what_it_missed() {
        let (_dir, journal, sink) = journal();
        // Were each of them to wait for the journal, this would take hours.
        (0..MANY).for_each(|it| sink.put(line(it.to_string())));
        assert!(!sink.flush(Duration::ZERO), "nobody has read them");
        let mut read = Vec::new();
        let said = loop {
            let it = next(&journal);
            if it.starts_with("dropped") {
                break it;
            }
            read.push(it);
        };
        assert!(read.len() >= LINES_WAITING, "{}", read.len());
        assert!(read.iter().enumerate().all(|(n, it)| *it == n.to_string()), "each in its turn, from the first on");
        assert_eq!(said, format!("dropped {}", MANY - read.len()));
        assert!(sink.flush(Duration::from_secs(60)));
        sink.put(line("after".to_owned()));
        assert_eq!(next(&journal), "after", "nothing more is said of it");
    }

    #[test]
    fn a_pipe_that_nobody_reads_keeps_nobody_waiting_and_is_told_once_what_it_missed() {
        let (reader, writer) = io::pipe().unwrap();
        let sink = Sink::to(writer.into(), |lines| line(format!("dropped {lines}\n")));
        // Each third is longer than what goes into a pipe in one piece.
        let padding = |it: usize| if it.is_multiple_of(3) { "x".repeat(5000) } else { "x".repeat(50) };
        (0..MANY).for_each(|it| sink.put(line(format!("{it} {}\n", padding(it)))));
        assert!(!sink.flush(Duration::ZERO), "nobody has read them");
        let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
        let mut read = 0;
        let said = lines.by_ref().find(|it| {
            let whole = *it == format!("{read} {}", padding(read));
            read += usize::from(whole);
            !whole
        });
        assert_eq!(said, Some(format!("dropped {}", MANY - read)), "each in its turn, and whole, from the first on");
        assert!(sink.flush(Duration::from_secs(60)));
        sink.put(line("after\n".to_owned()));
        assert_eq!(lines.next().as_deref(), Some("after"), "nothing more is said of it");
    }

    #[test]
    fn a_pipe_whose_reader_is_gone_keeps_nobody_waiting() {
        let (reader, writer) = io::pipe().unwrap();
        let sink = Sink::to(writer.into(), told);
        drop(reader);
        (0..MANY).for_each(|it| sink.put(line(it.to_string())));
        assert!(sink.flush(Duration::from_secs(60)));
    }

    #[test]
    fn what_waits_has_an_end_in_bytes_too() {
        let (_dir, _journal, sink) = journal();
        (0..LINES_WAITING).for_each(|_| sink.put(line("x".repeat(64 * 1024))));
        let queue = sink.0.queue();
        let held: usize = queue.waiting.iter().map(|it| it.bytes.len() + it.text.len()).sum();
        assert!(held == queue.bytes && held <= BYTES_WAITING && queue.waiting.len() < LINES_WAITING, "{held}");
        assert!(queue.dropped > 0);
    }

    /// A journal that is started anew takes nothing for a moment, and what stderr led to ended with the old one.
    #[test]
    fn what_neither_the_journal_nor_stderr_takes_is_counted_and_told_by_the_next_journal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let mut outlet = Outlet::journal(&path).unwrap();
        if let Outlet::Journal { otherwise, .. } = &mut outlet {
            *otherwise = |_| Err(io::ErrorKind::BrokenPipe.into());
        }
        let sink = Sink::new(outlet, told);
        for text in ["a", "b", "c"] {
            sink.put(line(text.to_owned()));
        }
        assert!(!sink.flush(Duration::ZERO), "nobody has taken them");
        while !sink.0.queue().waiting.is_empty() {
            thread::yield_now();
        }
        let journal = UnixDatagram::bind(&path).unwrap();
        // What was in hand when the journal came may go before the rest is told.
        let (mut lines, mut dropped) = (0, 0);
        while lines + dropped < 3 {
            let said = next(&journal);
            match said.strip_prefix("dropped ") {
                Some(n) => dropped += n.parse::<u64>().unwrap(),
                None => lines += 1,
            }
        }
        assert!(lines + dropped == 3 && dropped > 0, "{lines} came, {dropped} were dropped");
        assert!(sink.flush(Duration::from_secs(60)));
        sink.put(line("after".to_owned()));
        assert_eq!(next(&journal), "after");
    }

    #[test]
    fn without_a_journal_nothing_waits() {
        let dir = tempfile::tempdir().unwrap();
        let sink = Sink::at(&dir.path().join("nobody"), told).unwrap();
        sink.put(line("said on stderr".to_owned()));
        assert!(sink.flush(Duration::from_secs(60)));
    }
}

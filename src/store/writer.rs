//! The one thread that writes to the database. A write that does not end in time is left behind with it.
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// Something to be written; what it errs with is for people.
pub(super) type Write = Box<dyn FnOnce() -> Result<(), String> + Send>;

/// A write, and where to say how it ended.
type Job = (Write, Sender<Result<(), String>>);

/// The thread, and the way to it.
pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start() -> std::io::Result<Self> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || {
            for (write, done) in todo {
                let written = catch_unwind(AssertUnwindSafe(write));
                // Where the limit has passed, nobody waits any more.
                let _ = done.send(written.unwrap_or_else(|panic| Err(panic_text(panic.as_ref()))));
            }
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Writes, and waits for the end of it, but not longer than `limit`.
    pub(super) fn write(&self, limit: Duration, write: Write) -> Result<(), String> {
        let (done, wait) = mpsc::channel();
        let sent = self.jobs.as_ref().is_some_and(|it| it.send((write, done)).is_ok());
        if !sent {
            return Err("the thread that writes has ended".into());
        }
        wait.recv_timeout(limit).unwrap_or_else(|_| Err(format!("no end within {} s", limit.as_secs())))
    }

    /// Ends the thread, and waits for it. To be called only where every write has ended.
    pub(super) fn end(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It catches every panic, so that there is none to be heard of.
            let _ = thread.join();
        }
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("sled panicked: {}", text.unwrap_or("for no stated reason"))
}

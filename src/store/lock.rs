//! One daemon for one state: a lock that goes with the process.
use super::error::{StoreError, at};
use super::restore::give_to_owner;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// How often the lock is tried. A child that this process is just starting holds it too, until it runs its own program.
const TRIES: u32 = 10;
/// The wait between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// The most bytes that are read of a pid.
const PID_BYTES: u64 = 16;

/// The lock; held until it is dropped.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, and writes down whose it is.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("lock");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = file.map_err(at(&path))?;
        // Root may be here for the service's user, who could not take the lock of another.
        give_to_owner(dir, &path)?;
        match lock(&file) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(in_use(dir, &file)),
            Err(error) => return Err(at(&path)(error.into())),
        }
        let note = |file: &mut File| {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(std::process::id().to_string().as_bytes())
        };
        // The pid is for people only: on a full disk the lock holds without it.
        if let Err(error) = note(&mut file) {
            tracing::debug!(path = %path.display(), %error, "the pid was not noted in the lock");
        }
        Ok(Self { _file: file })
    }
}

/// Errs while a daemon has the state open. The lock is let go at once, far sooner than a daemon that starts stops trying.
pub(super) fn check_free(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join("lock");
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(at(&path))?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(in_use(dir, &file)),
        Err(error) => Err(at(&path)(error.into())),
    }
}

fn lock(file: &File) -> rustix::io::Result<()> {
    for _ in 1..TRIES {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

fn in_use(dir: &Path, file: &File) -> StoreError {
    let mut text = String::new();
    let read = file.take(PID_BYTES).read_to_string(&mut text);
    StoreError::InUse { dir: dir.to_owned(), pid: read.ok().and_then(|_| text.trim().parse().ok()) }
}

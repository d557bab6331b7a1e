//! Room that is kept free beside the state, as a file that can be deleted. A full disk must not catch a create between
//! its call and its commit; and the database can't even be opened on a full disk.
use super::error::{StoreError, at};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// With less than this free, in bytes, opening the database may fail.
const OPEN_BYTES: u64 = 4 * 1024 * 1024;

/// With less than this free, in bytes, it is not tried: a database that can't write while it opens can't be used after.
const OPEN_LEAST: u64 = 1024 * 1024;

/// Looks at the reserve, each of which writes to the disk. However many ask for one while another is under way, they share the
/// next: on a slow disk they would else wait for each other, and commits for all of them.
pub(super) struct Looks {
    begun: AtomicU64,
    /// The number of the last one, and what it showed.
    last: Mutex<(u64, Result<(), String>)>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { begun: AtomicU64::new(0), last: Mutex::new((0, Ok(()))) }
    }
}

impl Looks {
    /// What a look shows that begins no sooner than now.
    pub(super) fn share(&self, look: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        let before = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 <= before {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            *last = (number, look());
        }
        last.1.clone()
    }
}

/// The reserve of one state.
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    /// The reserve beside the state in `dir`; nothing is done yet.
    pub(super) fn new(dir: &Path, bytes: u64) -> Self {
        Self { path: dir.join("reserve"), bytes }
    }

    /// Gives the reserve up where the disk is full. Says whether it did.
    pub(super) fn release_if_full(&self) -> Result<bool, StoreError> {
        self.release_below(OPEN_BYTES)
    }

    /// Errs where there is no room to open the database, or where nothing can be written at all.
    pub(super) fn check_room_to_open(&self) -> Result<(), StoreError> {
        let dir = self.dir();
        let unwritable = |why| StoreError::Unwritable { dir: dir.to_owned(), why };
        let free = free(dir)?;
        if free < OPEN_LEAST {
            return Err(unwritable(format!("{free} bytes are free, {OPEN_LEAST} are needed to open the state")));
        }
        let probe = dir.join("probe");
        // One that was left behind may be another user's, who could be root.
        let _ = std::fs::remove_file(&probe);
        let written = std::fs::write(&probe, "?").and_then(|()| std::fs::remove_file(&probe));
        written.map_err(|it| unwritable(it.to_string()))
    }

    fn release_below(&self, wanted: u64) -> Result<bool, StoreError> {
        if free(self.dir())? >= wanted || !self.path.exists() {
            return Ok(false);
        }
        std::fs::remove_file(&self.path).map_err(at(&self.path))?;
        tracing::warn!(path = %self.path.display(), "the disk is full: the reserve was given up to open the state");
        Ok(true)
    }

    /// Errs unless the reserve is there and, beside it, as much again is free. What was given up is taken back as soon
    /// as there is room.
    pub(super) fn ready(&self) -> Result<(), String> {
        let length = std::fs::metadata(&self.path).map_or(0, |it| it.len());
        if length != self.bytes {
            self.take().map_err(|it| it.to_string())?;
        }
        let free = free(self.dir()).map_err(|it| it.to_string())?;
        if free >= self.bytes { Ok(()) } else { Err(self.scarce(self.bytes)) }
    }

    /// Takes back what it can of a reserve that was given up: the next start may need it on a disk that is still full.
    pub(super) fn take_back(&self) {
        let most = free(self.dir()).map_or(0, |it| it.min(self.bytes));
        if most == 0 {
            return;
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&self.path);
        if let Err(error) = file.and_then(|it| allocate(&it, most)) {
            tracing::debug!(path = %self.path.display(), %error, "the reserve could not be taken back");
        }
    }

    fn take(&self) -> Result<(), StoreError> {
        let both = self.bytes.saturating_mul(2);
        if free(self.dir())? < both {
            return Err(at(&self.path)(std::io::Error::other(self.scarce(both))));
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&self.path);
        file.and_then(|it| allocate(&it, self.bytes).and_then(|()| it.sync_all())).map_err(at(&self.path))?;
        fail_point!(ReserveTaken);
        Ok(())
    }

    fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Without how much is free: that changes by the moment, and this is shown for as long as it lasts.
    fn scarce(&self, needed: u64) -> String {
        let dir = self.dir().display();
        format!("{dir}: fewer than {needed} bytes are free (daemon.reserve is {}); free some space there", self.bytes)
    }
}

/// Takes room for a file of this length on the disk.
pub(super) fn allocate(file: &File, bytes: u64) -> std::io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // The file system can't: zeros take the room as well.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => zeros(file, bytes),
        Err(_) if bytes == 0 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn zeros(mut file: &File, bytes: u64) -> std::io::Result<()> {
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), bytes), &mut file).map(|_| ())
}

/// How many bytes are free for us in a folder.
pub(super) fn free(dir: &Path) -> Result<u64, StoreError> {
    let disk = statvfs(dir).map_err(|it| at(dir)(it.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_during_a_slow_look_shares_the_next_and_nobody_is_told_what_was_true_before_he_asked() {
        let (looks, made) = (Looks::default(), AtomicU64::new(0));
        let look = || looks.share(|| Err(made.fetch_add(1, Ordering::SeqCst).to_string()));
        let (begun, end) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                looks.share(|| {
                    begun.wait();
                    end.wait();
                    Ok(())
                })
            });
            begun.wait();
            let asking: Vec<_> = (0..9).map(|_| scope.spawn(look)).collect();
            // Each has asked before the look under way ends, or asks after it: then it may need one of its own.
            std::thread::sleep(std::time::Duration::from_millis(200));
            end.wait();
            assert!(asking.into_iter().all(|it| it.join().unwrap() == Err("0".to_owned())), "not the one before");
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
        assert_eq!(look(), Err("1".to_owned()), "who asks later is told what is true then");
    }

    #[test]
    fn the_reserve_is_taken_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(dir.path(), 1 << 20);
        for _ in 0..2 {
            assert_eq!(reserve.ready(), Ok(()));
            assert_eq!(std::fs::metadata(&reserve.path).unwrap().len(), 1 << 20);
            std::fs::remove_file(&reserve.path).unwrap();
        }
    }

    #[test]
    fn the_reserve_is_given_up_on_a_full_disk_only() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(dir.path(), 4096);
        assert!(!reserve.release_below(u64::MAX).unwrap(), "there is none yet");
        reserve.ready().unwrap();
        assert!(!reserve.release_below(0).unwrap());
        assert!(reserve.path.exists());
        assert!(reserve.release_below(u64::MAX).unwrap());
        assert!(!reserve.path.exists());
    }

    #[test]
    fn more_than_the_disk_has_is_not_ready_and_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let why = Reserve::new(dir.path(), u64::MAX / 4).ready().unwrap_err();
        assert!(why.contains("free some space") && why.contains("daemon.reserve"), "{why}");
        assert!(!dir.path().join("reserve").exists());
    }
}

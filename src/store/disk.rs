//! The database on the disk: sled 0.34, with its traps guarded. Nothing else speaks to sled.
//!
//! - Its `flush` only asks the kernel to begin writing (`sync_file_range`), so that a power cut may lose every
//!   acknowledged row. [`Disk::apply`] is the one place that flushes, and it calls `fdatasync` after it.
//! - A leftover `snap.*.generating` makes every later open fail. It is deleted first, under our own lock.
//! - It panics where it meets damage. Every call is caught.
//! - After a failed write it may wait for ever, in a later write or when it is closed. A write has a limit, and a database
//!   that failed is never closed: the process ends with it.
//! - On a full disk a write of its own fails, and all later ones with it. Room behind its file is therefore taken before
//!   each write, see [`Disk::make_room`]: where there is none, the write is not begun.
//! - A value of more than 128 KiB goes to a file of its own that is never synced. Rows are kept far below that, see
//!   [`super::rows::PART_BYTES`].
use super::error::{StoreError, at};
use super::reserve::free;
use super::rows::Row;
use super::writer::{Writer, panic_text};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Sled's page cache, in bytes. Its own default is a gibibyte.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// How often opening is tried while a former handle of this process still lets go of its lock.
const OPEN_TRIES: u32 = 50;
/// The wait between two tries.
const OPEN_PAUSE: Duration = Duration::from_millis(20);

/// Room that is kept behind the database's file, in bytes, beside what a write may come to: sled writes in segments of half
/// a mebibyte.
const ROOM_BYTES: u64 = 8 * 1024 * 1024;
/// With less than this, nothing is written. The difference is for what must still be recorded on a full disk.
const ROOM_LEAST: u64 = 2 * 1024 * 1024;
/// What a row may come to beside itself: now and then sled writes the page anew that it stands in.
const ROOM_PER_ROW: u64 = 8 * 1024;

/// A write that the disk does not confirm within this time has failed.
pub(super) const WRITE_WITHIN: Duration = Duration::from_secs(30);

/// Rows to write, by name; `None` removes.
pub(super) type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The open database.
pub(super) struct Disk {
    db: sled::Db,
    /// The file that sled writes, opened once more to sync it. It stays open: the kernel reports a failed write only
    /// to handles that were open when it failed.
    file: Arc<File>,
    writer: Writer,
    dir: PathBuf,
    /// What the first failed write said. From then on nothing is written.
    poison: Mutex<Option<String>>,
}

impl Disk {
    /// Opens or creates the database in `dir`. The caller holds the lock of the state.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        create_folder(dir)?;
        remove_unfinished_snapshots(dir)?;
        let db = open_sled(dir)?;
        for path in [&dir.join("conf"), &dir.join("db"), dir] {
            sync(path)?;
        }
        let path = dir.join("db");
        let file = Arc::new(OpenOptions::new().write(true).open(&path).map_err(at(&path))?);
        let writer = Writer::start().map_err(at(dir))?;
        let disk = Self { db, file, writer, dir: dir.to_owned(), poison: Mutex::new(None) };
        if let Err(why) = disk.make_room(&Writes::new()) {
            tracing::warn!(%why, "the state can be read, but not written");
        }
        Ok(disk)
    }

    /// Writes all rows or none, and returns when the disk holds them.
    pub(super) fn apply(&self, writes: &Writes) -> Result<(), StoreError> {
        self.check()?;
        self.make_room(writes)?;
        let mut batch = sled::Batch::default();
        for (row, value) in writes {
            match value {
                Some(value) => batch.insert(row.as_slice(), value.as_slice()),
                None => batch.remove(row.as_slice()),
            }
        }
        let (db, file) = (self.db.clone(), Arc::clone(&self.file));
        let write = move || -> Result<(), String> {
            let one_transaction: Result<(), sled::transaction::TransactionError<sled::Error>> =
                db.transaction(|tree| Ok(tree.apply_batch(&batch)?));
            one_transaction.map_err(|it| it.to_string())?;
            fail_point!(RowsWritten);
            db.flush().map_err(|it| it.to_string())?;
            fail_point!(RowsFlushed);
            file.sync_data().map_err(|it| format!("fdatasync: {it}"))?;
            fail_point!(RowsSynced);
            Ok(())
        };
        self.writer.write(WRITE_WITHIN, Box::new(write)).map_err(|why| self.poison(why))
    }

    /// Takes the room that a write may need, so that no write fails half-way for want of it. Nothing was written where it
    /// errs; the next write may find room again.
    fn make_room(&self, writes: &Writes) -> Result<(), StoreError> {
        let bytes = writes.iter().map(|(row, value)| row.len() + value.as_ref().map_or(0, Vec::len)).sum::<usize>();
        let needed = 2 * bytes as u64 + ROOM_PER_ROW * writes.len() as u64;
        let end = self.file.metadata().map_err(at(&self.dir))?.len();
        let take = |room| fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, end + needed + room);
        match take(ROOM_BYTES).or_else(|_| take(ROOM_LEAST)) {
            Ok(()) => Ok(()),
            // The file system can't: then all that can be done is to look.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if free(&self.dir)? >= ROOM_LEAST + needed => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Err(self.unwritable(Errno::NOSPC)),
            Err(error) => Err(self.unwritable(error)),
        }
    }

    fn unwritable(&self, error: Errno) -> StoreError {
        StoreError::Unwritable { dir: self.dir.clone(), why: std::io::Error::from(error).to_string() }
    }

    /// Ends all writing: what the disk holds is not known any more.
    pub(super) fn poison(&self, why: String) -> StoreError {
        let mut poison = self.poison.lock().unwrap_or_else(PoisonError::into_inner);
        let why = poison.get_or_insert(why).clone();
        StoreError::Poisoned { dir: self.dir.clone(), why }
    }

    /// Errs once a write has failed.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let poison = self.poison.lock().unwrap_or_else(PoisonError::into_inner).clone();
        poison.map_or(Ok(()), |why| Err(StoreError::Poisoned { dir: self.dir.clone(), why }))
    }

    /// The value of one row.
    pub(super) fn row(&self, row: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = caught(&self.dir, || self.db.get(row))?;
        Ok(value.map(|it| it.to_vec()))
    }

    /// The rows within a range, in order.
    pub(super) fn range(&self, from: &[u8], to: Bound<&[u8]>) -> Range<'_> {
        Range { rows: self.db.range::<&[u8], _>((Bound::Included(from), to)), dir: &self.dir }
    }

    /// The rows whose name begins so, in order.
    pub(super) fn prefix(&self, prefix: &[u8]) -> Range<'_> {
        Range { rows: self.db.scan_prefix(prefix), dir: &self.dir }
    }

    /// Where it lies.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// A database that failed is not closed: that might never end. Nor is one that can't be synced now: sled would panic. What
/// it holds is on the disk, or is not.
impl Drop for Disk {
    fn drop(&mut self) {
        if self.check().is_err() || rustix::fs::fsync(&self.file).is_err() {
            std::mem::forget(self.db.clone());
        } else {
            self.writer.end();
        }
    }
}

/// Rows on their way out of the database.
pub(super) struct Range<'a> {
    rows: sled::Iter,
    dir: &'a Path,
}

impl Iterator for Range<'_> {
    type Item = Result<Row, StoreError>;
    fn next(&mut self) -> Option<Self::Item> {
        let rows = &mut self.rows;
        caught(self.dir, || rows.next().transpose()).transpose().map(owned)
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let rows = &mut self.rows;
        caught(self.dir, || rows.next_back().transpose()).transpose().map(owned)
    }
}

fn owned(row: Result<(sled::IVec, sled::IVec), StoreError>) -> Result<Row, StoreError> {
    row.map(|(name, value)| (name.to_vec(), value.to_vec()))
}

/// Creates a folder for us alone, and those above it, if it isn't there.
pub(super) fn create_folder(dir: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
    dir.parent().filter(|it| !it.as_os_str().is_empty()).map_or(Ok(()), sync)
}

/// Makes a file, or the names in a folder, durable.
pub(super) fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|it| it.sync_all()).map_err(at(path))
}

fn remove_unfinished_snapshots(dir: &Path) -> Result<(), StoreError> {
    for entry in std::fs::read_dir(dir).map_err(at(dir))? {
        let name = entry.map_err(at(dir))?.file_name();
        let text = name.to_string_lossy();
        if text.starts_with("snap.") && text.ends_with(".generating") {
            let path = dir.join(&name);
            std::fs::remove_file(&path).map_err(at(&path))?;
        }
    }
    Ok(())
}

fn open_sled(dir: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let mut tries = 1;
    loop {
        match caught(dir, || config.open()) {
            // Sled's background threads may hold its lock a little longer than the handle lived. Our own lock is held
            // by now, so that it can't be another daemon.
            Err(error) if tries < OPEN_TRIES && error.to_string().contains("could not acquire lock") => {
                tries += 1;
                std::thread::sleep(OPEN_PAUSE);
            }
            done => return done,
        }
    }
}

/// Runs a call into sled; it may panic where it meets damage.
fn caught<T>(dir: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    let corrupt = |why| StoreError::Corrupt { dir: dir.to_owned(), why };
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(source))) => Err(StoreError::Io { path: dir.to_owned(), source }),
        Ok(Err(error)) => Err(corrupt(error.to_string())),
        Err(panic) => Err(corrupt(panic_text(panic.as_ref()))),
    }
}

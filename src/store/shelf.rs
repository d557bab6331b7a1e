//! The files of snapshots: written at once or not at all, found by their names, and never more of them than wanted. A file
//! that does not bear the name of one of this installation's snapshots is none of ours.
use super::contents::collect;
use super::disk::{create_folder, sync};
use super::error::{StoreError, at};
use super::look::Scratch;
use super::open::{check_format, check_master};
use super::reserve::free;
use super::restore::settle;
use super::seal::Seal;
use crate::core::time::Timestamp;
use crate::secret::Secret;
use chrono::NaiveDateTime;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How the moment stands in a name.
const MOMENT: &str = "%Y%m%dT%H%M%SZ";

/// The folder of one installation's snapshots.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shelf {
    /// Where it is; made where it is absent.
    pub dir: PathBuf,
    /// Whose snapshots.
    pub install: String,
}

impl Shelf {
    /// When the newest snapshot was made. One of the future was made under a wrong clock, and does not count.
    ///
    /// # Errors
    /// Where the folder can't be read. That there is none is no error.
    pub fn newest(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.snapshots()?.into_iter().map(|it| it.0).filter(|it| *it <= now).max())
    }

    /// Adds a snapshot; durable when it returns. `spare` bytes must stay free beside it.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn add(&self, snapshot: &[u8], made_at: Timestamp, spare: u64) -> Result<PathBuf, StoreError> {
        create_folder(&self.dir)?;
        let moment = made_at.datetime().map(|it| it.format(MOMENT).to_string()).unwrap_or_default();
        let path = self.dir.join(format!("{}{moment}.backup", self.prefix()));
        let free = free(&self.dir)?;
        let needed = spare.saturating_add(snapshot.len() as u64);
        if free < needed {
            let why = format!("{free} bytes are free, {needed} are needed (the backup, and daemon.reserve)");
            return Err(at(&self.dir)(io::Error::new(ErrorKind::StorageFull, why)));
        }
        keep_snapshot(&path, snapshot)?;
        Ok(path)
    }

    /// Removes the oldest snapshots, so that `keep` are left, and what writing one left behind that broke off. Says how many
    /// snapshots that were.
    ///
    /// # Errors
    /// Where one can't be removed.
    pub fn prune(&self, keep: usize, now: Timestamp) -> Result<usize, StoreError> {
        let mut snapshots: Vec<_> = self.snapshots()?.into_iter().filter(|it| it.0 <= now).collect();
        snapshots.sort();
        let surplus = snapshots.len().saturating_sub(keep);
        for (_, path) in &snapshots[..surplus] {
            fs::remove_file(path).map_err(at(path))?;
        }
        for path in self.files()? {
            let own = |it: &str| it.starts_with(&format!(".{}", self.prefix())) && it.ends_with(".backup.new");
            if path.file_name().and_then(|it| it.to_str()).is_some_and(own) {
                fs::remove_file(&path).map_err(at(&path))?;
            }
        }
        if self.dir.exists() {
            sync(&self.dir)?
        }
        Ok(surplus)
    }

    fn snapshots(&self) -> Result<Vec<(Timestamp, PathBuf)>, StoreError> {
        let made_at = |path: &Path| {
            let name = path.file_name()?.to_str()?;
            let moment = name.strip_prefix(&self.prefix())?.strip_suffix(".backup")?;
            let at = NaiveDateTime::parse_from_str(moment, MOMENT).ok()?.and_utc();
            // Only the one spelling that we write is ours.
            (at.format(MOMENT).to_string() == moment).then(|| Timestamp::from(at))
        };
        Ok(self.files()?.into_iter().filter_map(|it| made_at(&it).map(|at| (at, it))).collect())
    }

    fn files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(at(&self.dir))?,
        };
        entries.map(|it| it.map(|it| it.path()).map_err(at(&self.dir))).collect()
    }

    fn prefix(&self) -> String {
        format!("rekeyd-{}-", self.install)
    }
}

/// Writes a snapshot to a file, at once or not at all, for its owner alone; durable when it returns.
///
/// # Errors
/// Where it can't be written.
pub fn keep_snapshot(path: &Path, snapshot: &[u8]) -> Result<(), StoreError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.new"));
    let write = || {
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        fail_point!(BackupMade);
        file.write_all(snapshot)?;
        fail_point!(BackupWritten);
        file.sync_all()?;
        fail_point!(BackupSynced);
        fs::rename(&beside, path)
    };
    if let Err(error) = write() {
        // What is left of it is of no use.
        let _ = fs::remove_file(&beside);
        return Err(at(path)(error));
    }
    fail_point!(BackupRenamed);
    sync(path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    fail_point!(BackupFolderSynced);
    Ok(())
}

/// A snapshot of a state that no daemon has open. The state is not touched: a copy of it is read, see [`super::look()`].
///
/// # Errors
/// Where there is no state, a daemon has it open, the master key is another one, or it is damaged.
pub fn snapshot_of(dir: &Path, master: &Secret, now: Timestamp) -> Result<Vec<u8>, StoreError> {
    let seal = Seal::new(master)?;
    settle(dir)?;
    let scratch = Scratch::new()?;
    let disk = scratch.open(dir)?;
    let read = || {
        check_format(&disk, dir)?;
        check_master(&disk, dir, &seal)?;
        collect(&disk, dir, &seal, now)
    };
    read().map_err(|it| it.of(dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    fn at_day(day: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(day * 86_400))
    }

    #[test]
    fn the_newest_are_kept_and_what_is_none_of_ours_is_never_touched() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf { dir: dir.path().join("a/b"), install: "0a1b2c3d".into() };
        assert_eq!(shelf.newest(NOW).unwrap(), None);
        for day in 0..5 {
            let path = shelf.add(b"x", at_day(day), 0).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let foreign =
            ["rekeyd-ffffffff-20200101T000000Z.backup", "rekeyd-0a1b2c3d-2020.backup", "notes", ".x.backup.new"];
        for name in foreign {
            fs::write(shelf.dir.join(name), "mine").unwrap();
        }
        fs::write(shelf.dir.join(".rekeyd-0a1b2c3d-20200101T000000Z.backup.new"), "broken off").unwrap();
        assert_eq!(shelf.prune(2, at_day(9)).unwrap(), 3);
        assert_eq!(shelf.newest(at_day(9)).unwrap().map(Timestamp::whole_second), Some(at_day(4).whole_second()));
        assert_eq!(fs::read_dir(&shelf.dir).unwrap().count(), 2 + foreign.len());
        // The clock was put back: what was made under the wrong one is neither the newest nor in the way.
        assert_eq!(shelf.newest(at_day(1)).unwrap(), None);
        assert_eq!(shelf.prune(1, at_day(1)).unwrap(), 0);
    }

    #[test]
    fn a_backup_that_would_take_the_reserve_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf { dir: dir.path().to_owned(), install: "0a1b2c3d".into() };
        let error = shelf.add(b"x", NOW, u64::MAX).unwrap_err().to_string();
        assert!(error.contains("daemon.reserve"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

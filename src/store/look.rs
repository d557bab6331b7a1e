//! A look at the state that changes nothing in it, for who wants to know what it holds while no daemon runs.
//!
//! Even to open the database is to write to it, and to lock it. So a copy is opened, in a folder of our own, and the state is
//! only read: a daemon that starts meanwhile does not notice, and the copy is made again. No secret is opened; the copy has
//! them sealed, as the state does.
use super::disk::Disk;
use super::error::{StoreError, at};
use super::{lock, open, rows};
use crate::core::account::Account;
use crate::core::record::Record;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How often the copy is made while the state changes under it.
const TRIES: u32 = 5;

/// What the state holds.
#[derive(Debug)]
pub struct Look {
    /// Names the installation.
    pub install: String,
    /// Every key on the books, by name.
    pub records: Vec<Record>,
    /// Every account, by id.
    pub accounts: Vec<Account>,
}

/// Reads the state in a folder, and leaves it as it is.
///
/// # Errors
/// Where there is no state, a daemon has it open, this user may not read it, or it is damaged.
pub fn look(dir: &Path) -> Result<Look, StoreError> {
    let scratch = Scratch::new()?;
    let disk = scratch.open(dir)?;
    read(&disk, dir).map_err(|it| it.of(dir))
}

fn read(disk: &Disk, dir: &Path) -> Result<Look, StoreError> {
    if disk.row(rows::FORMAT_ROW)?.is_none() {
        return Err(StoreError::NoState { dir: dir.to_owned() });
    }
    open::check_format(disk, dir)?;
    Ok(Look {
        install: open::read_identity(disk)?.incarnation.install,
        records: all(disk, rows::RECORDS)?,
        accounts: all(disk, rows::ACCOUNTS)?,
    })
}

fn all<T: DeserializeOwned>(disk: &Disk, prefix: &[u8]) -> Result<Vec<T>, StoreError> {
    let row = |row: Result<rows::Row, StoreError>| {
        let (row, value) = row?;
        let json = rows::content(disk.dir(), &row, &value, |it| disk.row(it))?;
        rows::decode(disk.dir(), &row, &json)
    };
    disk.prefix(prefix).map(row).collect()
}

/// Copies the database, unless a daemon has it open, or begins to write to it meanwhile.
fn copied(dir: &Path, to: &Path) -> Result<(), StoreError> {
    let from = dir.join("sled");
    for _ in 0..TRIES {
        lock::check_free(dir)?;
        if !from.try_exists().map_err(at(&from))? {
            return Err(StoreError::NoState { dir: dir.to_owned() });
        }
        let before = Stamps::of(&from).map_err(at(&from))?;
        let _ = std::fs::remove_dir_all(to);
        match copy_folder(&from, to) {
            // A file that was there a moment ago: somebody writes.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            done => done.map_err(at(&from))?,
        }
        lock::check_free(dir)?;
        if Stamps::of(&from).map_err(at(&from))? == before {
            return Ok(());
        }
    }
    Err(StoreError::InUse { dir: dir.to_owned(), pid: None })
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let beside = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &beside)?;
        } else {
            std::fs::copy(entry.path(), beside)?;
        }
    }
    Ok(())
}

/// What tells that a folder was written to.
#[derive(Debug, Default, Eq, PartialEq)]
struct Stamps(BTreeMap<PathBuf, (u64, u64, i64, i64)>);

impl Stamps {
    fn of(folder: &Path) -> io::Result<Self> {
        let mut stamps = Self::default();
        stamps.add(folder)?;
        Ok(stamps)
    }

    fn add(&mut self, folder: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let is = entry.metadata()?;
            if is.is_dir() {
                self.add(&entry.path())?;
            } else {
                self.0.insert(entry.path(), stamp(&is));
            }
        }
        Ok(())
    }
}

fn stamp(is: &Metadata) -> (u64, u64, i64, i64) {
    (is.ino(), is.len(), is.mtime(), is.mtime_nsec())
}

/// A folder for us alone, removed when it is not needed any more.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Result<Self, StoreError> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(|it| StoreError::Random(it.to_string()))?;
        let name: String = bytes.iter().map(|it| format!("{it:02x}")).collect();
        let path = std::env::temp_dir().join(format!("rekeyd-look-{name}"));
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(at(&path))?;
        Ok(Self(path))
    }

    /// Copies the database of a state, and opens the copy.
    pub(super) fn open(&self, dir: &Path) -> Result<Disk, StoreError> {
        let copy = self.0.join("sled");
        copied(dir, &copy)?;
        Disk::open(&copy).map_err(|it| it.of(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind is sealed, and for nobody else.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl StoreError {
    /// Said of the state, where it was found in a copy of it.
    pub(super) fn of(self, state: &Path) -> Self {
        let dir = state.to_owned();
        match self {
            Self::Damaged { row, why, .. } => Self::Damaged { dir, row, why },
            Self::Corrupt { why, .. } => Self::Corrupt { dir, why },
            other => other,
        }
    }
}

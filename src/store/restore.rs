//! Puts a snapshot back, as a state that knows that it may be older than the world: whoever opens it begins a new epoch, and
//! reads at providers and targets before anything is done.
//!
//! Everything is written into `restoring/` first. The database is moved to its place last, and the rest of `restoring/` is
//! removed after it: where a crash comes between, the state does not open before the restore is run again.
use super::contents::{Contents, Counts};
use super::disk::{Disk, create_folder, sync};
use super::draft::Draft;
use super::error::{StoreError, at};
use super::escrow::{self, Escrow};
use super::kept;
use super::ledger::{self, Digest};
use super::lock::Lock;
use super::open::{Identity, random_hex};
use super::rescue;
use super::rows;
use super::seal::Seal;
use super::snapshot::{Header, Snapshot, SnapshotFault};
use crate::core::time::Timestamp;
use crate::secret::Secret;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where a state is put together before it is moved to its place.
const FOLDER: &str = "restoring";
const DATABASE: &str = "sled";
/// How many rows are made durable at once.
const ROWS_AT_ONCE: usize = 500;

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What the snapshot said of itself.
    pub header: Header,
    /// How much was in it.
    pub counts: Counts,
}

/// Why nothing was restored. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The snapshot can't be used.
    #[error("{0}")]
    Snapshot(#[from] SnapshotFault),
    /// There is a state already.
    #[error(
        "{} is not empty ({} is there); a restore overwrites nothing: stop the daemon and move the folder away, or what is \
         in it", dir.display(), found.display()
    )]
    NotEmpty {
        /// The folder of the state.
        dir: PathBuf,
        /// What is in it.
        found: PathBuf,
    },
    /// The folder can't be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Puts a snapshot back as the state in `dir`, which must be empty but for the folder of the backups.
///
/// # Errors
/// Where the snapshot is not whole, is of another master key, or there is a state already.
pub fn restore(
    dir: &Path,
    backups: &Path,
    snapshot: &Snapshot,
    master: &Secret,
    now: Timestamp,
) -> Result<Restored, RestoreError> {
    let seal = Seal::new(master).map_err(SnapshotFault::Master)?;
    let mut contents = snapshot.contents(&seal)?;
    let counts = contents.verify(snapshot.header(), &seal)?;
    create_folder(dir)?;
    check_empty(dir, backups)?;
    let _lock = Lock::take(dir)?;
    // Nobody else writes there from here on.
    check_empty(dir, backups)?;
    distrust(&mut contents, now)?;
    let work = dir.join(FOLDER);
    for leftover in [&work, &dir.join(escrow::FOLDER)] {
        remove(leftover)?;
    }
    remove_file(&dir.join(kept::NAME))?;
    write(&work, &contents)?;
    give_to_owner(dir, &work)?;
    fail_point!(RestoreWritten);
    move_in(dir, &work)?;
    fail_point!(RestoreEnds);
    Ok(Restored { header: snapshot.header().clone(), counts })
}

/// Errs where a restore broke off, so that its half is not taken for a state. Where it broke off behind the last step, the
/// state is whole.
pub(super) fn settle(dir: &Path) -> Result<(), StoreError> {
    let work = dir.join(FOLDER);
    if !work.exists() {
        return Ok(());
    }
    if !dir.join(DATABASE).exists() {
        return Err(StoreError::HalfRestored { dir: dir.to_owned() });
    }
    remove(&work)?;
    sync(dir)
}

/// Gives files to the owner of the folder above them: root may have made them for the service's user.
pub(super) fn give_to_owner(dir: &Path, path: &Path) -> Result<(), StoreError> {
    let found = fs::metadata(dir).map_err(at(dir))?;
    let mine = fs::symlink_metadata(path).map_err(at(path))?;
    if (mine.uid(), mine.gid()) != (found.uid(), found.gid()) && rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(path, Some(found.uid()), Some(found.gid())).map_err(at(path))?;
    }
    if mine.is_dir() {
        for entry in fs::read_dir(path).map_err(at(path))? {
            give_to_owner(dir, &entry.map_err(at(path))?.path())?;
        }
    }
    Ok(())
}

/// What may be in a folder that has no state: the lock, room, the backups, a damaged database that was kept aside, and what
/// a restore left that broke off.
fn check_empty(dir: &Path, backups: &Path) -> Result<(), RestoreError> {
    let broke_off = dir.join(FOLDER).exists() && !dir.join(DATABASE).exists();
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let path = entry.map_err(at(dir))?.path();
        let name = path.file_name().unwrap_or_default();
        let harmless = ["lock", "reserve", "probe", rescue::DAMAGED, "lost+found"].iter().any(|it| name == *it);
        let harmless = harmless || backups.starts_with(&path);
        let leftover = broke_off && [FOLDER, escrow::FOLDER, kept::NAME].iter().any(|it| name == *it);
        if !harmless && !leftover {
            return Err(RestoreError::NotEmpty { dir: dir.to_owned(), found: path });
        }
    }
    Ok(())
}

/// Marks the state: it may be older than the world.
fn distrust(contents: &mut Contents, now: Timestamp) -> Result<(), StoreError> {
    for (row, content) in contents.rows.iter_mut().filter(|it| it.0 == rows::IDENTITY_ROW) {
        let mut identity: Identity = rows::decode(Path::new("backup"), row, content)?;
        let before = identity.incarnation.epoch.clone();
        while identity.incarnation.epoch == before {
            identity.incarnation.epoch = random_hex::<3>()?;
        }
        identity.since = now;
        identity.rolled_back = true;
        *content = rows::encode(row, &identity)?;
    }
    Ok(())
}

fn write(work: &Path, contents: &Contents) -> Result<(), StoreError> {
    create_folder(work)?;
    let disk = Disk::open(&work.join(DATABASE))?;
    let (heads, rows): (Vec<_>, Vec<_>) = contents.rows.iter().partition(|it| it.0 == rows::SEQUENCE_ROW);
    let head = heads.first().and_then(|it| ledger::parse(&it.1));
    let (commits, mut digest) = (head.map_or(0, |it| it.0), Digest::default());
    for some in rows.chunks(ROWS_AT_ONCE) {
        let mut draft = Draft::new(&disk);
        some.iter().try_for_each(|(row, content)| draft.put(row, content))?;
        // The head that lies in the snapshot is of the rows as they were; the identity is another one by now.
        let (writes, sum) = draft.finish(commits, digest)?;
        disk.apply(&writes)?;
        digest = sum;
    }
    drop(disk);
    let answers = work.join(escrow::FOLDER);
    create_folder(&answers)?;
    for (token, sealed) in &contents.answers {
        Escrow::put_sealed(&answers, token, "", sealed)?;
    }
    if let Some(config) = &contents.config {
        kept::write(work, config)?;
    }
    for folder in [&work.join(DATABASE), &answers, work] {
        sync(folder)?;
    }
    Ok(())
}

/// The database last: with it, there is a state.
fn move_in(dir: &Path, work: &Path) -> Result<(), StoreError> {
    for name in [escrow::FOLDER, kept::NAME, DATABASE] {
        sync(dir)?;
        match fs::rename(work.join(name), dir.join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound && name == kept::NAME => {}
            done => done.map_err(at(&dir.join(name)))?,
        }
        fail_point!(RestoreMoved);
    }
    sync(dir)?;
    fail_point!(RestoreSynced);
    remove(work)?;
    sync(dir)
}

fn remove(folder: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at(folder)(error)),
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

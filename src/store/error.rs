//! What can go wrong with the state. Every message names the place and the remedy.
use crate::core::names::Fingerprint;
use std::io;
use std::path::{Path, PathBuf};

/// Why the state can't be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder of the state can't be used.
    #[error("{}: {source}; see that the disk has room and that this user may write there", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another daemon has the state open.
    #[error("{} is in use by another rekeyd{}; stop that one first, or give this one a state_dir of its own",
        dir.display(), pid.map(|it| format!(" (pid {it})")).unwrap_or_default())]
    InUse {
        /// The folder of the state.
        dir: PathBuf,
        /// Whose it is, where known.
        pid: Option<u32>,
    },
    /// There is nothing to look at.
    #[error("{} holds no state yet", dir.display())]
    NoState {
        /// The folder in which it would be.
        dir: PathBuf,
    },
    /// The master key is none.
    #[error("the master key (daemon.master_key) {0}; it must be 32 bytes, as 64 hex digits, base64, or raw")]
    MasterKey(String),
    /// The state was sealed with another master key. Nothing was changed.
    #[error(
        "{} was sealed with master key {sealed_with}, but daemon.master_key is {given}; nothing was changed. {}",
        dir.display(), other_key(sealed_with, write.as_deref())
    )]
    WrongMasterKey {
        /// The folder of the state.
        dir: PathBuf,
        /// The fingerprint of the key that opens it.
        sealed_with: Fingerprint,
        /// The fingerprint of the key that was given.
        given: Fingerprint,
        /// What the config must say, where the state was resealed and the key that was given is the one before.
        write: Option<String>,
    },
    /// A restore broke off.
    #[error("{}: a restore did not come to its end; run it again: rekeyd restore FILE", dir.display())]
    HalfRestored {
        /// The folder of the state.
        dir: PathBuf,
    },
    /// The state was written by a newer rekeyd. Nothing was changed.
    #[error(
        "{} has format {found}, and this rekeyd knows formats up to {known}; nothing was changed. \
         Install the newer rekeyd", dir.display()
    )]
    NewerFormat {
        /// The folder of the state.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that we know.
        known: u32,
    },
    /// A row is not what was written.
    #[error("{}: row {row} is damaged ({why}); stop the daemon and restore a backup: rekeyd restore FILE", dir.display())]
    Damaged {
        /// The folder of the state.
        dir: PathBuf,
        /// Which row.
        row: String,
        /// How it shows.
        why: String,
    },
    /// The database as a whole can't be used.
    #[error("{}: the database can't be used ({why}); move the folder away and restore a backup: rekeyd restore FILE", dir.display())]
    Corrupt {
        /// The folder of the database.
        dir: PathBuf,
        /// How it shows.
        why: String,
    },
    /// The database is empty, but it was not always.
    #[error(
        "{}: the database lost everything that it had after {commits} commits; restore a backup: rekeyd restore FILE. \
         To begin with an empty state on purpose, move the folder away", dir.display()
    )]
    Emptied {
        /// The folder of the state.
        dir: PathBuf,
        /// How many commits it had seen.
        commits: u64,
    },
    /// The disk takes no more at the moment. Nothing was written, and nothing is lost.
    #[error("{}: the disk takes nothing more ({why}); free some space there, or make it writable: it goes on by itself then",
        dir.display())]
    Unwritable {
        /// The folder of the state.
        dir: PathBuf,
        /// What the system said.
        why: String,
    },
    /// A write was not confirmed by the disk. Nobody knows what the disk holds of it.
    #[error("{}: the disk did not confirm a write ({why}); nothing more is written until a restart. \
             Free space or mend the disk, then: systemctl restart rekeyd", dir.display())]
    Poisoned {
        /// The folder of the state.
        dir: PathBuf,
        /// What the first failure said.
        why: String,
    },
    /// So many answers to creates are kept aside that there is no room for one more.
    #[error("{dir} keeps {kept} answers to creates that are not recorded yet, and takes no more", dir = dir.display())]
    Crowded {
        /// The escrow.
        dir: PathBuf,
        /// How many.
        kept: usize,
    },
    /// More than a row, or an answer, may hold.
    #[error("{what} has {bytes} bytes, more than the {limit} that the state takes")]
    TooLarge {
        /// What.
        what: String,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// A value can't be written down, or sealed.
    #[error("{what} can't be written to the state: {why}")]
    Encode {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

/// What helps where the master key is another one.
fn other_key(sealed_with: &Fingerprint, write: Option<&str>) -> String {
    match write {
        Some(write) => format!(
            "It was resealed (rekeyd reseal), and the config still names the old key: write master_key = {write} in \
             [daemon]"
        ),
        None => format!("Put the master key {sealed_with} back, or point state_dir elsewhere"),
    }
}

impl StoreError {
    /// Whether it goes away by itself, once the disk has room or can be written again.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unwritable { .. } => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
            ),
            _ => false,
        }
    }
}

/// Says at which path an I/O error happened.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    |source| StoreError::Io { path: path.to_owned(), source }
}

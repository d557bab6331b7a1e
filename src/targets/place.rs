//! One file, replaced as a whole or not at all. Everything is done relative to the opened folder, so that a folder that is
//! moved meanwhile can't mislead us. A symlink is never followed.
use super::format::CONTENT_BYTES;
use crate::secret::Secret;
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// How many random bytes make the name of a temporary file.
const RANDOM_BYTES: usize = 8;

/// Why a file could not be looked at or replaced.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    /// The folder can't be used.
    #[error("{path}: the folder can't be opened: {source}; create it, or check `path`")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// It is a symlink.
    #[error("{0} is a symlink, which would be replaced by a file; write where it leads to as `path`")]
    Symlink(PathBuf),
    /// It is a folder, a device or a pipe.
    #[error("{0} is no regular file; remove it, or choose another `path`")]
    NoFile(PathBuf),
    /// It is so large that it holds no key.
    #[error("{0} has more than {CONTENT_BYTES} bytes, so it holds no key; check `path`")]
    TooLarge(PathBuf),
    /// Its owner or its group can't be set.
    #[error("{path}: can't be given to {owner}: {source}; this needs CAP_CHOWN, or for a group SupplementaryGroups=")]
    Owner {
        /// The file.
        path: PathBuf,
        /// To whom.
        owner: String,
        /// Why.
        source: Errno,
    },
    /// One step failed.
    #[error("{path}: {step} failed: {source}{}", remedy(source))]
    Step {
        /// The file.
        path: PathBuf,
        /// Which step.
        step: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// In the sandbox of our unit all but a few folders are read-only, and those that were not there when it started stay so.
fn remedy(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::ReadOnlyFilesystem => {
            "; under systemd, install what `rekeyd check --unit` prints, and restart rekeyd once the folder is there"
        }
        _ => "",
    }
}

/// To whom a file belongs and what they may do. Where no owner or no group is asked for, a file that is replaced keeps its
/// own: its reader must not be locked out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    /// The permission bits.
    pub(super) mode: u32,
    /// The owner's number.
    pub(super) owner: Option<u32>,
    /// The group's number.
    pub(super) group: Option<u32>,
}

impl Access {
    fn matches(&self, held: &Held) -> bool {
        let same = |asked: Option<u32>, held: u32| asked.is_none_or(|it| it == held);
        self.mode == held.mode && same(self.owner, held.owner) && same(self.group, held.group)
    }
}

/// What stands in the place now.
#[derive(Debug)]
pub(super) struct Held {
    /// All of it.
    pub(super) content: Secret,
    mode: u32,
    owner: u32,
    group: u32,
}

impl Held {
    /// Whether there is nothing in it but blanks.
    pub(super) fn is_blank(&self) -> bool {
        self.content.expose().trim_ascii().is_empty()
    }

    /// Whether it belongs to whom it should, and they may do what they should.
    pub(super) fn has(&self, access: &Access) -> bool {
        access.matches(self)
    }

    /// Whether it is exactly this, for exactly these.
    fn is(&self, content: &Secret, access: &Access) -> bool {
        self.has(access) && self.content.expose() == content.expose()
    }
}

/// What came of putting content there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Put {
    /// It was written.
    Written,
    /// It was there already.
    WasThere,
}

/// A folder, opened, and the name of a file in it.
#[derive(Debug)]
pub(super) struct Place<'a> {
    path: &'a Path,
    folder: OwnedFd,
    name: String,
}

impl<'a> Place<'a> {
    /// Opens the folder. The path is absolute and has a name at its end.
    pub(super) fn open(path: &'a Path) -> Result<Self, PlaceError> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default().to_owned();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(parent, flags, Mode::empty());
        let folder = folder.map_err(|source| PlaceError::Folder { path: parent.to_owned(), source })?;
        Ok(Self { path, folder, name })
    }

    /// Reads what is there, if there is anything.
    pub(super) fn look(&self) -> Result<Option<Held>, PlaceError> {
        // Without NONBLOCK, opening a pipe would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.folder, self.name.as_str(), flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(PlaceError::Symlink(self.path.to_owned())),
            Err(Errno::NXIO | Errno::NODEV) => return Err(PlaceError::NoFile(self.path.to_owned())),
            other => File::from(other.map_err(self.failed("open"))?),
        };
        let stat = rustix::fs::fstat(&file).map_err(self.failed("stat"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(PlaceError::NoFile(self.path.to_owned()));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0).min(CONTENT_BYTES);
        let mut bytes = Vec::with_capacity(usize::try_from(size + 1).unwrap_or(0));
        let read = file.take(CONTENT_BYTES + 1).read_to_end(&mut bytes);
        let content = Secret::new(bytes);
        read.map_err(self.failed("read"))?;
        if content.expose().len() as u64 > CONTENT_BYTES {
            return Err(PlaceError::TooLarge(self.path.to_owned()));
        }
        Ok(Some(Held { content, mode: stat.st_mode & 0o7777, owner: stat.st_uid, group: stat.st_gid }))
    }

    /// Whether exactly this content is there, for exactly these.
    pub(super) fn has(&self, content: &Secret, access: &Access) -> Result<bool, PlaceError> {
        Ok(self.look()?.is_some_and(|held| held.is(content, access)))
    }

    /// Puts this content there, durably. What is there already is not written again, only synced: a power cut must not take
    /// back what an earlier try reported as failed and this one reports as done.
    ///
    /// # Errors
    /// The old content is untouched, but where the last step, the sync of the folder, failed.
    pub(super) fn put(&self, content: &Secret, access: &Access) -> Result<Put, PlaceError> {
        self.sweep()?;
        let held = self.look()?;
        let put = match &held {
            Some(held) if held.is(content, access) => {
                self.sync_file()?;
                Put::WasThere
            }
            _ => {
                let mut temporary = self.temporary(access, held.as_ref())?;
                fail_point!(TemporaryMade);
                temporary.file.write_all(content.expose()).map_err(self.failed("write"))?;
                fail_point!(TemporaryWritten);
                temporary.file.sync_all().map_err(self.failed("fsync"))?;
                fail_point!(TemporarySynced);
                temporary.rename()?;
                fail_point!(TargetRenamed);
                Put::Written
            }
        };
        self.sync_folder()?;
        fail_point!(TargetFolderSynced);
        Ok(put)
    }

    /// Says whether a file could be put there now, by making and removing a temporary one.
    pub(super) fn check(&self, access: &Access) -> Result<(), PlaceError> {
        let held = self.look()?;
        self.temporary(access, held.as_ref()).map(drop)
    }

    /// Removes the file, durably.
    pub(super) fn clear(&self) -> Result<(), PlaceError> {
        self.sweep()?;
        if self.look()?.is_some() {
            rustix::fs::unlinkat(&self.folder, self.name.as_str(), AtFlags::empty()).map_err(self.failed("unlink"))?;
            fail_point!(TargetRemoved);
        }
        self.sync_folder()
    }

    /// Makes an empty file beside the place that only we can read, then gives it to whom it shall belong.
    fn temporary(&self, access: &Access, held: Option<&Held>) -> Result<Temporary<'_>, PlaceError> {
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random).map_err(|error| self.failed("getrandom")(std::io::Error::other(error)))?;
        let name = format!("{}{}", self.prefix(), random.map(|it| format!("{it:02x}")).concat());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, name.as_str(), flags, Mode::from_raw_mode(0o600));
        let file = File::from(file.map_err(self.failed("create of a temporary file beside it"))?);
        let temporary = Temporary { place: self, name, file, renamed: false };
        // First the group, then the mode: a group must not be let in that is about to be another. The owner comes last, for only
        // the owner may set a mode where there is no more of a privilege than CAP_CHOWN.
        self.give(&temporary.file, None, access.group.or(held.map(|it| it.group)))?;
        rustix::fs::fchmod(&temporary.file, Mode::from_raw_mode(access.mode)).map_err(self.failed("chmod"))?;
        self.give(&temporary.file, access.owner.or(held.map(|it| it.owner)), None)?;
        Ok(temporary)
    }

    fn give(&self, file: &File, owner: Option<u32>, group: Option<u32>) -> Result<(), PlaceError> {
        let now = rustix::fs::fstat(file).map_err(self.failed("stat"))?;
        let (owner, group) = (owner.filter(|it| *it != now.st_uid), group.filter(|it| *it != now.st_gid));
        if owner.is_none() && group.is_none() {
            return Ok(());
        }
        rustix::fs::fchown(file, owner.map(Uid::from_raw), group.map(Gid::from_raw)).map_err(|source| {
            let name = |id: Option<u32>| id.map(|it| it.to_string()).unwrap_or_default();
            PlaceError::Owner { path: self.path.to_owned(), owner: format!("{}:{}", name(owner), name(group)), source }
        })
    }

    /// Removes the temporary files that a crash of ours left behind, and nothing else.
    fn sweep(&self) -> Result<(), PlaceError> {
        let prefix = self.prefix();
        let is_ours = |name: &str| {
            let random = name.strip_prefix(&prefix)?;
            let hex = |it: u8| it.is_ascii_digit() || (b'a'..=b'f').contains(&it);
            (random.len() == 2 * RANDOM_BYTES && random.bytes().all(hex)).then_some(())
        };
        for entry in Dir::read_from(&self.folder).map_err(self.failed("listing its folder"))? {
            let entry = entry.map_err(self.failed("listing its folder"))?;
            let Some(name) = entry.file_name().to_str().ok().filter(|it| is_ours(it).is_some()) else { continue };
            match rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(self.failed("removing a temporary file beside it")(error)),
            }
        }
        Ok(())
    }

    /// How the name of every temporary file for this place begins.
    fn prefix(&self) -> String {
        format!(".{}.rekeyd-", self.name)
    }

    fn sync_file(&self) -> Result<(), PlaceError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, self.name.as_str(), flags, Mode::empty());
        rustix::fs::fsync(file.map_err(self.failed("open"))?).map_err(self.failed("fsync"))?;
        Ok(())
    }

    fn sync_folder(&self) -> Result<(), PlaceError> {
        rustix::fs::fsync(&self.folder).map_err(self.failed("fsync of its folder"))
    }

    fn failed<E: Into<std::io::Error>>(&self, step: &'static str) -> impl FnOnce(E) -> PlaceError {
        let path = self.path.to_owned();
        move |source| PlaceError::Step { path, step, source: source.into() }
    }
}

/// A file that is removed again unless it is renamed.
struct Temporary<'a> {
    place: &'a Place<'a>,
    name: String,
    file: File,
    renamed: bool,
}

impl Temporary<'_> {
    fn rename(mut self) -> Result<(), PlaceError> {
        let folder = &self.place.folder;
        let renamed = rustix::fs::renameat(folder, self.name.as_str(), folder, self.place.name.as_str());
        renamed.map_err(self.place.failed("rename"))?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = rustix::fs::unlinkat(&self.place.folder, self.name.as_str(), AtFlags::empty());
        }
    }
}

//! A small file beside the database that tells whether the database was rolled back: the number of its last commit.
//! A database that has seen fewer commits is an older copy, or lost its newest rows to damage.
//!
//! It has two slots, written in turn and in place: a write that is cut short leaves the other one whole, and a full disk
//! does not hinder it. Before something leaves the machine on the strength of a commit, the number is made durable; after
//! all others it is only handed to the kernel, so that a power cut may leave an older number, which proves nothing.
use super::disk::sync;
use super::error::{StoreError, at};
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const NAME: &str = "sequence";
/// The slots lie apart, so that no device writes both at once.
const SLOT_BYTES: usize = 4096;
/// The number in 20 digits, a space, its CRC-32 in 8 hex digits, and the end of the line.
const TEXT_BYTES: usize = 30;

/// What the file says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Noted {
    /// There is no file.
    Absent,
    /// It is none of ours, or damaged.
    Unreadable,
    /// The number of the last commit that must not be forgotten.
    At(u64),
}

/// Reads the file.
pub(super) fn read(dir: &Path) -> Result<Noted, StoreError> {
    let path = dir.join(NAME);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(parse(&bytes).map_or(Noted::Unreadable, Noted::At)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Noted::Absent),
        Err(error) => Err(at(&path)(error)),
    }
}

/// Notes a number; durable when it returns.
pub(super) fn write(dir: &Path, sequence: u64) -> Result<(), StoreError> {
    let path = dir.join(NAME);
    match open(&path) {
        Ok(file) => {
            put(&file, sequence).map_err(at(&path))?;
            fail_point!(SequenceWritten);
            file.sync_data().map_err(at(&path))?;
            fail_point!(SequenceSynced);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => create(dir, sequence),
        Err(error) => Err(at(&path)(error)),
    }
}

/// Notes a number, and leaves it to the kernel when the disk gets it.
pub(super) fn note(dir: &Path, sequence: u64) {
    let path = dir.join(NAME);
    if let Err(error) = open(&path).and_then(|it| put(&it, sequence)) {
        tracing::debug!(path = %path.display(), %error, "the number of a commit was not noted beside the database");
    }
}

/// Makes the file anew, whatever was there.
pub(super) fn create(dir: &Path, sequence: u64) -> Result<(), StoreError> {
    let (path, temporary) = (dir.join(NAME), dir.join("sequence.new"));
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let write = |file: File| {
        file.write_all_at(&vec![0; 2 * SLOT_BYTES], 0)?;
        put(&file, sequence)?;
        file.sync_all()
    };
    file.and_then(write).map_err(at(&temporary))?;
    fail_point!(SequenceMade);
    std::fs::rename(&temporary, &path).map_err(at(&path))?;
    fail_point!(SequenceRenamed);
    sync(dir)?;
    fail_point!(SequenceFolderSynced);
    Ok(())
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

fn put(file: &File, sequence: u64) -> std::io::Result<()> {
    let slot = if sequence.is_multiple_of(2) { 0 } else { SLOT_BYTES as u64 };
    file.write_all_at(text(sequence).as_bytes(), slot)
}

fn text(sequence: u64) -> String {
    let digits = format!("{sequence:020}");
    format!("{digits} {:08x}\n", crc32fast::hash(digits.as_bytes()))
}

/// The higher of the two numbers. One slot may never have been written; one that is neither empty nor whole says that the
/// file can't be trusted.
pub(super) fn parse(bytes: &[u8]) -> Option<u64> {
    let (first, second) = bytes.split_at_checked(SLOT_BYTES)?;
    let mut highest = None;
    for slot in [first, second] {
        if slot.iter().any(|it| *it != 0) {
            highest = highest.max(Some(number(slot)?));
        }
    }
    highest
}

fn number(slot: &[u8]) -> Option<u64> {
    let (written, rest) = slot.split_at_checked(TEXT_BYTES)?;
    let number = std::str::from_utf8(written).ok()?.split(' ').next()?.parse().ok()?;
    (text(number).as_bytes() == written && rest.iter().all(|it| *it == 0)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_reads_back_and_a_damaged_file_is_no_number() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), Noted::Absent);
        for number in [0, 7, 8, 9, u64::MAX] {
            write(dir.path(), number).unwrap();
            assert_eq!(read(dir.path()).unwrap(), Noted::At(number));
        }
        let whole = std::fs::read(dir.path().join(NAME)).unwrap();
        for at in [0, 19, 20, 28, 29, 30, SLOT_BYTES - 1, SLOT_BYTES, SLOT_BYTES + 25, 2 * SLOT_BYTES - 1] {
            let mut bent = whole.clone();
            bent[at] ^= 4;
            std::fs::write(dir.path().join(NAME), bent).unwrap();
            assert_eq!(read(dir.path()).unwrap(), Noted::Unreadable, "byte {at}");
        }
        for cut in [0, 1, SLOT_BYTES - 1, SLOT_BYTES + 3] {
            std::fs::write(dir.path().join(NAME), &whole[..cut]).unwrap();
            assert_eq!(read(dir.path()).unwrap(), Noted::Unreadable, "{cut} bytes");
        }
    }

    #[test]
    fn what_is_only_noted_counts_as_well_and_needs_a_file() {
        let dir = tempfile::tempdir().unwrap();
        note(dir.path(), 3);
        assert_eq!(read(dir.path()).unwrap(), Noted::Absent);
        create(dir.path(), 3).unwrap();
        for number in 4..9 {
            note(dir.path(), number);
            assert_eq!(read(dir.path()).unwrap(), Noted::At(number));
        }
    }

    #[test]
    fn a_write_takes_no_room_that_the_file_had_not_before() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), 1).unwrap();
        write(dir.path(), 2).unwrap();
        let length = std::fs::metadata(dir.path().join(NAME)).unwrap().len();
        write(dir.path(), 1_000_000).unwrap();
        assert_eq!(std::fs::metadata(dir.path().join(NAME)).unwrap().len(), length);
        assert!(!dir.path().join("sequence.new").exists());
    }
}

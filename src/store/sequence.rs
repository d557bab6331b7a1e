//! A small file beside the database that tells whether the database was rolled back: the number of the last commit on
//! whose strength something left the machine. A database that has seen fewer commits is an older copy.
use super::disk::sync;
use super::error::{StoreError, at};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const NAME: &str = "sequence";

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

/// Writes the file anew; durable when it returns.
pub(super) fn write(dir: &Path, sequence: u64) -> Result<(), StoreError> {
    let (path, temporary) = (dir.join(NAME), dir.join("sequence.new"));
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let write = |mut file: File| file.write_all(&text(sequence)).and_then(|()| file.sync_all());
    file.and_then(write).map_err(at(&temporary))?;
    std::fs::rename(&temporary, &path).map_err(at(&path))?;
    sync(dir)
}

fn text(sequence: u64) -> Vec<u8> {
    format!("{sequence} {:08x}\n", crc32fast::hash(sequence.to_string().as_bytes())).into_bytes()
}

pub(super) fn parse(bytes: &[u8]) -> Option<u64> {
    let sequence = std::str::from_utf8(bytes).ok()?.split(' ').next()?.parse().ok()?;
    (text(sequence) == bytes).then_some(sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_reads_back_and_a_damaged_file_is_no_number() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), Noted::Absent);
        for number in [0, 7, u64::MAX] {
            write(dir.path(), number).unwrap();
            assert_eq!(read(dir.path()).unwrap(), Noted::At(number));
        }
        for bad in ["", "7", "7 00000000\n", "x 12345678\n"] {
            std::fs::write(dir.path().join(NAME), bad).unwrap();
            assert_eq!(read(dir.path()).unwrap(), Noted::Unreadable, "{bad:?}");
        }
    }
}

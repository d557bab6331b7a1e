//! The file that holds a snapshot of the whole state. Its header can be read by anybody and names the master key that opens
//! the rest; the rest is sealed a second time, names and dates included, and tells only its length.
//!
//! ```text
//! rekeyd-backup 1\n        what it is, and its format
//! {"master":"3fa9…",…}\n   the header, as JSON
//! length, sealed           a chunk of the contents, again and again; the last is known by what it was sealed with
//! 0                        no more chunks
//! SHA-256                  of all that stands before it
//! ```
//!
//! Lengths are 4 bytes, the highest first. Each chunk is sealed with the header's digest and its number, so that none can be
//! left out, exchanged, or brought over from another file. The checksum is for whoever has no master key.
use super::error::StoreError;
use super::rows;
use super::seal::{Place, Seal};
use crate::core::names::Fingerprint;
use crate::core::time::Timestamp;
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The newest format of the file that this rekeyd writes and reads.
pub const SNAPSHOT_FORMAT: u32 = 1;
/// The largest file that is written or read, in bytes.
pub const SNAPSHOT_BYTES: u64 = 256 * 1024 * 1024;
/// The longest header, in bytes.
const HEADER_BYTES: usize = 4096;
/// How much of the contents is sealed at once, in bytes.
const CHUNK_BYTES: usize = 1024 * 1024;
/// The nonce and the tag of a chunk, with room to spare.
const SEALED_EXTRA_BYTES: usize = 64;
const SUM_BYTES: usize = 32;
const MAGIC: &str = "rekeyd-backup ";

/// What a file says of itself without being opened.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Tells the master key that opens it from others.
    pub master: Fingerprint,
    /// When it was made.
    pub made_at: Timestamp,
    /// The format of the rows in it.
    pub state_format: u32,
    /// Which installation it is of.
    pub install: String,
    /// The version that wrote it.
    pub rekeyd: String,
}

/// Why a file can't be used as a snapshot. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct SnapshotError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: SnapshotFault,
}

/// What is wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFault {
    /// It can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("this is no backup of rekeyd; name a file that rekeyd backup wrote")]
    Foreign,
    /// A newer rekeyd wrote it.
    #[error("this backup has format {found}, and this rekeyd knows formats up to {known}; install the newer rekeyd")]
    Newer {
        /// The format of the file, or of the rows in it.
        found: u32,
        /// The newest that we know.
        known: u32,
    },
    /// It is not as it was written.
    #[error("this backup is damaged ({0}); use another one")]
    Damaged(String),
    /// Another master key sealed it.
    #[error(
        "this backup was sealed with master key {sealed_with}, but daemon.master_key is {given}; \
         let daemon.master_key name {sealed_with}, or use another backup"
    )]
    OtherMaster {
        /// The fingerprint of the key that opens it.
        sealed_with: Fingerprint,
        /// The fingerprint of the key that was given.
        given: Fingerprint,
    },
    /// The master key that was given is none.
    #[error("{0}")]
    Master(StoreError),
    /// It is larger than any that is written.
    #[error("it has more than {SNAPSHOT_BYTES} bytes, and no backup of rekeyd does")]
    TooLarge,
}

/// A snapshot that is whole, as far as anybody can tell without the master key.
pub struct Snapshot {
    header: Header,
    digest: String,
    bytes: Vec<u8>,
    /// Where the chunks lie.
    chunks: Vec<std::ops::Range<usize>>,
}

impl Snapshot {
    /// Reads a file, at most [`SNAPSHOT_BYTES`] of it.
    ///
    /// # Errors
    /// Where it can't be read, is none, is newer, or is damaged.
    pub fn load(path: &Path) -> Result<Self, SnapshotError> {
        let read = || {
            let mut bytes = Vec::new();
            std::fs::File::open(path)?.take(SNAPSHOT_BYTES + 1).read_to_end(&mut bytes)?;
            Self::parse(bytes)
        };
        read().map_err(|fault| SnapshotError { path: path.to_owned(), fault })
    }

    /// Reads what is in a file.
    ///
    /// # Errors
    /// As [`Snapshot::load`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, SnapshotFault> {
        if bytes.len() as u64 > SNAPSHOT_BYTES {
            return Err(SnapshotFault::TooLarge);
        }
        let (found, after) = line(&bytes, 0).ok_or(SnapshotFault::Foreign)?;
        let found = found.strip_prefix(MAGIC).and_then(|it| it.parse().ok()).ok_or(SnapshotFault::Foreign)?;
        if found != SNAPSHOT_FORMAT {
            return Err(SnapshotFault::Newer { found, known: SNAPSHOT_FORMAT });
        }
        let end = bytes.len().checked_sub(SUM_BYTES).ok_or_else(|| damaged("it is cut short"))?;
        if Sha256::digest(&bytes[..end])[..] != bytes[end..] {
            return Err(damaged("its checksum differs: it is cut short, or was changed"));
        }
        let (json, body) = line(&bytes, after).ok_or_else(|| damaged("it has no header"))?;
        let header: Header = serde_json::from_str(json).map_err(|_| damaged("its header makes no sense"))?;
        let plain =
            |it: &str| it.len() <= 64 && it.bytes().all(|it| it.is_ascii_alphanumeric() || b".-+".contains(&it));
        if ![header.master.as_str(), &header.install, &header.rekeyd].into_iter().all(plain) {
            return Err(damaged("its header makes no sense"));
        }
        if header.state_format > rows::FORMAT {
            return Err(SnapshotFault::Newer { found: header.state_format, known: rows::FORMAT });
        }
        let chunks = chunks(&bytes[..end], body)?;
        Ok(Self { digest: digest(&bytes[..body]), header, bytes, chunks })
    }

    /// What it says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What was sealed in it.
    pub(super) fn open(&self, seal: &Seal) -> Result<Vec<u8>, SnapshotFault> {
        let Header { master, .. } = &self.header;
        if master != seal.fingerprint() {
            return Err(SnapshotFault::OtherMaster { sealed_with: master.clone(), given: seal.fingerprint().clone() });
        }
        let mut whole = Vec::new();
        for (number, at) in self.chunks.iter().enumerate() {
            let place = Place::Chunk { of: &self.digest, number, last: number + 1 == self.chunks.len() };
            let opened = seal.unseal(&place, &self.bytes[at.clone()]);
            whole.extend(opened.ok_or_else(|| damaged("a part of it does not open with its own master key"))?);
        }
        Ok(whole)
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("header", &self.header).finish_non_exhaustive()
    }
}

/// Writes a file, piece by piece.
pub(super) struct SnapshotWriter<'a> {
    seal: &'a Seal,
    digest: String,
    file: Vec<u8>,
    /// What is not sealed yet.
    open: Vec<u8>,
    number: usize,
}

impl<'a> SnapshotWriter<'a> {
    /// Begins with the header.
    pub(super) fn new(header: &Header, seal: &'a Seal) -> Result<Self, StoreError> {
        let json = serde_json::to_string(header)
            .map_err(|it| StoreError::Encode { what: "the header of a backup".into(), why: it.to_string() })?;
        let file = format!("{MAGIC}{SNAPSHOT_FORMAT}\n{json}\n").into_bytes();
        Ok(Self { seal, digest: digest(&file), file, open: Vec::new(), number: 0 })
    }

    /// Adds to the contents.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.open.extend_from_slice(bytes);
        // One chunk stays behind: the last must be known for the last.
        while self.open.len() > CHUNK_BYTES {
            let rest = self.open.split_off(CHUNK_BYTES);
            let chunk = std::mem::replace(&mut self.open, rest);
            self.chunk(chunk, false)?;
        }
        Ok(())
    }

    /// The whole file.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, StoreError> {
        let last = std::mem::take(&mut self.open);
        self.chunk(last, true)?;
        self.file.extend([0; 4]);
        let sum = Sha256::digest(&self.file);
        self.file.extend_from_slice(&sum);
        Ok(self.file)
    }

    fn chunk(&mut self, plain: Vec<u8>, last: bool) -> Result<(), StoreError> {
        let place = Place::Chunk { of: &self.digest, number: self.number, last };
        let sealed = self.seal.seal(&place, &Secret::new(plain))?;
        let bytes = self.file.len() + sealed.len() + SUM_BYTES + 8;
        if bytes as u64 > SNAPSHOT_BYTES {
            let limit = usize::try_from(SNAPSHOT_BYTES).unwrap_or(usize::MAX);
            return Err(StoreError::TooLarge { what: "a backup of this state".into(), bytes, limit });
        }
        // A chunk has far less than 4 GiB.
        self.file.extend(u32::try_from(sealed.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.file.extend(sealed);
        self.number += 1;
        Ok(())
    }
}

fn damaged(why: &str) -> SnapshotFault {
    SnapshotFault::Damaged(why.to_owned())
}

fn digest(head: &[u8]) -> String {
    Sha256::digest(head).iter().map(|it| format!("{it:02x}")).collect()
}

/// The line that begins here, without its end, and where the next one does.
fn line(bytes: &[u8], from: usize) -> Option<(&str, usize)> {
    let rest = bytes.get(from..)?;
    let end = rest.iter().take(HEADER_BYTES).position(|it| *it == b'\n')?;
    Some((std::str::from_utf8(&rest[..end]).ok()?, from + end + 1))
}

fn chunks(bytes: &[u8], mut at: usize) -> Result<Vec<std::ops::Range<usize>>, SnapshotFault> {
    let mut chunks = Vec::new();
    loop {
        let length = bytes.get(at..).and_then(|it| it.first_chunk::<4>()).ok_or_else(|| damaged("it is cut short"))?;
        let length = u32::from_be_bytes(*length) as usize;
        at += 4;
        if length == 0 && at == bytes.len() && !chunks.is_empty() {
            return Ok(chunks);
        }
        if length == 0 || length > CHUNK_BYTES + SEALED_EXTRA_BYTES || bytes.len() - at < length {
            return Err(damaged("a part of it has an impossible length"));
        }
        chunks.push(at..at + length);
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(byte: u8) -> Seal {
        Seal::new(&Secret::new(vec![byte; 32])).unwrap()
    }

    fn header(seal: &Seal) -> Header {
        Header {
            master: seal.fingerprint().clone(),
            made_at: Timestamp(1_790_000_000_000),
            state_format: rows::FORMAT,
            install: "0a1b2c3d".into(),
            rekeyd: "0.1.0".into(),
        }
    }

    fn file(contents: &[u8]) -> Vec<u8> {
        let seal = seal(1);
        let mut writer = SnapshotWriter::new(&header(&seal), &seal).unwrap();
        contents.chunks(7777).for_each(|it| writer.add(it).unwrap());
        writer.finish().unwrap()
    }

    fn with_sum(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.truncate(bytes.len() - SUM_BYTES);
        let sum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }

    fn fault(bytes: Vec<u8>) -> String {
        Snapshot::parse(bytes).and_then(|it| it.open(&seal(1))).unwrap_err().to_string()
    }

    #[test]
    fn contents_of_any_length_read_back_and_the_header_is_for_everybody() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let contents: Vec<u8> = (0..length).map(|it| (it % 251) as u8).collect();
            let snapshot = Snapshot::parse(file(&contents)).unwrap();
            assert_eq!(snapshot.header(), &header(&seal(1)));
            assert_eq!(snapshot.open(&seal(1)).unwrap(), contents, "{length} bytes");
        }
    }

    #[test]
    fn whatever_is_bent_or_cut_shows_without_the_master_key() {
        let whole = file(b"what is in it");
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            assert!(Snapshot::parse(bent).is_err(), "byte {at}");
            assert!(Snapshot::parse(whole[..at].to_vec()).is_err(), "cut at {at}");
        }
        assert!(Snapshot::parse([whole, vec![0]].concat()).is_err(), "something behind it");
    }

    #[test]
    fn who_can_mend_the_checksum_still_changes_nothing() {
        let whole = file(&vec![7; 2 * CHUNK_BYTES + 5]);
        let head = whole.iter().enumerate().filter(|it| *it.1 == b'\n').nth(1).unwrap().0 + 1;
        let first = 4 + u32::from_be_bytes(whole[head..head + 4].try_into().unwrap()) as usize;
        let later = String::from_utf8_lossy(&whole[..head]).replace("1790000000000", "1790000000001");
        let without_first = [&whole[..head], &whole[head + first..]].concat();
        let without_last = [&whole[..head + 2 * first], [0; 4].as_slice(), &whole[whole.len() - SUM_BYTES..]].concat();
        for bent in [without_first, without_last, [later.as_bytes(), &whole[head..]].concat()] {
            assert!(fault(with_sum(bent)).contains("does not open"));
        }
    }

    #[test]
    fn what_is_foreign_newer_or_of_another_key_says_so() {
        for foreign in [b"".as_slice(), b"hello", b"rekeyd-backup x\n", &[b'\n'; 9], &vec![b'a'; 2 * HEADER_BYTES]] {
            assert!(fault(foreign.to_vec()).contains("no backup of rekeyd"));
        }
        let newer = String::from_utf8_lossy(&file(b"")).replacen("backup 1", "backup 2", 1);
        assert!(fault(newer.into_bytes()).contains("install the newer rekeyd"));
        let other = Snapshot::parse(file(b"")).unwrap().open(&seal(2)).unwrap_err().to_string();
        assert!(other.contains(seal(1).fingerprint().as_str()) && other.contains(seal(2).fingerprint().as_str()));
    }

    #[test]
    fn a_length_that_can_t_be_is_refused_before_anything_is_read() {
        let seal = seal(1);
        for body in [&[0, 0, 0, 0][..], &[0xff; 8], &[0, 0, 0, 9, 1], &[]] {
            let head = SnapshotWriter::new(&header(&seal), &seal).unwrap().file;
            let bent = with_sum([&head, body, &[0; SUM_BYTES]].concat());
            assert!(fault(bent).contains("damaged"));
        }
    }
}

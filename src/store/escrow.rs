//! The escrow: where the raw answer of a create is kept from the moment it arrives until what it meant is committed.
//! An issued key must not be lost to an answer that nobody can parse, or to a database that can't be written.
//!
//! The file is made, at its full size, before the create is sent, so that room is no question when the answer comes.
//! A file without an answer is zeros. With one: `RKE1`, its length, its CRC-32, then the sealed status and body.
use super::disk::{create_folder, sync};
use super::error::{StoreError, at};
use super::reseal;
use super::reserve::allocate;
use super::seal::{Place, Seal};
use crate::core::names::Token;
use crate::secret::Secret;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest body that is kept, in bytes.
pub const BODY_BYTES: usize = 1024 * 1024;
/// How many creates may be without a committed outcome at once.
pub const ANSWERS_KEPT: usize = 256;

/// The folder, beside the database.
pub(super) const FOLDER: &str = "escrow";
const MAGIC: &[u8; 4] = b"RKE1";
const HEAD_BYTES: usize = 12;
/// The status, the nonce and the tag, with room to spare.
const EXTRA_BYTES: usize = 128;
const FILE_BYTES: u64 = (HEAD_BYTES + BODY_BYTES + EXTRA_BYTES) as u64;

/// The answers in escrow. Cheap to clone.
#[derive(Clone)]
pub struct Escrow {
    dir: PathBuf,
    seal: Arc<Seal>,
}

/// An answer that was in escrow: of which create, its HTTP status, its body.
pub type Answer = (Token, u16, Secret);

impl Escrow {
    pub(super) fn open(state: &Path, seal: Arc<Seal>) -> Result<Self, StoreError> {
        let dir = state.join(FOLDER);
        create_folder(&dir)?;
        reseal::settle_answers(&dir, seal.fingerprint())?;
        Ok(Self { dir, seal })
    }

    /// Makes room for the answer to a create that is about to be sent; durable when it returns.
    ///
    /// # Errors
    /// Where there is no room. The create must not be sent then.
    pub fn prepare(&self, token: &Token) -> Result<(), StoreError> {
        let kept = self.files()?.len();
        if kept >= ANSWERS_KEPT {
            return Err(StoreError::Crowded { dir: self.dir.clone(), kept });
        }
        let path = self.path(token)?;
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        let make = |file: File| {
            allocate(&file, FILE_BYTES)?;
            fail_point!(EscrowMade);
            file.sync_all()
        };
        file.and_then(make).map_err(at(&path))?;
        sync(&self.dir)?;
        fail_point!(EscrowReady);
        Ok(())
    }

    /// Keeps the raw answer to a create; durable when it returns. To be called before the answer is parsed.
    ///
    /// # Errors
    /// Where the disk does not take it, or the body is larger than [`BODY_BYTES`].
    pub fn put(&self, token: &Token, status: u16, body: &Secret) -> Result<(), StoreError> {
        let bytes = body.expose().len();
        if bytes > BODY_BYTES {
            return Err(StoreError::TooLarge {
                what: format!("the answer to create {token}"),
                bytes,
                limit: BODY_BYTES,
            });
        }
        let path = self.path(token)?;
        let answer = Secret::new([status.to_be_bytes().as_slice(), body.expose()].concat());
        let sealed = self.seal.seal(&Place::Answer(token), &answer)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let write = |file: File| {
            file.write_all_at(&framed(&sealed), 0)?;
            fail_point!(EscrowWritten);
            file.sync_data()
        };
        file.and_then(write).map_err(at(&path))?;
        fail_point!(EscrowSynced);
        Ok(())
    }

    /// The answers whose meaning was never committed, to be looked at when the daemon starts. Room that was never used
    /// is freed. An answer stays until it is forgotten.
    ///
    /// # Errors
    /// Where the folder can't be read.
    pub fn drain(&self) -> Result<Vec<Answer>, StoreError> {
        let mut answers = Vec::new();
        for token in self.files()? {
            let path = self.path(&token)?;
            let bytes = std::fs::read(&path).map_err(at(&path))?;
            let Some(sealed) = unframed(&bytes) else {
                if bytes.iter().any(|it| *it != 0) {
                    tracing::warn!(path = %path.display(), "an answer in escrow is cut short; its create counts as lost");
                }
                self.forget(&token)?;
                continue;
            };
            match self.answer(&token, sealed) {
                Some((status, body)) => answers.push((token, status, body)),
                // It is whole, so that another master key may open it. It is not ours to delete.
                None => tracing::warn!(path = %path.display(), "an answer in escrow does not open; it is left there"),
            }
        }
        Ok(answers)
    }

    /// Forgets an answer: what it meant is committed.
    ///
    /// # Errors
    /// Where the file can't be deleted. It is no error that there is none.
    pub fn forget(&self, token: &Token) -> Result<(), StoreError> {
        let path = self.path(token)?;
        match std::fs::remove_file(&path) {
            Ok(()) => {
                fail_point!(EscrowRemoved);
                sync(&self.dir)?;
                fail_point!(EscrowForgotten);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// The answers that are kept beside a state, as they are sealed.
    pub(super) fn sealed(state: &Path) -> Result<Vec<(Token, Vec<u8>)>, StoreError> {
        let dir = state.join(FOLDER);
        let mut answers = Vec::new();
        for token in files(&dir)? {
            let path = dir.join(token.to_string());
            let bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                // It was forgotten just now: what it meant is committed.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(at(&path)(error)),
            };
            if let Some(sealed) = unframed(&bytes) {
                answers.push((token, sealed.to_owned()));
            }
        }
        Ok(answers)
    }

    /// Puts a sealed answer into a folder, under its token and this suffix; durable when it returns.
    pub(super) fn put_sealed(dir: &Path, token: &Token, suffix: &str, sealed: &[u8]) -> Result<(), StoreError> {
        let mut path = path(dir, token)?.into_os_string();
        path.push(suffix);
        let path = PathBuf::from(path);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        let write = |mut file: File| file.write_all(&framed(sealed)).and_then(|()| file.sync_all());
        file.and_then(write).map_err(at(&path))?;
        sync(dir)
    }

    fn answer(&self, token: &Token, sealed: &[u8]) -> Option<(u16, Secret)> {
        let opened = self.seal.open(&Place::Answer(token), sealed)?;
        let (status, body) = opened.expose().split_first_chunk::<2>()?;
        Some((u16::from_be_bytes(*status), Secret::new(body.to_vec())))
    }

    fn files(&self) -> Result<Vec<Token>, StoreError> {
        files(&self.dir)
    }

    fn path(&self, token: &Token) -> Result<PathBuf, StoreError> {
        path(&self.dir, token)
    }
}

fn path(dir: &Path, token: &Token) -> Result<PathBuf, StoreError> {
    let name = token.to_string();
    let plain = |it: u8| it.is_ascii_alphanumeric() || it == b'-' || it == b'_';
    if name.bytes().all(plain) {
        Ok(dir.join(name))
    } else {
        Err(StoreError::Encode { what: format!("token {token:?}"), why: "it is no file name".to_owned() })
    }
}

/// The tokens that a file is there for, in order. Other files are none of ours, and left alone.
fn files(dir: &Path) -> Result<Vec<Token>, StoreError> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at(dir))?,
    };
    let mut tokens = Vec::new();
    for entry in entries {
        let name = entry.map_err(at(dir))?.file_name();
        tokens.extend(name.to_str().and_then(|it| it.parse::<Token>().ok()));
    }
    tokens.sort();
    Ok(tokens)
}

fn framed(sealed: &[u8]) -> Vec<u8> {
    // `put` limits the body, so that the length fits.
    let length = u32::try_from(sealed.len()).unwrap_or(u32::MAX).to_be_bytes();
    [MAGIC.as_slice(), &length, &crc32fast::hash(sealed).to_be_bytes(), sealed].concat()
}

pub(super) fn unframed(bytes: &[u8]) -> Option<&[u8]> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let sealed = rest.get(..number(4) as usize)?;
    (head.starts_with(MAGIC) && crc32fast::hash(sealed) == number(8)).then_some(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escrow(dir: &Path, byte: u8) -> Escrow {
        Escrow::open(dir, Arc::new(Seal::new(&Secret::new(vec![byte; 32])).unwrap())).unwrap()
    }

    fn token(n: u32) -> Token {
        format!("0a1b2c3d-4e5f60-billing-{n}").parse().unwrap()
    }

    fn shown(answers: Vec<Answer>) -> Vec<(u32, u16, Vec<u8>)> {
        answers.into_iter().map(|(token, status, body)| (token.n, status, body.expose().to_vec())).collect()
    }

    #[test]
    fn an_answer_is_kept_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        for n in 1..=3 {
            escrow(dir.path(), 1).prepare(&token(n)).unwrap();
        }
        let large = vec![7; BODY_BYTES / 16];
        escrow(dir.path(), 1).put(&token(1), 200, &Secret::from("{\"key\":\"hunter2\"}".to_owned())).unwrap();
        escrow(dir.path(), 1).put(&token(2), 502, &Secret::new(large.clone())).unwrap();
        let want = vec![(1, 200, b"{\"key\":\"hunter2\"}".to_vec()), (2, 502, large)];
        assert_eq!(shown(escrow(dir.path(), 1).drain().unwrap()), want);
        assert_eq!(shown(escrow(dir.path(), 1).drain().unwrap()), want);
        assert!(!dir.path().join("escrow").join(token(3).to_string()).exists(), "unused room is freed");
        escrow(dir.path(), 1).forget(&token(1)).unwrap();
        escrow(dir.path(), 1).forget(&token(1)).unwrap();
        assert_eq!(shown(escrow(dir.path(), 1).drain().unwrap()), want[1..]);
    }

    #[test]
    fn room_for_the_largest_answer_is_taken_before_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("escrow").join(token(1).to_string());
        escrow(dir.path(), 1).prepare(&token(1)).unwrap();
        let before = std::fs::metadata(&path).unwrap().len();
        escrow(dir.path(), 1).put(&token(1), 200, &Secret::new(vec![7; BODY_BYTES])).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), before);
        let too_large = escrow(dir.path(), 1).put(&token(1), 200, &Secret::new(vec![7; BODY_BYTES + 1]));
        assert!(matches!(too_large, Err(StoreError::TooLarge { .. })));
    }

    #[test]
    fn an_answer_cut_short_or_under_another_token_is_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let file = |n: u32| dir.path().join("escrow").join(token(n).to_string());
        let escrow = escrow(dir.path(), 1);
        escrow.put(&token(1), 200, &Secret::from("hunter2".to_owned())).unwrap();
        std::fs::copy(file(1), file(2)).unwrap();
        let whole = std::fs::read(file(1)).unwrap();
        std::fs::write(file(3), &whole[..whole.len() - 1]).unwrap();
        assert_eq!(shown(escrow.drain().unwrap()), vec![(1, 200, b"hunter2".to_vec())]);
        assert!(file(2).exists(), "it is whole, if not ours");
        assert!(!file(3).exists(), "nobody can read it any more");
    }
}

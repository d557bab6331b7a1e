//! Secrets, and where they are read from. A [`Secret`] is opaque: it can't be printed, compared or serialised, its memory
//! is wiped, and the callers of [`Secret::expose`] are listed in a test.
pub mod aside;
pub mod reference;

use crate::core::names::{Fingerprint, KeyName};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// The most bytes a secret may have; systemd's own limit for a credential.
pub const SECRET_BYTES: u64 = 1024 * 1024;

/// Bytes that nobody must see.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves: only where they are sealed, sent, delivered, signed with or revealed.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text.
    ///
    /// # Errors
    /// Where they are not UTF-8.
    pub fn expose_str(&self) -> Result<&str, SecretError> {
        std::str::from_utf8(&self.0).map_err(|_| SecretError::NotText)
    }

    /// Tells it from other secrets.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }

    /// Without one trailing line end (`\n` or `\r\n`), as files and pipes carry it.
    pub fn without_newline(mut self) -> Self {
        if self.0.last() == Some(&b'\n') {
            self.0.pop();
            if self.0.last() == Some(&b'\r') {
                self.0.pop();
            }
        }
        self
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Where a secret is to be found.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum SecretRef {
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`; read once.
    Credential(String),
    /// A file that only its owner and group can read; read at each use.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// The current version of a managed key; only for a provider's own login.
    Key(KeyName),
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It is not text where text is needed.
    #[error("the secret is not UTF-8 text")]
    NotText,
    /// There is nothing in it.
    #[error("{0} is empty")]
    Empty(String),
    /// The environment variable is not set.
    #[error("the environment variable {0} is not set")]
    NoEnv(String),
    /// There are no credentials.
    #[error(
        "credential {0:?}: $CREDENTIALS_DIRECTORY is not set; start rekeyd as a systemd unit with LoadCredential={0}:…"
    )]
    NoCredentials(String),
    /// The file can't be read.
    #[error("{path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others can read the file.
    #[error("{0} can be read by others; run: chmod o= {0}")]
    Exposed(PathBuf),
    /// The file is too large.
    #[error("{0} has more than {SECRET_BYTES} bytes")]
    TooLarge(PathBuf),
    /// A managed key is only known to the engine.
    #[error("key {0} is a managed key; it can only authorise a provider's calls")]
    Managed(KeyName),
}

impl SecretRef {
    /// Reads the secret. One trailing line end is dropped.
    ///
    /// # Errors
    /// See [`SecretError`]; none shows a byte of the secret.
    pub fn resolve(&self) -> Result<Secret, SecretError> {
        let secret = match self {
            Self::File(path) => read_file(path)?,
            Self::Credential(name) => {
                let dir = std::env::var_os("CREDENTIALS_DIRECTORY");
                let dir = dir.ok_or_else(|| SecretError::NoCredentials(name.clone()))?;
                read_credential(Path::new(&dir).join(name))?
            }
            Self::Env(name) => {
                let value = std::env::var_os(name).ok_or_else(|| SecretError::NoEnv(name.clone()))?;
                Secret::new(std::os::unix::ffi::OsStringExt::into_vec(value))
            }
            Self::Key(name) => return Err(SecretError::Managed(name.clone())),
        };
        let secret = secret.without_newline();
        if secret.is_empty() { Err(SecretError::Empty(self.to_string())) } else { Ok(secret) }
    }
}

/// What is said of a secret that stands in the config itself. The secret is not repeated.
pub const LITERAL_SECRET: &str = "a literal secret is not accepted";

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reference)
    }
}

/// Reads `{ credential = "…" }` and its like. Whatever else stands there may be the secret itself, so that no error may
/// show it, as derived code would.
struct Reference;

impl<'de> Visitor<'de> for Reference {
    type Value = SecretRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret reference")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretRef, A::Error> {
        const KINDS: &[&str] = &["credential", "file", "env", "key"];
        let kind: Option<String> = map.next_key()?;
        let secret = match kind.as_deref() {
            Some("credential") => SecretRef::Credential(map.next_value()?),
            Some("file") => SecretRef::File(map.next_value()?),
            Some("env") => SecretRef::Env(map.next_value()?),
            Some("key") => SecretRef::Key(map.next_value()?),
            Some(other) => return Err(A::Error::unknown_field(other, KINDS)),
            None => return Err(A::Error::custom("an empty table names no secret; write { credential = \"…\" }")),
        };
        match map.next_key::<String>()? {
            Some(_) => {
                Err(A::Error::custom("a secret comes from one place; write only one of credential, file, env, key"))
            }
            None => Ok(secret),
        }
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<SecretRef, E> {
        Err(E::custom(LITERAL_SECRET))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<SecretRef, E> {
        Err(E::custom(LITERAL_SECRET))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<SecretRef, E> {
        Err(E::custom(LITERAL_SECRET))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<SecretRef, E> {
        Err(E::custom(LITERAL_SECRET))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<SecretRef, E> {
        Err(E::custom(LITERAL_SECRET))
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<SecretRef, E> {
        Err(E::custom(LITERAL_SECRET))
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<SecretRef, E> {
        Err(E::custom(LITERAL_SECRET))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<SecretRef, A::Error> {
        Err(A::Error::custom(LITERAL_SECRET))
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Key(name) => write!(f, "key {name}"),
        }
    }
}

/// Reads a secret from a file that others must not be able to read.
fn read_file(path: &Path) -> Result<Secret, SecretError> {
    let found = std::fs::metadata(path).map_err(|source| SecretError::Read { path: path.to_owned(), source })?;
    if found.is_file() && found.permissions().mode() & 0o007 != 0 {
        return Err(SecretError::Exposed(path.to_owned()));
    }
    read(path)
}

/// The credentials that were read. Every one that the config names is read when it is loaded.
static CREDENTIALS: Mutex<BTreeMap<PathBuf, Secret>> = Mutex::new(BTreeMap::new());

/// Reads a credential once: what a unit was started with holds until it is started again, wherever its files lie.
fn read_credential(path: PathBuf) -> Result<Secret, SecretError> {
    let mut read_before = CREDENTIALS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(secret) = read_before.get(&path) {
        return Ok(secret.clone());
    }
    let secret = read(&path)?;
    read_before.insert(path, secret.clone());
    Ok(secret)
}

/// Room for what says nothing of its length beforehand, such as a pipe.
const PIPED_BYTES: u64 = 4096;
/// So much more room has a reader that is to find the end without asking for more.
const SPARE_BYTES: usize = 64;

fn read(path: &Path) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    // Room for all of it at once: a buffer that grows leaves copies behind that nobody wipes.
    let size = file.metadata().map_or(0, |it| it.len()).clamp(PIPED_BYTES, SECRET_BYTES + 1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + SPARE_BYTES));
    file.take(SECRET_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    let secret = Secret(bytes);
    if secret.0.len() as u64 > SECRET_BYTES { Err(SecretError::TooLarge(path.to_owned())) } else { Ok(secret) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: u32, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn one_trailing_line_end_is_dropped_and_no_more() {
        for (bytes, want) in
            [(&b"k"[..], &b"k"[..]), (b"k\n", b"k"), (b"k\r\n", b"k"), (b"k\n\n", b"k\n"), (b" k ", b" k ")]
        {
            let (_dir, path) = file(0o600, bytes);
            assert_eq!(SecretRef::File(path).resolve().unwrap().expose(), want);
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let (_dir, path) = file(0o644, b"hunter2");
        let error = SecretRef::File(path.clone()).resolve().unwrap_err().to_string();
        assert!(error.contains("chmod o="), "{error}");
        assert!(!error.contains("hunter2"));
    }

    #[test]
    fn an_empty_secret_is_none() {
        let (_dir, path) = file(0o600, b"\n");
        assert!(matches!(SecretRef::File(path).resolve(), Err(SecretError::Empty(_))));
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::from("hunter2".to_owned())), "[secret]");
    }
}

//! Sealing: XChaCha20-Poly1305 under the master key, with a fresh random nonce for every value. What a value belongs to
//! is authenticated with it, so that a sealed value opens only in its own place.
use super::error::StoreError;
use crate::core::names::{Fingerprint, KeyName, Token};
use crate::core::record::VersionNo;
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The bytes of a master key.
const MASTER_BYTES: usize = 32;
/// The bytes of a nonce. It is drawn at random, and long enough for that.
const NONCE_BYTES: usize = 24;
/// What the key of the stamps is derived with.
const STAMPS: &[u8] = b"rekeyd/1/stamp";

/// Seals and opens under one master key.
pub(super) struct Seal {
    cipher: XChaCha20Poly1305,
    fingerprint: Fingerprint,
    stamps: Hmac<Sha256>,
}

/// What a sealed value belongs to.
pub(super) enum Place<'a> {
    /// The value that tells whether the master key is the right one.
    Check,
    /// A version of a key.
    Version(&'a KeyName, VersionNo),
    /// The answer to a create.
    Answer(&'a Token),
    /// A part of a snapshot.
    Chunk {
        /// The digest of the snapshot's header.
        of: &'a str,
        /// Its number, from 0.
        number: usize,
        /// Whether none follows it.
        last: bool,
    },
}

impl Seal {
    /// Takes the master key: 32 bytes, as they are, as 64 hex digits, or as base64.
    pub(super) fn new(master: &Secret) -> Result<Self, StoreError> {
        let bytes = master_bytes(master)?;
        let cipher = XChaCha20Poly1305::new(&Key::from(*bytes));
        // HMAC takes keys of every length.
        let keyed = |key: &[u8]| <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).map_err(|_| no_master(master));
        let mut derived = keyed(bytes.as_slice())?;
        derived.update(STAMPS);
        let stamps = keyed(&Zeroizing::new(<[u8; 32]>::from(derived.finalize().into_bytes()))[..])?;
        Ok(Self { cipher, fingerprint: Fingerprint::of(bytes.as_slice()), stamps })
    }

    /// Tells what the parts say from anything else. Without the master key nobody can guess at them, however few there may be.
    pub(super) fn stamp(&self, parts: &[&str]) -> Fingerprint {
        let mut mac = self.stamps.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        Fingerprint::of(&mac.finalize().into_bytes())
    }

    /// Tells the master key from others.
    pub(super) fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Seals a secret for one place: the nonce, then the ciphertext with its tag.
    pub(super) fn seal(&self, place: &Place<'_>, secret: &Secret) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|it| StoreError::Random(it.to_string()))?;
        let about = place.text();
        let payload = Payload { msg: secret.expose(), aad: about.as_bytes() };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|it| StoreError::Encode { what: about, why: it.to_string() })?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed for this place under this master key; `None` for anything else.
    pub(super) fn open(&self, place: &Place<'_>, sealed: &[u8]) -> Option<Secret> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let about = place.text();
        let payload = Payload { msg: sealed, aad: about.as_bytes() };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).ok().map(Secret::new)
    }

    /// Opens what is no secret itself, such as a part of a snapshot, in which secrets are sealed once more.
    pub(super) fn unseal(&self, place: &Place<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
        self.open(place, sealed).map(|it| it.expose().to_vec())
    }
}

impl Place<'_> {
    /// The associated data. Names and tokens hold no `/`, so that no two places read alike.
    fn text(&self) -> String {
        match self {
            Self::Check => "rekeyd/1/check".to_owned(),
            Self::Version(name, version) => format!("rekeyd/1/secret/{name}/{version}"),
            Self::Answer(token) => format!("rekeyd/1/answer/{token}"),
            Self::Chunk { of, number, last } => format!("rekeyd/1/backup/{of}/{number}/{last}"),
        }
    }
}

fn master_bytes(master: &Secret) -> Result<Zeroizing<[u8; MASTER_BYTES]>, StoreError> {
    let given = master.expose();
    if let Ok(raw) = <[u8; MASTER_BYTES]>::try_from(given) {
        return Ok(Zeroizing::new(raw));
    }
    let text = std::str::from_utf8(given).map(str::trim).unwrap_or_default();
    let decoded = Zeroizing::new(hex(text).or_else(|| base64(text)).unwrap_or_default());
    let bytes = <[u8; MASTER_BYTES]>::try_from(decoded.as_slice());
    bytes.map(Zeroizing::new).map_err(|_| no_master(master))
}

fn no_master(given: &Secret) -> StoreError {
    StoreError::MasterKey(format!("has {} bytes", given.len()))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 2 * MASTER_BYTES || !text.bytes().all(|it| it.is_ascii_hexdigit()) {
        return None;
    }
    (0..MASTER_BYTES).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()).collect()
}

fn base64(text: &str) -> Option<Vec<u8>> {
    [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].iter().find_map(|it| it.decode(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(byte: u8) -> Seal {
        Seal::new(&Secret::new(vec![byte; 32])).unwrap()
    }

    #[test]
    fn a_master_key_is_the_same_key_in_each_of_its_spellings() {
        let bytes: Vec<u8> = (200..232).collect();
        let hex: String = bytes.iter().map(|it| format!("{it:02x}")).collect();
        let want = Fingerprint::of(&bytes);
        let spellings = [
            bytes.clone(),
            hex.clone().into_bytes(),
            format!("{}\n", hex.to_uppercase()).into_bytes(),
            STANDARD.encode(&bytes).into_bytes(),
            URL_SAFE_NO_PAD.encode(&bytes).into_bytes(),
        ];
        for spelling in spellings {
            assert_eq!(*Seal::new(&Secret::new(spelling)).unwrap().fingerprint(), want);
        }
    }

    #[test]
    fn anything_else_is_no_master_key_and_is_not_shown() {
        for bad in ["", "hunter2", &"z".repeat(64), &"a".repeat(31), &STANDARD.encode([1; 31]), &"ab".repeat(33)] {
            let error = Seal::new(&Secret::from(bad.to_owned())).err().unwrap().to_string();
            assert!(error.contains("64 hex digits") && error.contains("daemon.master_key"), "{error}");
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
    }

    #[test]
    fn a_sealed_value_opens_only_in_its_own_place_under_its_own_key() {
        let (name, other) = ("billing".parse().unwrap(), "billing-2".parse().unwrap());
        let sealed = seal(1).seal(&Place::Version(&name, 3), &Secret::from("hunter2".to_owned())).unwrap();
        assert_eq!(seal(1).open(&Place::Version(&name, 3), &sealed).unwrap().expose(), b"hunter2");
        assert!(seal(1).open(&Place::Version(&name, 4), &sealed).is_none());
        assert!(seal(1).open(&Place::Version(&other, 3), &sealed).is_none());
        assert!(seal(2).open(&Place::Version(&name, 3), &sealed).is_none());
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert!(seal(1).open(&Place::Version(&name, 3), &bent).is_none(), "byte {at}");
        }
        assert!(seal(1).open(&Place::Check, &sealed[..10]).is_none());
    }

    #[test]
    fn a_stamp_tells_its_parts_from_others_and_depends_on_the_master_key() {
        let stamp = |byte, parts: &[&str]| seal(byte).stamp(parts);
        assert_eq!(stamp(1, &["sms", "hunter2"]), stamp(1, &["sms", "hunter2"]));
        for other in [["sms", "hunter3"], ["smsh", "unter2"], ["", "smshunter2"]] {
            assert_ne!(stamp(1, &["sms", "hunter2"]), stamp(1, &other));
        }
        assert_ne!(stamp(1, &["sms", "hunter2"]), stamp(2, &["sms", "hunter2"]));
    }

    #[test]
    fn the_same_secret_is_never_sealed_the_same_twice() {
        let secret = Secret::from("hunter2".to_owned());
        assert_ne!(seal(1).seal(&Place::Check, &secret).unwrap(), seal(1).seal(&Place::Check, &secret).unwrap());
    }
}

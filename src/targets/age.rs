//! Encrypts to age recipients (<https://age-encryption.org/v1>), so that only who holds the identity can read a key on
//! its way: neither a proxy that ends TLS nor the log of a gateway.
//!
//! Of the format this writes one kind of recipient, X25519 (`age1…`), in the armoured form. The crate `age` would bring some
//! ninety others, a second generation of our ciphers among them; what is needed of the format fits here, over the
//! primitives of `ring`, which does TLS for us already. The tests let the `age` command open what is made here.
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hkdf, hmac};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use std::fmt::{self, Write};
use zeroize::Zeroizing;

/// The most recipients of one target: the old one and the new one while they change, and some for several machines.
pub(super) const RECIPIENTS_MOST: usize = 8;
/// How much of a text is sealed as one piece, in bytes, by the format.
const CHUNK_BYTES: usize = 64 * 1024;
/// How long the key of one file is, in bytes, by the format.
const FILE_KEY_BYTES: usize = 16;
/// How long the nonce is that the payload's key comes from, in bytes, by the format.
const NONCE_BYTES: usize = 16;
/// How long a line of base64 is.
const LINE_BYTES: usize = 64;

/// Somebody's public key: 32 bytes of X25519, in a config as `age1…`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Recipient([u8; 32]);

/// One recipient or several; every one of them can read it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Recipients(Vec<Recipient>);

/// Why a text is no recipient. Never repeats it: it may be the secret half.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum RecipientFault {
    /// It is the other half of a key pair.
    #[error("this is an identity, which must stay secret; write its public key (age1…), which `age-keygen -y` prints")]
    Identity,
    /// It is something else, or was copied wrongly.
    #[error("not a public key of age; write age1…, whole, as `age-keygen` prints it")]
    NoRecipient,
}

impl Recipients {
    /// Encrypts a text, as armoured text.
    ///
    /// # Errors
    /// Where there are no random bytes, or a recipient is no point that a secret can be agreed with.
    pub(super) fn encrypt(&self, text: &Secret) -> Result<String, Unspecified> {
        let random = SystemRandom::new();
        let mut file_key = Zeroizing::new([0; FILE_KEY_BYTES]);
        random.fill(file_key.as_mut())?;
        let mut file = self.header(&file_key, &random)?.into_bytes();
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce)?;
        file.extend_from_slice(&nonce);
        seal(&derived(&nonce, file_key.as_ref(), b"payload")?, text.expose(), &mut file)?;
        Ok(armoured(&file))
    }

    /// Who can read it, and that nobody changed who.
    fn header(&self, file_key: &[u8; FILE_KEY_BYTES], random: &SystemRandom) -> Result<String, Unspecified> {
        let mut header = "age-encryption.org/v1\n".to_owned();
        for recipient in &self.0 {
            header.push_str(&recipient.stanza(file_key, random)?);
        }
        header.push_str("---");
        let key = hmac::Key::new(hmac::HMAC_SHA256, derived(&[], file_key, b"header")?.as_ref());
        let mac = hmac::sign(&key, header.as_bytes());
        let _ = writeln!(header, " {}", STANDARD_NO_PAD.encode(mac));
        Ok(header)
    }
}

impl Recipient {
    /// The key of the file, for this recipient alone.
    fn stanza(&self, file_key: &[u8; FILE_KEY_BYTES], random: &SystemRandom) -> Result<String, Unspecified> {
        let mine = EphemeralPrivateKey::generate(&X25519, random)?;
        let share = mine.compute_public_key()?;
        let salt = [share.as_ref(), &self.0].concat();
        let theirs = UnparsedPublicKey::new(&X25519, &self.0);
        let wrap = agree_ephemeral(mine, &theirs, |shared| derived(&salt, shared, b"age-encryption.org/v1/X25519"))??;
        let mut wrapped = Vec::from(*file_key);
        sealing(&wrap)?.seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut wrapped)?;
        Ok(format!("-> X25519 {}\n{}\n", STANDARD_NO_PAD.encode(share), STANDARD_NO_PAD.encode(wrapped)))
    }
}

/// Seals a text in pieces, each with its number and with whether it is the last, so that none can be lost or swapped.
fn seal(key: &Zeroizing<[u8; 32]>, text: &[u8], file: &mut Vec<u8>) -> Result<(), Unspecified> {
    let key = sealing(key)?;
    let count = text.len().div_ceil(CHUNK_BYTES).max(1);
    for n in 0..count {
        let chunk = &text[n * CHUNK_BYTES..text.len().min((n + 1) * CHUNK_BYTES)];
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&(n as u64).to_be_bytes());
        nonce[11] = u8::from(n + 1 == count);
        let mut sealed = Zeroizing::new(Vec::with_capacity(chunk.len() + CHACHA20_POLY1305.tag_len()));
        sealed.extend_from_slice(chunk);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut *sealed)?;
        file.extend_from_slice(&sealed);
    }
    Ok(())
}

fn sealing(key: &Zeroizing<[u8; 32]>) -> Result<LessSafeKey, Unspecified> {
    UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).map(LessSafeKey::new)
}

/// HKDF with SHA-256 (RFC 5869), 32 bytes.
fn derived(salt: &[u8], from: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; 32]>, Unspecified> {
    let mut key = Zeroizing::new([0; 32]);
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(from);
    extracted.expand(&[info], hkdf::HKDF_SHA256)?.fill(key.as_mut())?;
    Ok(key)
}

/// As text between two lines (RFC 7468, strictly).
fn armoured(file: &[u8]) -> String {
    let encoded = STANDARD.encode(file);
    let mut out = "-----BEGIN AGE ENCRYPTED FILE-----\n".to_owned();
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE_BYTES));
        let _ = writeln!(out, "{line}");
        rest = more;
    }
    out + "-----END AGE ENCRYPTED FILE-----\n"
}

impl std::str::FromStr for Recipient {
    type Err = RecipientFault;

    fn from_str(text: &str) -> Result<Self, RecipientFault> {
        if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            return Err(RecipientFault::Identity);
        }
        let key = bech32(text, "age").ok_or(RecipientFault::NoRecipient)?;
        key.try_into().map(Self).map_err(|_| RecipientFault::NoRecipient)
    }
}

/// The bytes of a text in Bech32 (BIP 173), without its limit of 90 characters, as age has it.
fn bech32(text: &str, prefix: &str) -> Option<Vec<u8>> {
    const ALPHABET: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const CHECKSUM: usize = 6;
    let digits = text.strip_prefix(prefix)?.strip_prefix('1')?;
    let digits: Vec<u8> =
        digits.chars().map(|it| ALPHABET.find(it).and_then(|at| u8::try_from(at).ok())).collect::<Option<_>>()?;
    let expanded = prefix.bytes().map(|it| it >> 5).chain([0]).chain(prefix.bytes().map(|it| it & 31));
    if polymod(expanded.chain(digits.iter().copied())) != 1 {
        return None;
    }
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for digit in digits.get(..digits.len().checked_sub(CHECKSUM)?)? {
        (held, bits) = ((held << 5 | u32::from(*digit)) & 0xfff, bits + 5);
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).ok()?);
        }
    }
    // What is left over fills up the last digit, with zeros.
    (bits < 5 && held & ((1 << bits) - 1) == 0).then_some(bytes)
}

fn polymod(digits: impl Iterator<Item = u8>) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    digits.fold(1, |sum, digit| {
        let shifted = (sum & 0x01ff_ffff) << 5 ^ u32::from(digit);
        GENERATOR.iter().enumerate().filter(|(n, _)| sum >> 25 >> n & 1 == 1).fold(shifted, |sum, (_, it)| sum ^ it)
    })
}

impl<'de> Deserialize<'de> for Recipient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Recipients {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SomeVisitor).map(Self)
    }
}

struct SomeVisitor;

impl<'de> Visitor<'de> for SomeVisitor {
    type Value = Vec<Recipient>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a public key of age, \"age1…\", or a list of 1 to {RECIPIENTS_MOST} of them")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(vec![text.parse().map_err(E::custom)?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(it) = list.next_element::<Recipient>()? {
            found.push(it);
        }
        if (1..=RECIPIENTS_MOST).contains(&found.len()) {
            return Ok(found);
        }
        Err(A::Error::custom(format_args!("{} recipients; name 1 to {RECIPIENTS_MOST}", found.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the manual of `age`.
    const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

    #[test]
    fn a_recipient_is_taken_whole_or_not_at_all() {
        assert!(RECIPIENT.parse::<Recipient>().is_ok());
        let mistyped = RECIPIENT.replace("ql3z", "ql3y");
        let upper = RECIPIENT.to_uppercase();
        for bad in ["", "age1", "age1qqqqqqqq", &RECIPIENT[..61], &mistyped, &upper, "ssh-ed25519 AAAA"] {
            assert_eq!(bad.parse::<Recipient>(), Err(RecipientFault::NoRecipient), "{bad}");
        }
    }

    #[test]
    fn an_identity_in_the_wrong_place_is_not_repeated() {
        let fault = "AGE-SECRET-KEY-1HUNTER2".parse::<Recipient>().unwrap_err();
        assert_eq!(fault, RecipientFault::Identity);
        assert!(!fault.to_string().contains("HUNTER2"));
    }

    #[test]
    fn nothing_is_encrypted_twice_alike() {
        let recipients = Recipients(vec![RECIPIENT.parse().unwrap()]);
        let secret = Secret::new(b"key".to_vec());
        assert_ne!(recipients.encrypt(&secret).unwrap(), recipients.encrypt(&secret).unwrap());
    }
}

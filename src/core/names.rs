//! The names of things, each with its own type, so that none is taken for another. A name is passed around far more often
//! than it is made, so that its text is shared.
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name of a key, an owner, a window, a freeze, a provider or a profile, in bytes.
pub const NAME_BYTES: usize = 48;

/// A text that is no name, or no token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// It breaks `[a-z0-9][a-z0-9_-]{0,47}`.
    #[error("a name is 1 to {NAME_BYTES} of a-z, 0-9, '_' and '-', and starts with a letter or a digit")]
    Name,
    /// It is not `<install>-<epoch>-<key>-<n>`.
    #[error("not a token of the form <install>-<epoch>-<key>-<n>")]
    Token,
}

/// Says whether a text keeps the rule of names: `[a-z0-9][a-z0-9_-]{0,47}`.
pub fn is_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
    let rest = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_' || it == b'-';
    first && text.len() <= NAME_BYTES && text.bytes().all(rest)
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub struct $name(Arc<str>);
        impl $name {
            /// The text of it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                (*name.0).to_owned()
            }
        }
    };
}

text_type! {
    /// The identity of an account at a provider. Budgets, known keys and open creates belong to it.
    AccountId
}
text_type! {
    /// The identity of a place that a key is delivered to: its kind and its address, never its position in a list.
    TargetId
}
text_type! {
    /// The first 12 hex digits of a secret's SHA-256: tells secrets apart without showing them.
    Fingerprint
}
text_type! {
    /// The identity of a notice: the same cause gives the same id, whenever it is decided.
    NoticeId
}

impl Fingerprint {
    /// Takes the fingerprint of a secret's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        hex(&Sha256::digest(bytes)[..6]).into()
    }
}

impl NoticeId {
    /// Derives the id from what caused the notice.
    pub fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hex(&hash.finalize()[..16]).into()
    }
}

impl TargetId {
    /// Names a place by its kind and its address.
    pub fn new(kind: &str, address: &str) -> Self {
        format!("{kind}:{address}").into()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

/// The name of a managed key, as the config spells it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName(Arc<str>);

impl KeyName {
    /// The text of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_name(text) { Ok(Self(text.into())) } else { Err(NameError::Name) }
    }
}

impl TryFrom<String> for KeyName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> Self {
        (*name.0).to_owned()
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who issues tokens: this installation, in this life of its state. A restored or rolled-back store, and another
/// machine, begin a new epoch, so that no token is ever issued twice.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Incarnation {
    /// Names the installation: 8 hex digits, drawn once.
    pub install: String,
    /// Names the life of its state: 6 hex digits, drawn anew on restore, roll-back and on a new machine.
    pub epoch: String,
}

/// One create attempt (the counterpart of AWS's ClientRequestToken). Fresh for every attempt, never used twice.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token {
    /// Who issued it.
    pub by: Incarnation,
    /// For which key.
    pub name: KeyName,
    /// The how-manieth attempt of this key, from 1.
    pub n: u32,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{}", self.by.install, self.by.epoch, self.name, self.n)
    }
}

impl FromStr for Token {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (rest, n) = text.rsplit_once('-').ok_or(NameError::Token)?;
        let mut parts = rest.splitn(3, '-');
        let mut next = || parts.next().filter(|it| !it.is_empty()).ok_or(NameError::Token);
        let by = Incarnation { install: next()?.to_owned(), epoch: next()?.to_owned() };
        let name = next()?.parse().map_err(|_| NameError::Token)?;
        let token = Self { by, name, n: n.parse().map_err(|_| NameError::Token)? };
        // Only the one spelling that we print counts: "+1" and "007" are somebody else's.
        if token.to_string() == text { Ok(token) } else { Err(NameError::Token) }
    }
}

impl TryFrom<String> for Token {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_rule() {
        for good in ["a", "0", "billing-sms", "a_b-c", &"x".repeat(48)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "_a", "A", "a.b", "a b", "ä", &"x".repeat(49)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_token_reads_back_as_it_was_written_and_no_other_spelling_counts() {
        let by = Incarnation { install: "0a1b2c3d".into(), epoch: "4e5f60".into() };
        let token = Token { by, name: "a-b-7".parse().unwrap(), n: 12 };
        assert_eq!(token.to_string(), "0a1b2c3d-4e5f60-a-b-7-12");
        assert_eq!(token.to_string().parse(), Ok(token));
        for bad in ["", "a", "a-b-c", "a-b-c-+1", "a-b-c-01", "a--c-1", "a-b-C-1", "a-b-c-99999999999"] {
            assert_eq!(bad.parse::<Token>(), Err(NameError::Token), "{bad}");
        }
    }
}

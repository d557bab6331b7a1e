//! The settings that several kinds share. A wrong value is a fault where it stands in the file.
use super::{Auth, CreateOptions};
use crate::core::names::{Fingerprint, KeyName};
use crate::secret::aside::aside;
use crate::secret::{Secret, SecretRef};
use serde::de::{Deserialize, Deserializer};
use std::sync::Arc;
use toml::de::{Error, ValueDeserializer};

/// The most bytes of a path, a name or another text in a setting.
const TEXT_BYTES: usize = 256;

/// The path of an optional call: `"none"`, or from the base URL on, such as `"/account/1/balance"`.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(super) struct OptionalPath(pub(super) Option<String>);

impl TryFrom<String> for OptionalPath {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "none" {
            return Ok(Self(None));
        }
        let plain = text.bytes().all(|it| it.is_ascii_graphic() && it != b'#');
        let stays = crate::http::check_base_url("https://localhost").and_then(|it| it.join(&text)).is_ok();
        if plain && stays && text.len() <= TEXT_BYTES {
            Ok(Self(Some(text)))
        } else {
            Err("write \"none\", or a path that begins with '/' and is percent-encoded")
        }
    }
}

/// A login name.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Username(pub(super) String);

impl TryFrom<String> for Username {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if !is_text(&text) {
            return Err("a username is 1 to 256 bytes without control characters");
        }
        // RFC 7617 ends the name at the first colon.
        if text.contains(':') { Err("a username must not contain ':'") } else { Ok(Self(text)) }
    }
}

/// The `create` table of a kind with nothing to choose.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoOptions {}

impl NoOptions {
    /// Reads `create = { … }`, which may only be empty.
    pub(super) fn parse(value: ValueDeserializer<'_>) -> Result<Arc<dyn CreateOptions>, Error> {
        Ok(Arc::new(Self::deserialize(value)?))
    }
}

impl CreateOptions for NoOptions {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// Whether a text is 1 to 256 bytes without control characters.
pub(super) fn is_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= TEXT_BYTES && !text.chars().any(char::is_control)
}

/// One part of a path, percent-encoded. `None` where the path would reach something else: for nothing, and for dots.
pub(super) fn segment(text: &str) -> Option<String> {
    if text.bytes().all(|it| it == b'.') {
        return None;
    }
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Some(out)
}

/// Where a provider's own login is to be found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Login(pub(super) SecretRef);

impl Login {
    /// The managed key that it is, if it is one.
    pub(super) fn key(&self) -> Option<&KeyName> {
        if let SecretRef::Key(name) = &self.0 { Some(name) } else { None }
    }

    /// Tells the secret from others, where it is none of the managed keys and can be read.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        self.0.resolve().ok().map(|it| it.fingerprint())
    }

    /// Reads the secret, and notes which it was. Where it is a managed key, `auth` has its current version.
    ///
    /// # Errors
    /// In words for the operator.
    pub(super) async fn resolve(&self, auth: &Auth) -> Result<Secret, String> {
        if let Some(name) = self.key() {
            return auth.key.clone().ok_or_else(|| {
                format!("key {name} authorises these calls and has no current version yet; run: rekeyd adopt {name}")
            });
        }
        let place = self.0.clone();
        // A file may lie on a disk that doesn't answer.
        let read = aside(&format!("login {place}"), move || place.resolve()).await;
        let secret = read.map_err(|why| format!("{}: {why}", self.0))?.map_err(|error| error.to_string())?;
        auth.used.note(secret.fingerprint());
        Ok(secret)
    }
}

impl<'de> Deserialize<'de> for Login {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        SecretRef::deserialize(from).map(Self)
    }
}

/// A login that can't be a managed key.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize)]
#[serde(try_from = "Login")]
pub(super) struct Password(pub(super) Login);

impl TryFrom<Login> for Password {
    type Error = &'static str;
    fn try_from(login: Login) -> Result<Self, Self::Error> {
        match login.key() {
            None => Ok(Self(login)),
            Some(_) => Err("a managed key is no password here; write { credential = \"name\" } or { file = \"path\" }"),
        }
    }
}

/// The most bytes of a key.
const KEY_BYTES: usize = 4096;

/// A key's text, if it can be one: without blanks and control characters, and not masked (`<secret api key>`, `abc***`).
pub(super) fn usable_key(text: String) -> Option<Secret> {
    let fits = (1..=KEY_BYTES).contains(&text.len());
    let masked = |it: char| it.is_whitespace() || it.is_control() || "*<>•…".contains(it);
    let usable = fits && !text.contains(masked);
    let secret = Secret::from(text);
    usable.then_some(secret)
}

/// A key in an answer, read straight into wiped memory; `None` where it can be none.
pub(super) struct KeyText(pub(super) Option<Secret>);

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(usable_key(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_path_stays_one_part() {
        for (text, want) in
            [("C6DF", Some("C6DF")), ("a/b?c#d%", Some("a%2Fb%3Fc%23d%25")), ("_", Some("_")), ("ä", Some("%C3%A4"))]
        {
            assert_eq!(segment(text).as_deref(), want, "{text}");
        }
        for short in ["", ".", ".."] {
            assert_eq!(segment(short), None, "{short}");
        }
    }

    #[test]
    fn a_masked_key_is_none() {
        for bad in ["", "<secret api key>", "abc***", "a b", "a\n", "••••", &"x".repeat(KEY_BYTES + 1)] {
            assert!(usable_key(bad.to_owned()).is_none(), "{bad}");
        }
        for good in ["abcd1234-9922", "v-11:22", "a+/=_"] {
            assert!(usable_key(good.to_owned()).is_some(), "{good}");
        }
    }

    #[test]
    fn a_path_is_none_or_begins_with_a_slash() {
        for good in ["none", "/auth/test", "/2fa/2/applications?page=0"] {
            assert!(OptionalPath::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "None", "auth/test", "/a b", "/a/../b", "/a#b", "https://evil.example/"] {
            assert!(OptionalPath::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}

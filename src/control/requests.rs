//! What is asked of the control socket with a body, and what its verbs answer.
use super::protocol::Time;
use crate::core::names::KeyName;
use crate::core::record::VersionNo;
use crate::secret::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

/// A secret on its way through the socket. It can be sent, never printed.
#[derive(Clone, Debug)]
pub struct SecretText(pub Secret);

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.expose_str().map_err(ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(Secret::from(String::deserialize(from)?)))
    }
}

/// `PUT /v1/keys/{key}/secret`: take over a key in use.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptRequest {
    /// The key itself.
    pub secret: SecretText,
    /// Until when it is valid.
    #[serde(default)]
    pub valid_to: Option<Time>,
    /// When it was issued; its end is reckoned from `valid_for`.
    #[serde(default)]
    pub issued_at: Option<Time>,
    /// Nobody knows how old it is.
    #[serde(default)]
    pub age_unknown: bool,
    /// The provider's handle for it, needed to revoke it.
    #[serde(default)]
    pub id: Option<String>,
    /// Take it even if the provider does not accept it.
    #[serde(default)]
    pub unverified: bool,
    /// Overwrite what else the targets hold.
    #[serde(default)]
    pub deliver: bool,
}

/// `POST /v1/keys/{key}/rotate`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RotateRequest {
    /// Wait for no window.
    pub now: bool,
    /// No overlap either: the key is in wrong hands.
    pub compromised: bool,
    /// Why, for the history.
    pub reason: Option<String>,
    /// The new key, where nobody but a human can get one.
    pub key: Option<NewKey>,
}

/// A new key that a human got in the provider's portal. Where nothing is said of its dates, it was issued now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// The key itself.
    pub secret: SecretText,
    /// Until when it is valid.
    #[serde(default)]
    pub valid_to: Option<Time>,
    /// When it was issued; its end is reckoned from `valid_for`.
    #[serde(default)]
    pub issued_at: Option<Time>,
    /// Nobody knows how old it is.
    #[serde(default)]
    pub age_unknown: bool,
    /// The provider's handle for it, which is told when it is to be revoked.
    #[serde(default)]
    pub id: Option<String>,
}

/// A verb was carried out.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct DoneReport {
    /// One sentence on what comes next.
    pub message: String,
    /// The rotation that is under way or was asked for.
    pub attempt: Option<u32>,
}

/// `GET /v1/keys/{key}/secret`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Revealed {
    /// Which key.
    pub key: KeyName,
    /// Which version.
    pub version: VersionNo,
    /// Its secret.
    pub secret: SecretText,
}

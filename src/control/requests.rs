//! What is asked of the control socket with a body, and what its verbs answer.
use super::problem::Problem;
use super::protocol::Time;
use crate::core::names::KeyName;
use crate::core::record::VersionNo;
use crate::engine::handle::Which;
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
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RotateRequest {
    /// Wait for no window.
    pub now: bool,
    /// No overlap either: the key is in wrong hands.
    pub compromised: bool,
    /// Why, for the history.
    pub reason: Option<String>,
}

/// The body of a verb that takes nothing but a reason.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VerbRequest {
    /// Why, for the history.
    pub reason: Option<String>,
}

/// `POST /v1/resume`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {
    /// Which keys: `{"keys": […]}`, `{"provider": …}`, `{"owner": …}` or `"all"`.
    pub which: Which,
    /// Why, for the history.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `POST /v1/pause`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// Which keys, as for `POST /v1/resume`.
    pub which: Which,
    /// It ends by itself then; else by `resume` alone.
    #[serde(default)]
    pub until: Option<Time>,
    /// Why, for the history.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `POST /v1/keys/{key}/pause`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PauseKeyRequest {
    /// It ends by itself then; else by `resume` alone.
    pub until: Option<Time>,
    /// Why, for the history.
    pub reason: Option<String>,
}

/// `POST /v1/keys/{key}/ack`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AckRequest {
    /// What could not be revoked from here was revoked by hand.
    pub revoked: bool,
    /// Why, for the history.
    pub reason: Option<String>,
}

/// What a verb for several keys came to for one of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyDone {
    /// Which.
    pub key: KeyName,
    /// What was done; nothing where it was refused.
    #[serde(flatten)]
    pub done: DoneReport,
    /// Why it was refused.
    pub problem: Option<Problem>,
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

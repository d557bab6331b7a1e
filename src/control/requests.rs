//! What is asked of the control socket with a body, and what its verbs answer.
use super::problem::Problem;
use super::protocol::Time;
use crate::core::names::{Fingerprint, KeyName, TargetId};
use crate::core::record::{Expiry, VersionNo};
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdoptRequest {
    /// The key itself; this or `from_target`.
    pub secret: Option<SecretText>,
    /// Take the one that its targets hold.
    pub from_target: bool,
    /// Only the one with this fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// Until when it is valid.
    pub valid_to: Option<Time>,
    /// When it was issued; its end is reckoned from `valid_for`.
    pub issued_at: Option<Time>,
    /// Nobody knows how old it is.
    pub age_unknown: bool,
    /// The provider's handle for it, needed to revoke it.
    pub id: Option<String>,
    /// Take it even if the provider does not accept or does not know it.
    pub unverified: bool,
    /// Overwrite what else the targets hold.
    pub deliver: bool,
    /// Look at everything and change nothing: a refusal stands in the answer.
    pub dry_run: bool,
    /// Why, for the history.
    pub reason: Option<String>,
}

/// What became of an adoption, or would become of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AdoptReport {
    /// Which key.
    pub key: KeyName,
    /// One sentence.
    pub message: String,
    /// The rotation that brings the key to its targets, where it follows another key.
    pub attempt: Option<u32>,
    /// Whether nothing speaks against it, and there is something to do.
    pub adoptable: bool,
    /// Tells the key from others.
    pub fingerprint: Option<Fingerprint>,
    /// What the provider says to it.
    pub provider: ProviderWord,
    /// The provider's handle for it.
    pub id: Option<String>,
    /// Since when it is valid.
    pub valid_from: Option<Time>,
    /// Until when it is valid.
    pub valid_to: Option<Time>,
    /// Where that date comes from; none where it was not come to.
    pub expiry: Option<Expiry>,
    /// What its targets held when they were looked at.
    pub targets: Vec<TargetReport>,
    /// Why it can't be adopted; only of a dry run, and not of a key that will be created.
    pub refused: Option<Problem>,
}

/// What one channel of an owner answered to a test notice.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChannelReport {
    /// Which: its kind and address.
    pub channel: String,
    /// Whether it took the notice.
    pub taken: bool,
    /// What it said, for people.
    pub message: String,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

/// What one target held.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetReport {
    /// Which.
    pub target: TargetId,
    /// What.
    pub holds: Holds,
    /// Of which key, where it holds one.
    pub fingerprint: Option<Fingerprint>,
}

/// What a target holds, seen from the key that is to be adopted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// It, as we would write it: the target is left as it is.
    Key,
    /// It, with another mode, owner or wrapping: it is written anew.
    OtherForm,
    /// Another key.
    OtherKey,
    /// Nothing: the key is written there.
    Nothing,
    /// What is no key: the key is written there.
    Damaged,
    /// It can't be looked at.
    Unreadable,
    /// It never shows what it holds: the key is brought there.
    Unread,
}

/// What a provider says to a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderWord {
    /// It accepts it.
    Accepts,
    /// It refuses it.
    Refuses,
    /// It gave no clear answer.
    Unclear,
    /// It was not asked, or can't be.
    NotAsked,
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

/// `POST /v1/reload`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReloadRequest {
    /// Take a config into use that drops more keys than `max_removals`.
    pub allow_removals: bool,
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

/// `POST /v1/ack`: what belongs to no key.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AckOwnRequest {
    /// The notices that were given up: somebody knows what they would have said.
    pub dead_letters: bool,
    /// Why, for the history.
    #[serde(default)]
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

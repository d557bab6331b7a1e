//! The places that keys are delivered to. One file for each kind; to add one, write its file, then add its `mod` line and
//! its row in [`KINDS`]. A target is mechanism: no retry, no clock, no notice, no decision.
use crate::core::facts::Content;
use crate::core::names::{Fingerprint, KeyName, TargetId};
use crate::core::policy::Reach;
use crate::core::record::VersionNo;
use crate::core::time::Timestamp;
use crate::secret::Secret;
use async_trait::async_trait;
use std::fmt;

/// What is delivered.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Of which key.
    pub name: KeyName,
    /// From which provider section.
    pub provider: String,
    /// Which version.
    pub version: VersionNo,
    /// The secret.
    pub secret: Secret,
    /// Until when it is valid, if known.
    pub valid_to: Option<Timestamp>,
}

/// Why a delivery failed: a sentence for people, with the exit code and the last lines of stderr where there are any.
/// Never a byte of the secret.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct DeliveryError(pub String);

/// One `[[keys.NAME.deliver]]`.
#[async_trait]
pub trait Target: fmt::Debug + Send + Sync {
    /// Its identity: kind and address.
    fn id(&self) -> TargetId;

    /// Who brings the key, and whether the content can be read back.
    fn reach(&self) -> Reach;

    /// Whether it has a `confirm`.
    fn confirms(&self) -> bool {
        false
    }

    /// Looks at what it holds. `known` are versions of ours, to compare with where the format can't be read back.
    async fn observe(&self, known: &[Parcel]) -> Content;

    /// Says whether a delivery could be carried through now (the folder exists and can be written, the command exists).
    ///
    /// # Errors
    /// Why not.
    async fn preflight(&self) -> Result<(), DeliveryError>;

    /// Brings the key there, durably, then runs `then`. Safe to repeat: what is in place already is not written again,
    /// but `then` runs.
    async fn deliver(&self, parcel: &Parcel) -> Result<(), DeliveryError>;

    /// Asks the consumer whether it works with the key.
    async fn confirm(&self, _parcel: &Parcel) -> Result<(), DeliveryError> {
        Ok(())
    }

    /// Removes the key from there, for a retired key.
    async fn clear(&self) -> Result<(), DeliveryError> {
        Ok(())
    }

    /// The fingerprint of what it holds if it can be told without comparing.
    fn hint(&self) -> Option<Fingerprint> {
        None
    }
}

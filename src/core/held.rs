//! What the books know of one target: what it holds, and what came of the last tries.
use super::names::Fingerprint;
use super::record::VersionNo;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a target holds, as far as we know.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The version it surely held at the last receipt.
    pub settled: Option<VersionNo>,
    /// The versions that it may hold: grows before a write, shrinks at its receipt. Nothing in it is revoked.
    pub maybe: BTreeSet<VersionNo>,
    /// The version that the consumer was confirmed to work with.
    pub confirmed: Option<VersionNo>,
    /// Content that is none of ours, which was told and which only a new key may overwrite.
    pub foreign: Option<Fingerprint>,
    /// Failed deliveries in a row.
    pub failures: u32,
    /// When the next delivery may be tried.
    pub retry_at: Option<Timestamp>,
    /// What the last failure said; never a secret.
    pub last_error: Option<String>,
    /// The version whose `then` has been done in part, and what of it: only the rest is tried again. Void once
    /// anything else is there: a delivery that writes begins with none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then_done: Option<(VersionNo, BTreeSet<String>)>,
}

impl Held {
    /// What of the `then` is done already for this version.
    pub fn done_for(&self, version: VersionNo) -> BTreeSet<String> {
        self.then_done.as_ref().filter(|it| it.0 == version).map(|it| it.1.clone()).unwrap_or_default()
    }

    /// Whether it surely holds exactly this version.
    pub fn is_settled_at(&self, version: VersionNo) -> bool {
        self.settled == Some(version) && self.maybe.is_empty()
    }

    /// Whether it holds, or may hold, this version.
    pub fn may_hold(&self, version: VersionNo) -> bool {
        self.settled == Some(version) || self.maybe.contains(&version)
    }
}

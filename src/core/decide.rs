//! The decision: record + facts + policy + now → what to make durable, then what to do.
use super::account::Account;
use super::facts::Facts;
use super::names::{Fingerprint, Incarnation};
use super::plan::Plan;
use super::policy::Policy;
use super::record::{Record, VersionNo};
use super::time::Timestamp;

/// What `observe` must look at before a decision. Reading costs calls, so that a steady key asks for little.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Look {
    /// Ask the provider for its list.
    pub list: bool,
    /// Ask the provider for its one current key.
    pub read: bool,
    /// Ask the provider whether it accepts these versions.
    pub probe: Vec<VersionNo>,
    /// Look at the targets.
    pub targets: bool,
    /// See whether a create could be carried through.
    pub preflight: bool,
}

/// Says what to look at.
pub fn look(record: &Record, account: &Account, policy: &Policy, now: Timestamp) -> Look {
    todo!("{record:?} {account:?} {policy:?} {now:?}")
}

/// Of the keys found in `facts`, says which must be probed before `decide` may believe them.
pub fn candidates(record: &Record, account: &Account, facts: &Facts, policy: &Policy) -> Vec<Fingerprint> {
    todo!("{record:?} {account:?} {policy:?} {facts:?}")
}

/// Decides what to do next for one key.
pub fn decide(
    record: &Record,
    account: &Account,
    facts: &Facts,
    policy: &Policy,
    by: &Incarnation,
    now: Timestamp,
) -> Plan {
    todo!("{record:?} {account:?} {policy:?} {facts:?} {by:?} {now:?}")
}

//! What the edges saw, and what came of what they did: the only two things that reach the core from outside.
use super::names::{AccountId, Fingerprint, TargetId, Token};
use super::record::VersionNo;
use super::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What was seen in one pass of `observe`. A field that was not looked at is empty, and proves nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// What the provider lists, where it can be asked: by name, or as a whole.
    pub listed: Option<Listed>,
    /// The account's one current key, where it can be read.
    pub read: Option<Found>,
    /// Whether the provider accepts our versions.
    pub probes: BTreeMap<VersionNo, Probe>,
    /// What the targets hold.
    pub targets: BTreeMap<TargetId, Content>,
    /// Why no create may be tried now, if so: store, reserve and targets were looked at.
    pub preflight: Option<Preflight>,
    /// Whether the wall clock can be believed.
    pub clock_suspect: bool,
    /// Why nothing may begin for any key now, if so: the daemon itself has a reason.
    pub hold: Option<Blocked>,
    /// The accounts whose provider was not asked with its login in this pass, and why: all their keys are held.
    pub withheld: BTreeMap<AccountId, Blocked>,
    /// The accounts whose provider refuses to revoke with our login, and is not asked to now.
    pub revokes_withheld: BTreeSet<AccountId>,
    /// Of its old versions, those that another key of the config uses: both were adopted with one secret.
    pub in_use: BTreeSet<Fingerprint>,
}

/// Whether a create could be carried through now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Preflight {
    /// Yes.
    Ready,
    /// No, and why; heals by itself.
    Blocked(Blocked),
}

/// Why nothing is begun now. Derived in each pass, never stored; heals by itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Blocked {
    /// The wall clock can't be believed.
    Clock,
    /// The state can't be written, or its reserve is not free.
    Store(String),
    /// A target can't be written.
    Target(TargetId, String),
    /// The provider can't be reached, or did not answer the recovery read.
    Provider(String),
    /// The provider refuses our login.
    Login,
    /// The provider asked us to wait.
    Throttled(Timestamp),
    /// The daily create budget is used up.
    Budget(Timestamp),
    /// Another key's create at the same account has not ended.
    Account,
    /// No window is open.
    Window(Timestamp),
    /// A freeze, by its name, lasts; and when the key may begin after it.
    Freeze(String, Timestamp),
    /// The config no longer names the key, or its provider.
    Unmanaged,
    /// The config is broken; the last good one is in use and begins nothing.
    Config,
    /// The state came from another machine: nothing is done but looking, until an operator says so.
    Observing,
}

impl Blocked {
    /// The code that scripts compare.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Store(_) => "store",
            Self::Target(..) => "target",
            Self::Provider(_) => "provider_unreachable",
            Self::Login => "login_refused",
            Self::Throttled(_) => "throttled",
            Self::Budget(_) => "budget",
            Self::Account => "account_busy",
            Self::Window(_) => "window",
            Self::Freeze(..) => "freeze",
            Self::Unmanaged => "unmanaged",
            Self::Config => "config",
            Self::Observing => "observing",
        }
    }

    /// When it is over, where that is known.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Throttled(at) | Self::Budget(at) | Self::Window(at) | Self::Freeze(_, at) => known(*at),
            _ => None,
        }
    }
}

/// As people are told, in a sentence.
impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock => {
                f.write_str("the wall clock can't be believed; nothing is created or revoked until it is right")
            }
            Self::Store(why) => write!(f, "the state can't be written: {why}"),
            Self::Target(target, why) => write!(f, "{target} can't be delivered to: {why}"),
            Self::Provider(why) => write!(f, "the provider can't be reached: {why}"),
            Self::Login => f.write_str("the provider refuses our login; correct it where the config says it is"),
            Self::Throttled(at) => write!(f, "the provider asked us to wait until {at}"),
            Self::Budget(at) => write!(
                f,
                "the daily create budget is used up until {at}; creates_per_day of its provider says how large it is"
            ),
            Self::Account => f.write_str("another key's create at the same account has not ended"),
            Self::Window(at) => match known(*at) {
                Some(at) => write!(f, "its next window opens at {at}"),
                None => f.write_str("none of its windows opens again"),
            },
            Self::Freeze(name, at) => match known(*at) {
                Some(at) => write!(f, "freeze {name} lasts; it goes on at {at}"),
                None => write!(f, "freeze {name} lasts, and no window opens after it"),
            },
            Self::Unmanaged => f.write_str("the config no longer names the key, or its provider"),
            Self::Observing => f.write_str(
                "rekeyd only observes, for another may run on this state, elsewhere or here; where this is the one to \
                 run: rekeyd resume --all",
            ),
            Self::Config => f.write_str("the config on disk is broken; the last good one is in use and begins nothing"),
        }
    }
}

fn known(at: Timestamp) -> Option<Timestamp> {
    (at != Timestamp::NEVER).then_some(at)
}

/// What a provider lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    /// The keys, in the provider's order.
    pub keys: Vec<Found>,
    /// Whether the list may be cut short. A truncated list is no answer to "is it absent?".
    pub truncated: bool,
}

/// A key that was found at the provider.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The attempt that its name carries.
    pub token: Option<Token>,
    /// The provider's handle.
    pub id: Option<String>,
    /// The secret's fingerprint, where the provider shows it.
    pub fingerprint: Option<Fingerprint>,
    /// Whether the provider has it enabled.
    pub enabled: bool,
    /// Until when it is valid, where stated.
    pub valid_from: Option<Timestamp>,
    /// Until when it is valid, where stated.
    pub valid_to: Option<Timestamp>,
    /// Whether the provider accepts it, where it was asked.
    pub probe: Option<Probe>,
}

/// What the provider says to a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Probe {
    /// It accepts it.
    Alive,
    /// It refuses it.
    Dead,
    /// It could not be asked, or its answer says nothing about the key.
    Inconclusive,
}

/// What a target holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Content {
    /// Nothing: it does not exist, or is empty.
    Absent,
    /// Something that is no key in the target's format.
    Damaged,
    /// This secret, in exactly the form that we would write (content, mode, owner).
    Holds(Fingerprint),
    /// This secret, but mode, owner or wrapping differ from what we would write.
    Askew(Fingerprint),
    /// It can't be looked at.
    Unreadable(String),
}

/// One effect, for the edges to perform. Each is safe to repeat.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Issue a new key under this token.
    Create {
        /// The attempt; already durable.
        token: Token,
        /// Until when it is asked to be valid.
        valid_to: Option<Timestamp>,
    },
    /// Bring this version to this target, then run its `then`.
    Deliver {
        /// Where.
        target: TargetId,
        /// Which.
        version: VersionNo,
    },
    /// Ask the consumer behind this target whether it works with this version.
    Confirm {
        /// Where.
        target: TargetId,
        /// Which.
        version: VersionNo,
    },
    /// Make the provider refuse this key.
    Revoke(Revoke),
    /// Remove what this target holds of a key that is out of service.
    Empty {
        /// Where.
        target: TargetId,
    },
}

/// For the log.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { .. } => f.write_str("create"),
            Self::Deliver { target, version } => write!(f, "deliver version {version} to {target}"),
            Self::Confirm { target, version } => write!(f, "confirm version {version} at {target}"),
            Self::Revoke(revoke) => write!(f, "revoke {} at {}", revoke.id, revoke.account),
            Self::Empty { target } => write!(f, "empty {target}"),
        }
    }
}

/// A key to be revoked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revoke {
    /// The only account where it may be done.
    pub account: AccountId,
    /// The provider's handle; never empty.
    pub id: String,
    /// Whether it is a version of ours, or a lost one that we found.
    pub what: Revokee,
}

/// What a revoked key was to us.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Revokee {
    /// A version on the books.
    Version(VersionNo),
    /// A key that one of our creates left behind.
    Orphan(Token),
}

/// What came of one action.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The create's bytes certainly never left.
    NotSent(String),
    /// The provider refused the create: certainly no key was made.
    Refused(Refusal),
    /// The provider issued this key, and `secret` is sealed in the same commit.
    Created(Found),
    /// The provider answered with all keys of the account; each element that the account does not know was probed.
    AnsweredAll(Vec<Found>),
    /// The create was answered with success, but the answer can't be read. Its raw bytes are in the escrow.
    Unreadable(String),
    /// Nobody knows what came of the create.
    Unknown(String),
    /// The target holds the version for good, and its `then` succeeded.
    Delivered {
        /// How long it took, in milliseconds.
        ms: u64,
    },
    /// The target holds the version, and a part of its `then` is done: this, which is not done again for the version. The rest
    /// failed, and why.
    PartlyDelivered {
        /// Why.
        why: String,
        /// What is done, as the target calls it.
        done: BTreeSet<String>,
    },
    /// The consumer works with the version.
    Confirmed,
    /// The provider refuses the key from now on, or does not have it.
    Revoked,
    /// The target holds nothing any more.
    Emptied,
    /// The target can't be emptied from here, and why. Trying again would not help.
    Left(String),
    /// The action failed, and may be tried again.
    Failed(String),
}

/// A create that the provider refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The kind of refusal.
    pub why: RefusalKind,
    /// When it may be tried again, where the provider says so.
    pub retry_after: Option<Timestamp>,
    /// For people: the status and the provider's code, never its body.
    pub message: String,
}

/// Why a provider refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefusalKind {
    /// The login (401, 403).
    Login,
    /// Too many requests (429).
    Throttled,
    /// The request itself (other 4xx).
    Request,
}

//! The places that keys are delivered to. One file for each kind; to add one, write its file, then add its `mod` line and
//! its row in [`KINDS`]. A target is mechanism: no retry, no clock, no notice, no decision.
mod age;
mod credential;
mod env;
mod exec;
mod file;
mod format;
mod hook;
mod identity;
mod journal;
mod place;
mod unit;
mod webhook;

pub use credential::ADDRESS_BYTES;

use crate::command::{Argv, CommandError, Run, Veil};
use crate::core::facts::Content;
use crate::core::names::{KeyName, TargetId};
use crate::core::policy::Reach;
use crate::core::reader::{self, Reader};
use crate::core::record::{Version, VersionNo};
use crate::core::time::Timestamp;
use crate::secret::Secret;
use async_trait::async_trait;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use toml::de::ValueDeserializer;

/// Every kind of target.
pub const KINDS: &[Kind] = &[
    Kind { name: "file", parse: parse::<file::KeyFile> },
    Kind { name: "exec", parse: parse::<exec::Exec> },
    Kind { name: "webhook", parse: parse::<webhook::Webhook> },
    Kind { name: "credential", parse: parse::<credential::Credential> },
];

/// A kind of target.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What stands in the config as `kind`.
    pub name: &'static str,
    /// Reads one `[[keys.NAME.deliver]]` without its `kind`. Errors name their place in the file.
    pub parse: for<'a> fn(ValueDeserializer<'a>) -> Parsed,
}

/// A target as the config states it, or what is wrong with it.
pub type Parsed = Result<Arc<dyn Target>, toml::de::Error>;

fn parse<T: Target + DeserializeOwned + 'static>(from: ValueDeserializer<'_>) -> Parsed {
    Ok(Arc::new(T::deserialize(from)?))
}

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
    /// What else consumers must not be quoted with.
    pub veil: Veil,
    /// What `then` has done already for this version, see [`Undelivered::done`].
    pub done: BTreeSet<String>,
    /// Until when it is valid, if known.
    pub valid_to: Option<Timestamp>,
    /// When it came to us.
    pub obtained_at: Timestamp,
}

impl Parcel {
    /// A version with its secret.
    pub fn of(name: &KeyName, provider: &str, version: &Version, secret: Secret) -> Self {
        Self {
            name: name.clone(),
            provider: provider.to_owned(),
            version: version.number,
            secret,
            veil: Veil::default(),
            done: BTreeSet::new(),
            valid_to: version.valid_to,
            obtained_at: version.obtained_at,
        }
    }

    /// A command that gets the secret on stdin.
    fn feed_to<'a>(&'a self, argv: &'a Argv, limit: Duration) -> Run<'a> {
        Run { stdin: Some(&self.secret), ..self.tell_of(argv, limit) }
    }

    /// A command that learns the key's name, version and end of validity from its environment, but not the secret.
    fn tell_of<'a>(&'a self, argv: &'a Argv, limit: Duration) -> Run<'a> {
        let env = vec![
            ("REKEYD_KEY_NAME", self.name.to_string()),
            ("REKEYD_VERSION", self.version.to_string()),
            ("REKEYD_VALID_TO", self.valid_to.map(|it| it.to_string()).unwrap_or_default()),
        ];
        Run { argv, limit, env, stdin: None, hidden: vec![&self.secret], veil: self.veil.clone() }
    }
}

/// Why a delivery failed: a sentence for people, with the exit code and the last lines of stderr where there are any.
/// Never a byte of the secret.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct DeliveryError(pub String);

impl From<CommandError> for DeliveryError {
    fn from(error: CommandError) -> Self {
        Self(error.to_string())
    }
}

/// A delivery that failed, all of it or a part.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{why}")]
pub struct Undelivered {
    /// Why.
    pub why: DeliveryError,
    /// What of `then` is done for this version, such as `restart shop.service`: it is not done again when the rest is tried.
    pub done: BTreeSet<String>,
}

impl From<DeliveryError> for Undelivered {
    fn from(why: DeliveryError) -> Self {
        Self { why, done: BTreeSet::new() }
    }
}

/// What the service's unit must allow for a target to work.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Needs {
    /// Folders that are written to (`ReadWritePaths=`).
    pub folders: Vec<PathBuf>,
    /// Groups that files are given to (`SupplementaryGroups=`).
    pub groups: Vec<String>,
    /// Whether files are given to other users (`AmbientCapabilities=CAP_CHOWN`).
    pub chown: bool,
    /// What is done to which units (a polkit rule): `restart` or `reload`, and the unit.
    pub verbs: Vec<(&'static str, String)>,
}

/// What came of emptying a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Emptied {
    /// Nothing is there any more.
    Yes,
    /// Something may be there, which can't be taken away from here: why.
    No(&'static str),
}

/// Takes a key that is out of service away from a place. The config names that place no more, so that nothing is known of
/// it but its identity, and the secrets that it may hold: what visibly holds none of `ours` is left alone.
///
/// # Errors
/// Where it failed, and may be tried again.
pub async fn empty(place: &TargetId, ours: Vec<Secret>) -> Result<Emptied, DeliveryError> {
    match place.as_str().split_once(':') {
        Some(("file", path)) => file::empty(path, ours).await,
        Some((reader::KIND, _)) => Ok(Emptied::No("a unit keeps what it was started with until it is stopped")),
        _ => Ok(Emptied::No("rekeyd can only bring a key there, not take it away")),
    }
}

/// One `[[keys.NAME.deliver]]`.
#[async_trait]
pub trait Target: fmt::Debug + Send + Sync {
    /// Its identity: kind and address.
    fn id(&self) -> TargetId;

    /// The file that it writes, where it writes one: two keys must never meet there, however the path is spelt.
    fn path(&self) -> Option<&Path> {
        None
    }

    /// Who brings the key, and whether the content can be read back.
    fn reach(&self) -> Reach;

    /// The units that fetch the key from it, where they do.
    fn readers(&self) -> Vec<Reader> {
        Vec::new()
    }

    /// Whether it has a `confirm`.
    fn confirms(&self) -> bool {
        false
    }

    /// What the service's unit must allow for it.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Looks at what it holds. `known` are versions of ours, to compare with where the format can't be read back.
    async fn observe(&self, known: &[Parcel]) -> Content;

    /// Takes out the secret that it holds, ours or not, to probe it or to adopt it; none where there is none, or where the
    /// format does not let it be read back.
    ///
    /// # Errors
    /// Where it can't be looked at.
    async fn read(&self) -> Result<Option<Secret>, DeliveryError> {
        Ok(None)
    }

    /// Says whether a delivery could be carried through now (the folder exists and can be written, the command exists).
    ///
    /// # Errors
    /// Why not.
    async fn preflight(&self) -> Result<(), DeliveryError>;

    /// Brings the key there, durably, then runs `then`. Safe to repeat: what is in place already is not written again,
    /// but `then` runs, less what the parcel says is done.
    async fn deliver(&self, parcel: &Parcel) -> Result<(), Undelivered>;

    /// Asks the consumer whether it works with the key.
    async fn confirm(&self, _parcel: &Parcel) -> Result<(), DeliveryError> {
        Ok(())
    }
}

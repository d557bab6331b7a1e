//! What the control socket answers where it refuses: `application/problem+json` (RFC 9457). Every `type` is listed here.
use super::adopt;
use crate::config;
use crate::core::plan::CommandRefused;
use crate::engine::handle::{Observing, Refused, Stopped};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $uri:literal, $status:literal, $title:literal;)+) => {
        /// What kind of problem it is. Closed: scripts compare the URIs.
        #[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
        pub enum Kind { $($(#[$doc])* #[serde(rename = $uri)] $variant),+ }
        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The HTTP status that goes with it.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }
            /// What it is, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }
        }
    };
}

kinds! {
    /// The request can't be understood.
    BadRequest = "urn:rekeyd:problem:bad-request", 400, "the request can't be understood";
    /// The caller may not do this.
    NotPermitted = "urn:rekeyd:problem:not-permitted", 403, "not permitted";
    /// There is no such path.
    NoSuchPath = "urn:rekeyd:problem:no-such-path", 404, "no such path";
    /// There is no such key.
    NoSuchKey = "urn:rekeyd:problem:no-such-key", 404, "no such key";
    /// There is no such owner.
    NoSuchOwner = "urn:rekeyd:problem:no-such-owner", 404, "no such owner";
    /// The path does not know this method.
    Method = "urn:rekeyd:problem:method", 405, "this path does not know this method";
    /// The verb has no sense in this phase.
    Phase = "urn:rekeyd:problem:phase", 409, "not possible in this phase";
    /// The key is not adopted yet.
    Unadopted = "urn:rekeyd:problem:unadopted", 409, "the key is not adopted";
    /// Only a human can get a new key, and none was given.
    NoKeyGiven = "urn:rekeyd:problem:no-key-given", 409, "the key is replaced by hand";
    /// The provider is asked for new keys.
    IssuedByProvider = "urn:rekeyd:problem:issued-by-provider", 409, "the provider issues its keys itself";
    /// Consumers would be left without a working key.
    OldKeyEnding = "urn:rekeyd:problem:old-key-ending", 409, "consumers would be left without a working key";
    /// There is no old version that could become current again.
    NoPrevious = "urn:rekeyd:problem:no-previous", 409, "there is no previous version to go back to";
    /// The config still names the key.
    Managed = "urn:rekeyd:problem:managed", 409, "the config still names the key";
    /// A key of it may still be accepted by the provider.
    MayLive = "urn:rekeyd:problem:may-live", 409, "a version of it may still be valid";
    /// There is nothing to reveal.
    NoVersion = "urn:rekeyd:problem:no-version", 409, "there is no version yet";
    /// The config no longer names the key.
    Unmanaged = "urn:rekeyd:problem:unmanaged", 409, "the config no longer names the key";
    /// The state came from another machine.
    Observing = "urn:rekeyd:problem:observing", 409, "the daemon only observes";
    /// The new config would do harm.
    ConfigRefused = "urn:rekeyd:problem:config-refused", 409, "the new config was refused";
    /// The body is too large.
    TooLarge = "urn:rekeyd:problem:too-large", 413, "the body is too large";
    /// The config on disk has faults.
    ConfigFaults = "urn:rekeyd:problem:config-faults", 422, "the config has faults";
    /// The provider calls the key dead.
    KeyDead = "urn:rekeyd:problem:key-dead", 422, "the provider refuses this key";
    /// The key could not be checked.
    KeyUnverified = "urn:rekeyd:problem:key-unverified", 422, "the key could not be verified";
    /// The new key is one that was there before.
    NotNew = "urn:rekeyd:problem:not-new", 422, "this is no new key";
    /// A target holds another value.
    TargetHolds = "urn:rekeyd:problem:target-holds", 422, "a target holds another value";
    /// None of the key's targets holds a key.
    NothingInTargets = "urn:rekeyd:problem:nothing-in-targets", 422, "no target holds a key";
    /// The key's targets hold different keys.
    TargetsDiffer = "urn:rekeyd:problem:targets-differ", 422, "the targets hold different keys";
    /// What a target holds can't be seen.
    TargetUnreadable = "urn:rekeyd:problem:target-unreadable", 422, "a target can't be read";
    /// The id is another key's, or can't be checked.
    KeyId = "urn:rekeyd:problem:key-id", 422, "the key's id is missing or wrong";
    /// What was said of the key's dates makes no sense.
    KeyDates = "urn:rekeyd:problem:key-dates", 422, "the key's dates are missing or wrong";
    /// The daemon itself failed.
    Internal = "urn:rekeyd:problem:internal", 500, "the daemon failed";
    /// The daemon is stopping.
    Stopping = "urn:rekeyd:problem:stopping", 503, "the daemon is stopping";
    /// Too many requests at once.
    Busy = "urn:rekeyd:problem:busy", 503, "too many requests at once";
    /// The state can't be written.
    Store = "urn:rekeyd:problem:store", 503, "the state can't be written";
    /// The engine did not answer in time.
    NoAnswer = "urn:rekeyd:problem:no-answer", 504, "the engine did not answer in time";
}

/// A refusal, as it travels.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// The kind, a URI.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The kind, in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is the matter this time: a sentence for people, never a secret.
    pub detail: String,
    /// The command or the change that helps, where there is one.
    pub remedy: Option<String>,
    /// The faults of a config, where that is the matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// One fault of a config, as `check --json` shows it too.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// In which file.
    pub file: String,
    /// In which line, from 1.
    pub line: usize,
    /// In which column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            remedy: None,
            faults: Vec::new(),
        }
    }

    /// With the command or the change that helps.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// A config that can't be used.
    pub fn config(faults: Vec<Fault>) -> Self {
        let detail = format!("the config on disk has {} fault(s) and is not used", faults.len());
        Self { faults, ..Self::new(Kind::ConfigFaults, detail).remedy("rekeyd check") }
    }

    /// What is the matter, with the first fault where there are some.
    pub fn with_first_fault(&self) -> String {
        let first = self.faults.first().map_or(String::new(), |it| format!(": {it}"));
        format!("{}{first}", self.detail)
    }

    /// What the engine refused, said of the key called `name`.
    pub fn refused(name: &str, refused: &Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::Adopt(why) => adopt::problem(name, why),
            Refused::NoMatch { .. } => Self::new(Kind::NoSuchKey, detail).remedy("rekeyd status"),
            Refused::Command(why) => Self::command(name, why.clone()),
            Refused::Store(_) | Refused::Unsaved(_) => {
                Self::new(Kind::Store, detail).remedy("free space beside the state, then try again")
            }
            Refused::NoVersion(_) => Self::new(Kind::NoVersion, detail).remedy(format!("rekeyd adopt {name}")),
            Refused::Observing(why) => {
                let whose = if name.is_empty() { String::new() } else { format!("key {name}: ") };
                let stop = match why {
                    Observing::NewMachine => "where this is the machine to run on",
                    Observing::Twin(_) => "stop the other for good, then",
                };
                Self::new(Kind::Observing, format!("{whose}{detail}")).remedy(format!("{stop}: rekeyd resume --all"))
            }
            Refused::NoDeadLetters => Self::new(Kind::Phase, detail).remedy("rekeyd history"),
            Refused::Config(_) => Self::new(Kind::ConfigRefused, detail).remedy("rekeyd check"),
        }
    }

    /// There is no key called `name`.
    pub fn no_such_key(name: &str) -> Self {
        Self::new(Kind::NoSuchKey, format!("there is no key {name}")).remedy("rekeyd status")
    }

    fn command(name: &str, why: CommandRefused) -> Self {
        let detail = format!("key {name}: {why}");
        let (status, resume) = (format!("rekeyd status {name}"), format!("rekeyd resume {name}"));
        let adopt = format!("rekeyd adopt {name} --unverified");
        let insist = format!("check the key, or insist: {adopt} --from-target, or: {adopt} < FILE");
        match why {
            CommandRefused::Phase => Self::new(Kind::Phase, detail).remedy(status),
            CommandRefused::Dead => Self::new(Kind::KeyDead, detail).remedy(insist),
            CommandRefused::Unverified => Self::new(Kind::KeyUnverified, detail).remedy(insist),
            CommandRefused::OldKeyEnding
            | CommandRefused::OldKeyDead
            | CommandRefused::OldKeyReplaced
            | CommandRefused::OldKeyInDoubt
            | CommandRefused::NewKeyInUse
            | CommandRefused::FirstKey => Self::new(Kind::OldKeyEnding, detail).remedy(resume),
            CommandRefused::BeingRevoked => Self::new(Kind::OldKeyEnding, detail)
                .remedy(format!("adopt another key, or create a new one: rekeyd rotate --now {name}")),
            CommandRefused::TargetHolds(_) => {
                Self::new(Kind::TargetHolds, detail).remedy(format!("rekeyd adopt {name} --deliver < FILE"))
            }
            CommandRefused::Unadopted => {
                Self::new(Kind::Unadopted, detail).remedy(format!("rekeyd adopt {name} --from-target"))
            }
            CommandRefused::NoKeyGiven => {
                let remedy = format!("get a new key in the provider's portal, then: rekeyd rotate {name} < FILE");
                Self::new(Kind::NoKeyGiven, detail).remedy(remedy)
            }
            CommandRefused::IssuedByProvider => Self::new(Kind::IssuedByProvider, detail)
                .remedy(format!("rekeyd rotate {name}, or rekeyd adopt {name}")),
            CommandRefused::NotNew(_) => {
                Self::new(Kind::NotNew, detail).remedy("get a new key in the provider's portal, and give that")
            }
            CommandRefused::Halted | CommandRefused::Paused => Self::new(Kind::Phase, detail).remedy(resume),
            CommandRefused::Undecided(why) => {
                let kind = Self::command(name, *why).kind;
                Self::new(kind, detail).remedy(format!("{resume}, or what else {status} names"))
            }
            CommandRefused::RotationToItsEnd => {
                Self::new(Kind::Phase, detail).remedy(format!("wait for its end: {status}"))
            }
            CommandRefused::RotationUnderWay => {
                let remedy = format!("wait for its end, or give it up: rekeyd abandon {name}");
                Self::new(Kind::Phase, detail).remedy(remedy)
            }
            CommandRefused::NoPrevious | CommandRefused::OldKeysEnd | CommandRefused::PreviousEnding => {
                Self::new(Kind::NoPrevious, detail).remedy(format!("create a new key: rekeyd rotate --now {name}"))
            }
            CommandRefused::PreviousUnknown => {
                let remedy = format!("set `probe` of its provider, or hand the old key over: {adopt} < FILE");
                Self::new(Kind::NoPrevious, detail).remedy(remedy)
            }
            CommandRefused::NothingPending | CommandRefused::NothingFiring | CommandRefused::NothingToRevoke => {
                Self::new(Kind::Phase, detail).remedy(status)
            }
            CommandRefused::Managed => {
                let remedy = format!("remove [keys.{name}] from the config, then rekeyd reload");
                Self::new(Kind::Managed, detail).remedy(remedy)
            }
            CommandRefused::Unmanaged => {
                let remedy =
                    format!("put [keys.{name}] back into the config, or take it out of service: rekeyd retire {name}");
                Self::new(Kind::Unmanaged, detail).remedy(remedy)
            }
            CommandRefused::MayLive(_) | CommandRefused::OpenCreate => {
                Self::new(Kind::MayLive, detail).remedy(format!("rekeyd retire {name}"))
            }
        }
    }
}

impl From<Stopped> for Problem {
    fn from(stopped: Stopped) -> Self {
        Self::new(Kind::Stopping, stopped.to_string()).remedy("try again when it has started: systemctl status rekeyd")
    }
}

impl From<config::Fault> for Fault {
    fn from(it: config::Fault) -> Self {
        let file = it.file.display().to_string();
        Self { file, line: it.line, column: it.column, message: it.message, hint: it.hint }
    }
}

/// `file:line:column: message (hint)`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |it| write!(f, " ({it})"))
    }
}

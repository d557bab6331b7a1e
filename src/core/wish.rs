//! What is asked of a key, by whom, and why: to rotate, or to be left alone.
use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What set a rotation off.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// It was due.
    Schedule,
    /// An operator asked for it.
    Operator,
    /// Somebody else changed the key.
    Drift,
    /// No window was left before expiry.
    Expiry,
}

/// Who did it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The user id at the control socket.
    pub uid: u32,
    /// The user who logged in, if known.
    pub login_uid: Option<u32>,
    /// The name of that user, if known.
    pub user: Option<String>,
}

impl Actor {
    /// The name of that user, or else a number.
    pub fn name(&self) -> String {
        self.user.clone().unwrap_or_else(|| format!("uid {}", self.uid))
    }
}

/// An operator holds the key back: nothing is begun or revoked. See `Record::is_paused`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Since when.
    pub since: Timestamp,
    /// It ends by itself then; else by `resume` alone.
    pub until: Option<Timestamp>,
    /// The reason given.
    pub reason: Option<String>,
    /// Who.
    pub actor: Option<Actor>,
}

/// An operator's wish to rotate, until a rotation takes it up.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// What set it off.
    pub trigger: Trigger,
    /// Who.
    pub actor: Option<Actor>,
    /// The reason given.
    pub reason: Option<String>,
    /// Wait for no window.
    pub now: bool,
    /// No overlap either: the old key is in wrong hands.
    pub compromised: bool,
}

impl Wish {
    /// No window and no freeze is waited for.
    pub fn waits_for_nothing(&self) -> bool {
        self.now || self.compromised
    }

    /// Nobody is told before: there is no time for it, or somebody else has changed the key already.
    pub fn is_unannounced(&self) -> bool {
        self.waits_for_nothing() || self.trigger == Trigger::Drift
    }
}

impl Pause {
    /// Until when it lasts: [`Timestamp::NEVER`] where only `resume` ends it.
    pub fn ends(&self) -> Timestamp {
        self.until.unwrap_or(Timestamp::NEVER)
    }
}

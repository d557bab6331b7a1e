//! One door, with why it is shut: what is refused, what is slowed down, what does not answer.
use super::News;
use crate::core::facts::Blocked;
use crate::core::login::{LOGIN_AGAIN, RefusedLogin};
use crate::core::names::KeyName;
use crate::core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// The shortest wait before a provider that asked to slow down is asked again.
const SHORTEST: Duration = Duration::from_secs(1);

/// With what a provider was asked. What refuses a create may still answer to a read.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::engine) enum Asked {
    /// A list, or the current key.
    Read,
    /// A create.
    Create,
    /// A revocation.
    Revoke,
}

#[derive(Debug, Default)]
pub(super) struct Door {
    /// Whether the provider has answered since the start. Until then one key asks for all.
    pub(super) answered: bool,
    /// That it refuses our login.
    pub(super) refused: Option<Refused>,
    /// That it does not answer, or asks to slow down.
    pub(super) shut: Option<Shut>,
    /// The key that asks for all.
    pub(super) scout: Option<KeyName>,
    /// Keys that were sent away meanwhile.
    pub(super) waiting: BTreeSet<KeyName>,
    /// That it refuses to revoke with our login.
    pub(super) unrevoking: Option<Unrevoking>,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refused {
    /// By which call.
    pub(super) asked: Asked,
    pub(super) login: RefusedLogin,
}

#[derive(Debug)]
pub(super) struct Unrevoking {
    pub(super) login: RefusedLogin,
    /// The key that tries for all.
    pub(super) scout: Option<KeyName>,
}

#[derive(Clone, Debug)]
pub(super) struct Shut {
    pub(super) why: Blocked,
    /// By which call.
    pub(super) asked: Asked,
    pub(super) since: Timestamp,
    /// Refusals in a row.
    pub(super) tries: u32,
    pub(super) last_at: Timestamp,
    pub(super) again_at: Timestamp,
}

/// What is durable of a door: that our login is refused there.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::engine) struct Kept {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<Refused>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unrevoking: Option<RefusedLogin>,
}

impl Kept {
    /// What told the logins from others tells nothing any more.
    pub(in crate::engine) fn without_stamps(mut self) -> Self {
        let refused = self.refused.as_mut().map(|it| &mut it.login);
        refused.into_iter().chain(&mut self.unrevoking).for_each(|it| it.login = None);
        self
    }
}

impl Door {
    /// Why every key is kept out, and until when. A provider that can't be reached is each key's own matter: it may have to
    /// find out at once what came of a create.
    pub(super) fn held(&self) -> Option<(Blocked, Timestamp)> {
        let slowed = self.shut.as_ref().filter(|it| it.holds());
        match (&self.refused, slowed) {
            (Some(refused), slowed) => {
                let at = refused.login.again_at;
                Some((Blocked::Login, slowed.map_or(at, |it| it.again_at.max(at))))
            }
            (None, slowed) => slowed.map(|it| (it.why.clone(), it.again_at)),
        }
    }

    /// When one of those who wait is to ask; `None` where nobody waits, or one asks already.
    pub(super) fn asks_at(&self) -> Option<Timestamp> {
        let (_, at) = self.held()?;
        (self.scout.is_none() && !self.waiting.is_empty()).then_some(at)
    }

    pub(super) fn logins(&mut self) -> impl Iterator<Item = &mut RefusedLogin> {
        let refused = self.refused.as_mut().map(|it| &mut it.login);
        refused.into_iter().chain(self.unrevoking.as_mut().map(|it| &mut it.login))
    }

    /// Says for the how-manieth time in a row it was refused.
    pub(super) fn refuse_login(&mut self, asked: Asked, now: Timestamp) -> u32 {
        match &mut self.refused {
            Some(it) => {
                let before = it.login.tries;
                it.login.refused(now);
                it.asked = if it.login.tries > before { asked } else { it.asked.max(asked) };
                it.login.tries
            }
            None => {
                self.refused = Some(Refused { asked, login: RefusedLogin::first(now) });
                1
            }
        }
    }

    pub(super) fn refuse(&mut self, why: &Blocked, asked: Asked, now: Timestamp) -> News {
        let known = self.shut.as_ref().filter(|it| it.why.code() == why.code());
        // Calls that were under way together are refused together: that is one refusal.
        if let Some(shut) = known.filter(|it| it.holds() && now < it.again_at) {
            let why = shut.why.clone();
            return News::Refused(shut.tries, why);
        }
        let (since, before) = known.map_or((now, 0), |it| (it.since, it.tries));
        let tries = before.saturating_add(1);
        let again_at = match why {
            Blocked::Throttled(at) => (*at).max(now.plus(SHORTEST)),
            _ => now,
        };
        self.shut = Some(Shut { why: why.clone(), asked, since, tries, last_at: now, again_at });
        News::Refused(tries, why.clone())
    }
}

impl Shut {
    /// Whether it keeps every key out.
    pub(super) fn holds(&self) -> bool {
        matches!(self.why, Blocked::Throttled(_))
    }

    /// Whether an answer to this call shows that the door is open again.
    pub(super) fn opens(&self, asked: Asked, now: Timestamp) -> bool {
        !self.holds() || is_stronger(self.asked, asked) || self.last_at.plus(2 * LOGIN_AGAIN) <= now
    }
}

impl Refused {
    /// Whether an answer to this call shows that our login is accepted again. A create that was refused is not made good by a
    /// read, unless no create has been refused for long.
    pub(super) fn opens(&self, asked: Asked, now: Timestamp) -> bool {
        is_stronger(self.asked, asked) || self.login.last_at.plus(2 * LOGIN_AGAIN) <= now
    }
}

fn is_stronger(refused: Asked, answered: Asked) -> bool {
    refused != Asked::Create || answered == Asked::Create
}

//! A provider together with what authorises its calls and what the key asks of it.
use super::meters::{Calls, call_result, create_result, probe_result};
use crate::core::apply::THROTTLED;
use crate::core::facts::{Blocked, Probe, RefusalKind};
use crate::core::names::{AccountId, Fingerprint, Token};
use crate::core::time::Timestamp;
use crate::providers::{
    Auth, CallError, CreateError, CreateOptions, CreateRequest, Issued, Listing, Provider, Raw, UsedLogin,
};
use crate::secret::Secret;
use std::sync::Arc;

/// How to speak with the provider of one key.
#[derive(Clone)]
pub struct Service {
    /// The account that it speaks for.
    pub account: AccountId,
    /// The section of the config that it is.
    pub section: String,
    /// The provider.
    pub provider: Arc<dyn Provider>,
    /// The key's `create` table.
    pub create: Arc<dyn CreateOptions>,
    /// Where a managed key authorises the calls: its versions, the current one first. A refused one is followed by the
    /// next, so that a key that authorises its own rotation can't lock itself out.
    pub logins: Vec<Secret>,
    /// Counts what is asked.
    pub calls: Calls,
    /// With which login of the provider's settings the last call went.
    pub used: UsedLogin,
}

impl Service {
    /// Sends a create.
    ///
    /// # Errors
    /// Where no accepted answer came.
    pub async fn create(&self, token: &Token, valid_to: Option<Timestamp>) -> Result<Raw, CreateError> {
        let ask = CreateRequest { token, create: self.create.as_ref(), valid_to };
        let mut last = CreateError::NotSent("the key that authorises the call has no version yet".into());
        for auth in self.auths() {
            fail_point!(CreateBegins);
            let answer = self.provider.create(&auth, &ask).await;
            fail_point!(CreateEnds);
            self.calls.add(&self.section, "create", create_result(&answer));
            last = match answer {
                // A refused login certainly made no key, so that the next one may be tried.
                Err(CreateError::Refused(it)) if it.why == RefusalKind::Login => CreateError::Refused(it),
                other => return other,
            };
        }
        Err(last)
    }

    /// Lists the provider's keys.
    ///
    /// # Errors
    /// Where no usable answer came.
    pub async fn list(&self) -> Result<Listing, CallError> {
        let mut last = no_login();
        for auth in self.auths() {
            fail_point!(ListBegins);
            let answer = self.provider.list(&auth, self.create.as_ref()).await;
            fail_point!(ListEnds);
            self.calls.add(&self.section, "list", call_result(&answer));
            last = match answer {
                Err(error) if is_login(&error) => error,
                other => return other,
            };
        }
        Err(last)
    }

    /// Lists all keys that the account shows.
    ///
    /// # Errors
    /// Where no usable answer came.
    pub async fn inventory(&self) -> Result<Listing, CallError> {
        let mut last = no_login();
        for auth in self.auths() {
            fail_point!(InventoryBegins);
            let answer = self.provider.inventory(&auth).await;
            fail_point!(InventoryEnds);
            last = match answer {
                Err(error) if is_login(&error) => error,
                other => return other,
            };
        }
        Err(last)
    }

    /// Reads the account's one current key.
    ///
    /// # Errors
    /// Where no usable answer came.
    pub async fn read(&self) -> Result<Issued, CallError> {
        let mut last = no_login();
        for auth in self.auths() {
            fail_point!(ReadBegins);
            let answer = self.provider.read(&auth).await;
            fail_point!(ReadEnds);
            self.calls.add(&self.section, "read", call_result(&answer));
            last = match answer {
                Err(error) if is_login(&error) => error,
                other => return other,
            };
        }
        Err(last)
    }

    /// Asks whether a key is accepted.
    pub async fn probe(&self, secret: &Secret) -> Probe {
        fail_point!(ProbeBegins);
        let (answer, seen) = self.provider.probe(secret).await;
        fail_point!(ProbeEnds);
        self.calls.add(&self.section, "probe", probe_result(answer));
        tracing::debug!(account = %self.account, fingerprint = %secret.fingerprint(), ?answer, seen, "probed");
        answer
    }

    /// Makes the provider refuse a key.
    ///
    /// # Errors
    /// Where it did not say that it does.
    pub async fn revoke(&self, id: &str) -> Result<(), CallError> {
        let mut last = no_login();
        for auth in self.auths() {
            fail_point!(RevokeBegins);
            let answer = self.provider.revoke(&auth, id).await;
            fail_point!(RevokeEnds);
            self.calls.add(&self.section, "revoke", call_result(&answer));
            last = match answer {
                Err(error) if is_login(&error) => error,
                other => return other,
            };
        }
        Err(last)
    }

    /// Tells the key that authorises the calls from others, where a key does: it is among those that the account lists.
    pub fn login(&self) -> Option<Fingerprint> {
        let managed = self.logins.first().map(Secret::fingerprint);
        managed.or_else(|| self.provider.login_key())
    }

    fn auths(&self) -> Vec<Auth> {
        if self.provider.authorised_by().is_none() {
            return vec![Auth { key: None, used: self.used.clone() }];
        }
        self.logins.iter().map(|it| Auth { key: Some(it.clone()), used: self.used.clone() }).collect()
    }
}

/// What a call that failed at `now` says of the provider.
pub fn blocked_by(error: &CallError, now: Timestamp) -> Blocked {
    match error {
        CallError::Unreachable(why) => Blocked::Provider(why.clone()),
        CallError::Refused(it) => match (it.why, it.retry_after) {
            (RefusalKind::Login, _) => Blocked::Login,
            (RefusalKind::Throttled, at) => Blocked::Throttled(at.unwrap_or(now.plus(THROTTLED))),
            _ => Blocked::Provider(it.message.clone()),
        },
    }
}

fn no_login() -> CallError {
    CallError::Unreachable("the key that authorises the call has no version yet; run `rekeyd adopt` for it".into())
}

fn is_login(error: &CallError) -> bool {
    matches!(error, CallError::Refused(it) if it.why == RefusalKind::Login)
}

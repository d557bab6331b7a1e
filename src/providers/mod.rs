//! The key-issuing services. One file for each kind; to add one, write its file, then add its `mod` line and its row in
//! [`KINDS`]. A provider is mechanism: no retry, no clock, no notice, no decision. It splits a create into `send`, which
//! yields the raw answer, and `parse`, so that the answer can be made durable before anybody looks into it.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod infobip;
mod infobip_2fa;
mod login;
mod loose;
mod manual;
mod mobivate;
mod reply;
mod setting;
mod single_invoice;

use crate::core::facts::{Probe, Refusal};
use crate::core::names::{Fingerprint, KeyName, Token};
use crate::core::policy::Capabilities;
use crate::core::time::Timestamp;
use crate::http::{Client, Dated};
use crate::secret::Secret;
use async_trait::async_trait;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use toml::de::{Error, ValueDeserializer};

/// One kind of provider. Making a provider touches neither the network nor a file; its secrets are read at each call.
#[derive(Debug)]
pub struct Kind {
    /// The word of `kind = "…"`.
    pub name: &'static str,
    /// One sentence for the manual.
    pub about: &'static str,
    /// What it can do with its default settings.
    pub capabilities: Capabilities,
    /// Reads `[providers.NAME]`, without the fields that all kinds share. Faults carry their place in the file.
    pub parse: for<'a> fn(ValueDeserializer<'a>) -> Result<Arc<dyn Provider>, Error>,
    /// The same, with a client whose timeouts aren't the usual ones.
    pub parse_with: for<'a> fn(ValueDeserializer<'a>, Client) -> Result<Arc<dyn Provider>, Error>,
    /// Reads a key's `create = { … }`; an absent one is an empty table.
    pub parse_create: for<'a> fn(ValueDeserializer<'a>) -> Result<Arc<dyn CreateOptions>, Error>,
}

/// All kinds.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "infobip",
        about: "Infobip settings API (POST /settings/1/accounts/{account}/api-keys), in JSON or XML",
        capabilities: infobip::CAPABILITIES,
        parse: |it| infobip::parse(it, Client::default()),
        parse_with: infobip::parse,
        parse_create: infobip::parse_create,
    },
    Kind {
        name: "infobip-2fa",
        about: "Infobip 2FA (POST /2fa/1/api-key), which takes nothing and answers with the bare key",
        capabilities: infobip_2fa::CAPABILITIES,
        parse: |it| infobip_2fa::parse(it, Client::default()),
        parse_with: infobip_2fa::parse,
        parse_create: setting::NoOptions::parse,
    },
    Kind {
        name: "mobivate",
        about: "Mobivate (POST /auth/createkey), where a new key revokes the old one at once",
        capabilities: mobivate::CAPABILITIES,
        parse: |it| mobivate::parse(it, Client::default()),
        parse_with: mobivate::parse,
        parse_create: setting::NoOptions::parse,
    },
    Kind {
        name: "single-invoice",
        about: "Single-Invoice.co (POST /account/key), which answers with all keys of the account",
        capabilities: single_invoice::CAPABILITIES,
        parse: |it| single_invoice::parse(it, Client::default()),
        parse_with: single_invoice::parse,
        parse_create: single_invoice::parse_create,
    },
    Kind {
        name: "manual",
        about: "A service without an API: its keys are got by hand, and rekeyd reminds, delivers and tells",
        capabilities: manual::CAPABILITIES,
        parse: manual::parse,
        parse_with: |it, _| manual::parse(it),
        parse_create: setting::NoOptions::parse,
    },
];

/// What stands between the name that the config gives and the token, in the name that the provider sees.
const NAME_MARK: char = '~';

/// The name under which a provider that knows names sees a key: `<create.name>~<token>`.
pub fn name_at_provider(base_name: &str, token: &Token) -> String {
    format!("{base_name}{NAME_MARK}{token}")
}

/// The attempt that a name at the provider carries. What follows the last `~` counts, so that a key is found again after
/// its `create.name` was changed in the config.
pub fn token_in(name: &str) -> Option<Token> {
    name.rsplit_once(NAME_MARK).and_then(|(_, token)| token.parse().ok())
}

/// A key as a provider's answer shows it.
#[derive(Clone, Debug, Default)]
pub struct Issued {
    /// The secret, where it is shown; a masked value is not one.
    pub secret: Option<Secret>,
    /// The provider's handle, needed to revoke it.
    pub id: Option<String>,
    /// The name it was created under.
    pub name: Option<String>,
    /// Whether the provider accepts it.
    pub enabled: bool,
    /// Since when it is valid.
    pub valid_from: Option<Timestamp>,
    /// Until when it is valid.
    pub valid_to: Option<Timestamp>,
}

/// All keys that a call lists, in the provider's order.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The keys.
    pub keys: Vec<Issued>,
    /// Whether there may be more than these.
    pub truncated: bool,
}

/// What a create call is to ask for.
#[derive(Clone, Debug)]
pub struct CreateRequest<'a> {
    /// The attempt; carried in the key's name where the provider knows names.
    pub token: &'a Token,
    /// The provider-specific `create` table of the key, as its kind parsed it.
    pub create: &'a dyn CreateOptions,
    /// Until when the key is to be valid.
    pub valid_to: Option<Timestamp>,
}

/// The key's own `create = { … }`, as one kind understands it.
pub trait CreateOptions: fmt::Debug + Send + Sync + 'static {
    /// For the kind to get its own type back.
    fn as_any(&self) -> &dyn std::any::Any;
    /// The group of keys that a create belongs to, where the kind has such groups.
    fn package(&self) -> Option<String> {
        None
    }
    /// The restriction that the key is created under (an allow list), as text.
    fn restriction(&self) -> Option<String> {
        None
    }
    /// What the config must not say, in words for the operator; found at load.
    fn fault(&self) -> Option<String> {
        None
    }
}

/// The raw answer of a create call that was accepted (2xx). Its body is a secret as a whole; of one that broke off or is
/// too large it is what came. All formats end themselves, so `parse` notices.
#[derive(Clone, Debug)]
pub struct Raw {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Secret,
}

/// What a create's answer says.
#[derive(Clone, Debug)]
pub enum Created {
    /// This key was made.
    One(Issued),
    /// These are all keys of the account, the new one among them, unmarked.
    All(Vec<Issued>),
}

/// Why a create did not give an accepted answer.
#[derive(Clone, Debug)]
pub enum CreateError {
    /// The bytes certainly never left.
    NotSent(String),
    /// The provider refused: certainly no key was made.
    Refused(Refusal),
    /// Nobody knows what came of it (5xx, 408, 3xx, timeout, reset).
    Unknown(String),
}

/// An accepted answer that can't be understood. The message names what is wrong, never what is there.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// Why a call other than a create failed. Messages carry the status and the provider's code, never a body.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The provider could not be reached or gave no usable answer.
    #[error("{0}")]
    Unreachable(String),
    /// The provider refused.
    #[error("{}", .0.message)]
    Refused(Refusal),
}

/// What authorises a call beside the provider's own settings: the managed key of `apikey = { key = "…" }`.
#[derive(Clone, Debug, Default)]
pub struct Auth {
    /// Its secret.
    pub key: Option<Secret>,
    /// Where the call notes with which login it went.
    pub used: UsedLogin,
}

/// Tells the login of a provider's settings with which a call went last from others: it is read anew for each call, and may be
/// another one by the time of the answer. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct UsedLogin(Arc<Mutex<Option<Fingerprint>>>);

impl UsedLogin {
    /// Notes it.
    pub(crate) fn note(&self, login: Fingerprint) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(login);
    }

    /// The last one; `None` where no call has read one.
    pub fn last(&self) -> Option<Fingerprint> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One section `[providers.NAME]`: a key-issuing service with a login.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// What it can do, as data.
    fn capabilities(&self) -> Capabilities;

    /// The managed key that authorises its calls, if one does.
    fn authorised_by(&self) -> Option<&KeyName> {
        None
    }

    /// Tells the key of its own settings that authorises its calls from other keys, where one does. It is among those
    /// that the account lists, and certainly no new one.
    fn login_key(&self) -> Option<Fingerprint> {
        None
    }

    /// Tells the login that a call would use now from another one. None where it can't be read, or a managed key is it. It
    /// may have to wait for a disk.
    fn login_stamp(&self) -> Option<Fingerprint> {
        self.login_key()
    }

    /// What makes its account the same as another's: base URL and login name (never a secret). None where nobody logs in.
    fn identity(&self) -> Option<String>;

    /// Where a human gets a new key, for a kind that can't be asked for one.
    fn instructions(&self) -> Option<&str> {
        None
    }

    /// Sends a create. The answer is raw, so that it can be made durable before it is parsed.
    async fn create(&self, auth: &Auth, ask: &CreateRequest<'_>) -> Result<Raw, CreateError>;

    /// Reads an accepted answer of a create.
    ///
    /// # Errors
    /// Where the answer is none that the document allows.
    fn parse(&self, raw: &Raw) -> Result<Created, Unreadable>;

    /// Lists the enabled keys whose names carry a token, of whatever key and installation (`ListByName`), or all keys of
    /// the account (`DiffList`).
    async fn list(&self, _auth: &Auth, _create: &dyn CreateOptions) -> Result<Listing, CallError> {
        Err(CallError::Unreachable("this kind of provider has no list call".into()))
    }

    /// Lists all enabled keys that the account shows, whoever made them: to find a key that is to be adopted. Nothing of
    /// that key is in the call.
    async fn inventory(&self, _auth: &Auth) -> Result<Listing, CallError> {
        Err(CallError::Unreachable("this kind of provider has no call that shows its keys".into()))
    }

    /// Reads the account's one current key (`ReadCurrent`).
    async fn read(&self, _auth: &Auth) -> Result<Issued, CallError> {
        Err(CallError::Unreachable("this kind of provider has no read call".into()))
    }

    /// Asks whether a key is accepted. Never fails: what can't be told is inconclusive. The text says what was seen.
    async fn probe(&self, _secret: &Secret) -> (Probe, String) {
        (Probe::Inconclusive, "this provider has no probe".into())
    }

    /// The provider's clock beside ours, as its last answer showed it.
    fn dated(&self) -> Option<Dated> {
        None
    }

    /// Makes the provider refuse the key with this handle. A key that is not there counts as revoked.
    async fn revoke(&self, _auth: &Auth, _id: &str) -> Result<(), CallError> {
        Err(CallError::Unreachable("this kind of provider has no revoke call".into()))
    }
}

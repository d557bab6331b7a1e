//! Infobip settings API, version 1: `POST /settings/1/accounts/{account}/api-keys` with Basic, in JSON or XML. A create
//! keeps the former keys. A key is found again by the token in its name, and revoked by `enabled: false`; there is no
//! delete. Sources: dev.infobip.com, "ApiKey: Create"; Infobip's OpenAPI of the account management.
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod wire;

use super::login::Site;
use super::reply;
use super::setting::{OptionalPath, Password, Username, is_text, segment};
use super::{
    Auth, CallError, CreateError, CreateOptions, CreateRequest, Created, Listing, Provider, Raw, Unreadable,
    name_at_provider, token_in,
};
use crate::core::facts::{Probe, Refusal, RefusalKind};
use crate::core::names::Fingerprint;
use crate::core::policy::{Capabilities, OnCreate, Recover};
use crate::http::{Answer, BaseUrl, Client, Dated, Method, Reply};
use crate::secret::Secret;
use async_trait::async_trait;
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;
use toml::de::{Error, ValueDeserializer};
use wire::{Format, KeyRequest, KeyShown};

const REMEDY: &str =
    "check `username` and `password`, and that the user may manage API keys (Account Manager, Integrations Manager)";
/// How many keys a list call asks for. As many or more in the answer may not be all.
const LIST_KEYS: usize = 1000;
/// How many keys a list call gives by default. As many may mean that the limit we ask for was not obeyed.
const LIST_KEYS_BY_DEFAULT: usize = 40;

/// What it can do with its default settings.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    creates: true,
    on_create: OnCreate::Keeps,
    recover: Recover::ListByName,
    revokes_by_id: true,
    reports_expiry: true,
    probes: true,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default = "base_url")]
    base_url: BaseUrl,
    username: Username,
    password: Password,
    #[serde(default)]
    account_key: AccountKey,
    #[serde(default)]
    format: Format,
    #[serde(default = "probe")]
    probe: OptionalPath,
    #[serde(default, rename = "api")]
    _api: Api,
}

fn base_url() -> BaseUrl {
    BaseUrl::known("https://api.infobip.com")
}

fn probe() -> OptionalPath {
    OptionalPath(Some("/account/1/balance".into()))
}

/// The account, as one encoded part of a path; `_` is the account of the login.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct AccountKey(String);

impl Default for AccountKey {
    fn default() -> Self {
        Self("_".into())
    }
}

impl TryFrom<String> for AccountKey {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let part = segment(&text).filter(|_| is_text(&text));
        part.map(Self).ok_or("write the account's key, or \"_\" for the account of the login")
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "i64")]
struct Api;

impl TryFrom<i64> for Api {
    type Error = &'static str;
    fn try_from(version: i64) -> Result<Self, Self::Error> {
        match version {
            1 => Ok(Self),
            2 => Err("version 2 of the settings API is not supported yet; write api = 1"),
            _ => Err("there is no such version of the settings API; write api = 1"),
        }
    }
}

/// `create = { name = "…", allowed_ips = ["…"], permissions = ["…"] }`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: BaseName,
    #[serde(default)]
    allowed_ips: Vec<Address>,
    #[serde(default)]
    permissions: Vec<Permission>,
}

macro_rules! checked_text {
    ($name:ident, $fits:expr, $fault:literal) => {
        #[derive(Debug, Deserialize)]
        #[serde(try_from = "String")]
        struct $name(String);
        impl TryFrom<String> for $name {
            type Error = &'static str;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                let fits: fn(&str) -> bool = $fits;
                if fits(&text) { Ok(Self(text)) } else { Err($fault) }
            }
        }
    };
}

checked_text!(BaseName, is_text, "a name is 1 to 256 bytes without control characters");
checked_text!(Address, is_address, "write an IP address such as \"192.0.2.10\", or a network such as \"192.0.2.0/24\"");
checked_text!(Permission, is_permission, "a permission is a word in capitals such as \"ALL\" or \"TFA\"");

fn is_address(text: &str) -> bool {
    let (address, length) = text.split_once('/').unwrap_or((text, "0"));
    match address.parse() {
        Ok(IpAddr::V4(_)) => length.parse().is_ok_and(|it: u8| it <= 32),
        Ok(IpAddr::V6(_)) => length.parse().is_ok_and(|it: u8| it <= 128),
        Err(_) => false,
    }
}

fn is_permission(text: &str) -> bool {
    is_text(text) && text.bytes().all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_')
}

impl CreateOptions for Create {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn restriction(&self) -> Option<String> {
        let ips: Vec<&str> = self.allowed_ips.iter().map(|it| it.0.as_str()).collect();
        (!ips.is_empty()).then(|| ips.join(" "))
    }
}

/// Reads `[providers.NAME]`.
pub(super) fn parse(value: ValueDeserializer<'_>, client: Client) -> Result<Arc<dyn Provider>, Error> {
    let Settings { base_url, username, password, probe, account_key, format, _api } = Settings::deserialize(value)?;
    let site = Site { base_url, username, password, probe, client };
    Ok(Arc::new(Infobip { site, account_key, format }))
}

/// Reads `create = { … }`.
pub(super) fn parse_create(value: ValueDeserializer<'_>) -> Result<Arc<dyn CreateOptions>, Error> {
    Ok(Arc::new(Create::deserialize(value)?))
}

#[derive(Debug)]
struct Infobip {
    site: Site,
    account_key: AccountKey,
    format: Format,
}

impl Infobip {
    /// A call to the account's keys; `rest` is what follows `…/api-keys`.
    async fn call(&self, auth: &Auth, method: Method, rest: &str, body: Option<Secret>) -> Result<Reply, String> {
        let path = format!("/settings/1/accounts/{}/api-keys{rest}", self.account_key.0);
        let media_type = self.format.media_type();
        let mut request = self.site.basic(auth, method, &path).await?.header("accept", media_type);
        if let Some(body) = body {
            request = request.body(media_type, body);
        }
        Ok(self.site.client.send(request).await)
    }

    /// All enabled keys of the account. The list call knows a filter by the key itself, and is not asked by it: a secret
    /// in a URL stands in every log on the way.
    async fn enabled_keys(&self, auth: &Auth) -> Result<Listing, CallError> {
        let query = format!("?limit={LIST_KEYS}&enabled=true");
        let reply = self.call(auth, Method::GET, &query, None).await.map_err(CallError::Unreachable)?;
        let answer = reply::called(reply, REMEDY)?;
        let shown = KeyShown::read_list(&answer.body).map_err(|error| reply::odd(&answer, &error))?;
        let truncated = shown.len() >= LIST_KEYS || shown.len() == LIST_KEYS_BY_DEFAULT;
        Ok(Listing { keys: shown.into_iter().map(KeyShown::issued).collect(), truncated })
    }

    /// A call to one key; `None` where the provider does not have it.
    async fn call_one(
        &self,
        auth: &Auth,
        method: Method,
        id: &str,
        body: Option<Secret>,
    ) -> Result<Option<Answer>, CallError> {
        // An empty id would reach the list instead, and with one part less an update would disable the account.
        let part = segment(id).ok_or_else(|| CallError::Unreachable("a key with this id can't be asked for".into()))?;
        let reply = self.call(auth, method, &format!("/{part}"), body).await.map_err(CallError::Unreachable)?;
        if matches!(&reply, Reply::Answer(answer) if answer.status == 404) {
            return Ok(None);
        }
        reply::called(reply, REMEDY).map(Some)
    }
}

#[async_trait]
impl Provider for Infobip {
    fn capabilities(&self) -> Capabilities {
        self.site.capabilities(CAPABILITIES)
    }

    fn login_stamp(&self) -> Option<Fingerprint> {
        self.site.password.0.fingerprint()
    }

    fn identity(&self) -> Option<String> {
        self.site.identity()
    }

    fn dated(&self) -> Option<Dated> {
        self.site.dated()
    }

    async fn create(&self, auth: &Auth, ask: &CreateRequest<'_>) -> Result<Raw, CreateError> {
        let Some(create) = ask.create.as_any().downcast_ref::<Create>() else {
            return Err(CreateError::NotSent("the key's `create` is not of the kind infobip".into()));
        };
        // How XML writes permissions is not documented, and a server that overlooks them gives all.
        if self.format == Format::Xml && !create.permissions.is_empty() {
            return Err(CreateError::Refused(Refusal {
                why: RefusalKind::Request,
                retry_after: None,
                message: "permissions can't be asked for in XML; set the provider's format = \"json\"".into(),
            }));
        }
        let allowed_ips: Vec<String> = create.allowed_ips.iter().map(|it| it.0.clone()).collect();
        let permissions: Vec<String> = create.permissions.iter().map(|it| it.0.clone()).collect();
        let valid_to = ask.valid_to.and_then(wire::written);
        let body = KeyRequest {
            name: &name_at_provider(&create.name.0, ask.token),
            allowed_ips: &allowed_ips,
            permissions: &permissions,
            valid_from: None,
            valid_to: valid_to.as_deref(),
            enabled: None,
        };
        let body = body.write(self.format).map_err(CreateError::NotSent)?;
        let reply = self.call(auth, Method::POST, "", Some(body)).await.map_err(CreateError::NotSent)?;
        reply::created(reply, REMEDY)
    }

    fn parse(&self, raw: &Raw) -> Result<Created, Unreadable> {
        let issued = KeyShown::read(&raw.body)?.issued();
        match issued.secret {
            Some(_) => Ok(Created::One(issued)),
            None => Err(Unreadable("the answer has no `publicApiKey`, or only a masked one".into())),
        }
    }

    /// Asks for all enabled keys and picks those with a token: whether the query `name` means an exact name or a part of
    /// it is not documented, and a key that is overlooked counts as never made.
    async fn list(&self, auth: &Auth, _create: &dyn CreateOptions) -> Result<Listing, CallError> {
        let mut listing = self.enabled_keys(auth).await?;
        listing.keys.retain(|it| it.name.as_deref().is_some_and(|name| token_in(name).is_some()));
        Ok(listing)
    }

    async fn inventory(&self, auth: &Auth) -> Result<Listing, CallError> {
        self.enabled_keys(auth).await
    }

    async fn probe(&self, secret: &Secret) -> (Probe, String) {
        // 403: the key is accepted, but lacks the scope of the call. No call is free of scopes.
        self.site.probe("App", secret, Probe::Alive).await
    }

    /// Reads the key and writes it back disabled: whether an update may leave fields out is not documented.
    async fn revoke(&self, auth: &Auth, id: &str) -> Result<(), CallError> {
        let Some(answer) = self.call_one(auth, Method::GET, id, None).await? else { return Ok(()) };
        let shown = KeyShown::read(&answer.body).map_err(|error| reply::odd(&answer, &error))?;
        if !shown.key.as_deref().is_some_and(|it| it.eq_ignore_ascii_case(id)) {
            return Err(reply::odd(&answer, &Unreadable("it shows another key than the one asked for".into())));
        }
        if shown.enabled == Some(false) {
            return Ok(());
        }
        let body = KeyRequest {
            name: shown.name.as_deref().unwrap_or_default(),
            allowed_ips: &shown.allowed_ips,
            permissions: &shown.permissions,
            valid_from: shown.valid_from.as_deref(),
            valid_to: shown.valid_to.as_deref(),
            enabled: Some(false),
        };
        let body = body.write(self.format).map_err(CallError::Unreachable)?;
        let Some(answer) = self.call_one(auth, Method::PUT, id, Some(body)).await? else { return Ok(()) };
        match KeyShown::read(&answer.body) {
            Ok(KeyShown { enabled: Some(true), .. }) => {
                Err(reply::odd(&answer, &Unreadable("it shows the key as still enabled".into())))
            }
            // The update was accepted; what else its answer says changes nothing.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

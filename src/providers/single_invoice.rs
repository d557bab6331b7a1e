//! Single-Invoice.co: `POST /account/key` with the account key in the header `apikey`. The answer is the whole account with
//! all its keys, the new one among them, without id, date or promised order.
//! Source: docs.single-invoice.co, "Create API Key". No call that lists or revokes is documented.
use super::loose::Few;
use super::reply;
use super::setting::{KeyText, Login, OptionalPath};
use super::{
    Auth, CallError, CreateError, CreateOptions, CreateRequest, Created, Issued, Listing, Provider, Raw, Unreadable,
};
use crate::core::facts::Probe;
use crate::core::names::{Fingerprint, KeyName};
use crate::core::policy::{Capabilities, OnCreate, Recover};
use crate::http::{BaseUrl, Client, Dated, Method, Request};
use crate::secret::Secret;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use toml::de::{Error, ValueDeserializer};

const REMEDY: &str = "check `apikey`: it must be an Account key of this environment";

/// What it can do with its default settings.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    creates: true,
    on_create: OnCreate::Unknown,
    recover: Recover::DiffAnswer,
    revokes_by_id: false,
    reports_expiry: false,
    probes: false,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default = "base_url")]
    base_url: BaseUrl,
    apikey: Login,
    #[serde(default = "no_path")]
    list: OptionalPath,
    #[serde(default = "no_path")]
    probe: OptionalPath,
}

fn base_url() -> BaseUrl {
    BaseUrl::known("https://api.single-invoice.co/v2.0")
}

fn no_path() -> OptionalPath {
    OptionalPath(None)
}

/// `create = { package = "Account" | "Coverage" }`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    package: Package,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
enum Package {
    Account,
    Coverage,
}

impl CreateOptions for Create {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn package(&self) -> Option<String> {
        Some(format!("{:?}", self.package))
    }
}

/// Reads `[providers.NAME]`.
pub(super) fn parse(value: ValueDeserializer<'_>, client: Client) -> Result<Arc<dyn Provider>, Error> {
    Ok(Arc::new(SingleInvoice { settings: Settings::deserialize(value)?, client }))
}

/// Reads `create = { … }`.
pub(super) fn parse_create(value: ValueDeserializer<'_>) -> Result<Arc<dyn CreateOptions>, Error> {
    Ok(Arc::new(Create::deserialize(value)?))
}

#[derive(Debug)]
struct SingleInvoice {
    settings: Settings,
    client: Client,
}

#[derive(Serialize)]
struct CreateBody {
    package: Package,
}

#[derive(Deserialize)]
struct AccountBody {
    #[serde(rename = "ApiKeys")]
    api_keys: Few<KeyText>,
}

impl SingleInvoice {
    async fn request(&self, method: Method, path: &str, auth: &Auth) -> Result<Request, String> {
        let url = self.settings.base_url.join(path).map_err(|error| error.to_string())?;
        let apikey = self.settings.apikey.resolve(auth).await?;
        Ok(Request::new(method, url).header("accept", "application/json").secret_header("apikey", apikey))
    }

    /// All keys of the account, where it has a call that lists them.
    async fn listed(&self, auth: &Auth) -> Result<Listing, CallError> {
        let Some(path) = &self.settings.list.0 else {
            return Err(CallError::Unreachable("this provider has no list call; set `list` to its path".into()));
        };
        let request = self.request(Method::GET, path, auth).await.map_err(CallError::Unreachable)?;
        let answer = reply::called(self.client.send(request).await, REMEDY)?;
        let keys = issued(&answer.body).map_err(|error| reply::odd(&answer, &error))?;
        Ok(Listing { keys, truncated: false })
    }
}

/// All keys of the account. One that can be none makes the whole unreadable, as no difference could be trusted.
pub(super) fn issued(body: &Secret) -> Result<Vec<Issued>, Unreadable> {
    let account: AccountBody = reply::json(body)?;
    let unusable = || Unreadable("an element of `ApiKeys` in the answer is no key".into());
    account
        .api_keys
        .0
        .into_iter()
        .map(|KeyText(secret)| {
            let secret = secret.ok_or_else(unusable)?;
            Ok(Issued { secret: Some(secret), enabled: true, ..Issued::default() })
        })
        .collect()
}

#[async_trait]
impl Provider for SingleInvoice {
    fn capabilities(&self) -> Capabilities {
        let recover = if self.settings.list.0.is_some() { Recover::DiffList } else { Recover::DiffAnswer };
        Capabilities { recover, probes: self.settings.probe.0.is_some(), ..CAPABILITIES }
    }

    fn login_key(&self) -> Option<Fingerprint> {
        self.settings.apikey.fingerprint()
    }

    fn authorised_by(&self) -> Option<&KeyName> {
        self.settings.apikey.key()
    }

    fn identity(&self) -> Option<String> {
        Some(format!("{} {}", self.settings.base_url, self.settings.apikey.0))
    }

    fn dated(&self) -> Option<Dated> {
        self.client.dated()
    }

    async fn create(&self, auth: &Auth, ask: &CreateRequest<'_>) -> Result<Raw, CreateError> {
        let Some(Create { package }) = ask.create.as_any().downcast_ref() else {
            return Err(CreateError::NotSent("the key's `create` is not of the kind single-invoice".into()));
        };
        let body = serde_json::to_vec(&CreateBody { package: *package })
            .map_err(|_| CreateError::NotSent("the request can't be written as JSON".into()))?;
        let request = self.request(Method::POST, "/account/key", auth).await.map_err(CreateError::NotSent)?;
        let request = request.body("application/json", Secret::new(body));
        reply::created(self.client.send(request).await, REMEDY)
    }

    fn parse(&self, raw: &Raw) -> Result<Created, Unreadable> {
        let all = issued(&raw.body)?;
        if all.is_empty() { Err(Unreadable("`ApiKeys` in the answer is empty".into())) } else { Ok(Created::All(all)) }
    }

    async fn list(&self, auth: &Auth, _create: &dyn CreateOptions) -> Result<Listing, CallError> {
        self.listed(auth).await
    }

    async fn inventory(&self, auth: &Auth) -> Result<Listing, CallError> {
        self.listed(auth).await
    }

    async fn probe(&self, secret: &Secret) -> (Probe, String) {
        // What 403 means is not documented, and keys of one package are refused at the calls of the other.
        reply::probe(&self.client, &self.settings.base_url, &self.settings.probe, Probe::Inconclusive, |it| {
            it.secret_header("apikey", secret.clone())
        })
        .await
    }
}

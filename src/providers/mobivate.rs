//! Mobivate: `POST /auth/createkey` with username and password in the body. A successful call revokes the account's former
//! key at once; `POST /auth/getkey` reads the current one, `GET /auth/test` checks one.
//! Source: wiki.mobivatebulksms.com, "Creating a New API Key", "Get API Key", "Test API Key".
use super::reply;
use super::setting::{KeyText, OptionalPath, Password, Username};
use super::{
    Auth, CallError, CreateError, CreateOptions, CreateRequest, Created, Issued, Listing, Provider, Raw, Unreadable,
};
use crate::core::facts::Probe;
use crate::core::policy::{Capabilities, OnCreate, Recover};
use crate::http::{BaseUrl, Client, Dated, Method, Reply, Request};
use crate::secret::Secret;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use toml::de::{Error, ValueDeserializer};

const REMEDY: &str = "check `username` and `password`: Mobivate refuses the login";

/// What it can do with its default settings.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    on_create: OnCreate::Revokes,
    recover: Recover::ReadCurrent,
    revokes_by_id: false,
    reports_expiry: false,
    probes: true,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default = "base_url")]
    base_url: BaseUrl,
    username: Username,
    password: Password,
    #[serde(default = "probe")]
    probe: OptionalPath,
}

fn base_url() -> BaseUrl {
    BaseUrl::known("https://api.mobivatebulksms.com")
}

fn probe() -> OptionalPath {
    OptionalPath(Some("/auth/test".into()))
}

/// There is nothing to choose.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {}

impl CreateOptions for Create {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// Reads `[providers.NAME]`.
pub(super) fn parse(value: ValueDeserializer<'_>, client: Client) -> Result<Arc<dyn Provider>, Error> {
    Ok(Arc::new(Mobivate { settings: Settings::deserialize(value)?, client }))
}

/// Reads `create = { … }`.
pub(super) fn parse_create(value: ValueDeserializer<'_>) -> Result<Arc<dyn CreateOptions>, Error> {
    Ok(Arc::new(Create::deserialize(value)?))
}

#[derive(Debug)]
struct Mobivate {
    settings: Settings,
    client: Client,
}

#[derive(Serialize)]
struct LoginBody<'a> {
    username: &'a str,
    password: &'a str,
}

#[derive(Deserialize)]
struct KeyBody {
    #[serde(rename = "apiKey")]
    api_key: KeyText,
}

impl Mobivate {
    /// A call that logs in with its body. The error says why it can't be sent.
    async fn login(&self, path: &str) -> Result<Request, String> {
        let url = self.settings.base_url.join(path).map_err(|error| error.to_string())?;
        let password = self.settings.password.0.resolve(None).await?;
        let password = password.expose_str().map_err(|error| error.to_string())?;
        let body = serde_json::to_vec(&LoginBody { username: &self.settings.username.0, password })
            .map_err(|_| "the login can't be written as JSON".to_owned())?;
        let request = Request::new(Method::POST, url).header("accept", "application/json");
        Ok(request.body("application/json", Secret::new(body)))
    }
}

fn issued(body: &Secret) -> Result<Issued, Unreadable> {
    let KeyText(secret) = reply::json::<KeyBody>(body)?.api_key;
    let secret = secret.ok_or_else(|| Unreadable("`apiKey` in the answer is no key".into()))?;
    Ok(Issued { secret: Some(secret), enabled: true, ..Issued::default() })
}

#[async_trait]
impl Provider for Mobivate {
    fn capabilities(&self) -> Capabilities {
        Capabilities { probes: self.settings.probe.0.is_some(), ..CAPABILITIES }
    }

    fn identity(&self) -> String {
        format!("{} {}", self.settings.base_url, self.settings.username.0)
    }

    fn dated(&self) -> Option<Dated> {
        self.client.dated()
    }

    async fn create(&self, _auth: &Auth, _ask: &CreateRequest<'_>) -> Result<Raw, CreateError> {
        let request = self.login("/auth/createkey").await.map_err(CreateError::NotSent)?;
        reply::created(self.client.send(request).await, REMEDY)
    }

    fn parse(&self, raw: &Raw) -> Result<Created, Unreadable> {
        issued(&raw.body).map(Created::One)
    }

    async fn read(&self, _auth: &Auth) -> Result<Issued, CallError> {
        let request = self.login("/auth/getkey").await.map_err(CallError::Unreachable)?;
        let reply = self.client.send(request).await;
        // There is no key yet. A wrong base_url would say the same, and refuse the create as well.
        if matches!(&reply, Reply::Answer(answer) if answer.status == 404) {
            return Ok(Issued::default());
        }
        let answer = reply::called(reply, REMEDY)?;
        issued(&answer.body).map_err(|error| reply::odd(&answer, &error))
    }

    async fn inventory(&self, auth: &Auth) -> Result<Listing, CallError> {
        let keys = Some(self.read(auth).await?).filter(|it| it.secret.is_some());
        Ok(Listing { keys: keys.into_iter().collect(), truncated: false })
    }

    async fn probe(&self, secret: &Secret) -> (Probe, String) {
        // The documents know 403 as "opted out": it says nothing of the key.
        reply::probe(&self.client, &self.settings.base_url, &self.settings.probe, Probe::Inconclusive, |it| {
            it.authorization("Bearer", secret)
        })
        .await
    }
}

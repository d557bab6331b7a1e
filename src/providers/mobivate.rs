//! Mobivate: `POST /auth/createkey` with username and password in the body. A successful call revokes the account's former
//! key at once; `POST /auth/getkey` reads the current one, `GET /auth/test` checks one.
//! Source: wiki.mobivatebulksms.com, "Creating a New API Key", "Get API Key", "Test API Key".
use super::login::Site;
use super::reply;
use super::setting::KeyText;
use super::{Auth, CallError, CreateError, CreateRequest, Created, Issued, Listing, Provider, Raw, Unreadable};
use crate::core::facts::Probe;
use crate::core::names::Fingerprint;
use crate::core::policy::{Capabilities, OnCreate, Recover};
use crate::http::{Client, Dated, Method, Reply, Request};
use crate::secret::Secret;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use toml::de::{Error, ValueDeserializer};

const BASE_URL: &str = "https://api.mobivatebulksms.com";
const REMEDY: &str = "check `username` and `password`: Mobivate refuses the login";

/// What it can do with its default settings.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    creates: true,
    on_create: OnCreate::Revokes,
    recover: Recover::ReadCurrent,
    revokes_by_id: false,
    reports_expiry: false,
    probes: true,
};

/// Reads `[providers.NAME]`.
pub(super) fn parse(value: ValueDeserializer<'_>, client: Client) -> Result<Arc<dyn Provider>, Error> {
    Ok(Arc::new(Mobivate(Site::parse(value, client, BASE_URL, Some("/auth/test"))?)))
}

#[derive(Debug)]
struct Mobivate(Site);

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
    async fn login(&self, auth: &Auth, path: &str) -> Result<Request, String> {
        let request = self.0.request(Method::POST, path)?.header("accept", "application/json");
        let password = self.0.password(auth).await?;
        let password = password.expose_str().map_err(|error| error.to_string())?;
        let body = serde_json::to_vec(&LoginBody { username: &self.0.username.0, password })
            .map_err(|_| "the login can't be written as JSON".to_owned())?;
        Ok(request.body("application/json", Secret::new(body)))
    }
}

pub(super) fn issued(body: &Secret) -> Result<Issued, Unreadable> {
    let KeyText(secret) = reply::json::<KeyBody>(body)?.api_key;
    let secret = secret.ok_or_else(|| Unreadable("`apiKey` in the answer is no key".into()))?;
    Ok(Issued { secret: Some(secret), enabled: true, ..Issued::default() })
}

#[async_trait]
impl Provider for Mobivate {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities(CAPABILITIES)
    }

    fn login_stamp(&self) -> Option<Fingerprint> {
        self.0.password.0.fingerprint()
    }

    fn identity(&self) -> Option<String> {
        self.0.identity()
    }

    fn dated(&self) -> Option<Dated> {
        self.0.dated()
    }

    async fn create(&self, auth: &Auth, _ask: &CreateRequest<'_>) -> Result<Raw, CreateError> {
        let request = self.login(auth, "/auth/createkey").await.map_err(CreateError::NotSent)?;
        reply::created(self.0.client.send(request).await, REMEDY)
    }

    fn parse(&self, raw: &Raw) -> Result<Created, Unreadable> {
        issued(&raw.body).map(Created::One)
    }

    async fn read(&self, auth: &Auth) -> Result<Issued, CallError> {
        let request = self.login(auth, "/auth/getkey").await.map_err(CallError::Unreachable)?;
        let reply = self.0.client.send(request).await;
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
        self.0.probe("Bearer", secret, Probe::Inconclusive).await
    }
}

//! What the kinds with a username and a password share: their four settings, and what follows from them for each call.
use super::setting::{OptionalPath, Password, Username};
use super::{Auth, reply};
use crate::core::facts::Probe;
use crate::core::policy::Capabilities;
use crate::http::{BaseUrl, Client, Dated, Method, Request};
use crate::secret::Secret;
use serde::Deserialize;
use toml::de::{Error, ValueDeserializer};

/// The settings as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    base_url: Option<BaseUrl>,
    username: Username,
    password: Password,
    probe: Option<OptionalPath>,
}

/// A service that is logged in to by a username and a password.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) base_url: BaseUrl,
    pub(super) username: Username,
    pub(super) password: Password,
    pub(super) probe: OptionalPath,
    pub(super) client: Client,
}

impl Site {
    /// Reads a section that has these settings and no others; `probe` is `None` where a kind has none by default.
    pub(super) fn parse(
        value: ValueDeserializer<'_>,
        client: Client,
        base_url: &'static str,
        probe: Option<&str>,
    ) -> Result<Self, Error> {
        let written = Written::deserialize(value)?;
        Ok(Self {
            base_url: written.base_url.unwrap_or_else(|| BaseUrl::known(base_url)),
            username: written.username,
            password: written.password,
            probe: written.probe.unwrap_or(OptionalPath(probe.map(str::to_owned))),
            client,
        })
    }

    /// What a kind can do with these settings.
    pub(super) fn capabilities(&self, kind: Capabilities) -> Capabilities {
        Capabilities { probes: self.probe.0.is_some(), ..kind }
    }

    /// The account is that of the login.
    pub(super) fn identity(&self) -> Option<String> {
        Some(format!("{} {}", self.base_url, self.username.0))
    }

    /// The service's clock beside ours.
    pub(super) fn dated(&self) -> Option<Dated> {
        self.client.dated()
    }

    /// A call without a login. The error says why it can't be sent.
    pub(super) fn request(&self, method: Method, path: &str) -> Result<Request, String> {
        let url = self.base_url.join(path).map_err(|error| error.to_string())?;
        Ok(Request::new(method, url))
    }

    /// A call with the login in its header.
    pub(super) async fn basic(&self, auth: &Auth, method: Method, path: &str) -> Result<Request, String> {
        let request = self.request(method, path)?;
        Ok(request.basic(&self.username.0, &self.password(auth).await?))
    }

    /// Reads the password: it may have been changed since the last call.
    pub(super) async fn password(&self, auth: &Auth) -> Result<Secret, String> {
        self.password.0.resolve(auth).await
    }

    /// Asks whether a key is accepted, under this scheme; `forbidden` is what a 403 says of it.
    pub(super) async fn probe(&self, scheme: &str, secret: &Secret, forbidden: Probe) -> (Probe, String) {
        reply::probe(&self.client, &self.base_url, &self.probe, forbidden, |it| it.authorization(scheme, secret)).await
    }
}

//! Infobip 2FA, "API key: Create": `POST /2fa/1/api-key` with Basic and no body; the answer's body is the key as a bare
//! JSON string. Nothing is documented of what becomes of the former key, of listing, revoking or expiry.
//! Source: dev.infobip.com, "api-key-create". The settings API (kind `infobip`) has replaced it.
use super::login::Site;
use super::reply;
use super::setting::{KeyText, usable_key};
use super::{Auth, CreateError, CreateRequest, Created, Issued, Provider, Raw, Unreadable};
use crate::core::facts::Probe;
use crate::core::names::Fingerprint;
use crate::core::policy::{Capabilities, OnCreate, Recover};
use crate::http::{Client, Dated, Method};
use crate::secret::Secret;
use async_trait::async_trait;
use std::sync::Arc;
use toml::de::{Error, ValueDeserializer};

const BASE_URL: &str = "https://api.infobip.com";
const REMEDY: &str = "check `username` and `password`: Infobip refuses the login";
/// A bare string has no field name that vouches for it; a shorter one is a word, not a key.
const SHORTEST_KEY_BYTES: usize = 16;

/// What it can do with its default settings.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    creates: true,
    on_create: OnCreate::Unknown,
    recover: Recover::None,
    revokes_by_id: false,
    reports_expiry: false,
    probes: false,
};

/// Reads `[providers.NAME]`.
pub(super) fn parse(value: ValueDeserializer<'_>, client: Client) -> Result<Arc<dyn Provider>, Error> {
    Ok(Arc::new(Infobip2fa(Site::parse(value, client, BASE_URL, None)?)))
}

#[derive(Debug)]
struct Infobip2fa(Site);

#[async_trait]
impl Provider for Infobip2fa {
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
        let request = self.0.basic(auth, Method::POST, "/2fa/1/api-key").await.map_err(CreateError::NotSent)?;
        let request = request.header("content-type", "application/json");
        reply::created(self.0.client.send(request).await, REMEDY)
    }

    fn parse(&self, raw: &Raw) -> Result<Created, Unreadable> {
        let secret = match reply::json::<KeyText>(&raw.body) {
            Ok(KeyText(quoted)) => quoted.filter(|it| it.expose().len() >= SHORTEST_KEY_BYTES),
            Err(error) => match unquoted(&raw.body) {
                Some(secret) => Some(secret),
                None => return Err(error),
            },
        };
        let secret = secret.ok_or_else(|| Unreadable("the string in the answer is no key".into()))?;
        Ok(Created::One(Issued { secret: Some(secret), enabled: true, ..Issued::default() }))
    }

    async fn probe(&self, secret: &Secret) -> (Probe, String) {
        // 403: the key is accepted, but lacks the scope of the call.
        self.0.probe("App", secret, Probe::Alive).await
    }
}

/// A body without quotes, if it is a key of the documented shape: 32 hex digits, '-', UUID; 69 characters.
fn unquoted(body: &Secret) -> Option<Secret> {
    let text = body.expose_str().ok()?.trim();
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|it| it.len()).collect();
    let hex = parts.iter().all(|it| it.bytes().all(|digit| digit.is_ascii_hexdigit()));
    if hex && lengths == [32, 8, 4, 4, 4, 12] { usable_key(text.to_owned()) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "003026bbc133714df1834b8628bb496e-8f4b3d9a-e921-478d-a994-28a725159ab9";

    fn check(body: &str, want: Option<&str>) {
        let toml = r#"{ username = "me", password = { env = "NONE" } }"#;
        let provider = parse(ValueDeserializer::parse(toml).unwrap(), Client::default()).unwrap();
        let created = provider.parse(&Raw { status: 200, body: Secret::from(body.to_owned()) });
        let secret = match &created {
            Ok(Created::One(it)) => it.secret.as_ref().map(|it| it.expose_str().unwrap()),
            _ => None,
        };
        assert_eq!(secret, want, "{body}");
    }

    #[test]
    fn the_key_is_a_json_string_or_has_the_documented_shape() {
        check(&format!("\"{KEY}\""), Some(KEY));
        check(&format!("\r\n \"{KEY}\" \n"), Some(KEY));
        check(&format!("{KEY}\n"), Some(KEY));
    }

    #[test]
    fn anything_else_is_no_key() {
        for body in ["", "\"\"", "\"OK\"", "OK", "null", "{}", "\"<masked api key>\"", &KEY[..68], &format!("\"{KEY}")]
        {
            check(body, None);
        }
    }
}

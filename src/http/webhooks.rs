//! Webhooks: one POST each, which follows no redirect and, where it is signed, is signed by the Standard Webhooks
//! specification (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
//!
//! Other than a provider's call a webhook may be sent twice: receivers tell repeats by `webhook-id`. So a lost answer is
//! no more than a reason to try again.
pub use super::private::Private;
use super::private::{PublicOnly, look_up};
use super::{RETRY_AFTER_MOST, init, is_this_machine, moments};
use crate::clock;
use crate::core::names::Fingerprint;
use crate::core::time::Timestamp;
use crate::secret::aside::{NotRead, aside};
use crate::secret::reference::{References, TextOrReference};
use crate::secret::{Secret, SecretError, SecretRef};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, StatusCode, Url};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::Sha256;
use std::error::Error as _;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one try may take as a whole.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(20);
/// How much of an answer's body is read, so that its connection can be used again; nothing is done with it.
pub const ANSWER_BYTES: usize = 64 * 1024;
/// How long a signing secret is, in bytes, by the specification.
pub const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 24..=64;
/// What a signing secret begins with, by the specification.
const SECRET_PREFIX: &str = "whsec_";

/// What the body of a webhook is, by the specification: what happened, when, and the rest.
#[derive(Debug, Serialize)]
pub struct Envelope<T> {
    /// Which kind of event it is.
    pub r#type: &'static str,
    /// When it happened, as RFC 3339.
    pub timestamp: String,
    /// What there is to know of it.
    pub data: T,
}

/// Where to post.
#[derive(Clone)]
pub enum Address {
    /// To this URL, already checked.
    Literal(Url),
    /// To a URL that is a secret.
    Secret(SecretRef),
}

/// What keeps a webhook from being sent.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A secret can't be read; perhaps only not from here.
    #[error("{0}")]
    Unseen(#[from] SecretError),
    /// Nobody knows what is there: the disk does not answer.
    #[error("its secrets: {0}")]
    NotRead(#[from] NotRead),
    /// What is there is wrong. Names the remedy; never shows a secret.
    #[error("{0}")]
    Wrong(String),
}

impl Address {
    /// The URL itself. Where it is a secret, it is read now.
    ///
    /// # Errors
    /// Where the secret can't be read, or is no URL for a webhook.
    pub fn url(&self) -> Result<Url, Fault> {
        match self {
            Self::Literal(url) => Ok(url.clone()),
            Self::Secret(place) => {
                let text = place.resolve()?;
                checked(text.expose_str()?).map_err(|it| Fault::Wrong(format!("url ({place}): {it}")))
            }
        }
    }
}

impl Address {
    /// As it may be shown where the whole path is a secret: the host, and a fingerprint to tell it from others there.
    pub fn without_path(&self) -> String {
        match self {
            Self::Literal(url) => {
                let host = url.host_str().unwrap_or_default();
                format!("{}://{host}/{}", url.scheme(), Fingerprint::of(url.as_str().as_bytes()))
            }
            Self::Secret(place) => place.to_string(),
        }
    }
}

/// Shown without its query, which often holds a token; two that differ in it alone are told apart by its fingerprint.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(url) => {
                let mut shown = url.clone();
                shown.set_query(None);
                shown.set_fragment(None);
                match url.query() {
                    Some(query) => write!(f, "{shown}?{}", Fingerprint::of(query.as_bytes())),
                    None => write!(f, "{shown}"),
                }
            }
            Self::Secret(place) => write!(f, "{place}"),
        }
    }
}

/// As it is shown.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match TextOrReference::deserialize(deserializer)? {
            TextOrReference::Reference(it) => Ok(Self::Secret(it)),
            TextOrReference::Text(text) => {
                let url = checked(&text).map_err(serde::de::Error::custom)?;
                if url.username().is_empty() && url.password().is_none() {
                    return Ok(Self::Literal(url));
                }
                Err(serde::de::Error::custom(
                    "a login must not stand in the url; write url = { credential = \"name\" }",
                ))
            }
        }
    }
}

/// Reads a URL. The fault doesn't repeat it.
fn checked(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|it| format!("not a url ({it}); write https://host/path"))?;
    match (url.scheme(), url.host_str()) {
        ("https", Some(_)) => Ok(url),
        ("http", Some(host)) if is_this_machine(host) => Ok(url),
        ("http", Some(host)) => Err(format!("http to {host} can be read on the way; write https://")),
        _ => Err("not a url for a webhook; write https://host/path".to_owned()),
    }
}

/// What a webhook is signed with: one key, or two while it is rotated.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Signers(References);

impl Signers {
    /// Signs a body. The secrets are read now.
    ///
    /// # Errors
    /// Where one can't be read, or is no signing secret.
    pub fn sign(&self, id: &str, now: Timestamp, body: &[u8]) -> Result<Signature, Fault> {
        let timestamp = now.0.div_euclid(1000).to_string();
        let keys = self.keys()?;
        let signatures: Vec<_> = keys.iter().map(|it| sign(it, id, &timestamp, body)).collect();
        Ok(Signature([
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", timestamp),
            ("webhook-signature", signatures.join(" ")),
        ]))
    }

    /// Looks whether the secrets are there and sound.
    ///
    /// # Errors
    /// Likewise.
    pub fn check(&self) -> Result<(), Fault> {
        self.keys().map(drop)
    }

    fn keys(&self) -> Result<Vec<Secret>, Fault> {
        let key = |place: &SecretRef| {
            let secret = place.resolve()?;
            let wrong = || {
                let (least, most) = (SECRET_LENGTH.start(), SECRET_LENGTH.end());
                Fault::Wrong(format!(
                    "secret ({place}): not \"{SECRET_PREFIX}\" and the base64 of {least} to {most} bytes; make one with: \
                     echo {SECRET_PREFIX}$(openssl rand -base64 32)"
                ))
            };
            let encoded = secret.expose_str()?.strip_prefix(SECRET_PREFIX).ok_or_else(wrong)?;
            let key = Secret::new(STANDARD.decode(encoded).map_err(|_| wrong())?);
            if SECRET_LENGTH.contains(&key.expose().len()) { Ok(key) } else { Err(wrong()) }
        };
        self.0.0.iter().map(key).collect()
    }
}

/// The three headers of the specification.
#[derive(Clone, Debug)]
pub struct Signature([(&'static str, String); 3]);

/// Signs `id.timestamp.body`, as the specification has it.
fn sign(key: &Secret, id: &str, timestamp: &str, body: &[u8]) -> String {
    // HMAC takes keys of every length; an error can't come.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else { return String::new() };
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// Clients fit for webhooks: they follow no redirect, which would carry them to where nobody asked for, and use no proxy.
#[derive(Clone, Debug)]
pub struct Clients {
    anywhere: Client,
    public: Client,
}

impl Clients {
    /// Prepares them.
    ///
    /// # Errors
    /// Where the machine's certificates can't be read.
    pub fn new() -> Result<Self, Fault> {
        Self::with_limit(SEND_TIMEOUT)
    }

    /// As [`Clients::new`], with another limit than [`SEND_TIMEOUT`] for one try.
    ///
    /// # Errors
    /// Likewise.
    pub fn with_limit(limit: Duration) -> Result<Self, Fault> {
        Self::build(|private| builder(limit, private))
    }

    fn build(builder: impl Fn(Private) -> ClientBuilder) -> Result<Self, Fault> {
        let client = |private| builder(private).build().map_err(no_client);
        Ok(Self { anywhere: client(Private::Allowed)?, public: client(Private::Refused)? })
    }

    /// The one that goes no further than it may. It looks at what names resolve to; see [`Private::check`] for the rest.
    pub fn of(&self, private: Private) -> &Client {
        match private {
            Private::Allowed => &self.anywhere,
            Private::Refused => &self.public,
        }
    }
}

fn builder(limit: Duration, private: Private) -> ClientBuilder {
    init();
    let builder = match private {
        Private::Allowed => Client::builder(),
        Private::Refused => Client::builder().dns_resolver(PublicOnly(look_up)),
    };
    builder
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT.min(limit / 2))
        .timeout(limit)
        .user_agent(concat!("rekeyd/", env!("CARGO_PKG_VERSION")))
}

fn no_client(error: reqwest::Error) -> Fault {
    Fault::Wrong(format!("the HTTP client can't be made: {error}"))
}

/// What came of one POST.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Posted {
    /// It was taken.
    Taken,
    /// It was not, or nobody knows. Why, and not before when the receiver wants to hear again.
    Later(String, Option<Timestamp>),
    /// It was not, for what it holds or how long it is.
    Unfit(String),
    /// It was on its way when the answer was lost.
    Unsure(String),
    /// The receiver wants no more of it, ever.
    Gone(String),
}

/// Posts JSON. `now` is what a `Retry-After` counts from.
pub async fn post(client: &Client, url: Url, signature: Option<Signature>, body: &Secret, now: Timestamp) -> Posted {
    let place = url.host_str().unwrap_or("webhook").to_owned();
    let mut post = client.post(url).header(CONTENT_TYPE, "application/json").body(body.expose().to_vec());
    for (name, value) in signature.into_iter().flat_map(|it| it.0) {
        post = post.header(name, value);
    }
    match post.send().await {
        Ok(answer) => {
            let posted = judge(&place, answer.status(), answer.headers(), now);
            drain(answer).await;
            posted
        }
        Err(error) if error.is_connect() => Posted::Later(format!("{place}: {}", why(error)), None),
        Err(error) => Posted::Unsure(format!("{place}: {}", why(error))),
    }
}

/// Brings something secret by a signed POST, at once and over a connection of its own.
///
/// # Errors
/// Where it can't be signed, or the machine's certificates can't be read.
pub async fn bring(url: Url, private: Private, signers: &Signers, id: &str, body: Secret) -> Result<Posted, Fault> {
    static READY: OnceLock<Clients> = OnceLock::new();
    let clients = match READY.get() {
        Some(clients) => clients,
        None => {
            let clients = Clients::build(|it| builder(SEND_TIMEOUT, it).pool_max_idle_per_host(0))?;
            READY.get_or_init(|| clients)
        }
    };
    let (signers, id, signed) = (signers.clone(), id.to_owned(), body.clone());
    let now = clock::now();
    let place = format!("the secrets for {}", url.host_str().unwrap_or_default());
    let signature = aside(&place, move || signers.sign(&id, now, signed.expose())).await??;
    Ok(post(clients.of(private), url, Some(signature), &body, now).await)
}

/// What a status says. A receiver's 4xx is most often a mistake that somebody will mend, so it is tried again; only 410 is
/// final, by the specification.
fn judge(place: &str, status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Posted {
    if status.is_success() {
        return Posted::Taken;
    }
    if status == StatusCode::GONE {
        return Posted::Gone(format!("gone: {place} answers {status}; remove this webhook from the config"));
    }
    if matches!(status, StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY) {
        return Posted::Unfit(format!("{place} answers {status}"));
    }
    let hint = if status.is_redirection() { "; redirects are not followed, so write the final url" } else { "" };
    let asked = headers.get(RETRY_AFTER).and_then(|it: &HeaderValue| it.to_str().ok());
    let retry_after = asked.and_then(|it| moments::retry_after(it, now, RETRY_AFTER_MOST)).map(|it| it.max(now));
    Posted::Later(format!("{place} answers {status}{hint}"), retry_after)
}

/// Reads what is left of an answer, up to [`ANSWER_BYTES`], within the client's time limit.
async fn drain(mut answer: reqwest::Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = answer.chunk().await {
        read += chunk.len();
        if read >= ANSWER_BYTES {
            return;
        }
    }
}

/// What went wrong on the way, without the URL, which may be a secret.
fn why(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time; it may have arrived all the same".to_owned();
    }
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(it) = source {
        text = format!("{text}: {it}");
        source = it.source();
    }
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

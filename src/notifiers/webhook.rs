//! Owners told by a webhook: one signed POST for each notice, by the Standard Webhooks specification
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
//!
//! The body depends on the message alone, so that it is the same in every try; `webhook-id` tells receivers of repeats.
use super::reference::{References, TextOrReference};
use super::smtp::is_loopback;
use super::{Fault, Message, Notifier, Sent, Shared, Wanted};
use crate::core::names::Fingerprint;
use crate::core::plan::Severity;
use crate::core::time::Timestamp;
use crate::secret::{Secret, SecretRef};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::Sha256;
use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use toml::de::ValueDeserializer;

/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one try may take as a whole.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(20);
/// How much of an answer's body is read, so that its connection can be used again; nothing is done with it.
pub const ANSWER_BYTES: usize = 64 * 1024;
/// The longest that a receiver can put us off.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a signing secret is, in bytes, by the specification.
pub const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 24..=64;
/// What a signing secret begins with, by the specification.
const SECRET_PREFIX: &str = "whsec_";

/// One element of `webhook = […]` in `[owners.NAME]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where to post.
    pub url: Address,
    #[serde(rename = "secret")]
    secrets: References,
    /// What to post.
    #[serde(default)]
    pub format: Format,
    /// Nothing below this is sent there.
    #[serde(default = "everything")]
    pub min_severity: Severity,
}

/// Where to post.
#[derive(Clone)]
pub enum Address {
    /// To this URL, already checked.
    Literal(Url),
    /// To a URL that is a secret.
    Secret(SecretRef),
}

/// Shown without its query.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(url) => f.write_str(&without_query(url)),
            Self::Secret(place) => write!(f, "{place}"),
        }
    }
}

/// What to post.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// By the Standard Webhooks specification.
    #[default]
    Standard,
}

fn everything() -> Severity {
    Severity::Info
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

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "standard" => Ok(Self::Standard),
            "slack" | "teams" => Err(serde::de::Error::custom(format_args!(
                "format {text:?} is not supported yet; write format = \"standard\""
            ))),
            _ => {
                Err(serde::de::Error::custom(format_args!("there is no format {text:?}; write format = \"standard\"")))
            }
        }
    }
}

/// One webhook of one owner.
#[derive(Clone, Debug)]
pub struct WebhookNotifier {
    webhook: Webhook,
    client: Client,
}

impl WebhookNotifier {
    /// Posts there with this client, which should be one of [`client`].
    pub fn new(webhook: Webhook, client: Client) -> Self {
        Self { webhook, client }
    }

    /// The request that tells this message: where to, and what. Secrets are read now.
    fn request(&self, message: &Message, now: Timestamp) -> Result<Request, Fault> {
        let url = self.url()?;
        let body = serde_json::to_vec(&Body::of(message)).map_err(|it| Fault::Wrong(it.to_string()))?;
        let timestamp = now.0.div_euclid(1000).to_string();
        let keys = self.keys()?;
        let signatures: Vec<_> = keys.iter().map(|it| sign(it, message.id.as_str(), &timestamp, &body)).collect();
        let headers = [
            ("webhook-id", message.id.to_string()),
            ("webhook-timestamp", timestamp),
            ("webhook-signature", signatures.join(" ")),
        ];
        Ok(Request { url, headers, body })
    }

    fn url(&self) -> Result<Url, Fault> {
        match &self.webhook.url {
            Address::Literal(url) => Ok(url.clone()),
            Address::Secret(place) => {
                let text = place.resolve()?;
                checked(text.expose_str()?).map_err(|it| Fault::Wrong(format!("url ({place}): {it}")))
            }
        }
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
        self.webhook.secrets.0.iter().map(key).collect()
    }
}

#[async_trait]
impl Notifier for WebhookNotifier {
    fn id(&self) -> String {
        format!("webhook:{:?}", self.webhook.url)
    }

    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn check(&self) -> Result<(), Fault> {
        self.url()?;
        self.keys()?;
        Ok(())
    }

    async fn send(&self, message: &Message, now: Timestamp) -> Sent {
        let (me, told) = (self.clone(), message.clone());
        // Secrets may lie on a slow disk, so they are read beside the other tasks.
        let request = match tokio::task::spawn_blocking(move || me.request(&told, now)).await {
            Ok(Ok(request)) => request,
            Ok(Err(Fault::Wrong(why))) => return Sent::Refused(format!("{}: {why}", self.id())),
            Ok(Err(fault)) => return later(format!("{}: {fault}", self.id())),
            Err(_) => return later(format!("{}: its secrets can't be read", self.id())),
        };
        post(&self.client, request, now).await
    }
}

/// Reads the field `webhook` of an owner.
pub(super) fn read(list: ValueDeserializer<'_>, shared: &Shared) -> Result<Vec<Wanted>, toml::de::Error> {
    let wanted = |webhook: Webhook| Wanted {
        min_severity: webhook.min_severity,
        notifier: Arc::new(WebhookNotifier::new(webhook, shared.http.clone())),
    };
    Ok(Vec::<Webhook>::deserialize(list)?.into_iter().map(wanted).collect())
}

/// A client fit for webhooks: it follows no redirect, which would carry the notice to where nobody asked for, and uses no
/// proxy.
///
/// # Errors
/// Where the machine's certificates can't be read.
pub fn client() -> Result<Client, Fault> {
    client_with_limit(SEND_TIMEOUT)
}

/// As [`client`], with another limit than [`SEND_TIMEOUT`] for one try.
///
/// # Errors
/// Likewise.
pub fn client_with_limit(limit: Duration) -> Result<Client, Fault> {
    // An error says that one was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT.min(limit / 2))
        .timeout(limit)
        .user_agent(concat!("rekeyd/", env!("CARGO_PKG_VERSION")));
    builder.build().map_err(|it| Fault::Wrong(format!("the HTTP client can't be made: {it}")))
}

/// The body of the POST. What scripts read: fields are added, never renamed.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    key: Option<&'a str>,
    provider: Option<&'a str>,
    owner: &'a str,
    severity: &'static str,
    incident: &'a str,
    status: &'static str,
    summary: &'a str,
    actions: &'a [String],
    version: Option<u64>,
    fingerprint: Option<&'a str>,
    valid_to: Option<String>,
    next: Option<NextData<'a>>,
}

#[derive(Serialize)]
struct NextData<'a> {
    action: &'a str,
    at: Option<String>,
    reason: &'a str,
}

impl<'a> Body<'a> {
    fn of(message: &'a Message) -> Self {
        let notice = &message.notice;
        let next = notice.next.as_ref();
        let data = Data {
            key: notice.key.as_ref().map(|it| it.as_str()),
            provider: message.provider.as_deref(),
            owner: &message.owner,
            severity: notice.severity.code(),
            incident: &notice.incident,
            status: notice.status.code(),
            summary: &notice.summary,
            actions: &notice.actions,
            version: notice.version.map(u64::from),
            fingerprint: notice.fingerprint.as_ref().map(|it| it.as_str()),
            valid_to: notice.valid_to.and_then(rfc3339),
            next: next.map(|it| NextData { action: &it.action, at: rfc3339(it.at), reason: &it.reason }),
        };
        Self { r#type: notice.kind.code(), timestamp: notice.at.to_string(), data }
    }
}

/// A moment for machines; `null` where it never comes.
fn rfc3339(at: Timestamp) -> Option<String> {
    at.datetime().map(|_| at.to_string())
}

/// A signed request, ready to be sent.
struct Request {
    url: Url,
    headers: [(&'static str, String); 3],
    body: Vec<u8>,
}

/// Signs `id.timestamp.body`, as the specification has it.
fn sign(key: &Secret, id: &str, timestamp: &str, body: &[u8]) -> String {
    // HMAC takes keys of every length; an error can't come.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else { return String::new() };
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// Sends a request. All HTTP of this file is here.
async fn post(client: &Client, request: Request, now: Timestamp) -> Sent {
    let place = request.url.host_str().unwrap_or("webhook").to_owned();
    let mut post = client.post(request.url).header(CONTENT_TYPE, "application/json").body(request.body);
    for (name, value) in request.headers {
        post = post.header(name, value);
    }
    match post.send().await {
        Ok(answer) => {
            let sent = judge(&place, answer.status(), answer.headers(), now);
            drain(answer).await;
            sent
        }
        Err(error) => later(format!("{place}: {}", why(error))),
    }
}

/// What a status says. A receiver's 4xx is most often a mistake that somebody will mend, so the notice is kept; only 410
/// is final, by the specification.
fn judge(place: &str, status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Sent {
    if status.is_success() {
        return Sent::Taken;
    }
    if status == StatusCode::GONE {
        return Sent::Refused(format!("gone: {place} answers {status}; remove this webhook from its owner"));
    }
    let hint = if status.is_redirection() { "; redirects are not followed, so write the final url" } else { "" };
    Sent::Later { why: format!("{place} answers {status}{hint}"), retry_after: retry_after(headers, now) }
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let at = match text.parse::<u64>() {
        Ok(seconds) => now.plus(Duration::from_secs(seconds)),
        Err(_) => Timestamp(chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp_millis()),
    };
    Some(at.clamp(now, now.plus(RETRY_AFTER_MAX)))
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
        return "no answer in time; the notice may have arrived all the same".to_owned();
    }
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(it) = source {
        text = format!("{text}: {it}");
        source = it.source();
    }
    Message::one_line(&text)
}

/// Reads a URL. The fault doesn't repeat it.
fn checked(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|it| format!("not a url ({it}); write https://host/path"))?;
    match (url.scheme(), url.host_str()) {
        ("https", Some(_)) => Ok(url),
        ("http", Some(host)) if is_loopback(host) => Ok(url),
        ("http", Some(host)) => Err(format!("http to {host} can be read on the way; write https://")),
        _ => Err("not a url for a webhook; write https://host/path".to_owned()),
    }
}

/// A URL without its query, which often holds a token; two that differ in it alone are told apart by its fingerprint.
fn without_query(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    match url.query() {
        Some(query) => format!("{shown}?{}", Fingerprint::of(query.as_bytes())),
        None => shown.to_string(),
    }
}

fn later(why: String) -> Sent {
    Sent::Later { why, retry_after: None }
}

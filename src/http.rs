//! The one HTTP client. It says of every call whether its bytes certainly never left, were answered, or may have
//! arrived: the whole of what makes a lost answer different from a failed one. It does not retry, follow redirects, reuse
//! connections, obey proxy variables or log.
mod address;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod moments;
mod private;
pub mod webhooks;

pub use address::{AddressFault, BaseUrl, check_base_url, is_this_machine};
pub use reqwest::{Method, Url};

use crate::clock::{self, Boot};
use crate::core::time::Timestamp;
use crate::secret::Secret;
use base64::Engine;
use hyper::body::Bytes;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use zeroize::Zeroizing;

/// The longest that a connection may take to stand, TLS included. Must stay below [`TOTAL_TIMEOUT`]: a total timeout that
/// fires while connecting looks like a lost answer although nothing was sent.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that a call may take, its answer's body included.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of an answer's body that are read.
pub const BODY_BYTES: usize = 1024 * 1024;
/// The longest wait that a `Retry-After` can ask for; a longer one counts as this.
pub const RETRY_AFTER_MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// Installs the cryptography that TLS needs, once for the process; a later call changes nothing.
pub fn init() {
    // An error only says that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// One request. Its headers and its body may be secret, so none of them can be printed.
pub struct Request {
    method: Method,
    url: Url,
    headers: Vec<(&'static str, Secret)>,
    body: Option<Secret>,
}

impl Request {
    /// A request without a body.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: Vec::new(), body: None }
    }

    /// Adds a header. The name is lower-case and goes out as it is written here.
    pub fn header(self, name: &'static str, value: &str) -> Self {
        self.secret_header(name, Secret::new(value.as_bytes().to_vec()))
    }

    /// Adds a header whose value is secret.
    pub fn secret_header(mut self, name: &'static str, value: Secret) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds `authorization: <scheme> <secret>`.
    pub fn authorization(self, scheme: &str, secret: &Secret) -> Self {
        let mut value = Vec::with_capacity(scheme.len() + 1 + secret.expose().len());
        value.extend_from_slice(scheme.as_bytes());
        value.push(b' ');
        value.extend_from_slice(secret.expose());
        self.secret_header("authorization", Secret::new(value))
    }

    /// Adds `authorization: Basic …` (RFC 7617).
    pub fn basic(self, username: &str, password: &Secret) -> Self {
        let mut pair = Zeroizing::new(Vec::with_capacity(username.len() + 1 + password.expose().len()));
        pair.extend_from_slice(username.as_bytes());
        pair.push(b':');
        pair.extend_from_slice(password.expose());
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair.as_slice());
        self.authorization("Basic", &Secret::from(encoded))
    }

    /// Sets the body and its type.
    pub fn body(self, content_type: &str, body: Secret) -> Self {
        Self { body: Some(body), ..self.header("content-type", content_type) }
    }

    /// Host and port, for messages: the rest of a URL may be secret.
    fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or("the server");
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    fn build(self) -> Result<reqwest::Request, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let mut line = HeaderValue::from_maybe_shared(shared(value.clone()))
                .map_err(|_| format!("the value of the header {name} has bytes that a header can't carry"))?;
            line.set_sensitive(true);
            headers.insert(HeaderName::from_static(name), line);
        }
        let mut request = reqwest::Request::new(self.method.clone(), self.url);
        *request.headers_mut() = headers;
        if let Some(body) = self.body {
            *request.body_mut() = Some(shared(body).into());
        } else if self.method != Method::GET {
            // An empty body is stated, so that no server waits for one.
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Ok(request)
    }
}

/// The same bytes, wiped when the last who sends them has let go of them. What the connection copies into its buffers is not.
fn shared(secret: Secret) -> Bytes {
    struct Owner(Secret);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.expose()
        }
    }
    Bytes::from_owner(Owner(secret))
}

/// What came of a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Its bytes certainly never left; the message says why.
    NotSent(String),
    /// It was answered.
    Answer(Answer),
    /// Nobody knows whether it arrived; the message says what was seen.
    Unknown(String),
}

/// An answer whose status is known.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Host and port that answered, for messages.
    pub host: String,
    /// The HTTP status.
    pub status: u16,
    /// When it may be tried again, where the answer says so.
    pub retry_after: Option<Timestamp>,
    /// The server's clock, where the answer shows it.
    pub date: Option<Timestamp>,
    /// The body as far as it came.
    pub body: Secret,
    /// Why the body is not whole, where it isn't.
    pub broken: Option<Broken>,
}

/// Why an answer's body is not whole.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Broken {
    /// It has more than [`BODY_BYTES`].
    #[error("its body has more than {BODY_BYTES} bytes")]
    TooLarge,
    /// It broke off.
    #[error("its body broke off ({0})")]
    Cut(String),
}

/// A server's clock beside ours, at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dated {
    /// What the server's `Date` said (whole seconds).
    pub theirs: Timestamp,
    /// What our clock said when the answer came.
    pub ours: Timestamp,
    /// The same moment by the clock that never jumps.
    pub read_at: Boot,
}

/// Sends requests. Clones share what they know. The first call builds what TLS needs, so making one costs nothing.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    connect: Duration,
    total: Duration,
    ready: OnceLock<reqwest::Client>,
    dated: Mutex<Option<Dated>>,
}

impl Default for Client {
    fn default() -> Self {
        Self::with_timeouts(CONNECT_TIMEOUT, TOTAL_TIMEOUT)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("connect", &self.0.connect).field("total", &self.0.total).finish()
    }
}

impl Client {
    /// A client with timeouts of its own. `connect` is cut to half of `total` where it isn't shorter.
    pub fn with_timeouts(connect: Duration, total: Duration) -> Self {
        let connect = if connect < total { connect } else { total / 2 };
        Self(Arc::new(Inner { connect, total, ready: OnceLock::new(), dated: Mutex::new(None) }))
    }

    /// The server's clock beside ours, as the last answer with a `Date` showed it.
    pub fn dated(&self) -> Option<Dated> {
        *self.0.dated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request once.
    pub async fn send(&self, request: Request) -> Reply {
        let host = request.host();
        let prepared = self.ready().and_then(|client| Ok((client, request.build()?)));
        let (client, request) = match prepared {
            Ok(both) => both,
            Err(message) => return Reply::NotSent(message),
        };
        match client.execute(request).await {
            Ok(response) => Reply::Answer(self.read(host, response).await),
            // Only these two prove that no byte of the request left.
            Err(error) if error.is_connect() || error.is_builder() => {
                Reply::NotSent(format!("{host} can't be reached: {}", self.cause(error)))
            }
            Err(error) => Reply::Unknown(format!("{host} gave no answer: {}", self.cause(error))),
        }
    }

    fn ready(&self) -> Result<reqwest::Client, String> {
        if let Some(client) = self.0.ready.get() {
            return Ok(client.clone());
        }
        init();
        let client = reqwest::Client::builder()
            .user_agent(concat!("rekeyd/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            // A redirect would carry the login elsewhere, and a create might happen twice.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            // Requests carry logins: only the config says where they go, never HTTPS_PROXY.
            .no_proxy()
            // An idle connection that the server closes meanwhile would turn a create into one of unknown outcome.
            .pool_max_idle_per_host(0)
            .connect_timeout(self.0.connect)
            .timeout(self.0.total)
            .build()
            .map_err(|error| format!("the HTTP client can't start: {}", self.cause(error)))?;
        Ok(self.0.ready.get_or_init(|| client).clone())
    }

    async fn read(&self, host: String, mut response: reqwest::Response) -> Answer {
        let (ours, read_at) = (clock::now(), Boot::now());
        let header = |name| response.headers().get(name).and_then(|it: &HeaderValue| it.to_str().ok());
        let date = header("date").and_then(moments::http_date);
        let retry_after = header("retry-after").and_then(|it| moments::retry_after(it, ours, RETRY_AFTER_MOST));
        if let Some(theirs) = date {
            *self.0.dated.lock().unwrap_or_else(PoisonError::into_inner) = Some(Dated { theirs, ours, read_at });
        }
        let status = response.status().as_u16();
        let mut body = Zeroizing::new(Vec::new());
        let broken = loop {
            match response.chunk().await {
                Ok(None) => break None,
                Ok(Some(chunk)) => {
                    let room = BODY_BYTES - body.len();
                    append(&mut body, &chunk[..chunk.len().min(room)]);
                    if chunk.len() > room {
                        break Some(Broken::TooLarge);
                    }
                }
                Err(error) => break Some(Broken::Cut(self.cause(error))),
            }
        };
        let body = Secret::new(std::mem::take(&mut *body));
        Answer { host, status, retry_after, date, body, broken }
    }

    /// What went wrong, in the words of the deepest error. They name no URL, header or body.
    fn cause(&self, error: reqwest::Error) -> String {
        if error.is_timeout() && !error.is_connect() {
            return format!("nothing more came within {:?}", self.0.total);
        }
        let error = error.without_url();
        let mut deepest: &dyn std::error::Error = &error;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        deepest.to_string()
    }
}

/// Appends without leaving a copy of what was there in freed memory.
fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    let needed = body.len() + chunk.len();
    if needed > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(2 * body.capacity()).min(BODY_BYTES)));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(chunk);
}

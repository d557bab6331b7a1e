//! The operator's end of the control socket.
use super::problem::{Kind, MEDIA_TYPE, Problem};
use super::protocol::{HistoryReport, KeyStatus, PlanFacts, PlanReport, Status, Time};
use super::requests::{
    AckOwnRequest, AckRequest, AdoptReport, AdoptRequest, ChannelReport, DoneReport, KeyDone, PauseRequest,
    ReloadRequest, ResumeRequest, Revealed, RotateRequest, VerbRequest,
};
use super::view::PlanAsk;
use crate::core::names::KeyName;
use reqwest::{Method, RequestBuilder, Response, header};
use serde::de::DeserializeOwned;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The pause before a socket at which too many wait is tried again.
const FULL_AGAIN: Duration = Duration::from_millis(50);
/// How long an answer may take: longer than the daemon's own limit, so that its word comes first.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);
/// The largest answer that is read, in bytes: the history of thousands of keys fits.
const ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// Asks one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    socket: PathBuf,
}

/// Why there is no answer to show.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("the daemon does not run: nobody answers on {0}")]
    NotRunning(PathBuf),
    /// The file system keeps us out.
    #[error("{0}: permission denied")]
    Denied(PathBuf),
    /// The daemon refused.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The daemon did not answer in time.
    #[error("{0}: the daemon did not answer in time")]
    Late(PathBuf),
    /// The answer makes no sense.
    #[error("{0}: {1}")]
    Broken(PathBuf, String),
}

impl Client {
    /// Will ask the daemon on this socket.
    ///
    /// # Errors
    /// Where the HTTP client can't be set up.
    pub fn new(socket: &Path) -> Result<Self, ClientError> {
        // The client wants a TLS provider even though the socket needs none; a second installation changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .build()
            .map_err(|it| ClientError::Broken(socket.to_owned(), it.to_string()))?;
        Ok(Self { http, socket: socket.to_owned() })
    }

    /// Every key.
    ///
    /// # Errors
    /// See [`ClientError`]; so for all calls.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.fetch(self.request(Method::GET, "/v1/status")).await
    }

    /// One key.
    pub async fn key(&self, key: &str) -> Result<KeyStatus, ClientError> {
        self.fetch(self.on_key(Method::GET, key, "")).await
    }

    /// What will happen.
    pub async fn plan(&self, ask: &PlanAsk) -> Result<PlanReport, ClientError> {
        self.fetch(self.request(Method::GET, &format!("/v1/plan{}", plan_query(ask)))).await
    }

    /// What another config can be compared by.
    pub async fn plan_facts(&self, ask: &PlanAsk) -> Result<PlanFacts, ClientError> {
        self.fetch(self.request(Method::GET, &format!("/v1/plan/facts{}", plan_query(ask)))).await
    }

    /// What happened, of one key or of all.
    pub async fn history(
        &self,
        key: Option<&str>,
        since: Option<Time>,
        until: Option<Time>,
    ) -> Result<HistoryReport, ClientError> {
        let bounds = [("since", since), ("until", until)];
        // A time in UTC has no character that a query would have to escape.
        let given = bounds.iter().filter_map(|(name, at)| at.map(|it| format!("{name}={it}")));
        let query = given.collect::<Vec<_>>().join("&");
        let request = match key {
            Some(key) => self.on_key(Method::GET, key, &format!("/history?{query}")),
            None => self.request(Method::GET, &format!("/v1/history?{query}")),
        };
        self.fetch(request).await
    }

    /// Takes over a key in use.
    pub async fn adopt(&self, key: &str, ask: &AdoptRequest) -> Result<AdoptReport, ClientError> {
        self.fetch(self.on_key(Method::PUT, key, "/secret").json(ask)).await
    }

    /// Shows the current secret.
    pub async fn reveal(&self, key: &str) -> Result<Revealed, ClientError> {
        self.fetch(self.on_key(Method::GET, key, "/secret")).await
    }

    /// Rotates.
    pub async fn rotate(&self, key: &str, ask: &RotateRequest) -> Result<DoneReport, ClientError> {
        self.fetch(self.on_key(Method::POST, key, "/rotate").json(ask)).await
    }

    /// Goes on after a halt, or a pause.
    pub async fn resume(&self, ask: &ResumeRequest) -> Result<Vec<KeyDone>, ClientError> {
        self.fetch(self.request(Method::POST, "/v1/resume").json(ask)).await
    }

    /// Holds keys back.
    pub async fn pause(&self, ask: &PauseRequest) -> Result<Vec<KeyDone>, ClientError> {
        self.fetch(self.request(Method::POST, "/v1/pause").json(ask)).await
    }

    /// Sends a test notice through every channel of an owner.
    pub async fn test_owner(&self, owner: &str) -> Result<Vec<ChannelReport>, ClientError> {
        self.fetch(self.request(Method::POST, &format!("/v1/owners/{owner}/test"))).await
    }

    /// Says that a human has it.
    pub async fn ack(&self, key: &str, ask: &AckRequest) -> Result<DoneReport, ClientError> {
        self.fetch(self.on_key(Method::POST, key, "/ack").json(ask)).await
    }

    /// Says that a human has what belongs to no key.
    pub async fn ack_own(&self, ask: &AckOwnRequest) -> Result<DoneReport, ClientError> {
        self.fetch(self.request(Method::POST, "/v1/ack").json(ask)).await
    }

    /// Gives up the pending version.
    pub async fn abandon(&self, key: &str, ask: &VerbRequest) -> Result<DoneReport, ClientError> {
        self.fetch(self.on_key(Method::POST, key, "/abandon").json(ask)).await
    }

    /// Goes back to the previous version.
    pub async fn rollback(&self, key: &str, ask: &VerbRequest) -> Result<DoneReport, ClientError> {
        self.fetch(self.on_key(Method::POST, key, "/rollback").json(ask)).await
    }

    /// Takes a key out of service.
    pub async fn retire(&self, key: &str, ask: &VerbRequest) -> Result<DoneReport, ClientError> {
        self.fetch(self.on_key(Method::POST, key, "/retire").json(ask)).await
    }

    /// Drops the record of a key.
    pub async fn forget(&self, key: &str, ask: &VerbRequest) -> Result<DoneReport, ClientError> {
        self.fetch(self.on_key(Method::DELETE, key, "").json(ask)).await
    }

    /// Has the daemon read its config anew.
    pub async fn reload(&self, ask: &ReloadRequest) -> Result<DoneReport, ClientError> {
        self.fetch(self.request(Method::POST, "/v1/reload").json(ask)).await
    }

    /// The whole state, as one sealed file.
    pub async fn backup(&self) -> Result<Vec<u8>, ClientError> {
        self.answered(self.request(Method::GET, "/v1/backup")).await
    }

    /// `key` is spelled as the user did: what is no name is escaped, so that it stays one part of the path.
    fn on_key(&self, method: Method, key: &str, rest: &str) -> RequestBuilder {
        self.request(method, &format!("/v1/keys/{}{rest}", escaped(key)))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://localhost{path}"))
    }

    async fn fetch<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let body = self.answered(request).await?;
        let parsed = serde_json::from_slice(&body);
        parsed.map_err(|_| self.broken("the answer is not what this version of rekeyd expects"))
    }

    /// The body of an answer that is no refusal.
    async fn answered(&self, request: RequestBuilder) -> Result<Vec<u8>, ClientError> {
        let response = self.send(request).await?;
        let succeeded = response.status().is_success();
        let is_problem = response.headers().get(header::CONTENT_TYPE).is_some_and(|it| it == MEDIA_TYPE);
        let status = response.status();
        let body = self.body(response).await?;
        if succeeded {
            return Ok(body);
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if is_problem => Err(ClientError::Problem(Box::new(problem))),
            _ => Err(self.broken(&format!("HTTP status {status}; is this a rekeyd?"))),
        }
    }

    /// A socket at which too many wait says so at once, and takes nothing: then it is tried again.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let mut tries = CONNECT_WITHIN.as_millis() / FULL_AGAIN.as_millis();
        while let Some(attempt) = request.try_clone().filter(|_| tries > 0) {
            match attempt.send().await {
                Err(error) if cause(&error) == Some(io::ErrorKind::WouldBlock) => tokio::time::sleep(FULL_AGAIN).await,
                answer => return answer.map_err(|it| self.failed(&it)),
            }
            tries -= 1;
        }
        request.send().await.map_err(|it| self.failed(&it))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|it| self.failed(&it))? {
            if body.len() + chunk.len() > ANSWER_BYTES {
                return Err(self.broken("the answer is too large"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn failed(&self, error: &reqwest::Error) -> ClientError {
        let socket = self.socket.clone();
        match cause(error) {
            Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => ClientError::NotRunning(socket),
            Some(io::ErrorKind::PermissionDenied) => ClientError::Denied(socket),
            Some(io::ErrorKind::WouldBlock) => ClientError::Late(socket),
            _ if error.is_timeout() => ClientError::Late(socket),
            _ => self.broken("the connection broke before the answer was complete"),
        }
    }

    fn broken(&self, why: &str) -> ClientError {
        ClientError::Broken(self.socket.clone(), why.to_owned())
    }
}

impl ClientError {
    /// The kind of problem, where the daemon named one.
    pub fn problem(&self) -> Option<Kind> {
        match self {
            Self::Problem(it) => Some(it.kind),
            _ => None,
        }
    }
}

fn plan_query(ask: &PlanAsk) -> String {
    let keys: Vec<&str> = ask.keys.iter().map(KeyName::as_str).collect();
    let parts = [
        ask.ahead.map(|it| format!("for={}s", it.as_secs())),
        (!keys.is_empty()).then(|| format!("key={}", keys.join(","))),
        ask.owner.as_ref().map(|it| format!("owner={}", escaped(it))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

/// What is no name is escaped, so that it stays one part of a path or a query.
fn escaped(text: &str) -> String {
    let part = |byte: u8| match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(part).collect()
}

/// What the operating system said, at the bottom of a client's error.
fn cause(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut source = error.source();
    while let Some(it) = source {
        if let Some(io) = it.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        source = it.source();
    }
    None
}

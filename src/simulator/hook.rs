//! A webhook receiver that keeps what it gets.
use super::door::Door;
use super::wire::{Connection, Request, Response};
use crate::clock;
use crate::core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// The most requests that are kept; more are answered with 503.
const REQUESTS: usize = 10_000;

/// A request that came.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Hooked {
    /// When.
    pub at: Timestamp,
    /// The path.
    pub path: String,
    /// The headers, their names as spelled.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// What was answered.
    pub status: Option<u16>,
}

impl Hooked {
    /// The value of a header, however its name is spelled.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// How the receiver answers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookMode {
    /// 204.
    #[default]
    Accepts,
    /// This status.
    Answers {
        /// The HTTP status.
        status: u16,
    },
    /// 204, but only after this long.
    Slow {
        /// How long, in milliseconds.
        ms: u64,
    },
    /// Takes the request, then resets the connection.
    Resets,
}

/// The receiver.
#[derive(Debug)]
pub struct HookReceiver {
    door: Door,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    mode: Mutex<HookMode>,
    requests: Mutex<Vec<Hooked>>,
    count: watch::Sender<usize>,
}

impl HookReceiver {
    pub(crate) async fn start() -> io::Result<Self> {
        let inner = Arc::new(Inner { mode: Mutex::default(), requests: Mutex::default(), count: watch::channel(0).0 });
        let served = inner.clone();
        let door = Door::open(move |stream| serve(stream, served.clone())).await?;
        Ok(Self { door, inner })
    }

    /// Where it takes requests.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.door.address())
    }

    /// From now on, requests are answered so.
    pub fn set_mode(&self, mode: HookMode) {
        *lock(&self.inner.mode) = mode;
    }

    /// Shuts or opens its port: while it is shut, connections are refused.
    pub async fn set_open(&self, open: bool) {
        self.door.set_open(open).await;
    }

    /// The requests that came, oldest first, whatever was answered.
    pub fn requests(&self) -> Vec<Hooked> {
        lock(&self.inner.requests).clone()
    }

    /// Waits for a request of which `is_it` says yes.
    pub async fn wait_for(&self, limit: Duration, is_it: impl Fn(&Hooked) -> bool) -> Option<Hooked> {
        let mut count = self.inner.count.subscribe();
        let wait = async {
            loop {
                count.mark_unchanged();
                if let Some(found) = self.requests().into_iter().find(&is_it) {
                    return Some(found);
                }
                count.changed().await.ok()?;
            }
        };
        tokio::time::timeout(limit, wait).await.ok().flatten()
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(stream: TcpStream, inner: Arc<Inner>) {
    let mut connection = Connection::new(stream);
    while let Ok(Some(request)) = connection.request().await {
        let mode = *lock(&inner.mode);
        let full = lock(&inner.requests).len() >= REQUESTS;
        let status = match mode {
            _ if full => Some(503),
            HookMode::Accepts | HookMode::Slow { .. } => Some(204),
            HookMode::Answers { status } => Some(status),
            HookMode::Resets => None,
        };
        if !full {
            keep(&inner, request, status);
        }
        if let HookMode::Slow { ms } = mode {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        let Some(status) = status else { return connection.reset() };
        let response = Response { status, headers: Vec::new(), body: Vec::new() };
        if connection.send(&response.bytes(0)).await.is_err() {
            return;
        }
    }
}

fn keep(inner: &Inner, request: Request, status: Option<u16>) {
    let body = String::from_utf8_lossy(&request.body).into_owned();
    let row = Hooked { at: clock::now(), path: request.path, headers: request.headers, body, status };
    lock(&inner.requests).push(row);
    inner.count.send_modify(|it| *it += 1);
}

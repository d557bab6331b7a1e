//! What stands at each path.
use super::exposition::MEDIA_TYPE;
use super::metrics::metrics;
use super::ready::unready;
use crate::engine::handle::{Handle, Pulse, Request};
use axum::body::Body;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How long the engine may take for an answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How many bytes of metrics may wait to be read, over all connections. More than that waits alone.
pub const UNREAD_BYTES: usize = 64 << 20;
/// In which steps they are counted.
const UNREAD_STEP: usize = 1 << 10;

const PLAIN: &str = "text/plain; charset=utf-8";
const FRONT: &str = concat!(
    "rekeyd ",
    env!("CARGO_PKG_VERSION"),
    "\n\n",
    "/metrics  the metrics of keys, rotations, calls and notices, for Prometheus\n",
    "/healthz  whether the daemon answers\n",
    "/readyz   whether it does its work, and if not, why\n\n",
    "Nothing can be changed here. On the machine itself: rekeyd status\n",
);

type Answer = Response<Body>;

/// One scrape at a time: each takes a copy of everything.
static SCRAPING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Room for what many have asked for and not read.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

/// What a connection takes of the room: given up when it ends.
#[derive(Debug, Default)]
pub(super) struct Taken(OnceLock<OwnedSemaphorePermit>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(UNREAD_BYTES / UNREAD_STEP)))
    }
}

impl Room {
    async fn take(&self, bytes: usize, taken: &Taken) {
        let steps = u32::try_from(bytes.min(UNREAD_BYTES).div_ceil(UNREAD_STEP)).unwrap_or(u32::MAX);
        // It is never closed, and a connection has one answer.
        let _ = Arc::clone(&self.0).acquire_many_owned(steps).await.map(|it| taken.0.set(it));
    }
}

/// Answers a request; its body is not looked at.
pub(super) async fn answer<B>(request: &axum::http::Request<B>, engine: &Handle, room: &Room, taken: &Taken) -> Answer {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD are answered here\n");
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/" => text(StatusCode::OK, PLAIN, FRONT),
        "/metrics" => scraped(engine, room, taken).await,
        "/healthz" => health(engine).await,
        "/readyz" => readiness(engine).await,
        _ => text(StatusCode::NOT_FOUND, PLAIN, "there is no such page; see /\n"),
    }
}

async fn scraped(engine: &Handle, room: &Room, taken: &Taken) -> Answer {
    let _one_at_a_time = SCRAPING.lock().await;
    let snapshot = match ask(engine, Request::Snapshot).await {
        Ok(snapshot) => snapshot,
        Err(why) => return unavailable(&why),
    };
    // With thousands of keys this takes a while, and must not hold others up.
    match tokio::task::spawn_blocking(move || metrics(&snapshot)).await {
        Ok(it) => {
            room.take(it.len(), taken).await;
            text(StatusCode::OK, MEDIA_TYPE, it)
        }
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "rekeyd itself failed; see the log\n"),
    }
}

async fn health(engine: &Handle) -> Answer {
    match ask(engine, Request::Pulse).await {
        Ok::<Pulse, _>(_) => text(StatusCode::OK, PLAIN, "ok\n"),
        Err(why) => unavailable(&why),
    }
}

async fn readiness(engine: &Handle) -> Answer {
    let why = match ask(engine, Request::Pulse).await {
        Ok(pulse) => unready(&pulse),
        Err(why) => vec![why],
    };
    if why.is_empty() { text(StatusCode::OK, PLAIN, "ready\n") } else { unavailable(&why.join("\n")) }
}

async fn ask<T>(engine: &Handle, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_WITHIN, engine.ask(request)).await {
        Ok(answer) => answer.map_err(|it| it.to_string()),
        Err(_) => Err(format!("the engine did not answer within {} s", ANSWER_WITHIN.as_secs())),
    }
}

fn unavailable(why: &str) -> Answer {
    text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{why}\n"))
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

//! What stands at each path.
use super::exposition::MEDIA_TYPE;
use super::metrics::metrics;
use super::ready::unready;
use crate::engine::handle::{Handle, Pulse, Request};
use axum::body::Body;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the engine may take for an answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);

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

/// Answers a request; its body is not looked at.
pub(super) async fn answer<B>(request: &axum::http::Request<B>, engine: &Handle) -> Answer {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD are answered here\n");
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/" => text(StatusCode::OK, PLAIN, FRONT),
        "/metrics" => scraped(engine).await,
        "/healthz" => health(engine).await,
        "/readyz" => readiness(engine).await,
        _ => text(StatusCode::NOT_FOUND, PLAIN, "there is no such page; see /\n"),
    }
}

async fn scraped(engine: &Handle) -> Answer {
    let _one_at_a_time = SCRAPING.lock().await;
    let snapshot = match ask(engine, Request::Snapshot).await {
        Ok(snapshot) => snapshot,
        Err(why) => return unavailable(&why),
    };
    // With thousands of keys this takes a while, and must not hold others up.
    match tokio::task::spawn_blocking(move || metrics(&snapshot)).await {
        Ok(it) => text(StatusCode::OK, MEDIA_TYPE, it),
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

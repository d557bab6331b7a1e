//! Requests to the control socket, without a socket. Only for fuzzing, see `src/fuzzing.rs`.
use super::protocol::Time;
use super::rights::Peer;
use super::server::{Desk, router};
use crate::engine::handle::Handle;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::sync::OnceLock;
use tokio::runtime::{Builder, Runtime};

/// A request of root's: `METHOD PATH` in the first line, then the body. Every one is answered; those that are understood
/// say that the daemon is stopping, since there is no engine behind them.
pub(crate) fn request(data: &[u8]) {
    let (head, body) = data.iter().position(|it| *it == b'\n').map_or((data, &data[..0]), |it| data.split_at(it));
    let Some((method, path)) = std::str::from_utf8(head).ok().and_then(|it| it.split_once(' ')) else { return };
    let body = Body::from(body.get(1..).unwrap_or_default().to_vec());
    let Ok(mut request) = Request::builder().method(method).uri(path).body(body) else { return };
    request.extensions_mut().insert(ConnectInfo(Peer { uid: Some(0), gid: Some(0), login_uid: None }));
    let Some(runtime) = runtime() else { return };
    let answer = runtime.block_on(TowerToHyperService::new(router(desk())).call(request));
    let status = answer.map_or(500, |it| it.status().as_u16());
    assert!([400, 404, 405, 413, 422, 503].contains(&status), "{method} {path} is answered with {status}");
}

/// A moment in a query or a body, which is written as it was read.
pub(crate) fn time(text: &str) {
    let Ok(at) = text.parse::<Time>() else { return };
    assert_eq!(at.to_string().parse(), Ok(at), "{text:?} is written as {at}");
}

/// An engine that has stopped, and a config that can't be read.
fn desk() -> Desk {
    let (requests, _) = tokio::sync::mpsc::channel(1);
    Desk::new(Handle { requests }, Arc::new(|| Err(Vec::new())))
}

fn runtime() -> Option<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_current_thread().enable_all().build().ok()).as_ref()
}

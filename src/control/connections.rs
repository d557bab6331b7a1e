//! Who is let in at the control socket: places for connections, requests and unread answers. There is a set of places for
//! those who own everything and one for everybody else, so that nobody of the socket's group can keep root out.
use super::problem::{Kind, MEDIA_TYPE, Problem};
use super::rights::Peer;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// How many connections are served at once: so many of owners, and as many of others. One that finds no place is closed.
pub const CONNECTIONS: usize = 128;
/// How long the head of a request may take to arrive.
pub const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// How large the head of a request may be, in bytes.
pub const HEADER_BYTES: usize = 16 << 10;
/// How long a connection may last, from its first byte to the last one of the answer: all that the request may take, and
/// a minute to read what came of it.
pub const CONNECTION_WITHIN: Duration = Duration::from_secs(150);
/// How many requests are worked on at once, of owners and of others each.
pub const REQUESTS_AT_ONCE: usize = 64;
/// How many bytes of answers may wait to be read, of owners and of others each. An answer that is larger waits alone.
pub const UNREAD_BYTES: usize = 64 << 20;
/// In which steps they are counted.
const UNREAD_STEP: usize = 1 << 10;

/// The places of one class of callers.
#[derive(Clone, Debug)]
pub(super) struct Places {
    connections: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    /// One look at everything at a time: each takes a copy of all there is.
    looking: Arc<Mutex<()>>,
    unread: Arc<Semaphore>,
}

/// Room for an answer until it was read: it is given up with the connection, which carries no second one.
#[derive(Clone, Debug, Default)]
pub(super) struct Unread(Arc<OnceLock<OwnedSemaphorePermit>>);

impl Default for Places {
    fn default() -> Self {
        Self {
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            requests: Arc::new(Semaphore::new(REQUESTS_AT_ONCE)),
            looking: Arc::default(),
            unread: Arc::new(Semaphore::new(UNREAD_BYTES / UNREAD_STEP)),
        }
    }
}

impl Places {
    /// A place for one more connection, if there is one.
    pub(super) fn connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }

    /// A place for one more request, if there is one.
    pub(super) fn request(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.requests).try_acquire_owned().ok()
    }

    /// Waits until nobody else looks at everything.
    pub(super) async fn look(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.looking).lock_owned().await
    }

    /// Waits until there is room for an answer of this size.
    pub(super) async fn keep(&self, bytes: usize, connection: &Unread) {
        let steps = bytes.min(UNREAD_BYTES).div_ceil(UNREAD_STEP);
        let room = Arc::clone(&self.unread).acquire_many_owned(u32::try_from(steps).unwrap_or(u32::MAX)).await;
        // It is never closed, and a connection has one answer.
        let _ = room.map(|it| connection.0.set(it));
    }
}

/// Serves one connection: one request, one answer. At `stop` a request that has begun is answered first.
pub(super) async fn serve(stream: UnixStream, app: Router, stop: CancellationToken) {
    let (peer, unread) = (Peer::of(&stream), Unread::default());
    let app = TowerToHyperService::new(app);
    let service = service_fn(|request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(unread.clone());
        app.call(request)
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_WITHIN).max_buf_size(HEADER_BYTES).keep_alive(false);
    let connection = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = async {
        tokio::select! {
            // What goes wrong with it is the caller's trouble.
            _ = connection.as_mut() => return,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    };
    let _ = tokio::time::timeout(CONNECTION_WITHIN, served).await;
}

/// Says that there is no place, as far as that costs no waiting.
pub(super) fn turn_away(stream: &UnixStream) {
    let problem = Problem::new(Kind::Busy, "all places at this socket are taken").remedy("try again");
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let status = "503 Service Unavailable\r\nconnection: close";
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = stream.try_write((head + &body).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_waits_until_others_were_read_and_one_that_is_too_large_waits_for_all() {
        let (places, first, second) = (Places::default(), Unread::default(), Unread::default());
        places.keep(UNREAD_BYTES - 1, &first).await;
        let waits = tokio::time::timeout(Duration::from_millis(20), places.keep(2 * UNREAD_STEP, &second)).await;
        assert!(waits.is_err(), "there is no room");
        drop(first);
        places.keep(10 * UNREAD_BYTES, &second).await;
        assert_eq!(places.unread.available_permits(), 0);
    }
}

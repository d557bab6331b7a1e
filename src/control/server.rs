//! The daemon's end of the control socket: HTTP/1.1 with JSON on a Unix socket.
use super::accounts::Accounts;
use super::connections::{Places, Unread};
use super::problem::{Fault, Kind, MEDIA_TYPE, Problem};
use super::rights::{Peer, Right};
use super::verbs::{self, Caller};
use super::{adopt, backup, commands, connections, owners};
use crate::config::Loaded;
use crate::core::record::Actor;
use crate::engine::handle::{self, Handle};
use crate::secret::SECRET_BYTES;
use crate::secret::aside::{NotRead, aside};
use crate::socket::Socket;
use crate::systemd;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The largest body of a request: the largest secret, with room for the escapes of JSON.
pub const BODY_BYTES: usize = 2 * SECRET_BYTES as usize;
/// How long the engine may take for an answer. An adoption asks the provider first.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long the body of a request may take to arrive.
pub const BODY_WITHIN: Duration = Duration::from_secs(10);
/// How long a request may take from then on.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(75);
/// The largest body of a request of somebody who owns nothing, and so has no key to bring.
pub const OPERATOR_BODY_BYTES: usize = 256 << 10;
/// Who may connect: the service's user and the socket's group.
const SOCKET_MODE: u32 = 0o660;

/// Of two reloads at once, the later one must not be overtaken by what the earlier one read.
static RELOADING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Reads the config from disk: the whole of it, or all of its faults.
pub type Load = Arc<dyn Fn() -> Result<Loaded, Vec<Fault>> + Send + Sync>;

pub use super::connections::{
    CONNECTION_WITHIN, CONNECTIONS, HEADER_BYTES, HEADER_WITHIN, REQUESTS_AT_ONCE, UNREAD_BYTES,
};
pub use crate::socket::BindError;

/// The control socket, open and not yet served.
#[derive(Debug)]
pub struct Server(Socket);

/// What every request needs.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) engine: Handle,
    pub(super) load: Load,
    /// The user that the daemon runs as.
    pub(super) service: u32,
    /// The places of root and of that user, and those of everybody else.
    owners: Places,
    others: Places,
}

impl Desk {
    pub(super) fn new(engine: Handle, load: Load) -> Self {
        let service = rustix::process::geteuid().as_raw();
        Self { engine, load, service, owners: Places::default(), others: Places::default() }
    }

    /// The places that somebody may take.
    fn places(&self, peer: Peer) -> &Places {
        if peer.owns(self.service) { &self.owners } else { &self.others }
    }

    /// Says who acts, where they have the right to do `what`. Who tried without it stands in the log.
    pub(super) async fn may(&self, peer: Peer, right: Right, what: &str) -> Result<Actor, Problem> {
        let allowed = self.look_up(peer, right, what).await;
        if let Err(problem) = &allowed {
            tracing::warn!(uid = peer.uid, login_uid = peer.login_uid, why = problem.detail, "not permitted");
        }
        allowed
    }

    /// Who the operators are is for the config in use to say.
    async fn look_up(&self, peer: Peer, right: Right, what: &str) -> Result<Actor, Problem> {
        let operators = match peer.owns(self.service) {
            true => Vec::new(),
            false => ask(&self.engine, handle::Request::Settings).await?.daemon.operators.clone(),
        };
        peer.may(right, what, self.service, &operators, &Accounts::read())
    }
}

impl Server {
    /// Opens the socket. A socket file that a dead daemon left is replaced, one that is answered is not.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(path: &Path) -> Result<Self, BindError> {
        Socket::bind(path, SOCKET_MODE).await.map(Self)
    }

    /// Answers until `stop`; requests that are being answered then end first. The socket file is removed.
    pub async fn serve(self, engine: Handle, load: Load, stop: CancellationToken) {
        let desk = Desk::new(engine, load);
        let app = router(desk.clone());
        let served = TaskTracker::new();
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.0.accept() => accepted,
            };
            match desk.places(Peer::of(&stream)).connection() {
                Some(place) => {
                    let answering = connections::serve(stream, app.clone(), stop.clone());
                    served.spawn(async {
                        let _place = place;
                        answering.await;
                    });
                }
                None => connections::turn_away(&stream),
            }
        }
        let _file = self.0.close();
        served.close();
        served.wait().await;
    }
}

/// Reads the config anew and has the engine use it: for the socket's `reload` and for SIGHUP.
///
/// # Errors
/// The faults of the config, or why the engine refused it. The config in use stays.
pub async fn reload(
    engine: &Handle,
    load: &Load,
    allow_removals: bool,
    by: Option<handle::By>,
) -> Result<handle::Done, Problem> {
    let _one_at_a_time = RELOADING.lock().await;
    let _told = systemd::reloading();
    let load = load.clone();
    let loaded = match aside("the config", move || load()).await {
        Ok(loaded) => loaded,
        Err(NotRead::Broken) => return Err(Problem::new(Kind::Internal, "reading the config failed")),
        Err(late) => {
            let why = format!("the config, or a secret that it names: {late}");
            let refused = Problem::new(Kind::ConfigRefused, why.clone()).remedy("rekeyd check");
            let _ = ask(engine, |reply| handle::Request::ConfigRejected { why, by, reply }).await;
            return Err(refused);
        }
    };
    match loaded {
        Ok(loaded) => {
            let loaded = Box::new(loaded);
            let answer = ask(engine, |reply| handle::Request::Reload { loaded, allow_removals, by, reply }).await?;
            answer.map_err(|it| Problem::refused("", &it))
        }
        Err(faults) => {
            let problem = Problem::config(faults);
            let why = problem.with_first_fault();
            // Whoever asks for the status next sees it. Who asked for the reload hears the faults in any case.
            let _ = ask(engine, |reply| handle::Request::ConfigRejected { why, by, reply }).await;
            Err(problem)
        }
    }
}

/// Asks the engine, for no longer than [`ANSWER_WITHIN`].
pub(super) async fn ask<T>(
    engine: &Handle,
    request: impl FnOnce(oneshot::Sender<T>) -> handle::Request,
) -> Result<T, Problem> {
    match tokio::time::timeout(ANSWER_WITHIN, engine.ask(request)).await {
        Ok(answer) => answer.map_err(Problem::from),
        Err(_) => {
            let detail = format!("the engine did not answer within {} s", ANSWER_WITHIN.as_secs());
            Err(Problem::new(Kind::NoAnswer, detail).remedy("rekeyd status"))
        }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("service", &self.service).finish_non_exhaustive()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        (status, [kind], axum::Json(self).into_response().into_body()).into_response()
    }
}

pub(super) fn router(desk: Desk) -> Router {
    Router::new()
        .route("/v1/status", get(verbs::status))
        .route("/v1/plan", get(verbs::plan))
        .route("/v1/plan/facts", get(verbs::plan_facts))
        .route("/v1/history", get(verbs::history))
        .route("/v1/reload", post(verbs::reload))
        .route("/v1/backup", get(backup::backup))
        .route("/v1/keys/{key}", get(verbs::key).delete(commands::forget))
        .route("/v1/keys/{key}/history", get(verbs::key_history))
        .route("/v1/keys/{key}/secret", get(verbs::reveal).put(adopt::adopt))
        .route("/v1/keys/{key}/rotate", post(commands::rotate))
        .route("/v1/keys/{key}/resume", post(commands::resume))
        .route("/v1/keys/{key}/abandon", post(commands::abandon))
        .route("/v1/keys/{key}/pause", post(commands::pause))
        .route("/v1/keys/{key}/rollback", post(commands::rollback))
        .route("/v1/keys/{key}/ack", post(commands::ack))
        .route("/v1/keys/{key}/retire", post(commands::retire))
        .route("/v1/ack", post(commands::ack_own))
        .route("/v1/owners/{owner}/test", post(owners::test))
        .route("/v1/pause", post(commands::pause_some))
        .route("/v1/resume", post(commands::resume_some))
        .fallback(async || Problem::new(Kind::NoSuchPath, "there is no such path; paths begin with /v1/status"))
        .method_not_allowed_fallback(async || Problem::new(Kind::Method, "this path does not know this method"))
        .layer(from_fn_with_state(desk.clone(), bounded))
        .with_state(desk)
}

async fn bounded(State(desk): State<Desk>, ConnectInfo(peer): Caller, request: Request, next: Next) -> Response {
    let most = if request.body().is_end_stream() { 0 } else { may_bring(&desk, peer).await };
    let request = match whole(request, most).await {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    let places = desk.places(peer);
    let Some(_place) = places.request() else {
        let detail = format!("{REQUESTS_AT_ONCE} requests are being answered already");
        return Problem::new(Kind::Busy, detail).remedy("try again").into_response();
    };
    match tokio::time::timeout(REQUEST_WITHIN, answered(places, request, next)).await {
        Ok(answer) => answer,
        Err(_) => {
            let detail = format!("the request was not answered within {} s", REQUEST_WITHIN.as_secs());
            Problem::new(Kind::NoAnswer, detail).remedy("try again").into_response()
        }
    }
}

/// Has a request answered, within what may be in memory of answers: who looks at everything does so alone, and goes only
/// once there is room for what he saw.
async fn answered(places: &Places, request: Request, next: Next) -> Response {
    let unread = request.extensions().get::<Unread>().cloned().unwrap_or_default();
    let _looking = if request.method() == Method::GET { Some(places.look().await) } else { None };
    let answer = next.run(request).await;
    let bytes = answer.body().size_hint().exact().and_then(|it| usize::try_from(it).ok());
    places.keep(bytes.unwrap_or(usize::MAX), &unread).await;
    answer
}

/// How large a body the caller may bring: none, where he could do nothing with it.
async fn may_bring(desk: &Desk, peer: Peer) -> usize {
    if peer.owns(desk.service) {
        return BODY_BYTES;
    }
    let operates = desk.look_up(peer, Right::Operate, "to send a body").await.is_ok();
    if operates { OPERATOR_BODY_BYTES } else { 0 }
}

/// Has the body read before the request takes a place, so that whoever is slow to send one takes none from others. The
/// body of somebody who may do nothing with it is left unread; the verb refuses them.
async fn whole(mut request: Request, most: usize) -> Result<Request, Problem> {
    if most == 0 {
        return Ok(request.map(|_| Body::empty()));
    }
    DefaultBodyLimit::max(most).apply(&mut request);
    let (head, body) = request.into_parts();
    let reading = Bytes::from_request(Request::from_parts(head.clone(), body), &());
    let Ok(read) = tokio::time::timeout(BODY_WITHIN, reading).await else {
        let detail = format!("the body was not whole within {} s", BODY_WITHIN.as_secs());
        return Err(Problem::new(Kind::BadRequest, detail));
    };
    Ok(Request::from_parts(head, Body::from(verbs::body_within(read, most)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_of_somebody_without_rights_is_not_awaited() {
        let endless = Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
        let request = whole(Request::new(endless), 0).await.unwrap();
        assert!(request.body().is_end_stream());
    }
}

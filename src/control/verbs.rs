//! What each path of the control socket does. Reading is for everybody at the socket; the rest asks [`Desk::may`] first.
use super::commands::by;
use super::problem::{Kind, Problem};
use super::protocol::{HistoryReport, KeyStatus, PlanFacts, PlanReport, Status, Time};
use super::requests::{DoneReport, ReloadRequest, Revealed, SecretText};
use super::rights::{Peer, Right};
use super::server::{self, BODY_BYTES, Desk};
use super::view;
use crate::core::names::KeyName;
use crate::core::plan::Command;
use crate::engine::handle::{By, Refused, Request, Snapshot};
use crate::humane::HumanDuration;
use crate::secret::Secret;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

pub(super) type Answer<T> = Result<Json<T>, Problem>;
pub(super) type Caller = ConnectInfo<Peer>;
pub(super) type Body = Result<Bytes, BytesRejection>;

#[derive(Debug, Deserialize)]
pub(super) struct PlanQuery {
    r#for: Option<String>,
    /// Names, with commas between them.
    key: Option<String>,
    owner: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct HistoryQuery {
    since: Option<Time>,
    until: Option<Time>,
}

pub(super) async fn status(State(desk): State<Desk>) -> Answer<Status> {
    Ok(Json(view::status(&snapshot(&desk).await?)))
}

pub(super) async fn plan(
    State(desk): State<Desk>,
    query: Result<Query<PlanQuery>, QueryRejection>,
) -> Answer<PlanReport> {
    let ask = plan_ask(query)?;
    reckoned(&desk, move |snapshot| view::plan_of(snapshot, &ask)).await
}

pub(super) async fn plan_facts(
    State(desk): State<Desk>,
    query: Result<Query<PlanQuery>, QueryRejection>,
) -> Answer<PlanFacts> {
    let ask = plan_ask(query)?;
    reckoned(&desk, move |snapshot| view::plan_facts(snapshot, &ask)).await
}

pub(super) async fn key(State(desk): State<Desk>, Path(key): Path<String>) -> Answer<KeyStatus> {
    let name = name(&key)?;
    let snapshot = snapshot(&desk).await?;
    view::key_status(&snapshot, &name).map(Json).ok_or_else(|| Problem::no_such_key(&key))
}

pub(super) async fn history(
    State(desk): State<Desk>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Answer<HistoryReport> {
    past(&desk, None, query).await
}

pub(super) async fn key_history(
    State(desk): State<Desk>,
    Path(key): Path<String>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Answer<HistoryReport> {
    past(&desk, Some(name(&key)?), query).await
}

pub(super) async fn reveal(
    State(desk): State<Desk>,
    ConnectInfo(peer): Caller,
    Path(key): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let actor = desk.may(peer, Right::Own, "reveal").await?;
    let name = name(&key)?;
    tracing::info!(key, by = actor.name(), "secret revealed");
    let asked = name.clone();
    let answer = server::ask(&desk.engine, |reply| Request::Reveal { name: asked, actor, reply }).await?;
    let (version, secret) = answer.map_err(|it| Problem::refused(&key, &it))?;
    if secret.expose_str().is_err() {
        return Err(Problem::new(Kind::Internal, format!("the secret of key {key} is not UTF-8 text")));
    }
    let body = Json(Revealed { key: name, version, secret: SecretText(secret) });
    Ok(([(header::CACHE_CONTROL, "no-store")], body))
}

pub(super) async fn reload(State(desk): State<Desk>, ConnectInfo(peer): Caller, body: Body) -> Answer<DoneReport> {
    let actor = desk.may(peer, Right::Own, "reload").await?;
    let body = body_of(body)?;
    let ask: ReloadRequest = if body.is_empty() { ReloadRequest::default() } else { read(&body, "reload")? };
    let by = by(actor, ask.reason)?;
    Ok(Json(server::reload(&desk.engine, &desk.load, ask.allow_removals, Some(by)).await?.into()))
}

pub(super) async fn snapshot(desk: &Desk) -> Result<Snapshot, Problem> {
    server::ask(&desk.engine, Request::Snapshot).await
}

async fn past(
    desk: &Desk,
    name: Option<KeyName>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Answer<HistoryReport> {
    let Query(query) = query.map_err(|it| bad(it.body_text()))?;
    let (since, until) = (query.since.map(|it| it.0), query.until.map(|it| it.0));
    if since.zip(until).is_some_and(|(since, until)| since > until) {
        return Err(bad("since is after until: nothing lies between them"));
    }
    let spelled = name.as_ref().map_or("", KeyName::as_str).to_owned();
    let answer = server::ask(&desk.engine, |reply| Request::History { name, since, until, reply }).await?;
    answer.map(|it| Json(view::history(it))).map_err(|it| Problem::refused(&spelled, &it))
}

/// Has the engine carry out a verb for one key.
pub(super) async fn command(
    desk: &Desk,
    key: &str,
    command: Command,
    secret: Option<Secret>,
    by: By,
) -> Answer<DoneReport> {
    let name = name(key)?;
    let command = Box::new(command);
    let answer = server::ask(&desk.engine, |reply| Request::Command { name, command, secret, by, reply }).await?;
    let done = answer.map_err(|it| Problem::refused(key, &it))?;
    Ok(Json(DoneReport { message: done.message, attempt: done.attempt }))
}

pub(super) fn body_of(body: Body) -> Result<Bytes, Problem> {
    body_within(body, BODY_BYTES)
}

/// A body that has so many bytes at most.
pub(super) fn body_within(body: Body, most: usize) -> Result<Bytes, Problem> {
    body.map_err(|it| match it.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Kind::TooLarge, format!("the body has more than {most} bytes")),
        _ => bad("the body was cut short".to_owned()),
    })
}

/// Reads a body. The parser's own message may quote it, and a secret may be in it, even where none belongs.
pub(super) fn read<T: DeserializeOwned>(body: &[u8], verb: &str) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|it| bad(format!("the body is no {verb} request (line {}, column {} of it)", it.line(), it.column())))
}

pub(super) fn name(key: &str) -> Result<KeyName, Problem> {
    key.parse().map_err(|_| Problem::no_such_key(key))
}

/// Thousands of keys take a while, in which the daemon has other things to do.
async fn reckoned<T: Send + 'static>(
    desk: &Desk,
    reckon: impl FnOnce(&Snapshot) -> Result<T, Refused> + Send + 'static,
) -> Answer<T> {
    let snapshot = snapshot(desk).await?;
    let answer = tokio::task::spawn_blocking(move || reckon(&snapshot)).await;
    let answer = answer.map_err(|_| Problem::new(Kind::Internal, "the plan could not be reckoned"))?;
    answer.map(Json).map_err(|it| Problem::refused("", &it))
}

fn plan_ask(query: Result<Query<PlanQuery>, QueryRejection>) -> Result<view::PlanAsk, Problem> {
    let Query(query) = query.map_err(|it| bad(it.body_text()))?;
    let keys = query.key.iter().flat_map(|it| it.split(',')).map(name).collect::<Result<_, _>>()?;
    let ahead = query.r#for.as_deref().map(duration).transpose()?;
    Ok(view::PlanAsk { ahead, keys, owner: query.owner })
}

fn duration(text: &str) -> Result<Duration, Problem> {
    let ahead = text.parse::<HumanDuration>().map_err(|it| bad(format!("for={it}")))?.0;
    if ahead > view::PLAN_FOR_MAX {
        return Err(bad(format!(
            "for={text}: a plan looks at most {} days ahead",
            view::PLAN_FOR_MAX.as_secs() / 86_400
        )));
    }
    Ok(ahead)
}

pub(super) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadRequest, detail)
}

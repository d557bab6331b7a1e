//! `GET /v1/backup`: the whole state, sealed, for root and the service's user.
use super::problem::Problem;
use super::rights::Right;
use super::server::{self, Desk};
use super::verbs::Caller;
use crate::engine::handle::Request;
use axum::extract::{ConnectInfo, State};
use axum::http::header;
use axum::response::IntoResponse;

/// What a backup is, to HTTP.
const MEDIA_TYPE: &str = "application/octet-stream";

pub(super) async fn backup(State(desk): State<Desk>, ConnectInfo(peer): Caller) -> Result<impl IntoResponse, Problem> {
    let actor = desk.may(peer, Right::Own, "backup").await?;
    let answer = server::ask(&desk.engine, |reply| Request::Backup { actor, reply }).await?;
    let bytes = answer.map_err(|it| Problem::refused("", &it))?;
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE), (header::CACHE_CONTROL, "no-store")], bytes))
}

//! What is asked about an owner: whether they can be told.
use super::problem::{Kind, Problem};
use super::requests::ChannelReport;
use super::rights::Right;
use super::server::{self, Desk};
use super::verbs::{Answer, Caller};
use crate::engine::handle::Request;
use crate::engine::trial;
use crate::notifiers::Sent;
use axum::Json;
use axum::extract::{ConnectInfo, Path, State};

/// `POST /v1/owners/{owner}/test`.
pub(super) async fn test(
    State(desk): State<Desk>,
    ConnectInfo(peer): Caller,
    Path(name): Path<String>,
) -> Answer<Vec<ChannelReport>> {
    let actor = desk.may(peer, Right::Operate, "notify").await?;
    let settings = server::ask(&desk.engine, Request::Settings).await?;
    if !settings.owners.contains_key(&name) {
        let known: Vec<&str> = settings.owners.keys().map(String::as_str).collect();
        let detail = format!("there is no owner {name}; there are: {}", known.join(", "));
        return Err(Problem::new(Kind::NoSuchOwner, detail).remedy("name one of them, or add the owner to the config"));
    }
    tracing::info!(owner = name, uid = actor.uid, user = actor.user, "a test notice goes through every channel");
    // A mail server may take as long as it may take for any other notice.
    let heard = desk.engine.ask(|reply| Request::TryChannels { owner: name, actor, reply }).await?;
    Ok(Json(heard.into_iter().map(report).collect()))
}

fn report(heard: trial::Heard) -> ChannelReport {
    let message = heard.answer.why().unwrap_or("taken").to_owned();
    let ms = u64::try_from(heard.took.as_millis()).unwrap_or(u64::MAX);
    ChannelReport { channel: heard.channel, taken: heard.answer == Sent::Taken, message, ms }
}

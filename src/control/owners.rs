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
    let Some(owner) = settings.owners.get(&name) else {
        let known: Vec<&str> = settings.owners.keys().map(String::as_str).collect();
        let detail = format!("there is no owner {name}; there are: {}", known.join(", "));
        return Err(Problem::new(Kind::NoSuchOwner, detail).remedy("name one of them, or add the owner to the config"));
    };
    tracing::info!(owner = name, uid = actor.uid, user = actor.user, "a test notice goes through every channel");
    let heard = trial::try_channels(owner, &actor).await;
    for it in heard.iter().filter(|it| it.answer == Sent::Taken) {
        let works = Request::ChannelWorks { owner: name.clone(), channel: it.channel.clone() };
        // Where the daemon stops, the channel's next notice says the same.
        let _ = desk.engine.requests.send(works).await;
    }
    Ok(Json(heard.into_iter().map(report).collect()))
}

fn report(heard: trial::Heard) -> ChannelReport {
    let (taken, message) = match heard.answer {
        Sent::Taken => (true, "taken".to_owned()),
        Sent::Later { why, .. } | Sent::Unsure(why) | Sent::Refused(why) | Sent::Unfit(why) | Sent::Gone(why) => {
            (false, why)
        }
    };
    let ms = u64::try_from(heard.took.as_millis()).unwrap_or(u64::MAX);
    ChannelReport { channel: heard.channel, taken, message, ms }
}

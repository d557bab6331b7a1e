//! The verbs that change how a key is worked on: for one key, and for several at once.
use super::problem::Problem;
use super::protocol::Time;
use super::requests::{
    AckOwnRequest, AckRequest, DoneReport, KeyDone, PauseKeyRequest, PauseRequest, ResumeRequest, RotateRequest,
    VerbRequest,
};
use super::rights::Right;
use super::server::{self, Desk};
use super::supply::supply;
use super::verbs::{Answer, Body, Caller, bad, body_of, command, read};
use crate::clock;
use crate::core::plan::Command;
use crate::core::record::{Actor, Pause, Trigger, Wish};
use crate::engine::handle::{By, Done, PerKey, Request, Which};
use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use serde::de::DeserializeOwned;

/// The longest reason that an operator may give, in bytes.
const REASON_BYTES: usize = 1024;

pub(super) async fn rotate(
    State(desk): State<Desk>,
    ConnectInfo(peer): Caller,
    Path(key): Path<String>,
    body: Body,
) -> Answer<DoneReport> {
    let actor = desk.may(peer, Right::Operate, "rotate").await?;
    let ask: RotateRequest = asked(body, "rotate")?;
    let by = by(actor, ask.reason)?;
    let wish = Wish {
        trigger: Trigger::Operator,
        actor: Some(by.actor.clone()),
        reason: by.reason.clone(),
        now: ask.now,
        compromised: ask.compromised,
    };
    let (verb, secret) = match ask.key {
        None => (Command::Rotate(wish), None),
        Some(new) => {
            // Whoever brings a secret says what consumers get.
            desk.may(peer, Right::Own, "rotate with a new key").await?;
            supply(&desk, &key, new, wish).await.map(|(verb, secret)| (verb, Some(secret)))?
        }
    };
    command(&desk, &key, verb, secret, by).await
}

pub(super) async fn resume(
    State(desk): State<Desk>,
    ConnectInfo(peer): Caller,
    Path(key): Path<String>,
    body: Body,
) -> Answer<DoneReport> {
    let actor = desk.may(peer, Right::Operate, "resume").await?;
    let ask: VerbRequest = asked(body, "resume")?;
    command(&desk, &key, Command::Resume, None, by(actor, ask.reason)?).await
}

pub(super) async fn resume_some(
    State(desk): State<Desk>,
    ConnectInfo(peer): Caller,
    body: Body,
) -> Answer<Vec<KeyDone>> {
    let actor = desk.may(peer, Right::Operate, "resume").await?;
    let ask: ResumeRequest = read(&body_of(body)?, "resume")?;
    command_some(&desk, ask.which, Command::Resume, by(actor, ask.reason)?).await
}

pub(super) async fn pause(
    State(desk): State<Desk>,
    ConnectInfo(peer): Caller,
    Path(key): Path<String>,
    body: Body,
) -> Answer<DoneReport> {
    let actor = desk.may(peer, Right::Operate, "pause").await?;
    let ask: PauseKeyRequest = asked(body, "pause")?;
    let by = by(actor, ask.reason)?;
    command(&desk, &key, pausing(ask.until, &by)?, None, by).await
}

pub(super) async fn pause_some(
    State(desk): State<Desk>,
    ConnectInfo(peer): Caller,
    body: Body,
) -> Answer<Vec<KeyDone>> {
    let actor = desk.may(peer, Right::Operate, "pause").await?;
    let ask: PauseRequest = read(&body_of(body)?, "pause")?;
    let by = by(actor, ask.reason)?;
    command_some(&desk, ask.which, pausing(ask.until, &by)?, by).await
}

pub(super) async fn ack(
    State(desk): State<Desk>,
    ConnectInfo(peer): Caller,
    Path(key): Path<String>,
    body: Body,
) -> Answer<DoneReport> {
    let actor = desk.may(peer, Right::Operate, "ack").await?;
    let ask: AckRequest = asked(body, "ack")?;
    command(&desk, &key, Command::Ack { revoked: ask.revoked }, None, by(actor, ask.reason)?).await
}

/// For what belongs to no key.
pub(super) async fn ack_own(State(desk): State<Desk>, ConnectInfo(peer): Caller, body: Body) -> Answer<DoneReport> {
    let actor = desk.may(peer, Right::Operate, "ack").await?;
    let ask: AckOwnRequest = read(&body_of(body)?, "ack")?;
    if !ask.dead_letters {
        return Err(bad("nothing is named that could be acknowledged").remedy("name a key, or dead_letters"));
    }
    let by = by(actor, ask.reason)?;
    let answer = server::ask(&desk.engine, |reply| Request::AckLetters { by, reply }).await?;
    Ok(Json(answer.map_err(|it| Problem::refused("", &it))?.into()))
}

pub(super) async fn abandon(desk: State<Desk>, peer: Caller, key: Path<String>, body: Body) -> Answer<DoneReport> {
    owned(desk, peer, key, body, "abandon", Command::Abandon).await
}

pub(super) async fn rollback(desk: State<Desk>, peer: Caller, key: Path<String>, body: Body) -> Answer<DoneReport> {
    owned(desk, peer, key, body, "rollback", Command::Rollback).await
}

pub(super) async fn retire(desk: State<Desk>, peer: Caller, key: Path<String>, body: Body) -> Answer<DoneReport> {
    owned(desk, peer, key, body, "retire", Command::Retire).await
}

pub(super) async fn forget(desk: State<Desk>, peer: Caller, key: Path<String>, body: Body) -> Answer<DoneReport> {
    owned(desk, peer, key, body, "forget", Command::Forget).await
}

/// The verbs that may end a version: they take nothing but a reason.
async fn owned(
    State(desk): State<Desk>,
    ConnectInfo(peer): Caller,
    Path(key): Path<String>,
    body: Body,
    verb: &str,
    asked_for: Command,
) -> Answer<DoneReport> {
    let actor = desk.may(peer, Right::Own, verb).await?;
    let ask: VerbRequest = asked(body, verb)?;
    command(&desk, &key, asked_for, None, by(actor, ask.reason)?).await
}

fn pausing(until: Option<Time>, by: &By) -> Result<Command, Problem> {
    let since = clock::now();
    if let Some(Time(it)) = until.filter(|it| it.0 <= since) {
        return Err(bad(format!("until {it}: that is over already")).remedy("name a time to come, or none"));
    }
    let (reason, actor) = (by.reason.clone(), Some(by.actor.clone()));
    Ok(Command::Pause(Pause { since, until: until.map(|it| it.0), reason, actor }))
}

/// A body that may be missing.
fn asked<T: Default + DeserializeOwned>(body: Body, verb: &str) -> Result<T, Problem> {
    let body = body_of(body)?;
    if body.is_empty() { Ok(T::default()) } else { read(&body, verb) }
}

pub(super) fn by(actor: Actor, reason: Option<String>) -> Result<By, Problem> {
    if reason.as_ref().is_some_and(|it| it.len() > REASON_BYTES) {
        return Err(bad(format!("a reason has at most {REASON_BYTES} bytes")).remedy("say it in fewer words"));
    }
    Ok(By { actor, reason })
}

/// One verb for several keys, durable in one commit. What is refused for one is said beside its name.
async fn command_some(desk: &Desk, which: Which, verb: Command, by: By) -> Answer<Vec<KeyDone>> {
    let command = Box::new(verb);
    let answer = server::ask(&desk.engine, |reply| Request::Commands { which, command, by, reply }).await?;
    let all = answer.map_err(|it| Problem::refused("", &it))?;
    let one = |(key, done): PerKey| match done {
        Ok(it) => KeyDone { key, done: DoneReport::from(it), problem: None },
        Err(why) => {
            let problem = Some(Problem::refused(key.as_str(), &why));
            KeyDone { key, done: DoneReport::default(), problem }
        }
    };
    Ok(Json(all.into_iter().map(one).collect()))
}

impl From<Done> for DoneReport {
    fn from(it: Done) -> Self {
        Self { message: it.message, attempt: it.attempt }
    }
}

//! `rekeyd rotate`: rotate in the next window, or now.
use super::Cli;
use super::connect::ask;
use super::done::{Why, done_text};
use super::exit::{Exit, Failure};
use super::output::{Output, Paint, Tone};
use super::status::of;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{KeyStatus, PhaseName};
use crate::control::requests::{DoneReport, KeyDone, RotateRequest};
use crate::core::names::KeyName;
use crate::core::record::RotationResult;
use crate::humane::HumanDuration;
use serde::Serialize;
use std::time::Duration;

/// How often `--wait` looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// `rekeyd rotate KEY…`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which keys
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<KeyName>,
    /// Wait for no window and no freeze
    #[arg(long)]
    now: bool,
    /// The key is in wrong hands: wait for no window, and revoke it without an overlap
    #[arg(long)]
    compromised: bool,
    #[command(flatten)]
    why: Why,
    /// Wait for the end: exit 0 done, 1 failed or halted, 75 still under way
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "30m", requires = "wait")]
    timeout: HumanDuration,
}

/// How far a rotation is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Progress {
    Succeeded,
    Failed,
    UnderWay,
}

/// One of the keys.
#[derive(Debug, Serialize)]
struct Asked {
    #[serde(flatten)]
    done: KeyDone,
    /// Only with `--wait`.
    progress: Option<Progress>,
    /// The last rotation that had ended before.
    #[serde(skip)]
    before: u32,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let asked = ask(cli, async |daemon| {
        // Nothing is begun where one of the names is a slip.
        let keys = of(daemon.status().await?, &args.keys)?.keys;
        let mut asked = Vec::new();
        for key in &keys {
            asked.push(rotate(&daemon, key, args).await?);
        }
        if args.wait {
            wait(&daemon, &mut asked, args.timeout.0).await?;
        }
        Ok(asked)
    })?;
    out.print(&asked, |paint| asked.iter().map(|it| text(it, paint)).collect())?;
    let refused = asked.iter().filter_map(|it| it.done.problem.clone().map(Failure::from));
    refused.reduce(Failure::and).map_or(Ok(exit(&asked)), Err)
}

/// What is refused for one key is no reason to leave out the others.
async fn rotate(daemon: &Client, key: &KeyStatus, args: &Args) -> Result<Asked, Failure> {
    let reason = args.why.reason.clone();
    let request = RotateRequest { now: args.now, compromised: args.compromised, reason };
    let (done, problem) = match daemon.rotate(key.name.as_str(), &request).await {
        Ok(done) => (done, None),
        Err(ClientError::Problem(problem)) => (DoneReport::default(), Some(*problem)),
        Err(error) => return Err(error.into()),
    };
    let before = key.last_rotation.as_ref().map_or(0, |it| it.attempt);
    Ok(Asked { done: KeyDone { key: key.name.clone(), done, problem }, progress: None, before })
}

/// Looks until every rotation has ended, or the time is up.
async fn wait(daemon: &Client, asked: &mut [Asked], timeout: Duration) -> Result<(), Failure> {
    let begun = asked.iter_mut().filter(|it| it.done.problem.is_none());
    begun.for_each(|it| it.progress = Some(Progress::UnderWay));
    let look = async {
        loop {
            for it in asked.iter_mut().filter(|it| it.progress == Some(Progress::UnderWay)) {
                it.progress = Some(progress(it, &daemon.key(it.done.key.as_str()).await?));
            }
            if asked.iter().all(|it| it.progress != Some(Progress::UnderWay)) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    // Running out of time is an answer too: still under way.
    tokio::time::timeout(timeout, look).await.unwrap_or(Ok(()))
}

fn progress(asked: &Asked, key: &KeyStatus) -> Progress {
    let awaited = asked.done.done.attempt.unwrap_or(asked.before + 1);
    let ended = key.last_rotation.as_ref().filter(|it| it.attempt >= awaited);
    match ended.and_then(|it| it.result) {
        Some(RotationResult::Succeeded) => Progress::Succeeded,
        Some(RotationResult::Failed | RotationResult::Halted) => Progress::Failed,
        None if key.phase == PhaseName::Halted => Progress::Failed,
        None => Progress::UnderWay,
    }
}

fn exit(asked: &[Asked]) -> Exit {
    let any = |progress| asked.iter().any(|it| it.progress == Some(progress));
    if any(Progress::Failed) {
        Exit::Attention
    } else if any(Progress::UnderWay) {
        Exit::TryLater
    } else {
        Exit::Ok
    }
}

fn text(asked: &Asked, paint: Paint) -> String {
    let key: &KeyName = &asked.done.key;
    let look = |tone, what: &str| format!("{key}: {}; try: rekeyd status {key}\n", paint.tone(tone, what));
    match asked.progress {
        None if asked.done.problem.is_some() => String::new(),
        None => done_text(key.as_str(), &asked.done.done, "is rotated in its next window; watch it: rekeyd status"),
        Some(Progress::Succeeded) => format!("{key}: {}\n", paint.tone(Tone::Good, "rotated")),
        Some(Progress::Failed) => look(Tone::Bad, "the rotation failed or was halted"),
        Some(Progress::UnderWay) => look(Tone::Warn, "still under way"),
    }
}

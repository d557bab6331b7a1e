//! `rekeyd rotate`: rotate in the next window, or now.
use super::Cli;
use super::connect::ask;
use super::exit::{Exit, Failure};
use super::output::{Output, Paint, Tone};
use super::resume::done_text;
use super::stdin;
use crate::control::client::Client;
use crate::control::protocol::{KeyStatus, PhaseName, Time};
use crate::control::requests::{DoneReport, NewKey, RotateRequest, SecretText};
use crate::core::names::KeyName;
use crate::core::record::RotationResult;
use crate::humane::HumanDuration;
use crate::providers::KINDS;
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
    /// Wait for no window
    #[arg(long)]
    now: bool,
    /// The key is in wrong hands: wait for no window, and revoke it without an overlap
    #[arg(long)]
    compromised: bool,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Wait for the end: exit 0 done, 1 failed or halted, 75 still under way
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "30m", requires = "wait")]
    timeout: HumanDuration,
    #[command(flatten)]
    new: New,
}

/// What is said of a new key that was got by hand. Without a date it counts as issued now.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "For a key that is replaced by hand, whose new secret is read from stdin")]
struct New {
    /// When it expires, such as 2026-12-04 or 2026-12-04T22:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with_all = ["issued_at", "age_unknown"])]
    valid_to: Option<Time>,
    /// When it was issued, if not now; its expiry is reckoned from valid_for
    #[arg(long, value_name = "TIME", conflicts_with = "age_unknown")]
    issued_at: Option<Time>,
    /// Nobody knows how old it is
    #[arg(long)]
    age_unknown: bool,
    /// The provider's id of it, which is named when it is to be revoked
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

impl New {
    fn is_given(&self) -> bool {
        self.valid_to.is_some() || self.issued_at.is_some() || self.age_unknown || self.id.is_some()
    }
}

/// How far a rotation is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Progress {
    /// The new key is in use.
    Succeeded,
    /// It failed, or waits for a human.
    Failed,
    /// It goes on, or waits for its window.
    UnderWay,
}

/// One rotation that was asked for.
#[derive(Clone, Debug, Serialize)]
struct Asked {
    key: KeyName,
    #[serde(flatten)]
    done: DoneReport,
    /// Only with `--wait`.
    progress: Option<Progress>,
    /// The last rotation that had ended before.
    #[serde(skip)]
    before: u32,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let asked = ask(cli, async |daemon| {
        let mut asked = Vec::new();
        // What is to be asked for is asked for before anything is done.
        let mut ready = Vec::new();
        for key in &args.keys {
            let status = daemon.key(key.as_str()).await?;
            ready.push((new_key(&status, args)?, status));
        }
        for (new, status) in ready {
            asked.push(rotate(&daemon, status, new, args).await?);
        }
        if args.wait {
            wait(&daemon, &mut asked, args.timeout.0).await?;
        }
        Ok(asked)
    })?;
    out.print(&asked, |paint| asked.iter().map(|it| text(it, paint)).collect())?;
    Ok(exit(&asked))
}

async fn rotate(daemon: &Client, status: KeyStatus, new: Option<NewKey>, args: &Args) -> Result<Asked, Failure> {
    let before = status.last_rotation.map_or(0, |it| it.attempt);
    let (now, compromised, reason) = (args.now, args.compromised, args.reason.clone());
    let done = daemon.rotate(status.name.as_str(), &RotateRequest { now, compromised, reason, key: new }).await?;
    Ok(Asked { key: status.name, done, progress: None, before })
}

/// The new key, where only a human can get one: its secret is asked for.
fn new_key(status: &KeyStatus, args: &Args) -> Result<Option<NewKey>, Failure> {
    let (key, new) = (&status.name, &args.new);
    let kind = KINDS.iter().find(|it| status.kind.as_deref() == Some(it.name));
    if kind.is_none_or(|it| it.capabilities.creates) {
        let about = "--valid-to, --issued-at, --age-unknown and --id are for keys that are replaced by hand";
        let wrong = Failure::new(Exit::Usage, format!("{about}; the provider of {key} is asked for new ones"));
        return if new.is_given() { Err(wrong.remedy(format!("rekeyd rotate {key}"))) } else { Ok(None) };
    }
    if args.keys.len() > 1 {
        let why = format!("{key} is replaced by hand: its new secret comes on stdin, where there is but one");
        return Err(Failure::new(Exit::Usage, why).remedy(format!("rekeyd rotate {key} < FILE")));
    }
    let remedy = format!("get a new key in the provider's portal, then: rekeyd rotate {key} < FILE");
    let secret = SecretText(stdin::secret(key, &remedy)?);
    let New { valid_to, issued_at, age_unknown, id } = new.clone();
    Ok(Some(NewKey { secret, valid_to, issued_at, age_unknown, id }))
}

/// Looks until every rotation has ended, or the time is up.
async fn wait(daemon: &Client, asked: &mut [Asked], timeout: Duration) -> Result<(), Failure> {
    asked.iter_mut().for_each(|it| it.progress = Some(Progress::UnderWay));
    let look = async {
        loop {
            for it in asked.iter_mut().filter(|it| it.progress == Some(Progress::UnderWay)) {
                it.progress = Some(progress(it, &daemon.key(it.key.as_str()).await?));
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
    let awaited = asked.done.attempt.unwrap_or(asked.before + 1);
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
    let key = &asked.key;
    match asked.progress {
        None => done_text(key.as_str(), &asked.done, "is rotated in its next window; watch it: rekeyd status"),
        Some(Progress::Succeeded) => format!("{key}: {}\n", paint.tone(Tone::Good, "rotated")),
        Some(Progress::Failed) => {
            format!("{key}: {}; try: rekeyd status {key}\n", paint.tone(Tone::Bad, "the rotation failed or was halted"))
        }
        Some(Progress::UnderWay) => {
            format!("{key}: {}; try: rekeyd status {key}\n", paint.tone(Tone::Warn, "still under way"))
        }
    }
}

//! The verbs that take one key and a reason: `abandon`, `rollback`, `retire` and `forget`.
use super::Cli;
use super::confirm::{Sure, confirm};
use super::connect::ask;
use super::done::{Why, done_text};
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::control::client::{Client, ClientError};
use crate::control::requests::{DoneReport, VerbRequest};
use crate::core::names::KeyName;

/// `rekeyd VERB KEY`, for a verb that can be taken back.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which key
    #[arg(value_name = "KEY")]
    key: KeyName,
    #[command(flatten)]
    why: Why,
}

/// `rekeyd VERB KEY`, for a verb that can't be undone.
#[derive(Clone, Debug, clap::Args)]
pub struct FinalArgs {
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    of: Args,
}

pub(super) fn abandon(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    run(cli, args, out, async |daemon, key, ask| daemon.abandon(key, ask).await)
}

pub(super) fn rollback(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    run(cli, args, out, async |daemon, key, ask| daemon.rollback(key, ask).await)
}

pub(super) fn retire(cli: &Cli, args: &FinalArgs, out: &mut Output) -> Result<Exit, Failure> {
    let what = "every version of it is revoked, or its owners are told to, and its targets are emptied";
    confirm(&args.sure, &format!("retire {}", args.of.key), what)?;
    run(cli, &args.of, out, async |daemon, key, ask| daemon.retire(key, ask).await)
}

pub(super) fn forget(cli: &Cli, args: &FinalArgs, out: &mut Output) -> Result<Exit, Failure> {
    let what = "its record and its secrets are dropped; the history stays";
    confirm(&args.sure, &format!("forget {}", args.of.key), what)?;
    run(cli, &args.of, out, async |daemon, key, ask| daemon.forget(key, ask).await)
}

/// Asks the daemon, and prints what it says comes next.
fn run(
    cli: &Cli,
    args: &Args,
    out: &mut Output,
    verb: impl AsyncFnOnce(&Client, &str, &VerbRequest) -> Result<DoneReport, ClientError>,
) -> Result<Exit, Failure> {
    let key = args.key.as_str();
    let request = VerbRequest { reason: args.why.reason.clone() };
    let done = ask(cli, async |daemon| Ok(verb(&daemon, key, &request).await?))?;
    out.print(&done, |_| done_text(key, &done, "done"))?;
    Ok(Exit::Ok)
}

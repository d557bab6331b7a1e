//! `rekeyd forget`: drop the record of a key that is no more.
use super::Cli;
use super::confirm::{Sure, confirm};
use super::connect::ask;
use super::done::{Why, done_text};
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::control::requests::VerbRequest;
use crate::core::names::KeyName;

/// `rekeyd forget KEY`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which key; none of its versions may be live
    #[arg(value_name = "KEY")]
    key: KeyName,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    why: Why,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let key = args.key.as_str();
    confirm(&args.sure, &format!("forget {key}"), "its record and its secrets are dropped; the history stays")?;
    let request = VerbRequest { reason: args.why.reason.clone() };
    let done = ask(cli, async |daemon| Ok(daemon.forget(key, &request).await?))?;
    out.print(&done, |_| done_text(key, &done, "forgotten"))?;
    Ok(Exit::Ok)
}

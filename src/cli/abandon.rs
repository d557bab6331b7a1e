//! `rekeyd abandon`: give up the new key of a halted rotation.
use super::Cli;
use super::connect::ask;
use super::done::{Why, done_text};
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::control::requests::VerbRequest;
use crate::core::names::KeyName;

/// `rekeyd abandon KEY`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which key
    #[arg(value_name = "KEY")]
    key: KeyName,
    #[command(flatten)]
    why: Why,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let key = args.key.as_str();
    let request = VerbRequest { reason: args.why.reason.clone() };
    let done = ask(cli, async |daemon| Ok(daemon.abandon(key, &request).await?))?;
    out.print(&done, |_| done_text(key, &done, "the new key is given up; the old one stays in use"))?;
    Ok(Exit::Ok)
}

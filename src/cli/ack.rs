//! `rekeyd ack`: a human has it.
use super::Cli;
use super::connect::ask;
use super::done::{Why, done_text};
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::control::requests::AckRequest;
use crate::core::names::KeyName;

/// `rekeyd ack KEY`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which key
    #[arg(value_name = "KEY")]
    key: KeyName,
    /// The old versions that could not be revoked from here were revoked by hand
    #[arg(long)]
    revoked: bool,
    #[command(flatten)]
    why: Why,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let key = args.key.as_str();
    let request = AckRequest { revoked: args.revoked, reason: args.why.reason.clone() };
    let done = ask(cli, async |daemon| Ok(daemon.ack(key, &request).await?))?;
    out.print(&done, |_| done_text(key, &done, "acknowledged"))?;
    Ok(Exit::Ok)
}

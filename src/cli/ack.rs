//! `rekeyd ack`: a human has it.
use super::Cli;
use super::connect::ask;
use super::done::{Why, done_text};
use super::exit::{Exit, Failure};
use super::output::{Output, one_line};
use crate::control::requests::{AckOwnRequest, AckRequest};
use crate::core::names::KeyName;

/// `rekeyd ack KEY`, or `rekeyd ack --dead-letters`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which key
    #[arg(value_name = "KEY", required_unless_present = "dead_letters", conflicts_with = "dead_letters")]
    key: Option<KeyName>,
    /// The old versions that could not be revoked from here were revoked by hand
    #[arg(long, conflicts_with = "dead_letters")]
    revoked: bool,
    /// No key, but the notices that could not be delivered: somebody has read them in the history
    #[arg(long)]
    dead_letters: bool,
    #[command(flatten)]
    why: Why,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let reason = args.why.reason.clone();
    match &args.key {
        Some(key) => {
            let request = AckRequest { revoked: args.revoked, reason };
            let done = ask(cli, async |daemon| Ok(daemon.ack(key.as_str(), &request).await?))?;
            out.print(&done, |_| done_text(key.as_str(), &done, "acknowledged"))?;
        }
        None => {
            let request = AckOwnRequest { dead_letters: args.dead_letters, reason };
            let done = ask(cli, async |daemon| Ok(daemon.ack_own(&request).await?))?;
            out.print(&done, |_| format!("{}\n", one_line(&done.message)))?;
        }
    }
    Ok(Exit::Ok)
}

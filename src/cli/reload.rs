//! `rekeyd reload`: have the daemon read its config anew.
use super::Cli;
use super::connect::ask;
use super::done::Why;
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::control::requests::ReloadRequest;

/// `rekeyd reload`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Take it into use even if it drops more keys than max_removals; they are kept, and no longer looked after
    #[arg(long)]
    allow_removals: bool,
    #[command(flatten)]
    why: Why,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let request = ReloadRequest { allow_removals: args.allow_removals, reason: args.why.reason.clone() };
    let done = ask(cli, async |daemon| Ok(daemon.reload(&request).await?))?;
    out.print(&done, |_| format!("{}\n", done.message))?;
    Ok(Exit::Ok)
}

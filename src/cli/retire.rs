//! `rekeyd retire`: take a key out of service.
use super::Cli;
use super::confirm::{Sure, confirm};
use super::connect::ask;
use super::done::{Why, done_text};
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::control::requests::VerbRequest;
use crate::core::names::KeyName;

/// `rekeyd retire KEY`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which key; the config must not name it any more
    #[arg(value_name = "KEY")]
    key: KeyName,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    why: Why,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let key = args.key.as_str();
    let what = "every version of it is revoked, or its owners are told to, and its targets are emptied";
    confirm(&args.sure, &format!("retire {key}"), what)?;
    let request = VerbRequest { reason: args.why.reason.clone() };
    let done = ask(cli, async |daemon| Ok(daemon.retire(key, &request).await?))?;
    out.print(&done, |_| done_text(key, &done, "it is taken out of service"))?;
    Ok(Exit::Ok)
}

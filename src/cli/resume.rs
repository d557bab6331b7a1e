//! `rekeyd resume`: go on now.
use super::Cli;
use super::connect::ask;
use super::done::{Selected, Why, done_text, print_all};
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::control::requests::ResumeRequest;

/// `rekeyd resume KEY…`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Selected,
    #[command(flatten)]
    why: Why,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let request = ResumeRequest { which: args.which.which(), reason: args.why.reason.clone() };
    let all = ask(cli, async |daemon| Ok(daemon.resume(&request).await?))?;
    print_all(&all, out, |it| done_text(it.key.as_str(), &it.done, "goes on"))
}

//! `rekeyd reload`: have the daemon read its config anew.
use super::Cli;
use super::connect::ask;
use super::exit::{Exit, Failure};
use super::output::Output;

pub(super) fn run(cli: &Cli, out: &mut Output) -> Result<Exit, Failure> {
    let done = ask(cli, async |daemon| Ok(daemon.reload().await?))?;
    out.print(&done, |_| format!("{}\n", done.message))?;
    Ok(Exit::Ok)
}

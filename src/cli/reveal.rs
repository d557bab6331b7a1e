//! `rekeyd reveal`: print the current secret.
use super::Cli;
use super::connect::ask;
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::core::names::KeyName;
use std::io::IsTerminal;

/// `rekeyd reveal KEY`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which key
    #[arg(value_name = "KEY")]
    key: KeyName,
}

/// Into a pipe or a file go the bytes of the secret and nothing else; a terminal gets a line.
pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let revealed = ask(cli, async |daemon| Ok(daemon.reveal(args.key.as_str()).await?))?;
    if out.json {
        out.print(&revealed, |_| String::new())?;
    } else {
        out.bytes(revealed.secret.0.expose())?;
        if std::io::stdout().is_terminal() {
            out.bytes(b"\n")?;
        }
    }
    Ok(Exit::Ok)
}

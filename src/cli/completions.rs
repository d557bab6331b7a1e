//! `rekeyd completions`: a script for the shell.
use super::exit::{Exit, Failure};
use super::output::Output;
use clap_complete::Shell;

/// `rekeyd completions SHELL`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    // The generator panics where it can't write; a buffer it can.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command_line(), "rekeyd", &mut script);
    out.bytes(&script)?;
    Ok(Exit::Ok)
}

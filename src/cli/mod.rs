//! The command line: one file for each subcommand. It parses, asks the daemon, and prints; it decides nothing.
mod ack;
mod adopt;
mod backup;
mod calendar;
pub mod check;
mod completions;
mod confirm;
mod connect;
pub mod demo;
mod done;
mod exit;
mod hints;
pub mod history;
pub mod init;
mod man;
mod notify;
pub mod output;
mod pause;
pub mod plan;
mod reload;
mod reseal;
mod restore;
mod resume;
mod reveal;
mod rotate;
mod run;
mod state;
pub mod status;
mod stdin;
pub mod times;
mod verb;

pub use exit::Exit;

use clap::{CommandFactory, Parser, Subcommand};
use exit::Failure;
use output::{Color, Output};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the config lies, if nobody says otherwise.
const DEFAULT_CONFIG: &str = "/etc/rekeyd/rekeyd.toml";

/// Replaces API keys before they expire, and never leaves a consumer with a dead one.
#[derive(Clone, Debug, Parser)]
#[command(name = "rekeyd", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// The config; conf.d/*.toml beside it is read too
    #[arg(long, global = true, value_name = "FILE", env = "REKEYD_CONFIG", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// The daemon's control socket, if not the one that the config names
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// When to use colours; NO_COLOR is honoured
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub color: Color,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Write a commented config and a fresh master key
    Init(init::Args),
    /// Find every fault in the config, without touching the daemon or a provider
    Check(check::Args),
    /// Show the whole thing on this machine: the four services simulated on loopback
    Demo(demo::Args),
    /// Run the daemon in the foreground
    Run,
    /// Show every key: its health, its expiry, and what comes next
    Status(status::Args),
    /// Show what happened: rotations, who asked for what, notices, and who read a secret
    History(history::Args),
    /// Take over a key that is in use: the key itself on stdin, or as its targets hold it
    Adopt(adopt::Args),
    /// Rotate keys in their next window, or now; a key that is replaced by hand takes the new one on stdin
    Rotate(rotate::Args),
    /// Begin nothing and revoke nothing; what has begun goes on
    Pause(pause::Args),
    /// Go on now: ends a pause, a halt, or a retry's wait
    Resume(resume::Args),
    /// Back to the previous version of a key, while it is still valid
    Rollback(verb::Args),
    /// Give up a new key that is not in use yet, and keep the old one
    Abandon(verb::Args),
    /// A human has it: what is wrong is told again only when it gets worse
    Ack(ack::Args),
    /// Take a key out of service that the config no longer names: revoke every version, empty its targets
    Retire(verb::FinalArgs),
    /// Drop the record of a key of which nothing is live any more
    Forget(verb::FinalArgs),
    /// Print the current secret of a key; this is recorded
    Reveal(reveal::Args),
    /// Show what will happen to which key when, and why
    Plan(plan::Args),
    /// Send a test notice through every channel of an owner, and print what each answers
    Notify(notify::Args),
    /// Have the daemon read its config anew
    Reload(reload::Args),
    /// Write the whole state into one sealed file
    Backup(backup::Args),
    /// Put a backup back, where there is no state
    Restore(restore::Args),
    /// Seal the state with another master key
    Reseal(reseal::Args),
    /// Print a completion script
    Completions(completions::Args),
    /// Print the manual page
    Man(man::Args),
}

impl Cli {
    /// The config, if it is neither the usual one nor that of the environment: other commands don't know of it.
    fn named_config(&self) -> Option<&Path> {
        let usual = std::env::var_os("REKEYD_CONFIG").unwrap_or_else(|| DEFAULT_CONFIG.into());
        (self.config.as_os_str() != usual).then_some(self.config.as_path())
    }
}

/// Runs one command line, and says how the process ends.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell where the terminal is gone.
            let _ = error.print();
            let code = u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code());
            run::refuse_whoever_waits(code);
            return ExitCode::from(code);
        }
    };
    // TLS has two providers to choose from and none by default.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match dispatch(&cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let text = hints::at_config(&failure.text(Output::for_errors(cli.color)), cli.named_config());
            let _ = write!(std::io::stderr().lock(), "{text}");
            failure.exit.into()
        }
    }
}

/// The command line, for completions and the manual.
pub fn command_line() -> clap::Command {
    Cli::command()
}

fn dispatch(cli: &Cli) -> Result<Exit, Failure> {
    let out = &mut Output::new(cli.color, cli.json, cli.named_config());
    match &cli.command {
        Command::Init(args) => Ok(init::run(args, out.writer())?),
        Command::Check(check::Args { state: Some(file), .. }) => restore::check(cli, file, out),
        Command::Check(args) => {
            let args = check::Args { explain: (cli.verbose > 0).then_some(out.width), ..args.clone() };
            let mut said = Vec::new();
            let exit = check::run_with_dates(cli, &args, &mut said)?;
            // What is read by a program, or can be read as a config again, stays as it is.
            match String::from_utf8(said) {
                Ok(text) if !cli.json && !args.effective => out.text(&text)?,
                Ok(text) => out.bytes(text.as_bytes())?,
                Err(other) => out.bytes(other.as_bytes())?,
            }
            Ok(exit)
        }
        Command::Demo(args) => run::demo(args),
        Command::Run => run::run(cli),
        Command::Status(args) => status::run(cli, args, out),
        Command::History(args) => history::run(cli, args, out),
        Command::Adopt(args) => adopt::run(cli, args, out),
        Command::Rotate(args) => rotate::run(cli, args, out),
        Command::Pause(args) => pause::run(cli, args, out),
        Command::Resume(args) => resume::run(cli, args, out),
        Command::Rollback(args) => verb::rollback(cli, args, out),
        Command::Abandon(args) => verb::abandon(cli, args, out),
        Command::Ack(args) => ack::run(cli, args, out),
        Command::Retire(args) => verb::retire(cli, args, out),
        Command::Forget(args) => verb::forget(cli, args, out),
        Command::Reveal(args) => reveal::run(cli, args, out),
        Command::Plan(args) => plan::run(cli, args, out),
        Command::Notify(args) => notify::run(cli, args, out),
        Command::Reload(args) => reload::run(cli, args, out),
        Command::Backup(args) => backup::run(cli, args, out),
        Command::Restore(args) => restore::run(cli, args, out),
        Command::Reseal(args) => reseal::run(cli, args, out),
        Command::Completions(args) => completions::run(args, out),
        Command::Man(args) => man::run(args, out),
    }
}

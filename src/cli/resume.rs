//! `rekeyd resume`: go on now.
use super::Cli;
use super::connect::ask;
use super::exit::{Exit, Failure};
use super::output::{Output, one_line};
use crate::control::requests::DoneReport;
use crate::core::names::KeyName;
use serde::Serialize;

/// `rekeyd resume KEY…`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which keys
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<KeyName>,
}

/// What a verb did to one of several keys.
#[derive(Clone, Debug, Serialize)]
pub(super) struct KeyDone {
    pub(super) key: KeyName,
    #[serde(flatten)]
    pub(super) done: DoneReport,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let all = ask(cli, async |daemon| {
        let mut all = Vec::new();
        for key in &args.keys {
            all.push(KeyDone { key: key.clone(), done: daemon.resume(key.as_str()).await? });
        }
        Ok(all)
    })?;
    out.print(&all, |_| all.iter().map(|it| done_text(it.key.as_str(), &it.done, "goes on")).collect())?;
    Ok(Exit::Ok)
}

/// One line on what a verb did.
pub(super) fn done_text(key: &str, done: &DoneReport, otherwise: &str) -> String {
    let message = if done.message.is_empty() { otherwise } else { &done.message };
    format!("{key}: {}\n", one_line(message))
}

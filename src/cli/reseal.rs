//! `rekeyd reseal`: another master key.
use super::exit::{Exit, Failure};
use super::output::Output;
use super::{Cli, state};
use crate::secret::SecretRef;
use crate::store::{self, Resealed, StoreError};
use serde::Serialize;
use std::path::PathBuf;

/// `rekeyd reseal --new-key REF`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where the new master key is: file:PATH, env:NAME or credential:NAME. The daemon must be stopped
    #[arg(long, value_name = "REF", value_parser = reference)]
    new_key: SecretRef,
}

/// What was done, for scripts.
#[derive(Serialize)]
struct Report<'a> {
    from: &'a str,
    to: &'a str,
    secrets: usize,
    /// It was sealed with the new key before.
    already: bool,
    /// What the config must say now.
    write: &'a str,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let settings = state::settings(cli)?;
    let old = state::master(&settings.daemon.master_key, "daemon.master_key")?;
    let new = state::master(&args.new_key, "--new-key")?;
    let write = spelled(&args.new_key);
    let done = store::reseal(&settings.daemon.state_dir, &old, &new, &write).map_err(failed)?;
    let Resealed { from, to, secrets, already } = &done;
    let report = Report { from: from.as_str(), to: to.as_str(), secrets: *secrets, already: *already, write: &write };
    out.print(&report, |_| text(&done, &write, args.new_key == settings.daemon.master_key))?;
    Ok(Exit::Ok)
}

fn text(done: &Resealed, write: &str, in_config: bool) -> String {
    let Resealed { from, to, secrets, already } = done;
    let what = match already {
        true => format!("the state is sealed with master key {to} already\n"),
        false => format!("resealed {secrets} secret(s): the master key was {from}, and is {to}\n"),
    };
    if in_config {
        return what + "next: start the daemon\n";
    }
    format!(
        "{what}next, in this order:\n\
         1. write in [daemon]: master_key = {write}\n\
         2. start the daemon\n\
         3. keep a copy of the new key off this host, and make a backup: rekeyd backup FILE\n\
         4. keep the old key as long as a backup that names {from} may be needed\n"
    )
}

fn failed(error: StoreError) -> Failure {
    match error {
        StoreError::InUse { .. } => Failure::from(error).remedy("systemctl stop rekeyd, then try again"),
        other => other.into(),
    }
}

/// As the command line takes it, or as the config spells it.
fn reference(text: &str) -> Result<SecretRef, String> {
    let whole = |path: &str| {
        let path = PathBuf::from(path);
        if path.is_absolute() {
            Ok(path)
        } else {
            Err(format!("{} is a relative path; write the whole path", path.display()))
        }
    };
    match text.split_once(':').map(|(kind, of)| (kind.trim(), of)) {
        Some((_, "")) | None => Err("write file:PATH, env:NAME or credential:NAME".to_owned()),
        Some(("file", path)) => whole(path).map(SecretRef::File),
        Some(("env", name)) => Ok(SecretRef::Env(name.to_owned())),
        Some(("credential", name)) => Ok(SecretRef::Credential(name.to_owned())),
        // The key itself would be in the shell's history by now; it is not repeated.
        Some(_) => Err("write file:PATH, env:NAME or credential:NAME, never the key itself".to_owned()),
    }
}

/// As the config spells it. JSON's strings are among TOML's.
fn spelled(from: &SecretRef) -> String {
    let (kind, of) = match from {
        SecretRef::File(path) => ("file", path.to_string_lossy().into_owned()),
        SecretRef::Env(name) => ("env", name.clone()),
        SecretRef::Credential(name) => ("credential", name.clone()),
        SecretRef::Key(name) => ("key", name.to_string()),
    };
    format!("{{ {kind} = {} }}", serde_json::Value::from(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_spelled_back_as_the_config_takes_it() {
        for (given, want) in [
            ("file:/etc/rekeyd/new \"key\"", r#"{ file = "/etc/rekeyd/new \"key\"" }"#),
            ("env:MASTER", r#"{ env = "MASTER" }"#),
            ("credential:master-2", r#"{ credential = "master-2" }"#),
        ] {
            assert_eq!(spelled(&reference(given).unwrap()), want);
        }
    }

    #[test]
    fn what_is_no_reference_is_not_repeated() {
        for bad in ["hunter2", "hunter:2", "file:", "file:relative", ":", "key:billing"] {
            let error = reference(bad).unwrap_err();
            assert!(!error.contains("hunter"), "{error}");
        }
    }
}

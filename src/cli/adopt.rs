//! `rekeyd adopt`: take over a key that is in use.
use super::Cli;
use super::connect::ask;
use super::done::done_text;
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::control::protocol::Time;
use crate::control::requests::{AdoptRequest, SecretText};
use crate::core::names::KeyName;
use crate::secret::{SECRET_BYTES, Secret};
use std::io::{IsTerminal, Read, Write};

/// `rekeyd adopt KEY`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which key; its secret is read from stdin, one trailing newline is dropped
    #[arg(value_name = "KEY")]
    key: KeyName,
    #[command(flatten)]
    age: Age,
    /// The provider's id of the key, needed to revoke it later
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Take it even if the provider calls it dead, or can't be asked
    #[arg(long)]
    unverified: bool,
    /// Overwrite what else its targets hold
    #[arg(long)]
    deliver: bool,
}

/// How old the key is: no provider tells it of a key that another issued.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Age {
    /// When it expires, such as 2026-12-04 or 2026-12-04T22:00:00Z
    #[arg(long, value_name = "TIME")]
    valid_to: Option<Time>,
    /// When it was issued; its expiry is reckoned from valid_for
    #[arg(long, value_name = "TIME")]
    issued_at: Option<Time>,
    /// Nobody knows
    #[arg(long)]
    age_unknown: bool,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let request = AdoptRequest {
        secret: SecretText(secret(&args.key)?),
        valid_to: args.age.valid_to,
        issued_at: args.age.issued_at,
        age_unknown: args.age.age_unknown,
        id: args.id.clone(),
        unverified: args.unverified,
        deliver: args.deliver,
    };
    let key = args.key.as_str();
    let done = ask(cli, async |daemon| Ok(daemon.adopt(key, &request).await?))?;
    out.print(&done, |_| done_text(key, &done, "adopted"))?;
    Ok(Exit::Ok)
}

fn secret(key: &KeyName) -> Result<Secret, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        let _ = writeln!(std::io::stderr().lock(), "paste the secret of {key}, then press Enter and Ctrl-D");
    }
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    stdin.lock().take(SECRET_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SECRET_BYTES {
        return Err(Failure::new(Exit::Data, format!("stdin has more than {SECRET_BYTES} bytes: that is no key")));
    }
    let secret = Secret::new(std::mem::take(&mut bytes)).without_newline();
    if secret.is_empty() {
        let remedy = format!("rekeyd adopt {key} … < FILE");
        return Err(Failure::new(Exit::NoInput, "there is no secret on stdin").remedy(remedy));
    }
    match secret.expose_str() {
        Ok(_) => Ok(secret),
        Err(error) => Err(Failure::new(Exit::Data, error.to_string()).remedy("give the key as the provider shows it")),
    }
}

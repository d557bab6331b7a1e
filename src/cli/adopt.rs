//! `rekeyd adopt`: take over a key that is in use.
use super::Cli;
use super::connect::ask;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::resume::done_text;
use super::stdin;
use crate::control::protocol::Time;
use crate::control::requests::{AdoptRequest, SecretText};
use crate::core::names::KeyName;

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
        secret: SecretText(stdin::secret(&args.key, &format!("rekeyd adopt {} … < FILE", args.key))?),
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

//! `rekeyd adopt`: take over a key that is in use.
mod all;

use super::Cli;
use super::connect::ask;
use super::done::Why;
use super::exit::{Exit, Failure};
use super::output::{Output, one_line};
use super::stdin;
use super::times::absolute;
use crate::control::protocol::Time;
use crate::control::requests::{AdoptReport, AdoptRequest, Holds, SecretText, TargetReport};
use crate::core::names::KeyName;
use crate::core::record::Expiry;
use std::fmt::Write as _;

/// `rekeyd adopt KEY`, or `rekeyd adopt --all --from-target`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which key; its secret is read from stdin, one trailing newline (or CR and newline) is dropped
    #[arg(value_name = "KEY", required_unless_present = "all", conflicts_with = "all")]
    key: Option<KeyName>,
    /// Take the key that its targets hold; the secret does not pass through this command
    #[arg(long)]
    from_target: bool,
    /// Every key that is not adopted yet: show a table, then ask
    #[arg(long, requires = "from_target", conflicts_with_all = ["id", "unverified", "deliver"])]
    all: bool,
    /// With --all: don't ask
    #[arg(long, requires = "all", conflicts_with = "key")]
    yes: bool,
    #[command(flatten)]
    age: Age,
    /// The provider's id of the key, needed to revoke it later; found by itself where the provider shows its keys
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Take it even if the provider calls it dead, can't be asked, or does not know it
    #[arg(long)]
    unverified: bool,
    /// Overwrite what else its targets hold
    #[arg(long)]
    deliver: bool,
    /// Look at everything, show what would happen, and change nothing
    #[arg(long, conflicts_with = "all")]
    dry_run: bool,
    #[command(flatten)]
    why: Why,
}

/// How old the key is. One of them is needed where the provider does not report it.
#[derive(Clone, Debug, clap::Args)]
#[group(multiple = false)]
struct Age {
    /// When it expires, such as 2026-12-04 or 2026-12-04T22:00:00Z
    #[arg(long, value_name = "TIME")]
    valid_to: Option<Time>,
    /// When it was issued; its expiry is reckoned from valid_for
    #[arg(long, value_name = "TIME")]
    issued_at: Option<Time>,
    /// Nobody knows: it is replaced in its next window
    #[arg(long)]
    age_unknown: bool,
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let Some(name) = &args.key else { return all::run(cli, args, out) };
    let secret = if args.from_target { None } else { Some(SecretText(stdin::secret(name, &nothing_given(name))?)) };
    let request = AdoptRequest { secret, ..request(args) };
    let report = ask(cli, async |daemon| Ok(daemon.adopt(name.as_str(), &request).await?))?;
    out.print(&report, |paint| if args.dry_run { all::table_of(&[&report], paint) } else { text(&report) })?;
    report.refused.map_or(Ok(Exit::Ok), |problem| Err(problem.into()))
}

/// What to do where stdin holds nothing.
fn nothing_given(key: &KeyName) -> String {
    format!("rekeyd adopt {key} … < FILE, or: rekeyd adopt {key} … --from-target")
}

/// What the options say of a key.
fn request(args: &Args) -> AdoptRequest {
    AdoptRequest {
        from_target: args.from_target,
        valid_to: args.age.valid_to,
        issued_at: args.age.issued_at,
        age_unknown: args.age.age_unknown,
        id: args.id.clone(),
        unverified: args.unverified,
        deliver: args.deliver,
        dry_run: args.dry_run,
        reason: args.why.reason.clone(),
        ..AdoptRequest::default()
    }
}

/// What was adopted: by what it is known, and until when it lasts.
fn text(report: &AdoptReport) -> String {
    let fingerprint = report.fingerprint.as_ref().map(|it| format!("fingerprint {it}, ")).unwrap_or_default();
    let id = report.id.as_ref().map(|it| format!("id {it}, ")).unwrap_or_default();
    let mut text = format!("{}: {}: {fingerprint}{id}{}\n", report.key, report.message, expires(report));
    for it in report.targets.iter().filter(|it| it.holds != Holds::Key) {
        let _ = writeln!(text, "  {}: {}", one_line(it.target.as_str()), fate(it));
    }
    text
}

fn expires(report: &AdoptReport) -> String {
    let said = match report.expiry {
        Some(Expiry::Reported) => "as the provider reports",
        Some(Expiry::Stated) => "as you say",
        Some(Expiry::Assumed) => "reckoned from its issue",
        _ => "",
    };
    match report.valid_to {
        Some(at) => format!("expires {}, {said}", absolute(at)),
        None if report.expiry.is_some() && report.valid_from.is_some() => "expiry unknown".to_owned(),
        None if report.expiry.is_some() => "age unknown, so it counts as due".to_owned(),
        None => "-".to_owned(),
    }
}

/// What an adoption does to a target.
fn fate(target: &TargetReport) -> &'static str {
    match target.holds {
        Holds::Key => "holds it, and is left as it is",
        Holds::OtherForm => "holds it in another form or with another mode or owner, and is written anew",
        Holds::OtherKey => "holds another key, and is overwritten",
        Holds::Nothing => "holds nothing, and is written",
        Holds::Damaged => "holds no key, and is written",
        Holds::Unreadable => "can't be read, and is written",
        Holds::Unread => "gets it, whatever it holds",
    }
}

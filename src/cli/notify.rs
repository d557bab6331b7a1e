//! `rekeyd notify`: sees whether an owner can be told.
use super::Cli;
use super::connect::ask;
use super::exit::{Exit, Failure};
use super::output::{Output, one_line};
use crate::control::requests::ChannelReport;

/// `rekeyd notify OWNER`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which owner
    #[arg(value_name = "OWNER", value_parser = owner)]
    owner: String,
}

/// Owners are named as keys are.
fn owner(text: &str) -> Result<String, String> {
    let name: Result<crate::core::names::KeyName, _> = text.parse();
    name.map(|it| it.to_string()).map_err(|it| it.to_string())
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let answers = ask(cli, async |daemon| Ok(daemon.test_owner(&args.owner).await?))?;
    out.print(&answers, |_| text(&args.owner, &answers))?;
    Ok(if !answers.is_empty() && answers.iter().all(|it| it.taken) { Exit::Ok } else { Exit::Attention })
}

fn text(owner: &str, answers: &[ChannelReport]) -> String {
    if answers.is_empty() {
        return format!("{owner} has no channel: give it email, webhook or exec in the config\n");
    }
    let line = |it: &ChannelReport| {
        let answer = if it.taken { "taken".to_owned() } else { format!("FAILED: {}", one_line(&it.message)) };
        format!("{}: {answer} ({} ms)\n", it.channel, it.ms)
    };
    answers.iter().map(line).collect()
}

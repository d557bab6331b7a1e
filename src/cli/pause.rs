//! `rekeyd pause`: begin nothing and revoke nothing, until it is resumed.
use super::Cli;
use super::connect::ask;
use super::done::{Selected, Why, done_text, print_all};
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::clock;
use crate::control::protocol::Time;
use crate::control::requests::PauseRequest;
use crate::humane::HumanDuration;
use std::str::FromStr;

/// `rekeyd pause KEY…`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Selected,
    /// Until when: a time such as 2026-12-04T22:00:00Z, or from now on, such as 2h; else until `rekeyd resume`
    #[arg(long, value_name = "TIME|DURATION")]
    until: Option<Until>,
    #[command(flatten)]
    why: Why,
}

/// A moment, or how long it is until then.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Until {
    At(Time),
    In(HumanDuration),
}

/// A text that is neither.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("neither a time nor a duration: write 2026-12-04T22:00:00Z, 2026-12-04, 2h or 3d")]
struct NeitherOfThem;

impl FromStr for Until {
    type Err = NeitherOfThem;
    fn from_str(text: &str) -> Result<Self, NeitherOfThem> {
        text.parse().map(Self::At).or_else(|_| text.parse().map(Self::In)).map_err(|_| NeitherOfThem)
    }
}

pub(super) fn run(cli: &Cli, args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let until = args.until.map(|it| match it {
        Until::At(at) => at,
        Until::In(span) => clock::now().plus(span.0).into(),
    });
    let request = PauseRequest { which: args.which.which(), until, reason: args.why.reason.clone() };
    let all = ask(cli, async |daemon| Ok(daemon.pause(&request).await?))?;
    print_all(&all, out, |it| done_text(it.key.as_str(), &it.done, "paused"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_is_a_time_or_a_duration() {
        let at = "2026-12-04T22:00:00Z".parse().unwrap();
        assert_eq!("2026-12-04T22:00:00Z".parse(), Ok(Until::At(at)));
        assert_eq!("2h".parse(), Ok(Until::In("2h".parse().unwrap())));
        for neither in ["", "tomorrow", "2", "1M", "2026-13-01"] {
            assert_eq!(neither.parse::<Until>(), Err(NeitherOfThem), "{neither}");
        }
    }
}

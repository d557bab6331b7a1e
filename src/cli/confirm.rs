//! A verb that can't be undone asks first.
use super::exit::{Exit, Failure};
use super::output::one_line;
use std::io::{BufRead, IsTerminal, Read, Write};

/// The longest answer that is read, in bytes.
const ANSWER_BYTES: u64 = 64;

/// Whether somebody is sure already.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Sure {
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

/// Asks on the terminal; goes on at `y` and `yes` alone. Where there is no terminal, somebody must be sure already.
pub(super) fn confirm(sure: &Sure, verb: &str, what: &str) -> Result<(), Failure> {
    if sure.yes {
        return Ok(());
    }
    let again = format!("rekeyd {verb} --yes");
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::new(Exit::Usage, format!("{verb} can't be undone, and nobody can be asked")).remedy(again));
    }
    let asked = write!(std::io::stderr().lock(), "{}: {what}. This can't be undone. Go on? [y/N] ", one_line(verb));
    asked?;
    let mut answer = String::new();
    stdin.lock().take(ANSWER_BYTES).read_line(&mut answer)?;
    if is_yes(&answer) { Ok(()) } else { Err(Failure::new(Exit::TryLater, "nothing was done").remedy(again)) }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(["y\n", "Y", "yes\r\n", " YES "].into_iter().all(is_yes));
        assert!(["", "\n", "n", "yess", "sure", "y y"].into_iter().all(|it| !is_yes(it)));
    }
}

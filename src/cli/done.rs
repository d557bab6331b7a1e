//! What a verb did, as it is printed: the keys for which it was done, and the refusals of the others.
use super::exit::{Exit, Failure};
use super::output::{Output, one_line};
use super::times::spelled;
use crate::clock;
use crate::control::requests::{DoneReport, KeyDone};
use crate::core::names::KeyName;
use crate::engine::handle::Which;

/// Which keys a verb is for.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Selected {
    /// Which keys
    #[arg(value_name = "KEY")]
    keys: Vec<KeyName>,
    /// All keys of this provider
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    /// All keys of this owner
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// All keys
    #[arg(long)]
    all: bool,
}

impl Selected {
    /// As the daemon is asked for them.
    pub(super) fn which(&self) -> Which {
        match (&self.provider, &self.owner) {
            (Some(it), _) => Which::Provider(it.clone()),
            (_, Some(it)) => Which::Owner(it.clone()),
            _ if self.all => Which::All,
            _ => Which::Keys(self.keys.clone()),
        }
    }
}

/// Why, for the history.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Why {
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
}

/// One line on what a verb did, with how far away the times in it are.
pub(super) fn done_text(key: &str, done: &DoneReport, otherwise: &str) -> String {
    let message = if done.message.is_empty() { otherwise } else { &done.message };
    format!("{key}: {}\n", one_line(spelled(message, Some(clock::now().into()))))
}

/// Prints what was done for each of several keys. What was refused for any makes the command fail, with all of the
/// reasons.
pub(super) fn print_all(all: &[KeyDone], out: &mut Output, text: impl Fn(&KeyDone) -> String) -> Result<Exit, Failure> {
    let done = |it: &&KeyDone| it.problem.is_none();
    out.print(&all, |_| all.iter().filter(done).map(&text).collect())?;
    let refused = all.iter().filter_map(|it| it.problem.clone().map(Failure::from));
    refused.reduce(Failure::and).map_or(Ok(Exit::Ok), Err)
}

//! What follows a delivery: `then`, which makes the consumer take up the new key, and `confirm`, which asks it whether the
//! key works. Neither gets to see the secret.
use super::journal::{last_words, program};
use super::unit::Unit;
use super::{DeliveryError, Parcel};
use crate::command::Argv;
use crate::humane::HumanDuration;
use serde::Deserialize;
use std::time::Duration;

/// How long a hook may take, unless its `timeout` says otherwise. systemd itself gives a unit 90 s to start.
const HOOK_LIMIT: Duration = Duration::from_secs(120);
const RESTART: &str = "restart";
const RELOAD: &str = "reload";

/// `then = { restart = […] }`, `{ reload = […] }` or `{ command = […] }`, each with an optional `timeout`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "ThenWritten")]
pub(super) struct Then {
    what: What,
    limit: Duration,
}

#[derive(Clone, Debug)]
enum What {
    Units { verb: &'static str, units: Vec<Unit> },
    Command(Argv),
}

impl Then {
    /// Runs it to its end. Of a unit that does not start then, its last words are told too.
    pub(super) async fn run(&self, parcel: &Parcel) -> Result<(), DeliveryError> {
        let argv = self.argv().map_err(|error| then_failed(&error))?;
        let Err(error) = parcel.tell_of(&argv, self.limit).run().await else { return Ok(()) };
        let words = match &self.what {
            What::Units { units, .. } => last_words(units, parcel).await,
            What::Command(_) => String::new(),
        };
        Err(then_failed(&DeliveryError(format!("{error}{words}"))))
    }

    /// Says whether it could be run now.
    pub(super) fn check(&self) -> Result<(), DeliveryError> {
        self.argv().and_then(|it| it.check().map_err(DeliveryError)).map_err(|error| then_failed(&error))
    }

    /// What it does to which units: `restart` or `reload`, and the unit.
    pub(super) fn verbs(&self) -> Vec<(&'static str, String)> {
        match &self.what {
            What::Units { verb, units } => units.iter().map(|it| (*verb, it.0.clone())).collect(),
            What::Command(_) => Vec::new(),
        }
    }

    /// Whether it leaves its units running.
    pub(super) fn reloads(&self) -> bool {
        matches!(self.what, What::Units { verb: RELOAD, .. })
    }

    fn argv(&self) -> Result<Argv, DeliveryError> {
        match &self.what {
            What::Command(argv) => Ok(argv.clone()),
            What::Units { verb, units } => {
                let mut words = vec![systemctl()?, "--no-ask-password".into(), (*verb).into(), "--".into()];
                words.extend(units.iter().map(|it| it.0.clone()));
                Argv::new(words).map_err(DeliveryError)
            }
        }
    }
}

fn systemctl() -> Result<String, DeliveryError> {
    let missing = || DeliveryError("systemctl is not in PATH; use then = { command = […] } without systemd".into());
    program("systemctl").ok_or_else(missing)
}

fn then_failed(error: &DeliveryError) -> DeliveryError {
    DeliveryError(format!("the key is in place, but its `then` failed: {error}"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThenWritten {
    restart: Option<Vec<Unit>>,
    reload: Option<Vec<Unit>>,
    command: Option<Argv>,
    timeout: Option<HumanDuration>,
}

impl TryFrom<ThenWritten> for Then {
    type Error = String;
    fn try_from(written: ThenWritten) -> Result<Self, String> {
        let what = match (written.restart, written.reload, written.command) {
            (Some(units), None, None) => What::Units { verb: RESTART, units },
            (None, Some(units), None) => What::Units { verb: RELOAD, units },
            (None, None, Some(argv)) => What::Command(argv),
            _ => return Err("`then` has exactly one of restart, reload and command".to_owned()),
        };
        if let What::Units { units, verb } = &what {
            if units.is_empty() {
                return Err("name at least one unit, such as [\"billing.service\"]".to_owned());
            }
            if let Some(Unit(template)) = units.iter().find(|it| it.is_template()) {
                return Err(format!("systemctl can't {verb} {template}, which is a template; write its instances"));
            }
        }
        Ok(Self { what, limit: written.timeout.map_or(HOOK_LIMIT, |it| it.0) })
    }
}

/// `confirm = { command = […], timeout = "2m" }`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirm {
    command: Argv,
    #[serde(default = "limit")]
    timeout: HumanDuration,
}

fn limit() -> HumanDuration {
    HumanDuration(HOOK_LIMIT)
}

impl Confirm {
    /// Asks; exit code 0 means that the consumer works with the key.
    pub(super) async fn run(&self, parcel: &Parcel) -> Result<(), DeliveryError> {
        Ok(parcel.tell_of(&self.command, self.timeout.0).run().await?)
    }

    /// Says whether it could be asked now.
    pub(super) fn check(&self) -> Result<(), DeliveryError> {
        self.command.check().map_err(DeliveryError)
    }
}

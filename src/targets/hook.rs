//! What follows a delivery: `then`, which makes the consumer take up the new key, and `confirm`, which asks it whether the
//! key works. Neither gets to see the secret.
use super::{DeliveryError, Parcel};
use crate::command::Argv;
use crate::humane::HumanDuration;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// How long a hook may take, unless its `timeout` says otherwise. systemd itself gives a unit 90 s to start.
const HOOK_LIMIT: Duration = Duration::from_secs(120);

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
    /// Runs it to its end.
    pub(super) async fn run(&self, parcel: &Parcel) -> Result<(), DeliveryError> {
        let argv = self.argv().map_err(|error| then_failed(&error))?;
        parcel.tell_of(&argv, self.limit).run().await.map_err(|error| then_failed(&error.into()))
    }

    /// Says whether it could be run now.
    pub(super) fn check(&self) -> Result<(), DeliveryError> {
        self.argv().and_then(|it| it.check().map_err(DeliveryError)).map_err(|error| then_failed(&error))
    }

    /// The units that it restarts or reloads.
    pub(super) fn units(&self) -> Vec<String> {
        match &self.what {
            What::Units { units, .. } => units.iter().map(|it| it.0.clone()).collect(),
            What::Command(_) => Vec::new(),
        }
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

/// The first systemctl in our own PATH.
fn systemctl() -> Result<String, DeliveryError> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let found = std::env::split_paths(&path)
        .map(|it: PathBuf| it.join("systemctl"))
        .find(|it| it.is_absolute() && it.is_file());
    let found = found.and_then(|it| it.into_os_string().into_string().ok());
    found.ok_or_else(|| DeliveryError("systemctl is not in PATH; use then = { command = […] } without systemd".into()))
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
    type Error = &'static str;
    fn try_from(written: ThenWritten) -> Result<Self, &'static str> {
        let what = match (written.restart, written.reload, written.command) {
            (Some(units), None, None) => What::Units { verb: "restart", units },
            (None, Some(units), None) => What::Units { verb: "reload", units },
            (None, None, Some(argv)) => What::Command(argv),
            _ => return Err("`then` has exactly one of restart, reload and command"),
        };
        if matches!(&what, What::Units { units, .. } if units.is_empty()) {
            return Err("name at least one unit, such as [\"billing.service\"]");
        }
        Ok(Self { what, limit: written.timeout.map_or(HOOK_LIMIT, |it| it.0) })
    }
}

/// The name of a systemd unit. It can't be taken for an option, nor for a pattern of several units.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Unit(String);

impl TryFrom<String> for Unit {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        let known = |it: char| it.is_ascii_alphanumeric() || ":-_.\\@".contains(it);
        if name.is_empty() || name.len() > 255 || name.starts_with('-') || !name.chars().all(known) {
            return Err(format!("{name:?} is not the name of a unit, such as billing.service"));
        }
        Ok(Self(name))
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

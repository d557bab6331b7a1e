//! What follows a delivery: `then`, which makes the consumer take up the new key, and `confirm`, which asks it whether the
//! key works. Neither gets to see the secret.
use super::journal::{last_words, program};
use super::unit::Unit;
use super::{DeliveryError, Parcel, Undelivered};
use crate::command::Argv;
use crate::humane::HumanDuration;
use futures_util::StreamExt;
use futures_util::stream;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a hook may take, unless its `timeout` says otherwise. systemd itself gives a unit 90 s to start.
const HOOK_LIMIT: Duration = Duration::from_secs(120);
/// How many units are restarted or reloaded at once.
const UNITS_AT_ONCE: usize = 32;
/// Of how many units it is told why they failed.
const UNITS_TOLD: usize = 4;
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
    /// Runs it to its end, but for what is done already. Of a unit that does not start then, its last words are told too.
    pub(super) async fn run(&self, parcel: &Parcel, done: &BTreeSet<String>) -> Result<(), Undelivered> {
        match &self.what {
            What::Command(argv) => {
                let ended = parcel.tell_of(argv, self.limit).run().await;
                ended.map_err(|error| then_failed(&error.into()).into())
            }
            What::Units { verb, units } => self.run_units(verb, units, parcel, done).await,
        }
    }

    /// Each unit by a call of its own, all at once as one call would do it, so that it is known which of them took up the key:
    /// those are not disturbed again for the sake of one that did not.
    async fn run_units(
        &self,
        verb: &'static str,
        units: &[Unit],
        parcel: &Parcel,
        done: &BTreeSet<String>,
    ) -> Result<(), Undelivered> {
        let mut calls = Vec::new();
        for unit in units.iter().filter(|it| !done.contains(&deed(verb, it))) {
            calls.push(async move { (unit, self.run_unit(verb, unit, parcel).await) });
        }
        let mut calls = stream::iter(calls).buffered(UNITS_AT_ONCE);
        let (mut done, mut failed) = (done.clone(), Vec::new());
        while let Some((unit, ended)) = calls.next().await {
            match ended {
                Ok(()) => {
                    done.insert(deed(verb, unit));
                }
                Err(why) => failed.push((unit, why)),
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        let mut why: Vec<_> = failed.iter().take(UNITS_TOLD).map(|it| it.1.to_string()).collect();
        if failed.len() > UNITS_TOLD {
            why.push(format!("and so did {} more units", failed.len() - UNITS_TOLD));
        }
        let units: Vec<_> = failed.iter().take(UNITS_TOLD).map(|it| it.0).collect();
        let words = last_words(&units, parcel).await;
        let why = then_failed(&DeliveryError(format!("{}{words}", why.join("; "))));
        Err(Undelivered { why, done })
    }

    async fn run_unit(&self, verb: &str, unit: &Unit, parcel: &Parcel) -> Result<(), DeliveryError> {
        let words = [systemctl()?, "--no-ask-password".into(), verb.into(), "--".into(), unit.0.clone()];
        let argv = Argv::new(words.to_vec()).map_err(DeliveryError)?;
        let ended = parcel.tell_of(&argv, self.limit).run().await;
        ended.map_err(|it| DeliveryError(format!("{it}{}", remedy(&it.to_string()))))
    }

    /// Says whether it could be run now.
    pub(super) fn check(&self) -> Result<(), DeliveryError> {
        let argv = match &self.what {
            What::Command(argv) => Ok(argv.clone()),
            What::Units { .. } => systemctl().and_then(|it| Argv::new(vec![it]).map_err(DeliveryError)),
        };
        argv.and_then(|it| it.check().map_err(DeliveryError)).map_err(|error| then_failed(&error))
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
}

/// What was done to a unit, as the books remember it. A unit that was only reloaded has not been restarted.
fn deed(verb: &str, unit: &Unit) -> String {
    format!("{verb} {}", unit.0)
}

/// What to do where polkit says no.
fn remedy(said: &str) -> &'static str {
    if said.contains("authentication required") || said.contains("Access denied") {
        "; polkit does not let rekeyd do this: install the rule that `rekeyd check --unit` prints"
    } else {
        ""
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
            if let Some(Unit(short)) = units.iter().find(|it| !it.is_whole()) {
                return Err(format!("{short:?} is not the whole name of a unit; write {short}.service"));
            }
            if let Some(Unit(twice)) = units.iter().enumerate().find(|(n, it)| units[..*n].contains(it)).map(|it| it.1)
            {
                return Err(format!("{twice} is named twice"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_allowed_to_restart_a_unit_is_told_what_allows_it() {
        let said = "exit status: 1: Failed to restart billing.service: Interactive authentication required.";
        assert!(remedy(said).contains("rekeyd check --unit"));
        assert_eq!(remedy("exit status: 1: Job for billing.service failed."), "");
    }
}

//! `POST /v1/keys/{key}/rotate` with a new key in its body: for a key that only a human can replace.
use super::problem::{Kind, Problem};
use super::requests::NewKey;
use super::server::Desk;
use super::verbs::{bad, name, snapshot};
use crate::core::plan::{Command, Supply};
use crate::core::record::{Expiry, Wish};
use crate::core::time::Timestamp;
use crate::secret::Secret;
use std::time::Duration;

type Dates = (Option<Timestamp>, Option<Timestamp>, Expiry);

/// The verb, and the secret that comes with it.
pub(super) async fn supply(desk: &Desk, key: &str, new: NewKey, wish: Wish) -> Result<(Command, Secret), Problem> {
    if new.secret.0.is_empty() {
        return Err(bad("the secret is empty; give it on stdin"));
    }
    let snapshot = snapshot(desk).await?;
    let valid_for = snapshot.settings.keys.get(&name(key)?).and_then(|it| it.policy.valid_for);
    let (valid_from, valid_to, expiry) = dates(&new, valid_for, snapshot.now)
        .map_err(|(why, remedy)| Problem::new(Kind::KeyDates, format!("key {key}: {why}")).remedy(remedy))?;
    let NewKey { secret, id, .. } = new;
    let supply = Supply { fingerprint: secret.0.fingerprint(), id, valid_from, valid_to, expiry, wish };
    Ok((Command::Supply(supply), secret.0))
}

/// What was said of its dates. Where that is nothing, somebody got it just now.
fn dates(new: &NewKey, valid_for: Option<Duration>, now: Timestamp) -> Result<Dates, (&'static str, &'static str)> {
    let (end, issued) = (new.valid_to.map(|it| it.0), new.issued_at.map(|it| it.0));
    if new.age_unknown && (end.is_some() || issued.is_some()) {
        return Err(("--age-unknown contradicts a stated date", "give one of them"));
    }
    if new.age_unknown {
        return Ok((None, None, Expiry::Unknown));
    }
    if issued.is_some_and(|it| it > now) {
        return Err(("--issued-at lies in the future", "give the moment when it was issued"));
    }
    let from = issued.unwrap_or(now);
    let (end, expiry) = match (end, valid_for) {
        (Some(end), _) => (Some(end), Expiry::Stated),
        (None, Some(life)) => (Some(from.plus(life)), Expiry::Assumed),
        (None, None) => (None, Expiry::Unknown),
    };
    if end.is_some_and(|it| it <= now) {
        return Err(("it has expired already", "get a new key, or give its --valid-to"));
    }
    Ok((Some(from), end, expiry))
}

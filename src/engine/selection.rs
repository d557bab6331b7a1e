//! Which keys a verb for several of them is for.
use super::handle::{Refused, Which};
use crate::config::meant;
use crate::config::settings::{Key, Settings};
use crate::core::names::KeyName;
use crate::core::record::Record;
use std::collections::BTreeMap;

/// How many names an error lists at most.
const NAMES_SHOWN: usize = 20;

/// The names of the keys that are meant, each once. Only those that the config names can be meant by what they have in
/// common.
///
/// # Errors
/// Where a named key is not there, or none is as asked for: with the names of what there is.
pub fn names(which: &Which, settings: &Settings, records: &BTreeMap<KeyName, Record>) -> Result<Vec<KeyName>, Refused> {
    match which {
        Which::Keys(named) => keys(named, settings, records),
        Which::Provider(name) => {
            let known = || known("providers", name, settings.providers.keys().map(String::as_str));
            some(settings, |it| it.provider == *name, || (format!("no key is of provider {name}"), known()))
        }
        Which::Owner(name) => {
            let known = || known("owners", name, settings.owners.keys().map(String::as_str));
            some(settings, |it| it.owners.contains(name), || (format!("no key is of owner {name}"), known()))
        }
        Which::All => some(settings, |_| true, || ("there are no keys".to_owned(), "the config names none".to_owned())),
    }
}

fn keys(named: &[KeyName], settings: &Settings, records: &BTreeMap<KeyName, Record>) -> Result<Vec<KeyName>, Refused> {
    let mut names = named.to_vec();
    names.sort();
    names.dedup();
    match names.iter().find(|it| !settings.keys.contains_key(*it) && !records.contains_key(*it)) {
        Some(missing) => Err(Refused::no_such_key(missing, settings)),
        None => Ok(names),
    }
}

fn some(
    settings: &Settings,
    holds: impl Fn(&Key) -> bool,
    none: impl FnOnce() -> (String, String),
) -> Result<Vec<KeyName>, Refused> {
    let names: Vec<KeyName> = settings.keys.values().filter(|it| holds(it)).map(|it| it.name.clone()).collect();
    if names.is_empty() {
        let (what, known) = none();
        return Err(Refused::NoMatch { what, known });
    }
    Ok(names)
}

impl Refused {
    /// There is no key of this name: which one may have been meant, or which there are.
    pub fn no_such_key(name: &KeyName, settings: &Settings) -> Self {
        let known = known("keys", name.as_str(), settings.keys.keys().map(KeyName::as_str));
        Self::NoMatch { what: format!("there is no key {name}"), known }
    }
}

/// The one that was meant, if it was a slip, else all of them.
fn known<'a>(what: &str, named: &str, all: impl ExactSizeIterator<Item = &'a str> + Clone) -> String {
    meant(named, all.clone()).map_or_else(|| those(what, all), |near| format!("did you mean {near}?"))
}

/// `the keys are: a, b, c`.
fn those<T: ToString>(what: &str, known: impl ExactSizeIterator<Item = T>) -> String {
    let more = known.len().saturating_sub(NAMES_SHOWN);
    let shown: Vec<String> = known.take(NAMES_SHOWN).map(|it| it.to_string()).collect();
    match (shown.is_empty(), more) {
        (true, _) => format!("the config names no {what}"),
        (false, 0) => format!("the {what} are: {}", shown.join(", ")),
        (false, more) => format!("the {what} are: {} and {more} more", shown.join(", ")),
    }
}

//! What keys are to one another: no two at one place, no two where there is but one, and no circle of authorisations.
use super::budget;
use super::fault::Findings;
use super::keys::{Parts, Read};
use super::secrets;
use crate::core::names::{AccountId, KeyName, TargetId};
use crate::core::policy::{Initial, OnCreate, Reach, TargetPolicy};
use crate::targets::Target;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::de::DeValue;

/// Looks at the keys side by side, and lets each one know the providers whose calls it authorises.
pub(super) fn relate(parts: &Parts<'_, '_>, keys: &mut BTreeMap<KeyName, Read>, findings: &mut Findings) {
    one_place_one_key(parts, keys, findings);
    one_key_where_a_create_revokes(parts, keys, findings);
    budget::fits(parts, keys, findings);
    let logins = logins(parts, findings);
    no_circle(parts, keys, &logins, findings);
    for (provider, name) in logins {
        let Some(key) = keys.get_mut(&name) else { continue };
        let id = TargetId::new("login", &provider);
        let login = TargetPolicy { id, reach: Reach::Pull, confirms: false, readers: Vec::new() };
        key.policy.iter_mut().for_each(|it| it.targets.push(login.clone()));
    }
    goes_somewhere(parts, keys, findings);
}

fn goes_somewhere(parts: &Parts<'_, '_>, keys: &BTreeMap<KeyName, Read>, findings: &mut Findings) {
    for (name, key) in keys {
        let Some(section) = parts.document.keys.get(name.as_str()) else { continue };
        let unwritten =
            section.table.get("deliver").is_none_or(|it| it.get_ref().as_array().is_some_and(|it| it.is_empty()));
        if unwritten && key.policy.as_ref().is_some_and(|it| it.targets.is_empty()) {
            let hint = format!("write [[keys.{name}.deliver]] with kind = \"file\" and a path");
            findings.warning(section.at(), format!("key `{name}` goes nowhere"), hint);
        }
    }
}

fn one_place_one_key(parts: &Parts<'_, '_>, keys: &BTreeMap<KeyName, Read>, findings: &mut Findings) {
    let mut taken: BTreeMap<TargetId, (&KeyName, TargetId)> = BTreeMap::new();
    let mut folders = Folders::default();
    for (name, key) in keys {
        for (n, target) in key.targets.iter().enumerate() {
            let met = places(name, target.as_ref(), &mut folders).into_iter();
            let met = met.filter_map(|(place, id)| Some((taken.insert(place, (name, id.clone()))?, id)));
            let Some(((first, other), id)) = met.last() else { continue };
            let Some(section) = parts.document.keys.get(name.as_str()) else { continue };
            let at = section.table.get("deliver").map_or(section.at(), |it| match it.get_ref() {
                // Where a target could not be read, the places don't count alike; then the list itself is named.
                DeValue::Array(list) if list.len() == key.targets.len() => section.place(&list[n].span()),
                _ => section.place(&it.span()),
            });
            let same = if other == id { String::new() } else { format!(", which is also {other}") };
            let (message, hint) = if first == name {
                (format!("key `{name}` is delivered to {id} twice{same}"), "remove one of the two")
            } else {
                let message = format!("keys `{first}` and `{name}` are both delivered to {id}{same}");
                (message, "give each key its own place; {{key}} in it stands for the key's name")
            };
            findings.fault_of(name.as_str(), at, message, hint);
        }
    }
}

/// Where a target is, and what it is called there. One that is read is at each of its units, under a name that its key has
/// but once.
fn places(key: &KeyName, target: &dyn Target, folders: &mut Folders) -> Vec<(TargetId, TargetId)> {
    let (id, readers) = (target.id(), target.readers());
    if readers.is_empty() {
        let place = target.path().map_or_else(|| id.clone(), |it| TargetId::new("file", &folders.real(it)));
        return vec![(place, id)];
    }
    let own = TargetId::new(key.as_str(), id.as_str());
    [(own, id)].into_iter().chain(readers.iter().map(|it| (it.id(), it.id()))).collect()
}

/// Folders by their names as they are written, and where they really are: a symlink makes one place of two paths.
#[derive(Default)]
struct Folders(BTreeMap<PathBuf, PathBuf>);

impl Folders {
    /// The path with its folder resolved, as far as that is there already. The file itself can be no symlink.
    fn real(&mut self, path: &Path) -> String {
        let (Some(folder), Some(file)) = (path.parent(), path.file_name()) else { return path.display().to_string() };
        self.folder(folder).join(file).display().to_string()
    }

    fn folder(&mut self, folder: &Path) -> PathBuf {
        if let Some(known) = self.0.get(folder) {
            return known.clone();
        }
        let real = std::fs::canonicalize(folder).unwrap_or_else(|_| match (folder.parent(), folder.file_name()) {
            (Some(parent), Some(name)) => self.folder(parent).join(name),
            _ => folder.to_owned(),
        });
        self.0.insert(folder.to_owned(), real.clone());
        real
    }
}

fn one_key_where_a_create_revokes(parts: &Parts<'_, '_>, keys: &BTreeMap<KeyName, Read>, findings: &mut Findings) {
    let mut taken: BTreeMap<&AccountId, &KeyName> = BTreeMap::new();
    for (name, key) in keys {
        let Some(provider) = parts.providers.get(&key.provider) else { continue };
        let account = &provider.section.account;
        if provider.section.provider.capabilities().on_create != OnCreate::Revokes {
            continue;
        }
        let Some(first) = taken.insert(account, name) else { continue };
        let Some(section) = parts.document.keys.get(name.as_str()) else { continue };
        let message =
            format!("account `{account}` has one key at a time, but both `{first}` and `{name}` are to be it");
        let hint = "keep one of them, and deliver it to both places";
        findings.fault_of(name.as_str(), section.at_field("provider"), message, hint);
    }
}

/// The managed key that authorises each provider.
fn logins(parts: &Parts<'_, '_>, findings: &mut Findings) -> BTreeMap<String, KeyName> {
    let mut logins = BTreeMap::new();
    for (name, provider) in parts.providers {
        let Some(key) = provider.section.provider.authorised_by().filter(|_| provider.clean) else { continue };
        if parts.document.keys.contains_key(key.as_str()) {
            logins.insert(name.clone(), key.clone());
        } else if let Some(section) = parts.document.providers.get(name) {
            let at = secrets::managed(section).unwrap_or(section.at());
            super::document::unknown_name(findings, at, "key", key.as_str(), &parts.document.keys);
        }
    }
    logins
}

/// A key may authorise its own provider: it is then told apart from its successor. Two that authorise each other can
/// both be lost at once, and a key that authorises its own creation can't come into being that way.
fn no_circle(
    parts: &Parts<'_, '_>,
    keys: &BTreeMap<KeyName, Read>,
    logins: &BTreeMap<String, KeyName>,
    findings: &mut Findings,
) {
    let authoriser = |name: &KeyName| keys.get(name).and_then(|it| logins.get(&it.provider));
    let mut seen: BTreeSet<&KeyName> = BTreeSet::new();
    for (name, key) in keys {
        if authoriser(name) == Some(name) && key.initial == Initial::Create {
            let Some(section) = parts.document.keys.get(name.as_str()) else { continue };
            let message = format!("key `{name}` can't be created: its own provider is authorised by it");
            findings.fault_of(name.as_str(), section.at_field("initial"), message, "write initial = \"adopt\"");
        }
        let mut path: Vec<&KeyName> = Vec::new();
        let mut here = Some(name);
        while let Some(next) = here.filter(|it| seen.insert(it)) {
            path.push(next);
            here = authoriser(next);
        }
        let Some(start) = here.and_then(|it| path.iter().position(|seen| *seen == it)) else { continue };
        let circle = &path[start..];
        let Some(section) = parts.document.keys.get(circle[0].as_str()).filter(|_| circle.len() > 1) else { continue };
        let words: Vec<_> = circle.iter().chain(&circle[..1]).map(|it| format!("`{it}`")).collect();
        let message = format!("keys authorise each other in a circle: {}", words.join(", then "));
        let hint = "authorise one of them by a login of its own";
        findings.fault_of(circle[0].as_str(), section.at_field("provider"), message, hint);
    }
}

//! Looks whether the secrets that a config refers to can be had, before anybody needs them.
use super::document::Document;
use super::fault::{At, Findings, Hint};
use super::section::Section;
use super::wording;
use crate::core::names::KeyName;
use crate::secret::{SecretError, SecretRef};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Whether `{ key = "…" }` may stand in a section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Managed {
    /// In a provider's: a managed key may authorise its calls.
    Allowed,
    /// Elsewhere.
    Refused,
}

/// Looks at every secret reference in a section.
pub(super) fn check(section: &Section<'_>, managed: Managed, findings: &mut Findings) {
    for (at, reference) in references(section) {
        match &reference {
            SecretRef::Key(_) if managed == Managed::Allowed => {}
            SecretRef::Key(_) => {
                let message = "a managed key can only authorise a provider's calls";
                findings.fault(at, message, "write { credential = \"…\" }, { file = \"…\" } or { env = \"…\" }");
            }
            SecretRef::File(path) if path.is_relative() => {
                findings.fault(at, format!("{} is a relative path", path.display()), "write the whole path");
            }
            _ => try_it(at, &reference, findings),
        }
    }
}

/// Where a section refers to a managed key.
pub(super) fn managed(section: &Section<'_>) -> Option<At> {
    references(section).into_iter().find(|(_, it)| matches!(it, SecretRef::Key(_))).map(|(at, _)| at)
}

/// Reads a secret and forgets it. What another user or the service itself may well be able to read is only a warning.
fn try_it(at: At, reference: &SecretRef, findings: &mut Findings) {
    let Err(error) = reference.resolve() else { return };
    let (message, hint) = wording::plain(&error.to_string(), "", &[]);
    match error {
        SecretError::NoCredentials(name) => {
            let message = format!("credential `{name}` can't be seen from here");
            findings.warning(at, message, "credentials are visible only inside the systemd unit");
        }
        SecretError::NoEnv(_) => findings.warning(at, message, "it must be set where the daemon runs"),
        SecretError::Read { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            findings.warning(at, message, "check again as the user of the service");
        }
        SecretError::Read { .. } => findings.fault(at, message, Hint::default()),
        _ => findings.fault(at, message, hint),
    }
}

/// Every secret that the config names, but for managed keys.
pub(super) fn named(document: &Document<'_>) -> BTreeSet<SecretRef> {
    let single = document.daemon.iter().chain(&document.smtp).chain(&document.backup);
    let families = document.owners.values().chain(document.providers.values()).chain(document.keys.values());
    let found = single.chain(families).flat_map(references).map(|it| it.1);
    found.filter(|it| !matches!(it, SecretRef::Key(_))).collect()
}

/// Every `{ credential = "…" }` and its like in a section, however deep. No other table of a config has this shape.
fn references(section: &Section<'_>) -> Vec<(At, SecretRef)> {
    let mut found = Vec::new();
    section.table.iter().for_each(|(_, value)| search(section, value, &mut found));
    found
}

fn search(section: &Section<'_>, value: &Spanned<DeValue<'_>>, found: &mut Vec<(At, SecretRef)>) {
    match value.get_ref() {
        DeValue::Table(table) => match reference(table) {
            Some(reference) => found.push((section.place(&value.span()), reference)),
            None => table.iter().for_each(|(_, inner)| search(section, inner, found)),
        },
        DeValue::Array(array) => array.iter().for_each(|inner| search(section, inner, found)),
        _ => {}
    }
}

/// The names of the systemd credentials that a config refers to.
pub(super) fn credentials(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let (table, _) = DeTable::parse_recoverable(text);
    let mut open: Vec<DeValue<'_>> = table.into_inner().into_iter().map(|it| it.1.into_inner()).collect();
    while let Some(value) = open.pop() {
        match value {
            DeValue::Table(table) => match reference(&table) {
                Some(SecretRef::Credential(name)) => drop(found.insert(name)),
                _ => open.extend(table.into_iter().map(|it| it.1.into_inner())),
            },
            DeValue::Array(array) => open.extend(array.into_iter().map(Spanned::into_inner)),
            _ => {}
        }
    }
    found
}

/// The secret that a table refers to, if it is such a reference.
pub(super) fn reference(table: &DeTable<'_>) -> Option<SecretRef> {
    let (name, value) = table.iter().next().filter(|_| table.len() == 1)?;
    let text = value.get_ref().as_str()?.to_owned();
    match name.get_ref().as_ref() {
        "credential" => Some(SecretRef::Credential(text)),
        "file" => Some(SecretRef::File(PathBuf::from(text))),
        "env" => Some(SecretRef::Env(text)),
        "key" => text.parse::<KeyName>().ok().map(SecretRef::Key),
        _ => None,
    }
}

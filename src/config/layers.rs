//! `[defaults]` and `[profiles.NAME]`: what keys take over from them, field by field, before anybody reads what is in it.
use super::document::{Document, Sections, a, unknown_name};
use super::fault::{At, Findings, Hint, NOWHERE, Subject};
use super::section::Section;
use super::template::Words;
use crate::core::reader;
use std::collections::BTreeSet;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// The field by which a key names its profile.
pub(super) const PROFILE: &str = "profile";

/// The fields in which `{{key}}` and `{{provider}}` stand for their names.
const TEMPLATED: [&str; 2] = ["create", "deliver"];

/// Puts into every key what it takes over: what is not written in the key itself comes from its profile, and what is
/// not there either from `[defaults]`. A field is taken as a whole, be it a list or a table.
pub(super) fn apply(document: &mut Document<'_>, findings: &mut Findings) {
    let Document { defaults, profiles, keys, without_profile, .. } = document;
    for layer in defaults.iter_mut().chain(profiles.values_mut()) {
        drop_profile(layer, findings);
    }
    findings.share(defaults.iter().chain(profiles.values()).flat_map(places).collect());
    for (name, key) in keys {
        findings.read_on(Subject::Key(name.clone()));
        let profile = profile(key, profiles, findings);
        for layer in profile.iter().copied().flatten().chain(defaults.as_ref()) {
            take_over(key, layer);
        }
        fill(key, name, findings);
        if profile.is_err() {
            make_up(key);
            without_profile.insert(name.clone());
        }
    }
    findings.read_on(Subject::Section);
}

/// The layers, each as a key that has nothing of its own, to be read beside the keys: there may be faults also in what no
/// key takes over.
pub(super) fn alone<'i>(document: &Document<'i>, findings: &mut Findings) -> Vec<Section<'i>> {
    let mut layers: Vec<_> = document.defaults.iter().chain(document.profiles.values()).cloned().collect();
    for layer in &mut layers {
        fill(layer, "key", findings);
        make_up(layer);
    }
    layers
}

/// Puts in what a key can't do without, where it is to come from elsewhere.
fn make_up(section: &mut Section<'_>) {
    let mut owners = DeArray::new();
    owners.push(Spanned::new(NOWHERE, DeValue::String("x".into())));
    for (field, value) in [("provider", DeValue::String("x".into())), ("owners", DeValue::Array(owners))] {
        if !section.table.contains_key(field) {
            section.table.insert(Spanned::new(NOWHERE, field.into()), Spanned::new(NOWHERE, value));
        }
    }
}

fn drop_profile(layer: &mut Section<'_>, findings: &mut Findings) {
    if let Some((name, _)) = layer.table.remove_entry(PROFILE) {
        let message = "`profile` belongs to keys alone";
        findings.fault(At(name.span().start), message, "write it in each key that has this profile");
    }
}

/// That the profile of a key is not there; its fault is told.
struct NotThere;

/// The profile that a key names, if it names one; the field itself has then done its work.
fn profile<'p, 'i>(
    key: &mut Section<'i>,
    profiles: &'p Sections<'i>,
    findings: &mut Findings,
) -> Result<Option<&'p Section<'i>>, NotThere> {
    let Some((_, written)) = key.table.remove_entry(PROFILE) else { return Ok(None) };
    let at = At(written.span().start);
    let Some(name) = written.get_ref().as_str() else {
        let found = a(written.get_ref().type_str());
        let message = format!("`{PROFILE}` is {found}, where the name of a profile is expected");
        findings.fault(at, message, Hint::default());
        return Err(NotThere);
    };
    let found = profiles.get(name);
    if found.is_none() {
        unknown_name(findings, at, PROFILE, name, profiles);
    }
    found.map(Some).ok_or(NotThere)
}

fn take_over<'i>(key: &mut Section<'i>, layer: &Section<'i>) {
    for (name, value) in &layer.table {
        if !key.table.contains_key(name.get_ref().as_ref()) {
            key.table.insert(name.clone(), value.clone());
        }
    }
}

/// Puts the names into the texts that may hold them.
fn fill(section: &mut Section<'_>, key: &str, findings: &mut Findings) {
    let provider = section.table.get("provider").and_then(|it| it.get_ref().as_str()).unwrap_or("provider").to_owned();
    name_credentials(section);
    let words = Words { key, provider: &provider };
    for field in TEMPLATED {
        if let Some(value) = section.table.get_mut(field) {
            words.fill(value, findings);
        }
    }
}

/// A credential has the name of its key, unless it has one of its own.
fn name_credentials(section: &mut Section<'_>) {
    let Some(DeValue::Array(targets)) = section.table.get_mut("deliver").map(Spanned::get_mut) else { return };
    for target in targets.iter_mut() {
        let span = target.span();
        let DeValue::Table(table) = target.get_mut() else { continue };
        let read = table.get("kind").and_then(|it| it.get_ref().as_str()) == Some(reader::KIND);
        if read && !table.contains_key("name") {
            let name = Spanned::new(span.clone(), DeValue::String("{{key}}".into()));
            table.insert(Spanned::new(span, "name".into()), name);
        }
    }
}

/// Every place in a section at which something can be found.
pub(super) fn places(section: &Section<'_>) -> BTreeSet<usize> {
    let mut found = BTreeSet::from([section.span.start]);
    in_table(&section.table, &mut found);
    found
}

fn in_table(table: &DeTable<'_>, found: &mut BTreeSet<usize>) {
    for (name, value) in table {
        found.insert(name.span().start);
        in_value(value, found);
    }
}

fn in_value(value: &Spanned<DeValue<'_>>, found: &mut BTreeSet<usize>) {
    found.insert(value.span().start);
    match value.get_ref() {
        DeValue::Table(table) => in_table(table, found),
        DeValue::Array(array) => array.iter().for_each(|it| in_value(it, found)),
        _ => {}
    }
}

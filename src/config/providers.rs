//! `[providers.NAME]`, and whether the sections agree on their accounts.
use super::daemon::{names, owners};
use super::document::Document;
use super::fault::Findings;
use super::secrets::{self, Managed};
use super::section::{Section, deserializer};
use super::settings::ProviderSection;
use super::wording;
use super::written::{self, defaults};
use crate::core::names::{AccountId, is_name};
use crate::providers::{KINDS, Kind};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use toml::Spanned;

/// A provider section, with what its keys take over from it.
pub(super) struct Provider {
    /// The section.
    pub(super) section: ProviderSection,
    /// Whether it is as written: there were no faults.
    pub(super) clean: bool,
    /// How many creates its account allows in 24 hours.
    pub(super) creates_per_day: u32,
    /// How long a new key may be refused.
    pub(super) accept_within: Duration,
    /// How long an absence must last.
    pub(super) settle: Duration,
    /// How long a lost create is looked for.
    pub(super) watch: Duration,
    /// What parses the `create` of its keys.
    pub(super) kind: &'static Kind,
}

/// Reads every `[providers.NAME]`. One that can't be read is missing here, though its name is known.
pub(super) fn providers(document: &Document<'_>, findings: &mut Findings) -> BTreeMap<String, Provider> {
    let mut providers = BTreeMap::new();
    for (name, section) in &document.providers {
        secrets::check(section, Managed::Allowed, findings);
        if let Some(provider) = provider(name, section, document, findings) {
            providers.insert(name.clone(), provider);
        }
    }
    agree(&providers, document, findings);
    providers
}

fn provider(name: &str, section: &Section<'_>, document: &Document<'_>, findings: &mut Findings) -> Option<Provider> {
    let mut own = section.clone();
    let common = own.split(&written::Provider::FIELDS);
    let word = own.split(&["kind"]);
    let reading = common.read_as::<written::Provider>(&[], findings);
    let kind = kind(&word, KINDS, |it| it.name, findings);
    if let Some(written) = &reading.value {
        owners(section, &written.owners, document, findings);
    }
    let kind = kind?;
    let also = [&["kind"], &written::Provider::FIELDS[..]].concat();
    let settings = own.read(&also, findings, |table| (kind.parse)(deserializer(table)));
    let (written, provider) = (reading.value?, settings.value?);
    let account = account(name, written.account.as_ref(), section, findings);
    Some(Provider {
        clean: reading.clean && settings.clean,
        section: ProviderSection {
            name: name.to_owned(),
            kind: kind.name,
            account,
            provider,
            owners: names(written.owners),
        },
        creates_per_day: written.creates_per_day.map_or(defaults::CREATES_PER_DAY, Into::into),
        accept_within: written.accept_within.map_or(defaults::ACCEPT_WITHIN, |it| it.0),
        settle: written.settle.map_or(defaults::SETTLE, |it| it.0),
        watch: written.watch.map_or(defaults::WATCH, |it| it.0),
        kind,
    })
}

/// Finds the kind that a section names.
pub(super) fn kind<'k, K>(
    section: &Section<'_>,
    kinds: &'k [K],
    name: impl Fn(&K) -> &'static str,
    findings: &mut Findings,
) -> Option<&'k K> {
    #[derive(Deserialize)]
    struct Written {
        kind: Spanned<String>,
    }
    let written = section.read_as::<Written>(&[], findings).value?;
    let found = kinds.iter().find(|it| name(it) == written.kind.get_ref());
    if found.is_none() {
        let (message, hint) = wording::unknown("kind", "", written.kind.get_ref(), kinds.iter().map(name));
        findings.fault(section.place(&written.kind.span()), message, hint);
    }
    found
}

fn account(name: &str, written: Option<&Spanned<String>>, section: &Section<'_>, findings: &mut Findings) -> AccountId {
    let Some(account) = written else { return AccountId::from(name) };
    if !is_name(account.get_ref()) {
        let message = format!("account `{}` is no name", account.get_ref());
        findings.fault(section.place(&account.span()), message, "write a-z, 0-9, _ and -, at most 48 of them");
    }
    AccountId::from(account.get_ref().as_str())
}

/// Sections that speak for one account must say so, and must agree on it: else it would be driven twice.
fn agree(providers: &BTreeMap<String, Provider>, document: &Document<'_>, findings: &mut Findings) {
    let mut by_identity: BTreeMap<String, &Provider> = BTreeMap::new();
    let mut by_account: BTreeMap<&AccountId, &Provider> = BTreeMap::new();
    for provider in providers.values().filter(|it| it.clean) {
        let (name, account) = (&provider.section.name, &provider.section.account);
        let Some(section) = document.providers.get(name) else { continue };
        let at = section.at_field("account");
        let identity = provider.section.provider.identity();
        let twin = identity.clone().map_or(provider, |it| *by_identity.entry(it).or_insert(provider));
        if twin.section.account != *account {
            let message = format!("providers `{}` and `{name}` have one login, but not one account", twin.section.name);
            findings.fault(at, message, format!("write account = \"{}\" in both", twin.section.account));
        }
        let first = *by_account.entry(account).or_insert(provider);
        if first.section.provider.identity() != identity {
            let message =
                format!("providers `{}` and `{name}` have one account, but not one login", first.section.name);
            findings.fault(at, message, "give each account its own name, or both sections the same base_url and login");
        } else if first.creates_per_day != provider.creates_per_day {
            let message =
                format!("providers `{}` and `{name}` have one account, but not one budget", first.section.name);
            let hint = format!("write creates_per_day = {} in both", first.creates_per_day);
            findings.fault(section.at_field("creates_per_day"), message, hint);
        }
    }
}

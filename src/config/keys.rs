//! `[keys.NAME]`: each for itself. What keys are to one another is in `relations`.
use super::daemon::{names, owners};
use super::document::{Document, a, unknown_name};
use super::fault::{Findings, Hint, Subject};
use super::freezes;
use super::layers;
use super::providers::{Provider, kind};
use super::secrets::{self, Managed};
use super::section::{Section, deserializer};
use super::settings::{Key, NamedFreeze, Owner};
use super::written::{self, defaults};
use crate::core::due;
use crate::core::names::KeyName;
use crate::core::policy::{Initial, OnCreate, Policy, Reach, RotateBefore, TargetPolicy};
use crate::core::window::Window;
use crate::humane::HumanDuration;
use crate::providers::CreateOptions;
use crate::targets::{self, Target};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The parts of a config that keys refer to.
pub(super) struct Parts<'p, 'i> {
    /// What is written.
    pub(super) document: &'p Document<'i>,
    /// The providers that could be read.
    pub(super) providers: &'p BTreeMap<String, Provider>,
    /// The windows that could be read.
    pub(super) windows: &'p BTreeMap<String, Window>,
    /// The freezes that could be read.
    pub(super) freezes: &'p BTreeMap<String, NamedFreeze>,
    /// The owners that could be read.
    pub(super) owners: &'p BTreeMap<String, Owner>,
}

/// A key that could be read, as far as it could.
pub(super) struct Read {
    pub(super) provider: String,
    pub(super) owners: Vec<String>,
    pub(super) targets: Vec<Arc<dyn Target>>,
    pub(super) create: Option<Arc<dyn CreateOptions>>,
    /// Missing where the provider could not be read.
    pub(super) policy: Option<Policy>,
    /// Whether it is as written, and its provider too: there were no faults.
    pub(super) clean: bool,
    pub(super) initial: Initial,
    /// How many openings it wants before expiry, where that is written.
    pub(super) attempts_in_window: Option<u32>,
}

impl Read {
    /// The key, if nothing is missing.
    pub(super) fn complete(self, name: KeyName) -> Option<Key> {
        let Self { provider, owners, targets, create, policy, .. } = self;
        Some(Key { name, provider, owners, policy: policy?, create: create?, targets })
    }
}

/// The fields of a key that belong to the kinds.
const KINDS_FIELDS: [&str; 2] = ["create", "deliver"];

impl Parts<'_, '_> {
    /// Reads every `[keys.NAME]`. One that can't be read is missing here.
    pub(super) fn keys(&self, findings: &mut Findings) -> BTreeMap<KeyName, Read> {
        findings.read_on(Subject::Layer);
        for layer in layers::alone(self.document, findings) {
            self.partly(&layer, findings);
        }
        let mut keys = BTreeMap::new();
        for (name, section) in &self.document.keys {
            findings.read_on(Subject::Key(name.clone()));
            if self.document.without_profile.contains(name) {
                self.partly(section, findings);
                continue;
            }
            let key = self.key(section, findings);
            // A name that is none has been told of.
            if let (Ok(name), Some(key)) = (name.parse(), key) {
                keys.insert(name, key);
            }
        }
        findings.read_on(Subject::Section);
        keys
    }

    /// Reads what is no whole key, as far as that is possible: what its `create` may say depends on the provider, and
    /// whether its times fit together on all the rest.
    fn partly(&self, section: &Section<'_>, findings: &mut Findings) {
        let mut own = section.clone();
        let kinds = own.split(&KINDS_FIELDS);
        let reading = own.read_as::<written::Key>(&KINDS_FIELDS, findings);
        deliver(&kinds, findings);
        if let Some(written) = reading.value {
            self.look_up(&written, section, findings);
        }
    }

    fn key(&self, section: &Section<'_>, findings: &mut Findings) -> Option<Read> {
        let mut own = section.clone();
        let kinds = own.split(&KINDS_FIELDS);
        let also = [&[layers::PROFILE], &KINDS_FIELDS[..]].concat();
        let reading = own.read_as::<written::Key>(&also, findings);
        let targets = deliver(&kinds, findings);
        let written = reading.value?;
        self.look_up(&written, section, findings);
        let provider = self.providers.get(written.provider.get_ref());
        let create = provider.and_then(|it| create(&kinds, it, findings));
        let policy = provider.map(|it| self.policy(&written, it, create.as_deref(), &targets));
        let clean = reading.clean && provider.is_some_and(|it| it.clean);
        if let (true, Some(provider), Some(policy)) = (clean, provider, &policy) {
            check_times(section, &written, policy, provider, findings);
            check_readers(section, &written, policy, provider, findings);
        }
        Some(Read {
            clean,
            initial: written.initial,
            attempts_in_window: written.attempts_in_window.map(Into::into).filter(|_| reading.clean),
            provider: written.provider.into_inner(),
            owners: names(written.owners),
            targets,
            create,
            policy,
        })
    }

    /// Looks up what a key names.
    fn look_up(&self, written: &written::Key, section: &Section<'_>, findings: &mut Findings) {
        let provider = &written.provider;
        if !self.document.providers.contains_key(provider.get_ref()) {
            let at = section.place(&provider.span());
            unknown_name(findings, at, "provider", provider.get_ref(), &self.document.providers);
        }
        for window in &written.windows {
            if !self.document.windows.contains_key(window.get_ref()) {
                let at = section.place(&window.span());
                unknown_name(findings, at, "window", window.get_ref(), &self.document.windows);
            }
        }
        for freeze in &written.freezes {
            if !self.document.freezes.contains_key(freeze.get_ref()) {
                let at = section.place(&freeze.span());
                unknown_name(findings, at, "freeze", freeze.get_ref(), &self.document.freezes);
            }
        }
        if written.together.as_ref().is_some_and(|it| it.get_ref().trim().is_empty()) {
            let at = section.at_field("together");
            findings.fault(
                at,
                "`together` is empty",
                "write a word that all keys have which are to rotate in one window",
            );
        }
        owners(section, &written.owners, self.document, findings);
        let none = section.table.get("owners").and_then(|it| it.get_ref().as_array()).is_some_and(|it| it.is_empty());
        if none {
            findings.fault(section.at_field("owners"), "a key needs an owner", "name who is told of it");
        }
    }

    fn policy(
        &self,
        written: &written::Key,
        provider: &Provider,
        create: Option<&dyn CreateOptions>,
        targets: &[Arc<dyn Target>],
    ) -> Policy {
        let windows = written.windows.iter().filter_map(|it| self.windows.get(it.get_ref()).cloned()).collect();
        let owners = || written.owners.iter().filter_map(|it| self.owners.get(it.get_ref()));
        let mut notify_before: Vec<_> = owners().flat_map(|it| it.notify_before.iter().copied()).collect();
        notify_before.sort_unstable_by(|a, b| b.cmp(a));
        notify_before.dedup();
        Policy {
            account: provider.section.account.clone(),
            provider: provider.section.provider.capabilities(),
            former: BTreeMap::new(),
            package: create.and_then(CreateOptions::package),
            restriction: create.and_then(CreateOptions::restriction),
            instructions: provider.section.provider.instructions().map(str::to_owned),
            rotate_before: written.rotate_before.map_or(defaults::ROTATE_BEFORE, |it| it.0),
            valid_for: written.valid_for.map(|it| it.0),
            max_age: written.max_age.map(|it| it.0),
            overlap: written.overlap.map_or(defaults::OVERLAP, |it| it.0),
            windows,
            freezes: freezes::of_key(self.freezes, &written.freezes),
            announce: written.announce.map_or(defaults::ANNOUNCE, |it| it.0),
            outside_window: written.outside_window,
            together: written.together.as_ref().map(|it| it.get_ref().clone()),
            slot: None,
            on_ambiguous: written.on_ambiguous,
            on_drift: written.on_drift,
            initial: written.initial,
            targets: targets.iter().map(|it| target_policy(it.as_ref())).collect(),
            accept_within: provider.accept_within,
            settle: provider.settle,
            watch: provider.watch,
            creates_per_day: provider.creates_per_day,
            notify_before,
            escalate_before: owners().map(|it| it.escalate_before).max().unwrap_or(defaults::ESCALATE_BEFORE),
            ack_timeout: written.ack_timeout.map_or(defaults::ACK_TIMEOUT, |it| it.0),
            stuck_after: written.stuck_after.map_or(defaults::STUCK_AFTER, |it| it.0),
            probe_every: written.probe_every.map_or(defaults::PROBE_EVERY, |it| it.0),
        }
    }
}

fn target_policy(target: &dyn Target) -> TargetPolicy {
    let (id, reach, confirms, readers) = (target.id(), target.reach(), target.confirms(), target.readers());
    TargetPolicy { id, reach, confirms, readers }
}

/// Reads `create`, which may be absent: then it is an empty table at the key itself.
fn create(kinds: &Section<'_>, provider: &Provider, findings: &mut Findings) -> Option<Arc<dyn CreateOptions>> {
    let (table, span) = match kinds.table.get("create").map(|it| (it.get_ref(), it.span())) {
        None => (DeTable::new(), kinds.span.clone()),
        Some((DeValue::Table(table), span)) => (table.clone(), span),
        Some((other, span)) => {
            let message = format!("`create` is {}, where a table is expected", a(other.type_str()));
            findings.fault(kinds.place(&span), message, Hint::default());
            return None;
        }
    };
    let section = Section { prefix: "create.", span, table };
    let create = section.read(&[], findings, |table| (provider.kind.parse_create)(deserializer(table)));
    let fault = create.value.as_ref().filter(|_| create.clean).and_then(|it| it.fault());
    if let Some(fault) = fault {
        findings.fault(section.at(), fault, Hint::default());
    }
    create.value
}

/// Reads every `[[keys.NAME.deliver]]`.
fn deliver(kinds: &Section<'_>, findings: &mut Findings) -> Vec<Arc<dyn Target>> {
    let Some(list) = kinds.table.get("deliver") else { return Vec::new() };
    let DeValue::Array(list) = list.get_ref() else {
        let hint = "write its header in two brackets, such as [[keys.NAME.deliver]]";
        findings.fault(kinds.place(&list.span()), "`deliver` is a list of tables", hint);
        return Vec::new();
    };
    list.iter().filter_map(|it| target(kinds, it, findings)).collect()
}

fn target(kinds: &Section<'_>, item: &Spanned<DeValue<'_>>, findings: &mut Findings) -> Option<Arc<dyn Target>> {
    let span = item.span();
    let DeValue::Table(table) = item.get_ref() else {
        let message = format!("`deliver` holds {}, where a table is expected", a(item.get_ref().type_str()));
        findings.fault(kinds.place(&span), message, Hint::default());
        return None;
    };
    let mut section = Section { prefix: "deliver.", span, table: table.clone() };
    secrets::check(&section, Managed::Refused, findings);
    let word = section.split(&["kind"]);
    let kind = kind(&word, targets::KINDS, |it| it.name, findings)?;
    section.read(&["kind"], findings, |table| (kind.parse)(deserializer(table))).value
}

/// Whether the times of a key can all be kept.
fn check_times(
    section: &Section<'_>,
    written: &written::Key,
    policy: &Policy,
    provider: &Provider,
    findings: &mut Findings,
) {
    let human = |it: Duration| HumanDuration(it).to_string();
    if !policy.provider.reports_expiry && policy.valid_for.is_none() && policy.max_age.is_none() {
        let message = format!("{} reports no expiry, so nothing says when to rotate", provider.section.kind);
        findings.fault(section.at(), message, "write valid_for or max_age, such as max_age = \"90d\"");
    }
    if !policy.provider.creates && policy.initial == Initial::Create {
        let message = format!("{} can't be asked for the first key", provider.section.kind);
        findings.fault(section.at_field("initial"), message, "write initial = \"adopt\", then: rekeyd adopt KEY");
    }
    let asked = match policy.rotate_before {
        RotateBefore::Lead(lead) => Some(lead),
        RotateBefore::Share(_) => policy.valid_for.map(|it| due::asked(it, policy)),
    };
    let counts = policy.valid_for.map(|it| due::lead(it, policy)).or(asked);
    if let (Some(asked), Some(counts), Some(valid_for)) = (asked, counts, policy.valid_for) {
        let at = section.at_field("rotate_before");
        if asked >= valid_for {
            let message = format!("rotate_before ({}) is not less than valid_for ({})", human(asked), human(valid_for));
            return findings.fault(at, message, "rotate_before counts back from the expiry");
        }
        if counts < asked {
            let (asked, counts) = (human(asked), human(counts));
            let message = format!("rotate_before ({asked}) is more than half of valid_for: {counts} is what counts");
            let hint = "write at most half: where the provider grants less than was asked for, a key would be due as soon as it is there";
            findings.warning(at, message, hint);
        }
    }
    let revokes = policy.provider.on_create == OnCreate::Revokes;
    let at_overlap = section.at_field("overlap");
    // What holds for several keys need not be of use to each of them.
    if revokes && written.overlap.is_some() && !findings.is_shared(at_overlap) {
        let message = format!("overlap does nothing: {} ends the old key at once", provider.section.kind);
        return findings.warning(at_overlap, message, "remove it");
    }
    if let Some(lead) = counts.filter(|it| !revokes && policy.overlap >= *it) {
        let default = if written.overlap.is_none() { ", by default" } else { "" };
        let overlap = human(policy.overlap);
        let message = format!("overlap ({overlap}{default}) is not less than rotate_before ({})", human(lead));
        findings.fault(at_overlap, message, "the old key would expire before its overlap ends");
    }
}

/// Whether the units that fetch a key are served by what is said of it.
fn check_readers(
    section: &Section<'_>,
    written: &written::Key,
    policy: &Policy,
    provider: &Provider,
    findings: &mut Findings,
) {
    let revokes = policy.provider.on_create == OnCreate::Revokes;
    if revokes && policy.targets.iter().any(|it| it.reach == Reach::Read { nudges: false }) {
        let kind = provider.section.kind;
        let message = format!("{kind} ends the old key at once, and units go on with it until they are restarted");
        let hint = "write then = { restart = […] } in the target that they read";
        findings.warning(section.at_field("deliver"), message, hint);
    }
    let at = section.at_field("ack_timeout");
    let unread = policy.targets.iter().all(|it| it.readers.is_empty());
    if unread && written.ack_timeout.is_some() && !findings.is_shared(at) {
        let message = "ack_timeout does nothing: no unit reads this key";
        findings.warning(at, message, "it belongs to keys with a target of kind = \"credential\"");
    }
}

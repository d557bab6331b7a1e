//! `[smtp]` and `[owners.NAME]`.
use super::daemon;
use super::document::Document;
use super::fault::{Findings, Hint};
use super::secrets::{self, Managed};
use super::section::Section;
use super::settings::{Channel, Owner};
use super::wording;
use super::written::{self, defaults};
use crate::core::digest::Schedule;
use crate::http::webhooks::Clients;
use crate::humane::HumanDuration;
use crate::notifiers::smtp::{Smtp, SmtpClient};
use crate::notifiers::{Fault, KINDS, Kind, Shared, Wanted};
use chrono_tz::Tz;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// No notice may wait longer for others.
const GROUP_WITHIN_MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads `[smtp]` and every `[owners.NAME]`. An owner that can't be read is missing here, though its name is known.
pub(super) fn owners(document: &Document<'_>, timezone: Tz, findings: &mut Findings) -> BTreeMap<String, Owner> {
    let smtp = document.smtp.as_ref().and_then(|it| smtp(it, findings));
    let mut owners = BTreeMap::new();
    let Some((_, first)) = document.owners.first_key_value() else { return owners };
    let http = match Clients::new() {
        Ok(http) => http,
        Err(error) => {
            findings.fault(first.at(), error.to_string(), Hint::default());
            return owners;
        }
    };
    let shared = Shared { smtp, http, timezone: Some(timezone) };
    for (name, section) in &document.owners {
        if let Some(owner) = owner(name, section, document, &shared, findings) {
            owners.insert(name.clone(), owner);
        }
    }
    owners
}

fn smtp(section: &Section<'_>, findings: &mut Findings) -> Option<Arc<SmtpClient>> {
    let settings: Smtp = section.read_as(&[], findings).value?;
    secrets::check(section, Managed::Refused, findings);
    match SmtpClient::new(settings) {
        Ok(client) => {
            if let Some(trouble) = client.trouble() {
                findings.warning(section.at_field("templates"), trouble, "mend it, then run: rekeyd reload");
            }
            Some(client)
        }
        Err(error) => {
            let (message, hint) = wording::plain(&error.to_string(), "", &[]);
            findings.fault(section.at_field("ca_file"), message, hint);
            None
        }
    }
}

fn owner(
    name: &str,
    section: &Section<'_>,
    document: &Document<'_>,
    shared: &Shared,
    findings: &mut Findings,
) -> Option<Owner> {
    let kinds: Vec<&str> = KINDS.iter().map(|it| it.name).collect();
    let mut rest = section.clone();
    let lists = rest.split(&kinds);
    secrets::check(section, Managed::Refused, findings);
    let reading = rest.read_as::<written::Owner>(&kinds, findings);
    let timezone = reading.value.as_ref().and_then(|it| it.timezone).map(|it| it.0).or(shared.timezone);
    let shared = Shared { timezone, ..shared.clone() };
    let channels = KINDS.iter().flat_map(|kind| channels(kind, &lists, document, &shared, findings)).collect();
    if lists.table.is_empty() {
        findings.warning(
            section.at(),
            format!("owner `{name}` can't be told: it has no channel"),
            "write email, webhook or exec",
        );
    }
    let written = reading.value?;
    daemon::owners(section, &written.escalate_to, document, findings);
    for other in written.escalate_to.iter().filter(|it| it.get_ref() == name) {
        let message = format!("`escalate_to` of owner `{name}` names itself");
        findings.fault(section.place(&other.span()), message, "name who is told where it is not");
    }
    if let Some(within) = written.group_within.as_ref().filter(|it| it.get_ref().0 > GROUP_WITHIN_MOST) {
        let most = HumanDuration(GROUP_WITHIN_MOST);
        let message = format!("`group_within` is longer than {most}: notices would come too late");
        findings.fault(section.place(&within.span()), message, "write such as group_within = \"5m\"");
    }
    let notify_before = written.notify_before.map(|it| it.into_iter().map(|it| it.0).collect());
    let timezone = timezone.unwrap_or(Tz::UTC);
    let digest = written.digest.map(|it| daemon::cron(section, it, findings));
    Some(Owner {
        name: name.to_owned(),
        digest: digest.map(|it| Schedule::new(it, timezone)),
        channels,
        notify_before: notify_before.unwrap_or_else(|| defaults::NOTIFY_BEFORE.to_vec()),
        group_within: written.group_within.map_or(defaults::GROUP_WITHIN, |it| it.into_inner().0),
        escalate_to: daemon::names(written.escalate_to),
        escalate_before: written.escalate_before.map_or(defaults::ESCALATE_BEFORE, |it| it.0),
        timezone,
    })
}

/// The channels of one kind.
fn channels(
    kind: &Kind,
    lists: &Section<'_>,
    document: &Document<'_>,
    shared: &Shared,
    findings: &mut Findings,
) -> Vec<Channel> {
    let mut list = lists.clone();
    let list = list.split(&[kind.name]);
    if kind.name == "email" && shared.smtp.is_none() {
        // Where the section is there but broken, its own faults say so.
        if document.smtp.is_none() && !list.table.is_empty() {
            findings.fault(list.at_field("email"), "email needs a section `[smtp]`", "add it, or remove email");
        }
        return Vec::new();
    }
    let reading = list.read(&[], findings, |table| match table.into_inner().remove(kind.name) {
        Some(list) => (kind.read)(list.into(), shared),
        None => Ok(Vec::new()),
    });
    // What was mended so that it could be read is not as written: nothing more can be said of it.
    let wanted = reading.value.filter(|_| reading.clean).unwrap_or_default();
    wanted.into_iter().map(|it| channel(it, kind, &list, findings)).collect()
}

fn channel(wanted: Wanted, kind: &Kind, list: &Section<'_>, findings: &mut Findings) -> Channel {
    // A secret that can't be seen has been told of where it stands.
    if let Err(Fault::Wrong(message)) = wanted.notifier.check() {
        let (message, hint) = wording::plain(&message, "", &[]);
        findings.fault(list.at_field(kind.name), message, hint);
    }
    Channel { notifier: wanted.notifier, min_severity: wanted.min_severity }
}

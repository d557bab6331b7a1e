//! `[smtp]` and `[owners.NAME]`.
use super::document::Document;
use super::fault::{Findings, Hint};
use super::secrets::{self, Managed};
use super::section::{Section, deserializer};
use super::settings::{Channel, Owner};
use super::written::{self, defaults};
use crate::notifiers::smtp::{Smtp, SmtpClient};
use crate::notifiers::{self, KINDS, Shared};
use chrono_tz::Tz;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Reads `[smtp]` and every `[owners.NAME]`. An owner that can't be read is missing here, though its name is known.
pub(super) fn owners(document: &Document<'_>, timezone: Tz, findings: &mut Findings) -> BTreeMap<String, Owner> {
    let smtp = document.smtp.as_ref().and_then(|it| smtp(it, findings));
    let http = notifiers::webhook::client();
    let mut owners = BTreeMap::new();
    for (name, section) in &document.owners {
        let mut rest = section.clone();
        let channels = rest.split(&KINDS.map(|it| it.name));
        let reading = rest.read_as::<written::Owner>(&KINDS.map(|it| it.name), findings);
        secrets::check(section, Managed::Refused, findings);
        let timezone = reading.value.as_ref().and_then(|it| it.timezone.map(|it| it.0)).unwrap_or(timezone);
        let shared = Shared { smtp: smtp.clone(), http: http.clone(), timezone: Some(timezone) };
        let channels = read_channels(&channels, &shared, document, findings);
        if let Some(written) = reading.value {
            owners.insert(name.clone(), owner(name, written, channels, timezone));
        }
    }
    owners
}

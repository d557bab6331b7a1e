//! Incidents that belong to no key: those of the daemon itself, and those of a provider that hold all of its keys. Each is
//! told once when it begins, again when it is worse, and once when it ends, to the same owners.
use super::names::NoticeId;
use super::plan::{Notice, NoticeKind, NoticeStatus, Severity};
use super::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many incidents may be open at once; one more is not told.
pub const INCIDENTS_OPEN: usize = 1024;

/// The incidents that have not ended, by their causes. Durable, so that a restart tells nothing twice.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incidents(BTreeMap<String, Open>);

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    kind: NoticeKind,
    provider: Option<String>,
    since: Timestamp,
    owners: Vec<String>,
    /// How bad it was called.
    #[serde(default = "warning")]
    severity: Severity,
}

fn warning() -> Severity {
    Severity::Warning
}

/// What is wrong.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Its type.
    pub kind: NoticeKind,
    /// The provider section that it is about; none where it is the daemon itself.
    pub provider: Option<String>,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence.
    pub summary: String,
    /// Commands that answer it.
    pub actions: Vec<String>,
    /// Who is told.
    pub owners: Vec<String>,
}

/// A notice that belongs to no key, and who is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// What is said.
    pub notice: Notice,
    /// To whom.
    pub owners: Vec<String>,
}

impl Incidents {
    /// Something is wrong: what is to be told; `None` where it was told before, as no less bad, and has not ended since.
    pub fn begin(&mut self, cause: &str, it: Incident, now: Timestamp) -> Option<Told> {
        if let Some(open) = self.0.get_mut(cause) {
            return open.worsen(cause, it, now);
        }
        if self.0.len() >= INCIDENTS_OPEN {
            return None;
        }
        let Incident { kind, provider, severity, summary, actions, owners } = it;
        let open = Open { kind, provider, since: now, owners: owners.clone(), severity };
        let notice = Notice { severity, summary, actions, ..open.notice(cause, NoticeStatus::Firing, now) };
        self.0.insert(cause.to_owned(), open);
        Some(Told { notice, owners })
    }

    /// It is over: whoever heard that it began hears that it ended. `how` ends the sentence "it is over: …".
    pub fn end(&mut self, cause: &str, how: &str, now: Timestamp) -> Option<Told> {
        let open = self.0.remove(cause)?;
        let subject = open.provider.as_deref().unwrap_or("rekeyd");
        let summary = format!("{subject}: over, {how}");
        let at_worst = Some(open.severity);
        let notice = Notice { summary, at_worst, ..open.notice(cause, NoticeStatus::Resolved, now) };
        Some(Told { notice, owners: open.owners })
    }

    /// Whether it was told, and has not ended.
    pub fn is_open(&self, cause: &str) -> bool {
        self.0.contains_key(cause)
    }

    /// Since when it is open.
    pub fn since(&self, cause: &str) -> Option<Timestamp> {
        self.0.get(cause).map(|it| it.since)
    }

    /// The causes of this family (`provider:`, `channel:`) that are open.
    pub fn open(&self, family: &str) -> Vec<String> {
        self.0.keys().filter(|it| it.starts_with(family)).cloned().collect()
    }
}

impl Open {
    /// What is told where it is worse than it was called before. Its end is told to all who heard of any of it.
    fn worsen(&mut self, cause: &str, it: Incident, now: Timestamp) -> Option<Told> {
        let Incident { severity, summary, actions, mut owners, .. } = it;
        if severity <= self.severity {
            return None;
        }
        self.severity = severity;
        owners.extend(self.owners.iter().filter(|it| !owners.contains(it)).cloned().collect::<Vec<_>>());
        self.owners.clone_from(&owners);
        let notice = self.notice(cause, NoticeStatus::Firing, now);
        let id = NoticeId::of(&[notice.id.as_str(), severity.code()]);
        Some(Told { notice: Notice { id, severity, summary, actions, ..notice }, owners })
    }

    fn notice(&self, cause: &str, status: NoticeStatus, now: Timestamp) -> Notice {
        let begun = self.since.0.to_string();
        Notice {
            provider: self.provider.clone(),
            incident: NoticeId::of(&["rekeyd", cause, &begun]).to_string(),
            status,
            ..Notice::bare(NoticeId::of(&["rekeyd", self.kind.code(), cause, &begun, status.code()]), self.kind, now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    fn refused() -> Incident {
        Incident {
            kind: NoticeKind::ProviderRefused,
            provider: Some("sms".into()),
            severity: Severity::Warning,
            summary: "sms refuses our login".into(),
            actions: vec!["rekeyd status".into()],
            owners: vec!["platform".into()],
        }
    }

    #[test]
    fn an_incident_is_told_once_until_it_ends_and_then_its_end_to_the_same_owners() {
        let mut incidents = Incidents::default();
        let begun = incidents.begin("provider:sms", refused(), NOW).unwrap();
        assert_eq!((begun.notice.status, begun.owners.len()), (NoticeStatus::Firing, 1));
        assert_eq!(incidents.begin("provider:sms", refused(), Timestamp(NOW.0 + 1)), None);
        let ended = incidents.end("provider:sms", "it accepts the login", Timestamp(NOW.0 + 2)).unwrap();
        assert_eq!(ended.notice.incident, begun.notice.incident);
        assert_ne!(ended.notice.id, begun.notice.id);
        assert_eq!(ended.owners, begun.owners);
        assert_eq!(ended.notice.summary, "sms: over, it accepts the login");
        assert_eq!(incidents.end("provider:sms", "", NOW), None);
    }

    #[test]
    fn an_incident_that_is_worse_is_told_again_and_its_end_to_all_who_heard_of_it() {
        let mut incidents = Incidents::default();
        let begun = incidents.begin("provider:sms", refused(), NOW).unwrap();
        let critical = Incident { severity: Severity::Critical, owners: vec!["payments".into()], ..refused() };
        let worse = incidents.begin("provider:sms", critical.clone(), Timestamp(NOW.0 + 1)).unwrap();
        assert_eq!((worse.notice.severity, worse.notice.at), (Severity::Critical, Timestamp(NOW.0 + 1)));
        assert_eq!(worse.notice.incident, begun.notice.incident);
        assert_ne!(worse.notice.id, begun.notice.id);
        for again in [critical, refused()] {
            assert_eq!(incidents.begin("provider:sms", again, Timestamp(NOW.0 + 2)), None);
        }
        let ended = incidents.end("provider:sms", "", Timestamp(NOW.0 + 3)).unwrap();
        assert_eq!(ended.owners, ["payments", "platform"]);
        assert_eq!(ended.notice.at_worst, Some(Severity::Critical));
    }

    #[test]
    fn the_same_trouble_later_is_another_incident() {
        let mut incidents = Incidents::default();
        let first = incidents.begin("provider:sms", refused(), NOW).unwrap();
        incidents.end("provider:sms", "", NOW);
        let second = incidents.begin("provider:sms", refused(), Timestamp(NOW.0 + 1)).unwrap();
        assert_ne!(first.notice.incident, second.notice.incident);
        assert_ne!(first.notice.id, second.notice.id);
    }
}

//! A notice as JSON: what machines are told, in the body of a webhook or on the stdin of a command.
use super::Message;
use crate::core::plan::DigestLine;
use crate::core::time::Timestamp;
use crate::http::webhooks::Envelope;
use serde::Serialize;

/// What scripts read: fields are added, never renamed. Depends on the message alone, so that it is the same in every try.
pub(super) fn render(message: &Message) -> Vec<u8> {
    // Text and numbers; there is nothing in it that JSON can't hold.
    let notice = &message.notice;
    let (r#type, timestamp) = (notice.kind.code(), notice.at.to_string());
    serde_json::to_vec(&Envelope { r#type, timestamp, data: Data::of(message) }).unwrap_or_default()
}

#[derive(Serialize)]
struct Data<'a> {
    key: Option<&'a str>,
    provider: Option<&'a str>,
    owner: &'a str,
    severity: &'static str,
    incident: &'a str,
    status: &'static str,
    summary: &'a str,
    actions: &'a [String],
    version: Option<u64>,
    fingerprint: Option<&'a str>,
    valid_to: Option<String>,
    next: Option<NextData<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    digest: Vec<LineData<'a>>,
}

/// One line of a digest.
#[derive(Serialize)]
struct LineData<'a> {
    section: &'static str,
    key: Option<&'a str>,
    at: Option<String>,
    message: &'a str,
    action: Option<&'a str>,
}

#[derive(Serialize)]
struct NextData<'a> {
    action: &'a str,
    at: Option<String>,
    reason: &'a str,
}

impl<'a> Data<'a> {
    fn of(message: &'a Message) -> Self {
        let notice = &message.notice;
        let next = notice.next.as_ref();
        Self {
            key: notice.key.as_ref().map(|it| it.as_str()),
            provider: message.provider.as_deref(),
            owner: &message.owner,
            severity: notice.severity.code(),
            incident: &notice.incident,
            status: notice.status.code(),
            summary: &notice.summary,
            actions: &notice.actions,
            version: notice.version.map(u64::from),
            fingerprint: notice.fingerprint.as_ref().map(|it| it.as_str()),
            valid_to: notice.valid_to.and_then(rfc3339),
            next: next.map(|it| NextData { action: &it.action, at: rfc3339(it.at), reason: &it.reason }),
            digest: notice.digest.iter().map(LineData::of).collect(),
        }
    }
}

impl<'a> LineData<'a> {
    fn of(line: &'a DigestLine) -> Self {
        Self {
            section: line.section.code(),
            key: line.key.as_ref().map(|it| it.as_str()),
            at: line.at.and_then(rfc3339),
            message: &line.message,
            action: line.action.as_deref(),
        }
    }
}

/// A moment for machines; `null` where it never comes.
fn rfc3339(at: Timestamp) -> Option<String> {
    at.datetime().map(|_| at.to_string())
}

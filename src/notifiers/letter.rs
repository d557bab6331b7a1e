//! What a notice says to a person: the same content for every channel that people read. No secret can be in it, since a
//! notice has none.
use super::table::{self, Part};
use super::{Also, Message};
use crate::command::Veil;
use crate::core::names::{Fingerprint, NoticeId};
use crate::core::plan::{Next, Notice, NoticeKind, NoticeStatus, Severity};
use crate::core::time::Timestamp;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

/// The longest sentence or command that is shown, in characters.
const LINE_CHARS: usize = 2_000;
/// The longest subject, in characters.
pub(super) const SUBJECT_CHARS: usize = 160;
/// The most commands that are shown.
const COMMANDS: usize = 16;
/// What the end of an incident means.
const OVER: &str = "It is over. Nothing has to be done.";

/// A notice in words. Every text is one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Letter {
    /// `critical`, `warning`, `info`, or `resolved`.
    pub urgency: &'static str,
    /// The subject: urgency, key and event.
    pub subject: String,
    /// The key and the event.
    pub title: String,
    /// What happened.
    pub happened: String,
    /// What it means.
    pub means: String,
    /// The commands that answer it; none where nothing is to be done.
    pub commands: Vec<String>,
    /// What comes next, and when.
    pub next: Option<String>,
    /// What it is about: pairs of a name and a value.
    pub facts: Vec<(&'static str, String)>,
    /// The notices that go in this one message, or the lines of a digest.
    pub table: Vec<Part>,
}

impl Letter {
    /// Puts a notice into words. Times are in UTC, and in the owner's time zone beside it.
    pub fn of(message: &Message, timezone: Option<Tz>) -> Self {
        if !message.more.is_empty() {
            return Self::of_several(message, timezone);
        }
        let notice = &message.notice;
        let urgency = urgency(notice);
        let title = format!("{}: {}", notice.subject(), notice.kind.code().replace('.', " "));
        Self {
            urgency,
            subject: line(&format!("[{urgency}] {title}"), SUBJECT_CHARS),
            title: line(&title, SUBJECT_CHARS),
            happened: line(&told(&notice.summary, |at| moment(at, timezone)), LINE_CHARS),
            means: means(notice),
            commands: commands(notice),
            next: notice.next.as_ref().map(|it| next(it, timezone)),
            facts: facts(message, timezone),
            table: table::of_digest(notice, timezone),
        }
    }

    /// Several notices as one letter: what they have in common, and a table.
    fn of_several(message: &Message, timezone: Option<Tz>) -> Self {
        let urgency = urgency(&message.notice);
        let title = table::title(message);
        let to_do = message.notices().any(|it| it.status == NoticeStatus::Firing && it.severity > Severity::Info);
        let facts = [
            ("Owner", message.owner.clone()),
            ("Notices", message.notices().count().to_string()),
            ("Times in", zone_name(timezone)),
            ("Message", message.id.to_string()),
        ];
        Self {
            urgency,
            subject: line(&format!("[{urgency}] {title}"), SUBJECT_CHARS),
            title: line(&title, SUBJECT_CHARS),
            happened: line(&table::counts(message), LINE_CHARS),
            means: match message.notice.status {
                NoticeStatus::Resolved => OVER.to_owned(),
                NoticeStatus::Firing => consequence(message.notice.severity).to_owned(),
            },
            commands: if to_do { vec!["rekeyd status".to_owned()] } else { Vec::new() },
            next: None,
            facts: facts.map(|(name, value)| (name, line(&value, LINE_CHARS))).to_vec(),
            table: table::of_notices(message, timezone),
        }
    }
}

/// What it is called in a subject: how much it matters, or that it is over.
pub(super) fn urgency(notice: &Notice) -> &'static str {
    match notice.status {
        NoticeStatus::Firing => notice.severity.code(),
        NoticeStatus::Resolved => "resolved",
    }
}

/// The colour of an urgency: dark enough for white letters on it, and light enough to be seen on a dark page.
pub(super) fn colour(urgency: &str) -> &'static str {
    match urgency {
        "critical" => "#d92d20",
        "warning" => "#b54708",
        "resolved" => "#067647",
        _ => "#175cd3",
    }
}

fn means(notice: &Notice) -> String {
    if notice.status == NoticeStatus::Resolved {
        return OVER.to_owned();
    }
    if notice.kind == NoticeKind::Digest && !notice.actions.is_empty() {
        return "This is the regular summary, and some of it needs a hand.".to_owned();
    }
    let event = notice.means.as_deref().map_or_else(|| event(notice.kind).to_owned(), |it| line(it, LINE_CHARS));
    format!("{event} {}", consequence(notice.severity))
}

fn consequence(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "Critical: a consumer is, or within a day will be, without a working key.",
        Severity::Warning => "Warning: somebody must act, but nothing is broken yet.",
        Severity::Info => "For information: nothing has to be done.",
    }
}

fn event(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::KeyExpiring => {
            "The key is not replaced on time, unless somebody acts or what holds that up passes."
        }
        NoticeKind::KeyExpired => "The key has expired.",
        NoticeKind::KeyRefused => "The provider refuses a key that should be valid.",
        NoticeKind::KeyDrifted => "Somebody else changed the key, at the provider or where it was delivered.",
        NoticeKind::KeyAdopted => "From now on the key is looked after.",
        NoticeKind::RotationScheduled => {
            "With the new key the provider ends the old one, or may end it, so a change is announced."
        }
        NoticeKind::RotationSucceeded => "The new key is the one that counts from now on.",
        NoticeKind::RotationFailed => "The attempt failed, and is tried again.",
        NoticeKind::RotationHalted => "The rotation stands still until somebody says how to go on.",
        NoticeKind::DeliveryFailed => "The key did not reach a place that needs it; this is tried again.",
        NoticeKind::RevokeNeeded => "A key must be revoked by hand, in the provider's portal.",
        NoticeKind::ProviderRefused => "The provider refuses what we ask with our login.",
        NoticeKind::ProviderThrottled => "The provider asks us to slow down; its keys wait.",
        NoticeKind::DaemonDegraded => "The daemon itself is in trouble.",
        NoticeKind::BackupFailed => "The backups of the daemon's state are not as they should be.",
        NoticeKind::ConfigRejected => "A new config was refused; the last good one stays in use.",
        NoticeKind::Digest => "This is the regular summary.",
        NoticeKind::Test => "Somebody tries whether you can be told.",
    }
}

/// The notice's own commands; where it has none and somebody must act, the one that shows how things stand.
fn commands(notice: &Notice) -> Vec<String> {
    if notice.status == NoticeStatus::Resolved {
        return Vec::new();
    }
    if notice.actions.is_empty() && notice.severity > Severity::Info {
        let key = notice.key.as_ref().map(|it| format!(" {it}")).unwrap_or_default();
        return vec![format!("rekeyd status{key}")];
    }
    notice.actions.iter().take(COMMANDS).map(|it| line(it, LINE_CHARS)).collect()
}

fn next(next: &Next, timezone: Option<Tz>) -> String {
    let action = line(&next.action, SUBJECT_CHARS);
    let at = if next.at == Timestamp::NEVER { "at no set time".to_owned() } else { moment(next.at, timezone) };
    match line(&told(&next.message, |at| moment(at, timezone)), LINE_CHARS) {
        why if why.is_empty() => format!("{action}: {at}"),
        why => format!("{action}: {at}. {why}"),
    }
}

fn facts(message: &Message, timezone: Option<Tz>) -> Vec<(&'static str, String)> {
    let notice = &message.notice;
    let found = [
        ("Key", notice.key.as_ref().map(ToString::to_string)),
        ("Provider", message.provider.clone()),
        ("Owner", Some(message.owner.clone())),
        ("Version", notice.version.map(|it| it.to_string())),
        ("Fingerprint", notice.fingerprint.as_ref().map(|it| it.to_string())),
        ("Valid to", notice.valid_to.map(|it| moment(it, timezone))),
        ("Type", Some(notice.kind.code().to_owned())),
        ("Written", Some(moment(notice.at, timezone))),
        ("Times in", (!notice.digest.is_empty()).then(|| zone_name(timezone))),
        ("Notice", Some(message.id.to_string())),
    ];
    found.into_iter().filter_map(|(name, value)| Some((name, line(&value?, LINE_CHARS)))).collect()
}

/// A sentence as people read it: the moments that stand in it for machines (`2026-11-21T22:00:00Z`) are said as others are.
pub(super) fn told(text: &str, said: impl Fn(Timestamp) -> String) -> String {
    const SHAPE: &str = "dddd-dd-ddTdd:dd:dd";
    let is_shaped = |it: &str| {
        it.bytes().zip(SHAPE.bytes()).all(|(it, shape)| if shape == b'd' { it.is_ascii_digit() } else { it == shape })
    };
    let (mut out, mut rest) = (String::new(), text);
    while let Some(next) = rest.chars().next() {
        let found =
            rest.get(..SHAPE.len()).filter(|it| is_shaped(it)).and_then(|_| rest.find('Z').map(|it| &rest[..=it]));
        let at = found.and_then(|it| Some((it, it.parse::<DateTime<Utc>>().ok()?)));
        match at {
            Some((stamp, at)) => {
                out.push_str(&said(Timestamp::from(at)));
                rest = &rest[stamp.len()..];
            }
            None => {
                out.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    out
}

/// The time zone of the moments in a table, for their own short names are not unique.
fn zone_name(timezone: Option<Tz>) -> String {
    timezone.unwrap_or(Tz::UTC).name().to_owned()
}

/// A moment in UTC and, where there is another time zone, there too.
fn moment(at: Timestamp, timezone: Option<Tz>) -> String {
    let Some(utc) = at.datetime() else { return "never".to_owned() };
    let text = utc.format("%a %-d %b %Y %H:%M UTC").to_string();
    match timezone {
        Some(zone) if zone != Tz::UTC => {
            let there = utc.with_timezone(&zone);
            let form = if there.date_naive() == utc.date_naive() { "%H:%M" } else { "%a %-d %b %H:%M" };
            format!("{text} ({} in {zone})", there.format(form))
        }
        _ => text,
    }
}

pub(super) fn line(text: &str, chars: usize) -> String {
    let text = Message::one_line(text);
    if text.chars().count() <= chars {
        return text;
    }
    text.chars().take(chars - 1).chain(['…']).collect()
}

/// Letters of every shape, to try a template with: one with all that there may be, one with as little, one with a table.
pub(super) fn shapes() -> Vec<(Letter, Message)> {
    let notice = Notice {
        key: "billing-sms".parse().ok(),
        severity: Severity::Critical,
        incident: "billing-sms/halted".to_owned(),
        summary: "the answer to a create was lost".to_owned(),
        actions: vec!["rekeyd resume billing-sms".to_owned()],
        version: Some(3),
        fingerprint: Some(Fingerprint::of(b"shape")),
        valid_to: Some(Timestamp(0)),
        next: Some(Next {
            action: "notify".to_owned(),
            at: Timestamp(0),
            reason: "halted".to_owned(),
            message: "told again while nobody acts".to_owned(),
        }),
        ..Notice::bare(NoticeId::of(&["shape"]), NoticeKind::RotationHalted, Timestamp(0))
    };
    let little = Notice {
        kind: NoticeKind::DaemonDegraded,
        key: None,
        status: NoticeStatus::Resolved,
        actions: Vec::new(),
        version: None,
        fingerprint: None,
        valid_to: None,
        next: None,
        ..notice.clone()
    };
    let message = |provider: Option<&str>, notice: &Notice, more: &[&Notice]| Message {
        id: notice.id.clone(),
        owner: "payments".to_owned(),
        provider: provider.map(str::to_owned),
        notice: notice.clone(),
        more: more.iter().map(|it| Also { provider: None, notice: (*it).clone() }).collect(),
        veil: Veil::default(),
    };
    let all = [message(Some("sms"), &notice, &[]), message(None, &little, &[]), message(None, &notice, &[&little])];
    all.into_iter().map(|it| (Letter::of(&it, Some(Tz::Europe__London)), it)).collect()
}

/// The longest letter there can be, from somebody who means no good.
#[cfg(test)]
pub(super) fn hostile() -> Letter {
    let text = |chars| "<!channel> [x](https://evil.example) \"&\\`*_".chars().cycle().take(chars).collect::<String>();
    Letter {
        urgency: "critical",
        subject: text(SUBJECT_CHARS),
        title: text(SUBJECT_CHARS),
        happened: text(LINE_CHARS),
        means: text(LINE_CHARS),
        commands: vec![text(LINE_CHARS); COMMANDS],
        next: Some(text(SUBJECT_CHARS + LINE_CHARS)),
        facts: vec![("Fingerprint", text(LINE_CHARS)); 9],
        table: table::hostile(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message {
            id: "5f0c".into(),
            owner: "payments".into(),
            provider: None,
            notice: Notice {
                key: Some("billing-sms".parse().unwrap()),
                severity: Severity::Warning,
                incident: "7".into(),
                summary: "It failed.".into(),
                actions: vec!["rekeyd resume billing-sms".into()],
                ..Notice::bare(NoticeId::of(&["7"]), NoticeKind::DeliveryFailed, Timestamp(1_795_298_400_000))
            },
            more: Vec::new(),
            veil: Veil::default(),
        }
    }

    #[test]
    fn a_subject_names_urgency_key_and_event_on_one_line() {
        let mut message = message();
        assert_eq!(Letter::of(&message, None).subject, "[warning] billing-sms: delivery failed");
        message.notice.status = NoticeStatus::Resolved;
        assert_eq!(Letter::of(&message, None).subject, "[resolved] billing-sms: delivery failed");
    }

    #[test]
    fn what_its_kind_does_not_say_is_said_instead_of_that() {
        let mut message = message();
        message.notice.means = Some("The place is not named any more.".into());
        let means = Letter::of(&message, None).means;
        assert_eq!(means, "The place is not named any more. Warning: somebody must act, but nothing is broken yet.");
        message.notice.status = NoticeStatus::Resolved;
        assert_eq!(Letter::of(&message, None).means, OVER);
    }

    #[test]
    fn a_digest_says_that_nothing_has_to_be_done_only_where_that_is_so() {
        let mut message = message();
        (message.notice.kind, message.notice.severity) = (NoticeKind::Digest, Severity::Info);
        assert!(!Letter::of(&message, None).means.contains("nothing has to be done"));
        message.notice.actions.clear();
        assert!(Letter::of(&message, None).means.contains("nothing has to be done"));
    }

    #[test]
    fn what_is_over_asks_for_nothing() {
        let mut message = message();
        message.notice.status = NoticeStatus::Resolved;
        let letter = Letter::of(&message, None);
        assert_eq!((letter.commands.len(), letter.means.as_str()), (0, "It is over. Nothing has to be done."));
    }

    #[test]
    fn who_must_act_is_always_told_a_command() {
        let mut message = message();
        message.notice.actions.clear();
        assert_eq!(Letter::of(&message, None).commands, ["rekeyd status billing-sms"]);
        message.notice.severity = Severity::Info;
        assert!(Letter::of(&message, None).commands.is_empty());
    }

    #[test]
    fn times_are_in_utc_and_in_the_owners_zone_with_the_date_where_it_differs() {
        let at = Timestamp(1_795_298_400_000);
        assert_eq!(moment(at, None), "Sat 21 Nov 2026 22:00 UTC");
        assert_eq!(moment(at, Some(Tz::Europe__Berlin)), "Sat 21 Nov 2026 22:00 UTC (23:00 in Europe/Berlin)");
        assert_eq!(moment(at, Some(Tz::Asia__Tokyo)), "Sat 21 Nov 2026 22:00 UTC (Sun 22 Nov 07:00 in Asia/Tokyo)");
        assert_eq!(moment(Timestamp::NEVER, None), "never");
    }

    #[test]
    fn a_moment_within_a_sentence_is_said_in_the_owners_zone_too() {
        let mut message = message();
        message.notice.summary =
            "It expires at 2026-11-21T22:00:00Z, in 9 hours, not 2026-13-41T99:00:00Z or 2026-11-21T22:00.".into();
        message.notice.next = Some(Next {
            action: "rotate".into(),
            at: Timestamp(1_795_298_400_000),
            reason: "due".into(),
            message: "Ärger bis 2026-11-21T22:00:00.250Z".into(),
        });
        let letter = Letter::of(&message, Some(Tz::Europe__Berlin));
        assert_eq!(
            letter.happened,
            "It expires at Sat 21 Nov 2026 22:00 UTC (23:00 in Europe/Berlin), in 9 hours, not 2026-13-41T99:00:00Z or \
             2026-11-21T22:00."
        );
        assert!(letter.next.unwrap().ends_with("Ärger bis Sat 21 Nov 2026 22:00 UTC (23:00 in Europe/Berlin)"));
        message.more = vec![Also { provider: None, notice: message.notice.clone() }];
        let row = Letter::of(&message, Some(Tz::Europe__Berlin)).table[0].rows[0].text.clone();
        assert!(row.starts_with("It expires at Sat 21 Nov 23:00 CET, in 9 hours"), "{row}");
    }

    #[test]
    fn no_text_breaks_its_line_turns_its_direction_or_has_no_end() {
        let mut message = message();
        message.notice.summary = format!("a\r\nBcc: b\u{202e}c\u{1b}[31m{}", "d".repeat(9_000));
        let happened = Letter::of(&message, None).happened;
        assert!(happened.starts_with("a  Bcc: b c [31mddd"), "{happened}");
        assert_eq!(happened.chars().count(), LINE_CHARS);
    }
}

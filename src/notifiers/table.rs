//! What a letter tells of several things at once: the notices that go in one message, or the lines of a digest.
use super::Message;
use super::letter::{line, told, urgency};
use crate::core::plan::{DigestSection, Next, Notice, NoticeKind, Severity};
use crate::core::time::Timestamp;
use chrono_tz::Tz;
use std::collections::BTreeMap;

/// The longest text of a row, in characters.
const TEXT_CHARS: usize = 500;
/// The longest subject of a row, in characters: as long as names may be.
const SUBJECT_CHARS: usize = 48;
/// The most kinds of notices that a sentence counts one by one.
const COUNTED: usize = 6;

/// Rows under one heading.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// What they have in common, and how many they are.
    pub title: String,
    /// `critical`, `warning`, `info`, or `resolved`.
    pub urgency: &'static str,
    /// The rows. Every text is one line.
    pub rows: Vec<Row>,
}

/// One row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// The key, or what else it is about.
    pub subject: String,
    /// When that was, or will be, in the owner's time zone, with its short name; empty where there is no moment.
    pub at: String,
    /// What is said.
    pub text: String,
    /// The command that answers it.
    pub command: Option<String>,
}

/// The notices of a message under what they have in common, the most urgent first.
pub(super) fn of_notices(message: &Message, timezone: Option<Tz>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for ((_, urgency, kind), notices) in sorted(message) {
        let rows: Vec<Row> = notices.iter().map(|it| row(it, timezone)).collect();
        parts.push(Part { title: format!("{} ({urgency}, {})", words(kind), rows.len()), urgency, rows });
    }
    parts
}

/// What all notices of a message are about, in a few words: "12 keys: rotation halted", "14 notices on 12 keys".
pub(super) fn title(message: &Message) -> String {
    let mut subjects: Vec<&str> = message.notices().map(Notice::subject).collect();
    subjects.sort_unstable();
    subjects.dedup();
    let count = message.notices().count();
    let kind = message.notice.kind;
    let alike = message.notices().all(|it| it.kind == kind);
    let keys = message.notices().all(|it| it.key.is_some());
    match (subjects.as_slice(), alike) {
        ([one], true) => format!("{one}: {}", words(kind)),
        ([one], false) => format!("{one}: {count} notices"),
        (many, true) => format!("{} {}: {}", many.len(), if keys { "keys" } else { "subjects" }, words(kind)),
        (many, false) if keys => format!("{count} notices on {} keys", many.len()),
        _ => format!("{count} notices"),
    }
}

/// How many of each kind there are, the most urgent first.
pub(super) fn counts(message: &Message) -> String {
    let sorted = sorted(message);
    let said = |((_, urgency, kind), notices): &(Heading, Vec<&Notice>)| {
        format!("{} \u{d7} {} ({urgency})", notices.len(), words(*kind))
    };
    let mut text = sorted.iter().take(COUNTED).map(said).collect::<Vec<_>>().join(", ");
    if sorted.len() > COUNTED {
        let rest: usize = sorted[COUNTED..].iter().map(|it| it.1.len()).sum();
        text = format!("{text}, and {rest} more");
    }
    format!("{text}.")
}

/// The lines of a digest under their headings.
pub(super) fn of_digest(notice: &Notice, timezone: Option<Tz>) -> Vec<Part> {
    let of = |section: &DigestSection| {
        let lines = notice.digest.iter().filter(|it| it.section == *section);
        let rows: Vec<Row> = lines
            .map(|it| Row {
                subject: it.key.as_ref().map_or_else(String::new, |it| line(it.as_str(), SUBJECT_CHARS)),
                at: it.at.map(|at| short(at, timezone)).unwrap_or_default(),
                text: line(&told(&it.message, |at| short(at, timezone)), TEXT_CHARS),
                command: it.action.as_ref().map(|it| line(it, TEXT_CHARS)),
            })
            .collect();
        let urgency = match section {
            DigestSection::Hand | DigestSection::Failing => Severity::Warning.code(),
            DigestSection::Ahead | DigestSection::Rotated => Severity::Info.code(),
        };
        Part { title: heading(*section).to_owned(), urgency, rows }
    };
    DigestSection::ALL.iter().map(of).filter(|it| !it.rows.is_empty()).collect()
}

/// What notices under one heading have in common; sorts by urgency.
type Heading = (u8, &'static str, NoticeKind);

fn sorted(message: &Message) -> Vec<(Heading, Vec<&Notice>)> {
    let mut sorted: BTreeMap<Heading, Vec<&Notice>> = BTreeMap::new();
    for notice in message.notices() {
        let urgency = urgency(notice);
        let rank = ["critical", "warning", "resolved", "info"].iter().position(|it| *it == urgency).unwrap_or(3);
        sorted.entry((u8::try_from(rank).unwrap_or(3), urgency, notice.kind)).or_default().push(notice);
    }
    for notices in sorted.values_mut() {
        notices.sort_by(|a, b| (a.subject(), a.at).cmp(&(b.subject(), b.at)));
    }
    sorted.into_iter().collect()
}

fn row(notice: &Notice, timezone: Option<Tz>) -> Row {
    let subject = notice.subject();
    // The sentence stands alone elsewhere, and names the key; here the key stands before it.
    let text =
        notice.summary.strip_prefix(subject).map_or(notice.summary.as_str(), |it| it.trim_start_matches([':', ' ']));
    let text = line(&told(text, |at| short(at, timezone)), TEXT_CHARS);
    let comes = |it: &Next| {
        let at = if it.at == Timestamp::NEVER { "at no set time".to_owned() } else { short(it.at, timezone) };
        format!("{}. Next: {}, {at}", text.trim_end_matches('.'), line(&it.action, SUBJECT_CHARS))
    };
    Row {
        subject: line(subject, SUBJECT_CHARS),
        at: short(notice.at, timezone),
        text: notice.next.as_ref().map_or_else(|| text.clone(), comes),
        command: notice.actions.last().filter(|_| notice.severity > Severity::Info).map(|it| line(it, TEXT_CHARS)),
    }
}

fn words(kind: NoticeKind) -> String {
    kind.code().replace('.', " ")
}

fn heading(section: DigestSection) -> &'static str {
    match section {
        DigestSection::Hand => "Needs a hand",
        DigestSection::Failing => "Failing, and tried again",
        DigestSection::Ahead => "Coming up",
        DigestSection::Rotated => "Replaced",
    }
}

/// A moment in a column: in the owner's time zone, and in which part of its year, as it is called there: a table goes over
/// the hour that a clock shows twice.
fn short(at: Timestamp, timezone: Option<Tz>) -> String {
    let zone = timezone.unwrap_or(Tz::UTC);
    at.datetime().map(|it| it.with_timezone(&zone).format("%a %-d %b %H:%M %Z").to_string()).unwrap_or_default()
}

/// The longest table there can be, from somebody who means no good.
#[cfg(test)]
pub(super) fn hostile() -> Vec<Part> {
    let text = |chars| "<!channel> [x](https://evil.example) \"&\\`*_".chars().cycle().take(chars).collect::<String>();
    let row =
        Row { subject: text(SUBJECT_CHARS), at: text(22), text: text(TEXT_CHARS), command: Some(text(TEXT_CHARS)) };
    vec![Part { title: text(80), urgency: "critical", rows: vec![row; 200] }; 4]
}

#[cfg(test)]
mod tests {
    use super::super::Also;
    use super::super::letter::Letter;
    use super::*;
    use crate::command::Veil;
    use crate::core::names::NoticeId;
    use crate::core::plan::{DigestLine, NoticeStatus};

    fn notice(key: &str, kind: NoticeKind, severity: Severity, status: NoticeStatus) -> Notice {
        Notice {
            key: Some(key.parse().unwrap()),
            severity,
            incident: key.to_owned(),
            status,
            summary: format!("{key}: it happened"),
            actions: vec![format!("rekeyd status {key}"), format!("rekeyd resume {key}")],
            ..Notice::bare(NoticeId::of(&[key, kind.code()]), kind, Timestamp(1_795_298_400_000))
        }
    }

    fn message(notices: Vec<Notice>) -> Message {
        let mut more = notices.into_iter();
        let notice = more.next().unwrap();
        let more = more.map(|notice| Also { provider: None, notice }).collect();
        Message { id: "m".into(), owner: "payments".into(), provider: None, notice, more, veil: Veil::default() }
    }

    fn replaced(key: &str) -> Notice {
        notice(key, NoticeKind::RotationSucceeded, Severity::Info, NoticeStatus::Firing)
    }

    #[test]
    fn a_rack_of_keys_is_one_letter_with_a_row_for_each() {
        let letter = Letter::of(&message((0..500).map(|n| replaced(&format!("key-{n:03}"))).collect()), None);
        assert_eq!(letter.subject, "[info] 500 keys: rotation succeeded");
        assert_eq!((letter.table.len(), letter.table[0].rows.len()), (1, 500));
        assert_eq!(
            (letter.table[0].rows[7].subject.as_str(), letter.table[0].rows[7].text.as_str()),
            ("key-007", "it happened")
        );
        assert!(letter.commands.is_empty(), "nothing has to be done");
    }

    #[test]
    fn the_most_urgent_stands_first_and_names_the_urgency_of_the_whole() {
        let halted = notice("b", NoticeKind::RotationHalted, Severity::Warning, NoticeStatus::Firing);
        let over = notice("c", NoticeKind::DeliveryFailed, Severity::Info, NoticeStatus::Resolved);
        let letter = Letter::of(&message(vec![halted, replaced("a"), over]), None);
        assert_eq!(letter.subject, "[warning] 3 notices on 3 keys");
        let titles: Vec<_> = letter.table.iter().map(|it| it.title.as_str()).collect();
        assert_eq!(
            titles,
            ["rotation halted (warning, 1)", "delivery failed (resolved, 1)", "rotation succeeded (info, 1)"]
        );
        assert_eq!(letter.table[0].rows[0].command.as_deref(), Some("rekeyd resume b"));
        assert_eq!(letter.commands, ["rekeyd status"]);
    }

    #[test]
    fn a_row_says_what_comes_next_and_when_that_is_in_the_owners_zone() {
        let mut replaced = replaced("a");
        replaced.summary = "a was replaced.".into();
        replaced.next = Some(Next {
            action: "revoke".into(),
            at: Timestamp(1_795_298_400_000),
            reason: "overlap".into(),
            message: "the old key is ended".into(),
        });
        let letter = Letter::of(&message(vec![replaced, self::replaced("b")]), Some(Tz::Europe__Berlin));
        let texts: Vec<_> = letter.table[0].rows.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(texts, ["was replaced. Next: revoke, Sat 21 Nov 23:00 CET", "it happened"]);
    }

    #[test]
    fn every_time_in_a_table_names_its_zone_and_the_letter_says_which_that_is() {
        let several = message(vec![replaced("a"), replaced("b")]);
        // India's and Ireland's zones are called alike by their short names.
        for (zone, at) in [
            (None, "Sat 21 Nov 22:00 UTC"),
            (Some(Tz::UTC), "Sat 21 Nov 22:00 UTC"),
            (Some(Tz::Asia__Kolkata), "Sun 22 Nov 03:30 IST"),
            (Some(Tz::America__Sao_Paulo), "Sat 21 Nov 19:00 -03"),
        ] {
            let mut digest = notice("a", NoticeKind::Digest, Severity::Info, NoticeStatus::Firing);
            let (section, key, at_) = (DigestSection::Rotated, digest.key.clone(), Some(digest.at));
            digest.digest = vec![DigestLine { section, key, at: at_, message: "version 5".into(), action: None }];
            for letter in [Letter::of(&several, zone), Letter::of(&message(vec![digest]), zone)] {
                assert_eq!(letter.table[0].rows[0].at, at);
                let said = letter.facts.iter().find(|it| it.0 == "Times in").map(|it| it.1.as_str());
                assert_eq!(said, Some(zone.unwrap_or(Tz::UTC).name()));
            }
        }
        let alone = Letter::of(&message(vec![replaced("a")]), None);
        assert!(alone.table.is_empty() && alone.facts.iter().all(|it| it.0 != "Times in"));
    }

    #[test]
    fn a_digest_has_its_headings_in_order_and_none_that_is_empty() {
        let line = |section, key: &str| DigestLine {
            section,
            key: Some(key.parse().unwrap()),
            at: Some(Timestamp(1_795_298_400_000)),
            message: "version 5".into(),
            action: None,
        };
        let mut digest = notice("a", NoticeKind::Digest, Severity::Info, NoticeStatus::Firing);
        digest.digest = vec![line(DigestSection::Rotated, "a"), line(DigestSection::Hand, "b")];
        let parts = of_digest(&digest, Some(Tz::Europe__Berlin));
        let titles: Vec<_> = parts.iter().map(|it| it.title.as_str()).collect();
        assert_eq!(titles, ["Needs a hand", "Replaced"]);
        assert_eq!(parts[1].rows[0].at, "Sat 21 Nov 23:00 CET");
    }
}

//! Mails as they are shown in docs/notices.md: what the code writes today is what the pictures there were made of.
use crate::AT;
use crate::email::with;
use rekeyd::command::Veil;
use rekeyd::core::names::{Fingerprint, NoticeId};
use rekeyd::core::plan::{DigestLine, DigestSection, Next, Notice, NoticeKind, Severity};
use rekeyd::notifiers::email::Written;
use rekeyd::notifiers::{Also, Message};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// The widest line of a text that a terminal of 80 columns shows with a quote mark before it.
const COLUMNS: usize = 78;

fn notice(key: &str, kind: NoticeKind, severity: Severity, summary: &str) -> Notice {
    Notice {
        key: Some(key.parse().unwrap()),
        severity,
        incident: format!("{key}/{}", kind.code()),
        summary: summary.into(),
        version: Some(3),
        fingerprint: Some(Fingerprint::of(key.as_bytes())),
        valid_to: Some(AT.plus(10 * DAY)),
        ..Notice::bare(NoticeId::of(&[key, kind.code()]), kind, AT)
    }
}

fn halted() -> Notice {
    let summary = "billing-sms: the answer to a create was lost, and the provider can't be asked what came of it.";
    Notice {
        actions: vec![
            "rekeyd adopt billing-sms --id ID".into(),
            "rekeyd resume billing-sms --reason 'the portal shows no new key'".into(),
        ],
        ..notice("billing-sms", NoticeKind::RotationHalted, Severity::Warning, summary)
    }
}

fn message(notices: Vec<Notice>) -> Message {
    let mut notices = notices.into_iter();
    let notice = notices.next().unwrap();
    let also = |notice| Also { provider: Some("sms".into()), notice };
    Message {
        id: "5f0c1d2e3a4b5c6d7e8f901234567890".into(),
        owner: "payments".into(),
        provider: Some("sms".into()),
        notice,
        more: notices.map(also).collect(),
        veil: Veil::default(),
    }
}

/// The summary of a week.
fn week() -> Notice {
    let line = |section, key: &str, at, message: &str, action: Option<&str>| DigestLine {
        section,
        key: Some(key.parse().unwrap()),
        at: Some(at),
        message: message.into(),
        action: action.map(str::to_owned),
    };
    let full = "not delivered to file:/srv/invoices/api.key: there is no room on the disk";
    let digest = vec![
        line(
            DigestSection::Hand,
            "billing-sms",
            AT.minus(DAY),
            "halted (ambiguous_create); it expires at 2026-12-01T22:00:00Z",
            Some("rekeyd status billing-sms"),
        ),
        line(
            DigestSection::Failing,
            "invoices-archive",
            AT.minus(2 * DAY),
            full,
            Some("rekeyd status invoices-archive"),
        ),
        line(DigestSection::Ahead, "campaigns-eu", AT.plus(3 * DAY), "version 4 will be replaced", None),
        line(DigestSection::Rotated, "billing-voice", AT.minus(5 * DAY), "version 4", None),
    ];
    let summary = "12 keys, since 2026-11-14T22:00:00Z: 1 needs a hand, 1 failing, 1 coming up, 1 replaced";
    let id = NoticeId::of(&["digest", "payments"]);
    Notice {
        summary: summary.into(),
        actions: vec!["rekeyd status".into()],
        digest,
        ..Notice::bare(id, NoticeKind::Digest, AT)
    }
}

/// One notice, a night's notices in one mail, and the summary of a week.
fn mails() -> [(&'static str, Message); 3] {
    let done = |key: &str| {
        let summary = format!("{key}: version 4 is in use, and version 3 is revoked on Tue 24 Nov at 22:00 UTC.");
        let next = Next {
            action: "revoke".into(),
            at: AT.plus(3 * DAY),
            reason: "overlap_ends".into(),
            message: "version 3 is revoked, if nothing speaks against it".into(),
        };
        Notice { next: Some(next), ..notice(key, NoticeKind::RotationSucceeded, Severity::Info, &summary) }
    };
    let failed = Notice {
        actions: vec!["rekeyd status invoices-archive".into()],
        ..notice(
            "invoices-archive",
            NoticeKind::DeliveryFailed,
            Severity::Warning,
            "invoices-archive: version 8 did not reach file:/srv/invoices/api.key: there is no room on the disk.",
        )
    };
    let night = vec![halted(), failed, done("billing-voice"), done("campaigns-eu"), done("campaigns-us")];
    let week = Message { provider: None, ..message(vec![week()]) };
    [("halted", message(vec![halted()])), ("night", message(night)), ("week", week)]
}

/// How the pictures are made anew.
const ANEW: &str = "REKEYD_DRAW=1 cargo test --test notifiers pictures (it needs Chromium), and look at them";

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Each file that the pictures are made of, as it is written today.
fn written() -> BTreeMap<String, String> {
    let notifier = with(25, "security = \"none\"");
    let files = mails().into_iter().flat_map(|(name, message)| {
        let Written { text, html, .. } = notifier.write(&message);
        [(format!("{name}.txt"), text), (format!("{name}.html"), html)]
    });
    files.collect()
}

/// The committed pictures are those of the mails that are written today: beside them stands what they were made of. With
/// `REKEYD_DRAW=1` they are made anew.
#[test]
fn the_pictures_are_of_the_mails_that_are_written_today() {
    let (written, draw) = (written(), std::env::var_os("REKEYD_DRAW").is_some());
    for (name, text) in &written {
        let path = place("tests/golden/mail").join(name);
        if draw || std::env::var_os("REKEYD_BLESS").is_some() {
            std::fs::write(&path, text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(*text == expected, "{name} differs: {ANEW}. Now:\n{text}");
    }
    if draw {
        assert!(std::process::Command::new(place("docs/images/draw")).status().unwrap().success());
    }
    let noted = std::fs::read_to_string(place("docs/images/made-of")).unwrap();
    let noted: BTreeMap<_, _> =
        noted.lines().filter_map(|it| it.split_once("  ")).map(|(hash, it)| (it, hash)).collect();
    for (name, text) in &written {
        let hash = hex(&Sha256::digest(text));
        assert_eq!(noted.get(name.as_str()), Some(&hash.as_str()), "the pictures are of another {name}: {ANEW}");
    }
}

/// What docs/notices.md shows is there, and is a picture of some size.
#[test]
fn every_picture_of_the_docs_is_there() {
    let docs = std::fs::read_to_string(place("docs/notices.md")).unwrap();
    let shown: Vec<&str> = docs.split("](images/").skip(1).filter_map(|it| it.split(')').next()).collect();
    assert!(shown.len() >= 7, "{shown:?}");
    for name in shown {
        let picture = std::fs::read(place("docs/images").join(name)).unwrap_or_default();
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000, "{name}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

#[test]
fn a_text_fits_a_terminal_and_says_all_that_the_page_says() {
    let notifier = with(25, "security = \"none\"");
    for (name, message) in mails() {
        let Written { subject, text, html } = notifier.write(&message);
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{name}: {line}");
        }
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(&text).starts_with(&subject), "{text}");
        for said in ["What happened", "What it means", "What to do", "rekeyd", "payments"] {
            assert!(text.contains(said) && html.contains(said), "{name}: {said}");
        }
    }
}

#[test]
fn a_template_of_the_house_is_sent_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("subject.txt", "ACME {{ title }}\r\nBcc: x@y.example");
    write("body.txt", "{{ happened|wrap(4) }}\n{% for it in commands %}$ {{ it }}\n{% endfor %}");
    write("body.html", "{{ oops }}");
    let notifier = with(25, &format!("security = \"none\"\ntemplates = {:?}", dir.path()));
    let (_, message) = mails().into_iter().next().unwrap();
    let (own, built_in) = (notifier.write(&message), with(25, "security = \"none\"").write(&message));
    assert_eq!(own.subject, "ACME billing-sms: rotation halted  Bcc: x@y.example");
    assert!(
        own.text.starts_with("    billing-sms: the answer") && own.text.contains("\n$ rekeyd adopt"),
        "{}",
        own.text
    );
    assert_eq!(own.html, built_in.html);
    let trouble = rekeyd::notifiers::Notifier::trouble(&notifier).unwrap();
    assert!(trouble.contains("body.html") && !trouble.contains("body.txt"), "{trouble}");
}

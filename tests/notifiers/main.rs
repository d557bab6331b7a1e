//! Notices on their way: mail and webhooks, against real servers on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a helper that panics fails its test"
)]
#![allow(unreachable_pub, reason = "what lies in `support` serves several tests")]
use rekeyd::command::Veil;
use rekeyd::core::names::{Fingerprint, NoticeId};
use rekeyd::core::plan::{Next, Notice, NoticeKind, Severity};
use rekeyd::core::time::Timestamp;
use rekeyd::notifiers::smtp::SmtpClient;
use rekeyd::notifiers::{Fault, KINDS, Message, Sent, Shared};
use std::path::Path;
use std::time::Duration;
use toml::de::ValueDeserializer;

mod dkim;
mod email;
mod exec;
#[path = "../support/http.rs"]
mod http;
mod pictures;
mod postfix;
#[path = "../support/python.rs"]
mod python;
#[path = "../support/smtp.rs"]
mod smtp;
mod webhooks;

/// 21 November 2026, 22:00 UTC.
const AT: Timestamp = Timestamp(1_795_298_400_000);
fn message() -> Message {
    Message {
        id: "5f0c1d2e3a4b5c6d7e8f901234567890".into(),
        owner: "payments".into(),
        provider: Some("sms".into()),
        notice: Notice {
            key: Some("billing-sms".parse().unwrap()),
            severity: Severity::Critical,
            incident: "billing-sms/halted/7".into(),
            summary: format!("Größe <&> passt nicht.\r\nBcc: x@y.example {}", "word ".repeat(300)),
            actions: vec![
                "rekeyd resume billing-sms".into(),
                format!("rekeyd adopt billing-sms --id {}", "x".repeat(1200)),
            ],
            version: Some(3),
            fingerprint: Some(Fingerprint::of(b"key")),
            valid_to: Some(AT.plus(Duration::from_secs(864_000))),
            next: Some(Next {
                action: "notify".into(),
                at: AT.plus(Duration::from_secs(3600)),
                reason: "halted".into(),
                message: "Repeated while nobody acts.".into(),
            }),
            ..Notice::bare(NoticeId::of(&["billing-sms", "7"]), NoticeKind::RotationHalted, AT)
        },
        more: Vec::new(),
        veil: Veil::default(),
    }
}

fn why_later(sent: Sent) -> String {
    match sent {
        Sent::Later { why, .. } | Sent::Unsure(why) => why,
        other => panic!("not put off: {other:?}"),
    }
}

/// Writes a secret where only we can read it, and says so as the config does.
fn secret_file(path: &Path, secret: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, secret).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    format!("{{ file = {path:?} }}")
}

fn channels(kind: &str, value: &str, smtp: bool) -> Result<Vec<(String, Severity)>, String> {
    let settings = toml::from_str("host = \"localhost\"\nfrom = \"a@b.example\"").unwrap();
    let smtp = smtp.then(|| SmtpClient::new(settings).unwrap());
    let shared = Shared { smtp, http: rekeyd::http::webhooks::Clients::new().unwrap(), timezone: None };
    let kind = KINDS.iter().find(|it| it.name == kind).unwrap();
    let read = (kind.read)(ValueDeserializer::parse(value).unwrap(), &shared).map_err(|it| it.message().to_owned())?;
    for it in &read {
        if let Err(Fault::Wrong(why)) = it.notifier.check() {
            return Err(why);
        }
    }
    Ok(read.into_iter().map(|it| (it.notifier.id(), it.min_severity)).collect())
}

#[test]
fn every_channel_of_the_config_has_an_identity_without_a_secret() {
    let mail = channels("email", r#"["a@b.example", "Anna <anna@b.example>"]"#, true).unwrap();
    assert_eq!(mail, [("email:a@b.example".into(), Severity::Info), ("email:anna@b.example".into(), Severity::Info)]);
    let hooks = r#"[{ url = "https://h.example/p?token=hunter2", secret = { env = "S" }, min_severity = "warning" },
                    { url = "https://h.example/p?token=other", secret = { env = "S" } },
                    { url = { credential = "hook-url" }, secret = { env = "S" }, format = "standard" }]"#;
    let ids = channels("webhook", hooks, false).unwrap();
    assert_eq!(ids[0].0, format!("webhook:https://h.example/p?{}", Fingerprint::of(b"token=hunter2")));
    assert_ne!(ids[0].0, ids[1].0);
    assert_eq!(ids[2].0, "webhook:credential hook-url");
    assert_eq!((ids[0].1, ids[1].1), (Severity::Warning, Severity::Info));
}

#[test]
fn a_channel_that_can_not_work_is_a_fault_with_its_remedy() {
    let hook = |field: &str| format!("[{{ secret = {{ env = \"S\" }}, {field} }}]");
    let cases = [
        ("email", "[\"a@b.example\"]".into(), "[smtp]"),
        ("email", "[\"nobody\"]".into(), "nobody"),
        ("webhook", hook("url = \"http://h.example/\""), "https://"),
        ("webhook", hook("url = \"https://u:p@h.example/\""), "credential"),
        ("webhook", hook("url = \"h.example\""), "https://host/path"),
        ("webhook", hook("url = \"https://h.example/\", format = \"slack\""), "remove `secret`"),
        ("webhook", hook("url = \"https://h.example/\", format = \"teams\""), "remove `secret`"),
        ("webhook", "[{ url = \"https://h.example/\" }]".into(), "`secret` is missing"),
        ("webhook", hook("url = \"https://h.example/\", format = \"xml\""), "standard"),
        ("webhook", hook("url = \"https://h.example/\", retries = 3"), "retries"),
        ("exec", "[{ command = [\"page\"] }]".into(), "absolute path"),
        ("exec", "[{ command = [] }]".into(), "at least its program"),
        ("exec", "[{ command = [\"/bin/true\"], secret = { env = \"S\" } }]".into(), "secret"),
        ("webhook", "[{ url = \"https://h.example/\", secret = \"whsec_hunter2\" }]".into(), "literal secret"),
    ];
    for (kind, value, wanted) in cases {
        let fault = channels(kind, &value, false).unwrap_err();
        assert!(fault.contains(wanted) && !fault.contains("hunter2"), "{value}: {fault}");
    }
}

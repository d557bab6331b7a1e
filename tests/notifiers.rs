//! Notices on their way: mail and webhooks, against real servers on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that panics fails its test")]
#![allow(unreachable_pub, reason = "the parts of `support` are used by several tests")]
use rekeyd::core::names::{Fingerprint, NoticeId};
use rekeyd::core::plan::{Next, Notice, NoticeKind, NoticeStatus, Severity};
use rekeyd::core::time::Timestamp;
use rekeyd::notifiers::email::EmailNotifier;
use rekeyd::notifiers::smtp::{Smtp, SmtpClient};
use rekeyd::notifiers::webhook::{self, Webhook, WebhookNotifier};
use rekeyd::notifiers::{Fault, KINDS, Message, Notifier, Sent, Shared};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::http::{Answer, Receiver};
use support::smtp::{Behaviour, Certificate, Server};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use toml::de::ValueDeserializer;

mod support {
    pub mod http;
    pub mod smtp;
}

/// 21 November 2026, 22:00 UTC.
const AT: Timestamp = Timestamp(1_795_298_400_000);
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support");
/// "hello hello hello hello!", 24 bytes, and another of 32.
const SECRETS: [&str; 2] =
    ["whsec_aGVsbG8gaGVsbG8gaGVsbG8gaGVsbG8h", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="];

fn message() -> Message {
    Message {
        id: "5f0c1d2e3a4b5c6d7e8f901234567890".into(),
        owner: "payments".into(),
        provider: Some("sms".into()),
        notice: Notice {
            id: NoticeId::of(&["billing-sms", "7"]),
            kind: NoticeKind::RotationHalted,
            key: "billing-sms".parse().unwrap(),
            severity: Severity::Critical,
            incident: "billing-sms/halted/7".into(),
            status: NoticeStatus::Firing,
            at: AT,
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
        },
    }
}

// ---- mail

fn smtp(port: u16, more: &str) -> Smtp {
    let base = format!("host = \"localhost\"\nport = {port}\nfrom = \"rekeyd <rekeyd@example.com>\"\n");
    toml::from_str(&format!("{base}{more}")).unwrap()
}

fn email(port: u16, more: &str) -> EmailNotifier {
    limited(port, more, Duration::from_secs(20))
}

fn limited(port: u16, more: &str, limit: Duration) -> EmailNotifier {
    let client = SmtpClient::with_limit(smtp(port, more), limit).unwrap();
    EmailNotifier::new(
        client,
        "Zahlungen Größe <payments@example.com>".parse().unwrap(),
        Some(chrono_tz::Europe::London),
    )
}

const PLAIN: &str = "security = \"none\"";

fn login(dir: &Path, password: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("password");
    std::fs::write(&path, password).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    format!("username = \"anna\"\npassword = {{ file = {path:?} }}\n")
}

fn why_later(sent: Sent) -> String {
    match sent {
        Sent::Later { why, .. } => why,
        other => panic!("not put off: {other:?}"),
    }
}

#[tokio::test]
async fn a_mail_is_taken_and_its_connection_used_again() {
    let server = Server::start(Behaviour::default()).await;
    let notifier = email(server.port, PLAIN);
    assert_eq!(notifier.send(&message(), AT).await, Sent::Taken);
    assert_eq!(notifier.send(&message(), AT).await, Sent::Taken);
    assert_eq!((server.mails().len(), server.connections()), (2, 1));
}

#[tokio::test]
async fn a_mail_that_is_sent_again_is_known_by_its_message_id_and_its_thread() {
    let server = Server::start(Behaviour::default()).await;
    let notifier = email(server.port, PLAIN);
    let resolved = Message { id: "another".into(), ..message() };
    for (message, now) in [(&message(), AT), (&message(), AT.plus(Duration::from_secs(60))), (&resolved, AT)] {
        assert_eq!(notifier.send(message, now).await, Sent::Taken);
    }
    let header = |mail: &String, name: &str| {
        mail.lines().find(|it| it.starts_with(&format!("{name}: "))).unwrap_or_else(|| panic!("{name}")).to_owned()
    };
    let [first, again, other] = &server.mails()[..] else { panic!() };
    let id = header(first, "Message-ID");
    assert_eq!(id, "Message-ID: <5f0c1d2e3a4b5c6d7e8f901234567890.payments@example.com>");
    assert_eq!(id, header(again, "Message-ID"));
    assert_ne!(header(first, "Date"), header(again, "Date"));
    assert_ne!(id, header(other, "Message-ID"));
    assert_eq!(header(first, "References"), header(other, "References"));
}

#[tokio::test]
async fn mail_goes_over_starttls_and_over_tls_to_a_server_with_a_private_authority() {
    let certificate = Certificate::make();
    let trusted = format!("ca_file = {:?}\n", certificate.cert());
    let starttls = Behaviour { starttls: Some(certificate.acceptor()), ..Behaviour::default() };
    let tls = Behaviour { tls: Some(certificate.acceptor()), ..Behaviour::default() };
    for (behaviour, security) in [(starttls, "security = \"starttls\""), (tls, "security = \"tls\"")] {
        let server = Server::start(behaviour).await;
        let trusting = email(server.port, &format!("{trusted}{security}"));
        assert_eq!(trusting.send(&message(), AT).await, Sent::Taken);
        let why = why_later(email(server.port, security).send(&message(), AT).await);
        assert!(why.contains("certificate") && why.contains("ca_file"), "{why}");
        assert_eq!(server.mails().len(), 1);
    }
}

#[tokio::test]
async fn a_server_without_starttls_gets_nothing() {
    let server = Server::start(Behaviour::default()).await;
    let why = why_later(email(server.port, "security = \"starttls\"").send(&message(), AT).await);
    assert!(why.contains("STARTTLS"), "{why}");
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn a_password_is_read_for_each_connection_and_a_wrong_one_only_delays() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Behaviour { login: Some(("anna", "right")), ..Behaviour::default() }).await;
    let notifier = email(server.port, &format!("{}{PLAIN}", login(dir.path(), "wrong-hunter2")));
    let why = why_later(notifier.send(&message(), AT).await);
    assert!(why.contains("535") && why.contains("anna") && why.contains("check username and password"), "{why}");
    // Neither the password nor the base64 of it, which this server repeats.
    assert!(!why.contains("hunter2") && !why.contains("AGFub"), "{why}");
    login(dir.path(), "right");
    assert_eq!(notifier.send(&message(), AT).await, Sent::Taken);
}

#[tokio::test]
async fn a_missing_password_file_delays_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Behaviour::default()).await;
    let notifier = email(server.port, &format!("{}{PLAIN}", login(dir.path(), "x")));
    std::fs::remove_file(dir.path().join("password")).unwrap();
    assert!(matches!(notifier.check(), Err(Fault::Unseen(_))));
    let why = why_later(notifier.send(&message(), AT).await);
    assert!(why.contains("password") && why.contains("No such file"), "{why}");
}

#[tokio::test]
async fn a_server_that_never_greets_is_given_up() {
    let server = Server::start(Behaviour { never_greets: true, ..Behaviour::default() }).await;
    let notifier = limited(server.port, PLAIN, Duration::from_millis(300));
    let why = why_later(notifier.send(&message(), AT).await);
    assert!(why.contains("no answer within 300ms"), "{why}");
}

#[tokio::test]
async fn no_server_at_all_delays() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let why = why_later(email(closed, PLAIN).send(&message(), AT).await);
    assert!(why.starts_with(&format!("localhost:{closed}: ")) && why.contains("refused"), "{why}");
}

#[tokio::test]
async fn a_refused_recipient_is_final_and_a_busy_server_is_not() {
    let answer = |it| Server::start(Behaviour { to_rcpt: Some(it), ..Behaviour::default() });
    let server = answer("550 5.1.1 no such user").await;
    let sent = email(server.port, PLAIN).send(&message(), AT).await;
    assert_eq!(sent, Sent::Refused(format!("localhost:{}: 550 5.1.1 no such user", server.port)));
    for passing in ["451 4.7.1 greylisted", "421 too busy", "530 5.7.0 authentication required"] {
        let server = answer(passing).await;
        let why = why_later(email(server.port, PLAIN).send(&message(), AT).await);
        assert!(why.contains(&passing[..3]), "{why}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_within_a_mail_delays() {
    let server = Server::start(Behaviour { drops_in_data: true, ..Behaviour::default() }).await;
    why_later(email(server.port, PLAIN).send(&message(), AT).await);
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn a_connection_with_an_answer_outstanding_is_never_used_again() {
    let server = Server::start(Behaviour { stalls_after_first_mail: true, ..Behaviour::default() }).await;
    let notifier = limited(server.port, PLAIN, Duration::from_millis(500));
    let why = why_later(notifier.send(&message(), AT).await);
    assert!(why.contains("may have arrived"), "{why}");
    assert_eq!(notifier.send(&message(), AT).await, Sent::Taken);
    assert_eq!((server.mails().len(), server.connections()), (2, 2));
}

/// The server from Python's own world, with a mail parser that isn't ours.
struct Aiosmtpd {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Aiosmtpd {
    async fn start(mode: &str, certificate: &Certificate, login: &[&str]) -> Self {
        let mut child = python("aiosmtpd_server.py")
            .arg(mode)
            .args([certificate.cert(), certificate.key()])
            .args(login)
            .spawn()
            .expect("this test needs python3");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let Some(port) = lines.next_line().await.unwrap() else {
            let output = child.wait_with_output().await.unwrap();
            panic!("{}", String::from_utf8_lossy(&output.stderr));
        };
        Self { _child: child, lines, port: port.parse().unwrap() }
    }

    async fn mail(&mut self) -> Value {
        serde_json::from_str(&self.lines.next_line().await.unwrap().unwrap()).unwrap()
    }
}

fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(format!("{SCRIPTS}/{script}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn aiosmtpd_takes_our_mail_in_every_mode_and_reads_in_it_what_we_wrote() {
    let (dir, certificate) = (tempfile::tempdir().unwrap(), Certificate::make());
    for mode in ["plain", "starttls", "tls"] {
        for with_login in [false, true] {
            let user: &[&str] = if with_login { &["anna", "pässword"] } else { &[] };
            let mut server = Aiosmtpd::start(mode, &certificate, user).await;
            let security = if mode == "plain" { "none" } else { mode };
            let mut more = format!("security = \"{security}\"\nca_file = {:?}\n", certificate.cert());
            if with_login {
                more += &login(dir.path(), "pässword");
            }
            assert_eq!(email(server.port, &more).send(&message(), AT).await, Sent::Taken, "{mode} {with_login}");
            check_mail(&server.mail().await);
        }
    }
}

fn check_mail(mail: &Value) {
    assert_eq!(mail["from"], "rekeyd@example.com");
    assert_eq!(mail["to"], json!(["payments@example.com"]));
    assert_eq!(mail["defects"], json!([]));
    assert_eq!(mail["types"], json!(["multipart/alternative", "text/plain", "text/html"]));
    let headers = &mail["headers"];
    assert_eq!(headers["Subject"], "[critical] billing-sms: rotation halted");
    assert_eq!(headers["To"], "Zahlungen Größe <payments@example.com>");
    assert_eq!(headers["Date"], "Sat, 21 Nov 2026 22:00:00 +0000");
    assert_eq!(headers["Auto-Submitted"], "auto-generated");
    assert_eq!(headers["List-Id"], "<payments.rekeyd.example.com>");
    assert_eq!(headers["In-Reply-To"], headers["References"]);
    assert!(headers.get("Bcc").is_none());
    let text = mail["text"].as_str().unwrap().replace("\r\n", "\n");
    for part in ["Größe <&> passt nicht.", "Critical:", "\n  rekeyd resume billing-sms\n", &"x".repeat(1200)] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let flowing = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flowing.contains("notify: Sat 21 Nov 2026 23:00 UTC (23:00 in Europe/London)"), "{text}");
    let html = mail["html"].as_str().unwrap();
    assert!(html.contains("Größe &lt;&amp;&gt; passt nicht."), "{html}");
}

// ---- webhooks

fn secrets(dir: &Path, secrets: &[&str]) -> String {
    use std::os::unix::fs::PermissionsExt;
    let reference = |(n, secret): (usize, &&str)| {
        let path = dir.join(format!("hook-{n}"));
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        format!("{{ file = {path:?} }}")
    };
    format!("[{}]", secrets.iter().enumerate().map(reference).collect::<Vec<_>>().join(", "))
}

fn hook(dir: &Path, url: &str, keys: &[&str]) -> WebhookNotifier {
    let webhook: Webhook = toml::from_str(&format!("url = \"{url}\"\nsecret = {}", secrets(dir, keys))).unwrap();
    WebhookNotifier::new(webhook, webhook::client_with_limit(Duration::from_secs(2)).unwrap())
}

async fn send_to(receiver: &Receiver) -> Sent {
    let dir = tempfile::tempdir().unwrap();
    hook(dir.path(), &receiver.url("/hook?token=hunter2"), &SECRETS[..1]).send(&message(), AT).await
}

fn status(status: &str, headers: &str) -> Answer {
    Answer::Bytes(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n{headers}\r\n"))
}

#[tokio::test]
async fn a_webhook_gets_what_the_document_says_and_the_same_bytes_in_every_try() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(status("204 No Content", "")).await;
    let notifier = hook(dir.path(), &receiver.url("/hook?token=hunter2"), &SECRETS[..1]);
    for now in [AT, AT.plus(Duration::from_millis(61_500))] {
        assert_eq!(notifier.send(&message(), now).await, Sent::Taken);
    }
    let [first, again] = &receiver.requests()[..] else { panic!() };
    assert_eq!(first.line, "POST /hook?token=hunter2 HTTP/1.1");
    assert_eq!(first.headers["content-type"], "application/json");
    assert_eq!(first.headers["webhook-timestamp"], "1795298400");
    assert_eq!(again.headers["webhook-timestamp"], "1795298461");
    assert_eq!(first.headers["webhook-id"], "5f0c1d2e3a4b5c6d7e8f901234567890");
    assert_eq!(first.headers["webhook-id"], again.headers["webhook-id"]);
    assert_eq!(first.body, again.body);
    let notice = message().notice;
    let wanted = json!({"type": "rotation.halted", "timestamp": "2026-11-21T22:00:00Z", "data": {
        "key": "billing-sms", "provider": "sms", "owner": "payments", "severity": "critical",
        "incident": "billing-sms/halted/7", "status": "firing", "summary": notice.summary, "actions": notice.actions,
        "version": 3, "fingerprint": "2c70e12b7a06", "valid_to": "2026-12-01T22:00:00Z",
        "next": {"action": "notify", "at": "2026-11-21T23:00:00Z", "reason": "halted"}}});
    assert_eq!(serde_json::from_str::<Value>(&first.body).unwrap(), wanted);
}

#[tokio::test]
async fn the_specifications_own_library_verifies_each_signature() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(status("200 OK", "")).await;
    // The library believes no timestamp but today's.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let now = Timestamp(i64::try_from(now).unwrap());
    assert_eq!(hook(dir.path(), &receiver.url("/"), &SECRETS).send(&message(), now).await, Sent::Taken);
    let request = receiver.requests().remove(0);
    assert_eq!(request.headers["webhook-signature"].split(' ').count(), 2);
    for secret in SECRETS {
        verify(secret, &request.headers, &request.body).await.unwrap();
        let forged = request.body.replace("critical", "info");
        assert!(verify(secret, &request.headers, &forged).await.unwrap_err().contains("No matching signature"));
    }
}

async fn verify(secret: &str, headers: &impl serde::Serialize, body: &str) -> Result<(), String> {
    let mut child = python("verify_webhook.py").spawn().expect("this test needs python3");
    let given = json!({"secret": secret, "headers": headers, "body": body}).to_string();
    child.stdin.take().unwrap().write_all(given.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("pip install"), "{said}");
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Receiver::start(status("200 OK", "")).await;
    let to = format!("location: {}\r\n", elsewhere.url("/"));
    let receiver = Receiver::start(status("307 Temporary Redirect", &to)).await;
    let why = why_later(send_to(&receiver).await);
    assert!(why.contains("307") && why.contains("redirects are not followed"), "{why}");
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn only_gone_is_final() {
    let gone = send_to(&Receiver::start(status("410 Gone", "")).await).await;
    assert!(matches!(&gone, Sent::Refused(why) if why.starts_with("gone: ")), "{gone:?}");
    for passing in ["400 Bad Request", "401 Unauthorized", "404 Not Found", "500 Oops", "502 Bad Gateway"] {
        let why = why_later(send_to(&Receiver::start(status(passing, "")).await).await);
        assert!(why.contains(&passing[..3]), "{why}");
    }
}

#[tokio::test]
async fn a_receiver_may_ask_for_a_pause_of_a_day_at_most() {
    let cases = [
        ("120", Some(120)),
        ("Sat, 21 Nov 2026 22:10:00 GMT", Some(600)),
        ("Sat, 21 Nov 2020 22:10:00 GMT", Some(0)),
        ("99999999999999", Some(86_400)),
        ("soon", None),
    ];
    for (asked, wanted) in cases {
        let header = format!("retry-after: {asked}\r\n");
        let sent = send_to(&Receiver::start(status("429 Too Many Requests", &header)).await).await;
        let Sent::Later { retry_after, .. } = sent else { panic!("{sent:?}") };
        assert_eq!(retry_after, wanted.map(|it| AT.plus(Duration::from_secs(it))), "{asked}");
    }
}

#[tokio::test]
async fn a_receiver_that_fails_delays_and_its_url_is_not_told() {
    let answers =
        [Answer::Nothing, Answer::Reset, Answer::Bytes("garbage\r\n\r\n".into()), Answer::Bytes(String::new())];
    for answer in answers {
        let why = why_later(send_to(&Receiver::start(answer).await).await);
        assert!(why.starts_with("127.0.0.1: "), "{why}");
        assert!(!why.contains("hunter2") && !why.contains("/hook"), "{why}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_short() {
    const MOST: usize = 300 * 1024 * 1024;
    let receiver = Receiver::start(Answer::Endless(MOST)).await;
    let began = Instant::now();
    assert_eq!(send_to(&receiver).await, Sent::Taken);
    // What was written beyond the limit fills the buffers of the two sockets.
    assert!(receiver.written() < 32 * 1024 * 1024, "{}", receiver.written());
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_secret_that_is_none_is_refused_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(status("200 OK", "")).await;
    for bad in ["hunter2", "whsec_hunter2", "whsec_aHVudGVyMg==", "aGVsbG8gaGVsbG8gaGVsbG8gaGVsbG8h"] {
        let notifier = hook(dir.path(), &receiver.url("/"), &[bad]);
        assert!(matches!(notifier.check(), Err(Fault::Wrong(_))));
        let sent = notifier.send(&message(), AT).await;
        assert!(matches!(&sent, Sent::Refused(why) if why.contains("whsec_") && !why.contains(bad)), "{sent:?}");
    }
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn a_url_may_be_a_secret_and_is_then_named_by_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(status("200 OK", "")).await;
    let key = secrets(dir.path(), &SECRETS[..1]);
    let url = secrets(dir.path(), &[SECRETS[0], &receiver.url("/hunter2")]);
    let url = url.split(", ").nth(1).unwrap().trim_end_matches(']');
    let webhook: Webhook = toml::from_str(&format!("url = {url}\nsecret = {key}")).unwrap();
    let notifier = WebhookNotifier::new(webhook, webhook::client().unwrap());
    notifier.check().unwrap();
    assert_eq!(notifier.send(&message(), AT).await, Sent::Taken);
    assert_eq!(notifier.id(), format!("webhook:file {}", dir.path().join("hook-1").display()));
    std::fs::write(dir.path().join("hook-1"), "http://far.example/hunter2").unwrap();
    let sent = notifier.send(&message(), AT).await;
    assert!(matches!(&sent, Sent::Refused(why) if why.contains("https") && !why.contains("hunter2")), "{sent:?}");
}

// ---- what the config may say

fn channels(kind: &str, value: &str, smtp: bool) -> Result<Vec<(String, Severity)>, String> {
    let settings = toml::from_str("host = \"localhost\"\nfrom = \"a@b.example\"").unwrap();
    let smtp = smtp.then(|| SmtpClient::new(settings).unwrap());
    let shared = Shared { smtp, http: webhook::client().unwrap(), timezone: None };
    let kind = KINDS.iter().find(|it| it.name == kind).unwrap();
    let read = (kind.read)(ValueDeserializer::parse(value).unwrap(), &shared).map_err(|it| it.message().to_owned())?;
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
        ("webhook", hook("url = \"https://h.example/\", format = \"slack\""), "not supported yet"),
        ("webhook", hook("url = \"https://h.example/\", format = \"xml\""), "standard"),
        ("webhook", hook("url = \"https://h.example/\", retries = 3"), "retries"),
        ("webhook", "[{ url = \"https://h.example/\", secret = \"whsec_hunter2\" }]".into(), "must not stand"),
    ];
    for (kind, value, wanted) in cases {
        let fault = channels(kind, &value, false).unwrap_err();
        assert!(fault.contains(wanted) && !fault.contains("hunter2"), "{value}: {fault}");
    }
}

//! Mail: to a server of our own in every mood, and to aiosmtpd.
use crate::python::Aiosmtpd;
use crate::smtp::{Behaviour, Certificate, Server};
use crate::{AT, message, secret_file, why_later};
use rekeyd::notifiers::email::EmailNotifier;
use rekeyd::notifiers::measured::ANSWER_BYTES;
use rekeyd::notifiers::smtp::{CONNECTIONS, Smtp, SmtpClient};
use rekeyd::notifiers::{Fault, Message, Notifier, Sent};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn smtp(port: u16, more: &str) -> Smtp {
    let base = format!("host = \"localhost\"\nport = {port}\nfrom = \"rekeyd <rekeyd@example.com>\"\n");
    toml::from_str(&format!("{base}{more}")).unwrap()
}

fn email(port: u16, more: &str) -> EmailNotifier {
    limited(port, more, Duration::from_secs(20))
}

fn limited(port: u16, more: &str, limit: Duration) -> EmailNotifier {
    let client = SmtpClient::with_limit(smtp(port, more), limit).unwrap();
    notifier(&client, "Zahlungen Größe <payments@example.com>")
}

fn notifier(client: &Arc<SmtpClient>, to: &str) -> EmailNotifier {
    EmailNotifier::new(Arc::clone(client), to.parse().unwrap(), Some(chrono_tz::Europe::London))
}

/// Tells `payments@example.com` by a server with more settings than its address.
pub fn with(port: u16, more: &str) -> EmailNotifier {
    email(port, more)
}

/// As [`with`], any address.
pub fn to(port: u16, more: &str) -> impl Fn(&str) -> EmailNotifier + use<> {
    let client = SmtpClient::new(smtp(port, more)).unwrap();
    move |address| notifier(&client, address)
}

const PLAIN: &str = "security = \"none\"";

fn login(dir: &Path, password: &str) -> String {
    format!("username = \"anna\"\npassword = {}\n", secret_file(&dir.join("password"), password))
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
async fn a_connection_that_the_server_closed_is_replaced() {
    let server = Server::start(Behaviour { closes_after_mail: true, ..Behaviour::default() }).await;
    let notifier = email(server.port, PLAIN);
    for _ in 0..3 {
        assert_eq!(notifier.send(&message(), AT).await, Sent::Taken);
    }
    assert_eq!((server.mails().len(), server.connections()), (3, 3));
}

/// In the clear, after STARTTLS, and under TLS from the first byte.
#[tokio::test]
async fn a_server_that_never_ends_a_line_is_left_before_it_costs_memory() {
    let certificate = Certificate::make();
    let endless = Behaviour { never_ends_a_line: true, ..Behaviour::default() };
    let trust = format!("ca_file = {:?}\n", certificate.cert());
    for (behaviour, more) in [
        (endless.clone(), PLAIN.to_owned()),
        (Behaviour { starttls: Some(certificate.acceptor()), ..endless.clone() }, trust.clone()),
        (Behaviour { tls: Some(certificate.acceptor()), ..endless.clone() }, format!("security = \"tls\"\n{trust}")),
    ] {
        let server = Server::start(behaviour).await;
        let why = why_later(email(server.port, &more).send(&message(), AT).await);
        assert!(why.contains("no end within"), "{why}");
        // What it could say beyond what was read lies in the buffers of the kernel.
        assert!(server.babbled() < 16 * ANSWER_BYTES, "{} bytes", server.babbled());
    }
}

#[tokio::test]
async fn a_flood_of_mails_shares_a_few_connections() {
    let server = Server::start(Behaviour::default()).await;
    let notifier = email(server.port, PLAIN);
    let mails: Vec<_> = (0..100)
        .map(|_| {
            let notifier = notifier.clone();
            tokio::spawn(async move { notifier.send(&message(), AT).await })
        })
        .collect();
    for mail in mails {
        assert_eq!(mail.await.unwrap(), Sent::Taken);
    }
    assert_eq!(server.mails().len(), 100);
    assert!(server.connections() <= CONNECTIONS, "{}", server.connections());
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
    // A socket that is bound and does not listen: nobody else gets its port meanwhile.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = socket.local_addr().unwrap().port();
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
async fn one_refused_recipient_of_three_keeps_no_other_from_its_mail() {
    let server = Server::start(Behaviour { refuses: Some("gone@"), ..Behaviour::default() }).await;
    let client = to(server.port, PLAIN);
    let mut answers = Vec::new();
    for address in ["anna@example.com", "gone@example.com", "bert@example.com"] {
        answers.push(client(address).send(&message(), AT).await);
    }
    let refused = Sent::Refused(format!("localhost:{}: 550 5.1.1 no such user", server.port));
    assert_eq!(answers, [Sent::Taken, refused, Sent::Taken]);
    assert_eq!(server.mails().len(), 2);
}

#[tokio::test]
async fn greylisting_delays_once_and_the_same_mail_is_then_taken() {
    let server = Server::start(Behaviour { greylists: true, ..Behaviour::default() }).await;
    let notifier = email(server.port, PLAIN);
    assert!(why_later(notifier.send(&message(), AT).await).contains("451"));
    assert_eq!(notifier.send(&message(), AT.plus(Duration::from_secs(300))).await, Sent::Taken);
    assert!(server.mails()[0].contains("Message-ID: <5f0c1d2e3a4b5c6d7e8f901234567890.payments@example.com>"));
}

#[tokio::test]
async fn a_certificate_for_somebody_else_is_not_taken_for_this_server_s() {
    let certificate = Certificate::of("DNS:mail.example.net");
    let server = Server::start(Behaviour { starttls: Some(certificate.acceptor()), ..Behaviour::default() }).await;
    let why = why_later(email(server.port, &format!("ca_file = {:?}", certificate.cert())).send(&message(), AT).await);
    assert!(why.contains("certificate") && why.contains("not valid for name"), "{why}");
    assert!(server.mails().is_empty());
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
    let notifier = limited(server.port, PLAIN, Duration::from_secs(3));
    let why = why_later(notifier.send(&message(), AT).await);
    assert!(why.contains("may have arrived"), "{why}");
    assert_eq!(notifier.send(&message(), AT).await, Sent::Taken);
    assert_eq!((server.mails().len(), server.connections()), (2, 2));
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

#[tokio::test]
async fn aiosmtpd_gets_our_login_by_each_mechanism_and_refuses_a_wrong_one() {
    let (dir, certificate) = (tempfile::tempdir().unwrap(), Certificate::make());
    for (mode, security) in [("plain", "none"), ("starttls", "starttls"), ("tls", "tls")] {
        for mechanism in ["PLAIN", "LOGIN"] {
            let mut server = Aiosmtpd::start(mode, &certificate, &["anna", "right", mechanism]).await;
            let more = format!("security = \"{security}\"\nca_file = {:?}\n", certificate.cert());
            let notifier = email(server.port, &(more + &login(dir.path(), "wrong-hunter2")));
            let why = why_later(notifier.send(&message(), AT).await);
            assert!(why.contains("535") && why.contains("anna") && !why.contains("hunter2"), "{why}");
            login(dir.path(), "right");
            assert_eq!(notifier.send(&message(), AT).await, Sent::Taken, "{mode} {mechanism}");
            let mail = server.mail().await;
            assert_eq!((&mail["auth"], &mail["upgraded"]), (&json!(mechanism), &json!(mode == "starttls")));
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

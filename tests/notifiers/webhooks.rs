//! Webhooks: to a receiver of our own in every mood, and verified by the specification's library.
use crate::http::{Answer, Receiver};
use crate::python::verify;
use crate::smtp::{Behaviour, Certificate, Server};
use crate::{AT, message, secret_file, why_later};
use rekeyd::core::time::Timestamp;
use rekeyd::http::Url;
use rekeyd::http::webhooks::{self, Clients, Posted, Private};
use rekeyd::notifiers::webhook::{Webhook, WebhookNotifier};
use rekeyd::notifiers::{Fault, Notifier, Sent};
use rekeyd::secret::Secret;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// "hello hello hello hello!", 24 bytes, and another of 32.
const SECRETS: [&str; 2] =
    ["whsec_aGVsbG8gaGVsbG8gaGVsbG8gaGVsbG8h", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="];

fn secrets(dir: &Path, secrets: &[&str]) -> String {
    let file = |(n, secret): (usize, &&str)| secret_file(&dir.join(format!("hook-{n}")), secret);
    format!("[{}]", secrets.iter().enumerate().map(file).collect::<Vec<_>>().join(", "))
}

/// How long an answer is waited for: longer than one takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(5);

fn hook(dir: &Path, url: &str, keys: &[&str]) -> WebhookNotifier {
    let webhook: Webhook = toml::from_str(&format!("url = \"{url}\"\nsecret = {}", secrets(dir, keys))).unwrap();
    WebhookNotifier::new(webhook, &Clients::with_limit(LIMIT).unwrap(), None)
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
async fn nothing_goes_to_a_private_address_where_that_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(status("200 OK", "")).await;
    let key = secrets(dir.path(), &SECRETS[..1]);
    let refusing = |url: &str| {
        let webhook: Webhook =
            toml::from_str(&format!("url = {url:?}\nsecret = {key}\nallow_private = false")).unwrap();
        WebhookNotifier::new(webhook, &Clients::new().unwrap(), None)
    };
    for literal in
        [receiver.url("/"), "https://localhost/".into(), "https://192.168.0.1/".into(), "https://[fd00::1]/".into()]
    {
        let notifier = refusing(&literal);
        assert!(matches!(notifier.check(), Err(Fault::Wrong(why)) if why.contains("allow_private")), "{literal}");
        let sent = notifier.send(&message(), AT).await;
        assert!(matches!(&sent, Sent::Refused(why) if why.contains("no public address")), "{literal}: {sent:?}");
    }
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn a_name_is_looked_through_by_what_connects() {
    let receiver = Receiver::start(status("200 OK", "")).await;
    let url: Url = format!("http://localhost:{}/", receiver.port).parse().unwrap();
    let (clients, body) = (Clients::new().unwrap(), Secret::new(b"{}".to_vec()));
    let post = |private| webhooks::post(clients.of(private), url.clone(), None, &body, AT);
    let refused = post(Private::Refused).await;
    assert!(matches!(&refused, Posted::Later(why, None) if why.contains("no public address")), "{refused:?}");
    assert!(receiver.requests().is_empty());
    assert_eq!(post(Private::Allowed).await, Posted::Taken);
}

#[tokio::test]
async fn only_gone_is_final() {
    let gone = send_to(&Receiver::start(status("410 Gone", "")).await).await;
    assert!(matches!(&gone, Sent::Gone(why) if why.starts_with("gone: ")), "{gone:?}");
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
    assert_eq!(send_to(&receiver).await, Sent::Taken);
    // What was written beyond the limit fills the buffers of the two sockets.
    assert!(receiver.written() < 32 * 1024 * 1024, "{}", receiver.written());
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
async fn a_secret_that_is_not_there_delays() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(status("200 OK", "")).await;
    let notifier = hook(dir.path(), &receiver.url("/"), &SECRETS[..1]);
    std::fs::remove_file(dir.path().join("hook-0")).unwrap();
    assert!(matches!(notifier.check(), Err(Fault::Unseen(_))));
    why_later(notifier.send(&message(), AT).await);
}

#[tokio::test]
async fn a_receiver_with_a_certificate_that_nobody_vouches_for_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Behaviour { tls: Some(Certificate::make().acceptor()), ..Behaviour::default() }).await;
    let url = format!("https://localhost:{}/hunter2", server.port);
    let why = why_later(hook(dir.path(), &url, &SECRETS[..1]).send(&message(), AT).await);
    assert!(why.contains("certificate") && !why.contains("hunter2"), "{why}");
}

#[tokio::test]
async fn a_url_may_be_a_secret_and_is_then_named_by_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(status("200 OK", "")).await;
    let key = secrets(dir.path(), &SECRETS[..1]);
    let url = secret_file(&dir.path().join("url"), &receiver.url("/hunter2"));
    let webhook: Webhook = toml::from_str(&format!("url = {url}\nsecret = {key}")).unwrap();
    let notifier = WebhookNotifier::new(webhook, &Clients::new().unwrap(), None);
    notifier.check().unwrap();
    assert_eq!(notifier.send(&message(), AT).await, Sent::Taken);
    assert_eq!(notifier.id(), format!("webhook:file {}", dir.path().join("url").display()));
    std::fs::write(dir.path().join("url"), "http://far.example/hunter2").unwrap();
    let sent = notifier.send(&message(), AT).await;
    assert!(matches!(&sent, Sent::Refused(why) if why.contains("https") && !why.contains("hunter2")), "{sent:?}");
}

/// Posts in a chat's format; gives what the chat gets.
async fn said_in(format: &str) -> Value {
    let receiver = Receiver::start(status("202 Accepted", "")).await;
    let url = receiver.url("/services/hunter2");
    let webhook: Webhook = toml::from_str(&format!("url = \"{url}\"\nformat = \"{format}\"")).unwrap();
    let notifier = WebhookNotifier::new(webhook, &Clients::new().unwrap(), Some(chrono_tz::Europe::London));
    assert_eq!(notifier.send(&message(), AT).await, Sent::Taken);
    let request = receiver.requests().remove(0);
    assert!(!request.headers.contains_key("webhook-signature"), "{:?}", request.headers);
    assert_eq!(request.headers["content-type"], "application/json");
    serde_json::from_str(&request.body).unwrap()
}

#[tokio::test]
async fn slack_gets_blocks_that_say_what_a_mail_would() {
    let body = said_in("slack").await;
    assert_eq!(body["text"], "[critical] billing-sms: rotation halted");
    assert_eq!(body["attachments"][0]["color"], "#d92d20");
    let blocks = &body["attachments"][0]["blocks"];
    assert_eq!(
        blocks[0]["text"],
        json!({"type": "plain_text", "emoji": false, "text": "billing-sms: rotation halted"})
    );
    assert_eq!(blocks[3]["text"]["text"], "```rekeyd resume billing-sms```");
    assert!(blocks[5]["text"]["text"].as_str().unwrap().starts_with("Next: notify: Sat 21 Nov 2026 23:00 UTC"));
    assert_eq!(blocks[6]["fields"][0]["text"], "Key: billing-sms");
}

#[tokio::test]
async fn teams_gets_a_card_that_says_what_a_mail_would() {
    let body = said_in("teams").await;
    let attachment = &body["attachments"][0];
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    let text = |n: usize| attachment["content"]["body"][n]["inlines"][0]["text"].as_str().unwrap().to_owned();
    assert_eq!(text(0), "[critical] billing-sms: rotation halted");
    assert!(text(1).starts_with("Größe <&> passt nicht."), "{}", text(1));
    assert_eq!(text(3), "rekeyd resume billing-sms");
    assert!(text(5).starts_with("Next: notify:"), "{}", text(5));
}

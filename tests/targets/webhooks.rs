//! A key in a signed POST.
use crate::http::{Answer, Receiver};
use crate::{NEW, failure, parcel, parse};
use rekeyd::core::time::Timestamp;
use rekeyd::targets::{Parcel, Target};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// 32 bytes.
const SIGNER: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

fn webhook(dir: &Path, url: &str) -> Arc<dyn Target> {
    use std::os::unix::fs::PermissionsExt;
    let file = dir.join("signer");
    std::fs::write(&file, SIGNER).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    parse("webhook", &format!("{{ url = {url:?}, secret = {{ file = {file:?} }} }}")).unwrap()
}

fn status(status: &str) -> Answer {
    Answer::Bytes(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"))
}

#[tokio::test]
async fn a_consumer_gets_its_key_signed_and_the_same_bytes_every_time() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(status("204 No Content")).await;
    let target = webhook(dir.path(), &receiver.url("/keys"));
    let key = Parcel { valid_to: Some(Timestamp(1_800_000_000_000)), ..parcel(4, NEW) };
    target.preflight().await.unwrap();
    target.deliver(&key).await.unwrap();
    target.deliver(&key).await.unwrap();
    target.deliver(&parcel(5, NEW)).await.unwrap();
    let [first, again, next] = &receiver.requests()[..] else { panic!() };
    assert_eq!(first.line, "POST /keys HTTP/1.1");
    assert_eq!(first.headers["content-type"], "application/json");
    assert!(first.headers["webhook-signature"].starts_with("v1,"));
    assert_eq!((&first.body, &first.headers["webhook-id"]), (&again.body, &again.headers["webhook-id"]));
    assert_ne!(first.headers["webhook-id"], next.headers["webhook-id"], "another version is another delivery");
    let want = json!({"type": "key.issued", "timestamp": "2026-09-21T14:13:20Z", "data": {
        "key": "billing-sms", "provider": "sms", "version": 4, "fingerprint": key.secret.fingerprint().as_str(),
        "valid_to": "2027-01-15T08:00:00Z", "secret": NEW}});
    assert_eq!(serde_json::from_str::<Value>(&first.body).unwrap(), want);
}

#[tokio::test]
async fn whatever_is_no_2xx_is_no_delivery_and_tells_neither_url_nor_key() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = Receiver::start(status("200 OK")).await;
    let redirect = format!("HTTP/1.1 307 x\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url("/"));
    let answers = [status("400 Bad"), status("410 Gone"), status("503 Oops"), Answer::Reset, Answer::Bytes(redirect)];
    for answer in answers {
        let receiver = Receiver::start(answer).await;
        let why = failure(&*webhook(dir.path(), &receiver.url("/hunter2?token=hunter2")), &parcel(4, NEW)).await;
        assert!(why.contains("127.0.0.1") && !why.contains("hunter2") && !why.contains(NEW), "{why}");
    }
    assert!(elsewhere.requests().is_empty(), "a key is never carried to where nobody asked for");
}

#[tokio::test]
async fn without_what_signs_it_nothing_is_created_and_nothing_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(status("200 OK")).await;
    let target = webhook(dir.path(), &receiver.url("/"));
    std::fs::write(dir.path().join("signer"), "hunter2").unwrap();
    let why = target.preflight().await.unwrap_err().to_string();
    assert!(why.contains("whsec_") && !why.contains("hunter2"), "{why}");
    failure(&*target, &parcel(4, NEW)).await;
    std::fs::remove_file(dir.path().join("signer")).unwrap();
    target.preflight().await.unwrap_err();
    failure(&*target, &parcel(4, NEW)).await;
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn a_key_that_is_no_text_stays_here() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(status("200 OK")).await;
    let target = webhook(dir.path(), &receiver.url("/"));
    let key = Parcel { secret: rekeyd::secret::Secret::new(vec![0xff, 0xfe]), ..parcel(4, NEW) };
    assert!(failure(&*target, &key).await.contains("raw"));
    assert!(receiver.requests().is_empty());
}

#[test]
fn a_target_that_would_show_its_key_on_the_way_is_a_fault() {
    for (settings, want) in [
        ("{ url = 'https://a.example' }", "secret"),
        ("{ url = 'http://a.example', secret = { env = 'S' } }", "https"),
        ("{ url = 'https://u:p@a.example', secret = { env = 'S' } }", "credential"),
        ("{ url = 'https://a.example', secret = 'whsec_hunter2' }", "literal"),
        ("{ url = 'https://a.example', secret = { env = 'S' }, format = 'slack' }", "format"),
    ] {
        let fault = parse("webhook", settings).unwrap_err().message().to_owned();
        assert!(fault.contains(want) && !fault.contains("hunter2"), "{settings}: {fault}");
    }
    let target = parse("webhook", "{ url = 'https://a.example/in?token=t', secret = { env = 'S' } }").unwrap();
    assert!(target.id().as_str().starts_with("webhook:https://a.example/in?"));
    assert!(!target.id().as_str().contains("token"));
}

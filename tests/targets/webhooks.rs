//! A key in a signed POST.
use crate::http::{Answer, Receiver};
use crate::{NEW, failure, parcel, parse};
use rekeyd::core::time::Timestamp;
use rekeyd::secret::Secret;
use rekeyd::targets::{Parcel, Target};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// 32 bytes.
const SIGNER: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

fn webhook(dir: &Path, url: &str) -> Arc<dyn Target> {
    with(dir, url, "")
}

fn with(dir: &Path, url: &str, more: &str) -> Arc<dyn Target> {
    use std::os::unix::fs::PermissionsExt;
    let file = dir.join("signer");
    std::fs::write(&file, SIGNER).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    parse("webhook", &format!("{{ url = {url:?}, secret = {{ file = {file:?} }} {more} }}")).unwrap()
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

/// A key pair of age: the file with the identity, and its recipient.
fn key_pair(dir: &Path, name: &str) -> (PathBuf, String) {
    let file = dir.join(name);
    let run = |args: &[&str]| {
        let made = Command::new("age-keygen").args(args).arg(&file).output().expect("this test needs age; install age");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    };
    run(&["-o"]);
    let recipient = run(&["-y"]);
    (file, recipient)
}

/// What the command `age` makes of it.
fn opened(sealed: &str, identity: &Path) -> Option<String> {
    let mut age = Command::new("age");
    age.args(["--decrypt", "-i"]).arg(identity);
    let mut age = age.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, sealed) = (age.stdin.take().unwrap(), sealed.to_owned());
    let writer = std::thread::spawn(move || stdin.write_all(sealed.as_bytes()));
    let output = age.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn a_key_that_is_encrypted_is_opened_by_age_with_each_identity_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let [(mine, me), (hers, her), (other, _)] = ["mine", "hers", "other"].map(|it| key_pair(dir.path(), it));
    let receiver = Receiver::start(status("204 No Content")).await;
    let target = with(dir.path(), &receiver.url("/"), &format!(", encrypt_to = [{me:?}, {her:?}]"));
    target.deliver(&parcel(4, NEW)).await.unwrap();
    let request = receiver.requests().remove(0);
    assert!(request.headers["webhook-signature"].starts_with("v1,"));
    let body: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!((&body["type"], &body["timestamp"]), (&json!("key.issued"), &json!("2026-09-21T14:13:20Z")));
    for clear in [NEW, "billing-sms", "sms", "secret"] {
        assert!(!request.body.contains(clear), "{clear}");
    }
    let sealed = body["data"]["age"].as_str().unwrap();
    for identity in [&mine, &hers] {
        let data: Value = serde_json::from_str(&opened(sealed, identity).unwrap()).unwrap();
        assert_eq!((&data["secret"], &data["key"], &data["version"]), (&json!(NEW), &json!("billing-sms"), &json!(4)));
    }
    assert_eq!(opened(sealed, &other), None);
}

#[tokio::test]
async fn a_key_of_any_size_is_opened_by_age() {
    const CHUNK: usize = 64 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let (identity, recipient) = key_pair(dir.path(), "identity");
    let receiver = Receiver::start(status("204 No Content")).await;
    let target = with(dir.path(), &receiver.url("/"), &format!(", encrypt_to = {recipient:?}"));
    // What stands around the secret.
    let mut frame = 0;
    for size in [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK - 7] {
        let key = Parcel { secret: Secret::from("x".repeat(size.saturating_sub(frame).max(1))), ..parcel(4, NEW) };
        target.deliver(&key).await.unwrap();
        let body: Value = serde_json::from_str(&receiver.requests().pop().unwrap().body).unwrap();
        let data = opened(body["data"]["age"].as_str().unwrap(), &identity).unwrap();
        assert!(data.contains(key.secret.expose_str().unwrap()), "{size}");
        if frame == 0 { frame = data.len() - 1 } else { assert_eq!(data.len(), size) }
    }
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
    let key = Parcel { secret: Secret::new(vec![0xff, 0xfe]), ..parcel(4, NEW) };
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
        ("{ url = 'https://10.1.2.3', secret = { env = 'S' }, allow_private = false }", "allow_private"),
        (
            "{ url = 'https://a.example', secret = { env = 'S' }, encrypt_to = 'AGE-SECRET-KEY-1hunter2' }",
            "age-keygen -y",
        ),
        (
            "{ url = 'https://a.example', secret = { env = 'S' }, encrypt_to = ['age1hunter2'] }",
            "not a public key of age",
        ),
        ("{ url = 'https://a.example', secret = { env = 'S' }, encrypt_to = [] }", "1 to 8"),
    ] {
        let fault = parse("webhook", settings).unwrap_err().message().to_owned();
        assert!(fault.contains(want) && !fault.contains("hunter2"), "{settings}: {fault}");
    }
    let target = parse("webhook", "{ url = 'https://a.example/in?token=t', secret = { env = 'S' } }").unwrap();
    assert!(target.id().as_str().starts_with("webhook:https://a.example/in?"));
    assert!(!target.id().as_str().contains("token"));
}

//! Signed mails, verified by dkimpy.
use crate::email::with;
use crate::python::verify_dkim;
use crate::smtp::{Behaviour, Server};
use crate::{AT, message, secret_file, why_later};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rekeyd::notifiers::{Fault, Notifier, Sent};
use std::path::Path;
use std::process::Command;

/// Key pairs by the options of openssl that make them, and what the DNS calls them.
const KINDS: [(&[&str], &str); 3] = [
    (&["genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048"], "rsa"),
    (&["genrsa", "-traditional", "2048"], "rsa"),
    (&["genpkey", "-algorithm", "ed25519"], "ed25519"),
];

fn openssl(args: &[&str]) -> Vec<u8> {
    let made = Command::new("openssl").args(args).output().expect("this test needs the openssl command");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

/// Makes a key pair; gives the private key as the config refers to it, and the record with the public key.
pub fn key_pair(dir: &Path, how: &[&str], algorithm: &str) -> (String, String) {
    let file = dir.join("dkim.pem");
    let private = secret_file(&file, &String::from_utf8(openssl(how)).unwrap());
    let public = openssl(&["pkey", "-in", file.to_str().unwrap(), "-pubout", "-outform", "der"]);
    // RFC 8463 wants the bare key of Ed25519, the last 32 bytes.
    let public = if algorithm == "rsa" { &public[..] } else { &public[public.len() - 32..] };
    (private, format!("v=DKIM1; k={algorithm}; p={}", STANDARD.encode(public)))
}

#[tokio::test]
async fn a_signature_is_verified_by_dkimpy_and_broken_by_every_change() {
    let dir = tempfile::tempdir().unwrap();
    for (how, algorithm) in KINDS {
        let (key, record) = key_pair(dir.path(), how, algorithm);
        for (domain, more) in [("example.com", ""), ("example.com", ", domain = \"example.com\"")] {
            let server = Server::start(Behaviour::default()).await;
            let more = format!("security = \"none\"\ndkim = {{ selector = \"s1\", key = {key}{more} }}");
            let notifier = with(server.port, &more);
            notifier.check().unwrap();
            assert_eq!(notifier.send(&message(), AT).await, Sent::Taken);
            let mail = server.mails().remove(0);
            assert!(mail.lines().all(|it| it.len() <= 998), "{mail}");
            let name = format!("s1._domainkey.{domain}");
            assert_eq!(verify_dkim(&mail, &name, &record).await, format!("verified {domain}"), "{how:?}");
            for (from, to) in [
                ("Subject: ", "Subject: Re: "),
                ("Auto-Submitted: auto-generated", "Auto-Submitted: no"),
                ("rekeyd resume billing-sms", "rekeyd retire billing-sms"),
                ("From: ", "From: evil@example.com\r\nFrom: "),
            ] {
                let changed = mail.replacen(from, to, 1);
                assert_ne!(changed, mail, "{from} is not in the mail");
                assert!(!verify_dkim(&changed, &name, &record).await.starts_with("verified"), "{from}");
            }
        }
    }
}

#[tokio::test]
async fn a_mail_that_can_not_be_signed_waits_for_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Behaviour::default()).await;
    let (key, _) = key_pair(dir.path(), KINDS[2].0, "ed25519");
    let notifier = with(server.port, &format!("security = \"none\"\ndkim = {{ selector = \"s1\", key = {key} }}"));
    let right = std::fs::read_to_string(dir.path().join("dkim.pem")).unwrap();
    let weak = String::from_utf8(openssl(&["genrsa", "1024"])).unwrap();
    for wrong in ["hunter2", "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n", &weak] {
        secret_file(&dir.path().join("dkim.pem"), wrong);
        assert!(matches!(notifier.check(), Err(Fault::Wrong(why)) if why.contains("2048")));
        let why = why_later(notifier.send(&message(), AT).await);
        assert!(why.contains("dkim.key") && !why.contains("hunter2") && !why.contains("aHVudGVyMg"), "{why}");
    }
    assert!(server.mails().is_empty());
    secret_file(&dir.path().join("dkim.pem"), &right);
    assert_eq!(notifier.send(&message(), AT).await, Sent::Taken);
}

//! What other people wrote in Python, to judge what we send. CI installs it: `pip install aiosmtpd dkimpy icalendar pynacl standardwebhooks`.
use super::smtp::Certificate;
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support");

/// The server from Python's own world, with a mail parser that isn't ours.
pub struct Aiosmtpd {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub port: u16,
}

impl Aiosmtpd {
    /// `login`: a user, a password, and the mechanisms that it takes them by.
    pub async fn start(mode: &str, certificate: &Certificate, login: &[&str]) -> Self {
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

    pub async fn mail(&mut self) -> Value {
        serde_json::from_str(&self.lines.next_line().await.unwrap().unwrap()).unwrap()
    }
}

/// Verifies a webhook with the library of the Standard Webhooks specification.
pub async fn verify(secret: &str, headers: &impl serde::Serialize, body: &str) -> Result<(), String> {
    let mut child = python("verify_webhook.py").spawn().expect("this test needs python3");
    let given = json!({"secret": secret, "headers": headers, "body": body}).to_string();
    child.stdin.take().unwrap().write_all(given.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("pip install"), "{said}");
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// What dkimpy says of a mail, where this record is all that the DNS holds.
pub async fn verify_dkim(mail: &str, name: &str, record: &str) -> String {
    let mut child = python("verify_dkim.py").spawn().expect("this test needs python3");
    let given = json!({"mail": mail, "dns": {name: record}}).to_string();
    child.stdin.take().unwrap().write_all(given.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("pip install"), "{said}");
    format!("{}{said}", String::from_utf8_lossy(&output.stdout).trim())
}

fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(format!("{SCRIPTS}/{script}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

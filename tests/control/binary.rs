//! The binary as scripts use it: its exit codes, and what it does when nobody listens.
use crate::fixture::*;
use crate::socket::{Daemon, Desk, daemon};
use rekeyd::secret::Secret;
use std::io::Write;
use std::process::{Output, Stdio};

/// Runs one command line against a socket, with this on stdin.
async fn rekeyd(daemon: &Daemon, args: &[&str], stdin: &'static str) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rekeyd"));
    command.arg("--config").arg("/nonexistent").arg("--socket").arg(&daemon.socket).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn status_says_in_its_exit_code_that_a_human_is_needed() {
    let daemon = daemon(world(), Desk::default()).await;
    let calm = rekeyd(&daemon, &["status"], "").await;
    assert_eq!(calm.status.code(), Some(0), "{}", text(&calm.stderr));
    // What is to be tried next asks the daemon that this command asked.
    let plain = text(&calm.stdout).replace("rekeyd --config /nonexistent ", "rekeyd ");
    assert_ne!(text(&calm.stdout), plain);
    assert_eq!(plain, include_str!("../golden/status.txt"));
    let strict = rekeyd(&daemon, &["status", "--exit-code", "--json", "voice"], "").await;
    assert_eq!(strict.status.code(), Some(1));
    assert!(text(&strict.stdout).starts_with('{'));
    assert_eq!(rekeyd(&daemon, &["status", "nobody"], "").await.status.code(), Some(66));
}

#[tokio::test]
async fn without_a_daemon_the_next_command_is_named() {
    let mut daemon = daemon(world(), Desk::default()).await;
    daemon.socket.set_extension("none");
    let failed = rekeyd(&daemon, &["status"], "").await;
    assert_eq!(failed.status.code(), Some(69));
    let tried = text(&failed.stderr);
    assert!(tried.contains("\ntry: rekeyd --config ") && tried.trim_end().ends_with(" run"), "{tried}");
}

#[tokio::test]
async fn an_adopted_secret_loses_one_newline_and_is_never_printed() {
    let daemon = daemon(world(), Desk::default()).await;
    let done = rekeyd(&daemon, &["adopt", "voice", "--age-unknown"], "hunter2\n\n").await;
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let said = [done.stdout, done.stderr].concat();
    assert!(!text(&said).contains("hunter2"));
    let offer = daemon.desk.offers.lock().unwrap().pop().unwrap();
    assert_eq!(offer.secret.unwrap().fingerprint(), Secret::from("hunter2\n".to_owned()).fingerprint());
    assert_eq!(rekeyd(&daemon, &["adopt", "voice", "--age-unknown"], "\n").await.status.code(), Some(66));
}

#[tokio::test]
async fn a_pipe_gets_the_secret_and_nothing_else() {
    let daemon = daemon(world(), Desk::default()).await;
    assert_eq!(rekeyd(&daemon, &["reveal", "billing-sms"], "").await.stdout, b"hunter2");
}

#[tokio::test]
async fn waiting_ends_with_the_fate_of_the_rotation() {
    // The world stands still: no rotation of `voice` ever ends, and `login-2fa` stays halted.
    let daemon = daemon(world(), Desk::default()).await;
    for (key, timeout, code) in [("voice", "1ms", 75), ("login-2fa", "10m", 1)] {
        let waited = rekeyd(&daemon, &["rotate", key, "--wait", "--timeout", timeout], "").await;
        assert_eq!(waited.status.code(), Some(code), "{key}: {}", text(&waited.stderr));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rekeyd"));
    let mut child =
        command.args(["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

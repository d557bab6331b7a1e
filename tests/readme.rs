//! The README is true: the commands that it marks as tested run, its example is a config without faults, and its exit codes
//! and ignored tests are those that there are.
// A helper of a test may fail it.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#[path = "support/files.rs"]
mod files;

use clap::Parser;
use rekeyd::cli::Cli;
use rekeyd::config::{self, Source};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const README: &str = include_str!("../README.md");
const BINARY: &str = env!("CARGO_BIN_EXE_rekeyd");

#[test]
fn the_commands_that_are_marked_run() {
    let dir = tempfile::tempdir().unwrap();
    for block in blocks("sh tested") {
        run(&block, dir.path());
    }
    for made in ["etc/rekeyd.toml", "etc/master.key", "rekeyd.1", "rekeyd.bash"] {
        assert!(fs::metadata(dir.path().join(made)).unwrap().len() > 0, "{made}");
    }
    let config = dir.path().join("etc/rekeyd.toml");
    let socket = format!("[daemon]\ncontrol_socket = \"{}\"\n", dir.path().join("run/control.sock").display());
    fs::write(&config, fs::read_to_string(&config).unwrap().replacen("[daemon]\n", &socket, 1)).unwrap();
    let _daemon = Daemon::start(dir.path());
    for block in blocks("sh tested daemon") {
        run(&block, dir.path());
    }
}

#[test]
fn the_example_config_has_no_faults() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = ["hook-secret", "infobip-password"];
    for secret in secrets {
        fs::write(dir.path().join(secret), "whsec_c2VjcmV0IG9mIGEgaG9vayBpbiBhIHRlc3Q=").unwrap();
        let _ = Command::new("chmod").arg("0600").arg(dir.path().join(secret)).status();
    }
    let example = blocks("toml").concat().replace("/etc/rekeyd/", &format!("{}/", dir.path().display()));
    let text = format!("daemon = {{ master_key = {{ credential = 'm' }}, owners = ['platform'] }}\n{example}");
    config::parse(vec![Source { path: "README.md".into(), text }]).unwrap();
}

#[test]
fn the_test_command_is_the_one_that_ci_runs() {
    let ci = include_str!("../.ci/run");
    for command in ["tests/run", "cargo run --release -- demo"] {
        assert!(blocks("sh").iter().any(|it| it.trim() == command), "the README lacks {command}");
        let called = command.replace("cargo run", "cargo run --locked");
        assert!(ci.lines().any(|it| it == called), ".ci/run lacks {called}");
    }
}

/// What stands in the documents for an operator to type: each line is one that the command line takes.
#[test]
fn every_command_of_the_documents_is_understood() {
    let operating = include_str!("../docs/operating.md");
    let mut seen = 0;
    for document in [README, operating] {
        // What stands between two fences is a block: every second part.
        let lines = document.split("```").skip(1).step_by(2).flat_map(str::lines);
        let lines = lines.map(|it| it.trim_start_matches("sudo -u rekeyd ")).filter(|it| it.starts_with("rekeyd "));
        for line in lines {
            let words = words(line.split(['#', '<', '>', '|']).next().unwrap());
            let parsed = Cli::try_parse_from(&words);
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen} commands");
}

/// The words of a line, as a shell parts them where it has no more than double quotes.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate();
    let words = parts.flat_map(|(n, part)| match n % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

#[test]
fn every_ignored_test_is_listed() {
    for file in files::rust_files() {
        let text = fs::read_to_string(&file).unwrap();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.trim_start().starts_with("#[ignore") {
                let function = lines.find(|it| it.contains("fn ")).unwrap();
                let name = function.split("fn ").nth(1).and_then(|it| it.split('(').next()).unwrap();
                assert!(README.contains(&format!("`{name}`")), "{} ignores {name}", file.display());
            }
        }
    }
}

#[test]
fn the_manual_page_tells_the_same_exit_codes() {
    let page = Command::new(BINARY).arg("man").output().unwrap().stdout;
    let page = String::from_utf8(page).unwrap();
    let codes = |text: &str| -> BTreeSet<u8> { text.split(',').filter_map(|it| it.trim().parse().ok()).collect() };
    let section = page.split(".SH \"EXIT STATUS\"").nth(1).unwrap().split(".SH").next().unwrap();
    let told: BTreeSet<u8> = section.lines().flat_map(codes).collect();
    let table = README.split("## Exit codes").nth(1).unwrap().split("\n## ").next().unwrap();
    let listed: BTreeSet<u8> =
        table.lines().filter_map(|it| it.strip_prefix('|')?.split('|').next()).flat_map(codes).collect();
    assert_eq!(listed, told);
    for part in ["SIGNALS", "FILES", "control.sock", "rekeyd.toml"] {
        assert!(page.contains(part), "{part}");
    }
}

/// What stands in the fenced blocks of this kind.
fn blocks(kind: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = README;
    while let Some((_, after)) = rest.split_once(&format!("\n```{kind}\n")) {
        let (block, behind) = after.split_once("\n```").unwrap();
        found.push(format!("{block}\n"));
        rest = behind;
    }
    assert!(!found.is_empty(), "no block of {kind}");
    found
}

/// Runs a block as a reader would, in a folder of its own, with the program in PATH.
fn run(block: &str, dir: &Path) {
    let output = environment(&mut Command::new("bash"), dir).args(["-euc", block]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{block}\n{said}");
}

fn environment<'c>(command: &'c mut Command, dir: &Path) -> &'c mut Command {
    let own = Path::new(BINARY).parent().unwrap().display();
    let path = format!("{own}:{}", std::env::var("PATH").unwrap_or_default());
    command.current_dir(dir).env("PATH", path).env("REKEYD_CONFIG", dir.join("etc/rekeyd.toml"));
    command.env("STATE_DIRECTORY", dir.join("state"))
}

/// A daemon on the config that `init` wrote, until it is dropped.
struct Daemon(Child);

impl Daemon {
    fn start(dir: &Path) -> Self {
        let child = environment(&mut Command::new(BINARY), dir).arg("run").stderr(Stdio::null()).spawn().unwrap();
        let daemon = Self(child);
        let end = Instant::now() + Duration::from_secs(30);
        while UnixStream::connect(dir.join("run/control.sock")).is_err() {
            assert!(Instant::now() < end, "the daemon does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

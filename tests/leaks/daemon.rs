//! The real program, run as in production but at its most talkative, and all that it leaves behind.
use crate::needles::Needles;
use rekeyd::simulator::World;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// Longer than anything takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Everything of everybody, each library by its name too.
const TRACE: &str = "trace,rekeyd=trace,hyper=trace,hyper_util=trace,reqwest=trace,lettre=trace,h2=trace,rustls=trace,\
                     tower=trace,sled=trace,axum=trace,tokio=trace,mio=trace";

/// What was collected, each with the name of its place.
#[derive(Default)]
pub struct Evidence(pub Vec<(String, Vec<u8>)>);

impl Evidence {
    pub fn add(&mut self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((place.into(), bytes.into()));
    }

    /// Every file of a folder, and its name.
    pub fn folder(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            self.add("a file's name", path.to_str().unwrap());
            if path.is_dir() {
                self.folder(&path);
            } else if path.is_file() {
                self.add(path.to_str().unwrap(), fs::read(&path).unwrap());
            }
        }
    }

    /// All that is found, with its places.
    pub fn leaks(&self, needles: &Needles) -> Vec<String> {
        let found = self
            .0
            .iter()
            .flat_map(|(place, bytes)| needles.find(bytes).into_iter().map(move |it| format!("{it}, is in {place}")));
        found.collect()
    }

    /// Whether something was collected from such a place that has this text in it.
    pub fn has(&self, place: &str, text: &str) -> bool {
        let has = |bytes: &[u8]| text.is_empty() || bytes.windows(text.len()).any(|it| it == text.as_bytes());
        self.0.iter().any(|(at, bytes)| at.contains(place) && has(bytes))
    }
}

/// A daemon in a folder of its own.
pub struct Daemon {
    dir: PathBuf,
    child: Option<Child>,
    starts: usize,
}

impl Daemon {
    pub async fn start(dir: &Path) -> Self {
        let mut it = Self { dir: dir.to_owned(), child: None, starts: 0 };
        it.restart().await;
        it
    }

    /// Kills it without a warning, if it runs, and starts it anew.
    pub async fn restart(&mut self) {
        self.kill().await;
        self.starts += 1;
        let log = File::create(self.dir.join(format!("log-{}", self.starts))).unwrap();
        let mut command = self.command();
        command.arg("-vv").arg("run").env("RUST_LOG", TRACE).env("RUST_BACKTRACE", "1");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let serves = async {
            while UnixStream::connect(self.socket()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, serves).await.is_ok(), "it does not serve; see {}", self.dir.display());
    }

    /// As `kill -9` does.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.unwrap();
        }
    }

    /// Asks it to end, as systemd does, and waits until it has.
    pub async fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        let pid = child.id().and_then(|it| Pid::from_raw(i32::try_from(it).unwrap())).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it does not stop").unwrap();
        assert!(status.success(), "{status}:\n{}", self.log());
    }

    /// Its command line and its environment, as everybody on the machine or its user may see them.
    pub fn process(&self, evidence: &mut Evidence) {
        let pid = self.child.as_ref().and_then(Child::id).unwrap();
        for file in ["cmdline", "environ"] {
            evidence.add(format!("the daemon's {file}"), fs::read(format!("/proc/{pid}/{file}")).unwrap());
        }
    }

    /// What it said since it was last started.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join(format!("log-{}", self.starts))).unwrap()
    }

    /// What it said and what it wrote, apart from the keys that it delivered.
    pub fn leavings(&self, evidence: &mut Evidence) {
        for nth in 1..=self.starts {
            let log = fs::read(self.dir.join(format!("log-{nth}"))).unwrap();
            evidence.add(format!("log {nth} of {}", self.dir.display()), log);
        }
        evidence.folder(&self.dir.join("state"));
    }

    /// Runs one command of the program; yields its exit code.
    pub async fn run(&self, args: &[&str], stdin: &[u8], evidence: &mut Evidence) -> Option<i32> {
        let mut command = self.command();
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that does not read its stdin closes it early, and that is fine.
        let _ = child.stdin.take().unwrap().write_all(stdin).await;
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
        evidence.add(format!("the output of {args:?}"), output.stdout);
        evidence.add(format!("the errors of {args:?}"), output.stderr);
        output.status.code()
    }

    /// Sends one request over the socket.
    pub async fn ask(&self, method: &str, path: &str, body: &str, evidence: &mut Evidence) {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        let length = body.len();
        let head = "host: localhost\r\nconnection: close\r\ncontent-type: application/json";
        let request = format!("{method} {path} HTTP/1.1\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "), "{method} {path} has no answer");
        evidence.add(format!("the answer to {method} {path}"), answer);
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeyd"));
        command.arg("--config").arg(self.dir.join("rekeyd.toml")).kill_on_drop(true);
        command
    }

    fn socket(&self) -> PathBuf {
        World::control_socket(&self.dir)
    }
}

//! One daemon as a child process, the services that it talks to, and the folder that it lives in.
use crate::watch::tells_of_the_pace;
use rekeyd::control::client::Client;
use rekeyd::control::protocol::{KeyStatus, PhaseName, Status};
use rekeyd::secret::Secret;
use rekeyd::simulator::{Options, Service, Simulator, World, write_config};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// Longer than anything takes that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// The pause between two looks.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);
/// The largest part of the daemon's log that a failed wait shows, in bytes.
const LOG_SHOWN: usize = 6000;
/// The longest that the end of a test waits for the daemon that it killed.
const DIES_WITHIN: Duration = Duration::from_secs(20);

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A daemon with its world.
pub(crate) struct Rig {
    pub(crate) sim: Arc<Simulator>,
    pub(crate) world: World,
    dir: TempDir,
    pub(crate) daemon: Option<Child>,
    machine: Option<&'static str>,
    /// How long anything may take that is waited for.
    pub(crate) patience: Duration,
    /// More of the daemon's environment.
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// A world in which nothing is due by itself: what happens is what the test asks for.
pub(crate) fn calm(services: &[Service]) -> World {
    World {
        services: services.to_vec(),
        lifetime: Duration::from_secs(7200),
        rotate_before: Duration::from_secs(600),
        overlap: Duration::from_millis(1200),
        announce: Duration::from_secs(2),
        ..World::default()
    }
}

impl Rig {
    /// The services and a config, but no daemon yet.
    pub(crate) async fn prepare(world: World) -> Self {
        let sim = Simulator::start(Options::default()).await.unwrap();
        Self::beside(&Arc::new(sim), world)
    }

    /// Another daemon, with a config and a folder of its own, at services that may have one already.
    pub(crate) fn beside(sim: &Arc<Simulator>, world: World) -> Self {
        let rig = Self {
            sim: sim.clone(),
            world,
            dir: tempfile::tempdir().unwrap(),
            daemon: None,
            machine: None,
            patience: PATIENCE,
            environment: Vec::new(),
        };
        rig.write_config();
        rig
    }

    /// The same once more, with what its state and its consumers' files hold now, as `cp -a` copies it.
    pub(crate) fn copied(&self) -> Self {
        let copy = Self::beside(&self.sim, self.world.clone());
        for part in ["state", "keys"] {
            copy_folder(&self.path(part), &copy.path(part));
        }
        copy
    }

    /// From its next start on, the daemon finds itself on another machine. `false` where that can't be made so.
    pub(crate) fn move_to_machine(&mut self, id: &'static str) -> bool {
        write(&self.path("machine-id"), id);
        self.machine = Some(id);
        let mut probe = std::process::Command::new("unshare");
        let script = "mount --bind \"$0\" /etc/machine-id";
        let probe = probe.args(["--mount", "sh", "-c", script]).arg(self.path("machine-id")).output();
        probe.is_ok_and(|it| it.status.success())
    }

    /// Everything, with a daemon that has just begun to serve.
    pub(crate) async fn start(world: World) -> Self {
        let mut rig = Self::prepare(world).await;
        rig.run().await;
        rig
    }

    /// Everything, once each key has its first version and rests, and that is told: a notice whose receipt dies with the daemon
    /// comes twice, and may.
    pub(crate) async fn start_created(world: World) -> Self {
        let rig = Self::start(world).await;
        rig.until_rest().await;
        rig.until_told().await;
        rig
    }

    pub(crate) fn write_config(&self) {
        write_config(self.dir.path(), &self.sim, &self.world).unwrap();
    }

    /// Changes the config on disk, as an editor would.
    pub(crate) fn edit_config(&self, edit: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.config()).unwrap();
        fs::write(self.config(), edit(text)).unwrap();
    }

    /// Gives the file of a key more fields, such as `then`.
    pub(crate) fn add_to_target(&self, key: &str, lines: &str) {
        let path = format!("path = {:?}\n", self.key_file(key));
        self.edit_config(|it| it.replacen(&path, &format!("{path}{lines}\n"), 1));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("rekeyd.toml")
    }

    pub(crate) fn key_file(&self, key: &str) -> PathBuf {
        World::key_file(self.dir.path(), key)
    }

    /// What a consumer would use; `None` while there is no file.
    pub(crate) fn held(&self, key: &str) -> Option<String> {
        fs::read_to_string(self.key_file(key)).ok()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn daemon_command(&self) -> Command {
        let mut command = match self.machine {
            None => Command::new(env!("CARGO_BIN_EXE_rekeyd")),
            Some(_) => {
                let mut command = Command::new("unshare");
                let script = "mount --bind \"$0\" /etc/machine-id && exec \"$@\"";
                command.args(["--mount", "sh", "-c", script]).arg(self.path("machine-id"));
                command.arg(env!("CARGO_BIN_EXE_rekeyd"));
                command
            }
        };
        command.arg("--config").arg(self.config()).arg("run").env("RUST_LOG", "info").kill_on_drop(true);
        // Where a test says at which point it is to die; a binary without the feature knows nothing of it.
        command.env("REKEYD_FAILPOINTS", self.dir.path());
        command.envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        if self.path("clock").exists() {
            fake_clock(&mut command, &self.path("clock"));
        }
        if self.path("credentials").exists() {
            command.env("CREDENTIALS_DIRECTORY", self.path("credentials"));
        }
        command
    }

    /// Starts the daemon, and waits until it answers.
    pub(crate) async fn run(&mut self) {
        self.spawn();
        self.until_up(self.patience).await;
    }

    /// Waits until the daemon answers.
    pub(crate) async fn until_up(&self, patience: Duration) {
        let client = self.client();
        let up = async {
            while client.status().await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let up = tokio::time::timeout(patience, up).await;
        assert!(up.is_ok(), "the daemon never answered:\n{}", self.tail());
    }

    /// Starts the daemon.
    pub(crate) fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        self.daemon = Some(self.daemon_command().stderr(log).spawn().unwrap());
    }

    /// Starts the daemon under another command.
    pub(crate) fn spawn_under(&mut self, words: &[&str]) {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(env!("CARGO_BIN_EXE_rekeyd")).arg("--config").arg(self.config()).arg("run");
        command.env("RUST_LOG", "info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        self.daemon = Some(command.spawn().unwrap());
    }

    /// The process id of the daemon.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id().unwrap()
    }

    /// Starts the daemon, and waits until it answers; `Err` with its exit code where it ends instead.
    pub(crate) async fn try_run(&mut self) -> Result<(), Option<i32>> {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let client = self.client();
        let daemon = self.daemon.insert(self.daemon_command().stderr(log).spawn().unwrap());
        let up = async {
            while client.status().await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let ended = tokio::select! {
            ended = daemon.wait() => ended.unwrap(),
            () = up => return Ok(()),
            () = tokio::time::sleep(PATIENCE) => panic!("the daemon never answered:\n{}", self.tail()),
        };
        self.daemon = None;
        Err(ended.code())
    }

    /// Runs the daemon under another command until it ends by itself; `None` where there is no such command.
    pub(crate) async fn run_under(&self, words: &[&str]) -> Option<Option<i32>> {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(env!("CARGO_BIN_EXE_rekeyd")).arg("--config").arg(self.config()).arg("run");
        command.env("RUST_LOG", "info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let mut daemon = command.spawn().ok()?;
        let ended = tokio::time::timeout(self.patience, daemon.wait()).await;
        Some(ended.unwrap_or_else(|_| panic!("the daemon did not end:\n{}", self.tail())).unwrap().code())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap(), signal).unwrap();
    }

    /// Waits until the daemon has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().unwrap();
        let ended = tokio::time::timeout(self.patience, daemon.wait()).await;
        let state = || fs::read_to_string(format!("/proc/{}/status", daemon.id().unwrap_or_default()));
        ended.unwrap_or_else(|_| panic!("the daemon did not end:\n{:?}\n{}", state(), self.tail())).unwrap()
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.ended().await.code(), None);
    }

    /// TERM: the daemon ends well.
    pub(crate) async fn stop(&mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ended().await.code(), Some(0), "{}", self.tail());
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&World::control_socket(self.dir.path())).unwrap()
    }

    /// What the daemon says of itself and of its keys, but for [the pace of its disk](tells_of_the_pace).
    pub(crate) async fn status(&self) -> Status {
        let status = self.client().status().await;
        let mut status = status.unwrap_or_else(|it| panic!("{it}:\n{}", self.tail()));
        status.daemon.troubles.retain(|it| !tells_of_the_pace(it));
        status
    }

    pub(crate) async fn key(&self, key: &str) -> KeyStatus {
        self.client().key(key).await.unwrap_or_else(|it| panic!("{it}:\n{}", self.tail()))
    }

    /// Waits until a key is so.
    pub(crate) async fn until(&self, key: &str, what: &str, holds: impl Fn(&KeyStatus) -> bool) -> KeyStatus {
        let wait = async {
            loop {
                let status = self.key(key).await;
                if holds(&status) {
                    return status;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        match tokio::time::timeout(self.patience, wait).await {
            Ok(status) => status,
            Err(_) => panic!("{key} never was {what}: {:#?}\n{}", self.key(key).await, self.tail()),
        }
    }

    /// Waits until a key is in this phase.
    pub(crate) async fn until_phase(&self, key: &str, phase: PhaseName) -> KeyStatus {
        self.until(key, phase.word(), |it| it.phase == phase).await
    }

    /// Waits until a key is steady at this version, with no old one left.
    pub(crate) async fn until_version(&self, key: &str, version: u32) -> KeyStatus {
        let at_rest = |it: &KeyStatus| it.phase == PhaseName::Steady && number(it) == version;
        self.until(key, &format!("steady at version {version}"), at_rest).await
    }

    /// Waits until each key of the world is steady, with no old one left.
    pub(crate) async fn until_rest(&self) {
        for service in &self.world.services {
            self.until_phase(World::key_name(*service), PhaseName::Steady).await;
        }
    }

    /// Waits until something outside the daemon is so.
    pub(crate) async fn until_true(&self, what: &str, holds: impl Fn() -> bool) {
        let wait = async {
            while !holds() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let done = tokio::time::timeout(self.patience, wait).await;
        assert!(done.is_ok(), "never came true: {what}\n{}", self.tail());
    }

    /// Waits until no notice is on its way.
    pub(crate) async fn until_told(&self) {
        self.until_pending(0).await;
    }

    /// Waits until no more notices than these are on their way.
    pub(crate) async fn until_pending(&self, most: u64) {
        let wait = async {
            while self.status().await.daemon.outbox_pending > most {
                tokio::time::sleep(PAUSE).await;
            }
        };
        assert!(tokio::time::timeout(self.patience, wait).await.is_ok(), "notices stayed:\n{}", self.tail());
    }

    /// Runs one command line of the binary.
    pub(crate) async fn cli(&self, args: &[&str]) -> Said {
        self.cli_with(args, "").await
    }

    /// Runs one command line of the binary with this on stdin.
    pub(crate) async fn cli_with(&self, args: &[&str], stdin: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeyd"));
        command.arg("--config").arg(self.config()).args(args).kill_on_drop(true);
        command.arg("--socket").arg(World::control_socket(self.dir.path()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that is refused ends without having read it.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes()).await;
        let said = tokio::time::timeout(self.patience, child.wait_with_output()).await.unwrap().unwrap();
        let text = |it: Vec<u8>| String::from_utf8(it).unwrap();
        Said { code: said.status.code(), out: text(said.stdout), err: text(said.stderr) }
    }

    /// Runs a command that is to succeed.
    pub(crate) async fn ok(&self, args: &[&str]) -> String {
        let said = self.cli(args).await;
        assert_eq!(said.code, Some(0), "{args:?}: {}{}\n{}", said.out, said.err, self.tail());
        said.out
    }

    pub(crate) async fn rotate(&self, key: &str) {
        self.ok(&["rotate", "--now", key]).await;
    }

    /// The end of the daemon's log.
    pub(crate) fn tail(&self) -> String {
        let log = self.log();
        let from = log.len().saturating_sub(LOG_SHOWN);
        String::from_utf8_lossy(&log.as_bytes()[from..]).into_owned()
    }
}

impl Drop for Rig {
    /// The daemon has ended before its folder is removed: what it writes meanwhile would keep the folder there for good.
    fn drop(&mut self) {
        let Some(daemon) = &mut self.daemon else { return };
        // It may have ended already.
        let _ = daemon.start_kill();
        let began = Instant::now();
        while matches!(daemon.try_wait(), Ok(None)) && began.elapsed() < DIES_WITHIN {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The wall clock of this command is ahead by as many seconds as stand in a file; the clocks that never jump go on as they are.
fn fake_clock(command: &mut Command, by: &Path) {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|it| it.unwrap().path().join("faketime/libfaketimeMT.so.1"));
    let library = folders
        .into_iter()
        .find(|it| it.exists())
        .unwrap_or_else(|| panic!("the package faketime: tests/run installs it"));
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", by).env("FAKETIME_NO_CACHE", "1");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
}

/// The number of the version in use; 0 where there is none.
pub(crate) fn number(key: &KeyStatus) -> u32 {
    key.current.as_ref().map_or(0, |it| it.version)
}

/// What `status` shows of a secret.
pub(crate) fn fingerprint(secret: &str) -> String {
    Secret::from(secret.to_owned()).fingerprint().to_string()
}

/// Puts a copy of everything in a folder into another, and nothing else.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// A moment so long ago, as the command line takes it.
pub(crate) fn ago(how_long: Duration) -> String {
    rekeyd::clock::now().minus(how_long).to_string()
}

/// The fields of a window that opens every five minutes for a moment, but not within the next two.
pub(crate) fn opens_later() -> String {
    let minutes = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 60;
    let opens: Vec<_> = (0..12).map(|nth| ((minutes + 3) % 5 + nth * 5).to_string()).collect();
    format!("open = \"{} * * * *\"\nduration = \"10s\"", opens.join(","))
}

/// Replaces a file at once, with the mode that it had: one that is cut short first is healed as an empty one in between.
pub(crate) fn write(path: &Path, content: &str) {
    let beside = path.with_extension("being-written");
    fs::write(&beside, content).unwrap();
    if let Ok(before) = fs::metadata(path) {
        fs::set_permissions(&beside, before.permissions()).unwrap();
    }
    fs::rename(&beside, path).unwrap();
}

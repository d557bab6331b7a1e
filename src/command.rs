//! Runs a command without harm to us: no shell, a clean environment, a process group of its own that ends with us, and a
//! limit on how long it may take and on what we keep of what it says.
mod mask;

pub use mask::{Unknown, Veil};

use crate::humane::HumanDuration;
use crate::secret::Secret;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde::Deserialize;
use std::path::Path;
use std::pin::{Pin, pin};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{sleep, timeout};

/// What of our own environment a command gets to see.
const INHERITED: [&str; 3] = ["PATH", "LANG", "HOME"];
/// How much of the end of what a command says is kept, in bytes.
const SAID_BYTES: usize = 4096;
/// How many of its last lines are told.
const SAID_LINES: usize = 10;
/// How long a command that took too long has to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// How often we look whether it has.
const POLL: Duration = Duration::from_millis(10);
/// How long we go on listening when the command has ended, but a process that it left behind holds its pipes.
const LINGER: Duration = Duration::from_millis(500);

/// A program by its absolute path, and its arguments.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Argv(Vec<String>);

impl Argv {
    /// The program and its arguments, which must be there and sound.
    ///
    /// # Errors
    /// What is wrong with them, and the remedy.
    pub fn new(words: Vec<String>) -> Result<Self, String> {
        let Some(program) = words.first() else {
            return Err("a command needs at least its program, such as [\"/usr/local/bin/hook\"]".into());
        };
        if !program.starts_with('/') {
            return Err(format!("{program:?}: a command is named by its absolute path; try: command -v {program}"));
        }
        if words.iter().any(|it| it.contains('\0')) {
            return Err("a command can't have a NUL byte in it".into());
        }
        Ok(Self(words))
    }

    /// As it is told to people and used in a target's identity: the words, with a space between.
    pub fn joined(&self) -> String {
        self.0.join(" ")
    }

    /// Says whether the program is there and can be run.
    ///
    /// # Errors
    /// Why not, with the program and the remedy.
    pub fn check(&self) -> Result<(), String> {
        let program = Path::new(self.program());
        let failed = |why: String| Err(format!("{}: {why}", program.display()));
        match std::fs::metadata(program) {
            Err(error) => failed(error.to_string()),
            Ok(found) if !found.is_file() => failed("not a program".into()),
            Ok(_) if rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_err() => {
                failed(format!("can't be run; try: chmod +x {}", program.display()))
            }
            Ok(_) => Ok(()),
        }
    }

    fn program(&self) -> &str {
        &self.0[0]
    }
}

impl TryFrom<Vec<String>> for Argv {
    type Error = String;
    fn try_from(words: Vec<String>) -> Result<Self, String> {
        Self::new(words)
    }
}

/// Why a command did not do its work. What it said on stderr is cut to its end, and the secret in it is masked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("{program}: can't be started: {source}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It ended with another exit code than 0, or by a signal.
    #[error("{program}: {status}{stderr}")]
    Failed {
        /// Which.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said last.
        stderr: String,
    },
    /// It took too long and was ended, with everything that it started in its process group.
    #[error("{program}: was ended after {}{stderr}", HumanDuration(*.after))]
    TimedOut {
        /// Which.
        program: String,
        /// How long it had.
        after: Duration,
        /// What it said last.
        stderr: String,
    },
    /// Nobody can say how it ended.
    #[error("{program}: can't be waited for: {source}")]
    Lost {
        /// Which.
        program: String,
        /// Why.
        source: std::io::Error,
    },
}

/// One run of a command. What it should know it learns from its environment; what it should have it gets on stdin.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// What to run.
    pub argv: &'a Argv,
    /// How long it may take.
    pub limit: Duration,
    /// What it finds in its environment, beside what every command does.
    pub env: Vec<(&'static str, String)>,
    /// What it gets on stdin; none for an empty one.
    pub stdin: Option<&'a Secret>,
    /// What it was given to know, and is masked in what it says.
    pub hidden: Vec<&'a Secret>,
    /// Whatever else is masked there.
    pub veil: Veil,
}

/// What of a command is listened to.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Ear {
    Stdout,
    Stderr,
}

impl Run<'_> {
    /// Runs it to its end. Exit code 0 is success, whatever the command did with its stdin: one that closes it early and
    /// then succeeds has decided by itself that it needs no more. Dropping the future kills the whole process group.
    ///
    /// # Errors
    /// Where it did not end with exit code 0 in time.
    pub async fn run(self) -> Result<(), CommandError> {
        self.hear(Ear::Stderr).await.map(drop)
    }

    /// Runs it for what it writes to stdout: its last lines, masked.
    ///
    /// # Errors
    /// As for [`Run::run`].
    pub async fn read(self) -> Result<Vec<String>, CommandError> {
        let said = self.hear(Ear::Stdout).await?;
        Ok(self.lines(said).await)
    }

    async fn hear(&self, ear: Ear) -> Result<Tail, CommandError> {
        let program = || self.argv.program().to_owned();
        fail_point!(CommandBegins);
        let mut group = self.spawn(ear).map_err(|source| CommandError::Start { program: program(), source })?;
        fail_point!(CommandStarted);
        let stdin = group.0.stdin.take();
        let heard: Option<Pin<Box<dyn AsyncRead + Send>>> = match ear {
            Ear::Stdout => group.0.stdout.take().map(|it| Box::pin(it) as _),
            Ear::Stderr => group.0.stderr.take().map(|it| Box::pin(it) as _),
        };
        let mut said = Tail::default();
        let ended = {
            let mut talk = pin!(async { tokio::join!(feed(stdin, self.stdin), said.listen(heard)) });
            let ended = timeout(self.limit, async {
                tokio::select! {
                    status = group.0.wait() => (status, false),
                    _ = &mut talk => (group.0.wait().await, true),
                }
            });
            let ended = ended.await;
            if let Ok((_, false)) = ended {
                // A silent process left behind may hold the pipes for ever; that does not concern this command's end.
                let _ = timeout(LINGER, talk).await;
            }
            ended.map(|(status, _)| status)
        };
        fail_point!(CommandEnds);
        match ended {
            Ok(Ok(status)) if status.success() => Ok(said),
            Ok(Ok(status)) => Err(CommandError::Failed { program: program(), status, stderr: self.tell(said).await }),
            Ok(Err(source)) => Err(CommandError::Lost { program: program(), source }),
            Err(_) => {
                group.end().await;
                Err(CommandError::TimedOut { program: program(), after: self.limit, stderr: self.tell(said).await })
            }
        }
    }

    async fn tell(&self, said: Tail) -> String {
        let last = self.lines(said).await;
        if last.is_empty() { ", with nothing on stderr".into() } else { format!(": {}", last.join(" | ")) }
    }

    /// The last lines that are not blank, masked.
    async fn lines(&self, said: Tail) -> Vec<String> {
        let start = said.bytes.len().saturating_sub(SAID_BYTES);
        let own = self.hidden.iter().map(|it| (*it).clone()).collect();
        let told = mask::told(said.bytes, start, own, self.veil.clone()).await;
        let lines: Vec<_> = told.lines().map(str::trim_end).filter(|it| !it.is_empty()).collect();
        lines[lines.len().saturating_sub(SAID_LINES)..].iter().map(|it| (*it).to_owned()).collect()
    }

    fn spawn(&self, ear: Ear) -> std::io::Result<Group> {
        let mut command = Command::new(self.argv.program());
        command.args(&self.argv.0[1..]).current_dir("/").env_clear();
        command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        let listened = |it| if it == ear { Stdio::piped() } else { Stdio::null() };
        command.stdout(listened(Ear::Stdout)).stderr(listened(Ear::Stderr));
        command.process_group(0).kill_on_drop(true);
        command.spawn().map(Group)
    }
}

/// Writes to the command what it should have, as far as it takes it. That it stops reading is told by its exit code, if it
/// matters.
async fn feed(stdin: Option<ChildStdin>, what: Option<&Secret>) {
    if let (Some(mut stdin), Some(what)) = (stdin, what) {
        let _ = stdin.write_all(what.expose()).await;
    }
}

/// A command with everything that it started, as long as that stays in its process group. Ends with its owner.
struct Group(Child);

impl Group {
    /// Asks the group to end, then makes it. The leader is not reaped in between, so that its number, which is the
    /// group's, can't come to mean another process.
    async fn end(&mut self) {
        self.signal(Signal::TERM);
        let _ = timeout(GRACE, self.exited()).await;
        self.signal(Signal::KILL);
        let _ = timeout(GRACE, self.0.wait()).await;
    }

    async fn exited(&self) {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while let Some(pid) = self.pid() {
            match waitid(WaitId::Pid(pid), look) {
                Ok(None) => sleep(POLL).await,
                Ok(Some(_)) | Err(_) => return,
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill_process_group(pid, signal);
        }
    }

    /// The leader, which is also the group, until it is reaped.
    fn pid(&self) -> Option<Pid> {
        self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// The end of what a command says.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    /// A little more than is told is kept, so that a secret is recognised even where the cut goes through it.
    const KEPT: usize = SAID_BYTES + mask::RUN;

    async fn listen(&mut self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut chunk = [0; 1024];
        while let Ok(n @ 1..) = from.read(&mut chunk).await {
            self.bytes.extend_from_slice(&chunk[..n]);
            self.bytes.drain(..self.bytes.len().saturating_sub(Self::KEPT));
        }
    }
}

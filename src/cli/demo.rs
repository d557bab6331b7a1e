//! `rekeyd demo`: the very same daemon against the four services simulated on this machine, with keys that live for half
//! a minute, and one answer that is lost on purpose.
mod consumer;
mod timeline;

use crate::clock;
use crate::core::time::Timestamp;
use crate::engine::handle::{Handle, History, Request, Snapshot, Stopped};
use crate::simulator::{Behaviour, Call, Fault, Options, Service, Simulator, World, write_config};
use anyhow::Context as _;
use consumer::Consumer;
use std::fs;
use std::future::Future;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;
use timeline::Timeline;
use tokio_util::sync::CancellationToken;

/// How long the demo takes at most, before it gives up.
const LIMIT: Duration = Duration::from_secs(55);
/// How long the daemon may take to stop, so that the whole ends within a minute.
const STOP_WITHIN: Duration = Duration::from_secs(4);
/// How often consumers use their keys, and the timeline is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often the daemon is asked what it did, in looks.
const ASK_EVERY: u32 = 4;
/// How long the simulated services take to answer, in milliseconds: this long, and up to as much again.
const LATENCY_MS: u64 = 80;
/// How many versions of each key must have reached its consumer before the demo has shown its point.
const VERSIONS: usize = 2;

/// What `rekeyd demo` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Go on until interrupted, instead of ending after each key was rotated once
    #[arg(long)]
    pub keep_running: bool,
}

/// A daemon that was started for the demo.
#[derive(Debug)]
pub struct Running {
    /// How to ask it.
    pub handle: Handle,
    /// Ends it; also cancelled when the user interrupts.
    pub stop: CancellationToken,
    /// Yields when it has ended.
    pub ended: tokio::task::JoinHandle<anyhow::Result<()>>,
}

/// Runs the demo. `start` starts the daemon on a config file.
///
/// # Errors
/// Where the simulation or the daemon can't be started, or where not everything came to pass in time.
pub async fn run<F>(args: &Args, out: &mut (dyn Write + Send), start: impl FnOnce(PathBuf) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<Running>>,
{
    let folder = Folder::create()?;
    let simulator = Simulator::start(options()).await.context("the simulation can't listen on 127.0.0.1")?;
    let config = write_config(&folder.0, &simulator, &World::default())?;
    introduce(out, &simulator, &folder)?;
    let mut show = Show::new(&simulator, &folder);
    let daemon = start(config).await.context("the daemon can't be started")?;
    let shown = show.go_on(args, out, &daemon).await;
    daemon.stop.cancel();
    let ended = tokio::time::timeout(STOP_WITHIN, daemon.ended).await.context("the daemon does not stop")?;
    let ended = ended.context("the daemon broke down")?;
    let complete = shown?;
    ended?;
    show.summarise(out)?;
    // Who interrupts a demo that was to keep running has seen enough.
    if complete || args.keep_running {
        return Ok(());
    }
    anyhow::bail!("not everything came to pass within {} s; the machine may be too busy, try again", LIMIT.as_secs())
}

fn options() -> Options {
    let behaviour = |service| Behaviour {
        latency_ms: LATENCY_MS,
        jitter_ms: LATENCY_MS,
        lifetime_ms: 60_000,
        ..Behaviour::documented(service)
    };
    let behaviours = Service::ALL.into_iter().map(|it| (it, behaviour(it))).collect();
    Options { seed: 0, behaviours, admin: false }
}

fn introduce(out: &mut (dyn Write + Send), simulator: &Simulator, folder: &Folder) -> std::io::Result<()> {
    writeln!(out, "Four key-issuing services, simulated on this machine; keys live for half a minute.")?;
    for service in Service::ALL {
        writeln!(out, "  {:<14} {}", World::key_name(service), simulator.url(service))?;
    }
    writeln!(out, "  mail to 127.0.0.1:{}, webhooks to {}", simulator.mail().port(), simulator.hook().url())?;
    writeln!(out, "  config, state and key files in {}", folder.0.display())?;
    let config = folder.0.join("rekeyd.toml");
    writeln!(out, "  in another terminal: rekeyd --config {} status\n", config.display())
}

/// What is shown while the daemon runs.
struct Show<'a> {
    simulator: &'a Simulator,
    timeline: Timeline,
    consumers: Vec<Consumer>,
    begun: Timestamp,
    fault_planned: bool,
}

impl<'a> Show<'a> {
    fn new(simulator: &'a Simulator, folder: &Folder) -> Self {
        let begun = clock::now();
        let consumer = |service| Consumer::new(service, World::key_file(&folder.0, World::key_name(service)));
        let consumers = Service::ALL.into_iter().map(consumer).collect();
        Self { simulator, timeline: Timeline::default(), consumers, begun, fault_planned: false }
    }

    /// Shows what happens until everything has; `false` where it has not when the time is over, or on an interrupt.
    async fn go_on(&mut self, args: &Args, out: &mut (dyn Write + Send), daemon: &Running) -> anyhow::Result<bool> {
        let mut looks: u32 = 0;
        loop {
            let now = clock::now();
            self.consumers.iter_mut().for_each(|it| it.work(self.simulator.truth(), now));
            self.plan_fault();
            if looks.is_multiple_of(ASK_EVERY) {
                if let Ok((snapshot, history)) = ask(&daemon.handle).await {
                    self.timeline.daemon(&snapshot, &history);
                }
                self.timeline.world(self.simulator);
                self.timeline.print(out, self.begun)?;
            }
            looks = looks.wrapping_add(1);
            let complete = self.is_complete();
            if !args.keep_running && (complete || now.since(self.begun) > LIMIT) {
                return Ok(complete);
            }
            tokio::select! {
                () = daemon.stop.cancelled() => return Ok(complete),
                // A daemon that broke down shows nothing more; its own error is reported.
                () = daemon.handle.requests.closed() => return Ok(complete),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// The answer to the second key at Infobip is lost: the service makes the key, and the daemon isn't told.
    fn plan_fault(&mut self) {
        let delivered = self.consumers.iter().any(|it| it.service == Service::Infobip && it.versions() > 0);
        if delivered && !self.fault_planned {
            self.fault_planned = true;
            self.simulator.fault(Service::Infobip, Call::Create, Fault::LostAnswer);
        }
    }

    /// Whether each consumer has had its new key, and Infobip's old and lost keys are revoked.
    fn is_complete(&self) -> bool {
        let rotated = self.consumers.iter().all(|it| it.versions() >= VERSIONS);
        rotated && self.simulator.truth().live(Service::Infobip).len() == 1 && !self.simulator.mail().mails().is_empty()
    }

    fn summarise(&self, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
        writeln!(out, "\n{}", consumer::table(&self.consumers, self.simulator.truth()))?;
        let (mails, hooks) = (self.simulator.mail().mails().len(), self.simulator.hook().requests().len());
        writeln!(out, "The owner got {mails} mails and {hooks} webhooks. Next: rekeyd init --dir DIR")
    }
}

async fn ask(handle: &Handle) -> Result<(Snapshot, History), Stopped> {
    let snapshot = handle.ask(Request::Snapshot).await?;
    let history = handle.ask(|reply| Request::History { name: None, since: None, until: None, reply }).await?;
    Ok((snapshot, history.unwrap_or_default()))
}

/// The demo's folder: private, and removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn create() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("rekeyd-demo-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("can't create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed lies in the temporary folder and holds no secret of value.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_demo_s_config_has_neither_fault_nor_warning() {
        let simulator = Simulator::start(options()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        for managed_login in [false, true] {
            let world = World { managed_login, ..World::default() };
            let config = write_config(dir.path(), &simulator, &world).unwrap();
            let loaded = crate::config::load(&config).unwrap();
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        }
    }

    #[tokio::test]
    async fn an_interrupted_demo_ends_its_daemon_and_sums_up() {
        let mut out = Vec::new();
        let start = async |config: PathBuf| {
            assert!(config.exists());
            let (requests, _) = tokio::sync::mpsc::channel(1);
            let stop = CancellationToken::new();
            stop.cancel();
            let ended = tokio::spawn(async { Ok(()) });
            Ok(Running { handle: Handle { requests }, stop, ended })
        };
        run(&Args { keep_running: true }, &mut out, start).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        for service in Service::ALL {
            assert!(text.matches(World::key_name(service)).count() >= 2, "{text}");
        }
    }
}

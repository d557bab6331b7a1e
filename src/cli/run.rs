//! `rekeyd run`: the daemon, in the foreground. Config, engine, control socket, then whatever the signals ask for.
use super::exit::{Exit, Failure};
use super::{Cli, demo};
use crate::clock;
use crate::config::{self, Loaded};
use crate::control::problem::{Fault, Problem};
use crate::control::server::{BindError, Load, Server, reload};
use crate::credentials;
use crate::engine::handle::{Handle, Request};
use crate::engine::{self, Begin, EngineTask, StartError};
use crate::service::{self, Asked, STOP_WITHIN, Signals};
use crate::standing::summary;
use crate::store::{self, Opened, Site, Store, StoreError};
use crate::systemd;
use crate::web::{self, Listener};
use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

/// How long a start waits before it tries again to open a state on a disk that is full or can't be written.
const OPEN_AGAIN: Duration = Duration::from_secs(5);
/// How much longer than the calls in flight the end of the process may take.
const STOP_MARGIN: Duration = Duration::from_secs(10);
/// How often systemd is told anew how the daemon stands,
const TELL_EVERY: Duration = Duration::from_secs(5);
/// where that takes no more than this part of the time.
const TELLING_SHARE: u32 = 100;

/// What no restart helps against: after these systemd leaves the daemon at that (`RestartPreventExitStatus=` of its unit).
const FINAL: [Exit; 4] = [Exit::Usage, Exit::Io, Exit::NotPermitted, Exit::Config];

pub(super) fn run(cli: &Cli) -> Result<Exit, Failure> {
    let directives = std::env::var("RUST_LOG").ok();
    let stream = std::env::var("JOURNAL_STREAM").ok();
    let log = service::log(cli.verbose, directives.as_deref(), stream.as_deref());
    service::harden();
    let passed = credentials::passed().map_err(|it| Failure::new(Exit::CannotCreate, format!("LISTEN_FDS: {it}")))?;
    let ended = match &log {
        Ok(_) => daemon(cli, passed.as_ref()),
        Err(it) => Err(Failure::new(Exit::Usage, it.to_string())),
    };
    if let (Err(failed), Some(socket)) = (&ended, passed)
        && FINAL.contains(&failed.exit)
    {
        refuse_waiting(&socket, failed.exit.code());
    }
    ended
}

/// Where the command line itself is wrong, and this is to be the exit code, there is no daemon that could refuse whoever waits.
pub(super) fn refuse_whoever_waits(code: u8) {
    if let Ok(Some(socket)) = credentials::passed() {
        refuse_waiting(&socket, code);
    }
}

/// A unit that waits for its key would have systemd start the daemon again as soon as it has ended: it fails instead.
fn refuse_waiting(socket: &UnixListener, code: u8) {
    let why = format!("rekeyd does not come up (exit code {code}), and its last line says why");
    systemd::waiting(&why, credentials::REFUSE_WITHIN);
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(credentials::refuse_waiting(socket, &why)),
        Err(error) => tracing::error!(%error, "who waits at the credential socket can't be refused"),
    }
}

fn daemon(cli: &Cli, passed: Option<&UnixListener>) -> Result<Exit, Failure> {
    let passed = passed.map(UnixListener::try_clone).transpose()?;
    let path = cli.config.clone();
    let load: Load = Arc::new(move || load(&path));
    let begin = begin(&cli.config, &load)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|it| Failure::new(Exit::Internal, format!("no runtime: {it}")))?;
    let ended = runtime.block_on(serve(begin, load, passed));
    // What still runs after a second TERM is not waited for: everything that counts is durable.
    runtime.shutdown_background();
    ended
}

/// The config on disk; where that has faults, the last good one, if there is one.
fn begin(path: &Path, load: &Load) -> Result<Begin, Failure> {
    let faults = match load() {
        Ok(loaded) => return Ok(Begin { loaded, rejected: None }),
        Err(faults) => faults,
    };
    let problem = Problem::config(faults);
    let kept = store::kept_config(&config::state_dir(path)).map(|it| config::load_text(&it));
    match kept {
        Some(Ok(loaded)) => {
            let faults: Vec<_> = problem.faults.iter().map(ToString::to_string).collect();
            tracing::error!(%problem, ?faults, "started with the last good config; no rotation begins");
            Ok(Begin { loaded, rejected: Some(problem.with_first_fault()) })
        }
        Some(Err(why)) => {
            tracing::error!(%why, "the last good config can't be used either");
            Err(problem.into())
        }
        None => Err(problem.into()),
    }
}

/// How long the units that are held are refused before the process ends in haste.
const REFUSE_WITHIN: Duration = Duration::from_secs(2);

async fn serve(begin: Begin, load: Load, passed: Option<UnixListener>) -> Result<Exit, Failure> {
    let mut signals = Signals::new()?;
    let socket = begin.loaded.settings.daemon.control_socket.clone();
    let keys = begin.loaded.settings.keys.len();
    let stop = CancellationToken::new();
    let server = Server::bind(&socket).await?;
    let credentials = open_credentials(&begin, passed).await?;
    let listener = match begin.loaded.settings.daemon.listen {
        Some(address) => Some(Listener::bind(address).await?),
        None => None,
    };
    let Some(opened) = open_when_it_can(&begin, &mut signals).await? else { return Ok(Exit::Ok) };
    let (engine, mut worker) = engine::start(begin, opened, stop.clone()).await?;
    let desk = tokio::spawn(server.serve(engine.clone(), load.clone(), stop.clone()));
    let mut counter = tokio::spawn(serve_credentials(credentials, engine.clone(), stop.clone()));
    if let Some(listener) = listener {
        tracing::info!(address = %listener.address(), "metrics and health are served");
        tokio::spawn(listener.serve(engine.clone(), stop.clone()));
    }
    tell(&engine, systemd::ready).await;
    tokio::spawn(tell_on(engine.clone(), stop.clone()));
    tracing::info!(keys, socket = %socket.display(), "serving");
    let ended = attend(&mut signals, &engine, &load, &mut worker).await;
    systemd::stopping(STOP_WITHIN + STOP_MARGIN);
    stop.cancel();
    if let Err(failed) = ended {
        // A connection that ends with the process starts its unit with an empty key: each is refused in full first.
        drop(tokio::time::timeout(REFUSE_WITHIN, counter).await);
        return Err(failed);
    }
    let stopped = tokio::select! {
        stopped = tokio::time::timeout(STOP_WITHIN, async { (worker.await, desk.await, (&mut counter).await).0 }) => stopped,
        () = asked_to_stop(&mut signals) => {
            drop(tokio::time::timeout(REFUSE_WITHIN, &mut counter).await);
            tracing::warn!("stopped at once");
            return Ok(Exit::Ok);
        }
    };
    match stopped {
        Ok(Ok(Ok(()))) => tracing::info!("stopped"),
        Ok(failed) => return Err(broken(failed)),
        Err(_) => tracing::warn!("not everything ended in time; the next start goes on from what is durable"),
    }
    Ok(Exit::Ok)
}

/// Tells systemd how the daemon stands, as long as it serves.
async fn tell_on(engine: Handle, stop: CancellationToken) {
    let mut pause = TELL_EVERY;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let began = clock::Boot::now();
        tell(&engine, systemd::status).await;
        pause = TELL_EVERY.max(began.elapsed() * TELLING_SHARE);
    }
}

/// Tells it once. All keys are looked through for that, beside the runtime.
async fn tell(engine: &Handle, say: fn(&str)) {
    let Ok(snapshot) = engine.ask(Request::Snapshot).await else { return };
    drop(tokio::task::spawn_blocking(move || say(&summary(&snapshot))).await);
}

/// The socket at which units fetch their keys. From here on they wait there until they can be answered.
async fn open_credentials(begin: &Begin, passed: Option<UnixListener>) -> Result<Option<credentials::Server>, Failure> {
    let settings = &begin.loaded.settings;
    let server = credentials::Server::open(passed, settings.daemon.credential_socket.as_deref()).await?;
    let read = settings.keys.values().any(|it| it.policy.targets.iter().any(|it| !it.readers.is_empty()));
    if read && server.is_none() {
        tracing::error!(
            "units can't fetch their keys: stop rekeyd, start rekeyd-credential.socket and then rekeyd, or write credential_socket"
        );
    }
    Ok(server)
}

async fn serve_credentials(server: Option<credentials::Server>, engine: Handle, stop: CancellationToken) {
    if let Some(server) = server {
        server.serve(engine, stop).await;
    }
}

/// Does what the signals ask for, until they ask to stop. An engine that ends by itself is an error.
async fn attend(signals: &mut Signals, engine: &Handle, load: &Load, worker: &mut EngineTask) -> Result<(), Failure> {
    loop {
        let asked = tokio::select! {
            asked = signals.next() => asked,
            ended = &mut *worker => return Err(broken(ended)),
        };
        match asked {
            Asked::Stop => return Ok(()),
            // Beside the loop: a TERM must not wait for a slow disk.
            Asked::Reload => drop(tokio::spawn(reload_and_tell(engine.clone(), load.clone()))),
            // Where the queue is full, the engine has been asked already.
            Asked::Sweep => drop(engine.requests.try_send(Request::Sweep)),
        }
    }
}

/// The engine ended by itself: where the state could not be written, nothing more is done until a restart.
fn broken(ended: Result<Result<(), StoreError>, JoinError>) -> Failure {
    match ended {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) => Failure::new(Exit::Internal, "the engine ended by itself; see the log"),
        Err(error) => Failure::new(Exit::Internal, format!("the engine broke down: {error}")),
    }
}

async fn reload_and_tell(engine: Handle, load: Load) {
    match reload(&engine, &load, false, None).await {
        Ok(done) => tracing::info!("{}", done.message),
        Err(problem) => {
            let faults: Vec<_> = problem.faults.iter().map(ToString::to_string).collect();
            tracing::error!(%problem, ?faults, "the config on disk is not used");
        }
    }
}

async fn asked_to_stop(signals: &mut Signals) {
    while signals.next().await != Asked::Stop {}
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        let exit = match error {
            BindError::InUse(_) => Exit::TryLater,
            BindError::NoSocket(_) | BindError::Io { .. } => Exit::CannotCreate,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<web::BindError> for Failure {
    fn from(error: web::BindError) -> Self {
        Self::new(Exit::CannotCreate, error.to_string())
    }
}

/// Reads the config from disk. Its warnings are logged, its faults are the caller's.
fn load(path: &Path) -> Result<Loaded, Vec<Fault>> {
    let loaded = config::load(path).map_err(|it| it.faults.into_iter().map(Fault::from).collect::<Vec<_>>())?;
    for it in &loaded.warnings {
        tracing::warn!("{it}");
    }
    Ok(loaded)
}

/// Opens the state. Where the disk is full or can't be written it waits until it can, for a restart would find it no
/// better; `None` where it is asked to stop meanwhile.
async fn open_when_it_can(begin: &Begin, signals: &mut Signals) -> Result<Option<Opened>, Failure> {
    loop {
        let why = match open(begin)? {
            Ok(opened) => return Ok(Some(opened)),
            Err(why) if why.may_pass() => why,
            Err(why) => return Err(why.into()),
        };
        tracing::error!(%why, "the state can't be opened yet");
        systemd::waiting(&format!("the state can't be opened yet: {why}"), 2 * OPEN_AGAIN);
        tokio::select! {
            () = tokio::time::sleep(OPEN_AGAIN) => {}
            () = asked_to_stop(signals) => return Ok(None),
        }
    }
}

fn open(begin: &Begin) -> Result<Result<Opened, StoreError>, Failure> {
    let settings = &begin.loaded.settings;
    let master = settings.daemon.master_key.resolve();
    let master = master.map_err(|it| Failure::new(Exit::Config, format!("daemon.master_key: {it}")))?;
    let machine = store::machine_id();
    let site = Site { dir: &settings.daemon.state_dir, machine: machine.as_deref(), reserve: settings.daemon.reserve };
    Ok(Store::open(site, &master, clock::now()))
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::InUse { .. } => Exit::TryLater,
            StoreError::Unwritable { .. } | StoreError::Poisoned { .. } => Exit::TryLater,
            StoreError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => Exit::NotPermitted,
            StoreError::Io { .. } => Exit::TryLater,
            StoreError::MasterKey(_) | StoreError::WrongMasterKey { .. } | StoreError::NewerFormat { .. } => {
                Exit::Config
            }
            _ => Exit::Io,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Store(error) => error.into(),
            StartError::Sweep(_) => Self::new(Exit::Config, error.to_string()),
        }
    }
}

/// `rekeyd demo`: the same engine, on a config that was made for it.
pub(super) fn demo(args: &demo::Args) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|it| Failure::new(Exit::Internal, format!("no runtime: {it}")))?;
    let shown = runtime.block_on(demo::run(args, &mut std::io::stdout(), start_demo));
    runtime.shutdown_background();
    shown.map(|()| Exit::Ok).map_err(|it| Failure::new(Exit::Attention, format!("{it:#}")))
}

async fn start_demo(config: PathBuf) -> anyhow::Result<demo::Running> {
    let loaded = config::load(&config).map_err(|it| anyhow::anyhow!("{it}"))?;
    let stop = CancellationToken::new();
    let server = Server::bind(&loaded.settings.daemon.control_socket).await?;
    let begin = Begin { loaded, rejected: None };
    let opened = open(&begin)??;
    let (handle, worker) = engine::start(begin, opened, stop.clone()).await?;
    let again: Load = Arc::new(move || load(&config));
    tokio::spawn(server.serve(handle.clone(), again, stop.clone()));
    let mut signals = Signals::new()?;
    let interrupted = stop.clone();
    tokio::spawn(async move {
        asked_to_stop(&mut signals).await;
        interrupted.cancel();
    });
    let ended = tokio::spawn(async { Ok(worker.await??) });
    Ok(demo::Running { handle, stop, ended })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_does_not_restart_what_refuses_whoever_waits() {
        let unit = include_str!("../../systemd/rekeyd.service");
        let left = unit.lines().find_map(|it| it.strip_prefix("RestartPreventExitStatus=")).unwrap();
        let wrong_command_line = 2;
        let codes = [wrong_command_line].into_iter().chain(FINAL.map(Exit::code));
        assert_eq!(left, codes.map(|it| it.to_string()).collect::<Vec<_>>().join(" "));
    }
}

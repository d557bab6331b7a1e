//! What the daemon is to a systemd that is played here: what it tells of itself, when its watchdog is fed, and what its process gave
//! up. tests/systemd/run shows the same on real ones.
use crate::mounts::{Mount, make_image};
use crate::rig::{PATIENCE, Rig, calm};
use rekeyd::simulator::Service;
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How long the watchdog of a test waits for a word.
const PATIENT_FOR: Duration = Duration::from_millis(1200);

/// The socket that systemd would hold out. It is read all the time, as a kernel keeps only a few words.
struct Systemd {
    path: PathBuf,
    words: UnboundedReceiver<(Instant, String)>,
}

impl Systemd {
    fn of(rig: &mut Rig) -> Self {
        let path = rig.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        rig.environment.push(("NOTIFY_SOCKET", path.display().to_string()));
        let (sender, words) = unbounded_channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length) = socket.recv(&mut bytes) {
                let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
                if sender.send((Instant::now(), said)).is_err() {
                    return;
                }
            }
        });
        Self { path, words }
    }

    /// The next word that is this one, and when it came; what comes before it is passed over. `None` where there is none in time.
    async fn next(&mut self, word: &str, within: Duration) -> Option<(Instant, String)> {
        let next = async {
            loop {
                let said = self.words.recv().await.unwrap();
                if is(&said.1, word) {
                    return said;
                }
            }
        };
        tokio::time::timeout(within, next).await.ok()
    }

    async fn hears(&mut self, word: &str, within: Duration) -> Option<String> {
        self.next(word, within).await.map(|it| it.1)
    }

    /// What was said so far, and was not heard yet: all that was sent before a word of our own.
    async fn said_so_far(&mut self) -> Vec<String> {
        const OURS: &str = "so far";
        UnixDatagram::unbound().unwrap().send_to(OURS.as_bytes(), &self.path).unwrap();
        let mut all = Vec::new();
        loop {
            let next = tokio::time::timeout(PATIENCE, self.words.recv()).await.unwrap().unwrap().1;
            if next == OURS {
                return all;
            }
            all.push(next);
        }
    }
}

fn is(said: &str, word: &str) -> bool {
    said.lines().any(|it| it.starts_with(word))
}

#[tokio::test]
async fn systemd_hears_of_the_start_of_a_reload_and_of_the_end() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let mut systemd = Systemd::of(&mut rig);
    rig.run().await;
    let said = systemd.hears("READY=1", PATIENCE).await.unwrap();
    assert!(said.contains("STATUS=1 key"), "{said}");
    rig.until_rest().await;
    let said = systemd.hears("STATUS=1 key, next rotation billing-sms in 1 hour", PATIENCE).await;
    assert!(said.is_some(), "how it stands is told anew");
    for good in [true, false] {
        if !good {
            rig.edit_config(|it| it + "\n[keys.broken]\n");
        }
        assert_eq!(rig.cli(&["reload"]).await.code, Some(if good { 0 } else { 78 }));
        let said = systemd.said_so_far().await;
        let begun = said.iter().position(|it| is(it, "RELOADING=1") && is(it, "MONOTONIC_USEC="));
        let ended = said.iter().rposition(|it| is(it, "READY=1"));
        assert!(begun.is_some() && begun < ended, "told before the answer: {said:?}");
    }
    rig.signal(Signal::TERM);
    let said = systemd.hears("STOPPING=1", PATIENCE).await.unwrap();
    assert!(said.contains("EXTEND_TIMEOUT_USEC=40000000"), "{said}");
    assert!(rig.ended().await.success());
}

#[tokio::test]
async fn the_watchdog_is_fed_by_the_engine_and_not_while_it_hangs_in_a_write() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let image = rig.path("image");
    if !make_image(&image) {
        println!("skipped: there is no mkfs.ext4");
        return;
    }
    let Some(_disk) = Mount::image(&image, &rig.path("state")) else { return };
    rig.edit_config(|it| it.replace("[daemon]\n", "[daemon]\nreserve = \"1MiB\"\n"));
    let mut systemd = Systemd::of(&mut rig);
    rig.environment.push(("WATCHDOG_USEC", PATIENT_FOR.as_micros().to_string()));
    rig.run().await;
    rig.until_rest().await;
    let fed = tokio::time::timeout(PATIENCE, fed_in_time(&mut systemd, 4)).await;
    assert!(fed.is_ok(), "it is fed in time while nothing is wrong:\n{}", rig.tail());
    let freeze =
        |how: &str| Command::new("fsfreeze").arg(how).arg(rig.path("state")).status().is_ok_and(|it| it.success());
    if !freeze("--freeze") {
        println!("skipped: the disk can't be made to hang");
        return;
    }
    let client = rig.client();
    let verb = tokio::spawn(async move { client.status().await });
    let pause = rig.cli(&["pause", "billing-sms"]);
    let hang = async {
        while systemd.hears("WATCHDOG=1", 2 * PATIENT_FOR).await.is_some() {}
        freeze("--unfreeze")
    };
    let (paused, thawed) = tokio::join!(pause, hang);
    assert!(thawed, "a disk that hangs must not stay so");
    assert_eq!(paused.code, Some(0), "{}", paused.err);
    drop(verb.await);
    assert!(systemd.hears("WATCHDOG=1", PATIENCE).await.is_some(), "it is fed again when the engine turns again");
    rig.stop().await;
}

/// Waits until the watchdog was fed so many times in a row before its patience ended. A busy machine may keep the engine from a
/// turn now and then; one that feeds it too seldom never gets there.
async fn fed_in_time(systemd: &mut Systemd, times: u32) {
    systemd.said_so_far().await;
    let (mut before, mut in_time) = (None, 0);
    while in_time < times {
        let (now, _) = systemd.next("WATCHDOG=1", PATIENCE).await.unwrap();
        in_time = if before.is_some_and(|it| now.duration_since(it) < PATIENT_FOR) { in_time + 1 } else { 0 };
        before = Some(now);
    }
}

/// As under a supervisor whose disk is full, or a pager that nobody scrolls.
#[tokio::test]
async fn a_stderr_that_nobody_reads_holds_nothing_up() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let (reader, writer) = std::io::pipe().unwrap();
    let mut fills = writer.try_clone().unwrap();
    // Whatever a pipe may hold, this one is full from some moment on.
    std::thread::spawn(move || while fills.write_all(&[b'x'; 4096]).is_ok() {});
    let mut daemon = rig.daemon_command();
    daemon.env("RUST_LOG", "trace").stderr(writer);
    rig.daemon = Some(daemon.spawn().unwrap());
    drop(daemon);
    rig.until_up(rig.patience).await;
    rig.until_version("billing-sms", 1).await;
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 2).await;
    rig.stop().await;
    drop(reader);
}

#[tokio::test]
async fn a_systemd_that_does_not_listen_holds_nothing_up() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let path = rig.path("notify");
    let _deaf = UnixDatagram::bind(&path).unwrap();
    let ours = UnixDatagram::unbound().unwrap();
    ours.set_nonblocking(true).unwrap();
    rig.environment.push(("NOTIFY_SOCKET", path.display().to_string()));
    rig.environment.push(("WATCHDOG_USEC", PATIENT_FOR.as_micros().to_string()));
    rig.run().await;
    rig.until_true("no word fits any more", || ours.send_to(b"one more", &path).is_err()).await;
    rig.until_version("billing-sms", 1).await;
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 2).await;
    rig.ok(&["reload"]).await;
    rig.stop().await;
}

#[tokio::test]
async fn the_process_writes_no_core_gains_no_privilege_and_makes_no_file_for_others() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.run().await;
    rig.until_rest().await;
    let proc = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", rig.pid())).unwrap();
    let limit = |what: &str| {
        let limits = proc("limits");
        let line = limits.lines().find(|it| it.starts_with(what)).unwrap();
        line[what.len()..].split_whitespace().next().unwrap().to_owned()
    };
    let status = proc("status");
    let field =
        |name: &str| status.lines().find_map(|it| it.strip_prefix(&format!("{name}:"))).unwrap().trim().to_owned();
    assert_eq!(limit("Max core file size"), "0");
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Umask"), "0077");
    // As root (CAP_IPC_LOCK), or without a limit, nothing of it is swapped out.
    let locked: u64 = field("VmLck").trim_end_matches(" kB").parse().unwrap();
    let may_lock = u64::from_str_radix(&field("CapEff"), 16).unwrap() & (1 << 14) != 0;
    assert_eq!(locked > 1024, may_lock || limit("Max locked memory") == "unlimited", "{locked} kB are locked");
    // It goes on: threads that begin later have their stacks.
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 2).await;
    rig.signal(Signal::ABORT);
    let ended = rig.ended().await;
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(6), false));
}

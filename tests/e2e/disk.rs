//! A disk that is full, read-only or failing under the running daemon, and a state that is damaged: nothing is created that
//! could not be recorded, nothing is lost silently, whoever looks after the daemon is told, and it goes on by itself.
use crate::chance::{Chance, from_environment};
use crate::damage;
use crate::listener::scrape;
use crate::mounts::{Mount, make_image};
use crate::rig::{PATIENCE, Rig, calm, copy_folder, number};
use crate::watch::Consumer;
use rekeyd::control::protocol::{DaemonState, DaemonStatus, PhaseName};
use rekeyd::simulator::{Call, Service};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const KEY: &str = "billing-sms";
const RESERVE: u64 = 8 * 1024 * 1024;
/// With less room than this behind its database the daemon writes nothing.
const ROOM_LEAST: u64 = 1024 * 1024;
/// How often the room behind the database is taken away before a test gives up.
const TAKEN_AGAIN: usize = 100;
/// How often the state is damaged; a long run sets `REKEYD_DAMAGES`.
const DAMAGES: u64 = 12;

/// A daemon whose state has a small disk of its own.
async fn on_a_small_disk() -> Option<(Rig, Mount)> {
    let rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let disk = Mount::memory(&rig.path("state"))?;
    rig.edit_config(|it| it.replace("[daemon]\n", "[daemon]\nreserve = \"8MiB\"\n"));
    Some((rig, disk))
}

async fn until_daemon(rig: &Rig, what: &str, holds: impl Fn(&DaemonStatus) -> bool) {
    let wait = async {
        while !holds(&rig.status().await.daemon) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, wait).await;
    assert!(done.is_ok(), "never {what}: {:?}\n{}", rig.status().await.daemon, rig.tail());
}

/// How often the owners of the daemon were told that the disk takes nothing.
fn told_of_the_disk(rig: &Rig, status: &str) -> usize {
    rig.own_notices("daemon.degraded", status).iter().filter(|it| it.contains("takes")).count()
}

/// Waits until the metrics say so of the daemon's own trouble.
async fn until_trouble(rig: &Rig, cause: &str, value: u8) {
    let sample = format!("rekeyd_daemon_trouble{{cause=\"{cause}\"}} {value}\n");
    let wait = async {
        while !scrape(rig).await.contains(&sample) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "never {sample}in\n{}", scrape(rig).await);
}

fn creates(rig: &Rig) -> u64 {
    rig.sim.truth().calls(Service::Infobip, Call::Create)
}

/// Takes away the room that the daemon keeps behind its database, as nothing but a fault could: the next write has none. A commit
/// that comes in between takes it back, so this is done until there is none.
pub(crate) fn take_room(rig: &Rig, disk: &Mount) {
    let db = rig.path("state").join("sled/db");
    let (length, room) = (|| fs::metadata(&db).unwrap().len(), || fs::metadata(&db).unwrap().blocks() * 512);
    for _ in 0..TAKEN_AGAIN {
        let punched =
            Command::new("fallocate").args(["-p", "-o", &length().to_string(), "-l", "32MiB"]).arg(&db).status();
        assert!(punched.unwrap().success());
        disk.fill();
        if room() < length() + ROOM_LEAST {
            return;
        }
    }
    panic!("the daemon takes its room again and again: {} bytes of {}\n{}", room(), length(), rig.tail());
}

#[tokio::test]
async fn a_full_disk_stops_creates_first_and_is_told_while_it_is_full() {
    let Some((mut rig, disk)) = on_a_small_disk().await else { return };
    rig.edit_config(|it| it.replace("[daemon]\n", "[daemon]\nlisten = \"127.0.0.1:0\"\n"));
    rig.run().await;
    rig.until_version(KEY, 1).await;
    rig.until_told().await;
    until_trouble(&rig, "reserve", 0).await;
    let consumer = Consumer::of(&rig, Service::Infobip);
    disk.fill();
    until_daemon(&rig, "degraded", |it| it.state == DaemonState::Degraded).await;
    rig.until_own_notice("daemon.degraded", "firing").await;
    assert!(rig.own_notices("daemon.degraded", "firing")[0].contains("daemon.reserve"));
    until_trouble(&rig, "reserve", 1).await;
    assert!(rig.log().contains("nothing is created: "), "{}", rig.tail());
    rig.rotate(KEY).await;
    let held = |it: &rekeyd::control::protocol::KeyStatus| it.blocked.as_ref().is_some_and(|it| it.reason == "store");
    rig.until(KEY, "held", held).await;
    assert_eq!(creates(&rig), 1, "nothing is created that might not be recorded");
    let shown = rig.cli(&["status"]).await.out;
    assert!(shown.contains("daemon.reserve"), "{shown}");
    disk.free();
    rig.until_version(KEY, 2).await;
    rig.until_own_notice("daemon.degraded", "resolved").await;
    until_trouble(&rig, "reserve", 0).await;
    rig.each_notice_came_once().await;
    consumer.never_held_a_dead_key();
    rig.every_live_key_is_known().await;
}

#[tokio::test]
async fn a_state_that_takes_nothing_is_told_from_memory_and_everything_waits_for_it() {
    let Some((mut rig, disk)) = on_a_small_disk().await else { return };
    rig.edit_config(|it| it.replace("[daemon]\n", "[daemon]\nlisten = \"127.0.0.1:0\"\n"));
    rig.run().await;
    rig.until_version(KEY, 1).await;
    rig.until_told().await;
    let consumer = Consumer::of(&rig, Service::Infobip);
    rig.sim.behave(Service::Infobip, |it| it.latency_ms = 1500);
    rig.rotate(KEY).await;
    rig.until_true("the create is sent", || creates(&rig) == 2 || rig.log().contains("create")).await;
    take_room(&rig, &disk);
    let stuck = |it: &DaemonStatus| it.troubles.iter().any(|it| it.contains("takes nothing more"));
    until_daemon(&rig, "held by the disk", stuck).await;
    until_trouble(&rig, "disk", 1).await;
    assert!(rig.log().contains("the state can't be written; what is to be recorded waits"), "{}", rig.tail());
    let told = |status| told_of_the_disk(&rig, status);
    rig.until_true("the owners of the daemon are told", || told("firing") == 1).await;
    let refused = rig.cli(&["pause", KEY]).await;
    assert_eq!(refused.code, Some(74), "{}{}", refused.out, refused.err);
    assert!(refused.err.contains("takes nothing more"), "{}", refused.err);
    rig.sim.behave(Service::Infobip, |it| it.latency_ms = 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(number(&rig.key(KEY).await), 1, "nothing is used that is not recorded");
    disk.free();
    rig.until_version(KEY, 2).await;
    rig.until_true("its end is told", || told("resolved") == 1).await;
    until_daemon(&rig, "well", |it| it.state == DaemonState::Ok && it.troubles.is_empty()).await;
    until_trouble(&rig, "disk", 0).await;
    rig.each_notice_came_once().await;
    consumer.never_held_a_dead_key();
    rig.every_live_key_is_known().await;
}

#[tokio::test]
async fn a_start_on_a_full_disk_serves_and_creates_nothing_until_there_is_room() {
    let Some((mut rig, disk)) = on_a_small_disk().await else { return };
    rig.run().await;
    rig.until_version(KEY, 1).await;
    rig.until_told().await;
    for _ in 0..2 {
        rig.kill().await;
        disk.fill();
        rig.run().await;
        assert_eq!(number(&rig.key(KEY).await), 1);
    }
    rig.rotate(KEY).await;
    until_daemon(&rig, "degraded", |it| it.state == DaemonState::Degraded).await;
    assert_eq!(creates(&rig), 1);
    disk.free();
    rig.until_version(KEY, 2).await;
    assert_eq!(fs::metadata(rig.path("state").join("reserve")).unwrap().len(), RESERVE);
}

#[tokio::test]
async fn a_start_without_any_room_waits_for_it_instead_of_ending() {
    let Some((mut rig, disk)) = on_a_small_disk().await else { return };
    rig.run().await;
    rig.until_version(KEY, 1).await;
    rig.stop().await;
    fs::remove_file(rig.path("state").join("reserve")).unwrap();
    disk.fill();
    let log = rig.path("log");
    let waits = || fs::read_to_string(&log).unwrap_or_default().contains("can't be opened yet");
    let free = async {
        while !waits() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        disk.free();
    };
    tokio::join!(rig.run(), free);
    rig.until_version(KEY, 1).await;
}

/// While the daemon has its files open the kernel makes no disk read-only that anybody could make writable again; a server's disk
/// can become so, and then each call says it. So the calls are answered as such a disk does.
#[tokio::test]
async fn a_disk_that_is_read_only_for_a_while_is_told_and_it_goes_on_by_itself() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.edit_config(|it| it.replace("[daemon]\n", "[daemon]\nlisten = \"127.0.0.1:0\"\n"));
    rig.run().await;
    rig.until_version(KEY, 1).await;
    rig.until_told().await;
    let consumer = Consumer::of(&rig, Service::Infobip);
    let Some(disk) = ReadOnly::under(&rig).await else { return println!("skipped: there is no strace here") };
    let first = rig.cli(&["rotate", "--now", KEY]).await;
    assert_eq!(first.code, Some(74), "{first:?}");
    assert!(first.err.contains("is done once the disk takes writes again"), "{}", first.err);
    let stuck = |it: &DaemonStatus| it.troubles.iter().any(|it| it.contains("Read-only file system"));
    until_daemon(&rig, "held by the disk", stuck).await;
    until_trouble(&rig, "disk", 1).await;
    let told = |status| told_of_the_disk(&rig, status);
    rig.until_true("the owners of the daemon are told", || told("firing") == 1).await;
    let refused = rig.cli(&["pause", KEY]).await;
    assert_eq!(refused.code, Some(74), "{}{}", refused.out, refused.err);
    let shown = rig.cli(&["status"]).await;
    assert!(shown.out.contains("make it writable"), "{shown:?}");
    assert_eq!(creates(&rig), 1, "nothing is created that could not be recorded");
    let pid = rig.pid();
    disk.end();
    rig.until_version(KEY, 2).await;
    rig.until_true("its end is told", || told("resolved") == 1).await;
    until_daemon(&rig, "well", |it| it.state == DaemonState::Ok && it.troubles.is_empty()).await;
    until_trouble(&rig, "disk", 0).await;
    assert_eq!(rig.pid(), pid, "nobody restarted it");
    rig.each_notice_came_once().await;
    consumer.never_held_a_dead_key();
    rig.every_live_key_is_known().await;
}

/// A disk that is read-only as long as this lives: no room can be taken on it, which comes before each write.
struct ReadOnly(Child);

impl ReadOnly {
    async fn under(rig: &Rig) -> Option<Self> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-e", "trace=fallocate", "-e", "inject=fallocate:error=EROFS"]);
        let strace = strace.args(["-p", &rig.pid().to_string()]).stderr(Stdio::null()).spawn().ok()?;
        let threads = format!("/proc/{}/task", rig.pid());
        let is_traced = |thread: fs::DirEntry| {
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            !status.contains("TracerPid:\t0\n")
        };
        let all_traced = || fs::read_dir(&threads).unwrap().flatten().all(is_traced);
        rig.until_true("every call is answered so", all_traced).await;
        Some(Self(strace))
    }

    /// It can be written again.
    fn end(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap();
    }
}

/// What an error of the device made read-only stays so until it is unmounted, which ends the daemon; a start waits until it is writable.
#[tokio::test]
async fn a_disk_that_an_error_made_read_only_is_told_and_a_start_on_it_waits_until_it_is_writable() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let image = rig.path("image");
    if !make_image(&image) {
        return println!("skipped: there is no mkfs.ext4 here");
    }
    let Some(disk) = Mount::image(&image, &rig.path("state")) else { return };
    rig.run().await;
    rig.until_version(KEY, 1).await;
    rig.until_told().await;
    if fs::write(format!("/sys/fs/ext4/{}/trigger_fs_error", disk.device()), "1").is_err() {
        return println!("skipped: this kernel makes no errors on demand");
    }
    let stuck = |it: &DaemonStatus| it.state == DaemonState::Degraded && !it.troubles.is_empty();
    until_daemon(&rig, "degraded", stuck).await;
    rig.until_own_notice("daemon.degraded", "firing").await;
    let _ = rig.cli(&["rotate", "--now", KEY]).await;
    assert_eq!(creates(&rig), 1);
    rig.kill().await;
    drop(disk);
    let disk = Mount::image(&image, &rig.path("state")).unwrap();
    assert!(disk.make("ro"));
    let log = rig.path("log");
    let waits = || fs::read_to_string(&log).unwrap_or_default().contains("can't be opened yet");
    let writable = async {
        while !waits() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(disk.make("rw"));
    };
    tokio::join!(rig.run(), writable);
    rig.rotate(KEY).await;
    rig.until_version(KEY, 2).await;
    rig.every_live_key_is_known().await;
}

#[tokio::test]
async fn a_sync_that_fails_ends_the_daemon_at_once_and_a_restart_loses_nothing() {
    for nth in [4, 6, 8] {
        let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
        let inject = format!("inject=fdatasync:error=EIO:when={nth}+");
        let strace = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", &inject];
        let Some(code) = rig.run_under(&strace).await else { return println!("skipped: there is no strace here") };
        assert_eq!(code, Some(75), "{}", rig.tail());
        assert!(rig.tail().contains("did not confirm a write"), "{}", rig.tail());
        rig.run().await;
        rig.until_version(KEY, 1).await;
        rig.every_live_key_is_known().await;
    }
}

/// What became of a start on a damaged state.
#[derive(Debug, Default)]
struct Fates {
    refused: u64,
    told: u64,
    well: u64,
}

#[tokio::test]
async fn a_damaged_state_is_refused_or_told_and_costs_no_consumer_its_key() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip, Service::SingleInvoice])).await;
    rig.run().await;
    for version in 1..=3 {
        rig.until_version(KEY, version).await;
        if version < 3 {
            rig.rotate(KEY).await;
        }
    }
    let mut base = keep(&mut rig).await;
    let (mut chance, mut fates) = (Chance::new(from_environment("REKEYD_SEED", 7)), Fates::default());
    let consumers = [Service::Infobip, Service::SingleInvoice].map(|it| Consumer::of(&rig, it));
    for round in 0..from_environment("REKEYD_DAMAGES", DAMAGES) {
        copy_folder(&rig.path("whole"), &rig.path("state"));
        let what = format!("round {round}, {}", damage::damage(&rig.path("state"), &mut chance));
        fs::write(rig.path("log"), "").unwrap();
        if let Err(code) = rig.try_run().await {
            assert_eq!(code, Some(74), "{what}: {}", rig.tail());
            assert!(rig.log().contains("restore FILE"), "{what}: {}", rig.tail());
            fates.refused += 1;
            continue;
        }
        let log = rig.log();
        if log.contains("every key is looked at before") || log.contains("the state was damaged") {
            // It compares with the world, or waits for a human who knows which key is in use.
            help(&rig).await;
            rig.every_live_key_is_known().await;
            base = keep(&mut rig).await;
            fates.told += 1;
        } else {
            assert_eq!(versions(&rig).await, base, "{what}: {log}");
            rig.kill().await;
            fates.well += 1;
        }
    }
    consumers.into_iter().for_each(Consumer::never_held_a_dead_key);
    println!("{fates:?}");
    assert!(fates.refused + fates.told > 0, "{fates:?}");
}

const KEYS: [&str; 2] = [KEY, "invoices"];

async fn versions(rig: &Rig) -> [u32; 2] {
    [number(&rig.key(KEYS[0]).await), number(&rig.key(KEYS[1]).await)]
}

/// Keeps a copy of the state at rest.
async fn keep(rig: &mut Rig) -> [u32; 2] {
    rig.until_rest().await;
    // What ended before it was sent is told as it ended and no more.
    let ended = || incidents(rig, "firing").is_subset(&incidents(rig, "resolved"));
    rig.until_true("every incident is over", ended).await;
    rig.until_told().await;
    let versions = versions(rig).await;
    rig.kill().await;
    copy_folder(&rig.path("state"), &rig.path("whole"));
    versions
}

/// The incidents of the daemon itself that were told of with this status.
fn incidents(rig: &Rig, status: &str) -> BTreeSet<String> {
    let notices = rig.notices().into_values().map(|(_, it)| it["data"].clone());
    let own = notices.filter(|it| it["key"].is_null() && it["status"] == status);
    own.map(|it| it["incident"].as_str().unwrap().to_owned()).collect()
}

/// Does what the notice says with each key that waits for a human.
async fn help(rig: &Rig) {
    for key in KEYS {
        let waits = |it: &rekeyd::control::protocol::KeyStatus| {
            matches!(it.phase, PhaseName::Steady | PhaseName::Halted | PhaseName::Unadopted)
        };
        let status = rig.until(key, "at an end", waits).await;
        if status.phase != PhaseName::Steady {
            let adopt = ["adopt", key, "--from-target", "--valid-to", "2126-01-02"];
            let said = rig.cli(&adopt[..3]).await;
            // Of a key whose record is lost nobody knows the date, where its provider reports none.
            if said.code != Some(0) {
                assert!(said.err.contains("--valid-to"), "{}", said.err);
                rig.ok(&adopt).await;
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_the_state_lost_halts_and_an_adoption_brings_it_back() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip, Service::SingleInvoice])).await;
    rig.until_told().await;
    rig.stop().await;
    lose_row(&rig, "secret/billing-sms/1").await;
    rig.run().await;
    let lost = rig.until_phase(KEY, PhaseName::Halted).await;
    assert_eq!(lost.halted.unwrap().reason, "damaged");
    rig.until_notice(KEY, "rotation.halted").await;
    rig.until_own_notice("daemon.degraded", "firing").await;
    let own = rig.own_notices("daemon.degraded", "firing");
    assert!(own.iter().any(|it| it.contains(KEY) && it.contains("restore FILE")), "{own:?}");
    assert_eq!(creates(&rig), 1);
    rig.until_version("invoices", 1).await;
    rig.ok(&["adopt", KEY, "--from-target"]).await;
    rig.until(KEY, "adopted", |it| it.phase == PhaseName::Steady && number(it) == 1).await;
    rig.rotate(KEY).await;
    rig.until_version(KEY, 2).await;
    let over = || rig.own_notices("daemon.degraded", "resolved").iter().any(|it| it.contains("looked after again"));
    rig.until_true("its end is told", over).await;
}

#[tokio::test]
async fn a_second_loss_is_told_though_the_first_is_not_answered() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip, Service::SingleInvoice])).await;
    rig.until_told().await;
    rig.stop().await;
    for (key, row) in [(KEY, "secret/billing-sms/1"), ("invoices", "secret/invoices/1")] {
        lose_row(&rig, row).await;
        rig.run().await;
        rig.until_phase(key, PhaseName::Halted).await;
        let named =
            || rig.own_notices("daemon.degraded", "firing").iter().any(|it| it.contains(&format!("is lost: {key}.")));
        rig.until_true("the owners of the daemon are told of this one", named).await;
        rig.until_told().await;
        rig.stop().await;
    }
}

/// Removes a row behind the daemon's back.
async fn lose_row(rig: &Rig, row: &str) {
    let config = sled::Config::new().path(rig.path("state").join("sled")).flush_every_ms(None);
    let database = config.open().unwrap();
    database.remove(row).unwrap().unwrap();
    database.flush().unwrap();
}

//! Units that fetch their keys at the credential socket: each connects as systemd 252 does, and reads until the end.
use crate::disk::take_room;
use crate::mounts::Mount;
use crate::rig::{PATIENCE, Rig, calm, number, write};
use rekeyd::control::protocol::{KeyStatus, PhaseName};
use rekeyd::simulator::{Call, Fault, Service, World};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, socket};
use rustix::process::Signal;
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

const KEY: &str = "billing-sms";
const SHOP: &str = "shop.service";
const BILLS: &str = "bills.service";
/// What systemd takes for a credential, in bytes. Of whoever sends more, the unit fails with 243/CREDENTIALS.
const MOST: usize = 1 << 20;

/// A key that these units fetch, beside its file.
fn fetched_by(units: &str, more: &str) -> World {
    let sections = format!("[[keys.{KEY}.deliver]]\nkind = \"credential\"\nunits = {units}\n{more}\n");
    World { sections, ..calm(&[Service::Infobip]) }
}

fn socket_of(rig: &Rig) -> PathBuf {
    rig.path("credential.sock")
}

async fn prepared(world: World) -> Rig {
    let rig = Rig::prepare(world).await;
    let path = socket_of(&rig);
    rig.edit_config(|it| it.replacen("[daemon]\n", &format!("[daemon]\ncredential_socket = {path:?}\n"), 1));
    rig
}

async fn started(units: &str, more: &str) -> Rig {
    let mut rig = prepared(fetched_by(units, more)).await;
    rig.run().await;
    rig.until_version(KEY, 1).await;
    rig
}

/// Starts a unit: what systemd reads.
fn starts(rig: &Rig, unit: &str) -> JoinHandle<Vec<u8>> {
    begins(&socket_of(rig), &address(unit, KEY))
}

/// No two connections have the same.
fn address(unit: &str, credential: &str) -> String {
    static NTH: AtomicU32 = AtomicU32::new(0);
    let nth = u64::from(std::process::id()) << 20 | u64::from(NTH.fetch_add(1, Ordering::Relaxed));
    format!("{nth:x}/unit/{unit}/{credential}")
}

fn begins(path: &Path, address: &str) -> JoinHandle<Vec<u8>> {
    let (path, address) = (path.to_owned(), address.to_owned());
    tokio::task::spawn_blocking(move || read(connected(&path, &address)))
}

fn reads(stream: UnixStream) -> JoinHandle<Vec<u8>> {
    tokio::task::spawn_blocking(move || read(stream))
}

fn read(mut stream: UnixStream) -> Vec<u8> {
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read);
    read
}

fn connected(path: &Path, address: &str) -> UnixStream {
    let fd = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    if !address.is_empty() {
        bind(&fd, &SocketAddrUnix::new_abstract_name(address.as_bytes()).unwrap()).unwrap();
    }
    let address = SocketAddrUnix::new(path).unwrap();
    // A socket that is there does not listen yet.
    let until = std::time::Instant::now() + PATIENCE;
    while let Err(refused) = connect(&fd, &address) {
        assert!(refused == Errno::CONNREFUSED && std::time::Instant::now() < until, "{refused}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let stream = UnixStream::from(fd);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream
}

/// The key that a unit is started with.
async fn gets(rig: &Rig, unit: &str) -> String {
    let read = tokio::time::timeout(PATIENCE, starts(rig, unit)).await;
    let read = read.unwrap_or_else(|_| panic!("{unit} waits for ever:\n{}", rig.tail())).unwrap();
    assert!(!read.is_empty() && read.len() < 1000, "{unit} got {} bytes:\n{}", read.len(), rig.tail());
    String::from_utf8(read).unwrap()
}

/// The unit does not start: it got more than systemd takes, and nothing of a key.
async fn fails(rig: &Rig, read: JoinHandle<Vec<u8>>) {
    let read = tokio::time::timeout(PATIENCE, read).await;
    let read = read.unwrap_or_else(|_| panic!("it waits for ever:\n{}", rig.tail())).unwrap();
    assert!(read.len() > MOST, "it got {} bytes:\n{}", read.len(), rig.tail());
    let text = String::from_utf8(read).unwrap();
    assert!(rig.held(KEY).is_none_or(|key| !text.contains(&key)));
}

fn versions(status: &KeyStatus) -> (u32, Option<u32>) {
    (number(status), status.previous.as_ref().map(|it| it.version))
}

#[tokio::test]
async fn the_overlap_ends_only_after_every_listed_unit_has_read_the_new_key() {
    let rig = started(&format!("[{SHOP:?}, {BILLS:?}]"), "").await;
    let old = rig.held(KEY).unwrap();
    assert_eq!((gets(&rig, SHOP).await, gets(&rig, BILLS).await), (old.clone(), old.clone()));
    rig.rotate(KEY).await;
    rig.until(KEY, "at version 2", |it| number(it) == 2).await;
    let new = rig.held(KEY).unwrap();
    assert_eq!(gets(&rig, SHOP).await, new);
    tokio::time::sleep(2 * rig.world.overlap).await;
    assert_eq!(versions(&rig.key(KEY).await), (2, Some(1)), "the overlap is over, and bills.service has the old key");
    assert!(rig.sim.truth().is_live(&old));
    assert_eq!(gets(&rig, BILLS).await, new);
    rig.until_version(KEY, 2).await;
    assert!(!rig.sim.truth().is_live(&old));
    let history = rig.ok(&["history", KEY, "--json"]).await;
    let history: serde_json::Value = serde_json::from_str(&history).unwrap();
    let reads = history["reads"].as_array().unwrap().iter();
    let reads: Vec<_> = reads
        .map(|it| (it["by"].as_str().unwrap(), it["version"].as_u64().unwrap(), it["via"].as_str().unwrap()))
        .collect();
    let unit = |unit, version| (unit, version, "credential");
    let (shop, bills) = ("unit:shop.service", "unit:bills.service");
    assert_eq!(reads, [unit(shop, 1), unit(bills, 1), unit(shop, 2), unit(bills, 2)]);
}

#[tokio::test]
async fn at_ack_timeout_the_key_is_kept_and_the_owners_are_told() {
    let mut world = fetched_by(&format!("[{SHOP:?}]"), "");
    world.more = vec![(KEY.to_owned(), "ack_timeout = \"2s\"".to_owned())];
    let mut rig = prepared(world).await;
    rig.run().await;
    rig.until_version(KEY, 1).await;
    let old = gets(&rig, SHOP).await;
    rig.rotate(KEY).await;
    rig.until_notice(KEY, "revoke.needed").await;
    let told = rig.notices().into_values().find(|it| it.1["type"] == "revoke.needed").unwrap().1;
    assert!(told["data"]["summary"].as_str().unwrap().contains(SHOP), "{told}");
    assert!(told["data"]["actions"].to_string().contains("systemctl restart shop.service"), "{told}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(rig.sim.truth().is_live(&old), "never revoked by that timer");
    assert_eq!(rig.told(KEY, "revoke.needed"), 1);
    gets(&rig, SHOP).await;
    rig.until_version(KEY, 2).await;
    assert!(!rig.sim.truth().is_live(&old));
    let over =
        |it: &(usize, serde_json::Value)| it.1["type"] == "revoke.needed" && it.1["data"]["status"] == "resolved";
    rig.until_true("it is told that it is over", || rig.notices().values().any(over)).await;
}

#[tokio::test]
async fn what_a_unit_has_read_is_known_after_a_kill() {
    let mut rig = started(&format!("[{SHOP:?}]"), "").await;
    let old = gets(&rig, SHOP).await;
    rig.rotate(KEY).await;
    rig.until(KEY, "at version 2", |it| number(it) == 2).await;
    rig.kill().await;
    rig.run().await;
    tokio::time::sleep(2 * rig.world.overlap).await;
    assert!(rig.sim.truth().is_live(&old), "it was not read since");
    gets(&rig, SHOP).await;
    rig.until(KEY, "read", |it| it.previous.is_none()).await;
}

#[tokio::test]
async fn a_unit_that_is_not_listed_fails_to_start_and_so_does_whoever_says_nothing() {
    let rig = started(&format!("[{SHOP:?}, \"many@.service\"]"), "").await;
    for unit in [BILLS, "shop", "many@.timer", "xshop.service", "many.service"] {
        fails(&rig, starts(&rig, unit)).await;
    }
    let (other, user) = (address(SHOP, "other-key"), address(SHOP, KEY).replace("/unit/", "/user/"));
    for address in ["", "hello-rekeyd", &other, &user] {
        fails(&rig, begins(&socket_of(&rig), address)).await;
    }
    assert!(rig.log().contains("add bills.service to `units` there"), "{}", rig.tail());
    assert_eq!(gets(&rig, "many@eu.service").await, rig.held(KEY).unwrap());
    assert_eq!(gets(&rig, SHOP).await, rig.held(KEY).unwrap());
    let mode = fs::metadata(socket_of(&rig)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_key_that_is_not_adopted_starts_nobody() {
    let mut world = fetched_by(&format!("[{SHOP:?}]"), "");
    world.initial = "adopt".to_owned();
    let mut rig = prepared(world).await;
    rig.run().await;
    fails(&rig, starts(&rig, SHOP)).await;
    assert!(rig.log().contains("the key is not adopted yet"), "{}", rig.tail());
}

/// The address is a claim that any user can make; who makes it says the kernel.
#[tokio::test]
async fn a_spoofer_gets_nothing() {
    let rig = started(&format!("[{SHOP:?}]"), "").await;
    // As if somebody had opened the socket to everybody.
    let reachable = rig.path("");
    fs::set_permissions(&reachable, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(socket_of(&rig), fs::Permissions::from_mode(0o666)).unwrap();
    let script = format!(
        "use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die $!; \
         bind($s, pack_sockaddr_un(\"\\x00{}\")) or die $!; \
         connect($s, pack_sockaddr_un($ARGV[0])) or die $!; shutdown($s, 1); print while <$s>;",
        address(SHOP, KEY)
    );
    let said = tokio::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-e", &script])
        .arg(socket_of(&rig))
        .stdin(Stdio::null())
        .output();
    let said = tokio::time::timeout(PATIENCE, said).await.unwrap().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.len() > MOST && !text.contains(&rig.held(KEY).unwrap()), "{} bytes", text.len());
    assert!(rig.log().contains("only root may fetch keys"), "{}", rig.tail());
    let history = rig.ok(&["history", KEY, "--json"]).await;
    assert!(!history.contains("unit:shop.service"), "{history}");
}

/// What the log says of a unit that has to wait.
const HELD: &str = "a unit waits for its key";

/// Begins a cutover whose answer lasts: the old key is dead by now.
async fn create_is_slow(rig: &Rig, key: &str) {
    rig.sim.fault(Service::Mobivate, Call::Create, Fault::Delay { ms: 6000 });
    rig.rotate(key).await;
    rig.until_phase(key, PhaseName::Create).await;
    rig.until_true("the create is on its way", || rig.sim.truth().calls(Service::Mobivate, Call::Create) == 2).await;
}

/// In the cutover gap the old key is dead, and the new one not there yet: the unit waits, and gets the new one.
#[tokio::test]
async fn a_unit_that_asks_in_the_cutover_gap_is_held() {
    const GAP: &str = "campaign-sms";
    let sections = format!("[[keys.{GAP}.deliver]]\nkind = \"credential\"\nname = \"sms\"\nunits = [{SHOP:?}]\n");
    let mut rig = prepared(World { sections, ..calm(&[Service::Mobivate]) }).await;
    rig.run().await;
    rig.until_version(GAP, 1).await;
    let old = rig.held(GAP).unwrap();
    assert_eq!(begins(&socket_of(&rig), &address(SHOP, "sms")).await.unwrap(), old.as_bytes());
    assert!(!rig.log().contains(HELD), "{}", rig.tail());
    create_is_slow(&rig, GAP).await;
    let read = begins(&socket_of(&rig), &address(SHOP, "sms"));
    rig.until_true("it is held", || rig.log().contains(HELD)).await;
    let read = tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    rig.until_version(GAP, 2).await;
    assert_eq!(read, rig.held(GAP).unwrap().as_bytes());
    assert_ne!(read, old.as_bytes());
}

#[tokio::test]
async fn a_daemon_with_a_broken_config_serves_what_it_holds_and_begins_nothing() {
    let mut rig = started(&format!("[{SHOP:?}]"), "").await;
    rig.stop().await;
    rig.edit_config(|it| it + "\n[keys.broken]\nprovider = 7\n");
    rig.run().await;
    assert_eq!(gets(&rig, SHOP).await, rig.held(KEY).unwrap());
    assert!(rig.log().contains("started with the last good config"), "{}", rig.tail());
    rig.ok(&["rotate", "--now", KEY]).await;
    let blocked = rig.until(KEY, "held back", |it| it.blocked.is_some()).await;
    assert_eq!((number(&blocked), blocked.blocked.unwrap().reason), (1, "config".to_owned()));
    rig.until_own_notice("config.rejected", "firing").await;
}

/// Nobody can be asked, the disk takes nothing, and a unit starts all the same, also once the daemon was started anew.
#[tokio::test]
async fn without_a_network_and_with_a_full_disk_units_start() {
    let mut rig = prepared(fetched_by(&format!("[{SHOP:?}]"), "")).await;
    let Some(disk) = Mount::memory(&rig.path("state")) else { return };
    rig.edit_config(|it| it.replace("[daemon]\n", "[daemon]\nreserve = \"8MiB\"\n"));
    rig.run().await;
    rig.until_version(KEY, 1).await;
    let url = rig.sim.url(Service::Infobip);
    rig.edit_config(|it| it.replace(&url, "http://127.0.0.1:9"));
    disk.fill();
    let key = rig.held(KEY).unwrap();
    assert_eq!(gets(&rig, SHOP).await, key);
    rig.kill().await;
    rig.run().await;
    assert_eq!(gets(&rig, SHOP).await, key);
    take_room(&rig, &disk);
    // The second one finds that nothing can be written any more, if the first one did not.
    for _ in 0..3 {
        assert_eq!(gets(&rig, SHOP).await, key);
    }
    let stuck = async { !rig.status().await.daemon.troubles.is_empty() };
    assert!(stuck.await, "{}", rig.tail());
    disk.free();
    rig.until_own_notice("daemon.degraded", "resolved").await;
}

/// A unit that gets a version that the state can't record would be forgotten with the daemon, and its key revoked under it:
/// it waits for the disk. The one that is known to have it does not.
#[tokio::test]
async fn on_a_disk_that_takes_nothing_a_unit_gets_what_it_is_known_to_have_and_nothing_else() {
    let mut rig = prepared(fetched_by(&format!("[{SHOP:?}, {BILLS:?}]"), "")).await;
    let Some(disk) = Mount::memory(&rig.path("state")) else { return };
    rig.edit_config(|it| it.replace("[daemon]\n", "[daemon]\nreserve = \"8MiB\"\n"));
    rig.run().await;
    rig.until_version(KEY, 1).await;
    let key = rig.held(KEY).unwrap();
    assert_eq!(gets(&rig, SHOP).await, key);
    rig.until_told().await;
    take_room(&rig, &disk);
    let bills = starts(&rig, BILLS);
    rig.until_true("it is held", || rig.log().contains("does not know yet that the unit may have this version")).await;
    assert_eq!(gets(&rig, SHOP).await, key);
    assert!(!bills.is_finished(), "it may not have the key yet");
    disk.free();
    let read = tokio::time::timeout(PATIENCE, bills).await.unwrap().unwrap();
    assert_eq!(read, key.as_bytes(), "{}", rig.tail());
}

/// Slow readers and a crowd keep nobody from starting, and cost no memory.
#[tokio::test]
async fn a_crowd_that_reads_nothing_keeps_no_unit_from_starting() {
    let mut rig = started(&format!("[{SHOP:?}]"), "").await;
    let before = resident(&rig);
    let idle: Vec<UnixStream> = (0..100).map(|_| connected(&socket_of(&rig), &address(BILLS, KEY))).collect();
    assert_eq!(gets(&rig, SHOP).await, rig.held(KEY).unwrap());
    let grown = resident(&rig).saturating_sub(before);
    assert!(grown < 16 << 20, "a hundred refusals that nobody reads took {grown} bytes");
    drop(idle);
    let crowd: Vec<_> = (0..200).map(|_| starts(&rig, SHOP)).collect();
    let key = rig.held(KEY).unwrap();
    for it in crowd {
        assert_eq!(it.await.unwrap(), key.as_bytes());
    }
    rig.stop().await;
}

/// Whoever is held when the daemon stops is not started with nothing.
#[tokio::test]
async fn a_unit_that_is_held_when_the_daemon_stops_fails() {
    const GAP: &str = "campaign-sms";
    let sections = format!("[[keys.{GAP}.deliver]]\nkind = \"credential\"\nname = \"{KEY}\"\nunits = [{SHOP:?}]\n");
    let mut rig = prepared(World { sections, ..calm(&[Service::Mobivate]) }).await;
    rig.run().await;
    rig.until_version(GAP, 1).await;
    create_is_slow(&rig, GAP).await;
    let held = starts(&rig, SHOP);
    rig.until_true("it is held", || rig.log().contains(HELD)).await;
    rig.signal(Signal::TERM);
    fails(&rig, held).await;
    assert_eq!(rig.ended().await.code(), Some(0));
}

/// Its resident memory, in bytes.
fn resident(rig: &Rig) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", rig.pid())).unwrap();
    let line = text.lines().find_map(|it| it.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// systemd holds the socket, and passes it: whoever connects while the daemon is away waits for it.
#[tokio::test]
async fn a_socket_that_systemd_holds_outlives_the_daemon() {
    let rig = Rig::prepare(fetched_by(&format!("[{SHOP:?}]"), "")).await;
    let mut activator = tokio::process::Command::new("systemd-socket-activate");
    let path = socket_of(&rig);
    activator.arg("-l").arg(&path).arg("--fdname=rekeyd-credential.socket").arg("-E").arg("RUST_LOG=info");
    activator.arg(env!("CARGO_BIN_EXE_rekeyd")).arg("--config").arg(rig.config()).arg("run");
    let log = fs::File::create(rig.path("log")).unwrap();
    let mut activator = match activator.stdin(Stdio::null()).stderr(log).kill_on_drop(true).spawn() {
        Ok(it) => it,
        Err(_) => return println!("skipped: there is no systemd-socket-activate"),
    };
    rig.until_true("the socket is there", || path.exists()).await;
    // The first one starts the daemon, and is answered when it has made the key.
    let first = gets(&rig, SHOP).await;
    // A unit gets it while it is still on its way to the file.
    rig.until_true("the file has the same", || rig.held(KEY).as_ref() == Some(&first)).await;
    let pid = i32::try_from(activator.id().unwrap()).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    assert!(tokio::time::timeout(PATIENCE, activator.wait()).await.unwrap().unwrap().success(), "{}", rig.tail());
    assert!(path.exists(), "it is systemd's to remove");
}

/// systemd starts the daemon again at once for a connection that nobody has taken: one that can't come up leaves none.
#[tokio::test]
async fn a_daemon_that_no_restart_helps_refuses_whoever_waits_for_it() {
    for (broken, words, code) in [("[keys.broken]\nprovider = 7\n", "run", 78), ("", "run --no-such-option", 2)] {
        let rig = Rig::prepare(fetched_by(&format!("[{SHOP:?}]"), "")).await;
        rig.edit_config(|it| it + broken);
        let held_by_systemd = UnixListener::bind(socket_of(&rig)).unwrap();
        let waiting: Vec<_> = (0..20).map(|_| connected(&socket_of(&rig), &address(SHOP, KEY))).collect();
        let mut daemon = tokio::process::Command::new("sh");
        let script = format!("exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" --config \"$1\" {words}");
        daemon.args(["-c", &script, env!("CARGO_BIN_EXE_rekeyd")]).arg(rig.config());
        daemon.stdin(OwnedFd::from(held_by_systemd.try_clone().unwrap()));
        daemon.stderr(fs::File::create(rig.path("log")).unwrap()).kill_on_drop(true);
        let mut daemon = daemon.spawn().unwrap();
        for it in waiting {
            fails(&rig, reads(it)).await;
        }
        let ended = tokio::time::timeout(PATIENCE, daemon.wait()).await.unwrap().unwrap();
        assert_eq!(ended.code(), Some(code), "{}", rig.tail());
        held_by_systemd.set_nonblocking(true).unwrap();
        assert!(held_by_systemd.accept().is_err(), "nobody waits any more");
    }
}

/// A restart of its units follows each new key, as the shipped polkit rule lets us; one that fails is a failed delivery.
#[tokio::test]
async fn a_restart_that_fails_is_a_failed_delivery_with_the_last_words_of_the_unit() {
    let then = "then = { restart = [\"shop.service\"] }";
    let mut rig = prepared(fetched_by(&format!("[{SHOP:?}]"), then)).await;
    let (bin, bad) = (rig.path("bin"), rig.path("bad"));
    fs::create_dir(&bin).unwrap();
    let said = rig.path("said");
    script(
        &bin.join("systemctl"),
        &format!(
            "echo \"$*\" >> {}\n[ ! -e {} ] || {{ echo 'Job for shop.service failed.' >&2; exit 1; }}\n",
            said.display(),
            bad.display()
        ),
    );
    script(
        &bin.join("journalctl"),
        &format!("echo starting; echo no such key: $(cat {})", rig.key_file(KEY).display()),
    );
    let path = std::env::join_paths([&bin, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let log = fs::File::create(rig.path("log")).unwrap();
    rig.daemon = Some(rig.daemon_command().env("PATH", path).stderr(log).spawn().unwrap());
    rig.until_up(rig.patience).await;
    rig.until_version(KEY, 1).await;
    assert!(!said.exists(), "nothing is restarted for the first key");
    gets(&rig, SHOP).await;
    write(&bad, "");
    rig.rotate(KEY).await;
    rig.until_notice(KEY, "delivery.failed").await;
    let told: String = rig.notices().values().map(|it| it.1.to_string()).collect();
    assert!(told.contains("Job for shop.service failed."), "{told}");
    assert!(told.contains("shop.service said last: starting | no such key: [secret]"), "{told}");
    assert_eq!(versions(&rig.key(KEY).await).0, 1, "it is not in use yet");
    fs::remove_file(&bad).unwrap();
    rig.ok(&["resume", KEY]).await;
    rig.until(KEY, "delivered", |it| number(it) == 2).await;
    let asked = fs::read_to_string(&said).unwrap();
    assert!(asked.contains("--no-ask-password restart -- shop.service"), "{asked}");
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

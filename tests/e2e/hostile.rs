//! Whoever is on the other side does what nobody should. What is shown: the daemon's memory stays below a bound, and the
//! keys of others are rotated meanwhile.
use crate::rig::{PATIENCE, Rig, calm};
use rekeyd::control::protocol::Status;
use rekeyd::simulator::{Service, World};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// The most memory that the daemon may ever have held, in KiB: see docs/reliability.md.
const MEMORY_MOST: u64 = 256 * 1024;
/// Keys of each hostile provider.
const KEYS: usize = 2;
/// Connections of each flood.
const FLOOD: usize = 10_000;
/// Keys that make every answer large.
const MANY: usize = 500;
/// A user and a group of no name.
const NOBODY_KNOWS: u32 = 424_242;

/// The most memory that the daemon has held so far, in KiB.
fn most_held(rig: &Rig) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", rig.pid())).unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[track_caller]
fn check_memory(rig: &Rig) {
    let held = most_held(rig);
    println!("the daemon held {} MiB at most", held / 1024);
    assert!(held < MEMORY_MOST, "the daemon held {held} KiB");
}

/// The file handles that the daemon holds.
fn handles(rig: &Rig) -> usize {
    fs::read_dir(format!("/proc/{}/fd", rig.pid())).unwrap().count()
}

/// Rotates the keys of those who do nothing wrong.
async fn rotate_the_others(rig: &Rig, version: u32) {
    for key in ["billing-sms", "campaign-sms"] {
        rig.rotate(key).await;
    }
    for key in ["billing-sms", "campaign-sms"] {
        rig.until_version(key, version).await;
    }
}

/// How a provider answers: what it sends first, and what it then repeats for ever, with a pause.
struct Answers {
    name: &'static str,
    first: Vec<u8>,
    repeated: Vec<u8>,
    pause: Duration,
}

fn answers(name: &'static str, first: impl Into<Vec<u8>>, repeated: impl Into<Vec<u8>>) -> Answers {
    Answers { name, first: first.into(), repeated: repeated.into(), pause: Duration::from_millis(2) }
}

/// An answer that is whole, with this body.
fn whole(name: &'static str, headers: &str, body: impl Into<Vec<u8>>) -> Answers {
    let body = body.into();
    let head = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n", body.len());
    answers(name, [head.into_bytes(), body].concat(), "")
}

/// Everything that a provider could do to whoever asks it.
fn everything() -> Vec<Answers> {
    let ok = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}");
    let chunked = ok("transfer-encoding: chunked\r\n\r\n");
    let slowly = Answers { pause: Duration::from_secs(1), ..answers("drip", ok("content-length: 99999\r\n\r\n"), "x") };
    let list = |items: usize, item: &str| format!("{{\"apiKeys\":[{}]}}", vec![item; items].join(","));
    let key = |name: &str| format!("{{\"publicApiKey\":\"abcd-{name}\",\"key\":\"A\",\"name\":\"{name}\"}}");
    // What a gigabyte of zeros begins with when it is compressed; it goes on alike.
    let bomb =
        [b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xec\xc1\x01\x01\0\0\0\x80\x90\xfe\xaf\xee\x08".as_slice(), &[0; 1_000_000]]
            .concat();
    vec![
        answers("gigabyte", ok("content-length: 1073741824\r\n\r\n"), vec![b'x'; 65_536]),
        answers("chunks", chunked.clone(), format!("8000\r\n{}\r\n", "x".repeat(32_768))),
        answers("extension", format!("{chunked}1;"), vec![b'x'; 65_536]),
        answers("trailers", format!("{chunked}0\r\n"), "t: v\r\n".repeat(1000)),
        answers("headers", ok(""), format!("x: {}\r\n", "y".repeat(1000))),
        answers("header", ok("x: "), vec![b'y'; 65_536]),
        answers("continues", "", "HTTP/1.1 100 Continue\r\n\r\n".repeat(50)),
        answers("silent", "", ""),
        slowly,
        whole("bomb", "content-encoding: gzip\r\n", bomb),
        whole("latin1", "", b"{\"publicApiKey\":\"abc\xe4\xff\"}".to_vec()),
        whole("nested", "", "[".repeat(100_000)),
        whole("objects", "", "{\"apiKeys\":".repeat(90_000)),
        whole("xml", "", "<apiKeys>".repeat(100_000)),
        whole("million", "", list(340_000, "{}")),
        whole("more", "", list(1_000_000, "{}")),
        whole("ips", "", format!("{{\"allowedIPs\":[{}]}}", vec!["0"; 500_000].join(","))),
        whole("name", "", key(&"x".repeat(450_000))),
        whole(
            "dates",
            "",
            "{\"publicApiKey\":\"abcd-efgh\",\"key\":\"A\",\"validTo\":\"+262142-12-31T23:59:59.999Z\"}",
        ),
        answers("wait", "HTTP/1.1 429 \r\nretry-after: 99999999999999999999\r\ncontent-length: 0\r\n\r\n", ""),
        answers("noise", vec![0xff; 4096], vec![0xfe; 4096]),
    ]
}

/// A service that answers so, and how often it was asked.
async fn provider(answers: Answers) -> (String, u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let (name, counted, answers) = (answers.name.to_owned(), Arc::clone(&asked), Arc::new(answers));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(misbehave(stream, Arc::clone(&answers)));
        }
    });
    (name, port, asked)
}

async fn misbehave(stream: TcpStream, answers: Arc<Answers>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
    }
    // The body is read beside the answer, so that the connection is not reset before that has arrived.
    let (mut from, mut to) = stream.into_inner().into_split();
    let rest = tokio::spawn(async move { tokio::io::copy(&mut from, &mut tokio::io::sink()).await });
    let mut sent = to.write_all(&answers.first).await;
    while sent.is_ok() && !answers.repeated.is_empty() {
        tokio::time::sleep(answers.pause).await;
        sent = to.write_all(&answers.repeated).await;
    }
    // Until the daemon has had enough.
    let _ = rest.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_that_answer_without_end_or_sense_cost_neither_memory_nor_others_their_rotations() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip, Service::Mobivate])).await;
    let mut providers = Vec::new();
    for answers in everything() {
        providers.push(provider(answers).await);
    }
    let mut sections = String::new();
    for (name, port, _) in &providers {
        let login = format!("username = \"u\"\npassword = {{ file = {:?} }}\n", rig.path("secrets/infobip"));
        write!(sections, "[providers.{name}]\nkind = \"infobip\"\nbase_url = \"http://127.0.0.1:{port}\"\n{login}")
            .unwrap();
        for n in 0..KEYS {
            let what =
                format!("provider = \"{name}\"\nowners = [\"payments\"]\ninitial = \"create\"\nvalid_for = \"90d\"\n");
            let file = rig.path(&format!("keys/{name}-{n}"));
            let target = format!("[[keys.{name}-{n}.deliver]]\nkind = \"file\"\npath = {file:?}\n");
            write!(sections, "[keys.{name}-{n}]\n{what}create = {{ name = \"k\" }}\n{target}").unwrap();
        }
    }
    rig.edit_config(|it| it + &sections);
    rig.run().await;
    for key in ["billing-sms", "campaign-sms"] {
        rig.until_version(key, 1).await;
    }
    let all_asked = || providers.iter().all(|(_, _, asked)| asked.load(Ordering::Relaxed) > 0);
    rig.until_true("every provider was asked", all_asked).await;
    rotate_the_others(&rig, 2).await;
    let status = rig.status().await;
    assert_eq!(status.keys.len(), 2 + providers.len() * KEYS);
    let log = rig.log();
    assert!(!log.contains("panicked") && !log.contains("broke down"), "{}", rig.tail());
    check_memory(&rig);
    rig.kill().await;
}

/// Opens ten thousand connections, as another user where that can be.
async fn flood(address: &str, path: &str, user: Option<u32>) -> Child {
    let mut command = Command::new("python3");
    command.args(["-c", include_str!("../support/flood.py"), address, &FLOOD.to_string(), path]).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    if let Some(id) = user {
        command.uid(id).gid(id);
    }
    command.spawn().unwrap()
}

/// Waits until a flood has opened all of its connections.
async fn is_high(flood: &mut Child) {
    let mut line = String::new();
    let mut out = BufReader::new(flood.stdout.take().unwrap());
    tokio::time::timeout(PATIENCE, out.read_line(&mut line)).await.unwrap().unwrap();
    assert_eq!(line.trim(), FLOOD.to_string());
}

/// A world with enough keys to make every answer large.
async fn large(listen: bool) -> Rig {
    let mut rig = Rig::prepare(calm(&[Service::Infobip, Service::Mobivate])).await;
    let mut sections = "[providers.portal]\nkind = \"manual\"\n".to_owned();
    for n in 0..MANY {
        let file = rig.path(&format!("keys/many-{n}"));
        write!(
            sections,
            "[keys.many-{n}]\nprovider = \"portal\"\nowners = [\"payments\"]\nvalid_for = \"90d\"\nrotate_before = \
             \"10d\"\n[[keys.many-{n}.deliver]]\nkind = \"file\"\npath = {file:?}\n"
        )
        .unwrap();
    }
    let listen = if listen { "listen = \"127.0.0.1:0\"\n" } else { "" };
    rig.edit_config(|it| it.replacen("[daemon]\n", &format!("[daemon]\n{listen}"), 1) + &sections);
    rig.run().await;
    for key in ["billing-sms", "campaign-sms"] {
        rig.until_version(key, 1).await;
    }
    rig
}

#[tokio::test]
async fn ten_thousand_connections_to_the_control_socket_keep_neither_root_out_nor_a_rotation_from_going_on() {
    let rig = large(false).await;
    let socket = World::control_socket(&rig.path(""));
    // Only root can be somebody else. Anybody else floods his own places, and has to wait until they are free again.
    let other = rustix::process::geteuid().is_root().then_some(NOBODY_KNOWS);
    if other.is_some() {
        fs::set_permissions(rig.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        chown(&socket, None, Some(NOBODY_KNOWS)).unwrap();
    }
    let before = handles(&rig);
    let mut flood = flood(socket.to_str().unwrap(), "/v1/status", other).await;
    if other.is_some() {
        rotate_the_others(&rig, 2).await;
        is_high(&mut flood).await;
        let asked = rekeyd::clock::now();
        let _: Status = rig.status().await;
        eprintln!("root had its answer after {:?}", rekeyd::clock::now().since(asked));
        // At most one handle for each place.
        let most = before + rekeyd::control::server::CONNECTIONS + 16;
        assert!(handles(&rig) <= most, "{} handles, {before} before", handles(&rig));
    } else {
        is_high(&mut flood).await;
        drop(flood);
        rotate_the_others(&rig, 2).await;
    }
    check_memory(&rig);
}

#[tokio::test]
async fn ten_thousand_connections_to_the_listener_hold_up_no_rotation() {
    let rig = large(true).await;
    let log = rig.log();
    let (_, after) = log.rsplit_once("metrics and health are served address=").unwrap();
    let address = after.split_whitespace().next().unwrap();
    let before = handles(&rig);
    let mut flood = flood(address, "/metrics", None).await;
    rotate_the_others(&rig, 2).await;
    assert!(handles(&rig) <= before + rekeyd::web::CONNECTIONS + 16, "{} handles, {before} before", handles(&rig));
    flood.kill().await.unwrap();
    check_memory(&rig);
}

/// What is said in the config is repeated where it is wrong, and may be as long as a file may be.
#[tokio::test]
async fn a_megabyte_in_a_field_is_a_fault_that_fits_a_screen_and_takes_no_minute() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let (right, long) = (fs::read_to_string(rig.config()).unwrap(), "x".repeat(1_000_000));
    for wrong in [
        format!("[windows.w]\nopen = \"0 0 * * *\"\nduration = \"1h\"\ntimezone = \"{long}\"\n"),
        format!("[windows.w]\nopen = \"{long}\"\nduration = \"{long}\"\n"),
        format!("[{long}]\n[keys.{long}]\n[owners.o]\n{long} = 1\n"),
        format!("[providers.p]\nkind = \"{long}\"\n"),
        format!("z = {}", "[".repeat(500_000)),
        (0..20_000).map(|n| format!("[keys.k{n}]\n")).collect(),
    ] {
        fs::write(rig.config(), format!("{right}\n{wrong}")).unwrap();
        let refused = rig.cli(&["reload"]).await;
        assert_eq!(refused.code, Some(78), "{}", &wrong[..60]);
        let said = refused.out.len() + refused.err.len();
        assert!(said < 600_000, "{said} bytes are said of {}", &wrong[..60]);
    }
    fs::write(rig.config(), right).unwrap();
    rig.ok(&["reload"]).await;
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 2).await;
    check_memory(&rig);
}

/// Who was shown a key, and who brought one, is known afterwards.
#[tokio::test]
async fn each_use_of_what_carries_a_secret_is_in_the_history() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let secret = rig.ok(&["reveal", "billing-sms"]).await;
    let insisting = ["adopt", "billing-sms", "--unverified", "--deliver", "--age-unknown"];
    let adopted = rig.cli_with(&insisting, "brought-from-the-portal").await;
    assert_eq!(adopted.code, Some(0), "{}", adopted.err);
    let history = rig.client().history(Some("billing-sms"), None, None).await.unwrap();
    let me = rustix::process::geteuid().as_raw();
    let reads: Vec<_> = history.reads.iter().map(|it| (it.version, it.via.as_str(), it.by.is_empty())).collect();
    assert_eq!(reads, [(1, "reveal", false)]);
    let by_me = |it: &&rekeyd::control::protocol::CommandRow| {
        it.verb == "adopt" && it.actor.as_ref().is_some_and(|it| it.uid == me)
    };
    assert_eq!(history.commands.iter().filter(by_me).count(), 1, "{:?}", history.commands);
    rig.ok(&["backup", rig.path("state.backup").to_str().unwrap()]).await;
    let all = rig.client().history(None, None, None).await.unwrap();
    let backups = all.commands.iter().filter(|it| it.verb == "backup");
    let by_whom: Vec<_> = backups.map(|it| it.actor.as_ref().map(|it| it.uid)).collect();
    assert_eq!(by_whom, [Some(me)], "all secrets, sealed, went out");
    let told = rig.log();
    assert!(told.contains("secret revealed") && !told.contains(secret.trim()));
}

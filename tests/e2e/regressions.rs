//! What went wrong once: a config that changes in the middle of things, answers counted twice, and waits without an end.
use crate::hooks::Hook;
use crate::rig::{Rig, calm, number, write};
use crate::watch::Consumer;
use rekeyd::control::protocol::PhaseName;
use rekeyd::control::server::{BODY_WITHIN, REQUESTS_AT_ONCE};
use rekeyd::http::TOTAL_TIMEOUT;
use rekeyd::simulator::{Call, Fault, Service, World, write_config};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixStream};
use tokio::time::timeout;

/// How long an answer lasts during which the config changes.
const SLOW: u64 = 2500;
/// The same where every place is to be taken meanwhile.
const LONG: u64 = 15_000;
/// How many looks and calls are under way at once, unless the config says otherwise.
const LOOKS_AT_ONCE: usize = 64;
/// What somebody else put into a file.
const FOREIGN: &str = "somebody-elses-key-0001";

fn change_world(rig: &Rig, world: &World) {
    write_config(rig.config().parent().unwrap(), &rig.sim, world).unwrap();
}

/// Asks for a rotation, and waits until the service has issued its key but not said so.
async fn rotate_until_issued(rig: &Rig, service: Service) {
    let issued = rig.sim.truth().calls(service, Call::Create) + 1;
    rig.rotate(World::key_name(service)).await;
    rig.until_true("a key is issued", || rig.sim.truth().calls(service, Call::Create) == issued).await;
}

#[tokio::test]
async fn a_key_that_leaves_with_a_confirmation_to_come_is_let_go_and_comes_back() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip, Service::Infobip2fa])).await;
    let hook = Hook::of(&rig, "billing-sms");
    rig.add_to_target("billing-sms", "confirm = { command = [\"/bin/true\"] }");
    rig.run().await;
    rig.until_rest().await;
    let config = fs::read_to_string(rig.config()).unwrap();
    hook.hold();
    rig.rotate("billing-sms").await;
    rig.until_true("the `then` runs", || hook.runs_for(2) == 1).await;
    change_world(&rig, &calm(&[Service::Infobip2fa]));
    rig.ok(&["reload"]).await;
    hook.release();
    rig.until_true("it is let go", || rig.log().contains("no longer managed")).await;
    rig.until_phase("billing-sms", PhaseName::Unmanaged).await;
    write(&rig.config(), &config);
    rig.ok(&["reload"]).await;
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 3).await;
    let stopped = timeout(Duration::from_secs(10), rig.stop()).await;
    assert!(stopped.is_ok(), "something is still awaited\n{}", rig.tail());
}

#[tokio::test]
async fn a_create_in_flight_is_not_lost_when_its_section_gets_another_account() {
    // A key that nobody could see to work in time would be kept beside the old one.
    let accept_within = Duration::from_secs(60);
    let rig = Rig::start_created(World { accept_within, ..calm(&[Service::Infobip]) }).await;
    let consumer = Consumer::of(&rig, Service::Infobip);
    let config = fs::read_to_string(rig.config()).unwrap();
    rig.sim.fault(Service::Infobip, Call::Create, Fault::Delay { ms: SLOW });
    rotate_until_issued(&rig, Service::Infobip).await;
    rig.edit_config(|it| it.replace("kind = \"infobip\"\n", "kind = \"infobip\"\naccount = \"moved\"\n"));
    rig.ok(&["reload"]).await;
    rig.until("billing-sms", "replaced", |it| number(it) == 2).await;
    rig.every_live_key_is_known().await;
    write(&rig.config(), &config);
    rig.ok(&["reload"]).await;
    rig.until_version("billing-sms", 2).await;
    assert_eq!(rig.sim.truth().live(Service::Infobip).len(), 1, "nor is a key left behind");
    consumer.never_held_a_dead_key();
}

/// A service that refuses every login, and what it heard.
async fn eavesdropper() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = heard.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 8192];
            let length = stream.read(&mut bytes).await.unwrap_or(0);
            let refusal = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            // Whoever goes away early has said what it said.
            let _ = stream.write_all(refusal).await;
            kept.lock().unwrap().push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
    });
    (url, heard)
}

fn other_section(name: &str, url: &str, password: &Path) -> String {
    format!(
        "\n[providers.{name}]\nkind = \"infobip\"\nbase_url = \"{url}\"\nusername = \"u\"\npassword = {{ file = {password:?} }}\n\
         creates_per_day = 100000\n"
    )
}

#[tokio::test]
async fn a_key_that_moves_to_another_provider_is_never_shown_to_it() {
    let mut world = calm(&[Service::Infobip]);
    world.more.push(("billing-sms".to_owned(), "probe_every = \"1s\"".to_owned()));
    let rig = Rig::start_created(world).await;
    let held = rig.held("billing-sms").unwrap();
    let (url, heard) = eavesdropper().await;
    let elsewhere = other_section("elsewhere", &url, &rig.path("secrets/infobip"));
    rig.edit_config(|it| it.replace("provider = \"infobip\"", "provider = \"elsewhere\"") + &elsewhere);
    rig.ok(&["reload"]).await;
    rig.rotate("billing-sms").await;
    rig.until("billing-sms", "blocked", |it| it.blocked.as_ref().is_some_and(|it| it.reason == "login_refused")).await;
    let before = heard.lock().unwrap().len();
    write(&rig.path("secrets/infobip"), "another-password");
    rig.until_true("it is asked again", || heard.lock().unwrap().len() > before).await;
    let heard = heard.lock().unwrap().concat();
    assert!(!heard.contains(&held) && !heard.contains("App "), "{heard}");
    assert_eq!(rig.held("billing-sms"), Some(held), "it is still in use");
    assert_eq!(rig.told("billing-sms", "key.refused"), 0, "nobody who issued it refused it");
}

#[tokio::test]
async fn an_answer_that_nobody_can_read_is_counted_once_whatever_restarts_follow() {
    let mut world = calm(&[Service::Infobip2fa]);
    // Both restarts come before anything else is created.
    world.settle = Duration::from_secs(10);
    world.more.push(("two-factor".to_owned(), "on_ambiguous = \"create-again\"".to_owned()));
    let mut rig = Rig::start_created(world).await;
    rig.sim.fault(Service::Infobip2fa, Call::Create, Fault::Garbage);
    rig.rotate("two-factor").await;
    rig.until_true("the answer is lost", || rig.log().contains("answer_unreadable")).await;
    for _ in 0..2 {
        rig.kill().await;
        rig.run().await;
    }
    rig.until("two-factor", "replaced or halted", |it| number(it) == 2 || it.halted.is_some()).await;
    rig.until_version("two-factor", 2).await;
    assert_eq!(rig.sim.truth().calls(Service::Infobip2fa, Call::Create), 3, "one was lost, one came after it");
}

/// Asks to send a body, and sends none; returns once the daemon waits for it.
async fn promise_a_body(rig: &Rig) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(rig.path("control.sock")).await.unwrap();
    let mut stream = BufReader::new(stream);
    let head =
        "POST /v1/keys/billing-sms/rotate HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("HTTP/1.1 100"), "{line}");
    stream
}

#[tokio::test]
async fn bodies_that_never_end_take_no_place_at_the_socket_and_are_not_awaited_for_ever() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let mut waiting = Vec::new();
    for _ in 0..REQUESTS_AT_ONCE {
        waiting.push(promise_a_body(&rig).await);
    }
    rig.ok(&["status"]).await;
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 2).await;
    let all_answered = async {
        for mut it in waiting {
            let mut answer = String::new();
            it.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains("HTTP/1.1 400") && answer.contains("not whole"), "{answer}");
        }
    };
    let patience = BODY_WITHIN + Duration::from_secs(8);
    assert!(timeout(patience, all_answered).await.is_ok(), "a body is awaited for ever");
}

#[tokio::test]
async fn a_create_in_flight_is_told_although_its_key_left_the_config_while_the_daemon_was_down() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip, Service::Infobip2fa])).await;
    rig.sim.fault(Service::Infobip2fa, Call::Create, Fault::Delay { ms: SLOW });
    rotate_until_issued(&rig, Service::Infobip2fa).await;
    rig.kill().await;
    change_world(&rig, &calm(&[Service::Infobip]));
    rig.run().await;
    rig.until_phase("two-factor", PhaseName::Unmanaged).await;
    rig.until_notice("two-factor", "revoke.needed").await;
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn a_look_that_began_before_a_reload_is_not_decided_by_the_new_config() {
    let mut world = calm(&[Service::Infobip]);
    world.overlap = Duration::from_secs(5);
    let rig = Rig::start_created(world).await;
    rig.rotate("billing-sms").await;
    rig.until_phase("billing-sms", PhaseName::Overlap).await;
    let requests = rig.sim.truth().requests().len();
    rig.sim.behave(Service::Infobip, |it| it.latency_ms = SLOW);
    rig.until_true("a look is under way", || rig.sim.truth().requests().len() > requests).await;
    let other = rig.path("keys/other");
    write(&other, FOREIGN);
    rig.edit_config(|it| it + &format!("\n[[keys.billing-sms.deliver]]\nkind = \"file\"\npath = {other:?}\n"));
    rig.ok(&["reload"]).await;
    rig.sim.behave(Service::Infobip, |it| it.latency_ms = 0);
    rig.until_notice("billing-sms", "key.drifted").await;
    rig.until_version("billing-sms", 2).await;
    assert_eq!(fs::read_to_string(&other).unwrap(), FOREIGN, "it was overwritten unseen");
}

/// A service that breaks off the first connection, then takes others and says nothing, and how many it had. Until the first
/// answer, of whatever kind, one key would ask for all.
async fn mute_service() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        drop(listener.accept().await.unwrap());
        let mut open = Vec::new();
        loop {
            open.push(listener.accept().await.unwrap());
            counted.store(open.len(), Ordering::Relaxed);
        }
    });
    (url, count)
}

fn keys_at_the_mute_service(rig: &Rig, url: &str, how_many: usize) -> String {
    let mut sections = other_section("mute", url, &rig.path("secrets/infobip"));
    for n in 0..how_many {
        let path = rig.path(&format!("keys/k{n}"));
        let _ = write!(
            sections,
            "\n[keys.k{n}]\nprovider = \"mute\"\nowners = [\"payments\"]\ninitial = \"create\"\nvalid_for = \"2h\"\n\
             overlap = \"1m\"\ncreate = {{ name = \"k{n}\" }}\n[[keys.k{n}.deliver]]\nkind = \"file\"\npath = {path:?}\n"
        );
    }
    sections
}

#[tokio::test]
async fn a_mute_service_does_not_hold_up_a_cutover_at_another() {
    let rig = Rig::start_created(calm(&[Service::Mobivate])).await;
    let (url, connections) = mute_service().await;
    let keys = keys_at_the_mute_service(&rig, &url, 2 * LOOKS_AT_ONCE);
    rig.edit_config(|it| it + &keys);
    let old = rig.held("campaign-sms");
    rig.sim.fault(Service::Mobivate, Call::Create, Fault::Delay { ms: LONG });
    rotate_until_issued(&rig, Service::Mobivate).await;
    rig.ok(&["reload"]).await;
    // The create that is under way has one of the places.
    let all_taken = || connections.load(Ordering::Relaxed) >= LOOKS_AT_ONCE - 1;
    rig.until_true("all places are taken", all_taken).await;
    assert_eq!(rig.held("campaign-sms"), old, "the gap is still to come");
    let delivered = rig.until_true("the new key is delivered", || rig.held("campaign-sms") != old);
    // Before the first of those that wait for the mute service gives up.
    let within = Duration::from_millis(LONG) + Duration::from_secs(10);
    assert!(within < TOTAL_TIMEOUT);
    assert!(timeout(within, delivered).await.is_ok(), "the consumer holds a dead key\n{}", rig.tail());
    assert!(rig.sim.truth().is_live(&rig.held("campaign-sms").unwrap()));
}

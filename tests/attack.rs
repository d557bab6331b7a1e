#![allow(clippy::unwrap_used, dead_code, unused_imports, missing_docs)]
#[path = "e2e/hooks.rs"]
mod hooks;
#[path = "e2e/rig.rs"]
mod rig;
#[path = "e2e/watch.rs"]
mod watch;
use rig::{Rig, calm, number};
use hooks::Hook;
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::{Call, Fault, Service, World, write_config};
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn pause(ms: u64) { tokio::time::sleep(Duration::from_millis(ms)).await }

/// T1: a leaving key with a confirm wedges.
#[tokio::test]
async fn t1_leaving_key_with_confirm() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip, Service::Infobip2fa])).await;
    let hook = Hook::of(&rig, "billing-sms");
    rig.add_to_target("billing-sms", "confirm = { command = [\"/bin/true\"] }");
    rig.run().await;
    rig.until_rest().await;
    let with = std::fs::read_to_string(rig.config()).unwrap();
    hook.hold();
    rig.rotate("billing-sms").await;
    rig.until_true("then runs", || hook.runs_for(2) == 1).await;
    write_config(rig.config().parent().unwrap(), &rig.sim, &calm(&[Service::Infobip2fa])).unwrap();
    rig.ok(&["reload"]).await;
    hook.release();
    rig.until_true("let go", || rig.log().contains("no longer managed")).await;
    pause(500).await;
    std::fs::write(rig.config(), &with).unwrap();
    rig.ok(&["reload"]).await;
    rig.rotate("billing-sms").await;
    pause(8000).await;
    let key = rig.key("billing-sms").await;
    eprintln!("T1 after 8 s: phase {:?} version {}", key.phase, number(&key));
    let at = Instant::now();
    rig.signal(Signal::TERM);
    let code = tokio::time::timeout(Duration::from_secs(29), async { rig.ended().await }).await;
    eprintln!("T1 TERM took {:?} {code:?}", at.elapsed());
    assert_eq!(number(&key), 3, "wedged");
}

/// T2: the account of a section changes while a create is in flight.
#[tokio::test]
async fn t2_account_changes_in_flight() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let before = std::fs::read_to_string(rig.config()).unwrap();
    rig.sim.fault(Service::Infobip, Call::Create, Fault::Delay { ms: 2500 });
    rig.rotate("billing-sms").await;
    rig.until_true("effect", || rig.sim.truth().calls(Service::Infobip, Call::Create) == 2).await;
    rig.edit_config(|it| it.replace("kind = \"infobip\"\n", "kind = \"infobip\"\naccount = \"moved\"\n"));
    rig.ok(&["reload"]).await;
    pause(6000).await;
    let key = rig.key("billing-sms").await;
    let live = rig.sim.truth().live(Service::Infobip).len();
    eprintln!("T2 phase {:?} version {} live {live} notices {}", key.phase, number(&key), rig.sim.hook().requests().len());
    eprintln!("T2 escrow {:?}", std::fs::read_dir(rig.path("state/escrow")).unwrap().count());
    eprintln!("T2 log {}", rig.tail());
    std::fs::write(rig.config(), before).unwrap();
    rig.ok(&["reload"]).await;
    pause(6000).await;
    let key = rig.key("billing-sms").await;
    eprintln!("T2 config put back: phase {:?} version {}", key.phase, number(&key));
    assert_eq!(number(&key), 2, "lost");
}

/// T3: a key moves to another provider: is its secret shown to the other one?
#[tokio::test]
async fn t3_secret_shown_to_another_provider() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let held = rig.held("billing-sms").unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let keep = heard.clone();
    tokio::spawn(async move {
        loop {
            let (mut s, _) = listener.accept().await.unwrap();
            let mut b = vec![0; 8192];
            let n = s.read(&mut b).await.unwrap_or(0);
            keep.lock().unwrap().push_str(&String::from_utf8_lossy(&b[..n]));
            let _ = s.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        }
    });
    rig.edit_config(|it| {
        let secret = rig.path("secrets/infobip");
        it.replace("provider = \"infobip\"", "provider = \"elsewhere\"")
            + &format!("\n[providers.elsewhere]\nkind = \"infobip\"\nbase_url = \"http://127.0.0.1:{port}\"\nusername = \"u\"\npassword = {{ file = {secret:?} }}\n")
    });
    let said = rig.cli(&["reload"]).await;
    eprintln!("T3 {} {}", said.out, said.err);
    rig.rotate("billing-sms").await;
    pause(3000).await;
    let heard = heard.lock().unwrap().clone();
    eprintln!("T3 phase {:?}", rig.key("billing-sms").await.phase);
    for line in heard.lines().filter(|it| it.contains("App") || it.starts_with("GET")) { eprintln!("T3 heard {line}"); }
    assert!(!heard.contains(&held), "the secret of the old provider's key was sent to the new provider");
}

/// T4: an unreadable answer is counted once more at each start.
#[tokio::test]
async fn t4_unreadable_counted_again() {
    let mut world = calm(&[Service::Infobip2fa]);
    world.settle = Duration::from_secs(6);
    world.more.push(("two-factor".into(), "on_ambiguous = \"create-again\"".into()));
    let mut rig = Rig::prepare(world).await;
    rig.run().await;
    rig.until_rest().await;
    rig.sim.fault(Service::Infobip2fa, Call::Create, Fault::Garbage);
    rig.rotate("two-factor").await;
    rig.until_true("lost", || rig.log().contains("answer_unreadable")).await;
    rig.kill().await;
    rig.run().await;
    pause(1000).await;
    let key = rig.key("two-factor").await;
    eprintln!("T4 phase {:?}", key.phase);
    eprintln!("T4 log {}", rig.tail());
    assert_ne!(key.phase, PhaseName::Halted);
}

/// T5: slow bodies hold all places at the socket.
#[tokio::test]
async fn t5_slow_bodies() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let mut all = Vec::new();
    for _ in 0..64 {
        let mut s = tokio::net::UnixStream::connect(World::control_socket(rig.config().parent().unwrap())).await.unwrap();
        s.write_all(b"POST /v1/keys/billing-sms/rotate HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nx").await.unwrap();
        all.push(s);
    }
    pause(20000).await;
    let said = rig.cli(&["status"]).await;
    eprintln!("T5 {:?} {} {}", said.code, said.out, said.err);
    assert_eq!(said.code, Some(0));
}

/// T6: a key that leaves while a create is in flight, and a kill.
#[tokio::test]
async fn t6_removed_while_down() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip, Service::Infobip2fa])).await;
    rig.sim.fault(Service::Infobip2fa, Call::Create, Fault::Delay { ms: 3000 });
    rig.rotate("two-factor").await;
    rig.until_true("effect", || rig.sim.truth().calls(Service::Infobip2fa, Call::Create) == 2).await;
    rig.kill().await;
    write_config(rig.config().parent().unwrap(), &rig.sim, &calm(&[Service::Infobip])).unwrap();
    let told = rig.sim.hook().requests().len();
    rig.run().await;
    pause(3000).await;
    let live = rig.sim.truth().keys(Service::Infobip2fa);
    eprintln!("T6 keys at 2fa {} notices since {} phase {:?}", live.len(), rig.sim.hook().requests().len() - told, rig.key("two-factor").await.phase);
    assert!(rig.sim.hook().requests().len() > told, "nobody was told of the lost create");
}

/// T7: a look that began before a reload is decided upon by the new config: a new target is overwritten unseen.
#[tokio::test]
async fn t7_stale_look_after_reload() {
    let mut world = calm(&[Service::Infobip]);
    world.overlap = Duration::from_secs(3);
    let rig = Rig::start_created(world).await;
    rig.rotate("billing-sms").await;
    rig.until_phase("billing-sms", PhaseName::Overlap).await;
    rig.sim.behave(Service::Infobip, |it| it.latency_ms = 3000);
    pause(3600).await;
    let other = rig.path("keys/other");
    std::fs::write(&other, "somebody-elses-key-0001").unwrap();
    rig.edit_config(|it| it + &format!("\n[[keys.billing-sms.deliver]]\nkind = \"file\"\npath = {other:?}\n"));
    rig.ok(&["reload"]).await;
    pause(9000).await;
    let now = std::fs::read_to_string(&other).unwrap();
    eprintln!("T7 target holds {} (current {})", now, rig.held("billing-sms").unwrap());
    assert_eq!(now, "somebody-elses-key-0001");
}

/// T8: keys at a service that never answers hold all permits, and a cutover waits for them.
#[tokio::test]
async fn t8_permits_in_the_gap() {
    let mut rig = Rig::prepare(calm(&[Service::Mobivate])).await;
    rig.run().await;
    rig.until_rest().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut all = Vec::new();
        loop { all.push(listener.accept().await.unwrap()); }
    });
    rig.sim.fault(Service::Mobivate, Call::Create, Fault::Delay { ms: 3000 });
    let secret = rig.path("secrets/infobip");
    let mut more = format!("\n[providers.black]\nkind = \"infobip\"\nbase_url = \"http://127.0.0.1:{port}\"\nusername = \"u\"\npassword = {{ file = {secret:?} }}\n");
    for n in 0..130 {
        let path = rig.path(&format!("keys/k{n}"));
        more += &format!("\n[keys.k{n}]\nprovider = \"black\"\nowners = [\"payments\"]\ninitial = \"create\"\nvalid_for = \"2h\"\noverlap = \"1m\"\ncreate = {{ name = \"k{n}\" }}\n[[keys.k{n}.deliver]]\nkind = \"file\"\npath = {path:?}\n");
    }
    rig.edit_config(|it| it + &more);
    let campaign = rig.held("campaign-sms").unwrap();
    rig.rotate("campaign-sms").await;
    rig.until_true("create", || rig.sim.truth().calls(Service::Mobivate, Call::Create) == 2).await;
    eprintln!("T8 {:?}", rig.cli(&["reload"]).await);
    let at = Instant::now();
    while rig.held("campaign-sms").unwrap() == campaign && at.elapsed() < Duration::from_secs(80) { pause(100).await; }
    eprintln!("T8 the consumer held a dead key for {:?}", at.elapsed());
    assert!(at.elapsed() < Duration::from_secs(10));
}

/// T7b: the control: without a look in flight, the stranger's content stays.
#[tokio::test]
async fn t7b_control() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let other = rig.path("keys/other");
    std::fs::write(&other, "somebody-elses-key-0001").unwrap();
    rig.edit_config(|it| it + &format!("\n[[keys.billing-sms.deliver]]\nkind = \"file\"\npath = {other:?}\n"));
    rig.ok(&["reload"]).await;
    pause(4000).await;
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "somebody-elses-key-0001");
}

//! No secret gets out: not into the log at its most talkative, the state, the socket's answers, notices, command lines,
//! environments or errors. The real program works against the simulated services while all kinds of things go wrong; then
//! everything that it left anywhere is searched for every secret there ever was, in every form.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may panic anywhere, and nobody uses it"
)]
#[path = "leaks/daemon.rs"]
mod daemon;
#[path = "leaks/hostile.rs"]
mod hostile;
#[path = "leaks/needles.rs"]
mod needles;
#[allow(dead_code)]
#[path = "support/smtp.rs"]
mod smtp;

use daemon::{Daemon, Evidence, PATIENCE};
use hostile::Hostile;
use needles::{Needles, decoded};
use rekeyd::simulator::{Call, Fault, HOOK_SECRET, Options, Service, Simulator, World, write_config};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const SMTP_PASSWORD: &str = "s3ndm@il \"pässw0rd\"/+of the relay";
const REFUSED_PASSWORD: &str = "0utdated \"pässw0rd\"/+of the relay";
/// A part of the URL of a webhook that is a secret as a whole.
const HOOK_TOKEN: &str = "T0kenInAnAddress/B4ckstage";
/// What a hasty operator writes or pastes where it does not belong.
const LITERAL: &str = "l1teral-5ecret-of-a-hasty-operator";
const PASTED: &str = "p4sted-where-a-k3y-does-not-bel0ng";
const KEYS: [&str; 4] = ["billing-sms", "two-factor", "campaign-sms", "invoices"];

fn world(sections: String) -> World {
    let second = Duration::from_secs(1);
    let (lifetime, rotate_before) = (600 * second, 60 * second);
    World {
        lifetime,
        rotate_before,
        overlap: second,
        announce: second,
        settle: second,
        accept_within: 2 * second,
        sections,
        ..World::default()
    }
}

fn secrets(simulator: &Simulator, dir: &Path) -> Needles {
    let mut needles = Needles::default();
    for (nth, key) in simulator.truth().all_keys().iter().enumerate() {
        needles.add(&format!("key {nth} of {}", key.service.kind()), key.secret.as_bytes());
    }
    for service in Service::ALL {
        if let Some((_, password)) = Simulator::login(service) {
            needles.add(&format!("the password of {}", service.kind()), password.as_bytes());
        }
    }
    let master = fs::read_to_string(dir.join("secrets/master-key")).unwrap();
    let bytes = |nth| u8::from_str_radix(&master[2 * nth..2 * nth + 2], 16).unwrap();
    needles.add("the master key", master.as_bytes());
    needles.add("the master key's bytes", &(0..master.len() / 2).map(bytes).collect::<Vec<u8>>());
    needles.add("the hook's secret", HOOK_SECRET.as_bytes());
    needles.add("the hook's token", HOOK_TOKEN.as_bytes());
    needles.add("the mail password", SMTP_PASSWORD.as_bytes());
    needles.add("the mail password that is refused", REFUSED_PASSWORD.as_bytes());
    needles.add("a literal secret", LITERAL.as_bytes());
    needles.add("a pasted secret", PASTED.as_bytes());
    needles.add("a key that was never issued", hostile::KEY.as_bytes());
    needles
}

/// Fails with all leaks; and shows that it would have found one, wherever it were.
fn assert_tight(mut evidence: Evidence, needles: &Needles, dir: &Path) {
    let leaks = evidence.leaks(needles);
    assert!(leaks.is_empty(), "\n{}", leaks.join("\n"));
    let master = fs::read(dir.join("secrets/master-key")).unwrap();
    for (_, bytes) in &mut evidence.0 {
        let middle = bytes.len() / 2;
        bytes.splice(middle..middle, master.iter().copied());
    }
    let planted = evidence.leaks(needles).iter().filter(|it| it.starts_with("the master key, as it is")).count();
    assert_eq!(planted, evidence.0.len(), "a secret that was planted is not found everywhere");
}

/// Runs as a target, a `then` and a `confirm`; notes what every process may see of it. As a target it fails once, and
/// repeats what it was given.
fn write_recorder(dir: &Path) -> String {
    let children = dir.join("children");
    fs::create_dir(&children).unwrap();
    let path = dir.join("recorder");
    let script = format!(
        "#!/bin/sh\nseen={0}/$1-$$\ncat /proc/$$/cmdline /proc/$$/environ > $seen\n[ $1 = exec ] || exit 0\n\
         [ -e {0}/again ] && exec cat > /dev/null\ntouch {0}/again\ncat >&2\nexit 7\n",
        children.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn hooked_sections(dir: &Path) -> String {
    let recorder = write_recorder(dir);
    let confirm = format!("confirm = {{ command = [\"{recorder}\", \"confirm\"] }}");
    let env_file = dir.join("keys/two-factor.env");
    format!(
        "[[keys.billing-sms.deliver]]\nkind = \"exec\"\ncommand = [\"{recorder}\", \"exec\"]\n{confirm}\n\n\
         [[keys.two-factor.deliver]]\nkind = \"file\"\npath = \"{}\"\nmode = \"0600\"\nformat = \"env\"\nvariable = \"KEY\"\n\
         then = {{ command = [\"{recorder}\", \"then\"] }}\n{confirm}\n",
        env_file.display()
    )
}

/// The written config, with a reserve that is searched in no time.
fn frugal(config: &str) -> String {
    config.replace("[daemon]\n", "[daemon]\nreserve = \"64KiB\"\n")
}

/// The written config, with a mail login and a webhook whose whole URL is a secret besides.
fn with_logins(dir: &Path, simulator: &Simulator, config: &str, mail: &smtp::Server, password: &str) -> String {
    let secret = |name: &str, text: &str| {
        let path = dir.join("secrets").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        format!("{{ file = \"{}\" }}", path.display())
    };
    let password = secret("smtp", password);
    let url = secret("hook-url", &format!("{}/{HOOK_TOKEN}?token={HOOK_TOKEN}", simulator.hook().url()));
    let hook = secret("hook", HOOK_SECRET);
    let login = format!("port = {}\nusername = \"relay-user\"\npassword = {password}\n", mail.port);
    config
        .replace(&format!("port = {}\n", simulator.mail().port()), &login)
        .replace("webhook = [", &format!("webhook = [{{ url = {url}, secret = {hook} }}, "))
}

async fn mail_server(password: &'static str) -> smtp::Server {
    smtp::Server::start(smtp::Behaviour { login: Some(("relay-user", password)), ..Default::default() }).await
}

fn notices(mails: &[String], simulator: &Simulator, evidence: &mut Evidence) {
    mails.iter().for_each(|it| evidence.add("a mail", decoded(it)));
    simulator.mail().mails().iter().for_each(|it| evidence.add("a mail", decoded(&it.raw)));
    for hooked in simulator.hook().requests() {
        // The path is the secret URL's own.
        evidence.add("a webhook", format!("{:?}\n{}", hooked.headers, hooked.body));
    }
}

/// Everything that can be read at the socket and with the commands but the secrets themselves, and mistakes with each.
async fn ask_everything(daemon: &Daemon, evidence: &mut Evidence) {
    let mut paths = vec![
        "/v1/status".to_owned(),
        "/v1/plan".into(),
        "/v1/plan/facts".into(),
        "/v1/plan?for=never".into(),
        "/v1/history".into(),
        "/no".into(),
    ];
    for key in KEYS.iter().chain(&["nobody"]) {
        paths.extend([format!("/v1/keys/{key}"), format!("/v1/keys/{key}/history")]);
    }
    for path in paths {
        daemon.ask("GET", &path, "", evidence).await;
    }
    for body in [
        format!("\"{PASTED}\""),
        format!("[\"{PASTED}\"]"),
        PASTED.to_owned(),
        format!("{{\"secret\": [\"{PASTED}\"]}}"),
        format!("{{\"secret\": {{\"{PASTED}\": 1}}}}"),
        format!("{{\"secret\": \"{PASTED}\", \"sure\": true}}"),
        format!("{{\"secret\": \"{PASTED}\""),
        format!("{{\"secret\": \"{PASTED}\", \"age_unknown\": \"{PASTED}\"}}"),
    ] {
        daemon.ask("PUT", "/v1/keys/invoices/secret", &body, evidence).await;
        daemon.ask("POST", "/v1/keys/invoices/rotate", &body, evidence).await;
    }
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["status", "nobody"],
        &["history", "--json"],
        &["history"],
        &["plan", "--json"],
        &["plan"],
        &["plan", "-v", "--full"],
        &["plan", "--ics"],
        &["plan", "--assume-new"],
    ] {
        daemon.run(args, b"", evidence).await;
    }
    daemon.run(&["check"], b"", evidence).await;
}

async fn adopt_wrongly(daemon: &Daemon, evidence: &mut Evidence) {
    let broken = [b"\xff\xfe ", PASTED.as_bytes()].concat();
    let two = format!("{PASTED}\n{PASTED}\n");
    for (args, stdin) in [
        (&["adopt", "invoices", "--age-unknown"][..], PASTED.as_bytes()),
        (&["adopt", "nobody", "--age-unknown"], PASTED.as_bytes()),
        (&["adopt", "invoices"], PASTED.as_bytes()),
        (&["adopt", "invoices", "--age-unknown"], &broken),
        (&["adopt", "two-factor", "--age-unknown"], two.as_bytes()),
    ] {
        let code = daemon.run(args, stdin, evidence).await;
        assert_ne!(code, Some(0), "{args:?}");
    }
}

/// The config with a secret in it where a reference belongs, in many ways.
fn with_literals(config: &str) -> Vec<String> {
    let instead = |field: &str, line: &str| {
        let lines = config.lines().map(|it| if it.starts_with(field) { line } else { it });
        lines.collect::<Vec<_>>().join("\n")
    };
    let password = [
        format!("password = \"{LITERAL}\""),
        format!("password = \"{LITERAL}"),
        format!("password = {LITERAL}"),
        format!("password = \"\"\"{LITERAL}"),
        format!("password = [\"{LITERAL}\"]"),
        format!("password = {{ literal = \"{LITERAL}\" }}"),
        format!("password = {{ file = \"/dev/null\", text = \"{LITERAL}\" }}"),
        format!("password = {{ file = [\"{LITERAL}\"] }}"),
        format!("passwort = \"{LITERAL}\""),
        format!("password = \"{LITERAL}\"\npassword = \"{LITERAL}\""),
        format!("password \"{LITERAL}\""),
    ];
    let mut broken: Vec<_> = password.iter().map(|it| instead("password = ", it)).collect();
    broken.push(instead("master_key = ", &format!("master_key = \"{LITERAL}\"")));
    broken.push(instead("apikey = ", &format!("apikey = \"{LITERAL}\"")));
    broken.push(instead("base_url = ", &format!("base_url = \"http://acme:{LITERAL}@127.0.0.1:1\"")));
    broken.push(instead(
        "webhook = ",
        &format!("webhook = [{{ url = \"https://a:{LITERAL}@b.example\", secret = \"whsec_{LITERAL}\" }}]"),
    ));
    broken
}

async fn break_config(daemon: &Daemon, dir: &Path, config: &str, evidence: &mut Evidence) {
    let path = dir.join("rekeyd.toml");
    for broken in with_literals(config) {
        fs::write(&path, &broken).unwrap();
        for args in [&["check"][..], &["check", "--json"], &["reload"], &["run", "-vv"]] {
            let code = daemon.run(args, b"", evidence).await;
            assert_ne!(code, Some(0), "{args:?} takes\n{broken}");
        }
    }
    fs::write(&path, config).unwrap();
}

async fn rotate(daemon: &Daemon, evidence: &mut Evidence) {
    let args = ["--now", "--reason", "a drill", "--wait", "--timeout", "6s"];
    daemon.run(&[&["rotate"], &KEYS[..], &args].concat(), b"", evidence).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_secret_gets_out_whatever_goes_wrong() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (dir, evidence) = (folder.path(), &mut Evidence::default());
    let path = write_config(dir, &simulator, &world(hooked_sections(dir))).unwrap();
    let plain = frugal(&fs::read_to_string(&path).unwrap());
    let mail = mail_server(SMTP_PASSWORD).await;
    let config = with_logins(dir, &simulator, &plain, &mail, SMTP_PASSWORD);
    fs::write(&path, &config).unwrap();

    // The account of a service that can only read its one key has one already.
    simulator.stranger_creates_key(Service::Mobivate);
    let mut daemon = Daemon::start(dir).await;
    let delivered = async {
        while !KEYS.iter().all(|it| World::key_file(dir, it).exists()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, delivered).await.is_ok(), "no first keys:\n{}", daemon.log());
    rotate(&daemon, evidence).await;
    daemon.process(evidence);

    simulator.fault(Service::Infobip, Call::Create, Fault::LostAnswer);
    simulator.fault(Service::Infobip2fa, Call::Create, Fault::ErrorBefore { status: 401 });
    simulator.fault(Service::Mobivate, Call::Create, Fault::Garbage);
    simulator.fault(Service::SingleInvoice, Call::Create, Fault::CutShort);
    rotate(&daemon, evidence).await;
    ask_everything(&daemon, evidence).await;
    adopt_wrongly(&daemon, evidence).await;
    break_config(&daemon, dir, &config, evidence).await;

    // Killed in the middle of its work, and after the restart the mail password is wrong and the webhook is away.
    simulator.behave(Service::Infobip, |it| it.latency_ms = 300);
    daemon.run(&[&["rotate", "--compromised"], &KEYS[..]].concat(), b"", evidence).await;
    let late = mail_server(REFUSED_PASSWORD).await;
    fs::write(&path, with_logins(dir, &simulator, &plain, &late, SMTP_PASSWORD)).unwrap();
    simulator.hook().set_open(false).await;
    daemon.restart().await;
    let found = simulator.stranger_creates_key(Service::Infobip).unwrap();
    let args = ["adopt", "billing-sms", "--age-unknown", "--deliver", "--id", &found.id];
    daemon.run(&args, found.secret.as_bytes(), evidence).await;
    rotate(&daemon, evidence).await;
    // Somebody else's key in a target, and a current key that dies.
    fs::write(World::key_file(dir, "invoices"), PASTED).unwrap();
    let in_use = fs::read_to_string(World::key_file(dir, "two-factor")).unwrap();
    simulator.stranger_revokes_key(Service::Infobip2fa, &in_use);
    rotate(&daemon, evidence).await;
    ask_everything(&daemon, evidence).await;
    daemon.process(evidence);
    daemon.stop().await;

    daemon.leavings(evidence);
    evidence.folder(&dir.join("children"));
    notices(&[mail.mails(), late.mails()].concat(), &simulator, evidence);
    evidence.add("the config", config);
    for fault in [Fault::LostAnswer, Fault::ErrorBefore { status: 401 }, Fault::Garbage, Fault::CutShort] {
        assert!(simulator.truth().requests().iter().any(|it| it.fault == Some(fault)), "{fault:?} did not strike");
    }
    for (place, text) in [
        ("log 1", " DEBUG "),
        ("log 2", " DEBUG "),
        ("log", "recorder: exit status: 7"),
        ("children/exec", "REKEYD_KEY_NAME=billing-sms"),
        ("children/then", "REKEYD_KEY_NAME=two-factor"),
        ("children/confirm", "REKEYD_KEY_NAME="),
        ("a mail", "two-factor"),
        ("a webhook", "billing-sms"),
        ("the answer to GET /v1/keys/invoices", "invoices"),
        ("the daemon's environ", "RUST_LOG="),
        ("the output of [\"check\"]", "password"),
        ("state/", ""),
    ] {
        assert!(evidence.has(place, text), "nothing in {place} says {text:?}");
    }
    assert_tight(std::mem::take(evidence), &secrets(&simulator, dir), dir);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_that_repeats_what_it_is_told_is_not_repeated() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let hostile = Hostile::start().await;
    let evidence = &mut Evidence::default();
    let folders: Vec<_> = (0..hostile::ANSWERS / 2).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut daemons = Vec::new();
    for (nth, folder) in folders.iter().enumerate() {
        let path = write_config(folder.path(), &simulator, &world(String::new())).unwrap();
        let mut config = frugal(&fs::read_to_string(&path).unwrap());
        for service in Service::ALL {
            let echo = format!("\"{}/{}-{}\"", hostile.url, service.kind(), 2 * nth);
            config = config.replace(&format!("\"{}\"", simulator.url(service)), &echo);
        }
        fs::write(&path, config).unwrap();
        daemons.push(Daemon::start(folder.path()).await);
    }
    let parts: Vec<_> =
        (0..daemons.len()).flat_map(|nth| Service::ALL.map(|it| format!("{}-{}", it.kind(), 2 * nth))).collect();
    let asked_less = |than| parts.iter().filter(|it| hostile.count(it) < than).collect::<Vec<_>>();
    let came = async |times| {
        while !asked_less(times).is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, came(1)).await.is_ok(), "never asked: {:?}", asked_less(1));
    // Whoever was refused for good asks only once.
    let _ = tokio::time::timeout(Duration::from_secs(8), came(2)).await;
    for mut daemon in daemons {
        ask_everything(&daemon, evidence).await;
        daemon.process(evidence);
        daemon.kill().await;
        daemon.leavings(evidence);
    }
    notices(&[], &simulator, evidence);
    assert!(evidence.has("a mail", "401") || evidence.has("log", "401"), "nobody was told of the refusal");
    let dir = folders[0].path();
    assert_tight(std::mem::take(evidence), &secrets(&simulator, dir), dir);
}

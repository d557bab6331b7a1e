//! The listener: what machines read of the daemon, over real TCP.
use crate::rig::{PATIENCE, Rig, calm};
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::{Service, World};
use rekeyd::web::{HEADER_BYTES, HEADER_WITHIN};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

/// What the log says before the address.
const SERVED: &str = "metrics and health are served address=";

/// An answer as it came.
struct Page {
    status: u16,
    head: String,
    body: String,
}

async fn listening(world: World) -> Rig {
    let mut rig = Rig::prepare(world).await;
    rig.edit_config(|it| it.replacen("[daemon]\n", "[daemon]\nlisten = \"127.0.0.1:0\"\n", 1));
    rig.run().await;
    rig.until_rest().await;
    rig
}

fn address(rig: &Rig) -> SocketAddr {
    let log = rig.log();
    let (_, after) = log.rsplit_once(SERVED).unwrap_or_else(|| panic!("no address in:\n{log}"));
    after.split_whitespace().next().unwrap().parse().unwrap()
}

/// Sends these bytes, and reads until the daemon closes the connection.
async fn send(rig: &Rig, request: &str) -> Page {
    let exchange = async {
        let mut stream = TcpStream::connect(address(rig)).await.unwrap();
        // The daemon may answer, and close, before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    Page { status, head: head.to_lowercase(), body: body.to_owned() }
}

async fn read(rig: &Rig, method: &str, path: &str) -> Page {
    send(rig, &format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await
}

pub(crate) async fn scrape(rig: &Rig) -> String {
    let page = read(rig, "GET", "/metrics").await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.head.contains("content-type: text/plain; version=0.0.4"), "{}", page.head);
    page.body
}

/// The value of a sample, which is named with all its labels.
#[track_caller]
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|it| it.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in\n{text}")).parse().unwrap()
}

#[tokio::test]
async fn the_metrics_follow_a_rotation_and_prometheus_takes_them() {
    // The overlap is to be seen.
    let overlap = Duration::from_secs(6);
    let rig = listening(World { overlap, ..calm(&[Service::Infobip, Service::Mobivate]) }).await;
    let before = scrape(&rig).await;
    let succeeded = "rekeyd_rotations_total{provider=\"infobip\",result=\"succeeded\"}";
    let created = "rekeyd_provider_requests_total{provider=\"infobip\",call=\"create\",result=\"ok\"}";
    let delivered = "rekeyd_rotation_phase_duration_seconds_count{phase=\"deliver\"}";
    let last = "rekeyd_key_last_rotation_timestamp_seconds{key=\"billing-sms\"}";
    rig.rotate("billing-sms").await;
    rig.until_phase("billing-sms", PhaseName::Overlap).await;
    let between = scrape(&rig).await;
    for counted in [succeeded, created, delivered] {
        assert_eq!(value(&between, counted), value(&before, counted) + 1.0, "{counted}");
    }
    assert_eq!(value(&between, "rekeyd_keys{phase=\"overlap\"}"), 1.0);
    assert!(value(&between, last) > value(&before, last), "{between}");
    let left = "rekeyd_provider_creates_left{provider=\"infobip\"}";
    assert_eq!(value(&between, left), value(&before, left) - 1.0);
    rig.rotate("campaign-sms").await;
    rig.until_version("campaign-sms", 2).await;
    rig.until_version("billing-sms", 2).await;
    rig.until_told().await;
    let after = scrape(&rig).await;
    assert_eq!(value(&after, "rekeyd_cutover_gap_seconds_count"), 1.0, "a cutover has a gap");
    assert_eq!(
        value(&after, "rekeyd_provider_requests_total{provider=\"infobip\",call=\"revoke\",result=\"ok\"}"),
        1.0
    );
    assert!(value(&after, "rekeyd_notices_total{channel=\"webhook\",result=\"sent\"}") > 0.0);
    assert_eq!(value(&after, "rekeyd_outbox_pending"), 0.0);
    assert!(value(&after, "rekeyd_last_sweep_timestamp_seconds") > value(&before, "process_start_time_seconds"));
    assert!(value(&after, "process_resident_memory_bytes") > 1e6);
    promtool_takes(&after).await;
}

async fn promtool_takes(text: &str) {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    let said = child.wait_with_output().await.unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{}\n{text}", String::from_utf8_lossy(&said.stderr));
}

#[tokio::test]
async fn attention_is_a_series_while_it_is_true_and_none_afterwards() {
    let rig = listening(calm(&[Service::Infobip])).await;
    let attention = "rekeyd_key_attention{key=\"billing-sms\",";
    assert!(!scrape(&rig).await.contains(attention));
    let (folder, aside) = (rig.path("keys"), rig.path("aside"));
    std::fs::rename(&folder, &aside).unwrap();
    rig.rotate("billing-sms").await;
    rig.until("billing-sms", "in trouble", |it| !it.attention.is_empty()).await;
    assert!(scrape(&rig).await.contains(attention));
    std::fs::rename(&aside, &folder).unwrap();
    rig.ok(&["resume", "billing-sms"]).await;
    rig.until_version("billing-sms", 2).await;
    assert!(!scrape(&rig).await.contains(attention));
}

#[tokio::test]
async fn it_is_ready_until_the_config_on_disk_is_broken_and_again_when_that_is_right() {
    let rig = listening(calm(&[Service::Infobip])).await;
    assert_eq!(read(&rig, "GET", "/readyz").await.status, 200);
    let right = std::fs::read_to_string(rig.config()).unwrap();
    rig.edit_config(|it| it + "\n[owners.typo]\nhunter2 = 1\n");
    assert_eq!(rig.cli(&["reload"]).await.code, Some(78));
    let unready = read(&rig, "GET", "/readyz").await;
    assert_eq!((unready.status, unready.body.as_str()), (503, "the newest config is not in use; see rekeyd check\n"));
    assert_eq!(read(&rig, "GET", "/healthz").await.status, 200, "it is alive all the same");
    assert_eq!(value(&scrape(&rig).await, "rekeyd_config_last_reload_successful"), 0.0);
    std::fs::write(rig.config(), right).unwrap();
    rig.ok(&["reload"]).await;
    assert_eq!(read(&rig, "GET", "/readyz").await.status, 200);
}

#[tokio::test]
async fn nothing_else_is_there_and_nothing_can_be_changed() {
    let rig = listening(calm(&[Service::Infobip])).await;
    let front = read(&rig, "GET", "/").await;
    assert_eq!(front.status, 200);
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert!(front.body.contains(path), "{}", front.body);
        let head = read(&rig, "HEAD", path).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""));
    }
    for path in ["/v1/status", "/v1/keys/billing-sms/secret", "/metrics/", "//", "/../metrics"] {
        assert_eq!(read(&rig, "GET", path).await.status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let refused = read(&rig, method, "/metrics").await;
        assert_eq!(refused.status, 405, "{method}");
        assert!(refused.head.contains("allow: get, head"), "{}", refused.head);
    }
    let secret = rig.held("billing-sms").unwrap();
    assert!(!scrape(&rig).await.contains(&secret));
}

#[tokio::test]
async fn whoever_is_slow_or_says_too_much_is_cut_off_and_others_are_served() {
    let rig = listening(calm(&[Service::Infobip])).await;
    let large = format!("GET / HTTP/1.1\r\nhost: x\r\nlong: {}\r\n\r\n", "x".repeat(2 * HEADER_BYTES));
    assert_eq!(send(&rig, &large).await.status, 431);
    let began = rekeyd::clock::now();
    let (slow, served) = tokio::join!(send(&rig, "GET /metrics HTTP/1.1\r\n"), read(&rig, "GET", "/healthz"));
    assert_eq!((slow.body.as_str(), served.status), ("", 200));
    assert!(rekeyd::clock::now().since(began) >= HEADER_WITHIN);
}

#[tokio::test]
async fn an_address_that_is_taken_stops_the_start_and_another_one_needs_a_restart() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = |address: SocketAddr| format!("[daemon]\nlisten = \"{address}\"\n");
    // Once that one is free, anybody on this machine may have it.
    let (first, free) = (listen(taken.local_addr().unwrap()), listen(SocketAddr::from(([127, 0, 0, 1], 0))));
    rig.edit_config(|it| it.replacen("[daemon]\n", &first, 1));
    let ended = rig.daemon_command().stderr(Stdio::piped()).spawn().unwrap().wait_with_output().await.unwrap();
    assert_eq!(ended.status.code(), Some(73));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("daemon.listen: 127.0.0.1:"));
    rig.edit_config(|it| it.replacen(&first, &free, 1));
    rig.run().await;
    rig.edit_config(|it| it.replacen(&free, "[daemon]\n", 1));
    let refused = rig.cli(&["reload"]).await;
    assert!(refused.err.contains("daemon.listen takes effect at a start only"), "{}", refused.err);
}

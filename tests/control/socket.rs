//! The control socket over a real Unix socket, with an engine that answers from a fixture.
use crate::fixture::*;
use rekeyd::config::Loaded;
use rekeyd::control::client::{Client, ClientError};
use rekeyd::control::problem::{Fault, Kind};
use rekeyd::control::requests::{AdoptRequest, ReloadRequest, ResumeRequest, RotateRequest, SecretText, VerbRequest};
use rekeyd::control::server::{BindError, Load, Server};
use rekeyd::control::view::PlanAsk;
use rekeyd::core::names::KeyName;
use rekeyd::core::plan::{Command, CommandRefused};
use rekeyd::engine::adopt::{AdoptRefused, Adoption, Offer};
use rekeyd::engine::handle::{Done, Handle, History, REQUESTS_WAITING, Refused, Request, Snapshot, Which};
use rekeyd::secret::Secret;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What the engine was asked, and what it answers.
#[derive(Clone, Default)]
pub(crate) struct Desk {
    pub(crate) asked: Arc<Mutex<Vec<Command>>>,
    rejected: Arc<Mutex<Vec<String>>>,
    pub(crate) offers: Arc<Mutex<Vec<Offer>>>,
    refusal: Option<Refused>,
}

pub(crate) struct Daemon {
    client: Client,
    pub(crate) desk: Desk,
    pub(crate) socket: PathBuf,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

pub(crate) async fn daemon(snapshot: Snapshot, desk: Desk) -> Daemon {
    daemon_with(snapshot, desk, Arc::new(|| Err(vec![fault()]))).await
}

async fn daemon_with(snapshot: Snapshot, desk: Desk, load: Load) -> Daemon {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("run/control.sock");
    let (requests, waiting) = mpsc::channel(REQUESTS_WAITING);
    tokio::spawn(answer(waiting, snapshot, desk.clone()));
    let stop = CancellationToken::new();
    let server = Server::bind(&socket).await.unwrap();
    tokio::spawn(server.serve(Handle { requests }, load, stop.clone()));
    Daemon { client: Client::new(&socket).unwrap(), desk, socket, stop, _dir: dir }
}

async fn answer(mut waiting: mpsc::Receiver<Request>, snapshot: Snapshot, desk: Desk) {
    while let Some(request) = waiting.recv().await {
        match request {
            Request::Snapshot(reply) => drop(reply.send(snapshot.clone())),
            Request::Command { command, reply, .. } => {
                desk.asked.lock().unwrap().push(*command);
                let done = Done { message: "done".to_owned(), attempt: Some(8) };
                drop(reply.send(desk.refusal.clone().map_or(Ok(done), Err)));
            }
            Request::Commands { which: Which::Keys(names), reply, .. } => {
                let one = |name: KeyName| match desk.refusal.clone().filter(|_| name.as_str() == "voice") {
                    Some(refusal) => (name, Err(refusal)),
                    None => (name, Ok(Done { message: "done".to_owned(), attempt: None })),
                };
                drop(reply.send(Ok(names.into_iter().map(one).collect())));
            }
            Request::Commands { which, reply, .. } => {
                let (what, known) = (format!("no key is of {which:?}"), "the owners are: payments".to_owned());
                drop(reply.send(Err(Refused::NoMatch { what, known })));
            }
            Request::Settings(reply) => drop(reply.send(Arc::clone(&snapshot.settings))),
            Request::Adopt { offer, reply, .. } => {
                let fingerprint = offer.secret.as_ref().map(Secret::fingerprint);
                let refused = desk.refusal.clone().filter(|_| offer.dry_run);
                let done = Some(Done { message: "adopted".to_owned(), attempt: None }).filter(|_| !offer.dry_run);
                let refusal = desk.refusal.clone().filter(|_| !offer.dry_run);
                desk.offers.lock().unwrap().push(*offer);
                let adoption = Adoption { fingerprint, refused, done, ..Adoption::default() };
                drop(reply.send(refusal.map_or(Ok(adoption), Err)));
            }
            Request::Reveal { name, reply, .. } if name.as_str() == "billing-sms" => {
                drop(reply.send(Ok((3, Secret::from("hunter2".to_owned())))));
            }
            Request::Reveal { name, reply, .. } => drop(reply.send(Err(Refused::NoVersion(name)))),
            Request::History { name, reply, .. } => {
                let rotations = vec![(name.unwrap_or(crate::fixture::name("billing-sms")), rotation())];
                drop(reply.send(Ok(History { rotations, ..History::default() })));
            }
            Request::Backup { reply, .. } => drop(reply.send(Ok(b"rekeyd-backup 1\n".to_vec()))),
            Request::Reload { reply, .. } => drop(reply.send(Ok(Done { message: "in use".to_owned(), attempt: None }))),
            Request::ConfigRejected { why, reply, .. } => {
                desk.rejected.lock().unwrap().push(why);
                let _ = reply.send(());
            }
            Request::AckLetters { reply, .. } => drop(reply.send(Err(Refused::NoDeadLetters))),
            // Only the listener asks.
            Request::Pulse(_) => {}
            // Only the socket for units does.
            Request::Credential { .. } | Request::CredentialRead(_) => {}
            Request::TryChannels { reply, .. } => drop(reply.send(Vec::new())),
            Request::Sweep => {}
        }
    }
}

fn fault() -> Fault {
    let hint = Some("write 14d".to_owned());
    Fault { file: "a.toml".into(), line: 6, column: 10, message: "not a duration".into(), hint }
}

fn adopt(secret: &str) -> AdoptRequest {
    AdoptRequest { secret: Some(SecretText(Secret::from(secret.to_owned()))), ..AdoptRequest::default() }
}

fn kind<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> Kind {
    answer.unwrap_err().problem().expect("a problem")
}

#[tokio::test]
async fn what_the_engine_knows_can_be_read() {
    let daemon = daemon(world(), Desk::default()).await;
    let status = daemon.client.status().await.unwrap();
    assert_eq!(status.keys.len(), 7);
    assert_eq!(daemon.client.key("voice").await.unwrap().kind.as_deref(), Some("mobivate"));
    assert!(!daemon.client.plan(&PlanAsk::default()).await.unwrap().entries.is_empty());
    assert_eq!(daemon.client.history(None, None, None).await.unwrap().rotations.len(), 1);
    let since = Some(now().into());
    let past = daemon.client.history(Some("voice"), since, since).await.unwrap();
    assert_eq!(past.rotations[0].key.as_str(), "voice");
}

#[tokio::test]
async fn an_unknown_key_and_an_unknown_path_are_problems_of_their_own() {
    let daemon = daemon(world(), Desk::default()).await;
    assert_eq!(kind(daemon.client.key("nobody").await), Kind::NoSuchKey);
    assert_eq!(kind(daemon.client.key("../status").await), Kind::NoSuchKey);
    let answer = raw(&daemon, "GET /v2/status HTTP/1.1").await;
    assert!(answer.contains("404") && answer.contains("urn:rekeyd:problem:no-such-path"), "{answer}");
    let answer = raw(&daemon, "DELETE /v1/status HTTP/1.1").await;
    assert!(answer.contains("405") && answer.contains("application/problem+json"), "{answer}");
}

#[tokio::test]
async fn a_verb_reaches_the_engine_with_who_asked() {
    let daemon = daemon(world(), Desk::default()).await;
    let ask = RotateRequest { now: true, compromised: false, reason: Some("audit".to_owned()), key: None };
    let done = daemon.client.rotate("voice", &ask).await.unwrap();
    assert_eq!((done.message.as_str(), done.attempt), ("done", Some(8)));
    let why = VerbRequest { reason: Some("audit".to_owned()) };
    daemon.client.abandon("voice", &why).await.unwrap();
    let asked = daemon.desk.asked.lock().unwrap().clone();
    let [Command::Rotate(wish), Command::Abandon] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(wish.actor.as_ref().unwrap().uid, rustix::process::geteuid().as_raw());
    assert_eq!((wish.now, wish.reason.as_deref()), (true, Some("audit")));
}

#[tokio::test]
async fn a_refusal_of_the_core_keeps_its_kind() {
    for (why, expected) in [
        (CommandRefused::Phase, Kind::Phase),
        (CommandRefused::Dead, Kind::KeyDead),
        (CommandRefused::Unverified, Kind::KeyUnverified),
        (CommandRefused::OldKeyEnding, Kind::OldKeyEnding),
        (CommandRefused::Unadopted, Kind::Unadopted),
    ] {
        let desk = Desk { refusal: Some(Refused::Command(why)), ..Desk::default() };
        let daemon = daemon(world(), desk).await;
        assert_eq!(kind(daemon.client.abandon("voice", &VerbRequest::default()).await), expected);
    }
}

#[tokio::test]
async fn what_is_refused_for_one_key_is_done_for_the_others() {
    let desk = Desk { refusal: Some(Refused::Command(CommandRefused::Unadopted)), ..Desk::default() };
    let daemon = daemon(world(), desk).await;
    let which = Which::Keys(vec![name("expired"), name("voice")]);
    let done = daemon.client.resume(&ResumeRequest { which, reason: None }).await.unwrap();
    let [expired, voice] = done.as_slice() else { panic!("{done:?}") };
    assert_eq!((expired.done.message.as_str(), &expired.problem), ("done", &None));
    assert_eq!(voice.problem.as_ref().unwrap().kind, Kind::Unadopted);
    let nobody = ResumeRequest { which: Which::Owner("nobody".to_owned()), reason: None };
    let error = daemon.client.resume(&nobody).await.unwrap_err();
    assert!(error.to_string().contains("the owners are: payments"), "{error}");
}

#[tokio::test]
async fn a_selection_that_is_none_and_a_field_that_nobody_reads_are_refused() {
    let daemon = daemon(world(), Desk::default()).await;
    for body in [
        "",
        "{}",
        "{\"which\": \"everything\"}",
        "{\"which\": \"all\", \"untill\": 1}",
        "{\"which\": {\"keys\": \"voice\"}}",
    ] {
        let answer = raw_body(&daemon, "POST /v1/resume HTTP/1.1", body).await;
        assert!(answer.contains("400") && answer.contains("no resume request"), "{body}: {answer}");
    }
}

#[tokio::test]
async fn what_is_said_of_a_key_reaches_the_engine_with_who_said_it() {
    let daemon = daemon(world(), Desk::default()).await;
    let end = at("2027-01-01T00:00:00Z");
    let ask = AdoptRequest { valid_to: Some(end.into()), id: Some("42".to_owned()), ..adopt("hunter2") };
    let report = daemon.client.adopt("voice", &ask).await.unwrap();
    assert_eq!((report.message.as_str(), report.adoptable), ("adopted", true));
    let offer = daemon.desk.offers.lock().unwrap().pop().unwrap();
    assert_eq!((offer.valid_to, offer.id.as_deref()), (Some(end), Some("42")));
    assert_eq!(offer.secret.unwrap().fingerprint(), Secret::from("hunter2".to_owned()).fingerprint());
    assert_eq!(offer.by.actor.uid, rustix::process::geteuid().as_raw());
    let from_target = AdoptRequest { from_target: true, ..AdoptRequest::default() };
    daemon.client.adopt("voice", &from_target).await.unwrap();
    assert!(daemon.desk.offers.lock().unwrap().pop().unwrap().secret.is_none());
}

#[tokio::test]
async fn an_adoption_names_one_key_of_the_config_and_one_source_of_it() {
    let daemon = daemon(world(), Desk::default()).await;
    let both = AdoptRequest { from_target: true, ..adopt("hunter2") };
    for ask in [adopt(""), both, AdoptRequest::default()] {
        assert_eq!(kind(daemon.client.adopt("voice", &ask).await), Kind::BadRequest);
    }
    assert_eq!(kind(daemon.client.adopt("nobody", &adopt("hunter2")).await), Kind::NoSuchKey);
    assert_eq!(kind(daemon.client.adopt("gone", &adopt("hunter2")).await), Kind::Unmanaged);
}

#[tokio::test]
async fn a_dry_run_answers_with_the_refusal_and_anything_else_fails_with_it() {
    for (why, expected) in [
        (Refused::Adopt(AdoptRefused::TargetsDiffer("a, b".to_owned())), Kind::TargetsDiffer),
        (Refused::Adopt(AdoptRefused::NothingInTargets { will_be_created: false }), Kind::NothingInTargets),
        (Refused::Adopt(AdoptRefused::TargetUnreadable("file:/a".into(), "no".to_owned())), Kind::TargetUnreadable),
        (Refused::Adopt(AdoptRefused::Id("it is wrong".to_owned())), Kind::KeyId),
        (Refused::Adopt(AdoptRefused::NotListed), Kind::KeyUnverified),
        (Refused::Adopt(AdoptRefused::Dates("unknown".to_owned(), "say it")), Kind::KeyDates),
        (Refused::Command(CommandRefused::Dead), Kind::KeyDead),
    ] {
        let desk = Desk { refusal: Some(why), ..Desk::default() };
        let daemon = daemon(world(), desk).await;
        let report = daemon.client.adopt("voice", &AdoptRequest { dry_run: true, ..adopt("hunter2") }).await.unwrap();
        assert!(!report.adoptable);
        assert_eq!(report.refused.unwrap().kind, expected);
        assert_eq!(kind(daemon.client.adopt("voice", &adopt("hunter2")).await), expected);
    }
}

#[tokio::test]
async fn a_body_that_can_not_be_read_is_never_quoted() {
    let daemon = daemon(world(), Desk::default()).await;
    let body = r#"{"secret":"hunter2","age_unknown":"hunter2"}"#;
    let answer = raw_body(&daemon, "PUT /v1/keys/voice/secret HTTP/1.1", body).await;
    assert!(answer.contains("400") && answer.contains("no adopt request"), "{answer}");
    assert!(!answer.contains("hunter2"), "{answer}");
}

#[tokio::test]
async fn a_body_without_end_is_refused() {
    let daemon = daemon(world(), Desk::default()).await;
    let secret = "x".repeat(rekeyd::control::server::BODY_BYTES);
    let ask = AdoptRequest { age_unknown: true, ..adopt(&secret) };
    assert_eq!(kind(daemon.client.adopt("voice", &ask).await), Kind::TooLarge);
}

#[tokio::test]
async fn a_revealed_secret_is_not_to_be_stored() {
    let daemon = daemon(world(), Desk::default()).await;
    let revealed = daemon.client.reveal("billing-sms").await.unwrap();
    assert_eq!((revealed.version, revealed.secret.0.expose()), (3, b"hunter2".as_slice()));
    assert!(!format!("{revealed:?}").contains("hunter2"));
    let answer = raw(&daemon, "GET /v1/keys/billing-sms/secret HTTP/1.1").await;
    assert!(answer.to_lowercase().contains("cache-control: no-store"), "{answer}");
    assert_eq!(kind(daemon.client.reveal("new-one").await), Kind::NoVersion);
}

#[tokio::test]
async fn a_config_with_faults_stays_out_of_use_and_every_fault_is_told() {
    let daemon = daemon(world(), Desk::default()).await;
    let ClientError::Problem(problem) = daemon.client.reload(&ReloadRequest::default()).await.unwrap_err() else {
        panic!("no problem")
    };
    assert_eq!((problem.kind, problem.faults.as_slice()), (Kind::ConfigFaults, [fault()].as_slice()));
    let rejected = daemon.desk.rejected.lock().unwrap().clone();
    assert!(rejected[0].contains("a.toml:6:10: not a duration (write 14d)"), "{rejected:?}");
}

#[tokio::test]
async fn a_good_config_is_in_use_when_reload_answers() {
    let settings = (*world().settings).clone();
    let daemon = daemon_with(
        world(),
        Desk::default(),
        Arc::new(move || Ok(Loaded { settings: settings.clone(), warnings: Vec::new(), sources: Vec::new() })),
    )
    .await;
    assert_eq!(daemon.client.reload(&ReloadRequest::default()).await.unwrap().message, "in use");
}

#[tokio::test]
async fn only_the_owner_and_the_group_can_connect() {
    let daemon = daemon(world(), Desk::default()).await;
    assert_eq!(std::fs::metadata(&daemon.socket).unwrap().permissions().mode() & 0o777, 0o660);
}

#[tokio::test]
async fn a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not() {
    let daemon = daemon(world(), Desk::default()).await;
    assert!(matches!(Server::bind(&daemon.socket).await, Err(BindError::InUse(_))));
    assert!(daemon.client.status().await.is_ok());
    let left = daemon.socket.with_extension("left");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    assert!(Server::bind(&left).await.is_ok());
    let file = daemon.socket.with_extension("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(Server::bind(&file).await, Err(BindError::NoSocket(_))));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[tokio::test]
async fn a_daemon_that_stopped_is_told_from_one_that_never_ran() {
    let daemon = daemon(world(), Desk::default()).await;
    daemon.client.status().await.unwrap();
    daemon.stop.cancel();
    while daemon.socket.exists() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(daemon.client.status().await, Err(ClientError::NotRunning(_))));
    let nowhere = Client::new(&daemon.socket.with_extension("none")).unwrap();
    assert!(matches!(nowhere.status().await, Err(ClientError::NotRunning(_))));
}

#[tokio::test]
async fn an_engine_that_stopped_is_a_problem_that_passes() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let (requests, _) = mpsc::channel(1);
    let server = Server::bind(&socket).await.unwrap();
    tokio::spawn(server.serve(Handle { requests }, Arc::new(|| Err(Vec::new())), CancellationToken::new()));
    assert_eq!(kind(Client::new(&socket).unwrap().status().await), Kind::Stopping);
}

async fn raw(daemon: &Daemon, line: &str) -> String {
    raw_body(daemon, line, "").await
}

/// One request as bytes, for what the client would never send.
async fn raw_body(daemon: &Daemon, line: &str, body: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(&daemon.socket).await.unwrap();
    let length = body.len();
    let request = format!("{line}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The kernel refuses who connects to a socket at which too many wait; a moment later there may be a place.
#[tokio::test]
async fn a_socket_at_which_too_many_wait_is_tried_again() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{UnixListener, UnixStream};

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let listening = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listening, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listening, 0).unwrap();
    let listener = std::os::unix::net::UnixListener::from(listening);
    listener.set_nonblocking(true).unwrap();
    let listener = UnixListener::from_std(listener).unwrap();

    let mut waiting = Vec::new();
    let full = loop {
        match UnixStream::connect(&path).await {
            Ok(it) => waiting.push(it),
            Err(it) => break it,
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
    let client = Client::new(&path).unwrap();
    let asked = tokio::spawn(async move { client.status().await });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    for _ in waiting {
        listener.accept().await.unwrap();
    }
    let again = tokio::time::timeout(std::time::Duration::from_secs(60), listener.accept()).await;
    let (mut asks, _) = again.expect("it is tried again").unwrap();
    let mut head = [0; 64];
    assert!(asks.read(&mut head).await.unwrap() > 0);
    asks.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
    let Err(ClientError::Broken(_, why)) = asked.await.unwrap() else { panic!("no rekeyd answered") };
    assert!(why.contains("404"), "{why}");
}

//! The contract of every kind of provider: it sends what its document says, each answer ends as a typed outcome, and
//! nothing that it says shows a login or a key. The folders in `tests/fixtures/providers` are `<kind>` or `<kind>+<variant>`;
//! the examples in them are those of the services' documents.
#![allow(clippy::unwrap_used)] // clippy takes helpers of tests for production code

#[path = "support/provider_world.rs"]
mod provider_world;
#[path = "support/raw_server.rs"]
mod raw_server;

use provider_world::*;
use raw_server::{Does, Seen, Server, answer, cut_short};
use rekeyd::core::facts::{Probe, RefusalKind};
use rekeyd::http::{Client, check_base_url};
use rekeyd::providers::*;
use rekeyd::secret::Secret;
use serde_json::Value;
use std::time::Duration;

/// What each call must end as.
#[derive(Clone, Copy)]
struct Ends {
    create: End,
    other: End,
    probe: Probe,
}

const UNKNOWN: Ends = Ends { create: End::Unknown, other: End::Unreachable, probe: Probe::Inconclusive };
const ODD: Ends = Ends { create: End::Unreadable, other: End::Unreachable, probe: Probe::Alive };

fn refused(why: RefusalKind, later: bool, probe: Probe) -> Ends {
    Ends { create: End::Refused(why, later), other: End::Refused(why, later), probe }
}

/// Plays one situation to every call of every folder.
async fn check(situation: &str, does: Does, ends: Ends) {
    for folder in folders() {
        let server = Server::start([does.clone()]);
        let world = World::new(&folder, &server.base_url());
        check_calls(situation, &world, ends).await;
    }
}

async fn check_calls(situation: &str, world: &World, ends: Ends) {
    for call in world.calls() {
        let (end, said) = world.call(call).await;
        let place = format!("{} {call:?} {situation}: {said}", world.folder);
        let want = match call {
            Call::Create => ends.create,
            Call::Probe if situation.contains("403") && world.folder.starts_with("infobip") => {
                End::Probed(Probe::Alive)
            }
            Call::Probe => End::Probed(ends.probe),
            // An account that has no key yet says so.
            Call::Read if situation.contains("404") && world.folder == "mobivate" => End::Done,
            // What the provider does not have needs no revoking.
            Call::Revoke if situation.contains("404") => End::Done,
            _ => ends.other,
        };
        assert_eq!(end, want, "{place}");
        check_no_leak(&place);
    }
}

#[test]
fn every_kind_has_a_folder_and_the_capabilities_that_it_states() {
    // A kind that nobody can call has nothing to show.
    for it in KINDS.iter().filter(|it| it.capabilities.creates) {
        assert!(folders().iter().any(|folder| folder == it.name), "{} has no fixtures", it.name);
        let world = World::new(it.name, "http://127.0.0.1:9");
        assert_eq!(world.provider.capabilities(), it.capabilities, "{}", it.name);
    }
}

#[test]
fn every_kind_has_its_documented_address_by_default() {
    for (name, base_url) in [
        ("infobip", "https://api.infobip.com"),
        ("infobip-2fa", "https://api.infobip.com"),
        ("mobivate", "https://api.mobivatebulksms.com"),
        ("single-invoice", "https://api.single-invoice.co/v2.0"),
    ] {
        let file = std::fs::read_to_string(fixtures().join(name).join("settings.toml")).unwrap();
        let settings: String =
            file.lines().filter(|it| !it.starts_with("base_url")).map(|it| format!("{it}\n")).collect();
        let identity = (kind(name).parse)(table(&settings)).unwrap().identity().unwrap();
        let address = identity.split(' ').next().unwrap();
        assert_eq!(address, base_url);
        assert_eq!(check_base_url(address).unwrap().to_string(), base_url);
    }
}

#[tokio::test]
async fn a_refusal_is_told_by_its_status_and_repeats_no_body() {
    let body = echo();
    for status in ["400 Bad Request", "404 Not Found", "409 Conflict"] {
        check(status, answer(status, "", &body), refused(RefusalKind::Request, false, Probe::Inconclusive)).await;
    }
    check("401", answer("401 Unauthorized", "", &body), refused(RefusalKind::Login, false, Probe::Dead)).await;
    check("403", answer("403 Forbidden", "", &body), refused(RefusalKind::Login, false, Probe::Inconclusive)).await;
    check("429", answer("429 Slow down", "", &body), refused(RefusalKind::Throttled, false, Probe::Inconclusive)).await;
    for after in ["retry-after: 120\r\n", "Retry-After: Sat, 06 Nov 2094 08:49:37 GMT\r\n"] {
        let does = answer("429 Slow down", after, &body);
        check("429", does, refused(RefusalKind::Throttled, true, Probe::Inconclusive)).await;
    }
    check("401 cut", cut_short("401 Unauthorized", "{"), refused(RefusalKind::Login, false, Probe::Dead)).await;
}

#[tokio::test]
async fn a_status_that_proves_nothing_leaves_the_create_open() {
    let body = echo();
    for status in ["408 Request Timeout", "500 Oops", "502 Bad Gateway", "503 Unavailable", "304 Not Modified"] {
        check(status, answer(status, "", &body), UNKNOWN).await;
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for folder in folders() {
        let elsewhere = Server::start([answer("200 OK", "", "{}")]);
        let location = format!("location: {}/x\r\n", elsewhere.base_url());
        let server = Server::start([answer("307 Temporary Redirect", &location, "")]);
        let world = World::new(&folder, &server.base_url());
        check_calls("307", &world, UNKNOWN).await;
        assert_eq!(elsewhere.seen().len(), 0);
        assert_eq!(server.seen().len(), world.calls().len(), "nothing is sent twice");
    }
}

#[tokio::test]
async fn an_accepted_answer_that_is_not_as_documented_is_unreadable() {
    let secrets = SECRETS.join(" ");
    for body in [
        "",
        "{",
        "null",
        "[]",
        "17",
        "{}",
        "<html>welcome</html>",
        "<apiKey><publicApiKey>7bd7d59cfe90e4d3",
        r#"{"apiKey":7,"ApiKeys":"MmozazEzaj","publicApiKey":["7bd7d59cfe90e4d3"],"apiKeys":7}"#,
        r#"{"apiKey":null,"ApiKeys":null,"publicApiKey":null,"apiKeys":null}"#,
        r#"{"apiKey":"","ApiKeys":[""],"publicApiKey":""}"#,
        r#"{"apiKey":"***","ApiKeys":["***"],"publicApiKey":"<secret api key>"}"#,
        &format!("not JSON: {secrets}"),
        &echo(),
    ] {
        for status in ["200 OK", "201 Created"] {
            check(&format!("{status} {}", body.len()), answer(status, "", body), ODD).await;
        }
    }
    check("cut", cut_short("200 OK", r#"{"apiKey":"abcd1234-9922-ab"#), ODD).await;
    check("cut XML", cut_short("200 OK", "<apiKey><publicApiKey>7bd7d59cfe90e4d32b1d2f20"), ODD).await;
    check("not UTF-8", Does::Answers(b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe\x00".to_vec()), ODD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_is_read_to_the_limit_and_no_further() {
    const ASKED: u64 = 300_000_000;
    const TAKEN_MOST: u64 = 32_000_000; // our limit, and what the sockets' buffers hold
    for folder in folders() {
        for call in World::new(&folder, "http://127.0.0.1:9").calls() {
            let server = Server::start([Does::Floods(ASKED)]);
            let world = World::new(&folder, &server.base_url());
            let (end, said) = world.call(call).await;
            let want = match call {
                Call::Create => End::Unreadable,
                Call::Probe => End::Probed(Probe::Alive),
                _ => End::Unreachable,
            };
            assert_eq!(end, want, "{folder} {call:?}: {said}");
            assert!(server.flooded() < TAKEN_MOST, "{folder} {call:?} took {} bytes", server.flooded());
        }
    }
}

#[tokio::test]
async fn a_lost_connection_or_a_garbled_head_leaves_the_create_open() {
    check("reset after reading", Does::ResetsAfterReading, UNKNOWN).await;
    check("closed", Does::Answers(Vec::new()), UNKNOWN).await;
    check("half a head", Does::Answers(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()), UNKNOWN).await;
    check("garbage", Does::Answers(b"hello\r\n\r\n".to_vec()), UNKNOWN).await;
}

#[tokio::test]
async fn a_reset_before_the_request_is_read_is_either_not_sent_or_unknown() {
    // The reset may come while the connection is still being made; then nothing was written yet.
    for folder in folders() {
        let server = Server::start([Does::ResetsAtOnce]);
        let world = World::new(&folder, &server.base_url());
        for call in world.calls() {
            let (end, said) = world.call(call).await;
            let allowed = [End::NotSent, End::Unknown, End::Unreachable, End::Probed(Probe::Inconclusive)];
            assert!(allowed.contains(&end), "{folder} {call:?}: {end:?} {said}");
            check_no_leak(&said);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_with_the_timeout_and_leaves_the_create_open() {
    for folder in folders() {
        let server = Server::start([Does::Nothing]);
        let client = Client::with_timeouts(Duration::from_millis(200), Duration::from_millis(400));
        let world = World::with_client(&folder, &server.base_url(), client);
        check_calls("silence", &world, UNKNOWN).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_left_is_known_not_to_have_left() {
    // A socket that is bound and does not listen: nobody else gets its port meanwhile.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = socket.local_addr().unwrap();
    let not_sent = Ends { create: End::NotSent, ..UNKNOWN };
    for folder in folders() {
        let world = World::new(&folder, &format!("http://{closed}"));
        check_calls("refused connection", &world, not_sent).await;

        let server = Server::start([Does::Nothing]);
        let world = World::new(&folder, &server.base_url());
        // Basic can carry any bytes; JSON takes text only, and a header no line end.
        let any_bytes = folder.starts_with("infobip");
        let unusable: &[&[u8]] = if any_bytes { &[b""] } else { &[b"", b"open\nsesame\xff"] };
        for bytes in unusable {
            std::fs::write(world.dir.path().join("secret"), bytes).unwrap();
            let (end, said) = world.call(Call::Create).await;
            assert_eq!(end, End::NotSent, "{folder}: {said}");
            check_no_leak(&said);
        }
        assert_eq!(server.seen().len(), 0);
    }
}

/// What is sent must be the fixture: the request line, every header but the client's own, the body.
fn check_request(folder: &str, name: &str, seen: &Seen) {
    let fixture = std::fs::read_to_string(fixtures().join(folder).join(name)).unwrap();
    let fixture = fixture.replace("{token}", &token().to_string()).replace("{key}", KEY);
    let (head, body) = fixture.split_once("\n\n").unwrap();
    let sorted = |head: &str| {
        let own = ["host: ", "user-agent: ", "content-length: "];
        let mut lines: Vec<String> = head.lines().skip(1).map(str::to_owned).collect();
        lines.retain(|line| !own.iter().any(|it| line.starts_with(it)));
        lines.sort();
        lines
    };
    assert_eq!(seen.head.lines().next(), head.lines().next(), "{folder} {name}");
    assert_eq!(sorted(&seen.head), sorted(head), "{folder} {name}");
    assert_eq!(seen.body, body.trim_end(), "{folder} {name}");
    let bodied = !head.starts_with("GET");
    let length = format!("content-length: {}", seen.body.len());
    assert_eq!(seen.head.lines().any(|it| it == length), bodied, "{folder} {name}: {}", seen.head);
}

#[tokio::test]
async fn what_is_sent_is_what_the_document_says() {
    for folder in folders() {
        for call in World::new(&folder, "http://127.0.0.1:9").calls() {
            let name = format!("{call:?}").to_lowercase();
            let body =
                std::fs::read_to_string(fixtures().join(&folder).join(format!("{name}.answer"))).unwrap_or_default();
            let body = body.replace("{token}", &token().to_string());
            let server = Server::start([answer("200 OK", "", &body)]);
            let (end, said) = World::new(&folder, &server.base_url()).call(call).await;
            let want = match call {
                Call::Probe => End::Probed(Probe::Alive),
                // The simulated provider says to the update what it said to the read: that the key is enabled.
                Call::Revoke => End::Unreachable,
                _ => End::Done,
            };
            assert_eq!(end, want, "{folder} {call:?}: {said}");
            let seen = server.seen();
            check_request(&folder, &format!("{name}.request"), &seen[0]);
            if call == Call::Revoke {
                check_request(&folder, "revoke-then.request", &seen[1]);
            }
            assert_eq!(seen.len(), if call == Call::Revoke { 2 } else { 1 });
        }
    }
}

async fn created(folder: &str, status: &str, change: impl FnOnce(&str) -> String) -> Created {
    let body = std::fs::read_to_string(fixtures().join(folder).join("create.answer")).unwrap();
    let server = Server::start([answer(status, "", &change(&body))]);
    let world = World::new(folder, &server.base_url());
    let ask = CreateRequest { token: &token(), create: &*world.create, valid_to: None };
    let raw = world.provider.create(&Auth::default(), &ask).await.unwrap();
    world.provider.parse(&raw).unwrap()
}

fn one(created: Created) -> Issued {
    match created {
        Created::One(it) => it,
        Created::All(_) => panic!("one key was expected"),
    }
}

fn text(secret: &Option<Secret>) -> &str {
    secret.as_ref().unwrap().expose_str().unwrap()
}

#[tokio::test]
async fn the_documented_answers_are_read() {
    for status in ["200 OK", "201 Created"] {
        let json = one(created("infobip", status, str::to_owned).await);
        assert_eq!(text(&json.secret), KEY);
        assert_eq!(json.id.as_deref(), Some(ID));
        assert_eq!(json.valid_to.unwrap().to_string(), "2016-02-12T08:58:20.323Z");
        let xml = one(created("infobip+xml", status, str::to_owned).await);
        assert_eq!(text(&xml.secret), "d0f64a8194b48b8bb2b86e6385d22792-5af80fc8-44b0-4998-9b64-d850f659bc97");
        assert_eq!((xml.id, xml.valid_from, xml.valid_to), (json.id, json.valid_from, json.valid_to));
    }
    let two_factor = one(created("infobip-2fa", "200 OK", str::to_owned).await);
    assert_eq!(text(&two_factor.secret), "003026bbc133714df1834b8628bb496e-8f4b3d9a-e921-478d-a994-28a725159ab9");
    let mobivate = one(created("mobivate", "200 OK", str::to_owned).await);
    assert_eq!(text(&mobivate.secret), "abcd1234-9922-abcd-1234-abcd1234abcd");
    let Created::All(all) = created("single-invoice", "200 OK", str::to_owned).await else { panic!() };
    let all: Vec<&str> = all.iter().map(|it| text(&it.secret)).collect();
    assert_eq!(
        all,
        [
            "PsDW6SRVd4TXRdm69sPXEcdYDMRV1ZXX6z8X7ZU9iBb7Wf2qlUlPJP9U0Wend",
            "MmozazEzajJrMmozMmtqZGRkIiwibmFtZSI6IkpvaG4gRG9lIiwiY1fac1X4"
        ]
    );
}

#[tokio::test]
async fn a_key_without_an_expiry_is_a_key() {
    let without = |body: &str| {
        let mut value: Value = serde_json::from_str(body).unwrap();
        value.as_object_mut().unwrap().remove("validTo");
        value.to_string()
    };
    assert_eq!(one(created("infobip", "201 Created", without).await).valid_to, None);
    let null = |body: &str| body.replace("\"2016-02-12T09:58:20.323+0100\"", "null");
    assert_eq!(one(created("infobip", "201 Created", null).await).valid_to, None);
}

#[tokio::test]
async fn an_answer_that_breaks_off_after_its_end_loses_no_key() {
    let server = Server::start([cut_short("200 OK", r#"{"apiKey":"abcd1234"}"#)]);
    let (end, said) = World::new("mobivate", &server.base_url()).call(Call::Create).await;
    assert_eq!(end, End::Done, "{said}");
}

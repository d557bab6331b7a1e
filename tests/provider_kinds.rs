//! What single kinds of providers do beyond the common contract: lists, revokes, logins by a managed key, settings.
#[path = "support/provider_world.rs"]
mod provider_world;
#[path = "support/raw_server.rs"]
mod raw_server;

use provider_world::*;
use raw_server::{Server, answer};
use rekeyd::core::time::Timestamp;
use rekeyd::http::Client;
use rekeyd::providers::*;
use rekeyd::secret::Secret;
use serde_json::Value;

#[tokio::test]
async fn the_list_shows_the_keys_with_a_token_and_says_when_it_may_be_cut() {
    for folder in ["infobip", "infobip+xml"] {
        let body = std::fs::read_to_string(fixtures().join(folder).join("list.answer")).unwrap();
        let server = Server::start([answer("200 OK", "", &body.replace("{token}", &token().to_string()))]);
        let world = World::new(folder, &server.base_url());
        let listing = world.provider.list(&Auth::default(), &*world.create).await.unwrap();
        let tokens: Vec<_> = listing.keys.iter().map(|it| token_in(it.name.as_ref().unwrap()).unwrap()).collect();
        assert_eq!(tokens, [token(), token()], "also under a former name");
        assert!(listing.keys[0].secret.is_some());
        assert!(listing.keys[1].secret.is_none(), "a masked secret is none");
        assert_eq!(listing.keys[0].valid_to.unwrap().to_string(), "2026-07-09T06:04:54.988Z");
        assert!(!listing.truncated);
    }
    for (count, truncated) in
        [(0, false), (39, false), (40, true), (41, false), (999, false), (1000, true), (1001, true)]
    {
        let server = Server::start([answer(
            "200 OK",
            "",
            &serde_json::json!({"apiKeys": vec![Value::Object(Default::default()); count]}).to_string(),
        )]);
        let world = World::new("infobip", &server.base_url());
        assert_eq!(
            world.provider.list(&Auth::default(), &*world.create).await.unwrap().truncated,
            truncated,
            "{count}"
        );
    }
}

/// A key that is to be adopted may be anybody's: all keys are shown then, and none is asked for by itself.
#[tokio::test]
async fn the_inventory_shows_the_keys_of_others_too() {
    let body = std::fs::read_to_string(fixtures().join("infobip/list.answer")).unwrap();
    let server = Server::start([answer("200 OK", "", &body.replace("{token}", &token().to_string()))]);
    let world = World::new("infobip", &server.base_url());
    let all = world.provider.inventory(&Auth::default()).await.unwrap();
    assert!(all.keys.iter().any(|it| it.name.as_deref().is_some_and(|it| token_in(it).is_none())), "{all:?}");
    let listed = body.matches("\"publicApiKey\"").count();
    assert_eq!(all.keys.len(), listed);
}

#[tokio::test]
async fn a_revoke_ends_when_the_key_is_shown_disabled_or_gone() {
    let enabled = std::fs::read_to_string(fixtures().join("infobip/revoke.answer")).unwrap();
    let disabled = enabled.replace("\"enabled\": true", "\"enabled\": false");
    let shows = |body: &str| answer("200 OK", "", body);
    let gone = answer("404 Not Found", "", "{}");
    for (script, calls, done) in [
        (vec![shows(&enabled), shows(&disabled)], 2, true),
        (vec![shows(&enabled), answer("204 No Content", "", "")], 2, true),
        (vec![shows(&enabled), shows(&enabled)], 2, false),
        (vec![shows(&enabled), gone.clone()], 2, true),
        (vec![shows(&disabled)], 1, true),
        (vec![gone], 1, true),
        (vec![shows(&enabled.replace(ID, "0000A0B215B2CF24EF04794F718A3FC8"))], 1, false),
    ] {
        let server = Server::start(script);
        let world = World::new("infobip", &server.base_url());
        let result = world.provider.revoke(&Auth::default(), ID).await;
        assert_eq!((server.seen().len(), result.is_ok()), (calls, done), "{result:?}");
    }
}

#[tokio::test]
async fn an_id_never_reaches_another_part_of_the_api() {
    let server = Server::start([answer("404 Not Found", "", "")]);
    let world = World::new("infobip", &server.base_url());
    for id in ["", ".", ".."] {
        assert!(world.provider.revoke(&Auth::default(), id).await.is_err(), "{id:?}");
    }
    assert_eq!(server.seen().len(), 0);
    world.provider.revoke(&Auth::default(), "a/../b?c#d").await.unwrap();
    let line = server.seen()[0].head.lines().next().unwrap().to_owned();
    assert_eq!(line, "GET /settings/1/accounts/D0F64A8194B48B8BB2B86E6385D22792/api-keys/a%2F..%2Fb%3Fc%23d HTTP/1.1");
}

#[tokio::test]
async fn a_managed_key_can_authorise_the_calls() {
    let server = Server::start([answer("200 OK", "", "{}")]);
    let settings = format!("base_url = \"{}\"\napikey = {{ key = \"invoices-account\" }}", server.base_url());
    let provider = (kind("single-invoice").parse)(table(&settings)).unwrap();
    assert_eq!(provider.authorised_by().unwrap().as_str(), "invoices-account");
    let create = (kind("single-invoice").parse_create)(table("package = \"Account\"")).unwrap();
    assert_eq!(create.package().as_deref(), Some("Account"));
    let ask = CreateRequest { token: &token(), create: &*create, valid_to: None };
    assert!(matches!(provider.create(&Auth::default(), &ask).await, Err(CreateError::NotSent(_))));
    let auth = Auth { key: Some(Secret::from(KEY.to_owned())), ..Auth::default() };
    provider.create(&auth, &ask).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].head.lines().any(|it| it == format!("apikey: {KEY}")), "{}", seen[0].head);
    assert_eq!(seen[0].body, r#"{"package":"Account"}"#);
}

#[tokio::test]
async fn the_servers_clock_is_seen() {
    let server = Server::start([answer("503 Oops", "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "")]);
    for folder in folders() {
        let world = World::with_client(&folder, &server.base_url(), Client::default());
        assert_eq!(world.provider.dated(), None);
        world.call(Call::Create).await;
        assert_eq!(world.provider.dated().unwrap().theirs, Timestamp(784_111_777_000));
    }
}

#[test]
fn a_kind_without_an_api_says_where_a_human_gets_a_key() {
    let provider = (kind("manual").parse)(table("instructions = \"https://portal.example/keys\"")).unwrap();
    assert!(!provider.capabilities().creates && !provider.capabilities().probes);
    assert_eq!(provider.capabilities(), kind("manual").capabilities);
    assert_eq!(provider.instructions(), Some("https://portal.example/keys"));
    assert_eq!(provider.identity(), None, "nobody logs in");
    assert_eq!((kind("manual").parse)(table("")).unwrap().instructions(), None);
}

#[test]
fn a_wrong_setting_is_a_fault_at_its_place_that_shows_no_secret() {
    let login = "username = \"me\"\npassword = { env = \"P\" }\n";
    for (kind_name, settings, place) in [
        ("infobip", format!("{login}base_url = \"http://api.infobip.com\""), "\"http://api.infobip.com\""),
        ("infobip", format!("{login}api = 2"), "2"),
        ("infobip", format!("{login}account_key = \"..\""), "\"..\""),
        ("infobip", format!("{login}probe = \"balance\""), "\"balance\""),
        ("infobip", format!("{login}format = \"yaml\""), "\"yaml\""),
        ("infobip", format!("{login}usernam = 1"), "usernam"),
        ("infobip-2fa", "username = \"a:b\"\npassword = { env = \"P\" }".to_owned(), "\"a:b\""),
        ("mobivate", "username = \"me\"\npassword = \"open sesame\"".to_owned(), "\"open sesame\""),
        ("mobivate", "username = \"me\"\npassword = { key = \"a\" }".to_owned(), "{ key = \"a\" }"),
        ("single-invoice", "apikey = { key = \"A B\" }".to_owned(), "\"A B\""),
        ("manual", "instructions = \"\"".to_owned(), "\"\""),
        ("manual", "username = \"me\"".to_owned(), "username"),
    ] {
        let error = (kind(kind_name).parse)(table(&settings)).unwrap_err();
        assert_eq!(&settings[error.span().unwrap()], place, "{kind_name}: {error}");
        check_no_leak(&error.to_string());
    }
    for (kind_name, create) in [
        ("infobip", ""),
        ("infobip", "name = \"\""),
        ("infobip", "name = \"a\"\nallowed_ips = [\"localhost\"]"),
        ("infobip", "name = \"a\"\npermissions = [\"all\"]"),
        ("infobip-2fa", "name = \"a\""),
        ("mobivate", "name = \"a\""),
        ("single-invoice", ""),
        ("single-invoice", "package = \"account\""),
        ("manual", "name = \"a\""),
    ] {
        assert!((kind(kind_name).parse_create)(table(create)).is_err(), "{kind_name}: {create}");
    }
}

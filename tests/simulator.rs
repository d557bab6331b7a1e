//! The simulation answers as the services' documents say, and fails as it is told to.
#![allow(clippy::unwrap_used, reason = "a test may panic anywhere")]
use rekeyd::simulator::{Behaviour, Call, Fault, HookMode, Options, Service, Simulator};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// Longer than any answer takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

const INFOBIP_JSON: &str = r#"{
    "name": "Api key 1",
    "allowedIPs": [
        "127.0.0.1",
        "192.168.1.1"
    ],
    "validFrom": "2015-02-12T09:58:20.323+0100",
    "validTo": "2116-02-12T09:58:20.323+0100"
}"#;

const INFOBIP_XML: &str = "<ApiKey>
    <name>ApiKey1</name>
    <allowedIPs>
        <allowedIP>127.0.0.1</allowedIP>
        <allowedIP>192.168.1.1</allowedIP>
    </allowedIPs>
    <validFrom>2015-02-12T09:58:20.323+0100</validFrom>
    <validTo>2116-02-12T09:58:20.323+0100</validTo>
</ApiKey>";

fn client() -> Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}

async fn start() -> Simulator {
    Simulator::start(Options::default()).await.unwrap()
}

fn ask(simulator: &Simulator, service: Service, method: Method, path: &str) -> RequestBuilder {
    client().request(method, format!("{}{path}", simulator.url(service)))
}

/// A call of Infobip's with the user's login.
fn managed(simulator: &Simulator, service: Service, method: Method, path: &str) -> RequestBuilder {
    let (username, password) = Simulator::login(service).unwrap();
    ask(simulator, service, method, path).basic_auth(username, Some(password))
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body))))
}

const KEYS: &str = "/settings/1/accounts/_/api-keys";

async fn create_infobip(simulator: &Simulator, name: &str) -> Value {
    let request = managed(simulator, Service::Infobip, Method::POST, KEYS).json(&json!({ "name": name }));
    let (status, key) = answer(request).await;
    assert_eq!(status, 201, "{key}");
    key
}

async fn balance(simulator: &Simulator, secret: &str) -> StatusCode {
    let request = ask(simulator, Service::Infobip, Method::GET, "/account/1/balance");
    answer(request.header("Authorization", format!("App {secret}"))).await.0
}

fn mobivate_login() -> Value {
    let (username, password) = Simulator::login(Service::Mobivate).unwrap();
    json!({"username": username, "password": password})
}

async fn mobivate(simulator: &Simulator, path: &str) -> (StatusCode, Value) {
    answer(ask(simulator, Service::Mobivate, Method::POST, path).json(&mobivate_login())).await
}

#[tokio::test]
async fn infobip_answers_the_document_s_json_request_with_the_document_s_fields() {
    let simulator = start().await;
    let request = managed(&simulator, Service::Infobip, Method::POST, KEYS)
        .header("Content-Type", "application/json")
        .header("Accept", "application/json")
        .body(INFOBIP_JSON);
    let (status, key) = answer(request).await;
    assert_eq!(status, 201);
    assert_eq!(key["name"], "Api key 1");
    assert_eq!(key["allowedIPs"], json!(["127.0.0.1", "192.168.1.1"]));
    assert_eq!(key["validFrom"], "2015-02-12T09:58:20.323+0100");
    assert_eq!(key["validTo"], "2116-02-12T09:58:20.323+0100");
    assert_eq!(key["enabled"], true);
    assert_eq!(key["key"].as_str().unwrap().len(), 32);
    let secret = key["publicApiKey"].as_str().unwrap();
    assert_eq!(secret.len(), 69);
    assert!(simulator.truth().is_live(secret));
    assert_eq!(balance(&simulator, secret).await, 200);
    assert_eq!(balance(&simulator, "another").await, 401);
}

#[tokio::test]
async fn infobip_answers_the_document_s_xml_request_in_xml_and_in_utc() {
    let simulator = start().await;
    let request = managed(&simulator, Service::Infobip, Method::POST, KEYS)
        .header("Content-Type", "application/xml")
        .header("Accept", "application/xml")
        .body(INFOBIP_XML);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 201);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/xml"));
    let text = response.text().await.unwrap();
    let secret = simulator.truth().keys(Service::Infobip).remove(0).secret;
    for part in [
        "<?xml version='1.0' encoding='UTF-8'?>\n<apiKey>",
        "<name>ApiKey1</name>",
        "<allowedIPs><allowedIP>127.0.0.1</allowedIP><allowedIP>192.168.1.1</allowedIP></allowedIPs>",
        "<validFrom>2015-02-12T08:58:20.323+0000</validFrom>",
        "<validTo>2116-02-12T08:58:20.323+0000</validTo>",
        "<enabled>true</enabled>",
        &format!("<publicApiKey>{secret}</publicApiKey>"),
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[tokio::test]
async fn infobip_refuses_what_is_not_the_user_s_login_and_what_has_no_name() {
    let simulator = start().await;
    let secret = create_infobip(&simulator, "a").await["publicApiKey"].as_str().unwrap().to_owned();
    let by_key = ask(&simulator, Service::Infobip, Method::POST, KEYS)
        .header("Authorization", format!("App {secret}"))
        .json(&json!({"name": "b"}));
    let (status, error) = answer(by_key).await;
    assert_eq!((status.as_u16(), &error["errorCode"]), (401, &json!("E401")));
    let nameless = managed(&simulator, Service::Infobip, Method::POST, KEYS).json(&json!({"enabled": true}));
    assert_eq!(answer(nameless).await.0, 400);
    let elsewhere = managed(&simulator, Service::Infobip, Method::GET, "/settings/1/accounts/NOT-OURS/api-keys");
    assert_eq!(answer(elsewhere).await.0, 404);
    simulator.behave(Service::Infobip, |it| it.new_errors = false);
    let nameless = managed(&simulator, Service::Infobip, Method::POST, KEYS).json(&json!({"name": ""}));
    assert_eq!(answer(nameless).await.1["requestError"]["serviceException"]["messageId"], "BAD_REQUEST");
}

#[tokio::test]
async fn infobip_lists_by_name_and_limit_and_disables_one_key_alone() {
    let simulator = start().await;
    let first = create_infobip(&simulator, "billing~0a-1b-x-1").await;
    create_infobip(&simulator, "billing~0a-1b-x-2").await;
    let list = async |query: &str| {
        let request = managed(&simulator, Service::Infobip, Method::GET, &format!("{KEYS}{query}"));
        answer(request).await.1["apiKeys"].as_array().unwrap().len()
    };
    assert_eq!(list("").await, 2);
    assert_eq!(list("?limit=1").await, 1);
    assert_eq!(list("?name=billing").await, 0);
    assert_eq!(list("?name=billing%7E0a-1b-x-2").await, 1);
    let one = format!("{KEYS}/{}", first["key"].as_str().unwrap());
    let put = managed(&simulator, Service::Infobip, Method::PUT, &one).json(&json!({"enabled": false}));
    let (status, changed) = answer(put).await;
    assert_eq!((status.as_u16(), &changed["enabled"], &changed["name"]), (200, &json!(false), &first["name"]));
    assert_eq!(balance(&simulator, first["publicApiKey"].as_str().unwrap()).await, 401);
    assert_eq!((list("?enabled=true").await, list("?enabled=false").await), (1, 1));
    simulator.behave(Service::Infobip, |it| it.name_contains = true);
    assert_eq!(list("?name=billing").await, 2);
    simulator.fault(Service::Infobip, Call::List, Fault::Truncated { keep: 1 });
    assert_eq!((list("").await, list("").await), (1, 2));
}

#[tokio::test]
async fn infobip_hides_secrets_only_where_it_is_told_to() {
    let simulator = start().await;
    let key = create_infobip(&simulator, "a").await;
    let one = format!("{KEYS}/{}", key["key"].as_str().unwrap());
    let read =
        async || answer(managed(&simulator, Service::Infobip, Method::GET, &one)).await.1["publicApiKey"].clone();
    assert_eq!(read().await, key["publicApiKey"]);
    simulator.behave(Service::Infobip, |it| it.mask_secrets = true);
    assert_ne!(read().await, key["publicApiKey"]);
}

#[tokio::test]
async fn an_expired_key_and_one_not_accepted_yet_are_refused() {
    let simulator = start().await;
    let expired = json!({"name": "a", "validTo": "2016-02-12T09:58:20.323+0100"});
    let (_, key) = answer(managed(&simulator, Service::Infobip, Method::POST, KEYS).json(&expired)).await;
    let secret = key["publicApiKey"].as_str().unwrap();
    assert!(!simulator.truth().is_live(secret));
    assert_eq!(balance(&simulator, secret).await, 401);
    simulator.behave(Service::Infobip, |it| it.accept_after_ms = 3_600_000);
    let key = create_infobip(&simulator, "b").await;
    let secret = key["publicApiKey"].as_str().unwrap();
    assert!(simulator.truth().is_live(secret));
    assert_eq!(balance(&simulator, secret).await, 401);
}

#[tokio::test]
async fn infobip_2fa_answers_with_a_bare_json_string() {
    let simulator = start().await;
    let create = || managed(&simulator, Service::Infobip2fa, Method::POST, "/2fa/1/api-key");
    let first = create().send().await.unwrap();
    assert_eq!(first.status(), 200);
    let text = first.text().await.unwrap();
    let secret = text.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap();
    assert_eq!(secret.len(), 69);
    answer(create()).await;
    assert_eq!(simulator.truth().live(Service::Infobip2fa).len(), 2);
    simulator.behave(Service::Infobip2fa, |it| it.create_revokes = true);
    answer(create()).await;
    assert_eq!(simulator.truth().live(Service::Infobip2fa).len(), 1);
    let stranger = ask(&simulator, Service::Infobip2fa, Method::POST, "/2fa/1/api-key").basic_auth("x", Some("y"));
    let (status, error) = answer(stranger).await;
    assert_eq!(status, 401);
    assert_eq!(error["requestError"]["serviceException"]["messageId"], "UNAUTHORIZED");
}

#[tokio::test]
async fn mobivate_kills_the_old_key_with_each_create_and_reads_the_current_one() {
    let simulator = start().await;
    let test = async |key: &Value| {
        let request = ask(&simulator, Service::Mobivate, Method::GET, "/auth/test");
        answer(request.bearer_auth(key["apiKey"].as_str().unwrap())).await
    };
    let (status, first) = mobivate(&simulator, "/auth/createkey").await;
    assert_eq!(status, 200);
    assert_eq!(test(&first).await, (StatusCode::OK, json!({"message": "API Key is valid"})));
    let (_, second) = mobivate(&simulator, "/auth/createkey").await;
    assert_eq!(test(&first).await.0, 401);
    assert_eq!(mobivate(&simulator, "/auth/getkey").await.1, second);
    let wrong = json!({"username": "first.last@example.com", "password": "your-pass"});
    let refused = answer(ask(&simulator, Service::Mobivate, Method::POST, "/auth/createkey").json(&wrong)).await;
    assert_eq!(refused, (StatusCode::UNAUTHORIZED, json!({"code": 401, "message": "Invalid Credentials"})));
}

/// Sends the header's name as it is spelled, which no HTTP library promises.
async fn raw_invoice(simulator: &Simulator, header: &str, body: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let url = simulator.url(Service::SingleInvoice);
    let host = url.trim_start_matches("http://").trim_end_matches("/v2.0").to_owned();
    let mut stream = tokio::net::TcpStream::connect(&host).await.unwrap();
    let length = body.len();
    let head =
        format!("POST /v2.0/account/key HTTP/1.1\r\nHost: {host}\r\n{header}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn single_invoice_lists_all_keys_and_knows_its_header_only_in_lower_case() {
    let simulator = start().await;
    let first = simulator.first_account_key().unwrap().secret;
    let body = r#"{"package" : "Coverage"}"#;
    let refused = raw_invoice(&simulator, &format!("ApiKey: {first}"), body).await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    assert!(refused.ends_with(r#"{"Message":"Authorization has been denied for this request."}"#), "{refused}");
    let taken = raw_invoice(&simulator, &format!("apikey: {first}"), body).await;
    let account: Value = serde_json::from_str(taken.split_once("\r\n\r\n").unwrap().1).unwrap();
    let keys: Vec<_> = simulator.truth().keys(Service::SingleInvoice).into_iter().map(|it| it.secret).collect();
    assert_eq!(account["ApiKeys"], json!(keys));
    assert_eq!((keys.len(), &keys[0]), (2, &first));
    let by_coverage_key = raw_invoice(&simulator, &format!("apikey: {}", keys[1]), body).await;
    assert!(by_coverage_key.starts_with("HTTP/1.1 401"), "{by_coverage_key}");
    let odd = raw_invoice(&simulator, &format!("apikey: {first}"), r#"{"package":"Other"}"#).await;
    assert!(odd.starts_with("HTTP/1.1 400"), "{odd}");
}

#[tokio::test]
async fn single_invoice_shows_its_keys_to_a_list_call_only_where_there_is_one() {
    let simulator = start().await;
    let first = simulator.first_account_key().unwrap().secret;
    let stranger = simulator.stranger_creates_key(Service::SingleInvoice).unwrap();
    let get = |path: &str, key: &str| ask(&simulator, Service::SingleInvoice, Method::GET, path).header("apikey", key);
    assert_eq!(answer(get("/lookups/countries", &stranger.secret)).await.0, 200);
    assert_eq!(answer(get("/lookups/countries", "none")).await.0, 401);
    assert_eq!(answer(get("/account", &first)).await.0, 404);
    simulator.behave(Service::SingleInvoice, |it| it.list_call = true);
    assert_eq!(answer(get("/account", &first)).await.1["ApiKeys"], json!([first, stranger.secret]));
    assert!(simulator.stranger_revokes_key(Service::SingleInvoice, &stranger.secret));
    assert_eq!(answer(get("/account", &first)).await.1["ApiKeys"], json!([first]));
}

/// What the client sees of a create that suffers a fault, and how many keys there are then.
async fn struck(fault: Fault, patience: Duration) -> (Result<(u16, usize), &'static str>, usize) {
    let simulator = start().await;
    simulator.fault(Service::Infobip, Call::Create, fault);
    let request = managed(&simulator, Service::Infobip, Method::POST, KEYS).json(&json!({"name": "a"}));
    let seen = match request.timeout(patience).send().await {
        Err(error) if error.is_timeout() => Err("timeout"),
        Err(error) if error.is_connect() => Err("refused"),
        Err(_) => Err("reset"),
        Ok(response) => {
            let status = response.status().as_u16();
            response.bytes().await.map(|it| (status, it.len())).map_err(|_| "cut")
        }
    };
    (seen, simulator.truth().keys(Service::Infobip).len())
}

#[tokio::test]
async fn each_fault_breaks_the_answer_in_its_way_and_leaves_the_effect_that_it_says() {
    let never = Fault::NeverAnswers { effect: true };
    let unanswered = [
        (Fault::LostAnswer, "reset", 1),
        (Fault::ResetBefore, "reset", 0),
        (Fault::LateEffect { ms: 60_000 }, "reset", 0),
        (Fault::CutShort, "cut", 1),
        (Fault::Delay { ms: 60_000 }, "timeout", 1),
        (Fault::NeverAnswers { effect: false }, "timeout", 0),
        (never, "timeout", 1),
    ]
    .map(|(fault, error, keys)| {
        // Even the request of whoever gives up has to arrive.
        let patience = if error == "timeout" { Duration::from_secs(3) } else { PATIENCE };
        tokio::spawn(async move { assert_eq!(struck(fault, patience).await, (Err(error), keys), "{fault:?}") })
    });
    for (fault, status, keys) in [
        (Fault::ErrorBefore { status: 503 }, 503, 0),
        (Fault::ErrorAfter { status: 500 }, 500, 1),
        (Fault::Throttled { retry_after: Some(7) }, 429, 0),
        (Fault::Garbage, 200, 1),
        (Fault::Empty, 200, 1),
    ] {
        let (seen, found) = struck(fault, PATIENCE).await;
        assert_eq!((seen.unwrap().0, found), (status, keys), "{fault:?}");
    }
    assert_eq!(struck(Fault::Huge { mib: 1 }, PATIENCE).await, (Ok((200, 1024 * 1024)), 1));
    for it in unanswered {
        it.await.unwrap();
    }
}

#[tokio::test]
async fn a_late_effect_happens_after_its_answer_was_lost() {
    let simulator = start().await;
    simulator.fault(Service::Mobivate, Call::Create, Fault::LateEffect { ms: 20 });
    let lost = ask(&simulator, Service::Mobivate, Method::POST, "/auth/createkey").json(&mobivate_login());
    lost.send().await.unwrap_err();
    let issued = |truth: &rekeyd::simulator::Truth| truth.keys(Service::Mobivate).len() == 1;
    assert!(simulator.truth().until(PATIENCE, issued).await);
}

#[tokio::test]
async fn a_stale_read_shows_the_key_that_was_current_then() {
    let simulator = start().await;
    let old = simulator.stranger_creates_key(Service::Mobivate).unwrap();
    simulator.behave(Service::Mobivate, |it| it.lag_ms = 3_600_000);
    assert_eq!(mobivate(&simulator, "/auth/getkey").await.0, 404);
    simulator.behave(Service::Mobivate, |it| it.lag_ms = 0);
    assert_eq!(mobivate(&simulator, "/auth/getkey").await.1["apiKey"], json!(old.secret));
}

#[tokio::test]
async fn throttling_says_when_to_come_back_only_where_it_is_told_to() {
    let simulator = start().await;
    for wait in [Some(7), None] {
        simulator.fault(Service::Mobivate, Call::Read, Fault::Throttled { retry_after: wait });
        let request = ask(&simulator, Service::Mobivate, Method::POST, "/auth/getkey").json(&mobivate_login());
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 429);
        let said = response.headers().get("retry-after").map(|it| it.to_str().unwrap().to_owned());
        assert_eq!(said, wait.map(|it| it.to_string()));
    }
}

#[tokio::test]
async fn a_shut_service_refuses_connections_and_comes_back_with_its_books() {
    let simulator = start().await;
    create_infobip(&simulator, "a").await;
    simulator.set_open(Service::Infobip, false).await;
    let refused = managed(&simulator, Service::Infobip, Method::GET, KEYS).send().await.unwrap_err();
    assert!(refused.is_connect());
    simulator.set_open(Service::Infobip, true).await;
    let (_, list) = answer(managed(&simulator, Service::Infobip, Method::GET, KEYS)).await;
    assert_eq!(list["apiKeys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_same_seed_issues_the_same_keys() {
    let secrets = async |seed| {
        let simulator = Simulator::start(Options { seed, ..Options::default() }).await.unwrap();
        Service::ALL.map(|it| simulator.stranger_creates_key(it).unwrap().secret)
    };
    assert_eq!(secrets(1).await, secrets(1).await);
    assert_ne!(secrets(1).await, secrets(2).await);
}

#[tokio::test]
async fn requests_are_logged_without_their_bodies() {
    let simulator = start().await;
    simulator.fault(Service::Mobivate, Call::Create, Fault::LostAnswer);
    let lost = ask(&simulator, Service::Mobivate, Method::POST, "/auth/createkey").json(&mobivate_login());
    lost.send().await.unwrap_err();
    let log = simulator.truth().requests();
    let row = &log[0];
    assert_eq!((row.call, row.path.as_str(), row.fault), (Call::Create, "/auth/createkey", Some(Fault::LostAnswer)));
    assert_eq!(simulator.truth().calls(Service::Mobivate, Call::Create), 1);
    assert!(!serde_json::to_string(&log).unwrap().contains("v4te"));
}

#[tokio::test]
async fn webhooks_are_kept_with_their_headers_whatever_is_answered() {
    let simulator = start().await;
    simulator.hook().set_mode(HookMode::Answers { status: 410 });
    let post = client().post(simulator.hook().url()).header("webhook-id", "n1").body("{}");
    assert_eq!(post.send().await.unwrap().status(), 410);
    let kept = simulator.hook().wait_for(PATIENCE, |it| it.status == Some(410)).await.unwrap();
    assert_eq!((kept.header("Webhook-Id"), kept.body.as_str()), (Some("n1"), "{}"));
    simulator.hook().set_mode(HookMode::Resets);
    client().post(simulator.hook().url()).send().await.unwrap_err();
}

#[tokio::test]
async fn the_admin_port_steers_the_simulation_and_shows_its_truth() {
    let simulator = Simulator::start(Options { admin: true, ..Options::default() }).await.unwrap();
    let admin = simulator.admin_url().unwrap();
    let post = async |path: &str, order: Value| answer(client().post(format!("{admin}{path}")).json(&order)).await;
    let (_, stranger) = post("/stranger", json!({"service": "mobivate"})).await;
    let (_, truth) = answer(client().get(format!("{admin}/truth"))).await;
    assert!(truth["keys"].as_array().unwrap().contains(&stranger["key"]));
    let order = json!({"service": "mobivate", "call": "read", "fault": {"error_before": {"status": 503}}});
    assert_eq!(post("/fault", order).await.0, 200);
    assert_eq!(mobivate(&simulator, "/auth/getkey").await.0, 503);
    assert_eq!(mobivate(&simulator, "/auth/getkey").await.0, 200);
    let blind = Behaviour { blind_probe: true, ..Behaviour::documented(Service::Infobip) };
    post("/behaviour", json!({"service": "infobip", "behaviour": blind})).await;
    let key = create_infobip(&simulator, "a").await;
    assert_eq!(balance(&simulator, key["publicApiKey"].as_str().unwrap()).await, 401);
    assert_eq!(post("/fault", json!({"service": "mobivate"})).await.0, 400);
}

#[tokio::test]
async fn a_dropped_simulation_listens_no_more() {
    let simulator = start().await;
    let url = simulator.url(Service::Infobip);
    drop(simulator);
    // The task behind the port ends at its next turn.
    let gone = async { while client().get(&url).send().await.is_ok_and(|_| true) {} };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn the_mail_server_speaks_with_a_real_client_in_each_of_its_modes() {
    use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
    use rekeyd::simulator::MailMode;
    let simulator = start().await;
    let message = Message::builder()
        .from("rekeyd <rekeyd@example.com>".parse().unwrap())
        .to("payments@example.com".parse().unwrap())
        .subject("key billing-sms was rotated")
        .message_id(Some("<n1@example.com>".to_owned()))
        .body(".a line that begins with a dot\r\n".to_owned())
        .unwrap();
    let send = async || {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1");
        transport.port(simulator.mail().port()).build().send(message.clone()).await
    };
    simulator.mail().set_mode(MailMode::Defers);
    assert!(send().await.unwrap_err().is_transient());
    simulator.mail().set_mode(MailMode::Rejects);
    assert!(send().await.unwrap_err().is_permanent());
    simulator.mail().set_mode(MailMode::LosesAnswer);
    send().await.unwrap_err();
    simulator.mail().set_mode(MailMode::Accepts);
    send().await.unwrap();
    simulator.mail().set_open(false).await;
    send().await.unwrap_err();
    let mails = simulator.mail().mails();
    assert_eq!(mails.len(), 2, "one whose answer was lost, one accepted");
    let mail = &mails[1];
    assert_eq!((mail.subject.as_str(), mail.message_id.as_str()), ("key billing-sms was rotated", "<n1@example.com>"));
    assert_eq!(
        (mail.from.as_str(), mail.to.as_slice()),
        ("rekeyd@example.com", &["payments@example.com".to_owned()][..])
    );
    assert!(mail.raw.contains("\r\n.a line that begins with a dot\r\n"), "{}", mail.raw);
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_undo_the_effect_of_its_call() {
    let simulator = start().await;
    simulator.behave(Service::Mobivate, |it| it.latency_ms = 6000);
    let request = ask(&simulator, Service::Mobivate, Method::POST, "/auth/createkey").json(&mobivate_login());
    let error = request.timeout(Duration::from_secs(2)).send().await.unwrap_err();
    assert!(error.is_timeout());
    let issued = |truth: &rekeyd::simulator::Truth| truth.keys(Service::Mobivate).len() == 1;
    assert!(simulator.truth().until(PATIENCE, issued).await);
}

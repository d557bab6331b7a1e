//! What the libraries below a provider log, at their most talkative, shows no login and no key.
#![allow(clippy::unwrap_used)] // clippy takes helpers of tests for production code

#[path = "support/raw_server.rs"]
mod raw_server;

use raw_server::{Server, answer, cut_short};
use rekeyd::http::{Client, Method, Request, check_base_url};
use rekeyd::secret::Secret;
use std::io::Write;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_secret_is_logged_even_at_trace() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).init();
    let server = Server::start([answer("200 OK", "x-key: hunter3\r\n", "hunter4"), cut_short("200 OK", "hunter4")]);
    let client = Client::default();
    for _ in 0..2 {
        let url = check_base_url(&server.base_url()).unwrap().join("/path?query=hunter0").unwrap();
        let request = Request::new(Method::POST, url)
            .basic("hunter1", &Secret::from("hunter1".to_owned()))
            .secret_header("apikey", Secret::from("hunter2".to_owned()))
            .body("text/plain", Secret::from("hunter5".to_owned()));
        let reply = client.send(request).await;
        assert!(!format!("{reply:?}").contains("hunter"), "{reply:?}");
    }
    assert!(server.seen()[1].head.contains("apikey: hunter2"));
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("TRACE"), "the log was not listened to");
    assert!(!logged.contains("hunter") && !logged.contains("aHVudGVyMTpodW50ZXIx"), "{logged}");
}

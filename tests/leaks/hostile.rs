//! A service that repeats, in whatever it answers, all that it was told, and a key besides.
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The key in its answers. It has the length and the letters of a real one.
pub const KEY: &str = "H0st1leAnswerKey7Q2mVx9LrT4bYc8NdE5fGhJkPsWuZa3oXiM6yBt1CvRqD";
/// How many kinds of answers there are.
pub const ANSWERS: usize = 10;

/// How many requests came, by the first part of their path.
type Counts = Arc<Mutex<BTreeMap<String, usize>>>;

/// The service. Each first part of a path that ends in `-N` begins with the Nth kind of answer.
pub struct Hostile {
    pub url: String,
    counts: Counts,
}

impl Hostile {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let counts = Counts::default();
        let app = Router::new().fallback(answer).with_state(counts.clone());
        tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { url, counts }
    }

    /// How many requests came below this part.
    pub fn count(&self, part: &str) -> usize {
        self.counts.lock().unwrap().get(part).copied().unwrap_or(0)
    }
}

async fn answer(State(counts): State<Counts>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let part = uri.path().split('/').nth(1).unwrap_or("").to_owned();
    let first: usize = part.rsplit('-').next().and_then(|it| it.parse().ok()).unwrap_or(0);
    let nth = {
        let mut counts = counts.lock().unwrap();
        let count = counts.entry(part).or_default();
        *count += 1;
        first + *count - 1
    };
    let told = format!("{uri} {headers:?} {}", String::from_utf8_lossy(&body));
    let quoted = serde_json::Value::from(format!("{KEY} {told}")).to_string();
    let (status, kind, text) = match nth % ANSWERS {
        0 => (401, "text/plain", format!("no entry with {told}; try {KEY}")),
        1 => (
            200,
            "application/json",
            format!(
                r#"{{"publicApiKey": ["{KEY}"], "apiKey": {{"{KEY}": 1}}, "apikey": {quoted}, "key": [{quoted}]}}"#
            ),
        ),
        2 => (200, "application/json", format!(r#"{{"publicApiKey": "{KEY}", "apiKey": "{KEY}", "apikey": "{KEY}"#)),
        3 => (
            400,
            "application/json",
            format!(
                r#"{{"requestError": {{"serviceException": {{"messageId": "{KEY}", "text": {quoted}}}}}, "errorCode": "{KEY}", "description": {quoted}, "error": {quoted}}}"#
            ),
        ),
        4 => (500, "text/plain", told),
        5 => (200, "application/xml", format!("<apiKey><publicApiKey>{KEY}</publicApiKey><key>{KEY}<{KEY}></apiKey>")),
        6 => (302, "text/plain", told),
        7 => (200, "text/plain", format!("{KEY} {KEY}\n{told}")),
        8 => (403, "application/json", quoted),
        _ => (429, "text/plain", told),
    };
    let repeated = format!("http://127.0.0.1:1/{KEY}");
    let headers =
        [(header::CONTENT_TYPE, kind), (header::LOCATION, &repeated), (header::RETRY_AFTER, KEY), (header::DATE, KEY)];
    (StatusCode::from_u16(status).unwrap(), headers, text).into_response()
}

//! HTTP/1.1 as bytes. The simulation reads and writes it by hand, because it must see header names exactly as they were
//! spelled, and must be able to break an answer off at any byte; a ready-made server hides the one and forbids the other.
use crate::clock;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The longest request line or header line, in bytes.
const LINE_BYTES: u64 = 16 * 1024;
/// The most headers of one request.
const HEADERS: usize = 64;
/// The largest body of a request, in bytes.
const BODY_BYTES: usize = 4 * 1024 * 1024;

/// A request as it stood on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the query, not decoded.
    pub(crate) path: String,
    /// Not decoded, without the `?`.
    pub(crate) query: String,
    /// Names exactly as spelled.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of a header, however its name is spelled.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The value of a header whose name is spelled exactly so.
    pub(crate) fn header_spelled(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    /// What follows a scheme (`Basic`, `App`, `Bearer`) in `Authorization`.
    pub(crate) fn authorization(&self, scheme: &str) -> Option<&str> {
        let (found, rest) = self.header("authorization")?.split_once(' ')?;
        found.eq_ignore_ascii_case(scheme).then_some(rest.trim())
    }

    /// Whether it carries this login as `Authorization: Basic`.
    pub(crate) fn is_login(&self, username: &str, password: &str) -> bool {
        let decoded = self.authorization("Basic").and_then(|it| BASE64_STANDARD.decode(it).ok());
        decoded.is_some_and(|it| it == format!("{username}:{password}").as_bytes())
    }

    /// The decoded value of a query parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').filter_map(|it| it.split_once('='));
        pairs.find(|(it, _)| decode_percent(it) == name).map(|(_, value)| decode_percent(value))
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// An answer with a body of this type.
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("Content-Type", content_type.to_owned())], body: body.into() }
    }

    /// An answer in JSON.
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json;charset=UTF-8", body.to_string())
    }

    /// The answer as bytes. `skew_ms` is how far the server's clock is ahead.
    pub(crate) fn bytes(&self, skew_ms: i64) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let now = crate::core::time::Timestamp(clock::now().0.saturating_add(skew_ms));
        if let Some(now) = now.datetime() {
            head.push_str(&format!("Date: {}\r\n", now.format("%a, %d %b %Y %H:%M:%S GMT")));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// One connection of a client.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Small answers must not wait for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        Self(BufReader::new(stream))
    }

    /// Reads the next request; `None` when the client is done.
    pub(crate) async fn request(&mut self) -> io::Result<Option<Request>> {
        let Some(line) = self.line().await? else { return Ok(None) };
        let mut words = line.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return Err(bad("request line")) };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        while let Some(line) = self.line().await?.filter(|it| !it.is_empty()) {
            let (name, value) = line.split_once(':').ok_or_else(|| bad("header"))?;
            if request.headers.len() == HEADERS {
                return Err(bad("too many headers"));
            }
            request.headers.push((name.to_owned(), value.trim().to_owned()));
        }
        if request.header("transfer-encoding").is_some() {
            return Err(bad("transfer encoding"));
        }
        let length = request.header("content-length").map_or(Ok(0), str::parse).map_err(|_| bad("length"))?;
        if length > BODY_BYTES {
            return Err(bad("body too large"));
        }
        request.body.resize(length, 0);
        self.0.read_exact(&mut request.body).await?;
        Ok(Some(request))
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes).await?;
        self.0.get_mut().flush().await
    }

    /// Sends bytes one by one.
    pub(crate) async fn drip(&mut self, bytes: &[u8], pause: Duration) -> io::Result<()> {
        for byte in bytes {
            self.send(&[*byte]).await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Breaks the connection, so that the client sees a reset and no orderly end.
    pub(crate) fn reset(self) {
        let _ = self.0.get_ref().set_zero_linger();
    }

    /// Says nothing until the client goes away.
    pub(crate) async fn hold(&mut self) {
        let mut ignored = [0; 64];
        while matches!(self.0.read(&mut ignored).await, Ok(1..)) {}
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let read = (&mut self.0).take(LINE_BYTES).read_until(b'\n', &mut line).await?;
        if read == 0 {
            return Ok(None);
        }
        if line.pop() != Some(b'\n') {
            return Err(bad("line cut short or too long"));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line).map(Some).map_err(|_| bad("line is not text"))
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not a request: {what}"))
}

fn decode_percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|it| std::str::from_utf8(it).ok());
        let hex = hex.and_then(|it| u8::from_str_radix(it, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                decoded.push(value);
                at += 2;
            }
            (b'+', _) => decoded.push(b' '),
            _ => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        410 => "Gone",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded() {
        for (text, want) in [("a%20b+c", "a b c"), ("%7E", "~"), ("100%", "100%"), ("%zz", "%zz"), ("", "")] {
            assert_eq!(decode_percent(text), want);
        }
    }
}

//! A server on a loopback socket that answers with raw bytes, or misbehaves, exactly as it is told.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test file uses a part of it; clippy takes helpers for production code
use rustix::net::sockopt::set_socket_linger;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the server does with one connection.
#[derive(Clone, Debug)]
pub enum Does {
    /// Reads the request, then sends these bytes and closes.
    Answers(Vec<u8>),
    /// Reads the request, then sends a head and this many bytes of a body.
    Floods(u64),
    /// Resets before it reads.
    ResetsAtOnce,
    /// Reads the request, then resets.
    ResetsAfterReading,
    /// Reads the request, then waits until the client gives up.
    Nothing,
}

/// An answer with a body and further header lines (each with its line end).
pub fn answer(status: &str, headers: &str, body: &str) -> Does {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}");
    Does::Answers(format!("{head}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes())
}

/// An answer that promises more than it sends.
pub fn cut_short(status: &str, body: &str) -> Does {
    Does::Answers(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len() + 99).into_bytes())
}

/// A request as it came over the wire.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Request line and headers.
    pub head: String,
    /// The body.
    pub body: String,
}

/// The server. It does what it was told, in order, then the last thing again.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    script: Mutex<VecDeque<Does>>,
    seen: Mutex<Vec<Seen>>,
    flooded: AtomicU64,
    stop: AtomicBool,
}

impl Server {
    pub fn start(script: impl IntoIterator<Item = Does>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { script: Mutex::new(script.into_iter().collect()), ..Shared::default() });
        let inner = shared.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if inner.stop.load(Ordering::SeqCst) {
                    return;
                }
                // A client that has gone is no failure of the server.
                let _ = serve(&stream.unwrap(), &inner);
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many bytes of floods the client took in, sockets' buffers included.
    pub fn flooded(&self) -> u64 {
        self.shared.flooded.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(mut stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let does = {
        let mut script = shared.script.lock().unwrap();
        if script.len() > 1 { script.pop_front().unwrap() } else { script[0].clone() }
    };
    if !matches!(does, Does::ResetsAtOnce) {
        shared.seen.lock().unwrap().push(read(stream)?);
    }
    match does {
        Does::Answers(bytes) => stream.write_all(&bytes),
        Does::Floods(most) => {
            stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {most}\r\n\r\n").as_bytes())?;
            let chunk = [b'x'; 65_536];
            while shared.flooded.load(Ordering::SeqCst) < most {
                let sent = stream.write(&chunk)?;
                shared.flooded.fetch_add(sent as u64, Ordering::SeqCst);
            }
            Ok(())
        }
        Does::Nothing => stream.read(&mut [0]).map(|_| ()),
        // Closing with a linger of zero sends a reset instead of an orderly end.
        Does::ResetsAtOnce | Does::ResetsAfterReading => Ok(set_socket_linger(stream, Some(Duration::ZERO))?),
    }
}

fn read(mut stream: &TcpStream) -> std::io::Result<Seen> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|it| it.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |it| it.parse().unwrap()) {
                return Ok(Seen { head: head.to_owned(), body: body.to_owned() });
            }
        }
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&chunk[..count]);
    }
}

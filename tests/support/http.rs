//! An HTTP receiver for tests, on loopback, that answers each request with the bytes it was given, whatever they are.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How a request is answered.
#[derive(Clone)]
pub enum Answer {
    /// With these bytes; then the connection closes.
    Bytes(String),
    /// With nothing, ever.
    Nothing,
    /// With a reset.
    Reset,
    /// With 200 and as many bytes as the client takes, at most this many.
    Endless(usize),
}

/// What came.
#[derive(Clone, Debug)]
pub struct Request {
    pub line: String,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// A running receiver.
pub struct Receiver {
    pub port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    written: Arc<Mutex<usize>>,
}

impl Receiver {
    pub async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, written) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<usize>>::default());
        let (came, counted) = (Arc::clone(&requests), Arc::clone(&written));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, came, counted) = (answer.clone(), Arc::clone(&came), Arc::clone(&counted));
                tokio::spawn(async move {
                    // A client that hangs up is the end of a connection, not of the test.
                    let _ = serve(stream, answer, &came, &counted).await;
                });
            }
        });
        Self { port, requests, written }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// How many bytes of an endless answer were written.
    pub fn written(&self) -> usize {
        *self.written.lock().unwrap()
    }
}

async fn serve(
    stream: TcpStream,
    answer: Answer,
    came: &Mutex<Vec<Request>>,
    written: &Mutex<usize>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let request = read(&mut stream).await?;
    came.lock().unwrap().push(request);
    match answer {
        Answer::Bytes(bytes) => stream.write_all(bytes.as_bytes()).await,
        Answer::Nothing => std::future::pending().await,
        Answer::Reset => stream.into_inner().set_zero_linger(),
        Answer::Endless(most) => {
            stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {most}\r\n\r\n").as_bytes()).await?;
            let chunk = vec![b'x'; 64 * 1024];
            while *written.lock().unwrap() < most {
                stream.write_all(&chunk).await?;
                *written.lock().unwrap() += chunk.len();
            }
            Ok(())
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let headers: BTreeMap<_, _> = lines
        .iter()
        .skip(1)
        .filter_map(|it| it.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Request { line: lines.remove(0), headers, body: String::from_utf8(body).unwrap() })
}

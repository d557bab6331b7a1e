//! A mail server for tests, on loopback: plain, STARTTLS or TLS, with or without a login, and as unfriendly as asked.
use base64::Engine;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How the server behaves.
#[derive(Clone, Default)]
pub struct Behaviour {
    pub starttls: Option<TlsAcceptor>,
    pub tls: Option<TlsAcceptor>,
    pub login: Option<(&'static str, &'static str)>,
    /// Accepts connections and says nothing.
    pub never_greets: bool,
    /// What `RCPT` is answered with; `250` if nothing.
    pub to_rcpt: Option<&'static str>,
    /// Refuses this recipient, and no other.
    pub refuses: Option<&'static str>,
    /// Puts off the first try for each recipient, as greylisting does.
    pub greylists: bool,
    /// Closes the connection in the middle of a mail.
    pub drops_in_data: bool,
    /// Closes the connection after each mail that it took.
    pub closes_after_mail: bool,
    /// Never answers the end of the first mail.
    pub stalls_after_first_mail: bool,
    /// Answers the first command with a line that has no end.
    pub never_ends_a_line: bool,
}

/// A running server.
pub struct Server {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    mails: Vec<String>,
    connections: usize,
    babbled: usize,
    recipients: Vec<String>,
}

impl Server {
    pub async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                let (behaviour, seen) = (behaviour.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    // A client that goes away is the end of a session, not of the test.
                    let _ = match behaviour.tls.clone() {
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, behaviour, seen).await,
                            Err(_) => return,
                        },
                        None => serve(stream, behaviour, seen).await,
                    };
                });
            }
        });
        Self { port, seen }
    }

    /// The mails that were accepted, headers and body as they came.
    pub fn mails(&self) -> Vec<String> {
        self.seen.lock().unwrap().mails.clone()
    }

    /// How much it said in a line without an end, in bytes.
    pub fn babbled(&self) -> usize {
        self.seen.lock().unwrap().babbled
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }
}

type Seens = Arc<Mutex<Seen>>;

async fn serve<S>(stream: S, behaviour: Behaviour, seen: Seens) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    if behaviour.never_greets {
        return std::future::pending().await;
    }
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 sink\r\n").await?;
    match session(&mut stream, &behaviour, &behaviour.starttls, &seen).await? {
        Some(tls) => {
            let mut stream = BufReader::new(tls.accept(stream.into_inner()).await?);
            session(&mut stream, &behaviour, &None, &seen).await.map(|_| ())
        }
        None => Ok(()),
    }
}

/// Talks until the client leaves, or until TLS is to begin.
async fn session<S>(
    stream: &mut BufReader<S>,
    behaviour: &Behaviour,
    starttls: &Option<TlsAcceptor>,
    seen: &Seens,
) -> std::io::Result<Option<TlsAcceptor>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        if behaviour.never_ends_a_line && starttls.is_none() {
            stream.write_all(b"250 ").await?;
            loop {
                stream.write_all(&[b'a'; 4096]).await?;
                seen.lock().unwrap().babbled += 4096;
            }
        }
        let answer = match line.split([' ', ':', '\r']).next().unwrap_or("") {
            "EHLO" if starttls.is_some() => "250-sink\r\n250 STARTTLS",
            "EHLO" if behaviour.login.is_some() => "250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN",
            "EHLO" => "250-sink\r\n250 8BITMIME",
            "STARTTLS" if starttls.is_some() => {
                stream.write_all(b"220 go on\r\n").await?;
                return Ok(starttls.clone());
            }
            // As careless servers do, the answer repeats what it was sent.
            "AUTH" if !may_enter(&line, behaviour.login) => &format!("535 no entry with {}", line.trim()),
            "AUTH" => "235 welcome",
            "RCPT" => rcpt(&line, behaviour, seen),
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let Some(mail) = mail(stream, behaviour.drops_in_data).await? else { return Ok(None) };
                let first = {
                    let mut seen = seen.lock().unwrap();
                    seen.mails.push(mail);
                    seen.mails.len() == 1
                };
                if first && behaviour.stalls_after_first_mail {
                    return std::future::pending().await;
                }
                if behaviour.closes_after_mail {
                    stream.write_all(b"250 taken\r\n").await?;
                    return Ok(None);
                }
                "250 taken"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(None);
            }
            _ => "250 ok",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

fn rcpt(line: &str, behaviour: &Behaviour, seen: &Seens) -> &'static str {
    let known = &mut seen.lock().unwrap().recipients;
    let first = !known.iter().any(|it| it == line);
    known.push(line.to_owned());
    match behaviour.refuses {
        Some(refused) if line.contains(refused) => "550 5.1.1 no such user",
        _ if behaviour.greylists && first => "451 4.7.1 greylisted, try again",
        _ => behaviour.to_rcpt.unwrap_or("250 ok"),
    }
}

async fn mail<S: AsyncRead + Unpin>(stream: &mut BufReader<S>, drops: bool) -> std::io::Result<Option<String>> {
    let mut mail = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || drops {
            return Ok(None);
        }
        assert!(line.len() <= 1000, "RFC 5321 allows lines of 1000 bytes, and this has {}", line.len());
        if line == ".\r\n" {
            return Ok(Some(mail));
        }
        mail.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}

fn may_enter(line: &str, login: Option<(&str, &str)>) -> bool {
    let Some((user, password)) = login else { return false };
    let sent = base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0{password}"));
    line.trim() == format!("AUTH PLAIN {sent}")
}

/// A certificate for `localhost` that nobody has signed but itself.
pub struct Certificate {
    dir: tempfile::TempDir,
}

impl Certificate {
    pub fn make() -> Self {
        Self::of("DNS:localhost,IP:127.0.0.1")
    }

    /// One for others than `localhost`.
    pub fn of(names: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("openssl")
            .current_dir(dir.path())
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=rekeyd mail sink"])
            .args(["-addext", &format!("subjectAltName={names}")])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .output()
            .expect("this test needs the openssl command; install openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { dir }
    }

    pub fn cert(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        let read = |path: &Path| std::fs::read(path).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(&read(&self.cert())).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key())).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

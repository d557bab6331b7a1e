//! How mails leave: the `[smtp]` section, and the connections to that server which all owners share.
//!
//! The connections are kept here and not in lettre's own pool. That pool takes a connection back when a send is given up
//! half-way, and then reads the late answer to the old mail as the answer to the next one: a refused notice would count
//! as taken. Here a connection comes back only after a whole exchange; in every other case it is closed.
use super::dkim::Dkim;
use super::measured::Measured;
use super::templates::Templates;
use super::{Fault, Sent};
use crate::http::is_this_machine;
use crate::secret::SecretRef;
use crate::secret::aside::aside;
use crate::secret::reference::Reference;
use lettre::address::Envelope;
use lettre::message::Mailbox;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use serde::Deserialize;
use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one try may take as a whole, from the connection to the server's last word.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an idle connection is kept; servers close theirs after minutes.
pub const IDLE_FOR: Duration = Duration::from_secs(30);
/// How many connections there are at once; mail servers limit them too. Further mails wait, within their own limit.
pub const CONNECTIONS: usize = 4;
/// How long a server may take to say that an idle connection still works, or to say good-bye.
const NOOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of a server's answer is passed on, in characters.
const ANSWER_CHARS: usize = 300;
/// The port for mail submission (RFC 6409).
const SUBMISSION_PORT: u16 = 587;

/// `[smtp]`, parsed and complete.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Smtp {
    /// The server's name.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// How the connection is kept from others' eyes.
    pub security: Security,
    /// Who the mails are from.
    pub from: Mailbox,
    /// How to log in, if at all.
    pub login: Option<Login>,
    /// More roots to trust, as PEM: for a server with a private certificate authority.
    pub ca_file: Option<PathBuf>,
    /// How mails are signed, if at all.
    pub dkim: Option<Dkim>,
    /// Where the templates of mails lie, if there are any.
    pub templates: Option<PathBuf>,
}

/// How a connection is kept from others' eyes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// It begins in the clear and must become TLS before anything is said (RFC 3207).
    #[default]
    Starttls,
    /// It is TLS from the first byte (RFC 8314).
    Tls,
    /// Not at all: only for a server on this machine, or where the operator insists.
    None,
}

/// How to log in.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password; read anew for every connection.
    pub password: SecretRef,
}

/// What is wrong with `[smtp]`.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum SmtpFault {
    /// Mails would cross the network in the clear.
    #[error(
        "security = \"none\" would send mail to {0} in the clear; use \"starttls\" or \"tls\", or insist with allow_plaintext = true"
    )]
    Plaintext(String),
    /// A password would cross the network in the clear.
    #[error("security = \"none\" would show the password to everybody on the way to {0}; use \"starttls\" or \"tls\"")]
    PasswordInClear(String),
    /// One of the two is missing.
    #[error("username and password come together; write both or none")]
    HalfLogin,
    /// There is no host.
    #[error("host is empty; name the mail server")]
    NoHost,
    /// Nobody would believe the signature.
    #[error("{0}")]
    Dkim(String),
    /// Relative to what?
    #[error("templates {0:?} is a relative path; write the whole path")]
    Relative(PathBuf),
}

/// `[smtp]` as the config writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    host: String,
    port: Option<u16>,
    #[serde(default)]
    security: Security,
    #[serde(deserialize_with = "super::email::mailbox")]
    from: Mailbox,
    username: Option<String>,
    password: Option<Reference>,
    ca_file: Option<PathBuf>,
    dkim: Option<Dkim>,
    templates: Option<PathBuf>,
    #[serde(default)]
    allow_plaintext: bool,
}

impl TryFrom<Written> for Smtp {
    type Error = SmtpFault;

    fn try_from(it: Written) -> Result<Self, SmtpFault> {
        if it.host.is_empty() {
            return Err(SmtpFault::NoHost);
        }
        let login = match (it.username, it.password) {
            (Some(username), Some(Reference(password))) => Some(Login { username, password }),
            (None, None) => None,
            _ => return Err(SmtpFault::HalfLogin),
        };
        if it.security == Security::None && !is_this_machine(&it.host) {
            if !it.allow_plaintext {
                return Err(SmtpFault::Plaintext(it.host));
            }
            if login.is_some() {
                return Err(SmtpFault::PasswordInClear(it.host));
            }
        }
        if let Some(dkim) = &it.dkim {
            dkim.fits(it.from.email.domain()).map_err(SmtpFault::Dkim)?;
        }
        let port = it.port.unwrap_or(SUBMISSION_PORT);
        if let Some(folder) = it.templates.as_ref().filter(|it| it.is_relative()) {
            return Err(SmtpFault::Relative(folder.clone()));
        }
        let Written { host, security, from, ca_file, dkim, templates, .. } = it;
        Ok(Self { host, port, security, from, login, ca_file, dkim, templates })
    }
}

/// The connections to one mail server, shared by everybody who is told by mail.
pub struct SmtpClient {
    settings: Smtp,
    tls: Option<TlsParameters>,
    templates: Option<Templates>,
    limit: Duration,
    slots: Semaphore,
    idle: Mutex<Idle>,
}

/// Connections that wait for the next mail, each with a number of its own.
#[derive(Default)]
struct Idle {
    parked: Vec<(u64, AsyncSmtpConnection)>,
    last: u64,
}

impl SmtpClient {
    /// Prepares connections; makes none yet.
    ///
    /// # Errors
    /// Where `ca_file` can't be read or is no certificate.
    pub fn new(settings: Smtp) -> Result<Arc<Self>, Fault> {
        Self::with_limit(settings, SEND_TIMEOUT)
    }

    /// As [`SmtpClient::new`], with another limit than [`SEND_TIMEOUT`] for one try.
    ///
    /// # Errors
    /// Likewise.
    pub fn with_limit(settings: Smtp, limit: Duration) -> Result<Arc<Self>, Fault> {
        let tls = if settings.security == Security::None { None } else { Some(tls(&settings)?) };
        let templates = settings.templates.as_deref().map(Templates::read);
        Ok(Arc::new(Self {
            settings,
            tls,
            templates,
            limit,
            slots: Semaphore::new(CONNECTIONS),
            idle: Mutex::default(),
        }))
    }

    /// The templates of mails, if there are any.
    pub(super) fn templates(&self) -> Option<&Templates> {
        self.templates.as_ref()
    }

    /// What mails go without: a sentence, or nothing where nothing is wrong.
    pub fn trouble(&self) -> Option<String> {
        self.templates.as_ref()?.trouble()
    }

    /// The settings that it was made from.
    pub fn settings(&self) -> &Smtp {
        &self.settings
    }

    /// Sends one mail to one recipient. Only an answer about the mail or its recipient is final; trouble with the
    /// server, or with our login there, is not.
    pub async fn send(self: &Arc<Self>, envelope: &Envelope, mail: &[u8]) -> Sent {
        let on_its_way = AtomicBool::new(false);
        if let Ok(sent) = timeout(self.limit, self.exchange(envelope, mail, &on_its_way)).await {
            return sent;
        }
        let why = format!("{self}: no answer within {}", humantime::format_duration(self.limit));
        match on_its_way.into_inner() {
            true => Sent::Unsure(format!("{why}; the mail may have arrived all the same")),
            false => later(why),
        }
    }

    async fn exchange(self: &Arc<Self>, envelope: &Envelope, mail: &[u8], on_its_way: &AtomicBool) -> Sent {
        // The slot is given back after the connection is parked, so that parked and busy ones stay within the limit.
        let _slot = self.slots.acquire().await;
        let mut connection = match self.working().await {
            Some(it) => it,
            None => match self.connect().await {
                Ok(it) => it,
                Err(why) => return later(why),
            },
        };
        on_its_way.store(true, Ordering::Relaxed);
        match connection.send(envelope, mail).await {
            Ok(_) => {
                self.park(connection);
                Sent::Taken
            }
            Err(error) if is_about_content(&error) => Sent::Unfit(self.why(&error)),
            Err(error) if error.is_permanent() && !is_about_login(&error) => Sent::Refused(self.why(&error)),
            // Only an answer says that it was not taken.
            Err(error) if error.status().is_some() => later(self.why(&error)),
            Err(error) => Sent::Unsure(self.why(&error)),
        }
    }

    /// An idle connection that still works.
    async fn working(&self) -> Option<AsyncSmtpConnection> {
        loop {
            let (_, mut connection) = self.idle().parked.pop()?;
            if timeout(NOOP_TIMEOUT, connection.test_connected()).await == Ok(true) {
                return Some(connection);
            }
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, String> {
        let credentials = self.credentials().await?;
        let Smtp { host, port, security, .. } = &self.settings;
        let me = ClientId::default();
        let tls = |when: Security| if *security == when { self.tls.clone() } else { None };
        let tcp = timeout(CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), *port))).await;
        let late = || format!("{self}: no connection within {} s", CONNECT_TIMEOUT.as_secs());
        let tcp = Measured::new(tcp.map_err(|_| late())?.map_err(|it| format!("{self}: {it}"))?);
        let stream: Box<dyn AsyncTokioStream> = match tls(Security::Tls) {
            None => Box::new(tcp),
            Some(tls) => Box::new(tcp.encrypted(tls).await.map_err(|it| self.why(&it))?),
        };
        let made = AsyncSmtpConnection::connect_with_transport(stream, &me).await;
        let mut connection = made.map_err(|it| self.why(&it))?;
        if let Some(tls) = tls(Security::Starttls) {
            connection.starttls(tls, &me).await.map_err(|it| self.why(&it))?;
        }
        if let Some(credentials) = credentials {
            connection.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(|it| self.login_refused(&it))?;
        }
        Ok(connection)
    }

    /// Reads the password. A file may lie on a slow disk, so this happens beside the other tasks.
    async fn credentials(&self) -> Result<Option<Credentials>, String> {
        let Some(login) = self.settings.login.clone() else { return Ok(None) };
        match aside(&format!("the password of {self}"), move || login.credentials()).await {
            Ok(Ok(credentials)) => Ok(Some(credentials)),
            Ok(Err(fault)) => Err(format!("{self}: the password: {fault}")),
            Err(unread) => Err(format!("{self}: the password: {unread}")),
        }
    }

    /// Keeps a connection for the next mail, and closes it when none comes.
    fn park(self: &Arc<Self>, connection: AsyncSmtpConnection) {
        let number = {
            let mut idle = self.idle();
            idle.last += 1;
            let number = idle.last;
            idle.parked.push((number, connection));
            number
        };
        let client = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(IDLE_FOR).await;
            let Some(client) = client.upgrade() else { return };
            let found = {
                let mut idle = client.idle();
                let at = idle.parked.iter().position(|(it, _)| *it == number);
                at.map(|at| idle.parked.remove(at).1)
            };
            if let Some(connection) = found {
                part(connection).await;
            }
        });
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the server, or the way to it, said.
    fn why(&self, error: &Error) -> String {
        let mut text = match error.status() {
            Some(code) => format!("{self}: {code}"),
            None if error.source().is_none() => format!("{self}: {error}"),
            None => format!("{self}:"),
        };
        let mut source = error.source();
        while let Some(it) = source {
            let said = it.to_string();
            // An error often repeats what it is caused by.
            if !text.contains(&said) {
                text = format!("{text} {said}");
            }
            source = it.source();
        }
        let text: String = super::Message::one_line(&text).chars().take(ANSWER_CHARS).collect();
        if text.contains("UnknownIssuer") {
            return format!(
                "{text}; if the server has a private certificate authority, name its certificate in ca_file"
            );
        }
        text
    }

    /// The server's words are left out: some servers repeat what they were sent.
    fn login_refused(&self, error: &Error) -> String {
        match (error.status(), &self.settings.login) {
            (Some(code), Some(login)) => {
                format!("{self}: the login of {:?} is refused ({code}); check username and password", login.username)
            }
            _ => self.why(error),
        }
    }
}

impl Login {
    fn credentials(&self) -> Result<Credentials, Fault> {
        let password = self.password.resolve()?;
        Ok(Credentials::new(self.username.clone(), password.expose_str()?.to_owned()))
    }

    /// Looks whether the password can be read.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), Fault> {
        self.credentials().map(|_| ())
    }
}

/// Names the server.
impl fmt::Display for SmtpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.settings.host, self.settings.port)
    }
}

impl fmt::Debug for SmtpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpClient").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn tls(settings: &Smtp) -> Result<TlsParameters, Fault> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(path) = &settings.ca_file {
        let wrong = |why: &dyn fmt::Display| Fault::Wrong(format!("ca_file {}: {why}", path.display()));
        let pem = std::fs::read(path).map_err(|it| wrong(&it))?;
        let certificate = Certificate::from_pem(&pem).map_err(|_| wrong(&"not a certificate in PEM form"))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(|it| Fault::Wrong(format!("TLS to {}: {it}", settings.host)))
}

/// Whether an answer is about who we are and not about the mail (RFC 4954): `530` authentication required, `534` and
/// `538` mechanism too weak, `535` credentials invalid.
fn is_about_login(error: &Error) -> bool {
    error.status().is_some_and(|it| matches!(u16::from(it), 530 | 534 | 535 | 538))
}

/// Too long (552), or refused once it was read (554): RFC 5321, 4.2.3. Some say the latter of whoever sends it, too.
fn is_about_content(error: &Error) -> bool {
    error.status().is_some_and(|it| matches!(u16::from(it), 552 | 554))
}

async fn part(mut connection: AsyncSmtpConnection) {
    let _ = timeout(NOOP_TIMEOUT, connection.quit()).await;
}

fn later(why: String) -> Sent {
    Sent::Later { why, retry_after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<Smtp, String> {
        toml::from_str(toml).map_err(|it| it.message().to_owned())
    }

    const FROM: &str = "from = \"rekeyd <rekeyd@example.com>\"";

    #[test]
    fn starttls_on_the_submission_port_is_the_default() {
        let smtp = read(&format!("host = \"mail.example.com\"\n{FROM}")).unwrap();
        assert_eq!((smtp.port, smtp.security), (587, Security::Starttls));
    }

    #[test]
    fn mail_in_the_clear_stays_on_this_machine_unless_the_operator_insists() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(read(&format!("host = \"{host}\"\nsecurity = \"none\"\n{FROM}")).is_ok(), "{host}");
        }
        let far = format!("host = \"mail.example.com\"\nsecurity = \"none\"\n{FROM}");
        assert!(read(&far).unwrap_err().contains("allow_plaintext"));
        let insisted = format!("{far}\nallow_plaintext = true");
        assert!(read(&insisted).is_ok());
        let login = format!("{insisted}\nusername = \"u\"\npassword = {{ env = \"P\" }}");
        assert!(read(&login).unwrap_err().contains("password"));
    }

    #[test]
    fn username_and_password_come_together() {
        let base = format!("host = \"mail.example.com\"\n{FROM}");
        assert!(read(&format!("{base}\nusername = \"u\"")).unwrap_err().contains("together"));
        assert!(read(&format!("{base}\npassword = {{ env = \"P\" }}")).unwrap_err().contains("together"));
    }

    #[test]
    fn faults_name_the_field_and_never_show_a_password() {
        let fault = read(&format!("host = \"h\"\nusername = \"u\"\npassword = \"hunter2\"\n{FROM}")).unwrap_err();
        assert!(fault.contains("literal secret") && !fault.contains("hunter2"), "{fault}");
        assert!(read("host = \"h\"\nfrom = \"nobody\"").unwrap_err().contains("nobody"));
        assert!(read(&format!("host = \"h\"\nhots = \"h\"\n{FROM}")).unwrap_err().contains("hots"));
        assert!(read(&format!("host = \"\"\n{FROM}")).unwrap_err().contains("host is empty"));
    }
}

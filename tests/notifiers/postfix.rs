//! Mail to Debian's postfix: an instance of its own on loopback, with STARTTLS.
use crate::dkim::key_pair;
use crate::email::{to, with};
use crate::python::verify_dkim;
use crate::smtp::Certificate;
use crate::{AT, message, why_later};
use rekeyd::notifiers::{Notifier, Sent};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long postfix may take to begin, or to bring a mail to a mailbox.
const LIMIT: Duration = Duration::from_secs(90);

struct Postfix {
    dir: tempfile::TempDir,
    master: Child,
    port: u16,
}

impl Postfix {
    /// Begins one; none where we are not root, as its master must be.
    async fn start(certificate: &Certificate) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("not looked at: postfix needs root");
            return None;
        }
        loop {
            if let Some(postfix) = Self::try_start(certificate).await {
                return Some(postfix);
            }
        }
    }

    /// Begins one; none where somebody else got its port first.
    async fn try_start(certificate: &Certificate) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        // Its own user looks into it.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = dir.path().join("etc");
        for made in ["etc", "spool", "mail", "lib"] {
            fs::create_dir(dir.path().join(made)).unwrap();
        }
        run(Command::new("chown").arg("postfix").arg(dir.path().join("lib")));
        run(Command::new("chown").arg("nobody").arg(dir.path().join("mail")));
        fs::write(config.join("main.cf"), main_cf(dir.path(), certificate)).unwrap();
        fs::write(config.join("master.cf"), master_cf(port)).unwrap();
        let mut master = Command::new("/usr/sbin/postfix");
        let master = master.arg("-c").arg(&config).arg("start-fg").stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut postfix = Self { dir, master: master.expect("this test needs postfix; install postfix"), port };
        let began = Instant::now();
        // It says so once it has its port; what answers there before may be somebody else.
        while !postfix.log().contains("daemon started")
            || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err()
        {
            if postfix.master.try_wait().unwrap().is_some() {
                assert!(postfix.log().contains("Address already in use"), "postfix ended:\n{}", postfix.log());
                return None;
            }
            assert!(began.elapsed() < LIMIT, "postfix does not answer:\n{}", postfix.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(postfix)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// What stands in a mailbox, once so many mails do.
    async fn mails(&self, mailbox: &str, count: usize) -> Vec<String> {
        let new: PathBuf = self.dir.path().join("mail").join(mailbox).join("new");
        let began = Instant::now();
        loop {
            let files: Vec<_> = fs::read_dir(&new).into_iter().flatten().map(|it| it.unwrap().path()).collect();
            if files.len() >= count {
                return files.iter().map(|it| fs::read_to_string(it).unwrap()).collect();
            }
            assert!(began.elapsed() < LIMIT, "{} of {count} mails:\n{}", files.len(), self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = Command::new("/usr/sbin/postfix").arg("-c").arg(self.dir.path().join("etc")).arg("stop").output();
        let _ = self.master.wait();
    }
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn main_cf(dir: &Path, certificate: &Certificate) -> String {
    let (dir, cert, key) = (dir.display(), certificate.cert(), certificate.key());
    format!(
        "compatibility_level = 3.6\n\
         queue_directory = {dir}/spool\n\
         data_directory = {dir}/lib\n\
         maillog_file = {dir}/log\n\
         maillog_file_prefixes = {dir}\n\
         myhostname = mail.example.net\n\
         mydestination =\n\
         inet_protocols = ipv4\n\
         mynetworks = 127.0.0.0/8\n\
         alias_maps =\n\
         local_recipient_maps =\n\
         smtpd_tls_security_level = encrypt\n\
         smtpd_tls_received_header = yes\n\
         smtpd_tls_cert_file = {}\n\
         smtpd_tls_key_file = {}\n\
         smtpd_recipient_restrictions = check_recipient_access inline:{{ \
           {{ busy@example.com = 450 4.2.0 come back later }}, {{ gone@example.com = 550 5.1.1 no such user }} }}, \
           permit_mynetworks, reject\n\
         virtual_mailbox_domains = example.com\n\
         virtual_mailbox_base = {dir}/mail\n\
         virtual_mailbox_maps = inline:{{ {{ payments@example.com = payments/ }}, {{ anna@example.com = anna/ }}, \
           {{ bert@example.com = bert/ }}, {{ busy@example.com = busy/ }} }}\n\
         virtual_minimum_uid = 100\n\
         virtual_uid_maps = static:65534\n\
         virtual_gid_maps = static:65534\n",
        cert.display(),
        key.display()
    )
}

/// The services that it needs, none in a chroot.
fn master_cf(port: u16) -> String {
    let services = [
        "pickup unix n - n 60 1 pickup",
        "cleanup unix n - n - 0 cleanup",
        "qmgr unix n - n 300 1 qmgr",
        "tlsmgr unix - - n 1000? 1 tlsmgr",
        "rewrite unix - - n - - trivial-rewrite",
        "bounce unix - - n - 0 bounce",
        "defer unix - - n - 0 bounce",
        "trace unix - - n - 0 bounce",
        "proxymap unix - - n - - proxymap",
        "error unix - - n - - error",
        "retry unix - - n - - error",
        "discard unix - - n - - discard",
        "virtual unix - n n - - virtual",
        "anvil unix - - n - 1 anvil",
        "postlog unix-dgram n - n - 1 postlogd",
    ];
    format!("127.0.0.1:{port} inet n - n - - smtpd\n{}\n", services.join("\n"))
}

#[tokio::test]
async fn postfix_takes_our_mail_over_starttls_and_its_signature_survives() {
    let certificate = Certificate::make();
    let Some(postfix) = Postfix::start(&certificate).await else { return };
    let keys = tempfile::tempdir().unwrap();
    let (key, record) = key_pair(keys.path(), &["genpkey", "-algorithm", "ed25519"], "ed25519");
    let more = format!("ca_file = {:?}\ndkim = {{ selector = \"s1\", key = {key} }}", certificate.cert());
    assert_eq!(with(postfix.port, &more).send(&message(), AT).await, Sent::Taken, "{}", postfix.log());
    // A mailbox has the line ends of its system, and the headers of those who carried the mail.
    let mail = postfix.mails("payments", 1).await.remove(0).replace('\n', "\r\n");
    assert!(mail.contains("using TLSv1.3"), "{mail}");
    assert!(mail.contains("Message-ID: <5f0c1d2e3a4b5c6d7e8f901234567890.payments@example.com>"), "{mail}");
    assert_eq!(verify_dkim(&mail, "s1._domainkey.example.com", &record).await, "verified example.com");
}

#[tokio::test]
async fn postfix_gets_nothing_where_its_certificate_is_not_trusted() {
    let certificate = Certificate::make();
    let Some(postfix) = Postfix::start(&certificate).await else { return };
    let why = why_later(with(postfix.port, "").send(&message(), AT).await);
    assert!(why.contains("ca_file"), "{why}");
}

#[tokio::test]
async fn postfix_may_refuse_or_defer_one_address_and_the_others_get_their_mail() {
    let certificate = Certificate::make();
    let Some(postfix) = Postfix::start(&certificate).await else { return };
    let client = to(postfix.port, &format!("ca_file = {:?}", certificate.cert()));
    let mut answers = Vec::new();
    for address in ["anna@example.com", "gone@example.com", "busy@example.com", "bert@example.com"] {
        answers.push(client(address).send(&message(), AT).await);
    }
    let [anna, gone, busy, bert] = &answers[..] else { panic!() };
    assert_eq!((anna, bert), (&Sent::Taken, &Sent::Taken));
    assert!(matches!(gone, Sent::Refused(why) if why.contains("550") && why.contains("no such user")), "{gone:?}");
    assert!(why_later(busy.clone()).contains("450"));
    postfix.mails("anna", 1).await;
    postfix.mails("bert", 1).await;
}

//! Owners told by mail: one notifier for each address, so that an address that is refused keeps no other from its mail.
//!
//! A mail is text and HTML side by side. Its `Message-ID` comes from the notice, so that a mail that was sent twice,
//! because the answer to the first was lost, is seen as one; and all mails on one cause refer to the same thread.
use super::dkim::Dkim;
use super::letter::{Letter, SUBJECT_CHARS, line};
use super::smtp::{Smtp, SmtpClient};
use super::templates::Part;
use super::{Fault, Message, Notifier, Sent, Shared, Wanted, html, text};
use crate::core::names::NoticeId;
use crate::core::plan::{NoticeStatus, Severity};
use crate::core::time::Timestamp;
use crate::secret::aside::aside;
use async_trait::async_trait;
use chrono_tz::Tz;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use serde::{Deserialize, Deserializer};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use toml::de::ValueDeserializer;

/// One mail address of one owner.
#[derive(Clone, Debug)]
pub struct EmailNotifier {
    smtp: Arc<SmtpClient>,
    to: Mailbox,
    timezone: Option<Tz>,
}

impl EmailNotifier {
    /// Tells this address over these connections; times are given in `timezone` too.
    pub fn new(smtp: Arc<SmtpClient>, to: Mailbox, timezone: Option<Tz>) -> Self {
        Self { smtp, to, timezone }
    }

    /// Writes the mail. `now` becomes its date; all else depends on the message alone.
    ///
    /// # Errors
    /// Where it can't be put into the form of a mail.
    pub fn compose(&self, message: &Message, now: Timestamp) -> Result<lettre::Message, lettre::error::Error> {
        let written = self.write(message);
        let from = &self.smtp.settings().from;
        let domain = ascii_domain(from);
        let owner = atom(&message.owner);
        let thread = thread(message).map(|it| format!("<{it}.{owner}@{domain}>"));
        let mut builder = lettre::Message::builder()
            .from(from.clone())
            .to(self.to.clone())
            .date(UNIX_EPOCH + Duration::from_millis(u64::try_from(now.0).unwrap_or(0)))
            .subject(written.subject)
            .message_id(Some(format!("<{}.{owner}@{domain}>", atom(message.id.as_str()))));
        if let Some(thread) = thread {
            builder = builder.in_reply_to(thread.clone()).references(thread);
        }
        for (name, value) in headers(message, &owner, domain) {
            builder = builder.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str(name), value));
        }
        // The border between the parts comes from the notice, so that a mail that is sent twice is the same twice.
        let parts = MultiPart::alternative().boundary(NoticeId::of(&["parts", message.id.as_str()]).as_str());
        builder.multipart(parts.singlepart(SinglePart::plain(written.text)).singlepart(SinglePart::html(written.html)))
    }

    /// What the mail says: in the words of a template where there is one that can be used.
    pub fn write(&self, message: &Message) -> Written {
        let letter = Letter::of(message, self.timezone);
        let own = |part| self.smtp.templates().and_then(|it| it.render(part, &letter, message));
        Written {
            subject: own(Part::Subject).map_or_else(|| letter.subject.clone(), |it| line(&it, SUBJECT_CHARS)),
            text: own(Part::Text).unwrap_or_else(|| text::render(&letter)),
            html: own(Part::Html).unwrap_or_else(|| html::render(&letter)),
        }
    }

    /// The mail with its signature, where it has one. The key may lie on a slow disk, so it is read beside the other tasks.
    async fn signed(&self, mail: Vec<u8>, now: Timestamp) -> Result<Vec<u8>, String> {
        let Smtp { dkim: Some(dkim), from, .. } = self.smtp.settings() else { return Ok(mail) };
        let (dkim, sender) = (dkim.clone(), from.email.domain().to_owned());
        let signed = aside(&format!("dkim.key of {}", self.smtp), move || dkim.sign(&sender, &mail, now)).await;
        match signed {
            Ok(Ok(signed)) => Ok(signed),
            Ok(Err(fault)) => Err(format!("{}: {fault}", self.smtp)),
            Err(unread) => Err(format!("{}: dkim.key: {unread}", self.smtp)),
        }
    }
}

/// What a mail says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// One line.
    pub subject: String,
    /// For a terminal, with `\n` as line end.
    pub text: String,
    /// A page of its own.
    pub html: String,
}

#[async_trait]
impl Notifier for EmailNotifier {
    fn id(&self) -> String {
        format!("email:{}", self.to.email)
    }

    fn kind(&self) -> &'static str {
        "email"
    }

    fn groups(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), Fault> {
        let settings = self.smtp.settings();
        settings.login.as_ref().map_or(Ok(()), |it| it.check())?;
        settings.dkim.as_ref().map_or(Ok(()), Dkim::check)
    }

    fn trouble(&self) -> Option<String> {
        self.smtp.trouble()
    }

    async fn send(&self, message: &Message, now: Timestamp) -> Sent {
        let mail = match self.compose(message, now) {
            Ok(mail) => mail,
            Err(error) => return Sent::Refused(format!("the mail to {} can't be written: {error}", self.to.email)),
        };
        match self.signed(mail.formatted(), now).await {
            Ok(text) => self.smtp.send(mail.envelope(), &text).await,
            // Without its signature the domain's own rules might have it thrown away where nobody sees.
            Err(why) => Sent::Later { why, retry_after: None },
        }
    }
}

/// Reads the field `email` of an owner.
pub(super) fn read(list: ValueDeserializer<'_>, shared: &Shared) -> Result<Vec<Wanted>, toml::de::Error> {
    let addresses = Vec::<Address>::deserialize(list)?;
    let Some(smtp) = &shared.smtp else {
        if addresses.is_empty() {
            return Ok(Vec::new());
        }
        return Err(serde::de::Error::custom("email needs a section [smtp]; add it, or remove email"));
    };
    let wanted = |Address(to): Address| Wanted {
        notifier: Arc::new(EmailNotifier::new(Arc::clone(smtp), to, shared.timezone)),
        min_severity: Severity::Info,
    };
    Ok(addresses.into_iter().map(wanted).collect())
}

/// A mail address as the config writes it, with a name or without.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
struct Address(#[serde(deserialize_with = "mailbox")] Mailbox);

/// Reads `a@b.example` or `Name <a@b.example>`.
pub(super) fn mailbox<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mailbox, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|it| {
        serde::de::Error::custom(format_args!("{text:?} is no mail address ({it}); write \"name@example.com\""))
    })
}

/// The thread of a cause; several notices belong to one only if they have one cause.
fn thread(message: &Message) -> Option<NoticeId> {
    let incident = &message.notice.incident;
    let alike = message.notices().all(|it| it.incident == *incident);
    alike.then(|| NoticeId::of(&["thread", incident]))
}

/// Headers beside the usual ones: no machine shall answer (RFC 3834), list software and filters shall know what it is.
fn headers(message: &Message, owner: &str, domain: &str) -> Vec<(&'static str, String)> {
    let notice = &message.notice;
    let mut headers = vec![
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress", "All".to_owned()),
        ("List-Id", format!("<{owner}.rekeyd.{domain}>")),
        ("X-Rekeyd-Notice", atom(message.id.as_str())),
        ("X-Rekeyd-Type", notice.kind.code().to_owned()),
        ("X-Rekeyd-Severity", notice.severity.code().to_owned()),
        ("X-Rekeyd-Status", notice.status.code().to_owned()),
    ];
    headers.extend(notice.key.as_ref().filter(|_| message.more.is_empty()).map(|it| ("X-Rekeyd-Key", it.to_string())));
    if notice.severity == Severity::Critical && notice.status == NoticeStatus::Firing {
        headers.push(("Importance", "high".to_owned()));
    }
    headers
}

/// What may stand in an identifier of a mail; anything else is left out.
fn atom(text: &str) -> String {
    text.chars().filter(|it| it.is_ascii_alphanumeric() || matches!(it, '-' | '_')).collect()
}

/// The sender's domain; identifiers must be ASCII.
fn ascii_domain(from: &Mailbox) -> &str {
    let domain = from.email.domain();
    if domain.is_ascii() { domain } else { "rekeyd.invalid" }
}

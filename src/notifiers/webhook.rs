//! Owners told by a webhook: one POST for each notice. The body depends on the message alone, so that it is the same in
//! every try.
//!
//! `format` says what is posted: `standard`, the notice as JSON, signed by the Standard Webhooks specification; `slack` or
//! `teams`, what it says to people, in the form that an incoming webhook of that chat takes. Such a webhook is known by
//! its secret URL alone, so nothing is signed there.
use super::letter::Letter;
use super::{Fault, Message, Notifier, Sent, Shared, Wanted, document, slack, teams};
use crate::core::names::Fingerprint;
use crate::core::plan::Severity;
use crate::core::time::Timestamp;
use crate::http::webhooks::{self, Address, Clients, Posted, Private, Signature, Signers};
use crate::secret::Secret;
use crate::secret::aside::aside;
use async_trait::async_trait;
use chrono_tz::Tz;
use reqwest::{Client, Url};
use serde::Deserialize;
use std::sync::Arc;
use toml::de::ValueDeserializer;

/// One element of `webhook = […]` in `[owners.NAME]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    url: Address,
    secret: Option<Signers>,
    #[serde(default)]
    format: Format,
    #[serde(default = "super::everything")]
    min_severity: Severity,
    #[serde(default)]
    allow_private: Private,
}

/// What to post.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Format {
    #[default]
    Standard,
    Slack,
    Teams,
}

impl Webhook {
    /// What signs it, where the format is one that is signed.
    fn signers(&self) -> Result<Option<&Signers>, Fault> {
        match (self.format, &self.secret) {
            (Format::Standard, None) => Err(Fault::Wrong(
                "`secret` is missing; a standard webhook is signed, write secret = { credential = \"name\" }"
                    .to_owned(),
            )),
            (Format::Slack | Format::Teams, Some(_)) => Err(Fault::Wrong(
                "Slack and Teams check no signature, their url is what is secret; remove `secret`".to_owned(),
            )),
            (_, signers) => Ok(signers.as_ref()),
        }
    }
}

/// One webhook of one owner.
#[derive(Clone, Debug)]
pub struct WebhookNotifier {
    webhook: Webhook,
    client: Client,
    timezone: Option<Tz>,
}

impl WebhookNotifier {
    /// Posts there with one of these clients; people are told times in `timezone` too.
    pub fn new(webhook: Webhook, clients: &Clients, timezone: Option<Tz>) -> Self {
        let client = clients.of(webhook.allow_private).clone();
        Self { webhook, client, timezone }
    }

    /// Where to. A secret is read now.
    fn url(&self) -> Result<Url, Fault> {
        let url = self.webhook.url.url()?;
        self.webhook.allow_private.check(&url)?;
        Ok(url)
    }

    /// The request that tells this message: where to, and what. Secrets are read now.
    fn request(&self, message: &Message, now: Timestamp) -> Result<(Url, Option<Signature>, Secret), Fault> {
        let url = self.url()?;
        let letter = || Letter::of(message, self.timezone);
        let body = match self.webhook.format {
            Format::Standard => document::render(message),
            Format::Slack => slack::render(&letter()),
            Format::Teams => teams::render(&letter()),
        };
        let signers = self.webhook.signers()?;
        let signature = signers.map(|it| it.sign(message.id.as_str(), now, &body)).transpose()?;
        Ok((url, signature, Secret::new(body)))
    }
}

#[async_trait]
impl Notifier for WebhookNotifier {
    fn id(&self) -> String {
        match self.webhook.format {
            Format::Standard => format!("webhook:{}", self.webhook.url),
            Format::Slack | Format::Teams => format!("webhook:{}", self.webhook.url.without_path()),
        }
    }

    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn groups(&self) -> bool {
        matches!(self.webhook.format, Format::Slack | Format::Teams)
    }

    fn stamp(&self) -> Option<Fingerprint> {
        self.webhook.url.url().ok().map(|it| Fingerprint::of(it.as_str().as_bytes()))
    }

    fn check(&self) -> Result<(), Fault> {
        self.url()?;
        self.webhook.signers()?.map_or(Ok(()), Signers::check)
    }

    async fn send(&self, message: &Message, now: Timestamp) -> Sent {
        let (me, told) = (self.clone(), message.clone());
        // Secrets may lie on a slow disk, so they are read beside the other tasks.
        let request = aside(&self.id(), move || me.request(&told, now)).await;
        let later = |why| Sent::Later { why, retry_after: None };
        let (url, signature, body) = match request {
            Ok(Ok(request)) => request,
            Ok(Err(Fault::Wrong(why))) => return Sent::Refused(format!("{}: {why}", self.id())),
            Ok(Err(fault)) => return later(format!("{}: {fault}", self.id())),
            Err(unread) => return later(format!("{}: its secrets: {unread}", self.id())),
        };
        match webhooks::post(&self.client, url, signature, &body, now).await {
            Posted::Taken => Sent::Taken,
            Posted::Later(why, retry_after) => Sent::Later { why: Message::one_line(&why), retry_after },
            // One that is alone may be a mistake that somebody will mend.
            Posted::Unfit(why) if message.more.is_empty() => later(Message::one_line(&why)),
            Posted::Unfit(why) => Sent::Unfit(Message::one_line(&why)),
            Posted::Unsure(why) => Sent::Unsure(Message::one_line(&why)),
            Posted::Gone(why) => Sent::Gone(why),
        }
    }
}

/// Reads the field `webhook` of an owner.
pub(super) fn read(list: ValueDeserializer<'_>, shared: &Shared) -> Result<Vec<Wanted>, toml::de::Error> {
    let wanted = |webhook: Webhook| Wanted {
        min_severity: webhook.min_severity,
        notifier: Arc::new(WebhookNotifier::new(webhook, &shared.http, shared.timezone)),
    };
    Ok(Vec::<Webhook>::deserialize(list)?.into_iter().map(wanted).collect())
}

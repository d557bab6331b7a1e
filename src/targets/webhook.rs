//! `kind = "webhook"`: the key itself in a POST to its consumer, signed by the Standard Webhooks specification.
//!
//! Only to `https`, or to this machine. An answer of 2xx is a delivery. A lost answer means that it is brought again, under
//! the same `webhook-id`: that is made of the key, the version and the target. The body is the same every time, too:
//! `{"type":"key.issued","timestamp":"…","data":{"key":"billing-sms","provider":"sms","version":4,"fingerprint":"…",
//! "valid_to":"…","secret":"…"}}`, with the moment at which the key came to us, and null where no end of validity is known.
//!
//! With `encrypt_to` the data are encrypted, `"data":{"age":"-----BEGIN AGE ENCRYPTED FILE-----…"}`, and differ each time: what
//! is in them does not. They are still JSON around, since libraries that verify such a webhook read it as that.
use super::age::Recipients;
use super::format::{json, text};
use super::hook::Confirm;
use super::{DeliveryError, Parcel, Target, Undelivered};
use crate::core::facts::Content;
use crate::core::names::{Fingerprint, NoticeId, TargetId};
use crate::core::policy::Reach;
use crate::http::webhooks::{self, Address, Envelope, Fault, Posted, Private, Signers};
use crate::secret::Secret;
use crate::secret::aside::aside;
use async_trait::async_trait;
use reqwest::Url;
use serde::{Deserialize, Serialize};

/// An endpoint that takes the key.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub(super) struct Webhook(Written);

/// As the config writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: Address,
    secret: Signers,
    encrypt_to: Option<Recipients>,
    #[serde(default)]
    allow_private: Private,
    confirm: Option<Confirm>,
}

impl TryFrom<Written> for Webhook {
    type Error = Fault;

    fn try_from(it: Written) -> Result<Self, Fault> {
        it.allow_private.check_written(&it.url)?;
        Ok(Self(it))
    }
}

#[derive(Serialize)]
struct Data<'a> {
    key: &'a str,
    provider: &'a str,
    version: u32,
    fingerprint: Fingerprint,
    valid_to: Option<String>,
    secret: &'a str,
}

/// The data, for who holds an identity.
#[derive(Serialize)]
struct Encrypted {
    age: String,
}

impl Webhook {
    fn body(&self, parcel: &Parcel) -> Result<Secret, DeliveryError> {
        let data = Data {
            key: parcel.name.as_str(),
            provider: &parcel.provider,
            version: parcel.version,
            fingerprint: parcel.secret.fingerprint(),
            valid_to: parcel.valid_to.map(|it| it.to_string()),
            secret: text(&parcel.secret)?,
        };
        let (r#type, timestamp) = ("key.issued", parcel.obtained_at.to_string());
        let Some(recipients) = &self.0.encrypt_to else { return json(&Envelope { r#type, timestamp, data }) };
        let age = recipients.encrypt(&json(&data)?);
        let age = age.map_err(|_| DeliveryError("the key can't be encrypted to encrypt_to; is it right?".into()))?;
        json(&Envelope { r#type, timestamp, data: Encrypted { age } })
    }

    /// Where to. A secret is read now.
    fn url(&self) -> Result<Url, Fault> {
        let url = self.0.url.url()?;
        self.0.allow_private.check(&url)?;
        Ok(url)
    }

    /// Looks whether everything that a delivery needs is there.
    fn ready(&self) -> Result<(), Fault> {
        self.0.secret.check()?;
        self.url().map(drop)
    }

    /// Secrets may lie on a slow disk, so reading them blocks elsewhere.
    async fn read<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Self) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, DeliveryError> {
        let me = self.clone();
        let read = aside(&self.id().to_string(), move || what(&me)).await;
        let read = read.map_err(|unread| DeliveryError(format!("its secrets: {unread}")))?;
        read.map_err(|it| DeliveryError(it.to_string()))
    }
}

#[async_trait]
impl Target for Webhook {
    fn id(&self) -> TargetId {
        TargetId::new("webhook", &self.0.url.to_string())
    }

    fn reach(&self) -> Reach {
        Reach::Push { readable: false }
    }

    fn confirms(&self) -> bool {
        self.0.confirm.is_some()
    }

    async fn observe(&self, _known: &[Parcel]) -> Content {
        Content::Unreadable("what an endpoint did with the key can't be read back".into())
    }

    async fn preflight(&self) -> Result<(), DeliveryError> {
        self.read(Self::ready).await?;
        self.0.confirm.as_ref().map_or(Ok(()), Confirm::check)
    }

    async fn deliver(&self, parcel: &Parcel) -> Result<(), Undelivered> {
        let url = self.read(Self::url).await?;
        let body = self.body(parcel)?;
        let version = parcel.version.to_string();
        let id = NoticeId::of(&["key.issued", parcel.name.as_str(), &version, self.id().as_str()]);
        match webhooks::bring(url, self.0.allow_private, &self.0.secret, id.as_str(), body).await {
            Ok(Posted::Taken) => Ok(()),
            Ok(Posted::Later(why, _) | Posted::Unfit(why) | Posted::Unsure(why) | Posted::Gone(why)) => {
                Err(DeliveryError(why).into())
            }
            Err(fault) => Err(DeliveryError(fault.to_string()).into()),
        }
    }

    async fn confirm(&self, parcel: &Parcel) -> Result<(), DeliveryError> {
        match &self.0.confirm {
            Some(confirm) => confirm.run(parcel).await,
            None => Ok(()),
        }
    }
}

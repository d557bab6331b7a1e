//! Kind `manual`: a service without an API. A human gets each new key in its portal and gives it to `rekeyd rotate`; all
//! that is here is where to go for it. Nothing is ever called.
use super::setting::is_text;
use super::{Auth, CreateError, CreateRequest, Created, Provider, Raw, Unreadable};
use crate::core::policy::{Capabilities, OnCreate, Recover};
use async_trait::async_trait;
use serde::Deserialize;
use std::sync::Arc;
use toml::de::{Error, ValueDeserializer};

/// What it can do. A portal that ends the old key at once is not known here: the new one is delivered at once anyway.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    creates: false,
    on_create: OnCreate::Keeps,
    recover: Recover::None,
    revokes_by_id: false,
    reports_expiry: false,
    probes: false,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    instructions: Option<Instructions>,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Instructions(String);

impl TryFrom<String> for Instructions {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_text(&text) { Ok(Self(text)) } else { Err("instructions are 1 to 256 bytes without control characters") }
    }
}

/// Reads `[providers.NAME]`.
pub(super) fn parse(value: ValueDeserializer<'_>) -> Result<Arc<dyn Provider>, Error> {
    Ok(Arc::new(Manual { settings: Settings::deserialize(value)? }))
}

#[derive(Debug)]
struct Manual {
    settings: Settings,
}

#[async_trait]
impl Provider for Manual {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn identity(&self) -> Option<String> {
        None
    }

    fn instructions(&self) -> Option<&str> {
        self.settings.instructions.as_ref().map(|it| it.0.as_str())
    }

    async fn create(&self, _auth: &Auth, _ask: &CreateRequest<'_>) -> Result<Raw, CreateError> {
        Err(CreateError::NotSent("a key of the kind manual is made by a human".into()))
    }

    fn parse(&self, _raw: &Raw) -> Result<Created, Unreadable> {
        Err(Unreadable("a key of the kind manual comes with no answer".into()))
    }
}

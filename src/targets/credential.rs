//! `kind = "credential"`: units fetch the key themselves, each at its start, as
//! `LoadCredential=NAME:/run/rekeyd-credential.sock`. It is in no file: systemd keeps it in memory that it does not swap.
//!
//! A unit keeps what it was started with: `reload` reads nothing anew, only a restart does. That is why `then` may restart
//! here, but not reload.
//!
//! What a unit asks with is its address, `\0HEX/unit/UNIT/NAME`, for which a Unix socket has 108 bytes. Where that does not
//! do, systemd connects without an address, so that nobody could tell who asks.
use super::hook::Then;
use super::unit::Unit;
use super::{DeliveryError, Needs, Parcel, Target, Undelivered};
use crate::core::facts::Content;
use crate::core::names::TargetId;
use crate::core::policy::Reach;
use crate::core::reader::{KIND, Reader};
use async_trait::async_trait;
use serde::Deserialize;

/// The most bytes that a unit's name and its credential's have together: 84 arrive, less some for instances.
pub const ADDRESS_BYTES: usize = 80;

/// Units that fetch the key.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub(super) struct Credential {
    name: String,
    units: Vec<Unit>,
    then: Option<Then>,
}

#[async_trait]
impl Target for Credential {
    fn id(&self) -> TargetId {
        TargetId::new(KIND, &self.name)
    }

    fn reach(&self) -> Reach {
        Reach::Read { nudges: self.then.is_some() }
    }

    fn readers(&self) -> Vec<Reader> {
        self.units.iter().map(|it| Reader { unit: it.0.clone(), credential: self.name.clone() }).collect()
    }

    fn needs(&self) -> Needs {
        Needs { verbs: self.then.as_ref().map(Then::verbs).unwrap_or_default(), ..Needs::default() }
    }

    async fn observe(&self, _known: &[Parcel]) -> Content {
        Content::Unreadable("what a unit has read is in its memory alone".into())
    }

    async fn preflight(&self) -> Result<(), DeliveryError> {
        self.then.as_ref().map_or(Ok(()), Then::check)
    }

    /// Makes the units fetch it, where there is something that does.
    async fn deliver(&self, parcel: &Parcel) -> Result<(), Undelivered> {
        match &self.then {
            Some(then) => then.run(parcel, &parcel.done).await,
            None => Ok(()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    units: Vec<Unit>,
    then: Option<Then>,
}

impl TryFrom<Written> for Credential {
    type Error = String;
    fn try_from(written: Written) -> Result<Self, String> {
        let Written { name, units, then } = written;
        let known = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(known) {
            return Err(format!("{name:?} is not the name of a credential; write letters, digits, `-`, `_` and `.`"));
        }
        if units.is_empty() {
            return Err("name at least one unit, such as units = [\"billing.service\"]".to_owned());
        }
        for (n, unit) in units.iter().enumerate() {
            let Unit(it) = unit;
            if !unit.runs() {
                return Err(format!("{it:?} is not the whole name of a unit that runs; write billing.service"));
            }
            if it.len() + name.len() > ADDRESS_BYTES {
                let bytes = it.len() + name.len();
                return Err(format!(
                    "{it} and {name} have {bytes} bytes together, and no more than {ADDRESS_BYTES} surely arrive; \
                     write a shorter name"
                ));
            }
            if units[..n].contains(unit) {
                return Err(format!("{it} is named twice"));
            }
        }
        if then.as_ref().is_some_and(Then::reloads) {
            return Err("a reload does not read credentials anew; write then = { restart = […] }".to_owned());
        }
        Ok(Self { name, units, then })
    }
}

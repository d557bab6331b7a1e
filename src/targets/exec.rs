//! `kind = "exec"`: a command that takes the key on its stdin and brings it where it belongs. It is itself the delivery, so
//! there is no `then`; a `confirm` may follow.
//!
//! `command` names its program by an absolute path and runs without a shell, in `/`, with PATH, LANG and HOME, and with
//! REKEYD_KEY_NAME, REKEYD_VERSION and REKEYD_VALID_TO (RFC 3339, or empty where unknown). Exit code 0 within `timeout` is
//! a delivery, whether or not all of stdin was read. Its stdout is thrown away; the end of its stderr is told when it
//! fails, with the secret masked.
use super::hook::Confirm;
use super::{DeliveryError, Parcel, Target, Undelivered};
use crate::command::Argv;
use crate::core::facts::Content;
use crate::core::names::TargetId;
use crate::core::policy::Reach;
use crate::humane::HumanDuration;
use async_trait::async_trait;
use serde::Deserialize;
use std::time::Duration;

/// How long the command may take, unless `timeout` says otherwise.
const EXEC_LIMIT: Duration = Duration::from_secs(30);

/// A command that takes the key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exec {
    command: Argv,
    #[serde(default = "limit")]
    timeout: HumanDuration,
    confirm: Option<Confirm>,
}

fn limit() -> HumanDuration {
    HumanDuration(EXEC_LIMIT)
}

#[async_trait]
impl Target for Exec {
    fn id(&self) -> TargetId {
        TargetId::new("exec", &self.command.joined())
    }

    fn reach(&self) -> Reach {
        Reach::Push { readable: false }
    }

    fn confirms(&self) -> bool {
        self.confirm.is_some()
    }

    async fn observe(&self, _known: &[Parcel]) -> Content {
        Content::Unreadable("what a command did with the key can't be read back".into())
    }

    async fn preflight(&self) -> Result<(), DeliveryError> {
        self.command.check().map_err(DeliveryError)?;
        self.confirm.as_ref().map_or(Ok(()), Confirm::check)
    }

    async fn deliver(&self, parcel: &Parcel) -> Result<(), Undelivered> {
        Ok(parcel.feed_to(&self.command, self.timeout.0).run().await.map_err(DeliveryError::from)?)
    }

    async fn confirm(&self, parcel: &Parcel) -> Result<(), DeliveryError> {
        match &self.confirm {
            Some(confirm) => confirm.run(parcel).await,
            None => Ok(()),
        }
    }
}

//! Owners told by a command of their own, such as a pager's: the notice as JSON on its stdin, the same that a standard
//! webhook carries, and `REKEYD_NOTICE_ID` in its environment, by which it can tell repeats.
//!
//! Exit code 0 within `timeout` means that it was told; everything else is tried again.
use super::{Fault, Message, Notifier, Sent, Shared, Wanted, document};
use crate::command::{Argv, Run};
use crate::core::plan::Severity;
use crate::core::time::Timestamp;
use crate::humane::HumanDuration;
use crate::secret::Secret;
use async_trait::async_trait;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use toml::de::ValueDeserializer;

/// How long the command may take, unless `timeout` says otherwise.
const EXEC_LIMIT: Duration = Duration::from_secs(30);

/// One element of `exec = […]` in `[owners.NAME]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exec {
    command: Argv,
    #[serde(default = "limit")]
    timeout: HumanDuration,
    #[serde(default = "super::everything")]
    min_severity: Severity,
}

fn limit() -> HumanDuration {
    HumanDuration(EXEC_LIMIT)
}

#[async_trait]
impl Notifier for Exec {
    fn id(&self) -> String {
        format!("exec:{}", self.command.joined())
    }

    fn kind(&self) -> &'static str {
        "exec"
    }

    fn check(&self) -> Result<(), Fault> {
        self.command.check().map_err(Fault::Wrong)
    }

    async fn send(&self, message: &Message, _now: Timestamp) -> Sent {
        let notice = Secret::new(document::render(message));
        let run = Run {
            argv: &self.command,
            limit: self.timeout.0,
            env: vec![("REKEYD_NOTICE_ID", message.id.to_string())],
            stdin: Some(&notice),
            hidden: Vec::new(),
            veil: message.veil.clone(),
        };
        match run.run().await {
            Ok(()) => Sent::Taken,
            Err(error) => Sent::Later { why: Message::one_line(&error.to_string()), retry_after: None },
        }
    }
}

/// Reads the field `exec` of an owner.
pub(super) fn read(list: ValueDeserializer<'_>, _shared: &Shared) -> Result<Vec<Wanted>, toml::de::Error> {
    let wanted = |exec: Exec| Wanted { min_severity: exec.min_severity, notifier: Arc::new(exec) };
    Ok(Vec::<Exec>::deserialize(list)?.into_iter().map(wanted).collect())
}

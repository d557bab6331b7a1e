//! What `rekeyd rotate` takes for a key that only a human can replace: the new one, on stdin.
use crate::cli::exit::{Exit, Failure};
use crate::cli::stdin;
use crate::control::protocol::{KeyStatus, Time};
use crate::control::requests::{NewKey, SecretText};
use crate::providers::KINDS;

/// What is said of the new key. Without a date it counts as issued now.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "For a key that is replaced by hand, whose new secret is read from stdin")]
pub(super) struct New {
    /// When it expires, such as 2026-12-04 or 2026-12-04T22:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with_all = ["issued_at", "age_unknown"])]
    valid_to: Option<Time>,
    /// When it was issued, if not now; its expiry is reckoned from valid_for
    #[arg(long, value_name = "TIME", conflicts_with = "age_unknown")]
    issued_at: Option<Time>,
    /// Nobody knows how old it is
    #[arg(long)]
    age_unknown: bool,
    /// The provider's id of it, which is named when it is to be revoked
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

impl New {
    fn is_given(&self) -> bool {
        self.valid_to.is_some() || self.issued_at.is_some() || self.age_unknown || self.id.is_some()
    }
}

/// The new key, where only a human can get one: its secret is asked for. `alone`: no other key is rotated with it.
pub(super) fn new_key(status: &KeyStatus, alone: bool, new: &New) -> Result<Option<NewKey>, Failure> {
    let key = &status.name;
    let kind = KINDS.iter().find(|it| status.kind.as_deref() == Some(it.name));
    if kind.is_none_or(|it| it.capabilities.creates) {
        let about = "--valid-to, --issued-at, --age-unknown and --id are for keys that are replaced by hand";
        let wrong = Failure::new(Exit::Usage, format!("{about}; the provider of {key} is asked for new ones"));
        if new.is_given() {
            return Err(wrong.remedy(format!("rekeyd rotate {key}")));
        }
        // A stdin that is not asked for is left to its owner: a loop over names reads its next one from there.
        return Ok(None);
    }
    if !alone {
        let why = format!("{key} is replaced by hand: its new secret comes on stdin, where there is but one");
        return Err(Failure::new(Exit::Usage, why).remedy(format!("rekeyd rotate {key} < FILE")));
    }
    let remedy = format!("get a new key in the provider's portal, then: rekeyd rotate {key} < FILE");
    let secret = SecretText(stdin::secret(key, &remedy)?);
    let New { valid_to, issued_at, age_unknown, id } = new.clone();
    Ok(Some(NewKey { secret, valid_to, issued_at, age_unknown, id }))
}

//! The sections as they are written: what serde reads, before names are looked up and defaults are put in.
use super::freezes::Bound;
use super::words::{Address, Lead, Most, Operator, Schedule, Size, Span, Zone};
use crate::core::policy::{Initial, OnAmbiguous, OnDrift, OutsideWindow};
use crate::humane::HumanDuration;
use crate::secret::SecretRef;
use serde::Deserialize;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use toml::Spanned;

/// `[daemon]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Daemon {
    pub(super) state_dir: Option<Spanned<PathBuf>>,
    pub(super) control_socket: Option<Spanned<PathBuf>>,
    pub(super) credential_socket: Option<Spanned<PathBuf>>,
    pub(super) listen: Option<Spanned<Address>>,
    pub(super) master_key: SecretRef,
    #[serde(default)]
    pub(super) owners: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) operators: Vec<Operator>,
    pub(super) timezone: Option<Zone>,
    pub(super) max_removals: Option<Most>,
    pub(super) history_for: Option<Span>,
    pub(super) reserve: Option<Size>,
    pub(super) sweep: Option<Spanned<Schedule>>,
    pub(super) max_concurrent_rotations: Option<NonZeroUsize>,
}

/// `[backup]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Backup {
    pub(super) schedule: Option<Spanned<Schedule>>,
    pub(super) keep: Option<NonZeroUsize>,
    pub(super) dir: Option<Spanned<PathBuf>>,
}

/// `[owners.NAME]`, without its channels.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Owner {
    pub(super) notify_before: Option<Vec<Span>>,
    pub(super) digest: Option<Spanned<Schedule>>,
    pub(super) group_within: Option<Spanned<HumanDuration>>,
    #[serde(default)]
    pub(super) escalate_to: Vec<Spanned<String>>,
    pub(super) escalate_before: Option<Span>,
    pub(super) timezone: Option<Zone>,
}

/// `[windows.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    pub(super) open: Spanned<Schedule>,
    pub(super) duration: Span,
    pub(super) timezone: Option<Zone>,
}

/// `[freezes.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Freeze {
    pub(super) from: Spanned<Bound>,
    pub(super) to: Spanned<Bound>,
    #[serde(default)]
    pub(super) keys: FrozenKeys,
    pub(super) timezone: Option<Zone>,
}

/// Which keys a freeze concerns.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FrozenKeys {
    #[default]
    All,
    /// Only those that name it.
    Named,
}

/// What every `[providers.NAME]` may say, whatever its kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Provider {
    pub(super) account: Option<Spanned<String>>,
    pub(super) creates_per_day: Option<NonZeroU32>,
    pub(super) accept_within: Option<HumanDuration>,
    pub(super) settle: Option<HumanDuration>,
    pub(super) watch: Option<Span>,
    #[serde(default)]
    pub(super) owners: Vec<Spanned<String>>,
}

impl Provider {
    /// Its fields, to tell them from those of the kind.
    pub(super) const FIELDS: [&'static str; 6] =
        ["account", "creates_per_day", "accept_within", "settle", "watch", "owners"];
}

/// `[keys.NAME]`, without what belongs to the kinds: `create` and `deliver`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    pub(super) provider: Spanned<String>,
    pub(super) owners: Vec<Spanned<String>>,
    #[serde(default = "defaults::initial", with = "InitialWord")]
    pub(super) initial: Initial,
    pub(super) rotate_before: Option<Lead>,
    pub(super) valid_for: Option<Span>,
    pub(super) max_age: Option<Span>,
    pub(super) overlap: Option<HumanDuration>,
    #[serde(default)]
    pub(super) windows: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) freezes: Vec<Spanned<String>>,
    pub(super) attempts_in_window: Option<NonZeroU32>,
    pub(super) announce: Option<HumanDuration>,
    #[serde(default = "defaults::outside_window", with = "OutsideWindowWord")]
    pub(super) outside_window: OutsideWindow,
    pub(super) together: Option<Spanned<String>>,
    #[serde(default = "defaults::on_ambiguous", with = "OnAmbiguousWord")]
    pub(super) on_ambiguous: OnAmbiguous,
    #[serde(default = "defaults::on_drift", with = "OnDriftWord")]
    pub(super) on_drift: OnDrift,
    pub(super) ack_timeout: Option<Span>,
    pub(super) stuck_after: Option<Span>,
    pub(super) probe_every: Option<Span>,
}

#[derive(Deserialize)]
#[serde(remote = "Initial", rename_all = "kebab-case")]
enum InitialWord {
    Adopt,
    Create,
}

#[derive(Deserialize)]
#[serde(remote = "OutsideWindow", rename_all = "kebab-case")]
enum OutsideWindowWord {
    IfExpiring,
    Never,
}

#[derive(Deserialize)]
#[serde(remote = "OnAmbiguous", rename_all = "kebab-case")]
enum OnAmbiguousWord {
    Halt,
    CreateAgain,
}

#[derive(Deserialize)]
#[serde(remote = "OnDrift", rename_all = "kebab-case")]
enum OnDriftWord {
    Adopt,
    Rotate,
    Halt,
}

/// What holds where the config says nothing.
pub(super) mod defaults {
    use super::{Initial, OnAmbiguous, OnDrift, OutsideWindow};
    use crate::config::settings::Removals;
    use crate::core::policy::RotateBefore;
    use std::time::Duration;

    /// Where the state lies, unless systemd names another place.
    pub(in super::super) const STATE_DIR: &str = "/var/lib/rekeyd";
    /// Where the control socket lies, unless systemd names another place.
    pub(in super::super) const RUNTIME_DIR: &str = "/run/rekeyd";
    pub(in super::super) const MAX_REMOVALS: Removals = Removals::Share(10.0);
    pub(in super::super) const HISTORY_FOR: Duration = days(400);
    /// In bytes.
    pub(in super::super) const RESERVE: u64 = 16 << 20;
    pub(in super::super) const SWEEP: &str = "0 */5 * * * *";
    pub(in super::super) const MAX_CONCURRENT_ROTATIONS: usize = 64;
    pub(in super::super) const BACKUP_SCHEDULE: &str = "0 0 3 * * *";
    pub(in super::super) const BACKUPS_KEPT: usize = 14;
    pub(in super::super) const NOTIFY_BEFORE: [Duration; 4] = [days(14), days(7), days(3), days(1)];
    pub(in super::super) const GROUP_WITHIN: Duration = Duration::from_secs(300);
    pub(in super::super) const ESCALATE_BEFORE: Duration = days(1);
    pub(in super::super) const CREATES_PER_DAY: u32 = 20;
    pub(in super::super) const ACCEPT_WITHIN: Duration = Duration::from_secs(600);
    pub(in super::super) const SETTLE: Duration = Duration::from_secs(30);
    pub(in super::super) const WATCH: Duration = days(7);
    pub(in super::super) const ROTATE_BEFORE: RotateBefore = RotateBefore::Share(33.0);
    pub(in super::super) const OVERLAP: Duration = days(3);
    pub(in super::super) const ANNOUNCE: Duration = days(2);
    pub(in super::super) const ATTEMPTS_IN_WINDOW: u32 = 2;
    pub(in super::super) const ACK_TIMEOUT: Duration = days(7);
    pub(in super::super) const STUCK_AFTER: Duration = Duration::from_secs(3600);
    pub(in super::super) const PROBE_EVERY: Duration = days(1);

    const fn days(n: u64) -> Duration {
        Duration::from_secs(n * 86_400)
    }

    pub(super) fn initial() -> Initial {
        Initial::Adopt
    }

    pub(super) fn outside_window() -> OutsideWindow {
        OutsideWindow::IfExpiring
    }

    pub(super) fn on_ambiguous() -> OnAmbiguous {
        OnAmbiguous::Halt
    }

    pub(super) fn on_drift() -> OnDrift {
        OnDrift::Adopt
    }
}

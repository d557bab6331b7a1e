//! The config, parsed and complete: nothing in it can be wrong any more.
use crate::core::digest::Schedule;
use crate::core::freeze::Freeze;
use crate::core::names::{AccountId, KeyName};
use crate::core::plan::Severity;
use crate::core::policy::Policy;
use crate::core::window::Window;
use crate::notifiers::Notifier;
use crate::providers::{CreateOptions, Provider};
use crate::secret::SecretRef;
use crate::targets::Target;
use chrono_tz::Tz;
use croner::Cron;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything that the config says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[daemon]`.
    pub daemon: Daemon,
    /// `[backup]`: none are made by themselves without it.
    pub backup: Option<Backup>,
    /// `[owners.NAME]`.
    pub owners: BTreeMap<String, Owner>,
    /// `[providers.NAME]`.
    pub providers: BTreeMap<String, ProviderSection>,
    /// `[windows.NAME]`, whether a key names them or not.
    pub windows: BTreeMap<String, Window>,
    /// `[freezes.NAME]`, whether they concern a key or not.
    pub freezes: BTreeMap<String, NamedFreeze>,
    /// `[keys.NAME]`.
    pub keys: BTreeMap<KeyName, Key>,
    /// Where every secret is that it names, but for managed keys.
    pub secrets: BTreeSet<SecretRef>,
}

/// `[freezes.NAME]`.
#[derive(Clone, Debug)]
pub struct NamedFreeze {
    /// When it is.
    pub freeze: Freeze,
    /// Whether it concerns every key, or only those that name it.
    pub all: bool,
}

/// `[daemon]`.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// Where the state lies.
    pub state_dir: PathBuf,
    /// Where operators reach the daemon.
    pub control_socket: PathBuf,
    /// Where units fetch keys, if there; a socket that systemd passed goes first.
    pub credential_socket: Option<PathBuf>,
    /// Where metrics and health are served, if anywhere.
    pub listen: Option<SocketAddr>,
    /// What seals every secret at rest.
    pub master_key: SecretRef,
    /// Who is told of the daemon's own trouble.
    pub owners: Vec<String>,
    /// Who may rotate, pause, resume and ack, besides root and the service's user.
    pub operators: Vec<Operator>,
    /// The default time zone.
    pub timezone: Tz,
    /// A reload that drops more keys than this is refused.
    pub max_removals: Removals,
    /// How long the history is kept.
    pub history_for: Duration,
    /// What must stay free beside the state, in bytes.
    pub reserve: u64,
    /// When everything is looked at: cron with seconds, in UTC.
    pub sweep: Cron,
    /// How many keys are worked on at once.
    pub max_concurrent_rotations: usize,
}

/// `[backup]`.
#[derive(Clone, Debug)]
pub struct Backup {
    /// When one is made: cron with seconds.
    pub schedule: Cron,
    /// The zone of `schedule`.
    pub timezone: Tz,
    /// How many are kept.
    pub keep: usize,
    /// Where they lie.
    pub dir: PathBuf,
}

/// How many keys a reload may drop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Removals {
    /// So many.
    Keys(usize),
    /// This share of those that there are, in percent.
    Share(f64),
}

/// A reload may always drop so many keys.
pub const REMOVALS_ALWAYS: usize = 5;

impl Removals {
    /// How many of `keys` may be dropped.
    pub fn of(self, keys: usize) -> usize {
        let allowed = match self {
            Self::Keys(keys) => keys,
            // A share of a key is none.
            Self::Share(percent) => (keys as f64 * percent / 100.0).floor() as usize,
        };
        allowed.max(REMOVALS_ALWAYS)
    }
}

impl fmt::Display for Removals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(keys) => write!(f, "{keys}"),
            Self::Share(percent) => write!(f, "\"{percent}%\""),
        }
    }
}

/// One of the `operators` of the machine. Whether there is such a user or group is looked up at each request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Operator {
    /// A user, by name.
    User(String),
    /// The members of a group, by its name.
    Group(String),
}

/// `[owners.NAME]`.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Its channels.
    pub channels: Vec<Channel>,
    /// When it is told of an expiry: this long before.
    pub notify_before: Vec<Duration>,
    /// When it gets a summary, if it wants one.
    pub digest: Option<Schedule>,
    /// Notices that fall due within this are one message, where a channel takes several.
    pub group_within: Duration,
    /// Owners who are told too: of a halt, of a key near its end, and of what no channel took.
    pub escalate_to: Vec<String>,
    /// With less than this left, a key is near its end.
    pub escalate_before: Duration,
    /// In which zone times are written for it.
    pub timezone: Tz,
}

/// One channel of one owner.
#[derive(Clone, Debug)]
pub struct Channel {
    /// How to reach it.
    pub notifier: Arc<dyn Notifier>,
    /// Nothing below this is sent there.
    pub min_severity: Severity,
}

/// `[providers.NAME]`.
#[derive(Clone, Debug)]
pub struct ProviderSection {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// The account that it speaks for.
    pub account: AccountId,
    /// How to speak with it.
    pub provider: Arc<dyn Provider>,
    /// Who is told when its login is refused.
    pub owners: Vec<String>,
}

/// `[keys.NAME]`.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name.
    pub name: KeyName,
    /// The section of its provider.
    pub provider: String,
    /// Whose it is.
    pub owners: Vec<String>,
    /// What the core decides by.
    pub policy: Policy,
    /// The provider-specific `create` table.
    pub create: Arc<dyn CreateOptions>,
    /// Where it goes.
    pub targets: Vec<Arc<dyn Target>>,
}

/// As the config spells it: a group with an `@`.
impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => f.write_str(name),
            Self::Group(name) => write!(f, "@{name}"),
        }
    }
}

impl Daemon {
    /// The first field that differs and that only a start reads.
    pub fn needs_restart(&self, new: &Self) -> Option<&'static str> {
        [
            ("state_dir", self.state_dir != new.state_dir),
            ("control_socket", self.control_socket != new.control_socket),
            ("credential_socket", self.credential_socket != new.credential_socket),
            ("listen", self.listen != new.listen),
            ("master_key", self.master_key != new.master_key),
            ("reserve", self.reserve != new.reserve),
            ("sweep", self.sweep.pattern.to_string() != new.sweep.pattern.to_string()),
            ("max_concurrent_rotations", self.max_concurrent_rotations != new.max_concurrent_rotations),
        ]
        .into_iter()
        .find_map(|(field, differs)| differs.then_some(field))
    }
}

/// So many keys that a reload would drop are named.
const NAMED: usize = 5;

impl Settings {
    /// Why these settings are not taken into use in place of some that name other keys: they drop too many of them, which is
    /// rather a mistake than meant.
    pub fn refused_for_removals<'a>(&self, keys: impl Iterator<Item = &'a KeyName>) -> Option<String> {
        let (kept, dropped): (Vec<_>, Vec<_>) = keys.partition(|it| self.keys.contains_key(*it));
        let (all, most) = (kept.len() + dropped.len(), self.daemon.max_removals);
        if dropped.len() <= most.of(all) {
            return None;
        }
        let named: Vec<_> = dropped.iter().take(NAMED).map(|it| it.as_str()).collect();
        let more = if dropped.len() > NAMED { ", …" } else { "" };
        Some(format!(
            "the new config drops {} of {all} keys ({}{more}), and max_removals = {most} allows {}; if that is meant: \
             rekeyd reload --allow-removals",
            dropped.len(),
            named.join(", "),
            most.of(all)
        ))
    }

    /// The provider section that speaks for an account: the first by name, where several do.
    pub fn account(&self, id: &AccountId) -> Option<&ProviderSection> {
        self.providers.values().find(|it| it.account == *id)
    }
}

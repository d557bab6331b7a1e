//! `[backup]`.
use super::daemon::{cron, path};
use super::document::Document;
use super::fault::Findings;
use super::settings::{Backup, Daemon};
use super::written::{self, defaults};
use crate::core::time::Timestamp;
use croner::parser::{CronParser, Seconds};

/// Reads `[backup]`. `None` where there is none, or it can't be read.
pub(super) fn backup(document: &Document<'_>, daemon: &Daemon, findings: &mut Findings) -> Option<Backup> {
    let section = document.backup.as_ref()?;
    let written: written::Backup = section.read_as(&[], findings).value?;
    let schedule = match written.schedule {
        None => CronParser::builder().seconds(Seconds::Required).build().parse(defaults::BACKUP_SCHEDULE).ok()?,
        Some(schedule) => cron(section, schedule, findings),
    };
    Some(Backup {
        schedule,
        timezone: daemon.timezone,
        keep: written.keep.map_or(defaults::BACKUPS_KEPT, Into::into),
        dir: path(section, written.dir, findings, || daemon.backups()),
    })
}

impl Daemon {
    /// Where backups go where nobody says otherwise.
    pub fn backups(&self) -> std::path::PathBuf {
        self.state_dir.join("backups")
    }
}

impl Backup {
    /// When the next one is due after a moment.
    pub fn next_after(&self, at: Timestamp) -> Timestamp {
        let at = at.datetime().map(|it| it.with_timezone(&self.timezone));
        let next = at.and_then(|it| self.schedule.find_next_occurrence(&it, false).ok());
        next.map_or(Timestamp::NEVER, |it| Timestamp::from(it.to_utc()))
    }
}

//! What the owners are told of an operator's verbs, and of a config that takes a key somewhere else.
use super::{NoticeKind, Severity, Tell};
use crate::core::names::AccountId;
use crate::core::pass::Pass;
use crate::core::record::{Rotation, Version};

impl Pass<'_> {
    pub(super) fn tell_rolled_back(&mut self, rotation: &Rotation) {
        let Some(current) = self.record.current.clone() else { return };
        let name = self.record.name.clone();
        let cause = format!("rolled back {}", rotation.attempt);
        let tell = Tell {
            kind: NoticeKind::RotationSucceeded,
            severity: Severity::Info,
            incident: None,
            cause: &cause,
            summary: format!("{name} went back to version {}, which is delivered again", current.number),
            actions: vec![format!("rekeyd pause {name}")],
            about: Some(&current),
        };
        self.tell_that(tell, Some("The previous key counts again; the next attempt is in the next window."));
    }

    pub(in crate::core) fn tell_rollback_failed(&mut self, previous: &Version, why: &str) {
        let name = self.record.name.clone();
        let attempt = self.record.last_attempt;
        let cause = format!("rollback {attempt}");
        let tell = Tell {
            kind: NoticeKind::RotationFailed,
            severity: self.severity_of_delay(),
            incident: Some("rollback".into()),
            cause: &cause,
            summary: format!("{name} did not go back to version {}: {why}", previous.number),
            actions: vec![format!("rekeyd status {name}"), format!("rekeyd rotate --now {name}")],
            about: Some(previous),
        };
        self.tell_that(tell, Some("The key that was to be left stays in use."));
    }

    pub(in crate::core) fn tell_account_gone(&mut self, gone: &AccountId) {
        let name = self.record.name.clone();
        let home = self.policy.account.clone();
        let severity = self.severity_of_delay();
        self.tell(Tell {
            kind: NoticeKind::RotationFailed,
            severity,
            incident: Some("rotation".into()),
            cause: &format!("gone {gone} {}", self.record.last_attempt),
            summary: format!(
                "{name} was being replaced at account {gone}, for which the config names no provider any more; \
                 it is begun anew at account {home}"
            ),
            actions: vec![format!("rekeyd status {name}")],
            about: None,
        });
    }
}

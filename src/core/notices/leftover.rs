//! Keys that nobody has on the books: what lost creates, and earlier lives of this installation, may have left at an account.
use super::{NoticeKind, Severity, Tell};
use crate::core::names::{Fingerprint, Token};
use crate::core::pass::Pass;
use crate::core::time::Timestamp;

impl Pass<'_> {
    /// Nobody uses the key of a lost create, but it works: its owners can end it sooner than the provider lets us.
    pub(in crate::core) fn tell_orphan_refused(&mut self, token: &Token, why: &str) {
        let (name, account) = (self.record.name.clone(), self.account.id.clone());
        self.tell(Tell {
            kind: NoticeKind::RevokeNeeded,
            severity: Severity::Warning,
            incident: None,
            cause: &format!("{token} refused"),
            summary: format!(
                "{name}: the create {token} was lost and left a key at account {account}, which nobody uses and which can't \
                 be revoked: {why}; it is tried again"
            ),
            actions: vec![format!("rekeyd status {name}")],
            about: None,
        });
    }

    pub(in crate::core) fn tell_lost(&mut self, token: &Token, sent_at: Timestamp, why: &str) {
        let name = self.record.name.clone();
        let cause = token.to_string();
        self.tell(Tell {
            kind: NoticeKind::RevokeNeeded,
            severity: Severity::Warning,
            incident: None,
            cause: &cause,
            summary: format!(
                "{name}: the create {token} sent at {} may have left a key at account {}; {why}; if it is there, revoke it",
                sent_at.whole_second(), self.account.id
            ),
            actions: Vec::new(),
            about: None,
        });
    }

    pub(in crate::core) fn tell_of_earlier_life(&mut self, token: &Token, id: &str) {
        let (name, account) = (self.record.name.clone(), self.account.id.clone());
        self.tell(Tell {
            kind: NoticeKind::RevokeNeeded,
            severity: Severity::Warning,
            incident: None,
            cause: &token.to_string(),
            summary: format!(
                "{name}: the key with id {id} at account {account} ({token}) was issued after the state that was put back; \
                 where no consumer uses it, revoke it by hand"
            ),
            actions: vec![format!("rekeyd status {name}")],
            about: None,
        });
    }

    pub(in crate::core) fn report_keys(&mut self, keys: &[Fingerprint], why: &str) {
        for key in keys {
            let name = self.record.name.clone();
            self.tell(Tell {
                kind: NoticeKind::RevokeNeeded,
                severity: Severity::Warning,
                incident: None,
                cause: key.as_str(),
                summary: format!("{name}: a key with fingerprint {key} is at account {}: {why}", self.account.id),
                actions: Vec::new(),
                about: None,
            });
        }
    }
}

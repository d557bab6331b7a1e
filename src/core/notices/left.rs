//! What only a human can end: keys at the provider that can't be revoked from here, and targets that can't be emptied. Each is
//! an incident until somebody says that he saw to it (`rekeyd ack --revoked`), or it is seen to be gone.
use super::over::revoke_incident;
use super::{NoticeKind, Severity, Tell};
use crate::core::names::{Fingerprint, TargetId, Token};
use crate::core::pass::Pass;
use crate::core::record::Version;
use crate::core::time::Timestamp;

/// What it means that there is a key of which nobody here knows whom it serves.
const LEFT: &str = "A key is not looked after from here; where no consumer uses it, it must be revoked by hand.";

impl Pass<'_> {
    pub(in crate::core) fn tell_revoke_needed(&mut self, version: &Version, why: &str) {
        let name = self.record.name.clone();
        let id = version.id.as_ref().map(|it| format!("id {it}, ")).unwrap_or_default();
        // Out of the config, and not out of service yet: `retire` revokes where that is possible.
        let left = self.record.unmanaged_since.is_some() && self.record.decommissioned.is_none();
        let done = if left { format!("rekeyd retire {name}") } else { self.done_by_hand() };
        let how = if left { "by hand, or take the key out of service" } else { "by hand" };
        let summary =
            format!("{name}: revoke version {} {how} ({id}fingerprint {}): {why}", version.number, version.fingerprint);
        self.tell_left(revoke_incident(version.number), "revoke", summary, vec![done], Some(version), None);
    }

    pub(in crate::core) fn tell_revoke_refused(&mut self, version: &Version, why: &str) {
        let name = self.record.name.clone();
        let summary = format!("{name}: the old version {} can't be revoked: {why}; it is tried again", version.number);
        let look = vec![format!("rekeyd status {name}")];
        let means = Some("The old key stays live until the provider lets us end it.");
        self.tell_left(revoke_incident(version.number), "refused", summary, look, Some(version), means);
    }

    /// Nobody uses the key of a lost create, but it works: its owners can end it sooner than the provider lets us.
    pub(in crate::core) fn tell_orphan_refused(&mut self, token: &Token, why: &str) {
        let (name, account) = (self.record.name.clone(), self.account.id.clone());
        let summary = format!(
            "{name}: the create {token} was lost and left a key at account {account}, which nobody uses and which can't be \
             revoked: {why}; it is tried again"
        );
        let actions = vec![format!("rekeyd status {name}")];
        let means = Some("A key that nobody uses stays live until the provider lets us end it.");
        self.tell_left(orphan_incident(token), &format!("{token} refused"), summary, actions, None, means);
    }

    pub(in crate::core) fn tell_lost(&mut self, token: &Token, sent_at: Timestamp, why: &str) {
        let summary = format!(
            "{}: the create {token} sent at {} may have left a key at account {}; {why}; if it is there, revoke it",
            self.record.name,
            sent_at.whole_second(),
            self.account.id
        );
        let means = Some("There may be a key that must be revoked by hand, in the provider's portal.");
        self.tell_left(lost_incident(token), &token.to_string(), summary, vec![self.done_by_hand()], None, means);
    }

    pub(in crate::core) fn tell_of_earlier_life(&mut self, token: &Token, id: &str) {
        let (name, account) = (self.record.name.clone(), self.account.id.clone());
        let summary = format!(
            "{name}: the key with id {id} at account {account} ({token}) was issued after the state that was put back; \
             where no consumer uses it, revoke it by hand"
        );
        let actions = vec![format!("rekeyd status {name}"), self.done_by_hand()];
        self.tell_left(format!("left:{token}"), &token.to_string(), summary, actions, None, Some(LEFT));
    }

    pub(in crate::core) fn report_keys(&mut self, keys: &[Fingerprint], why: &str) {
        for key in keys {
            let summary =
                format!("{}: a key with fingerprint {key} is at account {}: {why}", self.record.name, self.account.id);
            let actions = vec![self.done_by_hand()];
            self.tell_left(format!("left:{key}"), key.as_str(), summary, actions, None, Some(LEFT));
        }
    }

    pub(in crate::core) fn tell_not_emptied(&mut self, target: &TargetId, why: &str) {
        let summary =
            format!("{} is out of service, but {target} may still hold it: {why}; empty it by hand", self.record.name);
        let cause = format!("not emptied {target}");
        let tell = Tell {
            kind: NoticeKind::DeliveryFailed,
            severity: Severity::Warning,
            incident: Some(format!("empty:{target}")),
            cause: &cause,
            summary,
            actions: vec![self.done_by_hand()],
            about: None,
        };
        self.tell_that(tell, Some("A key that is out of service may still lie where it was used."));
    }

    fn tell_left(
        &mut self,
        incident: String,
        cause: &str,
        summary: String,
        actions: Vec<String>,
        about: Option<&Version>,
        means: Option<&str>,
    ) {
        let (kind, severity) = (NoticeKind::RevokeNeeded, Severity::Warning);
        self.tell_that(Tell { kind, severity, incident: Some(incident), cause, summary, actions, about }, means);
    }

    /// What a human says who saw to it.
    fn done_by_hand(&self) -> String {
        format!("rekeyd ack --revoked {}", self.record.name)
    }
}

/// What it is called that nobody knows what came of a create.
pub(in crate::core) fn lost_incident(token: &Token) -> String {
    format!("lost:{token}")
}

/// What it is called that the key of a lost create can't be revoked yet.
pub(in crate::core) fn orphan_incident(token: &Token) -> String {
    format!("orphan:{token}")
}

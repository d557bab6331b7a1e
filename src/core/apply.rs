//! Folds the outcome of one action into the record. An outcome that nobody waits for any more is void, but a created
//! secret is kept whatever happened meanwhile.
use super::account::Account;
use super::backoff;
use super::facts::{Action, Found, Outcome, Refusal, RefusalKind, Revokee};
use super::names::{Incarnation, TargetId, Token};
use super::notices::{lost_incident, orphan_incident};
use super::pass::Pass;
use super::plan::Change;
use super::policy::{OnAmbiguous, Policy, Recover};
use super::record::{Delivery, Ended, Phase, Reason, Record, VersionNo};
use super::rules::Rule;
use super::time::Timestamp;
use std::time::Duration;

/// How long a provider that asks to slow down, without saying how long, is left alone.
pub const THROTTLED: Duration = Duration::from_secs(60);

/// Folds the outcome of one action into the record. Whatever happened meanwhile, a created secret is kept.
pub fn apply(
    record: &Record,
    account: &Account,
    action: &Action,
    outcome: &Outcome,
    policy: &Policy,
    by: &Incarnation,
    now: Timestamp,
) -> Change {
    let mut pass = Pass::new(record, account, policy, by, now);
    match action {
        Action::Create { token, .. } => pass.create_answered(token, outcome),
        Action::Deliver { target, version } => pass.delivered(target, *version, outcome),
        Action::Confirm { target, version } => pass.confirmed(target, *version, outcome),
        Action::Revoke(it) => pass.revoked(&it.what, outcome),
        Action::Empty { target } => pass.emptied(target, outcome),
    }
    pass.change(record)
}

impl Pass<'_> {
    fn create_answered(&mut self, token: &Token, outcome: &Outcome) {
        let awaited = matches!(&self.record.phase, Phase::Create(it) if it.token.as_ref() == Some(token));
        let sent_at = self.account.open.get(token).map_or(self.now, |it| it.sent_at);
        match outcome {
            Outcome::NotSent(why) => {
                self.account.refund(sent_at);
                self.close(token);
                self.record.retry_at = Some(self.now.plus(backoff::NOT_SENT));
                self.note_error("provider_unreachable", why);
            }
            Outcome::Refused(refusal) => {
                self.close(token);
                self.note_refusal(refusal, awaited);
            }
            Outcome::Created(found) => self.keep_created(token, found, sent_at, awaited),
            Outcome::AnsweredAll(after) => self.keep_difference(token, after, sent_at, awaited),
            Outcome::Unreadable(why) => self.lose(token, awaited, "answer_unreadable", why),
            Outcome::Unknown(why) => self.lose(token, awaited, "answer_lost", why),
            Outcome::Delivered { .. } | Outcome::PartlyDelivered { .. } | Outcome::Confirmed => {}
            Outcome::Revoked | Outcome::Emptied | Outcome::Left(_) => {}
            Outcome::Failed(why) => self.lose(token, awaited, "answer_lost", why),
        }
    }

    /// The attempt has ended without a key.
    fn close(&mut self, token: &Token) {
        self.account.open.remove(token);
        if let Phase::Create(creating) = &mut self.record.phase
            && creating.token.as_ref() == Some(token)
        {
            creating.token = None;
        }
    }

    fn note_refusal(&mut self, refusal: &Refusal, awaited: bool) {
        let reason = match refusal.why {
            RefusalKind::Login => "login_refused",
            RefusalKind::Throttled => "throttled",
            RefusalKind::Request => "request_refused",
        };
        if refusal.why == RefusalKind::Throttled {
            self.account.held_until = Some(refusal.retry_after.unwrap_or(self.now.plus(THROTTLED)));
        }
        if awaited {
            self.fail(reason, &refusal.message);
        }
        if let Some(at) = refusal.retry_after {
            self.record.retry_at = self.record.retry_at.max(Some(at));
        }
    }

    fn keep_created(&mut self, token: &Token, found: &Found, sent_at: Timestamp, awaited: bool) {
        let known = found.fingerprint.as_ref().is_none_or(|it| self.record.seen.contains_key(it));
        if known && self.holds(Rule::Unseen) {
            let why = "the provider answered with a key that is not new";
            return self.lose(token, awaited, "not_a_new_key", why);
        }
        let Some(version) = self.new_version(found, Some(token), sent_at) else { return };
        self.account.open.remove(token);
        if awaited {
            self.unlock();
            self.created(version, sent_at);
        } else if self.holds(Rule::Stray) {
            self.retire_version(version, self.now);
        }
    }

    fn keep_difference(&mut self, token: &Token, after: &[Found], sent_at: Timestamp, awaited: bool) {
        let fresh = self.unknown_of(after);
        if !self.account.baseline {
            self.account.baseline = true;
            // Lost creates may account for some of them, but so may strangers.
            if fresh.len() > 1 && self.holds(Rule::Difference) {
                return self.take_as_baseline(token, &fresh, awaited);
            }
        }
        let lost = self.lost_tokens().into_iter().filter(|it| it != token).count();
        if !awaited {
            self.account.open.remove(token);
            let fingerprints: Vec<_> = fresh.iter().filter_map(|it| it.fingerprint.clone()).collect();
            self.account.known.extend(fingerprints.iter().cloned());
            return self.report_keys(&fingerprints, "a create that nobody waits for any more made it");
        }
        if let Some(open) = self.account.open.get_mut(token) {
            open.lost_at = None;
        }
        self.adopt_difference(fresh, lost, Some(token), sent_at);
        self.account.open.remove(token);
    }

    /// The first answer of an account with keys that we don't know: it can't be told which one is new.
    fn take_as_baseline(&mut self, token: &Token, fresh: &[Found], awaited: bool) {
        let fingerprints: Vec<_> = fresh.iter().filter_map(|it| it.fingerprint.clone()).collect();
        self.account.known.extend(fingerprints);
        if let Some(open) = self.account.open.get(token).cloned() {
            self.tell_lost(token, open.sent_at, "it can't be told from the keys that were there before");
        }
        self.close(token);
        if awaited && self.policy.on_ambiguous == OnAmbiguous::Halt {
            let why = "the account holds keys that are not known here, so that the new one can't be told from them";
            self.halt(Reason::NoBaseline, why);
        }
    }

    /// Nobody knows what came of it: the token stays open and is looked for.
    fn lose(&mut self, token: &Token, awaited: bool, reason: &str, why: &str) {
        let now = self.now;
        let Some(open) = self.account.open.get_mut(token) else { return };
        // An answer in escrow that can't be read is seen again at each start: it was lost once.
        let awaited = awaited && open.lost_at.is_none();
        open.lost_at = open.lost_at.or(Some(now));
        let unrecoverable = self.policy.provider.recover == Recover::None && open.reported_at.is_none();
        if unrecoverable {
            open.reported_at = Some(now);
            let open = open.clone();
            self.tell_lost(token, open.sent_at, "its answer was lost, and the provider can't be asked");
        }
        if !awaited {
            return;
        }
        if let Phase::Create(creating) = &mut self.record.phase {
            creating.lost += 1;
        }
        self.fail(reason, why);
    }

    fn delivered(&mut self, target: &TargetId, version: VersionNo, outcome: &Outcome) {
        let (now, known) = (self.now, self.record.version(version).is_some());
        let (result, ms) = match outcome {
            Outcome::Delivered { ms } => ("delivered".to_owned(), *ms),
            Outcome::Failed(why) | Outcome::PartlyDelivered { why, .. } => (why.clone(), 0),
            _ => return,
        };
        // Only what this try found done, or did, counts: an older one may have been about another content.
        if let Some(held) = self.record.held.get_mut(target) {
            held.then_done = match outcome {
                Outcome::PartlyDelivered { done, .. } => Some((version, done.clone())),
                _ => None,
            };
        }
        let ok = matches!(outcome, Outcome::Delivered { .. });
        if let Some(rotation) = &mut self.record.rotation {
            let first = Delivery { at: now, ms, result: String::new(), attempts: 0 };
            let row = rotation.deliveries.entry(target.clone()).or_insert(first);
            *row = Delivery { at: now, ms, result: result.clone(), attempts: row.attempts + 1 };
        }
        if !ok {
            return self.delivery_failed(target, &result);
        }
        // A target that left the config meanwhile, or a version that left the books, is nobody's business any more.
        if !known || !self.record.held.contains_key(target) {
            return;
        }
        let held = self.record.held.entry(target.clone()).or_default();
        held.settled = Some(version);
        held.maybe.clear();
        held.foreign = None;
        held.failures = 0;
        held.retry_at = None;
        held.last_error = None;
        self.resolve(&format!("delivery:{target}"));
    }

    fn confirmed(&mut self, target: &TargetId, version: VersionNo, outcome: &Outcome) {
        match outcome {
            Outcome::Confirmed => {
                if let Some(held) = self.record.held.get_mut(target) {
                    held.confirmed = Some(version);
                    held.failures = 0;
                    held.retry_at = None;
                    held.last_error = None;
                }
                self.resolve(&format!("delivery:{target}"));
            }
            Outcome::Failed(why) => self.delivery_failed(target, why),
            _ => {}
        }
    }

    fn revoked(&mut self, what: &Revokee, outcome: &Outcome) {
        match (what, outcome) {
            (Revokee::Version(number), Outcome::Revoked) => {
                if let Some(it) = self.record.retired.iter_mut().find(|it| it.version.number == *number) {
                    it.ended = Some(Ended::Revoked);
                }
            }
            (Revokee::Version(number), Outcome::Failed(why)) => self.revoke_failed(*number, why),
            (Revokee::Orphan(token), Outcome::Revoked) => {
                self.account.open.remove(token);
                self.resolve(&lost_incident(token));
                self.resolve(&orphan_incident(token));
            }
            (Revokee::Orphan(token), Outcome::Failed(why)) => self.orphan_revoke_failed(token, why),
            _ => {}
        }
    }
}

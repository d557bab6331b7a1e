//! The summary that an owner gets from time to time: what was replaced, what comes up, what fails, and what needs a hand.
//!
//! A digest that is missed, because the daemon was down, is made up for by one, however many were due.
use super::by_hand::is_awaited;
use super::names::{KeyName, NoticeId};
use super::plan::{DigestLine, DigestSection, Notice, NoticeKind};
use super::policy::{Initial, Policy};
use super::record::{Ended, Phase, Record, RotationResult};
use super::time::Timestamp;
use super::window::Window;
use chrono_tz::Tz;
use croner::Cron;
use std::sync::Arc;
use std::time::Duration;

/// How many lines one section has; the rest is counted.
pub const LINES_PER_SECTION: usize = 100;

/// When an owner gets digests.
#[derive(Clone, Debug)]
pub struct Schedule(Window);

impl Schedule {
    /// By a cron expression, in the owner's time zone. A time that the clocks skip is the end of the gap; one that they show
    /// twice is there once.
    pub fn new(cron: Cron, timezone: Tz) -> Self {
        // How long it lasts plays no part.
        Self(Window { name: None, open: Arc::new(cron), duration: Duration::from_millis(1), timezone })
    }

    /// The newest moment that has come.
    pub fn last(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.last(now)
    }

    /// The first moment after this one.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.0.next(after.plus(Duration::from_millis(1)))
    }
}

/// A key of the owner.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Where it stands.
    pub record: &'a Record,
    /// How it is looked after; none where the config no longer names it.
    pub policy: Option<&'a Policy>,
    /// When it is replaced, as far as is known.
    pub replaced_at: Option<Timestamp>,
}

/// The span that a digest is about.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The digest before.
    pub since: Timestamp,
    /// The moment of this one: names it.
    pub at: Timestamp,
    /// The one after it.
    pub until: Timestamp,
}

/// The digest of an owner; `None` where he has no key, so that there is nothing to be said. One with keys and no news is told
/// that: a digest that does not come would look like a daemon that is dead.
pub fn digest<'a>(owner: &str, keys: impl Iterator<Item = Subject<'a>>, span: Span, now: Timestamp) -> Option<Notice> {
    let (mut lines, mut count) = (Vec::new(), 0);
    for key in keys {
        count += 1;
        lines.extend(key.lines(span, now));
    }
    if count == 0 {
        return None;
    }
    let of = |section| lines.iter().filter(|it: &&DigestLine| it.section == section).count();
    let counts = DigestSection::ALL.iter().map(|it| (*it, of(*it))).map(|(it, n)| format!("{n} {}", words(it, n)));
    let keys = if count == 1 { "1 key".to_owned() } else { format!("{count} keys") };
    let summary = format!("{keys}, since {}: {}", span.since.whole_second(), counts.collect::<Vec<_>>().join(", "));
    let hand = of(DigestSection::Hand) + of(DigestSection::Failing) > 0;
    // A clock that was ahead may have brought one at this moment before: that one began with another.
    let id = NoticeId::of(&["digest", owner, &span.since.0.to_string(), &span.at.0.to_string()]);
    Some(Notice {
        summary,
        actions: if hand { vec!["rekeyd status".to_owned()] } else { Vec::new() },
        digest: shortened(lines),
        ..Notice::bare(id, NoticeKind::Digest, now)
    })
}

/// Incidents that nothing is tried again for: those that need a hand, and those that pass.
const NOT_FAILING: [&str; 8] = ["expiring", "outside", "unverified", "rollback", "revoke", "lost", "left", "empty"];

/// At most [`LINES_PER_SECTION`] of each section, by time and name.
fn shortened(mut lines: Vec<DigestLine>) -> Vec<DigestLine> {
    lines.sort_by(|a, b| (a.section, a.at, &a.key).cmp(&(b.section, b.at, &b.key)));
    let mut kept = Vec::new();
    for section in DigestSection::ALL {
        let of: Vec<_> = lines.iter().filter(|it| it.section == *section).collect();
        kept.extend(of.iter().take(LINES_PER_SECTION).map(|it| (*it).clone()));
        if of.len() > LINES_PER_SECTION {
            let message = format!("and {} more", of.len() - LINES_PER_SECTION);
            kept.push(DigestLine { section: *section, key: None, at: None, message, action: None });
        }
    }
    kept
}

fn words(section: DigestSection, count: usize) -> &'static str {
    match section {
        DigestSection::Hand if count == 1 => "needs a hand",
        DigestSection::Hand => "need a hand",
        DigestSection::Failing => "failing",
        DigestSection::Ahead => "coming up",
        DigestSection::Rotated => "replaced",
    }
}

impl Subject<'_> {
    fn lines(&self, span: Span, now: Timestamp) -> Vec<DigestLine> {
        let hand: Vec<_> = self.needs_a_hand(now).into_iter().collect();
        let failing = self.failing().filter(|_| hand.is_empty());
        let ahead = self.coming_up(span, now).filter(|_| hand.is_empty());
        let by_hand = self.left_to_revoke(now);
        hand.into_iter().chain(by_hand).chain(failing).chain(ahead).chain(self.rotated(span, now)).collect()
    }

    fn needs_a_hand(&self, now: Timestamp) -> Option<DigestLine> {
        let (record, name) = (self.record, &self.record.name);
        let end = record.current.as_ref().and_then(|it| it.valid_to);
        let expires = |what: &str| match end {
            Some(end) if end <= now => format!("{what}; it expired at {}", end.whole_second()),
            Some(end) => format!("{what}; it expires at {}", end.whole_second()),
            None => what.to_owned(),
        };
        let awaited =
            |policy: &Policy| record.current.as_ref().is_some_and(|it| is_awaited(it, &record.phase, policy, now));
        let status = format!("rekeyd status {name}");
        let (what, at, action) = match (&record.phase, self.policy) {
            (Phase::Halted { reason, at, .. }, _) => {
                (expires(&format!("halted ({})", reason.code())), Some(*at), status)
            }
            (_, None) => (expires("the config no longer names it, and nothing replaces it"), end, status),
            (Phase::Unadopted, Some(policy)) if policy.initial == Initial::Adopt => {
                ("not adopted yet".to_owned(), None, format!("rekeyd adopt {name} --from-target"))
            }
            (_, Some(policy)) if awaited(policy) => {
                (expires("is replaced by hand: get a new key"), end, format!("rekeyd rotate {name}"))
            }
            _ if record.paused.as_ref().is_some_and(|it| it.until.is_none()) => {
                (expires("paused, and nothing ends that by itself"), end, format!("rekeyd resume {name}"))
            }
            _ if record.incidents.contains_key("expiring") => (expires("not replaced yet"), end, status),
            _ => return None,
        };
        Some(self.line(DigestSection::Hand, at, what, Some(action)))
    }

    /// What was reported, and that nobody has said to have revoked.
    fn left_to_revoke(&self, now: Timestamp) -> Vec<DigestLine> {
        let name = &self.record.name;
        let lives = |end: Option<Timestamp>| end.is_none_or(|it| it > now);
        let reported = self.record.retired.iter().filter(|it| it.ended == Some(Ended::Reported));
        let reported = reported.filter(|it| lives(it.version.valid_to));
        let versions =
            reported.map(|it| (format!("the old version {} is to be revoked by hand", it.version.number), None));
        let left = self.record.incidents.iter().filter_map(|(incident, it)| {
            let what = match incident.split_once(':')? {
                ("lost", token) => format!("the create {token} may have left a key that is to be revoked by hand"),
                ("left", key) => format!("a key that is none of ours ({key}) is to be looked at, and revoked by hand"),
                ("empty", target) => format!("{target} may hold it still, and is to be emptied by hand"),
                _ => return None,
            };
            Some((what, Some(it.since)))
        });
        let done = format!("rekeyd ack {name} --revoked");
        versions.chain(left).map(|(what, at)| self.line(DigestSection::Hand, at, what, Some(done.clone()))).collect()
    }

    fn failing(&self) -> Option<DigestLine> {
        let fails = |it: &str| !NOT_FAILING.contains(&it.split(':').next().unwrap_or_default());
        let mut failing = self.record.incidents.iter().filter(|it| fails(it.0));
        let (incident, since) = failing.next().map(|it| (it.0, it.1.since))?;
        let delivery = incident.strip_prefix("delivery:");
        let error = match delivery {
            Some(target) => {
                let held = self.record.held.iter().find(|it| it.0.to_string() == target);
                let why = held.and_then(|it| it.1.last_error.clone()).unwrap_or_default();
                format!("not delivered to {target}: {why}")
            }
            None => self.record.last_error.as_ref().map_or_else(|| incident.clone(), |it| it.message.clone()),
        };
        let status = format!("rekeyd status {}", self.record.name);
        Some(self.line(DigestSection::Failing, Some(since), error, Some(status)))
    }

    fn coming_up(&self, span: Span, now: Timestamp) -> Option<DigestLine> {
        let under_way = self.record.rotation.is_some();
        let at = if under_way { now } else { self.replaced_at.filter(|it| *it < span.until)?.max(now) };
        let what = if under_way { "is being replaced" } else { "will be replaced" };
        let number = self.record.current.as_ref().map(|it| format!("version {} ", it.number)).unwrap_or_default();
        Some(self.line(DigestSection::Ahead, Some(at), format!("{number}{what}"), None))
    }

    fn rotated(&self, span: Span, now: Timestamp) -> Option<DigestLine> {
        let last = self.record.last_rotation.as_ref().filter(|it| it.result == Some(RotationResult::Succeeded))?;
        let at = last.finished_at.filter(|it| *it > span.since && *it <= now)?;
        let number = last.version.map(|it| format!("version {it}")).unwrap_or_default();
        Some(self.line(DigestSection::Rotated, Some(at), number, None))
    }

    fn line(
        &self,
        section: DigestSection,
        at: Option<Timestamp>,
        message: String,
        action: Option<String>,
    ) -> DigestLine {
        let key: Option<KeyName> = Some(self.record.name.clone());
        DigestLine { section, key, at, message, action }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::names::AccountId;
    use crate::core::plan::Severity;
    use crate::core::record::{Incident, Reason};

    const NOW: Timestamp = Timestamp(1_790_000_000_000);
    const WEEK: Duration = Duration::from_secs(7 * 86_400);

    fn span() -> Span {
        Span { since: NOW.minus(WEEK), at: NOW, until: NOW.plus(WEEK) }
    }

    fn record(name: &str, phase: Phase) -> Record {
        Record { phase, ..Record::new(name.parse().unwrap(), NOW.minus(WEEK)) }
    }

    fn of(records: &[Record], replaced_at: Option<Timestamp>) -> Option<Notice> {
        let policy = Policy::unmanaged(AccountId::from("sms"));
        let subject = |record| Subject { record, policy: Some(&policy), replaced_at };
        digest("payments", records.iter().map(subject), span(), NOW)
    }

    fn said(notice: &Notice) -> Vec<(&'static str, &str)> {
        notice.digest.iter().map(|it| (it.section.code(), it.message.as_str())).collect()
    }

    #[test]
    fn who_has_no_key_gets_none_and_who_has_no_news_is_told_that() {
        assert_eq!(of(&[], None), None);
        let quiet = of(&[record("a", Phase::Steady)], None).unwrap();
        assert_eq!((quiet.digest.len(), quiet.actions.len()), (0, 0));
        assert!(quiet.summary.starts_with("1 key, since 2026-"), "{}", quiet.summary);
        assert!(quiet.summary.ends_with("0 need a hand, 0 failing, 0 coming up, 0 replaced"), "{}", quiet.summary);
    }

    #[test]
    fn a_halted_key_needs_a_hand_and_a_failing_one_is_tried_again() {
        let halted = Phase::Halted { reason: Reason::AmbiguousCreate, at: NOW, resume: Box::new(Phase::Steady) };
        let mut failing = record("b", Phase::Steady);
        let (kind, severity) = (NoticeKind::RotationFailed, Severity::Warning);
        let incident = Incident { since: NOW, kind, severity, acked: false, escalated: false };
        failing.incidents.insert("rotation".to_owned(), incident);
        let notice = of(&[failing, record("a", halted)], None).unwrap();
        assert_eq!(said(&notice), [("needs_a_hand", "halted (ambiguous_create)"), ("failing", "rotation")]);
        assert_eq!(notice.actions, ["rekeyd status"]);
    }

    #[test]
    fn what_only_a_human_can_end_needs_a_hand_until_he_says_that_he_has() {
        let mut left = record("a", Phase::Steady);
        for incident in ["lost:t", "empty:file:/f"] {
            let (kind, severity) = (NoticeKind::RevokeNeeded, Severity::Warning);
            let open = Incident { since: NOW, kind, severity, acked: false, escalated: false };
            left.incidents.insert(incident.to_owned(), open);
        }
        let notice = of(&[left], None).unwrap();
        let said = said(&notice);
        assert!(said.iter().all(|it| it.0 == "needs_a_hand") && said.len() == 2, "{said:?}");
    }

    #[test]
    fn what_comes_before_the_next_digest_is_told_and_what_comes_later_is_not() {
        let soon = of(&[record("a", Phase::Steady)], Some(NOW.plus(WEEK / 2))).unwrap();
        assert_eq!(said(&soon), [("coming_up", "will be replaced")]);
        assert_eq!(said(&of(&[record("a", Phase::Steady)], Some(NOW.plus(WEEK))).unwrap()), []);
    }

    #[test]
    fn a_section_has_a_limit_and_says_what_it_left_out() {
        let many: Vec<_> = (0..LINES_PER_SECTION + 7).map(|n| record(&format!("k{n}"), Phase::Steady)).collect();
        let notice = of(&many, Some(NOW)).unwrap();
        assert_eq!(notice.digest.len(), LINES_PER_SECTION + 1);
        assert_eq!(notice.digest.last().unwrap().message, "and 7 more");
    }

    #[test]
    fn the_moments_are_those_of_the_owners_clock_over_a_change_of_it() {
        let cron = croner::parser::CronParser::builder().seconds(croner::parser::Seconds::Optional).build();
        let schedule = Schedule::new(cron.parse("0 0 9 * * Mon").unwrap(), Tz::Europe__London);
        let at = |text: &str| Timestamp::from(text.parse::<chrono::DateTime<chrono::Utc>>().unwrap());
        // The clocks go back on 25 October 2026.
        assert_eq!(schedule.last(at("2026-10-25T12:00:00Z")), Some(at("2026-10-19T08:00:00Z")));
        assert_eq!(schedule.next(at("2026-10-25T12:00:00Z")), Some(at("2026-10-26T09:00:00Z")));
        assert_eq!(schedule.next(at("2026-10-26T09:00:00Z")), Some(at("2026-11-02T09:00:00Z")));
        assert_eq!(schedule.last(at("2026-10-26T09:00:00Z")), Some(at("2026-10-26T09:00:00Z")));
    }
}

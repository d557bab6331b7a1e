//! The outbox in memory: what waits, in a line for each channel of each owner. What stands here stands in the state too, or in the
//! batch that becomes durable next.
use super::unheard::Unheard;
use crate::core::names::NoticeId;
use crate::core::plan::{Notice, NoticeStatus};
use crate::core::queue::{Round, Waiting, rank, round, superseded};
use crate::core::time::Timestamp;
use crate::store::{OutboxRow, OutboxState, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// No wait is longer. What is due later than that was put off by a clock that was ahead, and is due now.
pub(super) const LONGEST: Duration = Duration::from_secs(25 * 60 * 60);

/// A channel of an owner.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct LineId {
    pub(super) owner: String,
    pub(super) channel: String,
}

/// All lines.
#[derive(Default)]
pub(super) struct Lines {
    lines: BTreeMap<LineId, Line>,
    /// Where something waits that is told of an incident: that is asked of each new notice, among ten thousand that wait.
    incidents: BTreeMap<String, BTreeSet<(LineId, NoticeId)>>,
    /// Those that something has come to, or left, since they were looked at.
    changed: BTreeSet<LineId>,
    /// A copy that only observes tells of itself alone, from this moment on. What it brought along is the original's to tell,
    /// and what it sees of keys is the original's doing: that waits until somebody says which of the two goes on.
    only_itself: Option<Timestamp>,
    /// What may have to be told to others.
    pub(super) unheard: Unheard,
}

/// What waits for one channel.
#[derive(Default)]
struct Line {
    rows: BTreeMap<NoticeId, OutboxRow>,
    /// The incidents of which several notices wait: some may have become superfluous.
    repeated: BTreeSet<String>,
    /// Those that are being sent.
    under_way: BTreeSet<NoticeId>,
    /// The channel asked not to be told before.
    hold: Option<Timestamp>,
    /// When something falls due, as far as nothing changed.
    at: Timestamp,
}

impl OutboxRow {
    pub(super) fn line(&self) -> LineId {
        LineId { owner: self.owner.clone(), channel: self.channel.clone() }
    }
}

impl Lines {
    /// What the last life of the daemon left. A message that it had begun may have arrived.
    pub(super) fn read(store: &Store) -> Result<Self, StoreError> {
        let mut lines = Self::default();
        for mut row in store.outbox_due(Timestamp::NEVER, usize::MAX, |_| true)? {
            row.unsure |= row.message.is_some();
            lines.note(row);
        }
        Ok(lines)
    }

    /// A row is new, or has changed. What is over waits no longer.
    pub(super) fn note(&mut self, row: OutboxRow) {
        self.unheard.note(&row);
        let (id, place) = (row.line(), (row.line(), row.notice.id.clone()));
        let line = self.lines.entry(id.clone()).or_default();
        let incident = row.notice.incident.clone();
        let of = self.incidents.entry(incident.clone()).or_default();
        if row.state == OutboxState::Pending {
            of.insert(place);
            line.rows.insert(row.notice.id.clone(), row);
        } else {
            of.remove(&place);
            line.rows.remove(&row.notice.id);
        }
        if of.iter().filter(|it| it.0 == id).nth(1).is_some() {
            line.repeated.insert(incident);
        } else {
            line.repeated.remove(&incident);
            if of.is_empty() {
                self.incidents.remove(&incident);
            }
        }
        if line.rows.is_empty() {
            self.lines.remove(&id);
            self.changed.remove(&id);
        } else {
            self.changed.insert(id);
        }
    }

    /// Whether nothing goes but what the daemon has to tell of itself, and since when.
    pub(super) fn only_itself(&mut self, since: Option<Timestamp>) {
        if self.only_itself != since {
            self.only_itself = since;
            self.changed.extend(self.lines.keys().cloned());
        }
    }

    /// Nothing goes to a channel before this moment.
    pub(super) fn hold(&mut self, id: &LineId, until: Timestamp) {
        if let Some(line) = self.lines.get_mut(id) {
            line.hold = Some(until);
        }
    }

    /// A channel took something: what only waited because it had failed goes at once.
    pub(super) fn works(&mut self, id: &LineId, now: Timestamp) {
        let Some(line) = self.lines.get_mut(id) else { return };
        line.hold = None;
        for row in line.rows.values_mut().filter(|it| it.attempts > 0) {
            row.retry_at = row.retry_at.min(now);
        }
        self.changed.insert(id.clone());
    }

    /// Nothing waits any longer.
    pub(super) fn at_once(&mut self, now: Timestamp) {
        for (id, line) in &mut self.lines {
            line.hold = None;
            for row in line.rows.values_mut() {
                row.retry_at = row.retry_at.min(now);
            }
            self.changed.insert(id.clone());
        }
    }

    /// These are being sent.
    pub(super) fn begin<'a>(&mut self, id: &LineId, notices: impl IntoIterator<Item = &'a NoticeId>) {
        if let Some(line) = self.lines.get_mut(id) {
            line.under_way.extend(notices.into_iter().cloned());
            self.changed.insert(id.clone());
        }
    }

    /// These have come back.
    pub(super) fn end<'a>(&mut self, id: &LineId, notices: impl IntoIterator<Item = &'a NoticeId>) {
        if let Some(line) = self.lines.get_mut(id) {
            for notice in notices {
                line.under_way.remove(notice);
            }
            self.changed.insert(id.clone());
        }
    }

    /// Something else keeps a line from going on: it is looked at again as soon as anything happens.
    pub(super) fn look_again(&mut self, id: &LineId) {
        self.changed.insert(id.clone());
    }

    /// Whether something waits for this owner that says what has become of the same incident since.
    pub(super) fn says_more(&self, owner: &str, notice: &Notice) -> bool {
        self.of_incident(&notice.incident).any(|it| it.owner == owner && rank(&it.notice) > rank(notice))
    }

    /// What waits of an incident, for whomever and by whatever channel.
    pub(super) fn of_incident(&self, incident: &str) -> impl Iterator<Item = &OutboxRow> {
        let places = self.incidents.get(incident).into_iter().flatten();
        places.filter_map(|(line, notice)| self.lines.get(line)?.rows.get(notice))
    }

    /// What has become superfluous in the lines that changed.
    pub(super) fn superseded(&self) -> Vec<OutboxRow> {
        let lines = self.changed.iter().filter_map(|it| Some((it, self.lines.get(it)?)));
        let old = lines.flat_map(|(id, line)| {
            let repeated = line.repeated.iter().flat_map(|it| self.of_incident(it)).filter(|it| it.line() == *id);
            let waiting: Vec<_> = repeated.map(|it| line.waits(it, Timestamp::NEVER)).collect();
            superseded(&waiting).into_iter().filter_map(|id| line.rows.get(&id).cloned())
        });
        old.collect()
    }

    /// The lines in which something may go now.
    pub(super) fn due(&self, now: Timestamp) -> Vec<LineId> {
        let due =
            |(id, line): (&LineId, &Line)| (is_due(line.at, now) || self.changed.contains(id)).then(|| id.clone());
        self.lines.iter().filter_map(due).collect()
    }

    /// What goes now in one line.
    pub(super) fn round(&mut self, id: &LineId, together: bool, now: Timestamp) -> Vec<Vec<NoticeId>> {
        let Some(line) = self.lines.get_mut(id) else { return Vec::new() };
        let Round { messages, at } = match line.hold.filter(|it| !is_due(*it, now)) {
            Some(hold) => Round { messages: Vec::new(), at: hold },
            None => round(&line.waiting(now, self.only_itself), together, now),
        };
        line.at = at;
        self.changed.remove(id);
        messages
    }

    /// When something goes next, as far as nothing changes.
    pub(super) fn next(&self) -> Timestamp {
        self.lines.values().map(|it| it.at).min().unwrap_or(Timestamp::NEVER)
    }

    /// The rows of these notices.
    pub(super) fn rows(&self, id: &LineId, notices: &[NoticeId]) -> Vec<OutboxRow> {
        let line = self.lines.get(id);
        notices.iter().filter_map(|it| line?.rows.get(it).cloned()).collect()
    }

    /// Everything that waits and is not being sent.
    pub(super) fn idle(&self) -> impl Iterator<Item = &OutboxRow> {
        self.lines.values().flat_map(|line| line.rows.values().filter(|it| !line.under_way.contains(&it.notice.id)))
    }
}

impl Line {
    fn waiting(&self, now: Timestamp, only_itself: Option<Timestamp>) -> Vec<Waiting<'_>> {
        let may_go = |it: &&OutboxRow| only_itself.is_none_or(|since| is_about_itself(&it.notice, since));
        self.rows.values().filter(may_go).map(|it| self.waits(it, now)).collect()
    }

    fn waits<'a>(&self, row: &'a OutboxRow, now: Timestamp) -> Waiting<'a> {
        let OutboxRow { notice, retry_at, attempts, message, .. } = row;
        let due = due_at(*retry_at, now);
        let under_way = self.under_way.contains(&notice.id);
        Waiting { notice, due, failed: *attempts > 0, sealed: message.as_ref(), under_way }
    }
}

fn is_about_itself(notice: &Notice, since: Timestamp) -> bool {
    let nobody_else = notice.key.is_none() && notice.provider.is_none();
    nobody_else && notice.status == NoticeStatus::Firing && notice.at >= since
}

/// When something falls due that is to go at this moment.
pub(super) fn due_at(at: Timestamp, now: Timestamp) -> Timestamp {
    if is_due(at, now) { now.min(at) } else { at }
}

fn is_due(at: Timestamp, now: Timestamp) -> bool {
    at <= now || (at > now.plus(LONGEST) && at < Timestamp::NEVER)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::core::plan::{NoticeKind, Severity};

    pub(in crate::engine) const NOW: Timestamp = Timestamp(1_790_000_000_000);

    pub(in crate::engine) fn at(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    /// One that waits, was tried so often, and is due so many seconds later.
    pub(in crate::engine) fn row(id: &str, attempts: u32, due: u64) -> OutboxRow {
        OutboxRow {
            notice: Notice { severity: Severity::Warning, ..Notice::bare(id.into(), NoticeKind::RotationFailed, NOW) },
            owner: "payments".to_owned(),
            channel: "webhook:https://hooks.example.com".to_owned(),
            attempts,
            retry_at: at(due),
            state: OutboxState::Pending,
            at: NOW,
            why: None,
            message: None,
            unsure: false,
        }
    }

    fn lines(rows: &[OutboxRow]) -> (Lines, LineId) {
        let mut lines = Lines::default();
        rows.iter().for_each(|it| lines.note(it.clone()));
        (lines, rows[0].line())
    }

    #[test]
    fn a_channel_that_asks_for_time_is_left_alone_for_all_that_waits() {
        let (mut lines, id) = lines(&[row("a", 0, 0), row("b", 0, 5)]);
        lines.hold(&id, at(7200));
        assert_eq!(lines.round(&id, false, at(10)).len(), 0);
        assert_eq!(lines.next(), at(7200));
        assert_eq!(lines.round(&id, false, at(7200)).len(), 2);
    }

    #[test]
    fn a_channel_that_takes_something_gets_at_once_what_waited_only_because_it_had_failed() {
        let (mut lines, id) = lines(&[row("a", 9, 3600), row("b", 0, 300)]);
        assert_eq!(lines.round(&id, false, at(10)).len(), 0);
        lines.works(&id, at(10));
        assert_eq!(lines.round(&id, false, at(10)), [["a".into()]], "and what was not tried yet waits for others");
    }

    #[test]
    fn what_a_clock_that_was_ahead_put_off_for_a_year_goes_now() {
        let (mut lines, id) = lines(&[row("a", 1, 365 * 86_400)]);
        assert_eq!(lines.round(&id, false, NOW).len(), 1);
    }

    #[test]
    fn what_a_clock_that_was_ahead_put_off_by_hours_goes_when_it_was_set() {
        let (mut lines, id) = lines(&[row("a", 3, 3 * 3600), row("b", 0, 3 * 3600)]);
        lines.hold(&id, at(4 * 3600));
        assert_eq!(lines.round(&id, false, NOW).len(), 0);
        lines.at_once(NOW);
        assert_eq!(lines.due(NOW), std::slice::from_ref(&id));
        assert_eq!(lines.round(&id, false, NOW).len(), 2);
    }

    /// What is new is compared with what waits of its own incident, and with nothing else.
    #[test]
    fn among_a_thousand_that_wait_only_those_of_an_incident_are_asked_for() {
        let of = |id: &str, incident: &str, seconds| {
            let mut row = row(id, 0, 0);
            (row.notice.incident, row.notice.at) = (incident.to_owned(), at(seconds));
            row
        };
        let many: Vec<_> = (0..1000).map(|n| of(&format!("n{n}"), &format!("i{n}"), 0)).collect();
        let (mut lines, id) = lines(&many);
        let elsewhere = OutboxRow { channel: "email:a@example.com".to_owned(), ..of("n7", "i7", 0) };
        lines.note(elsewhere.clone());
        let asked = |lines: &Lines| lines.of_incident("i7").map(|it| it.channel.clone()).collect::<Vec<_>>();
        assert_eq!(asked(&lines), [elsewhere.channel.clone(), id.channel.clone()]);
        assert!(lines.superseded().is_empty() && lines.lines[&id].repeated.is_empty());

        lines.note(of("later", "i7", 9));
        assert_eq!(lines.lines[&id].repeated.len(), 1);
        let old: Vec<_> = lines.superseded().into_iter().map(|it| (it.line(), it.notice.id)).collect();
        assert_eq!(old, [(id.clone(), "n7".into())], "by that channel alone to which the later one goes");
        assert!(lines.says_more("payments", &many[7].notice) && !lines.says_more("platform", &many[7].notice));

        lines.note(OutboxRow { state: OutboxState::Superseded, ..of("n7", "i7", 0) });
        assert!(lines.superseded().is_empty() && lines.lines[&id].repeated.is_empty());
        lines.note(OutboxRow { state: OutboxState::Sent, ..of("later", "i7", 9) });
        lines.note(OutboxRow { state: OutboxState::Sent, ..elsewhere });
        assert!(asked(&lines).is_empty() && !lines.incidents.contains_key("i7"), "nothing is left behind");
    }

    #[test]
    fn what_is_under_way_is_not_begun_again_and_what_is_over_waits_no_longer() {
        let (mut lines, id) = lines(&[row("a", 0, 0)]);
        let a = NoticeId::from("a");
        lines.begin(&id, [&a]);
        assert_eq!((lines.round(&id, false, at(1)).len(), lines.idle().count()), (0, 0));
        lines.end(&id, [&a]);
        assert_eq!(lines.round(&id, false, at(1)).len(), 1);
        lines.note(OutboxRow { state: OutboxState::Sent, ..row("a", 1, 0) });
        assert_eq!((lines.due(at(1)).len(), lines.next()), (0, Timestamp::NEVER));
    }
}

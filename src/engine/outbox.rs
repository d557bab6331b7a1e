//! Sends what the outbox holds, until the channel took it or its time is up.
//!
//! What goes together is decided by `core::queue`. A message is begun after the commit that says which notices are in it, so
//! that after a crash it is sent again as it was, under the same id.
use super::Engine;
use super::channels::{self, Known};
use super::event::Event;
use super::lines::LineId;
use super::trouble::MACHINE;
use super::veil::veil;
use crate::command::Veil;
use crate::config::settings::{Channel, Settings};
use crate::core::names::{Fingerprint, KeyName, NoticeId};
use crate::core::queue::retry_at;
use crate::core::time::Timestamp;
use crate::notifiers::{Also, Message, Sent};
use crate::store::{OutboxRow, OutboxState};
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How many messages are under way at once by one channel; mail to all owners is one. A server that hangs holds up no other.
const SENDING_MOST: usize = 8;
/// How many messages are begun in one go.
const BEGUN_MOST: usize = 64;
/// A notice that no channel took for so long is given up; it stays visible as dead.
pub(super) const NOTICE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Engine {
    /// Sends what is due, as long as its channel has room.
    pub(super) fn begin_sending(&mut self) {
        if self.stopping || self.unwritable.is_some() {
            return;
        }
        let now = self.clock.now();
        let copy_since = self.observing.map(|_| self.books.incidents.since(MACHINE).unwrap_or(Timestamp::NEVER));
        self.books.lines.only_itself(copy_since);
        self.books.drop_superseded(now);
        let mut under_way: BTreeMap<String, usize> = BTreeMap::new();
        for (line, _) in &self.sending {
            *under_way.entry(server(&line.channel).to_owned()).or_default() += 1;
        }
        let mut begun = 0;
        for line in self.books.lines.due(now) {
            let busy = under_way.entry(server(&line.channel).to_owned()).or_default();
            let together = self.books.goes_together(&line);
            for notices in self.books.lines.round(&line, together, now) {
                if begun >= BEGUN_MOST || *busy >= SENDING_MOST {
                    // It goes on with the next answer.
                    self.books.lines.look_again(&line);
                    break;
                }
                (begun, *busy) = (begun + 1, *busy + 1);
                self.begin_message(&line, &notices, together, now);
            }
        }
    }

    fn begin_message(&mut self, line: &LineId, notices: &[NoticeId], together: bool, now: Timestamp) {
        let (id, rows) = self.books.seal_message(line, notices, together);
        self.sending.insert((line.clone(), id.clone()));
        let (settings, known) = (Arc::clone(&self.books.settings), self.books.channels.known(line));
        let (veil, events) = (veil(&self.books.store, &settings), self.events.clone());
        self.after_commit
            .push(Box::new(move || drop(tokio::spawn(send(id, rows, settings, veil, known, now, events)))));
    }

    /// A notifier has answered: what becomes of the rows is durable before they are taken up again.
    pub(super) fn note_answer(&mut self, answered: Answered) {
        let Answered { id, rows, answer, stamp } = answered;
        let answer = &answer;
        let Some(line) = rows.first().map(OutboxRow::line) else { return };
        let now = self.clock.now();
        self.sending.remove(&(line.clone(), id));
        self.noted += 1;
        self.books.lines.end(&line, rows.iter().map(|it| &it.notice.id));
        if let Sent::Unfit(why) = answer
            && rows.len() > 1
        {
            self.books.meters.sent(&line.channel, answer, false, rows.len());
            return self.books.send_in_two(&line, &rows, why, now);
        }
        let was_off = self.books.channels.is_off(&line);
        let mut rows: Vec<_> = rows.into_iter().map(|it| after(it, answer, now, self.clock.is_suspect())).collect();
        if was_off && matches!(answer, Sent::Gone(_)) {
            rows.iter_mut().for_each(|it| it.state = OutboxState::Off);
        }
        if rows.iter().any(|it| it.state != OutboxState::Pending) {
            // Some of a message were given up: the others are no longer what was sent.
            rows.iter_mut().for_each(|it| (it.message, it.unsure) = (None, false));
        }
        if let Some(row) = rows.first() {
            self.books.meters.sent(&row.channel, answer, row.state == OutboxState::Dead, rows.len());
        }
        for row in &rows {
            self.books.put_row(row.clone());
        }
        match answer {
            Sent::Taken => self.books.lines.works(&line, now),
            Sent::Later { retry_after: Some(until), .. } => self.books.lines.hold(&line, *until),
            _ => {}
        }
        self.note_channel(&line, answer, stamp, now);
        self.note_letters(&line, &rows, now);
    }
}

/// A notifier has answered.
#[derive(Debug)]
pub struct Answered {
    /// Which message.
    id: NoticeId,
    /// What was in it.
    rows: Vec<OutboxRow>,
    /// What it said.
    answer: Sent,
    /// Where it wants nothing more: what tells its address from the next one.
    stamp: Option<Fingerprint>,
}

/// What may hang: all mail goes to one server, and every other channel has one of its own.
fn server(channel: &str) -> &str {
    if channel.starts_with("email:") { "email" } else { channel }
}

/// Tries once to send a message, and reports back.
pub(super) async fn send(
    id: NoticeId,
    rows: Vec<OutboxRow>,
    settings: Arc<Settings>,
    veil: Veil,
    known: Known,
    now: Timestamp,
    events: mpsc::Sender<Event>,
) {
    let (Some(message), Some(row)) = (message(id.clone(), &rows, &settings, veil), rows.first()) else { return };
    let (mut stamp, channel) = (None, channel(&settings, &row.line()).map(|it| &it.notifier));
    let answer = match channel {
        None => Sent::Refused("the config names this channel no more".into()),
        Some(notifier) => match known.gone(notifier).await {
            Some(why) => Sent::Gone(why),
            None => {
                fail_point!(NoticeBegins);
                let sent = AssertUnwindSafe(notifier.send(&message, now)).catch_unwind().await;
                fail_point!(NoticeEnds);
                let why = "rekeyd itself broke down while sending; please report this";
                sent.unwrap_or_else(|_| Sent::Unsure(why.to_owned()))
            }
        },
    };
    if let (Sent::Gone(_), Some(notifier)) = (&answer, channel) {
        stamp = channels::stamp(notifier).await;
    }
    // Where the engine has stopped, the rows are still pending and are sent again at the next start.
    let _ = events.send(Event::Sent(Box::new(Answered { id, rows, answer, stamp }))).await;
}

fn message(id: NoticeId, rows: &[OutboxRow], settings: &Settings, veil: Veil) -> Option<Message> {
    let (first, more) = rows.split_first()?;
    let also = |it: &OutboxRow| Also { provider: provider_of(settings, it), notice: it.notice.clone() };
    Some(Message {
        id,
        owner: first.owner.clone(),
        provider: provider_of(settings, first),
        notice: first.notice.clone(),
        more: more.iter().map(also).collect(),
        veil,
    })
}

/// What becomes of a row after a try.
fn after(mut row: OutboxRow, answer: &Sent, now: Timestamp, clock_suspect: bool) -> OutboxRow {
    row.attempts = row.attempts.saturating_add(1);
    row.at = now;
    let too_old = row.notice.at.plus(NOTICE_LIFETIME) <= now && !clock_suspect;
    let (owner, channel) = (&row.owner, &row.channel);
    let key = row.notice.key.as_ref().map(KeyName::as_str);
    let about = key.is_none().then(|| row.notice.subject());
    match answer {
        Sent::Taken => tracing::info!(key, about, kind = row.notice.kind.code(), owner, channel, "told"),
        Sent::Refused(why) | Sent::Unfit(why) | Sent::Gone(why) => {
            tracing::error!(key, about, owner, channel, why, "a notice was refused")
        }
        Sent::Later { why, .. } | Sent::Unsure(why) if too_old => {
            tracing::error!(key, about, owner, channel, why, "a notice was given up");
        }
        Sent::Later { why, .. } | Sent::Unsure(why) => {
            tracing::warn!(key, about, owner, channel, why, "a notice waits")
        }
    }
    (row.state, row.why) = match answer {
        Sent::Taken => (OutboxState::Sent, None),
        Sent::Refused(why) | Sent::Unfit(why) | Sent::Gone(why) => (OutboxState::Dead, Some(why.clone())),
        Sent::Later { why, .. } | Sent::Unsure(why) if too_old => (OutboxState::Dead, Some(why.clone())),
        Sent::Later { why, .. } | Sent::Unsure(why) => (OutboxState::Pending, Some(why.clone())),
    };
    if row.state == OutboxState::Pending {
        let asked = if let Sent::Later { retry_after, .. } = answer { *retry_after } else { None };
        row.retry_at = retry_at(row.attempts, asked, now);
        // That this try was in vain says nothing of an earlier one that may have arrived.
        row.unsure |= matches!(answer, Sent::Unsure(_));
        if !row.unsure {
            row.message = None;
        }
    }
    row
}

pub(super) fn channel<'a>(settings: &'a Settings, line: &LineId) -> Option<&'a Channel> {
    settings.owners.get(&line.owner)?.channels.iter().find(|it| it.notifier.id() == line.channel)
}

fn provider_of(settings: &Settings, row: &OutboxRow) -> Option<String> {
    let named = row.notice.provider.clone();
    named.or_else(|| row.notice.key.as_ref().and_then(|it| settings.keys.get(it)).map(|it| it.provider.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::lines::tests::{NOW, at, row};
    use super::*;

    const WEEK: u64 = 7 * 86_400;

    fn later() -> Sent {
        Sent::Later { why: "busy".into(), retry_after: Some(at(7200)) }
    }

    #[test]
    fn a_message_stays_as_it_is_only_while_nobody_knows_whether_it_arrived() {
        let sealed = OutboxRow { message: Some("m".into()), ..row("a", 0, 0) };
        let unsure = after(sealed.clone(), &Sent::Unsure("no answer".into()), NOW, false);
        assert_eq!((unsure.message, unsure.retry_at), (Some("m".into()), at(2)));
        let then_refused =
            after(after(sealed.clone(), &Sent::Unsure(String::new()), NOW, false), &later(), at(2), false);
        assert_eq!(then_refused.message, Some("m".into()), "a later refusal does not say what became of the first try");
        let refused = after(sealed, &later(), NOW, false);
        assert_eq!((refused.message, refused.retry_at), (None, at(7200)), "and the channel may ask for time");
    }

    #[test]
    fn a_notice_is_given_up_when_its_lifetime_is_over_and_never_by_a_clock_that_is_not_believed() {
        let state = |seconds, suspect| after(row("a", 99, 0), &later(), at(seconds), suspect).state;
        assert_eq!(state(WEEK - 1, false), OutboxState::Pending);
        assert_eq!(state(WEEK, false), OutboxState::Dead);
        assert_eq!(state(WEEK, true), OutboxState::Pending);
        assert_eq!(after(row("a", 0, 0), &Sent::Taken, at(WEEK), false).state, OutboxState::Sent);
    }
}

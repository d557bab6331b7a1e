//! Sends what the outbox holds, until the channel took it or its time is up.
use super::Engine;
use super::event::Event;
use super::trouble::MACHINE;
use crate::clock;
use crate::config::settings::Settings;
use crate::core::plan::NoticeStatus;
use crate::core::time::Timestamp;
use crate::notifiers::{Message, Notifier, Sent};
use crate::store::{OutboxId, OutboxRow, OutboxState, StoreError};
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How many notices are under way at once by one channel; mail to all owners is one. A server that hangs holds up no other.
const SENDING_MOST: usize = 8;
/// How many notices are begun in one go.
const BEGUN_MOST: usize = 64;
/// A notice that no channel took for so long is given up; it stays visible as dead.
const NOTICE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The first wait after a failed try; each further one doubles.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

impl Engine {
    /// Sends what is due, as long as its channel has room.
    pub(super) fn begin_sending(&mut self) -> Result<(), StoreError> {
        if self.stopping {
            return Ok(());
        }
        let now = clock::now();
        let mut under_way: BTreeMap<String, usize> = BTreeMap::new();
        for id in &self.sending {
            *under_way.entry(server(&id.channel).to_owned()).or_default() += 1;
        }
        let has_room = |id: &OutboxId| {
            let count = under_way.entry(server(&id.channel).to_owned()).or_default();
            let room = *count < SENDING_MOST && !self.sending.contains(id) && !self.held_back.contains(id);
            *count += usize::from(room);
            room
        };
        let mut due = self.books.store.outbox_due(now, BEGUN_MOST, has_room)?;
        self.hold_back(&mut due);
        for row in due {
            self.sending.insert(row.id());
            let (settings, events) = (Arc::clone(&self.books.settings), self.events.clone());
            tokio::spawn(send(row, settings, now, events));
        }
        Ok(())
    }

    /// A copy that only observes tells of itself alone: that it observes, and its own trouble. What it brought along is for the
    /// original to tell, and what it sees of keys is the original's doing. It waits until somebody says which of the two goes on.
    fn hold_back(&mut self, due: &mut Vec<OutboxRow>) {
        if self.observing.is_none() {
            return self.held_back.clear();
        }
        let since = self.books.incidents.since(MACHINE).unwrap_or(Timestamp::NEVER);
        let its_own = |it: &OutboxRow| {
            let about_itself = it.notice.key.is_none() && it.notice.provider.is_none();
            about_itself && it.notice.status == NoticeStatus::Firing && it.notice.at >= since
        };
        let before = due.len();
        self.held_back.extend(due.iter().filter(|it| !its_own(it)).map(OutboxRow::id));
        due.retain(its_own);
        if due.len() < before {
            // Behind these there may be more.
            let _ = self.events.try_send(Event::Due);
        }
    }

    /// A notifier has answered: what becomes of the row is durable before the row is taken up again.
    pub(super) fn note_answer(&mut self, row: OutboxRow, answer: Sent) {
        self.sent.push(row.id());
        let row = after(row, answer.clone(), clock::now(), self.clock.is_suspect());
        self.books.meters.sent(&row.channel, &answer, row.state == OutboxState::Dead);
        self.note_letter(&row, clock::now());
        self.books.edit(|it| it.outbox_put.push(row));
    }
}

/// What may hang: all mail goes to one server, and every other channel has one of its own.
fn server(channel: &str) -> &str {
    if channel.starts_with("email:") { "email" } else { channel }
}

/// Tries once to send a row, and reports back.
pub(super) async fn send(row: OutboxRow, settings: Arc<Settings>, now: Timestamp, events: mpsc::Sender<Event>) {
    let message = Message {
        id: row.notice.id.clone(),
        owner: row.owner.clone(),
        provider: provider_of(&settings, &row),
        notice: row.notice.clone(),
    };
    let answer = match channel(&settings, &row) {
        None => Sent::Refused("the config names this channel no more".into()),
        Some(notifier) if !notifier.wants(&message) => Sent::Taken,
        Some(notifier) => {
            fail_point!(NoticeBegins);
            let sent = AssertUnwindSafe(notifier.send(&message, now)).catch_unwind().await;
            fail_point!(NoticeEnds);
            let why = || "rekeyd itself broke down while sending; please report this".to_owned();
            sent.unwrap_or_else(|_| Sent::Later { why: why(), retry_after: None })
        }
    };
    // Where the engine has stopped, the row is still pending and is sent again at the next start.
    let _ = events.send(Event::Sent(Box::new(row), answer)).await;
}

/// What becomes of a row after a try.
fn after(mut row: OutboxRow, answer: Sent, now: Timestamp, clock_suspect: bool) -> OutboxRow {
    row.attempts = row.attempts.saturating_add(1);
    row.at = now;
    let too_old = row.notice.at.plus(NOTICE_LIFETIME) <= now && !clock_suspect;
    let (about, owner, channel) = (row.notice.subject(), &row.owner, &row.channel);
    match &answer {
        Sent::Taken => tracing::info!(about, kind = row.notice.kind.code(), owner, channel, "told"),
        Sent::Refused(why) => tracing::error!(about, owner, channel, why, "a notice was refused"),
        Sent::Later { why, .. } if too_old => tracing::error!(about, owner, channel, why, "a notice was given up"),
        Sent::Later { why, .. } => tracing::warn!(about, owner, channel, why, "a notice waits"),
    }
    (row.state, row.why) = match answer {
        Sent::Taken => (OutboxState::Sent, None),
        Sent::Refused(why) => (OutboxState::Dead, Some(why)),
        Sent::Later { why, .. } if too_old => (OutboxState::Dead, Some(why)),
        Sent::Later { why, retry_after } => {
            row.retry_at = next_try(row.attempts, retry_after, now);
            (OutboxState::Pending, Some(why))
        }
    };
    row
}

/// The wait doubles with each try; a channel may ask for more of it, but not for more than the longest.
fn next_try(attempts: u32, asked: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let doubled = FIRST_WAIT.saturating_mul(1_u32.checked_shl(attempts - 1).unwrap_or(u32::MAX));
    let wait = now.plus(doubled.min(LONGEST_WAIT));
    asked.map_or(wait, |it| it.min(now.plus(LONGEST_WAIT)).max(wait))
}

fn channel(settings: &Settings, row: &OutboxRow) -> Option<Arc<dyn Notifier>> {
    let channels = settings.owners.get(&row.owner).map(|it| &it.channels)?;
    channels.iter().map(|it| &it.notifier).find(|it| it.id() == row.channel).cloned()
}

fn provider_of(settings: &Settings, row: &OutboxRow) -> Option<String> {
    let named = row.notice.provider.clone();
    named.or_else(|| row.notice.key.as_ref().and_then(|it| settings.keys.get(it)).map(|it| it.provider.clone()))
}

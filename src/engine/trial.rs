//! A notice that tells nothing, through every channel of an owner: to see which of them work before one is needed. Each is
//! tried once, and not again: whoever asked hears each answer. The history keeps what came of it, as of any other notice.
use super::Engine;
use super::event::Event;
use super::lines::LineId;
use super::veil::veil;
use crate::clock;
use crate::command::Veil;
use crate::config::settings::{Channel, Owner};
use crate::core::names::NoticeId;
use crate::core::plan::{Notice, NoticeKind};
use crate::core::record::Actor;
use crate::core::time::Timestamp;
use crate::notifiers::{Message, Sent};
use crate::store::{HistoryRow, OutboxRow, OutboxState};
use futures_util::{StreamExt, stream};
use std::time::Duration;
use tokio::sync::oneshot;

/// How many channels are tried at once.
const TRIED_AT_ONCE: usize = 8;

/// What one channel answered.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Which: its kind and address.
    pub channel: String,
    /// What it answered.
    pub answer: Sent,
    /// When.
    pub at: Timestamp,
    /// How long that took.
    pub took: Duration,
}

/// Every channel of an owner has answered.
#[derive(Debug)]
pub struct Tried {
    owner: String,
    notice: Notice,
    heard: Vec<Heard>,
    reply: oneshot::Sender<Vec<Heard>>,
}

impl Engine {
    /// Tries each channel of an owner once, whatever its `min_severity`; in the order of the config.
    pub(super) fn try_channels(&self, owner: &str, by: &Actor, reply: oneshot::Sender<Vec<Heard>>) {
        // Whoever asked looked for the owner in the config that was in use.
        let Some(owner) = self.books.settings.owners.get(owner).cloned() else { return };
        let (veil, events) = (veil(&self.books.store, &self.books.settings), self.events.clone());
        let notice = notice(&owner, by, clock::now());
        tokio::spawn(async move {
            let tries: Vec<_> =
                owner.channels.iter().map(|it| try_channel(it, &owner, &notice, veil.clone())).collect();
            let heard = stream::iter(tries).buffered(TRIED_AT_ONCE).collect().await;
            let tried = Tried { owner: owner.name.clone(), notice, heard, reply };
            // Where the engine has stopped, whoever asked hears that.
            let _ = events.send(Event::Tried(Box::new(tried))).await;
        });
    }

    /// Keeps what came of it. A test that failed is no notice that could be lost: somebody has heard of it, and it is not tried
    /// again.
    pub(super) fn note_tried(&mut self, tried: Tried) {
        let Tried { owner, notice, heard, reply } = tried;
        let row = HistoryRow::Notice { notice: notice.clone(), owner: owner.clone() };
        self.books.edit(|it| it.history.push(row));
        for it in &heard {
            let taken = it.answer == Sent::Taken;
            self.books.put_row(OutboxRow {
                notice: notice.clone(),
                owner: owner.clone(),
                channel: it.channel.clone(),
                attempts: 1,
                retry_at: it.at,
                state: if taken { OutboxState::Sent } else { OutboxState::Acked },
                at: it.at,
                why: it.answer.why().map(str::to_owned),
                message: None,
                unsure: false,
            });
            if taken {
                let line = LineId { owner: owner.clone(), channel: it.channel.clone() };
                self.switch_on(&line, "it took a test notice", it.at);
            }
        }
        // The answers are true even where the history can't be written.
        self.replies.push(Box::new(move |_| drop(reply.send(heard))));
    }
}

async fn try_channel(channel: &Channel, owner: &Owner, notice: &Notice, veil: Veil) -> Heard {
    let began = clock::now();
    let (id, owner) = (notice.id.clone(), owner.name.clone());
    let message = Message { id, owner, provider: None, notice: notice.clone(), more: Vec::new(), veil };
    let answer = channel.notifier.send(&message, began).await;
    let at = clock::now();
    Heard { channel: channel.notifier.id(), answer, at, took: at.since(began) }
}

/// Each test is a notice of its own, so that no receiver takes it for a repeat.
fn notice(owner: &Owner, by: &Actor, at: Timestamp) -> Notice {
    let who = by.user.clone().unwrap_or_else(|| format!("uid {}", by.uid));
    Notice {
        summary: format!("{who} tries whether {} can be told; where you read this, it works", owner.name),
        ..Notice::bare(NoticeId::of(&["test", &owner.name, &at.0.to_string()]), NoticeKind::Test, at)
    }
}

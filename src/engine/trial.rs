//! A notice that tells nothing, through every channel of an owner: to see which of them work before one is needed. It does
//! not pass through the outbox, since whoever asked waits for the answer.
use crate::clock;
use crate::config::settings::{Channel, Owner};
use crate::core::names::NoticeId;
use crate::core::plan::{Notice, NoticeKind};
use crate::core::record::Actor;
use crate::core::time::Timestamp;
use crate::notifiers::{Message, Sent};
use futures_util::{StreamExt, stream};
use std::time::Duration;

/// How many channels are tried at once.
const TRIED_AT_ONCE: usize = 8;

/// What one channel answered.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Which: its kind and address.
    pub channel: String,
    /// What it answered.
    pub answer: Sent,
    /// How long that took.
    pub took: Duration,
}

/// Tries each channel of an owner once, whatever its `min_severity`; in the order of the config.
pub async fn try_channels(owner: &Owner, by: &Actor) -> Vec<Heard> {
    let at = clock::now();
    let tries: Vec<_> = owner.channels.iter().map(|it| try_channel(it, owner, by, at)).collect();
    stream::iter(tries).buffered(TRIED_AT_ONCE).collect().await
}

async fn try_channel(channel: &Channel, owner: &Owner, by: &Actor, at: Timestamp) -> Heard {
    let id = channel.notifier.id();
    let message = message(&id, owner, by, at);
    let answer = channel.notifier.send(&message, at).await;
    Heard { channel: id, answer, took: clock::now().since(at) }
}

/// Each try is a notice of its own, so that no receiver takes it for a repeat.
fn message(channel: &str, owner: &Owner, by: &Actor, at: Timestamp) -> Message {
    let id = NoticeId::of(&["test", &owner.name, channel, &at.0.to_string()]);
    let who = by.user.clone().unwrap_or_else(|| format!("uid {}", by.uid));
    let notice = Notice {
        summary: format!("{who} tries whether {} can be told by {channel}: it works", owner.name),
        ..Notice::bare(id.clone(), NoticeKind::Test, at)
    };
    Message { id, owner: owner.name.clone(), provider: None, notice, more: Vec::new() }
}

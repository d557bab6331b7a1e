//! Channels whose receivers want nothing more (a webhook that answers 410 Gone). Nothing is sent to them until their address
//! changes, or somebody finds with `rekeyd notify` that they take notices again.
use super::Engine;
use super::books::Books;
use super::lines::LineId;
use super::outbox::channel;
use crate::core::names::Fingerprint;
use crate::core::time::Timestamp;
use crate::notifiers::{Notifier, Sent};
use crate::secret::aside::aside;
use crate::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of the small row that holds them.
const CHANNELS_OFF: &str = "channels-off";

/// Those that are switched off, by owner and channel.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Channels(BTreeMap<String, BTreeMap<String, Off>>);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Off {
    since: Timestamp,
    /// What tells its address from the next one, as soon as that is known.
    stamp: Option<Fingerprint>,
    why: String,
}

/// What is known of a channel that is about to be used.
#[derive(Clone, Debug)]
pub(super) struct Known(Option<Off>);

impl Known {
    /// Nothing bad.
    pub(super) fn nothing() -> Self {
        Self(None)
    }

    /// Why it is not to be used; `None` where it is not switched off, or its address has changed since.
    pub(super) async fn gone(self, notifier: &Arc<dyn Notifier>) -> Option<String> {
        let off = self.0?;
        // A secret address may lie on a slow disk.
        let same = off.stamp.is_none() || stamp(notifier).await == off.stamp;
        same.then(|| format!("switched off since {}: {}", off.since.whole_second(), off.why))
    }
}

/// Tells an address from others.
pub(super) async fn stamp(notifier: &Arc<dyn Notifier>) -> Option<Fingerprint> {
    let (place, notifier) = (format!("the address of {}", notifier.id()), Arc::clone(notifier));
    aside(&place, move || notifier.stamp()).await.ok().flatten()
}

impl Channels {
    /// Those that were switched off when the daemon ended.
    pub(super) fn read(store: &Store) -> Result<Self, StoreError> {
        let Some(json) = store.meta(CHANNELS_OFF)? else { return Ok(Self::default()) };
        Ok(serde_json::from_slice(&json).unwrap_or_else(|error| {
            tracing::error!(%error, "which channels are switched off can't be read; all are tried again");
            Self::default()
        }))
    }

    pub(super) fn is_off(&self, line: &LineId) -> bool {
        self.get(line).is_some()
    }

    pub(super) fn known(&self, line: &LineId) -> Known {
        Known(self.get(line).cloned())
    }

    fn get(&self, line: &LineId) -> Option<&Off> {
        self.0.get(&line.owner)?.get(&line.channel)
    }

    fn lines(&self) -> Vec<LineId> {
        let line = |owner: &String, channel: &String| LineId { owner: owner.clone(), channel: channel.clone() };
        self.0.iter().flat_map(|(owner, of)| of.keys().map(move |it| line(owner, it))).collect()
    }
}

impl Engine {
    /// What an answer says of the channel itself.
    pub(super) fn note_channel(&mut self, line: &LineId, answer: &Sent, stamp: Option<Fingerprint>, now: Timestamp) {
        match answer {
            Sent::Gone(why) if !self.books.channels.is_off(line) => self.switch_off(line, why, stamp, now),
            Sent::Taken => self.switch_on(line, "it takes notices again", now),
            _ => {}
        }
    }

    /// A channel works, or is named no longer.
    pub(super) fn switch_on(&mut self, line: &LineId, how: &str, now: Timestamp) {
        if let Some(of) = self.books.channels.0.get_mut(&line.owner)
            && of.remove(&line.channel).is_some()
        {
            self.books.channels.0.retain(|_, it| !it.is_empty());
            self.books.keep_channels();
            tracing::info!(owner = line.owner, channel = line.channel, how, "the channel is used again");
        }
        self.troubles.remove(&cause(line));
        self.books.end_incident_but_for(&cause(line), how, Some(line), now);
    }

    fn switch_off(&mut self, line: &LineId, why: &str, stamp: Option<Fingerprint>, now: Timestamp) {
        let off = Off { since: now, stamp, why: why.to_owned() };
        self.books.channels.0.entry(line.owner.clone()).or_default().insert(line.channel.clone(), off);
        self.books.keep_channels();
        tracing::error!(owner = line.owner, channel = line.channel, why, "the channel is switched off");
        let LineId { owner, channel } = line;
        let summary = format!(
            "{owner} is not told by {channel} any more: {why}. It is used again when its url has changed, or when it takes a \
             test notice: rekeyd notify {owner}"
        );
        let actions = vec![format!("rekeyd notify {owner}")];
        self.books.begin_channel_incident(&cause(line), line, summary, actions, now);
        self.look_at_channels();
    }

    /// Shows what is switched off as long as it is.
    pub(super) fn look_at_channels(&mut self) {
        for line in self.books.channels.lines() {
            let what =
                format!("{} is not told by {} any more: its receiver wants nothing more", line.owner, line.channel);
            self.troubles.insert(cause(&line), what);
        }
    }

    /// A new config is in use: what it no longer names is forgotten.
    pub(super) fn forget_channels(&mut self, now: Timestamp) {
        for line in self.books.channels.lines() {
            if channel(&self.books.settings, &line).is_none() {
                self.switch_on(&line, "the config no longer names it", now);
            }
        }
    }
}

impl Books {
    fn keep_channels(&mut self) {
        match serde_json::to_vec(&self.channels) {
            Ok(json) => self.edit(|it| it.meta.push((CHANNELS_OFF.to_owned(), Some(json)))),
            Err(error) => tracing::error!(%error, "which channels are switched off can't be written"),
        }
    }
}

fn cause(line: &LineId) -> String {
    format!("gone:{}:{}", line.owner, line.channel)
}

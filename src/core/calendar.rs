//! When something may begin: in a window, and in no freeze.
use super::freeze::{Freeze, Span};
use super::time::Timestamp;
use super::window::{self, Opening, Window};
use std::time::Duration;

/// At most this many freezes and openings are passed over in search of a moment outside all freezes.
const LOOKS: usize = 256;
/// At most this many freezes in a row are seen as one; more are taken for a freeze without an end.
const RUN: usize = 64;
/// The smallest step of a timestamp.
const STEP: Duration = Duration::from_millis(1);

/// The windows and the freezes of one key.
#[derive(Clone, Copy, Debug)]
pub struct Calendar<'a> {
    /// Empty: at any time.
    pub windows: &'a [Window],
    /// Those that concern the key.
    pub freezes: &'a [Freeze],
}

/// A freeze, with all that follow it without a gap.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frozen {
    /// The name of the freeze that covers the moment: of several, the one that ends last.
    pub name: String,
    /// When the last of them ends.
    pub until: Timestamp,
}

impl Calendar<'_> {
    /// Whether something may begin then.
    pub fn is_open(&self, at: Timestamp) -> bool {
        !self.is_frozen(at) && (self.windows.is_empty() || window::is_open(self.windows, at))
    }

    /// The freeze that covers a moment.
    pub fn frozen(&self, at: Timestamp) -> Option<Frozen> {
        let covering = self.freezes.iter().filter_map(|it| Some((it.covering(at)?, &it.name)));
        let (span, name) = covering.max_by_key(|(span, _)| span.to)?;
        Some(Frozen { name: name.clone(), until: self.thaws(span) })
    }

    /// The first moment, not before this one, in which something may begin: this one, if it may now.
    pub fn open_from(&self, at: Timestamp) -> Option<Timestamp> {
        if self.is_open(at) { Some(at) } else { self.opens_from(at) }
    }

    /// The first opening, not before this moment: a window opens outside all freezes, or a freeze ends within one. Without
    /// windows there is always one, but in a freeze.
    pub fn opens_from(&self, at: Timestamp) -> Option<Timestamp> {
        let mut at = at;
        for _ in 0..LOOKS {
            if let Some(frozen) = self.frozen(at) {
                at = Some(frozen.until).filter(|it| *it != Timestamp::NEVER)?;
            }
            if self.windows.is_empty() {
                return Some(at);
            }
            let opens = window::opens_from(self.windows, at);
            let thaw = self.freezes.iter().filter_map(|it| it.ends_from(at)).min();
            match (thaw, opens) {
                (Some(thaw), opens) if opens.is_none_or(|it| thaw <= it) => {
                    if self.is_open(thaw) {
                        return Some(thaw);
                    }
                    at = thaw.plus(STEP);
                }
                (_, Some(opens)) if !self.is_frozen(opens) => return Some(opens),
                (_, Some(opens)) => at = opens,
                (_, None) => return None,
            }
        }
        None
    }

    /// The opening that covers a moment, as far as freezes leave it open. Without windows there is none.
    pub fn covering(&self, at: Timestamp) -> Option<Opening> {
        let opening = window::covering(self.windows, at).filter(|_| !self.is_frozen(at))?;
        let thawed = self.freezes.iter().filter_map(|it| it.ended_at(at)).max();
        let opens = thawed.map_or(opening.opens, |it| it.max(opening.opens));
        let closes = self.freezes_after(at).map_or(opening.closes, |it| it.min(opening.closes));
        Some(Opening { opens, closes, ..opening })
    }

    /// When the next freeze begins, after a moment.
    pub fn freezes_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.freezes.iter().filter_map(|it| it.begins_after(at)).min()
    }

    fn is_frozen(&self, at: Timestamp) -> bool {
        self.freezes.iter().any(|it| it.covering(at).is_some())
    }

    fn thaws(&self, span: Span) -> Timestamp {
        let mut until = span.to;
        for _ in 0..RUN {
            match self.freezes.iter().filter_map(|it| it.covering(until)).map(|it| it.to).max() {
                Some(later) => until = later,
                None => return until,
            }
        }
        Timestamp::NEVER
    }
}

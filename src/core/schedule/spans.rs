//! The openings of the keys' calendars, each searched for once: most keys share their windows with many others.
use crate::core::calendar::Calendar;
use crate::core::freeze::Freeze;
use crate::core::policy::Policy;
use crate::core::time::Timestamp;
use crate::core::window::Window;
use std::collections::BTreeMap;

/// At most this many openings of one calendar are remembered; more would be those of windows that open every few minutes.
const REMEMBERED: usize = 10_000;
/// With more calendars than this, all are forgotten before the next reckoning.
const CALENDARS: usize = 1000;

/// A time in which a key may be begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Span {
    /// From.
    pub(super) opens: Timestamp,
    /// Up to, not including; [`Timestamp::NEVER`] where it has no end.
    pub(super) closes: Timestamp,
}

/// The openings that were searched for so far. What a calendar says never changes, so that they hold for ever.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    calendars: Vec<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    windows: Vec<Window>,
    freezes: Vec<Freeze>,
    /// By the moment in which they open: since when there was no other, and the opening.
    openings: BTreeMap<Timestamp, (Timestamp, Span)>,
    /// By the moment in which they open: openings as a whole, with all that adjoin them.
    whole: BTreeMap<Timestamp, Span>,
    /// When it was seen to be closed last.
    closed_at: Option<Timestamp>,
}

impl Spans {
    /// Forgets the calendars of a config that is long gone. Numbers hold until then.
    pub(super) fn tidy(&mut self) {
        if self.calendars.len() > CALENDARS {
            self.calendars.clear();
        }
    }

    /// The number of a key's calendar among those that are remembered.
    pub(super) fn number(&mut self, policy: &Policy) -> usize {
        let Calendar { windows, freezes } = policy.calendar();
        let known = self.calendars.iter().position(|it| it.windows == windows && it.freezes == freezes);
        if let Some(number) = known {
            return number;
        }
        let (windows, freezes) = (windows.to_vec(), freezes.to_vec());
        let (openings, whole, closed_at) = (BTreeMap::new(), BTreeMap::new(), None);
        self.calendars.push(Known { windows, freezes, openings, whole, closed_at });
        self.calendars.len() - 1
    }

    /// The first opening that begins at or after a moment. A key without windows may be begun from any moment on that is in
    /// no freeze.
    pub(super) fn from(&mut self, number: usize, at: Timestamp) -> Option<Span> {
        let known = self.calendars.get_mut(number)?;
        if known.windows.is_empty() {
            return known.open_from(at);
        }
        if let Some((since, span)) = known.openings.range(at..).next().map(|it| *it.1)
            && since <= at
        {
            return Some(span);
        }
        let opens = known.calendar().opens_from(at)?;
        let span = known.calendar().span_at(opens);
        if known.openings.len() >= REMEMBERED {
            known.openings.clear();
        }
        let since = known.openings.get(&opens).map_or(at, |it| it.0.min(at));
        known.openings.insert(opens, (since, span));
        Some(span)
    }

    /// The opening that covers a moment, from its beginning on.
    pub(super) fn around(&mut self, number: usize, at: Timestamp) -> Option<Span> {
        let known = self.calendars.get_mut(number)?;
        if known.windows.is_empty() {
            return known.open_from(at).filter(|it| it.opens == at);
        }
        if let Some(span) = known.whole_at(at) {
            return Some(span);
        }
        if known.closed_at == Some(at) {
            return None;
        }
        match known.calendar().covering(at) {
            Some(it) => Some(known.remember(Span { opens: it.opens, closes: it.closes })),
            None => {
                known.closed_at = Some(at);
                None
            }
        }
    }
}

impl Known {
    /// Without windows: a moment, or the end of the freeze that it lies in, up to the next freeze.
    fn open_from(&mut self, at: Timestamp) -> Option<Span> {
        if self.freezes.is_empty() {
            return Some(Span { opens: at, closes: Timestamp::NEVER });
        }
        if let Some(span) = self.whole_at(at) {
            return Some(Span { opens: at, ..span });
        }
        let opens = self.calendar().opens_from(at)?;
        let span = self.calendar().span_at(opens);
        Some(self.remember(span))
    }

    fn whole_at(&self, at: Timestamp) -> Option<Span> {
        self.whole.range(..=at).next_back().map(|it| *it.1).filter(|it| at < it.closes)
    }

    fn remember(&mut self, span: Span) -> Span {
        if self.whole.len() >= REMEMBERED {
            self.whole.clear();
        }
        self.whole.insert(span.opens, span);
        span
    }

    fn calendar(&self) -> Calendar<'_> {
        Calendar { windows: &self.windows, freezes: &self.freezes }
    }
}

impl Calendar<'_> {
    /// From a moment that is open to the end of its opening, or to the next freeze.
    fn span_at(self, opens: Timestamp) -> Span {
        let closes = match self.windows.is_empty() {
            true => self.freezes_after(opens),
            false => self.covering(opens).map(|it| it.closes),
        };
        Span { opens, closes: closes.unwrap_or(Timestamp::NEVER) }
    }
}

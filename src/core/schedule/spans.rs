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
        self.calendars.push(Known { windows, freezes, openings: BTreeMap::new() });
        self.calendars.len() - 1
    }

    /// The first opening that begins at or after a moment. A key without windows may be begun from any moment on that is in
    /// no freeze.
    pub(super) fn from(&mut self, number: usize, at: Timestamp) -> Option<Span> {
        let known = self.calendars.get_mut(number)?;
        if known.windows.is_empty() {
            return known.calendar().opens_from(at).map(|opens| known.calendar().span_at(opens));
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
        let calendar = self.calendars.get(number)?.calendar();
        if calendar.windows.is_empty() {
            return calendar.is_open(at).then(|| calendar.span_at(at));
        }
        calendar.covering(at).map(|it| Span { opens: it.opens, closes: it.closes })
    }

    pub(super) fn is_open(&self, number: usize, at: Timestamp) -> bool {
        self.calendars.get(number).is_some_and(|it| it.calendar().is_open(at))
    }
}

impl Known {
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

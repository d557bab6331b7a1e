//! Who goes first where a budget can't hold all: the keys of one account and one calendar share out the places that were found for
//! them, so that whoever must be replaced sooner has the sooner place. Without this the key that chose last would be moved
//! furthest: from weeks later to tomorrow, past all that are due before it.
use super::spans::Spans;
use super::task::{Batch, Member};
use super::{STEP, Schedule, Slot, Slots, Why};
use crate::core::names::AccountId;
use crate::core::time::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// The least by which all must be moved is looked for so often, each time in a half of what is left.
const HALVINGS: u32 = 8;

/// A key that goes by itself, and where it was placed when it chose.
#[derive(Clone, Debug)]
pub(super) struct Placed<'t, 'a> {
    pub(super) member: Member<'t, 'a>,
    pub(super) at: Timestamp,
    pub(super) why: Why,
}

/// Up to when a key is to be replaced, and since when it may be.
#[derive(Clone, Copy, Debug)]
struct Wants {
    due: Timestamp,
    floor: Timestamp,
    until: Timestamp,
}

impl<'t, 'a> Placed<'t, 'a> {
    /// None where nothing is to be changed: whoever must be announced was told, and first keys and those beyond their last safe
    /// moment have no order.
    pub(super) fn of(member: &Member<'t, 'a>, slot: Slot) -> Option<Self> {
        let free = member.task.announce.is_none() && !member.is_led(member.due) && !slot.why.is_outside();
        let in_time = member.last.is_some_and(|it| slot.at <= it);
        (free && in_time).then(|| Self { member: member.clone(), at: slot.at, why: slot.why })
    }
}

impl Schedule<'_> {
    /// Shares the places out anew wherever a key was moved before its due moment.
    pub(super) fn put_in_order(&mut self, placed: Vec<Placed<'_, '_>>, spans: &mut Spans, slots: &mut Slots) {
        let mut crowds: BTreeMap<(&AccountId, usize), Vec<Placed<'_, '_>>> = BTreeMap::new();
        for it in placed {
            crowds.entry((&it.member.task.policy.account, it.member.calendar)).or_default().push(it);
        }
        for crowd in crowds.into_values().filter(|it| it.iter().any(|it| it.why.is_before_due())) {
            let crowd = self.without_those_in_vain(crowd, spans, slots);
            for (it, at) in crowd.iter().zip(self.shared_out(&crowd, spans)) {
                let why = if at == it.at { it.why } else { self.why(&it.member, at, spans) };
                slots.insert(it.member.task.name.clone(), it.member.slot(at, why));
            }
        }
    }

    /// Some may have taken places that they can't use, so that others move there and leave them theirs. Where nobody can, they
    /// give them back.
    fn without_those_in_vain<'t, 'a>(
        &mut self,
        crowd: Vec<Placed<'t, 'a>>,
        spans: &mut Spans,
        slots: &mut Slots,
    ) -> Vec<Placed<'t, 'a>> {
        let (mut crowd, borrowers): (Vec<_>, Vec<_>) = crowd.into_iter().partition(|it| it.at >= it.member.floor());
        let own = crowd.len();
        crowd.extend(borrowers);
        let (mut fit, mut most) = (own, crowd.len());
        while fit < most {
            let half = fit + (most - fit).div_ceil(2);
            if in_order(&crowd[..half]).is_some() { fit = half } else { most = half - 1 }
        }
        for it in crowd.split_off(fit) {
            self.room(&it.member.task.policy.account).give_back(it.at);
            slots.remove(it.member.task.name);
            if let Some(slot) = self.given_up(&it.member, spans) {
                slots.insert(it.member.task.name.clone(), slot);
            }
        }
        crowd
    }

    /// A place for each of a crowd: those that they have, where no other order will do.
    fn shared_out(&mut self, crowd: &[Placed<'_, '_>], spans: &mut Spans) -> Vec<Timestamp> {
        let mut has: Vec<Timestamp> = crowd.iter().map(|it| it.at).collect();
        let Some(order) = in_order(crowd) else { return has };
        let mut opening = |at: Timestamp| {
            let calendar = crowd.first().map(|it| it.member.calendar)?;
            spans.around(calendar, at).filter(|it| it.closes != Timestamp::NEVER).map(|it| it.opens)
        };
        let mut openings: BTreeMap<Timestamp, (Vec<Timestamp>, Vec<usize>)> = BTreeMap::new();
        for (place, n) in order {
            let (places, keys) = openings.entry(opening(place).unwrap_or(place)).or_default();
            places.push(place);
            keys.push(n);
        }
        for (opens, (mut places, keys)) in openings {
            // Who stays in an opening keeps its place there.
            let (stay, come): (Vec<usize>, Vec<usize>) = keys.into_iter().partition(|n| {
                let at = has.get(*n).copied().unwrap_or(Timestamp::NEVER);
                opening(at).unwrap_or(at) == opens
            });
            for at in stay.iter().filter_map(|n| crowd.get(*n)).map(|it| it.at) {
                places.remove(places.partition_point(|it| *it < at));
            }
            come.iter().zip(places).for_each(|(n, at)| has[*n] = at);
        }
        self.nearer(crowd, &mut has);
        has
    }

    /// Without windows, a key that is moved takes the last moment with room before it is due, once the places of the others are known.
    fn nearer(&mut self, crowd: &[Placed<'_, '_>], has: &mut [Timestamp]) {
        let windowless = crowd.iter().zip(has).filter(|(it, _)| it.member.task.policy.windows.is_empty());
        for (it, at) in windowless.filter(|(it, at)| **at < it.member.due).rev() {
            let calendar = it.member.task.policy.calendar();
            let until = calendar.freezes_after(*at).map_or(it.member.due, |it| it.minus(STEP)).min(it.member.due);
            let room = self.room(&it.member.task.policy.account);
            room.give_back(*at);
            *at = room.last(*at, until).unwrap_or(*at);
            room.take(*at);
        }
    }

    fn why(&self, member: &Member<'_, '_>, at: Timestamp, spans: &mut Spans) -> Why {
        let alone = Batch::of(member.clone());
        let wanted = alone.first(spans).map(|it| self.position(member, it).max(alone.ready));
        match wanted {
            _ if at < member.due => member.why_before_due(spans),
            Some(wanted) if at > wanted => Why::Later,
            _ => Why::Due,
        }
    }
}

/// For each place the key that gets it, such that none is moved further before its due moment than the least that will do for all,
/// and whoever must be replaced sooner goes first.
fn in_order(crowd: &[Placed<'_, '_>]) -> Option<Vec<(Timestamp, usize)>> {
    let mut places: Vec<Timestamp> = crowd.iter().map(|it| it.at).collect();
    places.sort_unstable();
    let late = crowd.iter().any(|it| it.at > it.member.soft);
    let wants = |it: &Placed<'_, '_>| {
        let member = &it.member;
        let until = if late { member.last.unwrap_or(Timestamp::NEVER).max(it.at) } else { member.soft };
        Wants { due: member.due, floor: member.floor(), until }
    };
    let wants: Vec<Wants> = crowd.iter().map(wants).collect();
    let (mut least, mut most) = (Duration::ZERO, crowd.iter().map(|it| it.member.due.since(it.at)).max()?);
    let mut order = assigned(&places, &wants, most)?;
    for _ in 0..HALVINGS {
        let half = least.saturating_add(most) / 2;
        match assigned(&places, &wants, half) {
            Some(it) => (order, most) = (it, half),
            None => least = half,
        }
    }
    Some(places.into_iter().zip(order).collect())
}

/// The places one after the other, each to the key that must be replaced soonest of those that may be moved that far.
fn assigned(places: &[Timestamp], wants: &[Wants], early: Duration) -> Option<Vec<usize>> {
    let from = |it: &Wants| it.due.minus(early).max(it.floor);
    let mut coming: Vec<(Timestamp, usize)> = wants.iter().enumerate().map(|(n, it)| (from(it), n)).collect();
    coming.sort_unstable();
    let mut coming = coming.into_iter().peekable();
    let mut waiting = BinaryHeap::new();
    let next = |place: &Timestamp| {
        while let Some((_, n)) = coming.next_if(|it| it.0 <= *place) {
            let it = wants.get(n)?;
            waiting.push(Reverse((it.until, it.due, n)));
        }
        let Reverse((until, _, n)) = waiting.pop()?;
        (until >= *place).then_some(n)
    };
    places.iter().map(next).collect()
}

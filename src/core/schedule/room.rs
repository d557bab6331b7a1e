//! The creates that one account has room for: so many in any 24 hours.
use crate::core::account::BUDGET_PERIOD;
use crate::core::time::Timestamp;

/// The creates of one account: those that were sent, and those that are planned.
#[derive(Clone, Debug)]
pub(super) struct Room {
    per_day: usize,
    /// In their order.
    taken: Vec<Timestamp>,
}

impl Room {
    pub(super) fn new(per_day: u32, sent: &[Timestamp]) -> Self {
        let mut taken = sent.to_vec();
        taken.sort_unstable();
        Self { per_day: usize::try_from(per_day).unwrap_or(usize::MAX), taken }
    }

    /// Takes room, whether there is any or not.
    pub(super) fn take(&mut self, at: Timestamp) {
        self.taken.insert(self.taken.partition_point(|it| *it <= at), at);
    }

    pub(super) fn give_back(&mut self, at: Timestamp) {
        if let Ok(n) = self.taken.binary_search(&at) {
            self.taken.remove(n);
        }
    }

    /// How many are taken from `from` on and before `to`.
    pub(super) fn count(&self, from: Timestamp, to: Timestamp) -> u32 {
        let before = |at: Timestamp| self.taken.partition_point(|it| *it < at);
        u32::try_from(before(to).saturating_sub(before(from))).unwrap_or(u32::MAX)
    }

    /// The first moment from `from` on that has room; `None` where there is none before `to`.
    pub(super) fn first(&self, from: Timestamp, to: Timestamp) -> Option<Timestamp> {
        let mut at = from;
        while at < to {
            match self.crowd(at) {
                None => return Some(at),
                // Whatever moment within a day of the first of a crowd is taken, it adds to the crowd.
                Some((first, _)) => at = first.plus(BUDGET_PERIOD),
            }
        }
        None
    }

    /// The last moment up to `to` that has room; `None` where there is none from `from` on.
    pub(super) fn last(&self, from: Timestamp, to: Timestamp) -> Option<Timestamp> {
        let mut at = to;
        while at >= from {
            match self.crowd(at) {
                None => return Some(at),
                Some((_, last)) => at = last.minus(BUDGET_PERIOD),
            }
        }
        None
    }

    /// A full day's creates that this moment would add one to: the first and the last of them.
    fn crowd(&self, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
        if self.per_day == 0 {
            return Some((at, at));
        }
        let taken = &self.taken;
        let since = taken.partition_point(|it| it.plus(BUDGET_PERIOD) <= at);
        let until = taken.partition_point(|it| *it < at.plus(BUDGET_PERIOD));
        let near = &taken[since..until];
        near.windows(self.per_day).find_map(|it| Some((*it.first()?, *it.last()?)).filter(|it| within_a_day(*it, at)))
    }
}

/// Whether a moment and a crowd lie within one day.
fn within_a_day((first, last): (Timestamp, Timestamp), at: Timestamp) -> bool {
    last.max(at).since(first.min(at)) < BUDGET_PERIOD
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn at(hours: i64) -> Timestamp {
        Timestamp(hours * HOUR)
    }

    fn check(sent: &[i64], from: i64, first: Option<i64>) {
        let room = Room::new(2, &sent.iter().map(|it| at(*it)).collect::<Vec<_>>());
        assert_eq!(room.first(at(from), at(1000)), first.map(at), "from {from} with {sent:?}");
    }

    #[test]
    fn a_day_holds_so_many_and_the_moment_24_hours_later_is_another_day() {
        check(&[], 5, Some(5));
        check(&[0], 5, Some(5));
        check(&[0, 1], 5, Some(24));
        check(&[0, 1], 24, Some(24));
        check(&[0, 0], 1, Some(24));
    }

    #[test]
    fn what_is_planned_for_later_takes_room_from_what_comes_before() {
        check(&[100, 101], 76, Some(76));
        check(&[100, 101], 78, Some(124));
        check(&[100, 110], 90, Some(124));
        check(&[100, 101, 123], 77, Some(77));
        check(&[100, 101, 124], 110, Some(125));
    }

    #[test]
    fn the_last_moment_with_room_is_a_day_before_the_last_of_a_crowd() {
        let room = Room::new(2, &[at(100), at(101)]);
        assert_eq!(room.last(at(0), at(110)), Some(at(77)));
        assert_eq!(room.last(at(0), at(125)), Some(at(125)));
        assert_eq!(room.last(at(78), at(110)), None);
    }

    #[test]
    fn the_end_of_a_search_is_not_part_of_it_forward_and_is_backward() {
        let room = Room::new(2, &[]);
        assert_eq!(room.first(at(5), at(5)), None, "an opening does not include the moment in which it closes");
        assert_eq!(room.last(at(5), at(5)), Some(at(5)));
        let room = Room::new(2, &[at(29), at(29)]);
        assert_eq!((room.last(at(5), at(29)), room.last(at(6), at(29))), (Some(at(5)), None));
    }

    #[test]
    fn what_is_given_back_is_free_again() {
        let mut room = Room::new(1, &[]);
        room.take(at(5));
        assert_eq!(room.first(at(0), at(9)), None);
        room.give_back(at(5));
        assert_eq!(room.first(at(0), at(9)), Some(at(0)));
    }

    #[test]
    fn nothing_has_room_where_no_create_is_allowed() {
        let room = Room::new(0, &[]);
        assert_eq!((room.first(at(0), at(9)), room.last(at(0), at(9))), (None, None));
    }
}

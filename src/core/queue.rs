//! What waits for one channel of one owner: what of it need not be said any more, and what goes now, alone or together.
//!
//! A channel for people takes several notices in one message. Which ones is settled, and durable, before the message is
//! sent (they are *sealed*), and stays so while nobody knows whether it arrived: a message whose answer was lost is sent again
//! as it was, under the same id, until it is taken. What was certainly not taken is open again, for what else has come
//! meanwhile, and for what makes it superfluous. So a server that is down for a day gets one message when it is back.
use super::names::NoticeId;
use super::plan::{Notice, NoticeKind, NoticeStatus, Severity};
use super::time::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a critical notice waits for others at most, so that one burst is one message and nobody is told late.
pub const CRITICAL_WITHIN: Duration = Duration::from_secs(10);
/// When no channel of an owner took a warning for so long, others are told of it.
pub const UNTOLD_AFTER: Duration = Duration::from_secs(60 * 60);
/// The same of a critical notice.
pub const CRITICAL_UNTOLD_AFTER: Duration = Duration::from_secs(10 * 60);
/// How long a try may take before others are told all the same.
pub const TRIED_WITHIN: Duration = Duration::from_secs(60);
/// The first wait after a failed try; each further one doubles.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait between two tries, unless the channel asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
/// How many notices go in one message.
pub const TOGETHER_MOST: usize = 500;
/// How many messages go in one round; the rest with the next one, as soon as one of them was answered.
pub const MESSAGES_MOST: usize = 64;

/// A notice that was not taken yet.
#[derive(Clone, Debug)]
pub struct Waiting<'a> {
    /// What is said.
    pub notice: &'a Notice,
    /// It goes no sooner than this.
    pub due: Timestamp,
    /// Whether the channel was tried with it, and did not take it.
    pub failed: bool,
    /// The message that it belongs to until the channel has said whether it took that.
    pub sealed: Option<&'a NoticeId>,
    /// Whether it is being sent.
    pub under_way: bool,
}

/// What to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Round {
    /// The messages that go now: the notices in each, the most urgent first.
    pub messages: Vec<Vec<NoticeId>>,
    /// When to look again, if nothing happens before.
    pub at: Timestamp,
}

/// Notices of different lanes don't go together, nor wait for each other.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Lane {
    Critical,
    Rest,
    Digest,
}

/// When a notice falls due at a channel that takes several together, where they are collected for so long.
pub fn due(notice: &Notice, group_within: Duration) -> Timestamp {
    notice.at.plus(match lane(notice) {
        Lane::Critical => group_within.min(CRITICAL_WITHIN),
        Lane::Rest => group_within,
        Lane::Digest => Duration::ZERO,
    })
}

/// What became of a notice by one channel of its owner, so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// The channel took it, or a later notice says what holds now.
    Told,
    /// It was not tried yet, or the first try has not ended. It was to go at this moment.
    Waits(Timestamp),
    /// It waits, and was tried in vain.
    Fails,
    /// It is not tried any more.
    Lost,
}

/// How long the owner's channels have time for it; none where only what is given up is told to others.
pub fn patience(notice: &Notice) -> Option<Duration> {
    match notice.severity {
        Severity::Critical => Some(CRITICAL_UNTOLD_AFTER),
        Severity::Warning => Some(UNTOLD_AFTER),
        Severity::Info => None,
    }
}

/// From when on a notice is to be told to those whom its owner names in `escalate_to`: at once where each of his channels gave
/// it up, and where it matters and none took it in time, whatever keeps them from it. That an incident is over is told to
/// those who heard of it, and to nobody else.
///
/// `awake`: since when the daemon runs, by a clock that was not set meanwhile. What came before that was not tried since: each
/// channel gets the time for a try, as it does from the moment on when the notice was to go.
pub fn untold_at(notice: &Notice, fates: &[Fate], awake: Timestamp, now: Timestamp) -> Timestamp {
    let over = notice.status == NoticeStatus::Resolved || fates.contains(&Fate::Told);
    if fates.is_empty() || over {
        return Timestamp::NEVER;
    }
    if fates.iter().all(|it| *it == Fate::Lost) {
        return notice.at.min(now);
    }
    let Some(patience) = patience(notice) else { return Timestamp::NEVER };
    // A clock that was ahead may have dated it.
    let from = if notice.at > now { awake } else { notice.at };
    let went = fates.iter().filter_map(|it| if let Fate::Waits(due) = it { Some(*due) } else { None });
    let tried = went.chain([awake]).max().unwrap_or(awake).plus(TRIED_WITHIN);
    from.plus(patience).max(tried)
}

/// The same notice as others are told it, for owners whose channels all fail. It has an id of its own, and belongs to the same
/// incident. `all`: every owner to whom the notice itself goes; nobody of them is to hear the copy.
pub fn for_others(notice: &Notice, owners: &[String], all: &BTreeSet<String>, now: Timestamp) -> Notice {
    let id = NoticeId::of(&[notice.id.as_str(), "for others"]);
    let mut meant_for = notice.meant_for.clone();
    for it in owners.iter().chain(all) {
        if !meant_for.contains(it) {
            meant_for.push(it.clone());
        }
    }
    Notice {
        at: now,
        summary: format!("{} (this was meant for {}, whose channels all fail)", notice.summary, owners.join(" and ")),
        escalates: false,
        incident: if notice.lasts() { notice.incident.clone() } else { id.to_string() },
        meant_for,
        id,
        ..notice.clone()
    }
}

/// When a notice goes again that was tried so often and not taken. A channel may ask for more time than that.
pub fn retry_at(attempts: u32, asked: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let doublings = attempts.saturating_sub(1);
    let doubled = FIRST_WAIT.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
    let wait = now.plus(doubled.min(LONGEST_WAIT));
    asked.map_or(wait, |it| it.max(wait))
}

/// Those that need not be said any more: a later notice of the same incident says what holds now. What is on its way, or
/// may have arrived as part of a message, is not among them.
pub fn superseded(waiting: &[Waiting<'_>]) -> Vec<NoticeId> {
    let mut last: BTreeMap<&str, (bool, Timestamp)> = BTreeMap::new();
    for it in waiting {
        let known = last.entry(&it.notice.incident).or_insert(rank(it.notice));
        *known = rank(it.notice).max(*known);
    }
    let is_old = |it: &&Waiting<'_>| {
        let newer = last.get(it.notice.incident.as_str()).is_some_and(|last| *last > rank(it.notice));
        newer && it.sealed.is_none() && !it.under_way
    };
    waiting.iter().filter(is_old).map(|it| it.notice.id.clone()).collect()
}

/// What goes now. `together`: whether the channel takes several notices in one message.
pub fn round(waiting: &[Waiting<'_>], together: bool, now: Timestamp) -> Round {
    let mut round = Round { messages: Vec::new(), at: Timestamp::NEVER };
    let sealed: BTreeSet<&NoticeId> = waiting.iter().filter_map(|it| it.sealed).collect();
    for message in sealed {
        let of: Vec<_> = waiting.iter().filter(|it| it.sealed == Some(message)).collect();
        if !of.iter().any(|it| it.under_way) {
            round.add(of, now);
        }
    }
    let open = open(waiting);
    if !together {
        open.into_iter().for_each(|it| round.add(vec![it], now));
        return round;
    }
    for lane in [Lane::Critical, Lane::Rest, Lane::Digest] {
        let is_here = |it: &Waiting<'_>| self::lane(it.notice) == lane;
        // One message at a time: what comes meanwhile goes with the next one.
        if !waiting.iter().any(|it| is_here(it) && (it.under_way || it.sealed.is_some())) {
            round.add(open.iter().filter(|it| is_here(it)).copied().collect(), now);
        }
    }
    round
}

impl Round {
    /// Adds a message, or when it falls due.
    fn add(&mut self, mut notices: Vec<&Waiting<'_>>, now: Timestamp) {
        let Some(first) = notices.iter().map(|it| it.due).min() else { return };
        // A channel that failed is left alone until its wait is over, whatever comes meanwhile.
        let hold = notices.iter().filter(|it| it.failed).map(|it| it.due).max();
        let due = hold.map_or(first, |hold| hold.max(first));
        if due > now {
            self.at = self.at.min(due);
            return;
        }
        if self.messages.len() >= MESSAGES_MOST {
            return;
        }
        notices.sort_by_key(|it| (it.notice.status, Reverse(it.notice.severity), it.notice.at, &it.notice.id));
        self.messages.push(notices.iter().take(TOGETHER_MOST).map(|it| it.notice.id.clone()).collect());
    }
}

/// What may go as far as the order of things allows: the end of an incident is not told before its beginning, as long as that
/// is on its way or may have arrived.
fn open<'a, 'b>(waiting: &'b [Waiting<'a>]) -> Vec<&'b Waiting<'a>> {
    let mut bound: BTreeMap<&str, (bool, Timestamp)> = BTreeMap::new();
    for it in waiting.iter().filter(|it| it.under_way || it.sealed.is_some()) {
        let first = bound.entry(&it.notice.incident).or_insert(rank(it.notice));
        *first = rank(it.notice).min(*first);
    }
    let follows =
        |it: &&Waiting<'_>| bound.get(it.notice.incident.as_str()).is_some_and(|first| *first < rank(it.notice));
    waiting.iter().filter(|it| !it.under_way && it.sealed.is_none() && !follows(it)).collect()
}

/// Of one incident, what comes later ranks higher, and its end highest: a clock may have been set back meanwhile.
pub fn rank(notice: &Notice) -> (bool, Timestamp) {
    (notice.status == NoticeStatus::Resolved, notice.ranks_at.unwrap_or(notice.at))
}

/// The rank of the newest of those that wait of one incident.
pub fn newest<'a>(waiting: impl Iterator<Item = &'a Notice>) -> Option<Timestamp> {
    waiting.map(|it| rank(it).1).max()
}

/// Makes a new notice rank above those of its incident that wait, though a clock that was ahead may have dated them.
pub fn rank_above(notice: &mut Notice, newest: Option<Timestamp>) {
    notice.ranks_at = newest.filter(|it| *it > notice.at).map(|it| it.plus(Duration::from_millis(1)));
}

fn lane(notice: &Notice) -> Lane {
    match (notice.kind, notice.severity, notice.status) {
        (NoticeKind::Digest, ..) => Lane::Digest,
        (_, Severity::Critical, NoticeStatus::Firing) => Lane::Critical,
        _ => Lane::Rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);
    const WITHIN: Duration = Duration::from_secs(300);

    fn notice(id: &str, incident: &str, after: u64) -> Notice {
        Notice {
            severity: Severity::Warning,
            incident: incident.to_owned(),
            ..Notice::bare(id.into(), NoticeKind::RotationFailed, NOW.plus(Duration::from_secs(after)))
        }
    }

    fn over(id: &str, incident: &str, after: u64) -> Notice {
        Notice { status: NoticeStatus::Resolved, severity: Severity::Info, ..notice(id, incident, after) }
    }

    fn critical(id: &str, after: u64) -> Notice {
        Notice { severity: Severity::Critical, ..notice(id, id, after) }
    }

    fn waits(notice: &Notice) -> Waiting<'_> {
        Waiting { notice, due: due(notice, WITHIN), failed: false, sealed: None, under_way: false }
    }

    fn at(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn said(round: &Round) -> Vec<String> {
        let ids = |it: &Vec<NoticeId>| it.iter().map(NoticeId::as_str).collect::<Vec<_>>().join(" ");
        round.messages.iter().map(ids).collect()
    }

    #[test]
    fn what_falls_due_together_goes_as_one_message_and_not_before_the_first_is_due() {
        let (a, b, c) = (notice("a", "1", 0), notice("b", "2", 200), notice("c", "3", 299));
        let waiting = [waits(&a), waits(&b), waits(&c)];
        assert_eq!(round(&waiting, true, at(299)), Round { messages: vec![], at: at(300) });
        assert_eq!(said(&round(&waiting, true, at(300))), ["a b c"]);
        assert_eq!(said(&round(&waiting, false, at(599))), ["a", "b", "c"], "each by itself where they don't group");
    }

    #[test]
    fn of_ten_thousand_that_wait_a_round_takes_as_many_as_can_be_begun() {
        let many: Vec<_> = (0..10_000).map(|n| notice(&format!("{n}"), &format!("{n}"), 0)).collect();
        let waiting: Vec<_> = many.iter().map(waits).collect();
        assert_eq!(round(&waiting, false, at(300)).messages.len(), MESSAGES_MOST);
        assert_eq!(round(&waiting, false, at(299)), Round { messages: vec![], at: at(300) });
    }

    #[test]
    fn a_critical_notice_waits_for_its_like_alone_and_for_seconds() {
        let (a, b, c) = (notice("a", "1", 0), critical("b", 1), critical("c", 9));
        let waiting = [waits(&a), waits(&b), waits(&c)];
        assert_eq!(round(&waiting, true, at(10)), Round { messages: vec![], at: at(11) });
        let now = round(&waiting, true, at(11));
        assert_eq!((said(&now), now.at), (vec!["b c".to_owned()], at(300)));
    }

    #[test]
    fn what_was_said_better_since_is_not_said_any_more() {
        let (week, day, end) = (notice("week", "x", 0), notice("day", "x", 9), over("end", "y", 9));
        let (begun, other) = (notice("begun", "y", 5), notice("other", "z", 0));
        let waiting = [waits(&week), waits(&day), waits(&begun), waits(&end), waits(&other)];
        assert_eq!(superseded(&waiting), ["week".into(), "begun".into()]);
    }

    #[test]
    fn what_is_written_after_the_clock_was_set_back_is_newer_than_what_waits() {
        let (begun, elsewhere) = (notice("begun", "x", 3 * 3600), notice("elsewhere", "y", 9 * 3600));
        let end = over("end", "x", 60);
        assert_eq!(superseded(&[waits(&begun), waits(&end)]), ["begun".into()]);
        let mut worse = Notice { incident: "x".to_owned(), ..critical("worse", 60) };
        rank_above(&mut worse, newest([&begun].into_iter()));
        assert_eq!(superseded(&[waits(&begun), waits(&worse), waits(&elsewhere)]), ["begun".into()]);
        assert_eq!((worse.at, due(&worse, WITHIN)), (at(60), at(70)), "and it waits no longer for that");
        let mut worst = Notice { id: "worst".into(), at: at(90), ..worse.clone() };
        rank_above(&mut worst, newest([&worse].into_iter()));
        assert_eq!(superseded(&[waits(&worse), waits(&worst)]), ["worse".into()]);
        let sealed = Waiting { under_way: true, ..waits(&begun) };
        assert_eq!(said(&round(&[sealed, waits(&worst)], true, at(9_999))), [""; 0], "nor is it told before");
        let mut later = Notice { at: at(4 * 3600), ..begun.clone() };
        rank_above(&mut later, newest([&begun].into_iter()));
        assert_eq!(later.ranks_at, None, "as long as the clock goes on");
    }

    #[test]
    fn what_may_have_arrived_in_a_message_is_sent_again_as_it_was_and_first() {
        let message: NoticeId = "m".into();
        let (a, b, c) = (notice("a", "x", 0), notice("b", "y", 0), over("c", "x", 9));
        let sealed = |it| Waiting { sealed: Some(&message), failed: true, due: at(50), ..waits(it) };
        let waiting = [sealed(&a), sealed(&b), waits(&c)];
        assert_eq!(superseded(&waiting), [], "nobody knows whether it was read");
        assert_eq!(round(&waiting, true, at(49)).at, at(50));
        assert_eq!(said(&round(&waiting, true, at(400))), ["a b"]);
    }

    #[test]
    fn the_end_is_not_told_while_the_beginning_is_on_its_way() {
        let (begun, end) = (notice("begun", "x", 0), over("end", "x", 0));
        let waiting = [Waiting { under_way: true, ..waits(&begun) }, Waiting { due: at(0), ..waits(&end) }];
        for together in [true, false] {
            assert_eq!(said(&round(&waiting, together, at(999))), [""; 0], "{together}");
        }
        assert_eq!(superseded(&[waits(&begun), waits(&end)]), ["begun".into()], "once it came back");
    }

    #[test]
    fn a_channel_that_failed_is_tried_once_for_all_that_waits_when_its_wait_is_over() {
        let (a, b) = (notice("a", "x", 0), notice("b", "y", 100));
        let failed = Waiting { failed: true, due: at(3600), ..waits(&a) };
        let waiting = [failed, waits(&b)];
        assert_eq!(round(&waiting, true, at(3599)), Round { messages: vec![], at: at(3600) });
        assert_eq!(said(&round(&waiting, true, at(3600))), ["a b"]);
    }

    #[test]
    fn a_message_has_a_limit_and_begins_with_the_most_urgent() {
        let many: Vec<Notice> =
            (0..=TOGETHER_MOST as u64).map(|n| notice(&format!("{n:04}"), &n.to_string(), n)).collect();
        let info = Notice { severity: Severity::Info, ..notice("info", "info", 0) };
        let waiting: Vec<_> = [&info].into_iter().chain(&many).map(waits).collect();
        let messages = round(&waiting, true, at(9_999)).messages;
        assert_eq!((messages.len(), messages[0].len()), (1, TOGETHER_MOST), "the rest when this was taken");
        assert_eq!(messages[0][0], "0000".into());
        assert!(!messages[0].contains(&"info".into()));
    }

    #[test]
    fn the_wait_doubles_up_to_an_hour_and_a_channel_may_ask_for_more() {
        let wait = |attempts, asked| retry_at(attempts, asked, NOW).since(NOW).as_secs();
        assert_eq!([1, 2, 3, 12, 40].map(|it| wait(it, None)), [2, 4, 8, 3600, 3600]);
        assert_eq!(wait(1, Some(at(7200))), 7200);
        assert_eq!(wait(12, Some(NOW)), 3600, "less is not what it may ask for");
    }

    /// In how many seconds others are told.
    fn untold(notice: &Notice, fates: &[Fate], awake: u64, now: u64) -> Option<u64> {
        let at = untold_at(notice, fates, at(awake), at(now));
        (at < Timestamp::NEVER).then(|| at.since(NOW).as_secs())
    }

    #[test]
    fn others_are_told_what_no_channel_took_the_sooner_the_worse_it_is() {
        use Fate::{Fails, Lost, Told, Waits};
        let (warning, critical, over) = (notice("w", "w", 0), critical("c", 0), over("o", "w", 0));
        let info = Notice { severity: Severity::Info, ..notice("i", "i", 0) };
        let waits = Waits(at(0));
        for fates in [&[Fails, Fails][..], &[Fails, Lost], &[waits, Fails], &[waits, waits], &[waits, Lost]] {
            assert_eq!(untold(&critical, fates, 0, 1), Some(600), "{fates:?}");
            assert_eq!(untold(&warning, fates, 0, 1), Some(3600), "{fates:?}");
            assert_eq!(untold(&info, fates, 0, 1), None, "until it is given up: {fates:?}");
            assert_eq!(untold(&over, fates, 0, 1), None, "its end is told to those who heard of it: {fates:?}");
        }
        for it in [&info, &warning, &critical] {
            assert_eq!(untold(it, &[Lost, Lost], 0, 1), Some(0), "given up");
            for fates in [&[Fails, Told][..], &[waits, Told], &[Lost, Told], &[]] {
                assert_eq!(untold(it, fates, 0, 999_999), None, "{fates:?}");
            }
        }
    }

    #[test]
    fn every_channel_gets_the_time_for_a_try_first() {
        use Fate::{Fails, Waits};
        let warning = notice("w", "w", 0);
        assert_eq!(untold(&warning, &[Fails], 9000, 9001), Some(9060), "the daemon was down");
        assert_eq!(untold(&warning, &[Waits(at(7200))], 0, 3600), Some(7260), "it is to go with others, later");
        assert_eq!(untold(&notice("w", "w", 99_999), &[Fails], 0, 1), Some(3600), "dated by a clock that was ahead");
    }

    #[test]
    fn what_others_are_told_says_for_whom_it_was_and_belongs_to_the_same_incident() {
        let begun = Notice { summary: "sms can't be replaced".into(), escalates: true, ..notice("a", "x", 0) };
        let all = |owners: &[&str]| owners.iter().map(|it| (*it).to_owned()).collect::<BTreeSet<_>>();
        let copy = for_others(&begun, &["payments".into(), "shop".into()], &all(&["payments", "shop"]), at(3600));
        assert_eq!(
            copy.summary,
            "sms can't be replaced (this was meant for payments and shop, whose channels all fail)"
        );
        assert_eq!((copy.incident.as_str(), copy.lasts(), copy.escalates, copy.at), ("x", true, false, at(3600)));
        let further = for_others(&copy, &["platform".into()], &all(&["platform"]), at(7200));
        assert_eq!(further.meant_for, ["payments", "shop", "platform"], "so that it never goes round");
        let event = Notice::bare("a".into(), NoticeKind::RotationSucceeded, NOW);
        assert!(!for_others(&event, &["payments".into()], &all(&["payments"]), NOW).lasts());
        let beside = for_others(&begun, &["payments".into()], &all(&["payments", "shop"]), at(3600));
        assert!(
            beside.summary.ends_with("(this was meant for payments, whose channels all fail)"),
            "{}",
            beside.summary
        );
        assert_eq!(beside.meant_for, ["payments", "shop"], "shop has heard it, and does not hear it from others too");
    }
}

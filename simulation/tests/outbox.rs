//! The outbox over simulated days, as `core::queue` decides it: how many messages a rack of keys makes, and what a mail server
//! that is down for a day, or loses its answers, costs. The figures are printed.
// A test that panics has failed, as it should; the figures are its output.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "simulation/rng.rs"]
#[allow(dead_code, unreachable_pub)]
mod rng;

use rekeyd_simulation::core::names::NoticeId;
use rekeyd_simulation::core::plan::{Notice, NoticeKind, NoticeStatus, Severity};
use rekeyd_simulation::core::queue::{Fate, Waiting, due, patience, retry_at, round, superseded, untold_at};
use rekeyd_simulation::core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const START: Timestamp = Timestamp(1_795_298_400_000);
const KEYS: u64 = 10_000;
const OWNERS: u64 = 50;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// What a mail server does with a message.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Answer {
    Takes,
    /// It can't be reached.
    Down,
    /// It takes it, and the answer is lost; or the daemon dies before the receipt is durable, which is the same.
    Lost,
}

struct Row {
    notice: Notice,
    due: Timestamp,
    attempts: u32,
    sealed: Option<NoticeId>,
    /// An answer was lost.
    unsure: bool,
}

/// One address, and what waits for it.
#[derive(Default)]
struct Line {
    rows: BTreeMap<NoticeId, Row>,
    superseded: BTreeSet<NoticeId>,
    /// Each message that arrived: its id, how often, and what was in it.
    inbox: BTreeMap<NoticeId, (u32, Vec<NoticeId>)>,
    tries: u32,
}

impl Line {
    fn decide(&mut self, notice: Notice, within: Duration) {
        let due = due(&notice, within);
        self.rows.insert(notice.id.clone(), Row { notice, due, attempts: 0, sealed: None, unsure: false });
        let waiting: Vec<_> = self.rows.values().map(Row::waiting).collect();
        for id in superseded(&waiting) {
            self.rows.remove(&id);
            self.superseded.insert(id);
        }
    }

    /// Sends what is due; says when to look again.
    fn send(&mut self, now: Timestamp, mut server: impl FnMut() -> Answer) -> Timestamp {
        loop {
            let waiting: Vec<_> = self.rows.values().map(Row::waiting).collect();
            let next = round(&waiting, true, now);
            if next.messages.is_empty() {
                return next.at;
            }
            for ids in next.messages {
                self.tries += 1;
                let sealed = self.rows[&ids[0]].sealed.clone();
                let message = sealed.unwrap_or_else(|| id_of(&ids));
                let answer = server();
                if answer != Answer::Down {
                    let came = self.inbox.entry(message.clone()).or_insert_with(|| (0, ids.clone()));
                    came.0 += 1;
                    assert_eq!(came.1, ids, "a message that comes again is as it was");
                }
                for id in &ids {
                    let row = self.rows.get_mut(id).unwrap();
                    row.attempts += 1;
                    row.due = retry_at(row.attempts, None, now);
                    row.unsure |= answer == Answer::Lost;
                    row.sealed = row.unsure.then(|| message.clone());
                    if answer == Answer::Takes {
                        self.rows.remove(id);
                    }
                }
            }
        }
    }

    /// Every notice that arrived, with the number of different messages that it was in.
    fn told(&self) -> BTreeMap<&NoticeId, u32> {
        let mut told = BTreeMap::new();
        self.inbox.values().flat_map(|it| &it.1).for_each(|it| *told.entry(it).or_default() += 1);
        told
    }
}

impl Row {
    fn waiting(&self) -> Waiting<'_> {
        let Self { notice, due, attempts, sealed, .. } = self;
        Waiting { notice, due: *due, failed: *attempts > 0, sealed: sealed.as_ref(), under_way: false }
    }
}

fn id_of(ids: &[NoticeId]) -> NoticeId {
    if let [one] = ids { one.clone() } else { NoticeId::of(&ids.iter().map(NoticeId::as_str).collect::<Vec<_>>()) }
}

fn notice(
    key: u64,
    kind: NoticeKind,
    severity: Severity,
    status: NoticeStatus,
    incident: &str,
    at: Timestamp,
) -> Notice {
    let name = format!("key-{key:05}");
    Notice {
        key: name.parse().ok(),
        severity,
        incident: format!("{name}/{incident}"),
        status,
        ..Notice::bare(NoticeId::of(&[&name, kind.code(), severity.code(), status.code(), incident]), kind, at)
    }
}

fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

/// Every owner's notices in the order of time.
type Script = BTreeMap<u64, BTreeMap<(Timestamp, NoticeId), Notice>>;

fn script(notices: impl IntoIterator<Item = (u64, Notice)>) -> Script {
    let mut script = Script::new();
    for (key, notice) in notices {
        script.entry(key / (KEYS / OWNERS)).or_default().insert((notice.at, notice.id.clone()), notice);
    }
    script
}

/// Plays what one owner is told until nothing waits any more.
fn play(
    notices: &BTreeMap<(Timestamp, NoticeId), Notice>,
    within: Duration,
    mut server: impl FnMut(Timestamp) -> Answer,
) -> Line {
    let mut line = Line::default();
    let mut wake = Timestamp::NEVER;
    let mut coming = notices.iter().peekable();
    loop {
        let next = coming.peek().map_or(Timestamp::NEVER, |it| it.0.0);
        let now = next.min(wake);
        if now == Timestamp::NEVER {
            assert!(line.rows.is_empty(), "something waits for ever");
            return line;
        }
        while let Some((_, notice)) = coming.next_if(|it| it.0.0 <= now) {
            line.decide(notice.clone(), within);
        }
        wake = line.send(now, || server(now));
    }
}

#[test]
fn ten_thousand_keys_of_fifty_owners_in_one_window_are_a_few_messages_for_each() {
    let mut chance = rng::Rng::new(6, 0);
    // A window of 4 h: keys are spread over the first half of it.
    let replaced = |key| {
        let at = at(chance.below(2 * HOUR));
        (key, notice(key, NoticeKind::RotationSucceeded, Severity::Info, NoticeStatus::Firing, "1", at))
    };
    let script = script((0..KEYS).map(replaced));
    for (within, most) in [(5 * MINUTE, 24), (HOUR, 3), (4 * HOUR, 1)] {
        let within = Duration::from_secs(within);
        let lines: Vec<Line> = script.values().map(|it| play(it, within, |_| Answer::Takes)).collect();
        let messages = lines.iter().map(|it| it.inbox.len());
        assert_eq!(lines.iter().map(|it| it.told().len() as u64).sum::<u64>(), KEYS);
        let (least, worst) = (messages.clone().min().unwrap(), messages.clone().max().unwrap());
        println!(
            "group_within {} min: {least} to {worst} messages for each of {OWNERS} owners, {} instead of {KEYS} in all",
            within.as_secs() / MINUTE,
            messages.sum::<usize>()
        );
        assert!(worst <= most, "{worst}");
    }
}

/// What goes wrong within a day: keys that are replaced, deliveries that fail and heal, keys that near their end.
fn a_bad_day() -> Script {
    let mut chance = rng::Rng::new(7, 0);
    let mut notices = Vec::new();
    for key in 0..KEYS {
        let begun = chance.below(20 * HOUR);
        let (warning, critical, info) = (Severity::Warning, Severity::Critical, Severity::Info);
        let mut tell = |kind, severity, status, incident, after| {
            notices.push((key, notice(key, kind, severity, status, incident, at(begun + after))));
        };
        match key % 10 {
            0..=4 => tell(NoticeKind::RotationSucceeded, info, NoticeStatus::Firing, "1", 0),
            5 | 6 => {
                tell(NoticeKind::DeliveryFailed, warning, NoticeStatus::Firing, "delivery", 0);
                tell(NoticeKind::DeliveryFailed, info, NoticeStatus::Resolved, "delivery", HOUR);
            }
            7 => {
                tell(NoticeKind::KeyExpiring, warning, NoticeStatus::Firing, "expiring", 0);
                tell(NoticeKind::KeyExpiring, critical, NoticeStatus::Firing, "expiring", 3 * HOUR);
            }
            8 => tell(NoticeKind::RotationHalted, warning, NoticeStatus::Firing, "halted", 0),
            _ => tell(NoticeKind::RevokeNeeded, warning, NoticeStatus::Firing, "revoke", 0),
        }
    }
    script(notices)
}

/// Nothing is lost: each notice was told, or a later one of its incident was. None is in two messages.
fn check_nothing_is_lost(script: &Script, lines: &[Line]) {
    for (notices, line) in script.values().zip(lines) {
        let told = line.told();
        for it in notices.values() {
            assert_ne!(told.contains_key(&it.id), line.superseded.contains(&it.id), "{it:?}");
            let later = notices.values().any(|b| b.incident == it.incident && b.at > it.at && told.contains_key(&b.id));
            assert!(told.contains_key(&it.id) || later, "lost: {it:?}");
        }
        assert!(told.values().all(|it| *it == 1), "a notice came in two messages");
    }
}

#[test]
fn a_mail_server_that_is_down_for_a_day_loses_nothing_and_is_not_flooded_when_it_is_back() {
    let script = a_bad_day();
    let back = at(24 * HOUR);
    let server = |now: Timestamp| if now < back { Answer::Down } else { Answer::Takes };
    let within = Duration::from_secs(5 * MINUTE);
    let lines: Vec<Line> = script.values().map(|it| play(it, within, server)).collect();
    check_nothing_is_lost(&script, &lines);
    let decided: usize = script.values().map(BTreeMap::len).sum();
    let dropped: usize = lines.iter().map(|it| it.superseded.len()).sum();
    let messages: Vec<usize> = lines.iter().map(|it| it.inbox.len()).collect();
    let tries: u32 = lines.iter().map(|it| it.tries).sum();
    println!(
        "down for a day: {decided} notices decided, {dropped} superseded, 0 lost, 0 twice; on its return {} messages to \
         {OWNERS} owners, {} at most to one; {tries} tries in all",
        messages.iter().sum::<usize>(),
        messages.iter().max().unwrap()
    );
    assert!(dropped >= 3 * decided / 13, "{dropped}");
    assert!(messages.iter().all(|it| *it <= 2), "one critical, and one of the rest: {messages:?}");
}

#[test]
fn a_server_that_loses_answers_repeats_messages_under_their_ids_and_no_notice_under_two() {
    let script = a_bad_day();
    let mut chance = rng::Rng::new(8, 0);
    let within = Duration::from_secs(5 * MINUTE);
    let mut server = |_| match chance.below(10) {
        0..=2 => Answer::Lost,
        3 | 4 => Answer::Down,
        _ => Answer::Takes,
    };
    let lines: Vec<Line> = script.values().map(|it| play(it, within, &mut server)).collect();
    check_nothing_is_lost(&script, &lines);
    let messages: usize = lines.iter().map(|it| it.inbox.len()).sum();
    let again: u32 = lines.iter().flat_map(|it| it.inbox.values()).map(|it| it.0 - 1).sum();
    println!(
        "3 of 10 answers lost, 2 of 10 refused: {messages} messages, {again} came again under their own id, 0 lost"
    );
    assert!(again > 0);
}

/// Two channels do whatever channels do: they are not tried, fail, hang, give up, or take it in the end. Others are told at the
/// one moment that the notice's severity sets, or when both gave it up, and never of what was taken before.
#[test]
fn others_are_told_at_the_same_moment_whatever_the_channels_do_but_take_it() {
    let mut chance = rng::Rng::new(16, 0);
    let (mut by_time, mut given_up, mut taken) = (0, 0, 0);
    for world in 0..5_000 {
        let severity = [Severity::Info, Severity::Warning, Severity::Critical][chance.below(3) as usize];
        let notice = notice(world, NoticeKind::RotationFailed, severity, NoticeStatus::Firing, "rotation", START);
        let mut fates = [Fate::Waits(START), Fate::Waits(START)];
        let told = (0..2 * HOUR / 10).map(|step| at(step * 10)).find(|now| {
            for it in &mut fates {
                *it = match (*it, chance.below(1000)) {
                    (Fate::Waits(_) | Fate::Fails, 0) => Fate::Told,
                    (Fate::Waits(_) | Fate::Fails, 1) => Fate::Lost,
                    (Fate::Waits(_), 2..50) => Fate::Fails,
                    (fate, _) => fate,
                };
            }
            untold_at(&notice, &fates, at(0), *now) <= *now
        });
        let lost = fates.iter().all(|it| *it == Fate::Lost);
        match (told, patience(&notice).map(|it| START.plus(it))) {
            (None, _) => {
                assert!(
                    severity == Severity::Info || fates.contains(&Fate::Told),
                    "nobody hears of {world}: {fates:?}"
                );
                taken += u32::from(fates.contains(&Fate::Told));
            }
            (Some(now), moment) => {
                assert!(!fates.contains(&Fate::Told), "{world} was taken, and is told to others");
                assert!(lost || Some(now) == moment, "{world} is told at {now}, not at {moment:?}");
                (by_time, given_up) = (by_time + u32::from(!lost), given_up + u32::from(lost));
            }
        }
    }
    println!("others are told: {by_time} in time, {given_up} given up; {taken} were taken");
    assert!(by_time > 500 && given_up > 100 && taken > 500);
}

//! What belongs to an account, not to a key: its lock, its budget, and which of its keys are known.
use crate::bench::*;
use rekeyd_simulation::core::account::{IN_FLIGHT, Open};
use rekeyd_simulation::core::facts::{Action, Blocked, Found, Outcome, Probe, Refusal, RefusalKind};
use rekeyd_simulation::core::names::Token;
use rekeyd_simulation::core::plan::{Command, NoticeKind};
use rekeyd_simulation::core::policy::{OnAmbiguous, OnCreate, Recover};
use rekeyd_simulation::core::record::{Phase, Reason};

/// An account whose create answers with all keys, with nothing to announce, on the day that the key is due.
fn answering() -> Bench {
    let mut it = Bench::answers().due();
    it.policy.announce = minutes(0);
    it
}

/// A create of another key at the same account, as `decide` would have opened it.
fn opened_by_another(it: &mut Bench) -> Token {
    let mut other = it.record.clone();
    other.name = "shipping".parse().unwrap();
    let plan = rekeyd_simulation::core::decide::decide(&other, &it.account, &it.facts, &it.policy, &it.by, it.now);
    it.account = plan.change.account;
    it.account.open.keys().find(|it| it.name == other.name).expect("it creates").clone()
}

fn all(fingerprints: &[&str]) -> Vec<Found> {
    fingerprints.iter().map(|it| found(it, Probe::Alive)).collect()
}

fn refused(why: RefusalKind, retry_after: Option<rekeyd_simulation::core::time::Timestamp>) -> Outcome {
    Outcome::Refused(Refusal { why, retry_after, message: "HTTP 429".into() })
}

/// Hole 11. Two keys of one account create at the same time: each finds two new keys and can't tell which is its own.
#[test]
pub fn creates_at_an_account_that_may_not_keep_old_keys_are_serialised() {
    for (on_create, recover, waits) in [
        (OnCreate::Unknown, Recover::DiffAnswer, true),
        (OnCreate::Unknown, Recover::None, true),
        (OnCreate::Revokes, Recover::ReadCurrent, true),
        (OnCreate::Keeps, Recover::DiffList, true),
        (OnCreate::Keeps, Recover::ListByName, false),
    ] {
        let mut it = Bench::new(on_create, recover, false).due();
        it.policy.announce = minutes(0);
        let theirs = opened_by_another(&mut it);
        let actions = it.pass();
        assert_eq!(actions.is_empty(), waits, "{on_create:?} {recover:?}: {actions:?}");
        assert_eq!(it.blocked == Some(Blocked::Account), waits);
        it.account.open.remove(&theirs);
        assert_eq!(it.pass().is_empty(), !waits, "the lock ends with the token");
    }
}

/// However many keys fall due at once, a few creates are in flight; those that were lost are looked for and count no more.
#[test]
pub fn so_many_creates_of_an_account_are_in_flight_at_most() {
    let mut it = Bench::new(OnCreate::Keeps, Recover::ListByName, false).due();
    let theirs = opened_by_another(&mut it);
    let open = it.account.open[&theirs].clone();
    for n in 2..=u32::try_from(IN_FLIGHT).unwrap() {
        it.account.open.insert(Token { n, ..theirs.clone() }, open.clone());
    }
    assert_eq!((it.pass(), it.blocked.clone()), (vec![], Some(Blocked::Account)));
    it.account.open.get_mut(&theirs).unwrap().lost_at = Some(it.now);
    it.wait(minutes(1));
    it.creates();
}

/// Hole 11. A lost create's token holds the account until it ended, or its key needs a human; then it stays counted.
#[test]
pub fn a_halted_key_releases_its_account_and_its_token_stays_counted() {
    let mut it = answering();
    let create = it.creates();
    it.answer(&create, lost());
    assert!(it.account.locked_by().is_some());
    it.wait(minutes(1));
    let next = it.creates();
    it.answer(&next, Outcome::AnsweredAll(all(&["k1", "a", "b", "c", "d"])));
    assert_eq!(it.halted(), Some(Reason::UnexpectedKeys));
    assert_eq!(it.account.locked_by(), None);
    assert!(it.account.open.contains_key(&token(&create)));
    it.is_at_rest();
}

/// Hole 11. One create, one new element: it is ours. None, or more than were created: nobody can tell, and a human is asked.
#[test]
pub fn a_difference_is_ours_only_where_the_numbers_agree() {
    let outcome = |keys: &[&str]| {
        let mut it = answering();
        let create = it.creates();
        it.answer(&create, Outcome::AnsweredAll(all(keys)));
        it
    };
    let one = outcome(&["k1", "k2"]);
    assert!(matches!(&one.record.phase, Phase::Judge { pending, .. } if pending.fingerprint.as_str() == "k2"));
    assert_eq!(one.account.open.len(), 0);
    let none = outcome(&["k1"]);
    assert_eq!(none.halted(), Some(Reason::UnexpectedKeys));
    let mut two = outcome(&["k1", "k2", "x"]);
    assert_eq!(two.halted(), Some(Reason::UnexpectedKeys));
    assert_eq!(two.told(NoticeKind::RevokeNeeded), 2, "each of them is reported: one of them may be ours");
    assert!(two.account.known.contains(&"x".into()), "and is known from now on");
    two.is_at_rest();
}

/// Hole 11. After k lost creates of this key, one to k + 1 new elements are all ours: the last that is accepted is taken, the
/// others are reported, so that no live key is forgotten.
#[test]
pub fn of_several_keys_of_ours_the_last_that_is_accepted_is_taken_and_the_others_are_reported() {
    let mut it = answering();
    let first = it.creates();
    it.answer(&first, lost());
    it.wait(minutes(1));
    let second = it.creates();
    let mut keys = all(&["k1", "k2", "k3"]);
    keys[2].probe = Some(Probe::Dead);
    it.answer(&second, Outcome::AnsweredAll(keys));
    assert!(matches!(&it.record.phase, Phase::Judge { pending, .. } if pending.fingerprint.as_str() == "k2"));
    assert_eq!(it.told(NoticeKind::RevokeNeeded), 1);
    assert!(it.last_told().summary.contains("fingerprint k3"));
    assert_eq!(it.account.locked_by(), None);
}

/// Hole 11. Without a probe the last of several is taken, but only if all lost creates are this key's and of its package.
#[test]
pub fn without_a_probe_several_new_keys_are_told_apart_only_where_all_are_this_keys() {
    for package_changed in [false, true] {
        let mut it = answering();
        it.policy.provider.probes = false;
        let first = it.creates();
        it.answer(&first, lost());
        it.wait(minutes(1));
        if package_changed {
            it.policy.package = Some("transactional".into());
        }
        let second = it.creates();
        let mut keys = all(&["k1", "k2", "k3"]);
        keys.iter_mut().for_each(|it| it.probe = None);
        it.answer(&second, Outcome::AnsweredAll(keys));
        if package_changed {
            assert_eq!(it.halted(), Some(Reason::UnexpectedKeys));
        } else {
            assert_eq!(it.record.current.as_ref().unwrap().fingerprint.as_str(), "k3");
        }
    }
}

/// Hole 11. The account's first answer shows keys that nobody told us of. Exactly one unknown element is ours.
#[test]
pub fn without_a_baseline_a_single_unknown_key_is_ours() {
    let mut it = answering();
    it.account.baseline = false;
    let create = it.creates();
    it.answer(&create, Outcome::AnsweredAll(all(&["k1", "k2"])));
    assert_eq!(it.phase(), "verify");
    assert!(it.account.baseline);
}

/// Hole 11. More than one: the answer becomes the baseline and a human is asked; or, where the config says so, one more
/// create is made, whose difference is ours.
#[test]
pub fn without_a_baseline_several_unknown_keys_halt_or_cost_one_more_create() {
    for on_ambiguous in [OnAmbiguous::Halt, OnAmbiguous::CreateAgain] {
        let mut it = answering();
        it.account.baseline = false;
        it.policy.on_ambiguous = on_ambiguous;
        let create = it.creates();
        it.answer(&create, Outcome::AnsweredAll(all(&["k1", "x", "y", "k2"])));
        assert_eq!(it.told(NoticeKind::RevokeNeeded), 1, "one of them is ours, and lost");
        if on_ambiguous == OnAmbiguous::Halt {
            assert_eq!(it.halted(), Some(Reason::NoBaseline));
            it.say(Command::Resume).unwrap();
        }
        it.wait(minutes(1));
        let again = it.creates();
        it.answer(&again, Outcome::AnsweredAll(all(&["k1", "x", "y", "k2", "k3"])));
        assert!(matches!(&it.record.phase, Phase::Judge { pending, .. } if pending.fingerprint.as_str() == "k3"));
    }
}

/// `DiffAnswer` learns what came of a lost create only from the next one, which follows whatever `on_ambiguous` says.
#[test]
pub fn where_only_a_create_shows_the_keys_the_next_create_explains_the_lost_one() {
    let mut it = answering();
    let create = it.creates();
    it.answer(&create, lost());
    it.rests();
    assert!(it.record.retry_at.is_some_and(|at| at > it.now), "after a backoff");
    it.wait(minutes(1)).creates();
    assert_eq!(it.halted(), None);
    it.is_at_rest();
}

/// Where a list call shows all keys, the difference to what was known is the lost create's.
#[test]
pub fn a_list_shows_what_came_of_a_lost_create() {
    let mut it = Bench::new(OnCreate::Keeps, Recover::DiffList, true).due();
    it.lists(all(&["k1"]));
    let create = it.creates();
    it.answer(&create, lost());
    it.wait(minutes(1)).lists(all(&["k1", "k2"]));
    it.probes(2, Probe::Alive).delivers(2, "k2");
    it.rests();
    assert_eq!((it.current(), it.account.creates.len(), it.account.open.len()), (2, 1, 0));
    it.is_at_rest();
}

/// Recover `None`: a lost create is reported at once, by its token; nobody will ever find it.
#[test]
pub fn a_lost_create_that_can_not_be_looked_for_is_reported_at_once_and_halts() {
    let mut it = Bench::silent().due();
    it.policy.announce = minutes(0);
    let create = it.creates();
    it.answer(&create, lost());
    assert_eq!(it.told(NoticeKind::RevokeNeeded), 1);
    assert!(it.last_told().summary.contains("billing-1"));
    it.wait(minutes(1)).rests();
    assert_eq!((it.halted(), it.told(NoticeKind::RotationHalted)), (Some(Reason::AmbiguousCreate), 1));
    it.is_at_rest();
}

/// Recover `None` with `create-again`: once more, after `settle`; a second lost answer halts.
#[test]
pub fn create_again_creates_once_more_after_settle_and_then_halts() {
    let mut it = Bench::silent().due();
    it.policy.announce = minutes(0);
    it.policy.on_ambiguous = OnAmbiguous::CreateAgain;
    let create = it.creates();
    it.answer(&create, lost());
    it.wait(seconds(29)).rests();
    it.wait(seconds(1));
    let again = it.creates();
    it.answer(&again, lost());
    it.wait(minutes(2)).rests();
    assert_eq!((it.halted(), it.told(NoticeKind::RevokeNeeded)), (Some(Reason::AmbiguousCreate), 2));
    it.is_at_rest();
}

/// Recover `None` with `create-again`: with the old key dead, the lost create did happen; another one would kill its key.
#[test]
pub fn create_again_halts_where_the_old_key_died_of_the_lost_create() {
    let mut it = Bench::silent().due();
    it.policy.announce = minutes(0);
    it.policy.on_ambiguous = OnAmbiguous::CreateAgain;
    let create = it.creates();
    it.answer(&create, lost());
    it.wait(minutes(1)).probes(1, Probe::Dead).rests();
    assert_eq!(it.halted(), Some(Reason::AmbiguousCreate));
}

/// Hole 13. An hour of "connection refused" burns a day's budget, or halts for a human: what was certainly not sent costs
/// nothing, counts no failure and leaves no token.
#[test]
pub fn what_was_not_sent_costs_neither_budget_nor_patience() {
    let mut it = Bench::keeps().due();
    it.policy.creates_per_day = 2;
    for _ in 0..5 {
        let create = it.creates();
        assert_eq!(it.account.creates.len(), 1, "reserved before the call");
        it.answer(&create, Outcome::NotSent("connection refused".into()));
        assert_eq!((it.account.creates.len(), it.account.open.len(), it.record.failures), (0, 0, 0));
        it.rests();
        it.wait(seconds(6));
    }
}

/// Hole 13. A refusal was sent and certainly made no key: its token ends, its budget is spent, its failure counts.
#[test]
pub fn a_refusal_ends_its_token_and_spends_the_budget() {
    let mut it = Bench::keeps().due();
    for n in 1..=3 {
        let create = it.creates();
        it.answer(&create, refused(RefusalKind::Request, None));
        assert_eq!((it.account.creates.len(), it.account.open.len(), it.record.failures), (n as usize, 0, n));
        assert_eq!(it.told(NoticeKind::RotationFailed), usize::from(n == 3), "told at the third");
        it.wait(minutes(1));
    }
    it.created("k2");
    it.probes(2, Probe::Alive).delivers(2, "k2");
    it.rests();
    assert_eq!((it.record.failures, it.told(NoticeKind::RotationFailed)), (0, 2), "and told to be over");
    it.is_at_rest();
}

/// Hole 13. A 5xx, a timeout, a reset, and a success that can't be read: each may have made a key.
#[test]
pub fn an_outcome_that_proves_nothing_leaves_the_token_open() {
    for outcome in [lost(), Outcome::Unreadable("no key in it".into()), Outcome::Failed("panicked".into())] {
        let mut it = Bench::keeps().due();
        let create = it.creates();
        it.answer(&create, outcome);
        let open: &Open = &it.account.open[&token(&create)];
        assert_eq!((open.lost_at, it.account.creates.len()), (Some(it.now), 1));
    }
}

/// A loop that no rule foresaw still stops at the budget, and the owners are not asked to do anything.
#[test]
pub fn the_budget_of_the_day_is_kept() {
    let mut it = Bench::keeps().due();
    it.policy.creates_per_day = 1;
    let create = it.creates();
    it.answer(&create, refused(RefusalKind::Request, None));
    let again = it.now.plus(days(1));
    it.wait(minutes(1)).rests();
    assert_eq!((it.blocked.clone(), it.record.failures), (Some(Blocked::Budget(again)), 1));
    it.is_at_rest();
    it.wait(days(1)).creates();
}

/// `Retry-After`: nothing is sent to the account before that moment.
#[test]
pub fn the_providers_wish_to_be_left_alone_is_kept() {
    let mut it = Bench::keeps().due();
    let create = it.creates();
    let until = it.now.plus(minutes(20));
    it.answer(&create, refused(RefusalKind::Throttled, Some(until)));
    assert_eq!(it.account.held_until, Some(until));
    it.wait(minutes(19)).rests();
    assert_eq!(it.wake_at, until);
    // Another key of the account waits too.
    it.record.retry_at = None;
    it.rests();
    assert_eq!(it.blocked, Some(Blocked::Throttled(until)));
    it.wait(minutes(1));
    assert!(matches!(it.creates(), Action::Create { .. }));
}

/// Where keys are told apart by difference, those that the account did not know are probed before one is believed.
#[test]
pub fn of_a_list_only_the_unknown_keys_are_candidates() {
    let mut it = Bench::new(OnCreate::Keeps, Recover::DiffList, false);
    it.lists(all(&["k1", "theirs", "k2"]));
    it.account.known.extend(["k1".into(), "theirs".into()]);
    let seen = rekeyd_simulation::core::decide::candidates(&it.record, &it.account, &it.facts, &it.policy);
    assert_eq!(seen, ["k2".into()]);
}

/// Hole 17. A create was lost for days, and its key is found and taken when the next one is answered. It has lived for days
/// already: reckoned from when it was found, it would die before anybody thought of replacing it.
#[test]
pub fn an_assumed_expiry_is_reckoned_from_the_first_create_that_may_have_made_the_key() {
    let mut it = answering();
    let sent_at = it.now;
    let first = it.creates();
    it.answer(&first, lost());
    it.policy.creates_per_day = 0;
    it.wait(days(5)).pass();
    it.policy.creates_per_day = 5;
    let second = it.creates();
    let mut keys = all(&["k1", "k2", "k3"]);
    keys[2].probe = Some(Probe::Dead);
    it.answer(&second, Outcome::AnsweredAll(keys));
    let pending = it.record.pending().expect("k2 was accepted");
    assert_eq!((pending.fingerprint.as_str(), pending.valid_to), ("k2", Some(sent_at.plus(days(90)))));
}

/// Where a list tells new keys from old ones, what it shows before the first create is known as not ours. While an answer is
/// lost, a new element may be ours: it is learned only once nothing is in doubt.
#[test]
pub fn what_a_list_shows_before_the_first_create_is_not_ours() {
    let strangers = || vec![found("k1", Probe::Alive), found("stranger", Probe::Alive)];
    for baseline in [false, true] {
        let mut it = Bench::new(OnCreate::Keeps, Recover::DiffList, true).due();
        it.account.baseline = baseline;
        it.lists(strangers()).creates();
        assert!(it.account.baseline && it.account.known.contains(&"stranger".into()), "{baseline}");
    }
    let mut it = Bench::new(OnCreate::Keeps, Recover::DiffList, true).due();
    let other = Token { by: it.by.clone(), name: "other".parse().unwrap(), n: 1 };
    let (sent_at, lost_at) = (it.now, Some(it.now));
    let lost = Open {
        sent_at,
        lost_at,
        before: None,
        package: None,
        locks: false,
        reported_at: None,
        ending: false,
        failures: 0,
        retry_at: None,
    };
    it.account.open.insert(other, lost);
    it.lists(strangers()).creates();
    assert!(!it.account.known.contains(&"stranger".into()), "another key's lost create may have made it");
}

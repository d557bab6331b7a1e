//! Tokens: which creates are ours, and what becomes of those whose answers were lost.
use crate::bench::*;
use rekeyd_simulation::core::facts::{Action, Listed, Outcome, Probe, Revokee};
use rekeyd_simulation::core::names::{Incarnation, Token};
use rekeyd_simulation::core::plan::NoticeKind;
use rekeyd_simulation::core::policy::{OnCreate, Recover};
use rekeyd_simulation::core::record::Reason;

/// A create at a `Keeps` provider whose answer was lost, a moment later.
fn in_doubt() -> (Bench, Action) {
    let mut it = Bench::keeps().due();
    let create = it.creates();
    it.answer(&create, lost());
    it.wait(seconds(2));
    (it, create)
}

fn is_revoke_of_orphan(action: &Action, create: &Action) -> bool {
    matches!(action, Action::Revoke(it) if it.what == Revokee::Orphan(token(create)) && !it.id.is_empty())
}

/// Hole 2 and 10. Two attempts under one token make two keys of one name, and the second is never looked for.
#[test]
pub fn each_attempt_has_a_token_of_its_own() {
    let (mut it, first) = in_doubt();
    let second = it.creates();
    assert_eq!((token(&first).n, token(&second).n), (1, 2));
    assert_eq!(it.account.open.len(), 2, "the lost one stays open beside the new one");
    it.is_at_rest();
}

/// Hole 2. The backup is older than the last rotation. After the restore, a token of an earlier life names a key that may
/// be in use by now: it is told to the owners and never revoked.
#[test]
pub fn a_token_of_an_earlier_life_is_reported_and_its_key_not_revoked() {
    let (mut it, create) = in_doubt();
    it.by.epoch = "000002".into();
    it.lists(vec![listed(&create, None, Probe::Inconclusive)]);
    let actions = it.pass();
    assert!(!actions.iter().any(|it| matches!(it, Action::Revoke(_))), "{actions:?}");
    assert_eq!(it.told(NoticeKind::RevokeNeeded), 1);
    assert!(!it.account.open.contains_key(&token(&create)));
}

/// Hole 2. A second daemon, on a copy of the state, issues keys under the same name: two that rotate against each other
/// never end.
#[test]
pub fn another_installations_token_for_our_key_halts() {
    let mut it = Bench::keeps().due();
    let by = Incarnation { install: "ffffffff".into(), epoch: "000001".into() };
    let theirs = Token { by, name: it.record.name.clone(), n: 7 };
    let mut key = found("k7", Probe::Alive);
    key.token = Some(theirs);
    it.lists(vec![key]).rests();
    assert_eq!(it.halted(), Some(Reason::AnotherDaemon));
    it.is_at_rest();
}

/// Hole 2. The file system was rolled back: the provider lists a token of this very life with a number that was never
/// issued. Issuing it now would take a key in use for an orphan.
#[test]
pub fn a_token_that_was_never_issued_means_a_rolled_back_store() {
    let mut it = Bench::keeps().due();
    let ahead = Token { by: it.by.clone(), name: it.record.name.clone(), n: 4 };
    let mut key = found("k4", Probe::Alive);
    key.token = Some(ahead);
    it.lists(vec![key]).rests();
    assert!(it.rolled_back, "a new life must begin");
    assert_eq!(it.phase(), "reobserve");
    it.is_at_rest();
}

/// Hole 2. `orphan = any key with a token that is not current` lets two managed keys of one account revoke each other, and
/// takes a key in its overlap for an orphan.
#[test]
pub fn keys_of_others_and_keys_in_their_overlap_are_left_alone() {
    let mut it = Bench::keeps().rotated();
    let own = it.record.current.as_ref().and_then(|it| it.token.clone());
    let mut current = found("k2", Probe::Alive);
    current.token = own;
    let mut other = found("x1", Probe::Alive);
    other.token = Some(Token { by: it.by.clone(), name: "shipping".parse().unwrap(), n: 1 });
    let mut nameless = found("x2", Probe::Alive);
    nameless.token = None;
    it.lists(vec![current, other, nameless, found("k1", Probe::Alive)]);
    it.wait(days(1)).rests();
    it.is_at_rest();
}

/// Hole 10. The list is late: the create timed out, is not listed, and another was made and delivered. Then the first one
/// appears: live, and known to nobody.
#[test]
pub fn a_lost_create_that_appears_late_is_found_and_revoked() {
    let (mut it, first) = in_doubt();
    it.created("k3");
    it.probes(2, Probe::Alive).delivers(2, "k3");
    it.rests();
    assert!(it.look().list, "the lost one is still looked for");
    it.wait(hours(1)).lists(vec![listed(&first, Some("k2"), Probe::Alive)]);
    let actions = it.pass();
    assert_eq!(actions.len(), 1);
    assert!(is_revoke_of_orphan(&actions[0], &first), "{actions:?}");
    it.answer(&actions[0], Outcome::Revoked);
    assert_eq!(it.account.open.len(), 0);
    assert_eq!(it.current(), 2);
    it.lists(vec![]).rests();
    it.is_at_rest();
}

/// Hole 10. The list masks secrets: the orphan can't be adopted. A crash before the revoke must not forget it.
#[test]
pub fn a_masked_orphan_is_revoked_again_until_that_succeeds() {
    let (mut it, create) = in_doubt();
    it.lists(vec![listed(&create, None, Probe::Inconclusive)]);
    for _ in 0..3 {
        let actions = it.pass();
        assert!(actions.iter().any(|it| is_revoke_of_orphan(it, &create)), "{actions:?}");
    }
    assert!(it.account.open.contains_key(&token(&create)), "open until it has ended");
}

/// Recovery by name: a lost create that is listed with its secret, and accepted, is the new key.
#[test]
pub fn a_lost_create_that_is_listed_with_its_secret_and_accepted_is_adopted() {
    let (mut it, create) = in_doubt();
    it.lists(vec![listed(&create, Some("k2"), Probe::Alive)]);
    it.probes(2, Probe::Alive).delivers(2, "k2");
    it.rests();
    assert_eq!((it.current(), it.account.creates.len(), it.kept.as_slice()), (2, 1, &[2][..]));
    assert_eq!(it.record.current.as_ref().unwrap().token, Some(token(&create)));
    assert_eq!(it.account.open.len(), 0);
    it.is_at_rest();
}

/// The service refuses each revoke of what a lost create left behind with a 5xx. That is no reason to ask it every second
/// for ever, nor to keep it to ourselves: a key works that nobody has.
#[test]
pub fn an_orphan_that_can_not_be_revoked_is_tried_with_growing_waits_and_told_once() {
    let (mut it, create) = in_doubt();
    it.created("k3");
    it.probes(2, Probe::Alive).delivers(2, "k3");
    it.rests();
    it.lists(vec![listed(&create, None, Probe::Inconclusive)]);
    let (begin, told) = (it.now, it.told(NoticeKind::RevokeNeeded));
    let mut tries = Vec::new();
    while it.now < begin.plus(days(1)) {
        let actions = it.pass();
        if let Some(revoke) = actions.iter().find(|it| is_revoke_of_orphan(it, &create)) {
            tries.push(it.now.since(begin));
            it.answer(revoke, Outcome::Failed("503".into()));
        }
        assert!(it.wake_at > it.now || !actions.is_empty(), "it never rests");
        it.wait(seconds(1));
    }
    let waits: Vec<_> = tries.windows(2).map(|it| it[1] - it[0]).collect();
    assert!(waits.is_sorted_by(|a, b| *a <= *b + seconds(15 * 60)), "{waits:?}");
    assert!(waits[0] <= seconds(3) && tries.len() < 40, "{tries:?}");
    assert_eq!(it.told(NoticeKind::RevokeNeeded), told + 1);
    let revoke = it.wait(hours(2)).pass().into_iter().find(|it| is_revoke_of_orphan(it, &create));
    it.answer(&revoke.expect("it is tried again"), Outcome::Revoked);
    assert!(!it.account.open.contains_key(&token(&create)));
    it.lists(vec![]).rests();
    it.is_at_rest();
}

/// The revoke of an orphan is on the wire when its key begins to be accepted: adopting it now would deliver a key that dies
/// a moment later.
#[test]
pub fn an_orphan_whose_revoke_was_sent_is_never_adopted() {
    let (mut it, create) = in_doubt();
    it.lists(vec![listed(&create, Some("k2"), Probe::Inconclusive)]);
    let actions = it.pass();
    assert!(actions.iter().any(|it| is_revoke_of_orphan(it, &create)), "{actions:?}");
    it.lists(vec![listed(&create, Some("k2"), Probe::Alive)]);
    let actions = it.pass();
    assert!(!actions.iter().any(|it| matches!(it, Action::Deliver { .. })), "{actions:?}");
    assert_ne!(it.record.pending().map(|it| it.fingerprint.as_str()), Some("k2"));
}

/// Hole 10. A lost create that never shows up is not looked for in silence for ever: the owners are told of it.
#[test]
pub fn a_lost_create_that_is_not_found_is_reported_after_the_watch() {
    let (mut it, _) = in_doubt();
    it.created("k3");
    it.probes(2, Probe::Alive).delivers(2, "k3");
    it.rests();
    it.wait(days(7).saturating_sub(minutes(1))).pass();
    assert_eq!((it.account.open.len(), it.told(NoticeKind::RevokeNeeded)), (1, 0));
    it.wait(minutes(2)).pass();
    assert_eq!((it.account.open.len(), it.told(NoticeKind::RevokeNeeded)), (0, 1));
    assert!(it.last_told().summary.contains("billing-1"), "it names the token: {:?}", it.last_told().summary);
    it.pass();
    assert_eq!(it.told(NoticeKind::RevokeNeeded), 1, "once");
}

/// Hole 10. The list stops at its limit: that a key is not in it proves nothing.
#[test]
pub fn a_truncated_list_proves_no_absence() {
    let (mut it, _) = in_doubt();
    it.facts.listed = Some(Listed { keys: vec![found("x", Probe::Alive)], truncated: true });
    it.rests();
    it.wait(minutes(1)).rests();
    assert_eq!(it.account.creates.len(), 1, "no second create");
    it.lists(vec![]).creates();
}

/// Hole 10. Where old keys stay valid, a fresh token and the watch suffice: waiting would only cost time. Where a create
/// kills the old key, an absence must last before another create is dared.
#[test]
pub fn an_absence_must_last_only_where_a_create_may_kill() {
    let (mut it, _) = in_doubt();
    it.creates();

    let mut it = Bench::revokes().due();
    it.policy.announce = minutes(0);
    let create = it.creates();
    it.answer(&create, lost());
    it.wait(seconds(29)).rests();
    it.wait(seconds(1)).creates();
}

/// Recovery by reading: what differs from what was read before the intent is the lost create's key.
#[test]
pub fn a_read_that_differs_from_the_one_before_the_create_recovers_it() {
    let mut it = Bench::revokes().due();
    it.policy.announce = minutes(0);
    let create = it.creates();
    it.answer(&create, lost());
    it.wait(seconds(2)).reads("k2", Probe::Alive);
    it.delivers(2, "k2");
    assert_eq!((it.current(), it.account.creates.len()), (2, 1));
    it.is_at_rest();
}

/// A pass that could not recover a lost create makes none: the recovery read comes first.
#[test]
pub fn no_create_without_an_answered_recovery_read() {
    for (on_create, recover) in [
        (OnCreate::Keeps, Recover::ListByName),
        (OnCreate::Keeps, Recover::DiffList),
        (OnCreate::Keeps, Recover::ReadCurrent),
    ] {
        let mut it = Bench::new(on_create, recover, true).due();
        (it.facts.listed, it.facts.read) = (None, None);
        it.rests();
        assert_eq!(it.blocked.as_ref().map(|it| it.code()), Some("provider_unreachable"), "{recover:?}");
        assert_eq!((it.account.creates.len(), it.account.open.len()), (0, 0));
    }
}

/// While a lost create was to be looked for, the daemon was down or the provider showed no list. Nobody has looked: its owners are
/// told of it, and its key is still ended once a list shows it. It must not be told as one that was looked for and not found.
#[test]
pub fn a_lost_create_that_nobody_could_look_for_is_told_and_still_ended_once_it_shows() {
    for is_there in [true, false] {
        let (mut it, create) = in_doubt();
        it.facts.listed = None;
        let watch = it.policy.watch;
        it.wait(watch).pass();
        assert_eq!(it.told(NoticeKind::RevokeNeeded), 0, "as much time again may pass until somebody has looked");
        it.wait(watch).pass();
        assert_eq!(it.told(NoticeKind::RevokeNeeded), 1);
        assert!(it.notices.iter().all(|it| !it.summary.contains("not found")), "nobody has looked: {:#?}", it.notices);
        assert!(it.wake_at > it.now && it.wake_at <= it.now.plus(hours(1)), "it is looked for on, at {}", it.wake_at);
        it.wait(days(1)).pass();
        let shown = if is_there { vec![listed(&create, None, Probe::Inconclusive)] } else { Vec::new() };
        it.lists(shown);
        let revokes = it.pass().into_iter().find(|it| is_revoke_of_orphan(it, &create));
        assert_eq!(revokes.is_some(), is_there);
        if let Some(revoke) = revokes {
            it.answer(&revoke, Outcome::Revoked);
        }
        assert!(!it.account.open.contains_key(&token(&create)));
        assert_eq!(it.told(NoticeKind::RevokeNeeded), 2, "it is told once, and to be over");
    }
}

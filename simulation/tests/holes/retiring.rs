//! The end of old keys: only what nothing holds, after its overlap, while the current key is seen to work.
use crate::bench::*;
use rekeyd_simulation::core::facts::{Action, Content, Outcome, Probe};
use rekeyd_simulation::core::names::TargetId;
use rekeyd_simulation::core::plan::{Adopt, Command, NoticeKind};
use rekeyd_simulation::core::policy::Reach;
use rekeyd_simulation::core::record::{Ended, Expiry, Wish};
use std::collections::BTreeMap;

/// v2 is current, v1 is retired, and its overlap of two days has just passed.
fn overlapped() -> Bench {
    let mut it = Bench::keeps().rotated();
    it.lists(vec![]).wait(days(2));
    it
}

fn revokes(actions: &[Action], version: u32) -> bool {
    actions.iter().any(|it| is_revoke_of(it, version))
}

/// The predecessor of a promoted key is on the books until it ended: forgetting it leaves a live key behind.
#[test]
pub fn a_promoted_keys_predecessor_retires_for_its_overlap() {
    let mut it = Bench::keeps().rotated();
    let old = it.record.retired.iter().find(|it| it.version.number == 1).expect("it is on the books");
    assert_eq!((old.since, old.after), (it.now, it.now.plus(days(2))));
    it.wait(days(2).saturating_sub(seconds(1))).rests();
    let actions = it.wait(seconds(1)).pass();
    assert!(revokes(&actions, 1), "{actions:?}");
    it.is_at_rest();
}

/// A consumer may hold v1 for as long as it likes: `held` says so, whatever time has passed.
#[test]
pub fn a_key_that_a_target_still_holds_is_not_revoked() {
    let mut it = overlapped();
    it.record.held.get_mut(&file()).unwrap().maybe.insert(1);
    it.facts.targets.clear();
    let actions = it.pass();
    assert!(!revokes(&actions, 1), "{actions:?}");
}

/// Two keys of one config may have been adopted with one secret: the first one that is rotated must not end the other's.
#[test]
pub fn a_key_that_another_key_uses_is_not_revoked_before_its_last_user_has_left() {
    let mut it = overlapped();
    it.facts.in_use.insert("k1".into());
    let actions = it.pass();
    assert!(!revokes(&actions, 1), "{actions:?}");
    assert_eq!(it.ended(1), None);
    assert!(it.wake_at < it.now.plus(days(1)), "it is looked at again");
    it.facts.in_use.clear();
    let actions = it.pass();
    assert!(revokes(&actions, 1), "{actions:?}");
}

/// A model may err. The last guard against reality: nothing that was ever delivered is revoked unless the current key is
/// seen alive in this very pass.
#[test]
pub fn no_delivered_key_is_revoked_unless_the_current_one_is_alive_in_that_pass() {
    for probe in [Some(Probe::Dead), Some(Probe::Inconclusive), None] {
        let mut it = overlapped();
        assert_eq!(it.look().probe, [2], "it is asked for");
        it.facts.probes.clear();
        it.facts.probes.extend(probe.map(|probe| (2, probe)));
        let actions = it.pass();
        assert!(!revokes(&actions, 1), "{probe:?}: {actions:?}");
        assert_eq!(it.ended(1), None);
    }
}

/// Without a probe, a passing `confirm` of every target is the proof that the current key works.
#[test]
pub fn without_a_probe_the_confirmations_of_all_targets_count() {
    let mut it = overlapped();
    it.policy.provider.probes = false;
    it.policy.targets[0].confirms = true;
    it.facts.probes.clear();
    let confirm = Action::Confirm { target: file(), version: 2 };
    // The wait for the confirmation is bounded by the report below; here it comes first.
    it.now = it.now.plus(days(0)).minus(hours(1));
    assert_eq!(it.pass(), std::slice::from_ref(&confirm));
    it.answer(&confirm, Outcome::Confirmed);
    it.wait(hours(1));
    let actions = it.pass();
    assert!(revokes(&actions, 1), "{actions:?}");
}

/// Without any proof the old key is not revoked: its owners are told to do it by hand.
#[test]
pub fn without_any_proof_the_old_key_ends_as_reported() {
    let mut it = overlapped();
    it.policy.provider.probes = false;
    it.facts.probes.clear();
    it.rests();
    assert_eq!((it.ended(1), it.told(NoticeKind::RevokeNeeded)), (Some(Ended::Reported), 1));
    assert!(it.last_told().summary.contains("id-k1"), "{}", it.last_told().summary);
    it.is_at_rest();
}

/// Old keys are revoked only in windows: that is when their owners expect surprises.
#[test]
pub fn an_old_key_is_revoked_only_in_a_window() {
    let mut it = overlapped();
    it.policy.windows = nights();
    it.rests();
    it.is_at_rest();
    it.wait(hours(9).saturating_add(minutes(30))).rests();
    assert_eq!(it.wake_at, it.now.plus(minutes(30)), "it wakes for the window");
    let actions = it.wait(minutes(30)).pass();
    assert!(revokes(&actions, 1), "{actions:?}");
}

/// Where no call revokes a key, its end is to be told by id and fingerprint, in one transaction with its end.
#[test]
pub fn where_nothing_can_be_revoked_the_old_key_ends_as_reported() {
    let mut it = overlapped();
    it.policy.provider.revokes_by_id = false;
    it.rests();
    assert_eq!((it.ended(1), it.told(NoticeKind::RevokeNeeded)), (Some(Ended::Reported), 1));
    let said = &it.last_told().summary;
    assert!(said.contains("id-k1") && said.contains("fingerprint k1"), "{said}");
    it.is_at_rest();
}

/// An old key whose time is up needs no call.
#[test]
pub fn an_old_key_that_expires_has_ended() {
    let mut it = overlapped();
    it.probes(2, Probe::Inconclusive).wait(days(29)).rests();
    assert_eq!(it.ended(1), Some(Ended::Expired));
    it.is_at_rest();
}

/// Hole 24. The answer to a revoke is lost: asking again is safe, and "gone" is an end.
#[test]
pub fn a_revoke_is_asked_for_until_it_succeeded() {
    let mut it = overlapped();
    for _ in 0..3 {
        let actions = it.pass();
        assert!(revokes(&actions, 1), "{actions:?}");
    }
    let revoke = it.pass().remove(0);
    it.answer(&revoke, Outcome::Revoked);
    it.rests();
    assert_eq!(it.ended(1), Some(Ended::Revoked));
    it.is_at_rest();
}

/// Hole 24. A key was adopted without its id: the list tells it by its fingerprint; an empty id is none, for one segment
/// short the call would disable the whole account.
#[test]
pub fn a_key_adopted_without_an_id_is_found_by_its_fingerprint_or_reported() {
    for id in [Some("id-k1"), Some(""), None] {
        let mut it = Bench::keeps();
        it.record.current.as_mut().unwrap().id = None;
        it = it.rotated();
        it.wait(days(2));
        assert!(it.look().list);
        it.facts.listed = None;
        assert!(!revokes(&it.pass(), 1));
        assert_eq!(it.ended(1), None, "an unanswered list is no answer");
        let mut key = found("k1", Probe::Alive);
        key.id = id.map(str::to_owned);
        it.lists(if id.is_some() { vec![key] } else { vec![] });
        let actions = it.pass();
        if id == Some("id-k1") {
            assert!(matches!(&actions[..], [Action::Revoke(it)] if it.id == "id-k1"), "{actions:?}");
        } else {
            assert_eq!((actions.as_slice(), it.ended(1)), (&[][..], Some(Ended::Reported)));
            assert_eq!(it.told(NoticeKind::RevokeNeeded), 1);
        }
    }
}

/// Hole 15. The key has moved to another account. A revoke there answers "not found" for an id of the former account, and
/// the old key lives on: it is revoked where it lives.
#[test]
pub fn an_old_key_is_revoked_only_at_its_own_account() {
    let mut it = overlapped();
    let former = it.policy.account.clone();
    it.policy.former.insert(former.clone(), it.policy.provider);
    it.policy.account = "elsewhere".into();
    let actions = it.pass();
    assert!(matches!(&actions[..], [Action::Revoke(it)] if it.account == former), "{actions:?}");
}

/// A key in wrong hands has no overlap and waits for no window; but what may still be in use waits all the same.
#[test]
pub fn a_compromised_key_has_no_overlap() {
    let mut it = Bench::keeps();
    it.policy.windows = nights();
    it.say(Command::Rotate(Wish { now: true, compromised: true, ..wish() })).unwrap();
    it.created("k2");
    it.probes(2, Probe::Alive).delivers(2, "k2");
    let actions = it.pass();
    assert_eq!(it.current(), 2);
    assert!(revokes(&actions, 1), "{actions:?}");
}

/// Hole 19. A provider login that this key authorises fetches the key itself: it holds back the end of the old key, and never
/// the promote.
#[test]
pub fn a_pull_target_holds_back_the_end_and_not_the_promote() {
    let mut it = Bench::keeps();
    let login = TargetId::new("login", "infobip");
    it.policy.targets.push(target(login.clone(), Reach::Pull));
    let mut it = it.rotated();
    assert_eq!(it.current(), 2);
    it.record.held.entry(login.clone()).or_default().settled = Some(1);
    it.wait(days(3));
    assert!(!revokes(&it.pass(), 1), "it may still be using v1");
    it.record.held.entry(login).or_default().settled = Some(2);
    assert!(revokes(&it.pass(), 1));
}

/// What an operator takes over retires the key before it, and is brought to the targets that hold that one.
#[test]
pub fn an_adopted_key_is_delivered_and_its_predecessor_retires() {
    let mut it = Bench::keeps();
    it.say(Command::Adopt(adoption("k9", Probe::Alive))).unwrap();
    it.probes(2, Probe::Alive).delivers(2, "k9");
    it.rests();
    it.rests();
    assert_eq!((it.phase(), it.current(), it.ended(1)), ("steady", 2, None));
    assert_eq!(it.told(NoticeKind::KeyAdopted), 1);
    it.is_at_rest();
    let actions = it.wait(days(2)).pass();
    assert!(revokes(&actions, 1), "{actions:?}");
}

/// A key to take over, valid for 90 days from now.
pub fn adoption(fingerprint: &str, probe: Probe) -> Adopt {
    Adopt {
        fingerprint: fingerprint.into(),
        id: Some(format!("id-{fingerprint}")),
        valid_from: None,
        valid_to: Some(NOON.plus(days(90))),
        expiry: Expiry::Stated,
        probe,
        unverified: false,
        targets: BTreeMap::new(),
        deliver: false,
        actor: None,
    }
}

/// Hole 3. A target left the config while it held the old key, and comes back when the overlap has passed: the old key is not
/// revoked before the new one has been delivered there, whether the target can be read or not.
#[test]
pub fn a_target_that_comes_back_may_still_hold_the_old_key() {
    for content in [Content::Holds("k1".into()), Content::Unreadable("busy".into())] {
        let mut it = Bench::keeps().rotated();
        it.record.held.clear();
        it.facts.targets.insert(file(), content);
        it.wait(days(3));
        let actions = it.pass();
        assert_eq!(actions, [Action::Deliver { target: file(), version: 2 }]);
        it.answer(&actions[0], Outcome::Delivered { ms: 1 });
        it.holds(Some("k2"));
        assert!(it.pass().iter().any(|it| is_revoke_of(it, 1)));
    }
}

/// A login may create, and not revoke. Asking again and again with it is what locks it out: while the edges say that nobody is to
/// ask, nothing is asked, neither for an old key nor for that of a lost create, and the key looks again within the hour.
#[test]
pub fn what_may_not_be_revoked_with_our_login_waits_until_that_is_asked_again() {
    let mut it = Bench::keeps().rotated();
    it.wait(days(8));
    it.facts.revokes_withheld.insert(it.policy.account.clone());
    for _ in 0..3 {
        it.wait(minutes(5)).rests();
        assert!(it.wake_at > it.now && it.wake_at <= it.now.plus(hours(1)), "{}", it.wake_at);
    }
    it.facts.revokes_withheld.clear();
    let actions = it.pass();
    assert!(matches!(actions.as_slice(), [Action::Revoke(_)]), "{actions:?}");
}

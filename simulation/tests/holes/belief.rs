//! What may be believed of a provider's answers.
use crate::bench::*;
use rekeyd_simulation::core::facts::{Action, Probe};
use rekeyd_simulation::core::plan::NoticeKind;
use rekeyd_simulation::core::policy::{OnCreate, Recover};
use rekeyd_simulation::core::record::{Ended, Phase, Reason};

/// Hole 1. The new key may only be used from 192.0.2.10, and the daemon runs elsewhere: the probe says 401, the key is
/// revoked, another is created, twenty a day until the old key dies. A refusal proves nothing to a daemon that never saw a
/// key accepted under the same restriction.
#[test]
pub fn a_refusal_without_a_control_proves_nothing_and_the_key_is_delivered_in_the_end() {
    let mut it = Bench::keeps().due();
    it.policy.restriction = Some("192.0.2.10".into());
    it.created("k2");
    it.probes(2, Probe::Dead).rests();
    it.wait(minutes(9)).rests();
    assert_eq!(it.phase(), "verify");
    it.wait(minutes(1)).delivers(2, "k2");
    assert_eq!((it.told(NoticeKind::KeyRefused), it.account.creates.len()), (1, 1));
    it.rests();
    assert_eq!((it.phase(), it.current()), ("steady", 2));
    it.is_at_rest();
}

/// Hole 1. A provider that accepts a new key only after a minute refuses it until then; a core that believes it at once
/// revokes the key, and creates and revokes for ever.
#[test]
pub fn a_refusal_of_a_new_key_counts_only_after_accept_within() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    it.probes(2, Probe::Dead).rests();
    it.wait(minutes(1)).rests();
    assert_eq!(it.phase(), "verify");
    it.wait(minutes(1)).probes(2, Probe::Alive).delivers(2, "k2");
    it.is_at_rest();
}

/// Hole 1. A wait for a verification that never comes must end: nobody can ask the provider, and the old key is running out.
#[test]
pub fn a_wait_for_a_verification_ends_with_an_unverified_delivery_that_is_told() {
    let mut it = Bench::keeps().due();
    it.created("k2");
    it.probes(2, Probe::Inconclusive).rests();
    assert!(it.wake_at <= it.now.plus(minutes(10)));
    it.wait(minutes(10)).delivers(2, "k2");
    assert!(it.last_told().summary.contains("unverified"), "{:?}", it.last_told());
    it.is_at_rest();
}

/// Hole 1. With the control and after `accept_within` a refusal counts: the key goes, and after three of them a human is
/// asked instead of creating for ever.
#[test]
pub fn a_key_that_is_lastingly_refused_goes_and_the_third_time_a_human_is_asked() {
    let mut it = Bench::keeps().due();
    for n in 2..=4 {
        it.created(&format!("k{n}"));
        it.probes(n, Probe::Dead).rests();
        let actions = it.wait(minutes(10)).pass();
        assert!(actions.iter().any(|it| is_revoke_of(it, n)), "the refused key was never delivered: {actions:?}");
        for revoke in actions {
            it.answer(&revoke, rekeyd_simulation::core::facts::Outcome::Revoked);
        }
        assert_eq!(it.ended(n), Some(Ended::Revoked));
        it.wait(minutes(1));
    }
    assert_eq!(it.halted(), Some(Reason::NewKeyRefused));
    assert_eq!(it.told(NoticeKind::RotationHalted), 1);
    assert_eq!(it.current(), 1, "consumers keep the old key");
    it.is_at_rest();
}

/// Hole 1. `probe_every` finds the current key refused, although it was never seen accepted from here: rotating now would
/// replace a working key for nothing.
#[test]
pub fn a_current_key_that_was_never_seen_alive_is_not_taken_for_dead() {
    let mut it = Bench::keeps();
    it.record.controls.clear();
    it.wait(days(1)).probes(1, Probe::Dead).rests();
    it.wait(minutes(10)).rests();
    assert_eq!((it.phase(), it.told(NoticeKind::KeyRefused)), ("steady", 0));
    it.is_at_rest();
}

/// Hole 1. At a provider that revokes, the control must be had before the create: afterwards the old key can't give it.
#[test]
pub fn the_current_key_is_probed_before_a_create() {
    let mut it = Bench::revokes().due();
    it.policy.announce = minutes(0);
    assert_eq!(it.look().probe, [1]);
    assert!(it.look().preflight && it.look().read);
}

/// Hole 3. The create answered with k2, which is delivered; then a replica still reads k1. Taking that for "somebody else
/// changed the key" brings a dead key everywhere.
#[test]
pub fn a_stale_read_of_a_key_that_was_ours_is_never_adopted() {
    let mut it = Bench::revokes();
    it.policy.provider.probes = false;
    it.record.seen.insert("k0".into(), 0);
    it.wait(days(1)).reads("k0", Probe::Inconclusive).rests();
    it.wait(minutes(1)).rests();
    it.wait(minutes(1)).rests();
    assert_eq!((it.current(), it.phase()), (1, "steady"));
    assert_eq!(it.told(NoticeKind::KeyDrifted), 0);
    it.is_at_rest();
}

/// Hole 3. A provider masks its answer: `<secret api key>` has a fingerprint like any text, but it is no key.
#[test]
pub fn a_read_secret_is_adopted_only_if_it_is_accepted() {
    let mut it = Bench::revokes();
    it.wait(days(1)).reads("masked", Probe::Dead).rests();
    it.wait(minutes(5)).reads("masked", Probe::Inconclusive).rests();
    assert_eq!((it.current(), it.phase()), (1, "steady"));
    it.reads("k2", Probe::Alive);
    it.delivers(2, "k2");
    assert_eq!((it.current(), it.told(NoticeKind::KeyDrifted)), (2, 1));
    it.is_at_rest();
}

/// Hole 3. Without a probe, one read proves nothing; two equal ones, a settle apart, are believed.
#[test]
pub fn without_a_probe_two_equal_reads_a_settle_apart_are_believed() {
    let mut it = Bench::revokes();
    it.policy.provider.probes = false;
    it.wait(days(1)).reads("k2", Probe::Inconclusive).rests();
    it.wait(seconds(29)).rests();
    it.reads("k3", Probe::Inconclusive).rests();
    it.wait(seconds(29)).rests();
    it.wait(seconds(1)).delivers(2, "k3");
    assert_eq!(it.current(), 2);
    it.is_at_rest();
}

/// Hole 3, in an outage. With the old key dead, a read key that can't be probed is believed after two equal reads.
#[test]
pub fn with_the_old_key_dead_two_equal_reads_suffice() {
    let mut it = Bench::revokes();
    it.wait(days(1)).probes(1, Probe::Dead).reads("k2", Probe::Inconclusive).rests();
    assert!(it.record.current.as_ref().unwrap().dead_since.is_some());
    it.wait(seconds(30)).delivers(2, "k2");
    assert_eq!(it.current(), 2);
    it.is_at_rest();
}

/// A documented trap: a reported expiry that has passed already is no expiry; the lifetime that was asked for counts.
#[test]
pub fn a_reported_expiry_in_the_past_is_not_believed() {
    let mut it = Bench::new(OnCreate::Keeps, Recover::ListByName, true).due();
    let create = it.creates();
    let mut made = found("k2", Probe::Alive);
    made.valid_to = Some(NOON);
    it.answer(&create, rekeyd_simulation::core::facts::Outcome::Created(made));
    let Phase::Verify { pending, .. } = &it.record.phase else { panic!("{:?}", it.record.phase) };
    assert_eq!(pending.valid_to, Some(it.now.plus(days(90))));
    let Action::Create { valid_to, .. } = create else { panic!() };
    assert_eq!(valid_to, Some(it.now.plus(days(90))), "and that lifetime was asked for");
}

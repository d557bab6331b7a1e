//! TERM and `kill -9` in every phase: the daemon is held in a phase from outside, ended, and started again. Nothing is lost.
use crate::hooks::Hook;
use crate::rig::{Rig, calm};
use crate::watch::Consumer;
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::{Call, Fault, Service, World};
use std::time::Duration;

/// How the daemon ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Kill,
    Term,
}

/// Where it is held, and how.
#[derive(Clone, Copy, Debug)]
enum At {
    /// The announcement of a cutover lasts.
    Announce,
    /// The create call hangs before it takes effect.
    CreateBefore,
    /// The create call took effect, and its answer is slow.
    CreateAfter,
    /// The new key is refused for a while.
    Verify,
    /// The file is written, its `then` hangs.
    Deliver,
    /// Both keys are valid.
    Overlap,
    /// The revoke call took effect, and its answer is slow.
    Revoke,
}

/// How long a slow answer takes.
const SLOW: u64 = 1200;
/// How long a phase lasts that only time ends, so that no machine is too slow to meet the daemon in it.
const HELD: Duration = Duration::from_secs(5);

fn key_of(service: Service) -> &'static str {
    World::key_name(service)
}

async fn hold(rig: &Rig, hook: &Hook, service: Service, at: At) {
    let key = key_of(service);
    let faults = |call, fault| rig.sim.fault(service, call, fault);
    let calls = rig.sim.truth().calls(service, Call::Create);
    rig.until_told().await;
    match at {
        At::Announce => {
            rig.ok(&["rotate", key]).await;
            rig.until_phase(key, PhaseName::Announce).await;
            return rig.until_told().await;
        }
        At::CreateBefore => rig.sim.behave(service, |it| it.latency_ms = 3 * SLOW),
        At::CreateAfter => faults(Call::Create, Fault::Delay { ms: SLOW }),
        At::Verify => rig.sim.behave(service, |it| it.accept_after_ms = 20_000),
        At::Deliver => hook.hold(),
        At::Revoke => faults(Call::Revoke, Fault::Delay { ms: SLOW }),
        At::Overlap => {}
    }
    rig.rotate(key).await;
    match at {
        At::CreateBefore => {
            rig.until_phase(key, PhaseName::Create).await;
        }
        At::CreateAfter => {
            rig.until_true("the create takes effect", || rig.sim.truth().calls(service, Call::Create) > calls).await;
        }
        At::Deliver => rig.until_true("the `then` runs", || hook.runs_for(2) == 1).await,
        At::Revoke => {
            rig.until_true("the revoke takes effect", || rig.sim.truth().calls(service, Call::Revoke) == 1).await;
        }
        At::Verify => {
            rig.until_phase(key, PhaseName::Verify).await;
        }
        At::Overlap | At::Announce => {
            rig.until_phase(key, PhaseName::Overlap).await;
        }
    }
}

fn let_go(rig: &Rig, hook: &Hook, service: Service, at: At) {
    rig.sim.behave(service, |it| (it.latency_ms, it.accept_after_ms) = (0, 0));
    rig.sim.accept_new_keys(service);
    if matches!(at, At::Deliver) {
        hook.release();
    }
}

async fn check(service: Service, at: At, end: End) {
    let key = key_of(service);
    let mut world = calm(&[service]);
    world.accept_within = Duration::from_secs(30);
    match at {
        At::Announce => world.announce = HELD,
        At::Overlap => world.overlap = HELD,
        _ => {}
    }
    let mut rig = Rig::prepare(world).await;
    let hook = Hook::of(&rig, key);
    rig.run().await;
    rig.until_version(key, 1).await;
    let first = rig.held(key).unwrap();
    let consumer = (service != Service::Mobivate).then(|| Consumer::of(&rig, service));
    hold(&rig, &hook, service, at).await;
    match end {
        End::Kill => {
            // A notice whose receipt is lost with the process comes twice, and may.
            rig.until_told().await;
            rig.kill().await;
            let_go(&rig, &hook, service, at);
        }
        End::Term => {
            rig.signal(rustix::process::Signal::TERM);
            let_go(&rig, &hook, service, at);
            assert_eq!(rig.ended().await.code(), Some(0), "{}", rig.tail());
        }
    }
    rig.run().await;
    let rested = rig.until(key, "replaced", |it| it.phase == PhaseName::Steady && it.previous.is_none());
    let rested = rested.await.current.unwrap();
    assert!(rested.version >= 2 || matches!(at, At::Announce), "the rotation goes on by itself");
    rig.until_version(key, 2).await;
    let held = rig.held(key).unwrap();
    assert_ne!(held, first);
    assert!(rig.sim.truth().is_live(&held));
    consumer.into_iter().for_each(Consumer::never_held_a_dead_key);
    if service == Service::Infobip || service == Service::Mobivate {
        assert_eq!(rig.sim.truth().live(service).len(), 1, "no key is left behind");
    }
    rig.every_live_key_is_known().await;
    rig.each_notice_came_once().await;
    assert_eq!(rig.told(key, "rotation.succeeded"), 2);
}

macro_rules! cases {
    ($($name:ident: $service:ident, $at:ident, $end:ident;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                check(Service::$service, At::$at, End::$end).await;
            }
        )+
    };
}

cases! {
    a_kill_before_a_create_takes_effect_loses_nothing: Infobip, CreateBefore, Kill;
    a_kill_before_the_answer_to_a_create_loses_no_key: Infobip, CreateAfter, Kill;
    a_kill_while_a_new_key_is_verified_loses_no_key: Infobip, Verify, Kill;
    a_kill_while_a_new_key_is_delivered_loses_no_key: Infobip, Deliver, Kill;
    a_kill_during_the_overlap_still_revokes_the_old_key: Infobip, Overlap, Kill;
    a_kill_before_the_answer_to_a_revoke_is_no_trouble: Infobip, Revoke, Kill;
    a_kill_before_the_answer_that_lists_all_keys_loses_no_key: SingleInvoice, CreateAfter, Kill;
    a_kill_while_it_is_seen_what_a_create_did_to_the_old_key_loses_neither: SingleInvoice, Verify, Kill;
    a_kill_after_the_announcement_keeps_it: Mobivate, Announce, Kill;
    a_kill_before_the_answer_to_a_create_that_cuts_over_loses_no_key: Mobivate, CreateAfter, Kill;
    a_kill_in_the_cutover_gap_still_delivers: Mobivate, Deliver, Kill;
    a_kill_before_a_cutover_is_verified_loses_no_key: Mobivate, Verify, Kill;
    a_term_before_a_create_takes_effect_loses_nothing: Infobip, CreateBefore, Term;
    a_term_before_the_answer_to_a_create_waits_for_it: Infobip, CreateAfter, Term;
    a_term_while_a_new_key_is_verified_loses_no_key: Infobip, Verify, Term;
    a_term_while_a_new_key_is_delivered_waits_for_the_consumer: Infobip, Deliver, Term;
    a_term_during_the_overlap_still_revokes_the_old_key: Infobip, Overlap, Term;
    a_term_before_the_answer_to_a_revoke_waits_for_it: Infobip, Revoke, Term;
    a_term_before_the_answer_of_a_service_that_cannot_be_asked_waits_for_it: Infobip2fa, CreateAfter, Term;
    a_term_after_the_announcement_keeps_it: Mobivate, Announce, Term;
    a_term_before_the_answer_to_a_create_that_cuts_over_waits_for_it: Mobivate, CreateAfter, Term;
    a_term_in_the_cutover_gap_waits_for_the_consumer: Mobivate, Deliver, Term;
    a_term_before_a_cutover_is_verified_loses_no_key: Mobivate, Verify, Term;
}

#[tokio::test]
async fn a_lost_create_at_a_silent_service_halts_after_a_kill() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip2fa])).await;
    let consumer = Consumer::of(&rig, Service::Infobip2fa);
    rig.sim.fault(Service::Infobip2fa, Call::Create, Fault::Delay { ms: SLOW });
    rig.rotate("two-factor").await;
    let sent = || rig.sim.truth().calls(Service::Infobip2fa, Call::Create) == 2;
    rig.until_true("the create takes effect", sent).await;
    rig.kill().await;
    rig.run().await;
    let halted = rig.until_phase("two-factor", PhaseName::Halted).await.halted.unwrap();
    assert_eq!(halted.reason, "ambiguous_create");
    rig.until_notice("two-factor", "revoke.needed").await;
    assert_eq!(rig.sim.truth().calls(Service::Infobip2fa, Call::Create), 2);
    consumer.never_held_a_dead_key();
}

#[tokio::test]
async fn a_second_term_ends_the_daemon_at_once() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let hook = Hook::of(&rig, "billing-sms");
    hook.hold();
    rig.run().await;
    rig.until_true("the `then` runs", || hook.runs_for(1) == 1).await;
    rig.signal(rustix::process::Signal::TERM);
    rig.until_true("it stops", || !rig.path("control.sock").exists()).await;
    rig.signal(rustix::process::Signal::TERM);
    assert_eq!(rig.ended().await.code(), Some(0));
    hook.release();
    rig.run().await;
    rig.until_version("billing-sms", 1).await;
}

/// The daemon is killed after the first call of a rotation took effect, in the next rotation after the second, and so on:
/// at each of them once, with those that only look.
async fn kill_at_every_call(service: Service, most: u32) {
    let key = key_of(service);
    let mut world = calm(&[service]);
    world.overlap = Duration::from_millis(500);
    let mut rig = Rig::start_created(world).await;
    let consumer = (service != Service::Mobivate).then(|| Consumer::of(&rig, service));
    for calls in 1..=most {
        rig.until_told().await;
        // An answer leaves a while after its effect, so that the kill comes before it.
        rig.sim.behave(service, |it| it.latency_ms = 100);
        let so_far = rig.sim.truth().requests().len();
        rig.rotate(key).await;
        let made = || rig.sim.truth().requests().len() >= so_far + calls as usize;
        rig.until_true("the calls are made", made).await;
        rig.kill().await;
        rig.sim.behave(service, |it| it.latency_ms = 0);
        rig.run().await;
        rig.until_version(key, calls + 1).await;
    }
    let held = rig.held(key).unwrap();
    assert!(rig.sim.truth().is_live(&held), "{}", rig.tail());
    consumer.into_iter().for_each(Consumer::never_held_a_dead_key);
    if service != Service::SingleInvoice {
        assert_eq!(rig.sim.truth().live(service).len(), 1, "no key is left behind");
    }
    rig.every_live_key_is_known().await;
    assert_eq!(rig.told(key, "rotation.halted"), 0);
}

#[tokio::test]
async fn kills_at_every_call_of_an_overlap_lose_nothing() {
    kill_at_every_call(Service::Infobip, 7).await;
}

#[tokio::test]
async fn kills_at_every_call_of_a_cutover_lose_nothing() {
    kill_at_every_call(Service::Mobivate, 5).await;
}

#[tokio::test]
async fn kills_at_every_call_where_only_a_difference_tells_lose_nothing() {
    kill_at_every_call(Service::SingleInvoice, 5).await;
}

/// The fail points of the crash matrix are in no binary that was built without asking for them.
#[cfg(not(feature = "failpoints"))]
#[test]
fn a_binary_that_was_not_built_for_the_crash_matrix_knows_no_fail_points() {
    let holds = |text: &str| {
        let found = std::process::Command::new("grep").args(["-aqF", text, env!("CARGO_BIN_EXE_rekeyd")]).status();
        found.unwrap().success()
    };
    assert!(holds("REKEYD_KEY_NAME"), "what is in it is found");
    for name in ["REKEYD_FAILPOINTS", "EscrowSynced", "RowsSynced"] {
        assert!(!holds(name), "{name}");
    }
}

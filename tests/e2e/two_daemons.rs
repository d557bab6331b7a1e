//! Two daemons at one account, and copies of one: found, told, and never a war.
use crate::rig::{Rig, ago, calm, copy_folder, number, write};
use crate::watch::Consumer;
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::{Call, Service, World};
use std::fs;
use std::time::Duration;

const SMS: &str = "billing-sms";
const CAMPAIGN: &str = "campaign-sms";

fn watchful(service: Service, more: &str) -> World {
    let mut world = calm(&[service]);
    world.accept_within = Duration::from_secs(30);
    world.more.push((World::key_name(service).to_owned(), format!("probe_every = \"1s\"\n{more}")));
    world
}

fn creates(rig: &Rig, service: Service) -> u64 {
    rig.sim.truth().calls(service, Call::Create)
}

async fn until_halted(rig: &Rig, key: &str) -> String {
    let halted = rig.until_phase(key, PhaseName::Halted).await.halted.unwrap();
    rig.until_notice(key, "rotation.halted").await;
    halted.reason
}

#[tokio::test]
async fn a_second_daemon_finds_the_firsts_tokens_and_creates_nothing() {
    let first = Rig::start_created(calm(&[Service::Infobip])).await;
    let consumer = Consumer::of(&first, Service::Infobip);
    let mut second = Rig::beside(&first.sim, calm(&[Service::Infobip]));
    second.run().await;
    assert_eq!(until_halted(&second, SMS).await, "another_daemon");
    assert_eq!((creates(&first, Service::Infobip), second.held(SMS)), (1, None));
    first.rotate(SMS).await;
    first.until_version(SMS, 2).await;
    assert_eq!(creates(&first, Service::Infobip), 2, "the first goes on: the second made nothing");
    consumer.never_held_a_dead_key();
}

#[tokio::test]
async fn a_second_daemon_that_was_resumed_is_found_by_the_first() {
    let first = Rig::start_created(calm(&[Service::Infobip])).await;
    let consumer = Consumer::of(&first, Service::Infobip);
    let mut second = Rig::beside(&first.sim, calm(&[Service::Infobip]));
    second.run().await;
    until_halted(&second, SMS).await;
    second.ok(&["resume", SMS]).await;
    second.until_version(SMS, 1).await;
    assert_eq!(creates(&first, Service::Infobip), 2, "resumed once, it goes on beside the key that it has seen");
    first.rotate(SMS).await;
    assert_eq!(until_halted(&first, SMS).await, "another_daemon");
    assert_eq!(creates(&first, Service::Infobip), 2);
    consumer.never_held_a_dead_key();
}

/// Both have the account's one key, the second by adoption.
async fn two_at_mobivate(more: &str) -> (Rig, Rig) {
    let first = Rig::start_created(watchful(Service::Mobivate, more)).await;
    let world = World { initial: "adopt".to_owned(), ..watchful(Service::Mobivate, more) };
    let mut second = Rig::beside(&first.sim, world);
    write(&second.key_file(CAMPAIGN), &first.held(CAMPAIGN).unwrap());
    second.run().await;
    second.ok(&["adopt", CAMPAIGN, "--from-target", "--issued-at", &ago(Duration::ZERO)]).await;
    second.until_version(CAMPAIGN, 1).await;
    (first, second)
}

#[tokio::test]
async fn two_daemons_with_one_key_follow_each_other_where_drift_is_adopted() {
    let (first, second) = two_at_mobivate("").await;
    for (made, one, other) in [(2, &first, &second), (3, &second, &first)] {
        one.rotate(CAMPAIGN).await;
        first.until_true("it creates", || creates(&first, Service::Mobivate) == made).await;
        one.until_phase(CAMPAIGN, PhaseName::Steady).await;
        let same = || other.held(CAMPAIGN) == one.held(CAMPAIGN);
        other.until_true("the other takes the key over", same).await;
        other.until_phase(CAMPAIGN, PhaseName::Steady).await;
        assert_eq!(creates(&first, Service::Mobivate), made, "one rotation, one create");
    }
    assert!(first.sim.truth().is_live(&first.held(CAMPAIGN).unwrap()));
}

#[tokio::test]
async fn two_daemons_that_rotate_against_each_other_stop() {
    let (first, second) = two_at_mobivate("on_drift = \"rotate\"").await;
    first.rotate(CAMPAIGN).await;
    let made = || creates(&first, Service::Mobivate);
    let held = || [&first, &second].map(|it| it.held(CAMPAIGN).unwrap());
    let works = |it: &String| first.sim.truth().is_live(it);
    // A new key that is dead before it was seen to work gives way to the one that is there instead: then both have that.
    let at_peace = || made() >= 3 && held()[0] == held()[1] && held().iter().all(works);
    let halted = || first.told(CAMPAIGN, "rotation.halted") > 0;
    first.until_true("one of them halts, or both have one key", || halted() || at_peace()).await;
    first.until_true("one of the two has the key that works", || held().iter().any(works)).await;
    let made_until_then = made();
    assert!((3..=5).contains(&made_until_then), "{made_until_then} creates");
    // Looked at again and again, it stays so.
    let requests = first.sim.truth().requests().len();
    first.until_true("more looks", || first.sim.truth().requests().len() > requests + 8).await;
    assert_eq!(made(), made_until_then);
}

#[tokio::test]
async fn a_copy_that_runs_beside_the_original_only_observes_from_the_start() {
    let mut first = Rig::start_created(watchful(Service::Infobip, "")).await;
    first.stop().await;
    let mut copy = first.copied();
    fs::remove_file(copy.key_file(SMS)).unwrap();
    first.run().await;
    copy.run().await;
    copy.until(SMS, "held", |it| it.blocked.as_ref().is_some_and(|it| it.reason == "observing")).await;
    let pid = first.pid();
    let refused = [&["rotate", "--now", SMS][..], &["resume", "--all"]];
    for verb in refused {
        let said = copy.cli(verb).await;
        assert_eq!(said.code, Some(65), "{said:?}");
        assert!(said.err.contains(&format!("another rekeyd on this machine (pid {pid})")), "{}", said.err);
        assert!(said.err.contains("try: stop the other for good, then: rekeyd "), "{}", said.err);
    }
    copy.until_own_notice("daemon.degraded", "firing").await;
    first.rotate(SMS).await;
    first.until_version(SMS, 2).await;
    assert_eq!((creates(&first, Service::Infobip), copy.held(SMS)), (2, None));
    // The other is stopped for good: from here on the copy is the one, in a life of its own.
    first.stop().await;
    copy.ok(&["resume", "--all"]).await;
    copy.until_notice(SMS, "key.drifted").await;
    copy.until_own_notice("daemon.degraded", "resolved").await;
    copy.until_true("the consumer has a key again", || copy.held(SMS).is_some()).await;
    // And the original is the second now.
    first.run().await;
    first.until(SMS, "held", |it| it.blocked.as_ref().is_some_and(|it| it.reason == "observing")).await;
}

#[tokio::test]
async fn a_copy_that_ran_while_the_original_did_not_is_found_and_told() {
    let mut first = Rig::start_created(watchful(Service::Infobip, "")).await;
    first.stop().await;
    let mut copy = first.copied();
    first.run().await;
    let consumer = Consumer::of(&first, Service::Infobip);
    first.rotate(SMS).await;
    first.until_version(SMS, 2).await;
    first.stop().await;
    // The copy finds a token of its own that it never issued: from then on it is another life of this installation.
    copy.run().await;
    copy.rotate(SMS).await;
    copy.until(SMS, "replaced by a key of its own", |it| number(it) >= 2).await;
    assert_eq!(creates(&first, Service::Infobip), 3);
    copy.until_notice(SMS, "key.drifted").await;
    copy.stop().await;
    first.run().await;
    first.rotate(SMS).await;
    assert_eq!(until_halted(&first, SMS).await, "another_daemon");
    assert_eq!(creates(&first, Service::Infobip), 3);
    consumer.never_held_a_dead_key();
}

#[tokio::test]
async fn a_state_that_was_rolled_back_leaves_the_newer_key_until_a_fresh_one_replaces_it() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.stop().await;
    copy_folder(&rig.path("state"), &rig.path("backup"));
    rig.run().await;
    rig.rotate(SMS).await;
    rig.until_version(SMS, 2).await;
    let newer = rig.held(SMS).unwrap();
    rig.stop().await;
    copy_folder(&rig.path("backup"), &rig.path("state"));
    let consumer = Consumer::of(&rig, Service::Infobip);
    rig.run().await;
    rig.until_notice(SMS, "key.drifted").await;
    assert_eq!(rig.held(SMS), Some(newer.clone()));
    rig.rotate(SMS).await;
    rig.until_true("a fresh key is delivered", || rig.held(SMS).is_some_and(|it| it != newer)).await;
    rig.until_phase(SMS, PhaseName::Steady).await;
    consumer.never_held_a_dead_key();
    assert_eq!(creates(&rig, Service::Infobip), 3);
    rig.every_live_key_is_known().await;
}

#[tokio::test]
async fn a_state_on_another_machine_only_observes() {
    let mut first = Rig::start_created(calm(&[Service::Infobip, Service::Mobivate])).await;
    first.stop().await;
    let mut copy = first.copied();
    if !copy.move_to_machine("0123456789abcdef0123456789abcdef") {
        println!("skipped: /etc/machine-id can't be replaced for a process here");
        return;
    }
    first.run().await;
    let consumer = Consumer::of(&first, Service::Infobip);
    fs::remove_file(copy.key_file(SMS)).unwrap();
    copy.run().await;
    let looks = first.sim.truth().requests().len();
    let _ = copy.cli(&["rotate", "--now", SMS, CAMPAIGN]).await;
    first.until_true("it looks", || first.sim.truth().requests().len() > looks + 4).await;
    assert_eq!((creates(&first, Service::Infobip), creates(&first, Service::Mobivate)), (1, 1));
    assert_eq!(first.sim.truth().calls(Service::Infobip, Call::Revoke), 0);
    assert_eq!(copy.held(SMS), None, "not even a target is healed");
    let status = copy.cli(&["status", "--exit-code"]).await;
    assert_eq!(status.code, Some(1), "{}", status.out);
    assert!(status.out.contains("resume --all"), "{}", status.out);
    consumer.never_held_a_dead_key();
    first.stop().await;
    copy.ok(&["resume", "--all"]).await;
    copy.until_true("the key is brought back", || copy.held(SMS).is_some()).await;
}

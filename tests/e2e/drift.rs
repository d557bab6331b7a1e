//! Somebody else changes a key: at the service, or at a consumer.
use crate::rig::{Rig, calm, number, write};
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::{Call, Service, World};
use std::fs;

fn watchful(service: Service, more: &str) -> World {
    let mut world = calm(&[service]);
    world.more.push((World::key_name(service).to_owned(), format!("probe_every = \"1s\"\n{more}")));
    world
}

async fn mobivate(more: &str) -> Rig {
    let mut rig = Rig::prepare(watchful(Service::Mobivate, more)).await;
    rig.sim.stranger_creates_key(Service::Mobivate);
    rig.run().await;
    rig.until_version("campaign-sms", 1).await;
    rig
}

#[tokio::test]
async fn a_key_that_somebody_replaced_in_the_portal_is_adopted_and_told() {
    let rig = mobivate("").await;
    let theirs = rig.sim.stranger_creates_key(Service::Mobivate).unwrap().secret;
    rig.until_version("campaign-sms", 2).await;
    assert_eq!(rig.held("campaign-sms"), Some(theirs));
    assert_eq!(rig.sim.truth().calls(Service::Mobivate, Call::Create), 1, "nobody rotates against them");
    rig.until_notice("campaign-sms", "key.drifted").await;
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn a_key_that_somebody_replaced_halts_where_the_config_says_so() {
    let rig = mobivate("on_drift = \"halt\"").await;
    rig.sim.stranger_creates_key(Service::Mobivate).unwrap();
    let halted = rig.until_phase("campaign-sms", PhaseName::Halted).await.halted.unwrap();
    assert_eq!(halted.reason, "drifted");
    assert_eq!(rig.sim.truth().calls(Service::Mobivate, Call::Create), 1);
}

#[tokio::test]
async fn a_key_that_somebody_revoked_is_told_and_replaced() {
    let rig = Rig::start_created(watchful(Service::Infobip, "")).await;
    let old = rig.held("billing-sms").unwrap();
    // Only a key that has been accepted for a while can be called dead.
    tokio::time::sleep(rig.world.accept_within).await;
    assert!(rig.sim.stranger_revokes_key(Service::Infobip, &old));
    rig.until("billing-sms", "replaced", |it| number(it) == 2).await;
    rig.until_notice("billing-sms", "key.refused").await;
    let works = || rig.held("billing-sms").is_some_and(|it| rig.sim.truth().is_live(&it));
    rig.until_true("the new key is delivered", works).await;
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn a_file_that_somebody_changed_is_told_and_left_until_a_new_key_comes() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    write(&rig.key_file("billing-sms"), "changed by hand");
    rig.until_notice("billing-sms", "key.drifted").await;
    assert_eq!(rig.held("billing-sms").as_deref(), Some("changed by hand"));
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 2).await;
    assert!(rig.sim.truth().is_live(&rig.held("billing-sms").unwrap()));
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn a_file_that_somebody_removed_is_written_again() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let held = rig.held("billing-sms");
    fs::remove_file(rig.key_file("billing-sms")).unwrap();
    rig.until_true("healed", || rig.held("billing-sms") == held).await;
    assert_eq!(rig.sim.truth().calls(Service::Infobip, Call::Create), 1);
}

#[tokio::test]
async fn usr1_looks_at_everything_at_once() {
    let mut world = calm(&[Service::Infobip]);
    world.sweep = "0 0 0 1 1 *".to_owned();
    let rig = Rig::start_created(world).await;
    let held = rig.held("billing-sms");
    fs::remove_file(rig.key_file("billing-sms")).unwrap();
    rig.signal(rustix::process::Signal::USR1);
    rig.until_true("healed", || rig.held("billing-sms") == held).await;
}

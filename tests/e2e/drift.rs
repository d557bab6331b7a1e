//! Somebody else changes a key: at the service, or at a consumer.
use crate::rig::{Rig, ago, calm, number, write};
use rekeyd::control::protocol::{Health, PhaseName};
use rekeyd::simulator::{Call, Service, World};
use std::fs;
use std::time::Duration;

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

async fn halted_by_a_colleague() -> (Rig, String) {
    let rig = mobivate("on_drift = \"halt\"").await;
    let theirs = rig.sim.stranger_creates_key(Service::Mobivate).unwrap().secret;
    rig.until_phase("campaign-sms", PhaseName::Halted).await;
    (rig, theirs)
}

#[tokio::test]
async fn a_drift_that_halted_ends_with_the_adoption_of_the_colleagues_key() {
    let (rig, theirs) = halted_by_a_colleague().await;
    let adopted = rig.cli_with(&["adopt", "campaign-sms", "--issued-at", &ago(Duration::ZERO)], &theirs).await;
    assert_eq!(adopted.code, Some(0), "{}", adopted.err);
    rig.until_version("campaign-sms", 2).await;
    assert_eq!(rig.held("campaign-sms"), Some(theirs));
    assert_eq!(rig.sim.truth().calls(Service::Mobivate, Call::Create), 1);
}

#[tokio::test]
async fn a_drift_that_halted_ends_with_a_fresh_key_where_the_operator_resumes() {
    let (rig, theirs) = halted_by_a_colleague().await;
    rig.ok(&["resume", "campaign-sms"]).await;
    rig.until_version("campaign-sms", 2).await;
    assert!(!rig.sim.truth().is_live(&theirs));
    assert!(rig.sim.truth().is_live(&rig.held("campaign-sms").unwrap()));
    assert_eq!(rig.sim.truth().calls(Service::Mobivate, Call::Create), 2);
}

#[tokio::test]
async fn a_colleagues_key_is_replaced_once_where_the_config_says_so_and_then_a_human_is_asked() {
    let mut world = watchful(Service::Mobivate, "on_drift = \"rotate\"");
    // Their second change comes long before ours counts as lasting.
    world.accept_within = Duration::from_secs(60);
    let mut rig = Rig::prepare(world).await;
    rig.sim.stranger_creates_key(Service::Mobivate);
    rig.run().await;
    rig.until_version("campaign-sms", 1).await;
    let theirs = rig.sim.stranger_creates_key(Service::Mobivate).unwrap().secret;
    rig.until_version("campaign-sms", 2).await;
    assert!(!rig.sim.truth().is_live(&theirs));
    rig.sim.stranger_creates_key(Service::Mobivate).unwrap();
    let halted = rig.until_phase("campaign-sms", PhaseName::Halted).await.halted.unwrap();
    assert_eq!(halted.reason, "somebody_else_rotates");
    assert_eq!(rig.sim.truth().calls(Service::Mobivate, Call::Create), 2, "nobody rotates against them for ever");
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

/// A file that was changed by hand, and was told.
async fn changed_by_hand(content: &str) -> (Rig, String) {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let ours = rig.held("billing-sms").unwrap();
    write(&rig.key_file("billing-sms"), content);
    rig.until_notice("billing-sms", "key.drifted").await;
    let status = rig.cli(&["status", "--exit-code", "billing-sms"]).await;
    assert_eq!(status.code, Some(1), "it is not well: {}", status.out);
    assert_eq!(rig.held("billing-sms").as_deref(), Some(content));
    (rig, ours)
}

async fn is_well(rig: &Rig) {
    rig.until("billing-sms", "well", |it| it.health == Health::Ok).await;
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn a_file_that_was_changed_by_hand_is_healed_when_it_is_removed() {
    let (rig, ours) = changed_by_hand("changed by hand").await;
    fs::remove_file(rig.key_file("billing-sms")).unwrap();
    rig.until_true("healed", || rig.held("billing-sms").as_ref() == Some(&ours)).await;
    is_well(&rig).await;
}

#[tokio::test]
async fn a_file_that_was_changed_by_hand_is_well_when_the_key_is_put_back() {
    let (rig, ours) = changed_by_hand("changed by hand").await;
    write(&rig.key_file("billing-sms"), &ours);
    is_well(&rig).await;
    assert_eq!(rig.held("billing-sms"), Some(ours));
}

#[tokio::test]
async fn a_key_that_was_put_into_a_file_by_hand_can_be_adopted_from_there() {
    let (rig, ours) = changed_by_hand("changed by hand").await;
    let theirs = rig.sim.stranger_creates_key(Service::Infobip).unwrap();
    write(&rig.key_file("billing-sms"), &theirs.secret);
    rig.ok(&["adopt", "billing-sms", "--from-target", "--valid-to", "2126-01-02"]).await;
    rig.until_version("billing-sms", 2).await;
    is_well(&rig).await;
    assert_eq!(rig.held("billing-sms"), Some(theirs.secret));
    assert!(!rig.sim.truth().is_live(&ours), "the one that was replaced is retired");
    assert_eq!(rig.sim.truth().calls(Service::Infobip, Call::Create), 1);
}

#[tokio::test]
async fn a_file_that_was_damaged_is_written_again() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.add_to_target("billing-sms", "format = \"env\"\nvariable = \"SMS_KEY\"");
    rig.run().await;
    rig.until_version("billing-sms", 1).await;
    let held = rig.held("billing-sms");
    for damage in ["SMS_KEY='half", "", "SMS_KEY=\n"] {
        write(&rig.key_file("billing-sms"), damage);
        rig.until_true("healed", || rig.held("billing-sms") == held).await;
    }
    assert_eq!(rig.sim.truth().calls(Service::Infobip, Call::Create), 1);
    is_well(&rig).await;
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

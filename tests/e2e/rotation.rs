//! The main job: keys are replaced on time, by the order that their service asks for.
use crate::rig::{Rig, calm, fingerprint, number};
use crate::watch::Consumer;
use chrono::{DateTime, Utc};
use rekeyd::clock;
use rekeyd::control::protocol::PhaseName;
use rekeyd::core::record::RotationResult;
use rekeyd::simulator::{Call, Service, World};
use std::fs;
use std::time::{Duration, UNIX_EPOCH};

/// How long the keys live that are replaced again and again.
const LIFETIME: Duration = Duration::from_secs(14);

#[tokio::test]
async fn every_key_is_replaced_before_it_ends_and_consumers_never_notice() {
    let mut world = calm(&Service::ALL);
    world.lifetime = LIFETIME;
    world.rotate_before = LIFETIME / 2;
    let mut rig = Rig::prepare(world).await;
    rig.sim.stranger_creates_key(Service::Mobivate);
    rig.run().await;
    for service in Service::ALL {
        rig.until(World::key_name(service), "created", |it| number(it) >= 1).await;
    }
    let overlapping = [Service::Infobip, Service::Infobip2fa, Service::SingleInvoice];
    let consumers = overlapping.map(|it| Consumer::of(&rig, it));
    for service in Service::ALL {
        let name = World::key_name(service);
        let key = rig.until(name, "replaced twice", |it| number(it) >= 3).await;
        let last = key.last_rotation.unwrap();
        assert_eq!(last.result, Some(RotationResult::Succeeded));
        assert!(rig.told(name, "rotation.failed") == 0 && rig.told(name, "key.expired") == 0, "{name}");
    }
    consumers.into_iter().for_each(Consumer::never_held_a_dead_key);
    for service in Service::ALL {
        let keys = rig.sim.truth().keys(service);
        let times: Vec<_> = keys.iter().filter(|it| it.name.is_some() || it.package.is_none()).collect();
        for pair in times.windows(2) {
            assert!(pair[1].created_at.since(pair[0].created_at) < LIFETIME, "{service:?} was too late");
        }
    }
    rig.every_live_key_is_known().await;
}

async fn an_old_infobip_key_is_revoked_by_its_id(format: &str) {
    // Whoever looks at both keys at once is to have the time for it.
    let overlap = Duration::from_secs(5);
    let rig = Rig::start_created(World { format: format.to_owned(), overlap, ..calm(&[Service::Infobip]) }).await;
    let consumer = Consumer::of(&rig, Service::Infobip);
    let old = rig.held("billing-sms").unwrap();
    rig.rotate("billing-sms").await;
    let overlap = rig.until_phase("billing-sms", PhaseName::Overlap).await;
    assert!(rig.sim.truth().is_live(&old), "both stay valid for the overlap");
    assert_eq!(overlap.previous.unwrap().fingerprint.to_string(), fingerprint(&old));
    rig.until_version("billing-sms", 2).await;
    consumer.never_held_a_dead_key();
    let old = rig.sim.truth().find(&old).unwrap();
    let new = rig.sim.truth().find(&rig.held("billing-sms").unwrap()).unwrap();
    let both = old.revoked_at.unwrap().since(new.created_at);
    assert!(both >= rig.world.overlap, "{both:?}");
    let revokes = rig.sim.truth().requests().into_iter().filter(|it| it.call == Call::Revoke).collect::<Vec<_>>();
    assert_eq!(revokes.len(), 1);
    assert!(revokes[0].path.ends_with(&old.id));
    assert_eq!(rig.told("billing-sms", "revoke.needed"), 0);
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn an_old_key_at_infobip_is_revoked_by_its_id_after_the_overlap() {
    an_old_infobip_key_is_revoked_by_its_id("json").await;
}

#[tokio::test]
async fn an_old_key_at_infobip_is_revoked_in_xml_as_well() {
    an_old_infobip_key_is_revoked_by_its_id("xml").await;
}

#[tokio::test]
async fn where_a_key_cannot_be_revoked_its_owner_is_told_to() {
    let rig = Rig::start_created(calm(&[Service::Infobip2fa, Service::SingleInvoice])).await;
    for name in ["two-factor", "invoices"] {
        let old = fingerprint(&rig.held(name).unwrap());
        rig.rotate(name).await;
        rig.until_version(name, 2).await;
        rig.until_notice(name, "revoke.needed").await;
        let said: String = rig.notices().values().map(|it| it.1.to_string()).collect();
        assert!(said.contains(&format!("fingerprint {old}")), "{said}");
    }
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn a_cutover_is_announced_first_and_its_gap_is_measured() {
    let mut world = calm(&[Service::Mobivate]);
    world.lifetime = Duration::from_secs(16);
    world.rotate_before = Duration::from_secs(8);
    world.announce = Duration::from_secs(4);
    let mut rig = Rig::prepare(world).await;
    rig.sim.stranger_creates_key(Service::Mobivate);
    rig.run().await;
    rig.until(World::key_name(Service::Mobivate), "created", |it| number(it) == 1).await;
    let old = rig.held("campaign-sms").unwrap();
    rig.until_phase("campaign-sms", PhaseName::Announce).await;
    rig.until_notice("campaign-sms", "rotation.scheduled").await;
    assert!(rig.sim.truth().is_live(&old), "nothing is cut before it was announced");
    let key = rig.until("campaign-sms", "cut over", |it| number(it) == 2 && it.phase == PhaseName::Steady).await;
    let cut = rig.sim.truth().find(&old).unwrap().revoked_at.unwrap();
    let told = rig.sim.hook().requests().into_iter().find(|it| it.body.contains("rotation.scheduled")).unwrap();
    assert!(told.at < cut, "told at {}, cut at {cut}", told.at);
    let told: serde_json::Value = serde_json::from_str(&told.body).unwrap();
    let decided = told["timestamp"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap().into();
    let announced = cut.since(decided);
    assert!(announced >= rig.world.announce - Duration::from_millis(500), "{announced:?} before the cut");
    // However long it was on this machine: not shorter than its consumers had no key, nor longer than that can have been.
    let gap = Duration::from_millis(key.last_rotation.unwrap().cutover_gap_ms.unwrap());
    let delivered = fs::metadata(rig.key_file("campaign-sms")).unwrap().modified().unwrap();
    let delivered = delivered.duration_since(UNIX_EPOCH).unwrap();
    let without = delivered.saturating_sub(Duration::from_millis(u64::try_from(cut.0).unwrap() + 1));
    assert!(gap >= without, "{gap:?} for {without:?}");
    let at_most = clock::now().since(decided) - rig.world.announce + Duration::from_millis(500);
    assert!(gap <= at_most, "{gap:?} of {at_most:?}");
    assert!(rig.sim.truth().is_live(&rig.held("campaign-sms").unwrap()));
    assert_eq!(rig.told("campaign-sms", "revoke.needed"), 0);
}

#[tokio::test]
async fn a_service_that_ends_the_old_key_without_saying_so_gets_a_cutover() {
    let rig = Rig::start_created(calm(&[Service::Infobip2fa])).await;
    let old = rig.held("two-factor").unwrap();
    rig.sim.behave(Service::Infobip2fa, |it| it.create_revokes = true);
    rig.rotate("two-factor").await;
    let key = rig.until_version("two-factor", 2).await;
    let new = rig.held("two-factor").unwrap();
    assert!(rig.sim.truth().is_live(&new) && !rig.sim.truth().is_live(&old));
    assert!(key.last_rotation.unwrap().cutover_gap_ms.is_some(), "the gap is measured");
    assert_eq!(rig.told("two-factor", "rotation.halted"), 0);
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn a_new_key_that_is_accepted_late_is_delivered_only_then() {
    let accept_within = Duration::from_secs(30);
    let rig = Rig::start_created(World { accept_within, ..calm(&[Service::Infobip]) }).await;
    rig.sim.behave(Service::Infobip, |it| it.accept_after_ms = 4000);
    let consumer = Consumer::of(&rig, Service::Infobip);
    let old = rig.held("billing-sms");
    rig.rotate("billing-sms").await;
    rig.until_phase("billing-sms", PhaseName::Verify).await;
    assert_eq!(rig.held("billing-sms"), old);
    rig.until("billing-sms", "delivered", |it| number(it) == 2).await;
    let new = rig.sim.truth().find(&rig.held("billing-sms").unwrap()).unwrap();
    assert!(new.accepted_from <= clock::now());
    rig.until_version("billing-sms", 2).await;
    consumer.never_held_a_dead_key();
    assert_eq!(rig.told("billing-sms", "rotation.failed"), 0);
}

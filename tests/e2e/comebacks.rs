//! What comes back: a section that the config did not name for a while, and an old version that is adopted once more.
use crate::rig::{Rig, calm, fingerprint};
use rekeyd::clock;
use rekeyd::control::protocol::PhaseName;
use rekeyd::secret::Secret;
use rekeyd::simulator::{Call, Service, World};
use rekeyd::store::{Site, Store};
use std::fs;
use std::time::Duration;

const SMS: &str = "billing-sms";

fn in_overlap_for(seconds: u64) -> World {
    World { overlap: Duration::from_secs(seconds), ..calm(&[Service::Infobip, Service::Infobip2fa]) }
}

#[tokio::test]
async fn an_old_version_of_a_section_that_comes_back_is_revoked_after_all() {
    let mut rig = Rig::start_created(in_overlap_for(10)).await;
    rig.rotate(SMS).await;
    rig.until_phase(SMS, PhaseName::Overlap).await;
    rig.world.services = vec![Service::Infobip2fa];
    rig.write_config();
    rig.ok(&["reload"]).await;
    rig.until_phase(SMS, PhaseName::Unmanaged).await;
    rig.until_notice(SMS, "revoke.needed").await;
    assert_eq!(rig.sim.truth().live(Service::Infobip).len(), 2);
    rig.world.services = vec![Service::Infobip, Service::Infobip2fa];
    rig.write_config();
    rig.ok(&["reload"]).await;
    rig.until_version(SMS, 2).await;
    rig.until_true("the old key is revoked", || rig.sim.truth().live(Service::Infobip).len() == 1).await;
    assert_eq!(rig.sim.truth().calls(Service::Infobip, Call::Revoke), 1);
    assert_eq!(rig.told(SMS, "revoke.needed"), 1);
}

#[tokio::test]
async fn an_old_version_that_is_adopted_once_more_leaves_no_second_copy_of_its_secret() {
    let mut rig = Rig::start_created(in_overlap_for(300)).await;
    let first = rig.held(SMS).unwrap();
    rig.rotate(SMS).await;
    rig.until_phase(SMS, PhaseName::Overlap).await;
    let said = rig.cli_with(&["adopt", SMS, "--deliver"], &first).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let current = |it: &rekeyd::control::protocol::KeyStatus| it.current.as_ref().map(|it| it.fingerprint.to_string());
    rig.until(SMS, "back at the first", |it| current(it) == Some(fingerprint(&first))).await;
    rig.stop().await;
    let master = Secret::from(fs::read_to_string(rig.path("secrets/master-key")).unwrap());
    let dir = rig.path("state");
    let opened = Store::open(Site { dir: &dir, machine: None, reserve: 0 }, &master, clock::now()).unwrap();
    let kept = |version| opened.store.secret(&SMS.parse().unwrap(), version).unwrap().is_some();
    assert_eq!([1, 2, 3].map(kept), [false, true, true]);
}

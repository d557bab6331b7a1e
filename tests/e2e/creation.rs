//! `initial = "create"`.
use crate::rig::{Rig, calm, fingerprint, write};
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::{Call, Service, World};

#[tokio::test]
async fn each_service_issues_a_first_key_that_reaches_its_consumer() {
    let rig = Rig::start_created(calm(&Service::ALL)).await;
    for service in Service::ALL {
        let name = World::key_name(service);
        let held = rig.held(name).unwrap();
        let key = rig.sim.truth().find(&held).unwrap();
        assert_eq!(key.service, service);
        assert!(rig.sim.truth().is_live(&held));
        assert_eq!(rig.sim.truth().calls(service, Call::Create), 1, "{name}");
        let current = rig.key(name).await.current.unwrap();
        assert_eq!((current.version, current.fingerprint.to_string()), (1, fingerprint(&held)));
        assert_eq!(rig.told(name, "rotation.halted"), 0);
    }
    rig.every_live_key_is_known().await;
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn a_first_create_never_overwrites_what_a_consumer_uses_and_status_says_why() {
    let mut rig = Rig::prepare(calm(&Service::ALL)).await;
    for service in Service::ALL {
        write(&rig.key_file(World::key_name(service)), "the key that was always used");
    }
    rig.run().await;
    for service in Service::ALL {
        let name = World::key_name(service);
        let key = rig.until(name, "blocked", |it| it.blocked.is_some()).await;
        let blocked = key.blocked.unwrap();
        assert_eq!((key.phase, blocked.reason.as_str()), (PhaseName::Unadopted, "target"));
        assert!(blocked.message.contains("holds something already; run `rekeyd adopt`"), "{}", blocked.message);
        assert_eq!(rig.held(name).as_deref(), Some("the key that was always used"));
        assert_eq!(rig.sim.truth().calls(service, Call::Create), 0, "{name}");
    }
    let human = rig.cli(&["status"]).await;
    assert!(human.out.contains("holds something already"), "{}", human.out);
    assert_eq!(rig.cli(&["status", "--exit-code"]).await.code, Some(1));
}

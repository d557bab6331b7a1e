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
        assert!(blocked.message.contains("holds something already"), "{}", blocked.message);
        assert_eq!(rig.held(name).as_deref(), Some("the key that was always used"));
        assert_eq!(rig.sim.truth().calls(service, Call::Create), 0, "{name}");
    }
    let human = rig.cli(&["status"]).await;
    assert!(human.out.contains("holds something already"), "{}", human.out);
    assert_eq!(rig.cli(&["status", "--exit-code"]).await.code, Some(1));
}

/// Two targets of one key: `create` waits while either of them holds anything, and goes on when neither does.
async fn waits_for(what: &str, put: impl FnOnce(&std::path::Path), take_away: impl FnOnce(&std::path::Path)) {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let other = rig.path("keys/other");
    rig.edit_config(|it| it + &format!("\n[[keys.billing-sms.deliver]]\nkind = \"file\"\npath = {other:?}\n"));
    put(&other);
    rig.run().await;
    let blocked = rig.until("billing-sms", "blocked", |it| it.blocked.is_some()).await.blocked.unwrap();
    assert_eq!(blocked.reason, "target", "{what}");
    assert!(blocked.message.contains("keys/other"), "{what}: {}", blocked.message);
    assert_eq!(rig.cli(&["status", "--exit-code"]).await.code, Some(1), "{what}");
    assert_eq!(rig.held("billing-sms"), None, "{what}: not even the empty one is written");
    take_away(&other);
    rig.until_version("billing-sms", 1).await;
    assert_eq!(rig.sim.truth().calls(Service::Infobip, Call::Create), 1, "{what}");
    assert_eq!(std::fs::read_to_string(&other).ok(), rig.held("billing-sms"), "{what}");
}

#[tokio::test]
async fn a_first_create_waits_while_any_target_holds_anything() {
    let remove = |path: &std::path::Path| std::fs::remove_file(path).unwrap();
    waits_for("another key", |it| write(it, "the key that was always used"), remove).await;
    waits_for("a binary thing", |it| std::fs::write(it, [0_u8, 255, 1]).unwrap(), remove).await;
    let make = |it: &std::path::Path| std::fs::create_dir(it).unwrap();
    waits_for("what can't be looked at", make, |it| std::fs::remove_dir(it).unwrap()).await;
}

#[tokio::test]
async fn a_key_that_waits_for_its_target_can_be_adopted_as_status_says() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let used = rig.sim.stranger_creates_key(Service::Infobip).unwrap().secret;
    write(&rig.key_file("billing-sms"), &used);
    rig.run().await;
    rig.until("billing-sms", "blocked", |it| it.blocked.is_some()).await;
    let status = rig.ok(&["status"]).await;
    assert!(status.contains(" adopt billing-sms --from-target"), "{status}");
    rig.ok(&["adopt", "billing-sms", "--from-target", "--valid-to", "2126-01-02"]).await;
    rig.until_version("billing-sms", 1).await;
    assert_eq!(rig.held("billing-sms"), Some(used));
    assert_eq!(rig.sim.truth().calls(Service::Infobip, Call::Create), 0);
}

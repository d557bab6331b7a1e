//! What a service allows: budgets, and requests to slow down.
use crate::rig::{Rig, calm};
use rekeyd::control::protocol::ProviderState;
use rekeyd::simulator::{Call, Fault, Service, World};
use std::time::Duration;

/// A world whose keys live so long that their schedule fits into a small budget.
fn slow() -> World {
    World { lifetime: Duration::from_secs(30 * 86_400), ..calm(&[Service::Infobip]) }
}

#[tokio::test]
async fn a_rotation_beyond_the_daily_budget_waits_and_says_so_after_a_restart_too() {
    let mut rig = Rig::start_created(World { creates_per_day: 1, ..slow() }).await;
    assert_eq!(rig.status().await.providers[0].creates_left, Some(0));
    rig.rotate("billing-sms").await;
    for _ in 0..2 {
        let key = rig.until("billing-sms", "blocked", |it| it.blocked.is_some()).await;
        let blocked = key.blocked.unwrap();
        assert_eq!(blocked.reason, "budget", "{}", blocked.message);
        let wait = blocked.until.unwrap().0.since(rekeyd::clock::now());
        assert!(wait > Duration::from_secs(23 * 3600), "{wait:?}");
        assert_eq!(rig.sim.truth().calls(Service::Infobip, Call::Create), 1);
        rig.kill().await;
        rig.run().await;
    }
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.sim.fault(Service::Infobip, Call::Create, Fault::Throttled { retry_after: Some(10) });
    rig.rotate("billing-sms").await;
    let throttled = || rig.sim.truth().calls(Service::Infobip, Call::Create) == 2;
    rig.until_true("the create is refused", throttled).await;
    rig.until("billing-sms", "told to wait", |it| it.last_error.as_ref().is_some_and(|it| it.reason == "throttled"))
        .await;
    assert_eq!(rig.status().await.providers[0].state, ProviderState::Throttled);
    rig.until_version("billing-sms", 2).await;
    let creates = rig.sim.truth().requests().into_iter().filter(|it| it.call == Call::Create);
    let times: Vec<_> = creates.map(|it| it.at).collect();
    let [_, refused, again] = times[..] else { panic!("{times:?}") };
    // The moment is stated in whole seconds.
    assert!(again.since(refused) >= Duration::from_secs(9), "{:?}", again.since(refused));
}

#[tokio::test]
async fn a_refused_login_is_told_and_heals_when_it_is_accepted_again() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let path = rig.path("secrets/infobip");
    let right = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, "wrong").unwrap();
    rig.run().await;
    let key = rig.until("billing-sms", "blocked", |it| it.blocked.is_some()).await;
    assert_eq!(key.blocked.unwrap().reason, "login_refused");
    assert_eq!(rig.status().await.providers[0].state, ProviderState::Refused);
    assert!(!rig.log().contains(&right));
    std::fs::write(&path, right).unwrap();
    rig.until_version("billing-sms", 1).await;
    assert_eq!(rig.status().await.providers[0].state, ProviderState::Ok);
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_tried_again_and_counts_no_create() {
    let rig = Rig::start_created(World { creates_per_day: 2, ..slow() }).await;
    rig.sim.set_open(Service::Infobip, false).await;
    rig.rotate("billing-sms").await;
    rig.until("billing-sms", "blocked", |it| it.blocked.as_ref().is_some_and(|it| it.reason == "provider_unreachable"))
        .await;
    assert_eq!(rig.status().await.providers[0].creates_left, Some(1));
    rig.sim.set_open(Service::Infobip, true).await;
    rig.until_version("billing-sms", 2).await;
}

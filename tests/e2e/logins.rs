//! A login that is refused: whoever restarts or reloads the daemon again and again must not get the account locked.
use crate::rig::{Rig, calm, number, write};
use crate::trouble::{KEYS, many_keys};
use rekeyd::clock;
use rekeyd::control::protocol::{KeyStatus, PhaseName, ProviderState};
use rekeyd::core::time::Timestamp;
use rekeyd::secret::Secret;
use rekeyd::simulator::{Call, Fault, Service};
use rekeyd::store::{Batch, Site, Store};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// The small row of the state that tells which logins are refused.
const ROW: &str = "logins-refused";

/// How often the login was used.
fn asked(rig: &Rig) -> u64 {
    [Call::List, Call::Create, Call::Revoke].into_iter().map(|it| rig.sim.truth().calls(Service::Infobip, it)).sum()
}

async fn until_held(rig: &Rig) {
    let held = |it: &KeyStatus| it.blocked.as_ref().is_some_and(|it| it.reason == "login_refused");
    for n in 0..KEYS {
        rig.until(&format!("many-{n}"), "held", held).await;
    }
}

/// Many keys that are to be created with a login that is wrong, and the right one. Nothing runs yet.
async fn prepare_a_wrong_login() -> (Rig, String) {
    let rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.edit_config(|it| it + &many_keys(&rig));
    let password = rig.path("secrets/infobip");
    let right = fs::read_to_string(&password).unwrap();
    write(&password, "wrong");
    (rig, right)
}

/// The same, once it is refused and holds them all.
pub(crate) async fn with_a_wrong_login() -> (Rig, String) {
    let (mut rig, right) = prepare_a_wrong_login().await;
    rig.run().await;
    rig.until_own_notice("provider.refused", "firing").await;
    until_held(&rig).await;
    assert_eq!(asked(&rig), 1);
    (rig, right)
}

/// Changes what the state knows of the refused logins, as if that much time had passed.
fn let_pass(rig: &Rig, time: Duration) {
    let master = fs::read_to_string(rig.path("secrets/master-key")).unwrap();
    let dir = rig.path("state");
    let site = Site { dir: &dir, machine: None, reserve: 0 };
    let store = Store::open(site, &Secret::from(master), clock::now()).unwrap().store;
    let json = store.meta(ROW).unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&json).contains("wrong"));
    let mut row: Value = serde_json::from_slice(&json).unwrap();
    for of in row["refused"].as_object_mut().unwrap().values_mut() {
        for field in ["since", "last_at", "again_at"] {
            let at = &mut of["refused"]["login"][field];
            *at = Timestamp(at.as_i64().unwrap()).minus(time).0.into();
        }
    }
    let meta = vec![(ROW.to_owned(), Some(serde_json::to_vec(&row).unwrap()))];
    store.commit(&Batch { meta, ..Batch::default() }).unwrap();
}

#[tokio::test]
async fn a_refused_login_is_tried_once_an_hour_whatever_is_restarted_reloaded_or_asked_for() {
    let (mut rig, right) = with_a_wrong_login().await;
    for _ in 0..4 {
        rig.kill().await;
        rig.run().await;
        until_held(&rig).await;
        rig.ok(&["reload"]).await;
        let _ = rig.cli(&["rotate", "--now", "many-1"]).await;
        let _ = rig.cli(&["pause", "billing-sms", "--reason", "it fails"]).await;
        rig.signal(rustix::process::Signal::USR1);
        until_held(&rig).await;
        let provider = rig.status().await.providers.remove(0);
        assert_eq!(provider.state, ProviderState::Refused);
    }
    rig.stop().await;
    assert_eq!(asked(&rig), 1, "the account would have been locked");
    let_pass(&rig, Duration::from_secs(45 * 60));
    rig.run().await;
    until_held(&rig).await;
    rig.stop().await;
    assert_eq!(asked(&rig), 1, "the hour is not over");
    let_pass(&rig, Duration::from_secs(15 * 60));
    rig.run().await;
    rig.until_true("one key asks for all", || asked(&rig) == 2).await;
    until_held(&rig).await;
    rig.ok(&["resume", "--provider", "infobip"]).await;
    rig.until_true("a human wants it tried", || asked(&rig) == 3).await;
    until_held(&rig).await;
    rig.kill().await;
    rig.run().await;
    until_held(&rig).await;
    assert_eq!(asked(&rig), 3);
    rig.until_told().await;
    assert_eq!(rig.own_notices("provider.refused", "firing").len(), 1);
    write(&rig.path("secrets/infobip"), &right);
    rig.until("many-0", "created", |it| number(it) == 1 && it.phase == PhaseName::Steady).await;
    rig.until_own_notice("provider.refused", "resolved").await;
}

#[tokio::test]
async fn a_login_that_was_changed_while_the_daemon_was_down_is_tried_at_its_start() {
    let (mut rig, right) = with_a_wrong_login().await;
    rig.stop().await;
    write(&rig.path("secrets/infobip"), &right);
    rig.run().await;
    for n in 0..KEYS {
        rig.until(&format!("many-{n}"), "created", |it| number(it) == 1 && it.phase == PhaseName::Steady).await;
    }
    rig.until_own_notice("provider.refused", "resolved").await;
    assert_eq!(rig.status().await.providers.remove(0).state, ProviderState::Ok);
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn a_login_that_was_put_right_before_the_answer_to_the_wrong_one_came_is_tried_at_once() {
    let (mut rig, right) = prepare_a_wrong_login().await;
    rig.sim.fault(Service::Infobip, Call::List, Fault::Delay { ms: 1500 });
    rig.run().await;
    rig.until_true("the wrong one is used", || asked(&rig) == 1).await;
    write(&rig.path("secrets/infobip"), &right);
    rig.until("many-0", "created", |it| number(it) == 1 && it.phase == PhaseName::Steady).await;
    rig.until_own_notice("provider.refused", "resolved").await;
}

#[tokio::test]
async fn a_login_that_a_reload_changes_is_tried_at_once() {
    let (rig, right) = with_a_wrong_login().await;
    let other = rig.path("secrets/other");
    write(&other, &right);
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    rig.edit_config(|it| it.replacen("/secrets/infobip\"", "/secrets/other\"", 1));
    rig.ok(&["reload"]).await;
    rig.until("many-0", "created", |it| number(it) == 1 && it.phase == PhaseName::Steady).await;
    rig.until_own_notice("provider.refused", "resolved").await;
}

#[tokio::test]
async fn a_login_that_may_not_revoke_is_not_tried_again_by_a_restart_and_its_end_is_told() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.edit_config(|it| it + &many_keys(&rig));
    rig.run().await;
    let created = |it: &KeyStatus| number(it) == 1 && it.phase == PhaseName::Steady;
    rig.until("many-0", "created", created).await;
    rig.sim.faults(Service::Infobip, |plan| plan.often(Call::Revoke, Fault::ErrorBefore { status: 403 }, 1000));
    let revokes = |rig: &Rig| rig.sim.truth().calls(Service::Infobip, Call::Revoke);
    rig.rotate("many-0").await;
    rig.until_own_notice("provider.refused", "firing").await;
    let before = revokes(&rig);
    for _ in 0..3 {
        rig.kill().await;
        rig.run().await;
        rig.until("many-0", "rotated", |it| number(it) == 2).await;
        rig.ok(&["reload"]).await;
        let probes = || rig.sim.truth().calls(Service::Infobip, Call::Probe);
        let before = probes();
        rig.signal(rustix::process::Signal::USR1);
        rig.until_true("it is looked at", || probes() > before).await;
    }
    assert_eq!(revokes(&rig), before);
    rig.sim.faults(Service::Infobip, rekeyd::simulator::FaultPlan::clear);
    rig.ok(&["resume", "many-0"]).await;
    rig.until_own_notice("provider.refused", "resolved").await;
    rig.until_told().await;
    assert_eq!(rig.own_notices("provider.refused", "firing").len(), 1);
}

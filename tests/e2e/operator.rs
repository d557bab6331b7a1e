//! The verbs that operators have, and the exit codes that scripts compare.
use crate::hooks::Hook;
use crate::rig::{Rig, calm, fingerprint};
use crate::watch::Consumer;
use rekeyd::control::protocol::{PhaseName, Status};
use rekeyd::simulator::{Call, Fault, Service};

#[tokio::test]
async fn a_rotation_can_be_waited_for() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let old = rig.held("billing-sms");
    let done = rig.ok(&["rotate", "--now", "--wait", "--reason", "a test", "billing-sms"]).await;
    assert!(done.contains("rotated"), "{done}");
    assert_ne!(rig.held("billing-sms"), old);
    let history = rig.ok(&["history", "--json", "billing-sms"]).await;
    assert!(history.contains("a test"), "{history}");
}

#[tokio::test]
async fn a_rotation_that_takes_longer_than_one_waits_is_still_under_way() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.sim.faults(Service::Infobip, |it| it.often(Call::Create, Fault::ErrorBefore { status: 503 }, 1000));
    let waited = rig.cli(&["rotate", "--now", "--wait", "--timeout", "300ms", "billing-sms"]).await;
    assert_eq!(waited.code, Some(75), "{}{}", waited.out, waited.err);
    rig.sim.faults(Service::Infobip, |it| it.often(Call::Create, Fault::ErrorBefore { status: 503 }, 0));
    rig.ok(&["resume", "billing-sms"]).await;
    rig.until_version("billing-sms", 2).await;
}

#[tokio::test]
async fn waiting_for_a_rotation_that_halts_exits_1_and_the_exit_code_of_status_says_so_too() {
    let rig = Rig::start_created(calm(&[Service::Infobip2fa])).await;
    assert_eq!(rig.cli(&["status", "--exit-code"]).await.code, Some(0));
    rig.sim.fault(Service::Infobip2fa, Call::Create, Fault::LostAnswer);
    let waited = rig.cli(&["rotate", "--now", "--wait", "two-factor"]).await;
    assert_eq!(waited.code, Some(1), "{}{}", waited.out, waited.err);
    let status = rig.cli(&["status", "--exit-code", "--json"]).await;
    assert_eq!(status.code, Some(1));
    let status: Status = serde_json::from_str(&status.out).unwrap();
    assert_eq!(status.keys[0].phase, PhaseName::Halted);
    rig.ok(&["resume", "two-factor"]).await;
    let key = rig.until_version("two-factor", 2).await;
    // Nothing revokes the old key there: that a human must is all that is left to say.
    let reasons: Vec<_> = key.attention.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(reasons, ["revoke_needed"]);
    assert_eq!(rig.cli(&["status", "--exit-code"]).await.code, Some(1));
}

#[tokio::test]
async fn an_abandoned_key_is_revoked_and_the_old_one_brought_back() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let hook = Hook::of(&rig, "billing-sms");
    rig.run().await;
    rig.until_version("billing-sms", 1).await;
    let old = rig.held("billing-sms").unwrap();
    let consumer = Consumer::of(&rig, Service::Infobip);
    hook.hold();
    rig.rotate("billing-sms").await;
    rig.until_true("the new key is in the file", || hook.runs_for(2) == 1).await;
    let new = rig.held("billing-sms").unwrap();
    rig.ok(&["abandon", "billing-sms"]).await;
    hook.release();
    rig.until_version("billing-sms", 1).await;
    consumer.never_held_a_dead_key();
    assert_eq!(rig.held("billing-sms").as_ref(), Some(&old));
    assert!(rig.sim.truth().is_live(&old) && !rig.sim.truth().is_live(&new));
    assert_eq!(rig.key("billing-sms").await.current.unwrap().fingerprint.to_string(), fingerprint(&old));
}

#[tokio::test]
async fn nothing_can_be_abandoned_where_the_old_key_is_dead() {
    let mut rig = Rig::prepare(calm(&[Service::Mobivate])).await;
    rig.sim.stranger_creates_key(Service::Mobivate);
    let hook = Hook::of(&rig, "campaign-sms");
    rig.run().await;
    rig.until_version("campaign-sms", 1).await;
    hook.hold();
    rig.rotate("campaign-sms").await;
    rig.until_true("the cutover has begun", || hook.runs_for(2) == 1).await;
    assert_eq!(rig.cli(&["abandon", "campaign-sms"]).await.code, Some(65));
    hook.release();
    rig.until_version("campaign-sms", 2).await;
}

#[tokio::test]
async fn without_a_daemon_status_exits_69() {
    let mut rig = Rig::start(calm(&[Service::Infobip])).await;
    rig.until_version("billing-sms", 1).await;
    rig.stop().await;
    assert_eq!(rig.cli(&["status", "--exit-code"]).await.code, Some(69));
}

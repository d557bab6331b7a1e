//! A key at the end of its service, or under another name: what is revoked, what is emptied, and what is left alone.
use crate::rig::{PATIENCE, Rig, calm, number};
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::{Call, Fault, Service, World};
use std::time::Duration;

pub(crate) const KEY: &str = "billing-sms";

/// One key that rests at its first version, and its secret.
async fn in_service() -> (Rig, String) {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let secret = rig.held(KEY).unwrap();
    (rig, secret)
}

/// The config names the key no more, but its provider still.
pub(crate) async fn leave_config(rig: &Rig) {
    rig.edit_config(|it| it[..it.find(&format!("[keys.{KEY}]")).unwrap()].to_owned());
    rig.ok(&["reload"]).await;
    rig.until_phase(KEY, PhaseName::Unmanaged).await;
}

pub(crate) async fn forgotten(rig: &Rig) {
    let forgotten = async { while rig.cli(&["forget", "--yes", KEY]).await.code != Some(0) {} };
    tokio::time::timeout(PATIENCE, forgotten).await.unwrap();
}

#[tokio::test]
async fn a_revocation_that_fails_is_brought_to_its_end_after_a_kill() {
    let (mut rig, secret) = in_service().await;
    leave_config(&rig).await;
    rig.sim.faults(Service::Infobip, |it| it.often(Call::Revoke, Fault::LostAnswer, 1000));
    rig.ok(&["retire", "--yes", KEY]).await;
    rig.until_true("its file is gone", || rig.held(KEY).is_none()).await;
    let said = rig.cli(&["forget", "--yes", KEY]).await;
    assert!(said.code == Some(65) && said.err.contains("version 1 may still be valid"), "{said:?}");
    rig.kill().await;
    rig.sim.faults(Service::Infobip, |it| it.clear());
    rig.run().await;
    rig.until_true("its key is revoked", || !rig.sim.truth().is_live(&secret)).await;
    forgotten(&rig).await;
}

#[tokio::test]
async fn a_forgotten_key_that_comes_back_goes_on_counting() {
    let (rig, first) = in_service().await;
    let with_key = std::fs::read_to_string(rig.config()).unwrap();
    leave_config(&rig).await;
    rig.ok(&["retire", "--yes", KEY]).await;
    forgotten(&rig).await;
    rig.edit_config(|_| with_key);
    rig.ok(&["reload"]).await;
    rig.until_version(KEY, 2).await;
    let names: Vec<_> = rig.sim.truth().keys(Service::Infobip).into_iter().filter_map(|it| it.name).collect();
    assert!(names.len() == 2 && names[0] != names[1], "no name is used twice: {names:?}");
    assert!(!rig.sim.truth().is_live(&first));
    let history = rig.ok(&["history", KEY]).await;
    assert!(history.contains("retire") && history.contains("forget"), "what happened stays:\n{history}");
}

#[tokio::test]
async fn a_renamed_key_keeps_what_it_has_when_its_old_name_is_retired() {
    let (rig, secret) = in_service().await;
    rig.edit_config(|it| {
        it.replace(&format!("[keys.{KEY}]"), "[keys.sms]").replace(&format!("keys.{KEY}."), "keys.sms.")
    });
    rig.edit_config(|it| it.replace("initial = \"create\"", "initial = \"adopt\""));
    rig.ok(&["reload"]).await;
    let said = rig.cli_with(&["adopt", "--age-unknown", "sms"], &secret).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    rig.until_version("sms", 1).await;
    rig.ok(&["retire", "--yes", KEY]).await;
    forgotten(&rig).await;
    assert_eq!(number(&rig.key("sms").await), 1);
    assert_eq!(rig.held(KEY).as_deref(), Some(secret.as_str()), "the file is the other key's by now");
    assert!(rig.sim.truth().is_live(&secret), "the other key's consumers have it");
}

#[tokio::test]
async fn a_create_under_way_at_an_account_that_was_renamed_is_told_and_begun_anew() {
    let (mut rig, _) = in_service().await;
    rig.sim.fault(Service::Infobip, Call::Create, Fault::Delay { ms: 60_000 });
    rig.rotate(KEY).await;
    rig.until_true("the create is sent", || rig.sim.truth().calls(Service::Infobip, Call::Create) == 2).await;
    rig.kill().await;
    rig.edit_config(|it| it.replacen("[providers.infobip]\n", "[providers.infobip]\naccount = \"renamed\"\n", 1));
    rig.run().await;
    rig.until(KEY, "replaced at the renamed account", |it| number(it) == 2).await;
    rig.until_notice(KEY, "revoke.needed").await;
    rig.until_notice(KEY, "rotation.failed").await;
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn whoever_is_to_revoke_what_left_the_config_in_its_overlap_hears_how_long_consumers_may_use_it() {
    let world = World { overlap: Duration::from_secs(300), ..calm(&[Service::Infobip]) };
    let rig = Rig::start_created(world).await;
    rig.rotate(KEY).await;
    rig.until_phase(KEY, PhaseName::Overlap).await;
    leave_config(&rig).await;
    rig.until_notice(KEY, "revoke.needed").await;
    let history = rig.ok(&["history", KEY]).await;
    assert!(
        history.contains("revoke version 1 by hand, or take the key out of service")
            && history.contains("; not before 20"),
        "{history}"
    );
    let status = rig.ok(&["status", KEY]).await;
    assert!(status.contains("when the key is taken out of service, not before 20"), "{status}");
}

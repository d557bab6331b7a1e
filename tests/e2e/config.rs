//! Reloads, and starts that are refused.
use crate::rig::{PATIENCE, Rig, Said, calm, write};
use rekeyd::simulator::Service;
use rustix::process::Signal;
use std::process::Stdio;

const SECOND_KEY: &str = "\n[keys.second]\nprovider = \"infobip\"\nowners = [\"payments\"]\ninitial = \"create\"\n\
                          valid_for = \"2h\"\nrotate_before = \"10m\"\noverlap = \"1s\"\ncreate = { name = \"second\" }\n";
const NO_SUCH_OWNER: &str = "\n[keys.third]\nprovider = \"infobip\"\nowners = [\"nobody\"]\nvalid_for = \"2h\"\n";

/// A config that names one key more is taken.
fn add_key(rig: &Rig) {
    let target = format!("[[keys.second.deliver]]\nkind = \"file\"\npath = {:?}\n", rig.key_file("second"));
    rig.edit_config(|it| it + SECOND_KEY + &target);
}

#[tokio::test]
async fn hup_takes_a_good_config_into_use() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    add_key(&rig);
    rig.signal(Signal::HUP);
    rig.until_true("the new key is delivered", || rig.held("second").is_some()).await;
    rig.until_version("second", 1).await;
    assert!(rig.status().await.daemon.config_ok);
}

#[tokio::test]
async fn hup_with_a_bad_config_changes_nothing_and_status_says_so() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.edit_config(|it| it + NO_SUCH_OWNER);
    rig.signal(Signal::HUP);
    rig.until_true("the log tells", || rig.log().contains("the config on disk is not used")).await;
    let status = rig.status().await;
    assert!(!status.daemon.config_ok && status.keys.len() == 1);
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 2).await;
    rig.write_config();
    rig.signal(Signal::HUP);
    rig.until_true("the log tells", || rig.log().contains("the config on disk is in use")).await;
    assert!(rig.status().await.daemon.config_ok);
}

#[tokio::test]
async fn reload_answers_with_the_faults_of_a_bad_config_and_the_old_one_stays_in_use() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.edit_config(|it| it + NO_SUCH_OWNER + "typo = 1\n");
    let refused = rig.cli(&["reload"]).await;
    assert_eq!(refused.code, Some(78), "{}{}", refused.out, refused.err);
    for part in ["rekeyd.toml", "nobody", "typo"] {
        assert!(refused.err.contains(part), "{part} is missing: {}", refused.err);
    }
    assert!(!rig.status().await.daemon.config_ok);
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 2).await;
    rig.write_config();
    add_key(&rig);
    rig.ok(&["reload"]).await;
    rig.until_version("second", 1).await;
    assert!(rig.status().await.daemon.config_ok);
}

#[tokio::test]
async fn a_key_that_leaves_the_config_is_kept_and_left_alone() {
    let rig = Rig::start_created(calm(&[Service::Infobip, Service::Infobip2fa])).await;
    let held = rig.held("two-factor").unwrap();
    let smaller = calm(&[Service::Infobip]);
    rekeyd::simulator::write_config(rig.config().parent().unwrap(), &rig.sim, &smaller).unwrap();
    rig.ok(&["reload"]).await;
    rig.until("two-factor", "unmanaged", |it| it.phase.word() == "unmanaged").await;
    assert_eq!(rig.held("two-factor"), Some(held.clone()));
    assert!(rig.sim.truth().is_live(&held));
}

/// Starts another daemon that is to end by itself.
async fn refused(rig: &Rig) -> Said {
    let mut command = rig.daemon_command();
    let ended = command.stderr(Stdio::piped()).output();
    let said = tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap();
    let text = |it: Vec<u8>| String::from_utf8(it).unwrap();
    Said { code: said.status.code(), out: text(said.stdout), err: text(said.stderr) }
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_the_first_is_unharmed() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let same = refused(&rig).await;
    assert_eq!(same.code, Some(75), "{}", same.err);
    let socket = rig.path("control.sock");
    rig.edit_config(|it| it.replace(&format!("{socket:?}"), &format!("{:?}", rig.path("other.sock"))));
    let beside = refused(&rig).await;
    assert_eq!(beside.code, Some(75), "{}", beside.err);
    assert!(beside.err.contains("state"), "it names the folder: {}", beside.err);
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 2).await;
}

#[tokio::test]
async fn a_wrong_master_key_is_refused_and_the_state_untouched() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let held = rig.held("billing-sms").unwrap();
    rig.stop().await;
    let path = rig.path("secrets/master-key");
    let right = std::fs::read_to_string(&path).unwrap();
    write(&path, &"ab".repeat(32));
    let said = refused(&rig).await;
    assert_eq!(said.code, Some(78), "{}", said.err);
    assert!(said.err.contains("master"), "{}", said.err);
    assert!(!said.err.contains(&right) && !said.err.contains(&"ab".repeat(32)), "{}", said.err);
    write(&path, &right);
    rig.run().await;
    rig.until_version("billing-sms", 1).await;
    assert_eq!(rig.ok(&["reveal", "billing-sms"]).await, held);
}

#[tokio::test]
async fn a_start_on_a_broken_config_exits_78_and_names_the_place() {
    let rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.edit_config(|it| it + NO_SUCH_OWNER);
    let said = refused(&rig).await;
    assert_eq!(said.code, Some(78), "{}", said.err);
    assert!(said.err.contains("rekeyd.toml:") && said.err.contains("nobody"), "{}", said.err);
}

#[tokio::test]
async fn keys_of_one_profile_are_each_delivered_to_their_own_place() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let place = rig.key_file("second").display().to_string().replace("second", "{{key}}-of-{{provider}}");
    let layers = format!(
        "\n[defaults]\nowners = [\"payments\"]\ninitial = \"create\"\n\
         [profiles.twins]\nprovider = \"infobip\"\nvalid_for = \"2h\"\nrotate_before = \"10m\"\noverlap = \"1s\"\n\
         create = {{ name = \"{{{{key}}}}\" }}\n[[profiles.twins.deliver]]\nkind = \"file\"\npath = {place:?}\n\
         [keys.second]\nprofile = \"twins\"\n[keys.third]\nprofile = \"twins\"\n"
    );
    rig.edit_config(|it| it + &layers);
    rig.ok(&["reload"]).await;
    let held = |key: &str| rig.held(&format!("{key}-of-infobip"));
    rig.until_true("both are delivered", || held("second").is_some() && held("third").is_some()).await;
    assert_ne!(held("second"), held("third"));
}

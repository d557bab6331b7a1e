//! `then` and `exec`: what follows a delivery, and when.
use crate::http::{Answer, Receiver};
use crate::rig::{Rig, calm, write};
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::Service;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A `then` that writes down the version that it is told and what the file holds in that moment, and waits while a certain
/// file exists: so a test holds the daemon in the middle of a delivery.
pub(crate) struct Hook {
    held: PathBuf,
    seen: PathBuf,
}

impl Hook {
    /// Gives the file target of a key this hook. The daemon must not run yet.
    pub(crate) fn of(rig: &Rig, key: &str) -> Self {
        let it = Self { held: rig.path("hold"), seen: rig.path("seen") };
        let script = rig.path("then.sh");
        let held = it.held.display();
        // One short line at a time: lines of two runs that overlap stay whole.
        let text = format!(
            "echo \"$REKEYD_VERSION $(cat {})\" >> {}\nwhile [ -e {held} ]; do sleep 0.02; done\n",
            rig.key_file(key).display(),
            it.seen.display()
        );
        write(&script, &text);
        rig.add_to_target(key, &format!("then = {{ command = [\"/bin/sh\", {script:?}] }}"));
        it
    }

    /// From now on, whoever runs it waits.
    pub(crate) fn hold(&self) {
        write(&self.held, "");
    }

    pub(crate) fn release(&self) {
        fs::remove_file(&self.held).unwrap();
    }

    /// The version and the file's content at each of its runs.
    pub(crate) fn runs(&self) -> Vec<(u32, String)> {
        let text = fs::read_to_string(&self.seen).unwrap_or_default();
        let parse = |line: &str| line.split_once(' ').map(|(number, held)| (number.parse().unwrap(), held.to_owned()));
        text.lines().map(|it| parse(it).unwrap()).collect()
    }

    /// How often it ran for a version.
    pub(crate) fn runs_for(&self, version: u32) -> usize {
        self.runs().iter().filter(|it| it.0 == version).count()
    }
}

async fn then_sees_the_file_in_place(service: Service, key: &str) {
    let mut rig = Rig::prepare(calm(&[service])).await;
    let hook = Hook::of(&rig, key);
    rig.run().await;
    rig.until_version(key, 1).await;
    let first = rig.held(key).unwrap();
    rig.rotate(key).await;
    rig.until_version(key, 2).await;
    assert_eq!(hook.runs(), [(1, first), (2, rig.held(key).unwrap())]);
}

#[tokio::test]
async fn then_runs_once_for_each_version_with_its_file_in_place_in_the_overlap_order() {
    then_sees_the_file_in_place(Service::Infobip, "billing-sms").await;
}

#[tokio::test]
async fn then_runs_once_for_each_version_with_its_file_in_place_in_the_cutover_order() {
    then_sees_the_file_in_place(Service::Mobivate, "campaign-sms").await;
}

async fn then_runs_again_after_a_kill(service: Service, key: &str) {
    let mut rig = Rig::prepare(calm(&[service])).await;
    let hook = Hook::of(&rig, key);
    rig.run().await;
    rig.until_version(key, 1).await;
    hook.hold();
    rig.rotate(key).await;
    rig.until_true("the file is written, and its `then` runs", || hook.runs_for(2) == 1).await;
    rig.kill().await;
    hook.release();
    rig.run().await;
    rig.until_version(key, 2).await;
    assert_eq!(hook.runs_for(2), 2, "nobody knew whether it had ended well");
    let held = rig.held(key).unwrap();
    assert!(hook.runs().iter().all(|it| it.0 == 1 || it.1 == held));
}

#[tokio::test]
async fn then_runs_again_after_a_kill_between_the_write_and_the_receipt_in_the_overlap_order() {
    then_runs_again_after_a_kill(Service::Infobip, "billing-sms").await;
}

#[tokio::test]
async fn then_runs_again_after_a_kill_between_the_write_and_the_receipt_in_the_cutover_order() {
    then_runs_again_after_a_kill(Service::Mobivate, "campaign-sms").await;
}

#[tokio::test]
async fn a_then_that_fails_is_a_failed_delivery_and_the_old_key_lives_on() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let (script, bad) = (rig.path("then.sh"), rig.path("bad"));
    write(&script, &format!("[ ! -e {} ] || {{ echo the unit is gone >&2; exit 3; }}\n", bad.display()));
    rig.add_to_target("billing-sms", &format!("then = {{ command = [\"/bin/sh\", {script:?}] }}"));
    rig.run().await;
    rig.until_version("billing-sms", 1).await;
    let old = rig.held("billing-sms").unwrap();
    write(&bad, "");
    rig.rotate("billing-sms").await;
    rig.until_phase("billing-sms", PhaseName::Deliver).await;
    rig.until_notice("billing-sms", "delivery.failed").await;
    let said: String = rig.notices().values().map(|it| it.1.to_string()).collect();
    assert!(said.contains("the unit is gone"), "{said}");
    assert!(rig.sim.truth().is_live(&old));
    fs::remove_file(&bad).unwrap();
    rig.ok(&["resume", "billing-sms"]).await;
    rig.until_version("billing-sms", 2).await;
    assert!(!rig.sim.truth().is_live(&old));
}

#[tokio::test]
async fn an_exec_target_gets_the_key_on_its_stdin_and_nothing_of_it_in_its_environment() {
    let mut world = calm(&[Service::Infobip]);
    world.sections = "[[keys.billing-sms.deliver]]\nkind = \"exec\"\ncommand = [\"/bin/sh\", \"PUT\"]\n".to_owned();
    let mut rig = Rig::prepare(world).await;
    let (script, got, env) = (rig.path("put.sh"), rig.path("got"), rig.path("env"));
    write(&script, &format!("cat > {}\nenv > {}\n", got.display(), env.display()));
    rig.edit_config(|it| it.replace("\"PUT\"", &format!("{script:?}")));
    rig.run().await;
    rig.until_version("billing-sms", 1).await;
    let held = rig.held("billing-sms").unwrap();
    assert_eq!(fs::read_to_string(got).unwrap(), held);
    let env = fs::read_to_string(env).unwrap();
    assert!(env.contains("REKEYD_KEY_NAME=billing-sms") && env.contains("REKEYD_VERSION=1"), "{env}");
    assert!(!env.contains(&held));
}

#[tokio::test]
async fn a_webhook_target_gets_the_new_key_before_the_old_one_ends() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let receiver = Receiver::start(Answer::Bytes("HTTP/1.1 204 x\r\nconnection: close\r\n\r\n".into())).await;
    let (url, signer) = (receiver.url("/keys"), rig.path("signer"));
    write(&signer, "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=");
    fs::set_permissions(&signer, fs::Permissions::from_mode(0o600)).unwrap();
    let target = format!("kind = \"webhook\"\nurl = {url:?}\nsecret = {{ file = {signer:?} }}\n");
    rig.edit_config(|it| format!("{it}\n[[keys.billing-sms.deliver]]\n{target}"));
    rig.run().await;
    rig.until_rest().await;
    let brought = || -> Vec<serde_json::Value> {
        receiver.requests().iter().map(|it| serde_json::from_str(&it.body).unwrap()).collect()
    };
    assert_eq!(brought().last().unwrap()["data"]["secret"], rig.held("billing-sms").unwrap());
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 2).await;
    rig.until_rest().await;
    let last = brought().pop().unwrap();
    assert_eq!((last["type"].as_str(), last["data"]["version"].as_u64()), (Some("key.issued"), Some(2)));
    let secret = last["data"]["secret"].as_str().unwrap().to_owned();
    assert_eq!(secret, rig.held("billing-sms").unwrap());
    assert!(!rig.log().contains(&secret));
}

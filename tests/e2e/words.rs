//! What the programs of an owner say is told nowhere with a secret in it.
use crate::rig::{Rig, calm};
use rekeyd::simulator::Service;
use std::fs;

/// A pager's script that echoes what it finds: the key of a consumer, the login of a provider, and the secret of the webhook.
#[tokio::test]
async fn what_a_notifiers_command_says_is_told_without_the_secrets_in_it() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let (key, hook) = (rig.key_file("billing-sms"), rig.path("secrets/hook"));
    let login = rig.path("secrets/infobip");
    let script = rig.path("page");
    let echo = format!("echo no route, {{$(cat {key:?})}} {{$(cat {login:?})}} {{$(cat {hook:?})}} >&2; exit 3");
    fs::write(&script, echo).unwrap();
    let command = format!("exec = [{{ command = [\"/bin/sh\", {:?}] }}]\n", script.display().to_string());
    rig.edit_config(|it| it.replace("[owners.payments]\n", &format!("[owners.payments]\n{command}")));
    rig.run().await;
    rig.until_rest().await;
    rig.until_true("the command failed", || rig.log().contains("a notice waits")).await;
    let tried = rig.cli(&["notify", "payments"]).await;
    assert!(tried.out.contains("no route, {[secret]} {[secret]} {[secret]}"), "{tried:?}");
    rig.until_true("it was tried again", || rig.log().matches("no route, {[secret]}").count() > 1).await;
    let said = [rig.log(), tried.out, rig.ok(&["history"]).await, format!("{:?}", rig.status().await)].concat();
    for secret in [key, login, hook].map(|it| fs::read_to_string(it).unwrap()) {
        assert!(!said.contains(secret.trim()), "{said}");
    }
}

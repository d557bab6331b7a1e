//! Owners told by a command of their own.
use crate::{AT, message, why_later};
use rekeyd::command::{Unknown, Veil};
use rekeyd::http::webhooks::Clients;
use rekeyd::notifiers::{Fault, KINDS, Message, Notifier, Sent, Shared};
use rekeyd::secret::Secret;
use serde_json::Value;
use std::sync::Arc;
use toml::de::ValueDeserializer;

/// A channel that runs this script of `sh`.
fn running(script: &str, rest: &str) -> Arc<dyn Notifier> {
    let value = format!("[{{ command = [\"/bin/sh\", \"-c\", {script:?}], {rest} }}]");
    let shared = Shared { smtp: None, http: Clients::new().unwrap(), timezone: None };
    let kind = KINDS.iter().find(|it| it.name == "exec").unwrap();
    (kind.read)(ValueDeserializer::parse(&value).unwrap(), &shared).unwrap().remove(0).notifier
}

#[tokio::test]
async fn a_command_gets_the_notice_as_json_and_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display();
    let script = format!("cat > {place}/notice; echo $REKEYD_NOTICE_ID > {place}/id");
    assert_eq!(running(&script, "min_severity = \"info\"").send(&message(), AT).await, Sent::Taken);
    let notice: Value = serde_json::from_slice(&std::fs::read(dir.path().join("notice")).unwrap()).unwrap();
    assert_eq!((&notice["type"], &notice["data"]["key"]), (&"rotation.halted".into(), &"billing-sms".into()));
    assert_eq!(std::fs::read_to_string(dir.path().join("id")).unwrap().trim(), message().id.as_str());
}

#[tokio::test]
async fn a_command_that_fails_is_asked_again_with_its_last_words_told() {
    let why = why_later(running("echo no route to pager >&2; exit 3", "timeout = \"5s\"").send(&message(), AT).await);
    assert!(why.contains("exit status: 3: no route to pager"), "{why}");
    let why = why_later(running("sleep 60", "timeout = \"100ms\"").send(&message(), AT).await);
    assert!(why.contains("was ended after 100ms"), "{why}");
}

/// A pager's script may print its environment, or a file that it read a key from.
#[tokio::test]
async fn a_secret_in_the_words_of_a_command_is_told_nowhere() {
    let secret = "correct-horse-battery-staple";
    let veil = Veil::new(|see| {
        see(&Secret::from("correct-horse-battery-staple".to_owned()));
        Ok(())
    });
    let channel = running(&format!("echo curl -H Authorization: {secret} failed >&2; exit 3"), "");
    let why = why_later(channel.send(&Message { veil, ..message() }, AT).await);
    assert!(why.contains("Authorization: [secret] failed") && !why.contains(secret), "{why}");
    let unknown = Veil::new(|_| Err(Unknown));
    let why = why_later(channel.send(&Message { veil: unknown, ..message() }, AT).await);
    assert!(!why.contains(secret), "where nobody knows what to hide, nothing is told: {why}");
}

#[test]
fn a_program_that_is_not_there_is_a_fault() {
    let shared = Shared { smtp: None, http: Clients::new().unwrap(), timezone: None };
    let kind = KINDS.iter().find(|it| it.name == "exec").unwrap();
    let value = ValueDeserializer::parse("[{ command = [\"/nowhere/page\"] }]").unwrap();
    let channel = (kind.read)(value, &shared).unwrap().remove(0).notifier;
    assert!(matches!(channel.check(), Err(Fault::Wrong(why)) if why.contains("/nowhere/page")));
}

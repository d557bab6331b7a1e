//! A service without an API: the owners are reminded, and bring the new key on stdin.
use crate::rig::{Rig, Said, calm, fingerprint, opens_later, write};
use rekeyd::control::protocol::{Health, PhaseName};
use rekeyd::core::record::Expiry;
use rekeyd::simulator::World;
use std::path::PathBuf;

const KEY: &str = "partner-portal";

/// A daemon with one key of the kind `manual`, which is adopted, lives for two hours, and was issued so many minutes ago.
async fn adopted(more: &str, minutes: i64) -> Rig {
    let mut rig = Rig::prepare(calm(&[])).await;
    let file = path(&rig);
    write(&file, "the-first-secret");
    rig.edit_config(|text| {
        format!(
            "{text}\n[providers.portal]\nkind = \"manual\"\ninstructions = \"https://portal.example/keys\"\n\
             [keys.{KEY}]\nprovider = \"portal\"\nowners = [\"payments\"]\nvalid_for = \"2h\"\nrotate_before = \"10m\"\n\
             overlap = \"1s\"\n{more}\n[[keys.{KEY}.deliver]]\nkind = \"file\"\npath = {file:?}\nmode = \"0600\"\n"
        )
    });
    rig.run().await;
    rig.until_phase(KEY, PhaseName::Unadopted).await;
    let issued = chrono::Utc::now() - chrono::TimeDelta::minutes(minutes);
    let issued = issued.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let said = rig.cli_with(&["adopt", KEY, "--issued-at", &issued], "the-first-secret\n").await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    rig.until_version(KEY, 1).await;
    rig
}

fn path(rig: &Rig) -> PathBuf {
    World::key_file(rig.path("rekeyd.toml").parent().unwrap(), KEY)
}

async fn rotate(rig: &Rig, args: &[&str], secret: &str) -> Said {
    rig.cli_with(&[&["rotate", KEY], args].concat(), secret).await
}

#[tokio::test]
async fn owners_are_reminded_bring_the_key_and_are_told_to_revoke_the_old_one() {
    let rig = adopted("", 115).await;
    rig.until_notice(KEY, "key.expiring").await;
    let waiting = rig.key(KEY).await;
    assert_eq!((waiting.health, waiting.phase), (Health::Critical, PhaseName::Steady), "less than a day is left");
    assert_eq!(
        (waiting.attention[0].reason.as_str(), waiting.actions),
        ("awaits_key", vec![format!("rekeyd rotate {KEY}")])
    );
    let next = waiting.next.unwrap();
    assert_eq!((next.action.as_str(), next.reason.as_str()), ("notify", "waits_for_new_key"));
    assert!(next.message.contains("waiting for a new key by hand since"), "{}", next.message);
    let told = rig.notices().into_values().find(|it| it.1["type"] == "key.expiring").unwrap().1;
    let data = &told["data"];
    assert!(data["summary"].as_str().unwrap().contains("https://portal.example/keys"), "{told}");
    assert_eq!(data["actions"][0], "rekeyd rotate partner-portal", "{told}");

    let said = rotate(&rig, &["--reason", "it was due", "--id", "key 17", "--wait"], "the-second-secret\n").await;
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let now = rig.until_version(KEY, 2).await;
    let current = now.current.unwrap();
    assert_eq!(current.fingerprint.to_string(), fingerprint("the-second-secret"));
    assert_eq!((current.expiry, current.id.as_deref()), (Expiry::Assumed, Some("key 17")), "reckoned from valid_for");
    assert_eq!(std::fs::read_to_string(path(&rig)).unwrap(), "the-second-secret");
    rig.until_notice(KEY, "rotation.succeeded").await;
    rig.until_notice(KEY, "revoke.needed").await;
    let reasons: Vec<_> = rig.key(KEY).await.attention.into_iter().map(|it| it.reason).collect();
    assert_eq!(reasons, ["revoke_needed"]);
    rig.ok(&["ack", "--revoked", KEY]).await;
    assert_eq!(rig.key(KEY).await.health, Health::Ok);
    let history = rig.ok(&["history", "--json", KEY]).await;
    assert!(history.contains("\"operator\"") && history.contains("it was due"), "{history}");
    for secret in ["the-first-secret", "the-second-secret"] {
        assert!(!rig.log().contains(secret) && !history.contains(secret));
    }
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn without_a_secret_or_with_one_that_is_not_new_nothing_changes() {
    let rig = adopted("", 20).await;
    let none = rotate(&rig, &[], "").await;
    assert_eq!(none.code, Some(66), "{}", none.err);
    assert!(none.err.contains("no secret on stdin") && none.err.contains("rotate partner-portal < FILE"));
    let same = rotate(&rig, &[], "the-first-secret").await;
    assert_eq!(same.code, Some(65), "{}", same.err);
    assert!(same.err.contains("version 1"), "{}", same.err);
    let expired = rotate(&rig, &["--issued-at", "2020-01-01"], "another").await;
    assert_eq!(expired.code, Some(65), "{}", expired.err);
    let bare = rig.client().rotate(KEY, &Default::default()).await.unwrap_err();
    assert!(bare.to_string().contains("replaced by hand"), "{bare}");
    assert_eq!(rig.key(KEY).await.current.unwrap().version, 1);
    assert_eq!(std::fs::read_to_string(path(&rig)).unwrap(), "the-first-secret");
}

#[tokio::test]
async fn a_key_that_was_brought_waits_for_its_window_unless_it_is_told_not_to() {
    let window = format!("windows = [\"later\"]\n[windows.later]\n{}", opens_later());
    let rig = adopted(&window, 20).await;
    let said = rotate(&rig, &["--valid-to", "2126-01-02"], "the-second-secret").await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let waits = rig.until(KEY, "held by its window", |it| it.blocked.is_some()).await;
    assert_eq!(waits.blocked.unwrap().reason, "window");
    assert_eq!(waits.pending.unwrap().expiry, Expiry::Stated);
    assert_eq!(std::fs::read_to_string(path(&rig)).unwrap(), "the-first-secret");
    let said = rotate(&rig, &["--now", "--wait"], "the-third-secret").await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(std::fs::read_to_string(path(&rig)).unwrap(), "the-third-secret");
    rig.until_notice(KEY, "revoke.needed").await;
}

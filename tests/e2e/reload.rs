//! What a new config does to keys and rotations: in mid-rotation, when it drops keys, and when it is broken.
use crate::hooks::Hook;
use crate::rig::{Rig, calm, number, opens_later, write};
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::{Call, Fault, Service, World};
use rustix::process::Signal;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

/// How long an answer lasts during which the config changes, in milliseconds.
const SLOW: u64 = 5000;
const BROKEN: &str = "\n[keys.third]\nprovider = \"infobip\"\nowners = [\"nobody\"]\nvalid_for = \"2h\"\n\
                      overlap = \"1s\"\nrotate_before = \"10m\"\ncreate = { name = \"third\" }\n";

/// So many keys beside that of the world.
fn more_keys(many: usize) -> String {
    (0..many).fold(String::new(), |mut text, n| {
        let _ = write!(
            text,
            "\n[keys.more-{n}]\nprovider = \"infobip\"\nowners = [\"payments\"]\nvalid_for = \"2h\"\noverlap = \"1s\"\n\
             rotate_before = \"10m\"\ncreate = {{ name = \"more\" }}\n"
        );
        text
    })
}

#[tokio::test]
async fn a_broken_config_is_told_once_to_who_looks_after_the_daemon_until_a_good_one_is_in_use() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.edit_config(|it| it + BROKEN);
    assert_eq!(rig.cli(&["reload"]).await.code, Some(78));
    rig.until_own_notice("config.rejected", "firing").await;
    rig.signal(Signal::HUP);
    rig.until_true("the log tells", || rig.log().contains("the config on disk is not used")).await;
    let said = rig.own_notices("config.rejected", "firing");
    assert!(said[0].contains("nobody") && said[0].contains("rekeyd.toml:"), "{said:?}");
    rig.until_told().await;
    rig.kill().await;
    rig.run().await;
    assert!(!rig.status().await.daemon.config_ok);
    rig.write_config();
    rig.ok(&["reload"]).await;
    rig.until_own_notice("config.rejected", "resolved").await;
    rig.each_notice_came_once().await;
    assert_eq!(rig.own_notices("config.rejected", "firing").len(), 1);
}

#[tokio::test]
async fn a_reload_that_needs_a_restart_is_refused_told_and_shown() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.edit_config(|it| it.replace("[daemon]\n", "[daemon]\nreserve = \"1MiB\"\n"));
    let said = rig.cli(&["reload"]).await;
    assert_eq!(said.code, Some(78));
    assert!(said.err.contains("daemon.reserve takes effect at a start only"), "{}", said.err);
    let daemon = rig.status().await.daemon;
    assert!(!daemon.config_ok && daemon.config_error.unwrap().contains("daemon.reserve"));
    rig.until_own_notice("config.rejected", "firing").await;
}

#[tokio::test]
async fn a_reload_that_drops_too_many_keys_is_refused_unless_that_is_meant() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let small = fs::read_to_string(rig.config()).unwrap();
    rig.edit_config(|it| it + &more_keys(6));
    rig.ok(&["reload"]).await;
    write(&rig.config(), &small);
    let said = rig.cli(&["reload"]).await;
    assert_eq!(said.code, Some(78), "{}", said.err);
    assert!(said.err.contains("drops 6 of 7 keys (more-0, more-1, more-2, more-3, more-4, …)"), "{}", said.err);
    assert!(said.err.contains("--allow-removals"), "{}", said.err);
    let status = rig.status().await;
    assert!(!status.daemon.config_ok && status.keys.iter().all(|it| it.phase != PhaseName::Unmanaged));
    rig.until_own_notice("config.rejected", "firing").await;
    rig.ok(&["reload", "--allow-removals"]).await;
    rig.until_phase("more-0", PhaseName::Unmanaged).await;
    assert!(rig.status().await.daemon.config_ok);
    rig.until_own_notice("config.rejected", "resolved").await;
    rig.edit_config(|it| it + &more_keys(6));
    rig.ok(&["reload"]).await;
    rig.until_phase("more-0", PhaseName::Unadopted).await;
    rig.stop().await;
    write(&rig.config(), &small);
    rig.run().await;
    rig.until_phase("more-0", PhaseName::Unmanaged).await;
    rig.until_own_notice("daemon.degraded", "firing").await;
    let said = rig.own_notices("daemon.degraded", "firing");
    assert!(said[0].contains("drops 6 of 7 keys"), "at a start it is told: {said:?}");
}

#[tokio::test]
async fn an_unmanaged_key_is_left_alone_and_its_owners_hear_of_its_expiry_even_after_a_restart() {
    let mut world = calm(&[Service::Infobip, Service::Infobip2fa]);
    world.lifetime = Duration::from_secs(18);
    world.rotate_before = Duration::from_secs(3);
    let owner =
        "\n[owners.other]\nnotify_before = [\"5s\"]\nwebhook = [{ url = \"HOOK\", secret = { file = \"SECRET\" } }]\n";
    world.sections = owner.to_owned();
    let mut rig = Rig::prepare(world).await;
    let (hook, secret) = (rig.sim.hook().url(), rig.path("secrets/hook").display().to_string());
    let place = |it: String| it.replace("HOOK", &hook).replace("SECRET", &secret);
    let other = |it: String| {
        let (before, after) = it.split_once("[keys.billing-sms]").unwrap();
        format!("{before}[keys.billing-sms]{}", after.replacen("\"payments\"", "\"other\"", 1))
    };
    rig.edit_config(|it| other(place(it)));
    rig.run().await;
    rig.until_version("billing-sms", 1).await;
    let held = rig.held("billing-sms").unwrap();
    let begin = |it: &str| it.find("\n[keys.billing-sms]").unwrap();
    let end = |it: &str| it.find("\n[keys.two-factor]").unwrap();
    rig.edit_config(|it| format!("{}{}", &it[..begin(&it)], &it[end(&it)..]));
    rig.ok(&["reload"]).await;
    let key = rig.until_phase("billing-sms", PhaseName::Unmanaged).await;
    let current = key.current.unwrap();
    assert!(current.version == 1 && current.valid_to.is_some());
    assert_eq!(key.owners, ["other"]);
    rig.stop().await;
    rig.run().await;
    rig.until_notice("billing-sms", "key.expiring").await;
    rig.until_notice("billing-sms", "key.expired").await;
    let all = rig.notices().into_values().map(|it| it.1);
    let of_it = |it: &serde_json::Value| it["type"] == "key.expired" && it["data"]["key"] == "billing-sms";
    let to_whom: Vec<_> = all.filter(of_it).map(|it| it["data"]["owner"].clone()).collect();
    assert_eq!(to_whom, ["other"]);
    assert_eq!(rig.held("billing-sms"), Some(held), "nothing is delivered any more");
    assert_eq!(rig.sim.truth().calls(Service::Infobip, Call::Create), 1, "nor created");
    assert_eq!(rig.sim.truth().calls(Service::Infobip, Call::Revoke), 0, "nor revoked");
    assert_eq!(rig.told("billing-sms", "key.expired"), 1);
}

#[tokio::test]
async fn a_start_on_a_broken_config_serves_the_last_good_one_and_begins_no_rotation() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let held = rig.held("billing-sms").unwrap();
    rig.stop().await;
    let good = fs::read_to_string(rig.config()).unwrap();
    rig.edit_config(|it| it + BROKEN + "this is no TOML");
    fs::remove_file(rig.key_file("billing-sms")).unwrap();
    rig.run().await;
    let daemon = rig.status().await.daemon;
    assert!(!daemon.config_ok && daemon.config_error.unwrap().contains("rekeyd.toml:"));
    rig.until_own_notice("config.rejected", "firing").await;
    rig.until_true("the target is healed", || rig.held("billing-sms").as_ref() == Some(&held)).await;
    rig.rotate("billing-sms").await;
    let blocked = rig.until("billing-sms", "blocked", |it| it.blocked.is_some()).await.blocked.unwrap();
    assert_eq!(blocked.reason, "config");
    assert_eq!(rig.sim.truth().calls(Service::Infobip, Call::Create), 1);
    write(&rig.config(), &good);
    rig.ok(&["reload"]).await;
    rig.until_version("billing-sms", 2).await;
    rig.until_own_notice("config.rejected", "resolved").await;
}

#[tokio::test]
async fn a_target_that_changes_in_mid_rotation_gets_the_new_key_and_the_old_place_is_told() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let hook = Hook::of(&rig, "billing-sms");
    rig.run().await;
    rig.until_rest().await;
    hook.hold();
    rig.rotate("billing-sms").await;
    rig.until_true("the `then` runs", || hook.runs_for(2) == 1).await;
    let other = rig.path("keys/other.key");
    rig.edit_config(|it| it.replace(&format!("{:?}", rig.key_file("billing-sms")), &format!("{other:?}")));
    rig.ok(&["reload"]).await;
    hook.release();
    rig.until_version("billing-sms", 2).await;
    let held = fs::read_to_string(&other).unwrap();
    assert_eq!(rig.ok(&["reveal", "billing-sms"]).await, held);
    rig.until_notice("billing-sms", "delivery.failed").await;
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn owners_that_change_in_mid_rotation_are_told_of_its_end() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.until_told().await;
    rig.sim.fault(Service::Infobip, Call::Create, Fault::Delay { ms: SLOW });
    rig.rotate("billing-sms").await;
    rig.until_phase("billing-sms", PhaseName::Create).await;
    let (hook, secret) = (rig.sim.hook().url(), rig.path("secrets/hook"));
    let other = format!("\n[owners.other]\nwebhook = [{{ url = {hook:?}, secret = {{ file = {secret:?} }} }}]\n");
    rig.edit_config(|it| {
        it.replace("provider = \"infobip\"\nowners = [\"payments\"]", "provider = \"infobip\"\nowners = [\"other\"]")
            + &other
    });
    rig.ok(&["reload"]).await;
    rig.until_version("billing-sms", 2).await;
    rig.until_told().await;
    let all = rig.notices().into_values().map(|it| it.1).filter(|it| it["data"]["version"] == 2);
    let owners: Vec<_> =
        all.filter(|it| it["type"] == "rotation.succeeded").map(|it| it["data"]["owner"].clone()).collect();
    assert_eq!(owners, ["other"]);
}

#[tokio::test]
async fn a_window_that_comes_in_mid_rotation_stops_nothing_that_has_begun_but_holds_the_old_key() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let config = fs::read_to_string(rig.config()).unwrap();
    rig.sim.fault(Service::Infobip, Call::Create, Fault::Delay { ms: SLOW });
    rig.rotate("billing-sms").await;
    rig.until_phase("billing-sms", PhaseName::Create).await;
    let window = format!("\n[windows.rare]\n{}\n", opens_later());
    rig.edit_config(|it| {
        it.replacen("provider = \"infobip\"\n", "provider = \"infobip\"\nwindows = [\"rare\"]\n", 1) + &window
    });
    rig.ok(&["reload"]).await;
    rig.until("billing-sms", "replaced", |it| number(it) == 2 && it.phase == PhaseName::Revoke).await;
    assert_eq!(rig.sim.truth().live(Service::Infobip).len(), 2, "the old key waits for the window");
    write(&rig.config(), &config);
    rig.ok(&["reload"]).await;
    rig.until_version("billing-sms", 2).await;
}

#[tokio::test]
async fn a_key_that_moves_for_good_has_its_old_version_ended_or_told() {
    let mut world = calm(&[Service::Infobip]);
    world.accept_within = Duration::from_secs(1);
    let rig = Rig::start_created(world).await;
    let first = rig.held("billing-sms").unwrap();
    rig.sim.fault(Service::Infobip, Call::Create, Fault::Delay { ms: SLOW });
    rig.rotate("billing-sms").await;
    rig.until_phase("billing-sms", PhaseName::Create).await;
    rig.edit_config(|it| it.replace("kind = \"infobip\"\n", "kind = \"infobip\"\naccount = \"moved\"\n"));
    rig.ok(&["reload"]).await;
    rig.until("billing-sms", "replaced", |it| number(it) == 2).await;
    let ended = || !rig.sim.truth().is_live(&first) || rig.told("billing-sms", "revoke.needed") == 1;
    rig.until_true("the old version is ended or told", ended).await;
    rig.until_phase("billing-sms", PhaseName::Steady).await;
    // The next rotation is at the new account, and the version at the old one ends there.
    let second = rig.held("billing-sms").unwrap();
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 3).await;
    assert!(!rig.sim.truth().is_live(&second), "it was revoked where it was issued");
}

#[tokio::test]
async fn a_create_in_flight_is_told_when_its_account_is_renamed_while_the_daemon_is_down() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let issued = rig.sim.truth().calls(Service::Infobip, Call::Create) + 1;
    rig.sim.fault(Service::Infobip, Call::Create, Fault::Delay { ms: SLOW });
    rig.rotate("billing-sms").await;
    rig.until_true("a key is issued", || rig.sim.truth().calls(Service::Infobip, Call::Create) == issued).await;
    rig.kill().await;
    rig.edit_config(|it| it.replace("kind = \"infobip\"\n", "kind = \"infobip\"\naccount = \"renamed\"\n"));
    rig.run().await;
    rig.until_notice("billing-sms", "revoke.needed").await;
    let key = rig.until_phase("billing-sms", PhaseName::Steady).await;
    assert_eq!((number(&key), key.blocked), (1, None));
    rig.rotate("billing-sms").await;
    rig.until("billing-sms", "replaced", |it| number(it) == 2).await;
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn a_password_in_a_file_is_read_at_each_use() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let password = rig.path("secrets/infobip");
    let right = fs::read_to_string(&password).unwrap();
    write(&password, "wrong");
    rig.rotate("billing-sms").await;
    let blocked = rig.until("billing-sms", "held", |it| it.blocked.is_some()).await.blocked.unwrap();
    assert_eq!(blocked.reason, "login_refused");
    write(&password, &right);
    rig.until_version("billing-sms", 2).await;
    assert_eq!(World::key_name(Service::Infobip), "billing-sms");
}

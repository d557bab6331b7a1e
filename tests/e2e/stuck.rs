//! What hangs, a service, a consumer's hook or the mail server, delays nobody else, and what takes too long is told.
use crate::hooks::Hook;
use crate::listener::scrape;
use crate::rig::{Rig, calm};
use crate::trouble::{KEYS, many_keys};
use rekeyd::control::protocol::{KeyStatus, PhaseName};
use rekeyd::http::TOTAL_TIMEOUT;
use rekeyd::simulator::{Call, Fault, MailMode, Service};
use std::fs;
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;

const SMS: &str = "billing-sms";
const CAMPAIGN: &str = "campaign-sms";

/// A daemon that works on one key at a time, wherever it can be made to wait.
async fn narrow(prepare: impl FnOnce(&Rig)) -> Rig {
    let mut rig = Rig::prepare(calm(&[Service::Infobip, Service::Mobivate])).await;
    rig.edit_config(|it| it.replacen("[daemon]\n", "[daemon]\nmax_concurrent_rotations = 1\n", 1));
    prepare(&rig);
    rig.run().await;
    rig.until_rest().await;
    rig
}

#[tokio::test]
async fn a_service_that_never_answers_delays_no_key_of_another() {
    let rig = narrow(|_| {}).await;
    for call in [Call::List, Call::Create, Call::Probe, Call::Revoke] {
        rig.sim.faults(Service::Infobip, |it| it.often(call, Fault::NeverAnswers { effect: false }, 1000));
    }
    let asked = rig.sim.truth().calls(Service::Infobip, Call::List);
    let began = Instant::now();
    rig.rotate(SMS).await;
    rig.until_true("it is asked", || rig.sim.truth().calls(Service::Infobip, Call::List) > asked).await;
    rig.rotate(CAMPAIGN).await;
    rig.until_version(CAMPAIGN, 2).await;
    assert!(began.elapsed() < TOTAL_TIMEOUT, "the other waited for it");
    assert_eq!(rig.key(SMS).await.current.unwrap().version, 1);
}

#[tokio::test]
async fn a_hook_that_does_not_end_delays_no_other_key() {
    let mut hook = None;
    let rig = narrow(|rig| hook = Some(Hook::of(rig, SMS))).await;
    let hook = hook.unwrap();
    hook.hold();
    rig.rotate(SMS).await;
    rig.until_true("its `then` runs", || hook.runs_for(2) == 1).await;
    rig.rotate(CAMPAIGN).await;
    rig.until_version(CAMPAIGN, 2).await;
    assert_eq!(rig.key(SMS).await.phase, PhaseName::Deliver, "the hook still runs");
    hook.release();
    rig.until_version(SMS, 2).await;
}

#[tokio::test]
async fn a_mail_server_that_never_says_a_word_delays_no_webhook() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.edit_config(|it| it + &many_keys(&rig));
    rig.sim.mail().set_mode(MailMode::Mute);
    rig.run().await;
    for n in 0..KEYS {
        rig.until_notice(&format!("many-{n}"), "rotation.succeeded").await;
    }
    assert_eq!(rig.sim.mail().mails().len(), 0);
    assert!(rig.status().await.daemon.outbox_pending > KEYS as u64, "the mails wait");
}

/// A pipe that nobody writes to stands for the disk: whoever opens it waits.
#[tokio::test]
async fn a_password_on_a_disk_that_does_not_answer_delays_no_other_key_and_is_told() {
    let rig = Rig::start_created(calm(&[Service::Infobip, Service::Mobivate])).await;
    let (password, pipe) = (rig.path("secrets/infobip"), rig.path("secrets/pipe"));
    let right = rig.path("secrets/right");
    fs::rename(&password, &right).unwrap();
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&password).status().unwrap().success());
    rig.rotate("billing-sms").await;
    rig.rotate("campaign-sms").await;
    rig.until_version("campaign-sms", 2).await;
    let told = |it: &KeyStatus| it.blocked.as_ref().is_some_and(|it| it.message.contains("was not read within"));
    rig.until("billing-sms", "told", told).await;
    fs::rename(&password, &pipe).unwrap();
    fs::rename(&right, &password).unwrap();
    // It answers again: whoever waits there sees the end.
    drop(fs::OpenOptions::new().write(true).open(&pipe).unwrap());
    rig.until_version("billing-sms", 2).await;
    rig.every_live_key_is_known().await;
}

#[tokio::test]
async fn what_takes_longer_than_stuck_after_is_shown_counted_and_told_once() {
    let mut world = calm(&[Service::Infobip]);
    world.more.push((SMS.to_owned(), "stuck_after = \"1h\"".to_owned()));
    let mut rig = Rig::prepare(world).await;
    rig.edit_config(|it| it.replacen("[daemon]\n", "[daemon]\nlisten = \"127.0.0.1:0\"\n", 1));
    let hook = Hook::of(&rig, SMS);
    rig.run().await;
    rig.until_version(SMS, 1).await;
    rig.until_told().await;
    let told_before = rig.told(SMS, "rotation.failed");
    hook.hold();
    rig.rotate(SMS).await;
    // However long it took to get there: it is stuck in its delivery.
    rig.until_true("its `then` runs", || hook.runs_for(2) == 1).await;
    rig.edit_config(|it| it.replacen("stuck_after = \"1h\"", "stuck_after = \"1s\"", 1));
    rig.ok(&["reload"]).await;
    let stuck = rig.until(SMS, "stuck", |it| it.attention.iter().any(|it| it.reason == "stuck")).await;
    assert!(stuck.attention.iter().any(|it| it.message.contains("now in deliver")), "{:?}", stuck.attention);
    assert_eq!(rig.cli(&["status", "--exit-code", SMS]).await.code, Some(1));
    let sample = format!("rekeyd_key_attention{{key=\"{SMS}\"");
    let metrics = scrape(&rig).await;
    let stuck =
        metrics.lines().any(|it| it.starts_with(&sample) && it.contains("reason=\"stuck\"") && it.ends_with(" 1"));
    assert!(stuck, "{metrics}");
    rig.until_notice(SMS, "rotation.failed").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    hook.release();
    rig.until_version(SMS, 2).await;
    rig.until_told().await;
    assert_eq!(rig.told(SMS, "rotation.failed"), told_before + 1, "once, however long it takes");
    let said: String = rig.notices().values().map(|it| it.1.to_string()).collect();
    assert!(said.contains("longer than stuck_after, and is in deliver"), "{said}");
    rig.each_notice_came_once().await;
}

//! Owners are told, whatever the mail server and the webhook receiver do.
use crate::rig::{Rig, calm};
use rekeyd::simulator::{HookMode, MailMode, Service};

#[tokio::test]
async fn a_notice_arrives_by_mail_and_by_webhook_with_no_secret_in_it() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.each_notice_came_once().await;
    let held = rig.held("billing-sms").unwrap();
    let mail = rig.sim.mail().mails().remove(0);
    assert_eq!(mail.to, ["payments@example.com"]);
    assert!(mail.raw.contains("Auto-Submitted: auto-generated") && mail.raw.contains("billing-sms"), "{}", mail.raw);
    assert!(
        mail.raw.contains("What comes next\n  rotate: ") || mail.raw.contains("What comes next\r\n  rotate: "),
        "{}",
        mail.raw
    );
    assert!(!mail.raw.contains(&held));
    let hook = rig.sim.hook().requests().remove(0);
    assert!(hook.header("webhook-signature").unwrap().starts_with("v1,"));
    assert!(!hook.body.contains(&held));
}

#[tokio::test]
async fn a_mail_waits_while_the_mail_server_is_down_even_over_a_kill() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.sim.mail().set_open(false).await;
    rig.run().await;
    rig.until_rest().await;
    rig.until_true("the webhook came", || rig.notices().len() == 1).await;
    rig.until_true("a try failed", || rig.log().contains("a notice waits")).await;
    rig.until_pending(1).await;
    rig.kill().await;
    rig.run().await;
    assert_eq!(rig.status().await.daemon.outbox_pending, 1);
    rig.sim.mail().set_open(true).await;
    rig.each_notice_came_once().await;
    assert_eq!(rig.sim.mail().mails().len(), 1);
}

#[tokio::test]
async fn a_deferred_mail_and_a_failed_webhook_are_tried_again_under_one_id() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.sim.mail().set_mode(MailMode::Defers);
    rig.sim.hook().set_mode(HookMode::Answers { status: 503 });
    rig.run().await;
    rig.until_rest().await;
    for channel in ["email:", "webhook:"] {
        let failed = |line: &str| line.contains("a notice waits") && line.contains(channel);
        rig.until_true("both failed", || rig.log().lines().any(failed)).await;
    }
    rig.sim.mail().set_mode(MailMode::Accepts);
    rig.sim.hook().set_mode(HookMode::Accepts);
    rig.each_notice_came_once().await;
    let ids: Vec<_> = rig.sim.hook().requests().iter().map(|it| it.header("webhook-id").unwrap().to_owned()).collect();
    assert!(ids.len() >= 2 && ids.iter().all(|it| *it == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn a_refused_mail_is_given_up_and_status_shows_it() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.sim.mail().set_mode(MailMode::Rejects);
    rig.run().await;
    rig.until_rest().await;
    rig.until_told().await;
    assert_eq!(rig.told("billing-sms", "rotation.succeeded"), 1, "the webhook is a channel of its own");
    rig.until_own_notice("daemon.degraded", "firing").await;
    rig.until_told().await;
    assert_eq!(rig.own_notices("daemon.degraded", "firing").len(), 1, "once, and not by the channel that it is about");
    assert_eq!(rig.status().await.daemon.outbox_dead, 1);
    rig.sim.mail().set_mode(MailMode::Accepts);
    rig.rotate("billing-sms").await;
    rig.until_own_notice("daemon.degraded", "resolved").await;
}

#[tokio::test]
async fn a_test_notice_goes_through_every_channel_and_each_answer_is_printed() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.until_true("both channels are told of the first key", || {
        !rig.sim.mail().mails().is_empty() && !rig.sim.hook().requests().is_empty()
    })
    .await;
    rig.until_told().await;
    let (mails, hooks) = (rig.sim.mail().mails().len(), rig.sim.hook().requests().len());
    let said = rig.ok(&["notify", "payments"]).await;
    assert!(said.contains("email:payments@example.com: taken (") && said.contains("webhook:http"), "{said}");
    assert_eq!((rig.sim.mail().mails().len(), rig.sim.hook().requests().len()), (mails + 1, hooks + 1));
    assert!(rig.sim.mail().mails().last().unwrap().raw.contains("rekeyd: test"));

    rig.sim.mail().set_mode(MailMode::Rejects);
    let said = rig.cli(&["--json", "notify", "payments"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let answers: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let taken = |n: usize| answers[n]["taken"].as_bool().unwrap();
    assert_eq!((answers.as_array().unwrap().len(), taken(0), taken(1)), (2, false, true), "{answers}");
    assert!(answers[0]["message"].as_str().unwrap().contains('5'), "{answers}");
    assert_eq!(rig.status().await.daemon.outbox_dead, 0, "a test is no notice that could be lost");
    rig.kill().await;
    rig.run().await;
    for (channel, fates) in [("email", ["sent", "dead"]), ("webhook", ["sent", "sent"])] {
        assert_eq!(
            rig.fates_of(|it| it["type"] == "test", channel).await,
            fates,
            "the history keeps each, and its fate"
        );
    }
    let said = rig.ok(&["history"]).await;
    assert!(said.contains("tries whether payments can be told"), "{said}");

    let said = rig.cli(&["notify", "nobody"]).await;
    assert_eq!(said.code, Some(66), "{said:?}");
    assert!(said.err.contains("there is no owner nobody; there are: payments"), "{said:?}");
}

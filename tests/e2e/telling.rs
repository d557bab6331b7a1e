//! How much, and whom, owners are told: together, by one message whose answer may be lost, by no channel that is gone, and
//! by others where they can't be told themselves.
use crate::rig::{Rig, calm, write};
use crate::watch::tells_of_the_pace;
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::{Call, Fault, HookMode, MailMode, Service};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const ALL: [Service; 3] = [Service::Infobip, Service::Infobip2fa, Service::SingleInvoice];

/// A rig whose owner is told together what falls due within this.
async fn grouping(services: &[Service], within: &str) -> Rig {
    let rig = Rig::prepare(calm(services)).await;
    rig.edit_config(|it| it.replace("group_within = \"0s\"", &format!("group_within = \"{within}\"")));
    rig
}

impl Rig {
    /// Another owner, to whom `payments` escalates; what he is told goes into a file, a notice a line.
    pub(crate) fn add_platform(&self) {
        let heard = self.path("platform");
        fs::write(&heard, "").unwrap();
        let command =
            format!("[\"/bin/sh\", \"-c\", \"heard=$(cat); printf '%s\\\\n' \\\"$heard\\\" >> {}\"]", heard.display());
        self.edit_config(|it| {
            let it = it.replace("[owners.payments]\n", "[owners.payments]\nescalate_to = [\"platform\"]\n");
            format!("{it}\n[owners.platform]\nexec = [{{ command = {command} }}]\n")
        });
    }

    /// What the other owner was told of but for the pace of the disk: type and status.
    pub(crate) fn platform_heard(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.path("platform")).unwrap();
        let lines = text.lines().filter(|it| !tells_of_the_pace(it));
        let notices = lines.map(|it| serde_json::from_str::<Value>(it).unwrap());
        let word = |it: &Value| it.as_str().unwrap().to_owned();
        notices.map(|it| (word(&it["type"]), word(&it["data"]["status"]))).collect()
    }

    /// The fates of the notices of a type by one kind of channel, oldest first.
    async fn fates(&self, kind: &str, channel: &str) -> Vec<String> {
        self.fates_of(|it| it["type"] == kind, channel).await
    }
}

#[tokio::test]
async fn keys_that_are_replaced_together_are_one_mail_and_a_webhook_each() {
    let mut rig = grouping(&ALL, "2s").await;
    rig.run().await;
    rig.until_rest().await;
    rig.until_told().await;
    let (mails, hooks) = (rig.sim.mail().mails(), rig.notices());
    assert_eq!((mails.len(), hooks.len()), (1, ALL.len()), "{}", rig.tail());
    assert_eq!(mails[0].subject, "[info] 3 keys: rotation succeeded");
    for key in ["billing-sms", "two-factor", "invoices"] {
        assert!(mails[0].raw.contains(key), "{key}: {}", mails[0].raw);
    }
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_comes_again_as_it_was_even_over_a_kill() {
    let mut rig = grouping(&ALL, "3s").await;
    rig.sim.mail().set_mode(MailMode::LosesAnswer);
    rig.run().await;
    rig.until_rest().await;
    rig.until_true("it arrived", || !rig.sim.mail().mails().is_empty()).await;
    rig.until_true("and nobody knows", || rig.log().contains("a notice waits")).await;
    rig.kill().await;
    rig.sim.mail().set_mode(MailMode::Accepts);
    rig.run().await;
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 2).await;
    rig.until_told().await;
    let mails = rig.sim.mail().mails();
    let (first, again) = (&mails[0], &mails[1]);
    assert_eq!((&first.message_id, &first.subject), (&again.message_id, &again.subject));
    let body = |raw: &str| raw.lines().filter(|it| it.contains("(UTC") || it.contains("rotation")).count();
    assert_eq!(body(&first.raw), body(&again.raw));
    assert!(mails.last().unwrap().raw.contains("billing-sms"), "what came since goes by itself, later");
    let mut ids: Vec<_> = mails.iter().map(|it| it.message_id.clone()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 2, "{ids:?}");
}

#[tokio::test]
async fn what_ended_while_the_mail_server_was_down_is_told_once_and_as_it_ended() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.until_told().await;
    rig.sim.mail().set_open(false).await;
    let good = fs::read_to_string(rig.config()).unwrap();
    rig.edit_config(|it| format!("{it}\n[nonsense]\n"));
    rig.cli(&["reload"]).await;
    rig.until_own_notice("config.rejected", "firing").await;
    fs::write(rig.config(), good).unwrap();
    rig.ok(&["reload"]).await;
    rig.until_own_notice("config.rejected", "resolved").await;
    rig.until_true("a try failed", || rig.log().contains("a notice waits")).await;
    let before = rig.sim.mail().mails().len();
    rig.sim.mail().set_open(true).await;
    rig.until_told().await;
    let came: Vec<_> = rig.sim.mail().mails().split_off(before).into_iter().map(|it| it.subject).collect();
    assert_eq!(came, ["[resolved] rekeyd: config rejected"]);
    assert_eq!(rig.fates("config.rejected", "email").await, ["superseded", "sent"]);
    assert_eq!(rig.fates("config.rejected", "webhook").await, ["sent", "sent"], "which was never down");
}

#[tokio::test]
async fn a_webhook_that_is_gone_is_switched_off_and_comes_back_with_a_test_that_it_takes() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.add_platform();
    rig.run().await;
    rig.until_rest().await;
    rig.until_told().await;
    rig.sim.hook().set_mode(HookMode::Answers { status: 410 });
    rig.rotate("billing-sms").await;
    rig.until_true("others are told", || rig.platform_heard().contains(&both("daemon.degraded", "firing"))).await;
    rig.until_told().await;
    let remedy = || rig.sim.mail().mails().iter().any(|it| it.raw.contains("rekeyd notify payments"));
    rig.until_true("by mail the owner hears what to do", remedy).await;
    let status = rig.status().await.daemon;
    assert!(status.troubles.iter().any(|it| it.contains("is not told by webhook:")), "{status:?}");

    let asked = rig.sim.hook().requests().len();
    rig.kill().await;
    rig.run().await;
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 3).await;
    rig.until_told().await;
    assert_eq!(rig.sim.hook().requests().len(), asked, "nothing is sent there any more");
    assert_eq!(rig.fates("rotation.succeeded", "webhook").await, ["sent", "dead", "off"]);
    assert_eq!(rig.status().await.daemon.troubles.len(), 1, "as after the restart");

    rig.sim.hook().set_mode(HookMode::Accepts);
    rig.ok(&["notify", "payments"]).await;
    until_mailed_that_it_is_over(&rig).await;
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 4).await;
    rig.until_told().await;
    assert_eq!(rig.fates("rotation.succeeded", "webhook").await.last().unwrap(), "sent");
    assert!(rig.status().await.daemon.troubles.is_empty());
}

#[tokio::test]
async fn a_webhook_that_is_gone_comes_back_with_another_url() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.until_told().await;
    rig.sim.hook().set_mode(HookMode::Answers { status: 410 });
    rig.rotate("billing-sms").await;
    rig.until_true("it is off", || rig.log().contains("the channel is switched off")).await;
    rig.until_told().await;
    rig.sim.hook().set_mode(HookMode::Accepts);
    let url = rig.sim.hook().url();
    rig.edit_config(|it| it.replace(&url, &url.replace("/hook", "/other")));
    rig.ok(&["reload"]).await;
    rig.until_own_notice("daemon.degraded", "resolved").await;
    assert!(rig.status().await.daemon.troubles.is_empty());
    rig.rotate("billing-sms").await;
    rig.until_notice("billing-sms", "rotation.succeeded").await;
    assert_eq!(rig.sim.hook().requests().last().unwrap().path, "/other");
}

#[tokio::test]
async fn a_webhook_whose_url_is_a_secret_comes_back_when_that_has_changed() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let (url, secret) = (rig.sim.hook().url(), rig.path("hook-url"));
    fs::write(&secret, &url).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    rig.edit_config(|it| it.replace(&format!("url = {url:?}"), &format!("url = {{ file = {secret:?} }}")));
    rig.sim.hook().set_mode(HookMode::Answers { status: 410 });
    rig.run().await;
    rig.until_rest().await;
    rig.until_true("it is off", || rig.log().contains("the channel is switched off")).await;
    rig.until_told().await;
    rig.sim.hook().set_mode(HookMode::Accepts);
    write(&secret, &url.replace("/hook", "/other"));
    rig.rotate("billing-sms").await;
    rig.until_notice("billing-sms", "rotation.succeeded").await;
    until_mailed_that_it_is_over(&rig).await;
    assert!(rig.sim.hook().requests().iter().skip(1).all(|it| it.path == "/other"));
}

/// By the mail that told the owner of it; the webhook itself was not told of the beginning, and is not told the end.
async fn until_mailed_that_it_is_over(rig: &Rig) {
    let is_over = || rig.sim.mail().mails().iter().any(|it| it.subject.starts_with("[resolved]"));
    rig.until_true("by mail the owner hears that it is over", is_over).await;
    rig.until_told().await;
    assert_eq!(rig.own_notices("daemon.degraded", "resolved"), [""; 0], "{}", rig.tail());
}

#[tokio::test]
async fn what_is_refused_by_one_channel_is_told_by_the_others() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.add_platform();
    rig.sim.mail().set_mode(MailMode::Rejects);
    rig.run().await;
    rig.until_own_notice("daemon.degraded", "firing").await;
    let said = rig.own_notices("daemon.degraded", "firing").remove(0);
    assert!(said.starts_with("payments was not told of rotation.succeeded (billing-sms) by email:"), "{said}");
    rig.until_true("others are told", || !rig.platform_heard().is_empty()).await;
    assert_eq!(rig.platform_heard(), [both("daemon.degraded", "firing")], "of the channel, for the owner was told");
}

#[tokio::test]
async fn what_no_channel_takes_is_told_to_whom_the_owner_names() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.add_platform();
    rig.sim.mail().set_mode(MailMode::Rejects);
    rig.sim.hook().set_mode(HookMode::Answers { status: 410 });
    rig.run().await;
    rig.until_true("others are told", || rig.platform_heard().contains(&both("rotation.succeeded", "firing"))).await;
    rig.until_told().await;
    let heard = rig.platform_heard();
    assert_eq!(heard.iter().filter(|it| it.0 == "rotation.succeeded").count(), 1, "{heard:?}");
    assert_eq!(heard.iter().filter(|it| it.0 == "daemon.degraded").count(), 2, "one for each channel: {heard:?}");
}

#[tokio::test]
async fn one_notice_that_the_mail_server_refuses_keeps_no_other_back() {
    let mut rig = grouping(&ALL, "2s").await;
    rig.sim.mail().set_mode(MailMode::Filters);
    rig.run().await;
    rig.until_rest().await;
    rig.until_own_notice("daemon.degraded", "firing").await;
    rig.until_told().await;
    let mails: Vec<_> = rig.sim.mail().mails().into_iter().filter(|it| it.subject.contains("rotation")).collect();
    for key in ["billing-sms", "invoices"] {
        assert_eq!(mails.iter().filter(|it| it.raw.contains(key)).count(), 1, "{key}: {}", rig.tail());
    }
    assert_eq!(rig.status().await.daemon.outbox_dead, 1, "the one that holds the word");
    let said = rig.own_notices("daemon.degraded", "firing").remove(0);
    assert!(said.starts_with("payments was not told of rotation.succeeded (two-factor) by email:"), "{said}");
}

#[tokio::test]
async fn a_halt_is_told_to_whom_the_owner_names_and_so_is_its_end() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip2fa])).await;
    rig.add_platform();
    rig.run().await;
    rig.until_rest().await;
    rig.until_told().await;
    assert!(rig.platform_heard().is_empty(), "a rotation that succeeds is none of his business");
    rig.sim.fault(Service::Infobip2fa, Call::Create, Fault::LostAnswer);
    rig.rotate("two-factor").await;
    rig.until_phase("two-factor", PhaseName::Halted).await;
    rig.until_true("he is told", || rig.platform_heard() == [both("rotation.halted", "firing")]).await;
    rig.ok(&["resume", "two-factor"]).await;
    rig.until_true("and of its end", || rig.platform_heard().last() == Some(&both("rotation.halted", "resolved")))
        .await;
    assert_eq!(rig.platform_heard().len(), 2);
}

fn both(kind: &str, status: &str) -> (String, String) {
    (kind.to_owned(), status.to_owned())
}

/// The moments since which each digest tells.
fn digests(rig: &Rig) -> Vec<String> {
    let said = rig.own_notices("digest", "firing");
    let mut since: Vec<_> = said.iter().map(|it| it.split("since ").nth(1).unwrap()[..20].to_owned()).collect();
    since.sort();
    since
}

#[tokio::test]
async fn digests_come_when_they_are_due_and_those_missed_are_made_up_for_by_one() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.edit_config(|it| it.replace("[owners.payments]\n", "[owners.payments]\ndigest = \"* * * * * *\"\n"));
    rig.run().await;
    rig.until_true("digests came", || digests(&rig).len() >= 2).await;
    let plan: Value = serde_json::from_str(&rig.ok(&["--json", "plan", "--for", "1h"]).await).unwrap();
    let entry = plan["entries"].as_array().unwrap().iter().find(|it| it["action"] == "digest").cloned().unwrap();
    assert_eq!((&entry["key"], &entry["owners"][0]), (&Value::Null, &Value::from("payments")));
    let said = rig.sim.mail().mails().into_iter().find(|it| it.subject.contains("digest")).unwrap();
    assert!(said.raw.contains("since"), "{}", said.raw);

    rig.kill().await;
    let (before, down) = (digests(&rig).len(), rekeyd::clock::now().plus(Duration::from_secs(4)));
    rig.until_true("several are missed", || rekeyd::clock::now() > down).await;
    rig.run().await;
    rig.until_true("they go on", || digests(&rig).len() >= before + 3).await;
    let since = digests(&rig);
    let mut distinct = since.clone();
    distinct.dedup();
    assert_eq!(since, distinct, "none is told twice");
    let seconds: Vec<i64> =
        since.iter().map(|it| it.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp()).collect();
    assert!(seconds.windows(2).any(|it| it[1] - it[0] >= 4), "one for the whole time: {since:?}");
}

//! What owners hear of a copy of a state: that it is there and only looks, and nothing that the original has to tell.
use crate::rig::{Rig, calm};
use crate::watch::tells_of_the_pace;
use rekeyd::simulator::{HookMode, MailMode, Service};
use std::time::Duration;

const SMS: &str = "billing-sms";
const MACHINE: &str = "0123456789abcdef0123456789abcdef";

/// An original that was stopped before it could tell of its last rotation, and a copy of it on another machine; `None` where
/// that can't be made so.
async fn copied_with_something_untold() -> Option<(Rig, Rig)> {
    let mut first = Rig::start_created(calm(&[Service::Infobip])).await;
    first.until_told().await;
    first.until_told().await;
    first.sim.hook().set_mode(HookMode::Answers { status: 503 });
    first.sim.mail().set_mode(MailMode::Defers);
    first.rotate(SMS).await;
    first.until_version(SMS, 2).await;
    first.until_true("a try failed", || first.log().contains("a notice waits")).await;
    assert!(first.status().await.daemon.outbox_pending > 0);
    first.stop().await;
    first.sim.hook().set_mode(HookMode::Accepts);
    first.sim.mail().set_mode(MailMode::Accepts);
    let mut copy = first.copied();
    if !copy.move_to_machine(MACHINE) {
        println!("skipped: /etc/machine-id can't be replaced for a process here");
        return None;
    }
    // A digest that falls due meanwhile is the original's to tell.
    copy.edit_config(|it| it.replace("[owners.payments]\n", "[owners.payments]\ndigest = \"* * * * * *\"\n"));
    copy.run().await;
    copy.until_own_notice("daemon.degraded", "firing").await;
    let mails = || copy.sim.mail().mails().into_iter().filter(|it| !tells_of_the_pace(&it.raw)).count();
    copy.until_true("its mail comes too", || mails() >= 2).await;
    // Whatever it brought along is due by now, by each channel.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let own = copy.own_notices("daemon.degraded", "firing");
    assert!(own.len() == 1 && own[0].contains("came from another machine"), "{own:?}");
    assert_eq!(
        copy.notices().len(),
        2,
        "the original's first rotation, and that the copy observes: {:#?}",
        copy.notices()
    );
    assert_eq!(mails(), 2);
    copy.edit_config(|it| it.replace("digest = \"* * * * * *\"\n", ""));
    copy.ok(&["reload"]).await;
    Some((first, copy))
}

#[tokio::test]
async fn a_copy_that_observes_leaves_it_to_the_original_to_tell_of_its_past() {
    let Some((mut first, mut copy)) = copied_with_something_untold().await else { return };
    copy.stop().await;
    first.run().await;
    first.until_true("the original tells it", || first.told(SMS, "rotation.succeeded") == 2).await;
    first.each_notice_came_once().await;
}

#[tokio::test]
async fn a_copy_that_is_the_one_to_run_on_tells_what_the_original_could_not() {
    let Some((_first, copy)) = copied_with_something_untold().await else { return };
    copy.ok(&["resume", "--all"]).await;
    copy.until_true("the copy tells it", || copy.told(SMS, "rotation.succeeded") == 2).await;
    copy.until_own_notice("daemon.degraded", "resolved").await;
    copy.each_notice_came_once().await;
}

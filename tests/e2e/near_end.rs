//! A key that somebody holds back until it is near its end, and beyond.
use crate::escalation::{Later, MINUTE};
use crate::rig::{Rig, calm, number};
use rekeyd::simulator::Service;

/// The key lives for two hours: others are told from a third of that on, the owner at his thresholds too.
async fn held_back() -> Later {
    let it = Later { rig: Rig::prepare(calm(&[Service::Infobip])).await, ahead: 0 };
    it.rig.add_platform();
    let thresholds = "[owners.payments]\nnotify_before = [\"30m\", \"20m\", \"10m\"]\n";
    it.rig.edit_config(|text| text.replace("[owners.payments]\n", thresholds));
    it.set(0);
    it
}

/// What the owner and the other one were told of the key's end so far.
fn told(it: &Later) -> (usize, usize, usize) {
    let expiring = it.rig.told("billing-sms", "key.expiring");
    (expiring, it.rig.told("billing-sms", "key.expired"), it.rig.platform_heard().len())
}

#[tokio::test]
async fn who_is_named_hears_of_a_key_near_its_end_and_an_ack_silences_repeats_until_it_has_expired() {
    let mut it = held_back().await;
    it.rig.run().await;
    it.rig.until_rest().await;
    it.rig.ok(&["pause", "billing-sms"]).await;
    it.pass(75 * MINUTE).await;
    it.rig.until_told().await;
    assert_eq!(told(&it), (0, 0, 0), "there is time: {}", it.rig.tail());
    it.pass(7 * MINUTE).await;
    it.rig.until_true("both are told", || told(&it) == (1, 0, 1)).await;
    it.pass(10 * MINUTE).await;
    it.rig.until_true("both are told at the next threshold", || told(&it) == (2, 0, 2)).await;

    it.rig.ok(&["ack", "billing-sms"]).await;
    it.pass(20 * MINUTE).await;
    it.rig.until_told().await;
    assert_eq!(told(&it), (2, 0, 2), "somebody has it: {}", it.rig.tail());
    it.pass(10 * MINUTE).await;
    it.rig.until_true("that it has expired is something else", || told(&it) == (2, 1, 3)).await;

    it.rig.ok(&["resume", "billing-sms"]).await;
    it.rig.until("billing-sms", "replaced", |it| number(it) == 2).await;
    let over = || it.rig.platform_heard().last().is_some_and(|it| it.1 == "resolved");
    it.rig.until_true("the end is told to whoever heard of the beginning", over).await;
    it.rig.until_told().await;
    let about = it.rig.notices().into_values().map(|it| it.1);
    let about: Vec<_> = about.filter(|it| it["type"].as_str().unwrap().starts_with("key.expir")).collect();
    let incidents: std::collections::BTreeSet<_> = about.iter().map(|it| it["data"]["incident"].to_string()).collect();
    assert_eq!((about.len(), incidents.len()), (4, 1), "one incident from its beginning to its end: {about:?}");
    assert_eq!(it.rig.platform_heard().len(), 4, "{:?}", it.rig.platform_heard());
    it.rig.each_notice_came_once().await;
}

//! Lost answers: the service made a key, and nobody told us.
use crate::rig::{Rig, ago, calm, fingerprint};
use crate::watch::Consumer;
use rekeyd::control::protocol::{KeyStatus, PhaseName};
use rekeyd::simulator::{Call, Fault, Service, World};
use std::time::Duration;

/// A first key, then a rotation whose answer is lost.
async fn lose(service: Service, more: &str, prepare: impl FnOnce(&Rig)) -> Rig {
    let name = World::key_name(service);
    let mut world = calm(&[service]);
    world.more.push((name.to_owned(), more.to_owned()));
    let mut rig = Rig::prepare(world).await;
    rig.sim.stranger_creates_key(Service::Mobivate);
    prepare(&rig);
    rig.run().await;
    rig.until_rest().await;
    rig.sim.fault(service, Call::Create, Fault::LostAnswer);
    rig.rotate(name).await;
    rig
}

/// The key that the lost create made.
fn lost_key(rig: &Rig, service: Service, nth: usize) -> String {
    rig.sim.truth().keys(service)[nth].secret.clone()
}

#[tokio::test]
async fn infobip_a_lost_key_is_found_in_the_list_and_taken() {
    let rig = lose(Service::Infobip, "", |_| {}).await;
    let consumer = Consumer::of(&rig, Service::Infobip);
    rig.until_version("billing-sms", 2).await;
    consumer.never_held_a_dead_key();
    assert_eq!(rig.held("billing-sms").unwrap(), lost_key(&rig, Service::Infobip, 1));
    assert_eq!(rig.sim.truth().calls(Service::Infobip, Call::Create), 2, "no second create");
    assert_eq!(rig.sim.truth().live(Service::Infobip).len(), 1);
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn infobip_a_lost_key_whose_secret_is_not_shown_is_revoked_and_replaced() {
    let rig = lose(Service::Infobip, "", |rig| rig.sim.behave(Service::Infobip, |it| it.mask_secrets = true)).await;
    let consumer = Consumer::of(&rig, Service::Infobip);
    let lost = || rig.sim.truth().keys(Service::Infobip).get(1).is_some_and(|it| !it.enabled);
    rig.until_true("the orphan is revoked", lost).await;
    rig.until_version("billing-sms", 2).await;
    consumer.never_held_a_dead_key();
    assert_eq!(rig.held("billing-sms").unwrap(), lost_key(&rig, Service::Infobip, 2));
    assert_eq!(rig.sim.truth().live(Service::Infobip).len(), 1);
}

#[tokio::test]
async fn infobip_an_effect_that_comes_late_is_found_and_ended() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.sim.fault(Service::Infobip, Call::Create, Fault::LateEffect { ms: 8000 });
    let consumer = Consumer::of(&rig, Service::Infobip);
    rig.rotate("billing-sms").await;
    let three = || rig.sim.truth().keys(Service::Infobip).len() == 3;
    rig.until_true("the late key is there, beside another", three).await;
    rig.until_true("one is left", || rig.sim.truth().live(Service::Infobip).len() == 1).await;
    rig.until_version("billing-sms", 2).await;
    consumer.never_held_a_dead_key();
}

#[tokio::test]
async fn mobivate_a_lost_key_is_read_and_no_other_is_created() {
    let rig = lose(Service::Mobivate, "", |_| {}).await;
    rig.until_version("campaign-sms", 2).await;
    assert_eq!(rig.held("campaign-sms").unwrap(), lost_key(&rig, Service::Mobivate, 2));
    assert_eq!(rig.sim.truth().calls(Service::Mobivate, Call::Create), 2);
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn mobivate_a_create_that_had_no_effect_is_sent_again() {
    let mut rig = Rig::prepare(calm(&[Service::Mobivate])).await;
    rig.sim.stranger_creates_key(Service::Mobivate);
    rig.run().await;
    rig.until_version("campaign-sms", 1).await;
    let old = rig.held("campaign-sms").unwrap();
    rig.sim.fault(Service::Mobivate, Call::Create, Fault::ResetBefore);
    rig.rotate("campaign-sms").await;
    rig.until_version("campaign-sms", 2).await;
    assert!(!rig.sim.truth().is_live(&old));
    assert!(rig.sim.truth().is_live(&rig.held("campaign-sms").unwrap()));
    assert_eq!(rig.sim.truth().keys(Service::Mobivate).len(), 3, "stranger's, first, second");
}

#[tokio::test]
async fn single_invoice_a_lost_key_is_told_from_the_new_one_by_the_next_answer() {
    let rig = lose(Service::SingleInvoice, "", |_| {}).await;
    let consumer = Consumer::of(&rig, Service::SingleInvoice);
    rig.until_version("invoices", 2).await;
    consumer.never_held_a_dead_key();
    // The account's own key, the first, the lost one, and the one in use.
    assert_eq!(rig.sim.truth().keys(Service::SingleInvoice).len(), 4);
    assert_eq!(rig.held("invoices").unwrap(), lost_key(&rig, Service::SingleInvoice, 3));
    let lost = fingerprint(&lost_key(&rig, Service::SingleInvoice, 2));
    let told = || rig.notices().values().any(|(_, it)| it.to_string().contains(&lost));
    rig.until_true("the lost key is reported by its fingerprint", told).await;
    rig.every_live_key_is_known().await;
}

async fn until_ambiguous(rig: &Rig) -> KeyStatus {
    let key = rig.until_phase("two-factor", PhaseName::Halted).await;
    let halted = key.halted.clone().unwrap();
    assert_eq!((halted.reason.as_str(), halted.phase), ("ambiguous_create", PhaseName::Create));
    for choice in ["resume", "adopt"] {
        assert!(halted.choices.iter().any(|it| it == choice), "{:?}", halted.choices);
    }
    rig.until_notice("two-factor", "rotation.halted").await;
    rig.until_notice("two-factor", "revoke.needed").await;
    assert_eq!(rig.told("two-factor", "revoke.needed"), 1, "the lost create is reported");
    assert_eq!(rig.cli(&["status", "--exit-code", "two-factor"]).await.code, Some(1));
    key
}

#[tokio::test]
async fn two_factor_a_lost_answer_halts_and_resume_creates_another() {
    let rig = lose(Service::Infobip2fa, "", |_| {}).await;
    let consumer = Consumer::of(&rig, Service::Infobip2fa);
    until_ambiguous(&rig).await;
    assert_eq!(rig.sim.truth().calls(Service::Infobip2fa, Call::Create), 2, "nothing more before a human decides");
    rig.ok(&["resume", "two-factor"]).await;
    rig.until_version("two-factor", 2).await;
    consumer.never_held_a_dead_key();
    assert_eq!(rig.held("two-factor").unwrap(), lost_key(&rig, Service::Infobip2fa, 2));
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn two_factor_a_lost_key_can_be_adopted_out_of_the_portal() {
    let rig = lose(Service::Infobip2fa, "", |_| {}).await;
    let consumer = Consumer::of(&rig, Service::Infobip2fa);
    until_ambiguous(&rig).await;
    let lost = lost_key(&rig, Service::Infobip2fa, 1);
    let adopted = rig.cli_with(&["adopt", "two-factor", "--issued-at", &ago(Duration::ZERO)], &lost).await;
    assert_eq!(adopted.code, Some(0), "{}", adopted.err);
    rig.until_version("two-factor", 2).await;
    consumer.never_held_a_dead_key();
    assert_eq!(rig.held("two-factor").unwrap(), lost);
    assert_eq!(rig.sim.truth().calls(Service::Infobip2fa, Call::Create), 2);
    rig.every_live_key_is_known().await;
}

#[tokio::test]
async fn two_factor_creates_again_where_the_config_says_so() {
    let rig = lose(Service::Infobip2fa, "on_ambiguous = \"create-again\"", |_| {}).await;
    let consumer = Consumer::of(&rig, Service::Infobip2fa);
    rig.until_version("two-factor", 2).await;
    consumer.never_held_a_dead_key();
    assert_eq!(rig.sim.truth().calls(Service::Infobip2fa, Call::Create), 3);
    assert_eq!(rig.held("two-factor").unwrap(), lost_key(&rig, Service::Infobip2fa, 2));
    rig.until_notice("two-factor", "revoke.needed").await;
    assert_eq!(rig.told("two-factor", "rotation.halted"), 0);
}

async fn is_found(fault: Fault) {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.sim.fault(Service::Infobip, Call::Create, fault);
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 2).await;
    assert_eq!(rig.sim.truth().keys(Service::Infobip).len(), 2, "the key is found, not made again");
    assert_eq!(rig.sim.truth().live(Service::Infobip).len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_no_json_counts_as_lost() {
    is_found(Fault::Garbage).await;
}

#[tokio::test]
async fn an_empty_answer_counts_as_lost() {
    is_found(Fault::Empty).await;
}

#[tokio::test]
async fn an_answer_that_is_cut_short_counts_as_lost() {
    is_found(Fault::CutShort).await;
}

//! Single-Invoice: one answer shows all keys and marks none, and the calls are authorised by a key that may itself be managed.
use crate::rig::{Rig, ago, calm, write};
use crate::watch::Consumer;
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::{Call, Service, World};
use std::time::Duration;

fn invoices(more: &str) -> World {
    let mut world = calm(&[Service::SingleInvoice]);
    world.more.push(("invoices".to_owned(), more.to_owned()));
    world
}

/// An account at which colleagues had keys before us.
async fn with_strangers(more: &str) -> Rig {
    let mut rig = Rig::prepare(invoices(more)).await;
    for _ in 0..2 {
        rig.sim.stranger_creates_key(Service::SingleInvoice).unwrap();
    }
    rig.run().await;
    rig
}

#[tokio::test]
async fn a_first_create_among_strangers_keys_halts_with_the_choices() {
    let rig = with_strangers("").await;
    let halted = rig.until_phase("invoices", PhaseName::Halted).await.halted.unwrap();
    assert_eq!((halted.reason.as_str(), halted.choices), ("no_baseline", vec!["resume".into(), "adopt".into()]));
    assert_eq!(rig.held("invoices"), None, "no guess is delivered");
    rig.until_notice("invoices", "rotation.halted").await;
    let ours = rig.sim.truth().keys(Service::SingleInvoice).last().unwrap().secret.clone();
    let adopted = rig.cli_with(&["adopt", "invoices", "--issued-at", &ago(Duration::ZERO)], &ours).await;
    assert_eq!(adopted.code, Some(0), "{}", adopted.err);
    rig.until_version("invoices", 1).await;
    assert_eq!(rig.held("invoices"), Some(ours));
    rig.rotate("invoices").await;
    rig.until_version("invoices", 2).await;
    assert_eq!(rig.sim.truth().calls(Service::SingleInvoice, Call::Create), 2);
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn a_second_create_tells_the_new_key_from_strangers_keys_where_the_config_allows_it() {
    let rig = with_strangers("on_ambiguous = \"create-again\"").await;
    rig.until_version("invoices", 1).await;
    assert_eq!(rig.sim.truth().calls(Service::SingleInvoice, Call::Create), 2);
    let newest = rig.sim.truth().keys(Service::SingleInvoice).last().unwrap().secret.clone();
    assert_eq!(rig.held("invoices"), Some(newest));
    rig.until_notice("invoices", "revoke.needed").await;
}

#[tokio::test]
async fn a_resumed_first_create_takes_the_first_answer_for_its_baseline() {
    let rig = with_strangers("").await;
    rig.until_phase("invoices", PhaseName::Halted).await;
    rig.ok(&["resume", "invoices"]).await;
    rig.until_version("invoices", 1).await;
    let newest = rig.sim.truth().keys(Service::SingleInvoice).last().unwrap().secret.clone();
    assert_eq!(rig.held("invoices"), Some(newest));
}

#[tokio::test]
async fn a_managed_key_authorises_the_calls_even_those_that_replace_it() {
    let mut rig = Rig::prepare(World { managed_login: true, ..invoices("") }).await;
    let first = rig.sim.first_account_key().unwrap().secret;
    write(&rig.key_file("invoices-account"), &first);
    rig.run().await;
    let adopted = rig.cli_with(&["adopt", "invoices-account", "--issued-at", &ago(Duration::ZERO)], &first).await;
    assert_eq!(adopted.code, Some(0), "{}", adopted.err);
    rig.until_version("invoices-account", 1).await;
    rig.until_version("invoices", 1).await;
    let consumer = Consumer::of(&rig, Service::SingleInvoice);
    rig.rotate("invoices-account").await;
    rig.until_version("invoices-account", 2).await;
    let login = rig.held("invoices-account").unwrap();
    assert_eq!(rig.sim.truth().find(&login).unwrap().package.as_deref(), Some("Account"));
    assert_ne!(login, first);
    assert!(rig.sim.stranger_revokes_key(Service::SingleInvoice, &first), "the owner ends the old one, as told");
    rig.rotate("invoices").await;
    rig.until_version("invoices", 2).await;
    consumer.never_held_a_dead_key();
    rig.every_live_key_is_known().await;
    rig.each_notice_came_once().await;
}

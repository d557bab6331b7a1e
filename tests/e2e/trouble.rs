//! Trouble that belongs to no key: a provider that refuses or slows us, a clock that is wrong, a state that was moved.
use crate::logins::with_a_wrong_login;
use crate::rig::{Rig, calm, number, write};
use rekeyd::clock;
use rekeyd::control::protocol::{DaemonState, PhaseName, ProviderState};
use rekeyd::core::time::Timestamp;
use rekeyd::secret::Secret;
use rekeyd::simulator::{Call, Fault, Service};
use rekeyd::store::{Batch, Opened, Site, Store};
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

/// How many keys one account has.
pub(crate) const KEYS: usize = 20;
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn many_keys(rig: &Rig) -> String {
    (0..KEYS).fold(String::new(), |mut text, n| {
        let path = rig.key_file(&format!("many-{n}"));
        let _ = write!(
            text,
            "\n[keys.many-{n}]\nprovider = \"infobip\"\nowners = [\"payments\"]\nvalid_for = \"2h\"\noverlap = \"1s\"\n\
             initial = \"create\"\nrotate_before = \"10m\"\ncreate = {{ name = \"many\" }}\n\
             [[keys.many-{n}.deliver]]\nkind = \"file\"\npath = {path:?}\n"
        );
        text
    })
}

#[tokio::test]
async fn a_refused_login_holds_all_keys_once_is_told_once_and_heals_by_itself() {
    let (rig, right) = with_a_wrong_login().await;
    let provider = rig.status().await.providers.remove(0);
    assert_eq!(provider.state, ProviderState::Refused);
    assert!(provider.held_since.is_some() && provider.last_error.unwrap().contains("refuses our login"));
    write(&rig.path("secrets/infobip"), &right);
    for n in 0..KEYS {
        rig.until(&format!("many-{n}"), "created", |it| number(it) == 1 && it.phase == PhaseName::Steady).await;
    }
    rig.until_own_notice("provider.refused", "resolved").await;
    rig.each_notice_came_once().await;
    assert_eq!(rig.own_notices("provider.refused", "firing").len(), 1);
    assert_eq!(rig.status().await.providers.remove(0).state, ProviderState::Ok);
}

#[tokio::test]
async fn a_login_that_may_not_revoke_is_told_once_not_tried_again_and_used_again_when_somebody_says_so() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.edit_config(|it| it + &many_keys(&rig));
    rig.run().await;
    let key = |n: usize| format!("many-{n}");
    for n in 0..KEYS {
        rig.until(&key(n), "created", |it| number(it) == 1 && it.phase == PhaseName::Steady).await;
    }
    rig.sim.faults(Service::Infobip, |plan| plan.often(Call::Revoke, Fault::ErrorBefore { status: 403 }, 1000));
    for n in 0..KEYS {
        rig.rotate(&key(n)).await;
    }
    for n in 0..KEYS {
        rig.until(&key(n), "rotated", |it| number(it) == 2).await;
    }
    rig.until_own_notice("provider.refused", "firing").await;
    rig.until_true("all overlaps are over", || rig.sim.truth().live(Service::Infobip).len() > 2 * KEYS).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = || rig.sim.truth().calls(Service::Infobip, Call::Revoke);
    let before = asked();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(asked(), before, "nobody tries for an hour what would lock the login");
    assert_eq!(rig.own_notices("provider.refused", "firing").len(), 1);
    rig.sim.faults(Service::Infobip, rekeyd::simulator::FaultPlan::clear);
    rig.ok(&["resume", &key(0)]).await;
    rig.until_true("all old keys are revoked", || rig.sim.truth().live(Service::Infobip).len() == KEYS + 1).await;
    rig.until_own_notice("provider.refused", "resolved").await;
}

#[tokio::test]
async fn a_refused_login_is_told_to_the_owners_of_the_provider_and_once_over_a_restart() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let (hook, secret) = (rig.sim.hook().url(), rig.path("secrets/hook"));
    let other = format!("\n[owners.other]\nwebhook = [{{ url = {hook:?}, secret = {{ file = {secret:?} }} }}]\n");
    rig.edit_config(|it| it.replace("kind = \"infobip\"\n", "kind = \"infobip\"\nowners = [\"other\"]\n") + &other);
    write(&rig.path("secrets/infobip"), "wrong");
    rig.run().await;
    rig.until_own_notice("provider.refused", "firing").await;
    rig.kill().await;
    rig.run().await;
    rig.until("billing-sms", "held", |it| it.blocked.as_ref().is_some_and(|it| it.reason == "login_refused")).await;
    rig.until_told().await;
    let refused = rig.notices().into_values().map(|it| it.1).filter(|it| it["type"] == "provider.refused");
    let told: Vec<_> = refused.map(|it| (it["data"]["owner"].clone(), it["data"]["provider"].clone())).collect();
    assert_eq!(told, [("other".into(), "infobip".into())]);
}

#[tokio::test]
async fn a_provider_that_keeps_asking_to_slow_down_is_left_alone_told_and_used_again() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.sim.faults(Service::Infobip, |plan| plan.often(Call::List, Fault::Throttled { retry_after: Some(1) }, 1000));
    rig.rotate("billing-sms").await;
    rig.until("billing-sms", "throttled", |it| it.blocked.as_ref().is_some_and(|it| it.reason == "throttled")).await;
    assert_eq!(rig.status().await.providers.remove(0).state, ProviderState::Throttled);
    rig.until_own_notice("provider.throttled", "firing").await;
    rig.sim.faults(Service::Infobip, rekeyd::simulator::FaultPlan::clear);
    rig.until_version("billing-sms", 2).await;
    rig.until_own_notice("provider.throttled", "resolved").await;
}

fn open(rig: &Rig, machine: Option<&str>) -> Opened {
    let master = fs::read_to_string(rig.path("secrets/master-key")).unwrap();
    let dir = rig.path("state");
    Store::open(Site { dir: &dir, machine, reserve: 0 }, &Secret::from(master), clock::now()).unwrap()
}

#[tokio::test]
async fn on_another_machine_the_daemon_only_observes_until_somebody_says_otherwise() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.stop().await;
    drop(open(&rig, Some("the machine that it was copied from")));
    fs::remove_file(rig.key_file("billing-sms")).unwrap();
    let created = rig.sim.truth().calls(Service::Infobip, Call::Create);
    for _ in 0..2 {
        rig.run().await;
        rig.until("billing-sms", "held", |it| it.blocked.as_ref().is_some_and(|it| it.reason == "observing")).await;
        let daemon = rig.status().await.daemon;
        assert_eq!(daemon.state, DaemonState::Observing);
        let said = rig.cli(&["rotate", "--now", "billing-sms"]).await;
        assert_eq!(said.code, Some(65), "{}", said.err);
        assert!(said.err.contains("resume --all"), "{}", said.err);
        rig.until_own_notice("daemon.degraded", "firing").await;
        rig.until_told().await;
        rig.stop().await;
    }
    assert_eq!(rig.held("billing-sms"), None, "nothing is delivered");
    assert_eq!(rig.sim.truth().calls(Service::Infobip, Call::Create), created, "nor created");
    rig.run().await;
    rig.ok(&["resume", "--all"]).await;
    rig.until_version("billing-sms", 1).await;
    rig.until_true("the target is healed", || rig.held("billing-sms").is_some()).await;
    rig.until_own_notice("daemon.degraded", "resolved").await;
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 2).await;
    assert_eq!(rig.own_notices("daemon.degraded", "firing").len(), 1);
}

/// Whoever lets the daemon go on has not decided anew on a key that somebody holds back.
#[tokio::test]
async fn resume_all_lets_the_daemon_go_on_first_and_ends_a_pause_only_when_it_is_said_again() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip, Service::Infobip2fa])).await;
    rig.ok(&["pause", "two-factor", "--reason", "its consumers are taken down"]).await;
    rig.stop().await;
    drop(open(&rig, Some("the machine that it was copied from")));
    rig.run().await;
    let said = rig.ok(&["resume", "--all"]).await;
    assert!(said.contains("two-factor: this is the one to run; it stays paused"), "{said}");
    assert!(said.contains("billing-sms: this is the one to run; "), "{said}");
    rig.until_version("billing-sms", 1).await;
    assert!(rig.key("two-factor").await.paused.is_some());
    let said = rig.ok(&["resume", "--all"]).await;
    assert!(said.contains("two-factor: the pause is over"), "{said}");
    assert!(rig.key("two-factor").await.paused.is_none());
}

/// The rotation can't go on, but whatever is done instead begins with a look at the world.
#[tokio::test]
async fn a_key_is_looked_at_on_another_machine_even_where_its_rotation_has_lost_its_account() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.sim.fault(Service::Infobip, Call::Create, Fault::Delay { ms: 60_000 });
    rig.rotate("billing-sms").await;
    rig.until_true("the create is sent", || rig.sim.truth().calls(Service::Infobip, Call::Create) == 2).await;
    rig.kill().await;
    drop(open(&rig, Some("the machine that it was copied from")));
    rig.edit_config(|it| it.replacen("[providers.infobip]\n", "[providers.infobip]\naccount = \"renamed\"\n", 1));
    rig.run().await;
    rig.until("billing-sms", "held", |it| it.blocked.as_ref().is_some_and(|it| it.reason == "observing")).await;
    assert_eq!(rig.key("billing-sms").await.phase, PhaseName::Reobserve);
    // What became of the create is told by the one that runs on.
    rig.ok(&["resume", "--all"]).await;
    rig.until_notice("billing-sms", "revoke.needed").await;
}

#[tokio::test]
async fn a_clock_behind_the_last_commit_is_not_believed_until_somebody_says_so() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.stop().await;
    let later: Timestamp = clock::now().plus(HOUR);
    let meta = vec![("last-commit".to_owned(), Some(later.0.to_be_bytes().to_vec()))];
    open(&rig, None).store.commit(&Batch { meta, ..Batch::default() }).unwrap();
    // No provider is there to say what time it is.
    rig.sim.set_open(Service::Infobip, false).await;
    for _ in 0..2 {
        rig.run().await;
        rig.until("billing-sms", "held", |it| it.blocked.as_ref().is_some_and(|it| it.reason == "clock")).await;
        rig.until_own_notice("daemon.degraded", "firing").await;
        rig.until_told().await;
        rig.stop().await;
    }
    rig.run().await;
    rig.ok(&["resume", "--all"]).await;
    rig.until("billing-sms", "free", |it| it.blocked.is_none()).await;
    rig.until_own_notice("daemon.degraded", "resolved").await;
    rig.until_told().await;
    rig.stop().await;
    rig.run().await;
    rig.until("billing-sms", "free", |it| it.blocked.is_none() && number(it) == 1).await;
    assert_eq!(rig.own_notices("daemon.degraded", "firing").len(), 1);
}

#[tokio::test]
async fn a_disk_without_room_for_the_reserve_is_told_and_so_is_its_end() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    // More than any disk has: it can be given up only by a restart, as a start alone reads the field.
    rig.edit_config(|it| it.replace("[daemon]\n", "[daemon]\nreserve = \"1000000GiB\"\n"));
    rig.run().await;
    rig.until_own_notice("daemon.degraded", "firing").await;
    assert!(rig.own_notices("daemon.degraded", "firing")[0].contains("daemon.reserve"));
    assert_eq!(rig.held("billing-sms"), None);
    rig.until_told().await;
    rig.stop().await;
    rig.write_config();
    rig.run().await;
    rig.until_own_notice("daemon.degraded", "resolved").await;
    rig.until_version("billing-sms", 1).await;
    rig.each_notice_came_once().await;
}

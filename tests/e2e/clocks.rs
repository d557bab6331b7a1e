//! The wall clock is set, while the daemon runs and before it starts. libfaketime stands between the daemon and that clock; the boot
//! clock, which the daemon compares it with, goes on as it is.
use crate::rig::{Rig, calm, number, write};
use futures_util::future::join_all;
use rekeyd::clock;
use rekeyd::control::protocol::{KeyStatus, PhaseName};
use rekeyd::simulator::{Call, MailMode, Service, World};
use rustix::process::Signal;
use std::fs;
use std::time::Duration;

pub(crate) const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;
const SERVICES: [Service; 2] = [Service::Infobip, Service::Mobivate];
const KEYS: [&str; 2] = ["billing-sms", "campaign-sms"];

/// Sets the daemon's wall clock to so many seconds after the right time.
pub(crate) fn set_clock(rig: &Rig, ahead: i64) {
    write(&rig.path("clock"), &format!("{ahead:+}\n"));
}

/// What the clocks of the services say is what the daemon's clock says.
fn services_agree(rig: &Rig, ahead: i64) {
    for service in SERVICES {
        rig.sim.behave(service, |it| it.clock_ahead_ms = ahead * 1000);
    }
}

/// Keys of six hours, of which the last is for replacing them; old ones end after half an hour.
fn long_lived() -> World {
    let hour = Duration::from_secs(3600);
    World { lifetime: 6 * hour, rotate_before: hour, overlap: hour / 2, ..calm(&SERVICES) }
}

/// A daemon whose clock is right, with a key at Infobip that was just replaced, the old one in its overlap, and one at Mobivate.
async fn with_an_old_key() -> Rig {
    let mut rig = Rig::prepare(long_lived()).await;
    set_clock(&rig, 0);
    rig.run().await;
    rig.until_rest().await;
    rig.rotate("billing-sms").await;
    rig.until("billing-sms", "replaced", |it| number(it) == 2 && it.previous.is_some()).await;
    rig
}

fn creates(rig: &Rig) -> u64 {
    SERVICES.iter().map(|it| rig.sim.truth().calls(*it, Call::Create)).sum()
}

fn live(rig: &Rig, service: Service) -> usize {
    rig.sim.truth().keys(service).iter().filter(|it| it.enabled).count()
}

async fn until_clock_is_doubted(rig: &Rig) {
    rig.signal(Signal::USR1);
    for key in KEYS {
        rig.until(key, "held by the clock", |it| it.blocked.as_ref().is_some_and(|it| it.reason == "clock")).await;
    }
    rig.until_own_notice("daemon.degraded", "firing").await;
}

/// While the clock is doubted, a file that was lost is brought back, and what is asked for is neither created nor revoked.
async fn delivers_and_neither_creates_nor_revokes(rig: &Rig) {
    let (before, alive) = (creates(rig), SERVICES.map(|it| live(rig, it)));
    let file = rig.key_file("billing-sms");
    fs::remove_file(&file).unwrap();
    rig.signal(Signal::USR1);
    rig.until_true("the file is healed", || file.exists()).await;
    for key in KEYS {
        rig.rotate(key).await;
    }
    for _ in 0..3 {
        rig.signal(Signal::USR1);
        for key in KEYS {
            let held = |it: &KeyStatus| it.blocked.as_ref().is_some_and(|it| it.reason == "clock");
            rig.until(key, "held", held).await;
        }
    }
    assert_eq!((creates(rig), SERVICES.map(|it| live(rig, it))), (before, alive), "{}", rig.tail());
}

#[tokio::test]
async fn a_step_of_seconds_holds_up_nothing() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    set_clock(&rig, 0);
    rig.run().await;
    rig.until_rest().await;
    for (version, ahead) in (2..).zip([30, -20, 10]) {
        set_clock(&rig, ahead);
        rig.rotate("billing-sms").await;
        rig.until("billing-sms", "replaced", |it| number(it) == version).await;
    }
    let told = rig.own_notices("daemon.degraded", "firing");
    assert!(!told.iter().any(|it| it.contains("clock")), "{told:?} {}", rig.tail());
    assert_eq!(creates(&rig), 4);
    rig.each_notice_came_once().await;
}

/// By a clock that is years ahead every key is due and has expired: nothing of that is begun or told, then or later.
#[tokio::test]
async fn a_clock_that_was_wrong_for_a_while_leaves_no_trace() {
    let check = async |step: i64| {
        let rig = with_an_old_key().await;
        let before = (creates(&rig), SERVICES.map(|it| live(&rig, it)));
        set_clock(&rig, step);
        until_clock_is_doubted(&rig).await;
        let file = rig.key_file("campaign-sms");
        fs::remove_file(&file).unwrap();
        rig.signal(Signal::USR1);
        rig.until_true("the file is healed", || file.exists()).await;
        set_clock(&rig, 0);
        rig.signal(Signal::USR1);
        rig.until_own_notice("daemon.degraded", "resolved").await;
        for (key, version) in KEYS.into_iter().zip([2, 1]) {
            rig.until(key, "free", |it| it.blocked.is_none() && number(it) == version).await;
        }
        assert_eq!((creates(&rig), SERVICES.map(|it| live(&rig, it))), before, "a step of {step} s");
        rig.until_told().await;
        let told = rig.notices().into_values().map(|(_, it)| it["type"].as_str().unwrap().to_owned());
        let strange = told.filter(|it| !["rotation.succeeded", "daemon.degraded"].contains(&it.as_str()));
        assert_eq!(strange.collect::<Vec<_>>(), Vec::<String>::new(), "a step of {step} s");
    };
    join_all([10 * YEAR, -10 * YEAR].map(check)).await;
}

/// By hours and years, forward and back: what was asked for meanwhile is done once the clock is right again, once each.
#[tokio::test]
async fn a_clock_that_steps_holds_creates_and_revocations_until_it_is_right_again() {
    let check = async |step: i64| {
        let rig = with_an_old_key().await;
        let before = creates(&rig);
        set_clock(&rig, step);
        until_clock_is_doubted(&rig).await;
        delivers_and_neither_creates_nor_revokes(&rig).await;
        set_clock(&rig, 0);
        rig.signal(Signal::USR1);
        rig.until("billing-sms", "replaced", |it| number(it) == 3 && it.blocked.is_none()).await;
        rig.until("campaign-sms", "replaced", |it| number(it) == 2 && it.phase == PhaseName::Steady).await;
        rig.until_own_notice("daemon.degraded", "resolved").await;
        assert_eq!(creates(&rig), before + 2, "a step of {step} s");
        assert_eq!(live(&rig, Service::Infobip), 3, "no overlap has passed: {}", rig.tail());
        for key in KEYS {
            assert_eq!((rig.told(key, "key.expired"), rig.told(key, "key.expiring")), (0, 0), "a step of {step} s");
        }
        rig.each_notice_came_once().await;
    };
    join_all([HOUR, -HOUR, YEAR, -YEAR].map(check)).await;
}

/// Where the new time is the right one, and an operator says so, what it has made due is done, and what it has ended is told: once.
#[tokio::test]
async fn a_step_that_an_operator_vouches_for_is_believed() {
    let check = async |step: i64, expired: usize| {
        let rig = with_an_old_key().await;
        let before = creates(&rig);
        for service in SERVICES {
            rig.sim.set_open(service, false).await;
        }
        set_clock(&rig, step);
        until_clock_is_doubted(&rig).await;
        services_agree(&rig, step);
        let said = rig.ok(&["resume", "--all"]).await;
        assert!(said.contains("the clock is believed"), "{said}");
        rig.until_own_notice("daemon.degraded", "resolved").await;
        for service in SERVICES {
            rig.sim.set_open(service, true).await;
        }
        if expired == 0 {
            rig.rotate("billing-sms").await;
        }
        rig.until("billing-sms", "replaced", |it| number(it) == 3).await;
        rig.until_true("the old key is ended", || rig.sim.truth().keys(Service::Infobip).len() == 3).await;
        if expired == 0 {
            rig.until_true("the first key is revoked", || live(&rig, Service::Infobip) == 2).await;
            assert_eq!(creates(&rig), before + 1);
        } else {
            rig.until("campaign-sms", "replaced", |it| number(it) == 2).await;
            assert_eq!(creates(&rig), before + 2, "one for each key that has expired");
            for key in KEYS {
                rig.until_notice(key, "key.expired").await;
            }
        }
        rig.until_told().await;
        for key in KEYS {
            assert_eq!(rig.told(key, "key.expired"), expired, "a step of {step} s, {key}");
        }
        rig.each_notice_came_once().await;
    };
    check(HOUR, 0).await;
    check(YEAR, 1).await;
}

/// While nobody could believe the clock, a key expired. Once a provider says that the clock is right, its owners are told, and it
/// is replaced, once.
#[tokio::test]
async fn an_expiry_that_passed_while_the_clock_was_wrong_is_not_missed() {
    let rig = with_an_old_key().await;
    let before = creates(&rig);
    set_clock(&rig, -HOUR);
    until_clock_is_doubted(&rig).await;
    services_agree(&rig, 7 * HOUR);
    set_clock(&rig, 7 * HOUR);
    rig.signal(Signal::USR1);
    rig.until("billing-sms", "replaced", |it| number(it) == 3).await;
    rig.until("campaign-sms", "replaced", |it| number(it) == 2).await;
    rig.until_own_notice("daemon.degraded", "resolved").await;
    assert_eq!(creates(&rig), before + 2);
    for key in KEYS {
        rig.until_notice(key, "key.expired").await;
        assert_eq!(rig.told(key, "key.expired"), 1);
    }
    rig.each_notice_came_once().await;
}

/// A mail that a server put off while the clock was three hours ahead does not wait for three hours once it was set back.
#[tokio::test]
async fn what_waits_to_be_told_waits_for_no_moment_of_the_old_time() {
    let mut rig = Rig::prepare(long_lived()).await;
    set_clock(&rig, 0);
    rig.run().await;
    rig.until_rest().await;
    rig.until_told().await;
    rig.sim.mail().set_mode(MailMode::Defers);
    rig.rotate("billing-sms").await;
    rig.until_true("a mail waits", || rig.log().contains("a notice waits")).await;
    set_clock(&rig, -3 * HOUR);
    rig.sim.mail().set_mode(MailMode::Accepts);
    until_clock_is_doubted(&rig).await;
    rig.until_told().await;
    rig.each_notice_came_once().await;
}

/// A machine without a battery starts in 1970, and NTP comes later.
#[tokio::test]
async fn a_start_before_the_clock_is_set_creates_nothing_and_goes_on_by_itself_once_it_is() {
    let since_1970 = clock::now().0 / 1000;
    let mut fresh = Rig::prepare(calm(&SERVICES)).await;
    set_clock(&fresh, 1000 - since_1970);
    fresh.run().await;
    until_clock_is_doubted(&fresh).await;
    fresh.signal(Signal::USR1);
    assert_eq!(creates(&fresh), 0);
    set_clock(&fresh, 0);
    fresh.signal(Signal::USR1);
    fresh.until_rest().await;
    fresh.until_own_notice("daemon.degraded", "resolved").await;
    assert_eq!(creates(&fresh), 2);
    fresh.each_notice_came_once().await;

    // The same with a state: at an hour before the last commit, and at the day before the program was written.
    for behind in [HOUR, (clock::now().0 - clock::WRITTEN.0) / 1000 + 24 * HOUR] {
        let mut rig = with_an_old_key().await;
        let before = creates(&rig);
        rig.until_told().await;
        rig.stop().await;
        set_clock(&rig, -behind);
        rig.run().await;
        until_clock_is_doubted(&rig).await;
        delivers_and_neither_creates_nor_revokes(&rig).await;
        rig.until_told().await;
        rig.stop().await;
        rig.run().await;
        until_clock_is_doubted(&rig).await;
        assert_eq!(creates(&rig), before);
        set_clock(&rig, 0);
        rig.signal(Signal::USR1);
        rig.until("billing-sms", "replaced", |it| number(it) == 3).await;
        rig.until("campaign-sms", "replaced", |it| number(it) == 2).await;
        rig.until_own_notice("daemon.degraded", "resolved").await;
        assert_eq!((creates(&rig), rig.own_notices("daemon.degraded", "firing").len()), (before + 2, 1));
        rig.each_notice_came_once().await;
    }
}

//! A machine that sleeps: the daemon stands still while its clocks go on, and wakes up after a key fell due.
use crate::rig::{Rig, calm, number};
use rekeyd::clock;
use rekeyd::core::time::Timestamp;
use rekeyd::simulator::{Key, Service, World};
use rustix::process::Signal;
use std::time::Duration;

const LIFETIME: Duration = Duration::from_secs(24);
const REPLACED_BEFORE: Duration = Duration::from_secs(12);

/// When each key was issued, the first one first.
fn issued(rig: &Rig) -> Vec<Timestamp> {
    let mut at: Vec<Timestamp> = rig.sim.truth().keys(Service::Infobip).iter().map(|it: &Key| it.created_at).collect();
    at.sort_unstable();
    at
}

/// What fell due in its sleep is done once, no alarm is raised over the clock, and nobody is told anything twice.
#[tokio::test]
async fn a_machine_that_was_suspended_past_a_due_moment_rotates_once() {
    let world = World { lifetime: LIFETIME, rotate_before: REPLACED_BEFORE, ..calm(&[Service::Infobip]) };
    let rig = Rig::start_created(world).await;
    rig.until("billing-sms", "created", |it| number(it) > 0).await;
    rig.signal(Signal::STOP);
    let before = issued(&rig);
    let due = before.last().unwrap().plus(LIFETIME).minus(REPLACED_BEFORE);
    rig.until_true("the key is due", || clock::now() > due.plus(Duration::from_secs(1))).await;
    assert_eq!(issued(&rig), before, "nobody did anything meanwhile");
    rig.signal(Signal::CONT);
    let next = before.len() + 1;
    rig.until_true("the key is replaced", || issued(&rig).len() >= next).await;
    let version = u32::try_from(next).unwrap();
    rig.until("billing-sms", "in use", |it| number(it) >= version).await;
    rig.signal(Signal::USR1);
    rig.until_told().await;
    // However slow this machine is: each key was issued because the one before it was due.
    let early = issued(&rig).windows(2).filter(|it| it[1].since(it[0]) < LIFETIME - REPLACED_BEFORE).count();
    assert_eq!(early, 0, "{:?}\n{}", issued(&rig), rig.tail());
    assert_eq!(rig.own_notices("daemon.degraded", "firing"), [""; 0]);
    assert_eq!(rig.told("billing-sms", "key.expired"), 0);
    rig.each_notice_came_once().await;
}

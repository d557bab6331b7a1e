//! A disk that takes seconds for each write: everything takes longer, whoever looks does not wait, and nothing is lost.
use crate::rig::{PATIENCE, Rig, calm, number, write};
use crate::watch::Consumer;
use rekeyd::control::client::Client;
use rekeyd::simulator::{Service, World};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const KEY: &str = "billing-sms";
/// How long each write takes to reach the disk.
const SLOW: Duration = Duration::from_secs(2);
/// The same where it takes so long that it is told.
const TOLD: Duration = Duration::from_secs(6);
/// The longest that somebody who looks waits: far less than a write.
const LOOK_WITHIN: Duration = Duration::from_millis(1500);
/// A rotation writes about ten times.
const ROTATED_WITHIN: Duration = Duration::from_secs(120);

/// What stands between the daemon and the disk.
const SHIM: &str = r#"
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
int fdatasync(int fd) { usleep(atoi(getenv("SYNC_MICROS"))); return syscall(SYS_fdatasync, fd); }
"#;

/// Starts the daemon on a disk that takes so long for each write. `false` where that can't be made so.
async fn start_on_a_disk_that_takes(rig: &mut Rig, how_long: Duration) -> bool {
    let (source, shim) = (rig.path("shim.c"), rig.path("shim.so"));
    write(&source, SHIM);
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&shim, &source]).status();
    if !built.is_ok_and(|it| it.success()) {
        println!("skipped: there is no C compiler here");
        return false;
    }
    let (preload, micros) = (format!("LD_PRELOAD={}", shim.display()), format!("SYNC_MICROS={}", how_long.as_micros()));
    rig.spawn_under(&["env", &preload, &micros]);
    rig.until_up(2 * PATIENCE).await;
    true
}

/// Somebody who looks all the time: how often, and how long it took at most.
struct Onlooker {
    stop: Arc<AtomicBool>,
    looks: JoinHandle<(u32, Duration)>,
}

impl Onlooker {
    fn of(rig: &Rig) -> Self {
        let client = Client::new(&World::control_socket(&rig.path(""))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let looks = tokio::spawn(async move {
            let (mut looks, mut worst) = (0, Duration::ZERO);
            while !told.load(Ordering::Relaxed) {
                let began = Instant::now();
                client.status().await.unwrap();
                worst = worst.max(began.elapsed());
                looks += 1;
                sleep(Duration::from_millis(20)).await;
            }
            (looks, worst)
        });
        Self { stop, looks }
    }

    async fn never_waited(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (looks, worst) = self.looks.await.unwrap();
        println!("{looks} looks, the slowest took {} ms", worst.as_millis());
        assert!(worst < LOOK_WITHIN, "a look took {worst:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_seconds_for_a_write_delays_nobody_who_looks_and_loses_nothing() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.until_told().await;
    rig.stop().await;
    let consumer = Consumer::of(&rig, Service::Infobip);
    if !start_on_a_disk_that_takes(&mut rig, SLOW).await {
        return;
    }
    let onlooker = Onlooker::of(&rig);
    rig.rotate(KEY).await;
    let began = Instant::now();
    while number(&rig.key(KEY).await) < 2 {
        assert!(began.elapsed() < ROTATED_WITHIN, "it was never rotated:\n{}", rig.tail());
        sleep(Duration::from_millis(100)).await;
    }
    assert!(began.elapsed() > 2 * SLOW, "the disk was not slow");
    rig.rotate(KEY).await;
    sleep(SLOW + SLOW / 2).await;
    onlooker.never_waited().await;
    // In the midst of the next rotation, with a write on its way.
    rig.kill().await;
    rig.run().await;
    rig.until_version(KEY, 3).await;
    rig.every_live_key_is_known().await;
    consumer.never_held_a_dead_key();
}

#[tokio::test]
async fn a_disk_that_is_slow_is_told() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.until_told().await;
    rig.stop().await;
    if !start_on_a_disk_that_takes(&mut rig, TOLD).await {
        return;
    }
    let began = Instant::now();
    let slow = || rig.sim.hook().requests().iter().any(|it| it.body.contains("the disk is slow"));
    while !slow() {
        assert!(began.elapsed() < ROTATED_WITHIN, "it was never told:\n{}", rig.tail());
        sleep(Duration::from_millis(100)).await;
    }
    let troubles = rig.client().status().await.unwrap().daemon.troubles;
    assert!(troubles.iter().any(|it| it.contains("the disk is slow")), "{troubles:?}");
    rig.kill().await;
}

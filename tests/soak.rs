//! Kills at random: 50 keys at four services that lose answers, fail, slow down and talk nonsense, and a daemon that is
//! killed every 0.05 to 2 s, while an observer looks at the consumers' files every 10 ms, as far as the machine has the time.
//!
//! `SOAK_MINUTES=20` runs longer than the one minute, `SOAK_SEED=7` repeats a run as far as chance is ours. It prints what
//! it saw.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic anywhere, and tells what it saw")]
#[path = "soak/observer.rs"]
mod observer;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "e2e/rig.rs"]
mod rig;
#[path = "soak/town.rs"]
mod town;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "e2e/watch.rs"]
mod watch;

use observer::{Observer, Seen};
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::Service;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use town::{Chance, KEYS, Town, WATCHED_FOR};

/// How long everything may take to come to rest once nothing goes wrong any more, and whatever else is waited for: it takes
/// seconds on a machine of its own, and minutes where each write to the disk takes a second.
pub(crate) const REST_WITHIN: Duration = Duration::from_secs(15 * 60);
/// How long the daemon lives, in milliseconds: at least, and at most. Each second life counts from when it serves, so that a
/// busy machine sees more than starts.
const LIVES: (u64, u64) = (50, 2000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_keys_survive_kills_at_random() {
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse::<f64>().ok());
    let minutes = number("SOAK_MINUTES").unwrap_or(1.0);
    let seed = number("SOAK_SEED").map_or_else(|| rekeyd::clock::now().0.unsigned_abs(), |it| it as u64);
    println!("seed {seed}, {minutes} minutes");
    let mut chance = Chance(seed);
    let mut town = Town::found(seed).await;
    let observer = Observer::of(&town);
    town.go_wrong(true);
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut kills = 0;
    while Instant::now() < end {
        town.rig.spawn();
        if kills % 2 == 1 {
            town.rig.until_up(REST_WITHIN).await;
        }
        let life = Instant::now() + Duration::from_millis(LIVES.0 + chance.below(LIVES.1 - LIVES.0));
        town.help_whoever_waits(life).await;
        tokio::time::sleep_until(life).await;
        town.rig.kill().await;
        kills += 1;
    }
    town.go_wrong(false);
    town.calm_down();
    until_every_create_has_ended(&mut town).await;
    until_rest(&mut town).await;
    town.rig.until_told().await;
    let seen = observer.end();
    report(&town, &seen, kills);
    nobody_is_forgotten(&town);
    each_channel_told_what_it_had_to(&town).await;
    town.rig.stop().await;
    let in_doubt = town.in_doubt();
    assert!(in_doubt.is_empty(), "{in_doubt:#?}");
    assert_eq!(seen.dead, Vec::<String>::new(), "a consumer held a dead key although old keys stay valid");
    assert!(seen.rotations > 0, "nothing was rotated");
}

/// A lost create is looked for as long as it may take effect, and ends with a look after that. The daemon is up in the end.
async fn until_every_create_has_ended(town: &mut Town) {
    let began = Instant::now();
    loop {
        town.rig.run().await;
        sleep(WATCHED_FOR).await;
        until_rest(town).await;
        town.rig.stop().await;
        let in_doubt = town.in_doubt();
        if in_doubt.is_empty() {
            return town.rig.run().await;
        }
        assert!(began.elapsed() < REST_WITHIN, "{in_doubt:#?}\n{}", town.rig.tail());
    }
}

async fn until_rest(town: &mut Town) {
    let began = Instant::now();
    loop {
        let status = town.rig.status().await;
        let restless: Vec<_> = status.keys.iter().filter(|it| !rests(it.phase)).collect();
        let live = |service| town.rig.sim.truth().live(service).len();
        let left = live(Service::Infobip) != town.keys_at(Service::Infobip) || live(Service::Mobivate) != 1;
        if restless.is_empty() && !left && status.daemon.outbox_pending == 0 {
            assert_eq!(status.keys.len(), KEYS);
            return;
        }
        let what = format!("{:#?}, {restless:#?}", town.strangers_at_infobip());
        assert!(began.elapsed() < REST_WITHIN, "no rest: {what}\n{}", town.rig.tail());
        town.help_whoever_waits(Instant::now() + Duration::from_secs(1)).await;
        sleep(Duration::from_millis(200)).await;
    }
}

/// A cutover that was announced rests too, now that its key is no longer due.
fn rests(phase: PhaseName) -> bool {
    matches!(phase, PhaseName::Steady | PhaseName::Announce)
}

/// Every key that works is in use, or was told to its owner: by its fingerprint, or as a create that was lost.
fn nobody_is_forgotten(town: &Town) {
    for service in [Service::Infobip2fa, Service::SingleInvoice] {
        let (unknown, told) = (town.unknown(service), town.lost_creates_told(service));
        assert!(unknown.len() <= told, "{service:?}: nobody knows {unknown:?}, {told} are told");
    }
}

/// Each notice came by each channel, but for what a later one of the same incident said better before its turn came.
async fn each_channel_told_what_it_had_to(town: &Town) {
    let (hooks, mails) = town.notices();
    for notice in town.rig.client().history(None, None, None).await.unwrap().notices {
        for it in &notice.channels {
            let came = if it.channel.starts_with("email:") { &mails } else { &hooks };
            let came = came.iter().any(|it| it.contains(notice.id.as_str()));
            let well = it.state == "superseded" || it.state == "sent" && came;
            assert!(well, "{notice:#?}");
        }
    }
}

fn report(town: &Town, seen: &Seen, kills: u32) {
    let (hooks, _) = town.notices();
    println!("{kills} kills; {} keys issued, {} seen in use", town.issued(), seen.rotations);
    println!(
        "{} samples of a file; {} of them with a dead key where old keys stay valid",
        seen.samples,
        seen.dead.len()
    );
    println!(
        "all files were looked at {} times, every {:.1} ms; the longest time between two looks was {} ms",
        seen.rounds,
        seen.within.as_secs_f64() * 1000.0 / f64::from(seen.rounds.max(1)),
        seen.longest.as_millis()
    );
    let mut gaps = seen.gaps.clone();
    gaps.sort_unstable();
    let of = |nth: usize| gaps.get(nth).map_or("-".to_owned(), |it| format!("{} ms", it.as_millis()));
    println!(
        "{} cutovers seen where a create ends the old key: median gap {}, worst {}",
        gaps.len(),
        of(gaps.len() / 2),
        of(gaps.len().wrapping_sub(1))
    );
    println!("{} notices, {} of them twice or more; {} halts resumed", hooks.len(), town.came_again(), town.resumed);
    println!("{} requests of the services were spoilt", town.spoilt());
}

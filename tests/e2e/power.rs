//! Power cuts: the state lies on a small disk of its own, an image with ext4 in it. The daemon is killed in the midst of
//! rotations, and what had reached the device by then is all that the next one gets. Every commit that was acknowledged is
//! there: what `status` had shown, what a verb had answered, and every key that a provider holds.
use crate::chance::{Chance, from_environment};
use crate::mounts::{Mount, make_image};
use crate::rig::{Rig, calm, number};
use rekeyd::simulator::{Service, World};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many cuts; the long run sets `REKEYD_CUTS`.
const CUTS: u64 = 10;
/// After so many cuts everything comes to rest, and is looked at as a whole.
const REST_EVERY: u64 = 5;
/// The longest time from a start to the next cut, in milliseconds.
const LONGEST: u64 = 900;

#[tokio::test]
async fn a_power_cut_loses_no_commit_that_was_acknowledged() {
    let services = [Service::Infobip, Service::Mobivate, Service::SingleInvoice];
    let mut world = calm(&services);
    (world.overlap, world.announce) = (Duration::from_millis(100), Duration::from_millis(50));
    world.creates_per_day = 10_000;
    let mut rig = Rig::prepare(world).await;
    let images = [rig.path("image-0"), rig.path("image-1")];
    if !make_image(&images[0]) {
        return println!("skipped: there is no mkfs.ext4 here");
    }
    let Some(mut disk) = Mount::image(&images[0], &rig.path("state")) else { return };
    let seed = from_environment("REKEYD_SEED", 7);
    let mut chance = Chance::new(seed);
    let mut seen = Acknowledged::default();
    // Two hundred cuts leave a history that the image has no room for beside a larger one.
    rig.edit_config(|it| it.replace("[daemon]\n", "[daemon]\nreserve = \"2MiB\"\n"));
    rig.run().await;
    rig.until_rest().await;
    let cuts = from_environment("REKEYD_CUTS", CUTS);
    for cut in 1..=cuts {
        let when = Duration::from_millis(chance.below(LONGEST));
        let _ = tokio::time::timeout(when, seen.rotate_for_ever(&rig, &services)).await;
        rig.kill().await;
        let (from, to) = (&images[(cut as usize + 1) % 2], &images[cut as usize % 2]);
        copy_what_the_device_has(from, to).await;
        drop(disk);
        disk = Mount::image(to, &rig.path("state")).unwrap();
        rig.run().await;
        let log = rig.log();
        assert!(
            !log.contains("the state is older") && !log.contains("damaged"),
            "cut {cut}, seed {seed}: {}",
            rig.tail()
        );
        seen.is_there(&rig, &services, cut).await;
        if cut.is_multiple_of(REST_EVERY) {
            rig.until_rest().await;
            rig.every_live_key_is_known().await;
            for service in services {
                let held = rig.held(World::key_name(service)).unwrap();
                assert!(rig.sim.truth().is_live(&held), "cut {cut}, seed {seed}: {service:?}");
            }
        }
    }
    println!("{cuts} power cuts, {} answers that were acknowledged", seen.answers);
}

/// What the daemon said before a cut.
#[derive(Default)]
struct Acknowledged {
    /// The version and the rotation that each key was seen with.
    keys: BTreeMap<&'static str, (u32, u32)>,
    answers: u64,
}

impl Acknowledged {
    async fn rotate_for_ever(&mut self, rig: &Rig, services: &[Service]) {
        loop {
            for service in services {
                let key = World::key_name(*service);
                rig.cli(&["rotate", "--now", key]).await;
                self.look(rig, key).await;
            }
        }
    }

    /// What is shown was committed before.
    async fn look(&mut self, rig: &Rig, key: &'static str) {
        let Ok(status) = rig.client().key(key).await else { return };
        let attempt = status.last_rotation.as_ref().map_or(0, |it| it.attempt);
        self.keys.insert(key, (number(&status), attempt));
        self.answers += 1;
    }

    async fn is_there(&mut self, rig: &Rig, services: &[Service], cut: u64) {
        for key in services.iter().map(|it| World::key_name(*it)) {
            let status = rig.key(key).await;
            let attempt = status.last_rotation.as_ref().map_or(0, |it| it.attempt);
            let (version, seen) = self.keys.get(key).copied().unwrap_or_default();
            assert!(
                number(&status) >= version && attempt >= seen,
                "cut {cut}, {key}: {status:#?} after {version}, {seen}"
            );
        }
    }
}

/// Copies the image as it is at one moment: the copy is taken again while the kernel still writes.
async fn copy_what_the_device_has(from: &Path, to: &PathBuf) {
    let mut before = fs::read(from).unwrap();
    loop {
        let now = fs::read(from).unwrap();
        if now == before {
            break;
        }
        before = now;
    }
    fs::write(to, before).unwrap();
}

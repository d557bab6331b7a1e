//! Power cuts: the state lies on a small disk of its own, an image with ext4 in it, and rotations and verbs run. At a random
//! moment the image is copied, under a daemon that is alive and in the midst of a write: that is what had reached the device,
//! and all that the next daemon gets. What was acknowledged by then is there: each answer of a verb, what `status` had shown,
//! each key that a consumer was given, each notice that was sent, and every key that a service holds.
//!
//! A file that is copied while it is written shows no moment that ever was. So the image lies on a file system of its own,
//! which is frozen meanwhile: what the daemon had synced, and what the kernel had written back besides, is in the image's
//! file; what was on its way stops where it is, and so do the daemon's writes. What stands only in the memory of the file
//! system *in* the image, which is not frozen and not synced, is missing from the copy, as after a cut. The daemon dies
//! before the freeze ends, so that nothing follows from a write that the copy does not have.
use crate::chance::{Chance, from_environment};
use crate::mounts::{Mount, make_image, make_image_of};
use crate::rig::{Rig, calm};
use crate::verbs_under_way::{Ledger, speak_for_ever};
use rekeyd::simulator::{Maker, Service, World};
use rekeyd::store::{Look, look};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;

/// How many cuts; the long run sets `REKEYD_CUTS`.
const CUTS: u64 = 10;
/// After so many cuts everything comes to rest, and is looked at as a whole.
const REST_EVERY: u64 = 5;
/// The longest time to the next cut, in milliseconds: from a start, or from the first answer after it.
const LONGEST: u64 = 900;
/// The size of the device that the images lie on, in bytes: room for two of them.
const DEVICE_BYTES: u64 = 192 * 1024 * 1024;
/// What is compared and copied at a time, in bytes.
const BLOCK: usize = 4096;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_no_commit_that_was_acknowledged() {
    let services = [Service::Infobip, Service::Mobivate, Service::SingleInvoice];
    let mut world = calm(&services);
    (world.overlap, world.announce) = (Duration::from_millis(100), Duration::from_millis(50));
    world.creates_per_day = 10_000;
    let mut rig = Rig::prepare(world).await;
    let Some(bench) = Bench::set_up(&rig) else { return };
    let mut disk = Some(Mount::image(&bench.image(0), &rig.path("state")).unwrap());
    // Two hundred cuts leave a history that the image has no room for beside a larger one.
    rig.edit_config(|it| it.replace("[daemon]\n", "[daemon]\nreserve = \"2MiB\"\n"));
    rig.run().await;
    rig.until_rest().await;

    let seed = from_environment("REKEYD_SEED", 7);
    let (cuts, mut chance) = (from_environment("REKEYD_CUTS", CUTS), Chance::new(seed));
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut seen = Seen::default();
    for cut in 1..=cuts {
        let speaker = tokio::spawn(speak_for_ever(rig.client(), ledger.clone(), chance.next()));
        if cut.is_multiple_of(2) {
            let before = ledger.lock().unwrap().answers();
            rig.until_true("a verb is answered", || ledger.lock().unwrap().answers() > before).await;
        }
        sleep(Duration::from_millis(chance.below(LONGEST))).await;
        let picture = bench.cut(&rig, cut, &ledger, &mut seen).await;
        speaker.abort();
        rig.ended().await;
        drop(disk.take());
        write_sparsely(&bench.image(cut), &picture);
        disk = Some(Mount::image(&bench.image(cut), &rig.path("state")).unwrap());
        let state =
            look(&rig.path("state")).unwrap_or_else(|it| panic!("cut {cut}, seed {seed}: {it}\n{}", rig.tail()));
        seen.is_known_to(&state, &format!("cut {cut}, seed {seed}"));
        rig.run().await;
        let log = rig.log();
        let well = !log.contains("the state is older") && !log.contains("damaged");
        assert!(well, "cut {cut}, seed {seed}: {}", rig.tail());
        seen.is_told_by(&rig).await;
        if cut.is_multiple_of(REST_EVERY) {
            come_to_rest(&rig, &ledger, &services, &format!("cut {cut}, seed {seed}")).await;
        }
    }
    println!(
        "{cuts} power cuts, {} of them with a rotation under way, {} with a create on the wire; {} answers, \
         {} keys in a consumer's file and {} notices had been acknowledged",
        seen.rotating,
        seen.creating,
        ledger.lock().unwrap().answers(),
        seen.delivered.len(),
        seen.notices.len()
    );
}

/// The device, and two images on it by turns.
struct Bench {
    at: PathBuf,
    _device: Mount,
}

impl Bench {
    fn set_up(rig: &Rig) -> Option<Self> {
        let (device, at) = (rig.path("device"), rig.path("bench"));
        if !make_image_of(&device, DEVICE_BYTES) {
            println!("skipped: there is no mkfs.ext4 here");
            return None;
        }
        let device = Mount::stand_in(&device, &at)?;
        let bench = Self { at, _device: device };
        assert!(make_image(&bench.image(0)));
        Some(bench)
    }

    fn image(&self, cut: u64) -> PathBuf {
        self.at.join(format!("image-{}", cut % 2))
    }

    /// What the device has at this moment. Everything that was said by then is noted; then the daemon is killed.
    async fn cut(&self, rig: &Rig, cut: u64, ledger: &Mutex<Ledger>, seen: &mut Seen) -> Vec<u8> {
        let (at, image) = (self.at.clone(), self.image(cut - 1));
        let frozen = tokio::task::spawn_blocking(move || Frozen::new(at)).await.unwrap();
        let picture = tokio::task::spawn_blocking(move || fs::read(image).unwrap()).await.unwrap();
        seen.note(rig, ledger);
        rig.signal(Signal::KILL);
        let again = fs::read(self.image(cut - 1)).unwrap();
        drop(frozen);
        assert!(picture == again, "the image was written to under the freeze");
        picture
    }
}

/// A file system that takes no write until this is dropped.
struct Frozen(PathBuf);

impl Frozen {
    fn new(at: PathBuf) -> Self {
        assert!(Command::new("fsfreeze").arg("-f").arg(&at).status().unwrap().success());
        Self(at)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let thawed = Command::new("fsfreeze").arg("-u").arg(&self.0).status();
        assert!(thawed.unwrap().success());
    }
}

/// What had been acknowledged before a cut.
#[derive(Default)]
struct Seen {
    ledger: Ledger,
    /// What stood in consumers' files, by its fingerprint.
    delivered: BTreeSet<String>,
    /// What came by webhook, by its id.
    notices: BTreeSet<String>,
    /// What the services accept that was issued to us: the service, and the fingerprint.
    live: Vec<(Service, String)>,
    rotating: u32,
    creating: u32,
}

impl Seen {
    fn note(&mut self, rig: &Rig, ledger: &Mutex<Ledger>) {
        self.ledger = ledger.lock().unwrap().clone();
        let keys = rig.world.services.iter().filter_map(|it| rig.held(World::key_name(*it)));
        self.delivered.extend(keys.map(|it| crate::rig::fingerprint(&it)));
        self.notices.extend(rig.notices().into_keys());
        let live = rig.world.services.iter().flat_map(|it| rig.sim.truth().live(*it).into_iter().map(|key| (*it, key)));
        let ours = live.filter(|(_, key)| key.made_by == Maker::Call);
        self.live = ours.map(|(service, key)| (service, crate::rig::fingerprint(&key.secret))).collect();
    }

    /// What the state holds, before a daemon begins on it.
    fn is_known_to(&mut self, state: &Look, when: &str) {
        let issued = state.records.iter().flat_map(|it| it.seen.keys());
        let issued: BTreeSet<String> = issued.map(ToString::to_string).collect();
        let lost: Vec<_> = self.delivered.difference(&issued).collect();
        assert!(lost.is_empty(), "{when}: {lost:?} were delivered, and are not known: {state:#?}");
        for service in Service::ALL {
            let Some(account) = state.accounts.iter().find(|it| it.id.as_str() == service.kind()) else { continue };
            let known = |it: &&String| issued.contains(*it) || account.known.iter().any(|known| known.as_str() == **it);
            let live = self.live.iter().filter(|it| it.0 == service).map(|it| &it.1);
            let unknown: Vec<_> = live.filter(|it| !known(it)).collect();
            assert!(unknown.len() <= account.open.len(), "{when}: nobody looks for {unknown:?}: {account:#?}");
        }
        let mut open = state.accounts.iter().flat_map(|it| it.open.values());
        self.creating += u32::from(open.any(|it| it.lost_at.is_none()));
        self.rotating += u32::from(state.records.iter().any(|it| it.rotation.is_some()));
        self.ledger.is_known_to(&state.records, when);
    }

    /// What the daemon says that begins on it.
    async fn is_told_by(&self, rig: &Rig) {
        let history = rig.client().history(None, None, None).await.unwrap();
        let told: BTreeSet<String> = history.notices.iter().map(|it| it.id.to_string()).collect();
        let lost: Vec<_> = self.notices.difference(&told).collect();
        assert!(lost.is_empty(), "{lost:?} were sent, and are not in the history\n{}", rig.tail());
        self.ledger.is_told_by(&history.commands);
    }
}

/// Whatever was paused goes on; then every key is known, and each consumer holds one that works.
async fn come_to_rest(rig: &Rig, ledger: &Mutex<Ledger>, services: &[Service], when: &str) {
    for service in services {
        rig.cli(&["resume", World::key_name(*service)]).await;
    }
    ledger.lock().unwrap().all_resumed();
    rig.until_rest().await;
    rig.every_live_key_is_known().await;
    for service in services {
        let held = rig.held(World::key_name(*service)).unwrap();
        assert!(rig.sim.truth().is_live(&held), "{when}: {service:?}");
    }
}

/// Writes an image, and leaves out what is empty.
fn write_sparsely(to: &Path, picture: &[u8]) {
    let file = File::create(to).unwrap();
    file.set_len(picture.len() as u64).unwrap();
    for (nth, block) in picture.chunks(BLOCK).enumerate().filter(|(_, it)| it.iter().any(|it| *it != 0)) {
        file.write_all_at(block, (nth * BLOCK) as u64).unwrap();
    }
}

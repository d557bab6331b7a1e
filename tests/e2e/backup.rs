//! Backups: made by the daemon and beside it, verified, put back on this machine and on another, under another master key.
use crate::rig::{PAUSE, Rig, Said, calm, copy_folder, number, write};
use crate::watch::Consumer;
use rekeyd::control::protocol::{HistoryReport, PhaseName};
use rekeyd::simulator::{Call, Service, World};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

const SMS: &str = "billing-sms";
const CAMPAIGN: &str = "campaign-sms";
const INVOICES: &str = "invoices";
/// Another master key.
const OTHER: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";
/// How often a command is killed somewhere in its middle.
const KILLS: u64 = 12;

/// Old keys end at once, so that many rotations take little time.
fn quick(services: &[Service]) -> World {
    World { overlap: Duration::from_millis(50), ..calm(services) }
}

impl Rig {
    async fn backup(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        self.ok(&["backup", path.to_str().unwrap()]).await;
        path
    }

    async fn on(&self, verb: &[&str], file: &Path) -> Said {
        self.cli(&[verb, &[file.to_str().unwrap()]].concat()).await
    }

    /// The store is lost.
    fn destroy(&self) {
        fs::remove_dir_all(self.path("state")).unwrap();
    }

    fn master_key(&self, key: &str) {
        write(&self.path("secrets/master-key"), key);
    }
}

fn creates(rig: &Rig, service: Service) -> u64 {
    rig.sim.truth().calls(service, Call::Create)
}

#[tokio::test]
async fn a_backup_is_one_sealed_file_for_its_owner_alone_and_the_history_tells_of_it() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let file = rig.backup("state.backup").await;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(&file).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    for inside in [rig.held(SMS).unwrap().as_str(), SMS, "payments"] {
        assert!(!text.contains(inside), "{inside} can be read");
    }
    let master = text.lines().nth(1).unwrap();
    let checked = rig.on(&["--json", "check", "--state"], &file).await;
    assert_eq!(checked.code, Some(0), "{}", checked.err);
    let checked: serde_json::Value = serde_json::from_str(&checked.out).unwrap();
    assert_eq!((checked["keys"].as_u64(), checked["secrets"].as_u64()), (Some(1), Some(1)));
    assert!(master.contains(checked["master"].as_str().unwrap()), "{master}");
    let history: HistoryReport = serde_json::from_str(&rig.ok(&["history", "--json"]).await).unwrap();
    let row = history.commands.iter().find(|it| it.verb == "backup").unwrap();
    assert_eq!((row.key.as_ref(), row.actor.as_ref().unwrap().uid), (None, rustix::process::geteuid().as_raw()));
    rig.backup("state.backup").await;
    write(&rig.path("notes"), "mine");
    assert_eq!(rig.on(&["backup"], &rig.path("notes")).await.code, Some(73));
    assert_eq!(fs::read_to_string(rig.path("notes")).unwrap(), "mine");
}

#[tokio::test]
async fn without_a_daemon_the_state_is_read_and_not_touched() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.stop().await;
    let before = files(&rig.path("state"));
    let file = rig.backup("state.backup").await;
    assert_eq!(rig.on(&["check", "--state"], &file).await.code, Some(0));
    let mut after = files(&rig.path("state"));
    after.insert("lock".into(), before[Path::new("lock")].clone());
    assert_eq!(after, before);
    let left: Vec<_> = fs::read_dir(rig.path("")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(!left.iter().any(|it| it.to_string_lossy().starts_with(".rekeyd")), "{left:?}");
}

/// Every file below a folder, with its content.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                all.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    all
}

#[tokio::test]
async fn what_is_no_whole_backup_of_this_master_key_is_refused_before_anything_is_written() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let file = rig.backup("state.backup").await;
    rig.stop().await;
    let over = rig.on(&["restore"], &file).await;
    assert_eq!(over.code, Some(73), "{}", over.err);
    assert!(over.err.contains("overwrites nothing"), "{}", over.err);
    rig.destroy();
    let whole = fs::read(&file).unwrap();
    let mut bent = whole.clone();
    bent[whole.len() / 2] ^= 1;
    let newer = [b"rekeyd-backup 9\n".as_slice(), &whole[16..]].concat();
    let bad = rig.path("bad.backup");
    for (content, why) in [
        (bent, "damaged"),
        (whole[..whole.len() - 1].to_vec(), "damaged"),
        (b"hello".to_vec(), "no backup of rekeyd"),
        (newer, "install the newer rekeyd"),
    ] {
        fs::write(&bad, content).unwrap();
        for verb in [&["restore"][..], &["check", "--state"]] {
            let said = rig.on(verb, &bad).await;
            assert_eq!(said.code, Some(65), "{}", said.err);
            assert!(said.err.contains(why), "{}", said.err);
        }
    }
    assert_eq!(rig.on(&["restore"], &rig.path("nothing")).await.code, Some(66));
    rig.master_key(OTHER);
    let said = rig.on(&["restore"], &file).await;
    assert_eq!(said.code, Some(65), "{}", said.err);
    assert!(said.err.contains("was sealed with master key"), "{}", said.err);
    assert!(!rig.path("state").exists(), "nothing was written");
}

/// A snapshot, then rotations that it knows nothing of, then the end of the store, and the snapshot put back.
async fn restored_behind(rig: &mut Rig, service: Service, rotations: u32) {
    let key = World::key_name(service);
    let file = rig.backup("state.backup").await;
    for version in 2..2 + rotations {
        rig.rotate(key).await;
        rig.until(key, "rotated", |it| number(it) == version && it.phase == PhaseName::Steady).await;
    }
    rig.kill().await;
    rig.destroy();
    let said = rig.on(&["restore"], &file).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
}

#[tokio::test]
async fn ten_rotations_behind_a_restored_state_converges_and_no_consumer_ever_holds_a_dead_key() {
    let mut rig = Rig::start_created(quick(&[Service::Infobip])).await;
    let consumer = Consumer::of(&rig, Service::Infobip);
    restored_behind(&mut rig, Service::Infobip, 10).await;
    let newest = rig.held(SMS).unwrap();
    rig.run().await;
    rig.until_notice(SMS, "key.drifted").await;
    // The one that it knows is dead, and the one in use is not known: it is replaced without being asked to.
    rig.until_version(SMS, 2).await;
    assert!(rig.held(SMS).is_some_and(|it| it != newest), "a fresh key is delivered");
    assert_eq!(creates(&rig, Service::Infobip), 12, "ten, the first, and one after the restore");
    consumer.never_held_a_dead_key();
    rig.every_live_key_is_known().await;
    // It is an installation like any other again.
    rig.rotate(SMS).await;
    rig.until(SMS, "rotated once more", |it| it.phase == PhaseName::Steady && it.halted.is_none()).await;
}

#[tokio::test]
async fn where_the_service_shows_its_key_a_restored_state_adopts_it_and_creates_nothing() {
    let mut rig = Rig::start_created(quick(&[Service::Mobivate])).await;
    restored_behind(&mut rig, Service::Mobivate, 3).await;
    let (newest, made) = (rig.held(CAMPAIGN), creates(&rig, Service::Mobivate));
    let consumer = Consumer::of(&rig, Service::Mobivate);
    rig.run().await;
    rig.until(CAMPAIGN, "at rest with the key that is there", |it| it.phase == PhaseName::Steady && number(it) > 1)
        .await;
    assert_eq!((rig.held(CAMPAIGN), creates(&rig, Service::Mobivate)), (newest, made));
    consumer.never_held_a_dead_key();
}

#[tokio::test]
async fn where_nobody_can_be_asked_a_restored_state_halts_and_says_so() {
    let mut rig = Rig::start_created(quick(&[Service::SingleInvoice])).await;
    restored_behind(&mut rig, Service::SingleInvoice, 2).await;
    let (newest, made) = (rig.held(INVOICES), creates(&rig, Service::SingleInvoice));
    rig.run().await;
    let halted = rig.until_phase(INVOICES, PhaseName::Halted).await.halted.unwrap();
    rig.until_notice(INVOICES, "rotation.halted").await;
    assert_eq!(halted.reason, "restored");
    assert_eq!((rig.held(INVOICES), creates(&rig, Service::SingleInvoice)), (newest, made));
}

#[tokio::test]
async fn a_copy_that_is_restored_on_another_machine_only_observes_while_the_original_goes_on() {
    let mut first = Rig::start_created(quick(&[Service::Infobip, Service::Mobivate])).await;
    let file = first.backup("state.backup").await;
    let mut copy = Rig::beside(&first.sim, first.world.clone());
    copy_folder(&first.path("keys"), &copy.path("keys"));
    if !copy.move_to_machine("0123456789abcdef0123456789abcdef") {
        println!("skipped: /etc/machine-id can't be replaced for a process here");
        return;
    }
    let consumer = Consumer::of(&first, Service::Infobip);
    assert_eq!(copy.on(&["restore"], &file).await.code, Some(0));
    copy.run().await;
    for version in 2..4 {
        first.rotate(SMS).await;
        first.until_version(SMS, version).await;
        first.rotate(CAMPAIGN).await;
        first.until_version(CAMPAIGN, version).await;
    }
    let looks = first.sim.truth().requests().len();
    let _ = copy.cli(&["rotate", "--now", SMS, CAMPAIGN]).await;
    first.until_true("somebody looks", || first.sim.truth().requests().len() > looks + 4).await;
    assert_eq!((creates(&first, Service::Infobip), creates(&first, Service::Mobivate)), (3, 3));
    let status = copy.cli(&["status", "--exit-code"]).await;
    assert_eq!(status.code, Some(1), "{}", status.out);
    assert!(status.out.contains("resume --all"), "{}", status.out);
    consumer.never_held_a_dead_key();
    // The original is lost: somebody says that the copy is the one to run on.
    first.kill().await;
    copy.ok(&["resume", "--all"]).await;
    copy.until_phase(CAMPAIGN, PhaseName::Steady).await;
    assert!(first.sim.truth().is_live(&copy.held(CAMPAIGN).unwrap()));
}

#[tokio::test]
async fn backups_are_made_by_themselves_and_as_many_are_kept_as_are_wanted() {
    let mut world = calm(&[Service::Infobip]);
    world.sections = "[backup]\nschedule = \"* * * * * *\"\nkeep = 2\n".to_owned();
    let mut rig = Rig::prepare(world).await;
    let dir = rig.path("state/backups");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("notes"), "mine").unwrap();
    rig.run().await;
    rig.until_rest().await;
    let names = || -> Vec<PathBuf> { fs::read_dir(&dir).unwrap().map(|it| it.unwrap().path()).collect() };
    let backups =
        || names().into_iter().filter(|it| it.extension().is_some_and(|it| it == "backup")).collect::<Vec<_>>();
    let made = async {
        let mut seen = BTreeSet::new();
        while seen.len() < 4 {
            seen.extend(backups());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(rig.patience, made).await.is_ok(), "none is made:\n{}", rig.tail());
    rig.edit_config(|it| it.replacen("* * * * * *\"\nkeep", "0 0 0 1 1 *\"\nkeep", 1));
    rig.ok(&["reload"]).await;
    rig.until_true("two are left", || backups().len() == 2).await;
    assert_eq!(fs::read_to_string(dir.join("notes")).unwrap(), "mine");
    let newest = backups().into_iter().max().unwrap();
    assert_eq!(fs::metadata(&newest).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(rig.on(&["check", "--state"], &newest).await.code, Some(0));
    // With another schedule, the daemon looks in the folder when the last one was made.
    let found = async {
        while rig.status().await.daemon.backup.unwrap().last_at.is_none() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    assert!(tokio::time::timeout(rig.patience, found).await.is_ok(), "none is shown:\n{}", rig.tail());
    // One that was missed while the daemon was down is made at the start.
    rig.stop().await;
    backups().into_iter().for_each(|it| fs::remove_file(it).unwrap());
    rig.run().await;
    rig.until_true("it is made good", || backups().len() == 1).await;
}

#[tokio::test]
async fn a_backup_that_fails_is_told_tried_again_and_told_to_be_over() {
    let mut world = calm(&[Service::Infobip]);
    world.sections = "[backup]\n".to_owned();
    let mut rig = Rig::prepare(world).await;
    let dir = rig.path("state/backups");
    fs::write(&dir, "in the way").unwrap();
    rig.run().await;
    rig.until_own_notice("backup.failed", "firing").await;
    rig.until_rest().await;
    let status = rig.cli(&["status"]).await.out;
    assert!(status.contains("backups fail"), "{status}");
    fs::remove_file(&dir).unwrap();
    rig.until_own_notice("backup.failed", "resolved").await;
    assert_eq!(rig.own_notices("backup.failed", "firing").len(), 1);
    assert_eq!(rig.status().await.daemon.backup.unwrap().last_error, None);
}

/// Runs a command of the binary, and kills it after so many microseconds. Says whether it was done before that.
async fn killed_after(rig: &Rig, args: &[&str], micros: u64) -> bool {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rekeyd"));
    command.arg("--config").arg(rig.config()).args(args).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    match tokio::time::timeout(Duration::from_micros(micros), child.wait()).await {
        Ok(ended) => ended.unwrap().success(),
        Err(_) => {
            child.kill().await.unwrap();
            false
        }
    }
}

/// Moments all over the time that a command takes, whatever the machine is like; at the last one it has come to its end.
async fn moments(rig: &Rig, args: &[&str]) -> impl Iterator<Item = u64> + use<> {
    let before = std::time::Instant::now();
    assert!(killed_after(rig, args, 30_000_000).await);
    let whole = u64::try_from(before.elapsed().as_micros()).unwrap();
    (1..=KILLS).map(move |it| if it == KILLS { 30_000_000 } else { whole * it / KILLS })
}

#[tokio::test]
async fn a_restore_that_is_killed_anywhere_leaves_nothing_that_is_taken_for_a_state() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let file = rig.backup("state.backup").await;
    rig.stop().await;
    rig.destroy();
    let restore = ["restore", file.to_str().unwrap()];
    let (mut half, mut whole) = (0, 0);
    let moments: Vec<u64> = moments(&rig, &restore).await.collect();
    for micros in moments.repeat(3) {
        let _ = fs::remove_dir_all(rig.path("state"));
        killed_after(&rig, &restore, micros).await;
        if rig.path("state/sled").exists() {
            whole += 1;
        } else if rig.path("state/restoring").exists() {
            half += 1;
            let refused = rig.cli(&["run"]).await;
            assert_eq!(refused.code, Some(74), "{}", refused.err);
            assert!(refused.err.contains("run it again"), "{}", refused.err);
            assert_eq!(rig.on(&["restore"], &file).await.code, Some(0), "it can be run again");
        }
    }
    println!("killed at {KILLS} moments, three times: {half} left a half, {whole} the whole");
    assert!(half > 0, "no kill came in the middle");
    rig.run().await;
    rig.until_phase(SMS, PhaseName::Steady).await;
    assert_eq!(rig.ok(&["reveal", SMS]).await, rig.held(SMS).unwrap());
}

#[tokio::test]
async fn a_reseal_that_is_killed_anywhere_leaves_a_state_that_one_of_the_two_keys_opens() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip, Service::Mobivate])).await;
    let old_backup = rig.backup("old.backup").await;
    let running = rig.cli(&["reseal", "--new-key", "file:/etc/hostname"]).await;
    assert_ne!(running.code, Some(0), "no such key");
    let keys = [rig.path("secrets/master-key"), rig.path("secrets/master-2")];
    write(&keys[1], OTHER);
    fs::set_permissions(&keys[1], fs::Permissions::from_mode(0o600)).unwrap();
    let to = keys.clone().map(|it| format!("file:{}", it.display()));
    let running = rig.cli(&["reseal", "--new-key", &to[1]]).await;
    assert_eq!(running.code, Some(75), "{}", running.err);
    assert!(running.err.contains("systemctl stop"), "{}", running.err);
    rig.stop().await;
    let held = [SMS, CAMPAIGN].map(|it| rig.held(it).unwrap());
    let name_key = |rig: &Rig, which: usize| {
        rig.edit_config(|it| it.replace(keys[1 - which].to_str().unwrap(), keys[which].to_str().unwrap()));
    };
    // From one key to the other and back, as long as it takes; the config follows once it is done.
    let mut at = 0;
    let back = rig.path("state-before");
    copy_folder(&rig.path("state"), &back);
    let moments: Vec<u64> = moments(&rig, &["reseal", "--new-key", &to[1]]).await.collect();
    copy_folder(&back, &rig.path("state"));
    let (mut done, mut stayed) = (0, 0);
    for micros in moments {
        killed_after(&rig, &["reseal", "--new-key", &to[1 - at]], micros).await;
        // A daemon with the key of the config either serves, or says what to write.
        let checked = rig.backup_or_error().await;
        match checked {
            Ok(()) => stayed += 1,
            Err(why) => {
                done += 1;
                let line = format!("master_key = {{ file = \"{}\" }}", keys[1 - at].display());
                assert!(why.contains(&line), "{why}");
                let again = rig.ok(&["reseal", "--new-key", &to[1 - at]]).await;
                assert!(again.contains("already"), "{again}");
                at = 1 - at;
                name_key(&rig, at);
                assert_eq!(rig.backup_or_error().await, Ok(()));
            }
        }
    }
    println!("killed {KILLS} times: the old key still held {stayed} times, the new one {done} times");
    assert!(done > 0 && stayed > 0, "the kills came too early or too late");
    if at == 0 {
        let told = rig.ok(&["reseal", "--new-key", &to[1]]).await;
        assert!(told.contains("start the daemon") && told.contains("master_key = { file"), "{told}");
        let refused = rig.cli(&["run"]).await;
        assert_eq!(refused.code, Some(78), "{}", refused.err);
        assert!(refused.err.contains("resealed") && refused.err.contains("master-2"), "{}", refused.err);
        name_key(&rig, 1);
    }
    rig.run().await;
    rig.until_rest().await;
    for (key, held) in [SMS, CAMPAIGN].into_iter().zip(held) {
        assert_eq!(rig.ok(&["reveal", key]).await, held);
    }
    rig.rotate(SMS).await;
    rig.until_version(SMS, 2).await;
    let said = rig.on(&["check", "--state"], &old_backup).await;
    assert_eq!(said.code, Some(65), "an old backup still names its own key: {}", said.err);
    assert!(said.err.contains("was sealed with master key"), "{}", said.err);
}

impl Rig {
    /// Whether the master key of the config opens the state, and all that is in it.
    async fn backup_or_error(&self) -> Result<(), String> {
        let file = self.path("now.backup");
        let said = self.on(&["backup"], &file).await;
        if said.code != Some(0) {
            return Err(said.err);
        }
        let said = self.on(&["check", "--state"], &file).await;
        if said.code == Some(0) { Ok(()) } else { Err(said.err) }
    }
}

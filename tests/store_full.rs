//! A disk that is full or read-only under the open state: nothing that was acknowledged is lost, nothing fails half-way, and
//! it goes on by itself once there is room.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]
use rekeyd::core::time::Timestamp;
use rekeyd::secret::Secret;
use rekeyd::store::{Batch, Opened, Site, Store, StoreError};
use std::path::{Path, PathBuf};

#[path = "support/chance.rs"]
mod chance;
#[path = "support/mounts.rs"]
mod mounts;

use chance::{Chance, from_environment};
use mounts::{Mount, make_image};

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const RESERVE: u64 = 2 * 1024 * 1024;
/// How often the disk is filled; a long run sets `REKEYD_FILLS`.
const FILLS: u64 = 5;

fn try_open(dir: &Path) -> Result<Opened, StoreError> {
    Store::open(Site { dir, machine: Some("here"), reserve: RESERVE }, &Secret::new(vec![1; 32]), NOW)
}

fn open(dir: &Path) -> Store {
    let opened = try_open(dir).unwrap();
    assert!(!opened.rolled_back && opened.damage.is_none());
    opened.store
}

/// The commit with this number: large enough that a small disk is soon full, and every third with a token.
fn batch(number: u64) -> Batch {
    let large = (format!("large-{number}"), Some(vec![number as u8; 100_000]));
    let meta = vec![("number".to_owned(), Some(number.to_be_bytes().to_vec())), large];
    Batch { meta, sealing_point: number.is_multiple_of(3), ..Batch::default() }
}

/// Forgets what was large, so that the state does not outgrow its disk.
fn forget_large(store: &Store, upto: u64) {
    for last in (0..=upto).step_by(10) {
        let meta = (last..last + 10).map(|it| (format!("large-{it}"), None)).collect();
        store.commit(&Batch { meta, ..Batch::default() }).expect("it goes on without a restart");
    }
}

fn number(store: &Store) -> u64 {
    store.meta("number").unwrap().map_or(0, |it| u64::from_be_bytes(it.try_into().unwrap()))
}

fn disk(guard: &tempfile::TempDir) -> Option<(Mount, PathBuf)> {
    let at = guard.path().join("disk");
    let mount = Mount::memory(&at)?;
    Some((mount, at.join("state")))
}

#[test]
fn a_disk_that_is_filled_at_random_moments_costs_nothing_and_it_goes_on_by_itself() {
    let guard = tempfile::tempdir().unwrap();
    let Some((disk, dir)) = disk(&guard) else { return };
    let mut chance = Chance::new(from_environment("REKEYD_SEED", 7));
    let mut acknowledged = 0;
    let mut store = open(&dir);
    for _ in 0..from_environment("REKEYD_FILLS", FILLS) {
        for _ in 0..chance.below(30) {
            store.commit(&batch(acknowledged + 1)).unwrap();
            acknowledged += 1;
        }
        assert_eq!(store.reserve_ready(), Ok(()));
        disk.fill();
        assert!(store.reserve_ready().unwrap_err().contains("free"), "no key is created on a full disk");
        let mut more = 0;
        let refused = loop {
            match store.commit(&batch(acknowledged + 1)) {
                Ok(()) => (acknowledged, more) = (acknowledged + 1, more + 1),
                Err(error) => break error,
            }
            assert!(more < 400, "the disk was never full");
        };
        assert!(matches!(refused, StoreError::Unwritable { .. }) && refused.may_pass(), "{refused}");
        assert!(more > 0, "what a create brings on a full disk can still be recorded");
        assert_eq!(number(&store), acknowledged, "reads go on");
        if chance.below(2) == 0 {
            drop(store);
            store = open(&dir);
            assert_eq!(number(&store), acknowledged, "a start on a full disk");
            assert!(store.reserve_ready().is_err(), "no key is created before the reserve is there again");
        }
        disk.free();
        forget_large(&store, acknowledged);
        store.commit(&batch(acknowledged + 1)).unwrap();
        acknowledged += 1;
        assert_eq!(store.reserve_ready(), Ok(()), "the reserve is taken back");
    }
    drop(store);
    assert_eq!(number(&open(&dir)), acknowledged);
}

#[test]
fn a_full_disk_without_a_reserve_refuses_the_start_before_the_database_is_touched() {
    let guard = tempfile::tempdir().unwrap();
    let Some((disk, dir)) = disk(&guard) else { return };
    open(&dir).commit(&batch(1)).unwrap();
    std::fs::remove_file(dir.join("reserve")).unwrap();
    disk.fill();
    for _ in 0..3 {
        let refused = try_open(&dir).map(|_| ()).unwrap_err();
        assert!(refused.may_pass(), "{refused}");
    }
    disk.free();
    assert_eq!(number(&open(&dir)), 1);
}

#[test]
fn a_second_start_on_a_full_disk_finds_what_the_first_gave_up() {
    let guard = tempfile::tempdir().unwrap();
    let Some((disk, dir)) = disk(&guard) else { return };
    open(&dir).commit(&batch(1)).unwrap();
    for _ in 0..5 {
        disk.fill();
        assert_eq!(number(&open(&dir)), 1);
    }
}

#[test]
fn a_disk_that_turns_read_only_ends_no_reading_and_loses_nothing() {
    let guard = tempfile::tempdir().unwrap();
    let [image, at] = ["image", "disk"].map(|it| guard.path().join(it));
    if !make_image(&image) {
        return println!("skipped: there is no mkfs.ext4 here");
    }
    let Some(disk) = Mount::image(&image, &at) else { return };
    let dir = at.join("state");
    let store = open(&dir);
    store.commit(&batch(1)).unwrap();
    if std::fs::write(format!("/sys/fs/ext4/{}/trigger_fs_error", disk.device()), "1").is_err() {
        return println!("skipped: this kernel makes no errors on demand");
    }
    let refused = store.commit(&batch(2)).unwrap_err();
    assert!(matches!(refused, StoreError::Unwritable { .. }), "{refused}");
    assert!(store.reserve_ready().is_err());
    assert_eq!(number(&store), 1);
    drop(store);
    let refused = try_open(&dir).map(|_| ()).unwrap_err();
    assert!(refused.may_pass(), "a start waits for it: {refused}");
}

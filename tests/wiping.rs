//! That secrets leave the memory of the process with their last owner. All of it that can be written is looked through, by way of
//! the kernel, for what was there before.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic anywhere, and tells what it saw")]
use rekeyd::core::time::Timestamp;
use rekeyd::secret::{Secret, SecretRef};
use rekeyd::store::{Batch, Site, Store};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};

/// How long the secrets are, in bytes. What the allocator writes into freed memory covers less than half of it.
const BYTES: usize = 64;
/// How much is looked through at once, in bytes.
const CHUNK: usize = 4096;

/// One byte of a secret. It stands nowhere as a whole but in the secret itself.
fn byte(seed: u8, at: usize) -> u8 {
    let mixed = (at as u32 + 1).wrapping_mul(2_654_435_761) ^ u32::from(seed).wrapping_mul(40_503);
    b'!' + (mixed >> 13) as u8 % 90
}

fn secret(seed: u8) -> Secret {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.extend((0..BYTES).map(|at| byte(seed, at)));
    Secret::new(bytes)
}

/// How often the later half of a secret stands in our memory. The stack of this thread is left out: what a cipher works on is copied
/// there, and stays until something else is written over it.
fn found(seed: u8) -> usize {
    let (maps, memory) = (fs::read_to_string("/proc/self/maps").unwrap(), File::open("/proc/self/mem").unwrap());
    let (mut buffer, zeros, half) = (vec![0; CHUNK + BYTES], vec![0; CHUNK + BYTES], BYTES / 2);
    let here = std::ptr::from_ref(&half).addr() as u64;
    let mut found = 0;
    for line in maps.lines().filter(|it| it.split(' ').nth(1).unwrap().starts_with("rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (mut at, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        if (at..to).contains(&here) {
            continue;
        }
        while at < to {
            let want = usize::try_from(to - at).unwrap().min(buffer.len());
            let Ok(read @ 1..) = memory.read_at(&mut buffer[..want], at) else { break };
            if buffer[..read] != zeros[..read] {
                let is_it = |start: usize| (0..half).all(|n| buffer[start + n] == byte(seed, half + n));
                let n = (0..read.saturating_sub(half)).filter(|it| is_it(*it)).count();
                found += n;
            }
            at += read.min(CHUNK) as u64;
        }
        // The buffer must not be found in itself.
        buffer.fill(0);
    }
    found
}

#[track_caller]
fn check_gone(seed: u8, held: impl FnOnce()) {
    held();
    assert_eq!(found(seed), 0, "it outlives its owner");
}

#[test]
fn a_secret_that_is_dropped_is_nowhere_in_memory() {
    let kept = secret(1);
    assert!(found(1) > 0, "the search finds what is there");
    let copy = kept.clone();
    drop(kept);
    assert!(found(1) > 0, "its copy lives");
    check_gone(1, || drop(copy.without_newline()));
}

#[test]
fn a_secret_that_was_read_from_a_file_is_nowhere_in_memory_when_it_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("login");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    // Written from a secret, which is wiped too.
    fs::write(&path, secret(2).expose()).unwrap();
    let read = SecretRef::File(path).resolve().unwrap();
    assert!(found(2) > 0 && read.len() == BYTES);
    check_gone(2, || drop(read));
}

#[test]
fn what_the_state_seals_and_opens_is_nowhere_in_memory_when_it_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site { dir: dir.path(), machine: None, reserve: 4096 };
    let store = Store::open(site, &Secret::new(vec![7; 32]), Timestamp(1_790_000_000_000)).unwrap().store;
    let name: rekeyd::core::names::KeyName = "billing".parse().unwrap();
    let batch = Batch { secrets: vec![(name.clone(), 1, secret(3))], ..Batch::default() };
    store.commit(&batch).unwrap();
    check_gone(3, || drop(batch));
    let opened = store.secret(&name, 1).unwrap().unwrap();
    assert!(found(3) > 0);
    check_gone(3, || drop(opened));
}

//! What the database keeps in memory: the one test of its process, since the figure is the whole process's.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use rekeyd::core::time::Timestamp;
use rekeyd::secret::Secret;
use rekeyd::store::{Batch, Site, Store};

/// Sled's own default is a gibibyte; `store::disk::CACHE_BYTES` is 16 MiB.
#[test]
fn the_database_keeps_no_more_in_memory_than_its_limit() {
    let guard = tempfile::tempdir().unwrap();
    let dir = guard.path().join("state");
    let site = Site { dir: &dir, machine: Some("here"), reserve: 0 };
    let store = Store::open(site, &Secret::new(vec![1; 32]), Timestamp(1_790_000_000_000)).unwrap().store;
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    };
    let before = resident();
    for round in 0..40_u64 {
        let meta = (0..20).map(|it| (format!("m{}", round * 20 + it), Some(vec![round as u8; 100_000]))).collect();
        store.commit(&Batch { meta, ..Batch::default() }).unwrap();
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 60, "80 MB of rows cost {grown} MiB of memory");
}

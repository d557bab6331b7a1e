//! Damage anywhere in the files of a state: it is refused, or what is lost is named, or the state is known to be older than
//! it was. What is neither is exactly what was committed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]
use rekeyd::core::names::KeyName;
use rekeyd::core::record::Record;
use rekeyd::core::time::Timestamp;
use rekeyd::secret::Secret;
use rekeyd::store::{Batch, Damage, HistoryRow, Opened, Site, Store, StoreError};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

#[path = "support/chance.rs"]
mod chance;
#[path = "support/damage.rs"]
mod damage;

use chance::{Chance, from_environment};

const NOW: Timestamp = Timestamp(1_790_000_000_000);
/// How many places are damaged in each of the three states; a long run sets `REKEYD_DAMAGES`.
const DAMAGES: u64 = 50;
const VERSIONS: u32 = 4;

fn open(dir: &Path) -> Result<Opened, StoreError> {
    Store::open(Site { dir, machine: Some("here"), reserve: 4096 }, &Secret::new(vec![1; 32]), NOW)
}

fn name(number: u32) -> KeyName {
    format!("key-{number}").parse().unwrap()
}

/// Every key gets its next version, with some history.
fn rotate_all(keys: u32, version: u32) -> Vec<Batch> {
    let one = |number: u32| Batch {
        records: vec![Record { revision: version.into(), last_version: version, ..Record::new(name(number), NOW) }],
        secrets: vec![(name(number), version, Secret::from(format!("hunter{version}")))],
        history: vec![HistoryRow::Read {
            name: name(number),
            at: NOW.plus(Duration::from_secs((version * keys + number).into())),
            by: "x".repeat(300),
            version,
            via: "reveal".into(),
            times: 1,
            last: None,
        }],
        due: vec![(name(number), Some(NOW))],
        sealing_point: number.is_multiple_of(7),
        ..Batch::default()
    };
    (0..keys).map(one).collect()
}

/// What must not change silently, by key.
type Truth = BTreeMap<KeyName, (Option<Record>, Vec<Option<Vec<u8>>>)>;

fn truth(store: &Store, keys: u32) -> Result<Truth, StoreError> {
    let mut records: BTreeMap<_, _> = store.records()?.into_iter().map(|it| (it.name.clone(), it)).collect();
    let one = |number| {
        let name = name(number);
        let secrets = (1..=VERSIONS).map(|it| store.secret(&name, it).map(|it| it.map(|it| it.expose().to_vec())));
        Ok((name.clone(), (records.remove(&name), secrets.collect::<Result<_, _>>()?)))
    };
    (0..keys).map(one).collect()
}

/// What became of a damaged state.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Fate {
    Refused,
    Older,
    Rescued,
    Untouched,
}

/// Opens a damaged copy, and holds what it gives against what there was.
fn fate(dir: &Path, keys: u32, want: &Truth, what: &str) -> Fate {
    let opened = match open(dir) {
        Ok(opened) => opened,
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("rekeyd restore"), "{what}: {text}");
            assert!(!error.may_pass(), "{what}: {text}");
            return Fate::Refused;
        }
    };
    let got = truth(&opened.store, keys).unwrap_or_else(|it| panic!("{what}: {it}"));
    let lost = opened.damage.clone().unwrap_or_default();
    for (name, was) in want {
        let is_known = opened.rolled_back || lost.keys.contains_key(name);
        assert!(got[name] == *was || is_known, "{what}: {name} was lost silently");
    }
    // It works, and goes on working.
    let answer = Batch { answers_roll_back: true, answers_damage: true, ..Batch::default() };
    opened.store.commit(&answer).unwrap_or_else(|it| panic!("{what}: {it}"));
    let (rolled_back, damage) = (opened.rolled_back, opened.damage.is_some());
    drop(opened);
    let again = open(dir).unwrap_or_else(|it| panic!("{what}, opened again: {it}"));
    assert!(!again.rolled_back && again.damage.is_none(), "{what}: it was answered");
    assert_eq!(truth(&again.store, keys).unwrap(), got, "{what}: opened again");
    match (damage, rolled_back) {
        (true, _) => Fate::Rescued,
        (false, true) => Fate::Older,
        (false, false) => Fate::Untouched,
    }
}

/// A state after many commits, and how it is damaged: just written, or opened once more since.
fn check(keys: u32, opened_again: bool) -> BTreeMap<Fate, u64> {
    // Sled panics where it meets damage, which is caught; the backtraces would take most of the time.
    std::panic::set_hook(Box::new(|it| println!("{it}")));
    let guard = tempfile::tempdir().unwrap();
    let [dir, copy] = ["state", "copy"].map(|it| guard.path().join(it));
    let opened = open(&dir).unwrap();
    let batches = (1..=VERSIONS).flat_map(|it| rotate_all(keys, it));
    batches.for_each(|it| opened.store.commit(&it).unwrap());
    let want = truth(&opened.store, keys).unwrap();
    drop(opened);
    if opened_again {
        drop(open(&dir).unwrap());
    }
    let mut chance = Chance::new(from_environment("REKEYD_SEED", 7) + u64::from(keys));
    let mut fates = BTreeMap::new();
    for round in 0..from_environment("REKEYD_DAMAGES", DAMAGES) {
        let _ = std::fs::remove_dir_all(&copy);
        let copied = std::process::Command::new("cp").arg("-a").arg(&dir).arg(&copy).status().unwrap();
        assert!(copied.success());
        let what = format!("round {round}: {}", damage::damage(&copy, &mut chance));
        *fates.entry(fate(&copy, keys, &want, &what)).or_default() += 1;
    }
    println!("{keys} keys, opened again: {opened_again}: {fates:?}");
    fates
}

#[test]
fn damage_to_what_was_just_written_is_never_silent() {
    let fates = check(60, false);
    assert!(fates[&Fate::Older] > 0, "{fates:?}");
}

#[test]
fn damage_to_a_small_state_that_was_opened_again_is_never_silent() {
    let fates = check(3, true);
    assert!(fates[&Fate::Refused] > 0, "{fates:?}");
}

#[test]
fn damage_to_a_large_state_costs_only_the_keys_concerned() {
    let fates = check(250, true);
    assert!(fates[&Fate::Rescued] > 0 && fates[&Fate::Untouched] > 0, "{fates:?}");
}

#[test]
fn a_rescue_names_what_is_lost_and_keeps_the_rest() {
    std::panic::set_hook(Box::new(|it| println!("{it}")));
    let guard = tempfile::tempdir().unwrap();
    let [dir, copy] = ["state", "copy"].map(|it| guard.path().join(it));
    let opened = open(&dir).unwrap();
    let keys = 250;
    (1..=VERSIONS).flat_map(|it| rotate_all(keys, it)).for_each(|it| opened.store.commit(&it).unwrap());
    let want = truth(&opened.store, keys).unwrap();
    drop(opened);
    drop(open(&dir).unwrap());
    let mut chance = Chance::new(11);
    for _ in 0..200 {
        let _ = std::fs::remove_dir_all(&copy);
        assert!(std::process::Command::new("cp").arg("-a").arg(&dir).arg(&copy).status().unwrap().success());
        damage::damage(&copy, &mut chance);
        let Ok(Opened { store, damage: Some(Damage { keys: lost, why, .. }), rolled_back: true, .. }) = open(&copy)
        else {
            continue;
        };
        if lost.is_empty() {
            continue;
        }
        let got = truth(&store, keys).unwrap();
        let whole = want.iter().filter(|(name, _)| !lost.contains_key(name)).all(|(name, was)| got[name] == *was);
        assert!(whole && lost.len() < want.len() / 2, "{lost:?}");
        assert!(lost.keys().all(|it| got[it] != want[it]), "{lost:?}");
        assert!(!why.is_empty() && copy.join("sled.damaged/db").exists());
        return;
    }
    panic!("no damage cost a key");
}

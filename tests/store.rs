//! The state on a real disk: what is acknowledged stays, what is sealed stays sealed, and what is wrong is said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]
use rekeyd::core::account::Account;
use rekeyd::core::names::{AccountId, KeyName, NoticeId, Token};
use rekeyd::core::plan::{Notice, NoticeKind, Severity};
use rekeyd::core::record::Record;
use rekeyd::core::time::Timestamp;
use rekeyd::secret::Secret;
use rekeyd::store::{
    Batch, HistoryRow, Opened, OutboxCounts, OutboxRow, OutboxState, READ_BY_UNIT, Site, Store, StoreError,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_790_000_000_000);

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

fn master(byte: u8) -> Secret {
    Secret::new(vec![byte; 32])
}

fn try_open(dir: &Path, key: &Secret, machine: &str) -> Result<Opened, StoreError> {
    Store::open(Site { dir, machine: Some(machine), reserve: 64 * 1024 }, key, NOW)
}

fn open(dir: &Path) -> Opened {
    try_open(dir, &master(1), "here").unwrap()
}

fn error(opened: Result<Opened, StoreError>) -> StoreError {
    opened.expect_err("must be refused")
}

/// A folder for the state that does not exist yet, within one that goes with the test.
fn state() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    (dir, path)
}

fn record(text: &str, revision: u64) -> Record {
    Record { revision, ..Record::new(name(text), NOW) }
}

fn records(records: &[Record]) -> Batch {
    Batch { records: records.to_vec(), ..Batch::default() }
}

fn notice(id: &str, at: Timestamp) -> Notice {
    Notice {
        key: Some(name("billing")),
        severity: Severity::Warning,
        incident: "billing/expiring".to_owned(),
        summary: "billing expires".to_owned(),
        actions: vec!["rekeyd rotate billing".to_owned()],
        version: Some(3),
        ..Notice::bare(NoticeId::from(id), NoticeKind::KeyExpiring, at)
    }
}

fn outbox(id: &str, retry_at: i64, state: OutboxState) -> OutboxRow {
    OutboxRow {
        notice: notice(id, NOW),
        owner: "payments".to_owned(),
        channel: "email".to_owned(),
        attempts: 1,
        retry_at: Timestamp(retry_at),
        state,
        at: NOW,
        why: None,
        message: None,
        unsure: false,
    }
}

/// Copies the database; the files beside it stay.
fn copy_database(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to.join("sled"));
    let copied = std::process::Command::new("cp").arg("-a").arg(from.join("sled")).arg(to).status().unwrap();
    assert!(copied.success());
}

/// Changes the database behind the store's back.
fn tamper(dir: &Path, change: impl FnOnce(&sled::Db)) {
    // Sled's threads may hold its lock a little longer than the store lives; `Store::open` waits for them too.
    let open = || sled::Config::new().path(dir.join("sled")).flush_every_ms(None).open();
    let database = (0..100).find_map(|_| {
        let opened = open();
        if opened.is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        opened.ok()
    });
    change(&database.expect("the database is free"));
}

/// Every row of the database, as it is.
fn rows(dir: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    tamper(dir, |it| rows = it.iter().map(|row| row.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap()).collect());
    rows
}

/// Every file below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|it| it.unwrap().path()) {
        if entry.is_dir() { found.extend(files(&entry)) } else { found.push(entry) }
    }
    found
}

#[test]
fn what_was_committed_reads_back_also_after_a_restart() {
    let (_guard, dir) = state();
    let account = Account::new("sms".into());
    let batch = Batch {
        records: vec![record("billing", 7), record("alerts", 2)],
        accounts: vec![account.clone()],
        secrets: vec![(name("billing"), 1, Secret::from("hunter2".to_owned()))],
        due: vec![(name("billing"), Some(NOW))],
        outbox_put: vec![outbox("n1", 5, OutboxState::Pending)],
        history: vec![HistoryRow::Notice { notice: notice("n1", NOW), owner: "payments".to_owned() }],
        meta: vec![("config".to_owned(), Some(b"[daemon]".to_vec()))],
        ..Batch::default()
    };
    let first = open(&dir);
    assert!(first.fresh && !first.rolled_back && !first.new_machine);
    first.store.commit(&batch).unwrap();
    let incarnation = first.incarnation.clone();
    drop(first.store);

    let Opened { store, fresh, rolled_back, new_machine, damage, incarnation: again } = open(&dir);
    assert_eq!(damage, None);
    assert!(!fresh && !rolled_back && !new_machine);
    assert_eq!(again, incarnation);
    assert_eq!(store.records().unwrap(), [record("alerts", 2), record("billing", 7)]);
    assert_eq!(store.accounts().unwrap(), [account]);
    assert_eq!(store.secret(&name("billing"), 1).unwrap().unwrap().expose(), b"hunter2");
    assert!(store.secret(&name("billing"), 2).unwrap().is_none());
    assert_eq!(store.due_before(NOW).unwrap(), [name("billing")]);
    assert_eq!(store.outbox_due(NOW, 9, |_| true).unwrap(), batch.outbox_put);
    assert_eq!(store.history(None, None, None).unwrap(), batch.history);
    assert_eq!(store.meta("config").unwrap().unwrap(), b"[daemon]");

    let forget = Batch {
        drop_records: vec![name("billing")],
        drop_secrets: vec![(name("billing"), 1)],
        outbox_drop: vec![batch.outbox_put[0].id()],
        meta: vec![("config".to_owned(), None)],
        ..Batch::default()
    };
    store.commit(&forget).unwrap();
    assert_eq!(store.records().unwrap(), [record("alerts", 2)]);
    assert!(store.secret(&name("billing"), 1).unwrap().is_none());
    assert_eq!(store.next_due().unwrap(), None);
    assert_eq!(store.outbox_counts().unwrap(), OutboxCounts::default());
    assert_eq!(store.meta("config").unwrap(), None);
}

#[test]
fn a_key_is_due_once_at_its_latest_set_time() {
    let (_guard, dir) = state();
    let store = open(&dir).store;
    let set = |due: &[(&str, Option<i64>)]| {
        let due = due.iter().map(|(it, at)| (name(it), at.map(Timestamp))).collect();
        store.commit(&Batch { due, ..Batch::default() }).unwrap();
    };
    set(&[("a", Some(30)), ("b", Some(10)), ("c", Some(20)), ("a", Some(5)), ("d", Some(-7))]);
    assert_eq!(store.due_before(Timestamp(10)).unwrap(), ["d", "a", "b"].map(name));
    assert_eq!(store.next_due().unwrap(), Some(Timestamp(-7)));
    set(&[("d", None), ("a", Some(11)), ("b", None)]);
    assert_eq!(store.due_before(Timestamp(10)).unwrap(), []);
    assert_eq!(store.due_before(Timestamp::NEVER).unwrap(), ["a", "c"].map(name));
    assert_eq!(store.next_due().unwrap(), Some(Timestamp(11)));
}

#[test]
fn the_outbox_gives_what_is_due_and_counts_the_rest() {
    let (_guard, dir) = state();
    let store = open(&dir).store;
    let put = |outbox_put| store.commit(&Batch { outbox_put, ..Batch::default() }).unwrap();
    let due = |now, limit| {
        let rows = store.outbox_due(Timestamp(now), limit, |_| true).unwrap();
        rows.iter().map(|it| it.notice.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    put(vec![
        outbox("a", 30, OutboxState::Pending),
        outbox("b", 10, OutboxState::Pending),
        outbox("c", 20, OutboxState::Pending),
    ]);
    assert_eq!(due(20, 9), ["b", "c"]);
    assert_eq!(due(20, 1), ["b"]);
    put(vec![
        outbox("b", 40, OutboxState::Pending),
        outbox("c", 20, OutboxState::Sent),
        outbox("a", 30, OutboxState::Dead),
    ]);
    assert_eq!(due(100, 9), ["b"]);
    assert_eq!(store.outbox_counts().unwrap(), OutboxCounts { pending: 1, dead: 1 });
    assert_eq!(store.outbox(&"c".into()).unwrap(), [outbox("c", 20, OutboxState::Sent)]);
    assert_eq!(store.prune(NOW.plus(Duration::from_secs(1))).unwrap(), 2, "pending notices are never forgotten");
    assert_eq!(store.outbox_counts().unwrap(), OutboxCounts { pending: 1, dead: 0 });
}

#[test]
fn the_history_is_ordered_by_time_and_pruned_from_its_old_end() {
    let (_guard, dir) = state();
    let store = open(&dir).store;
    let read = |key: &str, at| HistoryRow::Read {
        name: name(key),
        at: Timestamp(at),
        by: "unit:billing.service".to_owned(),
        version: 1,
        via: "reveal".to_owned(),
        times: 1,
        last: None,
    };
    for history in [vec![read("a", 30), read("b", 10)], vec![read("a", 20), read("a", 20)]] {
        store.commit(&Batch { history, ..Batch::default() }).unwrap();
    }
    let all = |store: &Store| store.history(None, None, None).unwrap();
    assert_eq!(all(&store), [read("b", 10), read("a", 20), read("a", 20), read("a", 30)]);
    let within = store.history(Some(&name("a")), Some(Timestamp(20)), Some(Timestamp(29))).unwrap();
    assert_eq!(within, [read("a", 20), read("a", 20)]);
    assert_eq!(store.prune(Timestamp(20)).unwrap(), 1);
    assert_eq!(all(&store), [read("a", 20), read("a", 20), read("a", 30)]);
}

#[test]
fn a_read_that_is_repeated_by_a_unit_takes_the_place_of_the_first() {
    let (_guard, dir) = state();
    let store = open(&dir).store;
    let read = |unit: &str, version, times| HistoryRow::Read {
        name: name("a"),
        at: Timestamp(20),
        by: format!("unit:{unit}"),
        version,
        via: READ_BY_UNIT.to_owned(),
        times,
        last: (times > 1).then_some(Timestamp(90)),
    };
    for row in [read("shop.service", 1, 1), read("bills.service", 1, 1), read("shop.service", 2, 1)] {
        store.commit(&Batch { history: vec![row], ..Batch::default() }).unwrap();
    }
    store.commit(&Batch { history: vec![read("shop.service", 1, 9)], ..Batch::default() }).unwrap();
    let kept = store.history(None, None, None).unwrap();
    assert_eq!(kept.len(), 3);
    assert!(kept.contains(&read("shop.service", 1, 9)) && kept.contains(&read("shop.service", 2, 1)), "{kept:?}");
}

#[test]
fn the_wrong_master_key_is_refused_by_name_and_changes_nothing() {
    let (_guard, dir) = state();
    let store = open(&dir).store;
    store.commit(&Batch { records: vec![record("billing", 1)], sealing_point: true, ..Batch::default() }).unwrap();
    let right = store.master_fingerprint().clone();
    drop(store);
    let before = rows(&dir);
    let refused = error(try_open(&dir, &master(2), "elsewhere"));
    assert!(
        matches!(&refused, StoreError::WrongMasterKey { sealed_with, given, .. } if *sealed_with == right && *given != right)
    );
    let text = refused.to_string();
    assert!(text.contains(right.as_str()) && text.contains("nothing was changed"), "{text}");
    assert_eq!(rows(&dir), before);
    assert_eq!(open(&dir).store.records().unwrap(), [record("billing", 1)]);
}

#[test]
fn a_newer_format_is_refused_with_both_numbers_and_changes_nothing() {
    let (_guard, dir) = state();
    drop(open(&dir));
    let sum = crc32fast::hash(b"system/format\x0042").to_be_bytes();
    tamper(&dir, |it| drop(it.insert("system/format", [&sum[..], b"\x0042"].concat()).unwrap()));
    let before = rows(&dir);
    let refused = error(try_open(&dir, &master(1), "here"));
    assert!(matches!(refused, StoreError::NewerFormat { found: 42, known: 1, .. }), "{refused}");
    assert!(refused.to_string().contains("newer rekeyd"));
    assert_eq!(rows(&dir), before);
}

#[test]
fn a_second_daemon_is_refused_and_told_whose_the_state_is() {
    let (_guard, dir) = state();
    let first = open(&dir);
    let refused = error(try_open(&dir, &master(1), "here")).to_string();
    assert!(refused.contains(&format!("pid {}", std::process::id())) && refused.contains("stop"), "{refused}");
    drop(first);
    open(&dir);
}

#[test]
fn the_state_can_be_opened_again_as_soon_as_it_is_dropped() {
    let (_guard, dir) = state();
    for revision in 0..20 {
        let store = open(&dir).store;
        store.commit(&records(&[record("billing", revision)])).unwrap();
    }
}

#[test]
fn a_store_that_was_rolled_back_begins_a_new_life_and_says_so_until_it_is_answered() {
    let (guard, dir) = state();
    let first = open(&dir);
    first.store.commit(&records(&[record("billing", 1)])).unwrap();
    drop(first.store);
    let old = guard.path().join("old");
    std::fs::create_dir(&old).unwrap();
    copy_database(&dir, &old);
    let token = Batch { records: vec![record("billing", 2)], sealing_point: true, ..Batch::default() };
    open(&dir).store.commit(&token).unwrap();
    assert!(!open(&dir).rolled_back);

    copy_database(&old, &dir);
    let back = open(&dir);
    assert!(back.rolled_back && !back.new_machine);
    assert_eq!(back.incarnation.install, first.incarnation.install);
    assert_ne!(back.incarnation.epoch, first.incarnation.epoch);
    drop(back.store);
    let again = open(&dir);
    assert!(again.rolled_back, "nobody answered it");
    assert_eq!(again.incarnation, back.incarnation);
    again.store.commit(&Batch { answers_roll_back: true, ..Batch::default() }).unwrap();
    drop(again.store);
    assert!(!open(&dir).rolled_back);
}

#[test]
fn after_a_roll_back_the_life_before_it_does_not_come_back_unnoticed() {
    let (guard, dir) = state();
    let [early, late] = ["early", "late"].map(|it| guard.path().join(it));
    drop(open(&dir));
    for (copy, commits) in [(&early, 0), (&late, 20)] {
        let store = open(&dir).store;
        (0..commits).for_each(|_| store.commit(&Batch { sealing_point: true, ..Batch::default() }).unwrap());
        drop(store);
        std::fs::create_dir(copy).unwrap();
        copy_database(&dir, copy);
    }
    copy_database(&early, &dir);
    let second_life = open(&dir);
    assert!(second_life.rolled_back);
    second_life.store.commit(&Batch { answers_roll_back: true, ..Batch::default() }).unwrap();
    drop(second_life.store);
    copy_database(&late, &dir);
    assert!(open(&dir).rolled_back);
}

#[test]
fn a_restored_database_without_its_sequence_counts_as_rolled_back() {
    let (_guard, dir) = state();
    let first = open(&dir).incarnation;
    std::fs::remove_file(dir.join("sequence")).unwrap();
    let restored = open(&dir);
    assert!(restored.rolled_back);
    assert_ne!(restored.incarnation.epoch, first.epoch);
}

#[test]
fn a_database_that_lost_everything_is_not_taken_for_a_new_one() {
    let (_guard, dir) = state();
    drop(open(&dir));
    std::fs::remove_dir_all(dir.join("sled")).unwrap();
    let refused = error(try_open(&dir, &master(1), "here")).to_string();
    assert!(refused.contains("rekeyd restore"), "{refused}");
}

#[test]
fn another_machine_begins_a_new_life_and_says_so_until_it_is_answered() {
    let (_guard, dir) = state();
    let elsewhere = || try_open(&dir, &master(1), "elsewhere").unwrap();
    let first = open(&dir).incarnation;
    let moved = elsewhere();
    assert!(moved.new_machine && !moved.rolled_back);
    assert_ne!(moved.incarnation.epoch, first.epoch);
    drop(moved.store);
    let again = elsewhere();
    assert!(again.new_machine);
    assert_eq!(again.incarnation, moved.incarnation);
    again.store.commit(&Batch { answers_new_machine: true, ..Batch::default() }).unwrap();
    drop(again.store);
    assert!(!elsewhere().new_machine);
}

#[test]
fn no_secret_lies_in_the_folder_in_any_spelling() {
    use base64::Engine;
    let (_guard, dir) = state();
    let secret = "a-quite-unmistakable-secret-0123456789";
    let token: Token = "0a1b2c3d-4e5f60-billing-1".parse().unwrap();
    let store = open(&dir).store;
    for version in 1..=20 {
        let secrets = vec![(name("billing"), version, Secret::from(secret.to_owned()))];
        store
            .commit(&Batch { secrets, drop_secrets: vec![(name("billing"), version - 1)], ..Batch::default() })
            .unwrap();
    }
    store.escrow().put(&token, 200, &Secret::from(format!("{{\"apiKey\":\"{secret}\"}}"))).unwrap();
    drop(store);
    let hex: String = secret.bytes().map(|it| format!("{it:02x}")).collect();
    let base64 = base64::engine::general_purpose::STANDARD_NO_PAD;
    // Base64 of a part has three spellings, by what comes before it; the first and last digits depend on neighbours.
    let mut spellings: Vec<String> = vec![secret.to_owned(), hex.to_uppercase(), hex];
    spellings.extend((0..3).map(|skip| base64.encode(&secret[skip..skip + 33])[..44].to_owned()));
    spellings.push(String::from_utf8(vec![1; 32]).unwrap());
    assert!(files(&dir).len() >= 6);
    for file in files(&dir) {
        let bytes = std::fs::read(&file).unwrap();
        for spelling in &spellings {
            let found = bytes.windows(spelling.len()).any(|it| it == spelling.as_bytes());
            assert!(!found, "{} holds {spelling:?}", file.display());
        }
    }
}

/// A state with two keys, of which one row is then changed behind the store's back.
fn damaged(change: impl FnOnce(&sled::Db)) -> (tempfile::TempDir, Opened) {
    let (guard, dir) = state();
    let secret = |it| (name(it), 1, Secret::from("hunter2".to_owned()));
    let account = Account::new(AccountId::from("sms"));
    let batch = Batch {
        records: vec![record("billing", 1), record("invoices", 1)],
        secrets: vec![secret("billing"), secret("invoices")],
        accounts: vec![account],
        ..Batch::default()
    };
    open(&dir).store.commit(&batch).unwrap();
    tamper(&dir, change);
    let opened = open(&dir);
    (guard, opened)
}

#[test]
fn a_row_that_is_damaged_or_gone_costs_its_key_and_no_other() {
    let bend = |row: &'static str| {
        move |it: &sled::Db| {
            let mut bent = it.get(row).unwrap().unwrap().to_vec();
            *bent.last_mut().unwrap() ^= 1;
            it.insert(row, bent).unwrap();
        }
    };
    let lose = |row: &'static str| move |it: &sled::Db| drop(it.remove(row).unwrap().unwrap());
    let cases = [
        ("record/billing", damaged(bend("record/billing"))),
        ("record/billing", damaged(lose("record/billing"))),
        ("secret/billing/1", damaged(bend("secret/billing/1"))),
        ("secret/billing/1", damaged(lose("secret/billing/1"))),
        ("account/sms", damaged(lose("account/sms"))),
    ];
    for (row, (guard, opened)) in cases {
        let dir = guard.path().join("state");
        let (store, lost) = (opened.store, opened.damage.unwrap());
        assert!(opened.rolled_back, "{row}: nobody knows what else is older than it was");
        assert!(lost.why.contains(row), "{row}: {}", lost.why);
        let of_account = row.starts_with("account");
        assert_eq!(
            lost.keys.keys().map(ToString::to_string).collect::<Vec<_>>(),
            if of_account { vec![] } else { vec!["billing"] }
        );
        assert_eq!(lost.accounts.len(), usize::from(of_account));
        assert_eq!(store.secret(&name("invoices"), 1).unwrap().unwrap().expose(), b"hunter2");
        assert!(store.records().unwrap().contains(&record("invoices", 1)));
        drop(store);
        let again = open(&dir);
        assert!(again.damage.is_some(), "{row}: nobody answered it");
        again.store.commit(&Batch { answers_damage: true, ..Batch::default() }).unwrap();
        drop(again.store);
        assert_eq!(open(&dir).damage, None, "{row}");
        assert!(dir.join("sled.damaged").exists());
    }
}

#[test]
fn a_row_that_is_older_than_it_was_makes_the_state_one_that_was_rolled_back() {
    let (_guard, dir) = state();
    open(&dir).store.commit(&records(&[record("billing", 1)])).unwrap();
    let mut was = sled::IVec::default();
    tamper(&dir, |it| was = it.get("record/billing").unwrap().unwrap());
    open(&dir).store.commit(&records(&[record("billing", 2)])).unwrap();
    assert!(!open(&dir).rolled_back);
    tamper(&dir, |it| drop(it.insert("record/billing", was).unwrap()));
    let opened = open(&dir);
    assert!(opened.rolled_back && opened.damage.is_none());
}

#[test]
fn a_commit_without_a_token_that_is_lost_is_noticed_as_well() {
    let (guard, dir) = state();
    open(&dir).store.commit(&records(&[record("billing", 1)])).unwrap();
    let old = guard.path().join("old");
    std::fs::create_dir(&old).unwrap();
    copy_database(&dir, &old);
    open(&dir).store.commit(&records(&[record("billing", 2)])).unwrap();
    copy_database(&old, &dir);
    assert!(open(&dir).rolled_back);
}

#[test]
fn a_rescue_that_was_cut_short_is_finished_or_begun_anew() {
    let (_guard, dir) = state();
    open(&dir).store.commit(&records(&[record("billing", 1)])).unwrap();
    std::fs::create_dir(dir.join("sled.rescued")).unwrap();
    std::fs::write(dir.join("sled.rescued/db"), b"half").unwrap();
    assert_eq!(open(&dir).store.records().unwrap(), [record("billing", 1)]);
    assert!(!dir.join("sled.rescued").exists());
    std::fs::rename(dir.join("sled"), dir.join("sled.rescued")).unwrap();
    assert_eq!(open(&dir).store.records().unwrap(), [record("billing", 1)]);
}

#[test]
fn a_secret_under_another_rows_name_does_not_open() {
    let (_guard, dir) = state();
    let secrets = [1, 2].map(|it| (name("billing"), it, Secret::from(format!("hunter{it}")))).to_vec();
    open(&dir).store.commit(&Batch { secrets, ..Batch::default() }).unwrap();
    tamper(&dir, |it| {
        let sealed = it.get("secret/billing/1").unwrap().unwrap();
        let sum = crc32fast::hash(&[b"secret/billing/2".as_slice(), &sealed[4..]].concat());
        it.insert("secret/billing/2", [&sum.to_be_bytes()[..], &sealed[4..]].concat()).unwrap();
    });
    let store = open(&dir).store;
    assert!(matches!(store.secret(&name("billing"), 2), Err(StoreError::Damaged { .. })));
    assert_eq!(store.secret(&name("billing"), 1).unwrap().unwrap().expose(), b"hunter1");
}

#[test]
fn a_database_that_makes_sled_panic_is_an_error_with_the_remedy() {
    let (_guard, dir) = state();
    drop(open(&dir));
    for file in files(&dir.join("sled")) {
        let length = std::fs::metadata(&file).unwrap().len() as usize;
        std::fs::write(file, vec![0xa5; length]).unwrap();
    }
    let refused = error(try_open(&dir, &master(1), "here")).to_string();
    assert!(refused.contains("sled") && refused.contains("restore"), "{refused}");
}

#[test]
fn what_an_interrupted_open_left_behind_does_not_matter() {
    let (_guard, dir) = state();
    open(&dir).store.commit(&records(&[record("billing", 1)])).unwrap();
    std::fs::write(dir.join("sled/snap.0000000000000123.generating"), b"half").unwrap();
    assert_eq!(open(&dir).store.records().unwrap(), [record("billing", 1)]);
}

#[test]
fn large_rows_read_back_and_never_go_to_files_that_sled_does_not_sync() {
    let (_guard, dir) = state();
    let large = |byte: u8, length: usize| vec![byte; length];
    let store = open(&dir).store;
    for round in 1..=3_usize {
        let meta = (0..20).map(|it| (format!("m{it}"), Some(large(it, 60_000 / round)))).collect();
        store.commit(&Batch { meta, ..Batch::default() }).unwrap();
    }
    let config = large(b'#', 3 * 1024 * 1024);
    store.commit(&Batch { meta: vec![("config".to_owned(), Some(config.clone()))], ..Batch::default() }).unwrap();
    drop(store);
    let store = open(&dir).store;
    assert_eq!(store.meta("config").unwrap().unwrap(), config);
    assert_eq!(store.meta("m7").unwrap().unwrap(), large(7, 20_000));
    store.commit(&Batch { meta: vec![("config".to_owned(), None)], ..Batch::default() }).unwrap();
    drop(store);
    assert_eq!(files(&dir.join("sled/blobs")), Vec::<PathBuf>::new());
    let parts = rows(&dir).iter().filter(|(row, _)| row.starts_with(b"part/")).count();
    assert_eq!(parts, 20 * 5, "the parts of what was replaced or forgotten are gone");
}

#[test]
fn nobody_reads_half_a_commit() {
    let (_guard, dir) = state();
    let store = open(&dir).store;
    let commit = |byte: u8| {
        let meta = ["a", "b"].map(|it| (it.to_owned(), Some(vec![byte; 30_000]))).to_vec();
        let outbox_put = vec![outbox("n", byte.into(), OutboxState::Pending)];
        store.commit(&Batch { meta, outbox_put, ..Batch::default() }).unwrap();
    };
    commit(0);
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| (1..60).for_each(commit));
        while !writer.is_finished() {
            let read = store.meta("a").unwrap().unwrap();
            assert!(read.iter().all(|it| *it == read[0]));
            assert_eq!(store.outbox_due(NOW, 9, |_| true).unwrap().len(), 1);
            assert_eq!(store.outbox_counts().unwrap().pending, 1);
        }
    });
}

#[test]
fn a_token_that_is_not_noted_beside_the_database_ends_all_writing() {
    let (_guard, dir) = state();
    let store = open(&dir).store;
    std::fs::remove_file(dir.join("sequence")).unwrap();
    std::fs::create_dir(dir.join("sequence")).unwrap();
    store.commit(&records(&[record("billing", 1)])).unwrap();
    let token = Batch { records: vec![record("billing", 2)], sealing_point: true, ..Batch::default() };
    assert!(matches!(store.commit(&token), Err(StoreError::Poisoned { .. })));
    assert!(matches!(store.commit(&records(&[record("billing", 3)])), Err(StoreError::Poisoned { .. })));
    assert!(store.reserve_ready().unwrap_err().contains("sequence"));
    assert_eq!(store.records().unwrap().len(), 1);
}

#[test]
fn the_folder_is_for_us_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (_guard, dir) = state();
    drop(open(&dir));
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn nothing_but_the_disk_module_flushes() {
    // Only the store has the database; other modules flush streams of their own.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let flushes = |it: &PathBuf| std::fs::read_to_string(it).unwrap().contains(".flush(");
    let found: Vec<_> = files(&source).into_iter().filter(flushes).collect();
    assert_eq!(found, [source.join("disk.rs")], "only Disk::apply may flush, for it syncs after it");
}

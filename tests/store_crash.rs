//! What becomes of the state when the process or the disk fails: seen from outside, in a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]
use rekeyd::core::record::Record;
use rekeyd::core::time::Timestamp;
use rekeyd::secret::Secret;
use rekeyd::store::{Batch, Opened, Site, Store, StoreError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const NOW: Timestamp = Timestamp(1_790_000_000_000);
/// Names the folder that the child works in.
const STATE: &str = "REKEYD_TEST_STATE";

fn open(dir: &Path) -> Opened {
    let site = Site { dir, machine: Some("here"), reserve: 64 * 1024 };
    Store::open(site, &Secret::new(vec![1; 32]), NOW).unwrap()
}

/// The commit that follows `revision` commits: a record, the secret of that version, and now and then a token.
fn next(revision: u32) -> Batch {
    let name: rekeyd::core::names::KeyName = "billing".parse().unwrap();
    Batch {
        records: vec![Record { revision: revision.into(), ..Record::new(name.clone(), NOW) }],
        secrets: vec![(name.clone(), revision, Secret::from(format!("hunter{revision}")))],
        due: vec![(name, Some(NOW.plus(std::time::Duration::from_secs(revision.into()))))],
        sealing_point: revision.is_multiple_of(3),
        ..Batch::default()
    }
}

fn revision(store: &Store) -> u32 {
    store.records().unwrap().first().map_or(0, |it| u32::try_from(it.revision).unwrap())
}

/// This program again, running one of the `child_…` functions below.
fn child(test: &str, dir: &Path, under: &[&str]) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut words: Vec<&std::ffi::OsStr> = under.iter().map(std::ffi::OsStr::new).collect();
    words.push(this.as_os_str());
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(STATE, dir).stdin(Stdio::null());
    command
}

fn child_state() -> Option<std::path::PathBuf> {
    std::env::var_os(STATE).map(Into::into)
}

#[test]
#[ignore = "run by the tests below, in a process of its own"]
fn child_commits_for_ever() {
    let Some(dir) = child_state() else { return };
    let store = open(&dir).store;
    for it in revision(&store) + 1.. {
        store.commit(&next(it)).unwrap();
        println!("acknowledged {it}");
    }
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let guard = tempfile::tempdir().unwrap();
    let dir = guard.path().join("state");
    for round in 1..=8_u32 {
        let mut child = child("child_commits_for_ever", &dir, &[]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut acknowledged = lines.filter_map(|it| it.strip_prefix("acknowledged ")?.parse::<u32>().ok());
        let enough = acknowledged.nth((round * 7) as usize).expect("the child ended");
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = acknowledged.last().unwrap_or(enough);

        let opened = open(&dir);
        assert!(!opened.rolled_back && !opened.fresh);
        let store = opened.store;
        let found = revision(&store);
        assert!(found == acknowledged || found == acknowledged + 1, "{found} after {acknowledged}");
        for version in 1..=found {
            let secret = store.secret(&"billing".parse().unwrap(), version).unwrap().unwrap();
            assert_eq!(secret.expose(), format!("hunter{version}").as_bytes());
        }
        let due = NOW.plus(std::time::Duration::from_secs(found.into()));
        assert_eq!(store.next_due().unwrap(), Some(due), "a commit is whole or absent");
    }
}

#[test]
#[ignore = "run by the tests below, in a process of its own"]
fn child_marks_each_commit() {
    let Some(dir) = child_state() else { return };
    let store = open(&dir).store;
    let mut marks = File::create(dir.join("marks")).unwrap();
    for it in 1..=20 {
        store.commit(&next(it)).unwrap();
        marks.write_all(format!("commit {it}\n").as_bytes()).unwrap();
    }
    let token = "0a1b2c3d-4e5f60-billing-1".parse().unwrap();
    store.escrow().prepare(&token).unwrap();
    marks.write_all(b"prepared\n").unwrap();
    store.escrow().put(&token, 200, &Secret::from("hunter2".to_owned())).unwrap();
    marks.write_all(b"answered\n").unwrap();
}

/// Follows the writes and syncs of a traced process.
#[derive(Default)]
struct Trace {
    /// Files with bytes that no sync has begun to cover.
    dirty: BTreeMap<String, bool>,
    /// How often each file was synced since the last mark.
    synced: BTreeMap<String, u32>,
    /// The sync that each thread is in.
    within: BTreeMap<String, String>,
}

impl Trace {
    /// Takes one line of strace's; returns the mark that the process set, if it is one.
    fn line(&mut self, line: &str) -> Option<String> {
        let (thread, call) = line.split_once(' ')?;
        let call = call.trim_start();
        let path = call.split_once('<').and_then(|(_, it)| it.split_once('>')).map(|(it, _)| it.to_owned());
        let is_sync = call.starts_with("fdatasync(") || call.starts_with("fsync(");
        match path {
            Some(path) if is_sync => {
                self.dirty.insert(path.clone(), false);
                if call.ends_with("= 0") {
                    *self.synced.entry(path).or_default() += 1;
                } else {
                    self.within.insert(thread.to_owned(), path);
                }
            }
            Some(path) if call.starts_with("write(") && path.ends_with("/marks") => {
                return call.split('"').nth(1).map(str::to_owned);
            }
            Some(path) if call.starts_with("pwrite64(") => drop(self.dirty.insert(path, true)),
            _ if call.contains("sync resumed>") && call.ends_with("= 0") => {
                let path = self.within.remove(thread)?;
                *self.synced.entry(path).or_default() += 1;
            }
            _ => {}
        }
        None
    }

    /// Whether everything that was written to a file was synced since the last mark.
    fn is_durable(&self, end: &str) -> bool {
        let synced = self.synced.keys().any(|it| it.ends_with(end));
        synced && !self.dirty.iter().any(|(path, dirty)| path.ends_with(end) && *dirty)
    }
}

#[test]
fn every_commit_is_synced_before_it_is_acknowledged() {
    let guard = tempfile::tempdir().unwrap();
    let (dir, out) = (guard.path().join("state"), guard.path().join("trace"));
    let calls = "trace=fdatasync,fsync,sync_file_range,pwrite64,write";
    let strace = ["strace", "-f", "-y", "-s", "32", "-e", calls, "-o", out.to_str().unwrap()];
    let done = child("child_marks_each_commit", &dir, &strace).output().expect("strace is needed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    let (mut trace, mut marks) = (Trace::default(), 0);
    for line in std::fs::read_to_string(out).unwrap().lines() {
        let Some(mark) = trace.line(line) else { continue };
        let wanted: &[&str] = match mark.as_str() {
            r"prepared\n" => &["/escrow/0a1b2c3d-4e5f60-billing-1", "/state/escrow"],
            r"answered\n" => &["/escrow/0a1b2c3d-4e5f60-billing-1"],
            _ if (marks + 1) % 3 == 0 => &["/sled/db", "/state/sequence"],
            _ => &["/sled/db"],
        };
        for file in wanted {
            assert!(trace.is_durable(file), "{mark:?}: {file} was not synced: {:?}", trace.synced);
        }
        trace.synced.clear();
        marks += 1;
    }
    assert_eq!(marks, 22);
}

#[test]
#[ignore = "run by the tests below, in a process of its own"]
fn child_goes_on_after_a_failed_sync() {
    let Some(dir) = child_state() else { return };
    let store = open(&dir).store;
    let mut failed = 0;
    for it in 1..=6 {
        match store.commit(&next(it)) {
            Ok(()) => assert_eq!(failed, 0, "a poisoned store never commits again"),
            Err(error @ StoreError::Poisoned { .. }) => {
                failed += 1;
                let text = error.to_string();
                assert!(text.contains("fdatasync") && text.contains("restart"), "{text}");
                assert!(store.reserve_ready().is_err());
            }
            Err(error) => panic!("{error}"),
        }
        // Reads go on, with what was acknowledged among it.
        assert!(store.secret(&"billing".parse().unwrap(), 1).unwrap().is_some());
    }
    assert_eq!(failed, 4, "the third commit failed, and all after it");
}

#[test]
fn a_failed_sync_ends_all_writing_and_no_reading() {
    let guard = tempfile::tempdir().unwrap();
    let dir = guard.path().join("state");
    // Calls are counted by thread, and one thread makes all commits: the first of them belongs to the opening.
    let strace =
        ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=4"];
    let done = child("child_goes_on_after_a_failed_sync", &dir, &strace).output().expect("strace is needed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert!(revision(&open(&dir).store) >= 2, "what was acknowledged is there after a restart");
}

#[test]
#[ignore = "run by the tests below, in a process of its own"]
fn child_commits_until_it_fails() {
    let Some(dir) = child_state() else { return };
    let store = open(&dir).store;
    for it in revision(&store) + 1..=1_000 {
        if let Err(error) = store.commit(&next(it)) {
            assert!(matches!(error, StoreError::Poisoned { .. }), "{error}");
            assert!(store.commit(&next(it)).is_err(), "it stays so");
            println!("refused {it} {:?}", error.to_string());
            return;
        }
    }
    panic!("the disk was never full");
}

#[test]
fn a_full_disk_costs_no_commit_that_was_acknowledged() {
    let guard = tempfile::tempdir().unwrap();
    let dir = guard.path().join("state");
    for writes in [12, 31] {
        let inject = format!("inject=pwrite64:error=ENOSPC:when={writes}+");
        let strace = ["strace", "-f", "-o", "/dev/null", "-e", "trace=pwrite64", "-e", &inject];
        let before = if dir.exists() { revision(&open(&dir).store) } else { 0 };
        let done = child("child_commits_until_it_fails", &dir, &strace).output().expect("strace is needed");
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{said} {}", String::from_utf8_lossy(&done.stderr));
        let (_, refused) = said.split_once("refused ").unwrap();
        let acknowledged = refused.split_once(' ').unwrap().0.parse::<u32>().unwrap() - 1;
        assert!(acknowledged > before, "{said}");
        assert!(revision(&open(&dir).store) >= acknowledged, "{said}");
    }
}

//! Many runs of one row, and the table that shows what came of them.
use super::invariants::Rule;
use super::run::{Result, run};
use super::scenario::Row;
use super::world::MINUTE;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What came of all runs of a row.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    row: String,
    runs: u64,
    halted: u64,
    expired: u64,
    creates: u64,
    events: u64,
    succeeded: u64,
    longest_gap: i64,
    /// How often each rule was broken, and where first.
    broken: BTreeMap<String, (u64, u64, String)>,
}

impl Tally {
    fn add(&mut self, seed: u64, result: Result) {
        self.runs += 1;
        self.halted += u64::from(result.halted);
        self.expired += u64::from(result.expired);
        self.creates += result.creates;
        self.events += result.events;
        self.succeeded += result.succeeded;
        self.longest_gap = self.longest_gap.max(result.longest_gap);
        if let Some((rule, what)) = result.broken {
            self.fail(format!("{rule:?}"), seed, what);
        }
    }

    fn fail(&mut self, rule: String, seed: u64, what: String) {
        self.broken.entry(rule).or_insert((0, seed, what)).0 += 1;
    }

    /// Each broken rule, and how to see it again.
    pub fn failures(&self) -> Vec<String> {
        let line = |(rule, (times, seed, what)): (&String, &(u64, u64, String))| {
            format!(
                "{rule} {times} of {} in {}: {what}\n    ROW={} SEED={seed} cargo test -p rekeyd-simulation --test simulation -- --nocapture",
                self.runs, self.row, self.row
            )
        };
        self.broken.iter().map(line).collect()
    }
}

/// Runs a row with that many seeds.
pub fn tally(row: &Row, seeds: u64) -> Tally {
    let mut tally = Tally { row: row.name.clone(), ..Tally::default() };
    for seed in 0..seeds {
        match catch_unwind(AssertUnwindSafe(|| run(row, seed, false))) {
            Ok(result) => tally.add(seed, result),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                tally.runs += 1;
                tally.fail("Panic".into(), seed, text.unwrap_or_default().chars().take(200).collect());
            }
        }
    }
    tally
}

/// Spreads the rows over all cores; the order of the answers is that of the rows.
pub fn across_cores(rows: &[Row], work: impl Fn(&Row) -> Tally + Sync) -> Vec<Tally> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Tally)>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let position = next.fetch_add(1, Ordering::Relaxed);
                    let Some(row) = rows.get(position) else { return };
                    let tally = work(row);
                    done.lock().expect("no thread panics while it holds this").push((position, tally));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("all threads have ended");
    done.sort_by_key(|(position, _)| *position);
    done.into_iter().map(|(_, tally)| tally).collect()
}

/// One line for each row, and one for all.
pub fn render(tallies: &[Tally]) -> String {
    let mut text = String::new();
    let mut all = BTreeMap::<&str, u64>::new();
    let mut runs = 0;
    for it in tallies {
        runs += it.runs;
        let each = |n: u64| n as f64 / it.runs.max(1) as f64;
        let broken: Vec<_> = it.broken.iter().map(|(rule, (n, seed, _))| format!("{rule} {n} (seed {seed})")).collect();
        it.broken.iter().for_each(|(rule, (n, ..))| *all.entry(rule).or_default() += n);
        let _ = writeln!(
            text,
            "{:34} runs {:6} halted {:6} expired {:5} rotations {:5.1} creates {:5.1} events {:6.0} gap {:5} min | {}",
            it.row,
            it.runs,
            it.halted,
            it.expired,
            each(it.succeeded),
            each(it.creates),
            each(it.events),
            it.longest_gap / MINUTE,
            if broken.is_empty() { "all rules hold".into() } else { broken.join(", ") }
        );
    }
    let _ = writeln!(text, "{runs} runs, broken: {all:?}");
    text
}

/// A number from the environment.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|it| it.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

const _: fn(Rule) -> String = |it| format!("{it:?}");

//! Drives the rotation logic against fake worlds of every capability, with a crash at every point, over many seeds.
//!
//! `SEEDS=1000000 cargo test -p rekeyd-simulation --test simulation -- --nocapture` runs a million; `ROW=keeps/list/late SEED=7` replays one
//! run with a trace of all that happened in it; `ROW=keeps/list` alone limits the rows to those that begin so.
// The modules of a test have no outside; a fault of the simulation itself may panic; its table is its output.
#![allow(unreachable_pub, clippy::expect_used, clippy::print_stdout)]

#[path = "simulation/agent.rs"]
mod agent;
#[path = "simulation/effects.rs"]
mod effects;
#[path = "simulation/invariants.rs"]
mod invariants;
#[path = "simulation/operator.rs"]
mod operator;
#[path = "simulation/rng.rs"]
mod rng;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/scenario.rs"]
mod scenario;
#[path = "simulation/table.rs"]
mod table;
#[path = "simulation/weather.rs"]
mod weather;
#[path = "simulation/world.rs"]
mod world;

use scenario::rows;
use table::{Tally, number, tally};

/// How many runs there are where nobody asks for more.
const SEEDS: u64 = 100_800;

#[test]
fn no_world_breaks_a_rule() {
    let prefix = std::env::var("ROW").unwrap_or_default();
    let rows: Vec<_> = rows().into_iter().filter(|it| it.name.starts_with(&prefix)).collect();
    assert!(!rows.is_empty(), "no row begins with {prefix}");
    if let Some(seed) = number("SEED") {
        let exact = rows.iter().find(|it| it.name == prefix).unwrap_or(&rows[0]);
        let result = run::run(exact, seed, true);
        assert!(result.broken.is_none(), "{}: {:?}", exact.name, result.broken);
        return;
    }
    let each = number("SEEDS").unwrap_or(SEEDS).div_ceil(rows.len() as u64);
    let tallies = table::across_cores(&rows, |row| tally(row, each));
    let broken: Vec<String> = tallies.iter().flat_map(Tally::failures).collect();
    println!("{}", table::render(&tallies));
    assert!(broken.is_empty(), "{} rules broken:\n{}", broken.len(), broken.join("\n"));
}

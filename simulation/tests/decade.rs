//! Years of a thousand keys: of five kinds of windows in four zones, with freezes in every year, budgets that the first keys exceed
//! by far, keys that go together, creates that fail, providers that are out of reach and a daemon that is down for days.
//!
//! What is shown: no key expires, none is replaced outside its windows but where no opening with room is left, none is revoked outside
//! windows or in a freeze, every budget is held in every 24 hours, and keys that go together go in one opening. Three years are
//! run where nobody asks for more; `YEARS=10` runs a decade.
// A test that panics has failed, as it should; the figures are its output.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[path = "decade/fleet.rs"]
mod fleet;
#[path = "simulation/rng.rs"]
#[allow(dead_code)]
mod rng;
#[path = "decade/run.rs"]
mod run;

use std::time::Duration;

const YEARS: u64 = 3;

#[test]
fn a_thousand_keys_keep_every_window_and_budget_for_years() {
    let years = std::env::var("YEARS").ok().and_then(|it| it.parse().ok()).unwrap_or(YEARS);
    let mut run = run::Run::new();
    run.go(Duration::from_secs(years * 365 * 24 * 60 * 60));
    println!("{}", run.figures);
    run.figures.hold(years);
}

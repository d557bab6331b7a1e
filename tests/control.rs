//! The control socket and the command line: what users see of the daemon, and what they may ask of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // A test that panics has failed, as it should.
#[path = "control/binary.rs"]
mod binary;
#[path = "control/completions.rs"]
mod completions;
#[path = "control/crowds.rs"]
mod crowds;
#[path = "control/fixture.rs"]
mod fixture;
#[path = "control/freezes.rs"]
mod freezes;
#[path = "control/hints.rs"]
mod hints;
#[path = "control/parsing.rs"]
mod parsing;
#[path = "control/plans.rs"]
mod plans;
#[path = "control/reasons.rs"]
mod reasons;
#[path = "control/scrape.rs"]
mod scrape;
#[path = "control/socket.rs"]
mod socket;
#[path = "control/truth.rs"]
mod truth;
#[path = "control/views.rs"]
mod views;

//! The core alone, compiled from the daemon's own files with nothing around it: so few crates that the simulation is
//! built optimised within seconds. That it compiles here is the proof that the core needs no I/O, no runtime and no
//! other part of the daemon.
//!
//! The tests of this package drive it: `simulation.rs` through hostile worlds, `holes.rs` along the traces of known faults and
//! with one rule switched off at a time.
#[path = "../../src/core/mod.rs"]
pub mod core;

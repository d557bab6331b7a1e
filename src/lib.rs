//! rekeyd replaces API keys before they expire. The tour, in reading order.
pub mod core;

pub mod clock;
pub mod humane;
pub mod secret;

pub mod http;

pub mod notifiers;
pub mod providers;
pub mod store;
pub mod targets;

pub mod config;

pub mod engine;

pub mod control;
pub mod service;
pub mod simulator;

pub mod cli;

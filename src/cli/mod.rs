//! The command line: one file for each subcommand.
pub mod demo;

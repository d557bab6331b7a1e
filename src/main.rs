//! The `rekeyd` binary. Everything is in the library; start reading at `lib.rs`.
use std::process::ExitCode;

fn main() -> ExitCode {
    rekeyd::cli::main(std::env::args_os())
}

//! The sources of the project, for the tests that read them.
use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file of the program, its tests and its simulation.
pub(super) fn rust_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["src", "tests", "simulation"] {
        search(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    found
}

fn search(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

//! The config: what is written, what it means, and what is said of its faults.
use rekeyd::config::{self, Fault, Faults, Loaded, Source};
use std::path::Path;

fn parse(text: &str) -> Result<Loaded, Faults> {
    config::parse(vec![Source { path: "rekeyd.toml".into(), text: text.to_owned() }])
}

#[test]
fn every_shipped_config_passes() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config")).unwrap() {
        let path = entry.unwrap().path();
        match config::load(&path) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    assert!(warning.message.contains("can't be seen from here"), "{warning}");
                }
            }
            Err(faults) => panic!("{faults}"),
        }
    }
}

//! The config: `file` is the TOML as written, `settings` is what it means.
pub mod settings;

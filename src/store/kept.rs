//! The last good config, as a file of its own: it must be readable before the database is opened, for it says which master
//! key opens that. There is no secret in it, since a config only says where secrets are.
use super::disk::sync;
use super::error::{StoreError, at};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub(super) const NAME: &str = "config";

/// The config that was kept beside a state; `None` where there is none that can be read.
pub fn kept_config(dir: &Path) -> Option<String> {
    std::fs::read_to_string(dir.join(NAME)).ok()
}

/// Keeps a config; durable when it returns.
pub(super) fn write(dir: &Path, text: &str) -> Result<(), StoreError> {
    let (path, temporary) = (dir.join(NAME), dir.join("config.new"));
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let write = |mut file: File| {
        file.write_all(text.as_bytes())?;
        fail_point!(ConfigWritten);
        file.sync_all()
    };
    file.and_then(write).map_err(at(&temporary))?;
    fail_point!(ConfigSynced);
    std::fs::rename(&temporary, &path).map_err(at(&path))?;
    fail_point!(ConfigRenamed);
    sync(dir)?;
    fail_point!(ConfigFolderSynced);
    Ok(())
}

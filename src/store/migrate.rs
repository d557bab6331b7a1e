//! Brings a state of an older format up to this one, step by step. A backup of it as it was is on the disk before the first
//! row is changed, so that the older rekeyd can be gone back to. So far there is one format, and no step.
use super::contents::collect;
use super::disk::Disk;
use super::draft::Draft;
use super::error::StoreError;
use super::open::{read_format, read_identity};
use super::rows::{self, FORMAT};
use super::seal::Seal;
use super::shelf::Shelf;
use crate::core::time::Timestamp;
use std::path::Path;

/// From one format to the next.
struct Step {
    from: u32,
    /// Enters every row that is written otherwise in the next format.
    change: fn(&Disk, &mut Draft<'_>) -> Result<(), StoreError>,
}

/// One for each format that ever was but the newest, in order.
const STEPS: &[Step] = &[];

/// Brings the state up to [`FORMAT`]. The master key is known to be the right one.
pub(super) fn to_newest(disk: &Disk, dir: &Path, seal: &Seal, now: Timestamp) -> Result<(), StoreError> {
    migrate(disk, dir, seal, STEPS, FORMAT, now)
}

fn migrate(disk: &Disk, dir: &Path, seal: &Seal, steps: &[Step], to: u32, now: Timestamp) -> Result<(), StoreError> {
    let found = read_format(disk)?;
    if found > to {
        return Err(StoreError::NewerFormat { dir: dir.to_owned(), found, known: to });
    }
    let mut way = Vec::new();
    for format in found..to {
        let step = steps.iter().find(|it| it.from == format);
        way.push(step.ok_or_else(|| rows::damaged(disk.dir(), rows::FORMAT_ROW, "it holds no format that ever was"))?);
    }
    if way.is_empty() {
        return Ok(());
    }
    let install = read_identity(disk)?.incarnation.install;
    let shelf = Shelf { dir: dir.join("backups"), install: format!("{install}-before-format-{to}") };
    let kept = shelf.add(&collect(disk, dir, seal, now)?, now, 0)?;
    tracing::warn!(found, to, backup = %kept.display(), "the state is brought up to a newer format");
    for step in way {
        let mut draft = Draft::new(disk);
        (step.change)(disk, &mut draft)?;
        draft.put(rows::FORMAT_ROW, (step.from + 1).to_string().as_bytes())?;
        disk.apply(&draft.into_writes()?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::store::{Batch, Site, Snapshot, Store};

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    fn change(_: &Disk, draft: &mut Draft<'_>) -> Result<(), StoreError> {
        draft.put(&rows::meta("it"), b"new")
    }

    fn fail(disk: &Disk, _: &mut Draft<'_>) -> Result<(), StoreError> {
        Err(rows::damaged(disk.dir(), b"it", "on purpose"))
    }

    /// A state in which `it` is old, and the way from its format to the next.
    fn check(change: fn(&Disk, &mut Draft<'_>) -> Result<(), StoreError>, content: &[u8], format: u32) {
        let dir = tempfile::tempdir().unwrap();
        let master = Secret::new(vec![1; 32]);
        let site = Site { dir: dir.path(), machine: None, reserve: 0 };
        let store = Store::open(site, &master, NOW).unwrap().store;
        let meta = vec![("it".to_owned(), Some(b"old".to_vec()))];
        store.commit(&Batch { meta, ..Batch::default() }).unwrap();
        let steps = [Step { from: FORMAT, change }];
        let done = migrate(&store.disk, dir.path(), &store.seal, &steps, FORMAT + 1, NOW);
        assert_eq!(done.is_ok(), format > FORMAT);
        assert_eq!(store.meta("it").unwrap().unwrap(), content);
        assert_eq!(read_format(&store.disk).unwrap(), format);
        let kept = std::fs::read_dir(dir.path().join("backups")).unwrap().next().unwrap().unwrap().path();
        let kept = Snapshot::load(&kept).unwrap();
        kept.verify(&master).unwrap();
        let rows = kept.contents(&store.seal).unwrap().rows;
        assert!(rows.contains(&(rows::meta("it"), b"old".to_vec())), "the backup is of the state as it was");
    }

    #[test]
    fn a_backup_is_made_before_a_state_is_brought_to_a_newer_format() {
        check(change, b"new", FORMAT + 1);
    }

    #[test]
    fn a_step_that_fails_leaves_the_state_as_it_was() {
        check(fail, b"old", FORMAT);
    }

    #[test]
    fn a_state_of_this_format_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site { dir: dir.path(), machine: None, reserve: 0 };
        let store = Store::open(site, &Secret::new(vec![1; 32]), NOW).unwrap().store;
        to_newest(&store.disk, dir.path(), &store.seal, NOW).unwrap();
        assert!(!dir.path().join("backups").exists());
    }
}

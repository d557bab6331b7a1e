//! What is done with a damaged database that can still be opened: everything that can be read is taken over into a new one,
//! and what is missing is named. Nobody goes on working with a database that is damaged in one place.
//!
//! The old one stays beside it as `sled.damaged`, for whoever wants to look.
use super::batch::OutboxRow;
use super::disk::{Disk, Writes, sync};
use super::draft::index_row;
use super::error::{StoreError, at};
use super::ledger::{self, Digest, Ledger, Manifest};
use super::open::Identity;
use super::rows;
use crate::core::names::{AccountId, KeyName};
use crate::core::record::VersionNo;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::Path;

/// How many rows one write to the new database holds.
const ROWS_AT_ONCE: usize = 500;
/// The names of the database, of the new one while it is written, and of the old one that was damaged.
const DATABASE: &str = "sled";
const RESCUED: &str = "sled.rescued";
pub(super) const DAMAGED: &str = "sled.damaged";

/// What was lost of a state that could be opened all the same.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Damage {
    /// The keys whose record or secrets are lost, with the highest version that is known of.
    pub keys: BTreeMap<KeyName, VersionNo>,
    /// The accounts whose record is lost.
    pub accounts: BTreeSet<AccountId>,
    /// How it showed.
    pub why: String,
}

/// What a look at every row came to.
pub(super) enum Found {
    /// It is what was written last.
    Whole(Disk, Ledger),
    /// Every row is intact, and none is missing, but some are older than they were.
    Older(Disk, Ledger),
    /// Something was lost; the rest was taken over.
    Rescued(Disk, Ledger, Damage),
}

/// Opens the database of a state. An attempt to rescue it that was cut short is finished, or begun anew.
pub(super) fn open(dir: &Path) -> Result<Disk, StoreError> {
    let (database, rescued) = (dir.join(DATABASE), dir.join(RESCUED));
    if rescued.exists() && !database.exists() {
        // It was complete before the damaged one was moved away.
        std::fs::rename(&rescued, &database).map_err(at(&rescued))?;
        sync(dir)?;
    }
    remove(&rescued)?;
    Disk::open(&database)
}

/// Reads every row, and takes over what is intact where not all of it is.
pub(super) fn examine(disk: Disk, dir: &Path) -> Result<Found, StoreError> {
    let (commits, digest) = read_head(&disk)?;
    let manifest = read_manifest(&disk)?;
    let survey = Survey::of(&disk, &manifest);
    let ledger = Ledger { commits, digest: survey.digest, manifest };
    let Some(why) = survey.trouble.clone() else {
        return Ok(if survey.digest == digest { Found::Whole(disk, ledger) } else { Found::Older(disk, ledger) });
    };
    tracing::error!(dir = %dir.display(), why, "the database is damaged; what can be read is taken over into a new one");
    let (rows, damage) = survey.salvage(&disk, &ledger.manifest, why);
    // It is damaged: whoever closes it might wait for ever.
    drop(disk.poison("it is damaged".to_owned()));
    let (disk, ledger) = take_over(dir, rows, ledger, &damage)?;
    Ok(Found::Rescued(disk, ledger, damage))
}

fn read_head(disk: &Disk) -> Result<(u64, Digest), StoreError> {
    let row = rows::SEQUENCE_ROW;
    let content = super::row_content(disk, row)?.ok_or_else(|| rows::damaged(disk.dir(), row, "it is gone"))?;
    ledger::parse(&content).ok_or_else(|| rows::damaged(disk.dir(), row, "it holds no number"))
}

fn read_manifest(disk: &Disk) -> Result<Manifest, StoreError> {
    let row = rows::MANIFEST_ROW;
    let content = super::row_content(disk, row)?.ok_or_else(|| rows::damaged(disk.dir(), row, "it is gone"))?;
    rows::decode(disk.dir(), row, &content)
}

/// Everything that could be read.
struct Survey {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    digest: Digest,
    /// What is wrong, if anything.
    trouble: Option<String>,
}

impl Survey {
    fn of(disk: &Disk, manifest: &Manifest) -> Self {
        let mut survey = Self { rows: BTreeMap::new(), digest: Digest::default(), trouble: None };
        survey.read(disk.prefix(b""));
        if survey.trouble.is_some() {
            // Behind the place that can't be read there may be more.
            let last = survey.rows.keys().next_back().cloned().unwrap_or_default();
            survey.read(disk.range(&last, Bound::Unbounded).rev());
        }
        let demanded = manifest.rows_of_keys().map(|it| it.1).chain(manifest.rows_of_accounts().map(|it| it.1));
        let missing: Vec<_> = demanded.filter(|it| !survey.rows.contains_key(it)).collect();
        if let (None, Some(row)) = (&survey.trouble, missing.first()) {
            survey.trouble = Some(format!("row {} is gone", rows::show(row)));
        }
        survey
    }

    fn read(&mut self, rows: impl Iterator<Item = Result<rows::Row, StoreError>>) {
        for row in rows {
            match row {
                Ok((row, value)) => {
                    if !rows::is_intact(&row, &value) {
                        self.note(format!("row {} is damaged", rows::show(&row)));
                    } else if self.rows.insert(row.clone(), value.clone()).is_none() {
                        self.digest.toggle(&row, &value);
                    }
                }
                Err(error) => return self.note(error.to_string()),
            }
        }
    }

    fn note(&mut self, why: String) {
        self.trouble.get_or_insert(why);
    }

    /// The rows to keep, and what is missing. What the scan could not reach is asked for by its name.
    fn salvage(mut self, disk: &Disk, manifest: &Manifest, why: String) -> (Writes, Damage) {
        let named = manifest.rows_of_keys().map(|it| it.1).chain(manifest.rows_of_accounts().map(|it| it.1));
        let system = [rows::FORMAT_ROW, rows::CHECK_ROW, rows::IDENTITY_ROW, rows::MANIFEST_ROW].map(<[u8]>::to_vec);
        for row in named.chain(system) {
            self.ask(disk, &row);
        }
        self.drop_what_lacks_parts(disk.dir());
        self.index_anew(disk.dir());
        let mut damage = Damage { why, ..Damage::default() };
        for (name, row) in manifest.rows_of_keys().filter(|(_, row)| !self.rows.contains_key(row)) {
            tracing::error!(key = %name, row = rows::show(&row), "lost to damage");
            damage.keys.insert(name.clone(), manifest.highest(name));
        }
        let lost = manifest.rows_of_accounts().filter(|(_, row)| !self.rows.contains_key(row));
        damage.accounts = lost.map(|(id, _)| id.clone()).collect();
        (self.rows.into_iter().map(|(row, value)| (row, Some(value))).collect(), damage)
    }

    fn ask(&mut self, disk: &Disk, row: &[u8]) {
        if self.rows.contains_key(row) {
            return;
        }
        let Ok(Some(value)) = disk.row(row) else { return };
        if rows::is_intact(row, &value) {
            let parts = rows::parts(row, &value);
            self.rows.insert(row.to_owned(), value);
            parts.iter().for_each(|it| self.ask(disk, it));
        }
    }

    /// A value of which a part is missing is none; nor is a part without its value.
    fn drop_what_lacks_parts(&mut self, dir: &Path) {
        let (mut broken, mut wanted) = (Vec::new(), BTreeSet::new());
        for (row, value) in self.rows.iter().filter(|(row, _)| !row.starts_with(rows::PARTS)) {
            match rows::content(dir, row, value, |it| Ok(self.rows.get(it).cloned())) {
                Ok(_) => wanted.extend(rows::parts(row, value)),
                Err(_) => broken.push(row.clone()),
            }
        }
        self.rows
            .retain(|row, _| if row.starts_with(rows::PARTS) { wanted.contains(row) } else { !broken.contains(row) });
    }

    /// The indexes follow from what they lead to. Due times are set anew by the first look at each key.
    fn index_anew(&mut self, dir: &Path) {
        let indexes = [rows::DUE, rows::WAKE, rows::OUTBOX_DUE, rows::OUTBOX_DEAD];
        self.rows.retain(|row, _| !indexes.iter().any(|it| row.starts_with(it)));
        let mut index = Vec::new();
        for (row, value) in self.rows.iter().filter(|(row, _)| row.starts_with(rows::OUTBOX)) {
            let content = rows::content(dir, row, value, |it| Ok(self.rows.get(it).cloned()));
            let told = content.and_then(|it| rows::decode::<OutboxRow>(dir, row, &it));
            index.extend(told.ok().as_ref().and_then(index_row));
        }
        for row in index {
            let framed = rows::frame(&row, b"").unwrap_or_default();
            self.rows.extend(framed);
        }
    }
}

/// Writes a new database, and puts it in the place of the damaged one.
fn take_over(dir: &Path, rows: Writes, mut ledger: Ledger, damage: &Damage) -> Result<(Disk, Ledger), StoreError> {
    let rescued = dir.join(RESCUED);
    let kept = |row: &Vec<u8>| rows.contains_key(row);
    ledger.manifest.records.retain(|it| kept(&rows::record(it)));
    ledger.manifest.accounts.retain(|it| kept(&rows::account(it)));
    for (name, versions) in &mut ledger.manifest.secrets {
        versions.retain(|it| kept(&rows::secret(name, *it)));
    }
    ledger.manifest.secrets.retain(|_, it| !it.is_empty());
    let disk = Disk::open(&rescued)?;
    let mut rows = rows;
    let manifest = rows::encode(rows::MANIFEST_ROW, &ledger.manifest)?;
    rows.extend(rows::frame(rows::MANIFEST_ROW, &manifest)?.into_iter().map(|(row, value)| (row, Some(value))));
    distrust(dir, &mut rows, damage)?;
    rows.remove(rows::SEQUENCE_ROW);
    ledger.digest = Digest::default();
    rows.iter().for_each(|(row, value)| ledger.digest.toggle(row, value.as_deref().unwrap_or_default()));
    let head = ledger::text(ledger.commits, ledger.digest);
    rows.extend(rows::frame(rows::SEQUENCE_ROW, &head)?.into_iter().map(|(row, value)| (row, Some(value))));
    let all: Vec<_> = rows.into_iter().collect();
    for some in all.chunks(ROWS_AT_ONCE) {
        disk.apply(&some.iter().cloned().collect())?;
    }
    drop(disk);
    fail_point!(RescueWritten);
    remove(&dir.join(DAMAGED))?;
    let (database, damaged) = (dir.join(DATABASE), dir.join(DAMAGED));
    std::fs::rename(&database, &damaged).map_err(at(&database))?;
    fail_point!(DamagedMoved);
    std::fs::rename(&rescued, &database).map_err(at(&rescued))?;
    fail_point!(RescueMoved);
    sync(dir)?;
    fail_point!(RescueSynced);
    Ok((Disk::open(&database)?, ledger))
}

/// Writes into the rows themselves that something was lost: were it said only after the new database is in place, a crash
/// in between would leave one that looks as if it were whole.
fn distrust(dir: &Path, rows: &mut Writes, damage: &Damage) -> Result<(), StoreError> {
    let row = rows::IDENTITY_ROW;
    // Without it the state can't be opened anyway.
    let Some(Some(value)) = rows.get(row).cloned() else { return Ok(()) };
    let content = rows::content(dir, row, &value, |it| Ok(rows.get(it).cloned().flatten()))?;
    let identity = rows::decode::<Identity>(dir, row, &content)?.damaged(damage)?;
    for part in rows::parts(row, &value) {
        rows.remove(&part);
    }
    let framed = rows::frame(row, &rows::encode(row, &identity)?)?;
    rows.extend(framed.into_iter().map(|(row, value)| (row, Some(value))));
    Ok(())
}

fn remove(dir: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(dir)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::Timestamp;
    use crate::secret::Secret;
    use crate::store::{Opened, Site, Store};

    #[test]
    fn a_crash_right_after_a_rescue_does_not_forget_what_was_lost() {
        let guard = tempfile::tempdir().unwrap();
        let dir = guard.path().join("state");
        let start = || -> Opened {
            let site = Site { dir: &dir, machine: None, reserve: 0 };
            Store::open(site, &Secret::new(vec![7; 32]), Timestamp(0)).unwrap()
        };
        let before = start().incarnation;
        let disk = open(&dir).unwrap();
        let mut manifest = read_manifest(&disk).unwrap();
        manifest.records.insert("billing".parse().unwrap());
        let framed = rows::frame(rows::MANIFEST_ROW, &rows::encode(rows::MANIFEST_ROW, &manifest).unwrap()).unwrap();
        disk.apply(&framed.into_iter().map(|(row, value)| (row, Some(value))).collect()).unwrap();
        drop(disk);
        let Found::Rescued(rescued, ..) = examine(open(&dir).unwrap(), &dir).unwrap() else { panic!("it is whole") };
        drop(rescued);
        let Opened { damage, rolled_back, incarnation, .. } = start();
        assert!(rolled_back && damage.unwrap().keys.contains_key(&"billing".parse().unwrap()));
        assert_ne!(incarnation, before, "no token may be issued twice");
    }
}

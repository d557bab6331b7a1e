//! The durable state: records, accounts, sealed secrets, due times, the outbox and the history, in one database that is
//! written in whole commits. A commit that returned is on the disk; after one that failed nothing more is written.
//!
//! ```text
//! <state_dir>/          0700
//!   lock                held by the one daemon that has the state open
//!   sled/               the database
//!   sled.damaged/       the one before it, where that was damaged and what could be read was taken over
//!   sequence            the number of the last commit; tells a roll-back
//!   config              the last good config, for a start with a broken one
//!   escrow/<token>      raw answers to creates whose meaning is not committed yet
//!   reserve             room to be given up on a full disk
//!   restoring/          a restore that is under way, or broke off
//! ```
//!
//! All calls block: the engine makes them from one thread of their own.
mod batch;
mod contents;
mod disk;
mod draft;
mod error;
mod escrow;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod golden;
mod kept;
mod ledger;
mod lock;
mod look;
mod migrate;
mod open;
mod rescue;
mod reseal;
mod reserve;
mod restore;
mod rows;
mod seal;
mod sequence;
mod shelf;
mod snapshot;
mod writer;

pub use batch::{Batch, HistoryRow, OutboxCounts, OutboxId, OutboxRow, OutboxState, READ_BY_UNIT};
pub use contents::Counts;
pub use error::StoreError;
pub use escrow::{ANSWERS_KEPT, Answer, BODY_BYTES, Escrow};
pub use kept::kept_config;
pub use look::{Look, look};
pub use open::{Opened, Site, machine_id};
pub use rescue::Damage;
pub use reseal::{Resealed, reseal};
pub use restore::{RestoreError, Restored, restore};
pub use shelf::{Shelf, keep_snapshot, snapshot_of};
pub use snapshot::{Header, SNAPSHOT_BYTES, SNAPSHOT_FORMAT, Snapshot, SnapshotError, SnapshotFault};

use crate::core::account::Account;
use crate::core::names::{Fingerprint, KeyName, NoticeId};
use crate::core::record::{Record, VersionNo};
use crate::core::time::Timestamp;
use crate::secret::Secret;
use disk::{Disk, Range};
use draft::Draft;
use ledger::{Ledger, Manifest};
use lock::Lock;
use reserve::{Looks, Reserve};
use seal::{Place, Seal};
use serde::de::DeserializeOwned;
use std::fmt;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The most rows that [`Store::history`] answers with: the newest.
pub const HISTORY_ROWS: usize = 50_000;
/// How many rows one commit of [`Store::prune`] removes.
const PRUNE_ROWS: usize = 1_000;

/// The open state. One thread writes at a time; others wait to read until it is done.
pub struct Store {
    // Before the lock: the database must be closed when the lock goes.
    disk: Disk,
    seal: Arc<Seal>,
    escrow: Escrow,
    reserve: Reserve,
    reserve_looks: Looks,
    dir: PathBuf,
    /// Where the database stands. Who writes holds it alone, so that nobody reads half a commit, nor one that the disk has
    /// not confirmed yet.
    ledger: RwLock<Ledger>,
    _lock: Lock,
}

impl Store {
    /// Makes everything in the batch durable, or nothing; when it returns, the disk holds it.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] where the disk did not confirm it, and ever after: then nobody knows what the disk
    /// holds, and nothing may be done on the strength of what is read. With any other error nothing was written; with
    /// [`StoreError::Unwritable`] the same may be tried again.
    pub fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        fail_point!(CommitBegins);
        self.disk.check()?;
        let mut ledger = self.writing();
        let mut draft = Draft::new(&self.disk);
        draft.add(batch, &self.seal, ledger.commits + 1)?;
        let answers = batch.answers_roll_back || batch.answers_new_machine || batch.answers_damage;
        if answers || batch.new_incarnation.is_some() {
            let mut identity = open::read_identity(&self.disk)?;
            identity.rolled_back &= !batch.answers_roll_back;
            identity.new_machine &= !batch.answers_new_machine;
            identity.damage = identity.damage.filter(|_| !batch.answers_damage);
            if let Some(by) = &batch.new_incarnation {
                identity.incarnation = by.clone();
            }
            draft.put_json(rows::IDENTITY_ROW, &identity)?;
        }
        let manifest = ledger.manifest.after(batch);
        self.write(&mut ledger, draft, manifest)?;
        if let Some(text) = &batch.config
            && let Err(error) = kept::write(&self.dir, text)
        {
            tracing::warn!(%error, "the config could not be kept; a start with a broken one goes back to an older one");
        }
        if batch.sealing_point {
            sequence::write(&self.dir, ledger.commits).map_err(|it| self.disk.poison(it.to_string()))?;
        }
        fail_point!(CommitEnds);
        Ok(())
    }

    /// Writes a draft as the next commit.
    fn write(&self, ledger: &mut Ledger, mut draft: Draft<'_>, manifest: Manifest) -> Result<(), StoreError> {
        if manifest != ledger.manifest {
            draft.put_json(rows::MANIFEST_ROW, &manifest)?;
        }
        let commits = ledger.commits + 1;
        let (writes, digest) = draft.finish(commits, ledger.digest)?;
        self.disk.apply(&writes)?;
        *ledger = Ledger { commits, digest, manifest };
        sequence::note(&self.dir, commits);
        Ok(())
    }

    /// The records of all keys, by name.
    ///
    /// # Errors
    /// Where a row is damaged. None is left out: a key without its record would look like one that was never ours.
    pub fn records(&self) -> Result<Vec<Record>, StoreError> {
        let _reading = self.reading();
        let read = self.disk.prefix(rows::RECORDS).map(|row| {
            let (row, record): (_, Record) = self.decoded(row?)?;
            if rows::record(&record.name) == row { Ok(record) } else { Err(self.misnamed(&row)) }
        });
        read.collect()
    }

    /// The records of all accounts, by id.
    ///
    /// # Errors
    /// Where a row is damaged.
    pub fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let _reading = self.reading();
        let read = self.disk.prefix(rows::ACCOUNTS).map(|row| {
            let (row, account): (_, Account) = self.decoded(row?)?;
            if rows::account(&account.id) == row { Ok(account) } else { Err(self.misnamed(&row)) }
        });
        read.collect()
    }

    /// The secret of a version, if it is kept.
    ///
    /// # Errors
    /// Where its row is damaged.
    pub fn secret(&self, name: &KeyName, version: VersionNo) -> Result<Option<Secret>, StoreError> {
        let _reading = self.reading();
        let row = rows::secret(name, version);
        let Some(sealed) = row_content(&self.disk, &row)? else { return Ok(None) };
        let opened = self.seal.open(&Place::Version(name, version), &sealed);
        opened.map(Some).ok_or_else(|| rows::damaged(self.disk.dir(), &row, "it does not open with the master key"))
    }

    /// Which versions have a secret that is kept.
    ///
    /// # Errors
    /// Where a row can't be read.
    pub fn secrets_kept(&self) -> Result<Vec<(KeyName, VersionNo)>, StoreError> {
        let _reading = self.reading();
        let kept = self.disk.prefix(rows::SECRETS).map(|row| {
            let (row, _) = row?;
            let of = row.strip_prefix(rows::SECRETS).and_then(contents::version);
            of.ok_or_else(|| rows::damaged(self.disk.dir(), &row, "it is the secret of no version"))
        });
        kept.collect()
    }

    /// The keys that are due at `now`, the longest due first. Costs what is due, not what there is.
    ///
    /// # Errors
    /// Where a row can't be read.
    pub fn due_before(&self, now: Timestamp) -> Result<Vec<KeyName>, StoreError> {
        let _reading = self.reading();
        let until = [rows::DUE, &rows::time(now), &[u8::MAX]].concat();
        let due = self.disk.range(rows::DUE, Bound::Excluded(&until));
        due.map(|row| self.due_row(&row?.0).map(|(_, name)| name)).collect()
    }

    /// When the next key is due.
    ///
    /// # Errors
    /// Where the row can't be read.
    pub fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let _reading = self.reading();
        let first = self.disk.prefix(rows::DUE).next().transpose()?;
        first.map(|(row, _)| self.due_row(&row).map(|(at, _)| at)).transpose()
    }

    /// The notices to be sent at `now`, the longest waiting first, at most `limit`, of those whose channel is `wanted`.
    /// Costs what is due.
    ///
    /// # Errors
    /// Where a row is damaged.
    pub fn outbox_due(
        &self,
        now: Timestamp,
        limit: usize,
        mut wanted: impl FnMut(&OutboxId) -> bool,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let _reading = self.reading();
        let until = [rows::OUTBOX_DUE, &rows::time(now), &[u8::MAX]].concat();
        let mut due = Vec::new();
        for index in self.disk.range(rows::OUTBOX_DUE, Bound::Excluded(&until)) {
            let index = index?.0;
            let (_, name) = rows::timed(rows::OUTBOX_DUE, &index).ok_or_else(|| self.misnamed(&index))?;
            let id = draft::outbox_id(name).ok_or_else(|| self.misnamed(&index))?;
            if wanted(&id) {
                due.push(self.indexed(name)?);
            }
            if due.len() >= limit {
                break;
            }
        }
        Ok(due)
    }

    /// What became of one notice, over all owners and channels.
    ///
    /// # Errors
    /// Where a row is damaged.
    pub fn outbox(&self, notice: &NoticeId) -> Result<Vec<OutboxRow>, StoreError> {
        let _reading = self.reading();
        let prefix = [rows::OUTBOX, notice.as_str().as_bytes(), b"\0"].concat();
        self.disk.prefix(&prefix).map(|row| self.decoded(row?).map(|(_, it)| it)).collect()
    }

    /// The notices that were given up and that nobody knows of yet, at most `limit`. Costs as many rows.
    ///
    /// # Errors
    /// Where a row is damaged.
    pub fn outbox_dead(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        let _reading = self.reading();
        let dead = self.disk.prefix(rows::OUTBOX_DEAD).take(limit);
        dead.map(|index| self.indexed(index?.0.strip_prefix(rows::OUTBOX_DEAD).unwrap_or_default())).collect()
    }

    /// How many notices are on their way, and how many were given up. Costs as many rows.
    ///
    /// # Errors
    /// Where a row can't be read.
    pub fn outbox_counts(&self) -> Result<OutboxCounts, StoreError> {
        let _reading = self.reading();
        Ok(OutboxCounts {
            pending: count(self.disk.prefix(rows::OUTBOX_DUE))?,
            dead: count(self.disk.prefix(rows::OUTBOX_DEAD))?,
        })
    }

    /// What happened from `since` to `until`, both included, oldest first: to one key, or to all. At most
    /// [`HISTORY_ROWS`], the newest.
    ///
    /// # Errors
    /// Where a row is damaged.
    pub fn history(
        &self,
        name: Option<&KeyName>,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        let _reading = self.reading();
        let from = [rows::HISTORY, &rows::time(since.unwrap_or(Timestamp(i64::MIN)))].concat();
        let to = [rows::HISTORY, &rows::time(until.unwrap_or(Timestamp::NEVER)), &[u8::MAX; 13]].concat();
        let read = self.disk.range(&from, Bound::Excluded(&to)).rev();
        let read = read.map(|row| self.decoded(row?).map(|(_, it): (_, HistoryRow)| it));
        let wanted = read.filter(|row| row.as_ref().map_or(true, |it| name.is_none_or(|name| it.name() == Some(name))));
        let mut rows: Vec<_> = wanted.take(HISTORY_ROWS).collect::<Result<_, _>>()?;
        rows.reverse();
        Ok(rows)
    }

    /// Forgets what happened before a moment, and the notices that ended before it. Says how many rows that were.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn prune(&self, before: Timestamp) -> Result<usize, StoreError> {
        let (happened, ended) = self.before(before)?;
        for some in happened.chunks(PRUNE_ROWS) {
            let mut ledger = self.writing();
            let mut draft = Draft::new(&self.disk);
            some.iter().try_for_each(|it| draft.remove(it))?;
            let manifest = ledger.manifest.clone();
            self.write(&mut ledger, draft, manifest)?;
        }
        for some in ended.chunks(PRUNE_ROWS) {
            self.commit(&Batch { outbox_drop: some.to_vec(), ..Batch::default() })?;
        }
        Ok(happened.len() + ended.len())
    }

    /// A small thing by its name.
    ///
    /// # Errors
    /// Where its row is damaged.
    pub fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let _reading = self.reading();
        row_content(&self.disk, &rows::meta(name))
    }

    /// Where the raw answers to creates are kept.
    pub fn escrow(&self) -> &Escrow {
        &self.escrow
    }

    /// Errs, with the reason and the remedy, unless a create could be carried through: nothing failed yet, there is room on
    /// the disk, and the folder can be written.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn reserve_ready(&self) -> Result<(), String> {
        self.reserve_looks.share(|| {
            self.disk.check().map_err(|it| it.to_string())?;
            self.reserve.ready()?;
            // With the lock, so that no other number is written between; who reads need not wait for it, slow as the disk may be.
            let ledger = self.reading();
            sequence::write(&self.dir, ledger.commits).map_err(|it| it.to_string())
        })
    }

    /// Tells the master key from others.
    pub fn master_fingerprint(&self) -> &Fingerprint {
        self.seal.fingerprint()
    }

    /// Tells what the parts say from anything else, without showing it: it is keyed with the master key.
    pub fn stamp(&self, parts: &[&str]) -> Fingerprint {
        self.seal.stamp(parts)
    }

    fn reading(&self) -> RwLockReadGuard<'_, Ledger> {
        self.ledger.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> RwLockWriteGuard<'_, Ledger> {
        // A panic within a commit leaves it as it was: nothing is half done.
        self.ledger.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows of the history, and the notices that ended, before a moment.
    fn before(&self, before: Timestamp) -> Result<(Vec<Vec<u8>>, Vec<OutboxId>), StoreError> {
        let _reading = self.reading();
        let until = [rows::HISTORY, &rows::time(before)].concat();
        let happened = self.disk.range(rows::HISTORY, Bound::Excluded(&until)).map(|row| Ok(row?.0));
        let mut ended = Vec::new();
        for row in self.disk.prefix(rows::OUTBOX) {
            let (_, row): (_, OutboxRow) = self.decoded(row?)?;
            if row.state != OutboxState::Pending && row.at < before {
                ended.push(row.id());
            }
        }
        Ok((happened.collect::<Result<_, StoreError>>()?, ended))
    }

    fn due_row(&self, row: &[u8]) -> Result<(Timestamp, KeyName), StoreError> {
        let (at, name) = rows::timed(rows::DUE, row).ok_or_else(|| self.misnamed(row))?;
        let name = std::str::from_utf8(name).ok().and_then(|it| it.parse().ok());
        name.map(|name| (at, name)).ok_or_else(|| self.misnamed(row))
    }

    /// The row of the outbox that an index names.
    fn indexed(&self, name: &[u8]) -> Result<OutboxRow, StoreError> {
        let row = [rows::OUTBOX, name].concat();
        let value = self.disk.row(&row)?.ok_or_else(|| rows::damaged(self.disk.dir(), &row, "it is gone"))?;
        self.decoded((row, value)).map(|(_, it)| it)
    }

    fn decoded<T: DeserializeOwned>(&self, (row, value): rows::Row) -> Result<(Vec<u8>, T), StoreError> {
        let dir = self.disk.dir();
        let json = rows::content(dir, &row, &value, |it| self.disk.row(it))?;
        let decoded = rows::decode(dir, &row, &json)?;
        Ok((row, decoded))
    }

    fn misnamed(&self, row: &[u8]) -> StoreError {
        rows::damaged(self.disk.dir(), row, "its name is not that of its content")
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// The content of one row, over all of its parts.
fn row_content(disk: &Disk, row: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(value) = disk.row(row)? else { return Ok(None) };
    rows::content(disk.dir(), row, &value, |it| disk.row(it)).map(Some)
}

fn count(mut range: Range<'_>) -> Result<u64, StoreError> {
    range.try_fold(0, |count, row| row.map(|_| count + 1))
}

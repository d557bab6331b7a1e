//! Turns a batch into rows to write, and keeps the indexes true: due times by time and by name, the outbox by retry time.
use super::batch::{Batch, HistoryRow, OutboxId, OutboxRow, OutboxState, READ_BY_UNIT};
use super::disk::{Disk, Writes};
use super::error::StoreError;
use super::ledger::{self, Digest};
use super::rows;
use super::seal::{Place, Seal};
use crate::core::names::{KeyName, NoticeId};
use crate::core::time::Timestamp;
use serde::Serialize;

/// Rows to be written, on top of those on the disk.
pub(super) struct Draft<'a> {
    disk: &'a Disk,
    writes: Writes,
}

impl<'a> Draft<'a> {
    /// Nothing to write yet.
    pub(super) fn new(disk: &'a Disk) -> Self {
        Self { disk, writes: Writes::new() }
    }

    /// The rows to write, for whoever writes beside the open state: the commit keeps its number.
    pub(super) fn into_writes(self) -> Result<Writes, StoreError> {
        let head = self.content(rows::SEQUENCE_ROW)?;
        match head.as_deref().and_then(ledger::parse) {
            Some((commits, digest)) => Ok(self.finish(commits, digest)?.0),
            None => Ok(self.writes),
        }
    }

    /// The rows to write, with the head that goes with them: where the database stands once they are written.
    pub(super) fn finish(mut self, commits: u64, mut digest: Digest) -> Result<(Writes, Digest), StoreError> {
        for (row, value) in &self.writes {
            if let Some(before) = self.disk.row(row)? {
                digest.toggle(row, &before);
            }
            if let Some(after) = value {
                digest.toggle(row, after);
            }
        }
        self.put(rows::SEQUENCE_ROW, &ledger::text(commits, digest))?;
        Ok((self.writes, digest))
    }

    /// Adds all of a batch but its marks. `sequence` is the number of this commit.
    pub(super) fn add(&mut self, batch: &Batch, seal: &Seal, sequence: u64) -> Result<(), StoreError> {
        for name in &batch.drop_records {
            self.remove(&rows::record(name))?;
            self.due(name, None)?;
        }
        for record in &batch.records {
            self.put_json(&rows::record(&record.name), record)?;
        }
        for account in &batch.accounts {
            self.put_json(&rows::account(&account.id), account)?;
        }
        for (name, version) in &batch.drop_secrets {
            self.remove(&rows::secret(name, *version))?;
        }
        for (name, version, secret) in &batch.secrets {
            let sealed = seal.seal(&Place::Version(name, *version), secret)?;
            self.put(&rows::secret(name, *version), &sealed)?;
        }
        for (name, at) in &batch.due {
            self.due(name, *at)?;
        }
        for id in &batch.outbox_drop {
            self.outbox_drop(id)?;
        }
        for row in &batch.outbox_put {
            self.outbox_put(row)?;
        }
        for (number, row) in (0_u32..).zip(&batch.history) {
            self.put_json(&history_row(row, sequence, number), row)?;
        }
        for (name, value) in &batch.meta {
            match value {
                Some(value) => self.put(&rows::meta(name), value)?,
                None => self.remove(&rows::meta(name))?,
            }
        }
        Ok(())
    }

    /// Writes a structured row.
    pub(super) fn put_json<T: Serialize>(&mut self, row: &[u8], value: &T) -> Result<(), StoreError> {
        let json = rows::encode(row, value)?;
        self.put(row, &json)
    }

    /// Writes a row, in parts where it is large.
    pub(super) fn put(&mut self, row: &[u8], content: &[u8]) -> Result<(), StoreError> {
        let framed = rows::frame(row, content)?;
        self.remove(row)?;
        self.writes.extend(framed.into_iter().map(|(name, value)| (name, Some(value))));
        Ok(())
    }

    /// Removes a row with all of its parts.
    pub(super) fn remove(&mut self, row: &[u8]) -> Result<(), StoreError> {
        if let Some(value) = self.row(row)? {
            self.writes.extend(rows::parts(row, &value).into_iter().map(|it| (it, None)));
            self.writes.insert(row.to_owned(), None);
        }
        Ok(())
    }

    fn due(&mut self, name: &KeyName, at: Option<Timestamp>) -> Result<(), StoreError> {
        let wake = rows::wake(name);
        if let Some(before) = self.content(&wake)? {
            let before = <[u8; 8]>::try_from(before.as_slice());
            let before = before.map_err(|_| rows::damaged(self.disk.dir(), &wake, "it holds no moment"))?;
            self.remove(&rows::due(Timestamp(i64::from_be_bytes(before)), name))?;
            self.remove(&wake)?;
        }
        if let Some(at) = at {
            self.put(&wake, &at.0.to_be_bytes())?;
            self.put(&rows::due(at, name), b"")?;
        }
        Ok(())
    }

    fn outbox_put(&mut self, row: &OutboxRow) -> Result<(), StoreError> {
        let id = row.id();
        self.outbox_drop(&id)?;
        self.put_json(&outbox_row(&id), row)?;
        index_row(row).map_or(Ok(()), |index| self.put(&index, b""))
    }

    fn outbox_drop(&mut self, id: &OutboxId) -> Result<(), StoreError> {
        let name = outbox_row(id);
        if let Some(json) = self.content(&name)? {
            let before: OutboxRow = rows::decode(self.disk.dir(), &name, &json)?;
            if let Some(index) = index_row(&before) {
                self.remove(&index)?;
            }
            self.remove(&name)?;
        }
        Ok(())
    }

    fn content(&self, row: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(value) = self.row(row)? else { return Ok(None) };
        rows::content(self.disk.dir(), row, &value, |it| self.row(it)).map(Some)
    }

    /// A row as it will be once this is written.
    fn row(&self, row: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.writes.get(row).map_or_else(|| self.disk.row(row), |it| Ok(it.clone()))
    }
}

/// Where the outbox keeps what is to be said: beside the other channels of the same notice.
pub(super) fn outbox_row(id: &OutboxId) -> Vec<u8> {
    [rows::OUTBOX, outbox_name(id).as_bytes()].concat()
}

/// A byte that is in no name separates the three parts.
fn outbox_name(id: &OutboxId) -> String {
    format!("{}\0{}\0{}", id.notice, id.owner, id.channel)
}

/// The name of a row of the outbox, read back.
pub(super) fn outbox_id(name: &[u8]) -> Option<OutboxId> {
    let mut parts = std::str::from_utf8(name).ok()?.splitn(3, '\0').map(str::to_owned);
    let notice = NoticeId::from(parts.next()?);
    Some(OutboxId { notice, owner: parts.next()?, channel: parts.next()? })
}

/// Where a row of the outbox is found by what is to be done with it; what is over is not.
pub(super) fn index_row(row: &OutboxRow) -> Option<Vec<u8>> {
    let name = outbox_name(&row.id());
    match row.state {
        OutboxState::Pending => Some([rows::OUTBOX_DUE, &rows::time(row.retry_at), name.as_bytes()].concat()),
        OutboxState::Dead => Some([rows::OUTBOX_DEAD, name.as_bytes()].concat()),
        OutboxState::Sent | OutboxState::Acked | OutboxState::Superseded | OutboxState::Off => None,
    }
}

/// Ordered by time, then as they were committed. A read that may be repeated has one name for all its repetitions.
fn history_row(row: &HistoryRow, sequence: u64, number: u32) -> Vec<u8> {
    let (sequence, number) = match row {
        HistoryRow::Read { name, by, version, via, .. } if via == READ_BY_UNIT => {
            (u64::MAX, crc32fast::hash(format!("{name}/{version}/{by}").as_bytes()))
        }
        _ => (sequence, number),
    };
    [rows::HISTORY, &rows::time(row.at()), &sequence.to_be_bytes(), &number.to_be_bytes()].concat()
}

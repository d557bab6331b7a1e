//! What is in a snapshot: the rows of the database as they are, the answers in escrow, and the last good config. Secrets and
//! answers stay sealed as they lie in the state, so that reading a snapshot shows none.
use super::batch::{HistoryRow, OutboxRow};
use super::disk::Disk;
use super::error::StoreError;
use super::escrow::Escrow;
use super::open::{Identity, check_master_row};
use super::rows::{self, Row};
use super::seal::{Place, Seal};
use super::snapshot::{Header, Snapshot, SnapshotFault, SnapshotWriter};
use super::{Store, kept, open};
use crate::core::account::Account;
use crate::core::names::{KeyName, Token};
use crate::core::record::{Record, VersionNo};
use crate::core::time::Timestamp;
use crate::secret::Secret;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// The most rows and answers in one snapshot.
const ENTRIES: usize = 4_000_000;

const END: u8 = 0;
const ROW: u8 = 1;
const ANSWER: u8 = 2;
const CONFIG: u8 = 3;

/// Everything that a snapshot holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) rows: Vec<Row>,
    /// By the token's text, sealed.
    pub(super) answers: Vec<(Token, Vec<u8>)>,
    pub(super) config: Option<String>,
}

/// How much of what a snapshot holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Keys on the books.
    pub keys: usize,
    /// Accounts.
    pub accounts: usize,
    /// Versions of keys whose secret is kept.
    pub secrets: usize,
    /// Notices, sent or not.
    pub notices: usize,
    /// Rows of the history.
    pub history: usize,
    /// Answers to creates that wait to be understood.
    pub answers: usize,
}

impl Store {
    /// The whole state as one file, as it is at this moment. Commits wait meanwhile.
    ///
    /// # Errors
    /// Where a row can't be read, or the state is too large.
    pub fn snapshot(&self, now: Timestamp) -> Result<Vec<u8>, StoreError> {
        let _reading = self.reading();
        collect(&self.disk, &self.dir, &self.seal, now)
    }
}

impl Snapshot {
    /// Opens every record, secret and answer in it, and says how many there are.
    ///
    /// # Errors
    /// The first thing in it that is not as it was written, or that its master key does not open.
    pub fn verify(&self, master: &Secret) -> Result<Counts, SnapshotFault> {
        let seal = Seal::new(master).map_err(SnapshotFault::Master)?;
        self.contents(&seal)?.verify(self.header(), &seal)
    }

    pub(super) fn contents(&self, seal: &Seal) -> Result<Contents, SnapshotFault> {
        Contents::parse(&self.open(seal)?).map_err(|it| SnapshotFault::Damaged(it.to_owned()))
    }
}

/// Writes everything that a state holds. The caller sees to it that nobody writes to it meanwhile.
pub(super) fn collect(disk: &Disk, dir: &Path, seal: &Seal, now: Timestamp) -> Result<Vec<u8>, StoreError> {
    let identity = open::read_identity(disk)?;
    let header = Header {
        master: seal.fingerprint().clone(),
        made_at: now,
        state_format: open::read_format(disk)?,
        install: identity.incarnation.install,
        rekeyd: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut writer = SnapshotWriter::new(&header, seal)?;
    let (mut rows, mut answers) = (0_u64, 0_u64);
    for row in disk.prefix(b"") {
        let (row, value) = row?;
        if row.starts_with(rows::PARTS) {
            continue;
        }
        let content = rows::content(disk.dir(), &row, &value, |it| disk.row(it))?;
        writer.add(&entry(ROW, &row, &content))?;
        rows += 1;
    }
    for (token, sealed) in Escrow::sealed(dir)? {
        writer.add(&entry(ANSWER, token.to_string().as_bytes(), &sealed))?;
        answers += 1;
    }
    if let Some(config) = kept::kept_config(dir) {
        writer.add(&entry(CONFIG, b"", config.as_bytes()))?;
    }
    writer.add(&entry(END, b"", &[rows.to_be_bytes(), answers.to_be_bytes()].concat()))?;
    writer.finish()
}

/// The kind, the lengths of name and content, and both of them.
fn entry(kind: u8, name: &[u8], content: &[u8]) -> Vec<u8> {
    // Rows keep their limits, an answer has hardly more than a mebibyte, and a config is bounded where it is read.
    let name_bytes = u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes();
    let content_bytes = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[kind], name_bytes.as_slice(), &content_bytes, name, content].concat()
}

impl Contents {
    /// Reads what [`collect`] wrote.
    fn parse(mut bytes: &[u8]) -> Result<Self, &'static str> {
        const CUT: &str = "its contents are cut short";
        let mut contents = Self::default();
        loop {
            let ([kind, n0, n1, c0, c1, c2, c3], rest) = bytes.split_first_chunk::<7>().ok_or(CUT)?;
            let name_bytes = usize::from(u16::from_be_bytes([*n0, *n1]));
            let content_bytes = u32::from_be_bytes([*c0, *c1, *c2, *c3]) as usize;
            if name_bytes > rows::ROW_NAME_BYTES || content_bytes > rows::VALUE_BYTES.max(CONFIG_BYTES) {
                return Err("an entry has an impossible length");
            }
            let (name, rest) = rest.split_at_checked(name_bytes).ok_or(CUT)?;
            let (content, rest) = rest.split_at_checked(content_bytes).ok_or(CUT)?;
            bytes = rest;
            match *kind {
                ROW => contents.rows.push((name.to_owned(), content.to_owned())),
                ANSWER => {
                    let token = std::str::from_utf8(name).ok().and_then(|it| it.parse().ok());
                    contents.answers.push((token.ok_or("an answer is of no create")?, content.to_owned()));
                }
                CONFIG => {
                    contents.config = Some(String::from_utf8(content.to_owned()).map_err(|_| "its config is no text")?)
                }
                END => return contents.ended(content, bytes),
                _ => return Err("an entry is of an unknown kind"),
            }
            if contents.rows.len() + contents.answers.len() > ENTRIES {
                return Err("it has more entries than any backup");
            }
        }
    }

    fn ended(self, counts: &[u8], rest: &[u8]) -> Result<Self, &'static str> {
        let counted = [self.rows.len() as u64, self.answers.len() as u64].map(u64::to_be_bytes).concat();
        if rest.is_empty() && counts == counted { Ok(self) } else { Err("its entries are not those that were counted") }
    }

    /// Reads everything, and opens everything that is sealed.
    pub(super) fn verify(&self, header: &Header, seal: &Seal) -> Result<Counts, SnapshotFault> {
        let damaged = |row: &[u8], why: &str| SnapshotFault::Damaged(format!("row {}: {why}", rows::show(row)));
        let mut counts = Counts { answers: self.answers.len(), ..Counts::default() };
        for (token, sealed) in &self.answers {
            let opened = seal.open(&Place::Answer(token), sealed);
            opened.ok_or_else(|| SnapshotFault::Damaged(format!("the answer to create {token} does not open")))?;
        }
        for (row, content) in &self.rows {
            let known = verify_row(row, content, header, seal, &mut counts);
            known.map_err(|why| damaged(row, &why))?;
        }
        let there: BTreeSet<&[u8]> = self.rows.iter().map(|it| it.0.as_slice()).collect();
        if there.len() != self.rows.len() {
            return Err(SnapshotFault::Damaged("a row is there twice".into()));
        }
        let needed = [rows::FORMAT_ROW, rows::CHECK_ROW, rows::IDENTITY_ROW];
        match needed.into_iter().find(|it| !there.contains(it)) {
            Some(row) => Err(damaged(row, "it is not there")),
            None => Ok(counts),
        }
    }
}

/// The largest config that is kept: the files of it, as JSON.
const CONFIG_BYTES: usize = 160 * 1024 * 1024;

/// Reads one row as whoever uses it does. A row that we don't know is the checksum's care alone.
fn verify_row(row: &[u8], content: &[u8], header: &Header, seal: &Seal, counts: &mut Counts) -> Result<(), String> {
    let place = Path::new("backup");
    let why = |it: StoreError| match it {
        StoreError::Damaged { why, .. } => why,
        other => other.to_string(),
    };
    let own = |is: Vec<u8>| if is == row { Ok(()) } else { Err("its name is not that of its content".to_owned()) };
    if row.starts_with(rows::RECORDS) {
        let record: Record = rows::decode(place, row, content).map_err(why)?;
        counts.keys += 1;
        own(rows::record(&record.name))
    } else if row.starts_with(rows::ACCOUNTS) {
        let account: Account = rows::decode(place, row, content).map_err(why)?;
        counts.accounts += 1;
        own(rows::account(&account.id))
    } else if let Some(of) = row.strip_prefix(rows::SECRETS) {
        let (name, version) = version(of).ok_or("it is the secret of no version")?;
        counts.secrets += 1;
        let opened = seal.open(&Place::Version(&name, version), content);
        opened.map(|_| ()).ok_or_else(|| "it does not open with the master key".to_owned())
    } else if row.starts_with(rows::OUTBOX) {
        counts.notices += 1;
        rows::decode::<OutboxRow>(place, row, content).map(|_| ()).map_err(why)
    } else if row.starts_with(rows::HISTORY) {
        counts.history += 1;
        rows::decode::<HistoryRow>(place, row, content).map(|_| ()).map_err(why)
    } else if row == rows::CHECK_ROW {
        check_master_row(place, content, seal).map_err(why)
    } else if row == rows::IDENTITY_ROW {
        rows::decode::<Identity>(place, row, content).map(|_| ()).map_err(why)
    } else if row == rows::FORMAT_ROW {
        let same = content == header.state_format.to_string().as_bytes();
        if same { Ok(()) } else { Err("it is not the format that the header names".to_owned()) }
    } else {
        Ok(())
    }
}

/// Of which version a secret is, by the rest of its row's name.
pub(super) fn version(of: &[u8]) -> Option<(KeyName, VersionNo)> {
    let (name, version) = std::str::from_utf8(of).ok()?.rsplit_once('/')?;
    Some((name.parse().ok()?, version.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_that_are_cut_or_miscounted_are_none() {
        let counted = |rows: u64| entry(END, b"", &[rows.to_be_bytes(), 0_u64.to_be_bytes()].concat());
        let whole = [entry(ROW, b"meta/a", b"1"), entry(CONFIG, b"", b"x"), counted(1)].concat();
        let parsed = Contents::parse(&whole).unwrap();
        assert_eq!((parsed.rows, parsed.config.as_deref()), (vec![(b"meta/a".to_vec(), b"1".to_vec())], Some("x")));
        for cut in 0..whole.len() {
            assert!(Contents::parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for bad in [
            [entry(ROW, b"meta/a", b"1"), counted(2)].concat(),
            [counted(0), vec![0]].concat(),
            entry(9, b"", b""),
            entry(ANSWER, b"of nobody", b""),
            [&[ROW][..], &[0xff; 6]].concat(),
        ] {
            assert!(Contents::parse(&bad).is_err());
        }
    }

    #[test]
    fn the_secret_of_a_version_is_known_by_its_row() {
        assert_eq!(version(b"billing-sms/3"), Some(("billing-sms".parse().unwrap(), 3)));
        for bad in [b"billing".as_slice(), b"/3", b"a/b/3", b"a/x", b"\xff/3"] {
            assert_eq!(version(bad), None);
        }
    }
}

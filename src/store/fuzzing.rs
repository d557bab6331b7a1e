//! Rows of the state, and backups of it, from bytes that nobody vouches for. Only for fuzzing, see `src/fuzzing.rs`.
use super::batch::{HistoryRow, OutboxRow};
use super::open::Identity;
use super::seal::Seal;
use super::snapshot::{Header, Snapshot, SnapshotWriter};
use super::{escrow, rows, sequence};
use crate::core::account::Account;
use crate::core::record::Record;
use crate::core::time::Timestamp;
use crate::secret::Secret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fmt::Debug;
use std::path::Path;

const DIR: &str = "/state";
const ROW: &[u8] = b"meta/x";

/// What a row holds: the first byte says of which kind it is.
pub(crate) fn row(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind {
        b'r' => again::<Record>(bytes),
        b'a' => again::<Account>(bytes),
        b'o' => again::<OutboxRow>(bytes),
        b'h' => again::<HistoryRow>(bytes),
        b'i' => again::<Identity>(bytes),
        b'f' => framed(bytes),
        b's' => drop(sequence::parse(bytes)),
        b'e' => drop(escrow::unframed(bytes).map(<[u8]>::len)),
        _ => {}
    }
}

/// What can be read is written so that it is read alike.
fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(json: &[u8]) {
    let Ok(read) = rows::decode::<T>(Path::new(DIR), ROW, json) else { return };
    let written = rows::encode(ROW, &read).and_then(|it| rows::decode::<T>(Path::new(DIR), ROW, &it));
    assert_eq!(written.ok().as_ref(), Some(&read));
}

/// A frame whose checksum is right, so that what is behind it is reached: its kind, then its content or its parts.
fn framed(bytes: &[u8]) {
    let Some((kind, content)) = bytes.split_first() else { return };
    let value = rows::checked(ROW, *kind & 1, content);
    let parts = rows::parts(ROW, &value);
    assert!(parts.len() <= rows::PARTS_MOST, "{} parts", parts.len());
    let piece = |row: &[u8]| Ok(Some(rows::checked(row, *kind & 1, content)));
    if let Ok(whole) = rows::content(Path::new(DIR), ROW, &value, piece) {
        assert!(whole.len() <= rows::VALUE_BYTES.max(content.len()));
    }
}

/// A backup: the first byte says how far it is trusted. As it is; with a checksum that fits, so that what is behind it is
/// reached; or the contents alone, sealed as we seal them, so that what is behind the seal is reached.
pub(crate) fn snapshot(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let master = Secret::new(vec![1; 32]);
    let file = match kind {
        b'f' => bytes.to_vec(),
        b's' => [bytes, &Sha256::digest(bytes)].concat(),
        b'c' => sealed(bytes, &master),
        _ => return,
    };
    match Snapshot::parse(file).and_then(|it| it.verify(&master)) {
        Ok(counts) => {
            let all = counts.keys + counts.accounts + counts.secrets + counts.notices + counts.history + counts.answers;
            assert!(all <= data.len(), "{counts:?} in {} bytes", data.len());
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

/// Contents in a file of ours; none where it can't be written.
fn sealed(contents: &[u8], master: &Secret) -> Vec<u8> {
    let write = || {
        let seal = Seal::new(master)?;
        let header = Header {
            master: seal.fingerprint().clone(),
            made_at: Timestamp(0),
            state_format: rows::FORMAT,
            install: "0a1b2c3d".to_owned(),
            rekeyd: "0.1.0".to_owned(),
        };
        let mut writer = SnapshotWriter::new(&header, &seal)?;
        writer.add(contents)?;
        writer.finish()
    };
    let file: Result<Vec<u8>, super::StoreError> = write();
    file.unwrap_or_default()
}

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
#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn zz_corpus() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let e = |kind: u8, name: &[u8], content: &[u8]| {
            [&[kind][..], &(name.len() as u16).to_be_bytes(), &(content.len() as u32).to_be_bytes(), name, content].concat()
        };
        let master = Secret::new(vec![1; 32]);
        let seal = Seal::new(&master).unwrap();
        let row = |name: &str| std::fs::read(dir.join("rows").join(name)).unwrap()[1..].to_vec();
        let check = super::super::open::Check { master: seal.fingerprint().clone(), sealed: seal.seal(&super::super::seal::Place::Check, &Secret::new(b"rekeyd".to_vec())).unwrap(), before: None };
        let end = |rows: u64, answers: u64| e(0, b"", &[rows.to_be_bytes(), answers.to_be_bytes()].concat());
        let base = || [e(1, rows::FORMAT_ROW, b"1"), e(1, rows::CHECK_ROW, &rows::encode(rows::CHECK_ROW, &check).unwrap()), e(1, rows::IDENTITY_ROW, &row("identity"))].concat();
        let rec: Record = rows::decode(Path::new("x"), ROW, &row("record-00")).unwrap();
        let acc: Account = rows::decode(Path::new("x"), ROW, &row("account-00")).unwrap();
        let secret = seal.seal(&super::super::seal::Place::Version(&rec.name, 1), &Secret::new(b"hunter2".to_vec())).unwrap();
        let token: crate::core::names::Token = "0a1b2c3d-abcdef-billing-sms-1".parse().unwrap();
        let answer = seal.seal(&super::super::seal::Place::Answer(&token), &Secret::new(b"x".to_vec())).unwrap();
        let full = [base(), e(1, &rows::record(&rec.name), &row("record-00")), e(1, &rows::account(&acc.id), &row("account-00")), e(1, &rows::secret(&rec.name, 1), &secret),
            e(1, b"outbox/x", &row("outbox-00")), e(1, b"history/x", &row("history-00")), e(2, token.to_string().as_bytes(), &answer), e(3, b"", b"{}"), end(8, 1)].concat();
        let files: Vec<(&str, u8, Vec<u8>)> = vec![
            ("contents-empty", b'c', end(0, 0)),
            ("contents-least", b'c', [base(), end(3, 0)].concat()),
            ("contents-full", b'c', full.clone()),
            ("contents-twice", b'c', [base(), base(), end(6, 0)].concat()),
            ("contents-cut", b'c', full[..full.len() / 2].to_vec()),
            ("contents-length", b'c', [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff].to_vec()),
            ("file-whole", b'f', sealed(&full, &master)),
            ("file-foreign", b'f', b"rekeyd-backup x\n".to_vec()),
            ("file-newer", b'f', b"rekeyd-backup 2\n{}\n".to_vec()),
            ("summed-whole", b's', { let mut it = sealed(&full, &master); it.truncate(it.len() - 32); it }),
            ("summed-length", b's', { let mut it = sealed(b"", &master); let at = it.iter().enumerate().filter(|it| *it.1 == b'\n').nth(1).unwrap().0 + 1; it.truncate(at); it.extend([0xff; 4]); it }),
            ("summed-no-chunks", b's', { let mut it = sealed(b"", &master); let at = it.iter().enumerate().filter(|it| *it.1 == b'\n').nth(1).unwrap().0 + 1; it.truncate(at); it.extend([0; 4]); it }),
        ];
        for (name, kind, bytes) in files {
            let data = [&[kind][..], &bytes].concat();
            snapshot(&data);
            let got = match kind { b'c' => Snapshot::parse(sealed(&bytes, &master)), b's' => Snapshot::parse([&bytes[..], &Sha256::digest(&bytes)].concat()), _ => Snapshot::parse(bytes) };
            println!("{name}: {:?}", got.and_then(|it| it.verify(&master)).map_err(|it| it.to_string()));
            std::fs::write(dir.join("snapshot").join(name), data).unwrap();
        }
    }
}

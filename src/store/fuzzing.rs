//! Rows of the state, from bytes that nobody vouches for. Only for fuzzing, see `src/fuzzing.rs`.
use super::batch::{HistoryRow, OutboxRow};
use super::open::Identity;
use super::{escrow, rows, sequence};
use crate::core::account::Account;
use crate::core::record::Record;
use serde::Serialize;
use serde::de::DeserializeOwned;
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

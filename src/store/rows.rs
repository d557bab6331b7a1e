//! How rows look on the disk: their names, and what frames their values.
//!
//! A value is a CRC-32 over its row's name and its body, then the body: one byte that says which kind, then
//! - `Whole`: the content;
//! - `Parted`: how many parts, and the CRC-32 of them together; the parts are rows of their own (`part/…`).
//!
//! Where the content is structured, it is JSON: `{"format":1,"row":…}`.
use super::error::StoreError;
use crate::core::names::{AccountId, KeyName};
use crate::core::record::VersionNo;
use crate::core::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The format that this rekeyd writes. A newer one is refused, see [`StoreError::NewerFormat`].
pub(super) const FORMAT: u32 = 1;
/// The most bytes in one row of the database. Sled keeps up to 17 rows in one page, and writes a page of more than
/// 128 KiB to a file that it never syncs: 17 rows must stay below that.
pub(super) const PART_BYTES: usize = 4 * 1024;
/// The longest name of a row, in bytes.
pub(super) const ROW_NAME_BYTES: usize = 512;
/// The most bytes of one value, over all of its parts.
pub(super) const VALUE_BYTES: usize = 16 * 1024 * 1024;
/// The most parts of one value.
pub(super) const PARTS_MOST: usize = VALUE_BYTES / PART_BYTES;

/// A row's name and value.
pub(super) type Row = (Vec<u8>, Vec<u8>);

const WHOLE: u8 = 0;
const PARTED: u8 = 1;

pub(super) const RECORDS: &[u8] = b"record/";
pub(super) const ACCOUNTS: &[u8] = b"account/";
pub(super) const SECRETS: &[u8] = b"secret/";
pub(super) const DUE: &[u8] = b"due/";
pub(super) const OUTBOX: &[u8] = b"outbox/";
pub(super) const OUTBOX_DUE: &[u8] = b"outbox-due/";
pub(super) const OUTBOX_DEAD: &[u8] = b"outbox-dead/";
pub(super) const HISTORY: &[u8] = b"history/";
pub(super) const WAKE: &[u8] = b"wake/";
pub(super) const PARTS: &[u8] = b"part/";

pub(super) const FORMAT_ROW: &[u8] = b"system/format";
pub(super) const CHECK_ROW: &[u8] = b"system/check";
pub(super) const IDENTITY_ROW: &[u8] = b"system/identity";
pub(super) const SEQUENCE_ROW: &[u8] = b"system/sequence";
pub(super) const MANIFEST_ROW: &[u8] = b"system/manifest";

pub(super) fn record(name: &KeyName) -> Vec<u8> {
    [RECORDS, name.as_str().as_bytes()].concat()
}

pub(super) fn account(id: &AccountId) -> Vec<u8> {
    [ACCOUNTS, id.as_str().as_bytes()].concat()
}

pub(super) fn secret(name: &KeyName, version: VersionNo) -> Vec<u8> {
    format!("secret/{name}/{version}").into_bytes()
}

/// When a key is due: found by time.
pub(super) fn due(at: Timestamp, name: &KeyName) -> Vec<u8> {
    [DUE, &time(at), name.as_str().as_bytes()].concat()
}

/// When a key is due: found by name.
pub(super) fn wake(name: &KeyName) -> Vec<u8> {
    [WAKE, name.as_str().as_bytes()].concat()
}

pub(super) fn meta(name: &str) -> Vec<u8> {
    format!("meta/{name}").into_bytes()
}

/// A moment, so that rows sort by it.
pub(super) fn time(at: Timestamp) -> [u8; 8] {
    at.0.wrapping_sub(i64::MIN).to_be_bytes()
}

/// The moment, and what follows it, in a row's name; `None` where there is none.
pub(super) fn timed<'a>(prefix: &[u8], row: &'a [u8]) -> Option<(Timestamp, &'a [u8])> {
    let (at, rest) = row.strip_prefix(prefix)?.split_first_chunk::<8>()?;
    Some((Timestamp(i64::from_be_bytes(*at).wrapping_add(i64::MIN)), rest))
}

fn part(row: &[u8], number: u32) -> Vec<u8> {
    [PARTS, row, b"/", &number.to_be_bytes()].concat()
}

/// A row's name for people.
pub(super) fn show(row: &[u8]) -> String {
    row.escape_ascii().to_string()
}

/// Frames a value, as one row or as several.
pub(super) fn frame(row: &[u8], content: &[u8]) -> Result<Vec<Row>, StoreError> {
    let limited = |what: String, bytes: usize, limit: usize| {
        if bytes > limit { Err(StoreError::TooLarge { what, bytes, limit }) } else { Ok(()) }
    };
    limited(format!("the name of row {}", show(row)), row.len(), ROW_NAME_BYTES)?;
    limited(format!("row {}", show(row)), content.len(), VALUE_BYTES)?;
    if content.len() <= PART_BYTES {
        return Ok(vec![(row.to_owned(), checked(row, WHOLE, content))]);
    }
    let mut framed = Vec::new();
    let mut count = 0_u32;
    for piece in content.chunks(PART_BYTES) {
        let name = part(row, count);
        let value = checked(&name, WHOLE, piece);
        framed.push((name, value));
        count += 1;
    }
    let head = [count.to_be_bytes(), crc32fast::hash(content).to_be_bytes()].concat();
    framed.push((row.to_owned(), checked(row, PARTED, &head)));
    Ok(framed)
}

/// The names of the rows that hold the parts of a value; none where it is whole, or damaged.
pub(super) fn parts(row: &[u8], value: &[u8]) -> Vec<Vec<u8>> {
    let head = body(row, value).ok().filter(|(kind, _)| *kind == PARTED).and_then(|(_, head)| parted(head));
    head.map(|(count, _)| (0..count).map(|it| part(row, it)).collect()).unwrap_or_default()
}

/// Whether a row of the database is what was written, as far as it says so itself.
pub(super) fn is_intact(row: &[u8], value: &[u8]) -> bool {
    body(row, value).is_ok()
}

/// The content of a framed value. `fetch` reads the rows that hold its parts.
pub(super) fn content(
    dir: &Path,
    row: &[u8],
    value: &[u8],
    fetch: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<Vec<u8>, StoreError> {
    let broken = |row: &[u8], why: &str| damaged(dir, row, why);
    let (kind, head) = body(row, value).map_err(|why| broken(row, why))?;
    if kind == WHOLE {
        return Ok(head.to_owned());
    }
    let (count, sum) = parted(head).ok_or_else(|| broken(row, "its head makes no sense"))?;
    let mut whole = Vec::new();
    for name in (0..count).map(|it| part(row, it)) {
        let value = fetch(&name)?.ok_or_else(|| broken(&name, "it is gone"))?;
        let (_, piece) = body(&name, &value).map_err(|why| broken(&name, why))?;
        whole.extend_from_slice(piece);
    }
    if crc32fast::hash(&whole) == sum { Ok(whole) } else { Err(broken(row, "its parts don't belong together")) }
}

/// Says that a row is not what was written.
pub(super) fn damaged(dir: &Path, row: &[u8], why: &str) -> StoreError {
    StoreError::Damaged { dir: dir.to_owned(), row: show(row), why: why.to_owned() }
}

pub(super) fn checked(row: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
    let sum = checksum(row, &[&[kind], content]);
    [sum.to_be_bytes().as_slice(), &[kind], content].concat()
}

fn body<'a>(row: &[u8], value: &'a [u8]) -> Result<(u8, &'a [u8]), &'static str> {
    let (sum, rest) = value.split_first_chunk::<4>().ok_or("it is cut short")?;
    let (kind, content) = rest.split_first().ok_or("it is cut short")?;
    if u32::from_be_bytes(*sum) != checksum(row, &[rest]) {
        return Err("its checksum differs");
    }
    if matches!(*kind, WHOLE | PARTED) { Ok((*kind, content)) } else { Err("it is of an unknown kind") }
}

fn parted(head: &[u8]) -> Option<(u32, u32)> {
    let (count, sum) = head.split_first_chunk::<4>()?;
    let count = u32::from_be_bytes(*count);
    let sum = u32::from_be_bytes(sum.try_into().ok()?);
    (count as usize <= PARTS_MOST).then_some((count, sum))
}

fn checksum(row: &[u8], pieces: &[&[u8]]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(row);
    pieces.iter().for_each(|it| sum.update(it));
    sum.finalize()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Formatted<T> {
    format: u32,
    row: T,
}

/// Writes a structured row as JSON.
pub(super) fn encode<T: Serialize>(row: &[u8], value: &T) -> Result<Vec<u8>, StoreError> {
    let json = serde_json::to_vec(&Formatted { format: FORMAT, row: value });
    json.map_err(|it| StoreError::Encode { what: format!("row {}", show(row)), why: it.to_string() })
}

/// Reads a structured row.
pub(super) fn decode<T: DeserializeOwned>(dir: &Path, row: &[u8], json: &[u8]) -> Result<T, StoreError> {
    let formatted: Formatted<T> = serde_json::from_slice(json).map_err(|it| damaged(dir, row, &it.to_string()))?;
    if formatted.format == FORMAT {
        Ok(formatted.row)
    } else {
        Err(damaged(dir, row, &format!("it has format {}", formatted.format)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(rows: &BTreeMap<Vec<u8>, Vec<u8>>, row: &[u8]) -> Result<Vec<u8>, StoreError> {
        content(Path::new("/state"), row, &rows[row], |it| Ok(rows.get(it).cloned()))
    }

    #[test]
    fn a_value_of_any_length_reads_back() {
        for length in [0, 1, PART_BYTES, PART_BYTES + 1, 10 * PART_BYTES + 7] {
            let value: Vec<u8> = (0..length).map(|it| (it % 251) as u8).collect();
            let rows = BTreeMap::from_iter(frame(b"meta/x", &value).unwrap());
            assert!(rows.values().all(|it| it.len() <= PART_BYTES + 5));
            assert_eq!(read(&rows, b"meta/x").unwrap(), value, "{length} bytes");
            assert_eq!(parts(b"meta/x", &rows[b"meta/x".as_slice()]).len(), rows.len() - 1);
        }
    }

    #[test]
    fn any_bent_bit_shows() {
        for length in [5, PART_BYTES + 5] {
            let rows = BTreeMap::from_iter(frame(b"meta/x", &vec![7; length]).unwrap());
            for (name, value) in &rows {
                for at in 0..value.len().min(64) {
                    let mut bent = rows.clone();
                    bent.get_mut(name).unwrap()[at] ^= 4;
                    assert!(matches!(read(&bent, b"meta/x"), Err(StoreError::Damaged { .. })), "byte {at}");
                }
            }
        }
    }

    #[test]
    fn a_value_under_another_rows_name_is_damage_that_names_the_row() {
        let (_, value) = frame(b"record/a", b"{}").unwrap().remove(0);
        let rows = BTreeMap::from([(b"record/b".to_vec(), value)]);
        let error = read(&rows, b"record/b").unwrap_err().to_string();
        assert!(error.contains("record/b") && error.contains("rekeyd restore"), "{error}");
    }

    #[test]
    fn a_value_without_end_is_refused() {
        assert!(matches!(frame(b"meta/x", &vec![0; VALUE_BYTES + 1]), Err(StoreError::TooLarge { .. })));
        assert!(matches!(frame(&[b'x'; ROW_NAME_BYTES + 1], b""), Err(StoreError::TooLarge { .. })));
    }

    #[test]
    fn moments_sort_as_time_goes() {
        let moments = [i64::MIN, -1, 0, 1, 1_790_000_000_000, i64::MAX].map(Timestamp);
        assert!(moments.map(time).is_sorted());
        for at in moments {
            let row = [DUE, &time(at), b"a"].concat();
            assert_eq!(timed(DUE, &row), Some((at, b"a".as_slice())));
        }
    }
}

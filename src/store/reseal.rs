//! Exchanges the master key: everything that is sealed is sealed anew, in one commit, so that the state opens with the old
//! key or with the new one, and never with neither. Answers in escrow lie beside the database: each is there under both keys
//! until that commit is durable, and whoever opens the state takes the one that fits.
use super::contents::version;
use super::disk::{Disk, sync};
use super::draft::Draft;
use super::error::{StoreError, at};
use super::escrow::{self, Escrow};
use super::lock::Lock;
use super::open::{Before, Check, check_format, check_master, read_check};
use super::rescue::DAMAGED;
use super::restore::{give_to_owner, settle};
use super::seal::{Place, Seal};
use super::{row_content, rows};
use crate::core::names::{Fingerprint, Token};
use crate::secret::Secret;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// What a reseal came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resealed {
    /// The master key that opened the state before.
    pub from: Fingerprint,
    /// The one that opens it now.
    pub to: Fingerprint,
    /// How many secrets were sealed anew; 0 where that was done before.
    pub secrets: usize,
    /// Whether there was nothing to do.
    pub already: bool,
}

/// Seals the state in `dir` with another master key. No daemon may have it open. `write` is what the config must say for the
/// new one; it is told to whoever starts with the old one.
///
/// # Errors
/// Where neither key opens the state, or it is in use, damaged, or can't be written. Then the old key still opens it, or the
/// new one does already: the next try finds out.
pub fn reseal(dir: &Path, old: &Secret, new: &Secret, write: &str) -> Result<Resealed, StoreError> {
    let (old, new) = (Seal::new(old)?, Seal::new(new)?);
    if !dir.join("sled").exists() {
        return Err(StoreError::NoState { dir: dir.to_owned() });
    }
    let _lock = Lock::take(dir)?;
    settle(dir)?;
    let disk = Disk::open(&dir.join("sled"))?;
    check_format(&disk, dir)?;
    let (from, to) = (old.fingerprint().clone(), new.fingerprint().clone());
    let already = read_check(&disk)?.master == to;
    let mut secrets = 0;
    if already {
        check_master(&disk, dir, &new)?;
    } else {
        check_master(&disk, dir, &old)?;
        reseal_answers(dir, &old, &new)?;
        secrets = reseal_rows(&disk, &old, &new, write)?;
        fail_point!(RowsResealed);
    }
    drop(disk);
    forget_damaged(dir)?;
    settle_answers(&dir.join(escrow::FOLDER), &to)?;
    give_to_owner(dir, &dir.join("sled"))?;
    Ok(Resealed { from, to, secrets, already })
}

/// Takes the answers that a reseal wrote under the master key that holds, and removes those under another. To be called when it
/// is known which one holds.
pub(super) fn settle_answers(answers: &Path, holds: &Fingerprint) -> Result<(), StoreError> {
    if !answers.exists() {
        return Ok(());
    }
    let mut moved = false;
    for entry in fs::read_dir(answers).map_err(at(answers))? {
        let path = entry.map_err(at(answers))?.path();
        let Some((token, master)) = path.file_name().and_then(|it| it.to_str()).and_then(|it| it.rsplit_once('.'))
        else {
            continue;
        };
        if token.parse::<Token>().is_err() {
            continue;
        }
        moved = true;
        let done =
            if master == holds.as_str() { fs::rename(&path, answers.join(token)) } else { fs::remove_file(&path) };
        done.map_err(at(&path))?;
        fail_point!(AnswerSettled);
    }
    if moved { sync(answers) } else { Ok(()) }
}

/// A damaged database that was kept aside is sealed with the old key. Whoever exchanges the key, because others may have it,
/// wants nothing left that it opens.
fn forget_damaged(dir: &Path) -> Result<(), StoreError> {
    let damaged = dir.join(DAMAGED);
    match fs::remove_dir_all(&damaged) {
        Ok(()) => {
            fail_point!(DamagedRemoved);
            sync(dir)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(at(&damaged)(error)),
    }
}

fn reseal_answers(dir: &Path, old: &Seal, new: &Seal) -> Result<(), StoreError> {
    let answers = dir.join(escrow::FOLDER);
    for (token, sealed) in Escrow::sealed(dir)? {
        // One that did not open before opens no more afterwards; it is left as it is.
        let Some(answer) = old.open(&Place::Answer(&token), &sealed) else { continue };
        let sealed = new.seal(&Place::Answer(&token), &answer)?;
        Escrow::put_sealed(&answers, &token, &format!(".{}", new.fingerprint()), &sealed)?;
        give_to_owner(dir, &answers)?;
        fail_point!(AnswerResealed);
    }
    Ok(())
}

fn reseal_rows(disk: &Disk, old: &Seal, new: &Seal, write: &str) -> Result<usize, StoreError> {
    let mut draft = Draft::new(disk);
    let mut secrets = 0;
    for row in disk.prefix(rows::SECRETS) {
        let (row, _) = row?;
        let damaged = |why| rows::damaged(disk.dir(), &row, why);
        let of = row.strip_prefix(rows::SECRETS).and_then(version);
        let (name, number) = of.ok_or_else(|| damaged("it is the secret of no version"))?;
        let place = Place::Version(&name, number);
        let sealed = row_content(disk, &row)?.ok_or_else(|| damaged("it is gone"))?;
        let secret = old.open(&place, &sealed).ok_or_else(|| damaged("it does not open with the master key"))?;
        draft.put(&row, &new.seal(&place, &secret)?)?;
        secrets += 1;
    }
    let sealed = new.seal(&Place::Check, &Secret::new(b"rekeyd".to_vec()))?;
    let before = Before { master: old.fingerprint().clone(), write: write.to_owned() };
    draft.put_json(rows::CHECK_ROW, &Check { master: new.fingerprint().clone(), sealed, before: Some(before) })?;
    disk.apply(&draft.into_writes()?)?;
    Ok(secrets)
}

//! Damage to files, as disks and people do it.
use super::chance::Chance;
use std::fs;
use std::path::{Path, PathBuf};

/// Damages one file of a state somewhere; says what was done. The database is met most often, for it is the largest.
pub(crate) fn damage(state: &Path, chance: &mut Chance) -> String {
    let path = pick(state, chance);
    let mut bytes = fs::read(&path).unwrap();
    let at = chance.below(bytes.len() as u64) as usize;
    let what = match chance.below(5) {
        0 | 1 => {
            bytes[at] ^= 1 << chance.below(8);
            "a bent bit"
        }
        2 => {
            let end = bytes.len().min(at + 512);
            bytes[at..end].fill(0);
            "512 zeros"
        }
        3 => {
            let end = bytes.len().min(at + 64);
            bytes[at..end].iter_mut().for_each(|it| *it = chance.next() as u8);
            "64 bytes of garbage"
        }
        _ => {
            bytes.truncate(at);
            "a cut"
        }
    };
    fs::write(&path, bytes).unwrap();
    format!("{what} at {at} of {}", path.strip_prefix(state).unwrap_or(&path).display())
}

fn pick(state: &Path, chance: &mut Chance) -> PathBuf {
    let mut small: Vec<_> = fs::read_dir(state.join("sled")).unwrap().map(|it| it.unwrap().path()).collect();
    small.push(state.join("sequence"));
    small.retain(|it| it.is_file() && fs::metadata(it).is_ok_and(|it| it.len() > 0));
    small.sort();
    if chance.below(10) < 8 { state.join("sled/db") } else { small[chance.below(small.len() as u64) as usize].clone() }
}

//! What the fuzzer reads of the wire format. Only for fuzzing, see `src/fuzzing.rs`.
use super::super::Issued;
use super::wire::KeyShown;
pub(in super::super) use super::wire::{moment, written};
use crate::secret::Secret;

/// All keys of a list.
pub(in super::super) fn list(body: &Secret) -> Vec<Issued> {
    KeyShown::read_list(body).unwrap_or_default().into_iter().map(KeyShown::issued).collect()
}

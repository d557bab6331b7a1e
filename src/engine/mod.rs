//! The engine: the five verbs, and the only caller of effects.
pub mod handle;

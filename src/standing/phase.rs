//! The phase of a key as users know it.
use super::Subject;
use crate::core::record::{Phase, Record};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }
        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// As scripts and people read it.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }
    };
}
pub(super) use words;

words! {
    /// Where a key stands. `overlap` and `revoke` are derived: an old key is retired beside a steady current one.
    PhaseName {
        /// Not ours yet.
        Unadopted = "unadopted",
        /// Read before anything is done.
        Reobserve = "reobserve",
        /// Nothing to do.
        Steady = "steady",
        /// The owners were told of a cutover.
        Announce = "announce",
        /// A new key is being issued.
        Create = "create",
        /// Is the new key accepted?
        Verify = "verify",
        /// The new key is on its way to the targets.
        Deliver = "deliver",
        /// The old key is still accepted beside the new one.
        Overlap = "overlap",
        /// The overlap is over; the old key is being revoked.
        Revoke = "revoke",
        /// Waits for a human.
        Halted = "halted",
        /// The config no longer names it.
        Unmanaged = "unmanaged",
    }
}

/// The phase as users know it: two of the core's are parts of one of theirs, and two of theirs are derived.
pub fn phase_name(subject: &Subject<'_>) -> PhaseName {
    let name = bare_phase(subject.phase());
    if name == PhaseName::Halted {
        return name;
    }
    if subject.config.is_none() {
        return PhaseName::Unmanaged;
    }
    match subject.record.and_then(Record::retiring) {
        Some(old) if name == PhaseName::Steady && subject.now < old.after => PhaseName::Overlap,
        Some(_) if name == PhaseName::Steady => PhaseName::Revoke,
        _ => name,
    }
}

/// The phase of the core in the users' words, without what is derived.
pub fn bare_phase(phase: &Phase) -> PhaseName {
    match phase {
        Phase::Unadopted => PhaseName::Unadopted,
        Phase::Reobserve { .. } => PhaseName::Reobserve,
        Phase::Steady => PhaseName::Steady,
        Phase::Announce { .. } => PhaseName::Announce,
        Phase::Create(_) => PhaseName::Create,
        Phase::Judge { .. } | Phase::Verify { .. } => PhaseName::Verify,
        Phase::Deliver { .. } | Phase::Cutover { delivered_at: None, .. } => PhaseName::Deliver,
        Phase::Cutover { .. } => PhaseName::Verify,
        Phase::Halted { .. } => PhaseName::Halted,
    }
}

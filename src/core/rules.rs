//! The rules that the tests must be able to miss. In a normal build every rule holds and this file costs nothing; with the
//! feature `mutations` a test can switch one off and see that its scene notices.

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// A rule of the rotation.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Rule { $($(#[$doc])* $name),+ }
        impl Rule {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];
        }
    };
}

rules! {
    /// A refusal counts only after a key was seen accepted from here.
    Control,
    /// A refusal counts only after `accept_within`.
    AcceptWithin,
    /// Each attempt has a fresh token.
    FreshToken,
    /// Lost creates are looked for until they ended or were reported.
    Watch,
    /// Only tokens of this epoch are revoked.
    Epoch,
    /// A key that was ours before is never adopted as new.
    Unseen,
    /// A found key is adopted only if it is accepted.
    AliveBeforeAdopt,
    /// Unknown content of a target is not overwritten by healing.
    HealKnown,
    /// `held.maybe` grows before the write.
    HeldIntent,
    /// Nothing that a target holds or may hold is revoked.
    HeldNowhere,
    /// Nothing is revoked before every unit that is to read the new key has read it.
    ReadByAll,
    /// A key is revoked only while the current one is accepted.
    CurrentAlive,
    /// The overlap is waited for.
    Overlap,
    /// A dead old key turns the overlap order into a cutover.
    DeadOldKey,
    /// Creates at an account that does not keep old keys are serialised.
    Lock,
    /// The budget is kept.
    Budget,
    /// A wait for a verification ends.
    VerifyEnds,
    /// An absence must last before it is believed.
    Settle,
    /// Somebody else's changes are answered once.
    DriftLimit,
    /// A restored state reads before it acts.
    Reobserve,
    /// Another installation's token halts.
    AnotherDaemon,
    /// A create without an answer that can't be looked for is reported.
    ReportLost,
    /// More new keys than creates halt.
    Difference,
    /// A created key that nobody waits for is kept and retired.
    Stray,
    /// A suspect clock holds creates and revocations.
    Clock,
    /// A rotation begins in a window.
    Window,
    /// Nothing begins in a freeze.
    Freeze,
    /// Keys with the same word are replaced in one window.
    Together,
    /// `abandon` is refused near the old key's end.
    AbandonSafe,
    /// A promoted key's predecessor is retired.
    RetireOld,
    /// A truncated list proves no absence.
    Truncated,
    /// A cutover is announced.
    Announce,
    /// Nobody is asked for a key who can't be.
    ByHand,
    /// Nothing is begun or revoked while the key is paused.
    Pause,
    /// Only a previous version that is accepted becomes current again.
    RollbackAlive,
    /// No record is forgotten while a version of it may be live.
    ForgetEnded,
}

#[cfg(not(feature = "mutations"))]
pub(super) const fn holds(_rule: Rule) -> bool {
    true
}

#[cfg(feature = "mutations")]
pub use switch::{holds, switch_off};

#[cfg(feature = "mutations")]
mod switch {
    use super::Rule;
    use std::cell::Cell;

    thread_local! {
        static OFF: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// Whether the rule holds on this thread.
    pub fn holds(rule: Rule) -> bool {
        OFF.get() != Some(rule)
    }

    /// Switches one rule off on this thread, or all on again.
    pub fn switch_off(rule: Option<Rule>) {
        OFF.set(rule);
    }
}

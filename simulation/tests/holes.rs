//! The ways in which a rotation goes wrong, and the rule that closes each: one named test a rule, on the pure core.
//!
//! Two dozen traces were collected in which a plausible design loses a key, revokes one in use, or stops for ever. Each test
//! here tells its trace in its comment, drives `look`, `decide`, `apply` and `command` along it by hand, and asserts exactly
//! what the core does then. What is held elsewhere is named here, by the file in the daemon's own `tests/`:
//!
//! - Hole 5, a consumer is reloaded before its file is written: `targets.rs`,
//!   `then_never_runs_before_the_new_key_is_in_place`.
//! - Hole 12, a failed sync is ignored: `store_crash.rs`, `a_failed_sync_ends_all_writing_and_no_reading`; and an answer that
//!   can't be parsed is thrown away: `src/store/escrow.rs`, `an_answer_is_kept_until_it_is_forgotten`.
//! - Hole 13, what was certainly not sent: `providers.rs`, `what_never_left_is_known_not_to_have_left` and
//!   `a_status_that_proves_nothing_leaves_the_create_open`; no redirect: `a_redirect_is_not_followed`.
//! - Hole 24, a revoked key that is gone: `provider_kinds.rs`, `a_revoke_ends_when_the_key_is_shown_disabled_or_gone` and
//!   `an_id_never_reaches_another_part_of_the_api`.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // A test that panics has failed, as it should.
#[path = "holes/accounts.rs"]
mod accounts;
#[path = "holes/belief.rs"]
mod belief;
#[path = "holes/bench.rs"]
mod bench;
#[path = "holes/boundaries.rs"]
mod boundaries;
#[path = "holes/by_hand.rs"]
mod by_hand;
#[path = "holes/calendar.rs"]
mod calendar;
#[path = "holes/credentials.rs"]
mod credentials;
#[path = "holes/crowds.rs"]
mod crowds;
#[path = "holes/cutover.rs"]
mod cutover;
#[path = "holes/drift.rs"]
mod drift;
#[path = "holes/ends.rs"]
mod ends;
#[path = "holes/escalation.rs"]
mod escalation;
#[path = "holes/freezes.rs"]
mod freezes;
#[path = "holes/healing.rs"]
mod healing;
#[path = "holes/incidents.rs"]
mod incidents;
#[path = "holes/issuing.rs"]
mod issuing;
#[path = "holes/leftovers.rs"]
mod leftovers;
#[path = "holes/lifetimes.rs"]
mod lifetimes;
#[path = "holes/moments.rs"]
mod moments;
#[path = "holes/moves.rs"]
mod moves;
#[path = "holes/retiring.rs"]
mod retiring;
#[cfg(feature = "mutations")]
#[path = "holes/rules.rs"]
mod rules;
#[path = "holes/schedule.rs"]
mod schedule;
#[path = "holes/seconds.rs"]
mod seconds;
#[path = "holes/tellings.rs"]
mod tellings;
#[path = "holes/timing.rs"]
mod timing;
#[path = "holes/tokens.rs"]
mod tokens;
#[path = "holes/verbs.rs"]
mod verbs;
#[path = "holes/wars.rs"]
mod wars;

//! The rotation logic: pure. No I/O, no clock, no randomness, no secrets, no async.
//!
//! Read in this order: the words ([`names`], [`time`]), the state ([`record`], [`account`]), what binds a decision
//! ([`policy`], [`facts`]), what it comes to ([`plan`]), and then the decision itself: [`decide`](mod@decide) is the list
//! of its steps, `pass` the state they share, `gate` what stands before a create, [`calendar`] when something may begin, [`schedule`] which
//! of the moments that are left for it each key gets, `advance` the
//! transitions, `recover` the lost answers, `drift` somebody else's changes, `strangers` a second daemon, [`stuck`] what takes too long, [`by_hand`] the keys that
//! only a human can replace, `reobserve` a restored state, `deliver` the targets, `empty` those of a key out of service, `retire` the old
//! keys, [`reader`] and [`credential`] the units that fetch the key themselves, [`notices`] what is told, `next` what comes after it, [`incidents`] what is told that belongs to no key, [`queue`] what of it goes when, [`login`] when a refused one is tried again, [`digest`](mod@digest) the summary of a week, [`unmanaged`] keys that nobody looks after any
//! more. [`apply`](mod@apply) folds in what
//! came of an action, [`command`](mod@command) what an operator says.
pub mod account;
pub mod advance;
pub mod apply;
pub mod backoff;
pub mod by_hand;
pub mod calendar;
mod clamp;
pub mod command;
pub mod credential;
pub mod decide;
mod deliver;
pub mod digest;
mod drift;
pub mod due;
mod empty;
pub mod facts;
pub mod freeze;
pub mod gate;
mod held;
pub mod incidents;
mod local;
pub mod login;
pub mod names;
mod next;
pub mod notices;
pub mod pass;
pub mod plan;
pub mod policy;
pub mod queue;
pub mod reader;
pub mod record;
mod recover;
mod reobserve;
pub mod retire;
pub mod rules;
pub mod schedule;
mod strangers;
pub mod stuck;
pub mod time;
pub mod unmanaged;
pub mod window;
pub mod wish;

//! rekeyd replaces API keys before they expire, and never leaves a consumer with a dead one. This is the tour, in reading
//! order; `docs/architecture.md` has the drawings, the invariants, and the reasons.
//!
//! Each module uses only those that stand above it here; those of one block don't see each other.

/// The rotation logic, pure: what is known of a key, what the world shows, and what to do next. Begin with
/// [`decide`](mod@core::decide).
pub mod core;

/// The one place that reads the time.
pub mod clock;
/// Durations as people write and read them.
pub mod humane;
/// Secret bytes, which are wiped and can't be printed, and the places that they are read from.
pub mod secret;

/// The one HTTP client: it says of each call whether its bytes certainly never left.
pub mod http;

/// How owners are told: email and webhooks.
pub mod notifiers;
/// The services that issue keys, one file a kind, each with what it can do as data.
pub mod providers;
/// The durable state: one transaction a commit, and on the disk before it counts.
pub mod store;
/// The places that keys are delivered to: files and commands.
pub mod targets;

/// The config, from its files to settings in which nothing can be wrong any more.
pub mod config;

/// The loop: observe, decide, commit, act, record. The only caller of effects.
pub mod engine;

/// The control socket: HTTP over a Unix socket, for the commands and for scripts.
pub mod control;
/// What the daemon is to its system: signals, systemd, the log.
pub mod service;
/// The four services, a mail sink and a webhook receiver on loopback, for the demo and the tests.
pub mod simulator;

/// The command line, one file a subcommand.
pub mod cli;

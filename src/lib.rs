//! rekeyd replaces API keys before they expire, and never leaves a consumer with a dead one. This is the tour, in reading
//! order; `docs/architecture.md` has the drawings, the invariants, and the reasons.
//!
//! 1. [`core`]: the rotation logic, pure: what is known of a key, what the world shows, what to do next. Begin with
//!    [`decide`](core::decide::decide).
//! 2. [`engine`]: the loop, which observes, decides, commits, acts and records. The only caller of effects.
//! 3. [`store`]: the durable state; one transaction a commit, and on the disk before it counts.
//! 4. [`providers`]: the services that issue keys, one file a kind, each with what it can do as data.
//! 5. [`targets`]: the places that keys are delivered to, files and commands.
//! 6. [`notifiers`]: how owners are told, by email and by webhooks.
//! 7. [`http`]: the one HTTP client, which says of each call whether its bytes certainly never left, and signed webhooks.
//!    [`command`]: programs of the owner's, run without harm to us. [`socket`]: Unix sockets of ours.
//!    [`systemd`]: what systemd is told.
//! 8. [`secret`]: secret bytes, which are wiped and can't be printed, and the places that they are read from.
//! 9. [`clock`]: the one place that reads the time. [`humane`]: durations as people write them.
//! 10. [`config`]: from the files to settings in which nothing can be wrong any more.
//! 11. [`control`]: the control socket, HTTP over a Unix socket, for the commands and for scripts. [`credentials`]: the socket
//!     at which units fetch their keys.
//! 12. [`standing`]: how each key stands, and what is wrong with it. [`web`]: metrics and health over TCP.
//! 13. [`service`]: what the daemon is to its system: signals, the log, and the hardening of the process.
//! 14. [`cli`]: the command line, one file a subcommand.
//! 15. [`simulator`]: the four services, a mail server and a webhook receiver on loopback, for the demo and the tests.
//! 16. [`failpoint`]: where a test lets the daemon die; in no binary that is shipped.
//!
//! Below they stand in layers: each uses only those above it, and those of one block don't see each other.

#[macro_use]
pub mod failpoint;

pub mod core;

pub mod clock;
pub mod humane;
pub mod secret;

pub mod command;
pub mod http;
pub mod socket;
pub mod systemd;

pub mod notifiers;
pub mod providers;
pub mod store;
pub mod targets;

pub mod config;

pub mod engine;

pub mod standing;

pub mod control;
pub mod credentials;
pub mod service;
pub mod simulator;
pub mod web;

pub mod cli;

/// For fuzzing alone.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;

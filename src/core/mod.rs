//! The rotation logic: pure. No I/O, no clock, no randomness, no secrets, no async. Read in this order:
//! the words (`names`, `time`), the state (`record`, `account`), what binds a decision (`policy`, `facts`),
//! what it comes to (`plan`), and then the decision itself (`decide`, `apply`, `command`).
pub mod account;
pub mod apply;
pub mod command;
pub mod decide;
pub mod facts;
pub mod names;
pub mod plan;
pub mod policy;
pub mod record;
pub mod time;
pub mod window;

//! The control socket: what operators see and ask for. `protocol` is the JSON on the wire, `view` derives it from what the
//! engine knows, `server` answers on the socket, `client` asks there.
mod accounts;
mod adopt;
mod backup;
pub mod client;
mod commands;
mod connections;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod login;
mod owners;
pub mod problem;
pub mod protocol;
pub mod requests;
pub mod rights;
pub mod server;
mod supply;
mod verbs;
pub mod view;

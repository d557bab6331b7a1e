//! The TCP listener: metrics and health for machines, read-only and without a secret. `listener` is the server and its
//! limits, `pages` answers a path, `metrics` tells what the engine knows in the text format of Prometheus.
mod exposition;
mod listener;
mod metrics;
mod pages;
mod process;
mod ready;

pub use exposition::Family;
pub use listener::{BindError, CONNECTION_WITHIN, CONNECTIONS, HEADER_BYTES, HEADER_WITHIN, Listener};
pub use metrics::{FAMILIES, metrics};
pub use pages::{ANSWER_WITHIN, UNREAD_BYTES};

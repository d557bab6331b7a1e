//! What a server's headers say of time. Only for fuzzing, see `src/fuzzing.rs`.
use super::RETRY_AFTER_MOST;
use super::moments::{http_date, retry_after};
use crate::core::time::Timestamp;

/// A date, and a wait that ends in time.
pub(crate) fn dates(text: &str) {
    let _ = http_date(text);
    let now = Timestamp(1_790_000_000_000);
    if let Some(until) = retry_after(text, now, RETRY_AFTER_MOST) {
        assert!(until <= now.plus(RETRY_AFTER_MOST), "{text:?} asks to wait until {until}");
    }
}

//! How long to wait before trying again: pure functions of what is stored, so that a restart changes nothing.
use super::names::KeyName;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// The shortest wait between two tries.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// The longest wait between two tries.
pub const LONGEST: Duration = Duration::from_secs(60 * 60);
/// The wait after a call that was certainly not sent, which counts as no failure.
pub const NOT_SENT: Duration = Duration::from_secs(5);
/// The wait of a key for its turn to create, where nobody calls it sooner.
pub const TURN: Duration = Duration::from_secs(5 * 60);
/// The longest wait between two looks at something that is expected to change by itself.
const LONGEST_POLL: Duration = Duration::from_secs(30);
/// As expiry nears, at least this many tries must still fit.
const TRIES_LEFT: u32 = 20;

/// The wait after so many failures in a row: doubling from [`SHORTEST`] up to [`LONGEST`], spread by up to a quarter over
/// the keys, and shorter as expiry nears.
pub fn after(failures: u32, name: &KeyName, left: Option<Duration>) -> Duration {
    let doubled = SHORTEST.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let wait = doubled.min(LONGEST);
    let wait = wait + wait.mul_f64(spread(name, failures) / 4.0);
    let most = left.map_or(LONGEST, |it| it / TRIES_LEFT).max(SHORTEST);
    wait.min(most)
}

/// The wait before looking again at something that has been awaited for so long: a quarter of that.
pub fn poll(waited: Duration) -> Duration {
    (waited / 4).clamp(SHORTEST, LONGEST_POLL)
}

/// The wait before looking again for something that may never come: a quarter of the time for which it was looked for.
pub fn look(waited: Duration) -> Duration {
    (waited / 4).clamp(SHORTEST, LONGEST)
}

/// A number from 0 to 1 that is the same whenever it is asked for.
pub fn spread(name: &KeyName, salt: u32) -> f64 {
    let mut hash = Sha256::new();
    hash.update(name.as_str().as_bytes());
    hash.update(salt.to_be_bytes());
    let bytes = hash.finalize();
    f64::from(u16::from_be_bytes([bytes[0], bytes[1]])) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_never_differ_between_two_askings() {
        let name: KeyName = "a".parse().unwrap();
        let waits: Vec<_> = (1..40).map(|it| after(it, &name, None)).collect();
        assert!(waits[0] >= SHORTEST && waits[0] <= SHORTEST * 5 / 4);
        assert!(waits[3] >= SHORTEST * 8 && waits[3] <= SHORTEST * 10);
        assert!(waits.iter().all(|it| *it <= LONGEST * 5 / 4));
        assert_eq!(waits, (1..40).map(|it| after(it, &name, None)).collect::<Vec<_>>());
    }

    #[test]
    fn waits_are_shorter_as_expiry_nears_but_never_too_short() {
        let name: KeyName = "a".parse().unwrap();
        assert_eq!(after(30, &name, Some(Duration::from_secs(200))), Duration::from_secs(10));
        assert_eq!(after(30, &name, Some(Duration::ZERO)), SHORTEST);
    }
}

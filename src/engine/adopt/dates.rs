//! What an operator says of the age of a key that is to be adopted.
use super::{AdoptRefused, Offer};
use crate::core::record::Expiry;
use crate::core::time::Timestamp;
use std::time::Duration;

/// Since when, until when, and who says so.
pub(super) type Dates = (Option<Timestamp>, Option<Timestamp>, Expiry);

/// What the operator's word comes to; none where nothing is said. `life` is the key's `valid_for`.
///
/// # Errors
/// Where it can't be true.
pub(super) fn said(offer: &Offer, life: Option<Duration>, now: Timestamp) -> Result<Option<Dates>, AdoptRefused> {
    if offer.issued_at.is_some_and(|at| at > now) {
        let remedy = "give the moment when it was issued";
        return Err(AdoptRefused::Dates("--issued-at lies in the future".to_owned(), remedy));
    }
    let reckoned = if life.is_some() { Expiry::Assumed } else { Expiry::Unknown };
    match (offer.valid_to, offer.issued_at, offer.age_unknown) {
        (Some(end), _, false) if end <= now => {
            let remedy = "adopt the key that is in use now, or set initial = \"create\"";
            Err(AdoptRefused::Dates(format!("it expired at {end}"), remedy))
        }
        (Some(end), from, false) => Ok(Some((from, Some(end), Expiry::Stated))),
        (None, Some(from), false) => Ok(Some((Some(from), life.map(|it| from.plus(it)), reckoned))),
        (None, None, true) => Ok(Some((None, None, Expiry::Unknown))),
        (None, None, false) => Ok(None),
        (_, _, true) => {
            Err(AdoptRefused::Dates("--age-unknown contradicts a stated date".to_owned(), "give one of them"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::record::Actor;
    use crate::engine::handle::By;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn check(
        valid_to: Option<Timestamp>,
        issued_at: Option<Timestamp>,
        age_unknown: bool,
    ) -> Result<Option<Dates>, ()> {
        let by = By { actor: Actor { uid: 0, login_uid: None, user: None }, reason: None };
        let offer = Offer {
            secret: None,
            expected: None,
            valid_to,
            issued_at,
            age_unknown,
            id: None,
            unverified: false,
            deliver: false,
            dry_run: false,
            by,
        };
        said(&offer, Some(365 * DAY), NOW).map_err(|_| ())
    }

    #[test]
    fn an_end_is_stated_or_reckoned_from_the_issue() {
        let (begin, end) = (Some(NOW.minus(DAY)), Some(NOW.plus(DAY)));
        assert_eq!(check(end, None, false), Ok(Some((None, end, Expiry::Stated))));
        assert_eq!(check(None, begin, false), Ok(Some((begin, Some(NOW.plus(364 * DAY)), Expiry::Assumed))));
        assert_eq!(check(None, None, true), Ok(Some((None, None, Expiry::Unknown))));
        assert_eq!(check(None, None, false), Ok(None));
    }

    #[test]
    fn what_can_not_be_true_is_refused() {
        let (past, future) = (Some(NOW.minus(DAY)), Some(NOW.plus(DAY)));
        assert_eq!(check(past, None, false), Err(()), "it has expired");
        assert_eq!(check(None, future, false), Err(()), "it is not issued yet");
        assert_eq!(check(future, None, true), Err(()), "its age is known");
    }
}

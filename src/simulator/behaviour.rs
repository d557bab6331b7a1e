//! How a service behaves while nothing goes wrong: what its document leaves open, and what a deployment may vary.
use super::truth::Service;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The lasting behaviour of one service. It can be changed at any time, and holds from the next request on.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// How long every answer takes at least, in milliseconds; the effect happens half-way.
    pub latency_ms: u64,
    /// How much longer an answer may take, by chance, in milliseconds.
    pub jitter_ms: u64,
    /// How long a key lives for which no end was asked, in milliseconds; 0: for ever.
    pub lifetime_ms: u64,
    /// A create disables all keys that were there before. Always so at Mobivate.
    pub create_revokes: bool,
    /// A new key is refused for this long, in milliseconds.
    pub accept_after_ms: u64,
    /// Every key is refused wherever it is used.
    pub blind_probe: bool,
    /// The probe answers 403 to a key that it accepts: authenticated, but without the scope.
    pub probe_forbidden: bool,
    /// Lists and reads show the account as it was this long ago, in milliseconds.
    pub lag_ms: u64,
    /// Lists and reads show a mask where the secret was (Infobip).
    pub mask_secrets: bool,
    /// The status of a successful create at Infobip: 201 by its newer document, 200 by the older.
    pub create_status: u16,
    /// Errors in Infobip's newer form (`errorCode`) instead of `requestError`.
    pub new_errors: bool,
    /// `name=` in Infobip's list finds names that contain the text, instead of only those that equal it.
    pub name_contains: bool,
    /// The most creates in 24 hours; 0: no limit.
    pub creates_per_day: u32,
    /// `GET /account` shows the Single-Invoice account with its keys.
    pub list_call: bool,
    /// How far the service's clock, as its `Date` header shows it, is ahead, in milliseconds.
    pub clock_ahead_ms: i64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            latency_ms: 0,
            jitter_ms: 0,
            lifetime_ms: 0,
            create_revokes: false,
            accept_after_ms: 0,
            blind_probe: false,
            probe_forbidden: false,
            lag_ms: 0,
            mask_secrets: false,
            create_status: 201,
            new_errors: true,
            name_contains: false,
            creates_per_day: 0,
            list_call: false,
            clock_ahead_ms: 0,
        }
    }
}

impl Behaviour {
    /// How this service behaves by its own document.
    pub fn documented(service: Service) -> Self {
        Self { create_revokes: service == Service::Mobivate, ..Self::default() }
    }

    /// How long a key lives for which no end was asked.
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        (self.lifetime_ms > 0).then(|| Duration::from_millis(self.lifetime_ms))
    }
}

//! What is counted while the daemon runs, for the metrics. All of it begins at nothing with each start, as counters do that
//! are scraped; what must last stands in the history.
use crate::core::facts::{Probe, RefusalKind};
use crate::core::record::{Phase, Record, Rotation, RotationResult};
use crate::notifiers::Sent;
use crate::providers::{CallError, CreateError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Up to what a phase of a rotation takes: from a call to a day. In milliseconds.
pub const PHASE_BOUNDS: &[u64] =
    &[100, 500, 1_000, 5_000, 15_000, 60_000, 300_000, 900_000, 3_600_000, 14_400_000, 86_400_000];
/// Up to what a cutover gap lasts: from a blink to an incident. In milliseconds.
pub const GAP_BOUNDS: &[u64] = &[10, 50, 100, 250, 500, 1_000, 5_000, 15_000, 60_000, 300_000, 900_000];
/// The phases that a rotation spends its time in.
pub const PHASES: [&str; 4] = ["create", "verify", "deliver", "halted"];
/// How a rotation ends; one that was halted ends in one of the other ways in the end.
pub const RESULTS: [&str; 3] = ["succeeded", "failed", "halted"];
/// What comes of one try to send a notice; one that is to be sent again comes to another end later.
pub const NOTICE_RESULTS: [&str; 3] = ["sent", "later", "dead"];
/// The calls to providers, each with what can come of it.
pub const CALLS: [(&str, &[&str]); 5] = [
    ("create", &["ok", "not_sent", "unknown", "refused", "login_refused", "throttled"]),
    ("list", &["ok", "unreachable", "refused", "login_refused", "throttled"]),
    ("read", &["ok", "unreachable", "refused", "login_refused", "throttled"]),
    ("revoke", &["ok", "unreachable", "refused", "login_refused", "throttled"]),
    ("probe", &["alive", "dead", "inconclusive"]),
];

/// Counts by two or three words, the first of which is a name.
pub type Counts<const WORDS: usize> = BTreeMap<(String, [&'static str; WORDS]), u64>;

/// Everything that is counted.
#[derive(Clone, Debug)]
pub struct Meters {
    /// Rotations that ended or halted, by provider section and result.
    pub rotations: Counts<1>,
    /// How long rotations were in each phase, one of [`PHASES`].
    pub phases: BTreeMap<&'static str, Histogram>,
    /// How long consumers may have held a dead key, where they did.
    pub gaps: Histogram,
    /// Calls to providers, by provider section, call and result.
    pub requests: Counts<2>,
    /// Tries to send a notice, by kind of channel and result.
    pub notices: Counts<1>,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            rotations: Counts::new(),
            phases: PHASES.iter().map(|it| (*it, Histogram::new(PHASE_BOUNDS))).collect(),
            gaps: Histogram::new(GAP_BOUNDS),
            requests: Counts::new(),
            notices: Counts::new(),
        }
    }
}

impl Meters {
    /// A rotation of a key of this provider has ended.
    pub(super) fn finished(&mut self, provider: &str, rotation: &Rotation) {
        let result = match rotation.result {
            Some(RotationResult::Succeeded) => "succeeded",
            Some(RotationResult::Failed) | None => "failed",
            Some(RotationResult::Halted) => "halted",
        };
        add(&mut self.rotations, provider, [result]);
        let ends = rotation.phases.iter().skip(1).map(|(_, at)| Some(*at)).chain([rotation.finished_at]);
        for ((phase, began), ended) in rotation.phases.iter().zip(ends) {
            let meter = PHASES.iter().find(|it| *it == phase).and_then(|it| self.phases.get_mut(it));
            if let (Some(meter), Some(ended)) = (meter, ended) {
                meter.add(ended.since(*began));
            }
        }
        if let Some(gap) = rotation.cutover_gap_ms {
            self.gaps.add(Duration::from_millis(gap));
        }
    }

    /// A record has changed: counts a rotation that has come to a halt.
    pub(super) fn changed(&mut self, provider: &str, before: Option<&Record>, after: &Record) {
        let halted = |it: &Record| matches!(it.phase, Phase::Halted { .. });
        if halted(after) && after.rotation.is_some() && !before.is_some_and(halted) {
            add(&mut self.rotations, provider, ["halted"]);
        }
    }

    /// A channel, named by kind and address, has answered.
    pub(super) fn sent(&mut self, channel: &str, answer: &Sent, is_dead: bool, notices: usize) {
        let kind = channel.split(':').next().unwrap_or(channel);
        let result = match answer {
            Sent::Taken => "sent",
            _ if is_dead => "dead",
            _ => "later",
        };
        let notices = u64::try_from(notices).unwrap_or(u64::MAX);
        *self.notices.entry((kind.to_owned(), [result])).or_default() += notices;
    }
}

/// How often something took how long.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Histogram {
    /// The upper bounds, in milliseconds, included.
    pub bounds: &'static [u64],
    /// How many lie up to each bound, and above the one before it.
    pub counts: Vec<u64>,
    /// How many there are, those above the last bound included.
    pub count: u64,
    /// All of them together, in milliseconds.
    pub sum: u64,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len()], count: 0, sum: 0 }
    }

    fn add(&mut self, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.count += 1;
        self.sum = self.sum.saturating_add(ms);
        if let Some(n) = self.bounds.iter().position(|it| ms <= *it) {
            self.counts[n] += 1;
        }
    }
}

/// Counts the calls to providers. They are made in tasks beside the engine's own, so that all share it.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<Mutex<Counts<2>>>);

impl Calls {
    /// What was counted so far.
    pub fn counts(&self) -> Counts<2> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A call was made; its words are among [`CALLS`].
    pub(super) fn add(&self, provider: &str, call: &'static str, result: &'static str) {
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), provider, [call, result]);
    }
}

/// What came of a create, in a word.
pub(super) fn create_result<T>(answer: &Result<T, CreateError>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(CreateError::NotSent(_)) => "not_sent",
        Err(CreateError::Unknown(_)) => "unknown",
        Err(CreateError::Refused(it)) => refusal(it.why),
    }
}

/// What came of another call, in a word.
pub(super) fn call_result<T>(answer: &Result<T, CallError>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(CallError::Unreachable(_)) => "unreachable",
        Err(CallError::Refused(it)) => refusal(it.why),
    }
}

/// What a probe said, in a word.
pub(super) fn probe_result(answer: Probe) -> &'static str {
    match answer {
        Probe::Alive => "alive",
        Probe::Dead => "dead",
        Probe::Inconclusive => "inconclusive",
    }
}

fn refusal(why: RefusalKind) -> &'static str {
    match why {
        RefusalKind::Login => "login_refused",
        RefusalKind::Throttled => "throttled",
        RefusalKind::Request => "refused",
    }
}

fn add<const WORDS: usize>(counts: &mut Counts<WORDS>, name: &str, words: [&'static str; WORDS]) {
    *counts.entry((name.to_owned(), words)).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_a_bound_lies_within_it_and_what_is_above_all_is_only_counted() {
        let mut gaps = Histogram::new(&[10, 100]);
        for ms in [0, 10, 11, 100, 101] {
            gaps.add(Duration::from_millis(ms));
        }
        assert_eq!((gaps.counts, gaps.count, gaps.sum), (vec![2, 2], 5, 222));
    }

    #[test]
    fn a_channel_is_counted_by_its_kind_and_never_by_its_address() {
        let mut meters = Meters::default();
        meters.sent("email:payments@example.com", &Sent::Taken, false, 3);
        meters.sent("email:ops@example.com", &Sent::Later { why: String::new(), retry_after: None }, true, 1);
        let counted: Vec<_> = meters.notices.into_iter().collect();
        assert_eq!(counted, [(("email".to_owned(), ["dead"]), 1), (("email".to_owned(), ["sent"]), 3)]);
    }
}

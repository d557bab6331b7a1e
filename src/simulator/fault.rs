//! What can go wrong between a client and a service, and when it does.
use super::truth::Service;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The most faults that may be queued at one service.
const QUEUED: usize = 10_000;

/// The kinds of calls that faults are planned for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Issue a key.
    Create,
    /// List keys.
    List,
    /// Read one key, or the current one.
    Read,
    /// Ask whether a key is accepted.
    Probe,
    /// Disable a key.
    Revoke,
    /// Anything else: an unknown path.
    Other,
}

/// One thing that goes wrong with one call. "Effect" is what the call does to the account.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The answer comes this much later.
    Delay {
        /// How much, in milliseconds.
        ms: u64,
    },
    /// The effect happens, then the connection is reset before a byte of the answer.
    LostAnswer,
    /// The connection is reset, and nothing happens.
    ResetBefore,
    /// The service answers with this status, and nothing happens.
    ErrorBefore {
        /// The HTTP status.
        status: u16,
    },
    /// The effect happens, but the service answers with this status.
    ErrorAfter {
        /// The HTTP status.
        status: u16,
    },
    /// 429, and nothing happens.
    Throttled {
        /// `Retry-After`, in seconds, if it is sent.
        retry_after: Option<u64>,
    },
    /// The effect happens, and the answer is a 200 that nobody can read.
    Garbage,
    /// The effect happens, and the answer is a 200 without a body.
    Empty,
    /// The effect happens; half the answer is sent, then the connection is reset.
    CutShort,
    /// The effect happens; the answer comes byte by byte.
    Drip {
        /// The pause after each byte, in milliseconds.
        ms: u64,
    },
    /// The effect happens, and the answer is a 200 with a body of this size.
    Huge {
        /// The size, in MiB.
        mib: usize,
    },
    /// The connection is reset at once, and the effect happens later all the same.
    LateEffect {
        /// How much later, in milliseconds.
        ms: u64,
    },
    /// The answer shows the account as it was this long ago.
    Stale {
        /// How long ago, in milliseconds.
        ms: u64,
    },
    /// The list is cut off after this many keys.
    Truncated {
        /// How many.
        keep: usize,
    },
    /// Nothing is ever answered; the connection stays open.
    NeverAnswers {
        /// Whether the effect happens.
        effect: bool,
    },
}

/// What goes wrong at one service: faults that each strike once, in order for each kind of call, and faults by chance.
#[derive(Debug)]
pub struct FaultPlan {
    queue: VecDeque<(Call, Fault)>,
    rates: Vec<(Call, Fault, u32)>,
    chance: Chance,
}

impl FaultPlan {
    pub(crate) fn new(seed: u64, service: Service) -> Self {
        Self { queue: VecDeque::new(), rates: Vec::new(), chance: Chance::new(seed ^ ((service as u64 + 1) << 32)) }
    }

    /// The next call of this kind suffers this.
    pub fn once(&mut self, call: Call, fault: Fault) {
        if self.queue.len() < QUEUED {
            self.queue.push_back((call, fault));
        }
    }

    /// From now on, so many of a thousand calls of this kind suffer this; 0 ends it.
    pub fn often(&mut self, call: Call, fault: Fault, per_mille: u32) {
        self.rates.retain(|it| (it.0, it.1) != (call, fault));
        if per_mille > 0 && self.rates.len() < QUEUED {
            self.rates.push((call, fault, per_mille));
        }
    }

    /// Nothing goes wrong any more.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.rates.clear();
    }

    /// How many queued faults have not struck yet.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// What goes wrong with this call, if anything does.
    pub(crate) fn strike(&mut self, call: Call) -> Option<Fault> {
        if let Some(at) = self.queue.iter().position(|it| it.0 == call) {
            return self.queue.remove(at).map(|it| it.1);
        }
        let rates = self.rates.iter().filter(|it| it.0 == call);
        for (_, fault, per_mille) in rates {
            if self.chance.below(1000) < u64::from(*per_mille) {
                return Some(*fault);
            }
        }
        None
    }
}

/// Chance with a seed (splitmix64): the same seed gives the same course.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }

    /// A number from 0 to `bound` − 1; 0 where there is none.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.draw().checked_rem(bound).unwrap_or(0)
    }

    /// So many characters of this alphabet.
    pub(crate) fn text(&mut self, alphabet: &[u8], length: usize) -> String {
        let one = |_| alphabet.get(self.below(alphabet.len() as u64) as usize).map_or('0', |it| char::from(*it));
        (0..length).map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queued_fault_strikes_its_kind_of_call_once() {
        let mut plan = FaultPlan::new(1, Service::Mobivate);
        plan.once(Call::Create, Fault::LostAnswer);
        assert_eq!(plan.strike(Call::Probe), None);
        assert_eq!(plan.strike(Call::Create), Some(Fault::LostAnswer));
        assert_eq!(plan.strike(Call::Create), None);
    }

    #[test]
    fn faults_by_chance_follow_the_seed_and_their_rate() {
        let course = |seed| {
            let mut plan = FaultPlan::new(seed, Service::Infobip);
            plan.often(Call::List, Fault::Empty, 250);
            (0..4000).map(|_| plan.strike(Call::List).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(course(7), course(7));
        assert_ne!(course(7), course(8));
        let struck = course(7).iter().filter(|it| **it).count();
        assert!((800..1200).contains(&struck), "{struck}");
    }

    #[test]
    fn a_fault_is_written_as_its_name_and_its_fields() {
        let read: Fault = serde_json::from_str(r#"{"error_after": {"status": 503}}"#).unwrap();
        assert_eq!(read, Fault::ErrorAfter { status: 503 });
        assert_eq!(serde_json::from_str::<Fault>(r#""lost_answer""#).unwrap(), Fault::LostAnswer);
    }
}

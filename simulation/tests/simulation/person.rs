//! The person who gets new keys by hand, where the service can't be asked: some hours after a reminder, and again until
//! the daemon has taken the key.
use super::run::Sim;
use super::world::{HOUR, Maker, Ms, Order};
use rekeyd_simulation::core::names::Fingerprint;
use rekeyd_simulation::core::plan::{Command, Notice, NoticeKind, NoticeStatus, Supply};
use rekeyd_simulation::core::record::{Expiry, Trigger, Wish};
use rekeyd_simulation::core::time::Timestamp;
use std::collections::BTreeSet;

/// How long a person takes at most.
const REACTS_WITHIN: Ms = 12 * HOUR;

/// What a person is about to do for one key.
#[derive(Clone, Debug, Default)]
pub struct Errand {
    /// When.
    pub at: Option<Ms>,
    /// A key from the portal that the daemon did not take yet.
    in_hand: Option<Fingerprint>,
}

impl Sim {
    /// The owners hear of something: where it is a reminder, a person sets out.
    pub fn hear(&mut self, agent: usize, key: usize, notice: &Notice) {
        let reminds = matches!(notice.kind, NoticeKind::KeyExpiring | NoticeKind::KeyExpired);
        if self.row.kind.creates || !reminds || notice.status != NoticeStatus::Firing {
            return;
        }
        let at = self.now + self.rng.pause(REACTS_WITHIN);
        let errand = &mut self.agents[agent].errands[key];
        errand.at = errand.at.or(Some(at));
    }

    /// Brings the keys whose moment has come.
    pub fn bring_keys(&mut self) {
        for agent in 0..self.agents.len() {
            for key in 0..self.agents[agent].policies.len() {
                if self.agents[agent].errands[key].at.is_some_and(|at| at <= self.now) {
                    self.bring(agent, key);
                }
            }
        }
    }

    fn bring(&mut self, agent: usize, key: usize) {
        let got = self.agents[agent].errands[key].in_hand.take().unwrap_or_else(|| self.get_one(agent, key));
        let current = self.agents[agent].record(key).current.as_ref().map(|it| it.fingerprint.clone());
        // A hand may slip: the key that is in use comes back as the new one.
        for brought in current.filter(|_| self.rng.chance(100)).into_iter().chain([got.clone()]) {
            self.give(agent, key, &brought);
        }
        let taken = self.agents[agent].record(key).seen.contains_key(&got);
        let errand = &mut self.agents[agent].errands[key];
        (errand.at, errand.in_hand) = if taken { (None, None) } else { (Some(self.now + HOUR), Some(got.clone())) };
        if let Some(it) = self.world.keys.iter_mut().find(|it| taken && it.fingerprint == got) {
            // From here on it is the daemon's: it may not be lost.
            it.maker = Maker::Agent(agent);
        }
    }

    fn get_one(&mut self, agent: usize, key: usize) -> Fingerprint {
        let service = self.world.service(&self.agents[agent].account_id(key));
        let order = Order { maker: Maker::Person, token: None, package: None, valid_to: None };
        let fingerprint = self.world.issue(service, order, self.now).fingerprint.clone();
        self.trace(|| format!("person: gets {fingerprint} in the portal"));
        fingerprint
    }

    fn give(&mut self, agent: usize, key: usize, fingerprint: &Fingerprint) {
        let Some(issued) = self.world.key(fingerprint).cloned() else { return };
        let now = self.rng.chance(300);
        let supply = Supply {
            fingerprint: fingerprint.clone(),
            id: None,
            valid_from: None,
            valid_to: Some(Timestamp(issued.expires)),
            expiry: Expiry::Stated,
            wish: Wish { trigger: Trigger::Operator, actor: None, reason: None, now, compromised: false },
        };
        self.command(agent, key, &Command::Supply(supply), &BTreeSet::from([fingerprint.clone()]));
    }
}

//! A clock that was wrong once does no harm for ever: stored moments are brought back to where they can be.
use super::account::BUDGET_PERIOD;
use super::backoff;
use super::gate;
use super::pass::Pass;
use super::record::{Expiry, Phase, Version};
use super::time::Timestamp;

impl Pass<'_> {
    /// What lies in the past does not lie after `now`, and what lies ahead lies within its length.
    pub(super) fn clamp_moments(&mut self) {
        let now = self.now;
        let longest = now.plus(backoff::LONGEST * 2);
        self.clamp_retry(now);
        let retries = self.record.held.values_mut().map(|it| &mut it.retry_at);
        let retries = retries.chain(self.record.retired.iter_mut().map(|it| &mut it.retry_at));
        let retries = retries.chain(self.account.open.values_mut().map(|it| &mut it.retry_at));
        for at in retries.flatten() {
            *at = (*at).min(longest);
        }
        let overlap = self.overlap();
        for it in &mut self.record.retired {
            it.after = it.after.min(now.plus(overlap));
            it.since = it.since.min(now);
        }
        if let Some((_, since)) = &mut self.record.sighting {
            *since = (*since).min(now);
        }
        let retired = self.record.retired.iter_mut().map(|it| &mut it.version);
        for version in self.record.current.iter_mut().chain(retired) {
            clamp_version(version, now);
        }
        clamp_phase(&mut self.record.phase, now);
        self.clamp_account(now);
    }

    /// A create that failed waits for no longer than a provider may ask for; after `abandon` the wait may be for a window.
    fn clamp_retry(&mut self, now: Timestamp) {
        let Some(at) = self.record.retry_at else { return };
        let mut latest = now.plus(BUDGET_PERIOD);
        if !matches!(self.record.phase, Phase::Create(_)) {
            latest = latest.max(gate::next_attempt(self.policy, now));
        }
        self.record.retry_at = Some(at.min(latest));
    }

    fn clamp_account(&mut self, now: Timestamp) {
        if let Some(at) = &mut self.account.held_until {
            *at = (*at).min(now.plus(BUDGET_PERIOD));
        }
        for open in self.account.open.values_mut() {
            open.lost_at = open.lost_at.map(|at| at.min(now));
        }
        for at in &mut self.account.creates {
            *at = (*at).min(now);
        }
    }
}

fn clamp_phase(phase: &mut Phase, now: Timestamp) {
    match phase {
        Phase::Judge { since, pending } | Phase::Verify { since, pending } | Phase::Deliver { since, pending } => {
            *since = (*since).min(now);
            clamp_version(pending, now);
        }
        Phase::Cutover { since, .. } | Phase::Reobserve { since } => *since = (*since).min(now),
        Phase::Halted { resume, .. } => clamp_phase(resume, now),
        Phase::Unadopted | Phase::Steady | Phase::Announce { .. } | Phase::Create(_) => {}
    }
}

fn clamp_version(version: &mut Version, now: Timestamp) {
    let ahead = version.obtained_at.since(now);
    version.obtained_at = version.obtained_at.min(now);
    // An assumed end was reckoned from the wrong moment.
    if version.expiry == Expiry::Assumed {
        version.valid_to = version.valid_to.map(|at| at.minus(ahead));
    }
    for at in [&mut version.first_alive, &mut version.last_alive, &mut version.dead_since].into_iter().flatten() {
        *at = (*at).min(now);
    }
}

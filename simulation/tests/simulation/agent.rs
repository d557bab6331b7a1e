//! A faithful model of the engine: look, observe, decide on the live record, commit, act, record. What it remembers is
//! lost in a crash; what is durable stays.
use super::invariants::Rule;
use super::person::Errand;
use super::run::Sim;
use super::world::{DAY, MINUTE, Ms, SECOND};
use rekeyd_simulation::core::account::Account;
use rekeyd_simulation::core::command::leave_account;
use rekeyd_simulation::core::decide::{candidates, decide, look};
use rekeyd_simulation::core::facts::{Action, Blocked, Content, Facts, Outcome, Preflight, Probe};
use rekeyd_simulation::core::names::{AccountId, Fingerprint, Incarnation, NoticeId, TargetId, Token};
use rekeyd_simulation::core::plan::{Change, Notice};
use rekeyd_simulation::core::policy::{Policy, Reach};
use rekeyd_simulation::core::record::{Phase, Record, VersionNo};
use rekeyd_simulation::core::time::Timestamp;
use rekeyd_simulation::core::{apply::apply, facts::Listed};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// How often everything is looked at, whatever was planned.
const SWEEP: Ms = DAY;
/// A clock that is wrong by more than this is noticed.
pub const SKEW_NOTICED: Ms = MINUTE;

/// What survives a crash. A state is shared until it changes: most looks at it change nothing.
#[derive(Clone, Debug, Default)]
pub struct Durable {
    pub records: Vec<Rc<Record>>,
    pub accounts: BTreeMap<AccountId, Rc<Account>>,
    pub secrets: BTreeMap<(usize, VersionNo), Fingerprint>,
}

/// What one observation brought, until a decision is made on it.
#[derive(Clone, Debug)]
pub struct Observed {
    pub ready: Ms,
    pub since: Ms,
    pub revision: u64,
    pub facts: Facts,
}

/// One action on its way.
#[derive(Clone, Debug)]
pub struct Flight {
    pub key: usize,
    pub action: Action,
    /// When its facts were observed, and when it was decided.
    pub seen_at: Ms,
    pub planned_at: Ms,
    /// When its effect comes, or when its outcome is folded in.
    pub at: Ms,
    pub outcome: Option<Outcome>,
}

/// One daemon.
#[derive(Clone, Debug)]
pub struct Agent {
    pub number: usize,
    pub by: Incarnation,
    pub policies: Vec<Rc<Policy>>,
    pub durable: Durable,
    /// Raw answers of creates, sealed before they are parsed.
    pub escrow: BTreeMap<Token, Outcome>,
    pub wakes: Vec<Ms>,
    pub observed: Vec<Option<Observed>>,
    pub flights: Vec<Flight>,
    pub down_until: Option<Ms>,
    /// How wrong its clock is.
    pub skew: Ms,
    pub restored: bool,
    pub notices: Vec<Notice>,
    pub told: BTreeSet<NoticeId>,
    pub idle: u32,
    /// What people are about to do for each key.
    pub errands: Vec<Errand>,
}

impl Agent {
    pub fn record(&self, key: usize) -> &Rc<Record> {
        &self.durable.records[key]
    }

    /// The account that a pass of this key works at: the one of the rotation under way, else the config's.
    pub fn account_id(&self, key: usize) -> AccountId {
        self.policies[key].working(self.record(key)).account.clone()
    }

    /// The policy of that account.
    pub fn working(&self, key: usize) -> Rc<Policy> {
        match self.policies[key].working(self.record(key)) {
            Cow::Borrowed(_) => self.policies[key].clone(),
            Cow::Owned(policy) => Rc::new(policy),
        }
    }

    pub fn account(&self, id: &AccountId) -> Rc<Account> {
        self.durable.accounts.get(id).cloned().unwrap_or_else(|| Rc::new(Account::new(id.clone())))
    }

    pub fn clock(&self, now: Ms) -> Timestamp {
        Timestamp(now + self.skew)
    }

    fn is_clock_suspect(&self) -> bool {
        self.skew.abs() > SKEW_NOTICED
    }
}

impl Sim {
    /// What was lost at accounts that the key has left is reported.
    fn leave_accounts(&mut self, agent: usize, key: usize) -> bool {
        let it = &self.agents[agent];
        let (working, now) = (it.working(key), it.clock(self.now));
        let left = it.durable.accounts.values().filter(|account| account.id != working.account);
        let changes: Vec<_> =
            left.filter_map(|account| leave_account(it.record(key), account, &working, now)).take(1).collect();
        changes.into_iter().all(|change| self.commit(agent, key, change, &BTreeSet::new()))
    }

    /// Begins a pass: asks the core what to look at, and looks.
    pub fn observe(&mut self, agent: usize, key: usize) {
        self.agents[agent].wakes[key] = Ms::MAX;
        if self.is_unmanaged(agent, key) || !self.leave_accounts(agent, key) {
            return;
        }
        let it = &self.agents[agent];
        let record = it.record(key).clone();
        let account = it.account(&it.account_id(key));
        let policy = it.working(key);
        let suspect = it.is_clock_suspect();
        let look = look(&record, &account, &policy, it.clock(self.now));
        let service = self.world.service(&account.id);
        let mut facts = Facts { clock_suspect: suspect, ..Facts::default() };
        let reachable = self.authorised(agent, service);
        if look.list && reachable && !self.fails() {
            facts.listed = Some(self.world.list(service, self.now, &mut self.rng));
        }
        if look.read && reachable && !self.fails() {
            facts.read = Some(self.world.read(service, self.now, &mut self.rng));
        }
        for number in &look.probe {
            if let Some(version) = record.version(*number) {
                let said = self.world.probe(&version.fingerprint, self.now, &mut self.rng, self.fault);
                facts.probes.insert(*number, said);
            }
        }
        if look.targets {
            self.look_at_targets(agent, key, &policy, &mut facts);
        }
        if look.preflight {
            facts.preflight = Some(self.preflight(&policy, reachable));
        }
        let ready = self.now + self.rng.pause(5 * SECOND);
        self.agents[agent].observed[key] = Some(Observed { ready, since: self.now, revision: record.revision, facts });
        self.agents[agent].wakes[key] = Ms::MAX;
    }

    fn look_at_targets(&mut self, agent: usize, key: usize, policy: &Policy, facts: &mut Facts) {
        for target in &policy.targets {
            let content = match target.reach {
                Reach::Push { readable: false } | Reach::Read { .. } => continue,
                Reach::Push { readable: true } if self.fails() => Content::Unreadable("input/output error".into()),
                Reach::Push { readable: true } => self.world.content(agent, &target.id),
                // The calls are authorised by the newest version that the provider accepts.
                Reach::Pull => match self.login_in_use(agent, key) {
                    Some(fingerprint) => Content::Holds(fingerprint),
                    None => Content::Absent,
                },
            };
            facts.targets.insert(target.id.clone(), content);
        }
    }

    fn preflight(&mut self, policy: &Policy, reachable: bool) -> Preflight {
        if !reachable {
            return Preflight::Blocked(Blocked::Login);
        }
        if !self.fails() {
            return Preflight::Ready;
        }
        Preflight::Blocked(match self.rng.below(3) {
            0 => Blocked::Store("no space left on device".into()),
            1 => Blocked::Target(policy.targets[0].id.clone(), "read-only file system".into()),
            _ => Blocked::Provider("connection refused".into()),
        })
    }

    fn login_in_use(&self, agent: usize, key: usize) -> Option<Fingerprint> {
        let record = self.agents[agent].record(key);
        let mut versions: Vec<_> = record.live_versions().collect();
        versions.sort_by_key(|it| std::cmp::Reverse(it.number));
        let mut accepted = versions.into_iter().map(|it| &it.fingerprint).filter(|it| self.accepted(it));
        accepted.next().cloned()
    }

    fn accepted(&self, fingerprint: &Fingerprint) -> bool {
        self.world.key(fingerprint).is_some_and(|it| it.live(self.now) && it.accepted_from <= self.now)
    }

    /// Whether the service takes the agent's calls: always, unless one of its own keys must authorise them.
    pub fn authorised(&self, agent: usize, service: usize) -> bool {
        match self.world.services[service].login {
            Some(key) => self.login_in_use(agent, key).is_some(),
            None => true,
        }
    }

    /// Decides on what was observed, unless the record moved meanwhile; commits, and sends the actions off.
    pub fn decide(&mut self, agent: usize, key: usize) {
        let Some(observed) = self.agents[agent].observed[key].take() else { return };
        if self.agents[agent].record(key).revision != observed.revision {
            self.agents[agent].wakes[key] = self.now;
            return;
        }
        let now = self.agents[agent].clock(self.now);
        let it = &self.agents[agent];
        let record = it.record(key).clone();
        let account = it.account(&it.account_id(key));
        let policy = it.working(key);
        let by = it.by.clone();
        let mut facts = observed.facts;
        // The clock may have jumped since the look began, and the decision reads it anew.
        facts.clock_suspect |= it.is_clock_suspect();
        for fingerprint in candidates(&record, &account, &facts, &policy) {
            let said = self.world.probe(&fingerprint, self.now, &mut self.rng, self.fault);
            set_probe(&mut facts, &fingerprint, said);
        }
        let plan = decide(&record, &account, &facts, &policy, &by, now);
        self.trace(|| format!(
            "agent {agent} {} decides {} → {}, current {:?}→{:?}, {:?}, blocked {:?}, wake in {} s{}{}\n      facts {facts:?}",
            record.name,
            phase_words(&record.phase),
            phase_words(&plan.change.record.phase),
            record.current.as_ref().map(|it| it.number),
            plan.change.record.current.as_ref().map(|it| it.number),
            plan.actions,
            plan.blocked,
            plan.wake_at.0.saturating_sub(now.0) / SECOND,
            if plan.change.notices.is_empty() { "" } else { ", notices " },
            plan.change.notices.iter().map(|it| it.kind.code()).collect::<Vec<_>>().join(" "),
        ));
        // Every fourth decision is made twice: it costs as much as a whole pass.
        if self.rng.chance(250) {
            self.check_replan(&plan, &facts, &policy, &by, now);
        }
        self.check_plan(agent, key, &record, &plan, &facts, now);
        let idle = plan.actions.is_empty() && plan.change.record == *record && plan.change.account == *account;
        self.agents[agent].idle = if idle && plan.wake_at <= now { self.agents[agent].idle + 1 } else { 0 };
        if self.agents[agent].idle > 3 {
            self.broken(Rule::Spin, || format!("{} wakes at once and changes nothing", record.name));
        }
        let known: BTreeSet<_> = fingerprints(&facts).collect();
        if self.crashes(agent) || !self.commit(agent, key, plan.change, &known) {
            return;
        }
        let wake = plan.wake_at.0.saturating_sub(self.agents[agent].skew).min(self.now + SWEEP);
        self.agents[agent].wakes[key] = wake.max(self.now + 1);
        for action in plan.actions {
            self.send_off(agent, key, action, observed.since);
        }
        self.crashes(agent);
    }

    /// Spawns an action. What the engine holds: one action at a time for each target, and no action twice.
    fn send_off(&mut self, agent: usize, key: usize, action: Action, seen_at: Ms) {
        let place = target_of(&action);
        let busy = |it: &Flight| it.action == action || (place.is_some() && target_of(&it.action) == place);
        if self.agents[agent].flights.iter().any(busy) {
            return;
        }
        let at = self.now + self.rng.pause(20 * SECOND);
        let flight = Flight { key, action, seen_at, planned_at: self.now, at, outcome: None };
        self.agents[agent].flights.push(flight);
    }

    /// Takes a flight one stage on: to its effect, or from its effect into the record.
    pub fn advance(&mut self, agent: usize, position: usize) {
        let mut flight = self.agents[agent].flights.remove(position);
        let Some(outcome) = flight.outcome.clone() else {
            let outcome = self.perform(agent, &flight);
            if let Some(token) = created(&flight.action, &outcome)
                && !self.rng.chance(50)
            {
                self.agents[agent].escrow.insert(token, outcome.clone());
            }
            flight.outcome = Some(outcome);
            flight.at = self.now + self.rng.pause(5 * SECOND);
            self.agents[agent].flights.push(flight);
            self.crashes(agent);
            return;
        };
        if self.fold(agent, flight.key, &flight.action, &outcome) {
            self.agents[agent].wakes[flight.key] = self.now;
        }
    }

    /// Folds an outcome into the live record and commits.
    pub fn fold(&mut self, agent: usize, key: usize, action: &Action, outcome: &Outcome) -> bool {
        if let (Action::Deliver { target, .. }, Outcome::Delivered { .. }) = (action, outcome)
            && let Some(place) = self.world.places[agent].get_mut(target)
        {
            place.unfinished = None;
        }
        let it = &self.agents[agent];
        let now = it.clock(self.now);
        let id = match action {
            Action::Create { token, .. } => it.durable.accounts.values().find(|a| a.open.contains_key(token)),
            Action::Revoke(revoke) => it.durable.accounts.get(&revoke.account),
            _ => None,
        };
        let id = id.map_or_else(|| it.account_id(key), |it| it.id.clone());
        let change = apply(it.record(key), &it.account(&id), action, outcome, &it.working(key), &it.by, now);
        self.trace(|| {
            format!(
                "agent {agent} {} folds {action:?} → {outcome:?}: {}{}",
                change.record.name,
                phase_words(&change.record.phase),
                change.notices.iter().map(|it| format!(" +{}", it.kind.code())).collect::<String>(),
            )
        });
        let known: BTreeSet<_> = outcome_fingerprints(outcome).collect();
        if self.crashes(agent) || !self.commit(agent, key, change, &known) {
            return false;
        }
        if let Action::Create { token, .. } = action {
            self.agents[agent].escrow.remove(token);
        }
        !self.crashes(agent)
    }

    /// Makes a change durable. Where that fails the process dies, and nobody knows whether the change is on disk.
    pub fn commit(&mut self, agent: usize, key: usize, change: Change, known: &BTreeSet<Fingerprint>) -> bool {
        self.check_change(agent, key, &change, known);
        let failed = self.rng.chance(self.fault / 20);
        if failed && self.rng.chance(500) {
            self.die(agent, "a sync failed, nothing is on disk");
            return false;
        }
        let restored = self.agents[agent].restored;
        let mut twice = None;
        change.notices.iter().for_each(|it| self.hear(agent, key, it));
        let it = &mut self.agents[agent];
        for (number, fingerprint) in change.keep {
            it.durable.secrets.insert((key, number), fingerprint);
        }
        for notice in change.notices {
            if !it.told.insert(notice.id.clone()) && !restored {
                twice = Some(notice.clone());
            }
            it.notices.push(notice);
        }
        if change.rolled_back {
            it.by.epoch = format!("{:06x}", self.now % 0xff_ffff);
        }
        it.durable.accounts.insert(change.account.id.clone(), Rc::new(change.account));
        if change.forgotten {
            it.durable.secrets.retain(|(of, _), _| *of != key);
            // The numbers of what was issued go on, so that none is ever used twice.
            let Record { name, last_version, last_token, last_attempt, .. } = change.record.clone();
            let fresh = Record::new(name, it.clock(self.now));
            it.durable.records[key] = Rc::new(Record { last_version, last_token, last_attempt, ..fresh });
            self.check_forgotten(agent, &change.record);
        } else {
            it.durable.records[key] = Rc::new(change.record);
        }
        if let Some(notice) = twice {
            self.broken(Rule::Notice, || format!("a notice is sent twice: {} {}", notice.kind.code(), notice.incident));
        }
        if failed {
            self.die(agent, "a sync failed, but the change is on disk");
        }
        !failed
    }

    /// Starts again: drains the escrow, and gives up every answer that was waited for.
    pub fn start(&mut self, agent: usize) {
        self.agents[agent].down_until = None;
        let waiting = |it: &Rc<Account>| {
            let open = it.open.iter().filter(|(_, open)| open.lost_at.is_none());
            open.map(|(token, _)| token.clone()).collect::<Vec<_>>()
        };
        let tokens: Vec<_> = self.agents[agent].durable.accounts.values().flat_map(waiting).collect();
        for token in tokens {
            let Some(key) = self.agents[agent].durable.records.iter().position(|it| it.name == token.name) else {
                continue;
            };
            let answer = self.agents[agent].escrow.get(&token).cloned();
            if answer.is_none() {
                self.doubt(agent, &token);
            }
            let outcome = answer.unwrap_or_else(|| Outcome::Unknown("the daemon stopped before the answer".into()));
            if !self.fold(agent, key, &Action::Create { token, valid_to: None }, &outcome) {
                return;
            }
        }
        let now = self.now;
        self.agents[agent].wakes.iter_mut().for_each(|it| *it = now);
    }

    /// Crashes, perhaps.
    pub fn crashes(&mut self, agent: usize) -> bool {
        if self.agents[agent].down_until.is_some() {
            return true;
        }
        let crash = self.rng.chance(self.fault / 10);
        if crash {
            self.die(agent, "killed");
        }
        crash
    }

    /// Ends the process: what it remembered is gone, what was under way may still have its effect.
    pub fn die(&mut self, agent: usize, why: &str) {
        self.trace(|| format!("agent {agent} dies: {why}"));
        let flights = std::mem::take(&mut self.agents[agent].flights);
        for flight in flights.iter().filter(|it| it.outcome.is_none()) {
            self.abandon(agent, flight);
        }
        let it = &mut self.agents[agent];
        it.observed.iter_mut().for_each(|it| *it = None);
        it.wakes.iter_mut().for_each(|it| *it = Ms::MAX);
        it.down_until = Some(self.now + SECOND + self.rng.pause(10 * MINUTE));
    }
}

/// What an action writes to, where it writes.
fn target_of(action: &Action) -> Option<&TargetId> {
    match action {
        Action::Deliver { target, .. } | Action::Confirm { target, .. } | Action::Empty { target } => Some(target),
        _ => None,
    }
}

fn created(action: &Action, outcome: &Outcome) -> Option<Token> {
    match (action, outcome) {
        (Action::Create { token, .. }, Outcome::Created(_) | Outcome::AnsweredAll(_) | Outcome::Unreadable(_)) => {
            Some(token.clone())
        }
        _ => None,
    }
}

fn set_probe(facts: &mut Facts, fingerprint: &Fingerprint, said: Probe) {
    let listed = facts.listed.iter_mut().flat_map(|Listed { keys, .. }| keys.iter_mut());
    for found in listed.chain(facts.read.as_mut()).filter(|it| it.fingerprint.as_ref() == Some(fingerprint)) {
        found.probe = Some(said);
    }
}

fn fingerprints(facts: &Facts) -> impl Iterator<Item = Fingerprint> {
    let listed = facts.listed.iter().flat_map(|it| it.keys.iter());
    listed.chain(facts.read.as_ref()).filter_map(|it| it.fingerprint.clone())
}

fn outcome_fingerprints(outcome: &Outcome) -> impl Iterator<Item = Fingerprint> {
    let all: &[_] = match outcome {
        Outcome::Created(found) => std::slice::from_ref(found),
        Outcome::AnsweredAll(all) => all,
        _ => &[],
    };
    all.iter().filter_map(|it| it.fingerprint.clone())
}

/// A phase in few words.
pub fn phase_words(phase: &Phase) -> String {
    match phase {
        Phase::Halted { reason, resume, .. } => format!("halted({}, {})", reason.code(), phase_words(resume)),
        Phase::Create(it) => {
            format!("create({:?}, lost {}, again {})", it.token.as_ref().map(|t| t.n), it.lost, it.again)
        }
        Phase::Judge { pending, .. } => format!("judge({})", pending.number),
        Phase::Verify { pending, .. } => format!("verify({})", pending.number),
        Phase::Deliver { pending, .. } => format!("deliver({})", pending.number),
        Phase::Cutover { again, delivered_at, .. } => format!("cutover(again {again}, delivered {delivered_at:?})"),
        Phase::Announce { .. } => "announce".into(),
        Phase::Steady => "steady".into(),
        Phase::Unadopted => "unadopted".into(),
        Phase::Reobserve { .. } => "reobserve".into(),
    }
}

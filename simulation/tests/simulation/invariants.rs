//! What must hold, judged from outside by what is really true.
use super::agent::{Agent, Flight, SKEW_NOTICED, phase_words};
use super::run::Sim;
use super::scenario::{World as Disturbance, delivers_in_freeze, may_begin};
use super::world::{DAY, HOUR, Key, Killer, MINUTE, Maker, Ms};
use rekeyd_simulation::core::decide::decide;
use rekeyd_simulation::core::facts::{Action, Facts, Revoke, Revokee};
use rekeyd_simulation::core::names::{Fingerprint, Incarnation, TargetId, Token};
use rekeyd_simulation::core::plan::{Change, Notice, NoticeKind, NoticeStatus, Plan};
use rekeyd_simulation::core::policy::{OnCreate, Policy, Reach, Recover};
use rekeyd_simulation::core::record::{Ended, Phase, Reason, Record, Trigger, VersionNo};
use rekeyd_simulation::core::time::Timestamp;
use std::collections::BTreeSet;
use std::rc::Rc;

/// What can be broken.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Rule {
    /// A key was revoked while a target held it.
    InUse,
    /// A key that is not ours was revoked.
    NotOurs,
    /// A key known dead was delivered.
    Stale,
    /// Content of somebody else was overwritten.
    Foreign,
    /// A live key of ours that nobody knows of.
    Lost,
    /// It rests, but a target lacks a live key.
    DeadEnd,
    /// It never came to rest.
    Stuck,
    /// Too many creates.
    Storm,
    /// It never rests.
    Endless,
    /// It wakes at once and changes nothing.
    Spin,
    /// More creates than the budget allows.
    Budget,
    /// A key was asked of a service that can't be asked.
    Asked,
    /// A token was used twice, or without a durable intent.
    Token,
    /// One notice was sent twice.
    Notice,
    /// A key expired in use, and nobody was told.
    Untold,
    /// A target held a dead key for longer than a cutover takes.
    Gap,
    /// It halted for a reason that the world does not have.
    FalseHalt,
    /// Deciding again changed something.
    Replan,
    /// A version without its secret, or a secret out of nowhere.
    Keep,
    /// A rotation began, or a key was revoked, outside its windows.
    Window,
    /// A change that the revision does not show, or a number used twice.
    Revision,
    /// Something began although the key was paused.
    Paused,
    /// A rollback ended with a dead key.
    DeadRollback,
}

/// With faults over, a create an hour is a storm; over a whole run, this many.
const MOST_CREATES: usize = 60;
/// With faults over, a cutover leaves a consumer without a live key for no longer than this.
const LONGEST_GAP: Ms = 15 * MINUTE;
/// With faults over, this many.
const MOST_QUIET_CREATES: usize = 6;

impl Sim {
    /// Planning again, with nothing new seen, changes nothing.
    pub fn check_replan(&mut self, plan: &Plan, seen: &Facts, policy: &Policy, by: &Incarnation, now: Timestamp) {
        let first = &plan.change;
        let nothing = Facts { clock_suspect: seen.clock_suspect, ..Facts::default() };
        let again = decide(&first.record, &first.account, &nothing, policy, by, now).change;
        if again.record != first.record || again.account != first.account || !again.notices.is_empty() {
            self.broken(Rule::Replan, || {
                format!(
                    "{} changes again, {} → {}, notices {:?}",
                    first.record.name,
                    phase_words(&first.record.phase),
                    phase_words(&again.record.phase),
                    again.notices.iter().map(|it| it.kind.code()).collect::<Vec<_>>()
                )
            });
        }
    }

    /// What a decision may not say.
    pub fn check_plan(&mut self, agent: usize, key: usize, old: &Record, plan: &Plan, facts: &Facts, now: Timestamp) {
        for action in &plan.actions {
            match action {
                Action::Create { token, .. } if !self.row.kind.creates => {
                    self.broken(Rule::Asked, || format!("{token} is created, where only a person gets keys"));
                }
                Action::Create { token, .. } => self.check_begin(agent, key, old, plan, token, now),
                Action::Revoke(Revoke { what: Revokee::Version(number), .. }) => {
                    // One that nobody ever had (a create that was answered after all) disturbs nobody: it waits for no window.
                    let delivered = plan.change.record.version(*number).is_some_and(|it| it.delivered);
                    let may = may_begin(&self.agents[agent].policies[key], now.0);
                    if delivered && !may && self.row.world == Disturbance::Windows {
                        self.broken(Rule::Window, || format!("version {number} is revoked by day, or in a freeze"));
                    }
                }
                _ => {}
            }
        }
        let begins = plan.actions.iter().any(|it| matches!(it, Action::Create { .. } | Action::Revoke(_)));
        if facts.clock_suspect && begins {
            self.broken(Rule::Window, || "something begins although the clock can't be believed".into());
        }
        if delivers_in_freeze(&self.agents[agent].policies[key], old, &plan.change.record, now) {
            self.broken(Rule::Window, || "a planned delivery begins in a freeze".into());
        }
        self.check_pause(key, old, plan, now);
        self.check_told(agent, key, &plan.change, now);
    }

    /// A rotation that is only due waits for its window, unless expiry leaves none.
    fn check_begin(&mut self, agent: usize, key: usize, old: &Record, plan: &Plan, token: &Token, now: Timestamp) {
        if !plan.change.account.open.contains_key(token) {
            self.broken(Rule::Token, || format!("the intent of {token} is not in the same commit"));
        }
        if self.row.world != Disturbance::Windows || may_begin(&self.agents[agent].policies[key], now.0) {
            return;
        }
        let scheduled = plan.change.record.rotation.as_ref().is_some_and(|it| it.wish.trigger == Trigger::Schedule);
        let first = matches!(&old.phase, Phase::Create(it) if it.lost == 0 && it.refused == 0)
            || matches!(old.phase, Phase::Steady | Phase::Announce { .. });
        let remaining = old.current.as_ref().and_then(|it| it.valid_to).map(|it| it.0 - now.0);
        if scheduled && first && remaining.is_some_and(|it| it > DAY + HOUR) {
            self.broken(Rule::Window, || {
                format!("{token} is created by day, or in a freeze, {} h before expiry", remaining.unwrap_or(0) / HOUR)
            });
        }
    }

    /// No owner is surprised by an expiry.
    fn check_told(&mut self, agent: usize, key: usize, change: &Change, now: Timestamp) {
        let Some(current) = &change.record.current else { return };
        let Some(valid_to) = current.valid_to.filter(|_| self.agents[agent].skew == 0) else { return };
        if now.0 < valid_to.0 || self.agents[agent].restored {
            return;
        }
        let told = self.agents[agent].notices.iter().chain(&change.notices);
        let expiry = [NoticeKind::KeyExpired, NoticeKind::KeyExpiring, NoticeKind::RotationHalted];
        let name = Some(&change.record.name);
        let mut about = told.filter(|it| it.key.as_ref() == name && it.version == Some(current.number));
        if !about.any(|it| expiry.contains(&it.kind)) {
            self.broken(Rule::Untold, || format!("key {key} version {} expired, and nobody was told", current.number));
        }
    }

    /// What no change may do.
    pub fn check_change(&mut self, agent: usize, key: usize, change: &Change, known: &BTreeSet<Fingerprint>) {
        let it = &self.agents[agent];
        let (old, new) = (it.record(key), &change.record);
        let was_halted = matches!(old.phase, Phase::Halted { .. });
        let ended: BTreeSet<VersionNo> =
            old.retired.iter().filter(|it| it.ended.is_some()).map(|it| it.version.number).collect();
        let revision = old.revision;
        if new.revision < revision || (new.revision == revision && *new != **old) {
            self.broken(Rule::Revision, || format!("{}: a change keeps revision {revision}", new.name));
        }
        for (number, fingerprint) in &change.keep {
            let stored = self.agents[agent].durable.secrets.get(&(key, *number)).cloned();
            if stored.is_some_and(|it| it != *fingerprint) {
                self.broken(Rule::Revision, || format!("version {number} is used twice"));
            }
            if !known.contains(fingerprint) {
                self.broken(Rule::Keep, || format!("the secret of {fingerprint} is to be kept, but nobody saw it"));
            }
        }
        for version in new.live_versions() {
            let kept = change.keep.iter().find(|(number, _)| *number == version.number).map(|(_, it)| it.clone());
            let stored = kept.or_else(|| self.agents[agent].durable.secrets.get(&(key, version.number)).cloned());
            if stored.as_ref() != Some(&version.fingerprint) {
                self.broken(Rule::Keep, || format!("version {} has secret {stored:?}", version.number));
            }
        }
        self.check_endings(agent, &ended, change);
        self.check_rollback(agent, change);
        if let (Phase::Halted { reason, .. }, false) = (&new.phase, was_halted) {
            self.check_halt(agent, key, *reason);
        }
    }

    /// An ending must be true, and one that is only reported must really be told.
    fn check_endings(&mut self, agent: usize, before: &BTreeSet<VersionNo>, change: &Change) {
        for retired in change.record.retired.iter().filter(|it| it.ended.is_some()) {
            let fingerprint = &retired.version.fingerprint;
            if before.contains(&retired.version.number) {
                continue;
            }
            // What expires by itself may be booked as early as a clock runs ahead unnoticed: nothing is left undone by that.
            let booked = if retired.ended == Some(Ended::Expired) { self.now + SKEW_NOTICED } else { self.now };
            let live = self.world.live(fingerprint, booked);
            if live && retired.ended != Some(Ended::Reported) {
                let how = retired.ended;
                self.broken(Rule::Lost, || format!("{fingerprint} is booked as {how:?}, but it lives"));
            }
            let told = self.agents[agent].notices.iter().chain(&change.notices);
            let mut told = told.filter(|it| it.kind == NoticeKind::RevokeNeeded);
            if live && !told.any(|it| it.fingerprint.as_ref() == Some(fingerprint)) {
                self.broken(Rule::Lost, || format!("{fingerprint} is booked as reported, but nobody was told"));
            }
        }
    }

    /// A halt needs a reason that the world really has.
    fn check_halt(&mut self, agent: usize, key: usize, reason: Reason) {
        use Disturbance::{Blind, Clone, Colleague, Config, Login, Operator, Restore, Shared, Strangers};
        let world = self.row.world;
        let doubts: u32 = self.doubts.iter().filter(|((who, _), _)| *who == agent).map(|(_, n)| *n).sum();
        let doubted = doubts > 0;
        let others = matches!(world, Colleague | Clone | Restore | Operator);
        let difference = self.row.kind.recover.is_difference();
        let revokes = self.row.kind.revokes();
        let may = match reason {
            Reason::AmbiguousCreate => (doubted || others) && self.row.kind.recover != Recover::ListByName,
            // Lost creates of several keys, and no probe: which is whose can't be told.
            Reason::UnexpectedKeys => {
                difference && (others || matches!(world, Strangers | Config) || (world == Shared && doubted))
            }
            Reason::NoBaseline => difference && (others || doubted || matches!(world, Strangers | Config)),
            Reason::AnotherDaemon => matches!(world, Clone | Restore),
            Reason::SomebodyElseRotates | Reason::Drifted | Reason::KeyRefused => others || (revokes && doubted),
            Reason::NewKeyRefused => matches!(world, Clone | Colleague | Operator | Blind) || (revokes && doubted),
            Reason::OldKeyDead => {
                let current = self.agents[agent].record(key).current.as_ref();
                others || doubted && current.is_none_or(|it| !self.world.live(&it.fingerprint, self.now))
            }
            Reason::Restored => world == Restore,
            Reason::LoginLost => world == Login,
            // No row of the state is ever damaged here.
            Reason::Damaged => false,
        };
        if !may {
            self.broken(Rule::FalseHalt, || format!("key {key} halts: {}, after {doubts} lost answers", reason.code()));
        }
    }

    /// A create is in the budget, under a token that was never used, and its intent is durable.
    pub fn check_create(&mut self, agent: usize, flight: &Flight, token: &Token) {
        let service = self.service_of(agent, token);
        let durable = self.agents[agent].durable.accounts.values().any(|it| it.open.contains_key(token));
        if !durable {
            self.broken(Rule::Token, || format!("{token} is created, but its intent is not durable"));
        }
        if !self.tokens.insert(token.clone()) {
            self.broken(Rule::Token, || format!("{token} is used twice"));
        }
        let now = self.now;
        self.result.creates += 1;
        let creates = &mut self.world.services[service].creates;
        creates.push((agent, flight.planned_at));
        let mine: Vec<Ms> = creates.iter().filter(|(who, _)| *who == agent).map(|(_, at)| *at).collect();
        let day = mine.iter().filter(|it| **it > flight.planned_at - DAY).count();
        let per_day = self.agents[agent].policies[flight.key].creates_per_day as usize;
        let limit = if self.agents[agent].restored { 2 * per_day } else { per_day };
        // A clock that jumps makes a day longer or shorter.
        if day > limit && self.row.world != Disturbance::Clock {
            self.broken(Rule::Budget, || format!("{day} creates within a day, allowed are {per_day}"));
        }
        let quiet = mine.iter().filter(|it| **it > now - 3 * DAY).count();
        let calm = self.calm_since.is_some_and(|it| now > it + 3 * DAY);
        let keys = self.agents[agent].policies.len();
        if mine.len() > MOST_CREATES * keys || (calm && quiet > MOST_QUIET_CREATES * keys) {
            self.broken(Rule::Storm, || format!("{} creates, {quiet} of them lately", mine.len()));
        }
    }

    /// What was dead when the delivery was decided is not delivered, and nothing of somebody else's is overwritten.
    pub fn check_delivery(
        &mut self,
        agent: usize,
        flight: &Flight,
        target: &TargetId,
        version: VersionNo,
        fingerprint: &Fingerprint,
    ) {
        let Some(key) = self.world.key(fingerprint).cloned() else { return };
        let place = self.world.places[agent].get(target).cloned().unwrap_or_default();
        let over_live = place.holds.as_ref().is_some_and(|it| self.world.live(it, self.now));
        let revoked_by_us = matches!(key.dead, Some((_, Killer::Revoke(who))) if who == agent);
        if revoked_by_us && self.agents[agent].skew == 0 {
            self.broken(Rule::Stale, || format!("{target} gets version {version}, which we revoked"));
        }
        if over_live && self.was_known_dead(agent, flight, &key) && place.holds.as_ref() != Some(fingerprint) {
            self.broken(Rule::Stale, || format!("{target} gets version {version}, dead, over a live key"));
        }
        let record = self.agents[agent].record(flight.key);
        let obtained = record.version(version).map_or(Ms::MAX, |it| it.obtained_at.0);
        let ours = place.holds.as_ref().is_none_or(|it| record.seen.contains_key(it));
        let readable = self.agents[agent].policies[flight.key]
            .target(target)
            .is_some_and(|it| it.reach == Reach::Push { readable: true });
        if let Some(edited_at) = place.edited_at.filter(|it| readable && !ours && *it < flight.seen_at) {
            // The look before the decision showed it: only a key that is being issued may replace it. A delivery that
            // was begun is ended: whether the edit came before its write or after it, nobody can tell.
            let begun = place.unfinished == Some(version);
            let issuing = begun || matches!(record.phase, Phase::Deliver { .. } | Phase::Cutover { .. });
            if obtained < edited_at && !issuing {
                self.broken(Rule::Foreign, || {
                    format!("{target} held a key that is not ours; version {version} is older")
                });
            }
        }
    }

    /// Whether the agent had to know, when it decided, that this key was dead.
    fn was_known_dead(&self, agent: usize, flight: &Flight, key: &Key) -> bool {
        if key.expires <= flight.planned_at && self.agents[agent].skew == 0 {
            return self.world.services[key.service].stated.reports_expiry;
        }
        match key.dead {
            Some((at, Killer::Revoke(who))) => who == agent && at < flight.planned_at,
            // Our create killed it: known once its answer is in the record.
            Some((at, Killer::Create(Maker::Agent(who)))) if who == agent && at < flight.planned_at => {
                let record = self.agents[agent].record(flight.key);
                let newest = record.current.as_ref().filter(|it| it.fingerprint != key.fingerprint);
                self.row.kind.on_create == OnCreate::Revokes
                    && newest.is_some_and(|it| {
                        it.obtained_at.0 <= flight.planned_at && self.world.live(&it.fingerprint, self.now)
                    })
            }
            _ => false,
        }
    }

    /// Nothing is revoked that anybody uses, and nothing that isn't ours.
    pub fn check_revoke(&mut self, agent: usize, flight: &Flight, revoke: &Revoke, key: usize) {
        let _ = revoke;
        let key = self.world.keys[key].clone();
        let it = &self.agents[agent];
        let record = it.record(flight.key);
        let ours = key.maker == Maker::Agent(agent) || record.seen.contains_key(&key.fingerprint);
        let current = record.current.as_ref().is_some_and(|it| it.fingerprint == key.fingerprint);
        let held = |policy: &Rc<Policy>| {
            policy
                .targets
                .iter()
                .map(|it| &it.id)
                .find(|it| {
                    let place = self.world.places[agent].get(*it);
                    place.is_some_and(|place| place.holds.as_ref() == Some(&key.fingerprint))
                })
                .cloned()
        };
        let holder = it.policies.iter().filter_map(held).find(|it| !it.as_str().starts_with("login:"));
        if let Some(target) = holder {
            self.broken(Rule::InUse, || format!("key {} is revoked, and {target} holds it", key.fingerprint));
        }
        if current {
            self.broken(Rule::InUse, || format!("key {} is revoked, and it is the current one", key.fingerprint));
        }
        if !ours {
            self.broken(Rule::NotOurs, || format!("key {} is revoked: {:?} made it", key.fingerprint, key.maker));
        }
    }

    /// What holds at every moment: a consumer's key is dead only within the cutover gap, and none expires in use where
    /// nothing stood in the way.
    pub fn check_always(&mut self) {
        if self.row.world == Disturbance::Clone {
            return;
        }
        for agent in 0..self.agents.len() {
            for key in 0..self.agents[agent].policies.len() {
                self.check_consumers(agent, key);
            }
        }
    }

    fn check_consumers(&mut self, agent: usize, key: usize) {
        let halted = matches!(self.agents[agent].record(key).phase, Phase::Halted { .. });
        let mut longest = 0;
        for target in &self.agents[agent].policies[key].targets {
            let Some(place) = self.world.places[agent].get(&target.id) else { continue };
            let Some(held) = place.holds.as_ref().and_then(|it| self.world.key(it)) else { continue };
            self.result.expired |= held.dead.is_none() && held.expires <= self.now;
            // A gap that began in the storm may be as long as the storm was bad.
            let calm = self.calm_since.is_some_and(|it| held.dead.is_some_and(|(at, _)| at > it + HOUR));
            if let Some((at, Killer::Create(Maker::Agent(_)))) = held.dead.filter(|_| calm && !halted) {
                longest = longest.max(self.now - at);
            }
        }
        self.result.longest_gap = self.result.longest_gap.max(longest);
        if longest > LONGEST_GAP {
            self.broken(Rule::Gap, || format!("key {key}: a target holds a dead key for {} min", longest / MINUTE));
        }
    }

    /// Once all is quiet, every key rests, and every key that we ever made is accounted for.
    pub fn check_end(&mut self) {
        let halted = |it: &Agent| it.durable.records.iter().any(|it| matches!(it.phase, Phase::Halted { .. }));
        self.result.halted = self.agents.iter().any(halted);
        for agent in 0..self.agents.len() {
            let done = self.agents[agent].notices.iter().filter(|it| it.kind == NoticeKind::RotationSucceeded).count();
            self.result.succeeded += done as u64;
            for key in 0..self.agents[agent].policies.len() {
                let fault = self.dead_end(&self.agents[agent], key);
                let phase = self.agents[agent].record(key).phase.clone();
                match (phase, fault) {
                    (Phase::Halted { .. }, _) => {}
                    (Phase::Steady, None) => {}
                    // Two daemons at an account with one key end each other's key for ever: one is always under way.
                    _ if self.row.world == Disturbance::Clone && self.row.kind.revokes() => {}
                    (Phase::Steady, Some(fault)) => self.broken(Rule::DeadEnd, || fault),
                    (phase, _) => self.broken(Rule::Stuck, || format!("key {key} is still in {}", phase_words(&phase))),
                }
            }
        }
        self.check_lost();
    }

    /// What a resting key lacks.
    pub fn dead_end(&self, agent: &Agent, key: usize) -> Option<String> {
        let record = agent.record(key);
        let Some(current) = &record.current else { return Some(format!("key {key} has no version")) };
        if !self.world.live(&current.fingerprint, self.now) {
            return Some(format!("key {key} rests on version {}, which is dead", current.number));
        }
        for target in agent.policies[key].targets.iter().filter(|it| it.reach != Reach::Pull) {
            let foreign = record.held.get(&target.id).is_some_and(|it| it.foreign.is_some());
            let place = self.world.places[agent.number].get(&target.id);
            let unseen = target.reach == Reach::Push { readable: false };
            if !foreign && !unseen && place.and_then(|it| it.holds.as_ref()) != Some(&current.fingerprint) {
                return Some(format!("{} holds {place:?}, current is {}", target.id, current.fingerprint));
            }
        }
        None
    }

    /// Every live key that an agent made is on somebody's books, watched, or was reported.
    fn check_lost(&mut self) {
        if self.row.world == Disturbance::Restore {
            return;
        }
        let live: Vec<Key> = self.world.keys.iter().filter(|it| it.live(self.now)).cloned().collect();
        let mut spare = self.spare_reports();
        for key in live {
            let Maker::Agent(_) = key.maker else { continue };
            // A second daemon may have taken it over: then it is on that one's books.
            let known = self.agents.iter().any(|it| self.is_accounted_for(it, &key));
            if !known && !self.is_hidden(&key) && !take_like(&mut spare, key.token.as_ref()) {
                self.broken(Rule::Lost, || {
                    format!("{} (token {:?}) lives, and nobody knows", key.fingerprint, key.token)
                });
            }
        }
    }

    /// The lost creates that were told, or are watched, although the keys that they made need that no more. Where keys bear no names, a key
    /// is told apart from its siblings by nobody: of two lost creates, one is explained by the first key that appears, and the
    /// one that is told stands for the other's key. Their count is what must be right.
    fn spare_reports(&self) -> Vec<Token> {
        if !self.row.kind.recover.is_difference() {
            return Vec::new();
        }
        let booked = |key: &Key| {
            let mut records = self.agents.iter().flat_map(|it| &it.durable.records);
            records.any(|it| it.live_versions().any(|it| it.fingerprint == key.fingerprint))
                || self.agents.iter().any(|it| is_told(it, key.fingerprint.as_str()))
        };
        let idle = |token: &&Token| {
            let mut own = self.world.keys.iter().filter(|it| it.token.as_ref() == Some(token)).peekable();
            own.peek().is_some() && own.all(|it| !it.live(self.now) || booked(it))
        };
        let covered = |token: &&Token| self.agents.iter().any(|it| is_covered(it, token));
        self.tokens.iter().filter(covered).filter(idle).cloned().collect()
    }

    /// The limit of what can be known: where keys bear no names, somebody else's key that was made at about the same time
    /// is taken for ours, and then ours is never looked for.
    fn is_hidden(&self, key: &Key) -> bool {
        let nameless = self.row.kind.recover != Recover::ListByName;
        let mut others = self.world.keys.iter().filter(|it| it.service == key.service && it.maker != key.maker);
        nameless && others.any(|it| (it.born - key.born).abs() < HOUR)
    }

    fn is_accounted_for(&self, agent: &Agent, key: &Key) -> bool {
        let booked = |record: &Rc<Record>| record.live_versions().any(|it| it.fingerprint == key.fingerprint);
        let told = is_told(agent, key.fingerprint.as_str())
            || agent.notices.iter().any(|it| begins(it) && it.fingerprint.as_ref() == Some(&key.fingerprint));
        let covered = key.token.as_ref().is_some_and(|it| is_covered(agent, it));
        covered || told || agent.durable.records.iter().any(booked)
    }
}

/// Whether a lost create is watched, or was reported to the owners.
fn is_covered(agent: &Agent, token: &Token) -> bool {
    agent.durable.accounts.values().any(|it| it.open.contains_key(token)) || is_told(agent, &token.to_string())
}

fn is_told(agent: &Agent, what: &str) -> bool {
    let mut told = agent.notices.iter().filter(|it| begins(it));
    told.any(|it| it.summary.contains(what) || it.incident.contains(what))
}

/// Whether it asks a human to revoke a key, and does not say that this is over.
fn begins(notice: &Notice) -> bool {
    notice.kind == NoticeKind::RevokeNeeded && notice.status == NoticeStatus::Firing
}

/// Takes a lost create of the same key and the same daemon out of the spare ones, if there is one.
fn take_like(spare: &mut Vec<Token>, token: Option<&Token>) -> bool {
    let like = |it: &Token| token.is_some_and(|own| own.name == it.name && own.by.install == it.by.install);
    spare.iter().position(like).map(|it| spare.remove(it)).is_some()
}

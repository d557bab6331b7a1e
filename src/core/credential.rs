//! Keys that are read: what a unit gets that asks for its credential, what is kept of that, and how the end of an old key
//! waits until every unit has read the new one.
use super::account::Account;
use super::command::nobody;
use super::facts::Action;
use super::names::TargetId;
use super::pass::{Pass, on_create};
use super::plan::Change;
use super::policy::{Initial, OnCreate, Policy, Reach};
use super::reader::{self, Reader};
use super::record::{Expiry, Held, Phase, Record, Retired, Version, VersionNo};
use super::rules::Rule;
use super::time::Timestamp;

/// How many instances of a template are told apart. What more of them read is held until it expires.
pub const INSTANCES: usize = 256;

/// What a unit gets that asks for a key now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// This version.
    Give(VersionNo),
    /// Nothing yet, and why: a better answer is on its way.
    Hold(&'static str),
    /// Nothing, and why.
    Refuse(&'static str),
}

/// Says what a unit gets that asks for the key: the newest version that was verified, and none that is known to be dead.
pub fn answer(record: &Record, account: &Account, policy: &Policy, now: Timestamp) -> Answer {
    if record.decommissioned.is_some() {
        return Answer::Refuse("the key is taken out of service");
    }
    let usable = |it: &Version| {
        // An end that was only assumed proves nothing.
        let stated = matches!(it.expiry, Expiry::Reported | Expiry::Stated);
        it.dead_since.is_none() && !(stated && it.valid_to.is_some_and(|at| at <= now))
    };
    match &record.phase {
        Phase::Unadopted if policy.initial == Initial::Create => return Answer::Hold("the first key is to be created"),
        Phase::Unadopted => return Answer::Refuse("the key is not adopted yet"),
        Phase::Reobserve { .. } => return Answer::Hold("a restored state is compared with the world first"),
        Phase::Halted { resume, .. } if matches!(**resume, Phase::Reobserve { .. }) => {
            return Answer::Refuse("the state may be older than the world, and a human must say how to go on");
        }
        Phase::Create(it) if it.token.is_some() && on_create(account, policy) != OnCreate::Keeps => {
            return Answer::Hold("a new key is being created, which may end the old one");
        }
        Phase::Judge { .. } => return Answer::Hold("it is being found out whether the old key is still accepted"),
        Phase::Deliver { pending, .. } if usable(pending) => return Answer::Give(pending.number),
        _ => {}
    }
    let under_way = record.rotation.is_some() && !matches!(record.phase, Phase::Halted { .. });
    match &record.current {
        Some(current) if usable(current) => Answer::Give(current.number),
        _ if under_way => Answer::Hold("the first good key is on its way"),
        Some(_) => Answer::Refuse("the key is dead, and no new one is on its way"),
        None => Answer::Refuse("there is no key yet"),
    }
}

/// A unit is about to get this version: it may hold it from now on. Durable before the first byte.
pub fn read_begins(
    record: &Record,
    account: &Account,
    policy: &Policy,
    (reader, unit): (&Reader, &str),
    version: VersionNo,
    now: Timestamp,
) -> Change {
    let nobody = nobody();
    let mut pass = Pass::new(record, account, policy, &nobody, now);
    let (place, its_own) = place(record, reader, unit);
    let known = record.held.get(&place).is_some_and(|it| it.settled == Some(version));
    if !(known && its_own) && pass.holds(Rule::HeldIntent) {
        pass.record.held.entry(place).or_default().maybe.insert(version);
    }
    if let Some(version) = pass.version_mut(version) {
        version.delivered = true;
    }
    pass.change(record)
}

/// The last byte has gone out: the unit holds this version, and no other. It was not running while it asked.
pub fn read_ended(
    record: &Record,
    account: &Account,
    policy: &Policy,
    (reader, unit): (&Reader, &str),
    version: VersionNo,
    now: Timestamp,
) -> Change {
    let nobody = nobody();
    let mut pass = Pass::new(record, account, policy, &nobody, now);
    // A reader that left the config meanwhile, or a version that left the books, is nobody's business any more.
    if record.version(version).is_some() && reader::is_reader(policy, &reader.id()) {
        let (place, its_own) = place(record, reader, unit);
        let held = pass.record.held.entry(place).or_default();
        held.settled = Some(version);
        if its_own {
            held.maybe.clear();
            pass.record.held.entry(reader.id()).or_default().settled = Some(version);
        }
    }
    pass.change(record)
}

/// Where the books keep what a unit holds, and whether nothing else is kept there: a template that has too many instances
/// to tell them apart stands for the last ones itself.
fn place(record: &Record, reader: &Reader, unit: &str) -> (TargetId, bool) {
    let own = reader.id_of(unit);
    let known = || record.held.keys().filter(|it| reader.is_at(it)).count();
    if reader.is_template() && !record.held.contains_key(&own) && known() > INSTANCES {
        return (reader.id(), false);
    }
    (own, true)
}

impl Pass<'_> {
    /// Asks for the `then` of a target that is read, once for each new version: it makes the units read it. Where all of
    /// them have read it already, nobody is disturbed.
    pub(super) fn nudge(&mut self, wanted: &Version, target: &TargetId) {
        let Some(held) = self.record.held.get(target).cloned() else {
            // Nothing is restarted for a key that was there before the target was.
            let held = Held { settled: Some(wanted.number), ..Held::default() };
            self.record.held.insert(target.clone(), held);
            return;
        };
        if held.is_settled_at(wanted.number) {
            return;
        }
        let readers = self.policy.target(target).map(|it| it.readers.as_slice()).unwrap_or_default();
        if reader::behind(readers, &self.record, wanted.number).is_empty() {
            let held = Held { settled: Some(wanted.number), ..Held::default() };
            self.record.held.insert(target.clone(), held);
            self.wake(self.now);
            return self.resolve(&format!("delivery:{target}"));
        }
        if let Some(at) = held.retry_at.filter(|at| *at > self.now) {
            return self.wake(at);
        }
        self.record.held.entry(target.clone()).or_default().maybe.insert(wanted.number);
        self.actions.push(Action::Deliver { target: target.clone(), version: wanted.number });
    }

    /// An instance of a template that has not read a good key for so long does not run any more. And a target whose `then`
    /// was taken away is not waited for.
    pub(super) fn forget_old_readers(&mut self) {
        for target in self.policy.targets.iter().filter(|it| it.reach == Reach::Read { nudges: false }) {
            self.record.held.remove(&target.id);
        }
        let live: Vec<VersionNo> = self.record.live_versions().map(|it| it.number).collect();
        let templates: Vec<&Reader> =
            self.policy.targets.iter().flat_map(|it| &it.readers).filter(|it| it.is_template()).collect();
        let gone = |(id, held): (&TargetId, &Held)| {
            let instance = templates.iter().any(|it| it.is_at(id) && it.id() != *id);
            let old = held.settled.iter().chain(&held.maybe).all(|it| !live.contains(it));
            (instance && old).then(|| id.clone())
        };
        let gone: Vec<TargetId> = self.record.held.iter().filter_map(gone).collect();
        for id in gone {
            self.record.held.remove(&id);
        }
    }

    /// Whether units have yet to read the key that replaces this one. That they take longer than `ack_timeout` is told, and
    /// nothing more: they may be using the old one.
    pub(super) fn waits_for_readers(&mut self, it: &Retired) -> bool {
        if !self.holds(Rule::ReadByAll) {
            return false;
        }
        let unread = reader::unread(&self.record, self.policy);
        let incident = unread_incident(it.version.number);
        if unread.is_empty() {
            self.resolve(&incident);
            return false;
        }
        let compromised = it.after <= it.since;
        let told_at = if compromised { it.since } else { it.since.plus(self.policy.ack_timeout) };
        if told_at > self.now {
            self.wake(told_at);
        } else {
            self.tell_unread(&it.version, &unread, incident);
        }
        true
    }

    /// Whether the owners were told that this version waits for its readers.
    pub(super) fn is_told_unread(&self, version: VersionNo) -> bool {
        self.record.incidents.contains_key(&unread_incident(version))
    }

    /// The targets that something is done for: to bring the key there, or to make the units read it.
    pub(super) fn push_targets(&self) -> impl Iterator<Item = &TargetId> {
        let acts = |it: Reach| matches!(it, Reach::Push { .. } | Reach::Read { nudges: true });
        self.policy.targets.iter().filter(move |it| acts(it.reach)).map(|it| &it.id)
    }
}

/// What it is called that a version waits for its readers.
pub(super) fn unread_incident(version: VersionNo) -> String {
    format!("unread:{version}")
}

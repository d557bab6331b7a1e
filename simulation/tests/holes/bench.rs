//! One key on the bench: a record, an account, a policy and what the world shows, each made by hand, and the core's four
//! functions to drive them. Nothing here does anything of its own accord.
use rekeyd_simulation::core::account::Account;
use rekeyd_simulation::core::apply::apply;
use rekeyd_simulation::core::command::command;
use rekeyd_simulation::core::decide::{decide, look};
use rekeyd_simulation::core::facts::{
    Action, Blocked, Content, Facts, Found, Listed, Outcome, Preflight, Probe, Revokee,
};
use rekeyd_simulation::core::freeze::{Freeze, Span, When};
use rekeyd_simulation::core::names::{Fingerprint, Incarnation, KeyName, TargetId, Token};
use rekeyd_simulation::core::pass::phase_name;
use rekeyd_simulation::core::plan::{Change, Command, CommandRefused, Notice, NoticeKind, Severity};
use rekeyd_simulation::core::policy::{
    Capabilities, Initial, OnAmbiguous, OnCreate, OnDrift, OutsideWindow, Policy, Reach, Recover, RotateBefore,
    TargetPolicy,
};
use rekeyd_simulation::core::record::{Ended, Expiry, Held, Phase, Reason, Record, Trigger, Version, VersionNo, Wish};
use rekeyd_simulation::core::time::Timestamp;
use rekeyd_simulation::core::window::Window;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// 2026-11-22 12:00 UTC, a Sunday: the moment at which every scene begins.
pub const NOON: Timestamp = Timestamp(1_795_348_800_000);

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn minutes(n: u64) -> Duration {
    seconds(60 * n)
}

pub fn hours(n: u64) -> Duration {
    minutes(60 * n)
}

pub fn days(n: u64) -> Duration {
    hours(24 * n)
}

/// A key that lives for 90 days and is due 30 days before its end; it begins adopted, alive and delivered to one file.
pub struct Bench {
    pub record: Record,
    pub account: Account,
    pub policy: Policy,
    pub by: Incarnation,
    pub now: Timestamp,
    /// What the next pass sees.
    pub facts: Facts,
    /// What the last pass was held up by.
    pub blocked: Option<Blocked>,
    /// When the last pass wanted to be woken.
    pub wake_at: Timestamp,
    /// Whether a pass found that the state was rolled back.
    pub rolled_back: bool,
    /// All notices so far.
    pub notices: Vec<Notice>,
    /// The numbers of the versions whose secrets were to be sealed.
    pub kept: Vec<VersionNo>,
}

impl Bench {
    /// Old keys stay valid, and each key carries its token in its name: a lost create is found in the list.
    pub fn keeps() -> Self {
        Self::new(OnCreate::Keeps, Recover::ListByName, true)
    }

    /// A create kills the old key; the one current key can be read.
    pub fn revokes() -> Self {
        Self::new(OnCreate::Revokes, Recover::ReadCurrent, false)
    }

    /// Nobody says what a create does, and only its answer lists the keys.
    pub fn answers() -> Self {
        Self::new(OnCreate::Unknown, Recover::DiffAnswer, false)
    }

    /// Nobody says what a create does, and nobody can be asked what came of it.
    pub fn silent() -> Self {
        Self::new(OnCreate::Unknown, Recover::None, false)
    }

    pub fn new(on_create: OnCreate, recover: Recover, revokes_by_id: bool) -> Self {
        let provider =
            Capabilities { creates: true, on_create, recover, revokes_by_id, reports_expiry: true, probes: true };
        let policy = policy(provider);
        let name: KeyName = "billing".parse().unwrap();
        let mut record = Record::new(name, NOON);
        let first = version(1, "k1");
        record.seen.insert(first.fingerprint.clone(), 1);
        record.current = Some(first);
        record.last_version = 1;
        record.phase = Phase::Steady;
        record.controls.insert(String::new());
        record.held.insert(file(), Held { settled: Some(1), ..Held::default() });
        let mut account = Account::new(policy.account.clone());
        account.known.insert("k1".into());
        account.baseline = true;
        let facts = Facts {
            listed: Some(Listed::default()),
            read: Some(found("k1", Probe::Alive)),
            probes: BTreeMap::from([(1, Probe::Alive)]),
            targets: BTreeMap::from([(file(), Content::Holds("k1".into()))]),
            preflight: Some(Preflight::Ready),
            ..Facts::default()
        };
        Self {
            record,
            account,
            policy,
            by: Incarnation { install: "0a1b2c3d".into(), epoch: "000001".into() },
            now: NOON,
            facts,
            blocked: None,
            wake_at: Timestamp::NEVER,
            rolled_back: false,
            notices: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// The key is not ours yet, and its file is absent.
    pub fn unadopted(mut self) -> Self {
        self.record = Record::new(self.record.name.clone(), NOON);
        self.account.known.clear();
        self.facts.probes.clear();
        self.holds(None);
        self
    }

    pub fn wait(&mut self, how_long: Duration) -> &mut Self {
        self.now = self.now.plus(how_long);
        self
    }

    /// The day on which the key is due.
    pub fn due(mut self) -> Self {
        self.wait(days(60));
        self
    }

    /// One pass: what it asks to be done.
    pub fn pass(&mut self) -> Vec<Action> {
        let plan = decide(&self.record, &self.account, &self.facts, &self.policy, &self.by, self.now);
        self.blocked = plan.blocked;
        self.wake_at = plan.wake_at;
        self.rolled_back |= plan.change.rolled_back;
        self.commit(plan.change);
        plan.actions
    }

    /// What came of an action.
    pub fn answer(&mut self, action: &Action, outcome: Outcome) {
        let change = apply(&self.record, &self.account, action, &outcome, &self.policy, &self.by, self.now);
        self.commit(change);
    }

    /// What an operator says.
    pub fn say(&mut self, verb: Command) -> Result<(), CommandRefused> {
        let before = (self.record.clone(), self.account.clone());
        match command(&self.record, &self.account, &verb, &self.policy, self.now) {
            Ok(change) => self.commit(change),
            Err(refused) => {
                assert!(before == (self.record.clone(), self.account.clone()), "a refused verb changes nothing");
                return Err(refused);
            }
        }
        Ok(())
    }

    pub fn commit(&mut self, change: Change) {
        self.record = change.record;
        self.account = change.account;
        for it in change.notices.iter().filter(|it| it.severity > Severity::Info) {
            assert!(it.lasts(), "what matters has an end that is told: {it:?}");
        }
        self.notices.extend(change.notices);
        self.kept.extend(change.keep.iter().map(|it| it.0));
    }

    /// A pass that sends exactly one create.
    pub fn creates(&mut self) -> Action {
        let actions = self.pass();
        let mut creates = actions.into_iter().filter(|it| matches!(it, Action::Create { .. }));
        let create = creates.next().unwrap_or_else(|| panic!("no create, {:?}, {:?}", self.record.phase, self.blocked));
        assert_eq!(creates.next(), None, "one create at a time");
        create
    }

    /// A pass that sends a create, and its answer: the new version is number 2 unless there were others.
    pub fn created(&mut self, fingerprint: &str) {
        let create = self.creates();
        self.answer(&create, Outcome::Created(found(fingerprint, Probe::Inconclusive)));
    }

    /// A pass that does nothing at all.
    pub fn rests(&mut self) {
        let actions = self.pass();
        assert_eq!(actions, [], "in {:?}", self.record.phase);
    }

    /// A pass that asks for exactly one delivery, of this version to the file, which succeeds.
    pub fn delivers(&mut self, version: VersionNo, fingerprint: &str) {
        let deliver = Action::Deliver { target: file(), version };
        assert_eq!(self.pass(), std::slice::from_ref(&deliver), "in {:?}", self.record.phase);
        self.answer(&deliver, Outcome::Delivered { ms: 1 });
        self.holds(Some(fingerprint));
    }

    /// Rotates from Steady to Steady in overlap order: a new version is current and the old one retires.
    pub fn rotated(mut self) -> Self {
        self = self.due();
        self.created("k2");
        self.probes(2, Probe::Alive);
        self.delivers(2, "k2");
        self.rests();
        assert_eq!(self.phase(), "steady");
        self
    }

    pub fn probes(&mut self, version: VersionNo, probe: Probe) -> &mut Self {
        self.facts.probes.insert(version, probe);
        self
    }

    pub fn lists(&mut self, keys: Vec<Found>) -> &mut Self {
        self.facts.listed = Some(Listed { keys, truncated: false });
        self
    }

    pub fn reads(&mut self, fingerprint: &str, probe: Probe) -> &mut Self {
        self.facts.read = Some(found(fingerprint, probe));
        self
    }

    /// What the file holds.
    pub fn holds(&mut self, fingerprint: Option<&str>) -> &mut Self {
        let content = fingerprint.map_or(Content::Absent, |it| Content::Holds(it.into()));
        self.facts.targets.insert(file(), content);
        self
    }

    pub fn phase(&self) -> &'static str {
        phase_name(&self.record.phase)
    }

    pub fn current(&self) -> VersionNo {
        self.record.current.as_ref().unwrap().number
    }

    pub fn halted(&self) -> Option<Reason> {
        match &self.record.phase {
            Phase::Halted { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    /// How a version ended, if it did.
    pub fn ended(&self, version: VersionNo) -> Option<Ended> {
        let it = self.record.retired.iter().find(|it| it.version.number == version);
        it.unwrap_or_else(|| panic!("version {version} is not retired")).ended
    }

    /// How often the owners were told this.
    pub fn told(&self, kind: NoticeKind) -> usize {
        self.notices.iter().filter(|it| it.kind == kind).count()
    }

    pub fn last_told(&self) -> &Notice {
        self.notices.last().expect("nobody was told anything")
    }

    pub fn look(&self) -> rekeyd_simulation::core::decide::Look {
        look(&self.record, &self.account, &self.policy, self.now)
    }

    /// A decided record is a fixed point: planning again, seeing nothing, changes nothing.
    pub fn is_at_rest(&mut self) {
        self.pass();
        let plan = decide(&self.record, &self.account, &Facts::default(), &self.policy, &self.by, self.now);
        assert_eq!(plan.change.record, self.record, "planning again changed the record");
        assert_eq!(plan.change.account, self.account, "planning again changed the account");
        assert_eq!(plan.change.notices, [], "planning again told something");
    }
}

/// The one file that the key is delivered to.
pub fn file() -> TargetId {
    TargetId::new("file", "/etc/billing/key")
}

pub fn found(fingerprint: &str, probe: Probe) -> Found {
    Found {
        id: Some(format!("id-{fingerprint}")),
        fingerprint: Some(fingerprint.into()),
        enabled: true,
        probe: Some(probe),
        ..Found::default()
    }
}

/// A key in the provider's list under the name of this create.
pub fn listed(create: &Action, fingerprint: Option<&str>, probe: Probe) -> Found {
    let shown = fingerprint.unwrap_or("masked");
    let fingerprint = fingerprint.map(Fingerprint::from);
    Found { token: Some(token(create)), fingerprint, ..found(shown, probe) }
}

pub fn token(create: &Action) -> Token {
    match create {
        Action::Create { token, .. } => token.clone(),
        other => panic!("no create: {other:?}"),
    }
}

pub fn is_revoke_of(action: &Action, version: VersionNo) -> bool {
    matches!(action, Action::Revoke(it) if it.what == Revokee::Version(version))
}

pub fn lost() -> Outcome {
    Outcome::Unknown("timeout".into())
}

pub fn wish() -> Wish {
    Wish { trigger: Trigger::Operator, actor: None, reason: None, now: false, compromised: false }
}

/// A window that opens every night at 22:00 UTC for four hours.
pub fn nights() -> Vec<Window> {
    vec![Window { name: None, open: cron("0 0 22 * * *"), duration: hours(4), timezone: chrono_tz::UTC }]
}

/// One freeze.
pub fn frozen(from: Timestamp, to: Timestamp) -> Vec<Freeze> {
    vec![Freeze { name: "year-end".into(), when: When::Once(Span { from, to }) }]
}

pub fn cron(text: &str) -> Arc<croner::Cron> {
    let parser = croner::parser::CronParser::builder().seconds(croner::parser::Seconds::Optional).build();
    Arc::new(parser.parse(text).unwrap())
}

/// A version as an `adopt` would have made it: obtained at noon, seen alive, valid for 90 days.
pub fn version(number: VersionNo, fingerprint: &str) -> Version {
    Version {
        number,
        account: "account".into(),
        id: Some(format!("id-{fingerprint}")),
        fingerprint: fingerprint.into(),
        token: None,
        obtained_at: NOON,
        valid_from: None,
        valid_to: Some(NOON.plus(days(90))),
        expiry: Expiry::Reported,
        first_alive: Some(NOON),
        last_alive: Some(NOON),
        dead_since: None,
        restriction: None,
        delivered: true,
        was_current: false,
    }
}

pub fn target(id: TargetId, reach: Reach) -> TargetPolicy {
    TargetPolicy { id, reach, confirms: false, readers: Vec::new() }
}

fn policy(provider: Capabilities) -> Policy {
    Policy {
        account: "account".into(),
        provider,
        former: BTreeMap::new(),
        package: None,
        restriction: None,
        instructions: None,
        rotate_before: RotateBefore::Lead(days(30)),
        valid_for: Some(days(90)),
        max_age: None,
        overlap: days(2),
        windows: Vec::new(),
        freezes: Vec::new(),
        announce: days(3),
        outside_window: OutsideWindow::IfExpiring,
        together: None,
        slot: None,
        on_ambiguous: OnAmbiguous::Halt,
        on_drift: OnDrift::Adopt,
        initial: Initial::Adopt,
        targets: vec![target(file(), Reach::Push { readable: true })],
        accept_within: minutes(10),
        settle: seconds(30),
        watch: days(7),
        creates_per_day: 20,
        notify_before: vec![days(14), days(7), days(1)],
        escalate_before: days(7),
        ack_timeout: std::time::Duration::from_secs(7 * 86_400),
        stuck_after: hours(1),
        probe_every: hours(1),
    }
}

/// The numbers in a set, as a slice-like value for `assert_eq!`.
pub fn numbers(set: &BTreeSet<VersionNo>) -> Vec<VersionNo> {
    set.iter().copied().collect()
}

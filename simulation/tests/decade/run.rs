//! The engine of the decade: it wakes each key when it asked for it, and does at once what is decided.
use crate::fleet::{KEYS, START, accounts, days, file, keys, minutes};
use crate::rng::Rng;
use rekeyd_simulation::core::account::Account;
use rekeyd_simulation::core::apply::apply;
use rekeyd_simulation::core::decide::decide;
use rekeyd_simulation::core::due;
use rekeyd_simulation::core::facts::{
    Action, Blocked, Content, Facts, Found, Listed, Outcome, Preflight, Probe, Revokee,
};
use rekeyd_simulation::core::names::{AccountId, Incarnation};
use rekeyd_simulation::core::plan::{Change, Notice, NoticeKind, NoticeStatus};
use rekeyd_simulation::core::policy::Policy;
use rekeyd_simulation::core::record::{Phase, Record};
use rekeyd_simulation::core::schedule::{Slots, Spans, Why, slots};
use rekeyd_simulation::core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

/// How often all moments are reckoned anew: rarely, for what was reckoned must hold for a while.
const RECKON_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// More passes of one key at one moment are a fault.
const PASSES: usize = 40;

pub struct Run {
    keys: Vec<(Record, Policy)>,
    accounts: BTreeMap<AccountId, Account>,
    wakes: BTreeSet<(Timestamp, usize)>,
    wake_of: Vec<Timestamp>,
    slots: Slots,
    spans: Spans,
    reckoned: Timestamp,
    rng: Rng,
    by: Incarnation,
    now: Timestamp,
    /// When each account's creates were sent.
    sent: BTreeMap<AccountId, Vec<Timestamp>>,
    /// When each group's members were begun.
    groups: BTreeMap<String, Vec<(Timestamp, usize)>>,
    announced: BTreeMap<usize, Timestamp>,
    pub figures: Figures,
}

/// What came of it.
#[derive(Default)]
pub struct Figures {
    passes: u64,
    reckonings: u64,
    reckoning: Duration,
    all: Duration,
    rotations: u64,
    failed: u64,
    later: u64,
    earlier: u64,
    together: u64,
    outside: u64,
    avoidable: Vec<String>,
    revocations: u64,
    wrong_revocations: Vec<String>,
    expired: Vec<String>,
    /// Nobody was there from the moment in which it was due until it expired.
    expired_while_down: Vec<String>,
    told_expired: usize,
    over_budget: Vec<String>,
    unannounced: Vec<String>,
    apart: Vec<String>,
    groups: u64,
    peaks: BTreeMap<AccountId, (usize, u32)>,
    fullest_minute: usize,
}

impl Run {
    pub fn new() -> Self {
        let keys = keys();
        let accounts = accounts(&keys);
        Self {
            wakes: (0..KEYS).map(|n| (START, n)).collect(),
            wake_of: vec![START; KEYS],
            keys,
            accounts,
            slots: Slots::new(),
            spans: Spans::default(),
            reckoned: Timestamp(0),
            rng: Rng::new(7, 1),
            by: Incarnation { install: "0a1b2c3d".into(), epoch: "000001".into() },
            now: START,
            sent: BTreeMap::new(),
            groups: BTreeMap::new(),
            announced: BTreeMap::new(),
            figures: Figures::default(),
        }
    }

    pub fn go(&mut self, how_long: Duration) {
        let (began, end) = (Instant::now(), START.plus(how_long));
        while let Some((at, n)) = self.wakes.pop_first() {
            self.now = self.now.max(self.awake(at));
            if self.now >= end {
                break;
            }
            if self.now.since(self.reckoned) >= RECKON_EVERY {
                self.reckon();
            }
            self.work(n);
        }
        for n in 0..KEYS {
            self.note_expiry(n);
        }
        self.count();
        self.figures.all = began.elapsed();
    }

    /// The daemon is down for three days in every spring and autumn, and for two weeks once, in the second autumn.
    fn awake(&self, at: Timestamp) -> Timestamp {
        let day = at.since(START).as_secs() / 86_400;
        let back = |day: u64| START.plus(days(day));
        match day % 365 {
            120..123 => back(day - day % 365 + 123),
            280..283 => back(day - day % 365 + 283),
            _ if (690..704).contains(&day) => back(704),
            _ => at,
        }
    }

    /// Each year the provider of every key is out of reach for a day.
    fn is_reachable(&self, at: Timestamp) -> bool {
        at.since(START).as_secs() / 86_400 % 365 != 200
    }

    /// The first moment between the due one and the last safe one in which the key could have been replaced: in an opening from
    /// then on or, where there is none, in what is left of the one in which it fell due.
    fn chance_missed(&self, policy: &Policy, due: Timestamp, last: Timestamp) -> Option<Timestamp> {
        let due = policy.calendar().opens_from(due).filter(|it| *it <= last).unwrap_or(due);
        let next = |it: &Timestamp| Some(it.plus(minutes(15)));
        let mut moments = std::iter::successors(Some(due), next).take_while(|it| *it <= last.min(self.now));
        moments.find(|it| policy.calendar().is_open(*it) && self.awake(*it) == *it && self.is_reachable(*it))
    }

    fn reckon(&mut self) {
        let began = Instant::now();
        let keys = self.keys.iter().map(|(record, policy)| (record, policy));
        self.slots = slots(keys, &self.accounts, &mut self.spans, self.now);
        self.reckoned = self.now;
        self.figures.reckonings += 1;
        self.figures.reckoning += began.elapsed();
        // A sweep: whose moment was moved is woken for it.
        for n in 0..KEYS {
            let name = &self.keys[n].0.name;
            if let Some(slot) = self.slots.get(name)
                && slot.at.minus(days(2)) < self.now.plus(RECKON_EVERY)
            {
                self.wake(n, self.wake_of[n].min(slot.at.minus(self.keys[n].1.announce)).max(self.now));
            }
        }
    }

    fn wake(&mut self, n: usize, at: Timestamp) {
        self.wakes.remove(&(self.wake_of[n], n));
        self.wake_of[n] = at;
        self.wakes.insert((at, n));
    }

    fn work(&mut self, n: usize) {
        for _ in 0..PASSES {
            self.figures.passes += 1;
            let name = self.keys[n].0.name.clone();
            self.keys[n].1.slot = self.slots.get(&name).copied();
            let (record, policy) = &self.keys[n];
            let account = self.accounts[&policy.account].clone();
            let facts = self.facts(record, policy);
            let plan = decide(record, &account, &facts, policy, &self.by, self.now);
            let before = record.phase.clone();
            let wake_at = plan.wake_at;
            self.commit(n, plan.change);
            let moved = self.keys[n].0.phase != before || !plan.actions.is_empty();
            for action in &plan.actions {
                let outcome = self.act(n, action);
                let (record, policy) = &self.keys[n];
                let account = &self.accounts[&policy.account];
                let change = apply(record, account, action, &outcome, policy, &self.by, self.now);
                self.commit(n, change);
            }
            if !moved {
                return self.wake(n, wake_at.max(self.now.plus(Duration::from_millis(1))));
            }
        }
        panic!("{} never rests: {:?}", self.keys[n].0.name, self.keys[n].0.phase);
    }

    fn facts(&self, record: &Record, policy: &Policy) -> Facts {
        let current = record.current.as_ref().unwrap();
        let alive = |it: &rekeyd_simulation::core::record::Version| (it.number, Probe::Alive);
        let held = record.held.values().find_map(|it| it.settled).and_then(|it| record.version(it));
        let reachable = self.is_reachable(self.now);
        let unreachable = Preflight::Blocked(Blocked::Provider("connection refused".into()));
        Facts {
            listed: Some(Listed::default()).filter(|_| reachable),
            read: Some(Found {
                fingerprint: Some(current.fingerprint.clone()),
                enabled: true,
                probe: Some(Probe::Alive),
                ..Found::default()
            })
            .filter(|_| reachable && policy.provider.recover == rekeyd_simulation::core::policy::Recover::ReadCurrent),
            probes: record.live_versions().map(alive).filter(|_| reachable).collect(),
            targets: BTreeMap::from([(
                file(),
                held.map_or(Content::Absent, |it| Content::Holds(it.fingerprint.clone())),
            )]),
            preflight: Some(if reachable { Preflight::Ready } else { unreachable }),
            ..Facts::default()
        }
    }

    fn commit(&mut self, n: usize, change: Change) {
        let replaced = change.record.last_version != self.keys[n].0.last_version;
        if replaced {
            self.note_expiry(n);
        }
        for it in &change.notices {
            self.told(n, it);
        }
        self.accounts.insert(change.account.id.clone(), change.account);
        self.keys[n].0 = change.record;
    }

    fn told(&mut self, n: usize, notice: &Notice) {
        match (notice.kind, notice.status) {
            (NoticeKind::KeyExpired, NoticeStatus::Firing) => self.figures.told_expired += 1,
            (NoticeKind::RotationScheduled, _) => {
                self.announced.insert(n, notice.at);
            }
            _ => {}
        }
    }

    /// A key that is replaced, or looked at in the end: whether it still lived.
    fn note_expiry(&mut self, n: usize) {
        let (record, policy) = &self.keys[n];
        let current = record.current.as_ref().unwrap();
        let expired = current.valid_to.is_some_and(|it| it <= self.now);
        if !expired && !matches!(record.phase, Phase::Halted { .. }) {
            return;
        }
        let ends = due::due_at(current, policy).zip(current.valid_to);
        let next = |it: &Timestamp| Some(it.plus(minutes(15)));
        let mut moments = ends
            .into_iter()
            .flat_map(|(due, end)| std::iter::successors(Some(due), next).take_while(move |it| *it < end));
        let place = format!("{} at {}: {:?}", record.name, self.now, record.phase);
        match moments.any(|it| self.awake(it) == it && self.is_reachable(it)) {
            true => self.figures.expired.push(place),
            false => self.figures.expired_while_down.push(place),
        }
    }

    fn act(&mut self, n: usize, action: &Action) -> Outcome {
        match action {
            Action::Create { token, valid_to } => {
                self.create(n);
                if self.rng.chance(30) {
                    self.figures.failed += 1;
                    // Certainly refused, but it took one of the day's creates.
                    return Outcome::Refused(rekeyd_simulation::core::facts::Refusal {
                        why: rekeyd_simulation::core::facts::RefusalKind::Request,
                        retry_after: None,
                        message: "500".into(),
                    });
                }
                self.figures.rotations += 1;
                Outcome::Created(Found {
                    token: Some(token.clone()),
                    id: Some(format!("id-{token}")),
                    fingerprint: Some(token.to_string().as_str().into()),
                    enabled: true,
                    valid_from: Some(self.now),
                    valid_to: *valid_to,
                    probe: None,
                })
            }
            Action::Deliver { .. } => Outcome::Delivered { ms: 1 },
            Action::Confirm { .. } => Outcome::Confirmed,
            Action::Revoke(it) => {
                self.figures.revocations += 1;
                let (record, policy) = &self.keys[n];
                if !policy.calendar().is_open(self.now) && matches!(it.what, Revokee::Version(_)) {
                    self.figures.wrong_revocations.push(format!("{} at {}", record.name, self.now));
                }
                Outcome::Revoked
            }
            Action::Empty { .. } => Outcome::Emptied,
        }
    }

    fn create(&mut self, n: usize) {
        let (record, policy) = &self.keys[n];
        let now = self.now;
        self.sent.entry(policy.account.clone()).or_default().push(now);
        let current = record.current.as_ref().unwrap();
        match policy.slot.filter(|it| it.version == current.number).map(|it| it.why) {
            Some(Why::Later) => self.figures.later += 1,
            Some(Why::Earlier | Why::Before) => self.figures.earlier += 1,
            Some(Why::Together) => self.figures.together += 1,
            _ => {}
        }
        if !policy.calendar().is_open(now) {
            self.figures.outside += 1;
            let last = due::last_safe_moment(current, policy).unwrap();
            let due = due::due_at(current, policy).unwrap();
            if let Some(missed) = self.chance_missed(policy, due, last) {
                self.figures.avoidable.push(format!("{} at {now}, where {missed} was left", record.name));
            }
        }
        if !policy.provider.revokes_by_id
            && let Some(at) = self.announced.remove(&n)
            && now.since(at) < policy.announce
            && policy.calendar().is_open(now)
        {
            self.figures.unannounced.push(format!("{} at {now}, told at {at}", record.name));
        }
        if let Some(word) = policy.together.clone() {
            self.groups.entry(word).or_default().push((now, n));
        }
    }

    fn count(&mut self) {
        for (account, sent) in &mut self.sent {
            sent.sort_unstable();
            let per_day = self.keys.iter().find(|it| it.1.account == *account).unwrap().1.creates_per_day;
            let mut peak = 0;
            for (n, at) in sent.iter().enumerate() {
                let day = sent[n..].iter().take_while(|it| it.since(*at) < days(1)).count();
                let minute = sent[n..].iter().take_while(|it| it.since(*at) < minutes(1)).count();
                peak = peak.max(day);
                self.figures.fullest_minute = self.figures.fullest_minute.max(minute);
                if day > per_day as usize {
                    self.figures.over_budget.push(format!("{day} at {account} within a day of {at}"));
                }
            }
            self.figures.peaks.insert(account.clone(), (peak, per_day));
        }
        self.count_groups();
    }

    /// Within six hours of the first member's create the others follow.
    fn count_groups(&mut self) {
        for (word, sent) in &self.groups {
            let members = self.keys.iter().filter(|it| it.1.together.as_ref() == Some(word)).count();
            let mut rest = &sent[..];
            while let Some((first, _)) = rest.first() {
                let near = rest.iter().take_while(|it| it.0.since(*first) <= minutes(37 * 60)).count();
                let who: BTreeSet<usize> = rest[..near].iter().map(|it| it.1).collect();
                rest = &rest[near..];
                self.figures.groups += 1;
                if who.len() != members && first.plus(days(3)) < self.now {
                    self.figures.apart.push(format!("{word} at {first}: {} of {members}", who.len()));
                }
            }
        }
    }
}

impl Figures {
    /// Whether everything was as it must be.
    pub fn hold(&self, years: u64) {
        assert!(self.rotations > 1500 * years, "the fleet was busy");
        assert!(
            self.later > 0 && self.earlier > 0 && self.together > 0 && self.outside > 0,
            "each kind of slot was used"
        );
        let none: [String; 0] = [];
        assert_eq!(self.expired, none);
        assert_eq!(self.expired_while_down, none);
        assert_eq!(self.told_expired, 0);
        assert_eq!(self.avoidable, none);
        assert_eq!(self.wrong_revocations, none);
        assert_eq!(self.over_budget, none);
        assert_eq!(self.unannounced, none);
        // A provider that is out of reach, or a daemon that is down, in just that night.
        assert!(self.apart.len() as u64 * 50 <= self.groups, "{:?}", self.apart);
        assert!(self.rotations > 1500 * years, "the fleet was busy");
        assert!(
            self.later > 0 && self.earlier > 0 && self.together > 0 && self.outside > 0,
            "each kind of slot was used"
        );
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "rotations {}, creates that failed {}, revocations {}",
            self.rotations, self.failed, self.revocations
        )?;
        writeln!(
            f,
            "moved by budgets: later {}, earlier {}; led by another key {}",
            self.later, self.earlier, self.together
        )?;
        writeln!(f, "outside windows {}, avoidable {}", self.outside, self.avoidable.len())?;
        writeln!(
            f,
            "expired {}, and {} while the daemon was down; revoked outside windows or in a freeze {}",
            self.expired.len(),
            self.expired_while_down.len(),
            self.wrong_revocations.len()
        )?;
        writeln!(f, "groups rotated {}, not in one opening {}", self.groups, self.apart.len())?;
        for (account, (peak, of)) in self.peaks.iter().filter(|it| it.1.1 != 20) {
            writeln!(f, "{account}: at most {peak} creates in 24 hours, of {of}")?;
        }
        writeln!(f, "most creates of an account within a minute {}", self.fullest_minute)?;
        write!(
            f,
            "{} passes, {} reckonings in {:?}, all in {:?}",
            self.passes, self.reckonings, self.reckoning, self.all
        )
    }
}

//! The rotations of all keys for some time to come. They share budgets and windows, so that they are placed together: first
//! the next one of each key, then those that follow, as if each succeeded at once.
use super::Subject;
use super::forecast::{Start, cuts, first, scheduled, successor};
use crate::core::names::KeyName;
use crate::core::policy::Policy;
use crate::core::record::{Phase, Record, Version};
use crate::core::schedule::{Schedule, Spans, Standing, Task, task};
use crate::core::time::Timestamp;
use crate::engine::handle::Snapshot;
use std::collections::BTreeMap;

/// At most so many rotations of one key are foreseen,
const ROTATIONS_PER_KEY: usize = 1000;
/// and so many of all keys.
const ROTATIONS: usize = 200_000;

/// The rotations of one key.
#[derive(Default)]
pub struct Line {
    /// Each with the version that it replaces, the next one first.
    pub rotations: Vec<(Version, Start)>,
    /// Whether it ends because a new version would be due again at once.
    pub at_once: bool,
}

/// What is foreseen of every key in our care, until a moment; the last rotation of a key may be after it.
pub fn ahead(snapshot: &Snapshot, until: Timestamp) -> BTreeMap<KeyName, Line> {
    let keys = || snapshot.settings.keys.values();
    let records = keys().filter_map(|it| Some((snapshot.records.get(&it.name)?, &it.policy)));
    let tasks: Vec<Task<'_>> =
        records.filter_map(|(record, policy)| task(record, policy, &snapshot.accounts, snapshot.now)).collect();
    let mut schedule = Schedule::new(&snapshot.accounts);
    let mut spans = Spans::default();
    schedule.place(&tasks, &mut spans);
    let mut lines: BTreeMap<KeyName, Line> = BTreeMap::new();
    let mut coming: Vec<Coming<'_>> = Vec::new();
    for subject in keys().filter_map(|it| Subject::of(snapshot, &it.name)) {
        let (Some(key), Some(record)) = (subject.config, subject.record) else { continue };
        let Some(current) = record.current.as_ref().filter(|_| key.policy.provider.creates) else { continue };
        let line = lines.entry(key.name.clone()).or_default();
        let (policy, now) = (&key.policy, subject.now);
        let coming_of = |version| Coming { name: &key.name, policy, cuts: cuts(&subject, policy), version, from: now };
        if !matches!(record.phase, Phase::Steady | Phase::Announce { .. }) {
            coming.push(coming_of(newest(record, current, policy, now)));
        } else if let Some(start) = first(&subject, record, current) {
            coming.extend(coming_of(current.clone()).replaced(start, until, line));
        }
    }
    let mut placed = coming.len();
    while !coming.is_empty() && placed <= ROTATIONS {
        let tasks: Vec<Task<'_>> = coming.iter().map(Coming::task).collect();
        let slots = schedule.place(&tasks, &mut spans);
        for it in std::mem::take(&mut coming) {
            let line = lines.entry(it.name.clone()).or_default();
            let policy = Policy { slot: slots.get(it.name).copied(), ..it.policy.clone() };
            let Some(start) = scheduled(&it.version, &policy, it.cuts, it.from) else { continue };
            if line.rotations.last().is_some_and(|last| start.at <= last.1.at) {
                line.at_once = true;
                continue;
            }
            coming.extend(it.replaced(start, until, line));
        }
        placed += coming.len();
    }
    lines
}

/// The version that a rotation under way is expected to yield, or has yielded.
pub fn newest(record: &Record, current: &Version, policy: &Policy, now: Timestamp) -> Version {
    let cutover = matches!(record.phase, Phase::Cutover { .. });
    let newest = record.pending().or(Some(current).filter(|_| cutover)).cloned();
    newest.unwrap_or_else(|| successor(current, policy, now))
}

/// A version that is to be replaced, by a rotation that is to be placed.
struct Coming<'a> {
    name: &'a KeyName,
    policy: &'a Policy,
    cuts: bool,
    version: Version,
    /// When the rotation began that yields it.
    from: Timestamp,
}

impl Coming<'_> {
    fn task(&self) -> Task<'_> {
        Task {
            name: self.name,
            policy: self.policy,
            version: Some(&self.version),
            from: self.from,
            announce: Some(self.policy.announce).filter(|it| self.cuts && !it.is_zero()),
            standing: Standing::Free,
            rotated_at: Some(self.from),
            led_at: Some(self.from),
        }
    }

    /// Notes when the version is replaced. What follows is the version after it, if that comes into the time asked for.
    fn replaced(self, start: Start, until: Timestamp, line: &mut Line) -> Option<Self> {
        let at = start.at;
        let next = Self { version: successor(&self.version, self.policy, at), from: at, ..self };
        line.rotations.push((self.version, start));
        (at <= until && line.rotations.len() < ROTATIONS_PER_KEY).then_some(next)
    }
}

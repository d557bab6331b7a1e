//! Two daemons at one account, neither of which knows of the other: whatever one does to the other's key, it must end.
use crate::bench::*;
use rekeyd_simulation::core::facts::{Action, Outcome, Probe};
use rekeyd_simulation::core::plan::{Command, NoticeKind};
use rekeyd_simulation::core::policy::{OnDrift, Recover};
use rekeyd_simulation::core::record::{Reason, Wish};
use rekeyd_simulation::core::time::Timestamp;
use std::time::Duration;

/// Two daemons with the account's one key, where a create ends the key before it.
struct War {
    daemons: [Bench; 2],
    /// The account's one key that is accepted.
    alive: String,
    creates: u32,
}

impl War {
    fn between(one: impl Fn() -> Bench, probe_every: [Duration; 2]) -> Self {
        let daemons = [0, 1].map(|n| {
            let mut it = one();
            it.policy.probe_every = probe_every[n];
            it.policy.announce = minutes(0);
            it.by.install = format!("{n}{n}{n}{n}{n}{n}{n}{n}");
            // What is seen is what the service says.
            it.facts.probes.clear();
            it.wake_at = it.now;
            it
        });
        Self { daemons, alive: "k1".into(), creates: 0 }
    }

    /// One looks, and does what comes of it. Says whether there may be more to do at once.
    fn look(&mut self, n: usize, now: Timestamp) -> bool {
        let it = &mut self.daemons[n];
        it.now = now;
        it.facts.probes.clear();
        let look = it.look();
        for number in look.probe {
            let fingerprint = it.record.version(number).unwrap().fingerprint.clone();
            let probe = if fingerprint.as_str() == self.alive { Probe::Alive } else { Probe::Dead };
            it.probes(number, probe);
        }
        it.facts.read = look.read.then(|| found(&self.alive, Probe::Alive));
        let before = it.phase();
        let actions = it.pass();
        let moved = it.phase() != before || !actions.is_empty();
        for action in actions {
            let outcome = match &action {
                Action::Create { .. } => {
                    self.creates += 1;
                    self.alive = format!("made-{}", self.creates);
                    Outcome::Created(found(&self.alive, Probe::Inconclusive))
                }
                Action::Deliver { version, .. } => {
                    let held = it.record.version(*version).unwrap().fingerprint.clone();
                    it.holds(Some(held.as_str()));
                    Outcome::Delivered { ms: 1 }
                }
                other => panic!("{other:?}"),
            };
            it.answer(&action, outcome);
        }
        moved
    }

    /// One of the two is told to rotate, when both rest.
    fn first_rotates(&mut self) {
        self.go_on(days(2));
        let it = &mut self.daemons[0];
        it.now = it.now.max(NOON.plus(days(2)));
        it.say(Command::Rotate(Wish { now: true, ..wish() })).unwrap();
        it.wake_at = it.now;
    }

    /// Each looks when it wanted to, for so long.
    fn go_on(&mut self, how_long: Duration) {
        let begin = self.daemons[0].now.max(self.daemons[1].now);
        let end = begin.plus(how_long);
        let mut next = self.daemons.each_ref().map(|it| it.wake_at.max(begin));
        loop {
            let n = usize::from(next[1] < next[0]);
            let now = next[n];
            if now >= end {
                return;
            }
            let (soon, moved) = (now.plus(seconds(1)), self.look(n, now));
            next[n] = if moved { soon } else { self.daemons[n].wake_at.max(soon) };
        }
    }
}

/// Nobody says what a create does here, and nobody can be asked: each finds at its next probe, about once a day, that its key
/// is dead, and makes another, which ends the other's. It is answered once; then a human is asked.
#[test]
pub fn two_daemons_that_find_their_key_dead_once_a_day_stop_and_tell() {
    for others in [days(1), hours(3), days(5)] {
        let mut it = War::between(Bench::silent, [days(1), others]);
        it.first_rotates();
        assert_eq!(it.creates, 0);
        it.go_on(days(50));
        assert!((2..=4).contains(&it.creates), "{} creates, the other probes every {others:?}", it.creates);
        let halted = |it: &Bench| it.halted() == Some(Reason::SomebodyElseRotates);
        assert!(it.daemons.iter().any(|it| halted(it) && it.told(NoticeKind::RotationHalted) == 1));
        let in_use = it.daemons.iter().map(|it| it.record.current.as_ref().unwrap().fingerprint.as_str());
        assert!(in_use.filter(|used| *used == it.alive).count() == 1, "one of the two has the key that works");
    }
}

/// The same where the account's one key can be read, and is replaced where it is somebody else's.
#[test]
pub fn two_daemons_that_replace_each_others_key_stop_and_tell() {
    let mut it = War::between(Bench::revokes, [days(1), hours(5)]);
    it.daemons.iter_mut().for_each(|it| it.policy.on_drift = OnDrift::Rotate);
    it.first_rotates();
    it.go_on(days(50));
    assert!((2..=4).contains(&it.creates), "{} creates", it.creates);
    let halted = it.daemons.each_ref().map(Bench::halted);
    assert!(halted.contains(&Some(Reason::SomebodyElseRotates)), "{halted:?}");
}

/// Where theirs is taken over, nobody makes a key because of the other.
#[test]
pub fn two_daemons_that_take_each_others_key_over_make_no_more_than_was_asked_for() {
    let mut it = War::between(Bench::revokes, [days(1), days(1)]);
    assert_eq!(it.daemons[0].policy.provider.recover, Recover::ReadCurrent);
    it.first_rotates();
    it.go_on(days(20));
    assert_eq!((it.creates, it.daemons.each_ref().map(Bench::halted)), (1, [None, None]));
    assert_eq!(it.daemons.each_ref().map(Bench::current), [2, 2]);
}

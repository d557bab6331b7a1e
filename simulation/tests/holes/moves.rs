//! The section of a key gets another account in the middle of things: another login, another address, another kind, or
//! another name. In whatever phase that is, the rotation under way ends where it began, nobody is shown a key that he did not
//! issue, nothing that lives is forgotten, and the next key is made at the new account.
use super::verbs::phases;
use crate::bench::*;
use rekeyd_simulation::core::account::Account;
use rekeyd_simulation::core::command::{account_gone, leave_account};
use rekeyd_simulation::core::facts::{Action, Outcome, Probe, Revokee};
use rekeyd_simulation::core::names::AccountId;
use rekeyd_simulation::core::plan::{Change, Command, NoticeKind};
use rekeyd_simulation::core::policy::{Capabilities, OnCreate, Policy, Recover};
use rekeyd_simulation::core::record::Phase;
use std::collections::BTreeMap;

/// What the new account's provider is.
const KINDS: [(&str, OnCreate, Recover, bool); 4] = [
    ("the same kind", OnCreate::Keeps, Recover::ListByName, true),
    ("one key an account", OnCreate::Revokes, Recover::ReadCurrent, false),
    ("nobody says", OnCreate::Unknown, Recover::None, false),
    ("all keys in an answer", OnCreate::Unknown, Recover::DiffAnswer, false),
];

/// A key whose section was changed, and the accounts that it was and will be at.
struct Moved {
    it: Bench,
    /// What the config says now.
    config: Policy,
    accounts: BTreeMap<AccountId, Account>,
    /// Every key that is accepted, and where.
    alive: BTreeMap<String, AccountId>,
    issued: u32,
    scene: String,
}

impl Moved {
    fn new(it: Bench, capabilities: Capabilities, scene: String) -> Self {
        let mut config = it.policy.clone();
        config.former.insert(config.account.clone(), config.provider);
        config.account = "elsewhere".into();
        config.provider = capabilities;
        config.announce = minutes(0);
        config.probe_every = days(1);
        let versions = it.record.live_versions();
        let alive = versions.map(|it| (it.fingerprint.as_str().to_owned(), it.account.clone())).collect();
        let accounts = BTreeMap::from([(it.account.id.clone(), it.account.clone())]);
        Self { it, config, accounts, alive, issued: 10, scene }
    }

    fn commit(&mut self, change: Change) {
        self.accounts.insert(change.account.id.clone(), change.account);
        self.it.record = change.record;
        self.it.notices.extend(change.notices);
    }

    /// What the daemon does between two looks, and one look.
    fn step(&mut self) {
        let policy = self.config.working(&self.it.record).into_owned();
        for left in self.accounts.clone().into_values().filter(|it| it.id != policy.account) {
            if let Some(change) = leave_account(&self.it.record, &left, &policy, self.it.now) {
                self.commit(change);
            }
        }
        let fresh = Account::new(policy.account.clone());
        self.it.account = self.accounts.get(&policy.account).cloned().unwrap_or(fresh);
        self.it.policy = policy;
        self.see();
        let actions = self.it.pass();
        self.accounts.insert(self.it.account.id.clone(), self.it.account.clone());
        for action in actions {
            self.act(&action);
        }
    }

    fn see(&mut self) {
        let account = self.it.policy.account.clone();
        let it = &mut self.it;
        it.facts.probes.clear();
        for number in it.look().probe {
            let version = it.record.version(number).unwrap();
            assert_eq!(version.account, account, "{}: shown to somebody else", self.scene);
            let alive = self.alive.contains_key(version.fingerprint.as_str());
            it.probes(number, if alive { Probe::Alive } else { Probe::Dead });
        }
        let here = self.alive.iter().filter(|(_, at)| **at == account).map(|(it, _)| it.as_str());
        let newest = here.max_by_key(|it| it.trim_start_matches('k').parse::<u32>().unwrap_or(0));
        it.facts.read = Some(newest.map(|it| found(it, Probe::Alive)).unwrap_or_default());
    }

    fn act(&mut self, action: &Action) {
        let (scene, working) = (self.scene.clone(), self.it.policy.account.clone());
        let outcome = match action {
            Action::Create { .. } => {
                self.issued += 1;
                let made = format!("k{}", self.issued);
                if self.it.policy.provider.on_create == OnCreate::Revokes {
                    self.alive.retain(|_, at| *at != working);
                }
                self.alive.insert(made.clone(), working);
                match self.it.policy.provider.recover {
                    Recover::DiffAnswer => Outcome::AnsweredAll(vec![found(&made, Probe::Alive)]),
                    _ => Outcome::Created(found(&made, Probe::Inconclusive)),
                }
            }
            Action::Deliver { version, .. } => {
                let held = self.it.record.version(*version).unwrap().fingerprint.clone();
                assert!(self.alive.contains_key(held.as_str()), "{scene}: a dead key is delivered");
                self.it.holds(Some(held.as_str()));
                Outcome::Delivered { ms: 1 }
            }
            Action::Revoke(it) => {
                let Revokee::Version(number) = it.what else { panic!("{scene}: {action:?}") };
                let version = self.it.record.version(number).unwrap();
                assert_eq!((&version.account, &it.id), (&it.account, version.id.as_ref().unwrap()), "{scene}");
                self.alive.remove(version.fingerprint.as_str());
                Outcome::Revoked
            }
            other => panic!("{scene}: {other:?}"),
        };
        self.it.answer(action, outcome);
        self.accounts.insert(self.it.account.id.clone(), self.it.account.clone());
    }

    /// The create that was on the wire when the config changed is answered.
    fn answer_what_was_on_the_wire(&mut self) {
        let Phase::Create(creating) = &self.it.record.phase else { return };
        let Some(token) = creating.token.clone() else { return };
        self.alive.insert("k9".into(), "account".into());
        self.it.policy = self.config.working(&self.it.record).into_owned();
        let create = Action::Create { token, valid_to: None };
        self.it.answer(&create, Outcome::Created(found("k9", Probe::Inconclusive)));
        self.accounts.insert(self.it.account.id.clone(), self.it.account.clone());
    }

    /// Everything that lives is in use, on its way out, or told to the owners.
    fn is_accounted_for(&self) {
        for fingerprint in self.alive.keys() {
            let on_the_books = self.it.record.live_versions().any(|it| it.fingerprint.as_str() == fingerprint);
            let mut told = self.it.notices.iter().filter(|it| it.kind == NoticeKind::RevokeNeeded);
            let told = told.any(|it| it.summary.contains(fingerprint.as_str()));
            assert!(on_the_books || told, "{}: {fingerprint} is forgotten", self.scene);
        }
    }

    fn goes_on_for(&mut self, days_of_it: u64) {
        let end = self.it.now.plus(days(days_of_it));
        for _ in 0..2000 {
            self.step();
            self.is_accounted_for();
            self.it.now = self.it.wake_at.max(self.it.now.plus(seconds(1))).min(self.it.now.plus(hours(6)));
            if self.it.now >= end {
                return;
            }
        }
        panic!("{}: it never rests, in {:?}", self.scene, self.it.record.phase);
    }

    fn is_in_use_at(&self, account: &str) {
        let (scene, record) = (&self.scene, &self.it.record);
        let current = record.current.as_ref().unwrap_or_else(|| panic!("{scene}: nothing is in use"));
        assert_eq!(current.account.as_str(), account, "{scene}, {:?}, {:?}", record.phase, self.it.blocked);
        assert!(self.alive.contains_key(current.fingerprint.as_str()), "{scene}: what is in use is dead");
        assert!(record.held[&file()].is_settled_at(current.number), "{scene}: it is not delivered");
    }
}

fn each_phase(mut check: impl FnMut(Moved)) {
    for (kind, on_create, recover, revokes_by_id) in KINDS {
        let new = Bench::new(on_create, recover, revokes_by_id).policy.provider;
        // A key that is not adopted yet, and one whose state was restored, have scenes of their own.
        for (phase, it) in phases().into_iter().filter(|it| !["unadopted", "reobserve"].contains(&it.0)) {
            let mut moved = Moved::new(it, new, format!("{phase}, to {kind}"));
            if matches!(phase, "halted" | "paused") {
                moved.it.say(Command::Resume).unwrap();
            }
            moved.it.facts.preflight = Some(rekeyd_simulation::core::facts::Preflight::Ready);
            moved.it.facts.listed = Some(Default::default());
            check(moved);
        }
    }
}

/// The old account is still there until nothing of the key is at it.
#[test]
pub fn a_rotation_ends_where_it_began_and_the_next_one_is_at_the_new_account() {
    each_phase(|mut it| {
        let rotating = it.it.record.rotation.is_some();
        it.answer_what_was_on_the_wire();
        it.step();
        assert_eq!(it.it.policy.account.as_str(), if rotating { "account" } else { "elsewhere" }, "{}", it.scene);
        it.goes_on_for(150);
        it.is_in_use_at("elsewhere");
    });
}

/// The account was renamed while the daemon was down: nobody speaks for the old one, so that a rotation there can't go on.
/// What it left behind is told, and the key is made at the new account.
#[test]
pub fn a_rotation_whose_account_is_gone_begins_anew_at_the_new_one() {
    each_phase(|mut it| {
        it.config.former.clear();
        let old = it.it.account.clone();
        if let Some(change) = account_gone(&it.it.record, &old, &it.config, it.it.now) {
            it.commit(change);
        }
        assert_eq!(it.it.record.rotation, None, "{}", it.scene);
        it.goes_on_for(150);
        it.is_in_use_at("elsewhere");
    });
}

/// Nobody can be asked for a key any more: what was made is brought to its end, and its owners are reminded when it is due.
#[test]
pub fn a_key_that_moves_to_a_provider_without_an_api_ends_its_rotation_and_waits_for_a_human() {
    for (phase, it) in phases().into_iter().filter(|it| ["verify", "deliver", "overlap", "steady"].contains(&it.0)) {
        let by_hand = Capabilities { creates: false, probes: false, ..Bench::silent().policy.provider };
        let by_hand = Capabilities { on_create: OnCreate::Keeps, ..by_hand };
        let mut moved = Moved::new(it, by_hand, format!("{phase}, to a human"));
        moved.goes_on_for(100);
        assert_eq!((moved.it.phase(), moved.it.record.rotation.is_none()), ("steady", true), "{}", moved.scene);
        assert!(moved.it.told(NoticeKind::KeyExpiring) > 0, "{}", moved.scene);
    }
}

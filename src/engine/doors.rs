//! The doors of the providers, one for each account. While a provider refuses the login, or asks to slow down, its door is
//! shut: all keys of the account are held, and one of them at a time asks, after growing waits, whether it is open again.
//! A login may be good for all but revoking: then only that waits, in the same way. What is known of a login that is refused
//! outlives the daemon, see [`super::logins`].
mod door;

pub(super) use door::{Asked, Kept};

use super::event::Trouble;
use crate::core::facts::Blocked;
use crate::core::login::RefusedLogin;
use crate::core::names::{AccountId, Fingerprint, KeyName};
use crate::core::time::Timestamp;
use door::{Door, Unrevoking};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// For how long it is told that a provider could not be reached, if nobody has tried since: longer than the longest wait
/// before a retry.
const FRESH: Duration = Duration::from_secs(80 * 60);

/// What a call changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum News {
    /// Nothing.
    Nothing,
    /// It refused, or did not answer, for the how-manieth time in a row, from 1.
    Refused(u32, Blocked),
    /// It answers again, since when it did not.
    Opened(Timestamp),
    /// It refuses to revoke with our login, and does not refuse anything else.
    RevokeRefused,
    /// It revokes again.
    Revokes,
}

/// All doors.
#[derive(Debug, Default)]
pub(super) struct Doors(BTreeMap<AccountId, Door>);

impl Doors {
    /// Shuts the doors that were shut when the daemon ended.
    pub(super) fn restore(&mut self, kept: BTreeMap<AccountId, Kept>) {
        for (account, Kept { refused, unrevoking }) in kept {
            let unrevoking = unrevoking.map(|login| Unrevoking { login, scout: None });
            self.0.insert(account, Door { refused, unrevoking, ..Door::default() });
        }
    }

    /// What must outlive the daemon.
    pub(super) fn kept(&self) -> BTreeMap<AccountId, Kept> {
        let kept = self.0.iter().filter(|(_, it)| it.refused.is_some() || it.unrevoking.is_some()).map(|(id, it)| {
            let (refused, unrevoking) = (it.refused.clone(), it.unrevoking.as_ref().map(|it| it.login.clone()));
            (id.clone(), Kept { refused, unrevoking })
        });
        kept.collect()
    }

    /// Whether a key may ask its provider now. `surely` says that its look will: not only that it may come to it.
    ///
    /// # Errors
    /// Why not: another key asks for all, or the wait is not over.
    pub(super) fn admit(
        &mut self,
        account: &AccountId,
        name: &KeyName,
        surely: bool,
        now: Timestamp,
    ) -> Result<(), Blocked> {
        let door = self.0.entry(account.clone()).or_default();
        let held = door.held();
        if held.is_none() && (door.answered || !surely) {
            return Ok(());
        }
        let waits = held.as_ref().is_some_and(|(_, at)| *at > now);
        let taken = door.scout.as_ref().is_some_and(|it| it != name);
        if waits || taken {
            door.waiting.insert(name.clone());
            let first = || Blocked::Provider("another key of the account asks it first".to_owned());
            return Err(held.map_or_else(first, |(why, _)| why));
        }
        door.scout = Some(name.clone());
        door.waiting.remove(name);
        if let Some(refused) = &mut door.refused {
            refused.login.begin_try(now);
        }
        Ok(())
    }

    /// Whether a key may have something revoked at this account now. Where our login was refused for that, one key tries
    /// again after the wait.
    pub(super) fn may_revoke(&mut self, account: &AccountId, name: &KeyName, now: Timestamp) -> bool {
        let Some(refused) = self.0.get_mut(account).and_then(|it| it.unrevoking.as_mut()) else { return true };
        let taken = refused.scout.as_ref().is_some_and(|it| it != name);
        if !refused.login.may_be_tried(now) || taken {
            return false;
        }
        refused.scout = Some(name.clone());
        refused.login.begin_try(now);
        true
    }

    /// When a key is to ask for all that are held: the first such moment. Nobody asks where nobody waits.
    pub(super) fn next_at(&self) -> Timestamp {
        self.0.values().filter_map(Door::asks_at).min().unwrap_or(Timestamp::NEVER)
    }

    /// The keys that are to ask now, each for all that are held with it.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<KeyName> {
        let due = self.0.values_mut().filter(|it| it.asks_at().is_some_and(|at| at <= now));
        due.filter_map(|it| it.waiting.pop_first()).collect()
    }

    /// The accounts whose provider is not to be asked now.
    pub(super) fn shut(&self, now: Timestamp) -> BTreeMap<AccountId, Blocked> {
        let held = self.0.iter().filter_map(|(id, door)| Some((id, door.held()?)));
        held.filter(|(_, (_, at))| *at > now).map(|(id, (why, _))| (id.clone(), why)).collect()
    }

    /// Notes what a call showed, and says what is new.
    pub(super) fn note(&mut self, account: &AccountId, asked: Asked, trouble: &Trouble, now: Timestamp) -> News {
        let door = self.0.entry(account.clone()).or_default();
        match trouble {
            Trouble::Unasked => News::Nothing,
            Trouble::Well => {
                door.answered = true;
                let revokes = asked == Asked::Revoke && door.unrevoking.take().is_some();
                let accepted = door.refused.take_if(|it| it.opens(asked, now)).map(|it| it.login.since);
                let opened = door.shut.take_if(|it| it.opens(asked, now)).map(|it| it.since);
                let since = accepted.into_iter().chain(opened).min();
                since.map_or(if revokes { News::Revokes } else { News::Nothing }, News::Opened)
            }
            // That it may not revoke here does not mean that it may not create.
            Trouble::Held(Blocked::Login) if asked == Asked::Revoke => {
                match &mut door.unrevoking {
                    Some(known) => known.login.refused(now),
                    None => door.unrevoking = Some(Unrevoking { login: RefusedLogin::first(now), scout: None }),
                }
                News::RevokeRefused
            }
            Trouble::Held(Blocked::Login) => {
                door.answered = true;
                door.shut = None;
                News::Refused(door.refuse_login(asked, now), Blocked::Login)
            }
            Trouble::Held(why) => {
                door.answered = true;
                door.refuse(why, asked, now)
            }
        }
    }

    /// A key's pass is over. Says who is to look now: those who waited for what it found out, or the next one, where it did not ask.
    pub(super) fn leave(&mut self, name: &KeyName, now: Timestamp) -> Vec<KeyName> {
        let mut next = Vec::new();
        for refused in self.0.values_mut().filter_map(|it| it.unrevoking.as_mut()) {
            if refused.scout.take_if(|it| it == name).is_some() {
                refused.login.end_try(now);
            }
        }
        for door in self.0.values_mut().filter(|it| it.scout.as_ref() == Some(name)) {
            door.scout = None;
            if let Some(refused) = &mut door.refused {
                refused.login.end_try(now);
            }
            if door.held().is_some() {
                // The next one asks when the wait is over, see `due`.
            } else if door.answered {
                next.extend(std::mem::take(&mut door.waiting));
            } else {
                next.extend(door.waiting.pop_first());
            }
        }
        next
    }

    /// Whether a provider does not answer, or refuses.
    pub(super) fn is_shut(&self, account: &AccountId) -> bool {
        self.0.get(account).is_some_and(|it| it.refused.is_some() || it.shut.is_some())
    }

    /// The keys that wait at an account whose door has opened.
    pub(super) fn waiting(&mut self, account: &AccountId) -> BTreeSet<KeyName> {
        self.0.get_mut(account).map(|it| std::mem::take(&mut it.waiting)).unwrap_or_default()
    }

    /// Somebody says that our login at these accounts is to be tried now.
    pub(super) fn try_now(&mut self, which: impl Fn(&AccountId) -> bool, now: Timestamp) {
        let meant = self.0.iter_mut().filter(|(id, _)| which(id));
        meant.flat_map(|(_, it)| it.logins()).for_each(|it| it.try_now(now));
    }

    /// The clock was set, or is looked at for the first time.
    pub(super) fn clock_was_set(&mut self, now: Timestamp) {
        self.0.values_mut().flat_map(Door::logins).for_each(|it| it.clock_was_set(now));
    }

    /// The accounts whose login is refused.
    pub(super) fn refused(&self) -> Vec<AccountId> {
        let login = |door: &Door| door.refused.is_some() || door.unrevoking.is_some();
        self.0.iter().filter(|(_, door)| login(door)).map(|(id, _)| id.clone()).collect()
    }

    /// The login that an account would use now. Says whether it is another one than that which was refused, and may be tried
    /// at once for that.
    pub(super) fn note_login(&mut self, account: &AccountId, login: Option<&Fingerprint>, now: Timestamp) -> bool {
        let (Some(door), Some(login)) = (self.0.get_mut(account), login) else { return false };
        // Each of them is to hear of it.
        door.logins().filter_map(|it| it.note_login(login, now).then_some(())).count() > 0
    }

    /// Forgets the doors of accounts that nobody names any more.
    pub(super) fn retain(&mut self, keep: impl Fn(&AccountId) -> bool) {
        self.0.retain(|id, _| keep(id));
    }

    /// What each provider that does not answer, or refuses, said last, and since when.
    /// Whoever needs a provider that can't be reached tries again within [`FRESH`]: where nobody did, nobody knows.
    pub(super) fn troubles(&self, now: Timestamp) -> BTreeMap<AccountId, (Blocked, Timestamp)> {
        let trouble = |door: &Door| {
            let refused = door.refused.as_ref().map(|it| (Blocked::Login, it.login.since));
            let shut = door.shut.as_ref().filter(|it| it.holds() || now < it.last_at.plus(FRESH));
            refused.or_else(|| shut.map(|it| (it.why.clone(), it.since)))
        };
        self.0.iter().filter_map(|(id, door)| Some((id.clone(), trouble(door)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    fn key(name: &str) -> KeyName {
        name.parse().unwrap()
    }

    fn account() -> AccountId {
        "sms".into()
    }

    fn after(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn admit(doors: &mut Doors, name: &str, at: Timestamp) -> bool {
        doors.admit(&account(), &key(name), true, at).is_ok()
    }

    fn refused(doors: &mut Doors, at: Timestamp) -> News {
        doors.note(&account(), Asked::Read, &Trouble::Held(Blocked::Login), at)
    }

    #[test]
    fn until_the_provider_has_answered_one_key_asks_for_all() {
        let mut doors = Doors::default();
        assert!(admit(&mut doors, "a", NOW) && !admit(&mut doors, "b", NOW) && !admit(&mut doors, "c", NOW));
        assert_eq!(doors.note(&account(), Asked::Read, &Trouble::Well, NOW), News::Nothing);
        assert_eq!(doors.leave(&key("a"), NOW), [key("b"), key("c")]);
        assert!(admit(&mut doors, "b", NOW) && admit(&mut doors, "c", NOW));
    }

    #[test]
    fn a_scout_that_did_not_ask_hands_on_to_the_next() {
        let mut doors = Doors::default();
        assert!(admit(&mut doors, "a", NOW) && !admit(&mut doors, "b", NOW) && !admit(&mut doors, "c", NOW));
        assert_eq!(doors.leave(&key("a"), NOW), [key("b")]);
        assert!(admit(&mut doors, "b", NOW));
    }

    #[test]
    fn a_refused_login_holds_every_key_and_is_tried_again_by_one_after_an_hour() {
        let mut doors = Doors::default();
        assert!(admit(&mut doors, "a", NOW));
        assert_eq!(refused(&mut doors, NOW), News::Refused(1, Blocked::Login));
        doors.leave(&key("a"), NOW);
        assert!(!admit(&mut doors, "a", NOW) && !admit(&mut doors, "b", NOW));
        assert!(!admit(&mut doors, "b", after(3599)));
        assert!(admit(&mut doors, "b", after(3600)) && !admit(&mut doors, "a", after(3600)));
        assert_eq!(refused(&mut doors, after(3600)), News::Refused(2, Blocked::Login));
        assert_eq!(doors.leave(&key("b"), after(3600)), []);
        assert_eq!(doors.next_at(), after(7200));
        assert_eq!((doors.due(after(7199)), doors.due(after(7200))), (vec![], vec![key("a")]));
    }

    #[test]
    fn a_login_that_is_refused_stays_refused_over_a_restart_and_one_key_asks_when_the_hour_is_over() {
        let mut before = Doors::default();
        refused(&mut before, NOW);
        before.note(&account(), Asked::Revoke, &Trouble::Held(Blocked::Login), NOW);
        let json = serde_json::to_string(&before.kept()).unwrap();
        let mut doors = Doors::default();
        doors.restore(serde_json::from_str(&json).unwrap());
        doors.clock_was_set(after(9));
        assert_eq!(doors.troubles(after(9)), BTreeMap::from([(account(), (Blocked::Login, NOW))]));
        assert!(!doors.may_revoke(&account(), &key("a"), after(3599)));
        assert_eq!(doors.next_at(), Timestamp::NEVER, "nobody waits");
        assert!(!admit(&mut doors, "a", after(9)) && !admit(&mut doors, "b", after(9)));
        assert_eq!(doors.due(after(3600)), [key("a")]);
        assert!(admit(&mut doors, "a", after(3600)) && !admit(&mut doors, "b", after(3600)));
        assert!(doors.may_revoke(&account(), &key("a"), after(3600)));
        assert_ne!(doors.kept(), before.kept(), "that it is tried counts before it is tried");
    }

    #[test]
    fn who_did_not_hear_of_the_login_leaves_the_next_try_to_another() {
        let mut doors = Doors::default();
        refused(&mut doors, NOW);
        assert!(!admit(&mut doors, "b", after(9)) && admit(&mut doors, "a", after(3600)));
        let lost = Trouble::Held(Blocked::Provider("connection refused".into()));
        doors.note(&account(), Asked::Read, &lost, after(3601));
        assert_eq!(doors.due(after(3601)), [], "one asks");
        assert_eq!(doors.leave(&key("a"), after(3602)), []);
        assert!(doors.troubles(after(3602)).values().all(|it| it.0 == Blocked::Login), "that is still so");
        assert_eq!(doors.due(after(3602)), [key("b")]);
    }

    #[test]
    fn a_login_that_was_changed_is_tried_at_once() {
        let stamp = |text: &str| Some(Fingerprint::of(text.as_bytes()));
        let mut doors = Doors::default();
        refused(&mut doors, NOW);
        assert_eq!(doors.refused(), [account()]);
        for (login, other) in [("wrong", false), ("wrong", false), ("right", true), ("right", false)] {
            assert_eq!(doors.note_login(&account(), stamp(login).as_ref(), after(9)), other, "{login}");
        }
        assert!(!doors.note_login(&account(), None, after(9)), "one that can't be read is not tried");
        assert!(admit(&mut doors, "a", after(9)));
    }

    #[test]
    fn refusals_of_calls_that_were_under_way_together_count_once() {
        let mut doors = Doors::default();
        assert_eq!(refused(&mut doors, NOW), News::Refused(1, Blocked::Login));
        assert_eq!(refused(&mut doors, NOW), News::Refused(1, Blocked::Login));
    }

    #[test]
    fn a_create_that_is_refused_is_not_made_good_by_a_read() {
        let mut doors = Doors::default();
        doors.note(&account(), Asked::Create, &Trouble::Held(Blocked::Login), NOW);
        assert_eq!(doors.note(&account(), Asked::Read, &Trouble::Well, after(2)), News::Nothing);
        assert_eq!(doors.note(&account(), Asked::Create, &Trouble::Well, after(3)), News::Opened(NOW));
        assert!(doors.troubles(after(3)).is_empty());
    }

    #[test]
    fn a_login_that_may_not_revoke_is_tried_again_by_one_key_after_an_hour_and_holds_nothing_else() {
        let mut doors = Doors::default();
        let may = |doors: &mut Doors, name: &str, at| doors.may_revoke(&account(), &key(name), at);
        let told = |doors: &mut Doors, trouble: &Trouble, at| doors.note(&account(), Asked::Revoke, trouble, at);
        let refused = Trouble::Held(Blocked::Login);
        assert!(may(&mut doors, "a", NOW) && may(&mut doors, "b", NOW));
        assert_eq!(told(&mut doors, &refused, NOW), News::RevokeRefused);
        assert_eq!(told(&mut doors, &refused, after(9)), News::RevokeRefused, "they were under way together");
        assert!(!may(&mut doors, "a", after(3599)) && admit(&mut doors, "a", after(9)));
        assert!(may(&mut doors, "b", after(3600)) && !may(&mut doors, "a", after(3600)), "one tries for all");
        told(&mut doors, &refused, after(3600));
        doors.leave(&key("b"), after(3600));
        assert!(!may(&mut doors, "a", after(7199)));
        doors.try_now(|_| true, after(3700));
        assert!(may(&mut doors, "a", after(3700)), "somebody may have put it right");
        doors.leave(&key("a"), after(3700));
        assert_eq!(told(&mut doors, &Trouble::Well, after(3701)), News::Revokes);
        assert!(may(&mut doors, "a", after(3702)) && may(&mut doors, "b", after(3702)));
        assert_eq!(doors.refused(), []);
    }

    #[test]
    fn a_provider_that_can_not_be_reached_is_told_but_holds_nobody() {
        let mut doors = Doors::default();
        let lost = Trouble::Held(Blocked::Provider("connection refused".into()));
        assert_eq!(
            doors.note(&account(), Asked::Create, &lost, NOW),
            News::Refused(1, Blocked::Provider("connection refused".into()))
        );
        assert!(admit(&mut doors, "a", NOW) && admit(&mut doors, "b", NOW));
        assert_eq!(doors.troubles(after(60)).len(), 1);
        assert!(doors.troubles(NOW.plus(FRESH)).is_empty(), "nobody has asked for long");
        assert_eq!(doors.note(&account(), Asked::Read, &Trouble::Well, after(9)), News::Opened(NOW));
    }

    #[test]
    fn who_asks_to_slow_down_is_left_alone_for_as_long_as_it_says() {
        let mut doors = Doors::default();
        let slow = Trouble::Held(Blocked::Throttled(after(30)));
        doors.note(&account(), Asked::Read, &slow, NOW);
        doors.try_now(|_| true, after(1));
        assert!(!admit(&mut doors, "a", after(29)) && admit(&mut doors, "a", after(30)));
    }

    #[test]
    fn who_is_told_to_try_lets_the_next_key_ask_at_once_and_only_at_the_account_that_is_meant() {
        let mut doors = Doors::default();
        refused(&mut doors, NOW);
        assert!(!admit(&mut doors, "a", after(9)));
        doors.try_now(|it| *it != account(), after(9));
        assert!(!admit(&mut doors, "a", after(9)));
        doors.try_now(|it| *it == account(), after(9));
        assert_eq!((doors.next_at(), doors.due(after(9))), (after(9), vec![key("a")]));
        assert!(admit(&mut doors, "a", after(9)));
    }
}

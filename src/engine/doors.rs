//! The doors of the providers, one for each account. While a provider refuses the login, or asks to slow down, its door is
//! shut: all keys of the account are held, and one of them at a time asks, after growing waits, whether it is open again.
//! A login may be good for all but revoking: then only that waits, in the same way.
use super::event::Trouble;
use crate::core::facts::Blocked;
use crate::core::names::{AccountId, Fingerprint, KeyName};
use crate::core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The shortest wait before a provider that asked to slow down is asked again.
const SHORTEST: Duration = Duration::from_secs(1);
/// The wait before a login that was refused is tried again: whoever tries more often is locked out by some services. A login
/// that was changed, a reload and an operator's word are not waited for.
const LOGIN_AGAIN: Duration = Duration::from_secs(60 * 60);

/// For how long it is told that a provider could not be reached, if nobody has tried since: longer than the longest wait
/// before a retry.
const FRESH: Duration = Duration::from_secs(80 * 60);

/// With what a provider was asked. What refuses a create may still answer to a read.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Asked {
    /// A list, or the current key.
    Read,
    /// A create.
    Create,
    /// A revocation.
    Revoke,
}

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

#[derive(Debug, Default)]
struct Door {
    /// Whether the provider has answered since the start. Until then one key asks for all.
    answered: bool,
    shut: Option<Shut>,
    /// The key that asks for all.
    scout: Option<KeyName>,
    /// Keys that were sent away meanwhile.
    waiting: BTreeSet<KeyName>,
    /// That it refuses to revoke with our login.
    unrevoking: Option<Unrevoking>,
}

#[derive(Debug)]
struct Unrevoking {
    /// What was refused, where it is known.
    login: Option<Fingerprint>,
    again_at: Timestamp,
    /// The key that tries for all.
    scout: Option<KeyName>,
}

#[derive(Clone, Debug)]
struct Shut {
    why: Blocked,
    /// By which call.
    asked: Asked,
    since: Timestamp,
    /// What was refused, where it is known: another login may be tried at once.
    login: Option<Fingerprint>,
    /// Refusals in a row.
    tries: u32,
    last_at: Timestamp,
    again_at: Timestamp,
}

impl Shut {
    /// Whether it keeps every key out. A provider that can't be reached is each key's own matter: it may have to find out
    /// at once what came of a create.
    fn holds(&self) -> bool {
        matches!(self.why, Blocked::Login | Blocked::Throttled(_))
    }
}

impl Doors {
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
        let shut = door.shut.as_ref().filter(|it| it.holds());
        if shut.is_none() && (door.answered || !surely) {
            return Ok(());
        }
        let waits = shut.is_some_and(|it| it.again_at > now);
        let taken = door.scout.as_ref().is_some_and(|it| it != name);
        if waits || taken {
            door.waiting.insert(name.clone());
            let first = || Blocked::Provider("another key of the account asks it first".to_owned());
            return Err(shut.map_or_else(first, |it| it.why.clone()));
        }
        door.scout = Some(name.clone());
        door.waiting.remove(name);
        Ok(())
    }

    /// Whether a key may have something revoked at this account now. Where our login was refused for that, one key tries
    /// again after the wait.
    pub(super) fn may_revoke(&mut self, account: &AccountId, name: &KeyName, now: Timestamp) -> bool {
        let Some(refused) = self.0.get_mut(account).and_then(|it| it.unrevoking.as_mut()) else { return true };
        let taken = refused.scout.as_ref().is_some_and(|it| it != name);
        if refused.again_at > now || taken {
            return false;
        }
        refused.scout = Some(name.clone());
        true
    }

    /// The accounts whose provider is not to be asked now.
    pub(super) fn shut(&self, now: Timestamp) -> BTreeMap<AccountId, Blocked> {
        let shut = self.0.iter().filter_map(|(id, door)| Some((id, door.shut.as_ref()?)));
        let waits = shut.filter(|(_, it)| it.holds() && it.again_at > now);
        waits.map(|(id, it)| (id.clone(), it.why.clone())).collect()
    }

    /// Notes what a call showed, and says what is new.
    pub(super) fn note(&mut self, account: &AccountId, asked: Asked, trouble: &Trouble, now: Timestamp) -> News {
        let door = self.0.entry(account.clone()).or_default();
        match trouble {
            Trouble::Unasked => News::Nothing,
            Trouble::Well => {
                door.answered = true;
                let revokes = asked == Asked::Revoke && door.unrevoking.take().is_some();
                let opens = door.shut.take_if(|it| opens(it, asked, now));
                opens.map_or(if revokes { News::Revokes } else { News::Nothing }, |it| News::Opened(it.since))
            }
            // That it may not revoke here does not mean that it may not create.
            Trouble::Held(Blocked::Login) if asked == Asked::Revoke => {
                let known = door.unrevoking.take().filter(|it| it.again_at > now);
                let refused = Unrevoking { login: None, again_at: now.plus(LOGIN_AGAIN), scout: None };
                door.unrevoking = Some(known.unwrap_or(refused));
                News::RevokeRefused
            }
            Trouble::Held(why) => {
                door.answered = true;
                door.refuse(why, asked, now)
            }
        }
    }

    /// A key's pass is over. Says who is to look next, and when: whoever waits, where it did not find out.
    pub(super) fn leave(&mut self, name: &KeyName, now: Timestamp) -> Vec<(KeyName, Timestamp)> {
        let mut next = Vec::new();
        for refused in self.0.values_mut().filter_map(|it| it.unrevoking.as_mut()) {
            refused.scout.take_if(|it| it == name);
        }
        for door in self.0.values_mut().filter(|it| it.scout.as_ref() == Some(name)) {
            door.scout = None;
            let shut = door.shut.as_ref().filter(|it| it.holds());
            if shut.is_none() && door.answered {
                next.extend(std::mem::take(&mut door.waiting).into_iter().map(|it| (it, now)));
            } else if let Some(first) = door.waiting.pop_first() {
                next.push((first, shut.map_or(now, |it| it.again_at)));
            }
        }
        next
    }

    /// Whether a provider does not answer, or refuses.
    pub(super) fn is_shut(&self, account: &AccountId) -> bool {
        self.0.get(account).is_some_and(|it| it.shut.is_some())
    }

    /// The keys that wait at an account whose door has opened.
    pub(super) fn waiting(&mut self, account: &AccountId) -> BTreeSet<KeyName> {
        self.0.get_mut(account).map(|it| std::mem::take(&mut it.waiting)).unwrap_or_default()
    }

    /// Somebody may have put things right: whoever is shut out may ask at once.
    pub(super) fn knock(&mut self, now: Timestamp) {
        for door in self.0.values_mut() {
            if let Some(shut) = door.shut.as_mut().filter(|it| it.why == Blocked::Login) {
                shut.again_at = now;
            }
            if let Some(refused) = &mut door.unrevoking {
                refused.again_at = now;
            }
        }
    }

    /// The accounts whose login is refused.
    pub(super) fn refused(&self) -> Vec<AccountId> {
        let shut = |door: &Door| door.shut.as_ref().is_some_and(|it| it.why == Blocked::Login);
        let login = |door: &Door| shut(door) || door.unrevoking.is_some();
        self.0.iter().filter(|(_, door)| login(door)).map(|(id, _)| id.clone()).collect()
    }

    /// The login that an account would use now. Says whether it is another one than that which was refused; then it may be
    /// tried at once.
    pub(super) fn note_login(&mut self, account: &AccountId, login: Option<Fingerprint>, now: Timestamp) -> bool {
        let (Some(door), Some(login)) = (self.0.get_mut(account), login) else { return false };
        let mut other = false;
        if let Some(shut) = door.shut.as_mut().filter(|it| it.why == Blocked::Login)
            && shut.login.replace(login.clone()).is_some_and(|it| it != login)
        {
            shut.again_at = now;
            other = true;
        }
        if let Some(refused) = &mut door.unrevoking
            && refused.login.replace(login.clone()).is_some_and(|it| it != login)
        {
            refused.again_at = now;
            other = true;
        }
        other
    }

    /// Forgets the doors of accounts that nobody names any more.
    pub(super) fn retain(&mut self, keep: impl Fn(&AccountId) -> bool) {
        self.0.retain(|id, _| keep(id));
    }

    /// What each provider that does not answer, or refuses, said last, and since when.
    /// Whoever needs a provider that can't be reached tries again within [`FRESH`]: where nobody did, nobody knows.
    pub(super) fn troubles(&self, now: Timestamp) -> BTreeMap<AccountId, (Blocked, Timestamp)> {
        let shut = self.0.iter().filter_map(|(id, door)| Some((id, door.shut.as_ref()?)));
        let shut = shut.filter(|(_, it)| it.holds() || now < it.last_at.plus(FRESH));
        shut.map(|(id, it)| (id.clone(), (it.why.clone(), it.since))).collect()
    }
}

impl Door {
    fn refuse(&mut self, why: &Blocked, asked: Asked, now: Timestamp) -> News {
        let known = self.shut.as_ref().filter(|it| it.why.code() == why.code());
        // Calls that were under way together are refused together: that is one refusal.
        if let Some(shut) = known.filter(|it| it.holds() && now < it.again_at) {
            let why = shut.why.clone();
            return News::Refused(shut.tries, why);
        }
        let (since, before) = known.map_or((now, 0), |it| (it.since, it.tries));
        let tries = before.saturating_add(1);
        let again_at = match why {
            Blocked::Login => now.plus(LOGIN_AGAIN),
            Blocked::Throttled(at) => (*at).max(now.plus(SHORTEST)),
            _ => now,
        };
        self.shut = Some(Shut { why: why.clone(), asked, since, login: None, tries, last_at: now, again_at });
        News::Refused(tries, why.clone())
    }
}

/// Whether an answer to this call shows that the door is open again. A create that was refused is not made good by a read,
/// unless no create has been refused for long.
fn opens(shut: &Shut, asked: Asked, now: Timestamp) -> bool {
    let stronger = shut.asked != Asked::Create || asked == Asked::Create;
    !shut.holds() || stronger || shut.last_at.plus(2 * LOGIN_AGAIN) <= now
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
        assert_eq!(doors.leave(&key("a"), NOW), [(key("b"), NOW), (key("c"), NOW)]);
        assert!(admit(&mut doors, "b", NOW) && admit(&mut doors, "c", NOW));
    }

    #[test]
    fn a_scout_that_did_not_ask_hands_on_to_the_next() {
        let mut doors = Doors::default();
        assert!(admit(&mut doors, "a", NOW) && !admit(&mut doors, "b", NOW) && !admit(&mut doors, "c", NOW));
        assert_eq!(doors.leave(&key("a"), NOW), [(key("b"), NOW)]);
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
        assert_eq!(doors.leave(&key("b"), after(3600)), [(key("a"), after(7200))]);
    }

    #[test]
    fn a_login_that_was_changed_is_tried_at_once() {
        let stamp = |text: &str| Some(Fingerprint::of(text.as_bytes()));
        let mut doors = Doors::default();
        refused(&mut doors, NOW);
        assert_eq!(doors.refused(), [account()]);
        for (login, other) in [("wrong", false), ("wrong", false), ("right", true), ("right", false)] {
            assert_eq!(doors.note_login(&account(), stamp(login), after(9)), other, "{login}");
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
        doors.knock(after(3700));
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
        doors.knock(after(1));
        assert!(!admit(&mut doors, "a", after(29)) && admit(&mut doors, "a", after(30)));
    }

    #[test]
    fn a_knock_lets_the_next_key_ask_at_once() {
        let mut doors = Doors::default();
        refused(&mut doors, NOW);
        assert!(!admit(&mut doors, "a", after(9)));
        doors.knock(after(9));
        assert!(admit(&mut doors, "a", after(9)));
    }
}

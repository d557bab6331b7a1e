//! Adoption: a key that is in use comes into our care. What is said of it is checked before it is believed: what its targets
//! hold, whether the provider accepts it, and what the provider tells of it where it shows its keys. A look changes nothing.
mod dates;
mod inventory;

use super::Engine;
use super::answers;
use super::event::Event;
use super::handle::{By, Done, Observing, Refused, Request};
use super::observe::contents;
use super::service::Service;
use crate::clock;
use crate::command::Veil;
use crate::core::account::Account;
use crate::core::command::command;
use crate::core::facts::{Content, Probe};
use crate::core::names::{Fingerprint, KeyName, TargetId};
use crate::core::plan::{Adopt, Command};
use crate::core::policy::{Initial, Policy, Reach, Recover};
use crate::core::record::{Expiry, Phase, Record, Version, VersionNo};
use crate::core::time::Timestamp;
use crate::secret::Secret;
use crate::targets::{Parcel, Target};
use dates::{Dates, said};
use inventory::{Told, look_up};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A target whose key can't be taken out for so long counts as unreadable.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// What an operator says of a key that is to be adopted.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The key itself; none: the one that its targets hold.
    pub secret: Option<Secret>,
    /// Only this one: what a table has shown before.
    pub expected: Option<Fingerprint>,
    /// Until when it is valid.
    pub valid_to: Option<Timestamp>,
    /// When it was issued.
    pub issued_at: Option<Timestamp>,
    /// Nobody knows how old it is.
    pub age_unknown: bool,
    /// The provider's handle for it.
    pub id: Option<String>,
    /// Take it even if the provider does not accept it, or does not know it.
    pub unverified: bool,
    /// Overwrite what else the targets hold.
    pub deliver: bool,
    /// Look at everything, say what would be done, and do nothing.
    pub dry_run: bool,
    /// Who asks.
    pub by: By,
}

/// What was found out about an offered key, and what came of it.
#[derive(Clone, Debug, Default)]
pub struct Adoption {
    /// What each target holds; none for those that can't be read back.
    pub targets: BTreeMap<TargetId, Option<Content>>,
    /// Tells the key from others.
    pub fingerprint: Option<Fingerprint>,
    /// What the provider says to it; none where it was not or can't be asked.
    pub probe: Option<Probe>,
    /// The provider's handle for it.
    pub id: Option<String>,
    /// Since when it is valid.
    pub valid_from: Option<Timestamp>,
    /// Until when it is valid.
    pub valid_to: Option<Timestamp>,
    /// Where that date comes from.
    pub expiry: Option<Expiry>,
    /// Why it was refused; only of a dry run.
    pub refused: Option<Refused>,
    /// That it was done, or that there is nothing to do; of a dry run the latter alone.
    pub done: Option<Done>,
}

/// Why a key is not adopted, beyond what the core refuses. Nothing was changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AdoptRefused {
    /// There is nothing to adopt.
    #[error("none of its targets holds a key{}", if *.will_be_created { "; it will be created" } else { "" })]
    NothingInTargets {
        /// By `initial = "create"`.
        will_be_created: bool,
    },
    /// Which of several keys is in use can't be told.
    #[error("its targets hold different keys: {0}")]
    TargetsDiffer(String),
    /// What a target holds can't be seen, and would be overwritten unseen.
    #[error("what {0} holds can't be seen: {1}")]
    TargetUnreadable(TargetId, String),
    /// What was shown to the operator is not there any more.
    #[error("its targets hold another key than before: fingerprint {0}")]
    Changed(Fingerprint),
    /// The id belongs to another key, or can't be checked.
    #[error("{0}")]
    Id(String),
    /// The provider shows all keys of the account, and this is none of them.
    #[error("the provider's account has no such key")]
    NotListed,
    /// When it expires is not known, or what was said of it makes no sense.
    #[error("{0}")]
    Dates(String, &'static str),
    /// The config has other targets than those that were looked at.
    #[error("the config was changed meanwhile")]
    ConfigChanged,
}

/// Everything that an examination needs, taken from the books at one moment.
struct Examination {
    name: KeyName,
    offer: Offer,
    record: Record,
    account: Account,
    policy: Policy,
    provider: String,
    service: Option<Service>,
    targets: Vec<Arc<dyn Target>>,
    parcels: Vec<Parcel>,
    observing: Option<Observing>,
    now: Timestamp,
}

/// What an examination ends in, where nothing speaks against the key.
enum Checked {
    /// The verb, and the secret that it brings.
    Adopt(Adopt, Secret),
    /// It is in use already, as this version, everywhere, and nothing new was said of it.
    Already(VersionNo),
}

impl Engine {
    /// Looks at the key beside the engine, and comes back with the verb, if nothing speaks against it.
    pub(super) fn adopt(&mut self, name: KeyName, offer: Offer, reply: oneshot::Sender<Result<Adoption, Refused>>) {
        let Some(examination) = self.examination(&name, offer) else {
            let unknown = Refused::no_such_key(&name, &self.books.settings);
            return self.reply(reply, Err(unknown));
        };
        let events = self.events.clone();
        tokio::spawn(async move {
            // Where the engine has stopped meanwhile nobody is answered, and the caller sees that.
            if let Some(answer) = examination.carry_out(&events).await {
                let _ = reply.send(answer);
            }
        });
    }

    fn examination(&mut self, name: &KeyName, offer: Offer) -> Option<Examination> {
        let (key, policy) = self.books.key(name).zip(self.books.policy(name))?;
        Some(Examination {
            name: name.clone(),
            offer,
            record: self.books.records.get(name)?.clone(),
            account: self.books.account(&policy.account),
            service: self.books.service(name, &policy.account),
            parcels: self.books.parcels(name),
            provider: key.provider,
            targets: key.targets,
            policy,
            observing: self.observing,
            now: clock::now(),
        })
    }
}

/// Whether each target that can be read back was looked at, so that nothing is overwritten unseen.
pub(super) fn has_seen_all(adopt: &Adopt, policy: &Policy) -> bool {
    let mut readable = policy.targets.iter().filter(|it| it.reach == (Reach::Push { readable: true }));
    adopt.deliver || readable.all(|it| adopt.targets.contains_key(&it.id))
}

impl Examination {
    async fn carry_out(self, events: &mpsc::Sender<Event>) -> Option<Result<Adoption, Refused>> {
        let mut seen = Adoption::default();
        let checked = self.check(&mut seen).await;
        let (adopt, secret) = match checked {
            Ok(Checked::Already(number)) => {
                let done = Done { message: answers::already(number), attempt: None };
                return Some(Ok(Adoption { done: Some(done), ..seen }));
            }
            Ok(Checked::Adopt(adopt, secret)) if !self.offer.dry_run => (adopt, secret),
            Ok(Checked::Adopt(..)) => return Some(Ok(seen)),
            Err(why) if self.offer.dry_run => return Some(Ok(Adoption { refused: Some(why), ..seen })),
            Err(why) => return Some(Err(why)),
        };
        let (reply, answer) = oneshot::channel();
        let (name, command, by) = (self.name, Box::new(Command::Adopt(adopt)), self.offer.by);
        let secret = Some(secret);
        events.send(Event::Request(Request::Command { name, command, secret, by, reply })).await.ok()?;
        let done = answer.await.ok()?;
        Some(done.map(|done| Adoption { done: Some(done), ..seen }))
    }

    /// Notes what it sees in `seen`, as far as it comes.
    async fn check(&self, seen: &mut Adoption) -> Result<Checked, Refused> {
        for it in self.targets.iter().filter(|it| matches!(it.reach(), Reach::Push { .. })) {
            seen.targets.insert(it.id(), None);
        }
        let secret = match &self.offer.secret {
            Some(it) => it.clone(),
            None => self.held(seen).await?,
        };
        let fingerprint = secret.fingerprint();
        seen.fingerprint = Some(fingerprint.clone());
        if self.offer.expected.as_ref().is_some_and(|it| *it != fingerprint) {
            return Err(AdoptRefused::Changed(fingerprint).into());
        }
        let targets = contents(&self.targets, &self.parcels_with(&secret)).await;
        seen.targets.extend(targets.iter().map(|(id, it)| (id.clone(), Some(it.clone()))));
        if let Some(it) = self.in_use(&fingerprint, &targets) {
            (seen.id, seen.valid_from, seen.valid_to) = (it.id.clone(), it.valid_from, it.valid_to);
            seen.expiry = Some(it.expiry);
            return Ok(Checked::Already(it.number));
        }
        self.check_seen(&targets)?;
        let (probe, told) = tokio::join!(self.probe(&secret), self.told(&secret));
        seen.probe = probe;
        let told = told?;
        seen.id = told.id().or(self.offer.id.clone());
        let dates = self.dates(&told, &fingerprint);
        let (valid_from, valid_to, expiry) = dates.clone().unwrap_or((None, None, Expiry::Unknown));
        let adopt = Adopt {
            fingerprint,
            id: seen.id.clone(),
            valid_from,
            valid_to,
            expiry,
            probe: probe.unwrap_or(Probe::Inconclusive),
            unverified: self.offer.unverified,
            targets,
            deliver: self.offer.deliver,
            actor: Some(self.offer.by.actor.clone()),
        };
        // What the core thinks of it comes first: the dates of a dead key matter to nobody.
        command(&self.record, &self.account, &Command::Adopt(adopt.clone()), &self.policy, self.now)?;
        if matches!(told, Told::Absent) && !self.offer.unverified {
            return Err(AdoptRefused::NotListed.into());
        }
        (seen.valid_from, seen.valid_to, seen.expiry) = dates.map(|(from, to, expiry)| (from, to, Some(expiry)))?;
        if let Some(why) = self.observing {
            return Err(Refused::Observing(why));
        }
        Ok(Checked::Adopt(adopt, secret))
    }

    /// The version in use, where that is the offered key, nothing is said of it, and every target that can be looked at
    /// holds it. A halt, and a look around after a restore, is for the core to answer.
    fn in_use(&self, offered: &Fingerprint, targets: &BTreeMap<TargetId, Content>) -> Option<&Version> {
        let offer = &self.offer;
        let said = offer.valid_to.is_some() || offer.issued_at.is_some() || offer.age_unknown || offer.id.is_some();
        let waits = matches!(self.record.phase, Phase::Halted { .. } | Phase::Reobserve { .. });
        let everywhere = targets.values().all(|it| *it == Content::Holds(offered.clone()));
        let current = self.record.current.as_ref().filter(|it| it.fingerprint == *offered);
        current.filter(|_| !said && !waits && everywhere)
    }

    /// The one key that the targets hold.
    async fn held(&self, seen: &mut Adoption) -> Result<Secret, AdoptRefused> {
        let mut found: Vec<(TargetId, Secret)> = Vec::new();
        for target in self.targets.iter().filter(|it| it.reach() == (Reach::Push { readable: true })) {
            let id = target.id();
            let late = || format!("no answer within {READ_WITHIN:?}");
            let read = tokio::time::timeout(READ_WITHIN, target.read()).await;
            let read = read.map_err(|_| late()).and_then(|it| it.map_err(|it| it.to_string()));
            match read {
                Ok(Some(secret)) if !secret.is_empty() => {
                    seen.targets.insert(id.clone(), Some(Content::Holds(secret.fingerprint())));
                    found.push((id, secret));
                }
                // What else is there is compared with the key later.
                Ok(_) => {}
                Err(why) => {
                    seen.targets.insert(id.clone(), Some(Content::Unreadable(why.clone())));
                    return Err(AdoptRefused::TargetUnreadable(id, why));
                }
            }
        }
        let will_be_created = self.policy.initial == Initial::Create && self.record.current.is_none();
        let Some((_, secret)) = found.first() else { return Err(AdoptRefused::NothingInTargets { will_be_created }) };
        if found.iter().all(|(_, it)| it.fingerprint() == secret.fingerprint()) {
            return Ok(secret.clone());
        }
        let each = found.iter().map(|(id, it)| format!("{id} (fingerprint {})", it.fingerprint()));
        Err(AdoptRefused::TargetsDiffer(each.collect::<Vec<_>>().join(", ")))
    }

    /// Our versions and the offered key, so that a target whose form can't be read back is recognised to hold it.
    fn parcels_with(&self, secret: &Secret) -> Vec<Parcel> {
        let offered = Parcel {
            veil: Veil::default(),
            done: BTreeSet::new(),
            name: self.name.clone(),
            provider: self.provider.clone(),
            version: self.record.last_version.saturating_add(1),
            secret: secret.clone(),
            valid_to: self.offer.valid_to,
            obtained_at: self.now,
        };
        self.parcels.iter().cloned().chain([offered]).collect()
    }

    fn check_seen(&self, targets: &BTreeMap<TargetId, Content>) -> Result<(), AdoptRefused> {
        let unseen = targets.iter().find_map(|(id, it)| match it {
            Content::Unreadable(why) => Some(AdoptRefused::TargetUnreadable(id.clone(), why.clone())),
            _ => None,
        });
        unseen.filter(|_| !self.offer.deliver).map_or(Ok(()), Err)
    }

    async fn probe(&self, secret: &Secret) -> Option<Probe> {
        let service = self.service.as_ref().filter(|_| self.policy.provider.probes)?;
        Some(service.probe(secret).await)
    }

    /// What the provider tells of the key, where it shows its keys at all.
    async fn told(&self, secret: &Secret) -> Result<Told, AdoptRefused> {
        let shows =
            matches!(self.policy.provider.recover, Recover::ListByName | Recover::ReadCurrent | Recover::DiffList);
        let Some(service) = self.service.as_ref().filter(|_| shows) else { return Ok(Told::Unsaid(String::new())) };
        let id = self.offer.id.as_deref();
        match service.inventory().await {
            Ok(listing) => look_up(&listing, &secret.fingerprint(), id, &self.name).map_err(AdoptRefused::Id),
            Err(why) if id.is_some() && !self.offer.unverified => {
                Err(AdoptRefused::Id(format!("the id can't be checked: {why}")))
            }
            Err(why) => Ok(Told::Unsaid(why.to_string())),
        }
    }

    /// The provider's word on the key's dates, where it gives one; else the operator's, or what was said of it before.
    fn dates(&self, told: &Told, offered: &Fingerprint) -> Result<Dates, AdoptRefused> {
        let said = said(&self.offer, self.policy.valid_for, self.now)?;
        if let Told::Found(key) = told
            && let Some(end) = key.valid_to.filter(|it| *it > self.now)
        {
            return Ok((key.valid_from, Some(end), Expiry::Reported));
        }
        let before = self.record.current.as_ref().filter(|it| it.fingerprint == *offered);
        said.or(before.map(|it| (it.valid_from, it.valid_to, it.expiry))).ok_or_else(|| {
            let why = match told {
                Told::Unsaid(why) if !why.is_empty() => format!(", and the provider does not tell: {why}"),
                _ => String::new(),
            };
            let remedy = "give one of --valid-to TIME, --issued-at TIME, --age-unknown";
            AdoptRefused::Dates(format!("when it expires is not known{why}"), remedy)
        })
    }
}

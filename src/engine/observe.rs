//! The first verb: looks at the world and changes nothing. What can't be seen is left out, and proves nothing.
use super::event::{FoundSecrets, Trouble};
use super::service::Service;
use crate::core::account::Account;
use crate::core::decide::{Look, candidates};
use crate::core::facts::{Blocked, Content, Facts, Found, Listed, Preflight};
use crate::core::names::{AccountId, Fingerprint, KeyName, TargetId};
use crate::core::policy::{Policy, Reach};
use crate::core::record::{Record, VersionNo};
use crate::core::time::Timestamp;
use crate::providers::{CallError, Issued, token_in};
use crate::store::Store;
use crate::targets::{Parcel, Target};
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A target that can't be looked at for so long counts as unreadable.
const TARGET_WAIT: Duration = Duration::from_secs(10);

/// Everything that a look needs, taken from the books at one revision.
pub struct Question {
    /// The key as it stood.
    pub record: Record,
    /// Its account as it stood.
    pub account: Account,
    /// By which it is worked on.
    pub policy: Policy,
    /// What to look at.
    pub look: Look,
    /// How to speak with its provider; `None` where the config no longer names one for the account.
    pub service: Option<Service>,
    /// Where it goes.
    pub targets: Vec<Arc<dyn Target>>,
    /// Our versions with their secrets.
    pub parcels: Vec<Parcel>,
    /// When it is asked.
    pub asked_at: Timestamp,
    /// Why nothing may begin for any key now, if so.
    pub hold: Option<Blocked>,
    /// The accounts whose provider is not to be asked with its login, and why.
    pub withheld: BTreeMap<AccountId, Blocked>,
    /// The accounts at which nothing is revoked now.
    pub revokes_withheld: BTreeSet<AccountId>,
    /// Whether the wall clock can be believed.
    pub clock_suspect: bool,
    /// Under which config it is asked.
    pub generation: u64,
    /// For the reserve.
    pub store: Arc<Store>,
}

/// What a look came to.
#[derive(Debug)]
pub struct Observed {
    /// Of which key.
    pub name: KeyName,
    /// The account that was asked.
    pub account: AccountId,
    /// The revision that it was asked for.
    pub revision: u64,
    /// Under which config it was asked.
    pub generation: u64,
    /// What was seen.
    pub facts: Facts,
    /// The secrets that were seen.
    pub secrets: FoundSecrets,
    /// What the answers say of the provider itself.
    pub trouble: Trouble,
    /// With which login of the provider's settings it was asked.
    pub used: Option<Fingerprint>,
}

/// Looks at what the question asks for.
pub async fn observe(question: Question) -> Observed {
    let (hold, withheld) = (question.hold.clone(), question.withheld.clone());
    let mut facts = Facts { clock_suspect: question.clock_suspect, hold, withheld, ..Facts::default() };
    facts.revokes_withheld.clone_from(&question.revokes_withheld);
    let may_ask = !question.withheld.contains_key(&question.account.id);
    let mut secrets = FoundSecrets::new();
    let mut trouble = Trouble::Unasked;
    if question.look.targets {
        facts.targets = contents(&question.targets, &question.parcels).await;
    }
    if let Some(service) = &question.service {
        if question.look.list && may_ask {
            let answer = service.list().await.map(|it| Listed {
                truncated: it.truncated,
                keys: it.keys.into_iter().map(|it| found(it, &mut secrets)).collect(),
            });
            facts.listed = noted(answer, question.asked_at, &mut trouble);
        }
        if question.look.read && may_ask {
            let answer = service.read().await.map(|it| found(it, &mut secrets));
            facts.read = noted(answer, question.asked_at, &mut trouble);
        }
        let issued_here =
            |it: &&Parcel| question.record.version(it.version).is_some_and(|it| it.account == service.account);
        let parcels: Vec<&Parcel> = question.parcels.iter().filter(issued_here).collect();
        facts.probes = probes(service, &question.look.probe, &parcels).await;
        probe_found(service, &question, &mut facts, &secrets).await;
    }
    if question.look.preflight {
        facts.preflight = Some(preflight(&question, &trouble).await);
    }
    fail_point!(LookEnds);
    let used = question.service.as_ref().and_then(|it| it.used.last());
    let (name, revision, generation) = (question.record.name, question.record.revision, question.generation);
    Observed { name, account: question.account.id, revision, generation, facts, secrets, trouble, used }
}

/// What the targets hold.
pub async fn contents(targets: &[Arc<dyn Target>], parcels: &[Parcel]) -> BTreeMap<TargetId, Content> {
    let readable = targets.iter().filter(|it| it.reach() == (Reach::Push { readable: true }));
    let looks = readable.map(|it| async {
        let content = tokio::time::timeout(TARGET_WAIT, it.observe(parcels)).await;
        let late = || Content::Unreadable(format!("no answer within {TARGET_WAIT:?}"));
        (it.id(), content.unwrap_or_else(|_| late()))
    });
    join_all(looks).await.into_iter().collect()
}

/// A provider's key as the core sees it; its secret goes aside.
pub fn found(issued: Issued, secrets: &mut FoundSecrets) -> Found {
    let fingerprint = issued.secret.as_ref().map(crate::secret::Secret::fingerprint);
    if let (Some(fingerprint), Some(secret)) = (&fingerprint, issued.secret) {
        secrets.insert(fingerprint.clone(), secret);
    }
    Found {
        token: issued.name.as_deref().and_then(token_in),
        id: issued.id,
        fingerprint,
        enabled: issued.enabled,
        valid_from: issued.valid_from,
        valid_to: issued.valid_to,
        probe: None,
    }
}

fn noted<T>(answer: Result<T, CallError>, asked_at: Timestamp, trouble: &mut Trouble) -> Option<T> {
    match answer {
        Ok(it) => {
            if !matches!(trouble, Trouble::Held(_)) {
                *trouble = Trouble::Well;
            }
            Some(it)
        }
        Err(error) => {
            tracing::debug!(%error, "the provider did not answer");
            *trouble = Trouble::Held(super::service::blocked_by(&error, asked_at));
            None
        }
    }
}

async fn probes(
    service: &Service,
    versions: &[VersionNo],
    parcels: &[&Parcel],
) -> BTreeMap<VersionNo, crate::core::facts::Probe> {
    let wanted = parcels.iter().filter(|it| versions.contains(&it.version));
    let asked = wanted.map(|it| async { (it.version, service.probe(&it.secret).await) });
    join_all(asked).await.into_iter().collect()
}

/// Asks the provider about found keys that could be ours: nothing is believed that was not checked.
async fn probe_found(service: &Service, question: &Question, facts: &mut Facts, secrets: &FoundSecrets) {
    let wanted = candidates(&question.record, &question.account, facts, &question.policy);
    for fingerprint in wanted {
        let Some(secret) = secrets.get(&fingerprint) else { continue };
        let answer = service.probe(secret).await;
        let listed = facts.listed.iter_mut().flat_map(|it| &mut it.keys);
        for it in listed.chain(&mut facts.read).filter(|it| it.fingerprint.as_ref() == Some(&fingerprint)) {
            it.probe = Some(answer);
        }
    }
}

async fn preflight(question: &Question, trouble: &Trouble) -> Preflight {
    if question.service.is_none() {
        return Preflight::Blocked(Blocked::Unmanaged);
    }
    if let Some(why) = question.withheld.get(&question.account.id) {
        return Preflight::Blocked(why.clone());
    }
    if let Trouble::Held(why) = trouble {
        return Preflight::Blocked(why.clone());
    }
    let store = Arc::clone(&question.store);
    let reserve = tokio::task::spawn_blocking(move || store.reserve_ready()).await;
    if let Err(why) = reserve.unwrap_or_else(|it| Err(it.to_string())) {
        return Preflight::Blocked(Blocked::Store(why));
    }
    for target in &question.targets {
        let ready = tokio::time::timeout(TARGET_WAIT, target.preflight()).await;
        match ready {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return Preflight::Blocked(Blocked::Target(target.id(), why.to_string())),
            Err(_) => {
                let why = format!("no answer within {TARGET_WAIT:?}");
                return Preflight::Blocked(Blocked::Target(target.id(), why));
            }
        }
    }
    Preflight::Ready
}

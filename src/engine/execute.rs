//! The fourth verb: performs one action. Every action is safe to repeat; none is tried twice here.
use super::event::{Acted, FoundSecrets, Trouble};
use super::observe::found;
use super::service::{Service, blocked_by};
use crate::command::Veil;
use crate::core::account::Account;
use crate::core::apply::THROTTLED;
use crate::core::facts::{Action, Blocked, Found, Outcome, Probe, RefusalKind, Revoke};
use crate::core::names::{AccountId, KeyName, TargetId, Token};
use crate::core::record::{Version, VersionNo};
use crate::core::time::Timestamp;
use crate::providers::{CreateError, Created, Raw};
use crate::store::{Escrow, Store, StoreError};
use crate::targets::{self, DeliveryError, Emptied, Parcel, Target};
use futures_util::FutureExt;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A delivery with its hooks, each of which has a limit of its own, takes at most this long.
pub const DELIVERY_WITHIN: Duration = Duration::from_secs(60 * 60);

/// One action with all that it needs.
pub struct Task {
    /// For which key.
    pub name: KeyName,
    /// The account as it stood, for the action's own account.
    pub account: Account,
    /// What to do.
    pub action: Action,
    /// How to speak with the provider of that account.
    pub service: Option<Service>,
    /// Where to deliver.
    pub target: Option<Arc<dyn Target>>,
    /// What to deliver; its secret is read when the action begins, which is after the commit that may have brought it.
    pub version: Option<Version>,
    /// What must not be told, whoever says it.
    pub veil: Veil,
    /// What of the target's `then` is done already for the version.
    pub done: BTreeSet<String>,
    /// The key that is delivered to a target now that is to be emptied, if there is one.
    pub heir: Option<KeyName>,
    /// The number of the key's last version.
    pub last_version: VersionNo,
    /// The section of the key's provider.
    pub provider: String,
    /// Where the secrets are, and where a create's raw answer is kept before anybody looks into it.
    pub store: Arc<Store>,
}

/// How long a create or a revoke may wait for the disk and for its turn. What was looked at before it may have changed since:
/// the window may have shut, and the current key may be dead. Then it is decided anew.
pub const ACT_WITHIN: Duration = Duration::from_secs(120);
/// Why nothing was done.
const TOO_LATE: &str = "it was decided too long ago; it is looked at anew";

/// Performs the action, so long after it was decided. A create that has not begun when the daemon stops does not begin; nor
/// does a create or a revoke that has waited for longer than [`ACT_WITHIN`].
pub async fn execute(task: Task, waited: Duration, stop: &CancellationToken, clock: fn() -> Timestamp) -> Acted {
    let late = waited > ACT_WITHIN;
    let mut secrets = FoundSecrets::new();
    let mut trouble = Trouble::Unasked;
    let create = matches!(task.action, Action::Create { .. });
    let not_begun = match task.action {
        Action::Create { .. } if stop.is_cancelled() => Some(Outcome::NotSent("the daemon is stopping".into())),
        Action::Create { .. } if late => Some(Outcome::NotSent(TOO_LATE.into())),
        Action::Revoke(_) if late => Some(Outcome::Failed(TOO_LATE.into())),
        _ => None,
    };
    if let Some(outcome) = not_begun {
        let (name, account, action) = (task.name, task.account.id, task.action);
        return Acted { name, account, action, outcome, secrets, trouble, login: None, used: None };
    }
    let outcome = AssertUnwindSafe(perform(&task, &mut secrets, &mut trouble, clock)).catch_unwind().await;
    // A fault of ours must not wedge the key. A create may have taken effect.
    let outcome = outcome.unwrap_or_else(|_| {
        let why = "rekeyd itself broke down in this action; please report this".to_owned();
        if create { Outcome::Unknown(why) } else { Outcome::Failed(why) }
    });
    fail_point!(ActionEnds);
    let login = task.service.as_ref().filter(|_| create).and_then(Service::login);
    let used = task.service.as_ref().and_then(|it| it.used.last());
    let account: AccountId = task.account.id;
    Acted { name: task.name, account, action: task.action, outcome, secrets, trouble, login, used }
}

async fn perform(task: &Task, secrets: &mut FoundSecrets, trouble: &mut Trouble, clock: fn() -> Timestamp) -> Outcome {
    match &task.action {
        Action::Create { token, valid_to } => create(task, token, *valid_to, secrets, trouble, clock).await,
        Action::Deliver { target, .. } => deliver(task, target, clock).await,
        Action::Confirm { target, .. } => confirm(task, target).await,
        Action::Revoke(it) => revoke(task, it, trouble, clock).await,
        Action::Empty { target } => empty(task, target).await,
    }
}

async fn create(
    task: &Task,
    token: &Token,
    valid_to: Option<Timestamp>,
    secrets: &mut FoundSecrets,
    trouble: &mut Trouble,
    clock: fn() -> Timestamp,
) -> Outcome {
    let Some(service) = &task.service else {
        return Outcome::NotSent("the config names no provider for this account any more".into());
    };
    // Room for the answer first: an answer that can't be kept must not be asked for.
    let prepared = in_escrow(task.store.escrow(), token, |escrow, token| escrow.prepare(token)).await;
    if let Err(why) = prepared {
        return Outcome::NotSent(why);
    }
    let raw = match service.create(token, valid_to).await {
        Ok(raw) => raw,
        Err(error) => return unanswered(error, trouble, clock()),
    };
    *trouble = Trouble::Well;
    let kept = raw.clone();
    let put =
        in_escrow(task.store.escrow(), token, move |escrow, token| escrow.put(token, kept.status, &kept.body)).await;
    if let Err(why) = put {
        tracing::error!(key = %task.name, why, "the answer to a create could not be kept aside before it is read");
    }
    read_answer(service, &task.account, &raw, secrets).await
}

fn unanswered(error: CreateError, trouble: &mut Trouble, now: Timestamp) -> Outcome {
    match error {
        CreateError::NotSent(why) => {
            *trouble = Trouble::Held(Blocked::Provider(why.clone()));
            Outcome::NotSent(why)
        }
        CreateError::Unknown(why) => {
            *trouble = Trouble::Held(Blocked::Provider(why.clone()));
            Outcome::Unknown(why)
        }
        CreateError::Refused(refusal) => {
            *trouble = match (refusal.why, refusal.retry_after) {
                (RefusalKind::Login, _) => Trouble::Held(Blocked::Login),
                (RefusalKind::Throttled, at) => Trouble::Held(Blocked::Throttled(at.unwrap_or(now.plus(THROTTLED)))),
                _ => Trouble::Well,
            };
            Outcome::Refused(refusal)
        }
    }
}

/// Reads a create's raw answer: at once, or out of the escrow after a restart.
pub async fn read_answer(service: &Service, account: &Account, raw: &Raw, secrets: &mut FoundSecrets) -> Outcome {
    match service.provider.parse(raw) {
        Ok(Created::One(issued)) if issued.secret.is_some() => Outcome::Created(found(issued, secrets)),
        Ok(Created::One(_)) => Outcome::Unreadable("the answer does not show the key".into()),
        Ok(Created::All(issued)) => {
            let mut after: Vec<Found> = issued.into_iter().map(|it| found(it, secrets)).collect();
            // The key that authorised the call is one of them.
            let login = service.login();
            after.retain(|it| it.fingerprint.is_none() || it.fingerprint != login);
            probe_unknown(service, account, &mut after, secrets).await;
            Outcome::AnsweredAll(after)
        }
        Err(why) => Outcome::Unreadable(why.to_string()),
    }
}

/// Of all keys of an account, those that it did not know may be ours: the provider is asked about them.
async fn probe_unknown(service: &Service, account: &Account, after: &mut [Found], secrets: &FoundSecrets) {
    if !service.provider.capabilities().probes {
        return;
    }
    let unknown = after.iter_mut().filter(|it| it.fingerprint.as_ref().is_some_and(|it| !account.known.contains(it)));
    for it in unknown.take(crate::core::decide::CANDIDATES) {
        let Some(secret) = it.fingerprint.as_ref().and_then(|it| secrets.get(it)) else { continue };
        let answer: Probe = service.probe(secret).await;
        it.probe = Some(answer);
    }
}

async fn deliver(task: &Task, target: &TargetId, clock: fn() -> Timestamp) -> Outcome {
    let (Some(to), Some(parcel)) = (&task.target, parcel(task).await) else { return gone(target) };
    let began = clock();
    let delivered = tokio::time::timeout(DELIVERY_WITHIN, to.deliver(&parcel)).await;
    match delivered.unwrap_or_else(|_| Err(late().into())) {
        Ok(()) => Outcome::Delivered { ms: u64::try_from(clock().since(began).as_millis()).unwrap_or(u64::MAX) },
        Err(it) if it.done.is_empty() => Outcome::Failed(it.why.to_string()),
        Err(it) => Outcome::PartlyDelivered { why: it.why.to_string(), done: it.done },
    }
}

async fn confirm(task: &Task, target: &TargetId) -> Outcome {
    let (Some(at), Some(parcel)) = (&task.target, parcel(task).await) else { return gone(target) };
    let confirmed = tokio::time::timeout(DELIVERY_WITHIN, at.confirm(&parcel)).await;
    match confirmed.unwrap_or_else(|_| Err(late())) {
        Ok(()) => Outcome::Confirmed,
        Err(why) => Outcome::Failed(why.to_string()),
    }
}

/// The config does not name the key any more, nor what its targets were like: only what visibly holds it is emptied.
async fn empty(task: &Task, target: &TargetId) -> Outcome {
    if let Some(heir) = &task.heir {
        return Outcome::Left(format!("key {heir} is delivered there now"));
    }
    let (store, name, last) = (Arc::clone(&task.store), task.name.clone(), task.last_version);
    let read = move || (1..=last).filter_map(|number| store.secret(&name, number).ok().flatten()).collect::<Vec<_>>();
    let Ok(secrets) = tokio::task::spawn_blocking(read).await else { return gone(target) };
    let emptied = tokio::time::timeout(DELIVERY_WITHIN, targets::empty(target, secrets)).await;
    match emptied.unwrap_or_else(|_| Err(late())) {
        Ok(Emptied::Yes) => Outcome::Emptied,
        Ok(Emptied::No(why)) => Outcome::Left(why.to_owned()),
        Err(why) => Outcome::Failed(why.to_string()),
    }
}

fn late() -> DeliveryError {
    DeliveryError(format!("no end within {} s; is its folder on a mount that hangs?", DELIVERY_WITHIN.as_secs()))
}

async fn parcel(task: &Task) -> Option<Parcel> {
    let version = task.version.as_ref()?;
    let (store, name, number) = (Arc::clone(&task.store), task.name.clone(), version.number);
    let secret = match tokio::task::spawn_blocking(move || store.secret(&name, number)).await.ok()? {
        Ok(secret) => secret?,
        Err(error) => {
            tracing::error!(key = %task.name, version = number, %error, "a secret of the state can't be read");
            return None;
        }
    };
    let (veil, done) = (task.veil.clone(), task.done.clone());
    Some(Parcel { veil, done, ..Parcel::of(&task.name, &task.provider, version, secret) })
}

fn gone(target: &TargetId) -> Outcome {
    Outcome::Failed(format!("{target} or the version for it is gone from the config or the state"))
}

async fn revoke(task: &Task, it: &Revoke, trouble: &mut Trouble, clock: fn() -> Timestamp) -> Outcome {
    let Some(service) = &task.service else {
        return Outcome::Failed("the config names no provider for this account any more".into());
    };
    if it.id.is_empty() {
        return Outcome::Failed("the key's id at the provider is empty".into());
    }
    match service.revoke(&it.id).await {
        Ok(()) => {
            *trouble = Trouble::Well;
            Outcome::Revoked
        }
        Err(error) => {
            *trouble = Trouble::Held(blocked_by(&error, clock()));
            Outcome::Failed(error.to_string())
        }
    }
}

async fn in_escrow(
    escrow: &Escrow,
    token: &Token,
    call: impl FnOnce(&Escrow, &Token) -> Result<(), StoreError> + Send + 'static,
) -> Result<(), String> {
    let (escrow, token) = (escrow.clone(), token.clone());
    let done = tokio::task::spawn_blocking(move || call(&escrow, &token)).await;
    done.map_err(|it| it.to_string())?.map_err(|it| it.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::core::facts::Revokee;
    use crate::secret::Secret;
    use crate::store::Site;

    const SECOND: Duration = Duration::from_secs(1);

    /// What comes of an action that has waited for so long. The config names no service: whoever gets so far says so.
    async fn after(waited: Duration, action: Action) -> Outcome {
        let dir = tempfile::tempdir().unwrap();
        let site = Site { dir: dir.path(), machine: None, reserve: 0 };
        let store = Store::open(site, &Secret::new(vec![7; 32]), clock::now()).unwrap().store;
        let task = Task {
            name: "billing".parse().unwrap(),
            account: Account::new("sms".into()),
            action,
            service: None,
            target: None,
            version: None,
            veil: Veil::default(),
            done: BTreeSet::new(),
            heir: None,
            last_version: 1,
            provider: "sms".to_owned(),
            store: Arc::new(store),
        };
        execute(task, waited, &CancellationToken::new(), clock::now).await.outcome
    }

    #[tokio::test]
    async fn a_create_and_a_revoke_that_have_waited_for_too_long_are_decided_anew() {
        let token: Token = "0a1b2c3d-000001-billing-1".parse().unwrap();
        let create = Action::Create { token, valid_to: None };
        let what = Revokee::Version(1);
        let revoke = Action::Revoke(Revoke { account: "sms".into(), id: "id".to_owned(), what });
        for waited in [Duration::ZERO, ACT_WITHIN] {
            let (create, revoke) = (after(waited, create.clone()).await, after(waited, revoke.clone()).await);
            assert!(matches!(&create, Outcome::NotSent(why) if why.contains("names no provider")), "{create:?}");
            assert!(matches!(&revoke, Outcome::Failed(why) if why.contains("names no provider")), "{revoke:?}");
        }
        let late = ACT_WITHIN + SECOND;
        assert_eq!(
            after(late, create).await,
            Outcome::NotSent(TOO_LATE.to_owned()),
            "nothing was sent, nothing is lost"
        );
        assert_eq!(after(late, revoke).await, Outcome::Failed(TOO_LATE.to_owned()));
        // A delivery is as right as ever: its premise is what the state holds.
        let deliver = Action::Deliver { target: TargetId::from("file:/x"), version: 1 };
        assert!(matches!(after(late, deliver).await, Outcome::Failed(why) if why.contains("gone from the config")));
    }
}

//! `PUT /v1/keys/{key}/secret`: a key that is in use comes into our care. What is said of it is the engine's to check.
use super::commands::by;
use super::problem::{Kind, Problem};
use super::requests::{AdoptReport, AdoptRequest, Holds, ProviderWord, TargetReport};
use super::rights::Right;
use super::server::{self, Desk};
use super::verbs::{Body, Caller, body_of, name, read, snapshot};
use crate::core::facts::{Content, Probe};
use crate::core::names::{Fingerprint, KeyName, TargetId};
use crate::engine::adopt::{AdoptRefused, Adoption, Offer};
use crate::engine::handle::{Refused, Request, Snapshot};
use axum::Json;
use axum::extract::{ConnectInfo, Path, State};

pub(super) async fn adopt(
    State(desk): State<Desk>,
    ConnectInfo(peer): Caller,
    Path(key): Path<String>,
    body: Body,
) -> Result<Json<AdoptReport>, Problem> {
    let actor = desk.may(peer, Right::Own, "adopt").await?;
    let ask: AdoptRequest = read(&body_of(body)?, "adopt")?;
    let secret = ask.secret.map(|it| it.0);
    if secret.is_some() == ask.from_target {
        return Err(Problem::new(Kind::BadRequest, "give either the secret or from_target"));
    }
    if secret.as_ref().is_some_and(crate::secret::Secret::is_empty) {
        return Err(Problem::new(Kind::BadRequest, "the secret is empty; give it on stdin"));
    }
    let name = name(&key)?;
    check_managed(&snapshot(&desk).await?, &name)?;
    let offer = Offer {
        secret,
        expected: ask.fingerprint,
        valid_to: ask.valid_to.map(|it| it.0),
        issued_at: ask.issued_at.map(|it| it.0),
        age_unknown: ask.age_unknown,
        id: ask.id,
        unverified: ask.unverified,
        deliver: ask.deliver,
        dry_run: ask.dry_run,
        by: by(actor, ask.reason)?,
    };
    let (asked, dry_run, offer) = (name.clone(), offer.dry_run, Box::new(offer));
    let answer = server::ask(&desk.engine, |reply| Request::Adopt { name: asked, offer, reply }).await?;
    let adoption = answer.map_err(|it| Problem::refused(&key, &it))?;
    Ok(Json(report(name, adoption, dry_run)))
}

fn check_managed(snapshot: &Snapshot, name: &KeyName) -> Result<(), Problem> {
    if snapshot.settings.keys.contains_key(name) {
        return Ok(());
    }
    if snapshot.records.contains_key(name) {
        let detail = format!("the config no longer names key {name}");
        return Err(Problem::new(Kind::Unmanaged, detail).remedy("add it to the config, then: rekeyd reload"));
    }
    Err(Problem::refused(name.as_str(), &Refused::no_such_key(name, &snapshot.settings)))
}

/// Why a key is not adopted, with what to do then.
pub(super) fn problem(name: &str, why: &AdoptRefused) -> Problem {
    let detail = format!("key {name}: {why}");
    let on_stdin = format!("rekeyd adopt {name} --deliver < FILE");
    let again = format!("rekeyd adopt {name} --from-target");
    let insist = format!("rekeyd adopt {name} --unverified");
    match why {
        AdoptRefused::NothingInTargets { will_be_created: true } => {
            Problem::new(Kind::NothingInTargets, detail).remedy(format!("rekeyd status {name}"))
        }
        AdoptRefused::NothingInTargets { .. } => {
            Problem::new(Kind::NothingInTargets, detail).remedy(format!("rekeyd adopt {name} < FILE"))
        }
        AdoptRefused::TargetsDiffer(_) => Problem::new(Kind::TargetsDiffer, detail).remedy(on_stdin),
        AdoptRefused::TargetUnreadable(..) => Problem::new(Kind::TargetUnreadable, detail)
            .remedy(format!("let the daemon read it, or overwrite it: {on_stdin}")),
        AdoptRefused::Changed(_) | AdoptRefused::ConfigChanged => {
            Problem::new(Kind::TargetHolds, detail).remedy(format!("look again: {again}"))
        }
        AdoptRefused::Id(_) => Problem::new(Kind::KeyId, detail).remedy("give the id that the provider's portal shows"),
        AdoptRefused::NotListed => Problem::new(Kind::KeyUnverified, detail).remedy(format!(
            "check that it is a key of the provider's account, or insist: {insist} --from-target, or: {insist} < FILE"
        )),
        AdoptRefused::Dates(_, remedy) => Problem::new(Kind::KeyDates, detail).remedy(*remedy),
    }
}

fn report(key: KeyName, it: Adoption, dry_run: bool) -> AdoptReport {
    // What will be created needs nobody's help.
    let will_be_created = Refused::from(AdoptRefused::NothingInTargets { will_be_created: true });
    // What a look finds to be done already is not to be done.
    let adoptable = it.refused.is_none() && !(dry_run && it.done.is_some());
    let waits = it.refused.as_ref().filter(|it| **it == will_be_created).map(ToString::to_string);
    let refused = it.refused.filter(|_| waits.is_none()).map(|why| Problem::refused(key.as_str(), &why));
    let targets: Vec<TargetReport> = it
        .targets
        .into_iter()
        .map(|(target, content)| target_report(target, content, it.fingerprint.as_ref()))
        .collect();
    let done = it.done.unwrap_or_default();
    let said = if done.message.is_empty() { "it can be adopted".to_owned() } else { done.message };
    let message = refused.as_ref().map(|it| it.detail.clone()).or(waits).unwrap_or(said);
    AdoptReport {
        key,
        message,
        attempt: done.attempt,
        adoptable,
        fingerprint: it.fingerprint,
        provider: it.probe.into(),
        id: it.id,
        valid_from: it.valid_from.map(Into::into),
        valid_to: it.valid_to.map(Into::into),
        expiry: it.expiry,
        targets,
        refused,
    }
}

fn target_report(target: TargetId, content: Option<Content>, key: Option<&Fingerprint>) -> TargetReport {
    let (holds, fingerprint) = match content {
        None => (Holds::Unread, None),
        Some(Content::Absent) => (Holds::Nothing, None),
        Some(Content::Damaged) => (Holds::Damaged, None),
        Some(Content::Unreadable(_)) => (Holds::Unreadable, None),
        Some(Content::Holds(it)) if Some(&it) == key => (Holds::Key, Some(it)),
        Some(Content::Askew(it)) if Some(&it) == key => (Holds::OtherForm, Some(it)),
        Some(Content::Holds(it) | Content::Askew(it)) => (Holds::OtherKey, Some(it)),
    };
    TargetReport { target, holds, fingerprint }
}

impl From<Option<Probe>> for ProviderWord {
    fn from(probe: Option<Probe>) -> Self {
        match probe {
            Some(Probe::Alive) => Self::Accepts,
            Some(Probe::Dead) => Self::Refuses,
            Some(Probe::Inconclusive) => Self::Unclear,
            None => Self::NotAsked,
        }
    }
}

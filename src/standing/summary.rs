//! How everything stands, in one line.
use super::forecast::first;
use super::{Health, Subject, concerns, health};
use crate::core::record::Phase;
use crate::core::time::Timestamp;
use crate::engine::handle::{Observing, Snapshot};
use crate::humane::{counted, rounded};

/// `312 keys, next rotation billing-sms in 13 days`, and before it what is wrong: `312 keys, 2 need a look, …`.
pub fn summary(snapshot: &Snapshot) -> String {
    let n = snapshot.settings.keys.len();
    let mut parts = vec![format!("{n} key{}", if n == 1 { "" } else { "s" })];
    parts.extend(held(snapshot).map(str::to_owned));
    let worried = Subject::all(snapshot).filter(|it| health(it, &concerns(it)) != Health::Ok).count();
    if worried > 0 {
        parts.push(format!("{worried} need{} a look", if worried == 1 { "s" } else { "" }));
    }
    let under_way = Subject::all(snapshot).filter(is_under_way).count();
    if under_way > 0 {
        parts.push(format!("{under_way} being rotated"));
    }
    parts.extend(next(snapshot));
    parts.join(", ")
}

/// What holds the daemon itself back.
fn held(snapshot: &Snapshot) -> Option<&'static str> {
    match snapshot.observing {
        Some(Observing::NewMachine | Observing::Twin(_)) => Some("only observing (rekeyd resume --all)"),
        None if snapshot.config_rejected.is_some() => Some("the config on disk has faults (rekeyd check)"),
        None if snapshot.clock_suspect => Some("the clock is not believed"),
        None => None,
    }
}

fn is_under_way(subject: &Subject<'_>) -> bool {
    let is_moving = |it: &Phase| {
        matches!(
            it,
            Phase::Create(_)
                | Phase::Judge { .. }
                | Phase::Verify { .. }
                | Phase::Deliver { .. }
                | Phase::Cutover { .. }
        )
    };
    subject.config.is_some() && is_moving(subject.phase())
}

/// Which key is replaced first, of those that nothing is being done for.
fn next(snapshot: &Snapshot) -> Option<String> {
    let begins = |it: &Subject<'_>| -> Option<Timestamp> {
        let (config, record) = (it.config?, it.record?);
        let at_rest = matches!(record.phase, Phase::Steady | Phase::Announce { .. });
        let current = record.current.as_ref().filter(|_| at_rest && config.policy.provider.creates)?;
        first(it, record, current).map(|it| it.at)
    };
    let all = Subject::all(snapshot).filter_map(|it| Some((begins(&it)?, it.name)));
    let (at, name) = all.min()?;
    let far = at.since(snapshot.now).as_secs();
    Some(format!(
        "next rotation {name} {}",
        if far == 0 { "now".to_owned() } else { format!("in {}", counted(rounded(far))) }
    ))
}

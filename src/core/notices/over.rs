//! The end of what lasts: whoever heard that it began hears that it is over, under the same incident.
use crate::core::names::{NoticeId, TargetId};
use crate::core::pass::Pass;
use crate::core::plan::{Notice, NoticeKind, NoticeStatus};
use crate::core::record::{Ended, Expiry, Held, Incident, Phase};

/// What a key leaves behind when it is taken out of service: these families of incidents end when a human says that he saw
/// to it, or when the record is dropped.
const LEFT: [&str; 5] = ["revoke", "lost", "left", "orphan", "empty"];

impl Pass<'_> {
    /// Ends an incident.
    pub(in crate::core) fn resolve(&mut self, incident: &str) {
        self.resolve_as(incident, words_of(incident));
    }

    /// Ends it in these words, which go on after "over, ".
    pub(in crate::core) fn resolve_as(&mut self, incident: &str, how: &str) {
        let Some(ended) = self.record.incidents.remove(incident) else { return };
        let kind = if incident == "expiring" { NoticeKind::KeyExpiring } else { ended.kind };
        let (name, begun) = (self.record.name.as_str().to_owned(), ended.since.0.to_string());
        let id = NoticeId::of(&[&name, kind.code(), incident, &begun, "resolved"]);
        self.record.told.insert(id.clone(), self.now);
        let current = self.record.current.as_ref();
        self.notices.push(Notice {
            key: Some(self.record.name.clone()),
            incident: NoticeId::of(&[&name, incident, &begun]).to_string(),
            status: NoticeStatus::Resolved,
            summary: format!("{name}: over, {how}"),
            version: current.map(|it| it.number),
            fingerprint: current.map(|it| it.fingerprint.clone()),
            valid_to: current.and_then(|it| it.valid_to),
            escalates: ended.escalated,
            at_worst: Some(ended.severity),
            ..Notice::bare(id, kind, self.now)
        });
    }

    /// Ends the incidents of a key that is taken out of service, but for what it leaves behind: that is there still.
    pub(in crate::core) fn resolve_all(&mut self) {
        self.resolve_where(|family| !LEFT.contains(&family), "the key was taken out of service");
    }

    /// Ends what a human was asked to do by hand. Says whether there was anything.
    pub(in crate::core) fn resolve_by_hand(&mut self) -> bool {
        self.resolve_where(|family| LEFT[1..].contains(&family), "somebody saw to it by hand")
    }

    /// The record is dropped: nobody will speak of the key again.
    pub(in crate::core) fn resolve_forgotten(&mut self) {
        self.resolve_where(|_| true, "the key was forgotten");
    }

    /// Ends every incident whose cause is gone, whatever made it go.
    pub(in crate::core) fn end_what_is_over(&mut self) {
        let over = |(incident, it): (&String, &Incident)| Some((incident.clone(), self.is_over(incident, it)?));
        let over: Vec<(String, String)> = self.record.incidents.iter().filter_map(over).collect();
        for (incident, how) in over {
            self.resolve_as(&incident, &how);
        }
    }

    /// What a human was to revoke has expired meanwhile. An expiry that was only assumed proves nothing.
    pub(in crate::core) fn end_expired(&mut self, clock_suspect: bool) {
        if clock_suspect {
            return;
        }
        let reported = self.record.retired.iter().filter(|it| it.ended == Some(Ended::Reported));
        let stated = reported.map(|it| &it.version).filter(|it| matches!(it.expiry, Expiry::Reported | Expiry::Stated));
        let ends: Vec<_> = stated.filter_map(|it| Some((it.number, it.valid_to?))).collect();
        for (number, end) in ends {
            let incident = revoke_incident(number);
            if end <= self.now {
                self.resolve_as(&incident, &format!("version {number} has expired"));
            } else if self.record.incidents.contains_key(&incident) {
                self.wake(end);
            }
        }
    }

    fn resolve_where(&mut self, ends: impl Fn(&str) -> bool, how: &str) -> bool {
        let all: Vec<String> = self.record.incidents.keys().filter(|it| ends(family(it))).cloned().collect();
        all.iter().for_each(|it| self.resolve_as(it, how));
        !all.is_empty()
    }

    /// How it ended, if it has. What only an event ends is not among them.
    fn is_over(&self, incident: &str, it: &Incident) -> Option<String> {
        let (record, about) = (&self.record, incident.split_once(':').map_or("", |it| it.1));
        match family(incident) {
            "revoke" | "unread" => self.how_it_ended(about),
            "unverified" => self.how_it_was_seen(about, it),
            "delivery" => match self.held_at(about) {
                Some(_) => None,
                None => Some(format!("the key is no longer delivered to {about}")),
            },
            "foreign" => match self.held_at(about) {
                Some(held) => is_ours(held).then(|| format!("{about} holds the key again")),
                None => Some(format!("the key is no longer delivered to {about}")),
            },
            "left" => {
                let ours = record.live_versions().any(|it| it.fingerprint.as_str() == about);
                ours.then(|| "the key is looked after from here".to_owned())
            }
            "refused" => {
                let dead = record.current.as_ref().is_some_and(|it| it.dead_since.is_some());
                (!dead && record.rotation.is_none()).then(|| "the key was replaced".to_owned())
            }
            "halted" => (!matches!(record.phase, Phase::Halted { .. })).then(|| words_of(incident).to_owned()),
            "outside" => record.rotation.is_none().then(|| words_of(incident).to_owned()),
            _ => None,
        }
    }

    /// How an old version ended, of which a human was told.
    fn how_it_ended(&self, version: &str) -> Option<String> {
        let of = self.record.retired.iter().find(|it| it.version.number.to_string() == version);
        match of.map(|it| it.ended) {
            None => Some(format!("version {version} is no longer on the books")),
            Some(Some(Ended::Revoked)) => Some(format!("version {version} was revoked")),
            Some(Some(Ended::Expired)) => Some(format!("version {version} has expired")),
            Some(Some(Ended::Reported) | None) => None,
        }
    }

    /// Whether a version that was delivered unverified was seen to be accepted since, or is not in use any more.
    fn how_it_was_seen(&self, version: &str, it: &Incident) -> Option<String> {
        let in_use = self.record.current.iter().chain(self.record.pending());
        let Some(of) = in_use.into_iter().find(|it| it.number.to_string() == version) else {
            return Some(format!("version {version} is not in use any more"));
        };
        let seen = of.last_alive.is_some_and(|at| at > it.since);
        seen.then(|| format!("the provider accepts version {version}"))
    }

    fn held_at(&self, target: &str) -> Option<&Held> {
        let is_it = |it: &TargetId| it.to_string() == target;
        self.record.held.iter().find(|(it, _)| is_it(it)).map(|it| it.1)
    }
}

fn is_ours(held: &Held) -> bool {
    held.foreign.is_none() && held.settled.is_some() && held.maybe.is_empty()
}

/// What it is called that an old version waits for a human to revoke it, or can't be revoked yet.
pub(super) fn revoke_incident(version: u32) -> String {
    format!("revoke:{version}")
}

/// Whether a human is told of it once and for all: what he has seen to is not looked for again.
pub(super) fn is_told_once(incident: &str) -> bool {
    matches!(family(incident), "lost" | "left")
}

fn family(incident: &str) -> &str {
    incident.split(':').next().unwrap_or_default()
}

/// How an incident ends, where what ended it does not say.
fn words_of(incident: &str) -> &'static str {
    match family(incident) {
        "rotation" => "the key was replaced",
        "halted" => "it goes on",
        "refused" => "the provider accepts the key",
        "drifted" => "the key in use is ours",
        "rollback" => "another key is in use since",
        "outside" => "that rotation has ended",
        "delivery" => "the target holds the key again",
        "unread" => "no unit uses that version any more",
        "orphan" => "it was revoked",
        "lost" => "what it left was found, or is not there",
        _ => "the key was replaced in the end",
    }
}

//! The live timeline: what the daemon says it did, beside what really happened at the services.
use crate::core::names::Fingerprint;
use crate::core::record::Rotation;
use crate::core::time::Timestamp;
use crate::engine::handle::{History, Snapshot};
use crate::simulator::{Call, Fault, Maker, RequestRow, Service, Simulator, World};
use std::collections::BTreeSet;
use std::io::{self, Write};

/// Collects lines, each once, and prints them in the order of their time.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    told: BTreeSet<String>,
    waiting: Vec<Line>,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Line {
    at: Timestamp,
    key: String,
    what: &'static str,
    text: String,
}

impl Timeline {
    /// Takes in what the daemon did.
    pub(super) fn daemon(&mut self, snapshot: &Snapshot, history: &History) {
        for (name, record) in &snapshot.records {
            for rotation in record.rotation.iter().chain(&record.last_rotation) {
                self.rotation(name.as_str(), rotation);
            }
        }
        for (name, rotation) in &history.rotations {
            self.rotation(name.as_str(), rotation);
        }
    }

    fn rotation(&mut self, key: &str, rotation: &Rotation) {
        let attempt = rotation.attempt;
        for (nth, (phase, at)) in rotation.phases.iter().enumerate() {
            self.add(format!("{key}/{attempt}/phase/{nth}"), *at, key, "phase", phase.clone());
        }
        for (target, delivery) in &rotation.deliveries {
            let text = format!("{} in {} ms, to {target}", delivery.result, delivery.ms);
            let mark = format!("{key}/{attempt}/delivery/{target}/{}", delivery.attempts);
            self.add(mark, delivery.at, key, "delivery", text);
        }
        if let Some(at) = rotation.finished_at {
            let result = match rotation.result {
                Some(crate::core::record::RotationResult::Succeeded) => "succeeded",
                Some(crate::core::record::RotationResult::Failed) => "failed",
                Some(crate::core::record::RotationResult::Halted) => "halted",
                None => "ended",
            };
            let gap = rotation.cutover_gap_ms.map(|ms| format!(", cutover gap {ms} ms")).unwrap_or_default();
            self.add(format!("{key}/{attempt}/end"), at, key, "rotation", format!("{attempt} {result}{gap}"));
        }
    }

    /// Takes in what happened at the services, in the mailbox and at the webhook.
    pub(super) fn world(&mut self, simulator: &Simulator) {
        for key in simulator.truth().all_keys() {
            let name = World::key_name(key.service);
            let print = Fingerprint::of(key.secret.as_bytes());
            let by = if key.made_by == Maker::Call { "" } else { " by hand" };
            self.add(format!("issued/{print}"), key.created_at, name, "issued", format!("{print}{by}"));
            if let Some(at) = key.revoked_at {
                let how = if key.service == Service::Mobivate { " by the create" } else { "" };
                self.add(format!("revoked/{print}"), at, name, "revoked", format!("{print}{how}"));
            }
        }
        for row in simulator.truth().requests() {
            self.request(&row);
        }
        for (nth, mail) in simulator.mail().mails().into_iter().enumerate() {
            self.add(format!("mail/{nth}"), mail.at, "", "mail", mail.subject);
        }
        for (nth, hook) in simulator.hook().requests().into_iter().enumerate() {
            let body: serde_json::Value = serde_json::from_str(&hook.body).unwrap_or_default();
            let text = |it: &serde_json::Value| it.as_str().unwrap_or_default().to_owned();
            self.add(format!("hook/{nth}"), hook.at, &text(&body["data"]["key"]), "webhook", text(&body["type"]));
        }
    }

    fn request(&mut self, row: &RequestRow) {
        let name = World::key_name(row.service);
        let call = match row.call {
            Call::Create => "the create",
            _ => "a call",
        };
        if row.fault == Some(Fault::LostAnswer) {
            let mark = format!("fault/{}/{}", row.at, row.path);
            self.add(mark, row.at, name, "fault", format!("the answer to {call} is lost, its key exists"));
        }
    }

    fn add(&mut self, mark: String, at: Timestamp, key: &str, what: &'static str, text: String) {
        if self.told.insert(mark) {
            self.waiting.push(Line { at, key: key.to_owned(), what, text });
        }
    }

    /// Prints what was taken in since the last time.
    pub(super) fn print(&mut self, out: &mut (dyn Write + Send), begun: Timestamp) -> io::Result<()> {
        self.waiting.sort();
        for line in self.waiting.drain(..) {
            let seconds = line.at.since(begun).as_secs_f32();
            writeln!(out, "{seconds:>6.2} s  {:<14} {:<9} {}", line.key, line.what, line.text)?;
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::Options;

    #[tokio::test]
    async fn each_event_is_told_once_and_no_secret_is() {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let old = simulator.stranger_creates_key(Service::Mobivate).unwrap();
        simulator.stranger_creates_key(Service::Mobivate).unwrap();
        let mut timeline = Timeline::default();
        let mut out = Vec::new();
        for _ in 0..2 {
            timeline.world(&simulator);
            timeline.print(&mut out, old.created_at).unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches(" issued ").count(), 3, "{text}");
        assert_eq!(text.matches(" revoked ").count(), 1, "{text}");
        assert!(!text.contains(&old.secret));
    }
}

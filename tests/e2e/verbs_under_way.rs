//! Somebody who never stops to rotate, pause, resume and acknowledge, and keeps a ledger of what was answered.
use crate::chance::Chance;
use rekeyd::control::client::Client;
use rekeyd::control::protocol::CommandRow;
use rekeyd::control::requests::{AckRequest, KeyDone, PauseRequest, ResumeRequest, RotateRequest};
use rekeyd::core::record::Record;
use rekeyd::engine::handle::Which;
use rekeyd::simulator::{Service, World};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

/// The keys that are spoken of.
const KEYS: [Service; 3] = [Service::Infobip, Service::Mobivate, Service::SingleInvoice];

/// What was answered so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Each verb that was carried out, by the reason that was given for it, which no other verb has.
    verbs: BTreeMap<String, (String, &'static str)>,
    /// The last rotation that was promised for each key.
    attempts: BTreeMap<String, u32>,
    /// The version that each key was last shown with.
    versions: BTreeMap<String, u32>,
    /// Whether each key is paused; `None` while a verb that changes it is not answered.
    paused: BTreeMap<String, Option<bool>>,
    asked: u64,
}

/// Speaks until it is aborted.
pub(crate) async fn speak_for_ever(client: Client, ledger: std::sync::Arc<Mutex<Ledger>>, seed: u64) {
    let (mut chance, speaker) = (Chance::new(seed), Speaker { client, ledger: &ledger });
    loop {
        for key in KEYS.map(World::key_name) {
            speaker.rotate(key).await;
            speaker.look(key).await;
            if chance.below(3) == 0 {
                speaker.pause(key).await;
                tokio::time::sleep(Duration::from_millis(chance.below(100))).await;
                speaker.resume(key).await;
            }
        }
        // Its old keys have no call to end them: their ends are told, and booked by hand.
        speaker.ack(World::key_name(Service::SingleInvoice)).await;
    }
}

struct Speaker<'l> {
    client: Client,
    ledger: &'l Mutex<Ledger>,
}

impl Speaker<'_> {
    async fn rotate(&self, key: &'static str) {
        let reason = self.reason(key);
        let ask = RotateRequest { now: true, reason: Some(reason.clone()), ..RotateRequest::default() };
        let Ok(done) = self.client.rotate(key, &ask).await else { return };
        let mut ledger = self.ledger.lock().unwrap();
        ledger.verbs.insert(reason, (key.to_owned(), "rotate"));
        ledger.attempts.extend(done.attempt.map(|it| (key.to_owned(), it)));
    }

    async fn pause(&self, key: &'static str) {
        let (reason, which) = (self.reason(key), Which::Keys(vec![key.parse().unwrap()]));
        self.pauses(key, None);
        let ask = PauseRequest { which, until: None, reason: Some(reason.clone()) };
        let answer = self.client.pause(&ask).await.unwrap_or_default();
        if was_done(&answer) {
            self.ledger.lock().unwrap().verbs.insert(reason, (key.to_owned(), "pause"));
            self.pauses(key, Some(true));
        }
    }

    async fn resume(&self, key: &'static str) {
        let (reason, which) = (self.reason(key), Which::Keys(vec![key.parse().unwrap()]));
        self.pauses(key, None);
        let answer =
            self.client.resume(&ResumeRequest { which, reason: Some(reason.clone()) }).await.unwrap_or_default();
        if was_done(&answer) {
            self.ledger.lock().unwrap().verbs.insert(reason, (key.to_owned(), "resume"));
            self.pauses(key, Some(false));
        }
    }

    async fn ack(&self, key: &'static str) {
        let reason = self.reason(key);
        if self.client.ack(key, &AckRequest { revoked: true, reason: Some(reason.clone()) }).await.is_ok() {
            self.ledger.lock().unwrap().verbs.insert(reason, (key.to_owned(), "ack"));
        }
    }

    /// What is shown was committed before.
    async fn look(&self, key: &'static str) {
        let Ok(status) = self.client.key(key).await else { return };
        let version = status.current.map_or(0, |it| it.version);
        self.ledger.lock().unwrap().versions.insert(key.to_owned(), version);
    }

    fn reason(&self, key: &str) -> String {
        let mut ledger = self.ledger.lock().unwrap();
        ledger.asked += 1;
        format!("{key}, no. {}", ledger.asked)
    }

    fn pauses(&self, key: &str, paused: Option<bool>) {
        self.ledger.lock().unwrap().paused.insert(key.to_owned(), paused);
    }
}

fn was_done(answer: &[KeyDone]) -> bool {
    answer.first().is_some_and(|it| it.problem.is_none())
}

impl Ledger {
    /// How many verbs were carried out, as far as anybody heard.
    pub(crate) fn answers(&self) -> usize {
        self.verbs.len()
    }

    pub(crate) fn all_resumed(&mut self) {
        self.paused.clear();
    }

    /// What was answered shows in the records.
    pub(crate) fn is_known_to(&self, records: &[Record], when: &str) {
        for record in records {
            let key = record.name.as_str();
            let (attempt, version) = (self.attempts.get(key), self.versions.get(key));
            let promised = record.last_attempt + u32::from(record.wish.is_some());
            assert!(attempt.is_none_or(|it| *it <= promised), "{when}: rotation {attempt:?} of {record:#?}");
            let newest = record.current.as_ref().map_or(0, |it| it.number);
            assert!(version.is_none_or(|it| *it <= newest), "{when}: version {version:?} of {record:#?}");
            if let Some(Some(paused)) = self.paused.get(key) {
                assert_eq!(record.paused.is_some(), *paused, "{when}: {record:#?}");
            }
        }
    }

    /// What was answered stands in the history.
    pub(crate) fn is_told_by(&self, commands: &[CommandRow]) {
        let row = |it: &CommandRow| {
            let (key, reason) = (it.key.as_ref()?.to_string(), it.reason_given.clone()?);
            Some((reason, (key, it.verb.clone())))
        };
        let told: BTreeMap<_, _> = commands.iter().filter_map(row).collect();
        for (reason, (key, verb)) in &self.verbs {
            let row = told.get(reason).map(|(key, verb)| (key.as_str(), verb.as_str()));
            assert_eq!(row, Some((key.as_str(), *verb)), "{reason}");
        }
    }
}

//! The programs that use the keys: each reads its key file and calls its service, all the time.
use crate::core::names::Fingerprint;
use crate::core::time::Timestamp;
use crate::simulator::{Fault, Service, Truth, World};
use comfy_table::{Table, presets};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// One program with one key.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) service: Service,
    file: PathBuf,
    seen: BTreeSet<Fingerprint>,
    refused_since: Option<Timestamp>,
    refused_for: Duration,
    calls: u64,
}

impl Consumer {
    pub(super) fn new(service: Service, file: PathBuf) -> Self {
        Self { service, file, seen: BTreeSet::new(), refused_since: None, refused_for: Duration::ZERO, calls: 0 }
    }

    /// Uses the key once, as it stands in the file now.
    pub(super) fn work(&mut self, truth: &Truth, now: Timestamp) {
        let Ok(key) = std::fs::read_to_string(&self.file) else { return };
        self.calls += 1;
        self.seen.insert(Fingerprint::of(key.as_bytes()));
        if truth.is_live(&key) {
            self.refused_since = None;
        } else {
            let since = *self.refused_since.get_or_insert(now);
            self.refused_for = self.refused_for.max(now.since(since));
        }
    }

    /// How many versions of the key it has had.
    pub(super) fn versions(&self) -> usize {
        self.seen.len()
    }

    /// Whether it was ever refused.
    fn gap(&self) -> String {
        match (self.calls, self.refused_for.is_zero() && self.refused_since.is_none()) {
            (0, _) => "never had a key".to_owned(),
            (_, true) => "none".to_owned(),
            _ => format!("{} ms", self.refused_for.as_millis()),
        }
    }
}

/// The summary: what came of each key.
pub(super) fn table(consumers: &[Consumer], truth: &Truth) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["key", "service", "issued", "delivered", "still live", "answers lost", "consumer refused for"]);
    let requests = truth.requests();
    for consumer in consumers {
        let service = consumer.service;
        let lost = requests.iter().filter(|it| it.service == service && it.fault == Some(Fault::LostAnswer)).count();
        table.add_row([
            World::key_name(service).to_owned(),
            service.kind().to_owned(),
            truth.keys(service).len().to_string(),
            consumer.versions().to_string(),
            truth.live(service).len().to_string(),
            lost.to_string(),
            consumer.gap(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::{Options, Simulator};

    #[tokio::test]
    async fn a_consumer_counts_its_keys_and_how_long_it_was_refused() {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        let mut consumer = Consumer::new(Service::Mobivate, file.clone());
        let at = |ms: i64| Timestamp(1_000_000 + ms);
        consumer.work(simulator.truth(), at(0));
        assert_eq!((consumer.versions(), consumer.gap().as_str()), (0, "never had a key"));
        let old = simulator.stranger_creates_key(Service::Mobivate).unwrap();
        std::fs::write(&file, &old.secret).unwrap();
        consumer.work(simulator.truth(), at(10));
        assert_eq!((consumer.versions(), consumer.gap().as_str()), (1, "none"));
        let new = simulator.stranger_creates_key(Service::Mobivate).unwrap();
        consumer.work(simulator.truth(), at(20));
        consumer.work(simulator.truth(), at(50));
        std::fs::write(&file, &new.secret).unwrap();
        consumer.work(simulator.truth(), at(60));
        assert_eq!((consumer.versions(), consumer.gap().as_str()), (2, "30 ms"));
    }
}

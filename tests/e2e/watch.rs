//! What must be true from outside, whatever happens: consumers hold keys that work, every key is known, each notice came once.
use crate::rig::{PATIENCE, PAUSE, Rig, fingerprint};
use rekeyd::simulator::{Key, Maker, Service, World};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a consumer looks at its file, as far as the machine has the time.
const SAMPLE: Duration = Duration::from_millis(10);

/// A consumer that never stops to use what its file holds.
pub(crate) struct Consumer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Consumer {
    /// Begins to use the key of a service, which exists by now.
    pub(crate) fn of(rig: &Rig, service: Service) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (path, truth, ended) = (rig.key_file(World::key_name(service)), rig.sim.truth().clone(), stop.clone());
        let thread = thread::spawn(move || {
            let mut wrong = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let began = Instant::now();
                let held = || fs::read_to_string(&path).unwrap_or_default();
                let first = held();
                // What it holds may have been replaced, and retired, between the two looks.
                if !truth.is_live(&first) && held() == first && wrong.last() != Some(&first) {
                    wrong.push(first);
                }
                thread::sleep(SAMPLE.saturating_sub(began.elapsed()));
            }
            wrong
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends it: at no moment did it hold a key that its service refuses.
    pub(crate) fn never_held_a_dead_key(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let wrong = self.thread.take().unwrap().join().unwrap();
        assert_eq!(wrong, Vec::<String>::new(), "a consumer held what its service refuses");
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Whether this is about a disk that takes seconds for a write, or its end. On a machine that has much else to do it is true at
/// any moment, and no test but the one that makes the disk slow asks for it.
pub(crate) fn tells_of_the_pace(text: &str) -> bool {
    // A mail breaks long lines.
    let text = text.replace("=\r\n", "");
    ["the disk is slow", "the disk is quick again"].iter().any(|it| text.contains(it))
}

impl Rig {
    /// The notices that came by webhook, each by its id: how often it came, and its body. [The pace of the
    /// disk](tells_of_the_pace) is left out.
    pub(crate) fn notices(&self) -> BTreeMap<String, (usize, serde_json::Value)> {
        let mut all = BTreeMap::new();
        for it in self.sim.hook().requests().into_iter().filter(|it| it.status == Some(204)) {
            if tells_of_the_pace(&it.body) {
                continue;
            }
            let body = serde_json::from_str(&it.body).unwrap();
            let id = it.header("webhook-id").unwrap().to_owned();
            all.entry(id).or_insert((0, body)).0 += 1;
        }
        all
    }

    /// How many different notices of this type came for a key.
    pub(crate) fn told(&self, key: &str, kind: &str) -> usize {
        let is_it = |it: &serde_json::Value| it["type"] == kind && it["data"]["key"] == key;
        self.notices().values().filter(|(_, it)| is_it(it) && it["data"]["status"] == "firing").count()
    }

    /// The summaries of the notices of this type and status that belong to no key.
    pub(crate) fn own_notices(&self, kind: &str, status: &str) -> Vec<String> {
        let is_it = |it: &serde_json::Value| {
            it["type"] == kind && it["data"]["key"].is_null() && it["data"]["status"] == status
        };
        let said = self.notices().into_values().filter(|(_, it)| is_it(it));
        said.map(|(_, it)| it["data"]["summary"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) async fn until_own_notice(&self, kind: &str, status: &str) {
        self.until_true(&format!("{kind} {status}"), || !self.own_notices(kind, status).is_empty()).await;
    }

    pub(crate) async fn until_notice(&self, key: &str, kind: &str) {
        self.until_true(&format!("{kind} for {key}"), || self.told(key, kind) > 0).await;
    }

    /// Waits until each mail has come that was sent.
    pub(crate) async fn until_mails_came(&self) {
        let sent = async || {
            self.until_told().await;
            self.fates_of(|_| true, "email:").await.iter().filter(|it| *it == "sent").count()
        };
        let wait = async {
            while sent().await > self.sim.mail().mails().len() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let mails: Vec<_> = self.sim.mail().mails().into_iter().map(|it| it.subject).collect();
            panic!("{} mails were sent, these came: {mails:?}\n{}", sent().await, self.tail());
        }
    }

    /// Each notice came once by each channel that was to be told: a channel that was slower than what ended meanwhile is not
    /// told of what is over.
    pub(crate) async fn each_notice_came_once(&self) {
        self.until_mails_came().await;
        for (id, (times, body)) in self.notices() {
            assert_eq!(times, 1, "{id}: {body}");
        }
        let mut mails: Vec<String> = self.sim.mail().mails().into_iter().map(|it| it.message_id).collect();
        let all = mails.len();
        mails.sort();
        mails.dedup();
        assert_eq!(mails.len(), all, "a mail came twice:\n{}", self.tail());
    }

    /// What became of such notices in the channels whose name begins so, oldest first.
    pub(crate) async fn fates_of(&self, is_it: impl Fn(&serde_json::Value) -> bool, channel: &str) -> Vec<String> {
        let history: serde_json::Value = serde_json::from_str(&self.ok(&["--json", "history"]).await).unwrap();
        let notices = history["notices"].as_array().unwrap().iter().filter(|it| is_it(it));
        let channels = notices.flat_map(|it| it["channels"].as_array().unwrap());
        let mine = channels.filter(|it| it["channel"].as_str().unwrap().starts_with(channel));
        mine.map(|it| it["state"].as_str().unwrap().to_owned()).collect()
    }

    /// Every key that was created and still works is in use, being retired, or told to its owner by its fingerprint or its id;
    /// at least in a moment in which nothing is on its way.
    pub(crate) async fn every_live_key_is_known(&self) {
        let wait = async {
            while !self.live_keys_that_nobody_knows().await.is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        if tokio::time::timeout(self.patience, wait).await.is_err() {
            panic!("nobody knows {:?}\n{}", self.live_keys_that_nobody_knows().await, self.tail());
        }
    }

    async fn live_keys_that_nobody_knows(&self) -> Vec<Key> {
        self.until_told().await;
        let status = self.status().await;
        let said: String = self.sim.hook().requests().iter().map(|it| it.body.clone()).collect();
        let versions = status.keys.iter().flat_map(|it| [&it.current, &it.pending, &it.previous]).flatten();
        let known: BTreeSet<String> = versions.map(|it| it.fingerprint.to_string()).collect();
        let live = self.world.services.iter().flat_map(|it| self.sim.truth().live(*it));
        let ours = live.filter(|it| it.made_by == Maker::Call);
        ours.filter(|it| {
            let print = fingerprint(&it.secret);
            !known.contains(&print) && !said.contains(&print) && !said.contains(&it.id)
        })
        .collect()
    }
}

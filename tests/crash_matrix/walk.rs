//! One course, walked once for each death: armed, dead, started again, looked at from outside.
use crate::courses::{Act, Course, adopt, brought, put_by_command};
use crate::rig::{PATIENCE, Rig, fingerprint, number, write};
use crate::watch::Consumer;
use rekeyd::control::protocol::{KeyStatus, PhaseName};
use rekeyd::control::requests::{NewKey, RotateRequest, SecretText};
use rekeyd::failpoint::Point;
use rekeyd::secret::Secret;
use rekeyd::simulator::{Maker, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(40);
/// A daemon that came to no point for so long has nothing to do.
const QUIET: Duration = Duration::from_millis(150);
/// A notice whose receipt died with the daemon is sent once more; a daemon dies once in a course.
const SENT_MOST: usize = 2;

/// What became of a course.
pub(crate) struct Walked {
    name: &'static str,
    /// Where it died, and at which time of coming there.
    pub(crate) deaths: Vec<(Point, usize)>,
    /// Times that a point was not reached as often as before: what a daemon does beside the course varies.
    missed: usize,
    halts: usize,
    resent: usize,
}

impl Walked {
    /// Nothing yet.
    pub(crate) fn of(name: &'static str) -> Self {
        Self { name, deaths: Vec::new(), missed: 0, halts: 0, resent: 0 }
    }
}

impl fmt::Display for Walked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points: BTreeSet<_> = self.deaths.iter().map(|it| it.0).collect();
        let (deaths, missed, halts, resent) = (self.deaths.len(), self.missed, self.halts, self.resent);
        write!(
            f,
            "{:20} {deaths:3} deaths at {:2} points, {missed} not reached again; {halts} halts, {resent} notices sent twice",
            self.name,
            points.len()
        )
    }
}

/// Walks a course once without a death, and then for each point that it came to, for each time that is wanted.
pub(crate) async fn walk(course: &'static Course, points: Vec<Point>, every: bool) -> Walked {
    let mut walker = Walker::begin(course).await;
    let counts = walker.count().await;
    for (point, count) in points.iter().filter_map(|it| Some((*it, *counts.get(it.name())?))) {
        let times: BTreeSet<usize> = match course.act {
            _ if every => (1..=count).collect(),
            // Each is a state of its own, and what comes after the first start is walked by the others.
            Act::Begin => [1].into(),
            _ => [1, 2.min(count), count].into(),
        };
        for time in times {
            if course.act == Act::Begin {
                walker.begin_again().await;
            }
            walker.die(point, time).await;
        }
    }
    walker.walked.resent = walker.rig.notices().values().filter(|it| it.0 > 1).count();
    walker.walked
}

struct Walker {
    course: &'static Course,
    rig: Rig,
    walked: Walked,
    /// Whether the daemon has died since it was armed.
    died: bool,
    /// Whether an answer to a create was in escrow when it died.
    kept: bool,
    /// The versions at which the key rested.
    rested: BTreeSet<u32>,
    arms: usize,
}

impl Walker {
    async fn begin(course: &'static Course) -> Self {
        let walked = Walked::of(course.name);
        let rig = Rig::prepare(course.world()).await;
        let mut it = Self { course, rig, walked, died: false, kept: false, rested: BTreeSet::new(), arms: 0 };
        (course.prepare)(&it.rig);
        match course.act {
            Act::Rotate => {
                it.rig.run().await;
                it.rig.until_version(course.key(), 1).await;
                it.rested.insert(1);
                // What a create does to the old key is learned by the first.
                it.act().await;
            }
            Act::Bring => {
                it.rig.run().await;
                it.rig.until_phase(course.key(), PhaseName::Unadopted).await;
                let words = adopt(course.key());
                it.rig.ok(&words.iter().map(String::as_str).collect::<Vec<_>>()).await;
                it.rig.until_version(course.key(), 1).await;
            }
            Act::Live => {
                it.leave_config();
                it.rig.run().await;
            }
            Act::Begin => {}
        }
        it
    }

    /// Another machine, with services that know nothing of the last one.
    async fn begin_again(&mut self) {
        self.rig = Rig::prepare(self.course.world()).await;
        self.rested.clear();
        (self.course.prepare)(&self.rig);
    }

    /// How often each point is reached when nothing dies.
    async fn count(&mut self) -> BTreeMap<String, usize> {
        let before = self.reached().len();
        self.run_course().await;
        self.look().await;
        let mut counts = BTreeMap::new();
        for name in self.reached().into_iter().skip(before) {
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    async fn die(&mut self, point: Point, time: usize) {
        let consumer = self.consumer();
        self.arms += 1;
        write(&self.rig.path("armed"), &format!("{} {time} {}", point.name(), self.arms));
        (self.died, self.kept) = (false, false);
        self.run_course().await;
        if self.died {
            self.walked.deaths.push((point, time));
        } else {
            self.walked.missed += 1;
        }
        println!("{} {} {time}: {}", self.course.name, point.name(), if self.died { "died" } else { "not reached" });
        self.look().await;
        if let Some(consumer) = consumer {
            consumer.never_held_a_dead_key();
        }
    }

    fn consumer(&self) -> Option<Consumer> {
        let rotates = self.course.act == Act::Rotate && self.course.keeps;
        rotates.then(|| Consumer::of(&self.rig, self.course.service.unwrap()))
    }

    /// The whole course: what is done in it, and then another start.
    async fn run_course(&mut self) {
        if self.course.act == Act::Begin {
            self.start().await;
        }
        self.act().await;
        if !self.died {
            self.rig.kill().await;
            self.start().await;
            self.until_quiet().await;
        }
        self.disarm();
        self.revive().await;
    }

    async fn act(&mut self) {
        match self.course.act {
            Act::Rotate | Act::Bring => self.rotate().await,
            Act::Begin => self.until_rest(0).await,
            Act::Live => self.live().await,
        }
    }

    async fn rotate(&mut self) {
        let before = number(&self.key().await);
        let key = (self.course.act == Act::Bring).then(|| new_key(before));
        let ask = RotateRequest { now: true, key, ..RotateRequest::default() };
        let mut asked = false;
        let began = Instant::now();
        while !asked {
            self.patience(began, "was not rotated");
            let now = self.key().await;
            asked = number(&now) > before || self.rig.client().rotate(self.course.key(), &ask).await.is_ok();
            // Where the daemon died after it had taken the key that was brought, that key is not new to it.
            asked |= self.course.act == Act::Bring && now.pending.is_some();
        }
        self.until_rest(before).await;
    }

    /// The key as it stands. The daemon may die of its own work while it is asked.
    async fn key(&mut self) -> KeyStatus {
        let began = Instant::now();
        loop {
            self.patience(began, "never answered");
            self.revive().await;
            if let Ok(key) = self.rig.client().key(self.course.key()).await {
                return key;
            }
        }
    }

    /// Waits until a version after this one is in use, no old one is left, and everything is told.
    async fn until_rest(&mut self, before: u32) {
        let began = Instant::now();
        loop {
            self.patience(began, "never rested");
            self.revive().await;
            let Ok(status) = self.rig.client().status().await else { continue };
            let Some(key) = status.keys.into_iter().find(|it| it.name.as_str() == self.course.key()) else { continue };
            if key.phase == PhaseName::Halted {
                self.let_go(&key).await;
            } else if key.phase == PhaseName::Steady && number(&key) > before && status.daemon.outbox_pending == 0 {
                self.rested.insert(number(&key));
                return;
            }
            sleep(PAUSE).await;
        }
    }

    /// Nobody can be asked what came of a create: the owners are told, and one of them says to go on.
    async fn let_go(&mut self, key: &KeyStatus) {
        let reason = key.halted.as_ref().map(|it| it.reason.clone()).unwrap_or_default();
        assert!(self.course.may_halt && reason == "ambiguous_create", "{reason}: {key:#?}\n{}", self.rig.tail());
        assert!(self.died && !self.kept, "nothing was lost\n{}", self.rig.tail());
        self.rig.until_notice(self.course.key(), "rotation.halted").await;
        self.walked.halts += 1;
        let _ = self.rig.cli(&["resume", self.course.key()]).await;
    }

    /// A key's whole life, each step said again until it is done.
    async fn live(&mut self) {
        let (key, service) = (self.course.key(), self.course.service.unwrap());
        let made = self.rig.sim.stranger_creates_key(service).unwrap();
        write(&self.rig.key_file(key), &made.secret);
        self.rig.write_config();
        let adopt = adopt(key);
        let adopt: Vec<&str> = adopt.iter().map(String::as_str).collect();
        self.say(&["reload"], |_, it| it.is_some()).await;
        self.say(&adopt, |_, it| it.is_some_and(|it| it.current.is_some())).await;
        self.leave_config();
        self.say(&["reload"], |_, it| it.is_none_or(|it| it.phase == PhaseName::Unmanaged)).await;
        self.say(&["retire", "--yes", key], |rig, _| rig.held(key).is_none()).await;
        self.say(&["forget", "--yes", key], |_, it| it.is_none()).await;
    }

    fn leave_config(&self) {
        let section = format!("[keys.{}]", self.course.key());
        self.rig.edit_config(|it| it[..it.find(&section).unwrap()].to_owned());
    }

    /// Says a command line until the key is as it asks for.
    async fn say(&mut self, words: &[&str], done: impl Fn(&Rig, Option<&KeyStatus>) -> bool) {
        let began = Instant::now();
        loop {
            self.patience(began, &words.join(" "));
            self.revive().await;
            if let Ok(status) = self.rig.client().status().await {
                let key = status.keys.iter().find(|it| it.name.as_str() == self.course.key());
                if done(&self.rig, key) {
                    return;
                }
                let _ = self.rig.cli(words).await;
            }
            sleep(PAUSE).await;
        }
    }

    /// Starts the daemon, which may die before it answers.
    async fn start(&mut self) {
        self.rig.spawn();
        let began = Instant::now();
        while !self.is_dead() && self.rig.client().status().await.is_err() {
            self.patience(began, "never answered");
            sleep(PAUSE).await;
        }
    }

    /// A daemon that has died is started again, and does not die any more.
    async fn revive(&mut self) {
        if self.is_dead() {
            (self.died, self.kept) = (true, self.answer_in_escrow());
            self.disarm();
            self.rig.run().await;
        }
    }

    fn answer_in_escrow(&self) -> bool {
        let files = fs::read_dir(self.rig.path("state/escrow")).into_iter().flatten();
        files.flatten().any(|it| fs::read(it.path()).unwrap_or_default().iter().any(|it| *it != 0))
    }

    fn is_dead(&mut self) -> bool {
        self.rig.daemon.as_mut().is_none_or(|it| it.try_wait().unwrap().is_some())
    }

    fn disarm(&self) {
        write(&self.rig.path("armed"), "");
    }

    async fn until_quiet(&mut self) {
        let (mut reached, mut since) = (0, Instant::now());
        let began = Instant::now();
        while since.elapsed() < QUIET && !self.is_dead() {
            self.patience(began, "was never quiet");
            sleep(PAUSE).await;
            let now = self.reached().len();
            if now != reached {
                (reached, since) = (now, Instant::now());
            }
        }
    }

    fn reached(&self) -> Vec<String> {
        let text = fs::read_to_string(self.rig.path("reached")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn patience(&self, began: Instant, what: &str) {
        assert!(began.elapsed() < 2 * PATIENCE, "{}: {what}\n{}", self.course.name, self.rig.tail());
    }
}

/// What is true from outside once everything has come to rest.
impl Walker {
    async fn look(&self) {
        self.rig.until_mails_came().await;
        self.consumers_hold_what_works();
        self.every_live_key_is_known_or_told().await;
        self.each_notice_came();
        self.nothing_is_left_behind().await;
    }

    fn consumers_hold_what_works(&self) {
        let held = self.rig.held(self.course.key());
        match self.course.act {
            Act::Live => assert_eq!(held, None, "its file is gone"),
            Act::Bring => assert_eq!(held, self.rested.last().map(|it| brought(it - 1)).or(held.clone())),
            Act::Rotate | Act::Begin => {
                let held = held.unwrap();
                assert!(self.rig.sim.truth().is_live(&held), "{}: {held} is dead", self.course.name);
                let put = fs::read_to_string(put_by_command(&self.rig)).unwrap_or(held.clone());
                assert_eq!(put, held, "the command has brought another key");
            }
        }
    }

    async fn every_live_key_is_known_or_told(&self) {
        let Some(service) = self.course.service else { return };
        let live = self.rig.sim.truth().live(service);
        match (self.course.act, service) {
            (Act::Live, _) => assert_eq!(live, [], "what was retired is revoked"),
            (_, Service::Infobip | Service::Mobivate) => {
                assert_eq!(live.len(), 1, "one key is left: {live:#?}\n{}", self.rig.tail());
            }
            _ => {
                let status = self.rig.status().await;
                let said: String = self.rig.sim.hook().requests().iter().map(|it| it.body.clone()).collect();
                let versions = status.keys.iter().flat_map(|it| [&it.current, &it.pending, &it.previous]).flatten();
                let ours: BTreeSet<_> = versions.map(|it| it.fingerprint.to_string()).collect();
                let made = live.iter().filter(|it| it.made_by == Maker::Call).map(|it| fingerprint(&it.secret));
                let unknown: Vec<_> = made.filter(|it| !ours.contains(it) && !said.contains(it)).collect();
                // Where nobody can be asked, a create that was lost is told by its account and its time.
                let told = self.lost_creates_told();
                assert!(unknown.len() <= told, "nobody knows {unknown:?}, {told} are told\n{}", self.rig.tail());
            }
        }
    }

    fn lost_creates_told(&self) -> usize {
        let notices = self.rig.notices();
        let summaries = notices.values().filter_map(|it| it.1["data"]["summary"].as_str());
        summaries.filter(|it| it.contains("may have left a key at account")).count()
    }

    fn each_notice_came(&self) {
        let notices = self.rig.notices();
        for (id, (times, body)) in &notices {
            assert!(*times <= SENT_MOST, "{id} came {times} times: {body}");
        }
        let mut mails: BTreeMap<String, usize> = BTreeMap::new();
        for mail in self.rig.sim.mail().mails() {
            *mails.entry(mail.message_id).or_default() += 1;
        }
        assert!(mails.values().all(|it| *it <= SENT_MOST), "a mail came more than twice");
        assert!(mails.len() <= notices.len(), "more mails than webhooks");
        let mut succeeded: BTreeMap<u64, usize> = BTreeMap::new();
        for (_, body) in notices.values().filter(|it| it.1["type"] == "rotation.succeeded") {
            *succeeded.entry(body["data"]["version"].as_u64().unwrap()).or_default() += 1;
        }
        assert!(succeeded.values().all(|it| *it == 1), "one rotation is told twice: {succeeded:?}");
        let untold = self.rested.iter().find(|it| !succeeded.contains_key(&u64::from(**it)));
        assert_eq!(untold, None, "of {succeeded:?}");
    }

    async fn nothing_is_left_behind(&self) {
        let names = |folder: &str| {
            let entries = fs::read_dir(self.rig.path(folder)).unwrap();
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        self.rig.until_true("the escrow is empty", || names("state/escrow").is_empty()).await;
        let temporary: Vec<_> = names("keys").into_iter().filter(|it| it.starts_with('.')).collect();
        assert_eq!(temporary, Vec::<String>::new(), "temporary files");
    }
}

fn new_key(before: u32) -> NewKey {
    let secret = SecretText(Secret::from(brought(before)));
    NewKey { secret, valid_to: None, issued_at: None, age_unknown: false, id: None }
}

//! What is done to a whole state before a daemon serves: a damaged one is rescued at the start, another master key is put in, a
//! backup is written, and put back. Each dies at every point that it comes to, the first time and the last.
use crate::rig::{PATIENCE, Rig, calm, copy_folder, write};
use crate::walk::Walked;
use rekeyd::clock;
use rekeyd::failpoint::Point;
use rekeyd::secret::Secret;
use rekeyd::simulator::Service;
use rekeyd::store::{Opened, Site, Snapshot, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::sleep;

const KEY: &str = "billing-sms";
/// The other master key.
const OTHER: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// What is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Procedure {
    /// A daemon starts on a state that has lost a row.
    Rescue,
    Reseal,
    Backup,
    Restore,
}

/// All of them, by name.
pub(crate) const PROCEDURES: [(&str, Procedure); 4] = [
    ("rescue", Procedure::Rescue),
    ("reseal", Procedure::Reseal),
    ("backup", Procedure::Backup),
    ("restore", Procedure::Restore),
];

/// Does it once without a death, and then for each point that it came to.
pub(crate) async fn walk(name: &'static str, what: Procedure, points: Vec<Point>, every: bool) -> Walked {
    let scene = Scene::set(what).await;
    let mut walked = Walked::of(name);
    for (point, count) in scene.count().await {
        if !points.contains(&point) {
            continue;
        }
        let times: BTreeSet<usize> = if every { (1..=count).collect() } else { [1, count].into() };
        for time in times {
            scene.die(point, time).await;
            println!("{name} {} {time}: died", point.name());
            walked.deaths.push((point, time));
        }
    }
    walked
}

struct Scene {
    what: Procedure,
    rig: Rig,
    /// What the key's secret is.
    secret: String,
}

impl Scene {
    /// A state with a key, and with the answer to a create in escrow that nobody has read: its daemon died at that moment.
    async fn set(what: Procedure) -> Self {
        let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
        rig.run().await;
        rig.until_version(KEY, 1).await;
        let secret = rig.held(KEY).unwrap();
        write(&rig.path("armed"), "EscrowSynced 1 scene");
        let _ = rig.cli(&["rotate", "--now", KEY]).await;
        rig.ended().await;
        write(&rig.path("armed"), "");
        write(&rig.path("secrets/master-2"), OTHER);
        fs::set_permissions(rig.path("secrets/master-2"), fs::Permissions::from_mode(0o600)).unwrap();
        rig.ok(&["backup", rig.path("whole.backup").to_str().unwrap()]).await;
        copy_folder(&rig.path("state"), &rig.path("whole"));
        Self { what, rig, secret }
    }

    /// How often it comes to each point.
    async fn count(&self) -> Vec<(Point, usize)> {
        self.before();
        let from = self.reached().len();
        assert!(!self.run().await, "nothing kills it yet");
        let mut counts: BTreeMap<Point, usize> = BTreeMap::new();
        for name in self.reached().into_iter().skip(from) {
            if name == Point::StateOpened.name() && self.what == Procedure::Rescue {
                break;
            }
            *counts.entry(*Point::ALL.iter().find(|it| it.name() == name).unwrap()).or_default() += 1;
        }
        counts.into_iter().collect()
    }

    async fn die(&self, point: Point, time: usize) {
        self.before();
        write(&self.rig.path("armed"), &format!("{} {time} {:?}", point.name(), self.what));
        assert!(self.run().await, "{:?} did not come to {} for the {time}. time", self.what, point.name());
        write(&self.rig.path("armed"), "");
        let what = format!("{:?}, dead at {} {time}", self.what, point.name());
        match self.what {
            Procedure::Rescue => self.nothing_is_lost_silently(&what),
            Procedure::Reseal => self.one_key_opens_it_and_the_other_follows(&what).await,
            Procedure::Backup => self.there_is_a_whole_backup_or_none(&what).await,
            Procedure::Restore => self.there_is_a_whole_state_or_none(&what).await,
        }
    }

    fn before(&self) {
        let state = self.rig.path("state");
        copy_folder(&self.rig.path("whole"), &state);
        match self.what {
            Procedure::Rescue => self.lose_the_secret(),
            Procedure::Reseal => {
                fs::create_dir(state.join("sled.damaged")).unwrap();
                write(&state.join("sled.damaged/db"), "sealed with the old key");
            }
            Procedure::Backup => drop(fs::remove_file(self.rig.path("new.backup"))),
            Procedure::Restore => fs::remove_dir_all(&state).unwrap(),
        }
    }

    fn lose_the_secret(&self) {
        let config = sled::Config::new().path(self.rig.path("state/sled")).flush_every_ms(None);
        let database = config.open().unwrap();
        database.remove(format!("secret/{KEY}/1")).unwrap().unwrap();
        database.flush().unwrap();
    }

    fn words(&self) -> Vec<String> {
        let path = |name: &str| self.rig.path(name).display().to_string();
        match self.what {
            Procedure::Rescue => vec!["run".to_owned()],
            Procedure::Reseal => {
                ["reseal", "--new-key", &format!("file:{}", path("secrets/master-2"))].map(str::to_owned).into()
            }
            Procedure::Backup => vec!["backup".to_owned(), path("new.backup")],
            Procedure::Restore => vec!["restore".to_owned(), path("whole.backup")],
        }
    }

    /// Does it, and says whether it was killed on the way. A daemon is ended once its state is open.
    async fn run(&self) -> bool {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeyd"));
        command.arg("--config").arg(self.rig.config()).args(self.words()).kill_on_drop(true);
        command.env("REKEYD_FAILPOINTS", self.rig.path("")).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let from = self.reached().len();
        let mut child = command.spawn().unwrap();
        let ended = async {
            loop {
                let open = |it: &String| it == Point::StateOpened.name();
                if let Some(ended) = child.try_wait().unwrap() {
                    return Some(ended);
                } else if self.what == Procedure::Rescue && self.reached().iter().skip(from).any(open) {
                    return None;
                }
                sleep(PAUSE).await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await.expect("it comes to an end");
        let Some(ended) = ended else {
            child.kill().await.unwrap();
            return false;
        };
        assert!(ended.success() || ended.code().is_none(), "{:?}: {ended}", self.what);
        !ended.success()
    }

    fn reached(&self) -> Vec<String> {
        let text = fs::read_to_string(self.rig.path("reached")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// What is true wherever it died.
impl Scene {
    fn nothing_is_lost_silently(&self, what: &str) {
        let Opened { damage, rolled_back, .. } = self.open("secrets/master-key").expect(what);
        assert!(rolled_back, "{what}");
        assert!(damage.expect(what).keys.contains_key(&KEY.parse().unwrap()), "{what}");
    }

    async fn one_key_opens_it_and_the_other_follows(&self, what: &str) {
        let opens = ["secrets/master-key", "secrets/master-2"]
            .map(|it| self.open(it).map(|it| self.is_whole(&it, what)).is_ok());
        assert!(opens[0] != opens[1], "{what}: {opens:?}");
        assert!(!self.run().await, "{what}: it is said again");
        self.is_whole(&self.open("secrets/master-2").expect(what), what);
        assert!(!self.rig.path("state/sled.damaged").exists(), "{what}: it was sealed with the old key");
    }

    async fn there_is_a_whole_backup_or_none(&self, what: &str) {
        let file = self.rig.path("new.backup");
        let is_whole = || Snapshot::load(&file).expect(what).verify(&self.master("secrets/master-key")).expect(what);
        if file.exists() {
            assert_eq!(is_whole().secrets, 1, "{what}");
        }
        assert!(!self.run().await, "{what}: it is said again");
        assert_eq!((is_whole().secrets, is_whole().answers), (1, 1), "{what}");
        self.is_whole(&self.open("secrets/master-key").expect(what), what);
    }

    async fn there_is_a_whole_state_or_none(&self, what: &str) {
        if !self.rig.path("state/sled").exists() {
            let half = self.rig.path("state/restoring").exists();
            let refused = half.then(|| self.open("secrets/master-key").map(drop));
            assert!(refused.is_none_or(|it| matches!(it, Err(StoreError::HalfRestored { .. }))), "{what}");
            assert!(!self.run().await, "{what}: it is said again");
        }
        let opened = self.open("secrets/master-key").expect(what);
        assert!(opened.rolled_back, "{what}: it may be older than the world");
        self.is_whole(&opened, what);
    }

    fn is_whole(&self, opened: &Opened, what: &str) {
        let secret = opened.store.secret(&KEY.parse().unwrap(), 1).unwrap().expect(what);
        assert_eq!(secret.expose(), self.secret.as_bytes(), "{what}");
        assert_eq!(opened.store.escrow().drain().unwrap().len(), 1, "{what}: the answer that nobody has read");
    }

    fn open(&self, master: &str) -> Result<Opened, StoreError> {
        let (dir, machine) = (self.rig.path("state"), rekeyd::store::machine_id());
        let site = Site { dir: &dir, machine: machine.as_deref(), reserve: 0 };
        Store::open(site, &self.master(master), clock::now())
    }

    fn master(&self, name: &str) -> Secret {
        Secret::from(fs::read_to_string(self.rig.path(name)).unwrap())
    }
}

//! Each verb in each phase, from the command line: what it does, or why it is refused. Every verb of a phase has a key of
//! its own, and all of these are brought into the phase together.
use crate::rig::{PATIENCE, Rig, calm, number, write};
use rekeyd::control::protocol::{KeyStatus, PhaseName};
use rekeyd::simulator::{Call, Fault, Options, Service, Simulator, World};
use std::fmt::Write as _;
use std::time::Duration;

/// The columns of the table: a verb, and the name of its key.
pub(crate) const VERBS: [(&[&str], &str); 13] = [
    (&["rotate"], "rotate"),
    (&["rotate", "--now"], "now"),
    (&["rotate", "--compromised"], "leaked"),
    (&["pause", "--until", "1h"], "pause"),
    (&["resume"], "resume"),
    (&["rollback"], "rollback"),
    (&["abandon"], "abandon"),
    (&["adopt", "--valid-to", "2126-01-02"], "adopt"),
    (&["ack"], "ack"),
    (&["ack", "--revoked"], "revoked"),
    (&["retire", "--yes"], "retire"),
    (&["forget", "--yes"], "forget"),
    (&["reveal"], "reveal"),
];

/// What a verb comes to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell {
    /// It is refused with 65 and this reason, and nothing has changed.
    No(&'static str),
    /// It is done, this is said, and in the end the key is so.
    Yes(&'static str, End),
    /// It is refused with the first or done with the second, by how far something has come that goes on by itself.
    Either(&'static str, &'static str),
}

/// How a key is once a verb has had its effect, and what held it in its phase is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// It has this version in use, and waits for nothing but the end of an overlap.
    Rests(u32),
    /// It is in this phase.
    In(PhaseName),
    /// It is paused.
    Paused,
    /// The config does not name it, the provider refuses its key, and its file is empty or gone.
    Retired,
    /// Its secret was printed.
    Shown,
}

use Cell::{Either, No, Yes};
use End::{In, Paused, Rests, Retired, Shown};

pub(crate) const MANAGED: Cell = No("the config still names it");

/// A daemon whose keys are all in one phase.
pub(crate) struct Scene {
    pub(crate) rig: Rig,
    service: Service,
    /// Where an account has but one key, each key has a service of its own.
    apart: Vec<Simulator>,
}

impl Scene {
    /// A key for each verb at a service, once each rests with its first version.
    pub(crate) async fn of(service: Service, world: World) -> Self {
        let mut scene = Self::prepare(service, world).await;
        scene.rig.run().await;
        scene.all(|it| it.phase == PhaseName::Steady && number(it) == 1).await;
        scene
    }

    async fn prepare(service: Service, world: World) -> Self {
        let mut rig = Rig::prepare(world).await;
        let script = rig.path("then.sh");
        write(&script, &format!("while [ -e {} ]; do sleep 0.02; done\n", rig.path("hold").display()));
        let mut apart = Vec::new();
        for (_, name) in VERBS {
            let provider = if service == Service::Mobivate { name } else { service.kind() };
            if service == Service::Mobivate {
                let sim = Simulator::start(Options::default()).await.unwrap();
                let section = own_section(&rig, &sim, service, name);
                rig.world.sections.push_str(&section);
                apart.push(sim);
            }
            let (path, world) = (rig.key_file(name), &rig.world);
            let announce = world.announce.as_secs();
            let more = match service {
                Service::Infobip => {
                    format!("overlap = \"{}ms\"\ncreate = {{ name = \"billing\" }}\n", world.overlap.as_millis())
                }
                // Where a create ends the old key there is nothing to overlap.
                Service::Mobivate => String::new(),
                _ => format!("overlap = \"{}ms\"\n", world.overlap.as_millis()),
            };
            let section = format!(
                "[keys.{name}]\nprovider = \"{provider}\"\nowners = [\"payments\"]\ninitial = \"{}\"\nvalid_for = \"2h\"\n\
                 rotate_before = \"10m\"\nannounce = \"{announce}s\"\n{more}\
                 [[keys.{name}.deliver]]\nkind = \"file\"\npath = {path:?}\n\
                 then = {{ command = [\"/bin/sh\", {script:?}] }}\n\n",
                world.initial,
            );
            let _ = write!(rig.world.sections, "{section}");
        }
        rig.write_config();
        Self { rig, service, apart }
    }

    /// Changes every service that a key is at.
    pub(crate) fn everywhere(&self, change: impl Fn(&Simulator)) {
        match self.apart.is_empty() {
            true => change(&self.rig.sim),
            false => self.apart.iter().for_each(change),
        }
    }

    /// The service that a key is at.
    fn service_of(&self, name: &str) -> &Simulator {
        let nth = VERBS.iter().position(|it| it.1 == name).unwrap();
        self.apart.get(nth).unwrap_or(&self.rig.sim)
    }

    /// Waits until every key is so.
    pub(crate) async fn all(&self, holds: impl Fn(&KeyStatus) -> bool) {
        for (_, name) in VERBS {
            self.rig.until(name, "as the scene wants it", &holds).await;
        }
    }

    pub(crate) async fn each(&self, verb: &[&str]) {
        for (_, name) in VERBS {
            self.rig.ok(&[verb, &[name]].concat()).await;
        }
    }

    /// Goes through one row of the table, and tells of every cell that is not so.
    pub(crate) async fn check(&self, row: [Cell; VERBS.len()], release: impl FnOnce(&Rig)) {
        let mut wrong = Vec::new();
        for ((verb, name), cell) in VERBS.into_iter().zip(row) {
            if let Err(why) = self.ask(verb, name, cell).await {
                wrong.push(format!("{}: {why}", verb.join(" ")));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        release(&self.rig);
        for ((verb, name), cell) in VERBS.into_iter().zip(row) {
            if let Yes(_, end) = cell {
                self.ends(name, end, &verb.join(" ")).await;
            }
        }
    }

    async fn ask(&self, verb: &[&str], name: &str, cell: Cell) -> Result<(), String> {
        let before = self.rig.key(name).await;
        let said = match verb[0] {
            "adopt" => {
                let secret = self.service_of(name).stranger_creates_key(self.service).unwrap().secret;
                self.rig.cli_with(&[verb, &[name]].concat(), &secret).await
            }
            "reveal" => self.rig.cli(&[verb, &[name]].concat()).await,
            _ => self.rig.cli(&[verb, &["--reason", "a drill", name]].concat()).await,
        };
        let after = self.rig.key(name).await;
        let as_before = (after.phase, number(&after)) == (before.phase, number(&before));
        let holds = match cell {
            No(why) => said.code == Some(65) && said.err.contains(why) && said.err.contains("\ntry: ") && as_before,
            Yes(_, Shown) => {
                Some(crate::rig::fingerprint(&said.out)) == before.current.map(|it| it.fingerprint.to_string())
            }
            Yes(what, _) => said.code == Some(0) && said.out.contains(what),
            Either(why, what) => match said.code {
                Some(0) => said.out.contains(what),
                code => code == Some(65) && said.err.contains(why),
            },
        };
        if holds { Ok(()) } else { Err(format!("not {cell:?} in {}, but {said:?}", before.phase)) }
    }

    async fn ends(&self, name: &str, end: End, verb: &str) {
        let settled = [PhaseName::Steady, PhaseName::Overlap];
        match end {
            Rests(version) => {
                let what = format!("at rest at version {version} after {verb}");
                let rests = |it: &KeyStatus| number(it) == version && settled.contains(&it.phase);
                let current = self.rig.until(name, &what, rests).await.current.unwrap().fingerprint.to_string();
                let held = || self.rig.held(name).is_some_and(|it| crate::rig::fingerprint(&it) == current);
                self.rig.until_true(&format!("its file holds it, after {verb}"), held).await;
            }
            In(phase) => drop(self.rig.until_phase(name, phase).await),
            Paused => drop(self.rig.until(name, "paused", |it| it.paused.is_some()).await),
            Retired => {
                let gone = || self.rig.held(name).is_none_or(|it| it.is_empty());
                self.rig.until_true("its file is emptied", gone).await;
                self.rig.until(name, "without a live version", |it| it.current.is_none()).await;
            }
            Shown => {}
        }
    }
}

/// A provider section for one key, at a service of its own.
fn own_section(rig: &Rig, sim: &Simulator, service: Service, name: &str) -> String {
    let (username, _) = Simulator::login(service).unwrap();
    let (world, password) = (&rig.world, rig.path("secrets").join(service.kind()));
    format!(
        "[providers.{name}]\nkind = \"{}\"\nbase_url = \"{}\"\nusername = \"{username}\"\n\
         password = {{ file = {password:?} }}\naccept_within = \"{}ms\"\nsettle = \"{}ms\"\ncreates_per_day = 1000\n\n",
        service.kind(),
        sim.url(service),
        world.accept_within.as_millis(),
        world.settle.as_millis(),
    )
}

/// Nothing is due, and an overlap lasts.
fn long_overlap() -> World {
    World { overlap: Duration::from_secs(300), announce: Duration::from_secs(300), ..calm(&[]) }
}

pub(crate) fn at(service: Service) -> World {
    World { services: vec![service], ..long_overlap() }
}

#[tokio::test]
async fn unadopted() {
    let world = World { initial: "adopt".to_owned(), ..at(Service::Infobip) };
    let mut scene = Scene::prepare(Service::Infobip, world).await;
    scene.rig.run().await;
    scene.all(|it| it.phase == PhaseName::Unadopted).await;
    let row = [
        /* rotate   */ No("not adopted yet"),
        /* now      */ No("not adopted yet"),
        /* leaked   */ No("not adopted yet"),
        /* pause    */ Yes("nothing is begun or revoked until", Paused),
        /* resume   */ Yes("neither paused nor halted", In(PhaseName::Unadopted)),
        /* rollback */ No("not adopted yet"),
        /* abandon  */ No("no new version"),
        /* adopt    */ Yes("adopted", Rests(1)),
        /* ack      */ No("nothing is firing"),
        /* revoked  */ No("no old version waits"),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ No("no version yet"),
    ];
    scene.check(row, |_| {}).await;
}

#[tokio::test]
async fn steady() {
    let scene = Scene::of(Service::Infobip, at(Service::Infobip)).await;
    let row = [
        /* rotate   */ Yes("rotation 2 begins now", Rests(2)),
        /* now      */ Yes("rotation 2 begins now", Rests(2)),
        /* leaked   */ Yes("rotation 2 begins now", Rests(2)),
        /* pause    */ Yes("nothing is begun or revoked until", Paused),
        /* resume   */ Yes("neither paused nor halted", In(PhaseName::Steady)),
        /* rollback */ No("no previous version"),
        /* abandon  */ No("no new version"),
        /* adopt    */ Yes("adopted", Rests(2)),
        /* ack      */ No("nothing is firing"),
        /* revoked  */ No("no old version waits"),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ Yes("", Shown),
    ];
    scene.check(row, |_| {}).await;
}

#[tokio::test]
async fn announced() {
    let scene = Scene::of(Service::Infobip2fa, at(Service::Infobip2fa)).await;
    scene.each(&["rotate"]).await;
    scene.all(|it| it.phase == PhaseName::Announce).await;
    let row = [
        /* rotate   */ Yes("rotation 2 begins in the next window", In(PhaseName::Announce)),
        /* now      */ Yes("rotation 2 begins now", Rests(2)),
        /* leaked   */ Yes("rotation 2 begins now", Rests(2)),
        /* pause    */ Yes("nothing is begun or revoked until", Paused),
        /* resume   */ Yes("neither paused nor halted", In(PhaseName::Announce)),
        /* rollback */ No("no previous version"),
        /* abandon  */ No("no new version"),
        /* adopt    */ No("not possible in this phase"),
        /* ack      */ No("nothing is firing"),
        /* revoked  */ No("no old version waits"),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ Yes("", Shown),
    ];
    scene.check(row, |_| {}).await;
}

#[tokio::test]
async fn create_with_a_lost_answer() {
    let scene = Scene::of(Service::Infobip, at(Service::Infobip)).await;
    // The create takes effect, and for long the list does not show that it did.
    scene.rig.sim.faults(Service::Infobip, |it| it.often(Call::Create, Fault::LostAnswer, 1000));
    scene.rig.sim.behave(Service::Infobip, |it| it.lag_ms = 600_000);
    scene.each(&["rotate", "--now"]).await;
    // So often that the owners were told, and there is something to acknowledge.
    scene.all(|it| it.phase == PhaseName::Create && it.failures >= 3).await;
    let row = [
        /* rotate   */ Yes("rotation 2 is under way already, in create", Rests(2)),
        /* now      */ Yes("rotation 2 is under way already, in create", Rests(2)),
        /* leaked   */ Yes("rotation 2 is under way already, in create", Rests(2)),
        /* pause    */ Yes("nothing is begun or revoked until", Paused),
        /* resume   */ Yes("tried again now", Rests(2)),
        /* rollback */ No("a rotation is under way"),
        /* abandon  */ Yes("the attempt is given up", Rests(1)),
        /* adopt    */ No("a rotation is under way"),
        /* ack      */ Yes("told again only when it becomes something else", Rests(2)),
        /* revoked  */ No("no old version waits"),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ Yes("", Shown),
    ];
    let found = |rig: &Rig| {
        rig.sim.faults(Service::Infobip, |it| it.clear());
        rig.sim.behave(Service::Infobip, |it| it.lag_ms = 0);
    };
    scene.check(row, found).await;
}

#[tokio::test]
async fn verify() {
    let scene =
        Scene::of(Service::Infobip, World { accept_within: Duration::from_secs(300), ..at(Service::Infobip) }).await;
    scene.rig.sim.behave(Service::Infobip, |it| it.accept_after_ms = 3_600_000);
    scene.each(&["rotate", "--now"]).await;
    scene.all(|it| it.phase == PhaseName::Verify).await;
    let row = [
        /* rotate   */ Yes("rotation 2 is under way already, in verify", Rests(2)),
        /* now      */ Yes("rotation 2 is under way already, in verify", Rests(2)),
        /* leaked   */ Yes("rotation 2 is under way already, in verify", Rests(2)),
        /* pause    */ Yes("nothing is begun or revoked until", Paused),
        /* resume   */ Yes("", Rests(2)),
        /* rollback */ No("a rotation is under way"),
        /* abandon  */ Yes("version 2 is given up", Rests(1)),
        /* adopt    */ No("a rotation is under way"),
        /* ack      */ No("nothing is firing"),
        /* revoked  */ No("no old version waits"),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ Yes("", Shown),
    ];
    let accepted = |rig: &Rig| {
        rig.sim.behave(Service::Infobip, |it| it.accept_after_ms = 0);
        rig.sim.accept_new_keys(Service::Infobip);
    };
    scene.check(row, accepted).await;
}

#[tokio::test]
async fn delivery_to_a_blocked_target() {
    let scene = Scene::of(Service::Infobip, at(Service::Infobip)).await;
    write(&scene.rig.path("hold"), "");
    scene.each(&["rotate", "--now"]).await;
    scene.all(|it| it.phase == PhaseName::Deliver).await;
    let row = [
        /* rotate   */ Yes("rotation 2 is under way already, in deliver", Rests(2)),
        /* now      */ Yes("rotation 2 is under way already, in deliver", Rests(2)),
        /* leaked   */ Yes("rotation 2 is under way already, in deliver", Rests(2)),
        /* pause    */ Yes("nothing is begun or revoked until", Paused),
        /* resume   */ Yes("", Rests(2)),
        /* rollback */ No("a rotation is under way"),
        /* abandon  */ Yes("version 2 is given up", Rests(1)),
        /* adopt    */ No("a rotation is under way"),
        /* ack      */ No("nothing is firing"),
        /* revoked  */ No("no old version waits"),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ Yes("", Shown),
    ];
    scene.check(row, |rig| std::fs::remove_file(rig.path("hold")).unwrap()).await;
}

#[tokio::test]
async fn overlap() {
    let scene = Scene::of(Service::Infobip, at(Service::Infobip)).await;
    scene.each(&["rotate", "--now"]).await;
    scene.all(|it| it.phase == PhaseName::Overlap).await;
    let row = [
        /* rotate   */ Yes("rotation 3 begins now", Rests(3)),
        /* now      */ Yes("rotation 3 begins now", Rests(3)),
        /* leaked   */ Yes("rotation 3 begins now", Rests(3)),
        /* pause    */ Yes("nothing is begun or revoked until", Paused),
        /* resume   */ Yes("neither paused nor halted", In(PhaseName::Overlap)),
        /* rollback */ Yes("version 1 is checked", Rests(1)),
        /* abandon  */ No("no new version"),
        /* adopt    */ Yes("adopted", Rests(3)),
        /* ack      */ No("nothing is firing"),
        /* revoked  */ No("no old version waits"),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ Yes("", Shown),
    ];
    scene.check(row, |_| {}).await;
}

#[tokio::test]
async fn halted() {
    let scene = Scene::of(Service::Infobip2fa, at(Service::Infobip2fa)).await;
    scene.rig.sim.faults(Service::Infobip2fa, |it| it.often(Call::Create, Fault::LostAnswer, 1000));
    scene.each(&["rotate", "--now"]).await;
    scene.all(|it| it.phase == PhaseName::Halted).await;
    scene.rig.sim.faults(Service::Infobip2fa, |it| it.clear());
    let row = [
        /* rotate   */ No("it is halted"),
        /* now      */ No("it is halted"),
        /* leaked   */ No("it is halted"),
        /* pause    */ Yes("nothing is begun or revoked until", In(PhaseName::Halted)),
        /* resume   */ Yes("it goes on in create", Rests(2)),
        /* rollback */ No("a rotation is under way"),
        /* abandon  */ Yes("the attempt is given up", Rests(1)),
        /* adopt    */ Yes("adopted", Rests(2)),
        /* ack      */ Yes("told again only when it becomes something else", In(PhaseName::Halted)),
        // What the lost create may have left.
        /* revoked  */
        Yes("booked as revoked", In(PhaseName::Halted)),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ Yes("", Shown),
    ];
    scene.check(row, |_| {}).await;
}

#[tokio::test]
async fn paused() {
    let scene = Scene::of(Service::Infobip, at(Service::Infobip)).await;
    scene.rig.ok(&["pause", "--all", "--reason", "a storm"]).await;
    scene.all(|it| it.paused.is_some()).await;
    let row = [
        /* rotate   */ No("it is paused"),
        /* now      */ No("it is paused"),
        /* leaked   */ No("it is paused"),
        /* pause    */ Yes("it keeps the pause without end", Paused),
        /* resume   */ Yes("the pause is over", In(PhaseName::Steady)),
        /* rollback */ No("no previous version"),
        /* abandon  */ No("no new version"),
        /* adopt    */ Yes("adopted", Rests(2)),
        /* ack      */ No("nothing is firing"),
        /* revoked  */ No("no old version waits"),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ Yes("", Shown),
    ];
    scene.check(row, |_| {}).await;
    assert!(scene.rig.key("resume").await.paused.is_none());
    assert!(scene.rig.key("ack").await.paused.is_some());
}

#[tokio::test]
async fn unmanaged() {
    let mut scene = Scene::of(Service::Infobip, at(Service::Infobip)).await;
    scene.rig.stop().await;
    scene.rig.world.sections.clear();
    scene.rig.write_config();
    scene.rig.run().await;
    scene.all(|it| it.phase == PhaseName::Unmanaged).await;
    let unmanaged = No("the config does not name it");
    let row = [
        /* rotate   */ unmanaged,
        /* now      */ unmanaged,
        /* leaked   */ unmanaged,
        /* pause    */ unmanaged,
        /* resume   */ unmanaged,
        /* rollback */ unmanaged,
        /* abandon  */ unmanaged,
        /* adopt    */ No("no longer names"),
        /* ack      */ No("nothing is firing"),
        /* revoked  */ No("no old version waits"),
        /* retire   */ Yes("its targets are emptied", Retired),
        /* forget   */ No("may still be valid"),
        /* reveal   */ Yes("", Shown),
    ];
    scene.check(row, |_| {}).await;
    // What is retired can be forgotten, and then nothing but its history is left of it.
    let forgotten = async { while scene.rig.cli(&["forget", "--yes", "retire"]).await.code != Some(0) {} };
    tokio::time::timeout(PATIENCE, forgotten).await.unwrap();
    assert_eq!(scene.rig.cli(&["status", "retire"]).await.code, Some(66));
    let history = scene.rig.ok(&["history", "retire"]).await;
    assert!(history.contains("retire ") && history.contains("forget ") && history.contains("a drill"), "{history}");
}

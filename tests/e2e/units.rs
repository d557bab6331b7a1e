//! `then` at several units: who took up the key is left in peace while the others are tried again, and what a unit says in its
//! log brings no secret to anybody.
use crate::rig::{Rig, calm, number, write};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rekeyd::simulator::{Service, Simulator, World};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const KEY: &str = "billing-sms";
const OTHER: &str = "campaign-sms";

/// A systemd that restarts what it is asked to, but for `bad.service`, as long as it is masked.
struct Systemd {
    masked: PathBuf,
    asked: PathBuf,
}

impl Systemd {
    /// The daemon must not run yet. `journal` is what journalctl says of each unit.
    fn of(rig: &mut Rig, journal: &str) -> Self {
        let (bin, it) = (rig.path("bin"), Self { masked: rig.path("masked"), asked: rig.path("asked") });
        fs::create_dir(&bin).unwrap();
        let systemctl = format!(
            "case \"$*\" in is-active*bad.service) exit 3;; is-active*) exit 0;; esac\n\
             echo \"$*\" >> {}\n\
             case \"$*\" in *bad.service) [ ! -e {} ] || {{ echo Unit bad.service is masked. >&2; exit 1; }};; esac\n",
            it.asked.display(),
            it.masked.display()
        );
        script(&bin.join("systemctl"), &systemctl);
        script(&bin.join("journalctl"), journal);
        let path = std::env::join_paths([&bin, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
        rig.environment.push(("PATH", path.into_string().unwrap()));
        it
    }

    fn mask(&self) {
        write(&self.masked, "");
    }

    fn unmask(&self) {
        fs::remove_file(&self.masked).unwrap();
    }

    /// How often a unit was restarted, or asked to.
    fn restarts(&self, unit: &str) -> usize {
        let asked = fs::read_to_string(&self.asked).unwrap_or_default();
        asked.lines().filter(|it| it.ends_with(&format!("restart -- {unit}"))).count()
    }
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A key whose file is followed by the restart of two units, at its first version.
async fn restarting(world: World, journal: &str) -> (Rig, Systemd) {
    let mut rig = Rig::prepare(world).await;
    let systemd = Systemd::of(&mut rig, journal);
    rig.add_to_target(KEY, "then = { restart = [\"shop.service\", \"bad.service\"] }");
    rig.run().await;
    rig.until_rest().await;
    (rig, systemd)
}

#[tokio::test]
async fn a_masked_unit_is_tried_again_and_its_healthy_sibling_is_left_in_peace_even_over_a_kill() {
    let (mut rig, systemd) = restarting(calm(&[Service::Infobip]), "").await;
    let (shop, bad) = (systemd.restarts("shop.service"), systemd.restarts("bad.service"));
    systemd.mask();
    rig.rotate(KEY).await;
    rig.until_notice(KEY, "delivery.failed").await;
    let told: String = rig.notices().values().map(|it| it.1.to_string()).collect();
    assert!(told.contains("Unit bad.service is masked."), "{told}");
    for tries in 2..4 {
        rig.ok(&["resume", KEY]).await;
        rig.until_true("it is tried again", || systemd.restarts("bad.service") >= bad + tries).await;
    }
    rig.kill().await;
    let before = systemd.restarts("bad.service");
    rig.run().await;
    rig.ok(&["resume", KEY]).await;
    rig.until_true("it is tried again", || systemd.restarts("bad.service") > before).await;
    systemd.unmask();
    rig.ok(&["resume", KEY]).await;
    rig.until_version(KEY, 2).await;
    assert_eq!(systemd.restarts("shop.service"), shop + 1, "once for this version");
    rig.rotate(KEY).await;
    rig.until_version(KEY, 3).await;
    assert_eq!(systemd.restarts("shop.service"), shop + 2, "and once for the next");
}

#[tokio::test]
async fn a_file_that_was_changed_before_the_next_try_is_taken_up_by_every_unit() {
    let (rig, systemd) = restarting(calm(&[Service::Infobip]), "").await;
    let shop = systemd.restarts("shop.service");
    systemd.mask();
    rig.rotate(KEY).await;
    rig.until_notice(KEY, "delivery.failed").await;
    write(&rig.key_file(KEY), "somebody's mistake");
    systemd.unmask();
    rig.ok(&["resume", KEY]).await;
    rig.until(KEY, "delivered", |it| number(it) == 2).await;
    assert_eq!(systemd.restarts("shop.service"), shop + 2, "it may have read the mistake");
}

#[tokio::test]
async fn what_a_unit_logs_of_another_key_or_of_a_login_is_told_nowhere() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip, Service::Mobivate])).await;
    // As it is quoted in JSON, it is known by a part of it.
    assert!(Simulator::login(Service::Mobivate).unwrap().1.contains("v4te"));
    let (key, file) = (rig.key_file(OTHER), rig.path("secrets").join(Service::Mobivate.kind()));
    let journal = format!(
        "echo other: $(cat {key})\necho basic: $(printf 'me:%s' \"$(cat {key})\" | base64 -w 0)\necho \"login: $(cat {file})\"\n",
        key = key.display(),
        file = file.display()
    );
    let systemd = Systemd::of(&mut rig, &journal);
    rig.add_to_target(KEY, "then = { restart = [\"shop.service\", \"bad.service\"] }");
    rig.run().await;
    rig.until_rest().await;
    systemd.mask();
    rig.rotate(KEY).await;
    rig.until_notice(KEY, "delivery.failed").await;
    let other = rig.held(OTHER).unwrap();
    let notices: String = rig.notices().values().map(|it| it.1.to_string()).collect();
    assert!(notices.contains("bad.service said last: other: [secret] | basic: "), "{notices}");
    assert!(notices.contains("login: [secret]"), "{notices}");
    let (history, status) = (rig.ok(&["history", KEY, "--json"]).await, rig.ok(&["status", KEY, "--json"]).await);
    for (place, text) in [("notice", notices), ("history", history), ("status", status), ("log", rig.log())] {
        assert!(!text.contains(&other) && !text.contains("v4te"), "{place}: {text}");
        let encoded = STANDARD.encode(format!("me:{other}"));
        assert!(!text.contains(&encoded[8..24]), "{place} has it in base64: {text}");
    }
}

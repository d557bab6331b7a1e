//! Who may do what, tried by processes of other users. Only root can begin those; for anybody else nothing is shown here.
use crate::rig::{Rig, calm};
use rekeyd::simulator::{Service, World};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const KEY: &str = "billing-sms";
/// A user and a group of no name.
const NOBODY_KNOWS: u32 = 424_242;

/// A daemon whose socket others can reach, if its group lets them.
struct Office {
    rig: Rig,
    binary: PathBuf,
}

impl Office {
    /// None where this is not root.
    async fn open(operators: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
        rig.edit_config(|it| it.replacen("[daemon]\n", &format!("[daemon]\noperators = {operators}\n"), 1));
        rig.run().await;
        rig.until_version(KEY, 1).await;
        let dir = rig.path("");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        // The build's folder may be closed to others.
        let (built, binary) = (Path::new(env!("CARGO_BIN_EXE_rekeyd")), dir.join("rekeyd"));
        fs::hard_link(built, &binary).or_else(|_| fs::copy(built, &binary).map(drop)).unwrap();
        Some(Self { rig, binary })
    }

    fn socket(&self) -> PathBuf {
        World::control_socket(&self.rig.path(""))
    }

    /// The exit code and the error of a command of this user and group, who can reach the socket.
    async fn ask(&self, (uid, gid): (u32, u32), args: &[&str]) -> (Option<i32>, String) {
        chown(self.socket(), None, Some(gid)).unwrap();
        self.ask_as_the_socket_is((uid, gid), args).await
    }

    async fn ask_as_the_socket_is(&self, (uid, gid): (u32, u32), args: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(&self.binary);
        command.args(args).arg("--socket").arg(self.socket()).current_dir("/").uid(uid).gid(gid);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Only `adopt` reads it; whatever does not may have ended already.
        let _ = child.stdin.take().unwrap().write_all(b"a-key-of-somebody").await;
        let said = child.wait_with_output().await.unwrap();
        (said.status.code(), String::from_utf8(said.stderr).unwrap())
    }

    /// What only root and the service's user may.
    async fn owns_nothing(&self, who: (u32, u32)) {
        let owned: [&[&str]; 8] = [
            &["backup", "/tmp/no-backup-of-a-stranger"],
            &["reveal", KEY],
            &["adopt", "--age-unknown", KEY],
            &["rollback", KEY],
            &["abandon", KEY],
            &["retire", "--yes", KEY],
            &["forget", "--yes", KEY],
            &["reload"],
        ];
        for args in owned {
            let (code, error) = self.ask(who, args).await;
            assert_eq!(code, Some(77), "{args:?}: {error}");
            assert!(error.contains("is for root and for the service's user root"), "{error}");
        }
    }
}

/// The id of a user or group of this machine.
fn id(file: &str, name: &str) -> u32 {
    let text = fs::read_to_string(file).unwrap();
    let row = text.lines().find(|it| it.split(':').next() == Some(name)).unwrap();
    row.split(':').nth(2).unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_operator_by_group_or_by_name_may_operate_and_nothing_more() {
    let Some(office) = Office::open("[\"@mail\", \"nobody\", \"@no-such-group\"]").await else { return };
    let by_group = (NOBODY_KNOWS, id("/etc/group", "mail"));
    let by_name = (id("/etc/passwd", "nobody"), NOBODY_KNOWS);
    for who in [by_group, by_name] {
        for args in [
            &["status"][..],
            &["plan"],
            &["history", KEY],
            &["pause", KEY, "--reason", "a drill"],
            &["resume", "--all"],
        ] {
            assert_eq!(office.ask(who, args).await.0, Some(0), "{who:?} {args:?}");
        }
        let (code, error) = office.ask(who, &["ack", KEY]).await;
        assert_eq!(code, Some(65), "it is allowed, and there is nothing to acknowledge: {error}");
        office.owns_nothing(who).await;
    }
    let (code, error) = office.ask(by_group, &["rotate", "--now", KEY]).await;
    assert_eq!(code, Some(0), "{error}");
    office.rig.until(KEY, "rotated", |it| crate::rig::number(it) == 2).await;
    let history = office.rig.client().history(Some(KEY), None, None).await.unwrap();
    let pauses: Vec<_> = history.commands.iter().filter(|it| it.verb == "pause").collect();
    let uids: Vec<u32> = pauses.iter().map(|it| it.actor.as_ref().unwrap().uid).collect();
    assert_eq!(uids, [by_group.0, by_name.0]);
    assert_eq!(pauses[0].reason_given.as_deref(), Some("a drill"));
    assert_eq!(history.rotations.last().unwrap().actor.as_ref().unwrap().uid, by_group.0);
}

/// Whoever brings a key says what its consumers get: that is no matter of operating.
#[tokio::test]
async fn an_operator_may_not_bring_a_key_by_rotating() {
    let Some(office) = Office::open("[\"@mail\"]").await else { return };
    let file = office.rig.path("keys/partner");
    office.rig.edit_config(|it| {
        format!(
            "{it}\n[providers.portal]\nkind = \"manual\"\n[keys.partner]\nprovider = \"portal\"\nowners = \
             [\"payments\"]\nvalid_for = \"90d\"\nrotate_before = \"10d\"\n[[keys.partner.deliver]]\nkind = \
             \"file\"\npath = {file:?}\n"
        )
    });
    office.rig.ok(&["reload"]).await;
    let (code, error) = office.ask((NOBODY_KNOWS, id("/etc/group", "mail")), &["rotate", "partner"]).await;
    assert_eq!(code, Some(77), "{error}");
    assert!(error.contains("is for root and for the service's user root"), "{error}");
}

#[tokio::test]
async fn who_only_reaches_the_socket_may_look() {
    let Some(office) = Office::open("[\"@mail\", \"nobody\", \"@no-such-group\"]").await else { return };
    let reader = (NOBODY_KNOWS, NOBODY_KNOWS);
    for args in [&["status"][..], &["plan"], &["history"]] {
        assert_eq!(office.ask(reader, args).await.0, Some(0), "{args:?}");
    }
    for args in [&["rotate", KEY][..], &["pause", "--all"], &["resume", KEY], &["ack", KEY]] {
        let (code, error) = office.ask(reader, args).await;
        assert_eq!(code, Some(77), "{args:?}: {error}");
        assert!(
            error.contains("for the operators @mail, nobody, @no-such-group (no group of this machine)"),
            "{error}"
        );
        assert!(error.contains("\ntry: "), "{error}");
    }
    office.owns_nothing(reader).await;
    assert!(office.rig.key(KEY).await.paused.is_none());
}

#[tokio::test]
async fn a_stranger_does_not_reach_the_socket() {
    let Some(office) = Office::open("[\"nobody\"]").await else { return };
    let stranger = (id("/etc/passwd", "nobody"), NOBODY_KNOWS);
    for args in [&["status"][..], &["history"], &["pause", KEY], &["reveal", KEY]] {
        let (code, error) = office.ask_as_the_socket_is(stranger, args).await;
        assert_eq!(code, Some(77), "{args:?}: {error}");
        assert!(error.contains("permission denied") && error.contains("\ntry: "), "{error}");
    }
}

#[tokio::test]
async fn who_is_struck_from_the_operators_has_no_right_from_the_reload_on() {
    let Some(office) = Office::open("[\"nobody\"]").await else { return };
    let nobody = (id("/etc/passwd", "nobody"), NOBODY_KNOWS);
    assert_eq!(office.ask(nobody, &["pause", KEY]).await.0, Some(0));
    office.rig.edit_config(|it| it.replacen("operators = [\"nobody\"]\n", "", 1));
    office.rig.ok(&["reload"]).await;
    let (code, error) = office.ask(nobody, &["resume", KEY]).await;
    assert_eq!(code, Some(77), "{error}");
    assert!(error.contains("of whom the config names none"), "{error}");
}

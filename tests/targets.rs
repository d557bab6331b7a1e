//! What targets promise: whole files or none, the order of write and hook, commands that can't hang or harm us, and no secret
//! in what they say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]
use rekeyd::command::Veil;
use rekeyd::core::facts::Content;
use rekeyd::core::names::Fingerprint;
use rekeyd::core::policy::Reach;
use rekeyd::core::time::Timestamp;
use rekeyd::secret::Secret;
use rekeyd::targets::{Emptied, KINDS, Parcel, Parsed, Target, empty};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use toml::de::ValueDeserializer;

#[path = "support/http.rs"]
#[allow(unreachable_pub, dead_code, reason = "what lies in `support` serves several tests")]
mod http;
#[path = "targets/webhooks.rs"]
mod webhooks;

const OLD: &str = "old-secret-0123456789";
const NEW: &str = "new-secret-9876543210";

fn parse(kind: &str, settings: &str) -> Parsed {
    let kind = KINDS.iter().find(|it| it.name == kind).unwrap();
    (kind.parse)(ValueDeserializer::parse(settings).unwrap())
}

fn file(path: &Path, more: &str) -> Arc<dyn Target> {
    parse("file", &format!("{{ path = {path:?} {more} }}")).unwrap()
}

/// An `exec` target that runs a shell script.
fn exec(script: &str, more: &str) -> Arc<dyn Target> {
    parse("exec", &format!("{{ command = [\"/bin/sh\", \"-c\", {script:?}] {more} }}")).unwrap()
}

fn parcel(version: u32, secret: &str) -> Parcel {
    let secret = Secret::from(secret.to_owned());
    let (name, obtained_at) = ("billing-sms".parse().unwrap(), Timestamp(1_790_000_000_000));
    Parcel {
        name,
        provider: "sms".into(),
        version,
        secret,
        veil: Veil::default(),
        done: BTreeSet::new(),
        valid_to: None,
        obtained_at,
    }
}

fn fingerprint(secret: &str) -> Fingerprint {
    Fingerprint::of(secret.as_bytes())
}

fn folder() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.key");
    (dir, path)
}

fn names(dir: &TempDir) -> Vec<String> {
    let names = fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

async fn failure(target: &dyn Target, parcel: &Parcel) -> String {
    target.deliver(parcel).await.unwrap_err().to_string()
}

mod files {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn a_delivered_key_is_there_with_its_mode_and_owner_and_nothing_is_left_beside_it() {
        let (dir, path) = folder();
        let target = file(&path, ", mode = \"0440\", owner = 12, group = \"daemon\"");
        assert_eq!(target.id().to_string(), format!("file:{}", path.display()));
        assert_eq!(target.reach(), Reach::Push { readable: true });
        target.preflight().await.unwrap();
        assert_eq!(names(&dir), [""; 0]);
        assert_eq!(target.observe(&[]).await, Content::Absent);
        target.deliver(&parcel(1, OLD)).await.unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o440, 12, 1));
        assert_eq!(fs::read_to_string(&path).unwrap(), OLD);
        assert_eq!(names(&dir), ["api.key"]);
        assert_eq!(target.observe(&[]).await, Content::Holds(fingerprint(OLD)));
        assert_eq!(target.read().await.unwrap().unwrap().expose(), OLD.as_bytes());
    }

    #[tokio::test]
    async fn a_reader_sees_the_old_key_or_the_new_one_and_nothing_else() {
        let (_dir, path) = folder();
        let target = file(&path, "");
        target.deliver(&parcel(1, OLD)).await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (watched, stopped) = (path.clone(), stop.clone());
        let reader = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !stopped.load(Ordering::Relaxed) {
                seen.insert(fs::read_to_string(&watched).unwrap());
            }
            seen
        });
        for version in 2..200 {
            target.deliver(&parcel(version, if version % 2 == 0 { NEW } else { OLD })).await.unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(reader.join().unwrap().into_iter().collect::<Vec<_>>(), [NEW, OLD]);
    }

    #[tokio::test]
    async fn a_delivery_that_nobody_waits_for_any_more_never_lands_on_a_newer_one() {
        let (dir, path) = folder();
        let target = file(&path, "");
        for version in 1..100 {
            let given_up = {
                let (target, parcel) = (target.clone(), parcel(version, OLD));
                tokio::spawn(async move { target.deliver(&parcel).await })
            };
            tokio::task::yield_now().await;
            given_up.abort();
            target.deliver(&parcel(version, NEW)).await.unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), NEW);
        }
        assert_eq!(names(&dir), ["api.key"]);
    }

    #[tokio::test]
    async fn what_a_crash_left_behind_is_removed_and_nothing_else() {
        let (dir, path) = folder();
        let kept = ["", "0123456789ABCDEF", "0123456789abcdef0"].map(|it| format!(".api.key.rekeyd-{it}"));
        let mut kept = kept.to_vec();
        kept.push(".other.key.rekeyd-0123456789abcdef".into());
        let left = ".api.key.rekeyd-0123456789abcdef".to_owned();
        for name in kept.iter().chain([&left]) {
            fs::write(dir.path().join(name), "half a k").unwrap();
        }
        file(&path, "").deliver(&parcel(1, OLD)).await.unwrap();
        kept.push("api.key".into());
        kept.sort();
        assert_eq!(names(&dir), kept);
    }

    #[tokio::test]
    async fn a_file_without_a_stated_owner_keeps_the_one_that_it_had() {
        let (_dir, path) = folder();
        fs::write(&path, OLD).unwrap();
        std::os::unix::fs::chown(&path, Some(12), Some(34)).unwrap();
        file(&path, "").deliver(&parcel(2, NEW)).await.unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (12, 34, 0o640));
    }

    #[tokio::test]
    async fn a_wrong_mode_or_owner_is_askew_and_healed() {
        let (_dir, path) = folder();
        let target = file(&path, ", group = 34");
        let known = [parcel(1, OLD)];
        target.deliver(&known[0]).await.unwrap();
        let heal = async || {
            assert_eq!(target.observe(&known).await, Content::Askew(fingerprint(OLD)));
            target.deliver(&known[0]).await.unwrap();
            assert_eq!(target.observe(&known).await, Content::Holds(fingerprint(OLD)));
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        heal().await;
        std::os::unix::fs::chown(&path, None, Some(35)).unwrap();
        heal().await;
    }

    #[tokio::test]
    async fn a_folder_a_symlink_and_a_pipe_are_refused_with_the_remedy() {
        let (dir, path) = folder();
        let target = file(&path, "");
        let check = async |want: &str| {
            let errors = [
                failure(&*target, &parcel(1, NEW)).await,
                target.preflight().await.unwrap_err().to_string(),
                empty(&target.id(), vec![Secret::new(NEW.into())]).await.unwrap_err().to_string(),
            ];
            for error in errors {
                assert!(error.contains(want) && !error.contains(NEW), "{error}");
            }
            let Content::Unreadable(why) = target.observe(&[]).await else { panic!("it was read") };
            assert!(why.contains(want), "{why}");
        };
        let other = dir.path().join("other");
        fs::write(&other, OLD).unwrap();
        symlink(&other, &path).unwrap();
        check("where it leads to").await;
        assert_eq!(fs::read_to_string(&other).unwrap(), OLD);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        check("no regular file").await;
        fs::remove_dir(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        check("no regular file").await;
        assert_eq!(names(&dir), ["api.key", "other"]);
    }

    #[tokio::test]
    async fn whatever_would_stop_a_delivery_is_found_before_a_key_is_made() {
        let (dir, path) = folder();
        let check = async |target: Arc<dyn Target>, want: &str| {
            let error = target.preflight().await.unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        };
        check(file(&dir.path().join("none/api.key"), ""), "create it").await;
        check(file(&path, ", group = \"no-such-group\""), "getent group no-such-group").await;
        check(file(&path, ", owner = \"no-such-user\""), "getent passwd no-such-user").await;
        check(file(&path, ", then = { command = [\"/no/such/hook\"] }"), "/no/such/hook").await;
        check(file(&path, ", confirm = { command = [\"/etc/passwd\"] }"), "chmod +x /etc/passwd").await;
        check(file(&path, ", format = \"template\", template = \"/no/such/template\""), "/no/such/template").await;
        check(exec("", ", confirm = { command = [\"/etc\"] }"), "/etc: not a program").await;
        assert_eq!(names(&dir), [""; 0]);
    }

    #[tokio::test]
    async fn a_full_disk_leaves_the_old_key_and_no_temporary_file() {
        let (dir, path) = folder();
        let Some(_disk) = SmallDisk::mount(dir.path()) else { return };
        let target = file(&path, "");
        target.deliver(&parcel(1, OLD)).await.unwrap();
        let error = failure(&*target, &parcel(2, &NEW.repeat(20_000))).await;
        assert!(error.contains("write failed") && error.contains("space") && !error.contains(NEW), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), OLD);
        assert_eq!(names(&dir), ["api.key"]);
    }

    /// A disk of 64 KiB, where mounting is allowed.
    struct SmallDisk(PathBuf);

    impl SmallDisk {
        fn mount(at: &Path) -> Option<Self> {
            let mut mount = std::process::Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(at);
            if mount.status().is_ok_and(|it| it.success()) {
                return Some(Self(at.to_owned()));
            }
            println!("skipped: mounting is not allowed here");
            None
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg(&self.0).status();
        }
    }

    #[tokio::test]
    async fn a_file_with_our_key_in_any_form_is_emptied_and_emptying_again_is_no_error() {
        for form in ["", ", format = \"json\"", ", format = \"env\", variable = \"KEY\""] {
            let (dir, path) = folder();
            let target = file(&path, form);
            target.deliver(&parcel(1, OLD)).await.unwrap();
            for _ in 0..2 {
                let ours = vec![Secret::new(NEW.into()), Secret::new(OLD.into())];
                assert_eq!(empty(&target.id(), ours).await, Ok(Emptied::Yes), "{form}");
            }
            assert_eq!(names(&dir), [""; 0]);
            assert_eq!(target.observe(&[parcel(1, OLD)]).await, Content::Absent);
        }
    }

    #[tokio::test]
    async fn what_is_none_of_ours_is_not_emptied_nor_what_can_only_be_brought() {
        let (_dir, path) = folder();
        let target = file(&path, "");
        target.deliver(&parcel(1, OLD)).await.unwrap();
        for ours in [vec![], vec![Secret::new(NEW.into())], vec![Secret::new(Vec::new())]] {
            assert!(matches!(empty(&target.id(), ours).await, Ok(Emptied::No(_))));
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), OLD);
        let vault = rekeyd::core::names::TargetId::new("exec", "/bin/put billing");
        assert!(matches!(empty(&vault, vec![Secret::new(OLD.into())]).await, Ok(Emptied::No(_))));
    }

    #[tokio::test]
    async fn a_blank_file_is_absent_and_a_huge_one_is_not_read() {
        let (_dir, path) = folder();
        let target = file(&path, "");
        for blank in ["", "\n", " \n\n"] {
            fs::write(&path, blank).unwrap();
            assert_eq!(target.observe(&[]).await, Content::Absent);
            assert!(target.read().await.unwrap().is_none());
        }
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(target.observe(&[]).await, Content::Unreadable(why) if why.contains("holds no key")));
    }

    #[tokio::test]
    async fn a_template_is_read_at_each_use_and_a_changed_one_leaves_the_file_askew() {
        let (dir, path) = folder();
        let template = dir.path().join("template");
        let target = file(&path, &format!(", format = \"template\", template = {template:?}"));
        for (source, want) in
            [("key={{ secret }}\n", format!("key={OLD}\n")), ("key: {{ secret }}", format!("key: {OLD}"))]
        {
            fs::write(&template, source).unwrap();
            if path.exists() {
                assert_eq!(target.observe(&[parcel(1, OLD)]).await, Content::Askew(fingerprint(OLD)));
            }
            target.deliver(&parcel(1, OLD)).await.unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), want);
            assert_eq!(target.observe(&[parcel(1, OLD)]).await, Content::Holds(fingerprint(OLD)));
        }
        fs::write(&template, "{{ sekret }}\n").unwrap();
        assert!(target.preflight().await.is_err());
        failure(&*target, &parcel(2, NEW)).await;
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("key: {OLD}"));
    }

    #[tokio::test]
    async fn a_file_that_holds_more_than_the_key_is_spared() {
        let (_dir, path) = folder();
        for (format, content, names) in [
            ("format = \"env\", variable = \"SMS_KEY\"", format!("SMS_KEY={OLD}\nDATABASE_URL=x\n"), "DATABASE_URL"),
            ("format = \"json\"", format!("{{\"secret\": \"{OLD}\", \"port\": 80}}"), "port"),
        ] {
            let target = file(&path, &format!(", {format}"));
            fs::write(&path, &content).unwrap();
            assert_eq!(target.observe(&[parcel(1, OLD)]).await, Content::Askew(fingerprint(OLD)));
            assert_eq!(target.read().await.unwrap().unwrap().expose(), OLD.as_bytes());
            let errors = [target.preflight().await.unwrap_err().to_string(), failure(&*target, &parcel(2, NEW)).await];
            assert!(errors.iter().all(|it| it.contains(names) && it.contains("file of its own")), "{errors:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[tokio::test]
    async fn a_shell_reads_an_environment_file_as_it_was_meant() {
        let (_dir, path) = folder();
        let target = file(&path, ", format = \"env\", variable = \"SMS_KEY\"");
        for secret in ["plain-1.2", "it's \"so\" $HOME `id` \\n", " ü🔑\t~ ", "a;b#c&d|e", "'", "\\", "'\\", "$(id)"]
        {
            target.deliver(&parcel(1, secret)).await.unwrap();
            let script = format!(". {}; printf %s \"$SMS_KEY\"", path.display());
            let read = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(read.stdout).unwrap(), secret);
            assert_eq!(target.observe(&[]).await, Content::Holds(fingerprint(secret)));
        }
    }
}

mod hooks {
    use super::*;

    /// A `then` that runs a shell script.
    fn then(script: &str) -> String {
        format!(", then = {{ command = [\"/bin/sh\", \"-c\", {script:?}] }}")
    }

    #[tokio::test]
    async fn then_never_runs_before_the_new_key_is_in_place() {
        let (dir, path) = folder();
        let copy = dir.path().join("copy");
        let target = file(&path, &then(&format!("cp {} {}", path.display(), copy.display())));
        for (version, secret) in [(1, OLD), (2, NEW), (3, OLD)] {
            target.deliver(&parcel(version, secret)).await.unwrap();
            assert_eq!(fs::read_to_string(&copy).unwrap(), secret);
        }
    }

    /// A kill after the write would leave what is done in the books, though it was done for what stood there before.
    #[tokio::test]
    async fn a_file_that_was_changed_after_a_part_of_its_then_is_not_written_before_that_part_is_forgotten() {
        let (dir, path) = folder();
        let runs = dir.path().join("runs");
        let target = file(&path, &then(&format!("echo run >> {}", runs.display())));
        let done = BTreeSet::from(["restart shop.service".to_owned()]);
        let partly = Parcel { done, ..parcel(1, NEW) };
        fs::write(&path, "somebody's mistake").unwrap();
        let failed = target.deliver(&partly).await.unwrap_err();
        assert!(failed.done.is_empty() && failed.to_string().contains("changed"), "{failed:?}");
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), runs.exists()), ("somebody's mistake", false));
        target.deliver(&parcel(1, NEW)).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), NEW);
        target.deliver(&partly).await.unwrap();
        assert_eq!(fs::read_to_string(&runs).unwrap(), "run\nrun\n");
    }

    #[tokio::test]
    async fn a_failed_then_is_a_failed_delivery_and_is_retried_without_a_new_write() {
        let (dir, path) = folder();
        let (ready, runs) = (dir.path().join("ready"), dir.path().join("runs"));
        let script = format!("echo run >> {}; echo no {NEW} yet >&2; test -e {}", runs.display(), ready.display());
        let target = file(&path, &then(&script));
        let error = failure(&*target, &parcel(1, NEW)).await;
        assert!(error.contains("`then`") && error.ends_with("exit status: 1: no [secret] yet"), "{error}");
        let written = fs::metadata(&path).unwrap();
        fs::write(&ready, "").unwrap();
        target.deliver(&parcel(1, NEW)).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), written.ino());
        assert_eq!(fs::read_to_string(&runs).unwrap(), "run\nrun\n");
    }

    #[tokio::test]
    async fn then_does_not_run_where_nothing_could_be_written() {
        let (dir, path) = folder();
        let ran = dir.path().join("ran");
        fs::create_dir(&path).unwrap();
        failure(&*file(&path, &then(&format!("touch {}", ran.display()))), &parcel(1, NEW)).await;
        assert!(!ran.exists());
    }

    #[tokio::test]
    async fn confirm_learns_the_name_and_version_but_not_the_secret() {
        let (dir, path) = folder();
        let seen = dir.path().join("seen");
        let script = format!("{{ env; cat; }} > {}; test \"$REKEYD_VERSION\" = 7", seen.display());
        let more = format!(", confirm = {{ command = [\"/bin/sh\", \"-c\", {script:?}], timeout = \"5s\" }}");
        let target = file(&path, &more);
        assert!(target.confirms() && !file(&path, "").confirms());
        target.confirm(&parcel(7, NEW)).await.unwrap();
        let seen = fs::read_to_string(&seen).unwrap();
        assert!(seen.contains("REKEYD_KEY_NAME=billing-sms\n") && !seen.contains(NEW), "{seen}");
        assert!(target.confirm(&parcel(8, NEW)).await.is_err());
    }

    #[test]
    fn the_unit_file_can_be_told_what_a_target_needs() {
        let more = ", owner = \"root\", group = \"billing\", then = { restart = [\"a.service\", \"b@1.service\"] }";
        let needs = file(Path::new("/etc/billing/sms.key"), more).needs();
        assert_eq!(needs.folders, [PathBuf::from("/etc/billing")]);
        assert_eq!((needs.groups, needs.chown), (vec!["billing".to_owned()], true));
        assert_eq!(needs.verbs, ["a.service", "b@1.service"].map(|it| ("restart", it.to_owned())));
    }
}

mod commands {
    use super::*;

    #[tokio::test]
    async fn a_command_gets_the_secret_on_stdin_and_nowhere_else() {
        let (dir, _) = folder();
        let seen = dir.path().join("seen");
        let script =
            format!("cat > {0}.stdin; env > {0}.env; tr '\\0' '\\n' < /proc/$$/cmdline > {0}.argv", seen.display());
        let target = exec(&script, "");
        assert_eq!(target.reach(), Reach::Push { readable: false });
        assert!(target.id().as_str().starts_with("exec:/bin/sh -c cat > "));
        target.preflight().await.unwrap();
        target.deliver(&Parcel { valid_to: Some(Timestamp(1_800_000_000_000)), ..parcel(4, NEW) }).await.unwrap();
        let read = |what: &str| fs::read_to_string(dir.path().join(format!("seen.{what}"))).unwrap();
        assert_eq!(read("stdin"), NEW);
        assert!(!read("argv").contains(NEW));
        let env = read("env");
        let shells_own = ["PWD", "OLDPWD", "SHLVL", "_"];
        let allowed = ["PATH", "LANG", "HOME", "REKEYD_KEY_NAME", "REKEYD_VERSION", "REKEYD_VALID_TO"];
        let is_known = |it: &str| shells_own.contains(&it) || allowed.contains(&it);
        assert!(env.lines().all(|it| is_known(it.split_once('=').unwrap().0)), "{env}");
        assert!(env.contains("REKEYD_VERSION=4\n") && env.contains("REKEYD_VALID_TO=2027-01-15T08:00:00Z\n"), "{env}");
    }

    #[tokio::test]
    async fn a_command_that_does_not_read_a_large_secret_neither_hangs_nor_kills_us() {
        let large = parcel(1, &"x".repeat(1024 * 1024));
        exec("exit 0", "").deliver(&large).await.unwrap();
        exec("exec <&-; exit 0", "").deliver(&large).await.unwrap();
        let error = failure(&*exec("echo no >&2; exit 3", ""), &large).await;
        assert!(error.contains("exit status: 3"), "{error}");
    }

    #[tokio::test]
    async fn a_large_secret_arrives_whole() {
        let large = parcel(1, &"0123456789abcdef".repeat(64 * 1024));
        exec("test $(wc -c) = 1048576", "").deliver(&large).await.unwrap();
    }

    #[tokio::test]
    async fn a_failure_names_the_exit_code_and_the_last_of_what_was_said_with_the_secret_masked() {
        let script = format!("cat >&2; echo >&2; printf %s {NEW} | base64 >&2; echo 'the vault is sealed' >&2; exit 7");
        let error = failure(&*exec(&script, ""), &parcel(1, NEW)).await;
        assert!(error.starts_with("/bin/sh: exit status: 7: [secret] | [secret]"), "{error}");
        assert!(error.ends_with(" | the vault is sealed"), "{error}");
        assert!(!error.contains(&NEW[..8]) && !error.contains("bmV3LXN"), "{error}");
    }

    #[tokio::test]
    async fn a_flood_on_stdout_and_stderr_is_bounded() {
        let script = "head -c 20000000 /dev/zero; head -c 20000000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 1";
        let error = failure(&*exec(script, ""), &parcel(1, NEW)).await;
        assert!(error.ends_with("xend") && error.len() < 4200, "{}", error.len());
    }

    /// Time enough for a shell to begin, on a busy machine too.
    const PATIENT: &str = ", timeout = \"5s\"";

    #[tokio::test]
    async fn a_command_that_takes_too_long_ends_with_all_that_it_started() {
        let (dir, _) = folder();
        let pids = dir.path().join("pids");
        // The grandchild ignores the request to end.
        let script = format!(
            "sh -c 'trap \"\" TERM; echo $$ >> {0}; while :; do sleep 1; done' & echo $$ >> {0}; echo waiting >&2; wait",
            pids.display()
        );
        let error = failure(&*exec(&script, PATIENT), &parcel(1, NEW)).await;
        assert!(error.contains("was ended after 5s: waiting"), "{error}");
        all_gone(&pids, 2).await;
    }

    #[tokio::test]
    async fn a_command_that_ignores_the_request_to_end_is_killed() {
        let (dir, _) = folder();
        let pids = dir.path().join("pids");
        let script = format!("trap '' TERM; echo $$ >> {}; while :; do sleep 1; done", pids.display());
        failure(&*exec(&script, PATIENT), &parcel(1, NEW)).await;
        all_gone(&pids, 1).await;
    }

    #[tokio::test]
    async fn a_delivery_that_is_given_up_takes_its_command_along() {
        let (dir, _) = folder();
        let pids = dir.path().join("pids");
        let script = format!("sleep 60 & echo $! >> {0}; echo $$ >> {0}; wait", pids.display());
        let (target, parcel) = (exec(&script, ""), parcel(1, NEW));
        let delivery = tokio::spawn(async move { target.deliver(&parcel).await });
        while fs::read_to_string(&pids).unwrap_or_default().lines().count() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        delivery.abort();
        assert!(delivery.await.unwrap_err().is_cancelled());
        all_gone(&pids, 2).await;
    }

    /// Waits until none of the processes lives: they are gone, or dead and not yet reaped by whoever inherited them.
    async fn all_gone(pids: &Path, count: usize) {
        let pids = fs::read_to_string(pids).unwrap();
        assert_eq!(pids.lines().count(), count);
        let lives = |pid: &str| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        let gone = async {
            while pids.lines().any(lives) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), gone).await.expect("a process outlived its limit");
    }

    #[tokio::test]
    async fn a_process_that_a_command_leaves_behind_does_not_keep_us_and_lives_on() {
        let (dir, _) = folder();
        let pid = dir.path().join("pid");
        let target = exec(&format!("sleep 300 & echo $! > {}; exit 0", pid.display()), "");
        let delivery = tokio::time::timeout(Duration::from_secs(60), async { target.deliver(&parcel(1, NEW)).await });
        delivery.await.expect("hung").unwrap();
        let left = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        let left = rustix::process::Pid::from_raw(left).unwrap();
        rustix::process::kill_process(left, rustix::process::Signal::KILL).expect("it was killed");
    }

    #[tokio::test]
    async fn a_command_that_dies_by_a_signal_or_is_not_there_failed() {
        let error = failure(&*exec("kill -9 $$", ""), &parcel(1, NEW)).await;
        assert!(error.contains("signal: 9"), "{error}");
        let missing = parse("exec", "{ command = ['/no/such/command'] }").unwrap();
        assert!(missing.preflight().await.is_err());
        assert!(failure(&*missing, &parcel(1, NEW)).await.contains("/no/such/command: can't be started"));
    }
}

#[test]
fn a_fault_in_the_settings_is_found_where_it_stands() {
    let check = |kind: &str, settings: &str, want: &str| {
        let error = parse(kind, settings).map(|it| it.id()).unwrap_err();
        assert!(error.message().contains(want), "{settings}: {error}");
        error.span()
    };
    for (settings, want) in [
        ("{}", "path"),
        ("{ path = 'a' }", "absolute"),
        ("{ path = '/a/../b' }", "absolute"),
        ("{ path = '/a/' }", "absolute"),
        ("{ path = '/' }", "absolute"),
        ("{ path = '/a', colour = 1 }", "colour"),
        ("{ path = '/a', mode = 640 }", "string"),
        ("{ path = '/a', mode = '9' }", "octal"),
        ("{ path = '/a', mode = '+640' }", "octal"),
        ("{ path = '/a', mode = '0666' }", "everybody"),
        ("{ path = '/a', owner = 'a b' }", "name"),
        ("{ path = '/a', owner = -1 }", "number"),
        ("{ path = '/a', format = 'yaml' }", "yaml"),
        ("{ path = '/a', format = 'env', variable = '1A' }", "1A"),
        ("{ path = '/a', then = {} }", "exactly one"),
        ("{ path = '/a', then = { restart = ['a'], reload = ['a'] } }", "exactly one"),
        ("{ path = '/a', then = { restart = [] } }", "at least one"),
        ("{ path = '/a', then = { restart = ['--force'] } }", "unit"),
        ("{ path = '/a', then = { restart = ['a*'] } }", "unit"),
        (
            "{ path = '/a', then = { restart = ['shop'] } }",
            "\"shop\" is not the whole name of a unit; write shop.service",
        ),
        ("{ path = '/a', then = { reload = ['a.service', 'b@1'] } }", "write b@1.service"),
        ("{ path = '/a', then = { restart = ['a.b'] } }", "write a.b.service"),
        ("{ path = '/a', then = { restart = ['.service'] } }", "not the whole name"),
        ("{ path = '/a', then = { restart = ['a.timer', 'a.service', 'a.timer'] } }", "a.timer is named twice"),
        ("{ path = '/a', then = { command = [] } }", "program"),
        ("{ path = '/a', then = { command = ['hook'] } }", "command -v hook"),
        ("{ path = '/a', then = { command = ['/b'], timeout = '1M' } }", "30d"),
        ("{ path = '/a', confirm = { command = ['/b'], timeout = 5 } }", "in quotes"),
    ] {
        assert!(check("file", settings, want).is_some(), "{settings}");
    }
    // A fault between two settings belongs to the whole table, whose place only the config knows.
    for (settings, want) in [
        ("{ path = '/a', format = 'env' }", "variable"),
        ("{ path = '/a', variable = 'A' }", "env"),
        ("{ path = '/a', format = 'template' }", "template"),
        ("{ path = '/a', template = '/b' }", "template"),
    ] {
        check("file", settings, want);
    }
    check("exec", "{ command = ['put'] }", "absolute path");
    check("exec", "{ command = ['/put'], then = { restart = ['a'] } }", "then");
    assert_eq!(parse("file", "{ path = '/a//b/./c' }").unwrap().id().to_string(), "file:/a/b/c");
}

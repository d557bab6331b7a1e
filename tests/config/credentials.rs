//! Targets that units read, and what the unit of rekeyd itself must allow.
use super::{BASE, BULK, SMS};
use rekeyd::cli::check::{self as command, Args};
use rekeyd::config::{self, Source};
use rekeyd::core::policy::Reach;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A key with this target, on its line 7.
fn key(target: &str) -> String {
    format!(
        "[keys.k]\nprovider = 'sms'\nowners = ['team']\nvalid_for = '90d'\ncreate = {{ name = 'k' }}\n\
         [[keys.k.deliver]]\nkind = 'credential'\n{target}\n"
    )
}

#[test]
fn a_credential_has_the_name_of_its_key_and_every_unit_is_a_reader() {
    let case = key("units = ['a.service', 'b@.service']\nthen = { restart = ['a.service'] }");
    let text = format!("{BASE}{SMS}{}", case.replacen("valid_for", "ack_timeout = '2d'\nvalid_for", 1));
    let loaded = config::parse(vec![Source { path: "rekeyd.toml".into(), text }]).unwrap();
    let policy = &loaded.settings.keys[&"k".parse().unwrap()].policy;
    let target = &policy.targets[0];
    assert_eq!((target.id.as_str(), target.reach), ("credential:k", Reach::Read { nudges: true }));
    let readers: Vec<_> = target.readers.iter().map(|it| it.id().to_string()).collect();
    assert_eq!(readers, ["credential:a.service/k", "credential:b@.service/k"]);
    assert_eq!(policy.ack_timeout, Duration::from_secs(2 * 86_400));
}

#[test]
fn what_would_never_reach_a_unit_is_a_fault() {
    let long = "x".repeat(80 - "billing.service".len());
    for (target, want) in [
        ("", "7:1: `deliver.units` is missing\n  hint: write units = …"),
        ("units = []", "8:1: name at least one unit, such as units = [\"billing.service\"]"),
        ("units = ['a']", "8:1: \"a\" is not the whole name of a unit that runs\n  hint: write billing.service"),
        ("units = ['a b.service']", "8:10: \"a b.service\" is not the name of a unit, such as billing.service"),
        ("units = ['a.service', 'a.service']", "8:1: a.service is named twice"),
        ("units = ['a.service']\nname = 'a/b'", "8:1: \"a/b\" is not the name of a credential"),
        (
            "units = ['a.service']\nthen = { reload = ['a.service'] }",
            "8:1: a reload does not read credentials anew\n  hint: write then = { restart = […] }",
        ),
        (
            "units = ['a.service']\nthen = { restart = ['a@.service'] }",
            "systemctl can't restart a@.service, which is a template\n  hint: write its instances",
        ),
        (
            "units = ['a.service']\nthen = { restart = ['a'] }",
            "\"a\" is not the whole name of a unit\n  hint: write a.service",
        ),
        (&format!("units = ['billing.service']\nname = '{long}x'"), "and no more than 80 surely arrive"),
    ] {
        let said = said_of(&key(target));
        assert!(said.contains(want.split_once(": ").map_or(want, |it| it.1)), "{target}: {said}");
    }
    assert_eq!(said_of(&key(&format!("units = ['billing.service']\nname = '{long}'"))), "");
}

fn said_of(case: &str) -> String {
    let text = format!("{BASE}{SMS}{case}");
    match config::parse(vec![Source { path: "rekeyd.toml".into(), text }]) {
        Ok(_) => String::new(),
        Err(faults) => faults.to_string(),
    }
}

#[test]
fn one_unit_reads_one_key_under_a_name() {
    let two = |units: &str, name: &str| {
        let other = "[keys.l]\nprovider = 'sms'\nowners = ['team']\nvalid_for = '90d'\ncreate = { name = 'l' }\n";
        let target = format!("[[keys.l.deliver]]\nkind = 'credential'\nunits = [{units}]\n{name}\n");
        said_of(&format!("{}{other}{target}", key("units = ['a.service']")))
    };
    assert_eq!(two("'a.service'", ""), "", "names differ");
    assert_eq!(two("'b.service'", "name = 'k'"), "", "units differ");
    let said = two("'b.service', 'a.service'", "name = 'k'");
    assert!(said.contains("keys `k` and `l` are both delivered to credential:a.service/k"), "{said}");
    let twice =
        format!("{}[[keys.k.deliver]]\nkind = 'credential'\nunits = ['c.service']\n", key("units = ['a.service']"));
    let said = said_of(&twice);
    assert!(said.contains("key `k` is delivered to credential:k twice"), "{said}");
}

#[test]
fn a_socket_that_goes_away_with_the_service_is_a_fault() {
    let text = "[daemon]\nmaster_key = { credential = 'm' }\ncredential_socket = '/run/rekeyd/credential.sock'\n";
    let said =
        config::parse(vec![Source { path: "rekeyd.toml".into(), text: text.to_owned() }]).unwrap_err().to_string();
    assert!(said.contains("3:21: /run/rekeyd goes away whenever rekeyd stops"), "{said}");
}

#[test]
fn ack_timeout_belongs_to_keys_that_are_read() {
    let text = format!(
        "{BASE}{BULK}[keys.k]\nprovider = 'bulk'\nowners = ['team']\nmax_age = '90d'\nack_timeout = '1d'\n\
         [[keys.k.deliver]]\nkind = 'file'\npath = '/etc/k'\n"
    );
    let loaded = config::parse(vec![Source { path: "rekeyd.toml".into(), text }]).unwrap();
    let said: Vec<_> = loaded.warnings.iter().map(|it| it.message.as_str()).collect();
    assert!(said.contains(&"ack_timeout does nothing: no unit reads this key"), "{said:?}");
}

/// What the config needs of everything that `check --unit` knows.
const NEEDY: &str = r#"
[backup]
dir = "/srv/backups of keys"

[keys.billing]
provider = "sms"
owners = ["team"]
valid_for = "90d"
create = { name = "billing" }
[[keys.billing.deliver]]
kind = "file"
path = "/etc/billing/sms.key"
group = "billing"
then = { restart = ["billing.service", "worker@1.service"] }
[[keys.billing.deliver]]
kind = "file"
path = "/home/anna/100%/sms.key"
owner = "anna"
then = { reload = ["anna.service"] }
[[keys.billing.deliver]]
kind = "credential"
units = ["shop.service"]
then = { restart = ["shop.service"] }
"#;

fn unit_of(text: &str, json: bool) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rekeyd.toml");
    std::fs::write(&path, text).unwrap();
    let mut out = Vec::new();
    let code = command::run(&Args { unit: true, ..Args::default() }, &path, json, &mut out).unwrap();
    assert_eq!(code.code(), 0);
    String::from_utf8(out).unwrap().replace(&path.display().to_string(), "/etc/rekeyd/rekeyd.toml")
}

#[test]
fn check_unit_prints_what_the_config_needs() {
    let said = unit_of(&format!("{BASE}{SMS}{NEEDY}"), false);
    if std::env::var_os("REKEYD_BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/unit.conf"), &said).unwrap();
    }
    let want = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/unit.conf")).unwrap();
    assert_eq!(said, want, "\n{said}");
    let json: serde_json::Value = serde_json::from_str(&unit_of(&format!("{BASE}{SMS}{NEEDY}"), true)).unwrap();
    assert_eq!(json["unit"]["drop_in"].as_str(), Some(&*want));
    let rule: String = want.lines().filter_map(|it| it.strip_prefix("#|")).map(|it| it.trim().to_owned()).collect();
    let told = json["unit"]["polkit_rule"].as_str().unwrap();
    assert_eq!(rule, told.lines().map(str::trim).collect::<String>());
}

#[test]
fn a_config_that_needs_nothing_asks_for_nothing() {
    let said = unit_of("[daemon]\nmaster_key = { credential = 'master-key' }\n", false);
    let asked: Vec<_> = said.lines().filter(|it| !it.is_empty() && !it.starts_with('#')).collect();
    assert_eq!(asked, ["[Service]"]);
}

/// The unit can write to /var/lib/rekeyd and /run/rekeyd by itself, and nowhere else.
#[test]
fn what_the_daemon_writes_for_itself_elsewhere_is_in_the_drop_in() {
    let folders = |daemon: &str| {
        let said = unit_of(&format!("[daemon]\nmaster_key = {{ credential = 'master-key' }}\n{daemon}"), false);
        let paths = |it: &&str| it.starts_with("ReadWritePaths=") || it.starts_with("BindPaths=");
        said.lines().filter(paths).map(str::to_owned).collect::<Vec<_>>()
    };
    let elsewhere = "state_dir = '/srv/rekeyd'\ncontrol_socket = '/run/keys/control.sock'\n\
                     credential_socket = '/run/units/credential.sock'\n[backup]\ndir = '/var/tmp/a:b'\n";
    assert_eq!(
        folders(elsewhere),
        [
            "ReadWritePaths=-/run/keys",
            "ReadWritePaths=-/run/units",
            "ReadWritePaths=-/srv/rekeyd",
            "BindPaths=\"-/var/tmp/a:b\""
        ]
    );
    let within = "state_dir = '/var/lib/rekeyd/two'\ncontrol_socket = '/run/rekeyd/two.sock'\n\
                  credential_socket = '/run/rekeyd-credential.sock'\n[backup]\ndir = '/var/lib/rekeyd/backups'\n";
    assert_eq!(folders(within), [""; 0]);
    assert_eq!(folders("state_dir = '/srv/rekeyd'\n[backup]\n"), ["ReadWritePaths=-/srv/rekeyd"]);
}

/// systemd itself has no objection to it, beside the unit that is shipped.
#[test]
fn systemd_takes_the_drop_in() {
    let dir = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    for unit in ["rekeyd.service", "rekeyd-credential.socket"] {
        let text = std::fs::read_to_string(shipped.join(unit)).unwrap();
        // The program and the manual are not installed where the tests run.
        let text = text.replace("/usr/local/bin/rekeyd", "/bin/true").replace("/usr/bin/rekeyd", "/bin/true");
        let text: String =
            text.lines().filter(|it| !it.starts_with("Documentation=")).map(|it| format!("{it}\n")).collect();
        std::fs::write(dir.path().join(unit), text).unwrap();
    }
    let folder = dir.path().join("rekeyd.service.d");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("50-config.conf"), unit_of(&format!("{BASE}{SMS}{NEEDY}"), false)).unwrap();
    let units = ["rekeyd.service", "rekeyd-credential.socket"].map(|it| dir.path().join(it));
    let Ok(said) = Command::new("systemd-analyze").arg("verify").arg("--man=no").args(units).output() else {
        return println!("skipped: there is no systemd-analyze");
    };
    let text = String::from_utf8_lossy(&said.stderr);
    let ours: Vec<_> = text.lines().filter(|it| it.contains("rekeyd")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

/// A browser's engine is not there to run it: what it says is read as text.
#[test]
fn the_rule_allows_these_verbs_for_these_units_to_this_user() {
    let said = unit_of(&format!("{BASE}{SMS}{NEEDY}"), true);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    let rule = json["unit"]["polkit_rule"].as_str().unwrap();
    for line in [
        "\"restart\": [\"billing.service\", \"shop.service\", \"worker@1.service\"],",
        "\"reload\": [\"anna.service\"]",
        "action.id !== \"org.freedesktop.systemd1.manage-units\" || subject.user !== \"rekeyd\"",
    ] {
        assert!(rule.contains(line), "{line} is not in\n{rule}");
    }
}

//! `[defaults]` and `[profiles.NAME]`: what holds for which key, and what is said of faults that many keys share.
use super::{BASE, BULK, SMS, check, parse};
use rekeyd::config::settings::{Key, Settings};
use rekeyd::core::policy::{OnAmbiguous, OutsideWindow, RotateBefore};
use std::time::Duration;

const LAYERS: &str = r#"
[windows.nights]
open = "0 22 * * *"
duration = "4h"

[windows.sunday]
open = "0 4 * * Sun"
duration = "3h"

[defaults]
owners = ["team"]
provider = "sms"
rotate_before = "14d"
overlap = "5d"
windows = ["nights"]
on_ambiguous = "create-again"

[profiles.eu]
overlap = "4d"
windows = ["sunday"]
valid_for = "90d"
create = { name = "eu-{{key}}", permissions = ["ALL"] }

[[profiles.eu.deliver]]
kind = "file"
path = "/srv/{{provider}}/{{key}}.key"
then = { restart = ["{{key}}.service"] }
confirm = { command = ["/usr/bin/check", "--key={{key}}"] }
"#;

fn settings(keys: &str) -> Settings {
    parse(&format!("{BASE}{SMS}{LAYERS}{keys}")).unwrap_or_else(|faults| panic!("{faults}")).settings
}

fn key<'s>(settings: &'s Settings, name: &str) -> &'s Key {
    &settings.keys[&name.parse().unwrap()]
}

fn windows(key: &Key) -> Vec<&str> {
    key.policy.windows.iter().filter_map(|it| it.name.as_deref()).collect()
}

#[test]
fn a_key_overrides_its_profile_and_the_profile_the_defaults_field_by_field() {
    let day = |n: u64| Duration::from_secs(n * 86_400);
    let settings = settings(
        "[keys.plain]\ncreate.name = 'p'\nvalid_for = '60d'\n\
         [keys.a]\nprofile = 'eu'\n\
         [keys.b]\nprofile = 'eu'\noverlap = '1d'\nwindows = []\ncreate = { name = 'b' }\noutside_window = 'never'\n",
    );
    let (plain, a, b) = (key(&settings, "plain"), key(&settings, "a"), key(&settings, "b"));
    for key in [plain, a, b] {
        assert_eq!((key.provider.as_str(), &key.owners[..]), ("sms", &["team".to_owned()][..]));
        assert_eq!(key.policy.rotate_before, RotateBefore::Lead(day(14)));
        assert_eq!(key.policy.on_ambiguous, OnAmbiguous::CreateAgain);
    }
    assert_eq!([plain, a, b].map(|it| it.policy.overlap), [day(5), day(4), day(1)]);
    assert_eq!([plain, a, b].map(|it| it.policy.valid_for), [Some(day(60)), Some(day(90)), Some(day(90))]);
    assert_eq!([plain, a, b].map(windows), [vec!["nights"], vec!["sunday"], vec![]]);
    let never = [plain, a, b].map(|it| it.policy.outside_window == OutsideWindow::Never);
    assert_eq!(never, [false, false, true]);
    // A table is taken as a whole: the permissions of the profile are not those of a key with a `create` of its own.
    assert!(format!("{:?}", a.create).contains("ALL") && !format!("{:?}", b.create).contains("ALL"));
}

#[test]
fn the_names_of_key_and_provider_stand_in_every_text_of_create_and_deliver() {
    let settings = settings("[keys.a]\nprofile = 'eu'\n[keys.b]\nprofile = 'eu'\n");
    let ids = |name| key(&settings, name).targets.iter().map(|it| it.id().to_string()).collect::<Vec<_>>();
    assert_eq!([ids("a"), ids("b")], [["file:/srv/sms/a.key"], ["file:/srv/sms/b.key"]]);
    let (create, target) = (format!("{:?}", key(&settings, "a").create), format!("{:?}", key(&settings, "a").targets));
    assert!(create.contains("\"eu-a\""), "{create}");
    assert!(target.contains("\"a.service\"") && target.contains("--key=a"), "{target}");

    check(
        &[SMS],
        "[keys.k]\nprovider = 'sms'\nowners = ['team']\ncreate.name = '{{name}}'\n\
         deliver = [{ kind = 'file', path = '/srv/{{ key }}/{{key' }]",
        "4:15: `{{name}}` stands for nothing\n  hint: write {{key}} or {{provider}}, without blanks\n\
         5:36: `{{ key }}` stands for nothing\n  hint: write {{key}} or {{provider}}, without blanks\n\
         5:36: `{{` is never closed\n  hint: write {{key}} or {{provider}}",
    );
}

#[test]
fn a_profile_that_nobody_has_is_named_with_the_one_that_was_meant() {
    check(
        &[SMS, LAYERS],
        "[keys.k]\nprofile = 'ue'\n[keys.l]\nprofile = ['eu']\noverlap = '1y'\n[keys.m]\nprofil = 'eu'\ncreate.name = 'm'",
        "2:11: there is no profile `ue`\n  hint: did you mean `eu`?\n\
         4:11: `profile` is an array, where the name of a profile is expected\n\
         5:11: \"1y\": months and years have no fixed length\n  hint: write days instead, such as 30d\n\
         7:1: unknown field `profil`\n  hint: did you mean `profile`?",
    );
    // What such a key lacks may well stand in the profile that it means.
    check(&[], "[keys.k]\nprofile = 'eu'", "2:11: there is no profile `eu`\n  hint: write a section [profiles.eu]");
    let keys = "[keys.k]\nprovider = 'sms'\nowners = ['team']\ncreate.name = 'k'\nprofile = 'eu'";
    check(&[SMS], keys, "5:11: there is no profile `eu`\n  hint: write a section [profiles.eu]");
    let nested = "[defaults]\nprofile = 'a'\n[profiles.a]\nprofile = 'b'";
    let told =
        |line| format!("{line}:1: `profile` belongs to keys alone\n  hint: write it in each key that has this profile");
    check(&[], nested, &[told(2), told(4)].join("\n"));
    let hint = "a name is 1 to 48 of a-z, 0-9, _ and -, and starts with a letter or a digit";
    check(&[], "[profiles.EU]", &format!("1:11: `EU` is no name\n  hint: {hint}"));
}

#[test]
fn a_fault_in_what_keys_share_is_told_once_where_it_stands_with_the_keys_that_it_concerns() {
    let shared = "[defaults]\nowners = ['taem']\non_drift = 'adapt'\n\
                  [profiles.p]\nprovider = 'sms'\noverlap = '1M'\nwindows = ['nights']\nstuck_aftr = '1h'\n\
                  create = { nam = 'x' }\ndeliver = [{ kind = 'file', path = 'srv/{{key}}' }]\n";
    let keys: String = ["a", "b", "c", "d", "e"].map(|it| format!("[keys.{it}]\nprofile = 'p'\n")).concat();
    let all = " (for keys `a`, `b`, `c` and 2 more)";
    let want = [
        format!("2:11: there is no owner `taem`{all}\n  hint: did you mean `team`?"),
        format!("3:12: unknown value `adapt`{all}\n  hint: did you mean `adopt`?"),
        format!("6:11: \"1M\": months and years have no fixed length{all}\n  hint: write days instead, such as 30d"),
        format!("7:12: there is no window `nights`{all}\n  hint: write a section [windows.nights]"),
        format!("8:1: unknown field `stuck_aftr`{all}\n  hint: did you mean `stuck_after`?"),
        format!("9:10: `create.name` is missing{all}\n  hint: write name = …"),
        format!("9:12: unknown field `create.nam`{all}\n  hint: did you mean `name`?"),
        format!("10:36: \"srv/a\" is not the absolute path of a file, without `..`{all}"),
    ];
    check(&[SMS], &format!("{shared}{keys}"), &want.join("\n"));
    // Of the same layers without a key, all is told that does not depend on one.
    let (of_create, alone): (Vec<_>, Vec<_>) = want.into_iter().partition(|it| it.contains("create."));
    assert_eq!(of_create.len(), 2);
    let alone = alone.join("\n").replace(all, "").replace("srv/a", "srv/key");
    check(&[SMS], shared, &alone);
    // A key that has its own is not concerned.
    let own = "[keys.a]\nprofile = 'p'\nowners = ['team']\non_drift = 'adopt'\noverlap = '1d'\nwindows = []\n\
               create = { name = 'x' }\ndeliver = []\n";
    let alone = alone.replace("unknown field `stuck_aftr`", "unknown field `stuck_aftr` (for key `a`)");
    check(&[SMS], &format!("{shared}{own}"), &alone);
}

#[test]
fn keys_that_share_a_place_by_their_profile_are_told_once() {
    let profile = "[profiles.p]\nprovider = 'sms'\nowners = ['team']\nvalid_for = '90d'\ncreate.name = '{{key}}'\n\
                   deliver = [{ kind = 'file', path = '/srv/{{provider}}' }]\n";
    let keys: String = (0..9).map(|it| format!("[keys.k{it}]\nprofile = 'p'\n")).collect();
    check(
        &[SMS],
        &format!("{profile}{keys}"),
        "6:12: keys `k0` and `k1` are both delivered to file:/srv/sms (for keys `k1`, `k2`, `k3` and 5 more)\n  \
           hint: give each key its own place; {{key}} in it stands for the key's name",
    );
}

#[test]
fn what_is_of_no_use_to_one_of_many_keys_is_no_warning() {
    let key = "[keys.k]\nprovider = 'bulk'\nowners = ['team']\nmax_age = '9d'\n\
               deliver = [{ kind = 'file', path = '/k' }]\n";
    let warns = |text: String| {
        parse(&format!("{BASE}{BULK}{text}")).unwrap().warnings.iter().any(|it| it.message.starts_with("overlap"))
    };
    assert!(warns(format!("{key}overlap = '3d'")));
    assert!(!warns(format!("[defaults]\noverlap = '3d'\n{key}")));
}

#[test]
fn layers_stand_in_one_file_each_and_may_be_shared_through_all() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    std::fs::create_dir(dir.path().join("conf.d")).unwrap();
    write("rekeyd.toml", &format!("{BASE}{SMS}"));
    write("conf.d/10-keys.toml", "[keys.k]\nprofile = 'eu'\n[keys.l]\nprofile = 'eu'\n");
    write("conf.d/20-layers.toml", &LAYERS.replace("\"4d\"", "\"4x\""));
    let load = || rekeyd::config::load(&dir.path().join("rekeyd.toml"));
    let said = load().unwrap_err().to_string();
    let want = format!(
        "{}:19:11: \"4x\": unknown time unit \"x\" (for keys `k`, `l`)",
        dir.path().join("conf.d/20-layers.toml").display()
    );
    assert!(said.starts_with(&want), "{said}");

    write("conf.d/20-layers.toml", LAYERS);
    write("conf.d/30-more.toml", "[defaults]\n[profiles.eu]\n");
    let place = |name: &str| dir.path().join(name).display().to_string();
    let (more, first) = (place("conf.d/30-more.toml"), place("conf.d/20-layers.toml"));
    let want = format!(
        "{more}:1:2: `[defaults]` is in {first} already\n  hint: keep one of the two\n\
         {more}:2:11: `[profiles.eu]` is in {first} already\n  hint: keep one of the two"
    );
    assert_eq!(load().unwrap_err().to_string(), want);
}

//! The config: what is written, what it means, and what is said of its faults.
#![allow(clippy::unwrap_used, reason = "a test may panic anywhere")]
#[path = "config/credentials.rs"]
mod credentials;
#[path = "config/effective.rs"]
mod effective;
#[path = "config/faults.rs"]
mod faults;
#[path = "config/layers.rs"]
mod layers;

use rekeyd::config::{self, Fault, Faults, Loaded, Source};
use rekeyd::core::names::KeyName;
use rekeyd::core::policy::{Initial, OnAmbiguous, OnCreate, OnDrift, OutsideWindow, Reach, RotateBefore};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[path = "config/capacity.rs"]
mod capacity;
#[path = "config/freezes.rs"]
mod freezes;

/// What every case begins with; its lines are not counted in what the cases expect.
const BASE: &str = r#"
daemon = { master_key = { credential = "master-key" }, owners = ["team"] }
owners.team.webhook = [{ url = "https://hooks.example.com/", secret = { credential = "hook" } }]
"#;

/// A provider that is right.
const SMS: &str = r#"
[providers.sms]
kind = "infobip"
username = "acme"
password = { credential = "infobip" }
"#;

/// A provider with one key at a time.
const BULK: &str = r#"
[providers.bulk]
kind = "mobivate"
username = "acme"
password = { credential = "mobivate" }
"#;

fn parse(text: &str) -> Result<Loaded, Faults> {
    config::parse(vec![Source { path: "rekeyd.toml".into(), text: text.to_owned() }])
}

/// Checks what is said of a config that consists of the base, what surrounds the case, and the case itself. Lines count
/// from the case on.
#[track_caller]
fn check(around: &[&str], case: &str, want: &str) {
    let text = format!("{BASE}{}\n{case}", around.concat());
    let before = text.len() - case.len();
    let lines = text[..before].matches('\n').count();
    let faults = match parse(&text) {
        Ok(_) => String::new(),
        Err(found) => render(found.faults, lines),
    };
    assert_eq!(faults, want.trim(), "\n--- said:\n{faults}\n--- of:\n{case}");
}

fn render(faults: Vec<Fault>, lines: usize) -> String {
    let shown = |it: Fault| {
        let at = format!("{}:{}", it.line as i64 - lines as i64, it.column);
        let hint = it.hint.map(|it| format!("\n  hint: {it}")).unwrap_or_default();
        format!("{at}: {}{hint}", it.message)
    };
    faults.into_iter().map(shown).collect::<Vec<_>>().join("\n")
}

/// A key at `sms` with these lines in it.
fn key(lines: &str) -> String {
    format!("[keys.k]\nprovider = 'sms'\nowners = ['team']\ncreate.name = 'k'\ndeliver = []\n{lines}")
}

/// The configs that are shipped, but for the parts of one that lie in its `conf.d`.
fn shipped() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let folders = [root.clone(), root.join("generated")];
    let files = folders.iter().flat_map(|it| std::fs::read_dir(it).unwrap()).map(|it| it.unwrap().path());
    files.filter(|it| it.extension().is_some_and(|it| it == "toml")).collect()
}

#[test]
fn every_shipped_config_passes() {
    let shipped = shipped();
    for name in ["init.toml", "minimal.toml", "two-keys.toml", "rekeyd.toml", "company.toml", "generated/rekeyd.toml"] {
        assert!(shipped.iter().any(|it| it.ends_with(name)), "{name}");
    }
    for path in shipped {
        match config::load(&path) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    assert!(warning.message.contains("can't be seen from here"), "{warning}");
                }
            }
            Err(faults) => panic!("{faults}"),
        }
    }
}

#[test]
fn the_examples_show_what_they_say_that_they_show() {
    let load = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        config::load(&path).unwrap_or_else(|faults| panic!("{faults}")).settings
    };
    let company = load("company.toml");
    let teams = company.owners.len();
    let zones: BTreeSet<_> =
        company.keys.values().flat_map(|it| &it.policy.windows).map(|it| it.timezone.name()).collect();
    assert_eq!((teams, zones.len(), company.keys.len()), (5, 3, 10));
    let of = |name: &str| &company.keys[&name.parse::<KeyName>().unwrap()];
    assert_eq!(of("receipts-us").targets[0].id().as_str(), "file:/srv/us/receipts-us/infobip.key");
    assert_eq!(of("sign-in").targets[0].id().as_str(), "file:/etc/login-codes/sign-in.env");
    assert_eq!((of("alerts-eu").policy.freezes.len(), of("newsletter").policy.freezes.len()), (1, 2));

    let generated = load("generated/rekeyd.toml");
    let names: Vec<_> = generated.keys.keys().map(KeyName::as_str).collect();
    assert_eq!(names, ["checkout", "payroll", "search", "shipping"]);
    let all_by_the_inventory = generated.keys.values().all(|it| it.policy.windows.len() == 1 && it.targets.len() == 1);
    assert!(all_by_the_inventory);
}

#[test]
fn an_unknown_field_names_the_one_that_was_meant() {
    for (case, want) in [
        (key("overlpa = '3d'"), "6:1: unknown field `overlpa`\n  hint: did you mean `overlap`?"),
        ("[key.a]".into(), "1:2: unknown section `key`\n  hint: did you mean `keys`?"),
        (key("initial = 'creat'"), "6:11: unknown value `creat`\n  hint: did you mean `create`?"),
        (
            "[providers.p]\nkind = 'infobip'\nusername = 'p'\npassword = { vault = 'x' }\nacount = 'p'".into(),
            "4:12: unknown field `vault`\n  hint: known here: credential, env, file, key\n\
             5:1: unknown field `acount`\n  hint: did you mean `account`?",
        ),
        ("[providers.p]\nkind = 'infobpi'".into(), "2:8: unknown kind `infobpi`\n  hint: did you mean `infobip`?"),
        (
            "[windows.w]\nopen = '0 0 * * *'\nduration = '1h'\nzone = 'UTC'".into(),
            "4:1: unknown field `zone`\n  hint: known here: duration, open, timezone",
        ),
    ] {
        check(&[SMS], &case, want);
    }
}

#[test]
fn the_listener_has_an_address_with_a_port_and_should_be_on_loopback() {
    let daemon = |listen: &str| {
        let text = format!("[daemon]\nmaster_key = {{ credential = 'm' }}\nlisten = '{listen}'\n");
        parse(&text)
    };
    for wrong in ["8642", "localhost:8642", "127.0.0.1", ""] {
        let hint = "write both as numbers, such as 127.0.0.1:8642 or [::1]:8642";
        let said = render(daemon(wrong).unwrap_err().faults, 0);
        assert_eq!(said, format!("3:10: {wrong:?} is no address with a port\n  hint: {hint}"));
    }
    for near in ["127.0.0.1:8642", "[::1]:8642", "127.8.8.8:0"] {
        let loaded = daemon(near).unwrap();
        assert_eq!(loaded.settings.daemon.listen, Some(near.parse().unwrap()));
        assert!(!loaded.warnings.iter().any(|it| it.message.contains(near)), "{:?}", loaded.warnings);
    }
    for far in ["0.0.0.0:8642", "192.0.2.1:8642", "[::]:8642"] {
        let said = format!("whoever reaches {far} can read the names and states of all keys");
        assert!(daemon(far).unwrap().warnings.iter().any(|it| it.message == said), "{far}");
    }
}

#[test]
fn what_is_not_acted_on_yet_is_refused() {
    for kind in ["http", "exec"] {
        let hint = "known here: infobip, infobip-2fa, manual, mobivate, single-invoice";
        let want = format!("2:8: kind `{kind}` is not supported yet\n  hint: {hint}");
        check(&[], &format!("[providers.p]\nkind = '{kind}'"), &want);
    }
}

#[test]
fn durations_shares_and_sizes_say_how_to_write_them() {
    let duration = "expected a duration in quotes, such as \"90s\" or \"14d\", found an integer";
    let unit = "hint: write a number and a unit (s, m, h, d or w), such as 90s or 14d";
    for (line, want) in [
        ("overlap = 5", format!("6:11: {duration}")),
        ("overlap = '4'", format!("6:11: \"4\": time unit needed, for example 4sec or 4ms\n  {unit}")),
        (
            "valid_for = '1M'",
            "6:13: \"1M\": months and years have no fixed length\n  hint: write days instead, such as 30d".into(),
        ),
        ("max_age = '0s'", "6:11: a duration of nothing\n  hint: write more than 0s".into()),
        (
            "rotate_before = '200%'",
            "6:17: \"200%\" is no share of a lifetime\n  hint: write more than 0% and less than 100%, such as 33%"
                .into(),
        ),
    ] {
        check(&[SMS], &key(line), &want);
    }
    let faults = parse("daemon = { master_key = { env = 'X' }, reserve = '16M' }").unwrap_err();
    let want = "1:50: \"16M\" is no size\n  hint: write a number and B, KiB, MiB or GiB, such as 16MiB";
    assert_eq!(render(faults.faults, 0), want);
}

#[test]
fn windows_open_at_times_that_come() {
    check(
        &[],
        "[windows.a]\nopen = '* * *'\nduration = '1h'\ntimezone = 'Europe/Lodon'\n\
         [windows.b]\nopen = '0 0 30 2 *'\n[windows.c]\nopen = '0 25 * * *'\nduration = '1h'",
        "2:8: cron expression \"* * *\" has 3 fields\n  \
           hint: write 5 (minute hour day month weekday), or 6 with seconds first\n\
         4:12: unknown time zone \"Europe/Lodon\"\n  hint: did you mean `Europe/London`?\n\
         5:1: `duration` is missing\n  hint: write duration = …\n\
         6:8: cron expression \"0 0 30 2 *\" never fires: on day 30 of the month in February at 00:00\n  \
           hint: write a day that its months have\n\
         8:8: cron expression \"0 25 * * *\": its hour is \"25\", but that is a number, a list, a range or a step of 0 to 23\n  \
           hint: write such as \"0 22 * * Mon-Thu\" (minute hour day month weekday)",
    );
    let loaded = parse(&format!("{BASE}[windows.w]\nopen = '0 22 * * 1-4'\nduration = '4h'")).unwrap();
    let said = "rekeyd.toml:5:8: weekdays by number are counted from Sunday = 0: this is Monday to Thursday at 22:00\n  \
                hint: write names, such as Mon-Fri";
    assert!(loaded.warnings.iter().any(|it| it.to_string() == said));
}

#[test]
fn a_name_that_nobody_has_is_a_fault_where_it_stands() {
    check(
        &[SMS],
        "[keys.k]\nprovider = 'smss'\nowners = ['taem']\nwindows = ['nights']",
        "2:12: there is no provider `smss`\n  hint: did you mean `sms`?\n\
         3:11: there is no owner `taem`\n  hint: did you mean `team`?\n\
         4:12: there is no window `nights`\n  hint: write a section [windows.nights]",
    );
    check(
        &[],
        "[providers.p]\nkind = 'single-invoice'\napikey = { key = 'k' }\nowners = ['x']",
        "3:10: there is no key `k`\n  hint: write a section [keys.k]\n4:11: there is no owner `x`\n  hint: known here: team",
    );
    let faults = parse("daemon = { master_key = { env = 'X' }, owners = ['x'] }").unwrap_err();
    assert_eq!(render(faults.faults, 0), "1:50: there is no owner `x`\n  hint: write a section [owners.x]");
}

#[test]
fn names_keep_their_rule() {
    let hint = "a name is 1 to 48 of a-z, 0-9, _ and -, and starts with a letter or a digit";
    check(&[], "[windows.W]\nopen = '0 0 * * *'\nduration = '1h'", &format!("1:10: `W` is no name\n  hint: {hint}"));
    check(&[], "[keys]\nx = 3", "2:1: `x` is an integer, where a table is expected");
}

#[test]
fn what_is_missing_is_named_all_at_once_and_what_is_wrong_beside_it() {
    check(
        &[],
        "[providers.p]\nkind = 'infobip'",
        "1:1: `password` is missing\n  hint: write password = …\n1:1: `username` is missing\n  hint: write username = …",
    );
    check(
        &[],
        "[keys.k]\nmax_age = 3",
        "1:1: `owners` is missing\n  hint: write owners = …\n1:1: `provider` is missing\n  hint: write provider = …\n2:11: expected a string, found an integer"
            .replace("a string", "a duration in quotes, such as \"90s\" or \"14d\"")
            .as_str(),
    );
    check(
        &[SMS],
        "[keys.k]\nprovider = 'sms'\nowners = []\ncreate = {}\n[[keys.k.deliver]]\n[[keys.k.deliver]]\nkind = 'file'\n\
         [[keys.k.deliver]]\nkind = 'file'\npath = '/a'\nsize = 3\nthen = { restrat = ['a'] }\nformat = 'yaml'",
        "3:10: a key needs an owner\n  hint: name who is told of it\n\
         4:10: `create.name` is missing\n  hint: write name = …\n\
         5:1: `deliver.kind` is missing\n  hint: write kind = …\n\
         6:1: `deliver.path` is missing\n  hint: write path = …\n\
         11:1: unknown field `deliver.size`\n  \
           hint: known here: confirm, format, group, kind, mode, owner, path, template, then, variable\n\
         12:10: unknown field `deliver.restrat`\n  hint: did you mean `restart`?\n\
         13:10: unknown value `yaml`\n  hint: known here: env, json, raw, template",
    );
    let faults = parse("").unwrap_err();
    let hint = "write [daemon] with master_key = { credential = \"master-key\" }; rekeyd init writes one";
    assert_eq!(render(faults.faults, 0), format!("1:1: `[daemon]` is missing\n  hint: {hint}"));
}

#[test]
fn a_literal_secret_is_refused_and_never_repeated() {
    let hint = "hint: write { credential = \"…\" }, { file = \"…\" } or { env = \"…\" }";
    let fault = |at: &str| format!("{at}: a literal secret is not accepted\n  {hint}");
    let provider = "[providers.p]\nkind = 'infobip'\nusername = 'p'\npassword = ";
    for secret in ["'hunter2'", "70007", "7.7", "true", "['hunter2']", "2026-01-01"] {
        let faults = parse(&format!("{BASE}\n{provider}{secret}")).unwrap_err();
        let said = faults.to_string();
        assert!(said.contains("8:12: ") && !said.contains(secret.trim_matches(['\'', '[', ']'])), "{said}");
    }
    check(&[], &format!("{provider}'hunter2'"), &fault("4:12"));
    check(&[], "[owners.o]\nwebhook = [{ url = 'https://a.example', secret = 'hunter2' }]", &fault("2:50"));
    check(&[], "[smtp]\nhost = 'h'\nfrom = 'a@b.example'\nusername = 'u'\npassword = 'hunter2'", &fault("5:12"));
    check(&[], "[owners.o]\nwebhook = 'https://a.example/hunter2'", "2:11: expected a list, found a string");
    let faults = parse("daemon.master_key = 'hunter2'").unwrap_err();
    assert_eq!(render(faults.faults, 0), fault("1:21"));
}

#[test]
fn a_secret_that_can_not_be_had_is_a_fault_unless_only_the_service_sees_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let case = format!("[providers.p]\nkind = 'infobip'\nusername = 'p'\npassword = {{ file = '{}' }}", path.display());
    let missing = format!("4:12: {}: No such file or directory (os error 2)", path.display());
    check(&[], &case, &missing);
    std::fs::write(&path, "x").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
    let exposed = format!("4:12: {0} can be read by others\n  hint: run: chmod o= {0}", path.display());
    check(&[], &case, &exposed);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    check(&[], &case, "");
    let relative = "[providers.p]\nkind = 'infobip'\nusername = 'p'\npassword = { file = 'x' }";
    check(&[], relative, "4:12: x is a relative path\n  hint: write the whole path");
    let smtp = "[smtp]\nhost = 'h'\nfrom = 'a@b.example'\nusername = 'u'\npassword = { key = 'k' }";
    assert!(parse(&format!("{BASE}{smtp}")).unwrap_err().to_string().contains("a managed key only authorises"));

    let warnings = parse(BASE).unwrap().warnings;
    let said = "rekeyd.toml:2:25: credential `master-key` can't be seen from here\n  \
                hint: credentials are visible only inside the systemd unit";
    assert_eq!(warnings[0].to_string(), said);
}

#[test]
fn sections_that_share_an_account_agree_on_it() {
    let p = |rest: &str| format!("[providers.tms]\nkind = 'infobip'\npassword = {{ env = 'X' }}\n{rest}");
    for (rest, want) in [
        (
            "username = 'acme'",
            "1:1: providers `sms` and `tms` have one login, but not one account\n  hint: write account = \"sms\" in both",
        ),
        (
            "username = 'other'\naccount = 'sms'",
            "5:11: providers `sms` and `tms` have one account, but not one login\n  \
               hint: give each account its own name, or both sections the same base_url and login",
        ),
        (
            "username = 'acme'\naccount = 'sms'\ncreates_per_day = 3",
            "6:19: providers `sms` and `tms` have one account, but not one budget\n  \
               hint: write creates_per_day = 20 in both",
        ),
        ("username = 'acme'\naccount = 'sms'", ""),
        (
            "username = 'other'\naccount = 'A'",
            "5:11: account `A` is no name\n  hint: write a-z, 0-9, _ and -, at most 48 of them",
        ),
    ] {
        check(&[SMS], &p(rest), want);
    }
    let plain =
        "[providers.p]\nkind = 'infobip'\nusername = 'p'\npassword = { env = 'X' }\nbase_url = 'http://a.example'";
    let want = "5:12: http:// can be read on the way\n  \
                hint: use https://, or http:// to this machine alone (127.0.0.1, [::1], localhost)";
    check(&[], plain, want);
}

#[test]
fn keys_keep_out_of_each_others_way() {
    check(
        &[BULK],
        "[keys.a]\nprovider = 'bulk'\nowners = ['team']\nmax_age = '9d'\n\
         deliver = [{ kind = 'file', path = '/a' }, { kind = 'file', path = '/a' }]\n\
         [keys.b]\nprovider = 'bulk'\nowners = ['team']\nmax_age = '9d'\n\
         deliver = [{ kind = 'file', path = '/b' }, { kind = 'file', path = '/a' }]",
        "5:44: key `a` is delivered to file:/a twice\n  hint: remove one of the two\n\
         7:12: account `bulk` has one key at a time, but both `a` and `b` are to be it\n  \
           hint: keep one of them, and deliver it to both places\n\
         10:44: keys `a` and `b` are both delivered to file:/a\n  \
           hint: give each key its own place; {{key}} in it stands for the key's name",
    );
}

#[test]
fn keys_authorise_no_circle_and_not_their_own_birth() {
    let provider =
        |name: &str, key: &str| format!("[providers.{name}]\nkind = 'single-invoice'\napikey = {{ key = '{key}' }}\n");
    let key = |name: &str, provider: &str, rest: &str| {
        format!(
            "[keys.{name}]\nprovider = '{provider}'\nowners = ['team']\nmax_age = '9d'\ncreate.package = 'Account'\n{rest}"
        )
    };
    check(&[], &format!("{}{}", provider("p", "k"), key("k", "p", "")), "");
    check(
        &[],
        &format!("{}{}", provider("p", "k"), key("k", "p", "initial = 'create'")),
        "9:11: key `k` can't be created: its own provider is authorised by it\n  hint: write initial = \"adopt\"",
    );
    check(
        &[],
        &[provider("p", "b"), provider("q", "a"), key("a", "p", ""), key("b", "q", "")].concat(),
        "8:12: keys authorise each other in a circle: `a`, then `b`, then `a`\n  \
           hint: authorise one of them by a login of its own",
    );
}

#[test]
fn the_times_of_a_key_fit_together() {
    for (lines, want) in [
        (
            "overlap = '40d'\nrotate_before = '40d'\nvalid_for = '90d'",
            "6:11: overlap (40d) is not less than rotate_before (40d)\n  hint: the old key would expire before its overlap ends",
        ),
        (
            "valid_for = '6d'",
            "1:1: overlap (3d, by default) is not less than rotate_before (1d 23h 31m 12s)\n  \
               hint: the old key would expire before its overlap ends",
        ),
        (
            "rotate_before = '90d'\nvalid_for = '90d'",
            "6:17: rotate_before (90d) is not less than valid_for (90d)\n  hint: rotate_before counts back from the expiry",
        ),
        (
            "overlap = '4d'\nrotate_before = '5d'\nvalid_for = '6d'",
            "6:11: overlap (4d) is not less than rotate_before (3d)\n  hint: the old key would expire before its overlap ends",
        ),
    ] {
        check(&[SMS], &key(lines), want);
    }
    let half =
        parse(&format!("{BASE}{SMS}{}", key("overlap = '2d'\nrotate_before = '60%'\nvalid_for = '6d'"))).unwrap();
    let said = "rotate_before (3d 14h 24m) is more than half of valid_for: 3d is what counts";
    assert!(half.warnings.iter().any(|it| it.message == said), "{:?}", half.warnings);
    let key = "[keys.k]\nprovider = 'bulk'\nowners = ['team']\n";
    let none = "1:1: mobivate reports no expiry, so nothing says when to rotate\n  \
                hint: write valid_for or max_age, such as max_age = \"90d\"";
    check(&[BULK], key, none);
    let loaded = parse(&format!("{BASE}{BULK}{key}max_age = '9d'\noverlap = '9d'")).unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(|it| it.message.as_str()).collect();
    assert!(warnings.contains(&"overlap does nothing: mobivate ends the old key at once"), "{warnings:?}");
    assert!(warnings.contains(&"key `k` goes nowhere"), "{warnings:?}");
}

#[test]
fn mail_needs_a_server_that_may_be_spoken_to() {
    let owner = "[owners.o]\nemail = ['a@b.example']";
    check(&[], owner, "2:9: email needs a section `[smtp]`\n  hint: add it, or remove email");
    check(
        &[],
        "[smtp]\nhost = 'h.example'\nfrom = 'x'\nport = 99999\nsecurity = 'ssl'",
        "3:8: \"x\" is no mail address (Invalid input)\n  hint: write \"name@example.com\"\n\
         4:8: expected a whole number from 0 to 65535, found an integer `99999`\n\
         5:12: unknown value `ssl`\n  hint: known here: none, starttls, tls",
    );
    let none = "[smtp]\nhost = 'h.example'\nfrom = 'x@y.example'\nsecurity = 'none'";
    let want = "1:1: security = \"none\" would send mail to h.example in the clear\n  \
                hint: use \"starttls\" or \"tls\", or insist with allow_plaintext = true";
    check(&[], none, want);
}

#[test]
fn broken_syntax_is_told_of_every_line_and_shows_no_value() {
    let faults = parse("a = hunter2\nb = 'x\n[keys.a]\n[keys.a]").unwrap_err();
    assert_eq!(
        faults.to_string(),
        "rekeyd.toml:1:5: string values must be quoted, expected literal string\n\
         rekeyd.toml:2:7: invalid literal string, expected `'`\n\
         rekeyd.toml:4:7: `a` is here a second time\n  hint: keep one of the two"
    );
}

#[test]
fn a_policy_has_the_documented_defaults_and_every_field_reaches_it() {
    let day = |n: u64| Duration::from_secs(n * 86_400);
    let name: KeyName = "k".parse().unwrap();
    let plain = parse(&format!("{BASE}{SMS}{}", key(""))).unwrap().settings;
    let policy = &plain.keys[&name].policy;
    assert_eq!(policy.rotate_before, RotateBefore::Share(33.0));
    assert_eq!((policy.valid_for, policy.max_age, policy.package.clone()), (None, None, None));
    assert_eq!((policy.overlap, policy.announce, policy.watch), (day(3), day(2), day(7)));
    assert_eq!((policy.accept_within.as_secs(), policy.settle.as_secs(), policy.creates_per_day), (600, 30, 20));
    assert_eq!((policy.initial, policy.outside_window), (Initial::Adopt, OutsideWindow::IfExpiring));
    assert_eq!((policy.on_ambiguous, policy.on_drift), (OnAmbiguous::Halt, OnDrift::Adopt));
    assert_eq!(policy.notify_before, [day(14), day(7), day(3), day(1)]);
    assert_eq!((policy.escalate_before, policy.stuck_after.as_secs(), policy.probe_every), (day(1), 3600, day(1)));
    assert_eq!(policy.provider.on_create, OnCreate::Keeps);
    assert_eq!((plain.daemon.reserve, plain.daemon.history_for), (16 << 20, day(400)));
    assert_eq!((plain.daemon.max_concurrent_rotations, plain.daemon.timezone), (64, chrono_tz::Tz::UTC));

    let shipped = config::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config/rekeyd.toml"))).unwrap().settings;
    let billing = &shipped.keys[&"billing-sms".parse::<KeyName>().unwrap()];
    assert_eq!(billing.policy.rotate_before, RotateBefore::Lead(day(14)));
    assert_eq!(billing.policy.account.as_str(), "acme-infobip");
    assert_eq!(billing.policy.windows[0].timezone, chrono_tz::Tz::Europe__London);
    let ids: Vec<_> = billing.policy.targets.iter().map(|it| (it.id.to_string(), it.confirms)).collect();
    assert_eq!(ids[0], ("file:/etc/billing/sms.key".into(), true));
    let account = &shipped.keys[&"invoices-account".parse::<KeyName>().unwrap()].policy;
    assert_eq!(account.package.as_deref(), Some("Account"));
    let login = account.targets.iter().find(|it| it.id.as_str() == "login:invoices").unwrap();
    assert_eq!(login.reach, Reach::Pull);
}

#[test]
fn files_beside_the_config_are_read_in_order_and_a_name_stands_in_one_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("rekeyd.toml");
    let beside = dir.path().join("conf.d");
    std::fs::create_dir(&beside).unwrap();
    std::fs::write(&main, BASE).unwrap();
    std::fs::write(beside.join("20-keys.toml"), key("")).unwrap();
    std::fs::write(beside.join("10-sms.toml"), SMS).unwrap();
    std::fs::write(beside.join(".10-sms.toml.swp"), "=").unwrap();
    std::fs::write(beside.join("README"), "=").unwrap();
    let loaded = config::load(&main).unwrap();
    assert_eq!(loaded.settings.keys.len(), 1);
    let again = config::load_text(&loaded.text()).unwrap();
    assert_eq!((again.settings.keys.len(), &again.warnings), (1, &loaded.warnings));

    std::fs::write(beside.join("30-more.toml"), format!("[daemon]\n{SMS}")).unwrap();
    let (file, first) = (beside.join("30-more.toml"), beside.join("10-sms.toml"));
    let want = format!(
        "{0}:1:2: `[daemon]` is in {1} already\n  hint: keep one of the two\n\
         {0}:3:12: `[providers.sms]` is in {2} already\n  hint: keep one of the two",
        file.display(),
        main.display(),
        first.display()
    );
    assert_eq!(config::load(&main).unwrap_err().to_string(), want);
}

#[test]
fn check_says_everything_and_ends_with_the_code_of_a_config() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rekeyd.toml");
    let run = |json: bool| {
        let mut out = Vec::new();
        let code = rekeyd::cli::check::run(&rekeyd::cli::check::Args::default(), &path, json, &mut out).unwrap();
        (code.code(), String::from_utf8(out).unwrap())
    };
    let (code, said) = run(false);
    assert_eq!(code, 78);
    assert!(said.contains(":1:1: can't be read: No such file") && said.contains("rekeyd init"), "{said}");

    std::fs::write(&path, format!("{BASE}[keys.k]\nprovider = 'x'\nowners = ['team']")).unwrap();
    let (code, said) = run(true);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    let want = serde_json::json!([{
        "file": path, "line": 5, "column": 12, "message": "there is no provider `x`",
        "hint": "write a section [providers.x]"
    }]);
    assert_eq!((code, &json["ok"], &json["faults"]), (78, &serde_json::json!(false), &want));
    assert_eq!(json["warnings"][0]["line"], 2);

    std::fs::write(&path, BASE).unwrap();
    let (code, said) = run(false);
    assert_eq!(code, 0);
    assert!(said.contains("warning: credential `master-key`"), "{said}");
    assert!(said.ends_with("\nok: 0 keys, 0 providers, 1 owner\n"), "{said}");
}

#[test]
fn a_key_that_is_replaced_by_hand_can_not_be_created_and_its_age_must_be_known() {
    let portal = "[providers.p]\nkind = 'manual'\n";
    let key = "[keys.k]\nprovider = 'p'\nowners = ['team']\ndeliver = []\n";
    let hint = "write initial = \"adopt\", then: rekeyd adopt KEY";
    let want = format!("6:11: manual can't be asked for the first key\n  hint: {hint}");
    check(&[portal], &format!("{key}max_age = '90d'\ninitial = 'create'"), &want);
    let hint = "write valid_for or max_age, such as max_age = \"90d\"";
    let want = format!("1:1: manual reports no expiry, so nothing says when to rotate\n  hint: {hint}");
    check(&[portal], key, &want);
    // Nobody logs in to them, so that two of them are no one account.
    let two = "[providers.q]\nkind = 'manual'\ninstructions = 'ask Berta'";
    check(&[portal], two, "");
}

#[test]
fn a_path_by_another_name_is_the_same_place() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).display().to_string();
    std::fs::create_dir(place("real")).unwrap();
    std::os::unix::fs::symlink(place("real"), place("link")).unwrap();
    let key = |name: &str, folder: &str| {
        format!(
            "[keys.{name}]\nprovider = 'sms'\nowners = ['team']\ncreate.name = 'k'\nvalid_for = '90d'\n\
             deliver = [{{ kind = 'file', path = '{}/sub/k' }}]\n",
            place(folder)
        )
    };
    let want = format!(
        "12:12: keys `a` and `b` are both delivered to file:{}, which is also file:{}\n  \
         hint: give each key its own place; {{{{key}}}} in it stands for the key's name",
        place("link/sub/k"),
        place("real/sub/k")
    );
    check(&[SMS], &[key("a", "real"), key("b", "link")].concat(), &want);
    check(
        &[SMS],
        &key("a", "real/../real"),
        &format!("6:36: \"{}/sub/k\" is not the absolute path of a file, without `..`", place("real/../real")),
    );
}

#[test]
fn a_budget_that_the_schedule_of_the_keys_exceeds_is_told_with_the_reckoning() {
    let keys = |n: usize, prefix: &str, lines: &str| -> String {
        let key = |n| {
            format!(
                "[keys.{prefix}{n}]\nprovider = 'sms'\nowners = ['team']\ncreate.name = 'k'\n{lines}\n\
                 deliver = [{{ kind = 'file', path = '/srv/{{{{key}}}}' }}]\n"
            )
        };
        (0..n).map(key).collect()
    };
    let windows = "[windows.sunday]\nopen = '0 4 * * Sun'\nduration = '3h'\n";
    let provider = "[providers.sms]\nkind = 'infobip'\nusername = 'acme'\npassword = { credential = 'infobip' }\n";
    let hint = "rotate them less often, or raise creates_per_day if the provider allows it";
    for (budget, keys, want) in [
        ("", keys(40, "a", "max_age = '2d'"), String::new()),
        (
            "",
            keys(41, "a", "max_age = '2d'"),
            format!(
                "1:1: the keys of account `sms` need 20.5 creates a day, but creates_per_day is 20, by default\n  \
                 hint: reckoned: 41 keys every 2d (20.5 a day); {hint}"
            ),
        ),
        (
            "creates_per_day = 3",
            keys(20, "a", "max_age = '10d'")
                + &keys(15, "b", "valid_for = '20d'\nrotate_before = '5d'\noverlap = '1d'")
                + &keys(1, "c", "valid_for = '30d'\nmax_age = '60d'\noverlap = '1d'"),
            format!(
                "5:19: the keys of account `sms` need 3.05 creates a day, but creates_per_day is 3\n  \
                 hint: reckoned: 20 keys every 10d (2 a day), 15 keys every 15d (1 a day), \
                 1 key every 20d 2h (0.05 a day); {hint}"
            ),
        ),
        // A key that waits for its Sunday is replaced once in a week, whatever its age.
        ("creates_per_day = 2", keys(14, "a", "max_age = '4d'\nwindows = ['sunday']"), String::new()),
        (
            "creates_per_day = 2",
            keys(15, "a", "max_age = '4d'\nwindows = ['sunday']"),
            format!(
                "5:19: the keys of account `sms` need 2.14 creates a day, but creates_per_day is 2\n  \
                 hint: reckoned: 15 keys every 7d (2.14 a day); {hint}"
            ),
        ),
    ] {
        check(&[windows], &format!("{provider}{budget}\n{keys}"), &want);
    }
}

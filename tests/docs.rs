//! What is written for users is true: every field that the parser accepts is in `docs/config.md`, and nothing else is.
// A helper of a test may fail it.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#[path = "support/files.rs"]
mod files;

use rekeyd::config::{self, Source};
use rekeyd::{control, notifiers, providers, targets};
use std::collections::BTreeSet;
use std::fs;

const ARCHITECTURE: &str = include_str!("../docs/architecture.md");
const CHANGELOG: &str = include_str!("../CHANGELOG.md");
const CONFIG: &str = include_str!("../docs/config.md");
const HTTP_API: &str = include_str!("../docs/http-api.md");
const README: &str = include_str!("../README.md");

/// A field that there will never be. The hint for it lists those that there are.
const PROBE: &str = "zzzzzzzzzz = 1";

/// What every case stands on.
const BASE: &str = "daemon = { master_key = { credential = 'm' }, owners = ['o'] }\n\
    smtp = { host = 'localhost', from = 'a@b.example' }\n\
    owners.o.email = ['a@b.example']\n";
const PROVIDER: &str = "[providers.p]\nkind = 'mobivate'\nusername = 'u'\npassword = { credential = 'p' }\n[keys.k]\nprovider = 'p'\nowners = ['o']\nmax_age = '90d'\n";

#[test]
fn every_section_is_documented_field_by_field() {
    check("## `[daemon]`", &format!("[daemon]\n{PROBE}\n"));
    check("## `[smtp]`", &format!("{}[smtp]\n{PROBE}\n", daemon()));
    check("## `[backup]`", &format!("{}[backup]\n{PROBE}\n", daemon()));
    check("## `[owners.NAME]`", &format!("{}[owners.o]\n{PROBE}\n", daemon()));
    check("## `[windows.NAME]`", &format!("{}[windows.w]\n{PROBE}\n", daemon()));
    check("## `[freezes.NAME]`", &format!("{}[freezes.f]\n{PROBE}\n", daemon()));
    check("## `[keys.NAME]`", &format!("{BASE}{PROVIDER}{PROBE}\n"));
}

#[test]
fn defaults_and_profiles_take_what_is_documented_for_keys_but_the_profile() {
    let mut fields = documented("## `[keys.NAME]`");
    assert!(fields.remove("profile"));
    for layer in ["defaults", "profiles.p"] {
        assert_eq!(fields, accepted(&format!("{BASE}[{layer}]\n{PROBE}\n")), "{layer}");
    }
}

/// Every kind of section, with no field that isn't required.
const WHOLE: &str = r#"
[daemon]
master_key = { credential = "m" }
[smtp]
host = "localhost"
from = "a@b.example"
[backup]
[owners.o]
email = ["a@b.example"]
webhook = [{ url = "https://a.example", secret = { credential = "w" } }]
exec = [{ command = ["/bin/true"] }]
[windows.w]
open = "0 22 * * *"
duration = "4h"
[freezes.f]
from = "12-18"
to = "01-04"
[providers.infobip]
kind = "infobip"
username = "u"
password = { credential = "p" }
[providers.infobip-2fa]
kind = "infobip-2fa"
username = "v"
password = { credential = "p" }
[providers.mobivate]
kind = "mobivate"
username = "u"
password = { credential = "p" }
[providers.single-invoice]
kind = "single-invoice"
apikey = { credential = "p" }
[keys.k]
provider = "infobip"
owners = ["o"]
valid_for = "90d"
create.name = "k"
[[keys.k.deliver]]
kind = "file"
path = "/k"
then.restart = ["k.service"]
confirm.command = ["/bin/true"]
[keys.l]
provider = "infobip"
owners = ["o"]
valid_for = "90d"
create.name = "l"
[[keys.l.deliver]]
kind = "exec"
command = ["/bin/true"]
"#;

#[test]
fn every_default_that_is_documented_is_what_an_effective_config_says() {
    let source = Source { path: "rekeyd.toml".into(), text: WHOLE.to_owned() };
    let effective = config::parse(vec![source]).unwrap().effective();
    let mut seen = 0;
    for (heading, section, prefix) in [
        ("## `[daemon]`", "[daemon]", ""),
        ("## `[smtp]`", "[smtp]", ""),
        ("## `[backup]`", "[backup]", ""),
        ("## `[owners.NAME]`", "[owners.o]", ""),
        ("### `webhook`", "[[owners.o.webhook]]", ""),
        ("### `exec`", "[[owners.o.exec]]", ""),
        ("## `[windows.NAME]`", "[windows.w]", ""),
        ("## `[freezes.NAME]`", "[freezes.f]", ""),
        ("## `[providers.NAME]`", "[providers.infobip]", ""),
        ("### kind = `infobip`", "[providers.infobip]", ""),
        ("### kind = `infobip-2fa`", "[providers.infobip-2fa]", ""),
        ("### kind = `mobivate`", "[providers.mobivate]", ""),
        ("### kind = `single-invoice`", "[providers.single-invoice]", ""),
        ("## `[keys.NAME]`", "[keys.k]", ""),
        ("### kind = `file`", "[[keys.k.deliver]]", ""),
        ("### kind = `exec`", "[[keys.l.deliver]]", ""),
        ("### `then`", "[[keys.k.deliver]]", "then."),
        ("### `confirm`", "[[keys.k.deliver]]", "confirm."),
    ] {
        let said = effective.split("\n\n").find(|it| it.starts_with(section)).unwrap_or_else(|| panic!("no {section}"));
        // To write `attempts_in_window` is to insist on it.
        for (field, default) in documented_defaults(heading).into_iter().filter(|it| it.0 != "attempts_in_window") {
            // A number that begins with a zero is a mode.
            let number = default.parse::<u32>().is_ok() && !default.starts_with('0');
            let plain = number || default.starts_with('[') || default == "false" || default == "true";
            let quoted = if plain { default } else { format!("\"{default}\"") };
            let line = said.lines().find(|it| it.starts_with(&format!("{prefix}{field} = {quoted} ")));
            assert!(line.is_some_and(|it| it.ends_with("# default")), "{heading}: {field} is {quoted}, not\n{said}");
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

/// The fields in the tables under a heading that have a plain default, with it.
fn documented_defaults(heading: &str) -> Vec<(String, String)> {
    let (_, rest) = CONFIG.split_once(&format!("\n{heading}\n")).unwrap();
    let part = rest.split("\n#").next().unwrap_or(rest);
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let (field, default) = (cells.next()?.trim_end_matches('`'), cells.next()?);
        let default = default.strip_prefix('`')?.strip_suffix('`').filter(|it| !it.contains('`'))?;
        Some((field.to_owned(), default.to_owned()))
    };
    part.lines().filter_map(row).collect()
}

#[test]
fn the_example_of_layers_is_a_config_without_faults() {
    let (_, example) = CONFIG.split_once("```toml\n[defaults]\n").unwrap();
    let example = example.split("```").next().unwrap();
    let text = format!(
        "{BASE}owners.platform = {{ email = ['a@b.example'] }}\nowners.payments = {{ email = ['a@b.example'] }}\n\
         [providers.sms]\nkind = 'infobip'\nusername = 'u'\npassword = {{ credential = 'p' }}\n[defaults]\n{example}"
    );
    config::parse(vec![Source { path: "docs/config.md".into(), text }]).unwrap();
}

#[test]
fn every_kind_of_channel_is_documented() {
    let known: BTreeSet<String> = notifiers::KINDS.iter().map(|it| it.name.to_owned()).collect();
    assert!(known.is_subset(&documented("## `[owners.NAME]`")), "{known:?}");
    check("### `webhook`", &format!("{}[[owners.o.webhook]]\n{PROBE}\n", daemon()));
    check("### `exec`", &format!("{}[[owners.o.exec]]\n{PROBE}\n", daemon()));
}

#[test]
fn every_kind_of_provider_is_documented_field_by_field() {
    for kind in providers::KINDS.iter().map(|it| it.name) {
        let heading = format!("### kind = `{kind}`");
        let (create, own): (BTreeSet<_>, _) =
            documented(&heading).into_iter().partition(|it| it.starts_with("create."));
        let common = documented("## `[providers.NAME]`");
        let wanted = accepted(&format!("{}[providers.p]\nkind = '{kind}'\n{PROBE}\n", daemon()));
        assert_eq!(own.union(&common).cloned().collect::<BTreeSet<_>>(), wanted, "{heading}");
        let key = PROVIDER.replace("mobivate", kind);
        let key = if kind == "single-invoice" {
            key.replace("username", "apikey").replace("'u'", "{ credential = 'a' }")
        } else {
            key
        };
        let key = if kind == "single-invoice" { key.replace("password = { credential = 'p' }\n", "") } else { key };
        let login = "username = 'u'\npassword = { credential = 'p' }\n";
        let key = if kind == "manual" { key.replace(login, "") } else { key };
        let wanted = accepted(&format!("{BASE}{key}create = {{ {PROBE} }}\n"));
        assert_eq!(create, wanted, "{heading}, create");
        assert!(README.contains(&format!("`{kind}`")), "the README names {kind}");
    }
}

#[test]
fn every_kind_of_target_is_documented_field_by_field() {
    for kind in targets::KINDS.iter().map(|it| it.name) {
        let target = format!("{BASE}{PROVIDER}[[keys.k.deliver]]\nkind = '{kind}'\n");
        check(&format!("### kind = `{kind}`"), &format!("{target}{PROBE}\n"));
    }
    let file = format!("{BASE}{PROVIDER}[[keys.k.deliver]]\nkind = 'file'\npath = '/x/y'\n");
    check("### `then`", &format!("{file}then = {{ {PROBE} }}\n"));
    check("### `confirm`", &format!("{file}confirm = {{ {PROBE} }}\n"));
}

#[test]
fn every_problem_type_of_the_control_socket_is_documented() {
    for kind in control::problem::Kind::ALL {
        let uri = serde_json::to_value(kind).unwrap();
        let row = format!("| `{}` | {} | ", uri.as_str().unwrap(), kind.status());
        assert!(HTTP_API.contains(&row), "docs/http-api.md lacks: {row}");
    }
}

#[test]
fn every_test_and_every_limit_that_the_architecture_names_is_there() {
    let code: String = files::rust_files().iter().map(|it| fs::read_to_string(it).unwrap()).collect();
    let words = ARCHITECTURE.split('`').skip(1).step_by(2).flat_map(|it| it.split(['{', '}', ',', ' ', ':', '\n']));
    let mut seen = (0, 0);
    for word in words {
        let snake = word.matches('_').count() > 3
            && word.chars().all(|it| it.is_ascii_lowercase() || it == '_' || it.is_ascii_digit());
        let shout = word.len() > 4
            && word != "CAPABILITIES"
            && word != "KINDS"
            && word.chars().all(|it| it.is_ascii_uppercase() || it == '_');
        if snake {
            seen.0 += 1;
            assert!(code.contains(&format!("fn {word}(")), "there is no test {word}");
        } else if shout && word.contains('_') {
            seen.1 += 1;
            assert!(code.contains(&format!("const {word}: ")), "there is no limit {word}");
        }
    }
    assert!(seen.0 > 15 && seen.1 > 30, "{seen:?}");
}

/// Checks that the tables under a heading name exactly the fields that the parser accepts there.
#[track_caller]
fn check(heading: &str, text: &str) {
    assert_eq!(documented(heading), accepted(text), "{heading}");
}

/// The fields in the tables under a heading, up to the next one.
#[track_caller]
fn documented(heading: &str) -> BTreeSet<String> {
    let (_, rest) = CONFIG.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let part = rest.split("\n#").next().unwrap_or(rest);
    let field = |line: &str| line.strip_prefix("| `")?.split_once('`').map(|(it, _)| it.to_owned());
    part.lines().filter_map(field).collect()
}

/// The fields that the hint for the one that there isn't lists; none where there is no hint.
#[track_caller]
fn accepted(text: &str) -> BTreeSet<String> {
    let source = Source { path: "rekeyd.toml".into(), text: text.to_owned() };
    let faults = config::parse(vec![source]).expect_err("there is no such field").faults;
    let fault = faults.iter().find(|it| it.message.contains("zzzzzzzzzz")).unwrap_or_else(|| panic!("{faults:?}"));
    let prefix = if fault.message.contains("`create.") { "create." } else { "" };
    let hint = fault.hint.clone().unwrap_or_default();
    let known = hint.strip_prefix("known here: ").unwrap_or_default();
    known.split(", ").filter(|it| !it.is_empty()).map(|it| format!("{prefix}{it}")).collect()
}

/// The least that another section can stand on.
fn daemon() -> &'static str {
    "daemon = { master_key = { credential = 'm' } }\n"
}

/// A clock that shows less than the day of the newest release, such as `## [0.2.0] - 2027-01-15`, is not to be believed.
#[test]
fn no_release_is_newer_than_the_day_on_which_the_program_says_that_it_was_written() {
    let days = |changelog: &str| -> Vec<i64> {
        let releases = changelog.lines().filter(|it| it.starts_with("## [") && !it.starts_with("## [Unreleased]"));
        let day = |it: &str| chrono::DateTime::parse_from_rfc3339(&format!("{it}T00:00:00Z")).unwrap();
        releases.map(|it| day(it.rsplit(' ').next().unwrap()).timestamp_millis()).collect()
    };
    assert_eq!(days("## [Unreleased]\n## [0.2.0] - 2026-11-22\n"), [1_795_305_600_000]);
    for day in days(CHANGELOG) {
        assert!(day <= rekeyd::clock::WRITTEN.0, "{day}: bring the constant in src/clock.rs up to date");
    }
}

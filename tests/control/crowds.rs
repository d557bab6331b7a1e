//! `check` and the dates of the keys: those that fall due together and find no room are told months ahead.
use crate::fixture::*;
use crate::socket::{Daemon, Desk, daemon};
use rekeyd::core::policy::{Policy, RotateBefore};
use rekeyd::core::record::{Record, Version};
use rekeyd::engine::handle::Snapshot;
use rekeyd::standing::crowds::crowds;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Output;

const HEAD: &str = "[daemon]\nowners = ['team']\nmaster_key = { env = 'K' }\nstate_dir = '/nonexistent'\n[owners.team]\nexec = [{ command = ['/bin/true'] }]\n\
                    [providers.sms]\nkind = 'infobip'\nusername = 'acme'\npassword = { env = 'P' }\n";
const NIGHTS: &str = "[windows.nights]\nopen = '0 22 * * Mon-Thu'\nduration = '4h'\n";

/// A config of so many keys, of 90 days, due 30 days before their end.
fn config(keys: usize, creates_per_day: u32, lines: &str) -> String {
    let mut text = format!(
        "{HEAD}creates_per_day = {creates_per_day}\n{NIGHTS}[defaults]\nprovider = 'sms'\nowners = ['team']\nvalid_for = '90d'\nrotate_before = '30d'\nwindows = ['nights']\n{lines}\n"
    );
    for n in 0..keys {
        let _ = writeln!(
            text,
            "[keys.key-{n:04}]\ncreate.name = 'k'\ndeliver = [{{ kind = 'file', path = '/srv/{{{{key}}}}' }}]"
        );
    }
    text
}

/// What a daemon holds of them: each issued so many days ago.
fn held(keys: usize, days_ago: impl Fn(usize) -> u32) -> Snapshot {
    let mut world = one(policy(), record("it", version(1, "2026-06-15T00:00:00Z", None)));
    world.records = (0..keys)
        .map(|n| {
            let began = rekeyd::clock::now().minus(days_ago(n) * DAY);
            let mut current = version(1, "2026-06-15T00:00:00Z", None);
            current = Version {
                obtained_at: began,
                valid_from: Some(began),
                valid_to: Some(began.plus(90 * DAY)),
                ..current
            };
            let name = name(&format!("key-{n:04}"));
            (name.clone(), Record { name, ..record("it", current) })
        })
        .collect::<BTreeMap<_, _>>();
    world
}

async fn checked(socket: &Path, config: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rekeyd.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rekeyd"));
    command.env("K", "00".repeat(32)).env("P", "p").arg("--config").arg(&file).arg("--socket").arg(socket).arg("check");
    let said: Output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8([said.stdout, said.stderr].concat()).unwrap();
    (said.status.code(), text.replace(&format!("{}/", dir.path().display()), ""))
}

async fn daemon_with(keys: usize, days_ago: impl Fn(usize) -> u32) -> Daemon {
    daemon(held(keys, days_ago), Desk::default()).await
}

/// The dates are those of today, so that only their place is compared.
fn without_dates(text: &str) -> String {
    let day = |word: &str| word.len() >= 10 && word.as_bytes()[4] == b'-' && word.as_bytes()[7] == b'-';
    text.split(' ')
        .map(|it| if day(it) { it.replacen(&it[..10], "DATE", 1) } else { it.to_owned() })
        .collect::<Vec<_>>()
        .join(" ")
}

#[tokio::test]
async fn keys_that_were_issued_together_are_warned_of_by_the_dates_that_the_daemon_knows() {
    let together = daemon_with(400, |_| 10).await;
    let (code, said) = checked(&together.socket, &config(400, 10, "")).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("if all keys were issued now"), "{said}");
    let warning = without_dates(said.lines().next().unwrap());
    let begins = "rekeyd.toml:11:19: warning: 400 keys of account `sms` are to be replaced between DATE and DATE: 10 creates a day need 40 days, and \
                  their windows and freezes leave ";
    assert!(warning.starts_with(begins), "{said}");
    assert!(warning.ends_with(" would be replaced outside their windows or in a freeze"), "{said}");
    let spread = daemon_with(400, |n| u32::try_from(n % 90).unwrap()).await;
    assert_eq!(
        checked(&spread.socket, &config(400, 10, "")).await,
        (Some(0), "ok: 400 keys, 1 provider, 1 owner\n".into())
    );
}

#[tokio::test]
async fn where_nobody_knows_the_dates_keys_that_are_adopted_count_as_issued_now() {
    let nobody = Path::new("/nonexistent/control.sock");
    let (code, said) = checked(nobody, &config(400, 10, "")).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("warning: if all keys were issued now, 400 keys of account `sms` are to be replaced"),
        "{said}"
    );
    assert!(said.contains("hint: creates_per_day = "), "{said}");
    // What the hint says is true, and one less is not enough.
    let enough = said.split("creates_per_day = ").nth(1).unwrap().split(' ').next().unwrap().parse::<u32>().unwrap();
    assert!(checked(nobody, &config(400, enough, "")).await.1.starts_with("ok"), "{said}");
    assert!(checked(nobody, &config(400, enough - 1, "")).await.1.contains("warning"), "{said}");
    // First keys are created as the budget allows, so that they are spread.
    let created = config(400, 10, "initial = 'create'");
    assert_eq!(checked(nobody, &created).await, (Some(0), "ok: 400 keys, 1 provider, 1 owner\n".into()));
}

/// The message as a whole, by a clock that stands still.
#[test]
fn a_crowd_is_told_with_its_figures() {
    let base = Policy {
        rotate_before: RotateBefore::Lead(30 * DAY),
        valid_for: Some(90 * DAY),
        windows: vec![weeknights()],
        creates_per_day: 25,
        ..policy()
    };
    let mut world = empty();
    for n in 0..1000 {
        let current = version(1, "2026-11-20T00:00:00Z", Some("2027-02-18T00:00:00Z"));
        let key = format!("key-{n:04}");
        world.add(&key, "sms", base.clone(), Some(record(&key, current)));
    }
    let found = crowds(&world.0);
    assert_eq!(found.len(), 1);
    let it = &found[0];
    assert_eq!((it.account.as_str(), it.keys, it.creates_per_day, it.late), ("sms", 1000, 25, 0));
    assert_eq!(
        (it.from.to_string(), it.until.to_string()),
        ("2027-01-04T00:00:00Z".into(), "2027-02-17T00:00:00Z".into())
    );
    assert_eq!((it.open_days, it.outside, it.enough), (26, 350, Some(39)));
    let text = rekeyd::cli::check::crowd(it, false);
    assert_eq!(
        text,
        "1000 keys of account `sms` are to be replaced between 2027-01-04 and 2027-02-17: 25 creates a day need 40 days, and \
         their windows and freezes leave 26; 350 would be replaced outside their windows or in a freeze\n  hint: \
         creates_per_day = 39 is enough, if the provider allows it; else let their windows open on more days, or replace some \
         of them sooner by hand, a few each day: rekeyd rotate KEY"
    );
}

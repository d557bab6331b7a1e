//! `plan` from the command line: with a daemon, without one, as if new, as a calendar, and compared with another config.
use crate::rig::{Rig, calm, copy_folder};
use rekeyd::control::protocol::{PlanReport, WhatIf};
use rekeyd::simulator::Service;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

const BOTH: [Service; 2] = [Service::Infobip, Service::Mobivate];

async fn plan(rig: &Rig, args: &[&str]) -> PlanReport {
    serde_json::from_str(&rig.ok(&[&["plan", "--json"], args].concat()).await).unwrap()
}

fn keys(plan: &PlanReport) -> Vec<&str> {
    let mut keys: Vec<_> = plan.entries.iter().map(|it| it.key_name()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[tokio::test]
async fn a_plan_without_a_daemon_is_that_of_the_daemon_and_leaves_the_state_as_it_was() {
    let mut rig = Rig::start_created(calm(&BOTH)).await;
    let with = plan(&rig, &["--for", "6h"]).await;
    assert!(with.entries.iter().filter(|it| it.action == "rotate").count() > 2, "{with:?}");
    rig.stop().await;
    copy_folder(&rig.path("state"), &rig.path("before"));

    let without = plan(&rig, &["--for", "6h"]).await;
    let rotations = |plan: &PlanReport| -> Vec<_> {
        let it = plan.entries.iter().filter(|it| it.action == "rotate");
        it.map(|it| (it.key.clone(), it.at, it.version)).collect()
    };
    // A later end of the plan brings no other beginning.
    let shared = rotations(&with).len().min(rotations(&without).len());
    assert_eq!(rotations(&with)[..shared], rotations(&without)[..shared]);
    assert_eq!(with.install, without.install);
    assert!(rig.ok(&["plan"]).await.starts_with("the daemon does not run: this is from "));
    let same = Command::new("diff").arg("-r").args([rig.path("before"), rig.path("state")]).output().unwrap();
    assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
    rig.run().await;
}

#[tokio::test]
async fn a_state_that_a_daemon_holds_is_left_to_it_and_the_refusal_says_whose_it_is() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let elsewhere = rig.path("nobody.sock");
    let args = ["plan", "--socket", elsewhere.to_str().unwrap()];
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekeyd"));
    let said = command.arg("--config").arg(rig.config()).args(args).output().unwrap();
    let err = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(75), "{err}");
    assert!(err.contains("a daemon (pid ") && err.contains("but does not answer on"), "{err}");
    assert!(err.contains("rekeyd --config"), "{err}");
}

#[tokio::test]
async fn without_any_state_a_plan_says_so_and_as_if_new_it_needs_none() {
    let rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let said = rig.cli(&["plan"]).await;
    assert_eq!(said.code, Some(69), "{}", said.err);
    assert!(said.err.contains("holds no state yet") && said.err.contains("plan --assume-new"), "{}", said.err);
    let new = plan(&rig, &["--assume-new", "--for", "6h"]).await;
    assert_eq!(keys(&new), ["billing-sms"]);
    assert_eq!(new.install, None);
    assert!(!rig.path("state").join("sled").exists());
}

#[tokio::test]
async fn a_plan_is_of_the_keys_or_of_the_owner_that_it_is_asked_for() {
    let rig = Rig::start_created(calm(&BOTH)).await;
    assert_eq!(keys(&plan(&rig, &["--key", "billing-sms"]).await), ["billing-sms"]);
    let owner = plan(&rig, &[]).await.entries[0].owners[0].clone();
    assert_eq!(keys(&plan(&rig, &["--owner", &owner]).await).len(), 2);
    let nobody = rig.cli(&["plan", "--owner", "nobody"]).await;
    assert_eq!(nobody.code, Some(66));
    assert!(nobody.err.contains("no key is of owner nobody; the owners are: "), "{}", nobody.err);
    let nothing = rig.cli(&["plan", "--key", "nothing"]).await;
    assert_eq!(nothing.code, Some(66), "{}", nothing.err);
}

#[tokio::test]
async fn another_config_is_compared_with_the_one_in_use_whether_a_daemon_runs_or_not() {
    let mut rig = Rig::start_created(calm(&BOTH)).await;
    let other = rig.path("other");
    std::fs::create_dir(&other).unwrap();
    let other = other.join("rekeyd.toml");
    let text = std::fs::read_to_string(rig.config()).unwrap();
    let file = other.to_str().unwrap().to_owned();
    let args = ["plan", "--for", "4h", "--what-if", &file];

    std::fs::write(&other, &text).unwrap();
    assert!(rig.ok(&args).await.contains("nothing changes"));

    let windows = "\n[windows.yearly]\nopen = \"0 0 29 2 *\"\nduration = \"1m\"\n[defaults]\nwindows = [\"yearly\"]\nattempts_in_window = 1\n";
    let later = text.replace("rotate_before = \"10m\"", "rotate_before = \"20m\"");
    assert_ne!(later, text, "{text}");
    std::fs::write(&other, &later).unwrap();
    for daemon in [true, false] {
        if !daemon {
            rig.stop().await;
        }
        let said = rig.cli(&[&args[..], &["--json"]].concat()).await;
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
        let report: WhatIf = serde_json::from_str(&said.out).unwrap();
        assert!(report.ok && report.appear.is_empty() && report.disappear.is_empty(), "{report:?}");
        let first = report.moves.iter().find(|it| it.key.as_str() == "billing-sms").unwrap();
        assert!(first.to.unwrap() < first.from.unwrap(), "{first:?}");
        assert!(rig.ok(&args).await.contains("10m sooner"));
    }

    std::fs::write(&other, text.clone() + windows).unwrap();
    let said = rig.cli(&args).await;
    // A window that hardly ever opens is a fault, and what it comes to is told.
    assert_eq!(said.code, Some(78), "{}{}", said.out, said.err);
    assert!(said.err.contains("opens on day 29 of the month in February at 00:00 UTC for 1m"), "{}", said.err);

    let freeze = "\n[freezes.always]\nfrom = 2020-01-01\nto = 2120-01-01\n";
    std::fs::write(&other, text.clone() + freeze).unwrap();
    let said = rig.cli(&args).await;
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.out.contains("2 keys would be worse off:"), "{}", said.out);
    assert!(said.out.contains("in freeze always"), "{}", said.out);
}

#[tokio::test]
async fn a_key_that_the_other_config_drops_or_adds_is_named() {
    let rig = Rig::start_created(calm(&BOTH)).await;
    let other = rig.path("other.toml");
    let text = std::fs::read_to_string(rig.config()).unwrap();
    std::fs::write(
        &other,
        text.replace("[keys.billing-sms]", "[keys.invoice-sms]")
            .replace("[[keys.billing-sms.deliver]]", "[[keys.invoice-sms.deliver]]"),
    )
    .unwrap();
    let said = rig.ok(&["plan", "--what-if", other.to_str().unwrap(), "--json"]).await;
    let report: WhatIf = serde_json::from_str(&said).unwrap();
    let names = |it: &[rekeyd::core::names::KeyName]| it.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        (names(&report.appear), names(&report.disappear)),
        (vec!["invoice-sms".into()], vec!["billing-sms".into()])
    );
}

/// What the `icalendar` package of Python makes of a calendar.
fn events(calendar: &str) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/read_calendar.py");
    let mut command = Command::new("python3");
    let mut child = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), calendar.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    assert!(said.status.success(), "needs the Python package icalendar: tests/run installs it");
    serde_json::from_slice(&said.stdout).unwrap()
}

#[tokio::test]
async fn a_calendar_is_read_by_a_calendar_program_and_its_events_stay_the_same() {
    let rig = Rig::start_created(calm(&BOTH)).await;
    let plan = plan(&rig, &["--for", "6h"]).await;
    let calendar = rig.ok(&["plan", "--for", "6h", "--ics"]).await;
    assert!(calendar.ends_with("END:VCALENDAR\r\n") && calendar.split("\r\n").all(|it| it.len() <= 75));
    assert!(!calendar.replace("\r\n", "").contains('\n'));
    let events = events(&calendar);
    let planned: Vec<_> = plan.entries.iter().filter(|it| it.action != "probe").collect();
    // The second one looks a little further.
    assert!(events.len() >= planned.len() - 2 && !events.is_empty(), "{events:?}");
    for (event, entry) in events.iter().zip(&planned) {
        assert_eq!(event["summary"], format!("{} {}", entry.action, entry.key_name()));
        let message = entry.message.split(" 20").next().unwrap();
        assert!(event["description"].as_str().unwrap().starts_with(message), "{event}");
        // What begins now is a moment later by then.
        assert!(event["start"].as_i64().unwrap().abs_diff(entry.at.0.0 / 1000) < 30, "{event}");
        assert!(event["categories"].as_array().unwrap().contains(&Value::from(entry.action.clone())));
    }
    // Nothing that comes later is another event for it.
    let uids = |events: &[Value]| events.iter().map(|it| it["uid"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let all = uids(&events);
    assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len(), "a UID twice");
    let later = uids(&self::events(&rig.ok(&["plan", "--for", "6h", "--ics"]).await));
    assert_eq!(later[..all.len().min(later.len())], all[..all.len().min(later.len())]);
    assert_eq!(rig.cli(&["plan", "--ics", "--json"]).await.code, Some(64));
}

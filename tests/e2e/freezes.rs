//! A freeze holds what is only planned, and an operator's `--now` passes it.
use crate::rig::{Rig, calm};
use rekeyd::control::protocol::{KeyStatus, PhaseName, PlanReport};
use rekeyd::simulator::Service;

const FREEZE: &str = "\n[freezes.always]\nfrom = 2020-01-01\nto = 2120-01-01\n";

#[tokio::test]
async fn a_freeze_holds_a_rotation_and_now_passes_it() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    rig.edit_config(|it| it + FREEZE);
    rig.ok(&["reload"]).await;
    let old = rig.held("billing-sms").unwrap();
    rig.ok(&["rotate", "billing-sms"]).await;
    let is_held = |it: &KeyStatus| it.blocked.as_ref().is_some_and(|it| it.reason == "freeze");
    let held = rig.until("billing-sms", "held by the freeze", is_held).await;
    assert!(held.blocked.unwrap().message.contains("freeze always lasts"));
    assert_eq!(rig.held("billing-sms"), Some(old.clone()));
    let plan: PlanReport = serde_json::from_str(&rig.ok(&["plan", "--json"]).await).unwrap();
    let entry = plan.entries.iter().find(|it| it.action == "rotate").unwrap();
    assert_eq!(entry.reason, "leaves_freeze", "{entry:?}");

    rig.ok(&["rotate", "--now", "--wait", "billing-sms"]).await;
    assert_ne!(rig.held("billing-sms"), Some(old));
    // The old key's end is only planned: it waits.
    let ending = rig.until("billing-sms", "to be revoked", |it| it.phase == PhaseName::Revoke).await;
    assert_eq!((ending.current.unwrap().version, ending.previous.unwrap().version), (2, 1));

    // What was lost is brought back, freeze or not.
    let file = rig.key_file("billing-sms");
    std::fs::remove_file(&file).unwrap();
    rig.signal(rustix::process::Signal::USR1);
    rig.until_true("the file is healed", || file.exists()).await;
}

#[tokio::test]
async fn check_finds_freezes_that_can_not_be_and_windows_that_open_too_seldom() {
    let rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.edit_config(|it| {
        let window = "\n[windows.seldom]\nopen = \"0 22 1 * *\"\nduration = \"1h\"\n";
        let freeze = "[freezes.odd]\nfrom = \"01-04\"\nto = 2026-12-18\n";
        let key = "[keys.rare]\nprovider = \"infobip\"\nowners = [\"payments\"]\nvalid_for = \"90d\"\nrotate_before = \"14d\"\n\
                   windows = [\"seldom\"]\nfreezes = [\"od\"]\n";
        it + window + freeze + key
    });
    let said = rig.cli(&["check"]).await;
    assert_eq!(said.code, Some(78), "{}{}", said.out, said.err);
    for part in [
        "`from` and `to` are written in two different ways",
        "there is no freeze `od`\n  hint: did you mean `odd`?",
        "when key `rare` is due at its worst moment, none of its windows opens before it expires, 14d later",
    ] {
        assert!(said.err.contains(part) || said.out.contains(part), "{part}: {}{}", said.out, said.err);
    }
}

/// Five keys whose budget and windows are enough when they are made, and not for all of them together.
fn batch(rig: &Rig) -> String {
    let key = |n: usize| {
        let path = rig.key_file(&format!("batch-{n}"));
        format!(
            "\n[keys.batch-{n}]\nprovider = \"infobip\"\nowners = [\"payments\"]\ninitial = \"create\"\n\
             valid_for = \"20d\"\nrotate_before = \"9d\"\nattempts_in_window = 1\noverlap = \"1s\"\n\
             create = {{ name = \"batch\" }}\n[[keys.batch-{n}.deliver]]\nkind = \"file\"\npath = {path:?}\n"
        )
    };
    (0..5).map(key).collect()
}

#[tokio::test]
async fn check_knows_the_dates_of_keys_from_the_daemon_or_else_from_its_state() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.edit_config(|it| it + &batch(&rig));
    rig.run().await;
    for n in 0..5 {
        rig.until_version(&format!("batch-{n}"), 1).await;
    }
    rig.edit_config(|it| {
        let window = "\n[windows.mondays]\nopen = \"0 22 * * Mon\"\nduration = \"4h\"\n";
        it.replace("valid_for = \"2h\"", "valid_for = \"90d\"")
            .replace("creates_per_day = 100000\n", "creates_per_day = 1\n")
            .replace("attempts_in_window = 1\n", "attempts_in_window = 1\nwindows = [\"mondays\"]\n")
            + window
    });
    let said = async |rig: &Rig| {
        let said = rig.cli(&["check"]).await;
        let all = said.out + &said.err;
        all.lines().find(|it| it.contains("are to be replaced between")).map(str::to_owned).ok_or(all)
    };
    let by_the_daemon = said(&rig).await.unwrap();
    assert!(!by_the_daemon.contains("if all keys were issued now"), "{by_the_daemon}");
    rig.stop().await;
    assert_eq!(said(&rig).await.unwrap(), by_the_daemon, "the state of a daemon that does not run says the same");
    std::fs::rename(rig.path("state"), rig.path("moved")).unwrap();
    let assumed = said(&rig).await.unwrap();
    assert!(assumed.contains("if all keys were issued now"), "{assumed}");
}

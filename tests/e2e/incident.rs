//! What an operator does while something is wrong, and what an auditor reads of it afterwards.
use crate::rig::{PATIENCE, Rig, Said, calm};
use rekeyd::control::protocol::HistoryReport;
use rekeyd::core::time::Timestamp;
use rekeyd::simulator::{Service, World};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

async fn both() -> Rig {
    Rig::start_created(calm(&[Service::Infobip, Service::SingleInvoice])).await
}

async fn paused(rig: &Rig) -> Vec<String> {
    let keys = rig.status().await.keys.into_iter().filter(|it| it.paused.is_some());
    keys.map(|it| it.name.to_string()).collect()
}

#[tokio::test]
async fn keys_are_paused_by_name_by_provider_by_owner_or_all_of_them() {
    let rig = both().await;
    for (which, held) in [
        (&["billing-sms"][..], &["billing-sms"][..]),
        (&["--provider", "single-invoice"], &["invoices"]),
        (&["--owner", "payments"], &["billing-sms", "invoices"]),
        (&["--all"], &["billing-sms", "invoices"]),
        (&["invoices", "billing-sms"], &["billing-sms", "invoices"]),
    ] {
        let said = rig.ok(&[&["pause", "--until", "2h"], which].concat()).await;
        assert!(said.contains("(in 1 hour)") || said.contains("(in 2 hours)"), "{said}");
        assert_eq!(said.lines().count(), held.len(), "{said}");
        assert_eq!(paused(&rig).await, held, "{which:?}");
        rig.ok(&[&["resume"], which].concat()).await;
        assert!(paused(&rig).await.is_empty(), "{which:?}");
    }
}

#[tokio::test]
async fn a_choice_that_means_no_key_names_those_that_there_are_and_pauses_none() {
    let rig = both().await;
    for (which, known) in [
        (&["billing-sms", "billing-smss"][..], "there is no key billing-smss; did you mean billing-sms?"),
        (&["--provider", "infobop"], "no key is of provider infobop; did you mean infobip?"),
        (&["--owner", "sales"], "no key is of owner sales; the owners are: payments"),
    ] {
        let said = rig.cli(&[&["pause"], which].concat()).await;
        assert_eq!(said.code, Some(66), "{said:?}");
        assert!(said.err.contains(known) && said.err.contains(" status\n"), "{said:?}");
    }
    assert_eq!(rig.cli(&["rotate", "--now", "billing-sms", "billing-smss"]).await.code, Some(66));
    for none in [&["pause"][..], &["resume", "--all", "billing-sms"], &["pause", "--all", "--until", "soon"]] {
        assert_eq!(rig.cli(none).await.code, Some(2), "{none:?}");
    }
    assert_eq!(rig.cli(&["pause", "--all", "--until", "2020-01-01"]).await.code, Some(65));
    assert!(paused(&rig).await.is_empty());
}

#[tokio::test]
async fn a_pause_ends_at_its_time() {
    let rig = both().await;
    rig.ok(&["pause", "billing-sms", "--until", "8s"]).await;
    assert_eq!(rig.cli(&["rotate", "--now", "billing-sms"]).await.code, Some(65));
    rig.until("billing-sms", "free again", |it| it.paused.is_none()).await;
    rig.ok(&["rotate", "--now", "--wait", "billing-sms"]).await;
}

#[tokio::test]
async fn a_key_that_is_refused_holds_up_no_other_and_is_told() {
    let rig = both().await;
    rig.ok(&["pause", "invoices"]).await;
    let Said { code, out, err } = rig.cli(&["rotate", "--now", "--wait", "invoices", "billing-sms"]).await;
    assert_eq!(code, Some(65), "{out}{err}");
    assert!(out.contains("billing-sms: rotated") && err.contains("key invoices: it is paused"), "{out}{err}");
    assert!(err.contains(" resume invoices\n"), "{err}");
    rig.until_version("billing-sms", 2).await;
    let said = rig.cli(&["rotate", "--now", "--json", "invoices", "billing-sms"]).await;
    let rows: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(rows[1]["problem"]["type"], "urn:rekeyd:problem:phase");
    assert!(rows[0]["problem"].is_null() && rows[0]["attempt"] == 3, "{rows}");
}

#[tokio::test]
async fn what_cannot_be_undone_is_not_done_where_nobody_can_be_asked() {
    let rig = both().await;
    for verb in ["retire", "forget"] {
        let said = rig.cli(&[verb, "billing-sms"]).await;
        assert_eq!(said.code, Some(64), "{said:?}");
        assert!(said.err.contains(&format!(" {verb} billing-sms --yes\n")), "{said:?}");
    }
}

#[tokio::test]
async fn on_a_terminal_what_cannot_be_undone_is_done_after_a_yes_alone() {
    let mut rig = both().await;
    rig.stop().await;
    rig.world.services = vec![Service::SingleInvoice];
    rig.write_config();
    rig.run().await;
    let retire = format!(
        "{} --socket {} retire billing-sms",
        env!("CARGO_BIN_EXE_rekeyd"),
        World::control_socket(&rig.path("")).display()
    );
    for (answer, code) in [("n\n", 75), ("\n", 75), ("yes please\n", 75), ("y\n", 0)] {
        assert!(rig.held("billing-sms").is_some_and(|it| !it.is_empty()), "before {answer:?}");
        // `script` gives the command a terminal, and types what it reads.
        let mut command = Command::new("script");
        command.args(["-qec", &retire, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(answer.as_bytes()).await.unwrap();
        let said = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
        let shown = String::from_utf8_lossy(&said.stdout);
        assert_eq!(said.status.code(), Some(code), "{answer:?}: {shown}");
        assert!(shown.contains("This can't be undone. Go on? [y/N]"), "{shown}");
    }
    rig.until_true("its file is emptied", || rig.held("billing-sms").is_none_or(|it| it.is_empty())).await;
}

#[tokio::test]
async fn an_auditor_reads_who_paused_rotated_and_read_a_key_and_when() {
    let rig = both().await;
    rig.ok(&["pause", "billing-sms", "--reason", "before the span"]).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let from = now(&rig).await;
    rig.ok(&["resume", "billing-sms", "--reason", "the storm is over"]).await;
    rig.ok(&["rotate", "--now", "--wait", "billing-sms", "--reason", "a leaver"]).await;
    rig.ok(&["reveal", "billing-sms"]).await;
    rig.ok(&["pause", "invoices"]).await;
    let to = now(&rig).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    rig.ok(&["pause", "billing-sms", "--reason", "after the span"]).await;
    let (since, until) = (from.to_string(), to.to_string());
    let span = ["history", "billing-sms", "--since", &since, "--until", &until];
    let report: HistoryReport = serde_json::from_str(&rig.ok(&[&span[..], &["--json"]].concat()).await).unwrap();
    let uid = rustix::process::geteuid().as_raw();
    let rows =
        report.commands.iter().map(|it| (it.verb.as_str(), it.reason_given.as_deref(), it.actor.as_ref().unwrap().uid));
    let expected = [("resume", Some("the storm is over"), uid), ("rotate", Some("a leaver"), uid)];
    assert_eq!(rows.collect::<Vec<_>>(), expected);
    assert_eq!(report.commands[1].options, ["--now"]);
    assert!(
        report
            .commands
            .iter()
            .all(|it| it.key.as_ref().unwrap().as_str() == "billing-sms" && from <= it.at.0 && it.at.0 <= to)
    );
    assert_eq!((report.rotations.len(), report.reads.len()), (1, 1));
    assert!(report.notices.iter().all(|it| !it.channels.is_empty()), "{:?}", report.notices);
    let text = rig.ok(&span).await;
    for part in ["resume", "rotate --now", "the storm is over", "a leaver", "reveal", "rotation.succeeded"] {
        assert!(text.contains(part), "no {part} in:\n{text}");
    }
    assert!(!text.contains("the span"), "{text}");
}

async fn now(rig: &Rig) -> Timestamp {
    rig.status().await.now.0
}

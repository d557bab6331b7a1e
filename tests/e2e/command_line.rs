//! What the command line answers to somebody who has only it: every answer is true, says what helps, and what it names to be
//! tried next can be run as it stands.
use crate::decommission::{KEY, forgotten, leave_config};
use crate::rig::{Rig, ago, calm, number, write};
use rekeyd::control::protocol::{DaemonState, HistoryReport, KeyStatus, PhaseName};
use rekeyd::simulator::{MailMode, Service, World};
use rustix::process::Signal;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::Duration;

async fn with_one_key() -> Rig {
    Rig::start_created(calm(&[Service::Infobip])).await
}

/// Gives a shell a command that was named, as somebody does who copies it.
pub(crate) async fn run_as_it_stands(named: &str) -> Output {
    let script = named.replace("rekeyd --config", &format!("{} --config", env!("CARGO_BIN_EXE_rekeyd")));
    let run = move || Command::new("sh").args(["-c", &script]).output().unwrap();
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// What stands behind a word that ends a line.
pub(crate) fn behind<'a>(text: &'a str, word: &str) -> &'a str {
    let (_, rest) = text.split_once(word).unwrap_or_else(|| panic!("no {word:?} in {text}"));
    rest.lines().next().unwrap().trim()
}

#[tokio::test]
async fn a_command_that_is_named_to_be_tried_next_can_be_run_as_it_stands() {
    let rig = with_one_key().await;
    let said = rig.ok(&["pause", KEY]).await;
    let resume = behind(&said, "end it: ");
    assert!(resume.starts_with("rekeyd --config /"), "{said}");
    assert!(run_as_it_stands(resume).await.status.success(), "{resume}");
    assert_eq!(rig.key(KEY).await.paused, None);
    rig.ok(&["pause", KEY]).await;
    let status = rig.ok(&["status", KEY]).await;
    assert!(run_as_it_stands(behind(&status, "try:")).await.status.success(), "{status}");
    assert_eq!(rig.key(KEY).await.paused, None);
    let refused = rig.cli(&["history", "nobody"]).await;
    assert!(run_as_it_stands(behind(&refused.err, "try: ")).await.status.success(), "{}", refused.err);
    let json = rig.ok(&["pause", KEY, "--json"]).await;
    assert!(json.contains("rekeyd resume"), "scripts read what the daemon says: {json}");
}

#[tokio::test]
async fn a_key_that_is_not_there_has_no_history_and_one_that_was_there_has() {
    let rig = with_one_key().await;
    for args in [&["history", "biling-sms"][..], &["status", "biling-sms"], &["pause", "biling-sms"]] {
        let said = rig.cli(args).await;
        assert_eq!(said.code, Some(66), "{args:?}: {}{}", said.out, said.err);
        assert!(said.err.contains("there is no key biling-sms; did you mean billing-sms?"), "{}", said.err);
    }
    let said = rig.cli(&["history", "nobody"]).await;
    assert!(said.code == Some(66) && said.err.contains("the keys are: billing-sms"), "{said:?}");
    leave_config(&rig).await;
    rig.ok(&["retire", "--yes", KEY]).await;
    forgotten(&rig).await;
    let past = rig.ok(&["history", KEY]).await;
    assert!(past.contains("retire") && past.contains("forget"), "{past}");
}

#[tokio::test]
async fn a_span_that_ends_before_it_begins_is_a_slip() {
    let rig = with_one_key().await;
    let said = rig.cli(&["history", "--since", "2026-12-02", "--until", "2026-12-01"]).await;
    assert_eq!(said.code, Some(64), "{said:?}");
    assert!(said.err.contains("--since 2026-12-02 00:00 UTC is after --until 2026-12-01 00:00 UTC"), "{}", said.err);
}

#[tokio::test]
async fn a_pause_is_not_cut_short_by_another() {
    let rig = with_one_key().await;
    rig.ok(&["pause", KEY, "--reason", "a migration"]).await;
    let said = rig.ok(&["pause", "--owner", "payments", "--until", "2h", "--reason", "an audit"]).await;
    assert!(said.contains("it keeps the pause without end by ") && said.contains("(a migration)"), "{said}");
    let pause = rig.key(KEY).await.paused.unwrap();
    assert_eq!((pause.until, pause.reason_given.as_deref()), (None, Some("a migration")));
    rig.ok(&["resume", KEY]).await;
    rig.ok(&["pause", KEY, "--until", "1h", "--reason", "an audit"]).await;
    let said = rig.ok(&["pause", "--all", "--until", "3h", "--reason", "a migration"]).await;
    assert!(said.contains("instead of the pause until ") && said.contains("(an audit)"), "{said}");
    assert_eq!(rig.key(KEY).await.paused.unwrap().reason_given.as_deref(), Some("a migration"));
    // The command at the end names the config's folder, whose name is chance.
    let (holds, _) = said.split_once("; end it: ").unwrap();
    assert!(!holds.contains('Z') && holds.contains(" UTC (in "), "times are for people: {said}");
    let reasons = history(&rig).await.commands.into_iter().filter_map(|it| it.reason_given);
    assert_eq!(reasons.count(), 4, "each stands in the history all the same");
}

#[tokio::test]
async fn a_key_that_is_adopted_already_is_not_asked_for_its_date_again() {
    let world = World { initial: "adopt".to_owned(), ..calm(&[Service::Mobivate]) };
    let mut rig = Rig::prepare(world).await;
    let used = rig.sim.stranger_creates_key(Service::Mobivate).unwrap().secret;
    write(&rig.key_file("campaign-sms"), &used);
    std::fs::set_permissions(rig.key_file("campaign-sms"), Permissions::from_mode(0o600)).unwrap();
    rig.run().await;
    rig.until_phase("campaign-sms", PhaseName::Unadopted).await;
    let issued = ago(Duration::from_secs(60));
    let adopt = ["adopt", "campaign-sms", "--from-target"];
    let looked = rig.ok(&[&adopt[..], &["--issued-at", &issued, "--dry-run"]].concat()).await;
    assert!(looked.contains("adopted: the target holds it, and is left as it is"), "{looked}");
    assert_eq!(rig.key("campaign-sms").await.phase, PhaseName::Unadopted, "a look changes nothing");
    let reason = ["--reason", "taken over from the old team"];
    rig.ok(&[&adopt[..], &["--issued-at", &issued], &reason].concat()).await;
    let before = rig.until_version("campaign-sms", 1).await;
    for args in [adopt.to_vec(), [&adopt[..], &["--dry-run"]].concat()] {
        let said = rig.ok(&args).await;
        assert!(said.contains("adopted already, as version 1; nothing changes"), "{args:?}: {said}");
    }
    assert_eq!(rig.key("campaign-sms").await.current, before.current);
    let adoptions = history(&rig).await.commands.into_iter().filter(|it| it.verb == "adopt");
    let reasons: Vec<_> = adoptions.map(|it| it.reason_given).collect();
    assert_eq!(reasons, [Some(reason[1].to_owned())]);
}

#[tokio::test]
async fn nothing_is_offered_for_adoption_while_the_daemon_only_observes() {
    let world = World { initial: "adopt".to_owned(), ..calm(&[Service::Infobip]) };
    let mut rig = Rig::prepare(world).await;
    let used = rig.sim.stranger_creates_key(Service::Infobip).unwrap().secret;
    write(&rig.key_file(KEY), &used);
    rig.run().await;
    rig.until_phase(KEY, PhaseName::Unadopted).await;
    rig.stop().await;
    if !rig.move_to_machine("0123456789abcdef0123456789abcdef") {
        return;
    }
    rig.run().await;
    let options = ["--age-unknown", "--from-target"];
    for args in [[&["adopt", "--all", "--yes"], &options[..]].concat(), [&["adopt", KEY], &options[..]].concat()] {
        let said = rig.cli(&args).await;
        let told = format!("{}{}", said.out, said.err);
        assert_eq!(said.code, Some(65), "{args:?}: {told}");
        assert!(told.contains("the daemon only observes") && told.contains("resume --all"), "{told}");
    }
    assert_eq!(rig.key(KEY).await.phase, PhaseName::Unadopted);
}

#[tokio::test]
async fn a_key_out_of_service_names_forget_as_what_is_left_to_do() {
    let rig = with_one_key().await;
    leave_config(&rig).await;
    let said = rig.ok(&["retire", "--yes", KEY]).await;
    assert!(said.contains("when that is done: rekeyd --config "), "{said}");
    let done = rig.until(KEY, "out of service", |it| !it.actions.is_empty()).await;
    assert_eq!(done.actions, [format!("rekeyd forget {KEY}")]);
    let again = rig.ok(&["retire", "--yes", KEY]).await;
    assert!(again.contains("it is out of service; drop its record: "), "{again}");
    let forget = behind(&again, "drop its record: ").to_owned() + " --yes";
    assert!(run_as_it_stands(&forget).await.status.success(), "{forget}");
    assert_eq!(rig.cli(&["status", KEY]).await.code, Some(66));
}

#[tokio::test]
async fn a_rotation_that_waits_for_its_budget_says_so() {
    let days = |it: u64| Duration::from_secs(it * 24 * 60 * 60);
    let world = World { lifetime: days(20), rotate_before: days(2), creates_per_day: 1, ..calm(&[Service::Infobip]) };
    let rig = Rig::start_created(world).await;
    rig.rotate(KEY).await;
    let for_its_budget = |it: &KeyStatus| it.blocked.as_ref().is_some_and(|it| it.reason == "budget");
    rig.until(KEY, "held", |it| it.phase == PhaseName::Create && for_its_budget(it)).await;
    let status = rig.ok(&["status", KEY]).await;
    let next = behind(&status, "next:");
    assert!(next.contains("it has waited since ") && next.contains("the daily create budget is used up"), "{status}");
    assert!(!next.contains("is being created") && !next.contains('Z'), "{next}");
}

#[tokio::test]
async fn notices_that_were_given_up_stay_in_sight_until_somebody_knows_of_them() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    rig.sim.mail().set_mode(MailMode::Rejects);
    rig.run().await;
    rig.until_rest().await;
    rig.until_own_notice("daemon.degraded", "firing").await;
    rig.until_told().await;
    assert_eq!(rig.status().await.daemon.state, DaemonState::Degraded);
    let status = rig.ok(&["status"]).await;
    let ack = behind(&status, "then: ").to_owned() + " --reason 'read in the history'";
    assert!(run_as_it_stands(&ack).await.status.success(), "{ack}");
    let daemon = rig.status().await.daemon;
    assert_eq!((daemon.state, daemon.outbox_dead), (DaemonState::Ok, 0));
    assert_eq!(rig.cli(&["status", "--exit-code"]).await.code, Some(0));
    let again = rig.cli(&["ack", "--dead-letters"]).await;
    assert!(again.code == Some(65) && again.err.contains("no notice was given up"), "{again:?}");
    let past = history(&rig).await;
    let dead: Vec<_> = past.notices.iter().flat_map(|it| &it.channels).filter(|it| it.state == "dead").collect();
    assert!(dead.iter().all(|it| it.why.as_ref().is_some_and(|it| it.contains("550"))), "{dead:?}");
    assert_eq!(
        dead.len(),
        1,
        "that they were not told stays in the history; the channel that failed is not told of itself"
    );
    let row = past.commands.last().unwrap();
    let told = (row.verb.as_str(), row.options.as_slice(), row.key.as_ref(), row.reason_given.as_deref());
    assert_eq!(told, ("ack", ["--dead-letters".to_owned()].as_slice(), None, Some("read in the history")));
    rig.kill().await;
    rig.run().await;
    assert_eq!(rig.status().await.daemon.outbox_dead, 0, "it lasts over a restart");
    rig.rotate(KEY).await;
    rig.until_version(KEY, 2).await;
    rig.until_told().await;
    assert!(rig.status().await.daemon.outbox_dead > 0, "the next one is another");
}

#[tokio::test]
async fn a_reload_stands_in_the_history_with_who_when_and_what_came_of_it() {
    let rig = with_one_key().await;
    let good = std::fs::read_to_string(rig.config()).unwrap();
    rig.ok(&["reload", "--reason", "a new owner"]).await;
    rig.edit_config(|it| it + "\n[keys.third]\nprovider = \"nobody\"\n");
    assert_eq!(rig.cli(&["reload"]).await.code, Some(78));
    write(&rig.config(), &good);
    rig.signal(Signal::HUP);
    rig.until_true("the reload is logged", || rig.log().contains("the config on disk is in use: 1 key")).await;
    let rows: Vec<_> = history(&rig).await.commands.into_iter().filter(|it| it.verb == "reload").collect();
    let results: Vec<_> = rows.iter().map(|it| it.result.clone().unwrap()).collect();
    assert_eq!((results[0].as_str(), results[2].as_str()), ("in use: 1 key", "in use: 1 key"));
    assert!(results[1].starts_with("refused: ") && results[1].contains("rekeyd.toml:"), "{results:?}");
    let own = rustix::process::geteuid().as_raw();
    let uids: Vec<_> = rows.iter().map(|it| it.actor.as_ref().map(|it| it.uid)).collect();
    assert_eq!(uids, [Some(own), Some(own), None], "a signal tells not who sent it");
    assert_eq!(rows[0].reason_given.as_deref(), Some("a new owner"));
    let text = rig.ok(&["history"]).await;
    assert!(text.contains("a new owner; in use: 1 key") && text.contains("a signal"), "{text}");
}

#[tokio::test]
async fn a_credential_is_read_at_start_and_a_file_at_each_use() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let (file, credential) = (rig.path("secrets/infobip"), rig.path("credentials/infobip"));
    let right = std::fs::read_to_string(&file).unwrap();
    std::fs::create_dir(rig.path("credentials")).unwrap();
    std::fs::write(&credential, &right).unwrap();
    let by_file = format!("password = {{ file = {file:?} }}");
    rig.edit_config(|it| it.replacen(&by_file, "password = { credential = \"infobip\" }", 1));
    rig.run().await;
    rig.until_rest().await;
    let refused =
        |it: &rekeyd::control::protocol::KeyStatus| it.blocked.as_ref().is_some_and(|it| it.reason == "login_refused");
    write(&credential, "wrong");
    rig.rotate(KEY).await;
    rig.until_version(KEY, 2).await;
    rig.stop().await;
    rig.run().await;
    rig.rotate(KEY).await;
    rig.until(KEY, "refused", refused).await;
    write(&credential, &right);
    rig.ok(&["resume", KEY]).await;
    rig.until(KEY, "refused still", refused).await;
    rig.stop().await;
    rig.run().await;
    rig.until(KEY, "rotated", |it| number(it) == 3 && it.phase == PhaseName::Steady).await;
    rig.edit_config(|it| it.replacen("password = { credential = \"infobip\" }", &by_file, 1));
    rig.ok(&["reload"]).await;
    write(&file, "wrong");
    rig.rotate(KEY).await;
    rig.until(KEY, "refused", refused).await;
    write(&file, &right);
    rig.ok(&["resume", KEY]).await;
    rig.until(KEY, "rotated", |it| number(it) == 4).await;
}

async fn history(rig: &Rig) -> HistoryReport {
    rig.client().history(None, None, None).await.unwrap()
}

//! What somebody reads who has only the command line, where things are awkward: reasons that are true, and next commands
//! that are not refused.
use crate::command_line::{behind, run_as_it_stands};
use crate::mounts::Mount;
use crate::rig::{PATIENCE, Rig, calm, number, write};
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::{Call, Fault, Service, World};
use rustix::process::Signal;
use std::fs;
use std::time::Duration;

const KEY: &str = "billing-sms";
const TWO_FACTOR: &str = "two-factor";
const CAMPAIGN: &str = "campaign-sms";

#[tokio::test]
async fn a_first_create_that_halted_has_no_way_back_and_says_so() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip2fa])).await;
    rig.sim.fault(Service::Infobip2fa, Call::Create, Fault::LostAnswer);
    rig.run().await;
    rig.until_phase(TWO_FACTOR, PhaseName::Halted).await;
    let plan = rig.ok(&["plan", "--key", TWO_FACTOR]).await;
    assert!(plan.contains("nothing is planned") && plan.contains("nothing happens before somebody decides"), "{plan}");
    for verb in ["abandon", "rollback"] {
        let said = rig.cli(&[verb, TWO_FACTOR]).await;
        assert_eq!(said.code, Some(65), "{said:?}");
        assert!(said.err.contains("it is its first key: there is no old one to go back to"), "{}", said.err);
        assert!(behind(&said.err, "try:").ends_with("resume two-factor"), "{}", said.err);
    }
    let said = rig.cli(&["rollback", TWO_FACTOR]).await;
    assert!(run_as_it_stands(behind(&said.err, "try:")).await.status.success(), "{}", said.err);
    rig.until_version(TWO_FACTOR, 1).await;
}

#[tokio::test]
async fn a_halted_key_names_an_adoption_that_is_taken_as_it_stands() {
    let mut world = calm(&[Service::Mobivate]);
    let more = "on_drift = \"halt\"\nprobe_every = \"1s\"";
    world.more.push((CAMPAIGN.to_owned(), more.to_owned()));
    let rig = Rig::start_created(world).await;
    let theirs = rig.sim.stranger_creates_key(Service::Mobivate).unwrap().secret;
    let key = rig.until_phase(CAMPAIGN, PhaseName::Halted).await;
    let said = rig.cli(&["rollback", CAMPAIGN]).await;
    assert_eq!(said.code, Some(65));
    assert!(
        said.err.contains("a new key ends the old one at this provider") && said.err.contains("it is halted"),
        "{}",
        said.err
    );
    assert!(!behind(&said.err, "try:").contains("rotate"), "that would be refused: {}", said.err);
    let adopt = key.actions.iter().find(|it| it.starts_with("rekeyd adopt")).unwrap();
    let words: Vec<&str> = adopt.split(' ').skip(1).collect();
    let said = rig.cli_with(&words, &theirs).await;
    assert_eq!(said.code, Some(0), "{adopt}: {}", said.err);
    rig.until(CAMPAIGN, "theirs", |it| number(it) == 2).await;
}

#[tokio::test]
async fn an_unadopted_key_names_an_adoption_that_finds_something() {
    let mut rig = Rig::prepare(World { initial: "adopt".to_owned(), ..calm(&[Service::Mobivate]) }).await;
    let used = rig.sim.stranger_creates_key(Service::Mobivate).unwrap().secret;
    rig.run().await;
    let hint = |it: &rekeyd::control::protocol::KeyStatus| it.actions.first().cloned().unwrap_or_default();
    let asked = |it: &rekeyd::control::protocol::KeyStatus| hint(it) == "rekeyd adopt campaign-sms --age-unknown";
    rig.until(CAMPAIGN, "seen to have nothing in its file", asked).await;
    write(&rig.key_file(CAMPAIGN), &used);
    let from_target = "rekeyd adopt campaign-sms --from-target --age-unknown";
    let key = rig.until(CAMPAIGN, "seen to have something in its file", |it| hint(it) == from_target).await;
    let words: Vec<String> = key.actions[0].split(' ').skip(1).map(str::to_owned).collect();
    rig.ok(&words.iter().map(String::as_str).collect::<Vec<_>>()).await;
    rig.until(CAMPAIGN, "adopted", |it| number(it) == 1).await;
}

#[tokio::test]
async fn a_key_that_was_ended_at_its_provider_halts_as_refused_and_resume_replaces_it() {
    let mut world = calm(&[Service::Infobip]);
    let more = "on_drift = \"halt\"\nprobe_every = \"1s\"";
    world.more.push((KEY.to_owned(), more.to_owned()));
    let rig = Rig::start_created(world).await;
    let old = rig.held(KEY).unwrap();
    tokio::time::sleep(rig.world.accept_within).await;
    assert!(rig.sim.stranger_revokes_key(Service::Infobip, &old));
    let halted = rig.until_phase(KEY, PhaseName::Halted).await.halted.unwrap();
    assert_eq!(halted.reason, "key_refused");
    assert!(!halted.message.contains("theirs"), "{}", halted.message);
    rig.ok(&["resume", KEY]).await;
    rig.until(KEY, "replaced", |it| number(it) == 2 && it.phase == PhaseName::Steady).await;
}

#[tokio::test]
async fn another_config_with_faults_is_the_one_that_check_is_named_for() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let other = rig.path("other.toml");
    fs::write(&other, "[daemon]\nmaster_key = 1\n").unwrap();
    let said = rig.cli(&["plan", "--what-if", other.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(78), "{said:?}");
    let checked = run_as_it_stands(behind(&said.err, "try:")).await;
    let told = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.code() == Some(78) && told.contains("other.toml:2:"), "{told}");
}

#[tokio::test]
async fn what_check_names_to_be_tried_bears_the_config_that_it_was_asked_about() {
    let rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let by_hand = "[providers.portal]\nkind = \"manual\"\n\n[keys.by-hand]\nprovider = \"portal\"\nvalid_for = \"90d\"\n\
                   owners = [\"payments\"]\ninitial = \"create\"\n";
    rig.edit_config(|it| format!("{it}\n{by_hand}"));
    let said = rig.cli(&["check"]).await;
    assert_eq!(said.code, Some(78), "{said:?}");
    let named = format!("then: rekeyd --config {} adopt KEY", rig.config().display());
    assert!(said.out.contains(&named), "{}", said.out);
}

#[tokio::test]
async fn a_backup_that_can_not_be_made_where_it_is_asked_for_exits_73_and_nobody_is_asked_for_it() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    for place in ["/nowhere/x", "/proc/x", "/etc/hostname/x"] {
        let said = rig.cli(&["backup", place]).await;
        assert_eq!(said.code, Some(73), "{place}: {said:?}");
        assert!(said.err.contains("\ntry: "), "{}", said.err);
    }
    let past = rig.client().history(None, None, None).await.unwrap();
    let asked = past.commands.iter().filter(|it| it.verb == "backup").count();
    assert!(asked <= 1, "what lies in no folder is not fetched: {asked}");
}

#[tokio::test]
async fn usr1_asks_every_provider_however_lately_it_was_asked() {
    let mut world = calm(&[Service::Infobip]);
    world.sweep = "0 0 0 1 1 *".to_owned();
    let rig = Rig::start_created(world).await;
    let probes = || rig.sim.truth().calls(Service::Infobip, Call::Probe);
    rig.ok(&["status"]).await;
    let rest = async {
        loop {
            let before = probes();
            tokio::time::sleep(Duration::from_secs(1)).await;
            if probes() == before {
                return before;
            }
        }
    };
    let before = tokio::time::timeout(PATIENCE, rest).await.expect("at rest nobody is asked");
    rig.signal(Signal::USR1);
    rig.until_true("the provider is asked", || probes() > before).await;
}

#[tokio::test]
async fn who_went_back_to_an_old_version_and_why_stands_with_the_rotation() {
    let rig = Rig::start_created(World { overlap: Duration::from_secs(300), ..calm(&[Service::Infobip]) }).await;
    rig.rotate(KEY).await;
    rig.until_phase(KEY, PhaseName::Overlap).await;
    rig.ok(&["rollback", KEY, "--reason", "it breaks billing"]).await;
    rig.until(KEY, "back", |it| number(it) == 1 && it.phase == PhaseName::Overlap).await;
    let past = rig.client().history(Some(KEY), None, None).await.unwrap();
    let last = past.rotations.last().unwrap();
    assert_eq!(last.actor.as_ref().map(|it| it.uid), Some(rustix::process::geteuid().as_raw()));
    assert_eq!(last.reason_given.as_deref(), Some("it breaks billing"));
}

#[tokio::test]
async fn a_loop_over_names_keeps_its_stdin_while_it_rotates_them() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let said = rig.cli_with(&["rotate", KEY], "the-next-name").await;
    assert_eq!(said.code, Some(0), "{said:?}");
    rig.until_version(KEY, 2).await;
}

#[tokio::test]
async fn what_holds_a_key_back_is_said_in_words_and_a_stopped_daemon_is_started_by_what_is_named() {
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    write(&rig.path("secrets/infobip"), "wrong");
    rig.rotate(KEY).await;
    rig.until(KEY, "refused", |it| it.blocked.as_ref().is_some_and(|it| it.reason == "login_refused")).await;
    let said = rig.ok(&["resume", KEY]).await;
    assert!(
        said.contains("so far it is held back: the provider refuses our login") && !said.contains("login_refused"),
        "{said}"
    );
    rig.stop().await;
    let said = rig.cli(&["status"]).await;
    assert_eq!(said.code, Some(69));
    let expected = format!("rekeyd --config {} run", rig.config().display());
    assert_eq!(behind(&said.err, "try:"), expected);
}

/// What is answered with 0 is on the disk; what is not is refused, or nobody knows, and that is said.
#[tokio::test]
async fn a_pause_without_a_free_byte_is_durable_or_refused() {
    for also_behind_the_database in [false, true] {
        let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
        let Some(disk) = Mount::memory(&rig.path("state")) else { return };
        rig.edit_config(|it| it.replace("[daemon]\n", "[daemon]\nreserve = \"8MiB\"\n"));
        rig.run().await;
        rig.until_version(KEY, 1).await;
        rig.until_told().await;
        match also_behind_the_database {
            true => crate::disk::take_room(&rig, &disk),
            false => disk.fill(),
        }
        let said = rig.cli(&["pause", KEY, "--reason", "no room"]).await;
        rig.kill().await;
        disk.free();
        rig.run().await;
        let paused = rig.key(KEY).await.paused.is_some();
        match said.code {
            Some(0) => assert!(paused, "it was accepted, and is lost: {said:?}"),
            Some(74 | 75) => assert!(said.err.contains("\ntry: "), "{said:?}"),
            _ => panic!("{said:?}"),
        }
    }
}

#[tokio::test]
async fn an_absent_folder_holds_up_a_first_create_and_is_told_as_what_it_is() {
    let mut world = calm(&[Service::Infobip]);
    world.more.push((KEY.to_owned(), "stuck_after = \"1s\"".to_owned()));
    let mut rig = Rig::prepare(world).await;
    let folder = rig.path("keys/absent");
    rig.edit_config(|it| it.replacen("keys/billing-sms.key", "keys/absent/billing-sms.key", 1));
    rig.run().await;
    let key = rig.until(KEY, "held up", |it| it.blocked.as_ref().is_some_and(|it| it.reason == "target")).await;
    let why = key.blocked.unwrap().message;
    assert!(why.contains("the folder can't be opened") && why.contains("create it"), "{why}");
    assert_eq!(rig.cli(&["status", "--exit-code"]).await.code, Some(1));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.sim.truth().calls(Service::Infobip, Call::Create), 0);
    assert_eq!(rig.told(KEY, "delivery.failed"), 0, "nothing was to be delivered");
    fs::create_dir(&folder).unwrap();
    rig.until_version(KEY, 1).await;
}

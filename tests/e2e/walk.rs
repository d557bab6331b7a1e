//! What an operator goes through in some years, with nothing but the README and `--help`: what they read in each case, and
//! that what they are told to do next does what they want.
use crate::command_line::{behind, run_as_it_stands};
use crate::decommission::forgotten;
use crate::rig::{Rig, ago, calm, number, write};
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::{Call, Fault, Service, World};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const BILLING: &str = "billing-sms";
const CAMPAIGN: &str = "campaign-sms";
const TWO_FACTOR: &str = "two-factor";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Does what is named first, as somebody does who copies it.
async fn do_as_told(text: &str) {
    let first = behind(text, "try:").split("  or  ").next().unwrap().to_owned();
    let done = run_as_it_stands(&first).await;
    assert!(done.status.success(), "{first}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Keys that live for two months, in use before the daemon comes.
async fn in_production() -> Rig {
    let world = World {
        initial: "adopt".to_owned(),
        lifetime: 61 * DAY,
        rotate_before: 14 * DAY,
        announce: 2 * DAY,
        ..calm(&[Service::Infobip, Service::Mobivate])
    };
    let rig = Rig::prepare(world).await;
    for (service, key) in [(Service::Infobip, BILLING), (Service::Mobivate, CAMPAIGN)] {
        write(&rig.key_file(key), &rig.sim.stranger_creates_key(service).unwrap().secret);
        fs::set_permissions(rig.key_file(key), fs::Permissions::from_mode(0o600)).unwrap();
    }
    rig
}

async fn adopted() -> Rig {
    let mut rig = in_production().await;
    rig.run().await;
    rig.until_phase(CAMPAIGN, PhaseName::Unadopted).await;
    rig.ok(&["adopt", "--all", "--from-target", "--issued-at", &ago(DAY), "--yes"]).await;
    for key in [BILLING, CAMPAIGN] {
        rig.until_version(key, 1).await;
    }
    rig
}

#[tokio::test]
async fn first_install_every_answer_leads_to_the_next_step() {
    let mut rig = in_production().await;
    assert_eq!(rig.ok(&["check"]).await, "ok: 2 keys, 2 providers, 1 owner\n");
    let stopped = rig.cli(&["status"]).await;
    assert!(stopped.code == Some(69) && behind(&stopped.err, "try:").ends_with(" run"), "{stopped:?}");
    let no_state = rig.cli(&["plan"]).await;
    assert_eq!(no_state.code, Some(69));
    do_as_told(&no_state.err).await;
    rig.run().await;
    rig.until_phase(BILLING, PhaseName::Unadopted).await;
    let status = rig.ok(&["status"]).await;
    assert_eq!(status.matches("it is not in our care yet: hand over the key in use").count(), 2, "{status}");
    assert_eq!(rig.cli(&["status", "--exit-code"]).await.code, Some(1));
}

#[tokio::test]
async fn adopting_live_keys_shows_what_will_happen_and_says_what_is_missing() {
    let mut rig = in_production().await;
    let before = rig.held(CAMPAIGN);
    rig.run().await;
    rig.until_phase(CAMPAIGN, PhaseName::Unadopted).await;
    let dateless = rig.cli(&["adopt", "--all", "--from-target"]).await;
    assert_eq!(dateless.code, Some(65));
    assert!(dateless.out.contains("when it expires is not known"), "{}", dateless.out);
    assert!(dateless.out.contains("--issued-at TIME"), "{}", dateless.out);
    let asked = rig.cli(&["adopt", "--all", "--from-target", "--issued-at", &ago(DAY)]).await;
    assert_eq!(asked.code, Some(1), "nobody could be asked: {asked:?}");
    assert!(
        asked.out.contains("holds it, and is left as it is") && asked.out.contains("nothing was changed"),
        "{asked:?}"
    );
    do_as_told(&rig.ok(&["status", CAMPAIGN]).await).await;
    // Of unknown age it is replaced, but at this provider its owners are told long before.
    rig.until_phase(CAMPAIGN, PhaseName::Announce).await;
    assert_eq!(rig.held(CAMPAIGN), before, "nobody noticed");
}

#[tokio::test]
async fn the_first_cutover_is_foreseen_announced_and_its_gap_is_told() {
    let rig = adopted().await;
    let plan = rig.ok(&["plan", "--key", CAMPAIGN]).await;
    assert!(plan.contains("announce") && plan.contains("the owners are told of the cutover planned for"), "{plan}");
    assert!(plan.contains("is replaced 14d before"), "{plan}");
    rig.ok(&["rotate", CAMPAIGN, "--now", "--wait", "--reason", "the first one, watched"]).await;
    rig.until_version(CAMPAIGN, 2).await;
    let past = rig.client().history(Some(CAMPAIGN), None, None).await.unwrap();
    let rotation = past.rotations.last().unwrap();
    assert!(rotation.cutover_gap_ms.is_some() && rotation.actor.is_some(), "{rotation:?}");
    let text = rig.ok(&["history", CAMPAIGN]).await;
    assert!(text.contains("the first one, watched") && text.contains("consumers may have held a dead key"), "{text}");
}

#[tokio::test]
async fn a_delivery_that_fails_at_night_breaks_nothing_and_goes_on_when_it_is_repaired() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let (old, script) = (rig.held(BILLING).unwrap(), rig.path("then.sh"));
    write(&script, "echo no bus >&2; exit 3\n");
    rig.add_to_target(BILLING, &format!("then = {{ command = [\"/bin/sh\", {script:?}] }}"));
    rig.ok(&["reload"]).await;
    rig.rotate(BILLING).await;
    rig.until_notice(BILLING, "delivery.failed").await;
    let status = rig.ok(&["status", BILLING]).await;
    assert!(status.contains("its `then` failed") && status.contains("no bus"), "{status}");
    assert!(rig.sim.truth().is_live(&old), "whoever has the old key works");
    write(&script, "exit 0\n");
    do_as_told(&status).await;
    rig.until_version(BILLING, 2).await;
}

#[tokio::test]
async fn a_halted_rotation_says_what_happened_once_and_each_way_on() {
    let rig = Rig::start_created(calm(&[Service::Infobip2fa])).await;
    rig.sim.fault(Service::Infobip2fa, Call::Create, Fault::LostAnswer);
    let waited = rig.cli(&["rotate", TWO_FACTOR, "--now", "--wait"]).await;
    assert_eq!(waited.code, Some(1), "{waited:?}");
    let status = rig.ok(&["status", TWO_FACTOR]).await;
    assert!(
        status.contains("in create since") && !status.contains("failing:"),
        "told once, and where it was: {status}"
    );
    let key = rig.key(TWO_FACTOR).await;
    assert_eq!(key.last_error.unwrap().phase, "create");
    assert_eq!(key.halted.unwrap().choices, ["resume", "abandon", "adopt"]);
    let rotate = rig.cli(&["rotate", TWO_FACTOR]).await;
    assert!(
        rotate.code == Some(65) && rotate.err.contains("it is halted, and waits for a decision first"),
        "{rotate:?}"
    );
    do_as_told(&rotate.err).await;
    rig.until_version(TWO_FACTOR, 2).await;
}

#[tokio::test]
async fn a_changed_password_is_said_in_words_and_put_right_by_the_file_alone() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let password = rig.path("secrets/infobip");
    let right = fs::read_to_string(&password).unwrap();
    write(&password, "changed in the portal");
    let waited = rig.cli(&["rotate", BILLING, "--now", "--wait", "--timeout", "2s"]).await;
    assert_eq!(waited.code, Some(75), "{waited:?}");
    rig.until(BILLING, "refused", |it| it.blocked.as_ref().is_some_and(|it| it.reason == "login_refused")).await;
    let status = rig.ok(&["status"]).await;
    assert!(
        status.contains("! provider infobip since ") && status.contains("the provider refuses our login"),
        "{status}"
    );
    write(&password, &right);
    do_as_told(&status).await;
    rig.until_version(BILLING, 2).await;
    let status = rig.ok(&["status"]).await;
    assert!(!status.contains('!'), "{status}");
}

#[tokio::test]
async fn a_decommissioned_key_is_taken_out_step_by_step_as_each_answer_says() {
    let rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let issued = rig.held(BILLING).unwrap();
    let early = rig.cli(&["retire", BILLING, "--yes"]).await;
    assert!(early.code == Some(65) && early.err.contains("remove [keys.billing-sms] from the config"), "{early:?}");
    crate::decommission::leave_config(&rig).await;
    let status = rig.ok(&["status", BILLING]).await;
    assert!(behind(&status, "try:").ends_with("retire billing-sms"), "{status}");
    let unsure = rig.cli(&["retire", BILLING]).await;
    assert!(unsure.code == Some(64) && unsure.err.contains("can't be undone"), "{unsure:?}");
    do_as_told(&unsure.err).await;
    rig.until_true("it is revoked, and its file empty", || {
        !rig.sim.truth().is_live(&issued) && rig.held(BILLING).is_none_or(|it| it.is_empty())
    })
    .await;
    forgotten(&rig).await;
    let plan = rig.cli(&["plan", "--key", BILLING]).await;
    assert_eq!(plan.code, Some(66), "{plan:?}");
    assert!(rig.ok(&["history", BILLING]).await.contains("forget"));
}

#[tokio::test]
async fn an_auditor_reads_who_had_which_key_when_and_why_it_was_replaced() {
    let rig = adopted().await;
    rig.ok(&["rotate", BILLING, "--compromised", "--wait", "--reason", "it was in a log"]).await;
    rig.until(BILLING, "replaced", |it| number(it) == 2 && it.phase == PhaseName::Steady).await;
    rig.ok(&["reveal", BILLING]).await;
    let text = rig.ok(&["history", BILLING, "--since", "2026-01-01", "--until", "2126-01-01"]).await;
    for part in ["adopt", "rotate --compromised", "it was in a log", "asked for by", "reveal", "key.adopted"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let status = rig.status().await;
    let key = status.keys.iter().find(|it| it.name.as_str() == BILLING).unwrap();
    assert!(key.current.as_ref().unwrap().valid_to.is_some() && key.next.is_some(), "{key:?}");
    assert_eq!(key.old, [], "the old one is dead");
}

//! Keys that others issued come into our care by `rekeyd adopt`.
use crate::hooks::Hook;
use crate::rig::{Rig, ago, calm, fingerprint, number, write};
use rekeyd::control::protocol::PhaseName;
use rekeyd::core::record::Expiry;
use rekeyd::simulator::{Call, Service, World};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

/// How long ago the adopted keys were issued.
const SOME_TIME: Duration = Duration::from_secs(60);

fn to_adopt(services: &[Service]) -> World {
    World { initial: "adopt".to_owned(), ..calm(services) }
}

#[tokio::test]
async fn a_mobivate_key_is_never_created_before_it_was_adopted() {
    let mut rig = Rig::prepare(to_adopt(&[Service::Mobivate])).await;
    let used = rig.sim.stranger_creates_key(Service::Mobivate).unwrap().secret;
    write(&rig.key_file("campaign-sms"), &used);
    rig.run().await;
    rig.until_phase("campaign-sms", PhaseName::Unadopted).await;
    let refused = rig.cli(&["rotate", "--now", "campaign-sms"]).await;
    assert_eq!(refused.code, Some(65), "{}", refused.err);
    assert!(refused.err.contains("adopted"), "{}", refused.err);
    let adopted = rig.cli_with(&["adopt", "campaign-sms", "--issued-at", &ago(SOME_TIME)], &used).await;
    assert_eq!(adopted.code, Some(0), "{}", adopted.err);
    rig.until_version("campaign-sms", 1).await;
    assert_eq!(rig.sim.truth().calls(Service::Mobivate, Call::Create), 0);
    assert_eq!(rig.held("campaign-sms"), Some(used));
    rig.rotate("campaign-sms").await;
    rig.until_version("campaign-sms", 2).await;
    assert_eq!(rig.sim.truth().calls(Service::Mobivate, Call::Create), 1);
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn adoption_takes_the_age_as_it_is_told_and_drops_one_newline() {
    let rig = Rig::start(to_adopt(&Service::ALL)).await;
    let issued = ago(SOME_TIME);
    let ages: [(&[&str], Expiry); 4] = [
        (&["--valid-to", "2126-01-02T03:04:05Z"], Expiry::Stated),
        (&["--issued-at", &issued], Expiry::Assumed),
        (&["--issued-at", &issued], Expiry::Assumed),
        (&["--valid-to", "2126-01-02"], Expiry::Stated),
    ];
    for (service, (age, expiry)) in Service::ALL.into_iter().zip(ages) {
        let name = World::key_name(service);
        let used = rig.sim.stranger_creates_key(service).unwrap().secret;
        let adopted = rig.cli_with(&[&["adopt", name], age].concat(), &format!("{used}\n")).await;
        assert_eq!(adopted.code, Some(0), "{name}: {}", adopted.err);
        let current = rig.until_version(name, 1).await.current.unwrap();
        assert_eq!((current.fingerprint.to_string(), current.expiry), (fingerprint(&used), expiry), "{name}");
        assert_eq!(rig.ok(&["reveal", name]).await, used);
        assert_eq!(rig.held(name), Some(used), "the key is brought to an empty file");
        rig.until_notice(name, "key.adopted").await;
        assert_eq!(rig.told(name, "key.adopted"), 1);
    }
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn the_expiry_of_an_adopted_key_is_reckoned_from_its_issue() {
    let rig = Rig::start(to_adopt(&[Service::Infobip])).await;
    let used = rig.sim.stranger_creates_key(Service::Infobip).unwrap();
    let issued = used.created_at.minus(SOME_TIME);
    let adopted = rig.cli_with(&["adopt", "billing-sms", "--issued-at", &issued.to_string()], &used.secret).await;
    assert_eq!(adopted.code, Some(0), "{}", adopted.err);
    let current = rig.until_version("billing-sms", 1).await.current.unwrap();
    let ends = current.valid_to.unwrap().0.since(issued);
    let off = ends.as_secs().abs_diff(rig.world.lifetime.as_secs());
    assert!(off <= 1, "{ends:?} from its issue to its end");
}

#[tokio::test]
async fn a_dead_key_is_not_adopted() {
    let rig = Rig::start(to_adopt(&[Service::Infobip, Service::Mobivate])).await;
    for name in ["billing-sms", "campaign-sms"] {
        let refused = rig.cli_with(&["adopt", name, "--age-unknown"], "0123-no-such-key").await;
        assert_eq!(refused.code, Some(65), "{name}: {}", refused.err);
        assert!(!refused.err.contains("0123-no-such-key"));
        assert_eq!(rig.key(name).await.phase, PhaseName::Unadopted);
        assert_eq!(rig.held(name), None);
    }
}

#[tokio::test]
async fn adoption_does_not_overwrite_another_value_unless_it_is_told_to() {
    let mut rig = Rig::prepare(to_adopt(&[Service::Infobip])).await;
    let used = rig.sim.stranger_creates_key(Service::Infobip).unwrap().secret;
    write(&rig.key_file("billing-sms"), "another value");
    rig.run().await;
    let refused = rig.cli_with(&["adopt", "billing-sms", "--valid-to", "2126-01-02"], &used).await;
    assert_eq!(refused.code, Some(65), "{}", refused.err);
    assert!(refused.err.contains("--deliver"), "{}", refused.err);
    assert_eq!(rig.held("billing-sms").as_deref(), Some("another value"));
    let adopted = rig.cli_with(&["adopt", "billing-sms", "--valid-to", "2126-01-02", "--deliver"], &used).await;
    assert_eq!(adopted.code, Some(0), "{}", adopted.err);
    rig.until_version("billing-sms", 1).await;
    assert_eq!(rig.held("billing-sms"), Some(used));
}

/// A key that is live: made in the portal, in the file of its consumer.
async fn in_production(world: World, more: impl FnOnce(&Rig)) -> (Rig, Vec<String>) {
    let mut rig = Rig::prepare(world).await;
    let mut used = Vec::new();
    for service in rig.world.services.clone() {
        rig.sim.behave(service, |it| it.lifetime_ms = 7_200_000);
        used.push(rig.sim.stranger_creates_key(service).unwrap().secret);
        let file = rig.key_file(World::key_name(service));
        write(&file, used.last().unwrap());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    more(&rig);
    rig.run().await;
    (rig, used)
}

/// No call ever carried a key in its path or query.
fn no_url_shows(rig: &Rig, secret: &str) {
    assert!(rig.sim.truth().requests().iter().all(|it| !it.path.contains(secret)));
}

#[tokio::test]
async fn a_live_key_is_taken_out_of_its_file_and_everything_else_from_the_provider() {
    let mut hook = None;
    let (rig, used) = in_production(to_adopt(&[Service::Infobip]), |rig| {
        hook = Some(Hook::of(rig, "billing-sms"));
    })
    .await;
    let inode = fs::metadata(rig.key_file("billing-sms")).unwrap().ino();
    let said = rig.ok(&["adopt", "billing-sms", "--from-target"]).await;
    let current = rig.until_version("billing-sms", 1).await.current.unwrap();
    let theirs = rig.sim.truth().find(&used[0]).unwrap();
    assert_eq!((current.id.as_ref(), current.expiry), (Some(&theirs.id), Expiry::Reported));
    assert_eq!(current.valid_to.unwrap().0.0 / 1000, theirs.valid_to.unwrap().0 / 1000);
    assert!(
        said.contains(&theirs.id) && said.contains("as the provider reports") && !said.contains(&used[0]),
        "{said}"
    );
    assert_eq!(fs::metadata(rig.key_file("billing-sms")).unwrap().ino(), inode, "the file was left alone");
    assert_eq!(hook.unwrap().runs(), [], "and no consumer was restarted");
    no_url_shows(&rig, &used[0]);
    rig.rotate("billing-sms").await;
    rig.until_version("billing-sms", 2).await;
    assert!(!rig.sim.truth().is_live(&used[0]), "the id that was found revokes it");
    assert_eq!(rig.told("billing-sms", "revoke.needed"), 0);
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn a_line_end_in_the_file_is_no_part_of_the_key_and_goes() {
    let (rig, used) = in_production(to_adopt(&[Service::Infobip]), |rig| {
        let file = rig.key_file("billing-sms");
        let held = fs::read_to_string(&file).unwrap();
        write(&file, &format!("{held}\r\n"));
    })
    .await;
    rig.ok(&["adopt", "billing-sms", "--from-target"]).await;
    rig.until_version("billing-sms", 1).await;
    assert_eq!(rig.held("billing-sms").as_ref(), Some(&used[0]), "it is written as the format says");
}

#[tokio::test]
async fn targets_that_disagree_are_named_and_none_is_touched() {
    let (rig, used) = in_production(to_adopt(&[Service::Infobip]), |rig| {
        let other = rig.path("keys/other");
        write(&other, "another value");
        rig.edit_config(|it| it + &format!("\n[[keys.billing-sms.deliver]]\nkind = \"file\"\npath = {other:?}\n"));
    })
    .await;
    let refused = rig.cli(&["adopt", "billing-sms", "--from-target"]).await;
    assert_eq!(refused.code, Some(65), "{}", refused.err);
    for part in [rig.key_file("billing-sms").display().to_string(), "keys/other".to_owned(), fingerprint(&used[0])] {
        assert!(refused.err.contains(&part), "{}", refused.err);
    }
    assert_eq!(rig.key("billing-sms").await.phase, PhaseName::Unadopted);
    assert_eq!(fs::read_to_string(rig.path("keys/other")).unwrap(), "another value");
    let insisted = rig.cli_with(&["adopt", "billing-sms", "--deliver"], &used[0]).await;
    assert_eq!(insisted.code, Some(0), "{}", insisted.err);
    rig.until_version("billing-sms", 1).await;
    assert_eq!(fs::read_to_string(rig.path("keys/other")).unwrap(), used[0]);
}

#[tokio::test]
async fn a_target_that_can_not_be_looked_at_is_not_overwritten_unseen() {
    let (rig, used) = in_production(to_adopt(&[Service::Infobip]), |rig| {
        let other = rig.path("keys/other");
        fs::create_dir(&other).unwrap();
        rig.edit_config(|it| it + &format!("\n[[keys.billing-sms.deliver]]\nkind = \"file\"\npath = {other:?}\n"));
    })
    .await;
    for args in [&["adopt", "billing-sms", "--from-target"][..], &["adopt", "billing-sms"]] {
        let refused = rig.cli_with(args, &used[0]).await;
        assert_eq!(refused.code, Some(65), "{}", refused.err);
        assert!(refused.err.contains("can't be seen"), "{}", refused.err);
    }
    assert_eq!(rig.key("billing-sms").await.phase, PhaseName::Unadopted);
}

#[tokio::test]
async fn where_the_provider_hides_its_keys_an_id_finds_the_date_and_a_wrong_one_is_refused() {
    let (rig, used) = in_production(to_adopt(&[Service::Infobip]), |rig| {
        rig.sim.behave(Service::Infobip, |it| it.mask_secrets = true);
    })
    .await;
    let other = rig.sim.truth().find(&used[0]).unwrap().id;
    let bare = rig.cli(&["adopt", "billing-sms", "--from-target"]).await;
    assert_eq!(bare.code, Some(65), "{}", bare.err);
    assert!(bare.err.contains(&other) && bare.err.contains("--id"), "which ids there are: {}", bare.err);
    let wrong = rig.cli(&["adopt", "billing-sms", "--from-target", "--id", "0000"]).await;
    assert_eq!(wrong.code, Some(65), "{}", wrong.err);
    rig.ok(&["adopt", "billing-sms", "--from-target", "--id", &other]).await;
    let current = rig.until_version("billing-sms", 1).await.current.unwrap();
    assert_eq!((current.id, current.expiry), (Some(other), Expiry::Reported));
    no_url_shows(&rig, &used[0]);
}

#[tokio::test]
async fn a_dead_key_in_a_file_is_refused_and_taken_only_where_somebody_insists() {
    let (rig, used) = in_production(to_adopt(&[Service::Infobip]), |rig| {
        let held = rig.held("billing-sms").unwrap();
        assert!(rig.sim.stranger_revokes_key(Service::Infobip, &held));
    })
    .await;
    let args = ["adopt", "billing-sms", "--from-target", "--valid-to", "2126-01-02"];
    let refused = rig.cli(&args).await;
    assert_eq!(refused.code, Some(65), "{}", refused.err);
    assert!(refused.err.contains("--unverified"), "{}", refused.err);
    rig.ok(&[&args[..], &["--unverified"]].concat()).await;
    let adopted = rig.until("billing-sms", "adopted", |it| number(it) == 1).await;
    assert_eq!(adopted.current.unwrap().fingerprint.to_string(), fingerprint(&used[0]));
}

#[tokio::test]
async fn a_key_of_unknown_age_is_adopted_and_then_replaced() {
    // There is to be time to look at the old key between the notice and the cutover.
    let world = World { announce: Duration::from_secs(10), ..to_adopt(&[Service::Mobivate]) };
    let (rig, used) = in_production(world, |_| {}).await;
    rig.ok(&["adopt", "campaign-sms", "--from-target", "--age-unknown"]).await;
    rig.until_notice("campaign-sms", "rotation.scheduled").await;
    assert!(rig.sim.truth().is_live(&used[0]), "it is announced, as any cutover");
    rig.until_version("campaign-sms", 2).await;
    assert_eq!(rig.sim.truth().calls(Service::Mobivate, Call::Create), 1);
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn all_keys_are_adopted_after_a_table_and_one_that_fails_stops_none() {
    let (rig, used) = in_production(to_adopt(&Service::ALL), |rig| {
        write(&rig.key_file("campaign-sms"), "0123-no-such-key");
        fs::remove_file(rig.key_file("invoices")).unwrap();
    })
    .await;
    let issued = ago(SOME_TIME);
    let args = ["adopt", "--all", "--from-target", "--issued-at", &issued];
    let looked = rig.cli(&args).await;
    assert_eq!(looked.code, Some(65), "{}{}", looked.out, looked.err);
    assert!(looked.err.contains("nothing was changed") && looked.err.contains("--yes"), "{}", looked.err);
    let line = |key: &str| looked.out.lines().find(|it| it.starts_with(key)).unwrap().to_owned();
    assert!(line("billing-sms").contains("left as it is"), "{}", looked.out);
    assert!(line("campaign-sms").contains("refuses it"), "{}", looked.out);
    assert!(line("invoices").contains("none of its targets holds a key"), "{}", looked.out);
    for secret in &used {
        assert!(!looked.out.contains(secret));
    }
    for service in Service::ALL {
        assert_eq!(rig.key(World::key_name(service)).await.phase, PhaseName::Unadopted);
    }
    let done = rig.cli(&[&args[..], &["--yes", "--json"]].concat()).await;
    assert_eq!(done.code, Some(65), "{}{}", done.out, done.err);
    let rows: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    let adopted: Vec<_> = rows.as_array().unwrap().iter().map(|it| it["adopted"] == true).collect();
    assert_eq!(adopted, [true, false, false, true], "{}", done.out);
    rig.until_version("billing-sms", 1).await;
    rig.until_version("two-factor", 1).await;
    assert_eq!(rig.held("campaign-sms").as_deref(), Some("0123-no-such-key"));
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn when_all_are_adopted_there_is_nothing_left_to_ask() {
    let (rig, _) = in_production(to_adopt(&[Service::Infobip]), |_| {}).await;
    let looked = rig.cli(&["adopt", "--all", "--from-target"]).await;
    assert_eq!(looked.code, Some(1), "a human is needed: {}{}", looked.out, looked.err);
    rig.ok(&["adopt", "--all", "--from-target", "--yes"]).await;
    rig.until_version("billing-sms", 1).await;
    assert_eq!(rig.ok(&["adopt", "--all", "--from-target"]).await, "every key is adopted\n");
}

#[tokio::test]
async fn a_key_of_another_account_is_not_adopted() {
    let (rig, used) = in_production(to_adopt(&[Service::Mobivate]), |rig| {
        rig.edit_config(|it| it.replacen("kind = \"mobivate\"\n", "kind = \"mobivate\"\nprobe = \"none\"\n", 1));
    })
    .await;
    write(&rig.key_file("campaign-sms"), "0123-no-such-key");
    let args = ["adopt", "campaign-sms", "--from-target", "--issued-at", &ago(SOME_TIME)];
    let refused = rig.cli(&args).await;
    assert_eq!(refused.code, Some(65), "{}", refused.err);
    assert!(refused.err.contains("has no such key"), "{}", refused.err);
    write(&rig.key_file("campaign-sms"), &used[0]);
    rig.ok(&args).await;
    rig.until_version("campaign-sms", 1).await;
}

/// One key of the provider in two files, and each file is a key of the config.
#[tokio::test]
async fn a_key_that_two_keys_were_adopted_with_is_revoked_when_both_have_left_it() {
    let (rig, used) = in_production(to_adopt(&[Service::Infobip]), |_| {}).await;
    let second = rig.path("keys/second");
    write(&second, &used[0]);
    let first = rig.key_file("billing-sms");
    rig.edit_config(|it| {
        let section = it[it.find("[keys.billing-sms]").unwrap()..].to_owned();
        let section = section.replace("keys.billing-sms", "keys.second");
        it + "\n" + &section.replace(first.to_str().unwrap(), second.to_str().unwrap())
    });
    rig.ok(&["reload"]).await;
    for name in ["billing-sms", "second"] {
        rig.ok(&["adopt", name, "--from-target"]).await;
        rig.until_version(name, 1).await;
    }
    rig.rotate("billing-sms").await;
    rig.until_phase("billing-sms", PhaseName::Revoke).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(rig.sim.truth().is_live(&used[0]), "the second key's consumer has it");
    rig.rotate("second").await;
    rig.until_version("second", 2).await;
    rig.until_true("its last user has left it", || !rig.sim.truth().is_live(&used[0])).await;
    rig.each_notice_came_once().await;
}

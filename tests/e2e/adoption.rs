//! Keys that others issued come into our care by `rekeyd adopt`.
use crate::rig::{Rig, calm, fingerprint, write};
use rekeyd::control::protocol::PhaseName;
use rekeyd::core::record::Expiry;
use rekeyd::simulator::{Call, Service, World};

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
    let adopted = rig.cli_with(&["adopt", "campaign-sms", "--age-unknown"], &used).await;
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
    let ages: [(&[&str], Expiry); 4] = [
        (&["--valid-to", "2126-01-02T03:04:05Z"], Expiry::Stated),
        (&["--age-unknown"], Expiry::Unknown),
        (&["--age-unknown"], Expiry::Unknown),
        (&["--valid-to", "2126-01-02"], Expiry::Stated),
    ];
    for (service, (age, expiry)) in Service::ALL.into_iter().zip(ages) {
        let name = World::key_name(service);
        let used = rig.sim.stranger_creates_key(service).unwrap().secret;
        let adopted = rig.cli_with(&[&["adopt", name], age].concat(), &format!("{used}\n")).await;
        assert_eq!(adopted.code, Some(0), "{name}: {}", adopted.err);
        let current = rig.until_version(name, 1).await.current.unwrap();
        assert_eq!((current.fingerprint.to_string(), current.expiry), (fingerprint(&used), expiry), "{name}");
        assert_eq!(current.valid_to.is_some(), expiry == Expiry::Stated, "{name}");
        assert_eq!(rig.ok(&["reveal", name]).await, used);
        assert_eq!(rig.held(name), Some(used), "the key is brought to an empty file");
        assert_eq!(rig.told(name, "key.adopted"), 1);
    }
    rig.each_notice_came_once().await;
}

#[tokio::test]
async fn the_expiry_of_an_adopted_key_is_reckoned_from_its_issue() {
    let rig = Rig::start(to_adopt(&[Service::Infobip])).await;
    let used = rig.sim.stranger_creates_key(Service::Infobip).unwrap();
    let issued = used.created_at.minus(std::time::Duration::from_secs(60));
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
    let refused = rig.cli_with(&["adopt", "billing-sms", "--age-unknown"], &used).await;
    assert_eq!(refused.code, Some(65), "{}", refused.err);
    assert!(refused.err.contains("--deliver"), "{}", refused.err);
    assert_eq!(rig.held("billing-sms").as_deref(), Some("another value"));
    let adopted = rig.cli_with(&["adopt", "billing-sms", "--age-unknown", "--deliver"], &used).await;
    assert_eq!(adopted.code, Some(0), "{}", adopted.err);
    rig.until_version("billing-sms", 1).await;
    assert_eq!(rig.held("billing-sms"), Some(used));
}

//! Keys that the config takes to another account while they are being replaced.
use crate::rig::{Rig, calm, number};
use crate::watch::Consumer;
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::{Call, Fault, Options, Service, Simulator, World};
use std::time::Duration;

const KEYS: [&str; 2] = ["billing-sms", "second"];
const SLOW_MS: u64 = 4000;

/// Two keys of one account, and an account at another service that no key uses yet.
async fn two_keys(elsewhere: &Simulator) -> Rig {
    let mut rig = Rig::prepare(World { overlap: Duration::from_millis(1200), ..calm(&[Service::Infobip]) }).await;
    let (username, _) = Simulator::login(Service::Infobip).unwrap();
    let (password, file) = (rig.path("secrets/infobip"), rig.key_file("second"));
    rig.world.sections = format!(
        "[providers.elsewhere]\nkind = \"infobip\"\nbase_url = \"{}\"\nusername = \"{username}\"\n\
         password = {{ file = {password:?} }}\naccept_within = \"3s\"\nsettle = \"1s\"\ncreates_per_day = 1000\n\n\
         [keys.second]\nprovider = \"infobip\"\nowners = [\"payments\"]\ninitial = \"create\"\nvalid_for = \"2h\"\n\
         rotate_before = \"10m\"\noverlap = \"1200ms\"\ncreate = {{ name = \"second\" }}\n\
         [[keys.second.deliver]]\nkind = \"file\"\npath = {file:?}\nmode = \"0600\"\n",
        elsewhere.url(Service::Infobip)
    );
    rig.write_config();
    rig.run().await;
    for key in KEYS {
        rig.until_version(key, 1).await;
    }
    rig
}

#[tokio::test]
async fn two_keys_that_move_to_another_account_in_mid_rotation_end_it_where_it_began() {
    let elsewhere = Simulator::start(Options::default()).await.unwrap();
    let rig = two_keys(&elsewhere).await;
    let consumer = Consumer::of(&rig, Service::Infobip);
    let first = KEYS.map(|it| rig.held(it).unwrap());
    for key in KEYS {
        rig.sim.fault(Service::Infobip, Call::Create, Fault::Delay { ms: SLOW_MS });
        rig.rotate(key).await;
        rig.until_phase(key, PhaseName::Create).await;
    }
    rig.edit_config(|it| it.replace("provider = \"infobip\"\n", "provider = \"elsewhere\"\n"));
    rig.ok(&["reload"]).await;
    for key in KEYS {
        rig.until(key, "replaced where it began", |it| number(it) == 2).await;
        rig.until_version(key, 2).await;
    }
    let (before, after) = (rig.sim.truth(), elsewhere.truth());
    assert!(after.live(Service::Infobip).is_empty(), "nothing is begun anew in the middle");
    for (key, first) in KEYS.into_iter().zip(first) {
        // Where the new key can't be seen to work any more, nothing that it replaced is ended behind anybody's back.
        let told = || rig.told(key, "revoke.needed") == 1 || !before.is_live(&first);
        rig.until_true("the old version is ended, or told", told).await;
    }
    rig.every_live_key_is_known().await;
    consumer.never_held_a_dead_key();
    // From the next rotation on they are at the other account, and what they had at the first ends there.
    for key in KEYS {
        let second = rig.held(key).unwrap();
        rig.rotate(key).await;
        rig.until_version(key, 3).await;
        assert!(after.is_live(&rig.held(key).unwrap()), "{key} is in use where the config says");
        assert!(!before.is_live(&second), "what {key} had is ended where it was issued");
    }
    assert_eq!(after.live(Service::Infobip).len(), 2);
    rig.each_notice_came_once().await;
}

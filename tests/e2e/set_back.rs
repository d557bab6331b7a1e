//! A clock that was ahead by hours or a year, whom even the providers agreed with, is set back (by NTP): what was told by the old
//! time is told no second time, what ends is told to be over, others are told in time, and digests come when they are due next.
use crate::escalation::{Later, MINUTE, asks_for_an_hour};
use crate::rig::{PAUSE, Rig, calm, write};
use futures_util::future::join_all;
use rekeyd::clock;
use rekeyd::simulator::{MailMode, Service};
use rustix::process::Signal;
use std::fs;

const HOUR: u64 = 60 * MINUTE;
const YEAR: u64 = 365 * 24 * HOUR;

/// Sets the clock by more than is taken for a slow one, and waits until the daemon has seen that and believes it, since the
/// providers say the same.
async fn jump(rig: &Rig, ahead: u64) {
    let count = |what: &str| rig.log().matches(what).count();
    let (jumps, believed) = (count("the clock has jumped"), count("the clock agrees with a provider's again"));
    write(&rig.path("clock"), &format!("+{ahead}\n"));
    rig.sim.behave(Service::Infobip, |it| it.clock_ahead_ms = i64::try_from(ahead * 1000).unwrap());
    let seen = async {
        while count("the clock has jumped") == jumps {
            rig.status().await;
        }
        while count("the clock agrees with a provider's again") == believed {
            rig.signal(Signal::USR1);
            tokio::time::sleep(PAUSE).await;
        }
    };
    assert!(tokio::time::timeout(rig.patience, seen).await.is_ok(), "the clock is not believed:\n{}", rig.tail());
}

/// What begins while the clock is ahead ends after it was set back: the end is the newer one all the same. The mail server, which
/// was down meanwhile, is told the end alone, and the webhook both, once each.
#[tokio::test]
async fn an_incident_that_began_by_a_clock_that_was_ahead_ends_when_that_was_set_back() {
    let check = async |ahead: u64| {
        let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
        write(&rig.path("clock"), "+0\n");
        rig.run().await;
        rig.until_rest().await;
        rig.until_told().await;
        jump(&rig, ahead).await;
        rig.until_told().await;
        rig.sim.mail().set_mode(MailMode::Defers);
        let good = fs::read_to_string(rig.config()).unwrap();
        rig.edit_config(|it| format!("{it}\n[nonsense]\n"));
        rig.cli(&["reload"]).await;
        rig.until_own_notice("config.rejected", "firing").await;
        rig.until_true("a mail waits", || rig.log().contains("a notice waits")).await;
        jump(&rig, 0).await;
        fs::write(rig.config(), good).unwrap();
        rig.ok(&["reload"]).await;
        rig.until_own_notice("config.rejected", "resolved").await;
        let about = |it: &serde_json::Value| it["type"] == "config.rejected";
        rig.until_superseded(about, "email").await;
        rig.sim.mail().set_mode(MailMode::Accepts);
        rig.until_told().await;
        assert_eq!(rig.fates_of(about, "email").await, ["sent", "superseded"], "newest first by that clock: {ahead}");
        assert_eq!(rig.fates_of(about, "webhook").await, ["sent", "sent"], "{ahead}");
        let incidents =
            rig.notices().into_values().filter(|(_, it)| about(it)).map(|(_, it)| it["data"]["incident"].clone());
        let incidents: Vec<_> = incidents.collect();
        assert!(incidents.len() == 2 && incidents[0] == incidents[1], "{incidents:?}");
        rig.each_notice_came_once().await;
    };
    join_all([3 * HOUR, YEAR].map(check)).await;
}

/// Others are told of what no channel takes an hour after the clock was set back: not at once, not a year later, and once.
#[tokio::test]
async fn what_waits_while_the_clock_is_set_back_is_told_to_others_in_an_hour() {
    let check = async |ahead: u64| {
        let hook = asks_for_an_hour().await;
        let mut it = Later::prepare(&hook).await;
        it.rig.run().await;
        it.rig.until_rest().await;
        jump(&it.rig, ahead).await;
        it.ahead = ahead;
        let good = it.break_config().await;
        let told = || it.rig.log().matches("trouble that belongs to no key").count();
        it.rig.until_true("it is told", || told() > 0).await;
        jump(&it.rig, 0).await;
        it.ahead = 0;
        it.pass(50 * MINUTE).await;
        let early = it.rig.platform_heard().into_iter().filter(|it| it.0 == "config.rejected").count();
        assert_eq!(early, 0, "too early: {}", it.rig.tail());
        it.pass(12 * MINUTE).await;
        it.until_heard("firing").await;
        fs::write(it.rig.config(), good).unwrap();
        it.rig.ok(&["reload"]).await;
        it.until_heard("resolved").await;
        it.pass(70 * MINUTE).await;
        let heard = it.rig.platform_heard().into_iter().filter(|it| it.0 == "config.rejected").count();
        assert_eq!(heard, 2, "once each: {:?}", it.rig.platform_heard());
    };
    join_all([3 * HOUR, YEAR].map(check)).await;
}

/// A digest that was sent by a clock that was ahead comes again at that hour, when it has really come: under an id of its own, for
/// a receiver takes what it knows for a repeat. None comes before.
#[tokio::test]
async fn digests_go_on_at_the_next_due_time_when_the_clock_was_set_back() {
    let check = async |beyond: u64| {
        let hook = asks_for_an_hour().await;
        let mut it = Later::prepare(&hook).await;
        let (own, url) = (hook.url("/hook"), it.rig.sim.hook().url());
        it.rig.edit_config(|text| {
            let text = text.replace("[owners.payments]\n", "[owners.payments]\ndigest = \"0 0 * * * *\"\n");
            text.replace(&own, &url)
        });
        // By the daemon's clock the hour does not end by itself while the test runs.
        let seconds = || u64::try_from(clock::now().0 / 1000).unwrap();
        let start = if seconds() % HOUR > HOUR / 2 { HOUR / 2 } else { 0 };
        it.ahead = start;
        it.set(start);
        it.rig.run().await;
        it.rig.until_rest().await;
        let digests = |rig: &Rig| rig.own_notices("digest", "firing").len();
        let due = (seconds() + start).next_multiple_of(HOUR);
        jump(&it.rig, due - seconds() + beyond).await;
        it.rig.until_true("the digest of the hour came", || digests(&it.rig) == 1).await;
        jump(&it.rig, start).await;
        it.pass(due - seconds() - start - MINUTE).await;
        assert_eq!(digests(&it.rig), 1, "none comes before its time: {}", it.rig.tail());
        it.pass(2 * MINUTE).await;
        it.rig.until_true("the next one came when it was due", || digests(&it.rig) == 2).await;
        it.rig.until_told().await;
        it.rig.each_notice_came_once().await;
    };
    join_all([2 * MINUTE, YEAR].map(check)).await;
}

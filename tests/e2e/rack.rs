//! A rack of keys that fall due at once: how many messages their owners get, counted at the mail server.
//! `REKEYD_RACK=10000` has 10,000 keys of 50 owners in a window of half an hour, and prints what it counted.
use crate::clocks::{HOUR, set_clock};
use crate::rig::{Rig, calm};
use rekeyd::simulator::{Service, World};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::Instant;

/// How many keys an owner has in a large rack.
const KEYS_OF_ONE: usize = 200;
/// How long a key lives and when it is replaced, in hours.
const LIVES: u32 = 6;
const REPLACED_AFTER: i64 = 5;
/// The longest that a mail waits for its next try after as many as fail while a small rack goes through its day, with room to spare.
const NEXT_TRY_WITHIN: Duration = Duration::from_secs(300);

struct Rack {
    keys: usize,
    owners: usize,
    /// When its window opens, as cron, and for how long.
    window: (&'static str, &'static str),
    group_within: Duration,
}

impl Rack {
    fn of_this_run() -> Self {
        let keys = std::env::var("REKEYD_RACK").map_or(30, |it| it.parse().unwrap());
        if keys <= KEYS_OF_ONE {
            let window = ("*/6 * * * * *", "4s");
            return Self { keys, owners: 3, window, group_within: Duration::from_secs(8) };
        }
        let window = ("0 */30 * * * *", "29m");
        Self { keys, owners: keys / KEYS_OF_ONE, window, group_within: Duration::from_secs(300) }
    }

    fn key(nth: usize) -> String {
        format!("rack-{nth:05}")
    }

    fn address(owner: usize) -> String {
        format!("owner-{owner:02}@example.com")
    }

    /// A daemon that has created all of it, and told so.
    async fn built(&self) -> Rig {
        let hour = Duration::from_secs(3600);
        let world = World {
            lifetime: LIVES * hour,
            rotate_before: hour,
            sweep: "0 0 * * * *".to_owned(),
            ..calm(&[Service::Infobip])
        };
        let mut rig = Rig::prepare(world).await;
        if self.keys > KEYS_OF_ONE {
            // The next window may be half an hour away.
            rig.patience += Duration::from_secs(1800) + Duration::from_secs(1) * u32::try_from(self.keys).unwrap();
        }
        rig.world.sections = self.sections(&rig);
        rig.write_config();
        set_clock(&rig, 0);
        rig.run().await;
        self.until_all_have(&rig, 1).await;
        rig.until_told().await;
        rig
    }

    fn sections(&self, rig: &Rig) -> String {
        let (open, duration) = self.window;
        let within = self.group_within.as_secs();
        let mut text = format!("[windows.rack]\nopen = \"{open}\"\nduration = \"{duration}\"\n");
        for owner in 0..self.owners {
            let address = Self::address(owner);
            let _ =
                write!(text, "\n[owners.owner-{owner:02}]\ngroup_within = \"{within}s\"\nemail = [\"{address}\"]\n");
        }
        for nth in 0..self.keys {
            let (name, owner) = (Self::key(nth), nth % self.owners);
            let _ = write!(
                text,
                "\n[keys.{name}]\nprovider = \"infobip\"\nowners = [\"owner-{owner:02}\"]\ninitial = \"create\"\n\
                 valid_for = \"{LIVES}h\"\nrotate_before = \"1h\"\noverlap = \"1s\"\nwindows = [\"rack\"]\n\
                 create = {{ name = \"rack\" }}\n\n[[keys.{name}.deliver]]\nkind = \"file\"\npath = {:?}\n",
                rig.key_file(&name),
            );
        }
        text
    }

    async fn until_all_have(&self, rig: &Rig, version: u32) {
        let (patience, began) = (rig.patience, Instant::now());
        loop {
            let status = rig.status().await;
            let number = |it: &Option<rekeyd::control::protocol::VersionStatus>| it.as_ref().map(|it| it.version);
            let ready = status.keys.iter().filter(|it| number(&it.current) >= Some(version) && it.pending.is_none());
            let ready = ready.count();
            if ready == status.keys.len() {
                return;
            }
            assert!(began.elapsed() < patience, "{ready} of {} keys\n{}", status.keys.len(), rig.tail());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The mails to each owner since so many of all.
    fn mails(&self, rig: &Rig, since: usize) -> Vec<Vec<String>> {
        let mails = rig.sim.mail().mails().split_off(since);
        let to = |owner: usize| {
            let mine = mails.iter().filter(move |it| it.to.contains(&Self::address(owner)));
            mine.map(|it| it.raw.replace("=\r\n", "")).collect()
        };
        (0..self.owners).map(to).collect()
    }

    /// Each owner heard of each of his keys in one mail, and of no other's.
    fn each_key_is_told_once(&self, mails: &[Vec<String>]) {
        for nth in 0..self.keys {
            let in_mails = |owner: &Vec<String>| owner.iter().filter(|it| it.contains(&Self::key(nth))).count();
            let counts: Vec<_> = mails.iter().map(in_mails).collect();
            let wanted: Vec<_> = (0..self.owners).map(|it| usize::from(it == nth % self.owners)).collect();
            assert_eq!(counts, wanted, "{}", Self::key(nth));
        }
    }
}

fn passes(rig: &Rig, hours: i64) {
    rig.sim.behave(Service::Infobip, |it| it.clock_ahead_ms = hours * HOUR * 1000);
    set_clock(rig, hours * HOUR);
    rig.signal(rustix::process::Signal::USR1);
}

#[tokio::test]
async fn a_rack_of_keys_that_is_replaced_in_one_window_is_a_few_mails() {
    let rack = Rack::of_this_run();
    let rig = rack.built().await;
    let (before, began) = (rig.sim.mail().mails().len(), Instant::now());
    passes(&rig, REPLACED_AFTER);
    rack.until_all_have(&rig, 2).await;
    rig.until_told().await;
    let mails = rack.mails(&rig, before);
    rack.each_key_is_told_once(&mails);
    let most = mails.iter().map(Vec::len).max().unwrap();
    let groups = began.elapsed().div_duration_f64(rack.group_within).ceil() as usize;
    println!(
        "{} keys of {} owners: {most} messages at most to one, in {groups} times group_within",
        rack.keys, rack.owners
    );
    assert!(most <= groups + 1, "one in each group_within: {:?}", mails.iter().map(Vec::len).collect::<Vec<_>>());
}

/// Through the day each key is replaced five times, with no mail server.
#[tokio::test]
async fn a_rack_without_a_mail_server_for_a_day_is_told_once_it_is_back_and_not_flooded() {
    let rack = Rack::of_this_run();
    let mut rig = rack.built().await;
    rig.patience += NEXT_TRY_WITHIN;
    let before = rig.sim.mail().mails().len();
    rig.sim.mail().set_open(false).await;
    for (nth, version) in (1..=5).zip(2..) {
        passes(&rig, REPLACED_AFTER * nth);
        rack.until_all_have(&rig, version).await;
    }
    assert_eq!(rig.sim.mail().mails().len(), before);
    rig.sim.mail().set_open(true).await;
    rig.until_told().await;
    let mails = rack.mails(&rig, before);
    let most = mails.iter().map(Vec::len).max().unwrap();
    let fates = rig.fates_of(|it| it["type"] == "rotation.succeeded", "email:owner").await;
    let lost = fates.iter().filter(|it| *it != "sent").count();
    let ids: BTreeSet<_> = rig.sim.mail().mails().into_iter().map(|it| it.message_id).collect();
    let twice = rig.sim.mail().mails().len() - ids.len();
    println!(
        "{} keys of {} owners, a day without mail: {} notices, {lost} lost, {twice} messages twice, {most} at most to one",
        rack.keys,
        rack.owners,
        fates.len()
    );
    assert_eq!((fates.len(), lost, twice), (rack.keys * 6, 0, 0));
    assert!(most <= 2, "{most} mails");
}

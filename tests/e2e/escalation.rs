//! What no channel takes is told to others in time, whatever keeps the channels; and what else is promised of channels that
//! are not as they should be. The daemon's wall clock is put forward a little at a time, so that no step is a jump.
use crate::http::{Answer, Receiver};
use crate::rig::{PAUSE, Rig, calm, write};
use crate::watch::tells_of_the_pace;
use rekeyd::clock;
use rekeyd::control::protocol::Time;
use rekeyd::simulator::{Service, World};
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// A step of the clock that is taken for no jump, in seconds.
const STEP: u64 = 50;
pub(crate) const MINUTE: u64 = 60;

/// A daemon by whose clock some time has passed since the test began.
pub(crate) struct Later {
    pub(crate) rig: Rig,
    pub(crate) ahead: u64,
}

impl Later {
    /// Keys that live for a day. `payments` is told by one webhook, which wants to be left alone for an hour after each try,
    /// and names `platform`.
    pub(crate) async fn prepare(hook: &Receiver) -> Self {
        let day = Duration::from_secs(24 * 3600);
        let world = World { lifetime: day, rotate_before: day / 12, ..calm(&[Service::Infobip]) };
        let it = Self { rig: Rig::prepare(world).await, ahead: 0 };
        it.rig.add_platform();
        let (url, own) = (it.rig.sim.hook().url(), hook.url("/hook"));
        it.rig.edit_config(|text| {
            let text = text.replace("email = [\"payments@example.com\"]\n", "");
            text.replace(&url, &own)
        });
        it.set(0);
        it
    }

    pub(crate) fn set(&self, ahead: u64) {
        write(&self.rig.path("clock"), &format!("+{ahead}\n"));
        self.rig.sim.behave(Service::Infobip, |it| it.clock_ahead_ms = i64::try_from(ahead * 1000).unwrap());
    }

    /// Lets so much time pass; the daemon looks at its clock at every step: before it reads its history for somebody, which,
    /// unlike its status, it does not while it waits for the disk.
    pub(crate) async fn pass(&mut self, seconds: u64) {
        for step in (0..seconds).step_by(usize::try_from(STEP).unwrap()) {
            self.set(self.ahead + (step + STEP).min(seconds));
            let looked = self.rig.client().history(Some("billing-sms"), Some(Time(clock::now())), None).await;
            assert!(looked.is_ok(), "{looked:?}\n{}", self.rig.tail());
        }
        self.ahead += seconds;
    }

    pub(crate) fn escalations(&self) -> usize {
        self.rig.log().matches("no channel takes it; others are told").count()
    }

    /// A config that is refused: an incident that lasts until it is mended.
    pub(crate) async fn break_config(&self) -> String {
        let good = fs::read_to_string(self.rig.config()).unwrap();
        self.rig.edit_config(|it| format!("{it}\n[nonsense]\n"));
        self.rig.cli(&["reload"]).await;
        good
    }

    /// Waits until others have heard that.
    pub(crate) async fn until_heard(&self, status: &str) {
        let heard = ("config.rejected".to_owned(), status.to_owned());
        self.rig.until_true("others are told", || self.rig.platform_heard().last() == Some(&heard)).await;
    }

    /// `kill -9`, once it is durable that others were told: a notice whose receipt dies with the daemon comes twice, and may.
    async fn kill_once_others_are_told(&mut self) {
        self.until_heard("firing").await;
        let client = self.rig.client();
        let told = async {
            loop {
                let rows = client.history(None, None, None).await.unwrap().notices;
                let mut channels = rows.iter().filter(|it| it.owner == "platform").flat_map(|it| &it.channels);
                if channels.all(|it| it.state == "sent") {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        assert!(tokio::time::timeout(self.rig.patience, told).await.is_ok(), "they stay:\n{}", self.rig.tail());
        self.rig.kill().await;
    }
}

pub(crate) async fn asks_for_an_hour() -> Receiver {
    let answer =
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 3600\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    Receiver::start(Answer::Bytes(answer.to_owned())).await
}

#[tokio::test]
async fn others_are_told_when_an_hour_has_passed_though_no_try_ends_then_and_hear_of_the_end() {
    let hook = asks_for_an_hour().await;
    let mut it = Later::prepare(&hook).await;
    it.rig.run().await;
    it.rig.until_rest().await;
    it.rig.until_true("the channel was tried", || it.rig.log().contains("a notice waits")).await;
    it.pass(30 * MINUTE).await;
    let good = it.break_config().await;
    let tries = hook.requests().len();
    it.pass(25 * MINUTE).await;
    assert_eq!(hook.requests().len(), tries, "nothing is sent before it may");
    assert_eq!(it.escalations(), 0, "too early: {}", it.rig.tail());
    it.pass(36 * MINUTE).await;
    it.until_heard("firing").await;
    let heard = fs::read_to_string(it.rig.path("platform")).unwrap();
    assert!(heard.contains("(this was meant for payments, whose channels all fail)"), "{heard}");
    it.rig.until_true("the hour that it asked for is over", || hook.requests().len() > tries).await;

    it.kill_once_others_are_told().await;
    it.rig.run().await;
    it.pass(2 * MINUTE).await;
    assert_eq!(it.escalations(), 1, "once, over a restart too: {}", it.rig.tail());
    fs::write(it.rig.config(), good).unwrap();
    it.rig.ok(&["reload"]).await;
    it.until_heard("resolved").await;
    assert_eq!(it.rig.platform_heard().len(), 2, "{:?}", it.rig.platform_heard());
}

#[tokio::test]
async fn a_daemon_that_was_down_tries_the_channels_before_it_tells_others() {
    let hook = asks_for_an_hour().await;
    let mut it = Later::prepare(&hook).await;
    it.rig.run().await;
    it.rig.until_rest().await;
    it.break_config().await;
    it.rig.until_true("it is told", || it.rig.log().contains("a notice waits")).await;
    it.rig.kill().await;
    it.ahead = 3 * 3600;
    it.set(it.ahead);
    it.rig.run().await;
    it.pass(30).await;
    assert_eq!(it.escalations(), 0, "each channel gets the time for a try: {}", it.rig.tail());
    it.pass(2 * MINUTE).await;
    it.until_heard("firing").await;
    assert_eq!(it.escalations(), 1, "{}", it.rig.tail());
}

/// A broken config is one incident for as long as it is broken, however often the daemon starts meanwhile: it is told once, others
/// hear of it an hour after the first time, and the end bears the id of the beginning.
#[tokio::test]
async fn a_broken_config_is_one_incident_over_any_number_of_starts() {
    let hook = asks_for_an_hour().await;
    let mut it = Later::prepare(&hook).await;
    it.rig.run().await;
    it.rig.until_rest().await;
    let good = fs::read_to_string(it.rig.config()).unwrap();
    it.rig.edit_config(|it| format!("{it}\n[nonsense]\n"));
    for minutes in [25, 25, 15] {
        it.rig.kill().await;
        it.rig.run().await;
        it.rig.until_true("it is told by the log", || it.rig.log().contains("trouble that belongs to no key")).await;
        assert_eq!(it.escalations(), 0, "too early: {}", it.rig.tail());
        it.pass(minutes * MINUTE).await;
    }
    it.kill_once_others_are_told().await;
    it.rig.run().await;
    it.pass(70 * MINUTE).await;
    fs::write(it.rig.config(), good).unwrap();
    it.rig.ok(&["reload"]).await;
    it.until_heard("resolved").await;
    let heard = fs::read_to_string(it.rig.path("platform")).unwrap();
    let heard: Vec<&str> = heard.lines().filter(|it| !tells_of_the_pace(it)).collect();
    let incidents: BTreeSet<&str> =
        heard.iter().flat_map(|it| it.split("\"incident\":").skip(1)).filter_map(|it| it.split(',').next()).collect();
    assert_eq!((heard.len(), incidents.len()), (2, 1), "{heard:?}");
    let told = |line: &&str| line.contains("trouble that belongs to no key") && !tells_of_the_pace(line);
    assert_eq!(it.rig.log().lines().filter(told).count(), 1, "{}", it.rig.tail());
}

#[tokio::test]
async fn a_broken_template_gives_way_to_the_built_in_words_and_is_told_until_it_is_mended() {
    let mut rig = Rig::prepare(calm(&[Service::Infobip])).await;
    let folder = rig.path("templates");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("subject.txt"), "ACME {{ title }}").unwrap();
    fs::write(folder.join("body.txt"), "{{ no_such_value }}").unwrap();
    rig.edit_config(|it| it.replace("[smtp]\n", &format!("[smtp]\ntemplates = {folder:?}\n")));
    rig.run().await;
    rig.until_rest().await;
    rig.until_own_notice("daemon.degraded", "firing").await;
    rig.until_told().await;
    let said = rig.own_notices("daemon.degraded", "firing");
    assert!(said.len() == 1 && said[0].contains("body.txt"), "{said:?}");
    let troubles = rig.status().await.daemon.troubles;
    assert!(troubles.iter().any(|it| it.contains("body.txt")), "{troubles:?}");
    let mail = rig.sim.mail().mails().into_iter().find(|it| it.raw.contains("billing-sms")).unwrap();
    assert!(mail.subject.starts_with("ACME "), "the other one is good: {}", mail.subject);
    assert!(mail.raw.contains("What happened"), "{}", mail.raw);

    fs::write(folder.join("body.txt"), "In our words: {{ happened }}").unwrap();
    rig.ok(&["reload"]).await;
    rig.until_own_notice("daemon.degraded", "resolved").await;
    rig.until_told().await;
    assert!(rig.sim.mail().mails().last().unwrap().raw.contains("In our words"), "{}", rig.tail());
}

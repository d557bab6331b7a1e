//! What the owners are told of a rotation before it begins: when, and why then.
use super::Tell;
use crate::core::pass::{Pass, on_create};
use crate::core::plan::{NoticeKind, Severity};
use crate::core::policy::{OnCreate, OutsideWindow};
use crate::core::record::Phase;
use crate::core::schedule::Why;
use crate::core::time::Timestamp;

impl Pass<'_> {
    /// A cutover is announced.
    pub(in crate::core) fn tell_scheduled(&mut self, until: Timestamp) {
        let name = self.record.name.clone();
        // Where nobody knows what a create does, nobody can promise an end either.
        let ends = if on_create(&self.account, self.policy) == OnCreate::Revokes { "stops" } else { "may stop" };
        let cause = format!("scheduled {until}");
        let why = self.why_outside(until).map(|it| format!(", {it}")).unwrap_or_default();
        self.tell(Tell {
            kind: NoticeKind::RotationScheduled,
            severity: Severity::Info,
            incident: None,
            cause: &cause,
            summary: format!(
                "{name} will be replaced at {}{why}; the old key {ends} working in that moment",
                until.whole_second()
            ),
            actions: vec![format!("rekeyd status {name}")],
            about: None,
        });
    }

    /// A rotation begins where its owners don't expect one: they hear of it, and why, as it does.
    pub(in crate::core) fn tell_outside(&mut self, at: Timestamp) {
        let Some(why) = self.why_outside(at) else { return };
        let name = self.record.name.clone();
        let tell = Tell {
            kind: NoticeKind::RotationScheduled,
            severity: Severity::Warning,
            incident: Some("outside".into()),
            cause: "outside",
            summary: format!("{name} is replaced now, {why}"),
            actions: vec![format!("rekeyd status {name}")],
            about: None,
        };
        self.tell_that(tell, Some("The key is replaced at a time when nobody expects that."));
    }

    /// What keeps a key from being replaced that may leave neither its windows nor a freeze.
    pub(in crate::core) fn why_not_yet(&self) -> Option<String> {
        let resting = matches!(self.record.phase, Phase::Steady | Phase::Announce { .. } | Phase::Verify { .. });
        let calendar = self.policy.calendar();
        if !resting || self.policy.outside_window != OutsideWindow::Never || calendar.is_open(self.now) {
            return None;
        }
        Some(match calendar.frozen(self.now) {
            Some(freeze) if freeze.until == Timestamp::NEVER => format!("freeze {} has no end", freeze.name),
            Some(freeze) => format!("freeze {} lasts until {}", freeze.name, freeze.until),
            None => "no window opens in time, and outside_window is \"never\"".to_owned(),
        })
    }

    /// Why a moment outside all windows, or in a freeze, is taken; `None` where it is neither.
    fn why_outside(&self, at: Timestamp) -> Option<String> {
        let calendar = self.policy.calendar();
        let wished = self.record.wish.as_ref().is_some_and(|it| it.now || it.compromised);
        let end = self.record.current.as_ref().and_then(|it| it.valid_to).filter(|_| !wished)?;
        let place = match calendar.frozen(at) {
            Some(freeze) => format!("in freeze {}", freeze.name),
            None if !calendar.is_open(at) => "outside its windows".to_owned(),
            None => return None,
        };
        let version = self.record.current.as_ref().map(|it| it.number);
        let slot = self.policy.slot.filter(|it| Some(it.version) == version);
        let why = match slot.filter(|it| it.why == Why::Crowded) {
            None => "no window opens in time".to_owned(),
            Some(_) => format!(
                "{} creates a day are too few for all keys of its account that wait for the same windows",
                self.policy.creates_per_day
            ),
        };
        Some(format!("{place}, because it expires at {} and {why}", end.whole_second()))
    }
}

//! A new config is taken into use, or refused as a whole: then nothing has changed.
use super::handle::{By, Done, Refused};
use super::{Engine, audit};
use crate::config::Loaded;
use crate::config::settings::Settings;
use crate::core::names::KeyName;
use crate::core::plan::{NoticeKind, Severity};
use crate::core::time::Timestamp;

/// The causes of being told at a start that the config drops many keys begin so.
const REMOVALS: &str = "removals:";

impl Engine {
    /// Takes a config into use that has no faults of its own.
    pub(super) fn reload(&mut self, loaded: Loaded, allow_removals: bool, by: Option<&By>) -> Result<Done, Refused> {
        let now = self.clock.now();
        if let Err(why) = self.check_reload(&loaded.settings, allow_removals) {
            self.reject_reload(why.clone(), allow_removals, by, now);
            return Err(Refused::Config(why));
        }
        let what = difference(&self.books.settings, &loaded.settings);
        self.books.keep_config(loaded.text());
        self.books.reload(loaded.settings, now);
        self.books.enter_new_keys(now);
        self.forget_doors();
        self.accept_config(now);
        for cause in self.books.incidents.open(REMOVALS) {
            self.books.end_incident(&cause, "a config was taken into use since", now);
        }
        let gone: Vec<KeyName> = self.wake_at.keys().filter(|it| self.books.key(it).is_none()).cloned().collect();
        for name in gone {
            self.due_never(&name);
        }
        self.blocked.retain(|it| self.books.settings.keys.contains_key(it));
        tracing::info!(keys = self.books.settings.keys.len(), "the new config is in use");
        self.sweep();
        self.note_reload(allow_removals, by, format!("in use: {what}"), now);
        Ok(Done { message: format!("the config on disk is in use: {what}"), attempt: None })
    }

    /// The config on disk is not used: it is told, and stands in the history with who asked for it.
    pub(super) fn reject_reload(&mut self, why: String, allow_removals: bool, by: Option<&By>, now: Timestamp) {
        self.note_reload(allow_removals, by, format!("refused: {why}"), now);
        self.reject_config(why, now);
    }

    fn note_reload(&mut self, allow_removals: bool, by: Option<&By>, result: String, now: Timestamp) {
        let options = allow_removals.then(|| "--allow-removals".to_owned()).into_iter().collect();
        let row = audit::own("reload", options, by, Some(result), now);
        self.books.edit(|it| it.history.push(row));
    }

    fn check_reload(&self, new: &Settings, allow_removals: bool) -> Result<(), String> {
        let old = &self.books.settings;
        if let Some(field) = old.daemon.needs_restart(&new.daemon) {
            return Err(format!("daemon.{field} takes effect at a start only: systemctl restart rekeyd"));
        }
        let managed = old.keys.keys().filter(|it| !self.books.is_leaving(it));
        if allow_removals { Ok(()) } else { new.refused_for_removals(managed).map_or(Ok(()), Err) }
    }

    /// At a start nothing can be refused, but it is told.
    pub(super) fn tell_of_removals(&mut self, dropped: usize, now: Timestamp) {
        let all = dropped + self.books.settings.keys.len();
        let most = self.books.settings.daemon.max_removals;
        if dropped <= most.of(all) {
            return;
        }
        let summary = format!(
            "the config that rekeyd was started with drops {dropped} of {all} keys, more than max_removals = {most}; \
             they are kept, and no longer looked after"
        );
        tracing::warn!("{summary}");
        let actions = vec!["rekeyd status".to_owned(), "rekeyd reload".to_owned()];
        self.begin_own(
            &format!("{REMOVALS}{now}"),
            NoticeKind::DaemonDegraded,
            Severity::Warning,
            summary,
            actions,
            now,
        );
    }
}

/// How many keys a config names, and how many more or less than another.
fn difference(old: &Settings, new: &Settings) -> String {
    let missing = |of: &Settings, from: &Settings| from.keys.keys().filter(|it| !of.keys.contains_key(*it)).count();
    let (came, left) = (missing(old, new), missing(new, old));
    let came = if came > 0 { format!(", {came} new") } else { String::new() };
    let left = if left > 0 { format!(", {left} no longer named") } else { String::new() };
    let n = new.keys.len();
    format!("{n} key{}{came}{left}", if n == 1 { "" } else { "s" })
}

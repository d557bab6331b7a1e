//! Keys that the config no longer names: kept and left alone, but their owners still hear when they expire.
use super::Engine;
use super::event::FoundSecrets;
use crate::core::facts::Blocked;
use crate::core::names::KeyName;
use crate::core::unmanaged::watch_expiry;

impl Engine {
    /// Nobody speaks for the key: all that is done for it is to tell of its expiry, and to look again when that is due.
    pub(super) fn watch_unmanaged(&mut self, name: &KeyName) {
        self.due_never(name);
        let Some(record) = self.books.records.get(name).cloned() else { return };
        self.blocked.note(name, Some(Blocked::Unmanaged));
        if self.books.settings.keys.contains_key(name) {
            return;
        }
        let Some(current) = &record.current else { return };
        let account = self.books.account(&current.account);
        let (before, suspect) = (self.books.notify_before(name), self.clock.is_suspect());
        let plan = watch_expiry(&record, &account, &before, suspect, self.clock.now());
        self.books.enter(plan.change, &FoundSecrets::new());
        self.due_at(name, plan.wake_at);
    }
}

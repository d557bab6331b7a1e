//! Units that fetch their keys: what each gets is for the core to say, and is durable before the first byte goes out.
use super::Engine;
use super::event::FoundSecrets;
use super::handle::{Fetched, Receipt};
use crate::clock;
use crate::config::settings::Key;
use crate::core::credential::{Answer, answer, read_begins, read_ended};
use crate::core::policy::Policy;
use crate::core::reader::Reader;
use crate::store::HistoryRow;
use tokio::sync::oneshot;

/// The longest key that a unit can fetch, in bytes: so much goes out at once, so that no unit is started with half of it.
pub const CREDENTIAL_BYTES: usize = 64 << 10;
/// How many rows of the history wait for a disk that takes nothing. Units are served beyond that, and the log tells of it.
const READS_WAITING: usize = 1024;
/// Why a unit waits whose read would be lost with the daemon.
const UNRECORDED: &str = "the disk takes nothing, and the state does not know yet that the unit may have this version";

impl Engine {
    /// Answers a unit that fetches a credential, once it is durable that it may have this version. Where the disk takes
    /// nothing, only whoever is known to have it gets it: after a crash nobody would know of another, and while it runs with
    /// a version that nobody seems to hold, that one could be revoked.
    pub(super) fn serve(&mut self, unit: &str, credential: &str, reply: oneshot::Sender<Fetched>) {
        let fetched = self.fetch(unit, credential);
        let known = match &fetched {
            Fetched::Here(receipt, _) => self.knows_of(receipt),
            Fetched::Hold(_) | Fetched::Refused(_) => true,
        };
        self.replies.push(Box::new(move |unsaved| {
            let held = unsaved.is_some() && !known;
            // Whoever asked may have gone away.
            drop(reply.send(if held { Fetched::Hold(UNRECORDED.to_owned()) } else { fetched }));
        }));
    }

    /// What a unit gets that fetches a credential now.
    fn fetch(&mut self, unit: &str, credential: &str) -> Fetched {
        let (key, reader) = match self.find_reader(unit, credential) {
            Ok((key, reader)) => (key.clone(), reader.clone()),
            Err(why) => return Fetched::Refused(why),
        };
        let (name, now) = (&key.name, clock::now());
        let policy = self.books.policy(name).unwrap_or_else(|| key.policy.clone());
        let account = self.books.account(&policy.account);
        let Some(record) = self.books.records.get(name).cloned() else {
            return Fetched::Refused("nothing is known of the key".to_owned());
        };
        let version = match answer(&record, &account, &policy, now) {
            Answer::Give(version) => version,
            Answer::Hold(why) => return Fetched::Hold(why.to_owned()),
            Answer::Refuse(why) => return Fetched::Refused(why.to_owned()),
        };
        let Some(secret) = self.books.secret(name, version) else {
            return Fetched::Refused(format!("version {version} can't be read from the state"));
        };
        if secret.len() > CREDENTIAL_BYTES {
            return Fetched::Refused(format!("the key is longer than {CREDENTIAL_BYTES} bytes; deliver it as a file"));
        }
        let receipt = Receipt { name: name.clone(), version, reader: reader.clone(), unit: unit.to_owned() };
        if self.unwritable.is_some() && !self.knows_of(&receipt) {
            return Fetched::Hold(UNRECORDED.to_owned());
        }
        let change = read_begins(&record, &account, &policy, (&reader, unit), version, now);
        self.books.enter(change, &FoundSecrets::new());
        tracing::info!(key = %name, version, unit, "a unit fetches the key");
        let waiting = self.unwritable.is_some() && self.books.batch.history.len() >= READS_WAITING;
        if !waiting {
            let (by, via) = (format!("unit:{unit}"), "credential".to_owned());
            self.books.edit(|it| it.history.push(HistoryRow::Read { name: name.clone(), at: now, by, version, via }));
        }
        Fetched::Here(receipt, secret)
    }

    /// Whether what is durable says already that the unit may have this version, so that nothing is lost with this read.
    fn knows_of(&mut self, it: &Receipt) -> bool {
        let Some(record) = self.books.durable_record(&it.name).cloned() else { return false };
        let Some(policy) = self.policy_of(it) else { return false };
        let account = self.books.account(&policy.account);
        let who = (&it.reader, it.unit.as_str());
        read_begins(&record, &account, &policy, who, it.version, clock::now()).record == record
    }

    /// The key whose target lists this unit: by its own name, or else by that of its template.
    fn find_reader(&self, unit: &str, credential: &str) -> Result<(&Key, &Reader), String> {
        let keys = self.books.settings.keys.values();
        let readers = keys
            .flat_map(|key| key.policy.targets.iter().flat_map(move |it| it.readers.iter().map(move |it| (key, it))));
        let named: Vec<_> = readers.filter(|(_, it)| it.credential == credential).collect();
        let own = named.iter().find(|(_, it)| it.unit == unit);
        let found = own.or_else(|| named.iter().find(|(_, it)| it.stands_for(unit)));
        found.copied().ok_or_else(|| match named.first() {
            Some((key, _)) => format!("key {} lists other units for it; add {unit} to `units` there", key.name),
            None => "no key of the config is read under this name".to_owned(),
        })
    }

    /// A unit has all of its key.
    pub(super) fn note_read(&mut self, it: &Receipt) {
        let Some(record) = self.books.records.get(&it.name).cloned() else { return };
        let Some(policy) = self.policy_of(it) else { return };
        let account = self.books.account(&policy.account);
        let who = (&it.reader, it.unit.as_str());
        let change = read_ended(&record, &account, &policy, who, it.version, clock::now());
        let new = change.record != record;
        self.books.enter(change, &FoundSecrets::new());
        if new {
            self.begin_pass(&it.name);
        }
    }

    fn policy_of(&self, it: &Receipt) -> Option<Policy> {
        self.books.policy(&it.name).or_else(|| self.books.key(&it.name).map(|it| it.policy))
    }
}

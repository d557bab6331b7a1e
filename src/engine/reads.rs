//! Units that fetch their keys: what each gets is for the core to say, and is durable before the first byte goes out.
use super::Engine;
use super::event::FoundSecrets;
use super::handle::{Fetched, Receipt};
use crate::config::settings::Key;
use crate::core::credential::{Answer, answer, read_begins, read_ended};
use crate::core::names::KeyName;
use crate::core::policy::Policy;
use crate::core::reader::Reader;
use crate::core::record::VersionNo;
use crate::core::time::Timestamp;
use crate::store::{HistoryRow, READ_BY_UNIT};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::oneshot;

/// The longest key that a unit can fetch, in bytes: so much goes out at once, so that no unit is started with half of it.
pub const CREDENTIAL_BYTES: usize = 64 << 10;
/// How many rows of the history wait for a disk that takes nothing. Units are served beyond that, and the log tells of it.
const READS_WAITING: usize = 1024;
/// Why a unit waits whose read would be lost with the daemon.
const UNRECORDED: &str = "the disk takes nothing, and the state does not know yet that the unit may have this version";

/// What a unit reads of one version within this time is one row of the history, with how often and the last time: one that
/// crashes and is started again and again must not push everything else out of it.
const READS_TOGETHER: Duration = Duration::from_secs(60 * 60);
/// How many such rows are known. What more units read has a row for each time.
const READS_KNOWN: usize = 4096;

/// The rows of the history that the next read may belong to: when each began, and how many reads it has.
#[derive(Debug, Default)]
pub(super) struct Reads(BTreeMap<(KeyName, String, VersionNo), (Timestamp, u32)>);

impl Reads {
    /// The row of a read at `now`: a new one, or the one of the reads before it.
    fn row(&mut self, name: &KeyName, unit: &str, version: VersionNo, now: Timestamp) -> HistoryRow {
        self.0.retain(|_, (began, _)| *began <= now && now < began.plus(READS_TOGETHER));
        let whose = (name.clone(), unit.to_owned(), version);
        let (at, times) = match self.0.get_mut(&whose) {
            Some((began, times)) => {
                *times = times.saturating_add(1);
                (*began, *times)
            }
            None => {
                if self.0.len() < READS_KNOWN {
                    self.0.insert(whose, (now, 1));
                }
                (now, 1)
            }
        };
        let (by, via, last) = (format!("unit:{unit}"), READ_BY_UNIT.to_owned(), (times > 1).then_some(now));
        HistoryRow::Read { name: name.clone(), at, by, version, via, times, last }
    }
}

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
        let (name, now) = (&key.name, self.clock.now());
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
            let row = self.reads.row(name, unit, version, now);
            self.books.edit(|it| it.history.push(row));
        }
        Fetched::Here(receipt, secret)
    }

    /// Whether what is durable says already that the unit may have this version, so that nothing is lost with this read.
    fn knows_of(&mut self, it: &Receipt) -> bool {
        let Some(record) = self.books.durable_record(&it.name).cloned() else { return false };
        let Some(policy) = self.policy_of(it) else { return false };
        let account = self.books.account(&policy.account);
        let who = (&it.reader, it.unit.as_str());
        read_begins(&record, &account, &policy, who, it.version, self.clock.now()).record == record
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
        let change = read_ended(&record, &account, &policy, who, it.version, self.clock.now());
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    #[test]
    fn a_unit_that_crashes_in_a_loop_has_one_row_an_hour_and_another_for_each_version() {
        let (mut reads, name) = (Reads::default(), "billing".parse().unwrap());
        let mut seen = BTreeMap::new();
        for second in 0..7200 {
            let at = NOW.plus(Duration::from_secs(second));
            let HistoryRow::Read { at: began, times, last, .. } = reads.row(&name, "shop.service", 1, at) else {
                panic!()
            };
            assert_eq!(last, (times > 1).then_some(at));
            seen.insert(began, times);
        }
        assert_eq!(seen.into_values().collect::<Vec<_>>(), [3600, 3600]);
        let times = |row| if let HistoryRow::Read { times, .. } = row { times } else { 0 };
        assert_eq!(times(reads.row(&name, "shop.service", 2, NOW)), 1);
        assert_eq!(times(reads.row(&name, "bills.service", 2, NOW)), 1);
        assert_eq!(times(reads.row(&name, "shop.service", 2, NOW)), 2);
    }

    #[test]
    fn what_is_known_of_reads_has_an_end() {
        let (mut reads, name) = (Reads::default(), "billing".parse().unwrap());
        (0..READS_KNOWN + 10).for_each(|it| drop(reads.row(&name, &format!("billing@{it}.service"), 1, NOW)));
        assert_eq!(reads.0.len(), READS_KNOWN);
    }
}

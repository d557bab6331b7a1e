//! What is known of the database as a whole: how many commits it has seen, what its rows come to together, and which of
//! them there must be. A row that is missing, or older than it was, has no checksum of its own that would say so.
use super::batch::Batch;
use super::rows;
use crate::core::names::{AccountId, KeyName};
use crate::core::record::VersionNo;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Where the database stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// The number of the last commit.
    pub(super) commits: u64,
    /// Over all rows but the one that it stands in.
    pub(super) digest: Digest,
    /// The rows that there must be.
    pub(super) manifest: Manifest,
}

/// A sum over rows, whatever their order: each row is added and taken away by the same step.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Digest([u8; 16]);

impl Digest {
    /// Adds a row, or takes it away.
    pub(super) fn toggle(&mut self, row: &[u8], value: &[u8]) {
        if row == rows::SEQUENCE_ROW {
            return;
        }
        let mut sum = Sha256::new();
        sum.update((row.len() as u64).to_be_bytes());
        sum.update(row);
        sum.update(value);
        self.0.iter_mut().zip(sum.finalize()).for_each(|(mine, its)| *mine ^= its);
    }
}

/// The content of the row that holds the number of the last commit and the digest.
pub(super) fn text(commits: u64, digest: Digest) -> Vec<u8> {
    [commits.to_be_bytes().as_slice(), &digest.0].concat()
}

/// What such a row says; `None` where it is none.
pub(super) fn parse(content: &[u8]) -> Option<(u64, Digest)> {
    let (commits, digest) = content.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*commits), Digest(digest.try_into().ok()?)))
}

/// Names and versions: what a key or an account can't be without.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// The keys that have a record.
    pub(super) records: BTreeSet<KeyName>,
    /// The accounts that have one.
    pub(super) accounts: BTreeSet<AccountId>,
    /// The versions whose secret is kept.
    pub(super) secrets: BTreeMap<KeyName, BTreeSet<VersionNo>>,
}

impl Manifest {
    /// What it is after a batch.
    pub(super) fn after(&self, batch: &Batch) -> Self {
        let mut after = self.clone();
        for name in &batch.drop_records {
            after.records.remove(name);
        }
        after.records.extend(batch.records.iter().map(|it| it.name.clone()));
        after.accounts.extend(batch.accounts.iter().map(|it| it.id.clone()));
        for (name, version) in &batch.drop_secrets {
            if let Some(kept) = after.secrets.get_mut(name) {
                kept.remove(version);
            }
        }
        for (name, version, _) in &batch.secrets {
            after.secrets.entry(name.clone()).or_default().insert(*version);
        }
        after.secrets.retain(|_, kept| !kept.is_empty());
        after
    }

    /// The highest version of a key whose secret is kept; 0 where there is none.
    pub(super) fn highest(&self, name: &KeyName) -> VersionNo {
        self.secrets.get(name).and_then(|it| it.last()).copied().unwrap_or_default()
    }

    /// The rows that belong to a key.
    pub(super) fn rows_of_keys(&self) -> impl Iterator<Item = (&KeyName, Vec<u8>)> {
        let records = self.records.iter().map(|it| (it, rows::record(it)));
        let secrets =
            self.secrets.iter().flat_map(|(name, kept)| kept.iter().map(move |it| (name, rows::secret(name, *it))));
        records.chain(secrets)
    }

    /// The rows that belong to an account.
    pub(super) fn rows_of_accounts(&self) -> impl Iterator<Item = (&AccountId, Vec<u8>)> {
        self.accounts.iter().map(|it| (it, rows::account(it)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_digest_does_not_depend_on_the_order_and_shows_every_change() {
        let rows: [(&[u8], &[u8]); 3] = [(b"a", b"1"), (b"b", b"2"), (b"ab", b"")];
        let of = |rows: &[(&[u8], &[u8])]| {
            let mut digest = Digest::default();
            rows.iter().for_each(|(row, value)| digest.toggle(row, value));
            digest
        };
        let whole = of(&rows);
        assert_eq!(of(&[rows[2], rows[0], rows[1]]), whole);
        assert_ne!(of(&rows[..2]), whole);
        assert_ne!(of(&[(b"a", b"2"), rows[1], rows[2]]), whole);
        assert_ne!(of(&[rows[0], rows[1], (b"a", b"b")]), whole);
        let mut one_less = whole;
        one_less.toggle(rows[2].0, rows[2].1);
        assert_eq!(one_less, of(&rows[..2]));
        assert_eq!(parse(&text(7, whole)), Some((7, whole)));
        assert_eq!(parse(b"short"), None);
    }

    #[test]
    fn the_manifest_follows_what_is_kept() {
        let name: KeyName = "billing".parse().unwrap();
        let secret = |number| (name.clone(), number, Secret::from("hunter2".to_owned()));
        let manifest = Manifest::default().after(&Batch { secrets: vec![secret(1), secret(2)], ..Batch::default() });
        assert_eq!(manifest.highest(&name), 2);
        let manifest = manifest.after(&Batch { drop_secrets: vec![(name.clone(), 1)], ..Batch::default() });
        assert_eq!(manifest.rows_of_keys().map(|(_, row)| row).collect::<Vec<_>>(), [b"secret/billing/2".to_vec()]);
        let manifest = manifest.after(&Batch { drop_secrets: vec![(name.clone(), 2)], ..Batch::default() });
        assert_eq!(manifest, Manifest::default());
    }
}

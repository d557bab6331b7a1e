//! Opening the state: what must be true before the first row is read, and who we are from now on.
use super::disk::{Disk, create_folder, sync};
use super::draft::Draft;
use super::error::StoreError;
use super::escrow::Escrow;
use super::ledger::Ledger;
use super::lock::Lock;
use super::rescue::{self, Damage, Found};
use super::reserve::{Looks, Reserve};
use super::rows::{self, FORMAT};
use super::seal::{Place, Seal};
use super::sequence::{self, Noted};
use super::{Store, migrate, restore, row_content};
use crate::core::names::{Fingerprint, Incarnation};
use crate::core::time::Timestamp;
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::{Arc, RwLock};

/// Where the state lies, and on which machine.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The folder; made where it is absent.
    pub dir: &'a Path,
    /// What tells this machine from others, see [`machine_id`]. `None`: unknown, and so never another one.
    pub machine: Option<&'a str>,
    /// How many bytes are to be kept free beside the state.
    pub reserve: u64,
}

/// The open state, and what its opening showed.
#[derive(Debug)]
pub struct Opened {
    /// The state.
    pub store: Store,
    /// Who issues tokens from now on.
    pub incarnation: Incarnation,
    /// The state was rolled back. Reported at every open until a commit answers it.
    pub rolled_back: bool,
    /// The state came from another machine. Reported at every open until a commit answers it.
    pub new_machine: bool,
    /// Something was lost to damage. Reported at every open until a commit answers it.
    pub damage: Option<Damage>,
    /// The state was created just now.
    pub fresh: bool,
}

/// Who we are, and what is not answered yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    /// Who issues tokens.
    pub(super) incarnation: Incarnation,
    /// Since when it does so.
    pub(super) since: Timestamp,
    /// A hash of the machine's id, which is not to be shown around.
    pub(super) machine: Option<Fingerprint>,
    /// A roll-back was noticed, and no commit answered it yet.
    pub(super) rolled_back: bool,
    /// A new machine was noticed, and no commit answered it yet.
    pub(super) new_machine: bool,
    /// What was lost to damage, and no commit answered yet.
    #[serde(default)]
    pub(super) damage: Option<Damage>,
}

impl Identity {
    /// The same state after a loss. What was lost before, and not answered yet, is still lost.
    pub(super) fn damaged(self, damage: &Damage) -> Result<Self, StoreError> {
        let mut all = damage.clone();
        let before = self.damage.unwrap_or_default();
        all.keys.extend(before.keys);
        all.accounts.extend(before.accounts);
        let incarnation = Incarnation { epoch: random_hex::<3>()?, ..self.incarnation };
        Ok(Self { incarnation, rolled_back: true, damage: Some(all), ..self })
    }
}

/// What tells whether the master key is the right one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    pub(super) master: Fingerprint,
    pub(super) sealed: Vec<u8>,
    /// What the state was sealed with before, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<Before>,
}

/// An exchange of the master key.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Before {
    /// The master key that it was.
    pub(super) master: Fingerprint,
    /// What the config must say for the one that it is.
    pub(super) write: String,
}

/// The id that systemd gave this machine, where there is one.
pub fn machine_id() -> Option<String> {
    let text = std::fs::read_to_string("/etc/machine-id").ok()?;
    let id = text.trim();
    (!id.is_empty() && id != "uninitialized").then(|| id.to_owned())
}

impl Store {
    /// Opens the state, and creates it where there is none. `master` is 32 bytes: as they are, as 64 hex digits, or as
    /// base64.
    ///
    /// # Errors
    /// Where the state is in use, sealed with another key, newer than this program, or damaged. Nothing in it is
    /// changed then.
    pub fn open(site: Site<'_>, master: &Secret, now: Timestamp) -> Result<Opened, StoreError> {
        let seal = Arc::new(Seal::new(master)?);
        create_folder(site.dir)?;
        let lock = Lock::take(site.dir)?;
        restore::settle(site.dir)?;
        let reserve = Reserve::new(site.dir, site.reserve);
        let given_up = reserve.release_if_full()?;
        reserve.check_room_to_open()?;
        let disk = rescue::open(site.dir)?;
        fail_point!(DatabaseOpened);
        let noted = sequence::read(site.dir)?;
        let fresh = is_fresh(&disk, site.dir, noted)?;
        let (disk, ledger, before, seen) = if fresh {
            (disk, Ledger::default(), None, Seen::default())
        } else {
            check_known(&disk, site.dir)?;
            check_master(&disk, site.dir, &seal)?;
            migrate::to_newest(&disk, site.dir, &seal, now)?;
            let (disk, ledger, seen) = examine(disk, site.dir, noted)?;
            let before = read_identity(&disk)?;
            (disk, ledger, Some(before), seen)
        };
        let identity = identify(before.as_ref(), site.machine, seen, now)?;
        let escrow = Escrow::open(site.dir, Arc::clone(&seal))?;
        let (dir, ledger, reserve_looks) = (site.dir.to_owned(), RwLock::new(ledger), Looks::default());
        let store = Store { disk, seal, escrow, reserve, reserve_looks, dir, ledger, _lock: lock };
        if before.is_none_or(|it| it != identity) {
            store.begin_life(&identity, noted, fresh)?;
        }
        if given_up {
            store.reserve.take_back();
        }
        sync(site.dir)?;
        if let Err(why) = store.reserve_ready() {
            tracing::warn!(why, "the reserve beside the state can't be taken; no key is created until it can");
        }
        fail_point!(StateOpened);
        let Identity { incarnation, rolled_back, new_machine, damage, .. } = identity;
        Ok(Opened { store, incarnation, rolled_back, new_machine, damage, fresh })
    }

    /// Makes a new identity durable, in the database and, by its number, beside it.
    fn begin_life(&self, identity: &Identity, noted: Noted, fresh: bool) -> Result<(), StoreError> {
        let mut draft = Draft::new(&self.disk);
        if fresh {
            draft.put(rows::FORMAT_ROW, FORMAT.to_string().as_bytes())?;
            let sealed = self.seal.seal(&Place::Check, &Secret::new(b"rekeyd".to_vec()))?;
            let check = Check { master: self.seal.fingerprint().clone(), sealed, before: None };
            draft.put_json(rows::CHECK_ROW, &check)?;
        }
        draft.put_json(rows::IDENTITY_ROW, identity)?;
        let mut ledger = self.writing();
        let manifest = ledger.manifest.clone();
        if fresh {
            draft.put_json(rows::MANIFEST_ROW, &manifest)?;
        }
        if let Noted::At(noted) = noted {
            // Past what was noted, so that this life is not taken for a roll-back too.
            ledger.commits = ledger.commits.max(noted);
        }
        self.write(&mut ledger, draft, manifest)?;
        fail_point!(LifeWritten);
        sequence::create(&self.dir, ledger.commits)
    }
}

/// What a look at the whole database showed.
#[derive(Default)]
struct Seen {
    /// It is older than it was, or parts of it are.
    rolled_back: bool,
    /// What was lost.
    damage: Option<Damage>,
}

/// Reads every row. What is lost makes the rest doubtful as well: whoever has lost rows may have lost newer ones.
fn examine(disk: Disk, dir: &Path, noted: Noted) -> Result<(Disk, Ledger, Seen), StoreError> {
    let (disk, ledger, rolled_back, damage) = match rescue::examine(disk, dir)? {
        Found::Whole(disk, ledger) => (disk, ledger, false, None),
        Found::Older(disk, ledger) => {
            tracing::error!(dir = %dir.display(), "rows of the database are not those that were written last");
            (disk, ledger, true, None)
        }
        Found::Rescued(disk, ledger, damage) => (disk, ledger, true, Some(damage)),
    };
    let rolled_back = rolled_back || is_older(noted, ledger.commits);
    Ok((disk, ledger, Seen { rolled_back, damage }))
}

/// Whether there is nothing yet. An empty database beside a number of commits has lost them.
fn is_fresh(disk: &Disk, dir: &Path, noted: Noted) -> Result<bool, StoreError> {
    if disk.row(rows::FORMAT_ROW)?.is_some() {
        return Ok(false);
    }
    if let Some(row) = disk.prefix(b"").next() {
        let (name, _) = row?;
        let why = format!("row {} is there without it", rows::show(&name));
        return Err(rows::damaged(disk.dir(), rows::FORMAT_ROW, &why));
    }
    match noted {
        Noted::Absent => Ok(true),
        Noted::Unreadable => Err(StoreError::Emptied { dir: dir.to_owned(), commits: 0 }),
        Noted::At(commits) => Err(StoreError::Emptied { dir: dir.to_owned(), commits }),
    }
}

/// Errs where the format is newer than any that we know: then nothing else can be read.
fn check_known(disk: &Disk, dir: &Path) -> Result<(), StoreError> {
    match read_format(disk)? {
        found if found > FORMAT => Err(StoreError::NewerFormat { dir: dir.to_owned(), found, known: FORMAT }),
        _ => Ok(()),
    }
}

/// Errs unless the state is of this format: whoever does not bring it up to it can't use another.
pub(super) fn check_format(disk: &Disk, dir: &Path) -> Result<(), StoreError> {
    check_known(disk, dir)?;
    match read_format(disk)? {
        FORMAT => Ok(()),
        _ => Err(rows::damaged(disk.dir(), rows::FORMAT_ROW, "it holds no format that ever was")),
    }
}

/// The format of the rows. Every format keeps this one row as it is: a decimal number.
pub(super) fn read_format(disk: &Disk) -> Result<u32, StoreError> {
    let content = row_content(disk, rows::FORMAT_ROW)?.unwrap_or_default();
    let found = std::str::from_utf8(&content).ok().and_then(|it| it.parse().ok());
    found.ok_or_else(|| rows::damaged(disk.dir(), rows::FORMAT_ROW, "it holds no format that ever was"))
}

pub(super) fn check_master(disk: &Disk, dir: &Path, seal: &Seal) -> Result<(), StoreError> {
    let check = read_check(disk)?;
    if check.master != *seal.fingerprint() {
        let given = seal.fingerprint().clone();
        let write = check.before.filter(|it| it.master == given).map(|it| it.write);
        return Err(StoreError::WrongMasterKey { dir: dir.to_owned(), sealed_with: check.master, given, write });
    }
    opens(disk.dir(), &check, seal)
}

/// Says which master key opens the state.
pub(super) fn read_check(disk: &Disk) -> Result<Check, StoreError> {
    let row = rows::CHECK_ROW;
    let content = row_content(disk, row)?.ok_or_else(|| rows::damaged(disk.dir(), row, "it is gone"))?;
    rows::decode(disk.dir(), row, &content)
}

/// Errs unless this row says of the master key that it is the right one.
pub(super) fn check_master_row(place: &Path, content: &[u8], seal: &Seal) -> Result<(), StoreError> {
    opens(place, &rows::decode(place, rows::CHECK_ROW, content)?, seal)
}

fn opens(place: &Path, check: &Check, seal: &Seal) -> Result<(), StoreError> {
    let opened = seal.open(&Place::Check, &check.sealed);
    let why = "it does not open with its own master key";
    opened.map(|_| ()).ok_or_else(|| rows::damaged(place, rows::CHECK_ROW, why))
}

pub(super) fn read_identity(disk: &Disk) -> Result<Identity, StoreError> {
    let row = rows::IDENTITY_ROW;
    let content = row_content(disk, row)?.ok_or_else(|| rows::damaged(disk.dir(), row, "it is gone"))?;
    rows::decode(disk.dir(), row, &content)
}

/// Whether the database has seen fewer commits than it had. Without a readable note nobody can say, and a restored
/// backup comes without one: then it counts as rolled back, which costs no more than a look at every key.
fn is_older(noted: Noted, commits: u64) -> bool {
    match noted {
        Noted::At(noted) => noted > commits,
        Noted::Absent | Noted::Unreadable => true,
    }
}

/// Who we are: as before, unless that could issue a token twice.
fn identify(
    before: Option<&Identity>,
    machine: Option<&str>,
    seen: Seen,
    now: Timestamp,
) -> Result<Identity, StoreError> {
    let Seen { rolled_back, damage } = seen;
    let here = machine.map(|it| Fingerprint::of(it.as_bytes()));
    let Some(before) = before else {
        let incarnation = Incarnation { install: random_hex::<4>()?, epoch: random_hex::<3>()? };
        let (rolled_back, new_machine) = (false, false);
        return Ok(Identity { incarnation, since: now, machine: here, rolled_back, new_machine, damage });
    };
    let moved = matches!((&before.machine, &here), (Some(before), Some(here)) if before != here);
    if !rolled_back && !moved {
        return Ok(Identity { machine: before.machine.clone().or(here), ..before.clone() });
    }
    let mut epoch = random_hex::<3>()?;
    while epoch == before.incarnation.epoch {
        epoch = random_hex::<3>()?;
    }
    Ok(Identity {
        incarnation: Incarnation { install: before.incarnation.install.clone(), epoch },
        since: now,
        machine: here.or_else(|| before.machine.clone()),
        rolled_back: before.rolled_back || rolled_back,
        new_machine: before.new_machine || moved,
        // A rescue has written what it found beside what was lost before.
        damage: before.damage.clone().or(damage),
    })
}

pub(super) fn random_hex<const BYTES: usize>() -> Result<String, StoreError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|it| StoreError::Random(it.to_string()))?;
    Ok(bytes.iter().map(|it| format!("{it:02x}")).collect())
}

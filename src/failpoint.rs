//! Points at which a test ends the process, as `kill -9` or a power cut of the process does: nothing is unwound, nothing
//! is flushed. They are there only with the feature `failpoints`, which nothing but `tests/crash_matrix.rs` asks for;
//! without it `fail_point!` is nothing at all, and no name of a point is in the binary.
//!
//! A test names a folder in `REKEYD_FAILPOINTS`. There the process notes each point that it reaches, one name a line, in
//! `reached`, and reads in `armed` at which of them to die: `Name 3 anything` means the third time from the moment that
//! this was written. So the test arms and disarms a daemon that runs.

/// The process may die here. In the order of their list in `Point`, points stand before and after all that lasts.
macro_rules! fail_point {
    ($point:ident) => {
        #[cfg(feature = "failpoints")]
        $crate::failpoint::reach($crate::failpoint::Point::$point);
    };
}

#[cfg(feature = "failpoints")]
pub use armed::{Point, reach};

#[cfg(feature = "failpoints")]
mod armed {
    use rustix::process::{Signal, getpid, kill_process};
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::{Mutex, OnceLock, PoisonError};

    macro_rules! points {
        ($($(#[$meaning:meta])+ $name:ident,)+) => {
            /// Every point there is.
            #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
            pub enum Point {
                $($(#[$meaning])+ $name,)+
            }

            impl Point {
                /// All of them, in their order.
                pub const ALL: &[Self] = &[$(Self::$name,)+];

                /// Its name.
                pub fn name(self) -> &'static str {
                    match self {
                        $(Self::$name => stringify!($name),)+
                    }
                }
            }
        };
    }

    points! {
        /// The database has been opened, and nothing else is known of the state.
        DatabaseOpened,
        /// A new life is in the database, but not beside it.
        LifeWritten,
        /// The state is open.
        StateOpened,
        /// The room beside the state has been taken.
        ReserveTaken,
        /// A batch is about to be committed.
        CommitBegins,
        /// Its rows are in the database, which has flushed nothing.
        RowsWritten,
        /// The kernel has them.
        RowsFlushed,
        /// The disk has them.
        RowsSynced,
        /// The commit is about to be acknowledged.
        CommitEnds,
        /// The new number of commits is noted beside the database, but not synced.
        SequenceWritten,
        /// It is synced.
        SequenceSynced,
        /// Where there was no note, the first one is in a temporary file, synced.
        SequenceMade,
        /// It has its name.
        SequenceRenamed,
        /// Its folder is synced.
        SequenceFolderSynced,
        /// The config to keep is in a temporary file.
        ConfigWritten,
        /// That file is synced.
        ConfigSynced,
        /// It has its name.
        ConfigRenamed,
        /// Its folder is synced.
        ConfigFolderSynced,
        /// The room for an answer is there, but not synced.
        EscrowMade,
        /// The room for an answer is synced, and so is its name.
        EscrowReady,
        /// An answer is in it, but not synced.
        EscrowWritten,
        /// The answer is synced.
        EscrowSynced,
        /// An answer whose meaning is committed is removed, but not synced.
        EscrowRemoved,
        /// Its folder is synced.
        EscrowForgotten,
        /// What could be read of a damaged database is in a new one.
        RescueWritten,
        /// The damaged one is moved aside, so that there is none at the place of the state.
        DamagedMoved,
        /// The new one is at its place, but the folder is not synced.
        RescueMoved,
        /// It is synced.
        RescueSynced,
        /// An answer in escrow is there under the new master key too.
        AnswerResealed,
        /// Every secret is sealed with the new master key.
        RowsResealed,
        /// A damaged database that was kept aside is removed.
        DamagedRemoved,
        /// An answer that was sealed with the other master key is removed, or the one under this key has its name.
        AnswerSettled,
        /// A backup is an empty file beside its name.
        BackupMade,
        /// The backup is in it, but not synced.
        BackupWritten,
        /// It is synced.
        BackupSynced,
        /// It has its name.
        BackupRenamed,
        /// Its folder is synced.
        BackupFolderSynced,
        /// A state is put together beside its place.
        RestoreWritten,
        /// A part of it, last the database, is at its place, but its folder not synced.
        RestoreMoved,
        /// All of it is at its place, and the folder synced.
        RestoreSynced,
        /// What was left beside it is removed.
        RestoreEnds,
        /// A list of keys is about to be asked for.
        ListBegins,
        /// It came, or nothing did.
        ListEnds,
        /// All keys of an account are about to be asked for, to adopt one.
        InventoryBegins,
        /// They came, or nothing did.
        InventoryEnds,
        /// The current key is about to be read.
        ReadBegins,
        /// It came, or nothing did.
        ReadEnds,
        /// A key is about to be probed.
        ProbeBegins,
        /// The answer came, or nothing did.
        ProbeEnds,
        /// A create is about to be sent.
        CreateBegins,
        /// The answer to a create is in memory alone.
        CreateEnds,
        /// A revocation is about to be sent.
        RevokeBegins,
        /// The answer came, or nothing did.
        RevokeEnds,
        /// A look at the world is over, and nothing is decided.
        LookEnds,
        /// What came of an action is known to nobody but its task.
        ActionEnds,
        /// An empty temporary file stands beside a target.
        TemporaryMade,
        /// The key is in it, but not synced.
        TemporaryWritten,
        /// It is synced.
        TemporarySynced,
        /// It has the target's name.
        TargetRenamed,
        /// The target's folder is synced.
        TargetFolderSynced,
        /// A target is removed, but its folder not synced.
        TargetRemoved,
        /// A command is about to be started: an `exec`, a `then`, a `confirm`, or a notifier of the kind `command`.
        CommandBegins,
        /// It runs.
        CommandStarted,
        /// It has ended.
        CommandEnds,
        /// A notice is about to be sent.
        NoticeBegins,
        /// Its channel has answered.
        NoticeEnds,
        /// What the channel answered is committed.
        NoticeNoted,
    }

    /// Where a test looks, and what it asked for.
    struct Desk {
        folder: PathBuf,
        reached: File,
        /// What was armed last, as it was written, and how often its point was reached since.
        armed: Mutex<(String, u64)>,
    }

    /// The process is at this point; it may not leave it.
    pub fn reach(point: Point) {
        static DESK: OnceLock<Option<Desk>> = OnceLock::new();
        let Some(desk) = DESK.get_or_init(Desk::open) else { return };
        let _ = (&desk.reached).write_all(format!("{}\n", point.name()).as_bytes());
        if desk.is_the_last(point) {
            let _ = kill_process(getpid(), Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }

    impl Desk {
        fn open() -> Option<Self> {
            let folder = PathBuf::from(std::env::var_os("REKEYD_FAILPOINTS")?);
            let reached = File::options().create(true).append(true).open(folder.join("reached")).ok()?;
            Some(Self { folder, reached, armed: Mutex::default() })
        }

        fn is_the_last(&self, point: Point) -> bool {
            let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
            let text = fs::read_to_string(self.folder.join("armed")).unwrap_or_default();
            if armed.0 != text {
                *armed = (text, 0);
            }
            let mut words = armed.0.split(' ');
            if words.next() != Some(point.name()) {
                return false;
            }
            let last = words.next().and_then(|it| it.parse().ok());
            armed.1 += 1;
            last == Some(armed.1)
        }
    }
}

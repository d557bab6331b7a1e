//! What the process gives up for good before it reads a secret. None of it needs a privilege, and all of it is inherited by
//! the commands that it runs, but for the memory and what others may see of it.
use rustix::fs::Mode;
use rustix::io;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask};
use rustix::thread::{CapabilitySet, capabilities, set_no_new_privs};

/// What files of ours are for: ourselves, unless a mode is set.
const UMASK: Mode = Mode::RWXG.union(Mode::RWXO);

/// Writes no core file, lets nobody but root look into the memory, gains no privilege by running a program, makes no file that
/// others can read, and keeps its memory out of swap where the limit allows. To be called before there is a second thread.
/// What the system refuses is logged, and is no reason not to go on.
pub fn harden() {
    for (what, done) in [
        ("core files are not switched off", setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })),
        ("the memory can be looked into", set_dumpable_behavior(DumpableBehavior::NotDumpable)),
        ("a program that is run may gain privileges", set_no_new_privs(true)),
        ("the memory may be swapped out", lock_memory()),
    ] {
        if let Err(error) = done {
            tracing::warn!(%error, "the process could not be hardened: {what}");
        }
    }
    umask(UMASK);
}

/// Locks all there is and all that comes, page by page as it is used. Only where no limit holds: with one, the stack of some later
/// thread would be the page too many, and the daemon would die of it. Then only the wiping of secrets holds.
fn lock_memory() -> io::Result<()> {
    let unlimited = getrlimit(Resource::Memlock).current.is_none();
    let exempt = capabilities(None).is_ok_and(|it| it.effective.contains(CapabilitySet::IPC_LOCK));
    if !unlimited && !exempt {
        tracing::debug!("memory is not locked: the limit is not infinite (LimitMEMLOCK=infinity)");
        return Ok(());
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
}

//! One daemon for one installation on this machine. The lock of the state goes with its folder, so that a copy of the folder
//! has one of its own; a name goes with the installation. Whoever bears it first is the one, and the kernel takes it back
//! when the process ends.
use rustix::process::geteuid;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};

/// How often the name is tried. A child of a daemon that has just died bears it too, until it runs its own program.
const TRIES: u32 = 10;
/// The wait between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Who bears the name of the installation.
pub(super) enum Name {
    /// This process, as long as it keeps this.
    Ours(UnixListener),
    /// The process with this id: it runs on a copy of this state, or this is the copy.
    Twin(i32),
    /// Nobody whose word counts: it can't be told whether there is another.
    Nobodys,
}

/// Claims the name for this process.
pub(super) async fn claim(install: &str) -> Name {
    for _ in 1..TRIES {
        match bear(install) {
            Ok(listener) => return Name::Ours(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse => tokio::time::sleep(PAUSE).await,
            Err(_) => break,
        }
    }
    match bear(install) {
        Ok(listener) => Name::Ours(listener),
        Err(error) => whose(install).await.unwrap_or_else(|| {
            tracing::warn!(%error, "whether another rekeyd here runs on a copy of this state can't be told");
            Name::Nobodys
        }),
    }
}

/// Claims it, if nobody bears it now.
pub(super) fn bear(install: &str) -> std::io::Result<UnixListener> {
    UnixListener::bind(address(install))
}

/// Who else bears it. Anybody on this machine can take a name: only root, and the user that this runs as, are believed.
async fn whose(install: &str) -> Option<Name> {
    let peer = UnixStream::connect(address(install)).await.ok()?.peer_cred().ok()?;
    let believed = peer.uid() == 0 || peer.uid() == geteuid().as_raw();
    believed.then(|| Name::Twin(peer.pid().unwrap_or_default()))
}

/// A name in the kernel's table, not in a file system.
fn address(install: &str) -> String {
    format!("\0rekeyd/{install}")
}

//! One daemon for one installation on this machine. The lock of the state goes with its folder, so that a copy of the folder
//! has one of its own; a name goes with the installation. Whoever bears it first is the one, and the kernel takes it back
//! when the process ends.
use rustix::process::geteuid;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::AbortOnDropHandle;

/// How often the name is tried. A child of a daemon that has just died bears it too, until it runs its own program.
const TRIES: u32 = 10;
/// The wait between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Who bears the name of the installation.
pub(super) enum Name {
    /// This process, as long as it keeps this.
    Ours(Bearer),
    /// The process with this id: it runs on a copy of this state, or this is the copy.
    Twin(i32),
    /// Nobody whose word counts: it can't be told whether there is another.
    Nobodys,
}

/// Bears the name until it is dropped. Whoever connects is let in and shown out at once: he wants to know who bears it, which
/// the kernel tells him. Were he left to wait, anybody on this machine could fill the queue, and nobody would know any more.
pub(super) struct Bearer {
    _door: AbortOnDropHandle<()>,
}

/// Claims the name for this process.
pub(super) async fn claim(install: &str) -> Name {
    for _ in 1..TRIES {
        match bear(install) {
            Ok(it) => return Name::Ours(it),
            Err(error) if error.kind() == ErrorKind::AddrInUse => tokio::time::sleep(PAUSE).await,
            Err(_) => break,
        }
    }
    match bear(install) {
        Ok(it) => Name::Ours(it),
        Err(error) => whose(install).await.unwrap_or_else(|| {
            tracing::warn!(%error, "whether another rekeyd here runs on a copy of this state can't be told");
            Name::Nobodys
        }),
    }
}

/// Claims it, if nobody bears it now.
pub(super) fn bear(install: &str) -> std::io::Result<Bearer> {
    let listener = UnixListener::bind(address(install))?;
    let door = tokio::spawn(async move {
        loop {
            // One that can't be taken, for want of file handles, is taken later.
            if listener.accept().await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    });
    Ok(Bearer { _door: AbortOnDropHandle::new(door) })
}

/// Who else bears it. Anybody on this machine can take a name: only root, and the user that this runs as, are believed.
async fn whose(install: &str) -> Option<Name> {
    for _ in 1..TRIES {
        match UnixStream::connect(address(install)).await {
            // Others are in the queue.
            Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::time::sleep(PAUSE).await,
            connected => {
                let peer = connected.ok()?.peer_cred().ok()?;
                let believed = peer.uid() == 0 || peer.uid() == geteuid().as_raw();
                return believed.then(|| Name::Twin(peer.pid().unwrap_or_default()));
            }
        }
    }
    None
}

/// A name in the kernel's table, not in a file system.
fn address(install: &str) -> String {
    format!("\0rekeyd/{install}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixStream as Blocking};

    /// More than any queue of a socket holds.
    const CROWD: usize = 6000;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_crowd_at_the_name_does_not_hide_who_bears_it() {
        let install = format!("crowd-{}", std::process::id());
        let Name::Ours(bearer) = claim(&install).await else { panic!("nobody else bears it") };
        let address = SocketAddr::from_abstract_name(format!("rekeyd/{install}")).unwrap();
        let crowd = std::thread::spawn(move || {
            (0..CROWD).for_each(|_| drop(Blocking::connect_addr(&address)));
        });
        let mut asked = 0;
        while !crowd.is_finished() || asked < 3 {
            let Name::Twin(pid) = claim(&install).await else { panic!("it can't be told any more, after {asked}") };
            assert_eq!(u32::try_from(pid).unwrap(), std::process::id());
            asked += 1;
        }
        drop(bearer);
        assert!(matches!(claim(&install).await, Name::Ours(_)), "whoever ends gives it back");
    }
}

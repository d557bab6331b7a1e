//! The socket at which units fetch their keys, as `LoadCredential=NAME:/run/rekeyd-credential.sock` has systemd do at each
//! start. It is for root alone, and answers one question: which key is this?
//!
//! systemd takes whatever it reads until the connection ends, so that a connection that ends without a byte starts the unit
//! with an empty key. Whoever is refused therefore gets more than systemd takes, and does not start. Whoever can be answered
//! in a moment is held; and a connection that nobody has taken yet waits in the socket, which systemd holds while we are away.
//! A daemon that can't come up takes those, and refuses them.
mod address;
mod answer;
mod passed;
mod waiting;

pub use answer::{GIVE_WITHIN, HELD_WITHIN, LOOK_EVERY, REFUSAL_BYTES, REFUSE_WITHIN};
pub use passed::passed;
pub use waiting::refuse_waiting;

use crate::engine::handle::Handle;
use crate::socket::{BindError, Socket};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many units are answered at once. The others wait in the socket.
pub const CONNECTIONS: usize = 128;
/// How many others, whom the socket's mode should have kept away, are refused at once. The rest is cut off.
pub const STRANGERS: usize = 8;
/// Only root connects: systemd is root where it starts the units of a system.
const SOCKET_MODE: u32 = 0o600;
/// The super-user.
const ROOT: u32 = 0;

/// The socket, open and not yet served.
#[derive(Debug)]
pub struct Server(Socket);

impl Server {
    /// Takes the socket that systemd passed, or opens the one that the config names. `None` where there is neither.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn open(passed: Option<UnixListener>, path: Option<&Path>) -> Result<Option<Self>, BindError> {
        match (passed, path) {
            (Some(socket), _) => {
                let failed = |source| BindError::Io { path: "the socket that systemd passed".into(), source };
                Socket::passed(socket).map(Self).map(Some).map_err(failed)
            }
            (None, Some(path)) => Socket::bind(path, SOCKET_MODE).await.map(Self).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Answers until `stop`. Units that are held then are refused, and start anew when they are told to.
    pub async fn serve(self, engine: Handle, stop: CancellationToken) {
        let (places, strangers) = (Arc::new(Semaphore::new(CONNECTIONS)), Arc::new(Semaphore::new(STRANGERS)));
        let served = TaskTracker::new();
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, self.0.accept().await)
            };
            let (place, stream) = tokio::select! {
                () = stop.cancelled() => break,
                next = next => next,
            };
            if is_root(&stream) {
                let answering = answer::answer(stream, engine.clone(), stop.clone());
                served.spawn(async {
                    let _place = place;
                    answering.await;
                });
            } else if let Ok(place) = Arc::clone(&strangers).try_acquire_owned() {
                served.spawn(async {
                    let _place = place;
                    answer::refuse_stranger(stream).await;
                });
            }
        }
        let _file = self.0.close();
        served.close();
        served.wait().await;
    }
}

/// What the other end calls itself is only a claim; who it is says the kernel.
fn is_root(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|it| it.uid() == ROOT)
}

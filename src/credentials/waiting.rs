//! Units that wait in the socket of a daemon that can't come up.
use super::answer::{REFUSE_WITHIN, refuse_root, refuse_stranger};
use super::{CONNECTIONS, is_root};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Refuses whoever waits in the socket that systemd passed, and returns when nobody does, after 30 s at the latest. For a daemon that ends, and that
/// no restart helps: systemd would start it again, and again at once, for a connection that nobody has taken. `why` is for the log.
pub async fn refuse_waiting(socket: &UnixListener, why: &str) {
    if let Err(error) = socket.set_nonblocking(true) {
        return tracing::error!(%error, "who waits at the credential socket can't be refused");
    }
    let why = Arc::<str>::from(why);
    let mut refused = JoinSet::new();
    let all = async {
        loop {
            while refused.len() >= CONNECTIONS {
                refused.join_next().await;
            }
            match socket.accept() {
                Ok((stream, _)) => drop(refused.spawn(refuse(stream, Arc::clone(&why)))),
                // Nobody waits; but more may have come while the last ones read.
                Err(_) if refused.join_next().await.is_some() => {}
                Err(_) => return,
            }
        }
    };
    if timeout(REFUSE_WITHIN, all).await.is_err() {
        tracing::warn!("not all that waited at the credential socket have read that they are refused");
    }
}

async fn refuse(stream: std::os::unix::net::UnixStream, why: Arc<str>) {
    let Ok(stream) = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream)) else { return };
    if is_root(&stream) { refuse_root(stream, &why).await } else { refuse_stranger(stream).await }
}

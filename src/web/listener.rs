//! The server: who may connect, how long a request may take, and how large it may be.
use super::pages::{self, Room, Taken};
use crate::engine::handle::Handle;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How many connections are served at once; more wait in the system's queue.
pub const CONNECTIONS: usize = 32;
/// How long the head of a request may take to arrive.
pub const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// How large the head of a request may be, in bytes. A body is not read.
pub const HEADER_BYTES: usize = 16 << 10;
/// How long a connection may last, from its first byte to the last one of the answer.
pub const CONNECTION_WITHIN: Duration = Duration::from_secs(30);
/// After a connection that could not be taken, such as for want of file handles.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// The address could not be had.
#[derive(Debug, thiserror::Error)]
#[error("daemon.listen: {address}: {source}; give it another address, or stop what listens there")]
pub struct BindError {
    /// Which address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// The listener, open and not yet served.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Opens the address.
    ///
    /// # Errors
    /// Where the system refuses.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens: with the port that the system chose, where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`. Whoever is being answered then is cut off: scrapers ask again.
    pub async fn serve(self, engine: Handle, stop: CancellationToken) {
        let (permits, room) = (Arc::new(Semaphore::new(CONNECTIONS)), Room::default());
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (engine, room, stop) = (engine.clone(), room.clone(), stop.clone());
                    tokio::spawn(async move {
                        let _permit = permit;
                        let answered = tokio::time::timeout(CONNECTION_WITHIN, answer(stream, engine, room));
                        let _ = stop.run_until_cancelled(answered).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the listener could not be taken");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }
}

/// One request, one answer, and no more on this connection. What goes wrong with it is the caller's trouble.
async fn answer(stream: TcpStream, engine: Handle, room: Room) {
    let taken = Taken::default();
    let (engine, room, taken) = (&engine, &room, &taken);
    let page =
        service_fn(|request| async move { Ok::<_, Infallible>(pages::answer(&request, engine, room, taken).await) });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_WITHIN).max_buf_size(HEADER_BYTES).keep_alive(false);
    let _ = server.serve_connection(TokioIo::new(stream), page).await;
}

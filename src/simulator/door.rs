//! A listening port on loopback that can be shut and opened again under the same number.
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// The most connections that are served at once at one door; more wait.
const CONNECTIONS: usize = 256;
/// The most connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long to wait before a port that can't be opened is tried again.
const REOPEN_AFTER: Duration = Duration::from_millis(20);

/// A port, and the task behind it. Dropping it ends the task and every connection.
#[derive(Debug)]
pub(crate) struct Door {
    address: SocketAddr,
    /// Never listens. As long as it is bound nobody else is given the port, also while the door is shut.
    _keeper: TcpSocket,
    wanted: watch::Sender<bool>,
    is_open: watch::Receiver<bool>,
    stop: CancellationToken,
}

impl Door {
    /// Listens on a free port of loopback, and has every connection served.
    pub(crate) async fn open<S, F>(serve: S) -> io::Result<Self>
    where
        S: Fn(TcpStream) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let keeper = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = keeper.local_addr()?;
        let listener = bound(address)?.listen(BACKLOG)?;
        let (wanted, wants) = watch::channel(true);
        let (is, is_open) = watch::channel(true);
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(keep(listener, address, wants, is, serve)));
        Ok(Self { address, _keeper: keeper, wanted, is_open, stop })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shuts or opens the port, and waits until it is so. While it is shut, connections are refused; those that stood
    /// are cut.
    pub(crate) async fn set_open(&self, open: bool) {
        self.wanted.send_replace(open);
        let mut is_open = self.is_open.clone();
        let _ = is_open.wait_for(|it| *it == open).await;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn keep<S, F>(
    first: TcpListener,
    address: SocketAddr,
    mut wanted: watch::Receiver<bool>,
    is: watch::Sender<bool>,
    serve: S,
) where
    S: Fn(TcpStream) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut next = Some(first);
    loop {
        let listener = match next.take() {
            Some(listener) => listener,
            None => reopen(address).await,
        };
        is.send_replace(true);
        // Connections end with the opening that they came through, or with the door.
        let opening = CancellationToken::new();
        let _end = opening.clone().drop_guard();
        tokio::select! {
            () = accept(&listener, &places, &opening, &serve) => {}
            shut = wanted.wait_for(|it| !it) => if shut.is_err() { return },
        }
        drop(listener);
        opening.cancel();
        is.send_replace(false);
        if wanted.wait_for(|it| *it).await.is_err() {
            return;
        }
    }
}

async fn accept<S, F>(listener: &TcpListener, places: &Arc<Semaphore>, opening: &CancellationToken, serve: &S)
where
    S: Fn(TcpStream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        let connection = serve(stream);
        let opening = opening.clone();
        tokio::spawn(async move {
            opening.run_until_cancelled(connection).await;
            drop(place);
        });
    }
}

/// A socket at a port which others may be bound to too, as long as none of them listens.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn reopen(address: SocketAddr) -> TcpListener {
    loop {
        match bound(address).and_then(|it| it.listen(BACKLOG)) {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(REOPEN_AFTER).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_shut_door_refuses_and_opens_again_at_the_same_port() {
        let door = Door::open(|_stream| std::future::ready(())).await.unwrap();
        TcpStream::connect(door.address()).await.unwrap();
        door.set_open(false).await;
        TcpStream::connect(door.address()).await.unwrap_err();
        door.set_open(true).await;
        TcpStream::connect(door.address()).await.unwrap();
    }

    #[tokio::test]
    async fn the_port_of_a_shut_door_is_free_for_nobody() {
        let door = Door::open(|_stream| std::future::ready(())).await.unwrap();
        door.set_open(false).await;
        TcpSocket::new_v4().unwrap().bind(door.address()).unwrap_err();
    }
}

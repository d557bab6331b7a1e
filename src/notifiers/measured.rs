//! A connection to a mail server that may not talk for ever. lettre reads each line to its end, and a line may have none.
use lettre::transport::smtp::client::{AsyncTokioStream, TlsParameters};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The most that a server may say before it is our turn, in bytes, TLS included. lettre takes answers of up to 100,000; what
/// TLS says besides, its certificates above all, is far less.
pub const ANSWER_BYTES: usize = 256 * 1024;

/// A connection that counts what comes in between two words of ours.
#[derive(Debug)]
pub(super) struct Measured {
    inner: TcpStream,
    said: usize,
}

impl Measured {
    pub(super) fn new(inner: TcpStream) -> Self {
        Self { inner, said: 0 }
    }

    /// The same under TLS from the first byte.
    ///
    /// # Errors
    /// Where the server's certificate is not believed, or TLS fails otherwise.
    #[allow(deprecated, reason = "lettre has no other way to begin with TLS on a connection that it has not made")]
    pub(super) async fn encrypted(self, tls: TlsParameters) -> Result<Encrypted, lettre::transport::smtp::Error> {
        let mut stream = lettre::transport::smtp::client::AsyncNetworkStream::use_existing_tokio1(Box::new(self));
        stream.upgrade_tls(tls).await?;
        Ok(Encrypted(stream))
    }
}

impl AsyncRead for Measured {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let it = self.get_mut();
        if it.said > ANSWER_BYTES {
            let why = format!("its answer has no end within {ANSWER_BYTES} bytes");
            return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, why)));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut it.inner).poll_read(cx, buf))?;
        it.said += buf.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Measured {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let it = self.get_mut();
        it.said = 0;
        Pin::new(&mut it.inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Measured {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.peer_addr()
    }
}

/// A connection under TLS, as lettre takes it.
#[derive(Debug)]
#[allow(deprecated, reason = "as above")]
pub(super) struct Encrypted(lettre::transport::smtp::client::AsyncNetworkStream);

impl AsyncRead for Encrypted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let inner = Pin::new(&mut self.get_mut().0);
        let read = ready!(futures_util::AsyncRead::poll_read(inner, cx, buf.initialize_unfilled()))?;
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        futures_util::AsyncWrite::poll_write(Pin::new(&mut self.get_mut().0), cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_util::AsyncWrite::poll_flush(Pin::new(&mut self.get_mut().0), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_util::AsyncWrite::poll_close(Pin::new(&mut self.get_mut().0), cx)
    }
}

impl AsyncTokioStream for Encrypted {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }
}

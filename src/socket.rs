//! Unix sockets of ours, as files that come and go with the daemon; or one that systemd holds for us, which stays.
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as Passed;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};

/// After a connection that could not be taken, such as for want of file handles.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Why a socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon answers there.
    #[error("{0}: another rekeyd answers on this socket; stop it, or give this one another path in [daemon]")]
    InUse(PathBuf),
    /// Something is there that is no socket.
    #[error("{0} exists and is no socket; move it away, or write another path in [daemon]")]
    NoSocket(PathBuf),
    /// The file system refuses.
    #[error("{path}: {source}; check the path in [daemon] and the rights of its folder")]
    Io {
        /// Which path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A socket that is listened on.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    /// None where systemd holds it.
    file: Option<SocketFile>,
}

/// The file of a socket, removed with it.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A file that is left is replaced at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Socket {
    /// Opens a socket with this mode. A socket file that a dead daemon left is replaced, one that is answered is not.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(path: &Path, mode: u32) -> Result<Self, BindError> {
        let failed = |source| BindError::Io { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        remove_stale(path).await?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        let file = SocketFile(path.to_owned());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        Ok(Self { listener, file: Some(file) })
    }

    /// Listens on a socket that is open already, and stays where it is.
    ///
    /// # Errors
    /// Where it can't be listened on.
    pub fn passed(socket: Passed) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { listener: UnixListener::from_std(socket)?, file: None })
    }

    /// Takes no more connections. The file stays until what is given back is dropped.
    pub fn close(self) -> Option<SocketFile> {
        self.file
    }

    /// The next connection. What fails is told, and not tried at once again.
    pub async fn accept(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection to a socket could not be taken");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }
}

async fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NoSocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(BindError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

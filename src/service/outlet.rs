//! Where the lines of the log go out.
use super::sink::Line;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketAddrUnix, sendto};
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long whoever hands a line over waits before it asks again.
pub(super) const WRITE_WITHIN: Duration = Duration::from_secs(1);
/// A pipe that can be written to takes so many bytes without waiting (`PIPE_BUF`).
const AT_ONCE_BYTES: usize = 4096;

/// What takes lines.
#[derive(Debug)]
pub(super) enum Outlet {
    /// The journal, in its own protocol.
    Journal {
        socket: UnixDatagram,
        path: PathBuf,
        /// Where a line goes that the journal does not take.
        otherwise: fn(&str) -> io::Result<()>,
    },
    /// stderr without a journal: a terminal, a file, or a pipe whose reader may have stopped reading.
    Stream(OwnedFd),
}

impl Outlet {
    /// A journal that listens at a path.
    ///
    /// # Errors
    /// Where no socket can be had.
    pub(super) fn journal(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(WRITE_WITHIN))?;
        // Where there is none, stderr may still lead somewhere.
        let otherwise = |text: &str| writeln!(io::stderr().lock(), "{text}");
        Ok(Self::Journal { socket, path: path.to_owned(), otherwise })
    }

    /// Hands a line over where that takes no waiting, and says whether it did.
    pub(super) fn takes_now(&self, bytes: &[u8]) -> bool {
        match self {
            // By its name each time: the journal may have been started anew.
            Self::Journal { socket, path, .. } => SocketAddrUnix::new(path.as_path())
                .and_then(|to| sendto(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &to))
                .is_ok(),
            Self::Stream(stream) => {
                let free = bytes.len() <= AT_ONCE_BYTES && can_be_written(stream, Duration::ZERO);
                if free {
                    write(stream, bytes);
                }
                free
            }
        }
    }

    /// Waits until the line is taken, and says whether it was.
    pub(super) fn hand_over(&self, line: &Line) -> bool {
        let (socket, path, otherwise) = match self {
            Self::Journal { socket, path, otherwise } => (socket, path, otherwise),
            Self::Stream(stream) => {
                write(stream, &line.bytes);
                return true;
            }
        };
        loop {
            match socket.send_to(&line.bytes, path) {
                Ok(_) => return true,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return otherwise(&line.text).is_ok(),
            }
        }
    }
}

/// Writes all of it. Where nobody is left to read, nobody misses it.
fn write(stream: &OwnedFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(stream, bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // Whoever shares it has said that writing is not to wait.
            Err(Errno::AGAIN) => drop(can_be_written(stream, WRITE_WITHIN)),
            Err(_) => return,
        }
    }
}

fn can_be_written(stream: &OwnedFd, within: Duration) -> bool {
    let within = Timespec { tv_sec: within.as_secs().cast_signed(), tv_nsec: 0 };
    let mut asked = [PollFd::new(stream, PollFlags::OUT)];
    poll(&mut asked, Some(&within)).is_ok_and(|ready| ready > 0)
}

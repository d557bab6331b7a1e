//! The socket that systemd holds for us, and passes at the start (sd_listen_fds(3)).
use listenfd::ListenFd;
use std::io;
use std::os::unix::net::UnixListener;

/// What the socket may be called in `LISTEN_FDNAMES`: by its unit, which is systemd's default, or by what it is for.
const NAMES: [&str; 2] = ["rekeyd-credential.socket", "credential"];

/// Takes the socket for credentials out of what this process was passed. To be called before there are threads, since it
/// takes what it has seen out of the environment, and once.
///
/// # Errors
/// Where something was passed under its name that is no such socket.
pub fn passed() -> io::Result<Option<UnixListener>> {
    let pid = std::env::var("LISTEN_PID").ok().and_then(|it| it.parse().ok());
    // What was meant for another process, such as our parent, is not ours to take.
    if pid != Some(std::process::id()) {
        return Ok(None);
    }
    let place = place(std::env::var("LISTEN_FDNAMES").ok().as_deref());
    let mut passed = ListenFd::from_env();
    match place {
        Some(place) => passed.take_unix_listener(place),
        None => {
            tracing::warn!("systemd passed sockets, but none of the name {}", NAMES.join(" or "));
            Ok(None)
        }
    }
}

/// Where among the sockets it stands; the first, where they have no names.
fn place(names: Option<&str>) -> Option<usize> {
    let Some(names) = names.filter(|it| !it.is_empty()) else { return Some(0) };
    names.split(':').position(|it| NAMES.contains(&it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_known_by_its_name() {
        assert_eq!(place(None), Some(0));
        assert_eq!(place(Some("rekeyd-credential.socket")), Some(0));
        assert_eq!(place(Some("web:credential")), Some(1));
        assert_eq!(place(Some("web:other")), None);
    }
}

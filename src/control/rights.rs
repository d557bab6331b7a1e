//! Who asks, and what they may. The kernel says who holds the other end of the socket (SO_PEERCRED); nothing in the
//! request counts.
use super::problem::{Kind, Problem};
use crate::core::record::Actor;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use std::path::Path;
use tokio::net::UnixListener;

/// What `/proc/PID/loginuid` says where nobody logged in.
const NO_LOGIN: u32 = u32::MAX;
/// The super-user.
const ROOT: u32 = 0;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Its user; none where the kernel would not say.
    pub uid: Option<u32>,
    /// Who logged in, if somebody did: `sudo` and `su` keep it.
    pub login_uid: Option<u32>,
}

/// What a request needs beyond a place at the socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Right {
    /// To set off or go on with a rotation.
    Operate,
    /// To see or bring a secret, or to give one up, or to change the config in use.
    Own,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        match stream.io().peer_cred() {
            Ok(it) => Self { uid: Some(it.uid()), login_uid: it.pid().and_then(login_uid) },
            Err(_) => Self { uid: None, login_uid: None },
        }
    }
}

impl Peer {
    /// Says who acts, where they have the right to do `what`. `service` is the user that the daemon runs as.
    ///
    /// # Errors
    /// A 403 that says what is missing.
    pub fn may(self, right: Right, what: &str, service: u32) -> Result<Actor, Problem> {
        let Some(uid) = self.uid else {
            return Err(Problem::new(Kind::NotPermitted, format!("{what}: the kernel does not say who asks")));
        };
        // `operators` may come to hold the lesser right; root and the service's own user hold both.
        let (Right::Operate | Right::Own) = right;
        if uid == ROOT || uid == service {
            return Ok(Actor { uid, login_uid: self.login_uid, user: user_name(self.login_uid.unwrap_or(uid)) });
        }
        let service = user_name(service).unwrap_or_else(|| format!("uid {service}"));
        let detail = format!("{what} is for root and for the service's user {service}; you are {}", named(uid));
        Err(Problem::new(Kind::NotPermitted, detail).remedy("run it again with sudo"))
    }
}

fn named(uid: u32) -> String {
    user_name(uid).map_or_else(|| format!("uid {uid}"), |it| format!("{it} (uid {uid})"))
}

fn login_uid(pid: i32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/loginuid")).ok()?;
    text.trim().parse().ok().filter(|it| *it != NO_LOGIN)
}

fn user_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string(Path::new("/etc/passwd")).ok()?;
    name_in(&passwd, uid)
}

fn name_in(passwd: &str, uid: u32) -> Option<String> {
    let found = passwd.lines().map(|it| it.split(':').collect::<Vec<_>>());
    let mut found = found.filter(|it| it.get(2).and_then(|it| it.parse().ok()) == Some(uid));
    found.next().and_then(|it| it.first().map(|it| (*it).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32) -> Peer {
        Peer { uid: Some(uid), login_uid: None }
    }

    #[test]
    fn root_and_the_services_user_may_everything() {
        for right in [Right::Operate, Right::Own] {
            assert!(peer(0).may(right, "it", 4242).is_ok());
            assert!(peer(4242).may(right, "it", 4242).is_ok());
        }
    }

    #[test]
    fn nobody_else_may_and_is_told_who_may() {
        let problem = peer(4243).may(Right::Own, "reveal", 4242).unwrap_err();
        assert_eq!(problem.status, 403);
        assert_eq!(problem.detail, "reveal is for root and for the service's user uid 4242; you are uid 4243");
    }

    #[test]
    fn a_peer_that_the_kernel_does_not_name_may_nothing() {
        assert!(Peer { uid: None, login_uid: None }.may(Right::Operate, "rotate", 0).is_err());
    }

    #[test]
    fn a_user_is_named_as_the_passwd_file_does() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nanna:x:1000:1000::/home/anna:/bin/sh\n";
        assert_eq!(name_in(passwd, 1000).as_deref(), Some("anna"));
        assert_eq!(name_in(passwd, 1001), None);
    }
}

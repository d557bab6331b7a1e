//! Who asks, and what they may. The kernel says who holds the other end of the socket (SO_PEERCRED); nothing in the
//! request counts.
use super::accounts::Accounts;
use super::login;
use super::problem::{Kind, Problem};
use crate::config::settings::Operator;
use crate::core::record::Actor;
use tokio::net::UnixStream;

/// The super-user.
const ROOT: u32 = 0;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Peer {
    /// Its user; none where the kernel would not say.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
    /// Who logged in, if somebody did: `sudo` and `su` keep it.
    pub login_uid: Option<u32>,
}

/// What a request needs beyond a place at the socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Right {
    /// To rotate, to pause, to go on, or to say that a human has it: root, the service's user, and `operators`.
    Operate,
    /// To see or bring a secret, to give one up, or to change the config in use: root and the service's user.
    Own,
}

impl Peer {
    /// Who holds the other end.
    pub(super) fn of(stream: &UnixStream) -> Self {
        match stream.peer_cred() {
            Ok(it) => Self { uid: Some(it.uid()), gid: Some(it.gid()), login_uid: it.pid().and_then(login::uid) },
            Err(_) => Self::default(),
        }
    }

    /// Whether every right is theirs. `service` is the user that the daemon runs as.
    pub(super) fn owns(self, service: u32) -> bool {
        self.uid.is_some_and(|it| it == ROOT || it == service)
    }

    /// Says who acts, where they have the right to do `what`.
    ///
    /// # Errors
    /// A 403 that says what is missing, and who has it.
    pub(super) fn may(
        self,
        right: Right,
        what: &str,
        service: u32,
        operators: &[Operator],
        accounts: &Accounts,
    ) -> Result<Actor, Problem> {
        let Some(uid) = self.uid else {
            return Err(Problem::new(Kind::NotPermitted, format!("{what}: the kernel does not say who asks")));
        };
        let operates = operators.iter().any(|it| accounts.is_meant(it, uid, self.gid));
        if self.owns(service) || (right == Right::Operate && operates) {
            let user = accounts.user(self.login_uid.unwrap_or(uid)).map(str::to_owned);
            return Ok(Actor { uid, login_uid: self.login_uid, user });
        }
        let you = accounts.user(uid).map_or_else(|| format!("uid {uid}"), |it| format!("{it} (uid {uid})"));
        let service = accounts.user(service).map_or_else(|| format!("uid {service}"), str::to_owned);
        Err(match right {
            Right::Own => {
                let but = if operates { ", an operator, and those may rotate, pause, resume and ack" } else { "" };
                let detail = format!("{what} is for root and for the service's user {service}; you are {you}{but}");
                Problem::new(Kind::NotPermitted, detail).remedy("run it again with sudo")
            }
            Right::Operate => {
                let operators = named(operators, accounts);
                let detail =
                    format!("{what} is for root, for the service's user {service} and for {operators}; you are {you}");
                let remedy = "run it again with sudo, or be named in operators of [daemon], and then: rekeyd reload";
                Problem::new(Kind::NotPermitted, detail).remedy(remedy)
            }
        })
    }
}

/// The operators of the config, and which of them this machine does not know.
fn named(operators: &[Operator], accounts: &Accounts) -> String {
    if operators.is_empty() {
        return "operators, of whom the config names none".to_owned();
    }
    let one = |it: &Operator| match (accounts.knows(it), it) {
        (true, it) => it.to_string(),
        (false, Operator::User(_)) => format!("{it} (no user of this machine)"),
        (false, Operator::Group(_)) => format!("{it} (no group of this machine)"),
    };
    format!("the operators {}", operators.iter().map(one).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::accounts::sample;
    use super::*;

    const SERVICE: u32 = 900;

    fn may(uid: u32, gid: u32, right: Right, operators: &[Operator]) -> Result<Actor, Problem> {
        let peer = Peer { uid: Some(uid), gid: Some(gid), login_uid: None };
        peer.may(right, "it", SERVICE, operators, &sample())
    }

    fn oncall() -> [Operator; 1] {
        [Operator::Group("oncall".to_owned())]
    }

    #[test]
    fn root_and_the_services_user_may_everything() {
        for right in [Right::Operate, Right::Own] {
            assert!(may(0, 0, right, &[]).is_ok());
            assert!(may(SERVICE, SERVICE, right, &[]).is_ok());
        }
    }

    #[test]
    fn an_operator_may_operate_and_nothing_more() {
        let anna = may(1000, 1000, Right::Operate, &oncall()).unwrap();
        assert_eq!((anna.uid, anna.user.as_deref()), (1000, Some("anna")));
        assert_eq!(
            may(1000, 1000, Right::Own, &oncall()).unwrap_err().detail,
            "it is for root and for the service's user rekeyd; you are anna (uid 1000), an operator, and those may \
             rotate, pause, resume and ack"
        );
    }

    #[test]
    fn nobody_else_may_and_is_told_who_may() {
        let problem = may(4243, 4243, Right::Own, &oncall()).unwrap_err();
        assert_eq!(problem.status, 403);
        assert_eq!(problem.detail, "it is for root and for the service's user rekeyd; you are uid 4243");
        let who = [Operator::Group("oncall".to_owned()), Operator::User("carla".to_owned())];
        assert_eq!(
            may(1001, 1001, Right::Operate, &who).unwrap_err().detail,
            "it is for root, for the service's user rekeyd and for the operators @oncall, carla (no user of this \
             machine); you are bert (uid 1001)"
        );
        let detail = may(1001, 1001, Right::Operate, &[]).unwrap_err().detail;
        assert!(detail.contains("of whom the config names none"), "{detail}");
    }

    #[test]
    fn who_logged_in_is_named_and_who_asks_has_the_right() {
        let sudo = Peer { uid: Some(0), gid: Some(0), login_uid: Some(1000) };
        let actor = sudo.may(Right::Own, "it", SERVICE, &[], &sample()).unwrap();
        assert_eq!((actor.uid, actor.login_uid, actor.user.as_deref()), (0, Some(1000), Some("anna")));
        // The right is not that of the one who logged in: a service that anna started is not anna.
        let dropped = Peer { uid: Some(1001), gid: Some(1001), login_uid: Some(1000) };
        assert!(dropped.may(Right::Operate, "it", SERVICE, &oncall(), &sample()).is_err());
    }

    #[test]
    fn a_peer_that_the_kernel_does_not_name_may_nothing() {
        assert!(Peer::default().may(Right::Operate, "rotate", 0, &oncall(), &sample()).is_err());
    }
}

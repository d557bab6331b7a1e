//! How a command ends: the codes of sysexits, and an error that names the next command to try.
use super::output::{Paint, Tone};
use super::times::spelled;
use crate::control::client::ClientError;
use crate::control::problem::{Kind, Problem};
use std::io;
use std::process::ExitCode;

/// The exit codes. Scripts and systemd units compare them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// Done, or well.
    Ok,
    /// A human is needed, or a rotation failed.
    Attention,
    /// The command line makes no sense.
    Usage,
    /// What was given is no good.
    Data,
    /// What was named is not there.
    NoInput,
    /// The daemon does not run.
    Unavailable,
    /// A fault of ours.
    Internal,
    /// A file can't be created.
    CannotCreate,
    /// Reading or writing failed.
    Io,
    /// Not now.
    TryLater,
    /// Not permitted.
    NotPermitted,
    /// The config has faults.
    Config,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Attention => 1,
            Self::Usage => 64,
            Self::Data => 65,
            Self::NoInput => 66,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::CannotCreate => 73,
            Self::Io => 74,
            Self::TryLater => 75,
            Self::NotPermitted => 77,
            Self::Config => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    pub(super) exit: Exit,
    message: String,
    /// The next thing to try.
    remedy: Option<String>,
    /// What else failed.
    more: Vec<Failure>,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), remedy: None, more: Vec::new() }
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Both of them, with the exit code of the first.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.more.push(other);
        self
    }

    /// As it is shown on stderr. A reader that went away is told nothing.
    pub(super) fn text(&self, paint: Paint) -> String {
        let remedy = self.remedy.as_ref().map(|it| format!("{} {it}\n", paint.tone(Tone::Good, "try:")));
        let text = match self.message.as_str() {
            "" => String::new(),
            message => {
                let message = spelled(message, None);
                format!("{} {message}\n{}", paint.tone(Tone::Bad, "error:"), remedy.unwrap_or_default())
            }
        };
        self.more.iter().fold(text, |text, it| text + &it.text(paint))
    }
}

/// `rekeyd status | head -1` is no error: where nobody reads on, the work is done.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Ok, ""),
            _ => Self::new(Exit::Io, error.to_string()),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::NotRunning(_) => Self::new(Exit::Unavailable, message).remedy("systemctl start rekeyd"),
            ClientError::Denied(_) => {
                let remedy = "run it again with sudo, or join the group that owns the socket";
                Self::new(Exit::NotPermitted, message).remedy(remedy)
            }
            ClientError::Late(_) => Self::new(Exit::TryLater, message).remedy("systemctl status rekeyd"),
            ClientError::Broken(..) => Self::new(Exit::Unavailable, message).remedy("systemctl status rekeyd"),
            ClientError::Problem(problem) => Self::from(*problem),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let lines = [problem.detail].into_iter().chain(problem.faults.iter().map(ToString::to_string));
        let message = lines.collect::<Vec<_>>().join("\n");
        Self { exit: exit(problem.kind), message, remedy: problem.remedy, more: Vec::new() }
    }
}

fn exit(kind: Kind) -> Exit {
    match kind {
        Kind::NotPermitted => Exit::NotPermitted,
        Kind::NoSuchKey | Kind::NoSuchOwner => Exit::NoInput,
        Kind::BadRequest
        | Kind::Phase
        | Kind::Unadopted
        | Kind::NoKeyGiven
        | Kind::IssuedByProvider
        | Kind::NotNew
        | Kind::OldKeyEnding
        | Kind::Observing
        | Kind::NoPrevious
        | Kind::NoVersion
        | Kind::Managed
        | Kind::MayLive
        | Kind::Unmanaged
        | Kind::TooLarge
        | Kind::KeyDead
        | Kind::KeyUnverified
        | Kind::TargetHolds
        | Kind::NothingInTargets
        | Kind::TargetsDiffer
        | Kind::TargetUnreadable
        | Kind::KeyId
        | Kind::KeyDates => Exit::Data,
        Kind::ConfigFaults | Kind::ConfigRefused => Exit::Config,
        Kind::NoSuchPath | Kind::Method | Kind::Internal => Exit::Internal,
        Kind::Stopping | Kind::Busy | Kind::NoAnswer => Exit::TryLater,
        Kind::Store => Exit::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_key_is_bad_data_and_a_broken_config_is_one_of_config() {
        for (kind, code) in [
            (Kind::KeyDead, 65),
            (Kind::NoSuchKey, 66),
            (Kind::NotPermitted, 77),
            (Kind::ConfigFaults, 78),
            (Kind::Stopping, 75),
        ] {
            assert_eq!(Failure::from(Problem::new(kind, "it")).exit.code(), code, "{kind:?}");
        }
    }

    #[test]
    fn a_stopped_daemon_names_the_command_that_starts_it() {
        let failure = Failure::from(ClientError::NotRunning("/run/x.sock".into()));
        let text = failure.text(Paint::default());
        assert_eq!(
            text,
            "error: the daemon does not run: nobody answers on /run/x.sock\n\
             try: systemctl start rekeyd\n"
        );
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit, failure.text(Paint::default())), (Exit::Ok, String::new()));
    }
}
